/**
 * Arm SMMUv3 into a graph: registers → stream table → CD tables → page tables, with what is wrong in them and what the event queue still
 * holds. Arm IHI 0070. Lookups, rules and walks are those of `format/smmuv3` and `format/pt`, which the hardware model uses too.
 */
import { wordsFromU64 } from '../base/layout.ts'
import { featuresFromIdr } from '../format/smmuv3/features.ts'
import { type StreamTable, streamTable } from '../format/smmuv3/lookup.ts'
import { CR0, CR2, GBPA, REGISTERS } from '../format/smmuv3/registers.ts'
import { devicesWithoutTable, readDevices } from './devices.ts'
import type { MachineGraph } from './graph.ts'
import { readingOf } from './reading.ts'
import { RegisterFile } from './registers.ts'
import { ContextTables } from './smmuv3/contexts.ts'
import { deviceTable } from './smmuv3/devices.ts'
import { readEvents, readPageRequests } from './smmuv3/events.ts'
import { registerFindings } from './smmuv3/registers.ts'
import { Findings, type MachineSource } from './source.ts'

const WORDS: MachineGraph['words'] = {
  deviceTable: 'Stream table',
  deviceEntry: 'STE',
  pasidTable: 'CD table',
  pasidEntry: 'CD',
  pasid: 'SubstreamID',
}

/** Reads an SMMUv3 machine. */
export function inspectSmmuV3(source: MachineSource): MachineGraph {
  const { names, title } = source
  const registers = new RegisterFile(source, REGISTERS)
  const findings = new Findings()
  registerFindings(registers, findings)
  const features = featuresFromIdr((name) => registers.number(name), registers.field(CR2, 'E2H') === 1)
  const enabled = registers.field(CR0, 'SMMUEN') === 1
  const table = streamTable(wordsFromU64([registers.value('STRTAB_BASE')]), registers.number('STRTAB_BASE_CFG'), features)
  const reading = readingOf(source, features, findings)
  const { budget, spaces } = reading
  const tables = new ContextTables(reading)
  const context = { ...reading, tables }
  // While translation is off, GBPA decides for all.
  const off = () => ({
    devices: devicesWithoutTable(names, registers.field(GBPA, 'ABORT') === 1 ? 'abort' : 'bypass', 'translation is off'),
    rest: [],
  })
  const { devices, rest } = enabled ? readDevices(deviceTable(context, table), names, budget, findings) : off()
  const events = readEvents(reading, registers)
  readPageRequests(reading, registers)
  return {
    title,
    iommu: 'Arm SMMUv3',
    words: WORDS,
    enabled,
    deviceTable: enabled ? { address: BigInt(table.base), layout: tableLayout(table), entries: 2 ** table.log2size } : null,
    registers: registers.views(),
    devices,
    pasidTables: tables.nodes(),
    spaces: spaces.nodes(),
    findings: findings.done(),
    events,
    rest,
  }
}

function tableLayout({ twoLevel, split }: StreamTable): string {
  return twoLevel ? `2 levels, ${2 ** split} STEs per leaf` : 'linear'
}
