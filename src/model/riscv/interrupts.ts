/** Interrupts, as messages or wires. RISC-V IOMMU 1.0, "Interrupt pending status register", "MSI configuration table". */
import { indexForWrite4, NO_ANSWER, type WordMemory } from '../../base/memory.ts'
import { toDouble } from '../../base/u64.ts'
import { swap32 } from '../../format/pt/entry.ts'
import {
  CQCSR_FENCE,
  CQCSR_ILLEGAL,
  CQCSR_TIMEOUT,
  CSR_INTERRUPT,
  CSR_MEMORY_FAULT,
  CSR_OVERFLOW,
  FCTL_WSI,
  REG,
  SOURCE_COMMAND,
  SOURCE_FAULT,
  SOURCE_MONITOR,
} from '../../format/riscv/registers.ts'
import type { Registers } from './registers.ts'

/** ipsr's bits by their names. */
export const SOURCE_NAMES = ['cip', 'fip', 'pmip', 'pip'] as const

export class Interrupts {
  readonly #registers: Registers
  readonly #memory: WordMemory
  /** Vectors whose message waits until the mask bit is cleared. */
  #waiting = 0
  /** A source was signalled. */
  onSignal: ((source: string) => void) | null = null
  /** A message could not be written: its address as words. */
  onWriteFault: (hi: number, lo: number) => void = () => {}

  constructor(registers: Registers, memory: WordMemory) {
    this.#registers = registers
    this.#memory = memory
  }

  /** Something happened that makes this source pending, if its interrupt is enabled. Edges only: what is pending is not signalled again. */
  raise(source: number): void {
    const registers = this.#registers
    const pending = registers.at(REG.ipsr)
    if ((pending >>> source) & 1) return
    if (source !== SOURCE_MONITOR && (registers.at(csrOf(source)) & CSR_INTERRUPT) === 0) return
    registers.put(REG.ipsr, pending | (1 << source))
    if ((registers.at(REG.fctl) & FCTL_WSI) === 0) {
      const vector = (registers.at(REG.icvec) >>> (4 * source)) & 15
      // "When the mask bit is 1 the IOMMU is prohibited from sending the message. Pending messages are later generated."
      if ((registers.at(REG.msi_cfg_tbl + vector * 16 + 12) & 1) !== 0) {
        this.#waiting |= 1 << vector
        return
      }
      this.#send(vector)
    }
    this.onSignal?.(SOURCE_NAMES[source]!)
  }

  /** Software cleared the pending bit: "if the conditions are still present, that bit transitions again from 0 to 1". */
  again(source: number): void {
    const csr = this.#registers.at(csrOf(source))
    const reasons =
      source === SOURCE_COMMAND ? CSR_MEMORY_FAULT | CQCSR_TIMEOUT | CQCSR_ILLEGAL | CQCSR_FENCE : CSR_MEMORY_FAULT | CSR_OVERFLOW
    if ((csr & reasons) !== 0) this.raise(source)
  }

  /** The mask bit of a vector was cleared. */
  unmask(vector: number): void {
    if (((this.#waiting >>> vector) & 1) === 0) return
    this.#waiting &= ~(1 << vector)
    this.#send(vector)
    for (const [source, name] of SOURCE_NAMES.entries()) {
      const pending = (this.#registers.at(REG.ipsr) >>> source) & 1
      if (pending === 1 && ((this.#registers.at(REG.icvec) >>> (4 * source)) & 15) === vector) this.onSignal?.(name)
    }
  }

  #send(vector: number): void {
    const registers = this.#registers
    const entry = REG.msi_cfg_tbl + vector * 16
    const hi = registers.at(entry + 4)
    const lo = registers.at(entry)
    const index = toDouble(hi, lo) >= registers.features.addressLimit ? NO_ANSWER : indexForWrite4(this.#memory, hi, lo)
    if (index < 0) {
      this.onWriteFault(hi, lo)
      return
    }
    const data = registers.at(entry + 8)
    this.#memory.words[index] = registers.features.be ? swap32(data) : data
  }
}

function csrOf(source: number): number {
  return source === SOURCE_COMMAND ? REG.cqcsr : source === SOURCE_FAULT ? REG.fqcsr : REG.pqcsr
}
