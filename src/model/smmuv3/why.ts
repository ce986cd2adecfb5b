/** Why a walk ended, in words with the rule's place in the manuals (Arm IHI 0070; DDI 0487 is the Arm ARM). */
import { hex } from '../../base/hex.ts'
import { rightsText } from '../../base/types.ts'
import { levelOf, type PtSpace } from '../../format/pt/format.ts'
import {
  WALK_ACCESS_FLAG,
  WALK_DIRTY,
  WALK_INPUT_RANGE,
  WALK_NAMES,
  WALK_NOT_PRESENT,
  WALK_OUTPUT_SIZE,
  WALK_PERMISSION,
  WALK_TABLE_ABORT,
  type Walker,
} from '../../format/pt/walker.ts'
import * as events from '../../format/smmuv3/events.ts'

/** The event of a walk that ended badly in its own stage (7.3.12 to 7.3.16). */
export function walkEvent(status: number): number {
  switch (status) {
    case WALK_OUTPUT_SIZE:
      return events.F_ADDR_SIZE
    case WALK_ACCESS_FLAG:
      return events.F_ACCESS
    case WALK_PERMISSION:
    case WALK_DIRTY:
      return events.F_PERMISSION
    case WALK_TABLE_ABORT:
      return events.F_WALK_EABT
    default:
      return events.F_TRANSLATION
  }
}

/** What the entry that a walk read last says, when the walk ended there. */
export function entryText(space: PtSpace, depth: number, status: number, lo: number, rights: number): string {
  const level = levelOf(space.format, depth)
  switch (status) {
    case WALK_NOT_PRESENT:
      if ((lo & 1) === 0) return `the level ${level} entry is not valid: bit 0 is 0 (DDI 0487, D8.3)`
      return depth === 0
        ? `the level ${level} entry is reserved: bits 1:0 are 0b01 (DDI 0487, D8.3)`
        : `the level ${level} entry is not valid: no block may stand at this level (DDI 0487, D8.3)`
    case WALK_OUTPUT_SIZE:
      return `the level ${level} entry's address is beyond the ${Math.log2(space.outputLimit)} bits of this stage's output (3.4)`
    case WALK_ACCESS_FLAG:
      return `AF of the level ${level} entry is 0, and hardware does not set it here (3.13.2)`
    case WALK_PERMISSION:
    case WALK_DIRTY:
      return `the tables allow ${rightsText(rights)}, which is not enough (DDI 0487, D8.4)`
    default:
      return WALK_NAMES[status] ?? `walk status ${status}`
  }
}

/** Why this stage's walk ended. */
export function walkText(walker: Walker, space: PtSpace, stage: 1 | 2): string {
  const { status } = walker
  if (status === WALK_INPUT_RANGE)
    return `stage ${stage}: the address is outside the ${space.inputBits} bits that ${stage === 1 ? 'CD.TxSZ' : 'STE.S2T0SZ'} allows (3.4)`
  if (status === WALK_TABLE_ABORT)
    return `stage ${stage}: nothing answers at the level ${levelOf(space.format, walker.depth)} entry ${hex(walker.entryAddress)} (7.3.12)`
  return `stage ${stage}: ${entryText(space, walker.depth, status, walker.lo, walker.rights)}`
}
