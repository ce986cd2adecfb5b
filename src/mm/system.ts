/** The CPU's side of a machine: its page-table format as data, its processes, page frames, swap and ASIDs. */
import type { PtFormat } from '../format/pt/format.ts'
import type { PhysicalMemory } from '../memory/physical.ts'
import type { Mm } from './mm.ts'

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
  /** What the CPUs' walkers do where an access or dirty bit is needed: AD_IGNORE, AD_FAULT, AD_SET. */
  readonly accessed?: number
  readonly dirty?: number
  /** Attribute bits of new leaves: memory type, shareability, not-global … */
  readonly attributesLo?: number
  readonly attributesHi?: number
}

export class MmSystem {
  readonly memory: PhysicalMemory
  readonly cpu: CpuDescription

  constructor(memory: PhysicalMemory, cpu: CpuDescription) {
    this.memory = memory
    this.cpu = cpu
  }

  /** A new process with an empty address space. */
  create(name: string): Mm {
    throw new Error(`cannot create ${name} yet`)
  }

  /** Processes that have not exited. */
  get mms(): ReadonlySet<Mm> {
    return new Set()
  }
  /** Page frames in use by processes and shared memory, tables not counted. */
  get framesInUse(): number {
    return 0
  }
}
