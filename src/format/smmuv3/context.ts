/**
 * From a CD and an STE to the address spaces that they set up: what the walker needs. Arm IHI 0070, 5.2, 5.4, 3.4; the start levels
 * and the rules of permissions are those of the Arm ARM (DDI 0487), D8.
 */
import { getAddress, getNumber, type Words } from '../../base/layout.ts'
import { PR, PW, PX, UR, UW, UX } from '../../base/types.ts'
import { AD_FAULT, AD_IGNORE, AD_SET, NO_FIX, type PtSpace, ptSpace, rightsTable, TOP_ONES, TOP_ZERO } from '../pt/format.ts'
import { type Granule, vmsav8 } from '../pt/vmsav8.ts'
import { CD } from './cd.ts'
import { addressBits, ENDIAN_BIG, ENDIAN_LITTLE, type SmmuFeatures } from './features.ts'
import { STE, STRW_EL2 } from './ste.ts'

/** Translation regime of a stream's stage 1 (StreamWorld, 3.3.3). EL2 has one privilege and one table; the others have two of each. */
export type StreamWorld = 'el1' | 'el2' | 'el2-e2h'

/** The regime of a non-secure stream (5.2 STRW). */
export function streamWorld(ste: Words, at: number, features: SmmuFeatures): StreamWorld {
  if (strwIgnored(ste, at, features) || getNumber(ste, STE.fields.STRW, at) !== STRW_EL2) return 'el1'
  return features.e2h ? 'el2-e2h' : 'el2'
}

/** Whether STE.STRW has no meaning (5.2.2 IgnoreSTESTRW). */
export function strwIgnored(ste: Words, at: number, features: SmmuFeatures): boolean {
  const config = getNumber(ste, STE.fields.Config, at)
  return !features.s1 || !features.hyp || (config & 2) !== 0 || config === 4
}

/** Granule of STE.S2TG and CD.TG0 as log2 bytes; null: reserved. */
export function granule0(code: number): Granule | null {
  return code === 0 ? 12 : code === 1 ? 16 : code === 2 ? 14 : null
}

/** Granule of CD.TG1. */
export function granule1(code: number): Granule | null {
  return code === 1 ? 14 : code === 2 ? 12 : code === 3 ? 16 : null
}

/** CD.EPD0 or EPD1 as it counts: EL2 has no way to switch TTB0 off, and no TTB1 (5.4 EPD0, 5.4.1). */
export function walksDisabled(cd: Words, at: number, world: StreamWorld, half: 0 | 1): boolean {
  if (world === 'el2') return half === 1
  return getNumber(cd, half === 0 ? CD.fields.EPD0 : CD.fields.EPD1, at) === 1
}

/** Output bits of stage 1: CD.IPS, at most the OAS. */
export function stage1OutputBits(cd: Words, at: number, features: SmmuFeatures): number {
  return Math.min(addressBits(getNumber(cd, CD.fields.IPS, at), features.minor), features.oas)
}

/** Output bits of stage 2: STE.S2PS, at most the OAS. */
export function stage2OutputBits(ste: Words, at: number, features: SmmuFeatures): number {
  return Math.min(addressBits(getNumber(ste, STE.fields.S2PS, at), features.minor), features.oas)
}

/** Why a half of stage 1 has no space, or null when it has one. */
export function noStage1(cd: Words, cdAt: number, ste: Words, steAt: number, features: SmmuFeatures, half: 0 | 1): string | null {
  const world = streamWorld(ste, steAt, features)
  if (walksDisabled(cd, cdAt, world, half)) {
    return world === 'el2' ? 'an EL2 stream has no TTB1 (5.4.1)' : `CD.EPD${half} is 1: no walks of TTB${half} (5.4)`
  }
  if (getNumber(cd, CD.fields.AA64, cdAt) === 0)
    return `CD.AA64 is 0: ${features.d128 ? 'VMSAv9-128' : 'VMSAv8-32 LPAE'} tables are not supported here`
  const code = half === 0 ? CD.fields.TG0 : CD.fields.TG1
  const granule = half === 0 ? granule0(getNumber(cd, code, cdAt)) : granule1(getNumber(cd, code, cdAt))
  if (granule === null) return `CD.TG${half} is reserved (5.4)`
  const bits = 64 - getNumber(cd, half === 0 ? CD.fields.T0SZ : CD.fields.T1SZ, cdAt)
  return bits <= granule || bits > 56 ? `CD.T${half}SZ is out of range (5.4)` : null
}

/**
 * The space of one half of stage 1: TTB0 or TTB1. Of a CD that `checkCd` finds illegal, what can be made of it.
 * @param stage2 the stage 2 under it, for a nested stream: then its tables and outputs are intermediate.
 * @returns null where no walk is done; `noStage1` says why.
 */
export function stage1Space(
  cd: Words,
  cdAt: number,
  ste: Words,
  steAt: number,
  features: SmmuFeatures,
  half: 0 | 1,
  stage2: PtSpace | null = null,
): PtSpace | null {
  if (noStage1(cd, cdAt, ste, steAt, features, half) !== null) return null
  const field = (name: keyof typeof CD.fields) => getNumber(cd, CD.fields[name], cdAt)
  const world = streamWorld(ste, steAt, features)
  const granule = (half === 0 ? granule0(field('TG0')) : granule1(field('TG1')))!
  const inputBits = 64 - field(half === 0 ? 'T0SZ' : 'T1SZ')
  const outputBits = stage1OutputBits(cd, cdAt, features)
  const wide = granule === 16 ? features.oas >= 52 : features.ds && field('DS') === 1
  const topDepth = Math.ceil((inputBits - granule) / (granule - 3)) - 1
  const el1 = world !== 'el2'
  return ptSpace({
    format: vmsav8(granule, el1 ? 'el1' : 'el2', wide),
    root: alignRoot(getAddress(cd, half === 0 ? CD.fields.TTB0 : CD.fields.TTB1, cdAt), inputBits, granule, topDepth, outputBits),
    topDepth,
    inputBits,
    top: half === 0 ? TOP_ZERO : TOP_ONES,
    ignoreTopByte: field(half === 0 ? 'TBI0' : 'TBI1') === 1,
    outputLimit: 2 ** outputBits,
    hierarchical: !(features.had && field(half === 0 ? 'HAD0' : 'HAD1') === 1),
    fix: stage1Fix(field('WXN') === 1, el1 && field('PAN') === 1, features.epan && field('EPAN') === 1),
    accessed: features.httu >= 1 && field('HA') === 1 ? AD_SET : field('AFFD') === 1 ? AD_IGNORE : AD_FAULT,
    // HD without HA is reserved and does nothing (5.4 HA).
    dirty: features.httu >= 2 && field('HA') === 1 && field('HD') === 1 ? AD_SET : AD_IGNORE,
    bigEndian: bigEndian(field('ENDI'), features),
    stage2,
  })
}

/**
 * Whether unprivileged accesses through this half fault with F_TRANSLATION before any walk (5.4 E0PD0). Not in the space: rights that
 * are missing would be F_PERMISSION.
 */
export function unprivilegedBlocked(
  cd: Words,
  cdAt: number,
  ste: Words,
  steAt: number,
  features: SmmuFeatures,
  half: 0 | 1,
): boolean {
  if (!features.e0pd || getNumber(cd, CD.fields.AA64, cdAt) === 0 || streamWorld(ste, steAt, features) === 'el2') return false
  return getNumber(cd, half === 0 ? CD.fields.E0PD0 : CD.fields.E0PD1, cdAt) === 1
}

/** Depth at which a stage 2 walk starts, out of S2SL0, S2SL0_2 and S2TG (DDI 0487 D8.2.9, VTCR_EL2.SL0); null: reserved. */
export function stage2StartDepth(ste: Words, at: number, features: SmmuFeatures, granule: Granule): number | null {
  const sl0 = getNumber(ste, STE.fields.S2SL0, at)
  const ds = features.ds && getNumber(ste, STE.fields.S2DS, at) === 1
  if (granule === 12) {
    // SL2 counts with 52-bit addresses only, and only as the one further level −1.
    if (ds && getNumber(ste, STE.fields.S2SL0_2, at) === 1) return sl0 === 0 ? 4 : null
    return [1, 2, 3, 0][sl0]!
  }
  if (granule === 14) return sl0 === 3 && !ds ? null : sl0
  return sl0 === 3 ? null : sl0
}

/** Why an STE has no stage 2 space, or null when it has one. */
export function noStage2(ste: Words, at: number, features: SmmuFeatures): string | null {
  if ((getNumber(ste, STE.fields.Config, at) & 6) !== 6) return 'STE.Config does not enable stage 2 (5.2)'
  if (getNumber(ste, STE.fields.S2AA64, at) === 0)
    return `STE.S2AA64 is 0: ${features.d128 ? 'VMSAv9-128' : 'VMSAv8-32 LPAE'} tables are not supported here`
  const granule = granule0(getNumber(ste, STE.fields.S2TG, at))
  if (granule === null) return 'STE.S2TG is reserved (5.2)'
  const depth = stage2StartDepth(ste, at, features, granule)
  const bits = 64 - getNumber(ste, STE.fields.S2T0SZ, at)
  if (depth === null || startInconsistent(bits, granule, depth)) return 'STE.S2SL0, S2T0SZ and S2TG do not go together (5.2)'
  return null
}

/** Whether a walk from this depth cannot resolve so many bits, with up to 16 concatenated tables (DDI 0487, S2InconsistentSL). */
export function startInconsistent(inputBits: number, granule: Granule, depth: number): boolean {
  const smallest = granule + depth * (granule - 3) + 1
  return inputBits < smallest || inputBits > smallest + (granule - 3) - 1 + 4
}

/** The stage 2 space of an STE, or null; `noStage2` says why. S2S and S2R are the stream's, not the space's. */
export function stage2Space(ste: Words, at: number, features: SmmuFeatures): PtSpace | null {
  if (noStage2(ste, at, features) !== null) return null
  const field = (name: keyof typeof STE.fields) => getNumber(ste, STE.fields[name], at)
  const granule = granule0(field('S2TG'))!
  const topDepth = stage2StartDepth(ste, at, features, granule)!
  const inputBits = 64 - field('S2T0SZ')
  const outputBits = stage2OutputBits(ste, at, features)
  const wide = granule === 16 ? features.oas >= 52 : features.ds && field('S2DS') === 1
  return ptSpace({
    format: vmsav8(granule, features.xnx ? 'stage2-xnx' : 'stage2', wide),
    root: alignRoot(getAddress(ste, STE.fields.S2TTB, at), inputBits, granule, topDepth, outputBits),
    topDepth,
    inputBits,
    outputLimit: 2 ** outputBits,
    accessed: features.httu >= 1 && field('S2HA') === 1 ? AD_SET : field('S2AFFD') === 1 ? AD_IGNORE : AD_FAULT,
    dirty: features.httu >= 2 && field('S2HA') === 1 && field('S2HD') === 1 ? AD_SET : AD_IGNORE,
    bigEndian: bigEndian(field('S2ENDI'), features),
  })
}

function bigEndian(bit: number, features: SmmuFeatures): boolean {
  return features.endian === ENDIAN_BIG || (features.endian !== ENDIAN_LITTLE && bit === 1)
}

/** The base of the top table as the SMMU takes it: aligned to its size, and to 64 bytes with 52-bit outputs (5.4 TTB0). */
function alignRoot(base: number, inputBits: number, granule: Granule, topDepth: number, outputBits: number): number {
  const entries = 2 ** (inputBits - granule - topDepth * (granule - 3))
  const align = Math.max(entries * 8, outputBits >= 52 ? 64 : 16)
  return Math.floor(base / align) * align
}

const fixes = new Map<number, Uint8Array>()

/**
 * WXN, PAN and EPAN as a table over rights (5.4; DDI 0487 D8.4). The spaces of a CD are made again at each configuration, so the tables are
 * kept. UWXN has no effect on VMSAv8-64 (5.4): what EL0 can write, EL1 never executes.
 */
function stage1Fix(wxn: boolean, pan: boolean, epan: boolean): Uint8Array {
  if (!wxn && !pan) return NO_FIX
  const key = (wxn ? 1 : 0) | (pan ? 2 : 0) | (epan ? 4 : 0)
  let table = fixes.get(key)
  if (table === undefined) {
    table = rightsTable(64, (rights) => {
      let left = rights
      if (wxn && rights & UW) left &= ~UX
      if (wxn && rights & PW) left &= ~PX
      if (pan && rights & (UR | UW | (epan ? UX : 0))) left &= ~(PR | PW)
      return left
    })
    fixes.set(key, table)
  }
  return table
}
