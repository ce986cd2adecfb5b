/** Why a walk through page tables failed, as a fault reason. Intel VT-d, section 7.1.3: LSS, LGN, SFS, SSS and SGN. */
import type { WordMemory } from '../../base/memory.ts'
import { PR, PW, PX, UR, UW, UX } from '../../base/types.ts'
import type { PtSpace } from '../../format/pt/format.ts'
import {
  WALK_ACCESS_FLAG,
  WALK_DIRTY,
  WALK_INPUT_RANGE,
  WALK_NOT_PRESENT,
  WALK_PERMISSION,
  WALK_POISONED,
  WALK_STAGE2_OUTPUT,
  WALK_STAGE2_TABLE,
  WALK_TABLE_ABORT,
  type Walker,
} from '../../format/pt/walker.ts'
import * as fr from '../../format/vtd/faults.ts'
import type { VtdResult } from './request.ts'

const READS = UR | PR
const WRITES = UW | PW

/**
 * The reason of a second stage, but for a lack of rights.
 * @param root the entry is one of the top table.
 * @param failedUpdate memory answered, but A or D could not be written.
 */
export function secondStageReason(status: number, legacy: boolean, root: boolean, write: boolean, failedUpdate: boolean): number {
  switch (status) {
    case WALK_INPUT_RANGE:
      return legacy ? fr.FR_ADDRESS_TOO_WIDE : fr.FR_SS_ADDRESS_TOO_WIDE
    case WALK_NOT_PRESENT:
      if (!legacy) return fr.FR_SS_NOT_PRESENT
      return write ? fr.FR_NO_WRITE : fr.FR_NO_READ
    case WALK_TABLE_ABORT:
    case WALK_POISONED:
      if (failedUpdate) return fr.FR_SS_AD_FAILED
      if (legacy) return root ? fr.FR_CONTEXT_INVALID : fr.FR_PAGE_TABLE_ACCESS
      return root ? fr.FR_SS_ROOT_ACCESS : fr.FR_SS_ACCESS
    case WALK_DIRTY:
    case WALK_ACCESS_FLAG:
      return fr.FR_SS_AD_NO_SNOOP
    default:
      return legacy ? fr.FR_PAGE_TABLE_RESERVED : fr.FR_SS_RESERVED
  }
}

/** The reason for a request that needs rights which the tables do not give. @param stage that refused: 1 or 2. */
export function lacking(need: number, rights: number, stage: number, legacy: boolean): number {
  if (legacy) return (need & WRITES) !== 0 ? fr.FR_NO_WRITE : fr.FR_NO_READ
  // SSS.2: "both cumulative permissions are not granted"
  if ((rights & (READS | WRITES)) === 0 && stage === 2) return fr.FR_SS_NOT_PRESENT
  // SGN.2: a page of the supervisor, for a user
  if ((need & (UR | UW | UX)) !== 0 && (rights & UR) === 0 && (rights & PR) !== 0) return fr.FR_SUPERVISOR_PAGE
  if ((need & (UX | PX)) !== 0) return fr.FR_NO_EXECUTE
  return (need & WRITES) !== 0 ? fr.FR_SM_NO_WRITE : fr.FR_SM_NO_READ
}

/** Reads them off the walkers, and notes in the result which stage refused, and where in the guest. */
export class Reasons {
  readonly #memory: WordMemory
  readonly #walker: Walker
  readonly #result: VtdResult

  constructor(memory: WordMemory, walker: Walker, result: VtdResult) {
    this.#memory = memory
    this.#walker = walker
    this.#result = result
  }

  /** Of a second stage that is not nested. */
  second(walker: Walker, space: PtSpace, status: number, need: number, legacy: boolean): number {
    this.#result.stage = 2
    if (status === WALK_PERMISSION) return lacking(need, walker.rights, 2, legacy)
    const root = walker.depth === space.topDepth
    return secondStageReason(status, legacy, root, (need & WRITES) !== 0, this.#failedUpdate(walker, status))
  }

  /** Of a first stage, and of the second one under it. */
  first(space: PtSpace, stage2: PtSpace, status: number, need: number): number {
    const walker = this.#walker
    const result = this.#result
    result.stage = 1
    switch (status) {
      case WALK_INPUT_RANGE:
        return fr.FR_NON_CANONICAL
      case WALK_NOT_PRESENT:
        return fr.FR_FS_NOT_PRESENT
      case WALK_PERMISSION:
        return lacking(need, walker.rights, 1, false)
      case WALK_DIRTY:
      case WALK_ACCESS_FLAG:
        return fr.FR_FS_AD_NO_SNOOP
      case WALK_TABLE_ABORT:
      case WALK_POISONED:
        if (this.#failedUpdate(walker, status)) return fr.FR_FS_AD_FAILED
        return walker.depth === space.topDepth ? fr.FR_FS_ROOT_ACCESS : fr.FR_FS_ACCESS
      case WALK_STAGE2_TABLE:
        result.ipaHi = walker.ipaHi
        result.ipaLo = walker.ipaLo
        return this.#nestedFetch(space, stage2)
      case WALK_STAGE2_OUTPUT:
        result.ipaHi = walker.outHi
        result.ipaLo = walker.outLo
        return this.#nestedOutput(stage2, need)
      default:
        return fr.FR_FS_RESERVED
    }
  }

  /** The second stage refused the address of a first-stage entry, or its update. */
  #nestedFetch(space: PtSpace, stage2: PtSpace): number {
    const walker = this.#walker
    const outer = walker.stage2
    // SFS.5: the address came from a first-stage entry; that of the root was checked beforehand
    if (outer.status === WALK_INPUT_RANGE) return fr.FR_FS_NESTED_WIDE
    this.#result.stage = 2
    if (outer.status !== WALK_PERMISSION) return this.#nested(stage2)
    // SSS.2, SFS.8, SFS.6, SFS.7
    if ((outer.rights & (READS | WRITES)) === 0) return fr.FR_SS_NOT_PRESENT
    if (walker.updateRefused || (outer.rights & UR) !== 0) return fr.FR_FS_NESTED_WRITE
    return walker.depth === space.topDepth ? fr.FR_FS_NESTED_ROOT_READ : fr.FR_FS_NESTED_READ
  }

  /** The second stage refused the output of the first. */
  #nestedOutput(stage2: PtSpace, need: number): number {
    const outer = this.#walker.stage2
    if (outer.status === WALK_INPUT_RANGE) return fr.FR_FS_NESTED_WIDE
    this.#result.stage = 2
    return outer.status === WALK_PERMISSION ? lacking(need, outer.rights, 2, false) : this.#nested(stage2)
  }

  #nested(stage2: PtSpace): number {
    const outer = this.#walker.stage2
    const root = outer.depth === stage2.topDepth
    return secondStageReason(outer.status, false, root, false, this.#failedUpdate(outer, outer.status))
  }

  /** Whether memory answers at the entry that a walk ended at: then it was not the fetch that failed, but the update of A or D. */
  #failedUpdate(walker: Walker, status: number): boolean {
    return status === WALK_TABLE_ABORT && this.#memory.index(walker.entryAddress, 8) >= 0
  }
}
