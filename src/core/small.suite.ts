/** A small machine for tests of the core: a fake driver, real processes, devices a, b, c in domains A and B. */
import { expect } from 'vitest'
import { type Op, run } from '../base/op.ts'
import type { Mm } from '../mm/mm.ts'
import { small as smallMm } from '../mm/small.suite.ts'
import type { MmSystem } from '../mm/system.ts'
import { prot } from '../mm/vma.ts'
import type { Device } from './device.ts'
import type { Domain } from './domain.ts'
import type { DeviceCapabilities, DomainKind, PageRequest } from './driver.ts'
import { IommError, type IommErrorCode } from './error.ts'
import type { CoreEvent } from './events.ts'
import { FakeDriver } from './fake-driver.suite.ts'
import { Iommu, type IommuOptions } from './iommu.ts'

export const AT = 0x1000_0000n

export const CAPABLE: DeviceCapabilities = {
  pasidBits: 20,
  ats: true,
  pri: true,
  stall: false,
  plain: true,
  responseNeedsPasid: true,
}

export class Small {
  readonly driver = new FakeDriver()
  readonly events: CoreEvent[] = []
  readonly system: MmSystem = smallMm()
  readonly iommu: Iommu
  #next = 1

  constructor(options: IommuOptions = {}) {
    this.iommu = new Iommu(this.driver, { log: (event) => this.events.push(event), ...options })
    run(this.iommu.init())
  }

  device(name: string, capabilities: Partial<DeviceCapabilities> = {}): Device {
    return run(this.iommu.addDevice({ id: this.#next++, name, capabilities: { ...CAPABLE, ...capabilities } }))
  }

  /** A domain with these devices in it. */
  domain(name: string, devices: readonly Device[] = [], kind: DomainKind = 'dma'): Domain {
    const domain = run(this.iommu.createDomain(name, kind))
    for (const device of devices) run(this.iommu.attach(domain, device))
    return domain
  }

  /** A process with 16 writable pages at AT. */
  process(name: string): Mm {
    const mm = this.system.create(name)
    run(mm.mmap(AT, 0x1_0000n, prot('rw')))
    return mm
  }

  /** Events of one kind. */
  of<Kind extends CoreEvent['kind']>(kind: Kind): Extract<CoreEvent, { kind: Kind }>[] {
    return this.events.filter((event): event is Extract<CoreEvent, { kind: Kind }> => event.kind === kind)
  }

  /** Nothing is bound, and nothing was lost on the way: no PASID, no entry, no io_mm of the driver, no page. */
  expectAtRest(): void {
    const { driver, iommu } = this
    expect(driver.violations).toEqual([])
    expect([driver.queue.length, driver.unanswered.length]).toEqual([0, 0])
    expect([iommu.bonds.size, iommu.ioMms.size, driver.spaces.size]).toEqual([0, 0, 0])
    for (const device of iommu.devices.values()) expect(device.bonds.size).toBe(0)
    for (const domain of iommu.domains) expect([domain.attachments.size, driver.entries.get(domain)!.size]).toEqual([0, 0])
    expect(this.of('pasid-allocated').length).toBe(this.of('pasid-freed').length)
    for (const mm of this.system.mms) run(mm.exit())
    expect([this.system.framesInUse, this.system.swap.inUse]).toEqual([0, 0])
  }
}

/** The device asks for a page. */
export function request(device: Device | number, given: Partial<PageRequest>): { request: PageRequest } {
  return {
    request: {
      device: typeof device === 'number' ? device : device.id,
      pasid: 1,
      address: AT,
      group: 0,
      last: true,
      read: true,
      write: false,
      execute: false,
      privileged: false,
      stallTag: null,
      ...given,
    },
  }
}

/** The operation throws an IommError of this code. @returns its message. */
export function refused(code: IommErrorCode, op: Op<unknown>): string {
  try {
    run(op)
  } catch (error) {
    if (!(error instanceof IommError)) throw error
    expect(error.code).toBe(code)
    return error.message
  }
  throw new Error(`not refused; expected ${code}`)
}
