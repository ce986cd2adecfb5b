/**
 * Event queue: what went wrong, for software. Arm IHI 0070, 3.5, 7.2 (when it is writable) and 7.4 (overflow).
 */
import type { WordMemory } from '../../base/memory.ts'
import { EVENT_BYTES } from '../../format/smmuv3/events.ts'
import { EVENTQ_ABT_ERR, type Interrupts } from './interrupts.ts'
import { AT, EVENTQEN, type RegisterFile } from './registers.ts'
import { advance, BASE_HI, BASE_LO, entryAddress, INDEX, isFull, LOG2SIZE, OVERFLOW, queued } from './ring.ts'

/** An output queue's registers and entry size, shared by the event queue and the PRI queue. */
export class OutputQueue {
  /** log2 of the largest size (IDR1): larger values in the base register count as this. */
  limit = 19
  readonly #memory: WordMemory
  readonly #registers: RegisterFile
  readonly #base: number
  readonly #prod: number
  readonly #cons: number
  readonly #entryBytes: number

  constructor(memory: WordMemory, registers: RegisterFile, base: number, prod: number, cons: number, entryBytes: number) {
    this.#memory = memory
    this.#registers = registers
    this.#base = base
    this.#prod = prod
    this.#cons = cons
    this.#entryBytes = entryBytes
  }

  get #log2Size(): number {
    return Math.min(this.#registers.get(this.#base) & LOG2SIZE, this.limit)
  }

  get full(): boolean {
    return isFull(this.#registers.get(this.#prod) & INDEX, this.#registers.get(this.#cons) & INDEX, this.#log2Size)
  }

  /** Whether software has not yet acknowledged an overflow. */
  get overflowed(): boolean {
    return ((this.#registers.get(this.#prod) ^ this.#registers.get(this.#cons)) & OVERFLOW) !== 0
  }

  /** Notes that an entry was lost. A second overflow before the first is acknowledged leaves no trace. */
  overflow(): void {
    if (!this.overflowed) this.#registers.set(this.#prod, (this.#registers.get(this.#prod) ^ OVERFLOW) >>> 0)
  }

  /**
   * Writes one entry and moves PROD.
   * @returns `abort` when nothing answers at the queue's address, else whether the queue was empty before.
   */
  write(entry: Uint32Array): 'abort' | 'first' | 'more' {
    const prod = this.#registers.get(this.#prod)
    const log2Size = this.#log2Size
    const first = queued(prod & INDEX, this.#registers.get(this.#cons) & INDEX, log2Size) === 0
    const base = this.#registers.address(this.#base, BASE_HI, BASE_LO)
    const index = this.#memory.indexForWrite(entryAddress(base, prod, log2Size, this.#entryBytes))
    if (index < 0) return 'abort'
    this.#memory.words.set(entry, index)
    this.#registers.set(this.#prod, ((prod & OVERFLOW) | advance(prod & INDEX, log2Size)) >>> 0)
    return first ? 'first' : 'more'
  }
}

export class EventQueue {
  readonly queue: OutputQueue
  readonly #registers: RegisterFile
  readonly #interrupts: Interrupts

  constructor(memory: WordMemory, registers: RegisterFile, interrupts: Interrupts) {
    this.queue = new OutputQueue(memory, registers, AT.EVENTQ_BASE, AT.EVENTQ_PROD, AT.EVENTQ_CONS, EVENT_BYTES)
    this.#registers = registers
    this.#interrupts = interrupts
  }

  get #enabled(): boolean {
    return (this.#registers.get(AT.CR0ACK) & EVENTQEN) !== 0
  }

  /** 7.2.1: enabled, not full, and no unacknowledged abort. */
  get writable(): boolean {
    return this.#enabled && !this.queue.full && !this.#interrupts.active(EVENTQ_ABT_ERR)
  }

  /** Records an event; one that does not fit is lost, and if it is because the queue is full, that is an overflow. */
  record(entry: Uint32Array): boolean {
    if (this.writable) return this.#write(entry)
    if (this.#enabled && this.queue.full) this.queue.overflow()
    return false
  }

  /** Records the event of a stalled transaction. @returns false when it must wait: such events are never lost (7.4). */
  recordStall(entry: Uint32Array): boolean {
    return this.writable && this.#write(entry)
  }

  #write(entry: Uint32Array): boolean {
    const written = this.queue.write(entry)
    if (written === 'abort') {
      this.#interrupts.activate(EVENTQ_ABT_ERR)
      return false
    }
    if (written === 'first') this.#interrupts.raise('eventq')
    return true
  }
}
