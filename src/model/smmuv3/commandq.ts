/**
 * Command queue: fetching commands in order, errors, CMD_SYNC. Arm IHI 0070, 3.5, 4.1.2 to 4.1.4, 4.7.3 and 7.1.
 * What each command does is in `commands.ts`.
 */
import { getNumber, maskIn } from '../../base/layout.ts'
import type { WordMemory } from '../../base/memory.ts'
import {
  CERROR_ABT,
  CERROR_ATC_INV_SYNC,
  CERROR_ILL,
  CMD_BYTES,
  CMD_SYNC,
  CMD_WORDS,
  SYNC,
  SYNC_IRQ,
  SYNC_SEV,
} from '../../format/smmuv3/commands.ts'
import { CMDQ_CONS } from '../../format/smmuv3/registers.ts'
import { CMDQ_ERR, type Interrupts } from './interrupts.ts'
import { AT, CMDQEN, type RegisterFile } from './registers.ts'
import { advance, BASE_HI, BASE_LO, entryAddress, INDEX, isFull, LOG2SIZE, queued } from './ring.ts'

const ERR_SHIFT = CMDQ_CONS.fields.ERR.lsb

/** What commands do. */
export interface Executor {
  /** Whether the command is one that this SMMU takes (else CERROR_ILL). */
  legal(words: Int32Array): boolean
  /** Executes a legal command other than CMD_SYNC. */
  execute(words: Int32Array): void
}

export class CommandQueue {
  /** log2 of the largest size (IDR1.CMDQS), and whether wake-up events exist (IDR0.SEV). */
  limit = 19
  sev = false
  /** Invalidations that devices have not completed yet: tag → whether the device did not answer in time. */
  readonly #outstanding = new Map<number, boolean>()
  readonly #memory: WordMemory
  readonly #registers: RegisterFile
  readonly #interrupts: Interrupts
  readonly #executor: Executor
  readonly #words = new Int32Array(CMD_WORDS)
  #nextTag = 0
  #running = false

  constructor(memory: WordMemory, registers: RegisterFile, interrupts: Interrupts, executor: Executor) {
    this.#memory = memory
    this.#registers = registers
    this.#interrupts = interrupts
    this.#executor = executor
  }

  /** A tag for an ATS invalidation that a CMD_SYNC has to wait for. */
  newInvalidation(): number {
    const tag = this.#nextTag++
    this.#outstanding.set(tag, false)
    return tag
  }

  /** The device has done it. */
  invalidationComplete(tag: number): void {
    this.#outstanding.delete(tag)
  }

  /** The device did not answer in time (3.9.1.4). */
  invalidationTimeout(tag: number): void {
    if (this.#outstanding.has(tag)) this.#outstanding.set(tag, true)
  }

  /** Consumes one command. @returns false when there is none, the queue is off or in error, or a CMD_SYNC waits for a device. */
  step(): boolean {
    // A handler that a command calls may submit commands: they run when this one is done.
    if (this.#running) return false
    this.#running = true
    try {
      return this.#step()
    } finally {
      this.#running = false
    }
  }

  #step(): boolean {
    const registers = this.#registers
    if ((registers.get(AT.CR0ACK) & CMDQEN) === 0 || this.#interrupts.active(CMDQ_ERR)) return false
    const log2Size = Math.min(registers.get(AT.CMDQ_BASE) & LOG2SIZE, this.limit)
    const prod = registers.get(AT.CMDQ_PROD) & INDEX
    const cons = registers.get(AT.CMDQ_CONS) & INDEX
    const waiting = queued(prod, cons, log2Size)
    // 3.5.1: with inconsistent indexes nothing is consumed.
    if (waiting === 0 || waiting > 2 ** log2Size) return false
    const index = this.#memory.index(entryAddress(registers.address(AT.CMDQ_BASE, BASE_HI, BASE_LO), cons, log2Size, CMD_BYTES))
    if (index < 0) return this.#fail(CERROR_ABT)
    const words = this.#words
    for (let word = 0; word < CMD_WORDS; word++) words[word] = this.#memory.words[index + word]!
    if (!this.#executor.legal(words)) return this.#fail(CERROR_ILL)
    const isSync = (words[0]! & 0xff) === CMD_SYNC
    if (isSync) {
      const ready = this.#syncReady()
      if (ready !== 'done') return ready === 'waits' ? false : this.#fail(ready)
    } else this.#executor.execute(words)
    const full = isFull(prod, cons, log2Size)
    registers.set(AT.CMDQ_CONS, advance(cons, log2Size))
    if (isSync) this.#signal(words)
    // 4.1.2: who waits for space in a full queue may sleep until it is there.
    if (full && this.sev) this.#interrupts.event()
    return true
  }

  #syncReady(): 'done' | 'waits' | typeof CERROR_ATC_INV_SYNC {
    for (const [tag, late] of this.#outstanding) {
      if (!late) continue
      // 4.7.3: the CMD_SYNC is not consumed; when software goes on, it no longer waits for what timed out.
      this.#outstanding.delete(tag)
      return CERROR_ATC_INV_SYNC
    }
    return this.#outstanding.size > 0 ? 'waits' : 'done'
  }

  #signal(words: Int32Array): void {
    const signal = getNumber(words, SYNC.fields.CS)
    if (signal === SYNC_SEV && this.sev) this.#interrupts.event()
    if (signal !== SYNC_IRQ) return
    const high = words[3]! & maskIn(SYNC.fields.MSIAddress, 3)
    const low = words[2]! & maskIn(SYNC.fields.MSIAddress, 2)
    this.#interrupts.sync((high >>> 0) * 4294967296 + (low >>> 0), words[1]! >>> 0)
  }

  /** 7.1: CONS stays at the command; nothing is consumed until software acknowledges CMDQ_ERR. */
  #fail(code: number): false {
    const cons = this.#registers.get(AT.CMDQ_CONS) & INDEX
    this.#registers.set(AT.CMDQ_CONS, (cons | (code << ERR_SHIFT)) >>> 0)
    this.#interrupts.activate(CMDQ_ERR)
    return false
  }
}
