/** A queue that the hardware fills and software empties: events, page requests. */
import type { WordMemory } from '../../base/memory.ts'
import { loadWords } from './words.ts'

/** Where records come from. */
export interface Records {
  /** Takes the oldest record; null when there is none. */
  next(): Uint32Array | null
  /** Acknowledges that records were lost. @returns whether there were any. */
  acknowledgeLoss(): boolean
}

/** An architecture's indices of such a queue. */
export interface RecordHardware {
  /** Indices are told modulo this: with a wrap bit, twice the entries. */
  readonly modulus: number
  /** 32-bit words of a record. */
  readonly words: number
  produced(): number
  consumed(): number
  consume(index: number): void
  /** Acknowledges that records were lost. @returns whether there were any. */
  acknowledgeLoss(): boolean
}

export class RecordQueue implements Records {
  readonly base: number
  readonly log2: number
  readonly #memory: WordMemory
  readonly #hardware: RecordHardware

  /** @param base address of 2^log2 records. */
  constructor(memory: WordMemory, base: number, log2: number, hardware: RecordHardware) {
    this.#memory = memory
    this.#hardware = hardware
    this.base = base
    this.log2 = log2
  }

  /** Takes the oldest record; null when the queue is empty. */
  next(): Uint32Array | null {
    const { modulus, words } = this.#hardware
    const at = this.#hardware.consumed()
    if ((this.#hardware.produced() - at) % modulus === 0) return null
    const record = loadWords(this.#memory, this.base + (at % 2 ** this.log2) * words * 4, words)
    this.#hardware.consume((at + 1) % modulus)
    return record
  }

  /** Acknowledges that records were lost. @returns whether there were any. */
  acknowledgeLoss(): boolean {
    return this.#hardware.acknowledgeLoss()
  }
}
