/** The event log and the PPR log as queues. AMD IOMMU specification (48882), 2.5.1, 2.6.1: after an overflow they stand until they are restarted. */
import type { WordMemory } from '../../base/memory.ts'
import { STATUS_EVENT_OVERFLOW, STATUS_PPR_OVERFLOW } from '../../format/amdvi/registers.ts'
import { RecordQueue } from '../common/record-queue.ts'
import type { Registers } from './registers.ts'

/** Bytes of an entry of either. */
export const ENTRY_BYTES = 16

const LOGS = {
  event: { registers: 'EVT', enable: 'EventLogEn', overflow: STATUS_EVENT_OVERFLOW },
  ppr: { registers: 'PPR', enable: 'PPRLogEn', overflow: STATUS_PPR_OVERFLOW },
} as const

export function log(
  memory: WordMemory,
  registers: Registers,
  which: keyof typeof LOGS,
  { base, log2 }: { readonly base: number; readonly log2: number },
): RecordQueue {
  const { registers: name, enable, overflow } = LOGS[which]
  return new RecordQueue(memory, base, log2, {
    modulus: 2 ** log2,
    words: ENTRY_BYTES / 4,
    produced: () => registers.read(`${name}_TAIL`) / ENTRY_BYTES,
    consumed: () => registers.read(`${name}_HEAD`) / ENTRY_BYTES,
    consume: (index) => registers.write(`${name}_HEAD`, index * ENTRY_BYTES),
    acknowledgeLoss() {
      if ((registers.read('STATUS') & overflow) === 0) return false
      registers.control([enable], false)
      registers.write('STATUS', overflow)
      registers.control([enable], true)
      return true
    },
  })
}
