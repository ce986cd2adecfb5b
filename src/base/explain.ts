/** One step of a translation, for people: which entry was read, where, and what it decided. */
import type { DescribedField } from './layout.ts'

export interface TranslationStep {
  /** The structure's name as the manual prints it (`STE`, `CD`, `L1STD`, `DC`), or the page-table format's name. */
  readonly structure: string
  /** 0: device or PASID table; 1, 2: a page-table entry of that stage. */
  readonly stage: 0 | 1 | 2
  /** Level as the format numbers it; null outside page tables. */
  readonly level: number | null
  /** Where the entry lies (physical); null when nothing was read (a register decided). */
  readonly address: bigint | null
  /** Raw 64-bit words. */
  readonly words: readonly bigint[]
  /** Decoded fields; empty for page-table entries of formats without a layout. */
  readonly fields: readonly DescribedField[]
  /** What follows from it, in words: `valid, stage 1, CD table at 0x…`. */
  readonly decided: string
}
