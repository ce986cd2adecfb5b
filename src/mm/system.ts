/** The CPU's side of a machine: its page-table format as data, its processes, page frames, swap and ASIDs. */
import { AD_IGNORE, type PtFormat, type PtSpace, ptSpace, TOP_SIGN, TOP_ZERO } from '../format/pt/format.ts'
import { Walker } from '../format/pt/walker.ts'
import type { PhysicalMemory } from '../memory/physical.ts'
import { AsidAllocator } from './asid.ts'
import type { MmEvent } from './events.ts'
import { Frames, Swap } from './frames.ts'
import { Mm } from './mm.ts'

/** What the CPUs are, as far as address spaces go. */
export interface CpuDescription {
  readonly format: PtFormat
  readonly topDepth: number
  readonly inputBits: number
  /** 2^(physical address size). */
  readonly outputLimit: number
  /** TOP_ZERO (default) or TOP_SIGN. Processes use the lower half of a sign-extended space. */
  readonly top?: number
  /** Width of address-space tags; 0: none. */
  readonly asidBits: number
  readonly cpus: number
  /** Kernel and user halves have ASIDs of their own (pairs; the user's is odd). */
  readonly kpti?: boolean
  /** What the CPUs' walkers do where an access or dirty bit is needed: AD_IGNORE (default), AD_FAULT, AD_SET. */
  readonly accessed?: number
  readonly dirty?: number
  /** Attribute bits of new leaves: memory type, shareability, not-global … */
  readonly attributesLo?: number
  readonly attributesHi?: number
  /** The context's last word on rights (PtSpace.fix). */
  readonly fix?: Uint8Array
}

export interface MmOptions {
  readonly log?: (event: MmEvent) => void
  /** How far a stack may grow, in bytes. Default 8 MiB. */
  readonly stackLimit?: number
  /** Bytes below a stack that no other area may be in for it to grow. Default 1 MiB. */
  readonly stackGuard?: number
}

export class MmSystem {
  readonly memory: PhysicalMemory
  readonly cpu: CpuDescription
  readonly frames: Frames
  readonly swap = new Swap()
  readonly asids: AsidAllocator
  /** The CPUs' walker. */
  readonly walker: Walker
  readonly stackLimit: number
  readonly stackGuard: number
  /** First address beyond what processes can have. */
  readonly addressLimit: number
  readonly log: (event: MmEvent) => void
  readonly #mms = new Set<Mm>()
  #nextId = 1

  /**
   * @example
   * const system = new MmSystem(new PhysicalMemory([{ start: 0x4000_0000, end: 0x8000_0000 }]), {
   *   format: vmsav8(12, 'el1'), topDepth: 3, inputBits: 48, outputLimit: 2 ** 48, asidBits: 16, cpus: 4,
   * })
   * const mm = system.create('X')
   * run(mm.mmap(0x1_0000n, 0x4000n, prot('rw')))
   * run(mm.access(0x1_0123n, 'write')) // 'ok'
   */
  constructor(memory: PhysicalMemory, cpu: CpuDescription, options: MmOptions = {}) {
    this.memory = memory
    this.cpu = cpu
    this.frames = new Frames(memory, 2 ** cpu.format.granuleLog2)
    this.asids = new AsidAllocator(cpu.asidBits, cpu.cpus, cpu.kpti ?? false)
    this.walker = new Walker(memory)
    this.stackLimit = options.stackLimit ?? 8 * 2 ** 20
    this.stackGuard = options.stackGuard ?? 2 ** 20
    this.addressLimit = 2 ** (cpu.top === TOP_SIGN ? cpu.inputBits - 1 : cpu.inputBits)
    this.log = options.log ?? (() => {})
  }

  /** A new process with an empty address space. */
  create(name: string): Mm {
    const mm = new Mm(this, name, this.#nextId++)
    this.#mms.add(mm)
    this.log({ kind: 'created', mm })
    return mm
  }

  /** Processes that have not ended. */
  get mms(): ReadonlySet<Mm> {
    return this.#mms
  }
  /** Page frames in use by processes and shared memory, tables not counted. */
  get framesInUse(): number {
    return this.frames.inUse
  }

  /** The space of a page table with this root, as the CPU walks it. */
  spaceAt(root: number): PtSpace {
    const { cpu } = this
    return ptSpace({
      format: cpu.format,
      root,
      topDepth: cpu.topDepth,
      inputBits: cpu.inputBits,
      top: cpu.top ?? TOP_ZERO,
      outputLimit: cpu.outputLimit,
      accessed: cpu.accessed ?? AD_IGNORE,
      dirty: cpu.dirty ?? AD_IGNORE,
      attributesLo: cpu.attributesLo ?? 0,
      attributesHi: cpu.attributesHi ?? 0,
      ...(cpu.fix === undefined ? {} : { fix: cpu.fix }),
    })
  }

  /** A process ended. Called by it. */
  ended(mm: Mm): void {
    this.#mms.delete(mm)
    this.log({ kind: 'exited', mm })
  }
}
