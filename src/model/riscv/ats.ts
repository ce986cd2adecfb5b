/** What a device is told about a fault, and ATS completions. RISC-V IOMMU 1.0, "PCIe ATS translation request handling". */

import { UR, UW, UX } from '../../base/types.ts'
import { TC_T2GPA } from '../../format/riscv/contexts.ts'
import { CAUSE_DDT_CORRUPT, CAUSE_TYPE_DISALLOWED } from '../../format/riscv/records.ts'
import {
  REQUEST_CXL,
  REQUEST_EXECUTE,
  REQUEST_PRIVILEGED,
  RESPONSE_ABORT,
  RESPONSE_SUCCESS,
  RESPONSE_UNSUPPORTED,
  type RiscvResult,
} from './request.ts'

/** Faults that an ATS request answers with Success and no access, and without a record. */
const SUCCESS_WITHOUT_ACCESS = new Set([12, 13, 15, 20, 21, 23, 262, 266])

/** The response to a request that faulted. Whatever is not a Success is also recorded. */
export function responseTo(cause: number, ats: boolean): number {
  if (!ats) return RESPONSE_UNSUPPORTED
  if (SUCCESS_WITHOUT_ACCESS.has(cause)) return RESPONSE_SUCCESS
  // 256 to 260: a permanent error, or ATS is off. All else, corrupt data included, is a configuration error.
  return cause >= 256 && cause <= CAUSE_TYPE_DISALLOWED && cause < CAUSE_DDT_CORRUPT ? RESPONSE_UNSUPPORTED : RESPONSE_ABORT
}

/** The fields of an ATS translation completion. */
export interface AtsCompletion {
  readonly read: boolean
  readonly write: boolean
  readonly execute: boolean
  /** Untranslated access only. */
  readonly untranslatedOnly: boolean
  readonly global: boolean
  readonly privileged: boolean
  readonly cxlIo: boolean
}

/** The completion of an ATS request whose response was Success. */
export function completionOf(result: RiscvResult, process: number, flags: number): AtsCompletion {
  const privileged = process >= 0 && (flags & REQUEST_PRIVILEGED) !== 0
  const rights = privileged ? result.rights >>> 3 : result.rights
  const read = (rights & UR) !== 0
  const granted = result.cause === 0
  return {
    read: granted && read,
    write: granted && (rights & UW) !== 0 && result.dirty,
    // "The X permission is granted only if the R permission is also granted and the execute permission was requested."
    execute: granted && read && (rights & UX) !== 0 && (flags & REQUEST_EXECUTE) !== 0,
    untranslatedOnly: granted && result.mrif,
    global: granted && process >= 0 && result.global,
    privileged,
    cxlIo: (flags & REQUEST_CXL) !== 0 && (result.pbmt !== 0 || result.msi || (result.tc & TC_T2GPA) !== 0),
  }
}
