/** What makes a command of the non-secure command queue illegal (CERROR_ILL). Arm IHI 0070, chapter 4. */
import { getNumber, type Words } from '../../base/layout.ts'
import * as op from './commands.ts'
import { type SmmuFeatures, STALL_NEVER } from './features.ts'
import type { Broken } from './ste-rules.ts'

const RESERVED: Broken = { rule: 'the opcode is reserved', section: '4.1.1' }
const SECURE_QUEUE: Broken = { rule: 'the command is one of the secure command queue', section: '4.4' }
const SSEC: Broken = { rule: 'SSec is 1: commands of the non-secure queue cannot name secure streams', section: '4.1.6' }
const NO_STAGE1: Broken = {
  rule: 'the command is about stage 1, which this SMMU does not have (IDR0.S1P is 0)',
  section: '4.3.3, 4.4.2',
}
const NO_STAGE2: Broken = {
  rule: 'the command is about stage 2, which this SMMU does not have (IDR0.S2P is 0)',
  section: '4.4.3',
}
const NO_HYP: Broken = { rule: 'the command is about EL2, which this SMMU does not have (IDR0.Hyp is 0)', section: '4.4.2' }
const NO_MPAM: Broken = { rule: 'there is no virtual machine structure without MPAM (IDR3.MPAM is 0)', section: '4.3.5' }
const EMPTY_RANGE: Broken = { rule: 'TG is given, but NUM, SCALE and TTL are all 0', section: '4.4.1.1' }
const NO_ATS: Broken = { rule: 'the command needs ATS, which this SMMU does not have (IDR0.ATS is 0)', section: '4.5.1' }
const ATC_SIZE: Broken = { rule: 'Size is more than 52: 52 already means all addresses', section: '4.5.1' }
const NO_PRI: Broken = {
  rule: 'the command needs page requests, which this SMMU does not have (IDR0.PRI is 0)',
  section: '4.5.2',
}
const PRI_RESPONSE: Broken = { rule: 'Resp is reserved', section: '4.5.2' }
const NO_STALL: Broken = { rule: 'this SMMU never stalls (IDR0.STALL_MODEL is 0b01)', section: '4.7.1, 4.7.2' }
const SYNC_SIGNAL: Broken = { rule: 'CS is reserved', section: '4.7.3' }

/** The rule that this command breaks; null when it is legal. Reserved fields that are set are not looked at (4.1.5 leaves that open). */
export function checkCommand(words: Words, at: number, features: SmmuFeatures): Broken | null {
  const command = op.commandOf(words, at)
  if (command === null) return RESERVED
  const { opcode, layout } = command
  if (opcode >= op.CMD_TLBI_S_EL2_ALL || opcode === op.CMD_TLBI_EL3_ALL || opcode === op.CMD_TLBI_EL3_VA) return SECURE_QUEUE
  if ('SSec' in layout.fields && getNumber(words, layout.fields.SSec!, at) === 1) return SSEC
  switch (opcode) {
    case op.CMD_CFGI_CD:
    case op.CMD_CFGI_CD_ALL:
      return features.s1 ? null : NO_STAGE1
    case op.CMD_CFGI_VMS_PIDM:
      return features.mpam ? null : NO_MPAM
    case op.CMD_TLBI_NH_ALL:
    case op.CMD_TLBI_NH_ASID:
      return features.s1 ? null : NO_STAGE1
    case op.CMD_TLBI_NH_VA:
    case op.CMD_TLBI_NH_VAA:
      return features.s1 ? checkRange(words, at, features) : NO_STAGE1
    case op.CMD_TLBI_EL2_ALL:
    case op.CMD_TLBI_EL2_ASID:
      return !features.s1 ? NO_STAGE1 : features.hyp ? null : NO_HYP
    case op.CMD_TLBI_EL2_VA:
    case op.CMD_TLBI_EL2_VAA:
      return !features.s1 ? NO_STAGE1 : features.hyp ? checkRange(words, at, features) : NO_HYP
    case op.CMD_TLBI_S12_VMALL:
      return features.s2 ? null : NO_STAGE2
    case op.CMD_TLBI_S2_IPA:
      return features.s2 ? checkRange(words, at, features) : NO_STAGE2
    case op.CMD_ATC_INV:
      if (!features.ats) return NO_ATS
      return getNumber(words, op.ATC_INV.fields.Size, at) > op.ATC_INV_SIZE_ALL ? ATC_SIZE : null
    case op.CMD_PRI_RESP:
      if (!features.pri) return NO_PRI
      return getNumber(words, op.PRI_RESP.fields.Resp, at) > op.PRI_RESP_SUCCESS ? PRI_RESPONSE : null
    case op.CMD_RESUME:
    case op.CMD_STALL_TERM:
      return features.stallModel === STALL_NEVER ? NO_STALL : null
    case op.CMD_SYNC:
      return getNumber(words, op.SYNC.fields.CS, at) > op.SYNC_SEV ? SYNC_SIGNAL : null
    default:
      return null
  }
}

/** 4.4.1.1: a granule without range or level hint is reserved. */
function checkRange(words: Words, at: number, features: SmmuFeatures): Broken | null {
  const range = invalidationRange(words, at, features)
  return range !== null && range.number === 0 && range.scale === 0 && range.level === 0 ? EMPTY_RANGE : null
}

/** What an invalidation by address says beside the address, as it counts. */
export interface InvalidationRange {
  /** TG: 1 is 4 KiB, 2 is 16 KiB, 3 is 64 KiB. */
  readonly granule: number
  /** NUM and SCALE: (number + 1) × 2^scale granules. */
  readonly number: number
  readonly scale: number
  /** The level that the leaf is at; 0: any. */
  readonly level: number
}

/** 4.4.1.1. Null: one address, of whatever size its leaf has. The fields are those of every invalidation by address. */
export function invalidationRange(words: Words, at: number, features: SmmuFeatures): InvalidationRange | null {
  const { fields } = op.TLBI_NH_VA
  const granule = getNumber(words, fields.TG, at)
  if (!features.ril || granule === 0) return null
  const level = getNumber(words, fields.TTL, at)
  // Without 52-bit addresses, SCALE has 5 bits, and 16 KiB tables have no leaves at level 1: that hint counts as none.
  return {
    granule,
    number: getNumber(words, fields.NUM, at),
    scale: features.ds ? getNumber(words, fields.SCALE, at) : getNumber(words, fields.SCALE, at) & 31,
    level: granule === 2 && level === 1 && !features.ds ? 0 : level,
  }
}
