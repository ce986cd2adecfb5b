/**
 * VMSAv8-64 translation tables, stage 1 and stage 2, 4, 16 and 64 KiB granules, 48- and 52-bit output.
 * Arm ARM (DDI 0487) D8.3 "Translation table descriptor formats", D8.4 "Memory access control"; SMMUv3 uses them as they are
 * (Arm IHI 0070, 3.4.1 and 13).
 */
import { PR, PW, PX, UR, UW, UX } from '../../base/types.ts'
import { LARGE_NONE, LEAF_BY_TABLE_BIT, NO_FIX, NO_LIMIT, type PtFormat, type RightsField, rightsTable } from './format.ts'

export type Granule = 12 | 14 | 16

/** Which rules of privilege the tables follow. `el1`: EL1&0 (and EL2 with E2H); `el2`: a single privilege (EL2, EL3). */
export type Regime = 'el1' | 'el2' | 'stage2' | 'stage2-xnx'

/** AP[2:1] (bits 7:6) as index bits 1:0; PXN, UXN (bits 54:53) as index bits 3:2. */
function leafField(rights: (ap: number, pxn: number, uxn: number) => number): RightsField {
  return {
    loShift: 6,
    loMask: 3,
    hiShift: 21,
    hiMask: 3,
    hiPlace: 2,
    rights: rightsTable(16, (index) => rights(index & 3, (index >>> 2) & 1, (index >>> 3) & 1)),
  }
}

// D8.4.1: AP[1] lets unprivileged code in, AP[2] takes writing away.
const EL1_LEAF = leafField((ap, pxn, uxn) => {
  let rights = PR
  if ((ap & 2) === 0) rights |= PW
  if (ap & 1) rights |= UR | (ap & 2 ? 0 : UW)
  if (!uxn) rights |= UX
  if (!pxn) rights |= PX
  return rights
})

// What EL0 can write, EL1 never executes: by AP and APTable together.
const EL1_SETTLE = rightsTable(64, (rights) => (rights & UW ? rights & ~PX : rights))

// A single privilege: AP[1] is RES1 and ignored, bit 54 is XN.
const EL2_LEAF = leafField((ap, _, xn) => UR | PR | (ap & 2 ? 0 : UW | PW) | (xn ? 0 : UX | PX))

// D8.4.2: S2AP[0] reads, S2AP[1] writes; XN[1] (bit 54), XN[0] (bit 53) with FEAT_XNX.
const STAGE2_LEAF = leafField((ap, _, xn) => (ap & 1 ? UR | PR : 0) | (ap & 2 ? UW | PW : 0) | (xn ? 0 : UX | PX))
const STAGE2_XNX_LEAF = leafField((ap, xn0, xn1) => {
  const execute = [UX | PX, UX, 0, PX][xn1 * 2 + xn0]!
  return (ap & 1 ? UR | PR : 0) | (ap & 2 ? UW | PW : 0) | execute
})

/** PXNTable 59, XNTable 60, APTable 62:61 as index bits 0, 1, 3:2. */
function tableField(rights: (pxn: number, xn: number, ap: number) => number): RightsField {
  return {
    loShift: 0,
    loMask: 0,
    hiShift: 27,
    hiMask: 15,
    hiPlace: 0,
    rights: rightsTable(16, (index) => rights(index & 1, (index >>> 1) & 1, index >>> 2)),
  }
}

const EL1_TABLE = tableField((pxn, xn, ap) => {
  let rights = UR | UW | UX | PR | PW | PX
  if (pxn) rights &= ~PX
  if (xn) rights &= ~UX
  if (ap & 1) rights &= ~(UR | UW)
  if (ap & 2) rights &= ~(UW | PW)
  return rights
})
const EL2_TABLE = tableField((_, xn, ap) => UR | PR | (ap & 2 ? 0 : UW | PW) | (xn ? 0 : UX | PX))

const LEAF_RIGHTS = { el1: EL1_LEAF, el2: EL2_LEAF, stage2: STAGE2_LEAF, 'stage2-xnx': STAGE2_XNX_LEAF }

/** Depths at which a block may stand (D8.3.1), page included: by granule, without and with 52-bit output. */
const LEAF_DEPTHS: Record<Granule, readonly [number, number]> = { 12: [0b0111, 0b1111], 14: [0b011, 0b111], 16: [0b011, 0b111] }

/** log2 of the bytes of a contiguous run, by depth (D8.3.3.1 "The Contiguous bit"). */
const CONTIGUOUS: Record<Granule, readonly number[]> = { 12: [16, 25, 34], 14: [21, 30], 16: [21, 34] }

const cache = new Map<string, PtFormat>()

/**
 * The format of one configuration.
 * @param wide 52-bit output: bits 15:12 hold 51:48 (64 KiB granule, FEAT_LPA) or bits 9:8 hold 51:50 (4 and 16 KiB, FEAT_LPA2).
 */
export function vmsav8(granule: Granule, regime: Regime, wide = false): PtFormat {
  const key = `${granule}/${regime}/${wide}`
  const known = cache.get(key)
  if (known !== undefined) return known
  const stage2 = regime === 'stage2' || regime === 'stage2-xnx'
  const none = new Int32Array(5)
  const lpa2 = wide && granule !== 16
  const format: PtFormat = {
    name: `VMSAv8-64 stage ${stage2 ? 2 : 1}, ${2 ** (granule - 10)} KiB${wide ? ', 52-bit' : ''}`,
    source: 'Arm ARM DDI 0487, D8.3',
    granuleLog2: granule,
    indexBits: granule - 3,
    entryLog2: 3,
    levelOfLeaf: 3,
    levelStep: -1,
    present: 1,
    leafRule: LEAF_BY_TABLE_BIT,
    leafMask: 0,
    leafDepths: LEAF_DEPTHS[granule][wide ? 1 : 0],
    large: LARGE_NONE,
    addressLo: -1 << granule,
    addressHi: lpa2 ? 0x3ffff : 0xffff,
    addressShift: 0,
    extraMask: !wide ? 0 : lpa2 ? 0x300 : 0xf000,
    extraShift: lpa2 ? 10 : 4,
    leafRights: LEAF_RIGHTS[regime],
    userLo: 0,
    tableRights: stage2 ? NO_LIMIT : regime === 'el2' ? EL2_TABLE : EL1_TABLE,
    settle: regime === 'el1' ? EL1_SETTLE : NO_FIX,
    reservedLeafLo: none,
    reservedLeafHi: none,
    reservedTableLo: none,
    reservedTableHi: none,
    misalignedFaults: false,
    accessed: 1 << 10,
    accessedInTables: false,
    // Stage 1: AP[2] clear is writable-dirty; stage 2: S2AP[1] set is. Managed by hardware where DBM (bit 51) is set.
    dirty: 1 << 7,
    dirtyManagedHi: 1 << 19,
    dirtySets: stage2,
    contiguousHi: 1 << 20,
    contiguousLog2: CONTIGUOUS[granule],
    newLeafLo: 3 | (1 << 10),
    newLeafHi: 0,
    newLargeLo: 1 | (1 << 10),
    newLargeHi: 0,
    newTableLo: 3,
    newTableHi: 0,
  }
  cache.set(key, format)
  return format
}
