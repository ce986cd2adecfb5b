/**
 * The OS side of a page table: map and unmap ranges, over every format. New tables are complete before an entry points to them.
 * Addresses are doubles; all are multiples of the page size, so exact up to 2^64.
 */
import type { PageAllocator, WordMemory } from '../../base/memory.ts'
import { classify, ENTRY_ABSENT, ENTRY_LEAF, ENTRY_TABLE, leafLog2, leafRights, outputOf } from './entry.ts'
import { coverLog2, type PtSpace } from './format.ts'
import { type LeafBits, newLeaf, newPointer, relocated, rightsIndex, runsAt, runWords, type Words } from './leaf-words.ts'
import { ABSENT, TableWords } from './table-words.ts'

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

export interface MapOptions extends LeafBits {
  /** Largest depth at which leaves may be made; 0 allows pages only. */
  readonly maxLeafDepth?: number
  /** Use the sizes that take several entries: AMD's next level 7, RISC-V's NAPOT, Arm's contiguous hint. Default false. */
  readonly runs?: boolean
}

/** What `map` carries down. */
interface Mapping {
  /** Output minus input. */
  readonly delta: number
  /** Index of the format's `leafRights`. */
  readonly rights: number
  readonly options: MapOptions
  /** Tables that this map made. */
  readonly made: Set<number>
}

/** What `unmap` carries down. */
interface Unmapping {
  readonly freed: FreedTable[]
  readonly beforeSplit: ((iova: number, size: number) => void) | undefined
}

/** One page table that the OS side writes. */
export class PageTable {
  readonly space: PtSpace
  readonly #words: TableWords
  readonly #pages: PageAllocator
  /** Tables allocated, the top one not counted. */
  tables = 0

  /** @param space its root is the physical address of an allocated, zeroed top table (see `newRoot`). Stage 2 of the space is not used. */
  constructor(memory: WordMemory, pages: PageAllocator, space: PtSpace) {
    this.space = space
    this.#words = new TableWords(memory, space)
    this.#pages = pages
  }

  /**
   * Maps [iova, iova + size) to [pa, …) with the largest leaves that fit; tables that are there are used.
   * @throws MapError when something is mapped there, the range is not aligned to pages or outside the space; what the allocator throws when
   *   it has no memory for a table. Then nothing was changed.
   */
  map(iova: number, pa: number, size: number, rights: number, options: MapOptions = {}): void {
    const { format, root, topDepth, outputLimit } = this.space
    this.#check(iova, size)
    if (pa % 2 ** format.granuleLog2 !== 0 || pa < 0 || pa + size > outputLimit)
      throw new MapError(
        'unaligned',
        `physical address 0x${pa.toString(16)}: needs page alignment, below 0x${outputLimit.toString(16)}`,
      )
    const index = rightsIndex(format, rights)
    // Without rights, an entry of some formats would not be a leaf (RISC-V: it would point to a table).
    const plain = index < 0 ? null : newLeaf(this.space, 0, pa, index, {})
    if (plain === null || classify(format, 0, plain.hi, plain.lo) !== ENTRY_LEAF) throw this.#noRights(rights)
    const taken = this.#firstMapped(root, topDepth, 0, iova, iova + size)
    if (taken >= 0) throw new MapError('already-mapped', `0x${taken.toString(16)} is mapped already; unmap it first`)
    const mapping: Mapping = { delta: pa - iova, rights: index, options, made: new Set() }
    try {
      this.#map(root, topDepth, 0, iova, iova + size, mapping)
    } catch (error) {
      this.#undo(root, topDepth, 0, iova, iova + size, mapping.made)
      throw error
    }
  }

  /**
   * Unmaps what is mapped in [iova, iova + size). A block that is only partly inside is replaced by a table of what stays, a run by leaves
   * of one entry each.
   * @param beforeSplit called after such a block was made invalid and before the table takes its place, with the block's range:
   *   invalidate it there (break before make). Without it the table takes the block's place at once.
   * @returns bytes that were mapped, and tables to free after the range is invalidated.
   */
  unmap(iova: number, size: number, beforeSplit?: (iova: number, size: number) => void): { bytes: number; freed: FreedTable[] } {
    this.#check(iova, size)
    const freed: FreedTable[] = []
    const bytes = this.#unmap(this.space.root, this.space.topDepth, 0, iova, iova + size, { freed, beforeSplit })
    return { bytes, freed }
  }

  /** Address of the entry that maps this page, its depth and its words; null when none does. For software that edits its own leaves. */
  leaf(iova: number): { pa: number; depth: number; hi: number; lo: number } | null {
    const { format, root, topDepth } = this.space
    let table = root
    for (let depth = topDepth; ; ) {
      const pa = table + this.#words.slot(iova, depth) * this.#words.entryBytes
      const { hi, lo } = this.#words.read(pa)
      const kind = classify(format, depth, hi, lo)
      if (kind === ENTRY_LEAF) return { pa, depth, hi, lo }
      if (kind !== ENTRY_TABLE) return null
      table = outputOf(format, hi, lo)
      depth = this.#words.below(depth, lo)
    }
  }

  /** Replaces an existing leaf's words, in one 64-bit write. */
  replaceLeaf(pa: number, hi: number, lo: number): void {
    this.#words.write(pa, { hi, lo })
  }

  /** The words of a leaf of this space. */
  leafWords(depth: number, pa: number, rights: number, options: LeafBits = {}): Words {
    const index = rightsIndex(this.space.format, rights)
    if (index < 0) throw this.#noRights(rights)
    return newLeaf(this.space, depth, pa, index, options)
  }

  /** What an existing leaf allows by itself. */
  leafRights(hi: number, lo: number): number {
    return this.space.format.settle[leafRights(this.space, hi, lo)]!
  }

  /** Frees every table below the top one. Only when the hardware cannot reach them any more. @returns whether any leaf was mapped. */
  destroy(): boolean {
    return this.#destroy(this.space.root, this.space.topDepth)
  }

  #noRights(rights: number): MapError {
    return new MapError('no-rights', `${this.space.format.name} has no way to say rights ${rights}`)
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

  #map(table: number, depth: number, base: number, start: number, end: number, mapping: Mapping): void {
    const { format } = this.space
    const { delta, options } = mapping
    const step = 2 ** coverLog2(format, depth)
    const fits = ((format.leafDepths >>> depth) & 1) === 1 && depth <= (options.maxLeafDepth ?? 31)
    const runs = fits && options.runs ? runsAt(format, depth) : []
    for (let at = start; at < end; ) {
      const entryBase = at - ((at - base) % step)
      const pa = table + ((entryBase - base) / step) * this.#words.entryBytes
      const entry = this.#words.read(pa)
      let next = Math.min(end, entryBase + step)
      // A table stays where it is, though nothing is mapped in it: hardware may know it.
      if (classify(format, depth, entry.hi, entry.lo) === ENTRY_TABLE) {
        this.#map(outputOf(format, entry.hi, entry.lo), this.#words.below(depth, entry.lo), entryBase, at, next, mapping)
        at = next
        continue
      }
      const run = runs.find((log2) => this.#runFits(pa, depth, at, end, delta, log2))
      if (run !== undefined) {
        next = at + 2 ** run
        const leaf = newLeaf(this.space, depth, at + delta, mapping.rights, options)
        for (let slot = 0; slot < 2 ** run / step; slot++)
          this.#words.write(pa + slot * this.#words.entryBytes, runWords(format, run, at + delta, step, slot, leaf))
      } else if (fits && next - at === step && (at + delta) % step === 0) {
        this.#words.write(pa, newLeaf(this.space, depth, at + delta, mapping.rights, options))
      } else {
        const child = this.#newTable(depth - 1)
        try {
          this.#map(child, depth - 1, entryBase, at, next, mapping)
        } catch (error) {
          // No memory for a table below it: nothing points to this one yet.
          this.#release(child, depth - 1)
          throw error
        }
        mapping.made.add(child)
        this.#words.write(pa, newPointer(format, depth, child))
      }
      at = next
    }
  }

  /** Whether a run of 2^log2 bytes may start at this entry. */
  #runFits(pa: number, depth: number, at: number, end: number, delta: number, log2: number): boolean {
    const size = 2 ** log2
    if (at % size !== 0 || (at + delta) % size !== 0 || end - at < size) return false
    if (depth === 0) return true
    const { format } = this.space
    for (let slot = 0; slot < size / 2 ** coverLog2(format, depth); slot++) {
      const { hi, lo } = this.#words.read(pa + slot * this.#words.entryBytes)
      if (classify(format, depth, hi, lo) === ENTRY_TABLE) return false
    }
    return true
  }

  /** Takes out what a map left that did not get through: its leaves, and the tables that it made. Nothing was mapped here before. */
  #undo(table: number, depth: number, base: number, start: number, end: number, made: ReadonlySet<number>): void {
    const { format } = this.space
    const step = 2 ** coverLog2(format, depth)
    for (let at = start; at < end; ) {
      const entryBase = at - ((at - base) % step)
      const next = Math.min(end, entryBase + step)
      const pa = table + ((entryBase - base) / step) * this.#words.entryBytes
      const { hi, lo } = this.#words.read(pa)
      const kind = classify(format, depth, hi, lo)
      if (kind === ENTRY_LEAF) this.#words.write(pa, ABSENT)
      if (kind === ENTRY_TABLE) {
        const child = outputOf(format, hi, lo)
        const below = this.#words.below(depth, lo)
        if (made.has(child)) {
          this.#words.write(pa, ABSENT)
          this.#release(child, below)
        } else this.#undo(child, below, entryBase, at, next, made)
      }
      at = next
    }
  }

  #unmap(table: number, depth: number, base: number, start: number, end: number, work: Unmapping): number {
    const { format } = this.space
    const step = 2 ** coverLog2(format, depth)
    let bytes = 0
    for (let at = start; at < end; ) {
      const entryBase = at - ((at - base) % step)
      const next = Math.min(end, entryBase + step)
      const pa = table + ((entryBase - base) / step) * this.#words.entryBytes
      let entry = this.#words.read(pa)
      let kind = classify(format, depth, entry.hi, entry.lo)
      if (kind === ENTRY_LEAF) {
        const run = this.#run(depth, entry)
        const first = entryBase - (entryBase % run)
        if (run > step && (first < start || first + run > end)) {
          this.#unrun(pa, depth, entryBase, run, work)
          entry = this.#words.read(pa)
        }
        if (next - at < step) {
          this.#split(pa, depth, entry, entryBase, work)
          entry = this.#words.read(pa)
          kind = ENTRY_TABLE
        }
      }
      if (kind === ENTRY_LEAF) {
        this.#words.write(pa, ABSENT)
        bytes += step
      } else if (kind === ENTRY_TABLE) {
        const child = outputOf(format, entry.hi, entry.lo)
        const below = this.#words.below(depth, entry.lo)
        bytes += this.#unmap(child, below, entryBase, at, next, work)
        if (this.#words.empty(child, below)) {
          this.#words.write(pa, ABSENT)
          work.freed.push({ pa: child, bytes: this.#words.bytes(below) })
          this.tables--
        }
      }
      at = next
    }
    return bytes
  }

  /** Bytes that the leaf covers with its neighbours. */
  #run(depth: number, { hi, lo }: Words): number {
    const { format } = this.space
    const log2 = (hi & format.contiguousHi) === 0 ? leafLog2(format, depth, hi, lo) : (format.contiguousLog2[depth] ?? 0)
    return 2 ** Math.max(coverLog2(format, depth), log2)
  }

  /** A run becomes leaves of one entry each. What hardware recorded in any of them counts for all. */
  #unrun(pa: number, depth: number, base: number, run: number, { beforeSplit }: Unmapping): void {
    const { format } = this.space
    const step = 2 ** coverLog2(format, depth)
    const first = pa - ((base % run) / step) * this.#words.entryBytes
    const places = Array.from({ length: run / step }, (_, slot) => first + slot * this.#words.entryBytes)
    const leaves = places.map((place) => this.#words.read(place))
    const recorded = format.dirtyManagedHi === 0 ? format.accessed | format.dirty : 0
    const seen = leaves.reduce((bits, { lo }) => bits | (lo & recorded), 0)
    if (beforeSplit !== undefined) {
      for (const place of places) this.#words.write(place, ABSENT)
      beforeSplit(base - (base % run), run)
    }
    const large = format.large !== 0
    for (const [slot, place] of places.entries()) {
      const leaf = leaves[slot]!
      const own = outputOf(format, leaf.hi, leaf.lo)
      const output = large ? own - (own % run) + slot * step : own
      const { hi, lo } = relocated(format, depth, output, leaf)
      this.#words.write(place, { hi, lo: lo | seen })
    }
  }

  /** A block becomes a table of leaves one depth below, with the same bits. */
  #split(pa: number, depth: number, leaf: Words, base: number, { beforeSplit }: Unmapping): void {
    const { format } = this.space
    const size = 2 ** coverLog2(format, depth)
    const step = 2 ** coverLog2(format, depth - 1)
    const child = this.#newTable(depth - 1)
    // Bits below the size are not the address's (x86: PAT).
    const output = outputOf(format, leaf.hi, leaf.lo)
    for (let slot = 0; slot < size / step; slot++)
      this.#words.write(
        child + slot * this.#words.entryBytes,
        relocated(format, depth - 1, output - (output % size) + slot * step, leaf),
      )
    if (beforeSplit !== undefined) {
      this.#words.write(pa, ABSENT)
      beforeSplit(base, size)
    }
    this.#words.write(pa, newPointer(format, depth, child))
  }

  #newTable(depth: number): number {
    const table = this.#pages.allocate(this.#words.bytes(depth))
    this.tables++
    return table
  }

  /** The first address in the range that is mapped, or -1. */
  #firstMapped(table: number, depth: number, base: number, start: number, end: number): number {
    const { format } = this.space
    const step = 2 ** coverLog2(format, depth)
    for (let at = start; at < end; ) {
      const entryBase = at - ((at - base) % step)
      const next = Math.min(end, entryBase + step)
      const { hi, lo } = this.#words.read(table + ((entryBase - base) / step) * this.#words.entryBytes)
      const kind = classify(format, depth, hi, lo)
      if (kind === ENTRY_TABLE) {
        const found = this.#firstMapped(outputOf(format, hi, lo), this.#words.below(depth, lo), entryBase, at, next)
        if (found >= 0) return found
      } else if (kind !== ENTRY_ABSENT) return at
      at = next
    }
    return -1
  }

  #destroy(table: number, depth: number): boolean {
    const { format } = this.space
    let mapped = false
    for (let slot = 0; slot < this.#words.entries(depth); slot++) {
      const { hi, lo } = this.#words.read(table + slot * this.#words.entryBytes)
      const kind = classify(format, depth, hi, lo)
      if (kind === ENTRY_LEAF) mapped = true
      if (kind !== ENTRY_TABLE) continue
      this.#words.write(table + slot * this.#words.entryBytes, ABSENT)
      if (this.#release(outputOf(format, hi, lo), this.#words.below(depth, lo))) mapped = true
    }
    return mapped
  }

  /** Frees a table that no entry points to, and all below it. @returns whether any leaf was mapped. */
  #release(table: number, depth: number): boolean {
    const mapped = this.#destroy(table, depth)
    this.#pages.free(table, this.#words.bytes(depth))
    this.tables--
    return mapped
  }
}

/** Allocates the top table for a space of this shape. @returns its address. */
export function newRoot(pages: PageAllocator, shape: Pick<PtSpace, 'format' | 'topDepth' | 'inputBits'>): number {
  const log2 = shape.inputBits - coverLog2(shape.format, shape.topDepth) + shape.format.entryLog2
  return pages.allocate(Math.max(4096, 2 ** log2))
}
