/** Spaces that are filled again and again, in place: for models, which must not allocate for each translation. */
import { toDouble } from '../../base/u64.ts'
import type { PtSpace } from './format.ts'

/** A space that is filled again and again. */
export type MutableSpace = { -readonly [Key in keyof PtSpace]: PtSpace[Key] }

/** Takes over the shape of another space's tables (all that its format and topDepth decide), with another root. The rest stays. */
export function fillTables(space: MutableSpace, like: PtSpace, rootHi: number, rootLo: number): void {
  space.format = like.format
  space.topDepth = like.topDepth
  space.inputBits = like.inputBits
  space.top = like.top
  space.tableMaskHi = like.tableMaskHi
  space.tableMaskLo = like.tableMaskLo
  space.tableFreeHi = like.tableFreeHi
  space.tableFreeLo = like.tableFreeLo
  fillRoot(space, rootHi, rootLo)
}

export function fillRoot(space: MutableSpace, rootHi: number, rootLo: number): void {
  space.rootHi = rootHi
  space.rootLo = rootLo
  space.root = toDouble(rootHi, rootLo)
}
