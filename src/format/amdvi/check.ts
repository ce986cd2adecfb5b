/** Which device table entries are illegal. AMD IOMMU specification (48882), 2.2.2.1 "Device Table Entry Format", 2.5.2 "ILLEGAL_DEV_TABLE_ENTRY". */
import { uncovered } from '../../base/layout.ts'
import {
  DTE,
  DTE0_TV,
  DTE0_V,
  DTE1_GIOV,
  DTE1_GPRP,
  DTE1_GV,
  DTE1_PPR,
  DTE4_IV,
  dteGlx,
  dteGuestPagingMode,
  dteIntCtl,
  dteMode,
  MAX_INT_TAB_LEN,
  MODE_RESERVED,
} from './dte.ts'
import type { AmdFeatures } from './features.ts'

export interface DteRule {
  readonly text: string
  readonly section: string
  /** RZ of the event: a reserved bit or value is set; else a level is encoded that is not there. */
  readonly reserved: boolean
}

const rule = (text: string, reserved: boolean): DteRule => ({ text, section: '2.2.2.1', reserved })

/** By the number that `checkDte` and `checkDteInterrupts` return (0: no rule is broken). */
export const DTE_RULES: readonly DteRule[] = [
  rule('', false),
  rule('reserved bits of bits 127:1 are set', true),
  rule('Mode is 7, which is reserved', false),
  rule('Mode has more levels than EXT_FEATURE.HATS', false),
  rule('HAD is 2, or asks for what EXT_FEATURE.HASup and HDSup do not have', true),
  rule('EXT_FEATURE.PPRSup is 0, and PPR or GPRP is 1', true),
  rule('EXT_FEATURE.GIOSup is 0 and GIOV is 1', true),
  rule('EXT_FEATURE.GTSup is 0 and GV is 1', true),
  rule('GLX is 3, or has more levels than EXT_FEATURE.GLXSup', false),
  rule('GuestPagingMode is 2 or 3, or has more levels than EXT_FEATURE.GATS', false),
  rule('IoCtl is 3, which is reserved', true),
  rule('reserved bits of the interrupt fields are set', true),
  rule('IntTabLen is above 11, which is reserved', true),
  rule('IntCtl is 3, which is reserved', true),
]

const ZERO = uncovered(DTE)
/** Bits 181:180, which are reserved in the interrupt half. What no field covers above bit 191 is not checked. */
const INTERRUPT_ZERO = ZERO[5]!

/** The rule that bits 127:1 of an entry break (an index of `DTE_RULES`), 0 when none. With V = 0 nothing is checked. */
export function checkDte(words: Int32Array, at: number, features: AmdFeatures): number {
  const low = words[at]!
  const high = words[at + 1]!
  if ((low & DTE0_V) === 0) return 0
  if (((low & ZERO[0]!) | (high & ZERO[1]!) | (words[at + 2]! & ZERO[2]!) | (words[at + 3]! & ZERO[3]!)) !== 0) return 1
  if (((words[at + 3]! >>> 3) & 3) === 3) return 10
  // Without TV the translation fields say nothing.
  if ((low & DTE0_TV) === 0) return 0
  const mode = dteMode(words, at)
  if (mode === MODE_RESERVED) return 2
  if (mode > features.hostLevels) return 3
  if (((features.hadValues >>> ((low >>> 7) & 3)) & 1) === 0) return 4
  if (!features.ppr && (high & (DTE1_PPR | DTE1_GPRP)) !== 0) return 5
  if (!features.giov && (high & DTE1_GIOV) !== 0) return 6
  if ((high & DTE1_GV) === 0) return 0
  if (!features.guestSupported) return 7
  // While CONTROL.GTEn is 0, GV counts as 0.
  if (!features.guest) return 0
  if (dteGlx(words, at) > Math.min(2, features.glxMax)) return 8
  return features.guestTables[dteGuestPagingMode(words, at)] === null ? 9 : 0
}

/** The rule that the interrupt fields (bits 191:128) of an entry break, 0 when none. With IV = 0 nothing is checked. */
export function checkDteInterrupts(words: Int32Array, at: number): number {
  const low = words[at + 4]!
  if ((low & DTE4_IV) === 0) return 0
  if ((words[at + 5]! & INTERRUPT_ZERO) !== 0) return 11
  if (((low >>> 1) & 15) > MAX_INT_TAB_LEN) return 12
  return dteIntCtl(words, at) === 3 ? 13 : 0
}
