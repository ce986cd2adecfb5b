/** What the commands know about an AMD IOMMU. */
import { describe, wordsFromU64 } from '../base/layout.ts'
import { hi32, lo32 } from '../base/u64.ts'
import { eventOf } from '../format/amdvi/events.ts'
import { featuresOf } from '../format/amdvi/features.ts'
import { deviceTable } from '../format/amdvi/lookup.ts'
import { baseAddress, REG, REGISTERS, ringLog2 } from '../format/amdvi/registers.ts'
import { AmdIommu } from '../model/amdvi/iommu.ts'
import type { Readable } from './architectures.ts'

export const AMDVI: Readable = {
  name: 'AMD-Vi',
  restore(memory, register) {
    const values: Record<string, bigint> = {}
    for (const { name, offset } of REGISTERS) {
      const value = register(offset, 8)
      if (value !== null) values[name] = value
    }
    const efr = values.EXT_FEATURE ?? 0n
    const model = new AmdIommu(memory, { efr, efr2: values.EXT_FEATURE2 ?? 0n })
    model.loadRegisters(values)
    return model
  },
  zeros(register) {
    // The device table is large and mostly unused: dumps leave out its pages that are all zero, and empty pages of rings.
    const value = (offset: number) => register(offset, 8) ?? 0n
    const efr = value(REG.EXT_FEATURE)
    const control = value(REG.CONTROL)
    const features = featuresOf(hi32(efr), lo32(efr), hi32(control), lo32(control))
    const table = deviceTable(features, value)
    const segments = [...table.base].map((start, at) => ({ start, end: start + table.bytes[at]! }))
    const rings = [REG.CMD_BUF_BASE, REG.EVT_LOG_BASE, REG.PPR_LOG_BASE].map((offset) => {
      const base = value(offset)
      const start = baseAddress(hi32(base), lo32(base))
      return { start, end: start + Math.max(4096, 2 ** ringLog2(hi32(base))) }
    })
    return [...segments, ...rings].filter(({ start, end }) => start > 0 && end <= 2 ** 52)
  },
  describeRecord(record) {
    const words = wordsFromU64(record)
    const event = eventOf(words)
    return event === null ? null : { name: event.name, fields: describe(event.layout, words) }
  },
  letters: 'rw',
}
