/** Which entries are illegal. Intel VT-d 4.1, section 9 (reserved fields, legal values) and section 7.1.3 (what is reported). */
import { getNumber, type Words } from '../../base/layout.ts'
import {
  CONTEXT_ENTRY,
  CONTEXT_WORDS,
  pasidLimit,
  SM_CONTEXT_DTE,
  SM_CONTEXT_ENTRY,
  SM_CONTEXT_PRE,
  SM_CONTEXT_WORDS,
  TT_DEVICE_TLB,
  TT_PASS_THROUGH,
} from './contexts.ts'
import type { VtdFeatures } from './features.ts'
import { IRTE_POSTED, IRTE_REMAPPED } from './irte.ts'
import {
  awOf,
  FSPM_5_LEVEL,
  PASID_ENTRY,
  PASID_WORDS,
  PGTT_FIRST_STAGE,
  PGTT_NESTED,
  PGTT_PASS_THROUGH,
  PGTT_SECOND_STAGE,
  pgttOf,
} from './pasid.ts'

/** The rules, by the number that the functions below return (0: no rule is broken). */
export const ENTRY_RULES = [
  '',
  'reserved bits are set',
  'TT is reserved',
  'TT asks for a device-TLB, and ECAP.DT is 0',
  'TT is pass-through, and ECAP.PT is 0',
  'AW is not a width that CAP.SAGAW has',
  'RID_PASID is beyond the PASID directory (PDTS)',
  'PGTT is reserved',
  'PGTT asks for a first stage, and ECAP.FSTS is 0',
  'PGTT asks for a second stage, and ECAP.SSTS is 0',
  'PGTT is nested, and ECAP.NEST is 0',
  'PGTT is pass-through, and ECAP.PT is 0',
  'FSPM is reserved',
  'FSPM asks for 5 levels, and CAP.FS5LP is 0',
  'DLM is reserved',
  'SVT is reserved',
  'the entry is posted (IM), and CAP.PI is 0',
  'PRE is 1, and DTE is 0',
  'nested, and FSPTPTR is wider than the second stage (AW, CAP.MGAW)',
] as const

/** Reserved bits: reported apart from the other rules. */
export const RULE_RESERVED = 1
const RULE_TT = 2
const RULE_TT_DT = 3
const RULE_TT_PT = 4
const RULE_AW = 5
const RULE_RID_PASID = 6
const RULE_PGTT = 7
const RULE_PGTT_FIRST = 8
const RULE_PGTT_SECOND = 9
const RULE_PGTT_NESTED = 10
const RULE_PGTT_PT = 11
const RULE_FSPM = 12
const RULE_FSPM_5 = 13
const RULE_DLM = 14
const RULE_SVT = 15
const RULE_POSTED = 16
const RULE_PRE = 17
const RULE_NESTED_ROOT = 18

/** Word of a PASID table entry that has FSPTPTR's upper half. */
const FSPTPTR_HIGH = 5

function anySet(words: Words, at: number, reserved: Uint32Array, from: number, count: number): boolean {
  let found = 0
  for (let word = 0; word < count; word++) found |= words[at + word]! & reserved[from + word]!
  return found !== 0
}

/** A present root entry of legacy mode. */
export function checkRoot(words: Words, at: number, features: VtdFeatures): number {
  return anySet(words, at, features.rootReserved, 0, 4) ? RULE_RESERVED : 0
}

/** A present half of a scalable-mode root entry, which starts at `at`. Both halves have the same form. */
export function checkSmRoot(words: Words, at: number, features: VtdFeatures): number {
  return anySet(words, at, features.smRootReserved, 0, 2) ? RULE_RESERVED : 0
}

/** A present context entry of legacy mode. */
export function checkContext(words: Words, at: number, features: VtdFeatures): number {
  const tt = (words[at]! >>> 2) & 3
  const through = tt === TT_PASS_THROUGH
  if (anySet(words, at, through ? features.passThroughReserved : features.contextReserved, 0, CONTEXT_WORDS)) return RULE_RESERVED
  if (tt === 3) return RULE_TT
  if (tt === TT_DEVICE_TLB && !features.deviceTlb) return RULE_TT_DT
  if (through && !features.passThrough) return RULE_TT_PT
  return ((features.sagaw >>> getNumber(words, CONTEXT_ENTRY.fields.AW, at)) & 1) === 0 ? RULE_AW : 0
}

/** A present context entry of scalable mode. */
export function checkSmContext(words: Words, at: number, features: VtdFeatures): number {
  if (anySet(words, at, features.smContextReserved, 0, SM_CONTEXT_WORDS)) return RULE_RESERVED
  if ((words[at]! & (SM_CONTEXT_DTE | SM_CONTEXT_PRE)) === SM_CONTEXT_PRE) return RULE_PRE
  const limit = pasidLimit(getNumber(words, SM_CONTEXT_ENTRY.fields.PDTS, at))
  return getNumber(words, SM_CONTEXT_ENTRY.fields.RID_PASID, at) >= limit ? RULE_RID_PASID : 0
}

/** A present entry of a PASID directory. */
export function checkPasidDir(words: Words, at: number, features: VtdFeatures): number {
  return anySet(words, at, features.pasidDirReserved, 0, 2) ? RULE_RESERVED : 0
}

/** A present entry of a PASID table. */
export function checkPasid(words: Words, at: number, features: VtdFeatures): number {
  if (anySet(words, at, features.pasidReserved, 0, PASID_WORDS)) return RULE_RESERVED
  const low = words[at]!
  const pgtt = pgttOf(low)
  if (pgtt < PGTT_FIRST_STAGE || pgtt > PGTT_PASS_THROUGH) return RULE_PGTT
  if (pgtt === PGTT_PASS_THROUGH) {
    if (!features.passThrough) return RULE_PGTT_PT
    return ((features.sagaw >>> awOf(low)) & 1) === 0 ? RULE_AW : 0
  }
  if (pgtt === PGTT_NESTED && !features.nested) return RULE_PGTT_NESTED
  if (pgtt !== PGTT_SECOND_STAGE) {
    if (!features.firstStage) return RULE_PGTT_FIRST
    const fspm = getNumber(words, PASID_ENTRY.fields.FSPM, at)
    if (fspm > FSPM_5_LEVEL) return RULE_FSPM
    if (fspm === FSPM_5_LEVEL && !features.fiveLevel) return RULE_FSPM_5
  }
  if (pgtt !== PGTT_FIRST_STAGE) {
    if (!features.secondStage) return RULE_PGTT_SECOND
    if (((features.sagaw >>> awOf(low)) & 1) === 0) return RULE_AW
  }
  return pgtt === PGTT_NESTED && guestTooWide(words, at, features) ? RULE_NESTED_ROOT : 0
}

/** Whether FSPTPTR of a nested entry, which is an address of the guest, is one that its second stage does not translate. */
function guestTooWide(words: Words, at: number, features: VtdFeatures): boolean {
  const bits = Math.min(features.guestAddressBits, 30 + 9 * awOf(words[at]!))
  return bits < 64 && words[at + FSPTPTR_HIGH]! >>> (bits - 32) !== 0
}

const DLM_RESERVED = (1 << 3) | (1 << 6)

/**
 * A present entry of the interrupt remapping table.
 * @param extended IRTA.EIME: destinations have 32 bits.
 */
export function checkIrte(words: Words, at: number, features: VtdFeatures, extended: boolean): number {
  const low = words[at]!
  const posted = (low & (1 << 15)) !== 0
  if (posted && !features.postedInterrupts) return RULE_POSTED
  // Bits 14:12 and 31:24; a posted entry has URG at 14, and neither DM, RH, TM nor DLM (7:2) nor address bits at 37:24.
  const reservedLow = posted ? 0xff0030fc : 0xff007000
  const high = words[at + 1]!
  const reservedHigh = posted ? 0x3f : extended ? 0 : 0xffff00ff
  const reservedTop = posted ? 0 : -1
  if (((low & reservedLow) | (high & reservedHigh) | (words[at + 2]! & 0xfff00000) | (words[at + 3]! & reservedTop)) !== 0)
    return RULE_RESERVED
  if (!posted && ((DLM_RESERVED >>> getNumber(words, IRTE_REMAPPED.fields.DLM, at)) & 1) !== 0) return RULE_DLM
  return getNumber(words, IRTE_POSTED.fields.SVT, at) === 3 ? RULE_SVT : 0
}
