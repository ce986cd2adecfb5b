/** Which device and process contexts are misconfigured. RISC-V IOMMU 1.0, "Device-context / Process-context configuration checks". */
import { uncovered } from '../../base/layout.ts'
import {
  DC,
  DC_FSC,
  DC_IOHGATP,
  DC_MSI_MASK,
  DC_MSI_PATTERN,
  DC_MSIPTP,
  DC_RESERVED,
  DC_TA,
  DC_TC,
  IOHGATP_BARE,
  MSIPTP_FLAT,
  MSIPTP_OFF,
  modeOf,
  PC,
  PC_FSC,
  PC_TA,
  TC_DPE,
  TC_EN_ATS,
  TC_EN_PRI,
  TC_GADE,
  TC_PDTV,
  TC_PRPR,
  TC_SADE,
  TC_SBE,
  TC_SXL,
  TC_T2GPA,
} from './contexts.ts'
import type { RiscvFeatures } from './features.ts'
import { CAP_END } from './registers.ts'

const DC_ZERO = uncovered(DC)
const PC_ZERO = uncovered(PC)

/** The rules of both lists, by the number that `checkDc` and `checkPc` return (0: no rule is broken). */
export const CONTEXT_RULES = [
  '',
  'reserved bits are set',
  'capabilities.ATS is 0, and EN_ATS, EN_PRI or PRPR is 1',
  'EN_ATS is 0 and T2GPA is 1',
  'EN_ATS is 0 and EN_PRI is 1',
  'EN_PRI is 0 and PRPR is 1',
  'capabilities.T2GPA is 0 and T2GPA is 1',
  'T2GPA is 1 and iohgatp.MODE is Bare',
  'pdtp.MODE is not a supported mode',
  'the MODE of the first stage is not valid or not supported',
  'PDTV is 0 and DPE is 1',
  'iohgatp.MODE is not valid or not supported',
  'msiptp.MODE is neither Off nor Flat',
  'the root of the second stage is not aligned to 16 KiB',
  'capabilities.AMO_HWAD is 0, and SADE or GADE is 1',
  'capabilities.END is 0 and SBE differs from fctl.BE',
  'SXL is not a legal value',
  'SBE is not a legal value',
  'RCID or MCID is wider than supported',
  'iohgatp.MODE is Bare and msiptp.MODE is not Off',
] as const

/** The rule that a device context with V = 1 breaks (an index of `CONTEXT_RULES`), 0 when none. `at` is the index of its first word. */
export function checkDc(words: Int32Array, at: number, features: RiscvFeatures): number {
  const tc = words[at + DC_TC]!
  const fscHigh = words[at + DC_FSC + 1]!
  const hgatpHigh = words[at + DC_IOHGATP + 1]!
  const msiHigh = words[at + DC_MSIPTP + 1]!
  const stage2 = modeOf(hgatpHigh)
  const sxl = (tc & TC_SXL) === 0 ? 0 : 1
  const sbe = (tc & TC_SBE) === 0 ? 0 : 1
  const reserved =
    (tc & DC_ZERO[DC_TC]!) |
    words[at + DC_TC + 1]! |
    (words[at + DC_TA]! & DC_ZERO[DC_TA]!) |
    (words[at + DC_TA + 1]! & DC_ZERO[DC_TA + 1]!) |
    (fscHigh & DC_ZERO[DC_FSC + 1]!) |
    (msiHigh & DC_ZERO[DC_MSIPTP + 1]!) |
    (words[at + DC_MSI_MASK + 1]! & DC_ZERO[DC_MSI_MASK + 1]!) |
    (words[at + DC_MSI_PATTERN + 1]! & DC_ZERO[DC_MSI_PATTERN + 1]!) |
    words[at + DC_RESERVED]! |
    words[at + DC_RESERVED + 1]!
  if (reserved !== 0) return 1
  if (!features.ats && (tc & (TC_EN_ATS | TC_EN_PRI | TC_PRPR)) !== 0) return 2
  if ((tc & TC_EN_ATS) === 0) {
    if ((tc & TC_T2GPA) !== 0) return 3
    if ((tc & TC_EN_PRI) !== 0) return 4
  }
  if ((tc & (TC_EN_PRI | TC_PRPR)) === TC_PRPR) return 5
  if ((tc & TC_T2GPA) !== 0) {
    if (!features.t2gpa) return 6
    if (stage2 === IOHGATP_BARE) return 7
  }
  if ((tc & TC_PDTV) !== 0) {
    if (((features.pdtModes >>> modeOf(fscHigh)) & 1) === 0) return 8
  } else {
    if (((features.stage1Modes[sxl]! >>> modeOf(fscHigh)) & 1) === 0) return 9
    if ((tc & TC_DPE) !== 0) return 10
  }
  if (((features.stage2Modes >>> stage2) & 1) === 0) return 11
  const msi = modeOf(msiHigh)
  if (msi !== MSIPTP_OFF && msi !== MSIPTP_FLAT) return 12
  if (stage2 !== IOHGATP_BARE && (words[at + DC_IOHGATP]! & 3) !== 0) return 13
  if (!features.hwad && (tc & (TC_SADE | TC_GADE)) !== 0) return 14
  if ((features.capLo & CAP_END) === 0 && sbe !== (features.be ? 1 : 0)) return 15
  if (((features.sxlValues >>> sxl) & 1) === 0) return 16
  if (((features.sbeValues >>> sbe) & 1) === 0) return 17
  // Where capabilities.QOSID is 0 all of these bits are reserved.
  if ((words[at + DC_TA + 1]! & features.qosReserved) !== 0) return 18
  if (stage2 === IOHGATP_BARE && msi !== MSIPTP_OFF) return 19
  return 0
}

/** The rule that a process context with V = 1 breaks, 0 when none. `tc` is the first word of its device context. */
export function checkPc(words: Int32Array, at: number, tc: number, features: RiscvFeatures): number {
  const fscHigh = words[at + PC_FSC + 1]!
  if (((words[at + PC_TA]! & PC_ZERO[PC_TA]!) | words[at + PC_TA + 1]! | (fscHigh & PC_ZERO[PC_FSC + 1]!)) !== 0) return 1
  return ((features.stage1Modes[(tc & TC_SXL) === 0 ? 0 : 1]! >>> modeOf(fscHigh)) & 1) === 0 ? 9 : 0
}
