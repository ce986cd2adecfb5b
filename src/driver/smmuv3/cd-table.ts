/** A domain's PASID table: its context descriptors. Linear, or two levels with leaves on demand. Arm IHI 0070, 3.3.2, 5.3. */
import { encode } from '../../base/layout.ts'
import type { PageAllocator, WordMemory } from '../../base/memory.ts'
import { CD_BYTES } from '../../format/smmuv3/cd.ts'
import { L1CD } from '../../format/smmuv3/l1.ts'
import { S1FMT_4K_L2, S1FMT_64K_L2, S1FMT_LINEAR } from '../../format/smmuv3/ste.ts'
import { RadixTable } from '../common/radix-table.ts'

export type CdTableForm = 'linear' | '2lvl-4k' | '2lvl-64k'

/** log2 of the CDs in a leaf. */
const LEAF_BITS: Record<CdTableForm, number> = { linear: 0, '2lvl-4k': 6, '2lvl-64k': 10 }
const FORMATS: Record<CdTableForm, number> = { linear: S1FMT_LINEAR, '2lvl-4k': S1FMT_4K_L2, '2lvl-64k': S1FMT_64K_L2 }

export class CdTable extends RadixTable {
  readonly form: CdTableForm

  /**
   * @param bits log2 of the number of CDs: STE.S1CDMax.
   * @param form two levels are used only where one leaf would not hold all.
   */
  constructor(memory: WordMemory, pages: PageAllocator, bits: number, form: CdTableForm) {
    const split = LEAF_BITS[form]
    const linear = bits <= split || split === 0
    super(memory, pages, {
      bits: linear ? [bits] : [bits - split, split],
      entryBytes: CD_BYTES,
      pointer: (leaf) => encode(L1CD, { V: 1, L2Ptr: BigInt(leaf) }),
    })
    this.form = linear ? 'linear' : form
  }

  /** STE.S1Fmt. */
  get format(): number {
    return FORMATS[this.form]
  }
}
