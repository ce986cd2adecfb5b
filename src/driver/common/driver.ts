/**
 * The OS side of an IOMMU with a device table, PASID tables and a command queue. The core decides, under its lock, what is bound to what;
 * here it becomes table entries and commands, in the order that SYSTEM.md section 3 asks for. What the bytes are, the architecture says.
 */
import { Lock, type Op, step } from '../../base/op.ts'
import type {
  DriverDevice,
  DriverDomain,
  DriverIoMm,
  FaultSink,
  IommuDriver,
  IoPgtable,
  PageResponse,
} from '../../core/driver.ts'
import { IommError } from '../../core/error.ts'
import type { AddressSpaces } from './address-spaces.ts'
import type { CommandRing } from './command-ring.ts'
import type { Configuration } from './configuration.ts'
import type { FaultQueues } from './fault-queues.ts'
import type { Invalidation } from './invalidation.ts'
import type { AddressSpace, DeviceState, DomainState, Stage2 } from './state.ts'

type CpuSpace = NonNullable<DriverIoMm['mm']>

/** An architecture's part of the driver. */
export interface Hardware {
  readonly name: string
  readonly pasidBits: number
  readonly reserved: IommuDriver['reserved']
  readonly commands: CommandRing
  readonly configuration: Configuration
  readonly invalidation: Invalidation
  readonly spaces: AddressSpaces
  readonly faults: FaultQueues
  init(): Op<void>
  svaObstacle(device: DriverDevice, domain: DomainState | null, mm: CpuSpace | null): string | null
  /** Where a device's entry lies; its part of the table is made when there is none, and `forget` says what was cached of that. */
  deviceEntry(device: number): { entry: number; forget: Uint32Array[] }
  /** Which stage translates this domain; null: none. @throws IommError Unsupported */
  stageOf(domain: DriverDomain): 1 | 2 | null
  /** May the device join? Sets what it changes of the domain. @throws IommError Unsupported */
  admit(domain: DomainState, device: DriverDevice): void
  /** Whether a domain with this device has a PASID table from the start, beside those that have an address space of their own. */
  tableFor(device: DriverDevice, domain: DomainState): boolean
  /** What waits in the hardware for an answer, of a device that has left its domain: ended. */
  endWaits(device: DriverDevice): Op<void>
  /** A process: its table is the CPU's. @throws IommError AsidExhausted, Unsupported */
  newShared(mm: CpuSpace): Op<AddressSpace>
  freeShared(space: AddressSpace, mm: CpuSpace): void
  /** The CPU's own invalidation reaches the IOTLB: tells the hardware of it, as the CPU would. @returns false when it does not. */
  broadcast(space: AddressSpace, start: bigint | null, end: bigint | null): boolean
  pageResponse(response: PageResponse): Uint32Array
  /** A guest's invalidation command, made safe to send. @param owns whether a device is the guest's. @throws IommError BadArgument */
  guestCommand(command: Uint32Array, stage2: Stage2, owns: (device: number) => boolean): Uint32Array
  /** Where what is cached carries a tag of the domain, not of the address space. @throws IommError AsidExhausted */
  readonly domainTags?: { allocate(domain: DriverDomain): void; free(domain: DriverDomain): void }
  /** Where the IOMMU does not read guests' tables: our copies of them. */
  readonly copies?: GuestCopies
  /** What the IOMMU holds of page requests is in its queue from now on. Absent: it holds none. */
  drain?(): Op<void>
}

/** Tables of ours that say what a guest's tables say, for an IOMMU that walks none of those but page tables. */
export interface GuestCopies {
  /** The guest's device table entry becomes this one. @returns what is to be done once the hardware has forgotten the one before. */
  enter(state: DeviceState, domain: DomainState, guest: Uint32Array | null): Op<() => void>
  /** The guest changed its tables, and says so by this command. */
  follow(domain: DomainState, command: Uint32Array): Op<void>
  /** The device is elsewhere, and the hardware knows. */
  leave(state: DeviceState): void
}

export class TableDriver implements IommuDriver {
  readonly name: string
  readonly pasidBits: number
  readonly reserved: IommuDriver['reserved']
  /** The command queue: what is sent, and what the driver is made to forget. */
  readonly commands: CommandRing
  readonly #hardware: Hardware
  readonly #configuration: Configuration
  readonly #invalidation: Invalidation
  readonly #devices: Map<number, DeviceState>
  readonly #domains = new Map<DriverDomain, DomainState>()
  readonly #spaces = new Map<DriverIoMm, AddressSpace>()
  readonly #lock = new Lock('IOMMU configuration')

  /** @param devices where the devices are kept, by id: the hardware's part looks there whether it knows one. */
  constructor(hardware: Hardware, devices: Map<number, DeviceState>) {
    this.#hardware = hardware
    this.name = hardware.name
    this.pasidBits = hardware.pasidBits
    this.reserved = hardware.reserved
    this.commands = hardware.commands
    this.#configuration = hardware.configuration
    this.#invalidation = hardware.invalidation
    this.#devices = devices
  }

  init(): Op<void> {
    return this.#hardware.init()
  }

  svaObstacle(device: DriverDevice, mm: CpuSpace | null): string | null {
    return this.#hardware.svaObstacle(device, this.#devices.get(device.id)?.domain ?? null, mm)
  }

  addDevice(device: DriverDevice): Op<void> {
    return this.#lock.hold(() => this.#addDevice(device))
  }

  *#addDevice(device: DriverDevice): Op<void> {
    const { entry, forget } = this.#hardware.deviceEntry(device.id)
    const state: DeviceState = { device, entry, domain: null, guest: null }
    yield* step('device table entry found')
    // A first level without entries may be cached as such.
    if (forget.length > 0) yield* this.commands.issueAndSync(forget)
    yield* this.#configuration.writeDevice(state, null)
    this.#devices.set(device.id, state)
  }

  // Domains

  *domainAlloc(domain: DriverDomain): Op<void> {
    const stage = this.#hardware.stageOf(domain)
    const { domainTags } = this.#hardware
    domainTags?.allocate(domain)
    try {
      const state = this.#newDomain(domain, stage)
      state.own?.places.set(state, 0)
      this.#domains.set(domain, state)
    } catch (error) {
      domainTags?.free(domain)
      throw error
    }
    yield* step('domain allocated')
  }

  #newDomain(domain: DriverDomain, stage: 1 | 2 | null): DomainState {
    const devices = new Set<DeviceState>()
    return {
      domain,
      devices,
      stall: false,
      table: null,
      own: stage === 1 ? this.#hardware.spaces.newOwn(domain) : null,
      stage2: stage === 2 ? this.#hardware.spaces.newStage2(domain, devices) : null,
      entries: new Map(),
    }
  }

  domainFree(domain: DriverDomain): Op<void> {
    return this.#lock.hold(() => this.#domainFree(domain))
  }

  *#domainFree(given: DriverDomain): Op<void> {
    const domain = this.#domain(given)
    if (domain.devices.size > 0 || domain.entries.size > 0)
      throw new IommError('Busy', `domain ${given.name} still has devices or address spaces; detach and unbind them first`)
    this.#domains.delete(given)
    if (domain.own !== null) yield* this.#hardware.spaces.freePrivate(domain.own)
    if (domain.stage2 !== null) yield* this.#hardware.spaces.freeStage2(domain.stage2)
    domain.table?.free()
    this.#hardware.domainTags?.free(given)
  }

  attachDevice(domain: DriverDomain, device: DriverDevice): Op<void> {
    return this.#lock.hold(() => this.#attach(this.#domain(domain), this.#device(device)))
  }

  *#attach(domain: DomainState, state: DeviceState): Op<void> {
    const before = state.domain
    const { device } = state
    this.#hardware.admit(domain, device)
    const needsTable = domain.stage2 === null && (domain.own !== null || domain.table !== null)
    if (needsTable || this.#hardware.tableFor(device, domain))
      yield* this.#configuration.ensureTable(domain, Math.min(device.capabilities.pasidBits, this.pasidBits))
    yield* this.#configuration.writeEntry0(domain)
    // From here on invalidations of the domain reach the device: its first translation may come with the first word of its entry.
    domain.devices.add(state)
    state.guest = null
    yield* this.#configuration.writeDevice(state, domain)
    state.domain = domain
    if (before !== null && before !== domain) {
      yield* this.#leave(state)
      before.devices.delete(state)
    }
  }

  detachDevice(domain: DriverDomain, device: DriverDevice): Op<void> {
    return this.#lock.hold(() => this.#detach(this.#domain(domain), this.#device(device)))
  }

  *#detach(domain: DomainState, state: DeviceState): Op<void> {
    if (state.domain !== domain) return
    yield* this.#configuration.writeDevice(state, null)
    yield* this.#leave(state)
    domain.devices.delete(state)
    state.domain = null
    state.guest = null
  }

  /** What a device still has of the domain that its entry has left: transactions that wait there, and its ATC. */
  *#leave(state: DeviceState): Op<void> {
    yield* this.#hardware.endWaits(state.device)
    yield* this.#invalidation.atc([state], null, null, null)
    this.#hardware.copies?.leave(state)
  }

  pgtable(domain: DriverDomain): IoPgtable | null {
    const { own, stage2 } = this.#domain(domain)
    return own?.pgtable ?? stage2?.pgtable ?? null
  }

  // Address spaces with PASIDs

  ioMmAlloc(ioMm: DriverIoMm): Op<void> {
    return this.#lock.hold(() => this.#ioMmAlloc(ioMm))
  }

  *#ioMmAlloc(ioMm: DriverIoMm): Op<void> {
    const { mm, pasid } = ioMm
    const space = mm === null ? this.#hardware.spaces.newPrivate(`PASID ${pasid}`) : yield* this.#hardware.newShared(mm)
    this.#spaces.set(ioMm, space)
    yield* step('address space allocated')
  }

  ioMmFree(ioMm: DriverIoMm): Op<void> {
    return this.#lock.hold(() => this.#ioMmFree(ioMm))
  }

  *#ioMmFree(ioMm: DriverIoMm): Op<void> {
    const space = this.#space(ioMm)
    if (space.places.size > 0)
      throw new IommError('Busy', `PASID ${ioMm.pasid} is still in the tables of ${space.places.size} domains; detach it first`)
    this.#spaces.delete(ioMm)
    if (ioMm.mm === null) yield* this.#hardware.spaces.freePrivate(space)
    else this.#hardware.freeShared(space, ioMm.mm)
    yield* step('address space freed')
  }

  ioMmAttach(domain: DriverDomain, ioMm: DriverIoMm): Op<void> {
    return this.#lock.hold(() => this.#ioMmAttach(this.#domain(domain), this.#space(ioMm), ioMm.pasid))
  }

  *#ioMmAttach(domain: DomainState, space: AddressSpace, pasid: number): Op<void> {
    const { name } = domain.domain
    if (domain.stage2 !== null)
      throw new IommError(
        'Unsupported',
        `domain ${name} is translated by stage 2; address spaces with PASIDs need a stage 1 domain`,
      )
    const bits = Math.min(this.pasidBits, Math.max(0, ...[...domain.devices].map(({ device }) => device.capabilities.pasidBits)))
    if (pasid >= 2 ** bits || pasid < 1)
      throw new IommError('PasidOutOfRange', `PASID ${pasid} needs more than the ${bits} bits of the devices of domain ${name}`)
    if (domain.entries.has(pasid)) throw new IommError('Busy', `PASID ${pasid} is in use in domain ${name} already`)
    yield* this.#configuration.ensureTable(domain, bits)
    domain.entries.set(pasid, space)
    space.places.set(domain, pasid)
    yield* this.#configuration.writePasid(domain, pasid, space.entry(domain))
    if (domain.own === null && domain.entries.size === 1) yield* this.#rewriteDevices(domain)
  }

  ioMmDetach(domain: DriverDomain, ioMm: DriverIoMm): Op<void> {
    return this.#lock.hold(() => this.#ioMmDetach(this.#domain(domain), this.#space(ioMm), ioMm.pasid))
  }

  *#ioMmDetach(domain: DomainState, space: AddressSpace, pasid: number): Op<void> {
    if (domain.entries.get(pasid) !== space) return
    yield* this.#configuration.writePasid(domain, pasid, null)
    yield* this.#forgetSpace(domain, space, pasid)
    domain.entries.delete(pasid)
    space.places.delete(domain)
    if (domain.own === null && domain.entries.size === 0) yield* this.#rewriteDevices(domain)
  }

  ioMmExit(domain: DriverDomain, ioMm: DriverIoMm): Op<void> {
    return this.#lock.hold(() => this.#ioMmExit(this.#domain(domain), this.#space(ioMm), ioMm.pasid))
  }

  *#ioMmExit(domain: DomainState, space: AddressSpace, pasid: number): Op<void> {
    space.exited = true
    if (domain.entries.get(pasid) !== space) return
    yield* this.#configuration.writePasid(domain, pasid, space.entry(domain))
    yield* this.#forgetSpace(domain, space, pasid)
  }

  /** Nothing of this address space is cached for this domain any more. Its entry was changed, and that is known, before. */
  *#forgetSpace(domain: DomainState, space: AddressSpace, pasid: number): Op<void> {
    yield* this.#invalidation.space(space, null, null, false)
    yield* this.#invalidation.atc(domain.devices, pasid, null, null)
  }

  *#rewriteDevices(domain: DomainState): Op<void> {
    yield* this.#configuration.writeEntry0(domain)
    for (const state of domain.devices) yield* this.#configuration.writeDevice(state, domain)
  }

  // Runs beside all the others: takes no lock.
  *ioMmInvalidate(ioMm: DriverIoMm, domains: readonly DriverDomain[], start: bigint | null, end: bigint | null): Op<void> {
    const space = this.#spaces.get(ioMm)
    if (space === undefined || (start !== null && end !== null && end <= start)) return
    if (!this.#hardware.broadcast(space, start, end)) yield* this.#invalidation.space(space, start, end, false)
    for (const domain of domains) {
      const devices = this.#domains.get(domain)?.devices
      if (devices !== undefined) yield* this.#invalidation.atc(devices, ioMm.pasid, start, end)
    }
  }

  ioMmPgtable(ioMm: DriverIoMm): IoPgtable {
    const { pgtable } = this.#space(ioMm)
    if (pgtable === null)
      throw new IommError('Unsupported', `PASID ${ioMm.pasid} is a process: the CPU maps, not the IOMMU driver`)
    return pgtable
  }

  // Faults

  // No fence: it would say nothing about what the device makes of the answer.
  *pageResponse(response: PageResponse): Op<void> {
    yield* this.commands.issue([this.#hardware.pageResponse(response)])
  }

  *drainPageRequests(): Op<void> {
    const { drain } = this.#hardware
    if (drain !== undefined) yield* drain()
  }

  handleQueues(sink: FaultSink): Op<void> {
    return this.#hardware.faults.handle(sink)
  }

  // Guests

  /**
   * The guest of a `nested` domain wrote the device table entry of its device; null: it has none yet, and sees its physical addresses.
   * @throws IommError BadArgument when it sets what is not its to set; then nothing was changed.
   */
  setGuestEntry(device: DriverDevice, guest: Uint32Array | null): Op<void> {
    return this.#lock.hold(() => this.#setGuestEntry(this.#device(device), guest))
  }

  *#setGuestEntry(state: DeviceState, guest: Uint32Array | null): Op<void> {
    const { domain } = state
    if (domain?.domain.kind !== 'nested')
      throw new IommError('NoDomain', `${state.device.name} is not in a nested domain; attach it to one first`)
    this.#configuration.check(state, domain, guest)
    const { copies } = this.#hardware
    const retire = copies === undefined ? null : yield* copies.enter(state, domain, guest)
    state.guest = guest
    yield* this.#configuration.writeDevice(state, domain)
    retire?.()
    // Another stage 1: what the device holds is from the one before. IOTLB entries are the guest's to invalidate.
    yield* this.#invalidation.atc([state], null, null, null)
  }

  /** Invalidation commands of a `nested` domain's guest, as it wrote them. @throws IommError BadArgument for others. */
  *guestInvalidate(domain: DriverDomain, commands: readonly Uint32Array[]): Op<void> {
    const state = this.#domain(domain)
    const { stage2, devices } = state
    if (stage2 === null) throw new IommError('Unsupported', `domain ${domain.name} has no guest`)
    const owns = (id: number) => [...devices].some(({ device }) => device.id === id)
    const safe = commands.map((command) => this.#hardware.guestCommand(command, stage2, owns))
    const { copies } = this.#hardware
    if (copies !== undefined)
      yield* this.#lock.hold(function* () {
        for (const command of commands) yield* copies.follow(state, command)
      })
    yield* this.commands.issueAndSync(safe)
  }

  // Parts

  #domain(domain: DriverDomain): DomainState {
    const state = this.#domains.get(domain)
    if (state === undefined) throw new IommError('Foreign', `domain ${domain.name} is not one of this IOMMU's; allocate it first`)
    return state
  }

  #device(device: DriverDevice): DeviceState {
    const state = this.#devices.get(device.id)
    if (state === undefined) throw new IommError('Foreign', `device ${device.name} is not one of this IOMMU's; add it first`)
    return state
  }

  #space(ioMm: DriverIoMm): AddressSpace {
    const space = this.#spaces.get(ioMm)
    if (space === undefined)
      throw new IommError('Foreign', `PASID ${ioMm.pasid} is not one of this IOMMU's; allocate its io_mm first`)
    return space
  }
}
