/**
 * Circular queues. Arm IHI 0070, 3.5.1: PROD and CONS hold an index and, just above it, a wrap bit; equal means empty, equal but for the
 * wrap bit means full. The registers of the three queues have the same form.
 */
import { maskIn } from '../../base/layout.ts'
import { EVENTQ_BASE, EVENTQ_PROD } from '../../format/smmuv3/registers.ts'

/** Of a queue's base register: its address in the high and low word, and log2 of its size. */
export const BASE_HI = maskIn(EVENTQ_BASE.fields.ADDR, 1)
export const BASE_LO = maskIn(EVENTQ_BASE.fields.ADDR, 0)
export const LOG2SIZE = maskIn(EVENTQ_BASE.fields.LOG2SIZE, 0)
/** Index and wrap bit of PROD and CONS. */
export const INDEX = maskIn(EVENTQ_PROD.fields.WR, 0)
/** PROD.OVFLG and CONS.OVACKFLG. */
export const OVERFLOW = maskIn(EVENTQ_PROD.fields.OVFLG, 0) >>> 0

/** Entries between CONS and PROD. More than the queue holds: the indexes are inconsistent, and nothing is consumed or produced. */
export function queued(prod: number, cons: number, log2Size: number): number {
  return (prod - cons) & (2 * 2 ** log2Size - 1)
}

/** Full, or inconsistent (which an output queue treats as full). */
export function isFull(prod: number, cons: number, log2Size: number): boolean {
  return queued(prod, cons, log2Size) >= 2 ** log2Size
}

/** The index with its wrap bit, one further. */
export function advance(index: number, log2Size: number): number {
  return (index + 1) & (2 * 2 ** log2Size - 1)
}

/** Where the entry of an index lies. The base is aligned to the queue's size, at least 32 bytes (6.3.26 ADDR). */
export function entryAddress(base: number, index: number, log2Size: number, entryBytes: number): number {
  const bytes = Math.max(32, 2 ** log2Size * entryBytes)
  return Math.floor(base / bytes) * bytes + (index & (2 ** log2Size - 1)) * entryBytes
}
