/**
 * Address spaces as context and PASID table entries set them up. Intel VT-d 4.1, sections 3.6 to 3.8, 9.3 and 9.6. The `set…` functions
 * fill a space in place and allocate nothing; the others make one. The entries are such that `check.ts` finds legal.
 */
import { ALL_RIGHTS, PR, PW, UR, UW, UX } from '../../base/types.ts'
import { fillTables, type MutableSpace } from '../pt/fill.ts'
import { AD_FAULT, AD_IGNORE, AD_SET, type PtSpace } from '../pt/format.ts'
import { x86Fix } from '../pt/x86.ts'
import { TT_PASS_THROUGH } from './contexts.ts'
import type { VtdFeatures } from './features.ts'
import {
  awOf,
  PASID_EAFE,
  PASID_ERE,
  PASID_NXE,
  PASID_PWSNP,
  PASID_SMEP,
  PASID_SRE,
  PASID_SSADE,
  PASID_SSEE,
  PASID_WPE,
  PGTT_FIRST_STAGE,
  PGTT_NESTED,
  PGTT_PASS_THROUGH,
  pgttOf,
} from './pasid.ts'

/** By 1 × WPE + 2 × SMEP. */
const FIXES = [0, 1, 2, 3].map((rules) => x86Fix({ writeProtect: (rules & 1) !== 0, smep: (rules & 2) !== 0 }))

/** Words of a PASID table entry: SSPTPTR, the snoop bits, FSPTPTR. */
const SECOND = 0
const SNOOP = 2
const FIRST = 4

/** A space to fill. */
export function blankSpace(features: VtdFeatures): MutableSpace {
  return { ...features.second[0][1]! }
}

/** Takes over what the format decides, and the root that a pointer at bits 63:12 of high:low names. */
function setTable(space: MutableSpace, like: PtSpace, high: number, low: number): void {
  fillTables(space, like, high, low & ~0xfff)
  space.fix = like.fix
}

/** Fills the second stage of a legacy-mode context entry. @returns false where there is none: pass-through. */
export function setLegacySpace(space: MutableSpace, features: VtdFeatures, context: Int32Array, at: number): boolean {
  const low = context[at]!
  const like = features.second[0][context[at + 2]! & 7]!
  if (((low >>> 2) & 3) === TT_PASS_THROUGH || like === null) return false
  setTable(space, like, context[at + 1]!, low)
  space.accessed = AD_IGNORE
  space.dirty = AD_IGNORE
  return true
}

/**
 * Fills the second stage of a PASID table entry.
 * @returns false where there is none (PGTT is first stage or pass-through).
 */
export function setSecondStage(space: MutableSpace, features: VtdFeatures, pasid: Int32Array, at: number): boolean {
  const low = pasid[at + SECOND]!
  const pgtt = pgttOf(low)
  const like = features.second[(low & PASID_SSEE) !== 0 ? 1 : 0][awOf(low)]!
  if (pgtt === PGTT_FIRST_STAGE || pgtt === PGTT_PASS_THROUGH || like === null) return false
  setTable(space, like, pasid[at + SECOND + 1]!, low)
  space.accessed = (low & PASID_SSADE) === 0 ? AD_IGNORE : updates(pasid, at)
  space.dirty = space.accessed
  return true
}

/**
 * Fills the first stage of a PASID table entry. The space's own `stage2` is not touched.
 * @returns false where there is none (PGTT is second stage or pass-through).
 */
export function setFirstStage(space: MutableSpace, features: VtdFeatures, pasid: Int32Array, at: number): boolean {
  const pgtt = pgttOf(pasid[at]!)
  if (pgtt !== PGTT_FIRST_STAGE && pgtt !== PGTT_NESTED) return false
  const flags = pasid[at + FIRST]!
  const choice = ((flags & PASID_NXE) !== 0 ? 1 : 0) | ((flags & PASID_EAFE) !== 0 ? 2 : 0) | (pgtt === PGTT_NESTED ? 4 : 0)
  setTable(space, features.first[choice]![(flags >>> 2) & 1]!, pasid[at + FIRST + 1]!, flags)
  space.fix = FIXES[((flags & PASID_WPE) !== 0 ? 1 : 0) | ((flags & PASID_SMEP) !== 0 ? 2 : 0)]!
  // The first stage always has A and D.
  space.accessed = updates(pasid, at)
  space.dirty = space.accessed
  return true
}

/** Where page walks do not snoop, A and D cannot be set: a fault of its own (SFS.9, SSS.5). */
function updates(pasid: Int32Array, at: number): number {
  return (pasid[at + SNOOP]! & PASID_PWSNP) !== 0 ? AD_SET : AD_FAULT
}

/** The second stage of a legacy-mode context entry; null where it is pass-through. */
export function legacySpace(features: VtdFeatures, context: Int32Array, at = 0): PtSpace | null {
  const space = blankSpace(features)
  return setLegacySpace(space, features, context, at) ? space : null
}

/** The second stage of a PASID table entry, or null. */
export function secondStageSpace(features: VtdFeatures, pasid: Int32Array, at = 0): PtSpace | null {
  const space = blankSpace(features)
  return setSecondStage(space, features, pasid, at) ? space : null
}

/** The first stage of a PASID table entry, or null. @param stage2 the second stage under it, where it is nested. */
export function firstStageSpace(features: VtdFeatures, pasid: Int32Array, stage2: PtSpace | null, at = 0): PtSpace | null {
  const space = blankSpace(features)
  space.stage2 = stage2
  return setFirstStage(space, features, pasid, at) ? space : null
}

/**
 * Rights that requests can make use of through the first stage of a PASID table entry (its fifth word): without SRE privileged requests are
 * refused, without ERE those that execute (SPT.6, SPT.5), whatever the page tables allow.
 */
export function usableRights({ executeRequests }: Pick<VtdFeatures, 'executeRequests'>, word: number): number {
  const privileged = (word & PASID_SRE) !== 0 ? ALL_RIGHTS : UR | UW | UX
  const executing = executeRequests && (word & PASID_ERE) !== 0 ? ALL_RIGHTS : UR | UW | PR | PW
  return privileged & executing
}
