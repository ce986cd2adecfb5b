/** The stream table: where the STE of each StreamID lies. Linear, or two levels with leaves on demand. Arm IHI 0070, 3.3.1, 5.1. */
import { encode } from '../../base/layout.ts'
import type { PageAllocator, WordMemory } from '../../base/memory.ts'
import { IommError } from '../../core/error.ts'
import { L1STD } from '../../format/smmuv3/l1.ts'
import { STRTAB_2LVL, STRTAB_LINEAR } from '../../format/smmuv3/registers.ts'
import { STE_BYTES } from '../../format/smmuv3/ste.ts'
import { RadixTable } from '../common/radix-table.ts'

/** StreamID bits that index a leaf: 256 STEs, 16 KiB. */
const SPLIT = 8

export class StreamTable {
  readonly bits: number
  readonly split: number
  readonly #table: RadixTable

  /** @param bits width of StreamIDs. */
  constructor(memory: WordMemory, pages: PageAllocator, bits: number, form: 'linear' | '2lvl') {
    this.bits = bits
    this.split = form === '2lvl' && bits > SPLIT ? SPLIT : 0
    this.#table = new RadixTable(memory, pages, {
      bits: this.split === 0 ? [bits] : [bits - SPLIT, SPLIT],
      entryBytes: STE_BYTES,
      pointer: (leaf) => encode(L1STD, { Span: SPLIT + 1, L2Ptr: BigInt(leaf) }),
    })
  }

  get base(): number {
    return this.#table.base
  }

  /** STRTAB_BASE_CFG.FMT. */
  get format(): number {
    return this.split === 0 ? STRTAB_LINEAR : STRTAB_2LVL
  }

  /** Where the STE lies, with its leaf; `grew`: the leaf is new, and what the hardware may have cached of the first level is to be invalidated. */
  make(sid: number): { entry: number; grew: boolean } {
    if (sid >= 2 ** this.bits || sid < 0)
      throw new IommError(
        'BadArgument',
        `StreamID 0x${sid.toString(16)} needs more than the ${this.bits} bits of the stream table; give the driver more streamIdBits`,
      )
    return this.#table.make(sid)
  }
}
