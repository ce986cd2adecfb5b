/**
 * The logs that the IOMMU writes and software reads. AMD IOMMU specification (48882), 2.5 "Event Logging", 2.6 "Peripheral Page Request (PPR)
 * Logging". A log is full when its tail is one entry before its head: what comes then is lost, and the log stands until software clears
 * the overflow bit in STATUS.
 */
import type { WordMemory } from '../../base/memory.ts'
import type { Interrupts } from './interrupts.ts'
import type { RegisterFile, Ring } from './registers.ts'

/** What became of an entry. */
export const LOGGED = 0
/** The log is off, or stands after an overflow. */
export const LOG_OFF = 1
/** It was full: this entry made it overflow. */
export const LOG_FULL = 2
/** Nothing answers at its place. */
export const LOG_ABORT = 3

const ENTRY_BYTES = 16

export class Log {
  readonly #memory: WordMemory
  readonly #registers: RegisterFile
  readonly #interrupts: Interrupts
  readonly #ring: Ring
  readonly #overflow: number
  readonly #interrupt: number

  /** @param overflow and `interrupt`: its bits of STATUS. */
  constructor(
    memory: WordMemory,
    registers: RegisterFile,
    interrupts: Interrupts,
    ring: Ring,
    overflow: number,
    interrupt: number,
  ) {
    this.#memory = memory
    this.#registers = registers
    this.#interrupts = interrupts
    this.#ring = ring
    this.#overflow = overflow
    this.#interrupt = interrupt
  }

  get running(): boolean {
    return (this.#registers.status & this.#ring.run) !== 0
  }

  /** Writes an entry of four words. @returns LOGGED, or why not. */
  push(entry: Int32Array): number {
    if (!this.running) return LOG_OFF
    const registers = this.#registers
    const ring = this.#ring
    const mask = registers.ringBytes(ring) - 1
    const tail = registers.get(ring.tail) & mask
    const next = (tail + ENTRY_BYTES) & mask
    if (next === (registers.get(ring.head) & mask)) {
      this.#interrupts.raise(this.#overflow | this.#interrupt)
      return LOG_FULL
    }
    const index = this.#memory.indexForWrite(registers.address(ring.base) + tail, ENTRY_BYTES)
    if (index < 0) return LOG_ABORT
    const { words } = this.#memory
    for (let word = 0; word < 4; word++) words[index + word] = entry[word]!
    registers.set(ring.tail, next)
    this.#interrupts.raise(this.#interrupt)
    return LOGGED
  }
}
