/**
 * Interrupts and global errors. Arm IHI 0070, 3.18 (MSIs and wired interrupts), 7.5 (GERROR).
 * Wired interrupts are pulses; they are delivered when the SMMU has finished what it does, so that a handler may use the SMMU at once.
 */

import { maskIn } from '../../base/layout.ts'
import type { WordMemory } from '../../base/memory.ts'
import { doubleLo } from '../../base/u64.ts'
import { GERROR, GERROR_IRQ_CFG0 } from '../../format/smmuv3/registers.ts'
import { AT, EVENTQ_IRQEN, GERROR_IRQEN, PRIQ_IRQEN, type RegisterFile } from './registers.ts'

export type InterruptSource = 'eventq' | 'priq' | 'gerror' | 'cmd-sync' | 'sev'

/** Takes an MSI that goes to a device (an interrupt controller). @returns false when it is not for it: the write goes to memory. */
export type MsiTarget = (address: bigint, data: number) => boolean

export const CMDQ_ERR = maskIn(GERROR.fields.CMDQ_ERR, 0)
export const EVENTQ_ABT_ERR = maskIn(GERROR.fields.EVENTQ_ABT_ERR, 0)
export const PRIQ_ABT_ERR = maskIn(GERROR.fields.PRIQ_ABT_ERR, 0)
const MSI_CMDQ_ABT_ERR = maskIn(GERROR.fields.MSI_CMDQ_ABT_ERR, 0)
const MSI_EVENTQ_ABT_ERR = maskIn(GERROR.fields.MSI_EVENTQ_ABT_ERR, 0)
const MSI_PRIQ_ABT_ERR = maskIn(GERROR.fields.MSI_PRIQ_ABT_ERR, 0)
const MSI_GERROR_ABT_ERR = maskIn(GERROR.fields.MSI_GERROR_ABT_ERR, 0)

/** The address in an MSI address register: high and low word. */
const MSI_HI = maskIn(GERROR_IRQ_CFG0.fields.ADDR, 1)
const MSI_LO = maskIn(GERROR_IRQ_CFG0.fields.ADDR, 0)

const SOURCES = {
  eventq: { enable: EVENTQ_IRQEN, config: AT.EVENTQ_IRQ_CFG0, abort: MSI_EVENTQ_ABT_ERR },
  priq: { enable: PRIQ_IRQEN, config: AT.PRIQ_IRQ_CFG0, abort: MSI_PRIQ_ABT_ERR },
  gerror: { enable: GERROR_IRQEN, config: AT.GERROR_IRQ_CFG0, abort: MSI_GERROR_ABT_ERR },
} as const

export class Interrupts {
  /** Where wired interrupts go. */
  wire: ((source: string) => void) | null = null
  readonly #memory: WordMemory
  readonly #registers: RegisterFile
  readonly #msiTarget: MsiTarget | null
  /** Output address size in bits: MSI addresses are cut to it (3.4.3). */
  oas = 48
  #pending: InterruptSource[] = []

  constructor(memory: WordMemory, registers: RegisterFile, msiTarget: MsiTarget | null) {
    this.#memory = memory
    this.#registers = registers
    this.#msiTarget = msiTarget
  }

  /** An interrupt condition of a queue, or of GERROR: does nothing while the source is not enabled. */
  raise(source: 'eventq' | 'priq' | 'gerror'): void {
    const { enable, config, abort } = SOURCES[source]
    if ((this.#registers.get(AT.IRQ_CTRLACK) & enable) === 0) return
    this.#pending.push(source)
    const address = this.#registers.address(config, MSI_HI, MSI_LO)
    if (address !== 0 && !this.#write(address, this.#registers.get(config + 8))) this.activate(abort)
  }

  /** Completion of a CMD_SYNC with SIG_IRQ: an MSI when the command gives an address, and the wire. */
  sync(address: number, data: number): void {
    if (address !== 0 && !this.#write(address, data)) this.activate(MSI_CMDQ_ABT_ERR)
    this.#pending.push('cmd-sync')
  }

  /** A wake-up event (CMD_SYNC with SIG_SEV). */
  event(): void {
    this.#pending.push('sev')
  }

  /** Whether these errors (bits of GERROR) are active: not yet acknowledged in GERRORN. */
  active(errors: number): boolean {
    return ((this.#registers.get(AT.GERROR) ^ this.#registers.get(AT.GERRORN)) & errors) !== 0
  }

  /** Activates a global error. One that is active already stays so. */
  activate(error: number): void {
    if (this.active(error)) return
    this.#registers.set(AT.GERROR, this.#registers.get(AT.GERROR) ^ error)
    // 7.5.1: no interrupt about a failed GERROR interrupt.
    if (error !== MSI_GERROR_ABT_ERR) this.raise('gerror')
  }

  /** Sends the wired interrupts that came up. @returns whether there were any. */
  deliver(): boolean {
    if (this.#pending.length === 0) return false
    const sources = new Set(this.#pending)
    this.#pending = []
    for (const source of sources) this.wire?.(source)
    return true
  }

  #write(address: number, data: number): boolean {
    const cut = address % 2 ** this.oas
    if (this.#msiTarget?.(BigInt(cut), data) === true) return true
    const index = this.#memory.indexForWrite(cut)
    if (index < 0) return false
    this.#memory.words[index] = doubleLo(data)
    return true
  }
}
