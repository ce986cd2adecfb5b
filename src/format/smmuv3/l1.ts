/** First-level descriptors of two-level tables: L1STD (stream table, Arm IHI 0070, 5.1) and L1CD (CD table, 5.3). */
import { addr, flag, layout, uint } from '../../base/layout.ts'

export const L1_BYTES = 8
export const L1_WORDS = 2

/** 2^(Span − 1) STEs; 0: no STEs here. */
export const L1STD = layout('L1STD', 64, {
  Span: uint(4, 0, '2^(Span − 1) entries; 0: none'),
  L2Ptr: addr(55, 6, 'second-level stream table'),
})

export const L1CD = layout('L1CD', 64, {
  V: flag(0, 'entry is valid'),
  L2Ptr: addr(55, 12, 'second-level CD table; intermediate under a stage 2'),
})
