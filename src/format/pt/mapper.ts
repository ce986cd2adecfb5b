/**
 * The OS side of a page table: map and unmap ranges, over every format. New tables are complete before an entry points to them.
 * Addresses are doubles; all are multiples of the page size, so exact up to 2^64.
 */
import type { PageAllocator, WordMemory } from '../../base/memory.ts'
import { coverLog2, LEAF_BY_NEXT_LEVEL, type PtFormat, type PtSpace, type RightsField, tableLog2 } from './format.ts'
import { classify, ENTRY_ABSENT, ENTRY_LEAF, ENTRY_TABLE, leafRights, outputOf } from './walker.ts'

/** A range or size that cannot be mapped. `code` names the mistake. */
export class MapError extends Error {
  readonly code: 'unaligned' | 'out-of-range' | 'already-mapped' | 'no-rights'
  constructor(code: MapError['code'], message: string) {
    super(message)
    this.name = 'MapError'
    this.code = code
  }
}

/** A table that no entry points to any more. Free it once no cache of the hardware can hold it. */
export interface FreedTable {
  readonly pa: number
  readonly bytes: number
}

export interface MapOptions {
  /** Largest depth at which leaves may be made; 0 allows pages only. */
  readonly maxLeafDepth?: number
  /** Bits to set or clear in each new leaf's words, over what the format and the space give (access and dirty state, contiguous …). */
  readonly setLo?: number
  readonly clearLo?: number
  readonly setHi?: number
}

/** The rights field's index bits for the rights wanted, or the fewest more where the format cannot say exactly that (first stages have no write-only). */
export function rightsIndex(field: RightsField, rights: number): number {
  let best = -1
  let bestExtra = 64
  for (let index = 0; index < field.rights.length; index++) {
    const given = field.rights[index]!
    if ((rights & ~given) !== 0) continue
    const extra = popcount(given & ~rights)
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

/** One page table that the OS side writes. */
export class PageTable {
  readonly space: PtSpace
  readonly #memory: WordMemory
  readonly #pages: PageAllocator
  readonly #entryBytes: number
  /** Tables allocated, the top one not counted. */
  tables = 0

  /** @param space its root is the physical address of an allocated, zeroed top table (see `newRoot`). Stage 2 of the space is not used. */
  constructor(memory: WordMemory, pages: PageAllocator, space: PtSpace) {
    this.space = space
    this.#memory = memory
    this.#pages = pages
    this.#entryBytes = 2 ** space.format.entryLog2
  }

  /**
   * Maps [iova, iova + size) to [pa, …) with the largest leaves that fit.
   * @throws MapError when something is mapped there, the range is not aligned to pages or outside the space; then nothing was changed.
   */
  map(iova: number, pa: number, size: number, rights: number, options: MapOptions = {}): void {
    this.#check(iova, size)
    if (pa % 2 ** this.space.format.granuleLog2 !== 0 || pa < 0 || pa + size > this.space.outputLimit)
      throw new MapError(
        'unaligned',
        `physical address 0x${pa.toString(16)}: needs page alignment, below 0x${this.space.outputLimit.toString(16)}`,
      )
    const index = rightsIndex(this.space.format.leafRights, rights)
    // Without rights, an entry of some formats would not be a leaf (RISC-V: it would point to a table).
    const plain = index < 0 ? null : this.#leafWords(0, pa, index, {})
    if (plain === null || classify(this.space.format, 0, plain.hi, plain.lo) !== ENTRY_LEAF)
      throw new MapError('no-rights', `${this.space.format.name} has no way to say rights ${rights}`)
    const taken = this.#firstMapped(this.space.root, this.space.topDepth, 0, iova, iova + size)
    if (taken >= 0) throw new MapError('already-mapped', `0x${taken.toString(16)} is mapped already; unmap it first`)
    this.#map(this.space.root, this.space.topDepth, 0, iova, iova + size, pa - iova, index, options)
  }

  /**
   * Unmaps what is mapped in [iova, iova + size). A block that is only partly inside is replaced by a table of what stays.
   * @param beforeSplit called after such a block was made invalid and before the table takes its place, with the block's range:
   *   invalidate it there (break before make). Without it the table takes the block's place at once.
   * @returns bytes that were mapped, and tables to free after the range is invalidated.
   */
  unmap(iova: number, size: number, beforeSplit?: (iova: number, size: number) => void): { bytes: number; freed: FreedTable[] } {
    this.#check(iova, size)
    const freed: FreedTable[] = []
    const bytes = this.#unmap(this.space.root, this.space.topDepth, 0, iova, iova + size, freed, beforeSplit)
    return { bytes, freed }
  }

  /** Address of the entry that maps this page, and its depth; null when none does. For software that edits its own leaves. */
  leaf(iova: number): { pa: number; depth: number; hi: number; lo: number } | null {
    const { format, root, topDepth } = this.space
    let table = root
    for (let depth = topDepth; ; ) {
      const pa = table + this.#slot(iova, depth) * this.#entryBytes
      const { hi, lo } = this.#read(pa)
      const kind = classify(format, depth, hi, lo)
      if (kind === ENTRY_LEAF) return { pa, depth, hi, lo }
      if (kind !== ENTRY_TABLE) return null
      table = outputOf(format, hi, lo)
      depth = this.#below(depth, lo)
    }
  }

  /** Replaces an existing leaf's words, in one 64-bit write. */
  replaceLeaf(pa: number, hi: number, lo: number): void {
    this.#write(pa, hi, lo)
  }

  /** The words of a leaf of this space. */
  leafWords(depth: number, pa: number, rights: number, options: MapOptions = {}): { hi: number; lo: number } {
    const index = rightsIndex(this.space.format.leafRights, rights)
    if (index < 0) throw new MapError('no-rights', `${this.space.format.name} has no way to say rights ${rights}`)
    return this.#leafWords(depth, pa, index, options)
  }

  /** What an existing leaf allows by itself. */
  leafRights(hi: number, lo: number): number {
    return leafRights(this.space, hi, lo)
  }

  /** Frees every table below the top one. Only when the hardware cannot reach them any more. @returns whether any leaf was mapped. */
  destroy(): boolean {
    return this.#destroy(this.space.root, this.space.topDepth)
  }

  #check(iova: number, size: number): void {
    const page = 2 ** this.space.format.granuleLog2
    if (iova % page !== 0 || size % page !== 0 || size <= 0)
      throw new MapError(
        'unaligned',
        `0x${iova.toString(16)} + 0x${size.toString(16)}: needs multiples of the page size 0x${page.toString(16)}`,
      )
    if (iova < 0 || iova + size > 2 ** this.space.inputBits)
      throw new MapError(
        'out-of-range',
        `0x${iova.toString(16)} + 0x${size.toString(16)}: outside the ${this.space.inputBits}-bit space`,
      )
  }

  #map(
    table: number,
    depth: number,
    base: number,
    start: number,
    end: number,
    delta: number,
    rights: number,
    options: MapOptions,
  ): void {
    const { format } = this.space
    const step = 2 ** coverLog2(format, depth)
    for (let at = start; at < end; ) {
      const entryBase = at - ((at - base) % step)
      const next = Math.min(end, entryBase + step)
      const pa = table + ((entryBase - base) / step) * this.#entryBytes
      if (this.#fits(depth, options) && next - at === step && (at + delta) % step === 0) {
        const { hi, lo } = this.#leafWords(depth, at + delta, rights, options)
        this.#write(pa, hi, lo)
      } else {
        const entry = this.#read(pa)
        if (classify(format, depth, entry.hi, entry.lo) === ENTRY_TABLE) {
          this.#map(outputOf(format, entry.hi, entry.lo), depth - 1, entryBase, at, next, delta, rights, options)
        } else {
          const child = this.#newTable(depth - 1)
          try {
            this.#map(child, depth - 1, entryBase, at, next, delta, rights, options)
          } catch (error) {
            // No memory for a table below it: nothing points to this one yet.
            this.#release(child, depth - 1)
            throw error
          }
          this.#pointTo(pa, depth, child)
        }
      }
      at = next
    }
  }

  #fits(depth: number, options: MapOptions): boolean {
    return ((this.space.format.leafDepths >>> depth) & 1) === 1 && depth <= (options.maxLeafDepth ?? 31)
  }

  #unmap(
    table: number,
    depth: number,
    base: number,
    start: number,
    end: number,
    freed: FreedTable[],
    beforeSplit: ((iova: number, size: number) => void) | undefined,
  ): number {
    const { format } = this.space
    const step = 2 ** coverLog2(format, depth)
    let bytes = 0
    for (let at = start; at < end; ) {
      const entryBase = at - ((at - base) % step)
      const next = Math.min(end, entryBase + step)
      const pa = table + ((entryBase - base) / step) * this.#entryBytes
      let entry = this.#read(pa)
      let kind = classify(format, depth, entry.hi, entry.lo)
      if (kind === ENTRY_LEAF && next - at < step) {
        this.#split(pa, depth, entry.hi, entry.lo, entryBase, beforeSplit)
        entry = this.#read(pa)
        kind = ENTRY_TABLE
      }
      if (kind === ENTRY_LEAF) {
        this.#write(pa, 0, 0)
        bytes += step
      } else if (kind === ENTRY_TABLE) {
        const child = outputOf(format, entry.hi, entry.lo)
        bytes += this.#unmap(child, this.#below(depth, entry.lo), entryBase, at, next, freed, beforeSplit)
        if (this.#empty(child, depth - 1)) {
          this.#write(pa, 0, 0)
          freed.push({ pa: child, bytes: this.#tableBytes(depth - 1) })
          this.tables--
        }
      }
      at = next
    }
    return bytes
  }

  /** A block becomes a table of leaves one depth below, with the same bits. */
  #split(
    pa: number,
    depth: number,
    hi: number,
    lo: number,
    base: number,
    beforeSplit: ((iova: number, size: number) => void) | undefined,
  ): void {
    const { format } = this.space
    const below = depth - 1
    const step = 2 ** coverLog2(format, below)
    const child = this.#newTable(below)
    const output = outputOf(format, hi, lo)
    for (let slot = 0; slot < 2 ** format.indexBits; slot++) {
      const words = this.#relocate(below, output + slot * step, hi, lo)
      this.#write(child + slot * this.#entryBytes, words.hi, words.lo)
    }
    if (beforeSplit !== undefined) {
      this.#write(pa, 0, 0)
      beforeSplit(base, 2 ** coverLog2(format, depth))
    }
    this.#pointTo(pa, depth, child)
  }

  /** The same leaf at another depth and output. */
  #relocate(depth: number, pa: number, hi: number, lo: number): { hi: number; lo: number } {
    const { format } = this.space
    const address = outputWords(format, pa)
    const types = typeBits(format)
    const newLo = depth === 0 ? format.newLeafLo : format.newLargeLo
    const newHi = depth === 0 ? format.newLeafHi : format.newLargeHi
    return {
      lo: (lo & ~(format.addressLo | format.extraMask | types.lo)) | address.lo | (newLo & types.lo),
      hi: (hi & ~(format.addressHi | types.hi)) | address.hi | (newHi & types.hi),
    }
  }

  #leafWords(depth: number, pa: number, rights: number, options: MapOptions): { hi: number; lo: number } {
    const { format, attributesLo, attributesHi } = this.space
    const field = format.leafRights
    const address = outputWords(format, pa)
    const lo =
      (depth === 0 ? format.newLeafLo : format.newLargeLo) |
      address.lo |
      attributesLo |
      ((rights & field.loMask) << field.loShift)
    const hi =
      (depth === 0 ? format.newLeafHi : format.newLargeHi) |
      address.hi |
      attributesHi |
      (((rights >>> field.hiPlace) & field.hiMask) << field.hiShift)
    return { lo: (lo & ~(options.clearLo ?? 0)) | (options.setLo ?? 0), hi: hi | (options.setHi ?? 0) }
  }

  #pointTo(pa: number, depth: number, child: number): void {
    const { format } = this.space
    const address = outputWords(format, child)
    const next = format.leafRule === LEAF_BY_NEXT_LEVEL ? depth << 9 : 0
    this.#write(pa, format.newTableHi | address.hi, format.newTableLo | address.lo | next)
  }

  #newTable(depth: number): number {
    const table = this.#pages.allocate(this.#tableBytes(depth))
    this.tables++
    return table
  }

  #tableBytes(depth: number): number {
    return Math.max(4096, 2 ** tableLog2(this.space, depth))
  }

  #below(depth: number, lo: number): number {
    return this.space.format.leafRule === LEAF_BY_NEXT_LEVEL ? ((lo >>> 9) & 7) - 1 : depth - 1
  }

  #slot(iova: number, depth: number): number {
    const step = 2 ** coverLog2(this.space.format, depth)
    const slots = 2 ** tableLog2(this.space, depth) / this.#entryBytes
    return Math.floor(iova / step) % slots
  }

  #empty(table: number, depth: number): boolean {
    const index = this.#memory.index(table)
    const bytes = 2 ** tableLog2(this.space, depth)
    for (let done = 0; done < bytes; done += 4096) {
      const at = done === 0 ? index : this.#memory.index(table + done)
      const words = this.#memory.words
      for (let word = at; word < at + Math.min(4096, bytes) / 4; word++) if (words[word] !== 0) return false
    }
    return true
  }

  /** The first address in the range that is mapped, or -1. */
  #firstMapped(table: number, depth: number, base: number, start: number, end: number): number {
    const { format } = this.space
    const step = 2 ** coverLog2(format, depth)
    for (let at = start; at < end; ) {
      const entryBase = at - ((at - base) % step)
      const next = Math.min(end, entryBase + step)
      const { hi, lo } = this.#read(table + ((entryBase - base) / step) * this.#entryBytes)
      const kind = classify(format, depth, hi, lo)
      if (kind === ENTRY_TABLE) {
        const found = this.#firstMapped(outputOf(format, hi, lo), this.#below(depth, lo), entryBase, at, next)
        if (found >= 0) return found
      } else if (kind !== ENTRY_ABSENT) return at
      at = next
    }
    return -1
  }

  #destroy(table: number, depth: number): boolean {
    const { format } = this.space
    let mapped = false
    const entries = 2 ** tableLog2(this.space, depth) / this.#entryBytes
    for (let slot = 0; slot < entries; slot++) {
      const { hi, lo } = this.#read(table + slot * this.#entryBytes)
      const kind = classify(format, depth, hi, lo)
      if (kind === ENTRY_LEAF) mapped = true
      if (kind !== ENTRY_TABLE) continue
      this.#write(table + slot * this.#entryBytes, 0, 0)
      if (this.#release(outputOf(format, hi, lo), this.#below(depth, lo))) mapped = true
    }
    return mapped
  }

  /** Frees a table that no entry points to, and all below it. @returns whether any leaf was mapped. */
  #release(table: number, depth: number): boolean {
    const mapped = this.#destroy(table, depth)
    this.#pages.free(table, this.#tableBytes(depth))
    this.tables--
    return mapped
  }

  #read(pa: number): { hi: number; lo: number } {
    const index = this.#memory.index(pa)
    if (index < 0) throw new RangeError(`no memory answers at table entry 0x${pa.toString(16)}`)
    const { words } = this.#memory
    return { lo: words[index]!, hi: this.#entryBytes === 8 ? words[index + 1]! : 0 }
  }

  #write(pa: number, hi: number, lo: number): void {
    const index = this.#memory.indexForWrite(pa)
    if (index < 0) throw new RangeError(`no memory answers at table entry 0x${pa.toString(16)}`)
    const { words } = this.#memory
    words[index] = lo
    if (this.#entryBytes === 8) words[index + 1] = hi
  }
}

/** An output address as an entry's words. */
export function outputWords(format: PtFormat, pa: number): { hi: number; lo: number } {
  const value = pa / 2 ** format.addressShift
  const high = format.extraMask === 0 ? 0 : (((pa / 4294967296) | 0) >>> format.extraShift) & format.extraMask
  return { lo: ((value | 0) & format.addressLo) | high, hi: ((value / 4294967296) | 0) & format.addressHi }
}

/** Bits in which a leaf at depth 0 and one above differ, by the format. */
function typeBits(format: PtFormat): { lo: number; hi: number } {
  return { lo: format.newLeafLo ^ format.newLargeLo, hi: format.newLeafHi ^ format.newLargeHi }
}

/** Allocates the top table for a space of this shape. @returns its address. */
export function newRoot(pages: PageAllocator, shape: Pick<PtSpace, 'format' | 'topDepth' | 'inputBits'>): number {
  const log2 = shape.inputBits - coverLog2(shape.format, shape.topDepth) + shape.format.entryLog2
  return pages.allocate(Math.max(4096, 2 ** log2))
}
