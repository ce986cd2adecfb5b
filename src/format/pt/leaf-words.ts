/** The words that the OS side writes: leaves, pointers to tables, and leaves that cover several entries in a row ("runs"). */
import { coverLog2, LARGE_AMD, LARGE_NAPOT, LEAF_BY_NEXT_LEVEL, type PtFormat, type PtSpace } from './format.ts'

/** An entry. */
export interface Words {
  readonly hi: number
  readonly lo: number
}

export interface LeafBits {
  /** Bits to set or clear in each new leaf's words, over what the format and the space give (access and dirty state …). */
  readonly setLo?: number
  readonly clearLo?: number
  readonly setHi?: number
}

/**
 * The index of `leafRights` for the rights wanted, or for the fewest more where the format cannot say exactly that (first stages have no
 * write-only). -1: it cannot say so much.
 */
export function rightsIndex(format: PtFormat, rights: number): number {
  const given = format.leafRights.rights
  let best = -1
  let bestExtra = 64
  for (let index = 0; index < given.length; index++) {
    const settled = format.settle[given[index]!]!
    if ((rights & ~settled) !== 0) continue
    const extra = popcount(settled & ~rights)
    if (extra < bestExtra) {
      best = index
      bestExtra = extra
    }
  }
  return best
}

function popcount(value: number): number {
  let count = 0
  for (let rest = value; rest !== 0; rest &= rest - 1) count++
  return count
}

/** An output address as an entry's words. */
export function outputWords(format: PtFormat, pa: number): Words {
  const value = pa / 2 ** format.addressShift
  const high = format.extraMask === 0 ? 0 : (((pa / 4294967296) | 0) >>> format.extraShift) & format.extraMask
  return { lo: ((value | 0) & format.addressLo) | high, hi: ((value / 4294967296) | 0) & format.addressHi }
}

/** A leaf of this space. `rights`: an index of `leafRights`. */
export function newLeaf(space: PtSpace, depth: number, pa: number, rights: number, bits: LeafBits): Words {
  const { format, attributesLo, attributesHi } = space
  const field = format.leafRights
  const address = outputWords(format, pa)
  const lo =
    (depth === 0 ? format.newLeafLo : format.newLargeLo) | address.lo | attributesLo | ((rights & field.loMask) << field.loShift)
  const hi =
    (depth === 0 ? format.newLeafHi : format.newLargeHi) |
    address.hi |
    attributesHi |
    (((rights >>> field.hiPlace) & field.hiMask) << field.hiShift)
  return { lo: (lo & ~(bits.clearLo ?? 0)) | (bits.setLo ?? 0), hi: hi | (bits.setHi ?? 0) }
}

/** The entry at `depth` that points to this table. */
export function newPointer(format: PtFormat, depth: number, table: number): Words {
  const address = outputWords(format, table)
  const next = format.leafRule === LEAF_BY_NEXT_LEVEL ? depth << 9 : 0
  return { hi: format.newTableHi | address.hi, lo: format.newTableLo | address.lo | next }
}

/** The same leaf at another depth and output, of that depth's own size. */
export function relocated(format: PtFormat, depth: number, pa: number, leaf: Words): Words {
  const address = outputWords(format, pa)
  // Bits in which a leaf at depth 0 and one above differ, and those that make it one of a run.
  const typesLo = (format.newLeafLo ^ format.newLargeLo) | (format.large === LARGE_AMD ? 7 << 9 : 0)
  const typesHi = (format.newLeafHi ^ format.newLargeHi) | format.contiguousHi | (format.large === LARGE_NAPOT ? 1 << 31 : 0)
  const newLo = depth === 0 ? format.newLeafLo : format.newLargeLo
  const newHi = depth === 0 ? format.newLeafHi : format.newLargeHi
  return {
    lo: (leaf.lo & ~(format.addressLo | format.extraMask | typesLo)) | address.lo | (newLo & typesLo),
    hi: (leaf.hi & ~(format.addressHi | typesHi)) | address.hi | (newHi & typesHi),
  }
}

/** log2 of the bytes of the runs that a format has at a depth, largest first. */
export function runsAt(format: PtFormat, depth: number): readonly number[] {
  const natural = coverLog2(format, depth)
  if (format.large === LARGE_NAPOT) return depth === 0 ? [16] : []
  // AMD: all powers of two below the next level's size.
  if (format.large === LARGE_AMD)
    return Array.from({ length: format.indexBits - 1 }, (_, index) => natural + format.indexBits - 1 - index).filter(
      (log2) => log2 <= 52,
    )
  const contiguous = format.contiguousLog2[depth] ?? 0
  return contiguous > natural ? [contiguous] : []
}

/** A leaf as the entry of a run of 2^log2 bytes from `pa` on; `entry` counts from 0. */
export function runWords(format: PtFormat, log2: number, pa: number, step: number, entry: number, leaf: Words): Words {
  if (format.large === LARGE_NAPOT) {
    // Svnapot: N, and PPN[3:0] = 1000 in each of the 16 entries.
    const { hi, lo } = outputWords(format, pa)
    return { hi: (leaf.hi & ~format.addressHi) | hi | (1 << 31), lo: (leaf.lo & ~format.addressLo) | lo | (8 << 10) }
  }
  if (format.large === LARGE_AMD) {
    // Next level 7; ones in the address up to below the size's half.
    const { hi, lo } = outputWords(format, pa + 2 ** (log2 - 1) - 2 ** format.granuleLog2)
    return { hi: (leaf.hi & ~format.addressHi) | hi, lo: (leaf.lo & ~format.addressLo) | lo | (7 << 9) }
  }
  const { hi, lo } = outputWords(format, pa + entry * step)
  const keepLo = ~(format.addressLo | format.extraMask)
  return { hi: (leaf.hi & ~format.addressHi) | hi | format.contiguousHi, lo: (leaf.lo & keepLo) | lo }
}
