/**
 * Address spaces as device and process contexts set them up. RISC-V IOMMU 1.0, "Device-context fields", "Process-context fields".
 * The `set…` functions fill a space in place and allocate nothing; the others make one.
 */
import { UR, UW } from '../../base/types.ts'
import { fillRoot, type MutableSpace } from '../pt/fill.ts'
import {
  AD_FAULT,
  AD_SET,
  NEED_DIRTY_ALONG,
  NEED_IF_ALLOWED,
  NEED_USER,
  NO_FIX,
  type PtSpace,
  ptSpace,
  TOP_ZERO,
} from '../pt/format.ts'
import { type RiscvScheme, riscvScheme, WITHOUT_SUM } from '../pt/riscv.ts'
import { DC_IOHGATP, DC_TC, modeOf, TC_GADE, TC_SADE, TC_SBE, TC_SXL } from './contexts.ts'
import type { RiscvFeatures } from './features.ts'

/** Page numbers have 44 bits: no output is out of range by itself, only a table that nothing answers for. */
const OUTPUT_LIMIT = 2 ** 56

/** What reading a directory entry needs of the second stage: an implicit read, never a write. */
export const DIRECTORY_NEED = UR | NEED_USER
/**
 * What reading a first-stage entry needs. It never needs the dirty bit in order to be read; but where that read sets A, it sets D too if
 * it can, and where hardware updates first-stage entries (SADE) D must be set beforehand, so that the update needs no second look.
 */
const FETCH_NEED = UR | NEED_USER | NEED_DIRTY_ALONG
const FETCH_NEED_UPDATING = FETCH_NEED | (UW << NEED_IF_ALLOWED)

/** A space to fill. */
export function blankSpace(features: RiscvFeatures): MutableSpace {
  const { format, topDepth, inputBits } = riscvScheme('Sv39', { svpbmt: false, svrsw60t59b: false })
  const limits = { outputLimit: OUTPUT_LIMIT, physicalLimit: features.addressLimit }
  return ptSpace({ format, root: 0, topDepth, inputBits, ...limits })
}

/** The root of a table whose page number is at bits 43:0 of a doubleword. */
function setRoot(space: MutableSpace, high: number, low: number): void {
  fillRoot(space, ((high & 0xfff) << 12) | (low >>> 20), low << 12)
}

function setScheme(space: MutableSpace, scheme: RiscvScheme): void {
  space.format = scheme.format
  space.topDepth = scheme.topDepth
  space.inputBits = scheme.inputBits
  space.top = scheme.top
}

/**
 * Fills the first stage that an iosatp or PC.fsc (high:low) describes. Its second stage is not touched.
 * @param tc the first word of the device context.
 * @param sum PC.ta.SUM.
 * @returns false when the mode is Bare (or not legal): there is no space.
 */
export function setStage1(
  space: MutableSpace,
  features: RiscvFeatures,
  tc: number,
  high: number,
  low: number,
  sum: boolean,
): boolean {
  const scheme = features.stage1[(tc & TC_SXL) === 0 ? 0 : 1]![modeOf(high)]!
  if (scheme === null) return false
  setScheme(space, scheme)
  setRoot(space, high, low)
  const sade = (tc & TC_SADE) !== 0
  space.accessed = sade ? AD_SET : AD_FAULT
  space.dirty = space.accessed
  space.bigEndian = (tc & TC_SBE) !== 0
  space.fix = sum ? NO_FIX : WITHOUT_SUM
  space.fetchNeed = sade ? FETCH_NEED_UPDATING : FETCH_NEED
  return true
}

/**
 * Fills the second stage of a device context, whose first word is at `at`.
 * @returns false when the mode is Bare (or not legal).
 */
export function setStage2(space: MutableSpace, features: RiscvFeatures, dc: Int32Array, at: number): boolean {
  const high = dc[at + DC_IOHGATP + 1]!
  const scheme = features.stage2[modeOf(high)]!
  if (scheme === null) return false
  const tc = dc[at + DC_TC]!
  setScheme(space, scheme)
  setRoot(space, high, dc[at + DC_IOHGATP]!)
  space.accessed = (tc & TC_GADE) !== 0 ? AD_SET : AD_FAULT
  space.dirty = space.accessed
  space.bigEndian = features.be
  // tc.SXL = 1: a guest page fault "if the incoming GPA has bits beyond bit 33 set".
  if ((tc & TC_SXL) !== 0 && scheme.inputBits > 34) space.inputBits = 34
  space.top = TOP_ZERO
  return true
}

/** The second stage of a device context; null when Bare. */
export function stage2Space(features: RiscvFeatures, dc: Int32Array, at = 0): PtSpace | null {
  const space = blankSpace(features)
  return setStage2(space, features, dc, at) ? space : null
}

/** The first stage that an fsc field (high:low) of a device or process context describes; null when Bare. */
export function stage1Space(
  features: RiscvFeatures,
  tc: number,
  high: number,
  low: number,
  sum: boolean,
  stage2: PtSpace | null,
): PtSpace | null {
  const space = blankSpace(features)
  space.stage2 = stage2
  return setStage1(space, features, tc, high, low, sum) ? space : null
}
