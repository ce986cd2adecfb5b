/**
 * What a process has brought in: its page table, and for each page where its contents are. Every method is one instant; what must be
 * invalidated, and when, is `Mm`'s business. Addresses are doubles.
 */
import { coverLog2, type PtFormat, type PtSpace } from '../format/pt/format.ts'
import { type FreedTable, newRoot, PageTable } from '../format/pt/mapper.ts'
import type { PhysicalMemory } from '../memory/physical.ts'
import { TableMemory } from './frames.ts'
import { type Leaf, type LeafState, leafAccessed, leafDirty, leafRequest, leafWritable, sayable, stateBits } from './leaf.ts'

/** A leaf's worth of memory that the page table maps (`present`), or keeps unmapped because no access is permitted (`parked`). */
export interface PageInMemory {
  readonly kind: 'present' | 'parked'
  readonly frame: number
  readonly bytes: number
}
export type PageEntry = PageInMemory | { readonly kind: 'swapped'; readonly slot: number; readonly bytes: number }

export class Pages {
  readonly table: PageTable
  readonly pageBytes: number
  /** Bytes of a large leaf; 0 where the format or the space has none. */
  readonly largeBytes: number
  readonly #memory: TableMemory
  readonly #format: PtFormat
  /** By the address of the page's (or large leaf's) first byte. */
  readonly #entries = new Map<number, PageEntry>()

  constructor(memory: PhysicalMemory, shape: (root: number) => PtSpace) {
    const { format, topDepth, inputBits } = shape(0)
    this.#memory = new TableMemory(memory)
    this.#format = format
    this.table = new PageTable(memory, this.#memory, shape(newRoot(this.#memory, { format, topDepth, inputBits })))
    this.pageBytes = 2 ** format.granuleLog2
    this.largeBytes = topDepth >= 1 && ((format.leafDepths >>> 1) & 1) === 1 ? 2 ** coverLog2(format, 1) : 0
  }

  get count(): number {
    return this.#entries.size
  }

  /** The entry that covers this address, and its first address. */
  find(address: number): { at: number; entry: PageEntry } | null {
    const at = address - (address % this.pageBytes)
    const entry = this.#entries.get(at)
    if (entry !== undefined) return { at, entry }
    if (this.largeBytes === 0) return null
    const base = address - (address % this.largeBytes)
    const large = this.#entries.get(base)
    return large !== undefined && large.bytes > this.pageBytes ? { at: base, entry: large } : null
  }

  /** Every entry that overlaps [start, end), ascending. */
  inRange(start: number, end: number): { at: number; entry: PageEntry }[] {
    const found: { at: number; entry: PageEntry }[] = []
    if ((end - start) / this.pageBytes <= this.#entries.size) {
      for (let at = start; at < end; ) {
        const one = this.find(at)
        if (one !== null) found.push(one)
        at = one === null ? at + this.pageBytes : one.at + one.entry.bytes
      }
      return found
    }
    for (const [at, entry] of this.#entries) if (at < end && at + entry.bytes > start) found.push({ at, entry })
    return found.sort((a, b) => a.at - b.at)
  }

  /** Maps a frame where no leaf is. @throws MmError when memory for a table is exhausted; then nothing was changed. */
  install(at: number, frame: number, bytes: number, rights: number, kernel: boolean, state: LeafState): void {
    const request = leafRequest(this.#format, sayable(this.#format, rights, kernel), state)
    const maxLeafDepth = bytes === this.pageBytes ? 0 : 1
    this.table.map(at, frame, bytes, request.rights, { ...request.options, maxLeafDepth })
    this.#entries.set(at, { kind: 'present', frame, bytes })
  }

  /** Gives a present page other rights, another state, another frame. @returns whether the entry changed. */
  change(at: number, frame: number, rights: number, kernel: boolean, state: LeafState): boolean {
    const leaf = this.#leaf(at)
    const entry = this.#entries.get(at)!
    const request = leafRequest(this.#format, sayable(this.#format, rights, kernel), state)
    const words = this.table.leafWords(leaf.depth, frame, request.rights, request.options)
    this.#entries.set(at, { kind: 'present', frame, bytes: entry.bytes })
    if (words.hi === leaf.hi && words.lo === leaf.lo) return false
    this.table.replaceLeaf(leaf.pa, words.hi, words.lo)
    return true
  }

  /** Sets or clears access and dirty state only. @returns whether the entry changed. */
  mark(at: number, state: LeafState): boolean {
    const leaf = this.#leaf(at)
    const { setLo, clearLo } = stateBits(this.#format, leafWritable(this.table, leaf), state)
    const lo = (leaf.lo & ~clearLo) | setLo
    if (lo === leaf.lo) return false
    this.table.replaceLeaf(leaf.pa, leaf.hi, lo)
    return true
  }

  /** Takes the leaf of a present page out of the table; the frame is the caller's until it sets the entry anew. @returns its last state. */
  unmap(at: number): { frame: number; bytes: number; writable: boolean } & LeafState {
    const state = this.state(at)
    const entry = this.#entries.get(at) as PageInMemory
    this.table.replaceLeaf(this.#leaf(at).pa, 0, 0)
    this.#entries.delete(at)
    return { frame: entry.frame, bytes: entry.bytes, ...state }
  }

  /** Records a page that has no leaf. */
  set(at: number, entry: PageEntry): void {
    this.#entries.set(at, entry)
  }

  forget(at: number): void {
    this.#entries.delete(at)
  }

  /** Takes all leaves out of [start, end). @returns tables to free once the range is invalidated. Entries stay: see `forget`. */
  unmapRange(start: number, end: number): { bytes: number; freed: FreedTable[] } {
    return this.table.unmap(start, end - start)
  }

  freeTables(freed: readonly FreedTable[]): void {
    for (const { pa, bytes } of freed) this.#memory.free(pa, bytes)
  }

  /** A present page's state as the table has it. */
  state(at: number): { writable: boolean } & LeafState {
    const leaf = this.#leaf(at)
    return {
      writable: leafWritable(this.table, leaf),
      accessed: leafAccessed(this.#format, leaf),
      dirty: leafDirty(this.table, leaf),
    }
  }

  /** Frees all tables. @returns what was there. */
  destroy(): PageEntry[] {
    const { space } = this.table
    const entries = [...this.#entries.values()]
    this.#entries.clear()
    this.table.destroy()
    this.#memory.free(space.root, Math.max(4096, 2 ** (space.inputBits - coverLog2(space.format, space.topDepth) + 3)))
    return entries
  }

  #leaf(at: number): Leaf & { readonly pa: number; readonly depth: number } {
    const leaf = this.table.leaf(at)
    if (leaf === null) throw new RangeError(`no leaf maps 0x${at.toString(16)}: the page table was changed by somebody else`)
    return leaf
  }
}
