/** A driver over its hardware model: memory, an IOMMU, devices with an ATC, processes with a page table. For every architecture. */
import { type Op, run } from '../../base/op.ts'
import { type Access, neededRight, type Outcome } from '../../base/types.ts'
import type {
  DeviceCapabilities,
  DomainKind,
  DriverDevice,
  DriverDomain,
  DriverIoMm,
  FaultReport,
  FaultSink,
  PageRequest,
} from '../../core/driver.ts'
import type { PtSpace } from '../../format/pt/format.ts'
import { PageTable } from '../../format/pt/mapper.ts'
import { PhysicalMemory } from '../../memory/physical.ts'
import type { DeviceMessage, IommuModel } from '../../model/iommu.ts'
import type { TableDriver } from './driver.ts'

/** UR, UW, PR, PW. */
export const RW = 0b011011

type CpuSpace = NonNullable<DriverIoMm['mm']>

export const PCIE: DeviceCapabilities = {
  pasidBits: 12,
  ats: true,
  pri: true,
  stall: false,
  plain: true,
  responseNeedsPasid: true,
}
export const PLAIN: DeviceCapabilities = { ...PCIE, pasidBits: 0, ats: false, pri: false, responseNeedsPasid: false }
export const STALLS: DeviceCapabilities = { ...PLAIN, pasidBits: 12, stall: true }

export interface TestDomain extends DriverDomain {
  readonly devices: Set<DriverDevice>
}

/** A device that does one DMA at a time. With ATS it keeps what it was told, until it is told to forget. */
export class TestDevice implements DriverDevice {
  readonly id: number
  readonly name: string
  readonly capabilities: DeviceCapabilities
  readonly #model: IommuModel
  readonly #atc = new Map<string, { pa: bigint; rights: number }>()
  readonly messages: DeviceMessage[] = []

  constructor(model: IommuModel, id: number, capabilities: DeviceCapabilities) {
    this.#model = model
    this.id = id
    this.name = `device ${id}`
    this.capabilities = capabilities
  }

  /** One access. @returns the physical address that it reached; else the name of the fault, `no access` when ATS said so. */
  dma(iova: bigint, pasid: number | null = null, access: Access = 'read'): bigint | string {
    const transaction = { device: this.id, iova, access, ...(pasid === null ? {} : { pasid }) }
    if (!this.capabilities.ats) return said(this.#model.translate(transaction))
    const key = `${pasid}/${iova >> 12n}`
    let known = this.#atc.get(key)
    if (known === undefined) {
      const answer = this.#model.translate({ ...transaction, kind: 'ats-request' })
      if (!answer.ok) return said(answer)
      known = { pa: answer.pa - (answer.pa % 4096n), rights: answer.rights }
      if (answer.rights !== 0) this.#atc.set(key, known)
    }
    if ((known.rights & neededRight(access, false)) === 0) return 'no access'
    // Translated requests have no PASID, unless a device is told otherwise (PCI Express, "Translated Requests with PASID Enable").
    return said(this.#model.translate({ device: this.id, iova: known.pa + (iova % 4096n), access, kind: 'translated' }))
  }

  receive(message: DeviceMessage): void {
    if (message.kind !== 'invalidate') {
      this.messages.push(message)
      return
    }
    for (const key of this.#atc.keys()) {
      const [pasid, page] = key.split('/')
      const address = BigInt(page!) << 12n
      const inside = message.bytes === null || (address >= message.address && address < message.address + message.bytes)
      if (inside && (message.pasid === null || pasid === String(message.pasid))) this.#atc.delete(key)
    }
    this.#model.invalidationComplete(message.tag)
  }
}

function said(outcome: Outcome): bigint | string {
  return outcome.ok ? outcome.pa : outcome.response === 'no-access' ? 'no access' : outcome.name
}

/** A process: a page table that the CPU walks, under an ASID. */
export class TestProcess implements CpuSpace {
  readonly name: string
  readonly id = 0
  alive = true
  readonly asidBits = 16
  readonly space: CpuSpace['space']
  readonly table: PageTable
  readonly #asid: number

  constructor(memory: PhysicalMemory, name: string, asid: number, space: PtSpace) {
    this.space = space
    this.table = new PageTable(memory, memory, this.space)
    this.name = name
    this.#asid = asid
  }
  pinAsid(): number {
    return this.#asid
  }
  unpinAsid(): void {}
  addNotifier(): void {}
  removeNotifier(): void {}
  areasIn(): [] {
    return []
  }
  handleFault(): never {
    throw new Error('nobody handles faults here')
  }
}

/** What an architecture gives. */
export interface SystemParts<M extends IommuModel, D extends TableDriver> {
  readonly memory: PhysicalMemory
  readonly model: M
  readonly driver: D
  /** A CPU's page table, empty. */
  processSpace(hardwareUpdates: boolean): PtSpace
}

export function testMemory(): PhysicalMemory {
  return new PhysicalMemory([{ start: 0x4000_0000, end: 0x8000_0000 }])
}

export class TestSystem<M extends IommuModel, D extends TableDriver> implements FaultSink {
  readonly memory: PhysicalMemory
  readonly model: M
  readonly driver: D
  readonly faults: FaultReport[] = []
  readonly requests: PageRequest[] = []
  overflows = 0
  readonly #devices = new Map<number, TestDevice>()
  readonly #processSpace: (hardwareUpdates: boolean) => PtSpace

  constructor({ memory, model, driver, processSpace }: SystemParts<M, D>) {
    this.memory = memory
    this.model = model
    this.driver = driver
    this.#processSpace = processSpace
    this.model.onMessage = (message) => this.#devices.get(message.device)!.receive(message)
    this.run(this.driver.init())
  }

  run<T>(op: Op<T>): T {
    return run(op, () => this.model.step())
  }

  /** Runs an operation, and looks at every pause. The hardware does a command now and then. */
  watch<T>(op: Op<T>, look: () => void): T {
    for (let turn = 0; ; turn++) {
      const next = op.next()
      look()
      if (next.done === true) return next.value
      if (next.value.kind === 'wait' || turn % 3 === 0) this.model.step()
      look()
    }
  }

  device(id: number, capabilities: Partial<DeviceCapabilities> = {}): TestDevice {
    const device = new TestDevice(this.model, id, { ...PCIE, ...capabilities })
    this.#devices.set(id, device)
    this.run(this.driver.addDevice(device))
    return device
  }

  domain(name: string, kind: DomainKind, ...devices: TestDevice[]): TestDomain {
    const domain = { name, kind, devices: new Set<DriverDevice>() }
    this.run(this.driver.domainAlloc(domain))
    for (const device of devices) this.attach(domain, device)
    return domain
  }

  attach(domain: TestDomain, device: TestDevice): void {
    domain.devices.add(device)
    this.run(this.driver.attachDevice(domain, device))
  }

  map(domain: TestDomain, iova: bigint, pa: bigint, size = 0x1000n): void {
    this.run(this.driver.pgtable(domain)!.map(iova, pa, size, RW))
  }

  unmap(domain: TestDomain, iova: bigint, size = 0x1000n): bigint {
    return this.run(this.driver.pgtable(domain)!.unmap(iova, size))
  }

  process(name: string, asid: number, hardwareUpdates = false): TestProcess {
    return new TestProcess(this.memory, name, asid, this.#processSpace(hardwareUpdates))
  }

  ioMm(pasid: number, mm: TestProcess | null): DriverIoMm {
    const ioMm = { pasid, mm }
    this.run(this.driver.ioMmAlloc(ioMm))
    return ioMm
  }

  bind(domain: TestDomain, pasid: number, mm: TestProcess | null): DriverIoMm {
    const ioMm = this.ioMm(pasid, mm)
    this.run(this.driver.ioMmAttach(domain, ioMm))
    return ioMm
  }

  /** Device 1 in a domain that maps 0x1000 to 0x5000_0000. */
  mapped(capabilities: Partial<DeviceCapabilities> = {}): { device: TestDevice; domain: TestDomain } {
    const device = this.device(1, capabilities)
    const domain = this.domain('A', 'dma', device)
    this.map(domain, 0x1000n, 0x5000_0000n)
    return { device, domain }
  }

  /** A process, ASID 3, that maps 0x1000 to 0x5000_0000, and device 1 in a domain. */
  withProcess(capabilities: Partial<DeviceCapabilities> = {}): { device: TestDevice; domain: TestDomain; mm: TestProcess } {
    const device = this.device(1, capabilities)
    const domain = this.domain('A', 'dma', device)
    const mm = this.process('P', 3)
    mm.table.map(0x1000, 0x5000_0000, 0x1000, RW)
    return { device, domain, mm }
  }

  /** Commands that an operation sends, by name, without those that only wait. */
  sent(act: () => void, nameOf: (words: Uint32Array) => string, wait: string): string[] {
    const names: string[] = []
    this.driver.commands.onCommand = (words) => names.push(nameOf(words))
    act()
    this.driver.commands.onCommand = null
    return names.filter((name) => name !== wait)
  }

  /** Faults twice, reads the queues out, and so three times. @returns the faults and the interrupts of it. */
  faultsInTurns(): { faults: string[]; signals: string[] } {
    const device = this.device(1, PLAIN)
    this.domain('A', 'dma', device)
    const signals: string[] = []
    this.model.onInterrupt = (source) => signals.push(source)
    const faults: string[] = []
    for (let turn = 0; turn < 3; turn++) {
      device.dma(0x1000n)
      device.dma(0x1000n)
      faults.push(this.events().join())
    }
    return { faults, signals }
  }

  /** Reads the queues out. @returns names of the faults since the last time. */
  events(): string[] {
    this.faults.length = 0
    this.run(this.driver.handleQueues(this))
    return this.faults.map(({ name }) => name)
  }

  fault(report: FaultReport): void {
    this.faults.push(report)
  }
  pageRequest(request: PageRequest): void {
    this.requests.push(request)
  }
  pageRequestOverflow(): void {
    this.overflows++
  }
}
