/**
 * A whole computer: memory, CPUs' address spaces, an IOMMU with its OS side, devices. Nothing in it moves by itself: `run` takes one
 * operation to its end, `interleave` several at once, and both let hardware, devices and the interrupt thread move in between.
 */
import { type Op, run, Scheduler } from '../base/op.ts'
import { ALL_RIGHTS } from '../base/types.ts'
import type { Bond } from '../core/bond.ts'
import type { Device } from '../core/device.ts'
import type { Domain } from '../core/domain.ts'
import type { DeviceCapabilities, DomainKind } from '../core/driver.ts'
import { IommError } from '../core/error.ts'
import type { CoreEvent } from '../core/events.ts'
import type { IoMm } from '../core/io-mm.ts'
import { Iommu } from '../core/iommu.ts'
import type { MmEvent } from '../mm/events.ts'
import type { Mm } from '../mm/mm.ts'
import { SharedMemory } from '../mm/shared.ts'
import { MmSystem } from '../mm/system.ts'
import type { DeviceMessage, IommuModel } from '../model/iommu.ts'
import type { Architecture, CpuChoice, Hardware, SeenCommand } from './architecture.ts'
import { architecture, STANDARD } from './architectures.ts'
import { type DeviceCounts, Requester, type StaleHit } from './device.ts'
import { type Guest, GuestMemory } from './guest.ts'
import type { CacheName } from './language/words.ts'
import { MachineMemory } from './memory.ts'

/** What a machine tells about itself while it runs. */
export type MachineEvent =
  | { readonly source: 'core'; readonly event: CoreEvent }
  | { readonly source: 'mm'; readonly event: MmEvent }
  | { readonly source: 'command'; readonly command: SeenCommand; readonly lost: boolean }
  | { readonly source: 'device'; readonly device: Requester; readonly text: string }
  | { readonly source: 'stale'; readonly hit: StaleHit }

export interface MachineOptions {
  /** Name of the architecture; by default the one that a scenario has which names none. */
  readonly iommu?: string
  /** Its options. */
  readonly iommuOptions?: Readonly<Record<string, unknown>>
  readonly cpu?: CpuChoice
  /** Bytes of RAM, and its first address. */
  readonly memory?: number
  readonly memoryStart?: number
  readonly pasidAllocation?: 'lowest' | 'cyclic'
  /** Largest device id that will be added. */
  readonly largestDevice?: number
  /** Compare every answer of a cache with the tables. By default true; a benchmark switches it off. */
  readonly checkStale?: boolean
  /** Sees everything that happens. */
  readonly log?: (event: MachineEvent) => void
}

/** A process of the machine: its address space changes with `exec`, its name does not. */
export interface Process {
  readonly name: string
  mm: Mm
  /** The PASID that it has, or had last; a careless device may still use it. */
  pasid: number | null
}

/** A device: what it does on the bus, and what the OS side knows of it. */
export interface MachineDevice {
  readonly name: string
  readonly detail: string | null
  readonly requester: Requester
  readonly core: Device
  /** Bonds in the order in which they were made, a bond as often as it was bound. */
  readonly bonds: { readonly to: Process | string; readonly bond: Bond }[]
}

export interface Buffer {
  readonly pa: number
  readonly bytes: number
}

/** Names for `inspect/`: by device id, and by the address of a top table. */
export interface MachineNames {
  readonly devices: ReadonlyMap<number, { readonly name: string; readonly detail?: string; readonly domain?: string }>
  readonly spaces: ReadonlyMap<bigint, { readonly label: string; readonly role: 'io_pgtable' | 'io_mm' | 'private' }>
}

const DEFAULT_MEMORY = 256 * 1024 * 1024
const DEFAULT_START = 0x80000000
/** Moves in a row after which `settle` says that the machine never comes to rest. */
const RESTLESS = 1_000_000

export class Machine {
  readonly architecture: Architecture
  /** The architecture's options. */
  readonly iommuOptions: Readonly<Record<string, unknown>>
  readonly memory: MachineMemory
  readonly model: IommuModel
  readonly iommu: Iommu
  readonly mms: MmSystem
  readonly processes = new Map<string, Process>()
  readonly devices = new Map<string, MachineDevice>()
  readonly domains = new Map<string, Domain>()
  /** Private spaces. */
  readonly spaces = new Map<string, IoMm>()
  readonly buffers = new Map<string, Buffer>()
  readonly guests = new Map<string, Guest>()
  /** Whether the OS side answers interrupts. */
  interrupts = true
  /** What devices did so far. */
  readonly counts: DeviceCounts = { pageRequests: 0, stalls: 0 }
  readonly #hardware: Hardware
  readonly #shared = new Map<string, SharedMemory>()
  readonly #requesters = new Map<number, Requester>()
  /** Messages of the IOMMU on their way to devices. */
  readonly #messages: DeviceMessage[] = []
  readonly #log: ((event: MachineEvent) => void) | null
  readonly #checkStale: boolean
  #interrupt = false
  #service: Op<void> | null = null
  #racing = false

  constructor(options: MachineOptions = {}) {
    this.#log = options.log ?? null
    this.#checkStale = options.checkStale ?? true
    this.architecture = architecture(options.iommu ?? STANDARD)
    this.iommuOptions = options.iommuOptions ?? {}
    const start = options.memoryStart ?? DEFAULT_START
    this.memory = new MachineMemory([{ start, end: start + (options.memory ?? DEFAULT_MEMORY) }])
    const cpu = this.architecture.cpu(options.cpu ?? {})
    this.#hardware = this.architecture.build({
      memory: this.memory,
      cpu,
      options: this.iommuOptions,
      largestDevice: options.largestDevice ?? 255,
      watch: this.#log === null ? null : (command, lost) => this.#log?.({ source: 'command', command, lost }),
    })
    const { model, driver } = this.#hardware
    this.model = model
    const log = this.#log
    this.mms = new MmSystem(this.memory, cpu, log === null ? {} : { log: (event) => log({ source: 'mm', event }) })
    // A computer that has run for a while: the first tags belong to processes that have nothing to do with devices.
    const taken = options.cpu?.asidsTaken ?? (cpu.asidBits < 8 ? 0 : 15)
    for (let count = 0; count < taken; count++) this.mms.asids.switchTo(0, this.mms.asids.newContext())
    this.iommu = new Iommu(driver, {
      pasidAllocation: options.pasidAllocation ?? 'lowest',
      ...(log === null ? {} : { log: (event) => log({ source: 'core', event }) }),
    })
    model.onMessage = (message) => this.#messages.push(message)
    model.onInterrupt = () => {
      this.#interrupt = true
    }
    this.run(this.iommu.init())
  }

  addProcess(name: string): Process {
    const process: Process = { name, mm: this.mms.create(name), pasid: null }
    this.processes.set(name, process)
    return process
  }

  /** Adds a process that exists already, as a child of fork does. */
  adoptProcess(name: string, mm: Mm): Process {
    const process: Process = { name, mm, pasid: null }
    this.processes.set(name, process)
    return process
  }

  addDevice(given: {
    id: number
    name: string
    capabilities: DeviceCapabilities
    atcEntries?: number
    detail?: string
  }): MachineDevice {
    const log = this.#log
    const requester = new Requester(given, {
      model: this.model,
      memory: this.memory,
      racing: () => this.#racing,
      checkStale: this.#checkStale,
      counts: this.counts,
      onStale: (hit) => log?.({ source: 'stale', hit }),
      log: log === null ? null : (device, text) => log({ source: 'device', device, text }),
    })
    const hooks = { stopPasid: (pasid: number) => requester.stop(pasid) }
    const core = this.run(this.iommu.addDevice({ id: given.id, name: given.name, capabilities: given.capabilities, hooks }))
    const device: MachineDevice = { name: given.name, detail: given.detail ?? null, requester, core, bonds: [] }
    this.devices.set(given.name, device)
    this.#requesters.set(given.id, requester)
    return device
  }

  createDomain(name: string, kind: DomainKind = 'dma'): Domain {
    const domain = this.run(this.iommu.createDomain(name, kind))
    this.domains.set(name, domain)
    return domain
  }

  /** Memory with a name, to map for DMA. */
  addBuffer(name: string, bytes: number): Buffer {
    const size = 2 ** Math.ceil(Math.log2(Math.max(bytes, this.pageSize)))
    const buffer = { pa: this.memory.allocate(size), bytes }
    this.buffers.set(name, buffer)
    return buffer
  }

  /**
   * Starts a guest in a `nested` domain, which its devices are in already: its memory is mapped at `start` of the domain's stage 2.
   * @throws IommError Unsupported where the architecture has no guests.
   */
  addGuest(name: string, given: { domain: Domain; start: number; bytes: number }): Guest {
    const { startGuest } = this.#hardware
    if (startGuest === null) throw new IommError('Unsupported', `${this.architecture.title} has no guests here`)
    const { domain, start } = given
    const memory = new GuestMemory(this.memory, start, given.bytes)
    this.run(domain.map(BigInt(start), BigInt(memory.pa), BigInt(given.bytes), ALL_RIGHTS))
    const pasidBits = Math.max(0, ...[...domain.devices].map(({ capabilities }) => capabilities.pasidBits))
    const guest = this.run(startGuest({ domain, memory, pasidBits }))
    this.guests.set(name, guest)
    return guest
  }

  /** Shared memory of this name, made at its first use. */
  shared(name: string): SharedMemory {
    let shared = this.#shared.get(name)
    if (shared === undefined) {
      shared = new SharedMemory(name)
      this.#shared.set(name, shared)
    }
    return shared
  }

  /** From now on invalidations of this cache get lost on their way to the hardware, or no longer. */
  forget(cache: CacheName, lost: boolean): void {
    this.#hardware.forget(cache, lost)
  }

  /** Page size of the CPUs. */
  get pageSize(): number {
    return 2 ** this.mms.cpu.format.granuleLog2
  }

  /** Value of the register at this offset, for who inspects the machine. Reading has no effect. */
  register(offset: number, bytes: 4 | 8): bigint {
    return this.model.read(offset, bytes)
  }

  /** What the tables do not hold: names of devices, and whose each page table is. */
  names(): MachineNames {
    const devices = new Map<number, { name: string; detail?: string; domain?: string }>()
    for (const { name, detail, core } of this.devices.values()) {
      devices.set(core.id, {
        name,
        ...(detail === null ? {} : { detail }),
        ...(core.domain === null ? {} : { domain: core.domain.name }),
      })
    }
    const spaces = new Map<bigint, { label: string; role: 'io_pgtable' | 'io_mm' | 'private' }>()
    for (const { name, mm } of this.processes.values())
      if (mm.alive) spaces.set(BigInt(mm.space.root), { label: `mm ${name}`, role: 'io_mm' })
    const { driver } = this.iommu
    for (const domain of this.iommu.domains) {
      const root = driver.pgtable(domain)?.space?.root
      if (root !== undefined) spaces.set(BigInt(root), { label: `domain ${domain.name}`, role: 'io_pgtable' })
    }
    for (const ioMm of this.iommu.ioMms.values()) {
      if (ioMm.mm !== null || ioMm.state === 'freed') continue
      const root = driver.ioMmPgtable(ioMm).space?.root
      if (root !== undefined) spaces.set(BigInt(root), { label: ioMm.name, role: 'private' })
    }
    return { devices, spaces }
  }

  /** Runs one operation to its end; hardware, devices and the interrupt thread move in between. */
  run<T>(op: Op<T>): T {
    return run(op, () => this.#moveAll())
  }

  /** Lets everything that is outstanding happen: commands, messages, interrupts. */
  settle(): void {
    for (let moves = 0; this.#moveAll(); moves++) {
      if (moves > RESTLESS) throw new Error('the machine does not come to rest')
    }
  }

  /** Runs operations at the same time, in an order that the seed decides. Each gives its value, or what it threw. */
  interleave<T>(
    ops: readonly { readonly name: string; readonly op: Op<T> }[],
    seed: number,
  ): ({ value: T } | { thrown: unknown })[] {
    const scheduler = new Scheduler(seed)
    const tasks = ops.map(({ name, op }) => scheduler.spawn(name, op))
    for (const [name, move] of this.#movers) scheduler.spawn(name, forever(name, move), { service: true })
    this.#racing = true
    try {
      scheduler.run()
    } finally {
      this.#racing = false
    }
    return tasks.map((task) => {
      try {
        return { value: task.result() }
      } catch (thrown) {
        return { thrown }
      }
    })
  }

  /** What moves beside the operation that runs. Each does one thing, and returns whether there was one. */
  readonly #movers: readonly (readonly [string, () => boolean])[] = [
    ['hardware', () => this.model.step()],
    ['devices', () => this.#deliver()],
    ['interrupts', () => this.#serve()],
  ]

  #moveAll(): boolean {
    // Written out: this runs at every pause of every operation.
    const hardware = this.model.step()
    const devices = this.#deliver()
    const interrupts = this.#serve()
    return hardware || devices || interrupts
  }

  #deliver(): boolean {
    const message = this.#messages.shift()
    if (message === undefined) return false
    this.#requesters.get(message.device)?.receive(message)
    return true
  }

  /** One stretch of the interrupt thread. */
  #serve(): boolean {
    if (this.#service === null) {
      if (!this.#interrupt || !this.interrupts) return false
      this.#interrupt = false
      this.#service = this.iommu.serviceInterrupts()
    }
    const next = this.#service.next()
    if (next.done === true) {
      this.#service = null
      return true
    }
    return next.value.kind === 'step'
  }
}

function* forever(name: string, move: () => boolean): Op<void> {
  for (;;) yield move() ? { kind: 'step', what: name } : { kind: 'wait', what: `work for ${name}` }
}
