/** The command queue. RISC-V IOMMU 1.0, "Command-Queue (CQ)", "Non-leaf PTE Invalidation", "Address Range Invalidation". */
import { getBits, uncovered, wordsToU64 } from '../../base/layout.ts'
import { indexForWrite4, NO_ANSWER, type WordMemory } from '../../base/memory.ts'
import { toDouble } from '../../base/u64.ts'
import { swap32 } from '../../format/pt/entry.ts'
import {
  ATS,
  IODIR,
  IOFENCE,
  IOTINVAL,
  OPCODE_ATS,
  OPCODE_IODIR,
  OPCODE_IOFENCE,
  OPCODE_IOTINVAL,
} from '../../format/riscv/commands.ts'
import { ppnAddressAt10 } from '../../format/riscv/contexts.ts'
import { MESSAGE_INVALIDATION_REQUEST, MESSAGE_PRG_RESPONSE } from '../../format/riscv/records.ts'
import {
  CAP_HI_NL,
  CAP_HI_PD17,
  CAP_HI_PD20,
  CAP_HI_S,
  CQCSR_FENCE,
  CQCSR_ILLEGAL,
  CQCSR_TIMEOUT,
  CSR_ENABLE,
  CSR_MEMORY_FAULT,
  CSR_ON,
  FCTL_WSI,
  REG,
  SOURCE_COMMAND,
} from '../../format/riscv/registers.ts'
import type { EntryCache } from '../common/entry-cache.ts'
import { Invalidations } from '../common/invalidations.ts'
import type { Interrupts } from './interrupts.ts'
import type { InvalidationRange, TranslationCache } from './iotlb.ts'
import type { RiscvMessage } from './messages.ts'
import type { Registers } from './registers.ts'

const STOPPED = CSR_MEMORY_FAULT | CQCSR_TIMEOUT | CQCSR_ILLEGAL
const ZERO = {
  [OPCODE_IOTINVAL]: uncovered(IOTINVAL),
  [OPCODE_IOFENCE]: uncovered(IOFENCE),
  [OPCODE_IODIR]: uncovered(IODIR),
  [OPCODE_ATS]: uncovered(ATS),
} as Readonly<Record<number, Uint32Array>>

/** What executing a command leads to. */
const DONE = 0
const ILLEGAL = 1
const MEMORY_FAULT = 2
const TIMED_OUT = 3
/** It cannot go on until a device answers. */
const WAITS = 4

export interface CommandParts {
  readonly registers: Registers
  readonly memory: WordMemory
  readonly interrupts: Interrupts
  readonly devices: EntryCache
  readonly processes: EntryCache
  readonly translations: TranslationCache
}

export class CommandQueue {
  readonly invalidations: Invalidations
  /** Messages to devices. */
  onMessage: (message: RiscvMessage) => void = () => {}
  /** IOFENCE.C asks that earlier reads (PR) and writes (PW) of devices be visible everywhere. */
  onOrder: (reads: boolean, writes: boolean) => void = () => {}
  readonly #parts: CommandParts
  readonly #command = new Int32Array(4)
  readonly #range = { hi: 0, lo: 0, log2: 0 }
  /** The IOFENCE.C at the head waits for invalidation requests that were sent before it was read. */
  #fenceWaits = false
  /** An ATS.INVAL (whose command was passed) waits for a free ITag. */
  #tagWaits: RiscvMessage | null = null

  constructor(parts: CommandParts) {
    this.#parts = parts
    this.invalidations = new Invalidations(parts.registers.options.invalidationTags)
  }

  /** The queue was switched off: a waiting fence is given up. */
  off(): void {
    this.#fenceWaits = false
  }

  /** Executes one command. @returns false when there is none, or the queue is stopped or waits. */
  step(): boolean {
    const { registers } = this.#parts
    const csr = registers.at(REG.cqcsr)
    if ((csr & CSR_ON) === 0 || (csr & CSR_ENABLE) === 0 || (csr & STOPPED) !== 0) return false
    if (this.#tagWaits !== null && !this.#sendWaiting()) return false
    const head = registers.at(REG.cqh)
    if (this.#fenceWaits) {
      if (this.invalidations.pending) return false
    } else if (head === registers.at(REG.cqt)) return false
    // A fence that waited was fetched already.
    const outcome = this.#fenceWaits || this.#fetch(head) ? this.#execute() : MEMORY_FAULT
    this.#fenceWaits = outcome === WAITS
    if (outcome === WAITS) return false
    if (outcome === DONE) {
      registers.put(REG.cqh, (head + 1) & registers.indexMask(REG.cqb))
      return true
    }
    // "cqh references the command that caused the error."
    const error = outcome === ILLEGAL ? CQCSR_ILLEGAL : outcome === TIMED_OUT ? CQCSR_TIMEOUT : CSR_MEMORY_FAULT
    registers.put(REG.cqcsr, csr | error)
    this.#parts.interrupts.raise(SOURCE_COMMAND)
    return true
  }

  #fetch(head: number): boolean {
    const { registers, memory } = this.#parts
    const pa = ppnAddressAt10(registers.at(REG.cqb + 4), registers.at(REG.cqb)) + (head >>> 0) * 16
    const index = pa >= registers.features.addressLimit ? NO_ANSWER : memory.index(pa, 16)
    if (index < 0) return false
    const { words } = memory
    for (let word = 0; word < 4; word++)
      this.#command[word] = registers.features.be ? swap32(words[index + (word ^ 1)]!) : words[index + word]!
    return true
  }

  #field(field: { readonly msb: number; readonly lsb: number }): number {
    return getBits(this.#command, field.msb, field.lsb)
  }

  #execute(): number {
    const opcode = this.#field(IOTINVAL.fields.opcode)
    const zero = ZERO[opcode]
    // "A command is determined to be illegal if it uses a reserved encoding or if a reserved bit is set to 1."
    if (zero === undefined) return ILLEGAL
    for (let word = 0; word < 4; word++) if ((this.#command[word]! & zero[word]!) !== 0) return ILLEGAL
    switch (opcode) {
      case OPCODE_IOTINVAL:
        return this.#iotinval()
      case OPCODE_IODIR:
        return this.#iodir()
      case OPCODE_IOFENCE:
        return this.#iofence()
      default:
        return this.#ats()
    }
  }

  #iotinval(): number {
    const f = IOTINVAL.fields
    const { translations, registers } = this.#parts
    const { capHi } = registers.features
    const second = this.#field(f.func3)
    const byProcess = this.#field(f.PSCV) === 1
    if (second > 1 || (second === 1 && byProcess)) return ILLEGAL
    if (this.#field(f.NL) === 1 && (capHi & CAP_HI_NL) === 0) return ILLEGAL
    if (this.#field(f.S) === 1 && (capHi & CAP_HI_S) === 0) return ILLEGAL
    const gscid = this.#field(f.GV) === 1 ? this.#field(f.GSCID) : -1
    const range = this.#field(f.AV) === 1 ? this.#addresses(this.#field(f.S) === 1) : null
    // Entries hold both stages' leaves and nothing of the levels above: NL changes nothing.
    if (second === 1) translations.invalidateSecond(gscid, range)
    else translations.invalidateFirst(gscid, byProcess ? this.#field(f.PSCID) : -1, range)
    return DONE
  }

  /** ADDR of an IOTINVAL, bits 125:74 of the command; with S the lowest clear bit gives the size. */
  #addresses(napot: boolean): InvalidationRange {
    const range = this.#range
    range.lo = (this.#command[3]! << 22) | (this.#command[2]! >>> 10)
    range.hi = (this.#command[3]! >>> 10) & 0xfffff
    range.log2 = 0
    if (napot) {
      let ones = 0
      while (ones < 52 && ((ones < 32 ? range.lo >>> ones : range.hi >>> (ones - 32)) & 1) === 1) ones++
      range.log2 = ones + 1
    }
    return range
  }

  #iodir(): number {
    const f = IODIR.fields
    const { devices, processes, registers } = this.#parts
    const { deviceIdMask } = registers.options
    const func3 = this.#field(f.func3)
    const device = this.#field(f.DID)
    const process = this.#field(f.PID)
    const valid = this.#field(f.DV) === 1
    if (func3 > 1 || (valid && (device & ~deviceIdMask) !== 0)) return ILLEGAL
    if (func3 === 0) {
      // INVAL_DDT: "the PID operand is reserved".
      if (process !== 0) return ILLEGAL
      if (valid) {
        devices.invalidate(device, null)
        processes.invalidate(device, null)
      } else {
        devices.clear()
        processes.clear()
      }
      return DONE
    }
    // INVAL_PDT: "DV must be 1", and "PID must not be wider than the width supported by the IOMMU".
    const { capHi } = registers.features
    const bits = (capHi & CAP_HI_PD20) !== 0 ? 20 : (capHi & CAP_HI_PD17) !== 0 ? 17 : 8
    if (!valid || process >= 1 << bits) return ILLEGAL
    processes.invalidate(device, process)
    return DONE
  }

  #iofence(): number {
    const f = IOFENCE.fields
    const { registers, memory, interrupts } = this.#parts
    if (this.#field(f.func3) !== 0) return ILLEGAL
    const wired = this.#field(f.WSI) === 1
    if (wired && (registers.at(REG.fctl) & FCTL_WSI) === 0) return ILLEGAL
    // All commands before it must be complete; invalidation requests are when their device answered or timed out.
    if (this.invalidations.pending) return WAITS
    if (this.invalidations.takeTimeout()) return TIMED_OUT
    const reads = this.#field(f.PR) === 1
    const writes = this.#field(f.PW) === 1
    if (reads || writes) this.onOrder(reads, writes)
    if (this.#field(f.AV) === 1) {
      const hi = (this.#command[3]! << 2) | (this.#command[2]! >>> 30)
      const lo = this.#command[2]! << 2
      const index = toDouble(hi, lo) >= registers.features.addressLimit ? NO_ANSWER : indexForWrite4(memory, hi, lo)
      if (index < 0) return MEMORY_FAULT
      const data = this.#command[1]!
      memory.words[index] = registers.features.be ? swap32(data) : data
    }
    const csr = registers.at(REG.cqcsr)
    if (wired && (csr & CQCSR_FENCE) === 0) {
      registers.put(REG.cqcsr, csr | CQCSR_FENCE)
      interrupts.raise(SOURCE_COMMAND)
    }
    return DONE
  }

  #ats(): number {
    const f = ATS.fields
    const func3 = this.#field(f.func3)
    if (!this.#parts.registers.features.ats || func3 > 1) return ILLEGAL
    const message: RiscvMessage = {
      code: func3 === 0 ? MESSAGE_INVALIDATION_REQUEST : MESSAGE_PRG_RESPONSE,
      tag: 0,
      rid: this.#field(f.RID),
      segment: this.#field(f.DSV) === 1 ? this.#field(f.DSEG) : null,
      process: this.#field(f.PV) === 1 ? this.#field(f.PID) : -1,
      payload: wordsToU64(this.#command, 2)[0]!,
    }
    if (func3 === 1) this.onMessage(message)
    else {
      this.#tagWaits = message
      this.#sendWaiting()
    }
    // "The IOMMU may advance the cqh and fetch more commands from CQ while a response is awaited."
    return DONE
  }

  /** Sends the invalidation request that waits for an ITag. @returns false when none is free. */
  #sendWaiting(): boolean {
    const message = this.#tagWaits!
    const tag = this.invalidations.allocate(message)
    if (tag < 0) return false
    this.#tagWaits = null
    this.onMessage({ ...message, tag })
    return true
  }
}
