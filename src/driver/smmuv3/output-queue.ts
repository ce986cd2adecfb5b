/**
 * The event queue and the PRI queue. Arm IHI 0070, 3.5.1 (indexes and wrap bit), 3.5.4 and 8.2 (overflow: the hardware toggles PROD.OVFLG,
 * software acknowledges by making CONS.OVACKFLG equal).
 */
import type { WordMemory } from '../../base/memory.ts'
import { RecordQueue } from '../common/record-queue.ts'
import type { Registers } from './registers.ts'

const OVERFLOW = 0x8000_0000

/** @param words 32-bit words of an entry. */
export function outputQueue(
  memory: WordMemory,
  registers: Registers,
  name: 'EVENTQ' | 'PRIQ',
  base: number,
  log2: number,
  words: number,
): RecordQueue {
  const prod = () => registers.read(`${name}_PROD`)
  const cons = () => registers.read(`${name}_CONS`)
  return new RecordQueue(memory, base, log2, {
    modulus: 2 ** (log2 + 1),
    words,
    produced: () => prod() % OVERFLOW,
    consumed: () => cons() % OVERFLOW,
    consume: (index) => registers.write(`${name}_CONS`, (index | (cons() & OVERFLOW)) >>> 0),
    acknowledgeLoss() {
      const acknowledged = cons()
      if (((prod() ^ acknowledged) & OVERFLOW) === 0) return false
      registers.write(`${name}_CONS`, (acknowledged ^ OVERFLOW) >>> 0)
      return true
    },
  })
}
