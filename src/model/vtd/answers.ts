/** How requests that fault are answered, by reason. Intel VT-d, table 30 in section 7.1.3. */
import * as fr from '../../format/vtd/faults.ts'
import { ATS_REQUEST, TRANSLATED } from '../common/request.ts'
import { ANSWER_ABORT, ANSWER_BLOCKED, ANSWER_NO_ACCESS, ANSWER_UNSUPPORTED } from './request.ts'

/** Reasons for which a translation request gets "Unsupported Request". */
const UNSUPPORTED = new Set<number>([
  fr.FR_ROOT_NOT_PRESENT,
  fr.FR_CONTEXT_NOT_PRESENT,
  fr.FR_TRANSLATION_BLOCKED,
  fr.FR_LEGACY_PASID,
  fr.FR_ABORT_DMA,
  fr.FR_SM_ROOT_NOT_PRESENT,
  fr.FR_SM_CONTEXT_NOT_PRESENT,
  fr.FR_SM_NO_DTE,
  fr.FR_SM_NO_PASIDE,
  fr.FR_SM_PASID_TOO_LARGE,
  fr.FR_SM_RID_PASID,
  fr.FR_SM_PASID_UNSUPPORTED,
])

/** Reasons for which it gets a completion without rights, so that the device can ask for the page. */
const NO_ACCESS = new Set<number>([
  fr.FR_ADDRESS_TOO_WIDE,
  fr.FR_NO_WRITE,
  fr.FR_NO_READ,
  fr.FR_PASID_DIR_NOT_PRESENT,
  fr.FR_PASID_NOT_PRESENT,
  fr.FR_NO_ERE,
  fr.FR_NO_SRE,
  fr.FR_FS_ACCESS,
  fr.FR_FS_NOT_PRESENT,
  fr.FR_FS_RESERVED,
  fr.FR_FS_ROOT_ACCESS,
  fr.FR_FS_NESTED_WIDE,
  fr.FR_FS_NESTED_ROOT_READ,
  fr.FR_FS_NESTED_READ,
  fr.FR_FS_NESTED_WRITE,
  fr.FR_FS_AD_NO_SNOOP,
  fr.FR_FS_AD_FAILED,
  fr.FR_SS_NOT_PRESENT,
  fr.FR_NON_CANONICAL,
  fr.FR_SUPERVISOR_PAGE,
  fr.FR_SM_HOST_TOO_WIDE,
  fr.FR_SS_ADDRESS_TOO_WIDE,
  fr.FR_SM_NO_WRITE,
  fr.FR_SM_NO_READ,
])

const OF_REQUEST = Uint8Array.from({ length: 256 }, (_, reason) =>
  UNSUPPORTED.has(reason) ? ANSWER_UNSUPPORTED : NO_ACCESS.has(reason) ? ANSWER_NO_ACCESS : ANSWER_ABORT,
)

/** The answer to a request with these flags that faults for this reason. */
export function answerTo(reason: number, flags: number): number {
  if ((flags & ATS_REQUEST) !== 0) return OF_REQUEST[reason]!
  return (flags & TRANSLATED) !== 0 ? ANSWER_UNSUPPORTED : ANSWER_BLOCKED
}

/** Whether a fault with this answer is reported to software: recoverable ones are not, but where an update failed (SFS.10). */
export function isReported(reason: number, answer: number): boolean {
  return answer !== ANSWER_NO_ACCESS || reason === fr.FR_FS_AD_FAILED
}
