/**
 * RISC-V page tables: Sv32, Sv39, Sv48, Sv57, and the x4 forms of the second stage. RISC-V privileged architecture, "Sv32" to "Sv57",
 * "Svnapot", "Svpbmt", "Svrsw60t59b", and "Two-Stage Address Translation"; the RISC-V IOMMU uses them as they are.
 */
import { PR, PW, PX, UR, UW, UX } from '../../base/types.ts'
import {
  LARGE_NAPOT,
  LARGE_NONE,
  LEAF_BY_MASK,
  NO_FIX,
  NO_LIMIT,
  type PtFormat,
  type RightsField,
  rightsTable,
  TOP_SIGN,
  TOP_ZERO,
} from './format.ts'

export type RiscvMode = 'Sv32' | 'Sv39' | 'Sv48' | 'Sv57' | 'Sv32x4' | 'Sv39x4' | 'Sv48x4' | 'Sv57x4'

/** Extensions that change which bits of an entry are reserved. Svnapot is always there (RISC-V IOMMU 1.0, "capabilities"). */
export interface RiscvExtensions {
  /** Bits 62:61 of a leaf hold a memory type. */
  readonly svpbmt: boolean
  /** Bits 60:59 belong to software. */
  readonly svrsw60t59b: boolean
}

/** A mode's tables: the format, and what a `PtSpace` says beside it. */
export interface RiscvScheme {
  readonly mode: RiscvMode
  readonly format: PtFormat
  readonly topDepth: number
  readonly inputBits: number
  readonly top: number
}

export const PTE_V = 1 << 0
export const PTE_R = 1 << 1
export const PTE_W = 1 << 2
export const PTE_X = 1 << 3
export const PTE_U = 1 << 4
export const PTE_G = 1 << 5
export const PTE_A = 1 << 6
export const PTE_D = 1 << 7

/** R, W, X, U as index bits 0 to 3. */
function leafField(rights: (rwx: number, user: boolean) => number): RightsField {
  return {
    loShift: 1,
    loMask: 15,
    hiShift: 0,
    hiMask: 0,
    hiPlace: 0,
    rights: rightsTable(16, (index) => rights(index & 7, (index & 8) !== 0)),
  }
}

/** For both privileges. Writable without readable is reserved: it gives nothing. */
function both(rwx: number): number {
  if ((rwx & 3) === 2) return 0
  return (rwx & 1 ? UR | PR : 0) | (rwx & 2 ? UW | PW : 0) | (rwx & 4 ? UX | PX : 0)
}

// Supervisor code reads and writes user pages where SUM is 1 (`WITHOUT_SUM` takes that away), and never executes them.
const STAGE1_LEAF = leafField((rwx, user) => both(rwx) & (user ? UR | UW | UX | PR | PW : PR | PW | PX))
// "When checking the U bit, the current privilege mode is always taken to be U-mode."
const STAGE2_LEAF = leafField((rwx, user) => (user ? both(rwx) : 0))

/** Rights of a context with SUM = 0: `PtSpace.fix`. A leaf with any unprivileged right is a user page. */
export const WITHOUT_SUM = rightsTable(64, (rights) => ((rights & (UR | UW | UX)) === 0 ? rights : rights & (UR | UW | UX)))

const SHAPES: Record<RiscvMode, readonly [depth: number, bits: number, wide: boolean, stage: 1 | 2]> = {
  Sv32: [1, 32, false, 1],
  Sv39: [2, 39, true, 1],
  Sv48: [3, 48, true, 1],
  Sv57: [4, 57, true, 1],
  Sv32x4: [1, 34, false, 2],
  Sv39x4: [2, 41, true, 2],
  Sv48x4: [3, 50, true, 2],
  Sv57x4: [4, 59, true, 2],
}

const cache = new Map<string, RiscvScheme>()

/** The tables of a mode. */
export function riscvScheme(mode: RiscvMode, extensions: RiscvExtensions): RiscvScheme {
  const key = `${mode}/${extensions.svpbmt}/${extensions.svrsw60t59b}`
  const known = cache.get(key)
  if (known !== undefined) return known
  const [topDepth, inputBits, wide, stage] = SHAPES[mode]
  const scheme: RiscvScheme = {
    mode,
    format: riscvFormat(mode, wide, stage, extensions),
    topDepth,
    inputBits,
    // Sv32 has no addresses above its 32 bits; wider modes sign-extend; guest physical addresses are never extended.
    top: stage === 1 && wide ? TOP_SIGN : TOP_ZERO,
  }
  cache.set(key, scheme)
  return scheme
}

function riscvFormat(mode: RiscvMode, wide: boolean, stage: 1 | 2, extensions: RiscvExtensions): PtFormat {
  // Bits 58:54 are reserved, 60:59 without Svrsw60t59b, 62:61 without Svpbmt; N (63) is only for leaves at depth 0 (`leafLog2`).
  const reserved = (0x1f << 22) | (extensions.svrsw60t59b ? 0 : 3 << 27)
  const memoryType = 3 << 29
  const napot = 1 << 31
  return {
    name: `RISC-V ${mode}`,
    source: 'RISC-V privileged architecture, "Sv32" to "Sv57"',
    granuleLog2: 12,
    indexBits: wide ? 9 : 10,
    entryLog2: wide ? 3 : 2,
    levelOfLeaf: 0,
    levelStep: 1,
    present: PTE_V,
    leafRule: LEAF_BY_MASK,
    leafMask: PTE_R | PTE_W | PTE_X,
    leafDepths: 0b11111,
    large: wide ? LARGE_NAPOT : LARGE_NONE,
    addressLo: ~0x3ff,
    addressHi: wide ? 0x3fffff : 0,
    addressShift: 2,
    extraMask: 0,
    extraShift: 0,
    leafRights: stage === 1 ? STAGE1_LEAF : STAGE2_LEAF,
    userLo: PTE_U,
    tableRights: NO_LIMIT,
    settle: NO_FIX,
    reservedLeafLo: new Int32Array(5),
    reservedLeafHi: new Int32Array(5).fill(reserved | (extensions.svpbmt ? 0 : memoryType)),
    // "For non-leaf PTEs, the D, A, and U bits are reserved", and so are the memory type and N.
    reservedTableLo: new Int32Array(5).fill(PTE_D | PTE_A | PTE_U),
    reservedTableHi: new Int32Array(5).fill(reserved | memoryType | napot),
    misalignedFaults: true,
    accessed: PTE_A,
    accessedInTables: false,
    dirty: PTE_D,
    dirtyManagedHi: 0,
    dirtySets: true,
    contiguousHi: 0,
    contiguousLog2: [],
    newLeafLo: PTE_V | PTE_A | PTE_D,
    newLeafHi: 0,
    newLargeLo: PTE_V | PTE_A | PTE_D,
    newLargeHi: 0,
    newTableLo: PTE_V,
    newTableHi: 0,
  }
}
