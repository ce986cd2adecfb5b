/** What comes of a request. Intel VT-d, chapter 3 and section 7.1.3. */
import type { FastTranslation } from '../common/request.ts'

/** A flag of a request, for records of faults only: a page request. */
export const PAGE_REQUEST = 1 << 5

/** How a request that faults is answered. */
export const ANSWER_BLOCKED = 0
export const ANSWER_UNSUPPORTED = 1
export const ANSWER_ABORT = 2
/** A translation completion with no rights: nothing is recorded. */
export const ANSWER_NO_ACCESS = 3

/** What came of a request. Reused: copy what must last. Words of addresses are signed 32-bit numbers. */
export class VtdResult implements FastTranslation {
  /** 0, or the fault reason; for a translation request also of one that is answered with no access. */
  reason = 0
  /** ANSWER_…, when there is a reason, or nothing to tell one by. */
  answer = ANSWER_BLOCKED
  /** It did not get through, for a reason that has no number (`rule` says which). */
  refused = false
  paHi = 0
  paLo = 0
  /** What all stages allow, as a mask of UR … PX; for a translation request what is granted. */
  rights = 0
  /** log2 of the bytes that translate alike. */
  sizeLog2 = 0
  /** Whether the IOTLB answered. */
  cached = false
  /** Whether the fault is reported, and its record; whether a register was free for it, only FSTS says. */
  recorded = false
  readonly record = new Int32Array(4)
  /** Stage that refused: 1, 2; 0: none was reached. */
  stage = 0
  /** Whether page tables were walked for it, not the IOTLB asked. */
  walked = false
  /** Which rule, in words, where the reason does not tell all. */
  rule = ''
  /** The guest physical address at which a nested second stage refused. */
  ipaHi = 0
  ipaLo = 0
}
