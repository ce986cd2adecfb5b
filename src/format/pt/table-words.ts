/** The tables of one space as the OS side reads and writes them, entry by entry. */
import type { WordMemory } from '../../base/memory.ts'
import { coverLog2, LEAF_BY_NEXT_LEVEL, type PtSpace, tableLog2 } from './format.ts'
import type { Words } from './leaf-words.ts'

/** An entry that is not present. */
export const ABSENT: Words = { hi: 0, lo: 0 }

export class TableWords {
  readonly entryBytes: number
  readonly #space: PtSpace
  readonly #memory: WordMemory

  constructor(memory: WordMemory, space: PtSpace) {
    this.#memory = memory
    this.#space = space
    this.entryBytes = 2 ** space.format.entryLog2
  }

  read(pa: number): Words {
    const index = this.#memory.index(pa)
    if (index < 0) throw nothingAnswers(pa)
    const { words } = this.#memory
    return { lo: words[index]!, hi: this.entryBytes === 8 ? words[index + 1]! : 0 }
  }

  write(pa: number, { hi, lo }: Words): void {
    const index = this.#memory.indexForWrite(pa)
    if (index < 0) throw nothingAnswers(pa)
    const { words } = this.#memory
    words[index] = lo
    if (this.entryBytes === 8) words[index + 1] = hi
  }

  /** Bytes to allocate for a table of this depth. */
  bytes(depth: number): number {
    return Math.max(4096, 2 ** tableLog2(this.#space, depth))
  }

  entries(depth: number): number {
    return 2 ** tableLog2(this.#space, depth) / this.entryBytes
  }

  /** Which entry of a table of this depth an input goes through. */
  slot(iova: number, depth: number): number {
    return Math.floor(iova / 2 ** coverLog2(this.#space.format, depth)) % this.entries(depth)
  }

  /** Depth of the table that an entry at `depth` points to. */
  below(depth: number, lo: number): number {
    return this.#space.format.leafRule === LEAF_BY_NEXT_LEVEL ? ((lo >>> 9) & 7) - 1 : depth - 1
  }

  /** Whether all entries of a table are zero. */
  empty(table: number, depth: number): boolean {
    const bytes = 2 ** tableLog2(this.#space, depth)
    for (let done = 0; done < bytes; done += 4096) {
      const at = this.#memory.index(table + done)
      const words = this.#memory.words
      for (let word = at; word < at + Math.min(4096, bytes) / 4; word++) if (words[word] !== 0) return false
    }
    return true
  }
}

function nothingAnswers(pa: number): RangeError {
  return new RangeError(`no memory answers at table entry 0x${pa.toString(16)}`)
}
