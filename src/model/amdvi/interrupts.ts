/**
 * Interrupts of the IOMMU itself. AMD IOMMU specification (48882), 2.8 "IOMMU Interrupt Support": each is a bit of STATUS and one of CONTROL;
 * one comes when both are set and were not before. They are delivered when the IOMMU has finished what it does, so that a handler may use
 * it at once. Which message it is (MSI capability in PCI configuration space, or the XT registers) is the system's business.
 */
import {
  CONTROL_COM_WAIT_INT_EN,
  CONTROL_EVENT_INT_EN,
  CONTROL_PPR_INT_EN,
  STATUS_COM_WAIT_INT,
  STATUS_EVENT_LOG_INT,
  STATUS_PPR_INT,
} from '../../format/amdvi/registers.ts'
import type { RegisterFile } from './registers.ts'

export type InterruptSource = 'EventLogInt' | 'ComWaitInt' | 'PPRInt'

const SOURCES: readonly { readonly name: InterruptSource; readonly status: number; readonly enable: number }[] = [
  { name: 'EventLogInt', status: STATUS_EVENT_LOG_INT, enable: CONTROL_EVENT_INT_EN },
  { name: 'ComWaitInt', status: STATUS_COM_WAIT_INT, enable: CONTROL_COM_WAIT_INT_EN },
  { name: 'PPRInt', status: STATUS_PPR_INT, enable: CONTROL_PPR_INT_EN },
]

export class Interrupts {
  /** Where they go. */
  wire: ((source: string) => void) | null = null
  readonly #registers: RegisterFile
  readonly #pending: InterruptSource[] = []
  /** Status bits that are set and enabled, as last seen. */
  #active = 0

  constructor(registers: RegisterFile) {
    this.#registers = registers
  }

  /** Sets a bit of STATUS. */
  raise(status: number): void {
    this.#registers.raise(status)
    this.update()
  }

  /** STATUS or CONTROL changed. */
  update(): void {
    const registers = this.#registers
    const { control } = registers
    let active = 0
    for (const { name, status, enable } of SOURCES) {
      if ((registers.status & status) === 0 || (control & enable) === 0) continue
      active |= status
      if ((this.#active & status) === 0) this.#pending.push(name)
    }
    this.#active = active
  }

  /** Sends what came up. @returns whether there was any. */
  deliver(): boolean {
    if (this.#pending.length === 0) return false
    for (const source of this.#pending.splice(0)) this.wire?.(source)
    return true
  }
}
