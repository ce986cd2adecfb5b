/** A table of entries by number, in one or more levels; tables below the top one come when an entry in them is needed. */
import type { PageAllocator, WordMemory } from '../../base/memory.ts'
import { blockSize, storeWords } from './words.ts'

export interface RadixShape {
  /** Bits of the number that index each level, from the top one down. The last level holds the entries. */
  readonly bits: readonly number[]
  readonly entryBytes: number
  /** The words that make a level lead to the table below it: 8 bytes. */
  pointer(table: number): Uint32Array
  /** Bytes from one pointer to the next; 8 by default. */
  readonly pointerBytes?: number
}

export class RadixTable {
  readonly base: number
  /** Width of the numbers. */
  readonly bits: number
  readonly #memory: WordMemory
  readonly #pages: PageAllocator
  readonly #shape: RadixShape
  readonly #pointerBytes: number
  /** Tables below the top one: by level, then by the bits of the number above that level. */
  readonly #tables: Map<number, number>[]

  constructor(memory: WordMemory, pages: PageAllocator, shape: RadixShape) {
    this.#memory = memory
    this.#pages = pages
    this.#shape = shape
    this.#pointerBytes = shape.pointerBytes ?? 8
    this.bits = shape.bits.reduce((sum, bits) => sum + bits, 0)
    this.#tables = shape.bits.map(() => new Map())
    this.base = pages.allocate(this.#bytes(0))
  }

  /** Where the entry lies; null while its table does not exist. */
  find(number: number): number | null {
    const last = this.#shape.bits.length - 1
    const table = last === 0 ? this.base : this.#tables[last]!.get(this.#above(number, last))
    return table === undefined ? null : table + this.#slot(number, last) * this.#shape.entryBytes
  }

  /** As `find`, with the tables on the way if there were none. `grew`: there were none, and one pointer now leads to them. */
  make(number: number): { entry: number; grew: boolean } {
    const known = this.find(number)
    if (known !== null) return { entry: known, grew: false }
    const { bits, pointer } = this.#shape
    let level = 1
    let table = this.base
    for (let next = this.#at(number, level); next !== undefined; next = this.#at(number, level)) {
      table = next
      level++
    }
    // What is new is complete, all its entries invalid, before the pointer to it is written.
    const place = table + this.#slot(number, level - 1) * this.#pointerBytes
    const first = this.#newTable(number, level)
    table = first
    for (let below = level + 1; below < bits.length; below++) {
      const child = this.#newTable(number, below)
      storeWords(this.#memory, table + this.#slot(number, below - 1) * this.#pointerBytes, pointer(child))
      table = child
    }
    storeWords(this.#memory, place, pointer(first))
    return { entry: this.find(number)!, grew: true }
  }

  /** Gives the memory back. Only when the hardware cannot reach it any more. */
  free(): void {
    this.#tables.forEach((tables, level) => {
      for (const table of tables.values()) this.#pages.free(table, this.#bytes(level))
      tables.clear()
    })
    this.#pages.free(this.base, this.#bytes(0))
  }

  #at(number: number, level: number): number | undefined {
    return this.#tables[level]?.get(this.#above(number, level))
  }

  #newTable(number: number, level: number): number {
    const table = this.#pages.allocate(this.#bytes(level))
    this.#tables[level]!.set(this.#above(number, level), table)
    return table
  }

  /** Bits of the number below this level. */
  #below(level: number): number {
    return this.#shape.bits.slice(level + 1).reduce((sum, bits) => sum + bits, 0)
  }

  /** The bits of the number above this level: which of the level's tables it is. */
  #above(number: number, level: number): number {
    return Math.floor(number / 2 ** (this.#below(level) + this.#shape.bits[level]!))
  }

  #slot(number: number, level: number): number {
    return Math.floor(number / 2 ** this.#below(level)) % 2 ** this.#shape.bits[level]!
  }

  #bytes(level: number): number {
    const { bits, entryBytes } = this.#shape
    return blockSize(2 ** bits[level]! * (level === bits.length - 1 ? entryBytes : this.#pointerBytes))
  }
}
