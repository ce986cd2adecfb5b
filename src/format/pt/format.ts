/**
 * The contract of every page-table format: data of one shape. A format says where its bits are; the walker, the enumerator and the
 * mapper are the same for all. Words used here, for all architectures alike:
 *
 *   table   a page of entries                 depth   0 for a table whose entries are all leaves, one more for each step up
 *   leaf    an entry that maps memory         level   the depth as the format's manual numbers it
 *   input   the address that is translated    output  the address that a leaf or a table entry holds
 */
import { ALL_RIGHTS, UR } from '../../base/types.ts'
import { doubleHi, doubleLo } from '../../base/u64.ts'

/** How a present entry says that it is a leaf. */
export const LEAF_BY_TABLE_BIT = 0 // VMSAv8-64: bit 1 clear above depth 0; bit 1 set at depth 0
export const LEAF_BY_MASK = 1 // RISC-V: any of leafMask set
export const LEAF_BY_SIZE_BIT = 2 // x86, VT-d: depth 0, or leafMask set
export const LEAF_BY_NEXT_LEVEL = 3 // AMD v1: next level 0 or 7

/** Which entries say that they are larger than their depth. */
export const LARGE_NONE = 0
export const LARGE_NAPOT = 1 // RISC-V Svnapot: bit 63 and PPN[3:0] = 1000 at depth 0
export const LARGE_AMD = 2 // AMD v1 next level 7: the lowest clear address bit gives the size

/**
 * Bits gathered into an index: `(lo >>> loShift) & loMask | ((hi >>> hiShift) & hiMask) << hiPlace`; `rights` says what each index
 * allows (mask of UR … PX). At most 64 entries.
 */
export interface RightsField {
  readonly loShift: number
  readonly loMask: number
  readonly hiShift: number
  readonly hiMask: number
  readonly hiPlace: number
  readonly rights: Uint8Array
}

export interface PtFormat {
  readonly name: string
  /** Where the manual describes it. */
  readonly source: string
  /** log2 of the page size. */
  readonly granuleLog2: number
  /** Input bits per level, below the top level. */
  readonly indexBits: number
  /** log2 of an entry's bytes: 3, or 2 (RISC-V Sv32; the high word of such an entry counts as 0). */
  readonly entryLog2: number
  /** The manual's number of a depth: levelOfLeaf + levelStep × depth. */
  readonly levelOfLeaf: number
  readonly levelStep: 1 | -1
  /** Low-word bits of which one must be set for the entry to be present. */
  readonly present: number
  readonly leafRule: number
  readonly leafMask: number
  /** Depths at which a leaf may stand, as a mask of 1 << depth. */
  readonly leafDepths: number
  readonly large: number
  /** Output address bits in place, and by how much to shift them up (RISC-V holds the PPN two bits lower: 2). */
  readonly addressLo: number
  readonly addressHi: number
  readonly addressShift: number
  /** Low-word bits that hold high output bits (VMSAv8 52-bit), and how far to shift them up within the high word. */
  readonly extraMask: number
  readonly extraShift: number
  /** What a leaf allows. */
  readonly leafRights: RightsField
  /** Low-word bit of leaves that belong to unprivileged code (RISC-V U), for NEED_USER and NEED_SUPERVISOR; 0: no such sides. */
  readonly userLo: number
  /** What a table entry still allows below it. */
  readonly tableRights: RightsField
  /** Rules over what leaf and tables together allow, 64 entries: rights → rights (Arm: what EL0 writes, EL1 does not execute). */
  readonly settle: Uint8Array
  /** Reserved bits by depth, which must be zero; a format that ignores reserved bits has zeros. */
  readonly reservedLeafLo: Int32Array
  readonly reservedLeafHi: Int32Array
  readonly reservedTableLo: Int32Array
  readonly reservedTableHi: Int32Array
  /** Whether a large leaf whose output is not aligned to its size is a fault (RISC-V, VT-d) or those bits are ignored (Arm). */
  readonly misalignedFaults: boolean
  /** Low-word bit that records an access; 0: the format has none. Several (VT-d EA): all are needed, all are set. */
  readonly accessed: number
  /** Whether table entries have the access bit too. */
  readonly accessedInTables: boolean
  /** Low-word bit that records a write. */
  readonly dirty: number
  /** High-word bit that lets hardware manage writability (Arm DBM), and whether `dirty` is 1 (stage 2) or 0 (stage 1) when writable. */
  readonly dirtyManagedHi: number
  readonly dirtySets: boolean
  /** High-word bit of the contiguous hint, and log2 of the bytes that it spans by depth (0: none). */
  readonly contiguousHi: number
  readonly contiguousLog2: readonly number[]
  /** Fixed bits of a new leaf at depth 0, of one above, and of a table entry (AMD adds its next level to both). */
  readonly newLeafLo: number
  readonly newLeafHi: number
  readonly newLargeLo: number
  readonly newLargeHi: number
  readonly newTableLo: number
  readonly newTableHi: number
}

/**
 * What a walk may need besides rights (mask of UR … PX), as further bits of the same number. NEED_USER, NEED_SUPERVISOR: the leaf must
 * be on that side (`userLo`), whatever it allows. Rights shifted by NEED_IF_ALLOWED: an access that happens if the leaf allows it; it
 * never faults for want of rights, but has the dirty bit set (or faults for want of it). NEED_DIRTY_ALONG: where the access bit has to be
 * set and writing is allowed, the dirty bit is set with it. NEED_INTERMEDIATE: stop before stage 2.
 */
export const NEED_USER = 1 << 6
export const NEED_SUPERVISOR = 1 << 7
export const NEED_IF_ALLOWED = 8
export const NEED_DIRTY_ALONG = 1 << 14
export const NEED_INTERMEDIATE = 1 << 15

/** What hardware does when an access bit (or dirty bit) that it needs is clear. */
export const AD_IGNORE = 0
export const AD_FAULT = 1
export const AD_SET = 2

/** Which inputs above `inputBits` are legal. */
export const TOP_ZERO = 0
export const TOP_ONES = 1
export const TOP_SIGN = 2

/** One address space as a context (CD, STE, PASID-table entry …) sets it up: a format, a root, and the context's own choices. */
export interface PtSpace {
  readonly format: PtFormat
  /** Address of the top table; an intermediate address when there is a stage 2. */
  readonly root: number
  /** Depth of the top table. */
  readonly topDepth: number
  /** Width of a legal input. */
  readonly inputBits: number
  /** TOP_ZERO, TOP_ONES or TOP_SIGN. */
  readonly top: number
  /** Bits 63:56 of the input are ignored (Arm TBI). */
  readonly ignoreTopByte: boolean
  /** Outputs at or above this fault: 2^(output address size), at least 2^32. */
  readonly outputLimit: number
  /** Entries at or above this are not read, nothing answers there: 2^(physical address size), at least 2^32. */
  readonly physicalLimit: number
  /** Whether rights of table entries count (Arm HPD switches them off). */
  readonly hierarchical: boolean
  /** Last word on rights, 64 entries: rights → rights (WXN, PAN, SUM, SMEP …). */
  readonly fix: Uint8Array
  readonly accessed: number
  readonly dirty: number
  /** Entries are big-endian. */
  readonly bigEndian: boolean
  /** Attribute bits that the OS side puts into new leaves. */
  readonly attributesLo: number
  readonly attributesHi: number
  /** Stage 2 under this stage 1; null when outputs are physical. */
  readonly stage2: PtSpace | null
  /** What fetches of this space's entries need of stage 2: UR, and NEED_… bits. */
  readonly fetchNeed: number
  /**
   * Derived by `ptSpace` for the walker: root and limits as halves; the mask of a table entry's rights bits, and their values
   * that limit nothing. Make a changed copy with `ptSpace({ ...space, … })`.
   */
  readonly rootHi: number
  readonly rootLo: number
  readonly limitHi: number
  readonly physicalHi: number
  readonly tableMaskHi: number
  readonly tableMaskLo: number
  readonly tableFreeHi: number
  readonly tableFreeLo: number
}

/** The rights table that changes nothing. */
export const NO_FIX = rightsTable(64, (rights) => rights)

/** A lookup table of rights by index. */
export function rightsTable(entries: number, rights: (index: number) => number): Uint8Array {
  return Uint8Array.from({ length: entries }, (_, index) => rights(index) & ALL_RIGHTS)
}

/** For formats whose table entries limit nothing. */
export const NO_LIMIT: RightsField = {
  loShift: 0,
  loMask: 0,
  hiShift: 0,
  hiMask: 0,
  hiPlace: 0,
  rights: Uint8Array.of(ALL_RIGHTS),
}

/** A space with the defaults of a plain table; a context overrides what it says otherwise. */
export function ptSpace(given: Pick<PtSpace, 'format' | 'root' | 'topDepth' | 'inputBits'> & Partial<PtSpace>): PtSpace {
  const { format, root, topDepth, inputBits } = given
  const outputLimit = given.outputLimit ?? 2 ** 52
  const physicalLimit = given.physicalLimit ?? 2 ** 62
  const hierarchical = given.hierarchical ?? true
  const { loMask, loShift, hiMask, hiShift, hiPlace, rights } = hierarchical ? format.tableRights : NO_LIMIT
  const free = rights.indexOf(ALL_RIGHTS)
  return {
    format,
    root,
    topDepth,
    inputBits,
    top: given.top ?? TOP_ZERO,
    ignoreTopByte: given.ignoreTopByte ?? false,
    outputLimit,
    physicalLimit,
    hierarchical,
    fix: given.fix ?? NO_FIX,
    accessed: given.accessed ?? AD_IGNORE,
    dirty: given.dirty ?? AD_IGNORE,
    bigEndian: given.bigEndian ?? false,
    attributesLo: given.attributesLo ?? 0,
    attributesHi: given.attributesHi ?? 0,
    stage2: given.stage2 ?? null,
    fetchNeed: given.fetchNeed ?? UR,
    rootHi: doubleHi(root),
    rootLo: doubleLo(root),
    limitHi: doubleHi(outputLimit),
    physicalHi: doubleHi(physicalLimit),
    tableMaskHi: hiMask << hiShift,
    tableMaskLo: loMask << loShift,
    tableFreeHi: ((free >>> hiPlace) & hiMask) << hiShift,
    tableFreeLo: (free & loMask) << loShift,
  }
}

/** log2 of the bytes that an entry at this depth covers. */
export function coverLog2(format: PtFormat, depth: number): number {
  return format.granuleLog2 + depth * format.indexBits
}

/** log2 of the bytes of a table: the top one may be larger (concatenated) or smaller than a page. */
export function tableLog2(space: PtSpace, depth: number): number {
  const bits = depth === space.topDepth ? space.inputBits - coverLog2(space.format, depth) : space.format.indexBits
  return bits + space.format.entryLog2
}

/** The manual's number of the level at this depth. */
export function levelOf(format: PtFormat, depth: number): number {
  return format.levelOfLeaf + format.levelStep * depth
}
