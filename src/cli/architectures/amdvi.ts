/** What the commands know about an AMD IOMMU. */
import { describe, wordsFromU64 } from '../../base/layout.ts'
import { hi32, lo32 } from '../../base/u64.ts'
import { eventOf } from '../../format/amdvi/events.ts'
import { featuresOf } from '../../format/amdvi/features.ts'
import { deviceTable } from '../../format/amdvi/lookup.ts'
import {
  baseAddress,
  CONTROL_GA_EN,
  CONTROL_GT_EN,
  CONTROL_IOMMU_EN,
  FULL_EXT_FEATURE,
  FULL_EXT_FEATURE2,
  REG,
  REGISTERS,
  ringLog2,
} from '../../format/amdvi/registers.ts'
import type { MachineSource } from '../../inspect/source.ts'
import { AmdIommu } from '../../model/amdvi/iommu.ts'
import type { Capture } from '../../node/index.ts'
import { AMDVI_FACTS, distrustQemu, passThroughList } from '../checks/amdvi.ts'
import { EVERYTHING, placed } from '../register-tables.ts'
import { memoryOf, type Readable } from './contract.ts'

function sourceOf(capture: Capture): MachineSource {
  const { title, register } = capture
  return { title, memory: memoryOf(capture, AMDVI), register }
}

export const AMDVI: Readable<'amdvi'> = {
  name: 'AMD-Vi',
  registers: {
    kind: 'amdvi',
    flag: 'amdvi',
    title: 'AMD IOMMU (AMD-Vi)',
    registers: REGISTERS.map(placed),
    around: /^(?:MMIO|IOMMU)_|_REG$/,
    aliases: { DEVTAB: 'DEV_TAB_BASE', EFR: 'EXT_FEATURE', EFR2: 'EXT_FEATURE2', CTRL: 'CONTROL' },
    needed: 'DEV_TAB_BASE',
    assumed: [
      {
        name: 'CONTROL',
        value: BigInt(CONTROL_IOMMU_EN | CONTROL_GT_EN | CONTROL_GA_EN),
        what: 'translation is on; guest tables, and interrupt entries of 128 bits, as Linux has them where the hardware can',
      },
      { name: 'EXT_FEATURE', value: FULL_EXT_FEATURE, what: EVERYTHING },
      { name: 'EXT_FEATURE2', value: FULL_EXT_FEATURE2, what: EVERYTHING },
    ],
    machines: [62, 3],
    machineName: 'x86',
    example: '--amdvi dev-tab-base=0x1040001ff',
  },
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
  facts: {
    names: AMDVI_FACTS,
    more: (capture) => [passThroughList(capture.side, sourceOf(capture))],
    distrust: (capture) => distrustQemu(sourceOf(capture)),
  },
}
