/**
 * What one entry of a page table says, by its format: its kind, its output, its size, its rights. The walker, the enumerator and the
 * mapper ask here. Words are hi and lo; nothing here allocates.
 */
import { ALL_RIGHTS } from '../../base/types.ts'
import {
  AD_SET,
  LARGE_AMD,
  LARGE_NAPOT,
  LEAF_BY_MASK,
  LEAF_BY_NEXT_LEVEL,
  LEAF_BY_SIZE_BIT,
  LEAF_BY_TABLE_BIT,
  NEED_SUPERVISOR,
  NEED_USER,
  type PtFormat,
  type PtSpace,
  type RightsField,
  TOP_ONES,
  TOP_ZERO,
} from './format.ts'

/** What an entry is. */
export const ENTRY_ABSENT = 0
export const ENTRY_TABLE = 1
export const ENTRY_LEAF = 2
export const ENTRY_RESERVED = 3

function gather(field: RightsField, hi: number, lo: number): number {
  return field.rights[((lo >>> field.loShift) & field.loMask) | (((hi >>> field.hiShift) & field.hiMask) << field.hiPlace)]!
}

/** What kind of entry this is at this depth. */
export function classify(format: PtFormat, depth: number, hi: number, lo: number): number {
  if ((lo & format.present) === 0) return ENTRY_ABSENT
  let leaf: boolean
  switch (format.leafRule) {
    case LEAF_BY_TABLE_BIT:
      if (depth === 0) return (lo & 2) !== 0 ? ENTRY_LEAF : ENTRY_ABSENT
      if ((lo & 2) !== 0) return ENTRY_TABLE
      // Arm: an entry without the table bit where no block may stand is invalid, not reserved.
      return (format.leafDepths >>> depth) & 1 ? ENTRY_LEAF : ENTRY_ABSENT
    case LEAF_BY_MASK:
      leaf = (lo & format.leafMask) !== 0
      // RISC-V privileged architecture: writable but not readable (R, W at bits 1, 2), and Svpbmt type 3, are reserved.
      if (leaf && ((lo & 6) === 4 || (hi & 0x60000000) === 0x60000000)) return ENTRY_RESERVED
      break
    case LEAF_BY_SIZE_BIT:
      leaf = depth === 0 || (lo & format.leafMask) !== 0
      break
    case LEAF_BY_NEXT_LEVEL: {
      const next = (lo >>> 9) & 7
      leaf = next === 0 || next === 7
      // The next level is one above our depth number, and must be lower than this entry's.
      if (!leaf && next > depth) return ENTRY_RESERVED
      break
    }
    default:
      return ENTRY_RESERVED
  }
  if (leaf) {
    if (((format.leafDepths >>> depth) & 1) === 0) return ENTRY_RESERVED
    return ((lo & format.reservedLeafLo[depth]!) | (hi & format.reservedLeafHi[depth]!)) !== 0 ? ENTRY_RESERVED : ENTRY_LEAF
  }
  if (depth === 0) return ENTRY_RESERVED
  return ((lo & format.reservedTableLo[depth]!) | (hi & format.reservedTableHi[depth]!)) !== 0 ? ENTRY_RESERVED : ENTRY_TABLE
}

/** Bits 31:0 of the output address of an entry, not yet cut to a leaf's size. */
export function outputLo(format: PtFormat, lo: number): number {
  return (lo & format.addressLo) << format.addressShift
}

/** Bits 63:32 of the output address of an entry. */
export function outputHi(format: PtFormat, hi: number, lo: number): number {
  const shift = format.addressShift
  const high = (hi & format.addressHi) << shift
  const carried = shift === 0 ? 0 : (lo & format.addressLo) >>> (32 - shift)
  return high | carried | ((lo & format.extraMask) << format.extraShift)
}

/** The output address of an entry as a double. */
export function outputOf(format: PtFormat, hi: number, lo: number): number {
  return (outputHi(format, hi, lo) >>> 0) * 4294967296 + (outputLo(format, lo) >>> 0)
}

/** log2 of what a leaf covers: its depth's size, or what its encoding says. -1 for an illegal encoding. */
export function leafLog2(format: PtFormat, depth: number, hi: number, lo: number): number {
  const natural = format.granuleLog2 + depth * format.indexBits
  if (format.large === LARGE_NAPOT && hi < 0) {
    // Svnapot: only 64 KiB is defined, PPN[3:0] = 1000 (PPN starts at bit 10).
    return depth === 0 && ((lo >>> 10) & 15) === 8 ? 16 : -1
  }
  if (format.large === LARGE_AMD && ((lo >>> 9) & 7) === 7) {
    // AMD 48882, 2.2.3 "page size encoding": the lowest zero bit of the address from bit 12 up, plus one. Larger than the level's own
    // size, which is said by next level 0, and smaller than the next level's.
    let bit = 12
    while (bit < 32 && (lo >>> bit) & 1) bit++
    if (bit === 32) while (bit < 52 && (hi >>> (bit - 32)) & 1) bit++
    return bit < natural || bit >= natural + format.indexBits - 1 || bit > 51 ? -1 : bit + 1
  }
  return natural
}

/** What a leaf allows, before limits of tables above it, the format's rules over both (`settle`) and the context's (`fix`). */
export function leafRights(space: PtSpace, hi: number, lo: number): number {
  const { format } = space
  if (space.dirty === AD_SET && (hi & format.dirtyManagedHi) !== 0) lo = format.dirtySets ? lo | format.dirty : lo & ~format.dirty
  return gather(format.leafRights, hi, lo)
}

/** What a table entry leaves to those below it. */
export function tableRights(space: PtSpace, hi: number, lo: number): number {
  return space.hierarchical ? gather(space.format.tableRights, hi, lo) : ALL_RIGHTS
}

/** The other byte order. */
export function swap32(value: number): number {
  return (value << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) | (value >>> 24)
}

/** Input bits from `shift` up, `bits` of them (at most 32). */
export function indexBits(hi: number, lo: number, shift: number, bits: number): number {
  const value = shift < 32 ? (lo >>> shift) | (shift === 0 ? 0 : hi << (32 - shift)) : hi >>> (shift - 32)
  return value & (bits >= 32 ? -1 : (1 << bits) - 1)
}

/** Whether the bits of an input above `inputBits` are as the space wants them. */
export function inputInRange(space: PtSpace, hi: number, lo: number): boolean {
  const above = (space.inputBits - 32) | 0
  if (above >= 0 && above < 32 && space.top === TOP_ZERO && hi >>> above === 0) return true
  return inRange(space, hi, lo)
}

function inRange(space: PtSpace, hi: number, lo: number): boolean {
  const bits = space.inputBits
  if (bits >= 64) return true
  // When the top byte is ignored, bits 55:inputBits count, and bit 55 stands for those above.
  const top = space.ignoreTopByte ? (hi << 8) >> 8 : hi
  // All bits from inputBits up, as one number that is 0 or -1 when they are all the same.
  const above = bits >= 32 ? top >> (bits - 32) : (lo >> bits) ^ (lo >> 31) ? 1 : top === lo >> 31 ? top : 1
  if (space.top === TOP_ZERO) return above === 0
  if (space.top === TOP_ONES) return above === -1
  const sign = bits > 32 ? (hi >> (bits - 33)) & 1 : (lo >> (bits - 1)) & 1
  return above === -sign
}

/** Whether a leaf is on the side that is needed. */
export function onSide(format: PtFormat, lo: number, need: number): boolean {
  if ((need & NEED_USER) !== 0 && (lo & format.userLo) === 0) return false
  return (need & NEED_SUPERVISOR) === 0 || (lo & format.userLo) === 0
}

/** Whether hi:lo is a multiple of 2^log2. */
export function aligned(hi: number, lo: number, log2: number): boolean {
  if (log2 >= 32) return lo === 0 && (hi & ((1 << (log2 - 32)) - 1)) === 0
  return (lo & ((1 << log2) - 1)) === 0
}
