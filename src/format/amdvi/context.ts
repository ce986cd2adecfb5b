/**
 * Address spaces as device table entries and GCR3 entries set them up. AMD IOMMU specification (48882), 2.2.2.1, 2.2.3, 2.2.6. The `set…`
 * functions fill a space in place and allocate nothing; the others make one. The entries are such that `check.ts` finds legal.
 */
import { PR, PW, PX, UR, UW, UX } from '../../base/types.ts'
import { fillTables, type MutableSpace } from '../pt/fill.ts'
import { AD_IGNORE, AD_SET, type PtSpace, rightsTable } from '../pt/format.ts'
import { DTE0_TV, DTE0_V, DTE1_GIOV, DTE1_GV, DTE1_IR, DTE1_IW, dteGuestPagingMode, dteMode } from './dte.ts'
import type { AmdFeatures } from './features.ts'

/** DTE.IR and DTE.IW limit everything that the entry leads to: by 1 × IR + 2 × IW. What may be read may be executed. */
export const DTE_RIGHTS: readonly Uint8Array[] = [0, 1, 2, 3].map((index) => {
  const allowed = (index & 1 ? UR | PR | UX | PX : 0) | (index & 2 ? UW | PW : 0)
  return rightsTable(64, (rights) => rights & allowed)
})

/** The same over the `fix` of guest tables. */
const limited = new Map<Uint8Array, readonly Uint8Array[]>()

function limitedFix(fix: Uint8Array, index: number): Uint8Array {
  let all = limited.get(fix)
  if (all === undefined) {
    all = DTE_RIGHTS.map((limit) => rightsTable(64, (rights) => limit[fix[rights]!]!))
    limited.set(fix, all)
  }
  return all[index]!
}

/** 1 × DTE.IR + 2 × DTE.IW: an index of DTE_RIGHTS. */
export function dteRights(words: Int32Array, at = 0): number {
  return ((words[at + 1]! & DTE1_IR) === 0 ? 0 : 1) | ((words[at + 1]! & DTE1_IW) === 0 ? 0 : 2)
}

/** V = 0: requests pass untranslated. */
export const WAY_BYPASS = 0
/** V = 1, TV = 0: what needs a translation is aborted. */
export const WAY_ABORT = 1
/** Mode = 0 and no guest tables: requests pass, as IR and IW allow. */
export const WAY_PASS_THROUGH = 2
/** The host tables. */
export const WAY_HOST = 3
/** GCR3 entry 0 (GV and GIOV). */
export const WAY_GCR3 = 4

/** Where a legal entry leads requests without PASID: WAY_…. */
export function wayWithoutPasid(features: AmdFeatures, words: Int32Array, at = 0): number {
  if ((words[at]! & DTE0_V) === 0) return WAY_BYPASS
  if ((words[at]! & DTE0_TV) === 0) return WAY_ABORT
  if (guestTranslation(features, words, at) && (words[at + 1]! & DTE1_GIOV) !== 0) return WAY_GCR3
  return dteMode(words, at) === 0 ? WAY_PASS_THROUGH : WAY_HOST
}

/** Whether requests with PASID are translated: DTE.V, TV and GV are 1, and CONTROL.GTEn. */
export function guestTranslation(features: AmdFeatures, words: Int32Array, at = 0): boolean {
  const valid = (words[at]! & (DTE0_V | DTE0_TV)) === (DTE0_V | DTE0_TV)
  return features.guest && valid && (words[at + 1]! & DTE1_GV) !== 0
}

/** A space to fill. */
export function blankSpace(features: AmdFeatures): MutableSpace {
  return { ...features.guestTables[0]! }
}

/**
 * Fills the host tables of a device table entry, whose first word is at `at`.
 * @returns false when Mode is 0 (or not legal): there are none.
 */
export function setHostSpace(space: MutableSpace, features: AmdFeatures, words: Int32Array, at: number): boolean {
  const like = features.host[dteMode(words, at)]!
  if (like === null) return false
  const low = words[at]!
  fillTables(space, like, words[at + 1]! & 0xfffff, low & ~0xfff)
  const updates = (low >>> 7) & features.hadUpdate
  space.accessed = (updates & 1) === 0 ? AD_IGNORE : AD_SET
  space.dirty = (updates & 2) === 0 ? AD_IGNORE : AD_SET
  space.fix = DTE_RIGHTS[dteRights(words, at)]!
  space.stage2 = null
  return true
}

/**
 * Fills the guest tables that a GCR3 entry (high:low) of this device table entry leads to. The host tables under them are not touched.
 * @returns false when GuestPagingMode is not legal.
 */
export function setGuestSpace(
  space: MutableSpace,
  features: AmdFeatures,
  words: Int32Array,
  at: number,
  high: number,
  low: number,
): boolean {
  const like = features.guestTables[dteGuestPagingMode(words, at)]!
  if (like === null) return false
  fillTables(space, like, high & 0xfffff, low & ~0xfff)
  space.accessed = like.accessed
  space.dirty = like.dirty
  // With host tables the limit is in those.
  space.fix = dteMode(words, at) === 0 ? limitedFix(like.fix, dteRights(words, at)) : like.fix
  return true
}

/** The host tables of a device table entry; null when there are none. */
export function hostSpace(features: AmdFeatures, words: Int32Array, at = 0): PtSpace | null {
  const space = blankSpace(features)
  return setHostSpace(space, features, words, at) ? space : null
}

/** The guest tables behind a GCR3 entry. @param host the host tables under them; null when DTE.Mode is 0. */
export function guestSpace(
  features: AmdFeatures,
  words: Int32Array,
  at: number,
  high: number,
  low: number,
  host: PtSpace | null,
): PtSpace | null {
  const space = blankSpace(features)
  space.stage2 = host
  return setGuestSpace(space, features, words, at, high, low) ? space : null
}
