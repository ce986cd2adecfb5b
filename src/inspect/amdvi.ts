/**
 * An AMD IOMMU into a graph: registers → device table → GCR3 tables → page tables, with what is wrong in them and what the event log
 * still holds. AMD IOMMU specification (48882). Lookups, rules and walks are those of `format/amdvi` and `format/pt`, which the hardware
 * model uses too.
 */
import { hi32, lo32 } from '../base/u64.ts'
import { type AmdFeatures, featuresOf } from '../format/amdvi/features.ts'
import { type DeviceTable, deviceTable, deviceTableEntries } from '../format/amdvi/lookup.ts'
import { CONTROL, REGISTERS } from '../format/amdvi/registers.ts'
import { deviceTableReader } from './amdvi/devices.ts'
import { Gcr3Tables } from './amdvi/gcr3.ts'
import { InterruptTables } from './amdvi/interrupts.ts'
import { readEvents, readPageRequests, registerFindings } from './amdvi/logs.ts'
import { rangeFindings } from './amdvi/ranges.ts'
import { devicesWithoutTable, readDevices } from './devices.ts'
import type { MachineGraph } from './graph.ts'
import { readingOf } from './reading.ts'
import { RegisterFile } from './registers.ts'
import { Findings, type MachineSource } from './source.ts'

const WORDS: MachineGraph['words'] = {
  deviceTable: 'Device table',
  deviceEntry: 'DTE',
  pasidTable: 'GCR3 table',
  pasidEntry: 'GCR3 entry',
  pasid: 'PASID',
}

const PLACES = REGISTERS.map(({ name, offset, layout }) => ({ name, offset, layout, bytes: 8 }) as const)

/** Reads a machine with an AMD IOMMU. */
export function inspectAmdvi(source: MachineSource): MachineGraph {
  const { memory, names, title } = source
  const registers = new RegisterFile(source, PLACES)
  const findings = new Findings()
  const { features, table } = amdviTable(source)
  const enabled = registers.field(CONTROL, 'IommuEn') === 1
  registerFindings(registers, findings)
  const reading = readingOf(source, features, findings)
  const { budget, spaces } = reading
  const tables = new Gcr3Tables(reading)
  const interrupts = new InterruptTables(memory, features, findings)
  const context = { ...reading, tables, interrupts }
  const off = () => ({ devices: devicesWithoutTable(names, 'bypass', 'the IOMMU is off (CONTROL.IommuEn)'), rest: [] })
  const { devices, rest } = enabled ? readDevices(deviceTableReader(context, table), names, budget, findings) : off()
  interrupts.report()
  const events = readEvents(reading, registers)
  readPageRequests(reading, registers)
  rangeFindings(registers, spaces.nodes(), findings)
  return {
    title,
    iommu: 'AMD-Vi',
    words: WORDS,
    enabled,
    deviceTable: enabled
      ? { address: BigInt(table.base[0]!), layout: layoutText(table), entries: deviceTableEntries(table) }
      : null,
    registers: registers.views(),
    devices,
    pasidTables: tables.nodes(),
    spaces: spaces.nodes(),
    findings: findings.done(),
    events,
    rest,
  }
}

/** What the registers of a machine say about its tables. */
export function amdviTable(source: MachineSource): { features: AmdFeatures; table: DeviceTable } {
  const registers = new RegisterFile(source, PLACES)
  const efr = registers.value('EXT_FEATURE')
  const control = registers.value('CONTROL')
  const features = featuresOf(hi32(efr), lo32(efr), hi32(control), lo32(control))
  return { features, table: deviceTable(features, (offset) => source.register(offset, 8) ?? 0n) }
}

function layoutText({ base }: DeviceTable): string {
  return base.length === 1 ? 'linear' : `${base.length} segments`
}
