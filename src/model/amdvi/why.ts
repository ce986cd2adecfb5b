/** Why a walk ended, in words with the rule's place in the manual (AMD I/O virtualization, 48882). */

import { hex } from '../../base/hex.ts'
import { rightsText } from '../../base/types.ts'
import { LEAF_BY_NEXT_LEVEL, levelOf, type PtSpace } from '../../format/pt/format.ts'
import {
  WALK_DIRTY,
  WALK_INPUT_RANGE,
  WALK_NAMES,
  WALK_NOT_PRESENT,
  WALK_PERMISSION,
  WALK_RESERVED,
  WALK_TABLE_ABORT,
  type Walker,
} from '../../format/pt/walker.ts'

/** What the entry that a walk read last says, when the walk ended there. */
export function entryText(space: PtSpace, depth: number, status: number, lo: number, rights: number): string {
  const { format } = space
  const level = levelOf(format, depth)
  const host = format.leafRule === LEAF_BY_NEXT_LEVEL
  switch (status) {
    case WALK_NOT_PRESENT:
      if ((lo & format.present) === 0) return `the level ${level} entry is not present: bit 0 is 0 (${format.source})`
      return `the level ${level} entry skips levels of which the address has bits (2.2.3)`
    case WALK_RESERVED:
      return host
        ? `the level ${level} entry has reserved bits, or a next level or page size that may not stand there (2.2.3)`
        : `the level ${level} entry has reserved bits (2.2.6)`
    case WALK_PERMISSION:
    case WALK_DIRTY:
      return `the tables allow ${rightsText(rights)}, which is not enough (${format.source})`
    default:
      return WALK_NAMES[status] ?? `walk status ${status}`
  }
}

/** Why this walk ended. */
export function walkText(walker: Walker, space: PtSpace): string {
  const { status } = walker
  if (status === WALK_INPUT_RANGE)
    return `the address is outside the ${space.inputBits} bits that the tables take (${space.format.source})`
  if (status === WALK_TABLE_ABORT)
    return `nothing answers at the level ${levelOf(space.format, walker.depth)} entry ${hex(walker.entryAddress)} (2.5.5)`
  return entryText(space, walker.depth, status, walker.lo, walker.rights)
}
