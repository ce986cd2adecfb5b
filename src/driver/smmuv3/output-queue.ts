/**
 * A queue that the hardware fills: events and page requests. Arm IHI 0070, 3.5.1 (indexes and wrap bit), 3.5.4 and 8.2 (overflow: the
 * hardware toggles PROD.OVFLG, software acknowledges by making CONS.OVACKFLG equal).
 */
import type { WordMemory } from '../../base/memory.ts'
import type { Registers } from './registers.ts'
import { loadWords } from './words.ts'

const OVERFLOW = 0x8000_0000

export class OutputQueue {
  readonly base: number
  readonly log2: number
  readonly #memory: WordMemory
  readonly #registers: Registers
  readonly #name: 'EVENTQ' | 'PRIQ'
  readonly #words: number

  /** @param words 32-bit words of an entry. */
  constructor(memory: WordMemory, registers: Registers, name: 'EVENTQ' | 'PRIQ', base: number, log2: number, words: number) {
    this.#memory = memory
    this.#registers = registers
    this.#name = name
    this.#words = words
    this.base = base
    this.log2 = log2
  }

  /** Takes the oldest entry; null when the queue is empty. */
  next(): Uint32Array | null {
    const wrap = 2 ** (this.log2 + 1)
    const prod = this.#registers.read(`${this.#name}_PROD`)
    const cons = this.#registers.read(`${this.#name}_CONS`)
    if ((prod - cons) % wrap === 0) return null
    const entry = loadWords(this.#memory, this.base + (cons % 2 ** this.log2) * this.#words * 4, this.#words)
    this.#registers.write(`${this.#name}_CONS`, ((((cons % OVERFLOW) + 1) % wrap) | (cons & OVERFLOW)) >>> 0)
    return entry
  }

  /** Acknowledges an overflow. @returns whether there was one: entries were lost. */
  acknowledgeOverflow(): boolean {
    const prod = this.#registers.read(`${this.#name}_PROD`)
    const cons = this.#registers.read(`${this.#name}_CONS`)
    if (((prod ^ cons) & OVERFLOW) === 0) return false
    this.#registers.write(`${this.#name}_CONS`, (cons ^ OVERFLOW) >>> 0)
    return true
  }
}
