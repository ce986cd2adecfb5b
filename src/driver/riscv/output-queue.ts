/** The fault queue and the page-request queue. RISC-V IOMMU 1.0, "Fault/Event-Queue (FQ)", "Page-Request-Queue (PQ)". */
import type { WordMemory } from '../../base/memory.ts'
import { CSR_ENABLE, CSR_INTERRUPT, CSR_OVERFLOW } from '../../format/riscv/registers.ts'
import { RecordQueue } from '../common/record-queue.ts'
import type { Registers } from './registers.ts'

/** @param name as in fqh, fqt, fqcsr. @param words 32-bit words of a record. */
export function outputQueue(
  memory: WordMemory,
  registers: Registers,
  name: 'fq' | 'pq',
  base: number,
  log2: number,
  words: number,
): RecordQueue {
  return new RecordQueue(memory, base, log2, {
    modulus: 2 ** log2,
    words,
    produced: () => registers.read(`${name}t`),
    consumed: () => registers.read(`${name}h`),
    consume: (index) => registers.write(`${name}h`, index),
    acknowledgeLoss() {
      if ((registers.read(`${name}csr`) & CSR_OVERFLOW) === 0) return false
      registers.write(`${name}csr`, CSR_ENABLE | CSR_INTERRUPT | CSR_OVERFLOW)
      return true
    },
  })
}
