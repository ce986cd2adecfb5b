/** Primary fault logging: the fault recording registers, and what FSTS says. Intel VT-d, sections 7.2.1 and 7.3. */
import { faultReason } from '../../format/vtd/faults.ts'
import {
  AT_TRANSLATED,
  AT_TRANSLATION_REQUEST,
  AT_UNTRANSLATED,
  FAULT_RECORD_BYTES,
  RECORD_EXE,
  RECORD_F,
  RECORD_PP,
  RECORD_PRIV,
  RECORD_T1,
  RECORD_T2,
} from '../../format/vtd/records.ts'
import { FSTS_ICE, FSTS_IQE, FSTS_ITE, FSTS_PFO, FSTS_PPF, GS_IRE, GS_TE, REG } from '../../format/vtd/registers.ts'
import { ATS_REQUEST, EXECUTE, PRIVILEGED, TRANSLATED, WRITE } from '../common/request.ts'
import type { Events } from './events.ts'
import type { Registers } from './registers.ts'
import { PAGE_REQUEST } from './request.ts'

const CONDITIONS = FSTS_PFO | FSTS_PPF | FSTS_IQE | FSTS_ICE | FSTS_ITE
const RECORD_WORDS = FAULT_RECORD_BYTES / 4
const SID = 2
const FLAGS = 3

/** Whether FPD can keep a fault from being recorded, by reason. */
const QUALIFIED = Uint8Array.from({ length: 256 }, (_, code) => (faultReason(code)?.qualified === true ? 1 : 0))

export class FaultLog {
  readonly #registers: Registers
  readonly #events: Events
  readonly #collapse: boolean
  /** The record that was made last. */
  readonly record = new Int32Array(RECORD_WORDS)
  /** The fault recording register that is filled next. */
  #index = 0

  /** @param collapse a fault of a source-id of which one is pending is not recorded. */
  constructor(registers: Registers, events: Events, collapse: boolean) {
    this.#registers = registers
    this.#events = events
    this.#collapse = collapse
  }

  /** Whether this fault is to be recorded. @param quiet FPD is 1 in an entry that served the request. */
  reported(reason: number, quiet: boolean): boolean {
    return !quiet || QUALIFIED[reason] === 0
  }

  /**
   * Makes the record of an address translation fault.
   * @param pasid -1: none.
   * @param flags the request's, request.ts.
   */
  fill(reason: number, source: number, pasid: number, hi: number, lo: number, flags: number): void {
    const { record } = this
    record[0] = lo & ~0xfff
    record[1] = hi & this.#addressMask()
    record[SID] = source & 0xffff
    if (pasid >= 0) {
      const execute = (flags & (EXECUTE | WRITE)) === EXECUTE ? RECORD_EXE : 0
      record[SID] = (source & 0xffff) | RECORD_PP | execute | ((flags & PRIVILEGED) !== 0 ? RECORD_PRIV : 0)
    }
    let kind = (flags & WRITE) !== 0 ? 0 : RECORD_T1
    // A translation request is a read on the bus, whatever it asks for.
    if ((flags & ATS_REQUEST) !== 0) kind = RECORD_T1
    if ((flags & PAGE_REQUEST) !== 0) {
      kind = 0
      record[SID]! |= RECORD_T2
    }
    const type =
      (flags & ATS_REQUEST) !== 0 ? AT_TRANSLATION_REQUEST : (flags & TRANSLATED) !== 0 ? AT_TRANSLATED : AT_UNTRANSLATED
    const address = this.#registers.features.deviceTlb ? type << 28 : 0
    record[FLAGS] = RECORD_F | kind | address | (reason & 0xff) | (pasid >= 0 ? (pasid & 0xfffff) << 8 : 0)
  }

  /** Makes the record of an interrupt remapping fault. @param index interrupt_index, -1 where the reason has none. */
  fillInterrupt(reason: number, source: number, index: number): void {
    const { record } = this
    record[0] = 0
    record[1] = index < 0 ? 0 : index << 16
    record[SID] = source & 0xffff
    record[FLAGS] = RECORD_F | reason
  }

  /** "Hardware treats bits 63:N as reserved (0), where N corresponds to the largest AGAW value supported": as high word. */
  #addressMask(): number {
    const { sagaw, firstStage, fiveLevel } = this.#registers.features
    const widest = Math.max((sagaw & 8) !== 0 ? 57 : (sagaw & 4) !== 0 ? 48 : 39, firstStage ? (fiveLevel ? 57 : 48) : 0)
    return (1 << (widest - 32)) - 1
  }

  /** Records `record`, if there is room. */
  push(): void {
    const registers = this.#registers
    const { words } = registers
    const first = registers.frcd / 4
    const status = registers.at(REG.FSTS)
    if ((status & FSTS_PFO) !== 0) return
    if (this.#collapse && this.#pending(this.record[SID]! & 0xffff)) return
    const at = first + this.#index * RECORD_WORDS
    if ((words[at + FLAGS]! & RECORD_F) !== 0) {
      registers.put(REG.FSTS, status | FSTS_PFO)
      return
    }
    words.set(this.record, at)
    if ((status & FSTS_PPF) === 0) {
      registers.put(REG.FSTS, (status & ~0xff00) | FSTS_PPF | (this.#index << 8))
      if ((status & CONDITIONS) === 0) this.#events.raise(REG.FECTL)
    }
    this.#index = (this.#index + 1) % registers.faultRegisters
  }

  #pending(source: number): boolean {
    const { words, frcd, faultRegisters } = this.#registers
    for (let index = 0; index < faultRegisters; index++) {
      const at = frcd / 4 + index * RECORD_WORDS
      if ((words[at + FLAGS]! & RECORD_F) !== 0 && (words[at + SID]! & 0xffff) === source) return true
    }
    return false
  }

  /** An error of the invalidation queue: FSTS_IQE, FSTS_ICE or FSTS_ITE. */
  queueError(bit: number): void {
    const status = this.#registers.at(REG.FSTS)
    this.#registers.put(REG.FSTS, status | bit)
    if ((status & CONDITIONS) === 0) this.#events.raise(REG.FECTL)
  }

  /** Software cleared F, or a bit of FSTS: PPF is "the logical OR of the Fault fields". */
  cleared(): void {
    const registers = this.#registers
    let pending = false
    for (let index = 0; index < registers.faultRegisters; index++)
      if ((registers.at(registers.frcd + index * FAULT_RECORD_BYTES + FLAGS * 4) & RECORD_F) !== 0) pending = true
    const status = (registers.at(REG.FSTS) & ~FSTS_PPF) | (pending ? FSTS_PPF : 0)
    registers.put(REG.FSTS, status)
    if ((status & CONDITIONS) === 0) this.#events.served(REG.FECTL)
  }

  /** "The index is reset to zero when both address and interrupt translations are disabled." */
  enablesChanged(): void {
    if ((this.#registers.at(REG.GSTS) & (GS_TE | GS_IRE)) === 0) this.#index = 0
  }

  /** Registers were loaded: goes on behind the records that are pending. */
  loaded(): void {
    this.cleared()
    this.#index = 0
    const { words, frcd, faultRegisters } = this.#registers
    while (this.#index < faultRegisters - 1 && (words[frcd / 4 + this.#index * RECORD_WORDS + FLAGS]! & RECORD_F) !== 0)
      this.#index++
  }
}
