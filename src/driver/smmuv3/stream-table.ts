/** The stream table: where the STE of each StreamID lies. Linear, or two levels with leaves on demand. Arm IHI 0070, 3.3.1, 5.1. */
import { encode } from '../../base/layout.ts'
import type { PageAllocator, WordMemory } from '../../base/memory.ts'
import { IommError } from '../../core/error.ts'
import { L1_BYTES, L1STD } from '../../format/smmuv3/l1.ts'
import { STRTAB_2LVL, STRTAB_LINEAR } from '../../format/smmuv3/registers.ts'
import { STE_BYTES } from '../../format/smmuv3/ste.ts'
import { storeWords } from './words.ts'

/** StreamID bits that index a leaf: 256 STEs, 16 KiB. */
const SPLIT = 8

export class StreamTable {
  readonly base: number
  readonly bits: number
  readonly twoLevel: boolean
  readonly split: number
  readonly #memory: WordMemory
  readonly #pages: PageAllocator
  readonly #leaves = new Map<number, number>()

  /** @param bits width of StreamIDs. */
  constructor(memory: WordMemory, pages: PageAllocator, bits: number, form: 'linear' | '2lvl') {
    this.#memory = memory
    this.#pages = pages
    this.bits = bits
    this.twoLevel = form === '2lvl' && bits > SPLIT
    this.split = this.twoLevel ? SPLIT : 0
    this.base = pages.allocate(blockSize(this.twoLevel ? 2 ** (bits - SPLIT) * L1_BYTES : 2 ** bits * STE_BYTES))
  }

  /** STRTAB_BASE_CFG.FMT. */
  get format(): number {
    return this.twoLevel ? STRTAB_2LVL : STRTAB_LINEAR
  }

  /** Whether the STE of this stream has memory already. */
  has(sid: number): boolean {
    return !this.twoLevel || this.#leaves.has(Math.floor(sid / 2 ** SPLIT))
  }

  /**
   * Where the STE lies. Allocates the leaf when there is none: the caller then invalidates what the hardware may have cached of the
   * first level.
   */
  entry(sid: number): number {
    if (sid >= 2 ** this.bits || sid < 0)
      throw new IommError(
        'BadArgument',
        `StreamID 0x${sid.toString(16)} needs more than the ${this.bits} bits of the stream table; give the driver more streamIdBits`,
      )
    if (!this.twoLevel) return this.base + sid * STE_BYTES
    const first = Math.floor(sid / 2 ** SPLIT)
    let leaf = this.#leaves.get(first)
    if (leaf === undefined) {
      leaf = this.#pages.allocate(2 ** SPLIT * STE_BYTES)
      this.#leaves.set(first, leaf)
      // The leaf is complete (all STEs invalid) before the first level points to it.
      storeWords(this.#memory, this.base + first * L1_BYTES, encode(L1STD, { Span: SPLIT + 1, L2Ptr: BigInt(leaf) }))
    }
    return leaf + (sid % 2 ** SPLIT) * STE_BYTES
  }
}

/** What the allocator takes: a power of two of at least a page. */
export function blockSize(bytes: number): number {
  return Math.max(4096, 2 ** Math.ceil(Math.log2(bytes)))
}
