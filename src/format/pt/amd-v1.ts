/**
 * AMD host (v1) tables of 1 to 6 levels: entries say how many levels are left below them (levels may be skipped), and leaves may be
 * larger than their level. AMD I/O virtualization (48882), 2.2.3 "I/O Page Tables for Host Translations".
 */
import { PR, PW, PX, UR, UW, UX } from '../../base/types.ts'
import { LARGE_AMD, LEAF_BY_NEXT_LEVEL, NO_FIX, type PtFormat, type RightsField, rightsTable, TOP_ZERO } from './format.ts'

export const AMD_PR = 1 << 0
export const AMD_A = 1 << 5
export const AMD_D = 1 << 6
/** Bits 59 to 62, in the high word. */
export const AMD_U_HI = 1 << 27
export const AMD_FC_HI = 1 << 28
export const AMD_IR_HI = 1 << 29
export const AMD_IW_HI = 1 << 30

export interface AmdV1Scheme {
  readonly format: PtFormat
  readonly topDepth: number
  readonly inputBits: number
  readonly top: number
}

/** IR, IW (bits 62:61) as index bits 1:0. There is no bit for execution: what can be read can be executed. */
const RIGHTS: RightsField = {
  loShift: 0,
  loMask: 0,
  hiShift: 29,
  hiMask: 3,
  hiPlace: 0,
  rights: rightsTable(4, (index) => (index & 1 ? UR | PR | UX | PX : 0) | (index & 2 ? UW | PW : 0)),
}

/** AMD host tables. Whether A and D count (DTE.HAD) is the space's choice. */
export const AMD_V1: PtFormat = {
  name: 'AMD v1',
  source: 'AMD I/O virtualization (48882), 2.2.3',
  granuleLog2: 12,
  indexBits: 9,
  entryLog2: 3,
  levelOfLeaf: 1,
  levelStep: 1,
  present: AMD_PR,
  leafRule: LEAF_BY_NEXT_LEVEL,
  leafMask: 0,
  // "Page table level parameters": entries of level 6 point to tables.
  leafDepths: 0b011111,
  large: LARGE_AMD,
  addressLo: ~0xfff,
  addressHi: 0xfffff,
  addressShift: 0,
  extraMask: 0,
  extraShift: 0,
  leafRights: RIGHTS,
  userLo: 0,
  tableRights: RIGHTS,
  settle: NO_FIX,
  // Bits 58:52 of a leaf; bits 60:52 of a table entry, which has no U and FC.
  reservedLeafLo: new Int32Array(6),
  reservedLeafHi: new Int32Array(6).fill(0x7f << 20),
  reservedTableLo: new Int32Array(6),
  reservedTableHi: new Int32Array(6).fill(0x1ff << 20),
  misalignedFaults: false,
  accessed: AMD_A,
  accessedInTables: true,
  dirty: AMD_D,
  dirtyManagedHi: 0,
  dirtySets: true,
  contiguousHi: 0,
  contiguousLog2: [],
  newLeafLo: AMD_PR,
  newLeafHi: 0,
  newLargeLo: AMD_PR,
  newLargeHi: 0,
  newTableLo: AMD_PR,
  newTableHi: AMD_IR_HI | AMD_IW_HI,
}

/** A table of so many levels (DTE.Mode, 1 to 6): 21, 30, 39, 48, 57 or 64 bits of input. */
export function amdV1(levels: 1 | 2 | 3 | 4 | 5 | 6): AmdV1Scheme {
  return { format: AMD_V1, topDepth: levels - 1, inputBits: Math.min(64, 12 + 9 * levels), top: TOP_ZERO }
}
