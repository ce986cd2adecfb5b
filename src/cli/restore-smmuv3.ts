/** What the commands know about an Arm SMMUv3. */
import { describe, wordsFromU64 } from '../base/layout.ts'
import { eventOf } from '../format/smmuv3/events.ts'
import { REGISTERS } from '../format/smmuv3/registers.ts'
import { SmmuV3 } from '../model/smmuv3/smmu.ts'
import type { Readable } from './architectures.ts'

export const SMMUV3: Readable = {
  name: 'Arm SMMUv3',
  restore(memory, register) {
    const values: Record<string, bigint> = {}
    for (const { name, offset, bytes } of REGISTERS) {
      const value = register(offset, bytes)
      if (value !== null) values[name] = value
    }
    const model = new SmmuV3(memory)
    model.loadRegisters(values)
    return model
  },
  describeRecord(record) {
    const words = wordsFromU64(record)
    const event = eventOf(words)
    return event === null ? null : { name: event.name, fields: describe(event.layout, words) }
  },
  letters: 'rw',
}
