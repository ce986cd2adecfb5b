/** The memory of a vector case: zeros except what the case stores, ranges that refuse, and a record of what the IOMMU changes. */
import { NO_ANSWER, POISONED, type WordMemory } from '../base/memory.ts'
import { toDouble } from '../base/u64.ts'

const WORDS_PER_FRAME = 1024
/** Frame 0 of the storage is all zeros: what was never stored. */
const ZERO_FRAME = 0

export const FAULT_READ = 1
export const FAULT_WRITE = 2
export const FAULT_POISON = 4

/** Bytes of one page. */
interface Range {
  readonly page: number
  readonly start: number
  readonly end: number
  readonly kind: number
}

/** An 8-byte word that changed: its address and new value. */
export interface ChangedWord {
  readonly pa: number
  readonly hi: number
  readonly lo: number
}

export class VectorMemory implements WordMemory {
  words = new Int32Array(64 * WORDS_PER_FRAME)
  readonly #frames = new Map<number, number>()
  #used = 1
  #ranges: Range[] = []
  /** Words that the IOMMU touched since `changes` was called: address, then the value before, as [hi, lo]. */
  readonly #before = new Map<number, readonly [number, number]>()

  /** Forgets everything. */
  reset(): void {
    this.words.fill(0, 0, this.#used * WORDS_PER_FRAME)
    this.#frames.clear()
    this.#used = 1
    this.#ranges = []
    this.#before.clear()
  }

  /** Any access that overlaps this range, inside one page, fails by `kind` (FAULT_…). */
  addRange(pa: bigint, bytes: number, kind: number): void {
    const start = Number(pa & 4095n)
    this.#ranges.push({ page: Number(pa >> 12n), start, end: start + bytes, kind })
  }

  #refusal(pa: number, bytes: number, write: boolean): number {
    let status = 0
    const number = Math.floor(pa / 4096)
    const at = pa & 4095
    for (const { page, start, end, kind } of this.#ranges) {
      if (page !== number || at >= end || at + bytes <= start) continue
      if ((kind & (write ? FAULT_WRITE : FAULT_READ)) !== 0) return NO_ANSWER
      if (!write && (kind & FAULT_POISON) !== 0) status = POISONED
    }
    return status
  }

  index(pa: number, bytes = 4): number {
    if (this.#ranges.length > 0) {
      const refused = this.#refusal(pa, bytes, false)
      if (refused !== 0) return refused
    }
    const frame = this.#frames.get(Math.floor(pa / 4096)) ?? ZERO_FRAME
    return frame * WORDS_PER_FRAME + ((pa & 4095) >>> 2)
  }

  indexAt(hi: number, lo: number, bytes = 4): number {
    return this.index(toDouble(hi, lo), bytes)
  }

  indexForWrite(pa: number, bytes = 4): number {
    if (this.#ranges.length > 0 && this.#refusal(pa, bytes, true) !== 0) return NO_ANSWER
    const index = this.#own(pa)
    const first = pa - (pa % 8)
    for (let word = 0; word < Math.ceil(bytes / 8); word++) {
      if (this.#before.has(first + word * 8)) continue
      const at = (index & ~1) + word * 2
      this.#before.set(first + word * 8, [this.words[at + 1]!, this.words[at]!])
    }
    return index
  }

  #own(pa: number): number {
    const number = Math.floor(pa / 4096)
    let frame = this.#frames.get(number)
    if (frame === undefined) {
      frame = this.#used++
      if (this.#used * WORDS_PER_FRAME > this.words.length) {
        const grown = new Int32Array(this.words.length * 2)
        grown.set(this.words)
        this.words = grown
      }
      this.#frames.set(number, frame)
    }
    return frame * WORDS_PER_FRAME + ((pa & 4095) >>> 2)
  }

  /** Software stores the 8-byte word at `pa`. */
  store(pa: number, hi: number, lo: number): void {
    const index = this.#own(pa)
    this.words[index] = lo
    this.words[index + 1] = hi
  }

  /** Reads 32-bit words, whatever refuses. */
  peek(pa: number, count: number): Int32Array {
    const frame = this.#frames.get(Math.floor(pa / 4096)) ?? ZERO_FRAME
    const index = frame * WORDS_PER_FRAME + ((pa & 4095) >>> 2)
    return this.words.slice(index, index + count)
  }

  /** What the IOMMU changed since the last call. */
  changes(): ChangedWord[] {
    const changed: ChangedWord[] = []
    for (const [pa, [hi, lo]] of this.#before) {
      const at = this.#own(pa)
      if (this.words[at + 1] !== hi || this.words[at] !== lo) changed.push({ pa, hi: this.words[at + 1]!, lo: this.words[at]! })
    }
    this.#before.clear()
    return changed
  }
}
