/**
 * The OS side of an Arm SMMUv3 (IHI 0070): stream table, PASID tables, page tables, commands, queues. The core decides, under its lock,
 * what is bound to what; here it becomes bytes and commands.
 */
import type { PageAllocator, WordMemory } from '../../base/memory.ts'
import { Lock, type Op, step } from '../../base/op.ts'
import type {
  DriverDevice,
  DriverDomain,
  DriverIoMm,
  FaultSink,
  IommuDriver,
  IoPgtable,
  Mmio,
  PageResponse,
} from '../../core/driver.ts'
import { IommError } from '../../core/error.ts'
import { CD_WORDS } from '../../format/smmuv3/cd.ts'
import { CMD_BYTES } from '../../format/smmuv3/commands.ts'
import { EVENT_BYTES, EVENT_WORDS } from '../../format/smmuv3/events.ts'
import { featuresFromIdr, type SmmuFeatures, STALL_FORCED, STALL_NEVER } from '../../format/smmuv3/features.ts'
import { PRI_BYTES, PRI_WORDS } from '../../format/smmuv3/pri.ts'
import { AddressSpaces } from './address-spaces.ts'
import { CommandQueue } from './command-queue.ts'
import { cfgiSteRange, pageResponse, resume, stallTerminate } from './commands.ts'
import { Configuration } from './configuration.ts'
import { abortSte, quietCd } from './entries.ts'
import { FaultQueues } from './fault-queues.ts'
import { Invalidation } from './invalidation.ts'
import { guestCommand } from './nested.ts'
import type { SmmuV3DriverOptions } from './options.ts'
import { OutputQueue } from './output-queue.ts'
import { Registers } from './registers.ts'
import { setUp } from './setup.ts'
import type { AddressSpace, DeviceState, DomainState } from './state.ts'
import { StreamTable } from './stream-table.ts'
import { svaObstacle } from './sva.ts'

export type { BroadcastTlbi, SmmuV3DriverOptions } from './options.ts'

const NO_CD = new Uint32Array(CD_WORDS)

export class SmmuV3Driver implements IommuDriver {
  readonly name = 'Arm SMMUv3'
  readonly pasidBits: number
  readonly reserved: IommuDriver['reserved']
  readonly features: SmmuFeatures
  /** The command queue: what is sent, and what the driver is made to forget. */
  readonly commands: CommandQueue
  readonly #options: SmmuV3DriverOptions
  readonly #registers: Registers
  readonly #streams: StreamTable
  readonly #faults: FaultQueues
  readonly #events: OutputQueue
  readonly #pri: OutputQueue | null
  readonly #addressSpaces: AddressSpaces
  readonly #configuration: Configuration
  readonly #invalidation: Invalidation
  readonly #devices = new Map<number, DeviceState>()
  readonly #domains = new Map<DriverDomain, DomainState>()
  readonly #spaces = new Map<DriverIoMm, AddressSpace>()
  readonly #lock = new Lock('SMMU configuration')

  /**
   * Reads what the SMMU can do, and allocates its structures; `init` puts them to use.
   * @throws IommError Unsupported when the options ask for what it has not.
   */
  constructor(mmio: Mmio, memory: WordMemory & PageAllocator, options: SmmuV3DriverOptions = {}) {
    this.#options = options
    this.#registers = new Registers(mmio)
    const features = featuresFromIdr((name) => this.#registers.read(name))
    this.features = features
    refuseMissing(features, options)
    this.pasidBits = features.s1 ? features.ssidBits : 0
    this.reserved = options.reserved ?? []
    const form = options.strtab ?? (features.stream2l ? '2lvl' : 'linear')
    this.#streams = new StreamTable(memory, memory, Math.min(options.streamIdBits ?? 16, features.sidBits), form)

    const queue = (entryBytes: number, most: number, wanted: number | undefined) => {
      const log2 = Math.min(wanted ?? Math.log2(4096 / entryBytes), most)
      return { log2, base: memory.allocate(Math.max(4096, 2 ** log2 * entryBytes)) }
    }
    const commands = queue(CMD_BYTES, features.cmdqLog2, options.commandQueueLog2)
    const events = queue(EVENT_BYTES, features.eventqLog2, options.eventQueueLog2)
    const pri = features.pri ? queue(PRI_BYTES, features.priqLog2, options.priQueueLog2) : null
    const registers = this.#registers
    this.commands = new CommandQueue(memory, registers, commands.base, commands.log2, (error) => this.#faults.commandError(error))
    for (const kind of options.forget ?? []) this.commands.forget.add(kind)
    this.#events = new OutputQueue(memory, registers, 'EVENTQ', events.base, events.log2, EVENT_WORDS)
    this.#pri = pri === null ? null : new OutputQueue(memory, registers, 'PRIQ', pri.base, pri.log2, PRI_WORDS)
    this.#faults = new FaultQueues(registers, this.commands, this.#events, this.#pri, (sid) => this.#devices.has(sid))
    this.#configuration = new Configuration(memory, this.commands, features, options.cdtab ?? 'auto')
    this.#invalidation = new Invalidation(this.commands, features, {
      tlbi: options.tlbiThreshold ?? 512,
      atc: options.atcInvalidateThreshold ?? 16,
    })
    this.#addressSpaces = new AddressSpaces(features, memory, options, this.#configuration, this.#invalidation)
  }

  *init(): Op<void> {
    const given = { streams: this.#streams, commands: this.commands, events: this.#events, pri: this.#pri }
    yield* setUp(this.#registers, this.features, given, this.#options.btm ?? false)
  }

  svaObstacle(device: DriverDevice, mm: DriverIoMm['mm']): string | null {
    return svaObstacle(this.features, device, this.#devices.get(device.id)?.domain ?? null, mm)
  }

  addDevice(device: DriverDevice): Op<void> {
    return this.#lock.hold(() => this.#addDevice(device))
  }

  *#addDevice(device: DriverDevice): Op<void> {
    const known = this.#streams.has(device.id)
    const state: DeviceState = { device, ste: this.#streams.entry(device.id), domain: null, guest: null }
    yield* step('stream table entry found')
    // A first-level descriptor without entries may be cached as such, for any of the streams that it covers.
    if (!known) yield* this.commands.issueAndSync([cfgiSteRange(device.id, this.#streams.split)])
    yield* this.#configuration.writeSte(state, abortSte())
    this.#devices.set(device.id, state)
  }

  // Domains

  *domainAlloc(domain: DriverDomain): Op<void> {
    const { features } = this
    const translated = domain.kind === 'dma' || domain.kind === 'nested'
    const stage = domain.kind === 'nested' || (this.#options.domainStage ?? (features.s1 ? 1 : 2)) === 2 ? 2 : 1
    if (translated && !(stage === 1 ? features.s1 : features.s2))
      throw new IommError(
        'Unsupported',
        `domain ${domain.name} needs stage ${stage}, which the SMMU has not (SMMU_IDR0.S${stage}P)`,
      )
    const devices = new Set<DeviceState>()
    const state: DomainState = {
      domain,
      devices,
      stall: features.stallModel === STALL_FORCED,
      table: null,
      own: translated && stage === 1 ? this.#addressSpaces.newPrivate(`domain ${domain.name}`) : null,
      stage2: translated && stage === 2 ? this.#addressSpaces.newStage2(domain, () => devices) : null,
      entries: new Map(),
    }
    state.own?.places.set(state, 0)
    this.#domains.set(domain, state)
    yield* step('domain allocated')
  }

  domainFree(domain: DriverDomain): Op<void> {
    return this.#lock.hold(() => this.#domainFree(domain))
  }

  *#domainFree(given: DriverDomain): Op<void> {
    const domain = this.#domain(given)
    if (domain.devices.size > 0 || domain.entries.size > 0)
      throw new IommError('Busy', `domain ${given.name} still has devices or address spaces; detach and unbind them first`)
    this.#domains.delete(given)
    if (domain.own !== null) yield* this.#addressSpaces.freePrivate(domain.own)
    if (domain.stage2 !== null) yield* this.#addressSpaces.freeStage2(domain.stage2)
    domain.table?.free()
  }

  attachDevice(domain: DriverDomain, device: DriverDevice): Op<void> {
    return this.#lock.hold(() => this.#attach(this.#domain(domain), this.#device(device)))
  }

  *#attach(domain: DomainState, state: DeviceState): Op<void> {
    const before = state.domain
    const { capabilities, name } = state.device
    const stall = this.features.stallModel === STALL_FORCED || (capabilities.stall && this.features.stallModel !== STALL_NEVER)
    const others = [...domain.devices].filter((other) => other !== state)
    // One CD serves all devices of a domain, and CD.S says for all of them whether a fault waits.
    if (domain.stage2 === null && others.length > 0 && domain.stall !== stall)
      throw new IommError(
        'Unsupported',
        `${name} ${stall ? 'stalls' : 'does not stall'} on faults, the devices of domain ${domain.domain.name} ${stall ? 'do not' : 'do'}; give it a domain of its own`,
      )
    domain.stall = stall
    if (domain.own !== null || domain.table !== null)
      yield* this.#configuration.ensureTable(domain, Math.min(capabilities.pasidBits, this.pasidBits))
    if (domain.own !== null) yield* this.#configuration.writeCd(domain, 0, domain.own.cd(stall))
    // From here on invalidations of the domain reach the device: its first translation may come with the first word of the STE.
    domain.devices.add(state)
    state.guest = null
    yield* this.#configuration.writeSte(state, this.#configuration.steFor(state, domain))
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
    yield* this.#configuration.writeSte(state, abortSte())
    yield* this.#leave(state)
    domain.devices.delete(state)
    state.domain = null
    state.guest = null
  }

  /** What a device still has of the domain that its STE has left: transactions that wait there, and its ATC. */
  *#leave(state: DeviceState): Op<void> {
    // 4.7.2: once the STE lets no further one in.
    if (state.device.capabilities.stall && this.features.stallModel !== STALL_NEVER)
      yield* this.commands.issueAndSync([stallTerminate(state.device.id)])
    yield* this.#invalidation.atc([state], null, null, null)
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
    const { mm } = ioMm
    const space = mm === null ? this.#addressSpaces.newPrivate(`PASID ${ioMm.pasid}`) : yield* this.#addressSpaces.newShared(mm)
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
    if (ioMm.mm === null) yield* this.#addressSpaces.freePrivate(space)
    else this.#addressSpaces.freeShared(space, ioMm.mm)
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
    const cd = space.cd(domain.stall)
    yield* this.#configuration.writeCd(domain, pasid, space.exited ? quietCd(cd, this.features) : cd)
    if (domain.own === null && domain.entries.size === 1) yield* this.#rewriteStes(domain)
  }

  ioMmDetach(domain: DriverDomain, ioMm: DriverIoMm): Op<void> {
    return this.#lock.hold(() => this.#ioMmDetach(this.#domain(domain), this.#space(ioMm), ioMm.pasid))
  }

  *#ioMmDetach(domain: DomainState, space: AddressSpace, pasid: number): Op<void> {
    if (domain.entries.get(pasid) !== space) return
    yield* this.#configuration.writeCd(domain, pasid, NO_CD)
    yield* this.#forgetSpace(domain, space, pasid)
    domain.entries.delete(pasid)
    space.places.delete(domain)
    if (domain.own === null && domain.entries.size === 0) yield* this.#rewriteStes(domain)
  }

  ioMmExit(domain: DriverDomain, ioMm: DriverIoMm): Op<void> {
    return this.#lock.hold(() => this.#ioMmExit(this.#domain(domain), this.#space(ioMm), ioMm.pasid))
  }

  *#ioMmExit(domain: DomainState, space: AddressSpace, pasid: number): Op<void> {
    space.exited = true
    if (domain.entries.get(pasid) !== space) return
    yield* this.#configuration.writeCd(domain, pasid, quietCd(space.cd(domain.stall), this.features))
    yield* this.#forgetSpace(domain, space, pasid)
  }

  /** Nothing of this address space is cached for this domain any more. Its descriptor was changed, and that is known, before. */
  *#forgetSpace(domain: DomainState, space: AddressSpace, pasid: number): Op<void> {
    yield* this.#invalidation.tlb(space, this.#addressSpaces.granule, null, null, false)
    yield* this.#invalidation.atc(domain.devices, pasid, null, null)
  }

  *#rewriteStes(domain: DomainState): Op<void> {
    for (const state of domain.devices) yield* this.#configuration.writeSte(state, this.#configuration.steFor(state, domain))
  }

  // Runs beside all the others: takes no lock.
  *ioMmInvalidate(ioMm: DriverIoMm, domains: readonly DriverDomain[], start: bigint | null, end: bigint | null): Op<void> {
    const space = this.#spaces.get(ioMm)
    if (space === undefined || (start !== null && end !== null && end <= start)) return
    if (this.#options.btm !== true)
      yield* this.#invalidation.tlb(space, ioMm.mm?.space.format.granuleLog2 ?? this.#addressSpaces.granule, start, end, false)
    else this.#options.broadcastTlbi?.({ asid: space.asid, start, end })
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

  *pageResponse({ device, pasid, group, stallTag, code }: PageResponse): Op<void> {
    // No CMD_SYNC: it would say nothing about either (4.5.2, 4.7.1).
    if (stallTag !== null) yield* this.commands.issue([resume(device.id, stallTag, code)])
    else {
      const carried = device.capabilities.responseNeedsPasid ? pasid : null
      yield* this.commands.issue([pageResponse(device.id, carried, group, code)])
    }
  }

  handleQueues(sink: FaultSink): Op<void> {
    return this.#faults.handle(sink)
  }

  // Guests

  /**
   * The guest of a `nested` domain wrote the STE of its device (16 words); null: it has none yet, and sees its physical addresses.
   * @throws IommError BadArgument when it sets what is not its to set; then nothing was changed.
   */
  setGuestEntry(device: DriverDevice, guest: Uint32Array | null): Op<void> {
    return this.#lock.hold(() => this.#setGuestEntry(this.#device(device), guest))
  }

  *#setGuestEntry(state: DeviceState, guest: Uint32Array | null): Op<void> {
    const { domain } = state
    if (domain?.domain.kind !== 'nested')
      throw new IommError('NoDomain', `${state.device.name} is not in a nested domain; attach it to one first`)
    const target = this.#configuration.steFor(state, domain, guest)
    state.guest = guest
    yield* this.#configuration.writeSte(state, target)
    // Another stage 1: what the device holds is from the one before. IOTLB entries are the guest's to invalidate.
    yield* this.#invalidation.atc([state], null, null, null)
  }

  /** Invalidation commands of a `nested` domain's guest, as it wrote them (4 words each). @throws IommError BadArgument for others. */
  *guestInvalidate(domain: DriverDomain, commands: readonly Uint32Array[]): Op<void> {
    const { stage2, devices } = this.#domain(domain)
    if (stage2 === null) throw new IommError('Unsupported', `domain ${domain.name} has no guest`)
    const owns = (sid: number) => [...devices].some(({ device }) => device.id === sid)
    yield* this.commands.issueAndSync(commands.map((command) => guestCommand(command, stage2.vmid, owns)))
  }

  // Parts

  #domain(domain: DriverDomain): DomainState {
    const state = this.#domains.get(domain)
    if (state === undefined) throw new IommError('Foreign', `domain ${domain.name} is not one of this SMMU's; allocate it first`)
    return state
  }

  #device(device: DriverDevice): DeviceState {
    const state = this.#devices.get(device.id)
    if (state === undefined) throw new IommError('Foreign', `device ${device.name} is not one of this SMMU's; add it first`)
    return state
  }

  #space(ioMm: DriverIoMm): AddressSpace {
    const space = this.#spaces.get(ioMm)
    if (space === undefined)
      throw new IommError('Foreign', `PASID ${ioMm.pasid} is not one of this SMMU's; allocate its io_mm first`)
    return space
  }
}

/** @throws IommError Unsupported */
function refuseMissing(features: SmmuFeatures, options: SmmuV3DriverOptions): void {
  const missing = (what: string, register: string) => {
    throw new IommError('Unsupported', `the SMMU has no ${what} (SMMU_${register}); leave that option out`)
  }
  if (options.btm === true && !features.btm) missing('broadcast TLB maintenance', 'IDR0.BTM')
  if (options.strtab === '2lvl' && !features.stream2l) missing('two-level stream tables', 'IDR0.ST_LEVEL')
  if ((options.cdtab ?? 'auto').startsWith('2lvl') && !features.cd2l) missing('two-level CD tables', 'IDR0.CD2L')
}
