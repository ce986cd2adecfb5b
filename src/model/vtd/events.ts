/**
 * The three interrupts of the hardware itself: fault event, invalidation completion event, page request event. Intel VT-d, sections 7.3,
 * 6.5.2.10 and 7.5, which have the same logic: a pending bit, a mask, and silence while software has not served the last one.
 */
import { EVENT_IM, EVENT_IP, REG } from '../../format/vtd/registers.ts'
import type { Registers } from './registers.ts'

/** Names of the interrupts' sources, by their control register. */
export const EVENT_SOURCES = {
  [REG.FECTL]: 'fault-event',
  [REG.IECTL]: 'invalidation-event',
  [REG.PECTL]: 'page-request-event',
} as const
export type EventControl = keyof typeof EVENT_SOURCES

export class Events {
  readonly #registers: Registers
  /** Interrupts that go out when the work at hand is done. */
  readonly #due: EventControl[] = []
  /** A message is sent. */
  onSignal: ((source: string) => void) | null = null

  constructor(registers: Registers) {
    this.#registers = registers
  }

  /** An interrupt condition arose, and none was waiting for software. */
  raise(control: EventControl): void {
    const value = this.#registers.at(control)
    if ((value & EVENT_IM) !== 0) this.#registers.put(control, value | EVENT_IP)
    else this.#due.push(control)
  }

  /** IM went from 1 to 0. */
  unmasked(control: EventControl): void {
    const value = this.#registers.at(control)
    if ((value & EVENT_IP) === 0) return
    this.#registers.put(control, value & ~EVENT_IP)
    this.#due.push(control)
  }

  /** Software has served every condition: what is still held back is not sent any more. */
  served(control: EventControl): void {
    this.#registers.put(control, this.#registers.at(control) & ~EVENT_IP)
  }

  /** Sends what is due. @returns whether anything was. */
  deliver(): boolean {
    const control = this.#due.shift()
    if (control === undefined) return false
    this.onSignal?.(EVENT_SOURCES[control])
    return true
  }
}
