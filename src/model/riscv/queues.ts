/** The fault queue and the page-request queue: the IOMMU writes, software reads. RISC-V IOMMU 1.0, "In-memory queue interface". */
import { setBits } from '../../base/layout.ts'
import { NO_ANSWER, type WordMemory } from '../../base/memory.ts'
import { swap32 } from '../../format/pt/entry.ts'
import { ppnAddressAt10 } from '../../format/riscv/contexts.ts'
import { FAULT_RECORD, PAGE_REQUEST, reportedDespiteDtf } from '../../format/riscv/records.ts'
import {
  CSR_ENABLE,
  CSR_MEMORY_FAULT,
  CSR_ON,
  CSR_OVERFLOW,
  REG,
  SOURCE_FAULT,
  SOURCE_PAGE,
} from '../../format/riscv/registers.ts'
import type { Interrupts } from './interrupts.ts'
import type { Registers } from './registers.ts'

/** What became of a record. */
export const QUEUED = 0
/** The queue is off, or stopped by a memory fault (before or now), or by an overflow (before or now). */
export const QUEUE_OFF = 1
export const QUEUE_MEMORY_FAULT = 2
export const QUEUE_OVERFLOW = 3

/** A queue that the IOMMU writes: base, head, tail and CSR have the same shape for both. */
class RecordQueue {
  /** The record that is being written. */
  readonly record: Int32Array
  readonly #registers: Registers
  readonly #memory: WordMemory
  readonly #interrupts: Interrupts
  readonly #base: number
  readonly #csr: number
  readonly #source: number

  constructor(
    registers: Registers,
    memory: WordMemory,
    interrupts: Interrupts,
    words: number,
    base: number,
    csr: number,
    source: number,
  ) {
    this.record = new Int32Array(words)
    this.#registers = registers
    this.#memory = memory
    this.#interrupts = interrupts
    this.#base = base
    this.#csr = csr
    this.#source = source
  }

  /** Why no record can be written at all; QUEUED when one may be. */
  get stopped(): number {
    const csr = this.#registers.at(this.#csr)
    if ((csr & CSR_ON) === 0 || (csr & CSR_ENABLE) === 0) return QUEUE_OFF
    if ((csr & CSR_MEMORY_FAULT) !== 0) return QUEUE_MEMORY_FAULT
    return (csr & CSR_OVERFLOW) !== 0 ? QUEUE_OVERFLOW : QUEUED
  }

  /** Writes `record`. While an error bit is set, records are dropped. @returns QUEUED, or why not. */
  push(): number {
    const stopped = this.stopped
    if (stopped !== QUEUED) return stopped
    const registers = this.#registers
    const mask = registers.indexMask(this.#base)
    const head = registers.at(this.#base + 8)
    const tail = registers.at(this.#base + 12)
    const next = (tail + 1) & mask
    // "A queue is full if the tail is the head minus one."
    if (next === head) return this.#stop(CSR_OVERFLOW, QUEUE_OVERFLOW)
    const bytes = this.record.length * 4
    const pa = ppnAddressAt10(registers.at(this.#base + 4), registers.at(this.#base)) + (tail >>> 0) * bytes
    const index = pa >= registers.features.addressLimit ? NO_ANSWER : this.#memory.indexForWrite(pa, bytes)
    if (index < 0) return this.#stop(CSR_MEMORY_FAULT, QUEUE_MEMORY_FAULT)
    const { words } = this.#memory
    const swapped = registers.features.be
    for (let word = 0; word < this.record.length; word++)
      words[index + word] = swapped ? swap32(this.record[word ^ 1]!) : this.record[word]!
    registers.put(this.#base + 12, next)
    this.#interrupts.raise(this.#source)
    return QUEUED
  }

  #stop(error: number, why: number): number {
    this.#registers.put(this.#csr, this.#registers.at(this.#csr) | error)
    this.#interrupts.raise(this.#source)
    return why
  }
}

const F = FAULT_RECORD.fields
const P = PAGE_REQUEST.fields

export class FaultQueue {
  readonly #queue: RecordQueue

  constructor(registers: Registers, memory: WordMemory, interrupts: Interrupts) {
    this.#queue = new RecordQueue(registers, memory, interrupts, 8, REG.fqb, REG.fqcsr, SOURCE_FAULT)
  }

  /**
   * Makes the record of a fault, in `record`.
   * @param process -1: without process_id. With TTYP 0 all of device, process and privilege are 0.
   * @returns false when DC.tc.DTF suppresses it.
   */
  fill(
    cause: number,
    ttyp: number,
    dtf: boolean,
    device: number,
    process: number,
    privileged: boolean,
    iotvalHi: number,
    iotvalLo: number,
    iotval2Hi: number,
    iotval2Lo: number,
  ): boolean {
    if (dtf && !reportedDespiteDtf(cause)) return false
    const { record } = this
    record.fill(0)
    setBits(record, F.CAUSE.msb, F.CAUSE.lsb, cause)
    setBits(record, F.TTYP.msb, F.TTYP.lsb, ttyp)
    setBits(record, F.DID.msb, F.DID.lsb, device)
    if (process >= 0) {
      setBits(record, F.PID.msb, F.PID.lsb, process)
      setBits(record, F.PV.msb, F.PV.lsb, 1)
      setBits(record, F.PRIV.msb, F.PRIV.lsb, privileged ? 1 : 0)
    }
    record[4] = iotvalLo
    record[5] = iotvalHi
    record[6] = iotval2Lo
    record[7] = iotval2Hi
    return true
  }

  /** Writes the record to the queue, if the queue takes it. */
  push(): void {
    this.#queue.push()
  }

  /** The record that is being made: overwritten by the next, also by one that writing this one leads to. */
  get record(): Int32Array {
    return this.#queue.record
  }
}

export class PageRequestQueue {
  readonly #queue: RecordQueue

  constructor(registers: Registers, memory: WordMemory, interrupts: Interrupts) {
    this.#queue = new RecordQueue(registers, memory, interrupts, 4, REG.pqb, REG.pqcsr, SOURCE_PAGE)
  }

  /** Queues a message. @returns QUEUED, or why not. */
  push(device: number, process: number, privileged: boolean, execute: boolean, payloadHi: number, payloadLo: number): number {
    const { record } = this.#queue
    record.fill(0)
    setBits(record, P.DID.msb, P.DID.lsb, device)
    if (process >= 0) {
      setBits(record, P.PID.msb, P.PID.lsb, process)
      setBits(record, P.PV.msb, P.PV.lsb, 1)
      setBits(record, P.PRIV.msb, P.PRIV.lsb, privileged ? 1 : 0)
      setBits(record, P.EXEC.msb, P.EXEC.lsb, execute ? 1 : 0)
    }
    record[2] = payloadLo
    record[3] = payloadHi
    return this.#queue.push()
  }
}
