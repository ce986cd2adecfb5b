/** The performance monitor: counters 1 to 31 and what each of them counts. RISC-V IOMMU 1.0, "Performance-monitoring event selectors". */
import { CAP_HPM, REG, SOURCE_MONITOR } from '../../format/riscv/registers.ts'
import type { Interrupts } from './interrupts.ts'
import type { Registers } from './registers.ts'

export const EVENT_UNTRANSLATED = 1
export const EVENT_TRANSLATED = 2
export const EVENT_ATS_REQUEST = 3
export const EVENT_TLB_MISS = 4
export const EVENT_DDT_WALK = 5
export const EVENT_PDT_WALK = 6
export const EVENT_STAGE1_WALK = 7
export const EVENT_STAGE2_WALK = 8

/** Events that can be filtered by GSCID and PSCID (IDT = 1), as a mask. */
const IDT_EVENTS = (1 << EVENT_TLB_MISS) | (1 << EVENT_STAGE1_WALK) | (1 << EVENT_STAGE2_WALK)

/** High-word bits of iohpmevt. */
const HI_PV_PSCV = 1 << 28
const HI_DV_GSCV = 1 << 29
const HI_IDT = 1 << 30
const HI_OF = 1 << 31
const LO_DMASK = 1 << 15

export class Monitor {
  /** Whether any counter counts anything: asked before the work of counting. */
  active = false
  readonly #registers: Registers
  readonly #interrupts: Interrupts

  constructor(registers: Registers, interrupts: Interrupts) {
    this.#registers = registers
    this.#interrupts = interrupts
  }

  /** Software wrote a selector or iocountinh. */
  update(): void {
    const registers = this.#registers
    this.active = false
    if ((registers.at(REG.capabilities) & CAP_HPM) === 0) return
    for (let counter = 1; counter < registers.options.counters; counter++) if (this.#event(counter) !== 0) this.active = true
  }

  /** The event that a counter counts now; 0: none. */
  #event(counter: number): number {
    if ((this.#registers.at(REG.iocountinh) >>> counter) & 1) return 0
    return this.#registers.at(REG.iohpmevt1 + counter * 8 - 8) & 0x7fff
  }

  /**
   * Counts an event that happened `times` times. IDs that a transaction does not have are -1.
   */
  count(event: number, times: number, device: number, process: number, gscid: number, pscid: number): void {
    for (let counter = 1; counter < this.#registers.options.counters; counter++) {
      if (this.#event(counter) !== event || !this.#matches(counter, event, device, process, gscid, pscid)) continue
      for (let time = 0; time < times; time++) this.#increment(counter)
    }
  }

  #matches(counter: number, event: number, device: number, process: number, gscid: number, pscid: number): boolean {
    const lo = this.#registers.at(REG.iohpmevt1 + counter * 8 - 8)
    const hi = this.#registers.at(REG.iohpmevt1 + counter * 8 - 4)
    const owners = (hi & HI_IDT) !== 0
    // "When the programmed IDT setting is not supported for an event then the associated counter does not increment."
    if (owners && ((IDT_EVENTS >>> event) & 1) === 0) return false
    if ((hi & HI_PV_PSCV) !== 0) {
      // PID_PSCID is bits 35:16.
      const wanted = (lo >>> 16) | ((hi & 15) << 16)
      if ((owners ? pscid : process) !== wanted) return false
    }
    if ((hi & HI_DV_GSCV) !== 0) {
      // DID_GSCID is bits 59:36. DMASK masks its low bits up to the first 0, that one too.
      const wanted = (hi >>> 4) & 0xffffff
      const actual = owners ? gscid : device
      const mask = (lo & LO_DMASK) !== 0 ? ~(wanted ^ (wanted + 1)) : -1
      if (actual < 0 || ((actual ^ wanted) & mask) !== 0) return false
    }
    return true
  }

  #increment(counter: number): void {
    const registers = this.#registers
    const offset = REG.iohpmctr1 + counter * 8 - 8
    const bits = registers.options.counterBits
    const lo = (registers.at(offset) + 1) | 0
    let hi = registers.at(offset + 4)
    if (lo === 0) hi = (hi + 1) | 0
    if (bits < 64) hi &= bits <= 32 ? 0 : (1 << (bits - 32)) - 1
    const wrapped = bits < 32 ? lo & ((1 << bits) - 1) : lo
    registers.put(offset, wrapped)
    registers.put(offset + 4, hi)
    if ((wrapped | hi) !== 0) return
    // Overflow: OF is set once, and an interrupt comes only with it.
    const selector = REG.iohpmevt1 + counter * 8 - 4
    if ((registers.at(selector) & HI_OF) !== 0) return
    registers.put(selector, registers.at(selector) | HI_OF)
    this.#interrupts.raise(SOURCE_MONITOR)
  }
}
