/** The OS side of an IOMMU: devices, domains, PASIDs, bind and unbind, faults. The driver beneath writes tables and commands. */
import { Lock, type Op } from '../base/op.ts'
import type { Pasid } from '../base/types.ts'
import type { CpuSpace } from '../mm/contract.ts'
import { Binding, type PrivateSpace } from './binding.ts'
import type { Bond } from './bond.ts'
import type { Core } from './context.ts'
import { Device, type DeviceDescription, Group } from './device.ts'
import { Domain } from './domain.ts'
import type { DomainKind, FaultSink, IommuDriver, ResponseCode } from './driver.ts'
import { IommError } from './error.ts'
import type { CoreEvent } from './events.ts'
import { reportFault } from './faults.ts'
import { IoMm } from './io-mm.ts'
import { PageRequests } from './page-requests.ts'

export interface IommuOptions {
  /** `lowest` (default): the lowest free PASID; `cyclic`: the next one after the last given, so that reuse comes late. */
  readonly pasidAllocation?: 'lowest' | 'cyclic'
  readonly log?: (event: CoreEvent) => void
}

export class Iommu {
  readonly driver: IommuDriver
  /** By device id. */
  readonly devices: ReadonlyMap<number, Device>
  readonly domains: ReadonlySet<Domain>
  /** By PASID. */
  readonly ioMms: ReadonlyMap<number, IoMm>
  readonly bonds: ReadonlySet<Bond>
  /** Given to `driver.handleQueues`. */
  readonly sink: FaultSink
  readonly #core: Core
  readonly #devices = new Map<number, Device>()
  readonly #domains = new Set<Domain>()
  readonly #binding: Binding
  readonly #requests: PageRequests

  /**
   * @example
   * const iommu = new Iommu(driver)
   * run(iommu.init())
   * const device = run(iommu.addDevice({ id: 0x10, name: 'accelerator', capabilities }))
   * run(iommu.attach(run(iommu.createDomain('A', 'dma')), device))
   * const bond = run(iommu.bind(device, mm)) // bond.pasid: tell it to the device
   */
  constructor(driver: IommuDriver, options: IommuOptions = {}) {
    const core: Core = {
      driver,
      lock: new Lock('core'),
      log: options.log ?? (() => {}),
      devices: this.#devices,
      ioMms: new Map(),
      bonds: new Set(),
    }
    this.#core = core
    this.#requests = new PageRequests(core)
    this.sink = {
      fault: (report) => reportFault(core, report),
      pageRequest: (request) => this.#requests.arrive(request),
      pageRequestOverflow: () => this.#requests.overflow(),
    }
    this.#binding = new Binding(core, options.pasidAllocation ?? 'lowest', (devices, pasid) =>
      this.#requests.drain(this.sink, devices, pasid),
    )
    this.driver = driver
    this.devices = this.#devices
    this.domains = this.#domains
    this.ioMms = core.ioMms
    this.bonds = core.bonds
  }

  /** Resets and enables the hardware. */
  *init(): Op<void> {
    yield* this.driver.init()
  }

  /** From now on the device exists; until it is attached, it is blocked. @throws IommError Exists when its number is taken. */
  addDevice(given: DeviceDescription): Op<Device> {
    return this.#locked(function* (this: Iommu): Op<Device> {
      const same = this.#devices.get(given.id)
      if (same !== undefined)
        throw new IommError('Exists', `device number 0x${given.id.toString(16)} of ${given.name} is taken by ${same.name}`)
      const device = new Device(given)
      yield* this.driver.addDevice(device)
      this.#devices.set(device.id, device)
      this.#core.log({ kind: 'device-added', device })
      return device
    })
  }

  /** Before any of them is attached; otherwise each device is a group of its own. */
  addGroup(name: string, devices: readonly Device[]): Group {
    for (const device of devices) {
      this.#own(device)
      if (device.domain !== null)
        throw new IommError('Busy', `cannot put ${device.name} into group ${name}: it is attached; make groups first`)
      if (device.group.devices.length > 1)
        throw new IommError('Exists', `cannot put ${device.name} into group ${name}: it is in group ${device.group.name}`)
    }
    const group = new Group(name, devices)
    for (const device of devices) device.group = group
    return group
  }

  createDomain(name: string, kind: DomainKind): Op<Domain> {
    return this.#locked(function* (this: Iommu): Op<Domain> {
      const domain = new Domain(name, kind, this.#core)
      yield* this.driver.domainAlloc(domain)
      this.#domains.add(domain)
      this.#core.log({ kind: 'domain-created', domain })
      return domain
    })
  }

  /** @throws IommError Busy while devices are in it. */
  freeDomain(domain: Domain): Op<void> {
    return this.#locked(function* (this: Iommu): Op<void> {
      this.#ownDomain(domain)
      if (domain.devices.size > 0)
        throw new IommError('Busy', `cannot free domain ${domain.name}: ${names(domain.devices)} in it; detach first`)
      yield* this.driver.domainFree(domain)
      domain.freed()
      this.#domains.delete(domain)
      this.#core.log({ kind: 'domain-freed', domain })
    })
  }

  /** Attaches the device's whole group; replaces the present domain, and keeps it on failure. @throws IommError Busy while a device of the group has bonds. */
  attach(domain: Domain, device: Device): Op<void> {
    return this.#locked(function* (this: Iommu): Op<void> {
      this.#own(device)
      this.#ownDomain(domain)
      const { group } = device
      const from = group.domain
      if (from === domain) return
      this.#refuseBonds(group, `attach ${device.name} to domain ${domain.name}`)
      yield* this.#attachGroup(group, from, domain)
      for (const one of group.devices) from?.devices.delete(one)
      group.domain = domain
      this.#requests.forget(group.devices)
      for (const one of group.devices) this.#core.log({ kind: 'attached', device: one, domain, from })
    })
  }

  /** The whole group is blocked from now on. @throws IommError Busy while a device of the group has bonds. */
  detach(device: Device): Op<void> {
    return this.#locked(function* (this: Iommu): Op<void> {
      this.#own(device)
      const { group } = device
      const { domain } = group
      if (domain === null) throw new IommError('NoDomain', `cannot detach ${device.name}: it is in no domain`)
      this.#refuseBonds(group, `detach ${device.name}`)
      const done: Device[] = []
      try {
        for (const one of group.devices) {
          yield* this.driver.detachDevice(domain, one)
          done.push(one)
        }
      } catch (error) {
        for (const one of done.reverse()) yield* this.driver.attachDevice(domain, one)
        throw error
      }
      for (const one of group.devices) domain.devices.delete(one)
      group.domain = null
      this.#requests.forget(group.devices)
      for (const one of group.devices) this.#core.log({ kind: 'detached', device: one, domain })
    })
  }

  /**
   * Lets the device use the process's address space, with `bond.pasid`. The same device and process again: the same bond, counted.
   * @throws IommError NoPasid, NoDomain, Unsupported, MmDead, PasidOutOfRange, PasidExhausted, AsidExhausted; then nothing was changed.
   */
  bind(device: Device, mm: CpuSpace): Op<Bond> {
    return this.#binding.bind(device, mm)
  }

  /** Undoes one bind. @throws IommError NotBound when this device has no bond to it, whatever others in its domain have. */
  *unbind(device: Device, space: CpuSpace | IoMm): Op<void> {
    const ioMm = space instanceof IoMm ? space : this.#binding.find(space)
    const bond = ioMm === null ? undefined : device.bonds.get(ioMm)
    if (bond === undefined) throw new IommError('NotBound', `${device.name} is not bound to ${space.name}`)
    yield* bond.unbind()
  }

  /** A new private address space (its name, or what it should be), or joins one. `bond.ioMm` has map, unmap and iovaToPhys. */
  bindPrivate(device: Device, space: string | PrivateSpace | IoMm = {}): Op<Bond> {
    return this.#binding.bindPrivate(device, typeof space === 'string' ? { name: space } : space)
  }

  /** Answers a group that a domain's handler kept for later. @throws IommError UnknownGroup when none waits. */
  respond(device: Device, group: { group: number } | { stallTag: number }, code: ResponseCode): Op<void> {
    return this.#requests.respond(device, group, code)
  }

  /** Drains the hardware's queues, handles page requests, answers; until nothing is left. */
  *serviceInterrupts(): Op<void> {
    do yield* this.driver.handleQueues(this.sink)
    while (yield* this.#requests.work())
  }

  /** The address space that has this PASID; null when it is free. */
  find(pasid: Pasid): IoMm | null {
    return this.#core.ioMms.get(pasid) ?? null
  }

  /** Every device of the group, or none: those done before a failure go back to where they were. */
  *#attachGroup(group: Group, from: Domain | null, to: Domain): Op<void> {
    const done: Device[] = []
    const regions: { start: bigint; size: bigint }[] = []
    try {
      yield* this.#mapFirmware(group, to, regions)
      for (const device of group.devices) {
        to.devices.add(device)
        yield* this.driver.attachDevice(to, device)
        done.push(device)
      }
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error)
      for (const device of done.reverse()) {
        if (from === null) yield* this.driver.detachDevice(to, device)
        else yield* this.driver.attachDevice(from, device)
        this.#core.log({ kind: 'rolled-back', device, domain: to, to: from, why })
      }
      for (const device of group.devices) to.devices.delete(device)
      for (const { start, size } of regions) yield* to.unmap(start, size)
      throw error
    }
  }

  /** What firmware uses must go on working when translation begins: mapped 1:1 before the device is in the domain. */
  *#mapFirmware(group: Group, domain: Domain, done: { start: bigint; size: bigint }[]): Op<void> {
    const table = domain.kind === 'dma' ? this.driver.pgtable(domain) : null
    if (table === null) return
    for (const { start, end, rights } of group.devices.flatMap((device) => device.firmware)) {
      const size = end - start
      if (table.iovaToPhys(start) === start) continue
      yield* table.map(start, start, size, rights)
      done.push({ start, size })
      this.#core.log({ kind: 'mapped', space: domain, iova: start, pa: start, size, rights })
    }
  }

  #refuseBonds(group: Group, what: string): void {
    const bound = group.devices.filter((device) => device.bonds.size > 0)
    if (bound.length > 0) throw new IommError('Busy', `cannot ${what}: ${names(bound)} bound to address spaces; unbind first`)
  }

  #own(device: Device): void {
    if (this.#devices.get(device.id) !== device)
      throw new IommError('Foreign', `${device.name} is not a device of this IOMMU: add it first`)
  }

  #ownDomain(domain: Domain): void {
    if (!this.#domains.has(domain)) throw new IommError('Foreign', `domain ${domain.name} was freed, or is another IOMMU's`)
  }

  #locked<T>(body: (this: Iommu) => Op<T>): Op<T> {
    return this.#core.lock.hold(() => body.call(this))
  }
}

function names(devices: Iterable<Device>): string {
  const all = [...devices].map((device) => device.name)
  return all.length === 1 ? `${all[0]} is` : `${all.join(', ')} are`
}
