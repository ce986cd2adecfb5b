/** A domain's PASID table: its context descriptors. Linear, or two levels with leaves on demand. Arm IHI 0070, 3.3.2, 5.3. */
import { encode } from '../../base/layout.ts'
import type { PageAllocator, WordMemory } from '../../base/memory.ts'
import { CD_BYTES } from '../../format/smmuv3/cd.ts'
import { L1_BYTES, L1CD } from '../../format/smmuv3/l1.ts'
import { S1FMT_4K_L2, S1FMT_64K_L2, S1FMT_LINEAR } from '../../format/smmuv3/ste.ts'
import { blockSize } from './stream-table.ts'
import { storeWords } from './words.ts'

export type CdTableForm = 'linear' | '2lvl-4k' | '2lvl-64k'

/** log2 of the CDs in a leaf. */
const LEAF_BITS: Record<CdTableForm, number> = { linear: 0, '2lvl-4k': 6, '2lvl-64k': 10 }
const FORMATS: Record<CdTableForm, number> = { linear: S1FMT_LINEAR, '2lvl-4k': S1FMT_4K_L2, '2lvl-64k': S1FMT_64K_L2 }

export class CdTable {
  readonly base: number
  /** log2 of the number of CDs: STE.S1CDMax. */
  readonly bits: number
  readonly form: CdTableForm
  readonly #memory: WordMemory
  readonly #pages: PageAllocator
  readonly #leaves = new Map<number, number>()

  /** @param form two levels are used only where one leaf would not hold all. */
  constructor(memory: WordMemory, pages: PageAllocator, bits: number, form: CdTableForm) {
    this.#memory = memory
    this.#pages = pages
    this.bits = bits
    this.form = bits > LEAF_BITS[form] ? form : 'linear'
    this.base = pages.allocate(this.#rootBytes)
  }

  /** STE.S1Fmt. */
  get format(): number {
    return FORMATS[this.form]
  }

  /** Where the CD of this PASID lies; null while its leaf does not exist. */
  find(pasid: number): number | null {
    if (this.form === 'linear') return this.base + pasid * CD_BYTES
    const count = 2 ** LEAF_BITS[this.form]
    const leaf = this.#leaves.get(Math.floor(pasid / count))
    return leaf === undefined ? null : leaf + (pasid % count) * CD_BYTES
  }

  /**
   * As `find`, with the leaf if there was none. @returns whether it is new: the caller then invalidates what the hardware may have
   * cached of the first level, before it uses the leaf.
   */
  make(pasid: number): { cd: number; newLeaf: boolean } {
    const known = this.find(pasid)
    if (known !== null) return { cd: known, newLeaf: false }
    const count = 2 ** LEAF_BITS[this.form]
    const index = Math.floor(pasid / count)
    const leaf = this.#pages.allocate(count * CD_BYTES)
    this.#leaves.set(index, leaf)
    // All CDs of the leaf are invalid, and complete, before the first level points to it.
    storeWords(this.#memory, this.base + index * L1_BYTES, encode(L1CD, { V: 1, L2Ptr: BigInt(leaf) }))
    return { cd: leaf + (pasid % count) * CD_BYTES, newLeaf: true }
  }

  /** Gives the memory back. Only when the hardware cannot reach it any more. */
  free(): void {
    for (const leaf of this.#leaves.values()) this.#pages.free(leaf, 2 ** LEAF_BITS[this.form] * CD_BYTES)
    this.#leaves.clear()
    this.#pages.free(this.base, this.#rootBytes)
  }

  get #rootBytes(): number {
    const split = LEAF_BITS[this.form]
    return blockSize(this.form === 'linear' ? 2 ** this.bits * CD_BYTES : 2 ** (this.bits - split) * L1_BYTES)
  }
}
