/** VT-d second-stage tables of 3, 4 and 5 levels. VT-d specification, 3.7 "Second-Stage Translation", 9.8 "Second-Stage Paging Entries". */
import { PR, PW, PX, UR, UW, UX } from '../../base/types.ts'
import { LARGE_NONE, LEAF_BY_SIZE_BIT, NO_FIX, type PtFormat, type RightsField, rightsTable, TOP_ZERO } from './format.ts'
import { addressAbove } from './x86.ts'

export const SS_R = 1 << 0
export const SS_W = 1 << 1
export const SS_X = 1 << 2
export const SS_PS = 1 << 7
export const SS_A = 1 << 8
export const SS_D = 1 << 9
export const SS_SNP = 1 << 11
/** Transient mapping, bit 62, in the high word. */
export const SS_TM_HI = 1 << 30

export interface VtdSecondOptions {
  /** Host address width (DMAR table); bits 51 down to it are reserved. Default 52. */
  readonly physicalBits?: number
  /** CAP.SSLPS: 2 MiB (bit 0) and 1 GiB (bit 1) leaves; the PS bit of others is reserved. Default both. */
  readonly largePages?: number
  /** ECAP.SC: SNP (bit 11 of leaves) counts, else it is reserved. Default true. */
  readonly snoopControl?: boolean
  /** ECAP.DT: TM (bit 62 of leaves) counts, else it is reserved. Default false. */
  readonly deviceTlb?: boolean
  /** Execute requests are supported and enabled: X (bit 2) counts, else reading is enough. Default false. */
  readonly execute?: boolean
}

export interface VtdSecondScheme {
  readonly format: PtFormat
  readonly topDepth: number
  readonly inputBits: number
  readonly top: number
}

/** R, W and, where it counts, X as index bits 0 to 2. A single privilege. */
function field(execute: boolean): RightsField {
  return {
    loShift: 0,
    loMask: execute ? 7 : 3,
    hiShift: 0,
    hiMask: 0,
    hiPlace: 0,
    rights: rightsTable(execute ? 8 : 4, (rwx) => {
      const executable = execute ? (rwx & 4) !== 0 : (rwx & 1) !== 0
      return (rwx & 1 ? UR | PR : 0) | (rwx & 2 ? UW | PW : 0) | (executable ? UX | PX : 0)
    }),
  }
}

const cache = new Map<string, PtFormat>()

/** The format with these choices: the same object each time. Access and dirty bits are the space's choice (SSADE). */
export function vtdSecondFormat(options: VtdSecondOptions = {}): PtFormat {
  const { physicalBits = 52, largePages = 3, snoopControl = true, deviceTlb = false, execute = false } = options
  const key = `${physicalBits}/${largePages}/${snoopControl}/${deviceTlb}/${execute}`
  const known = cache.get(key)
  if (known !== undefined) return known
  const beyond = addressAbove(physicalBits)
  const snoop = snoopControl ? 0 : SS_SNP
  const rights = field(execute)
  const tableBits = SS_R | SS_W | (execute ? SS_X : 0)
  const format: PtFormat = {
    name: 'VT-d second stage',
    source: 'VT-d specification, 9.8',
    granuleLog2: 12,
    indexBits: 9,
    entryLog2: 3,
    levelOfLeaf: 1,
    levelStep: 1,
    // There is no present bit: an entry that permits anything is present.
    present: tableBits,
    leafRule: LEAF_BY_SIZE_BIT,
    leafMask: SS_PS,
    leafDepths: 1 | (largePages << 1),
    large: LARGE_NONE,
    addressLo: ~0xfff,
    addressHi: 0xfffff,
    addressShift: 0,
    extraMask: 0,
    extraShift: 0,
    leafRights: rights,
    userLo: 0,
    tableRights: rights,
    settle: NO_FIX,
    reservedLeafLo: Int32Array.of(0, 0x1ff000, 0x3ffff000, 0, 0).map((bits) => bits | snoop),
    reservedLeafHi: new Int32Array(5).fill(beyond | (deviceTlb ? 0 : SS_TM_HI)),
    reservedTableLo: new Int32Array(5).fill(SS_SNP),
    reservedTableHi: new Int32Array(5).fill(beyond | SS_TM_HI),
    misalignedFaults: true,
    accessed: SS_A,
    accessedInTables: true,
    dirty: SS_D,
    dirtyManagedHi: 0,
    dirtySets: true,
    contiguousHi: 0,
    contiguousLog2: [],
    newLeafLo: 0,
    newLeafHi: 0,
    newLargeLo: SS_PS,
    newLargeHi: 0,
    newTableLo: tableBits,
    newTableHi: 0,
  }
  cache.set(key, format)
  return format
}

/** A table of 3, 4 or 5 levels: 39, 48 or 57 bits of input (AW 1, 2, 3). */
export function vtdSecond(levels: 3 | 4 | 5, options: VtdSecondOptions = {}): VtdSecondScheme {
  return { format: vtdSecondFormat(options), topDepth: levels - 1, inputBits: 12 + 9 * levels, top: TOP_ZERO }
}
