/**
 * An Intel IOMMU into a graph: registers → root and context tables → PASID directories and tables → page tables, with what is wrong in
 * them and the faults that its recording registers still hold. Intel VT-d 4.1. Lookups, rules and walks are those of `format/vtd` and
 * `format/pt`, which the hardware model uses too.
 */
import { hi32, lo32, toDouble } from '../base/u64.ts'
import { featuresOf } from '../format/vtd/features.ts'
import { GSTS, RTADDR, registersOf, TTM_LEGACY, TTM_SCALABLE } from '../format/vtd/registers.ts'
import { devicesWithoutTable, readDevices } from './devices.ts'
import type { MachineGraph } from './graph.ts'
import { readingOf } from './reading.ts'
import { RegisterFile } from './registers.ts'
import { Findings, type MachineSource } from './source.ts'
import { deviceTable } from './vtd/devices.ts'
import { readInterruptTable } from './vtd/interrupts.ts'
import { PasidDirectories } from './vtd/pasids.ts'
import { readFaults, readPageRequests, registerFindings } from './vtd/queues.ts'

const WORDS: MachineGraph['words'] = {
  deviceTable: 'Root and context tables',
  deviceEntry: 'context entry',
  pasidTable: 'PASID table',
  pasidEntry: 'PASID table entry',
  pasid: 'PASID',
}

/** What stands behind RTADDR.TTM. */
const MODES: Readonly<Record<number, string>> = {
  [TTM_LEGACY]: 'legacy mode',
  [TTM_SCALABLE]: 'scalable mode',
}

/** Reads a machine with an Intel IOMMU. */
export function inspectVtd(source: MachineSource): MachineGraph {
  const { memory, names, title } = source
  const cap = source.register(8, 8) ?? 0n
  const ecap = source.register(16, 8) ?? 0n
  const places = registersOf(cap, ecap).flatMap(({ name, offset, layout }) =>
    layout.bits > 64 ? [] : [{ name, offset, layout, bytes: layout.bits === 64 ? (8 as const) : (4 as const) }],
  )
  const registers = new RegisterFile(source, places)
  const findings = new Findings()
  const features = featuresOf(cap, ecap)
  const translating = registers.field(GSTS, 'TES') === 1
  const mode = registers.field(RTADDR, 'TTM')
  const refused = mode === TTM_SCALABLE && !features.scalable
  const layout = translating && !refused ? (MODES[mode] ?? null) : null
  registerFindings(registers, features, findings)
  const rtaddr = registers.value('RTADDR')
  const root = toDouble(hi32(rtaddr), lo32(rtaddr) & ~0xfff)
  const reading = readingOf(source, features, findings)
  const { budget, spaces } = reading
  const directories = new PasidDirectories(reading)
  const context = { ...reading, directories, root, scalable: mode === TTM_SCALABLE }
  const off = () => ({
    devices: translating
      ? devicesWithoutTable(names, 'abort', 'no root table is in use (RTADDR.TTM)')
      : devicesWithoutTable(names, 'bypass', 'translation is off'),
    rest: [],
  })
  const { devices, rest } = layout === null ? off() : readDevices(deviceTable(context), names, budget, findings)
  const events = readFaults(source, cap, names, findings)
  readPageRequests(reading, registers)
  readInterruptTable(memory, registers, features, names, findings)
  return {
    title,
    iommu: 'Intel VT-d',
    words: WORDS,
    enabled: layout !== null,
    deviceTable: layout === null ? null : { address: BigInt(root), layout, entries: 1 << 16 },
    registers: registers.views(),
    devices,
    pasidTables: directories.nodes(),
    spaces: spaces.nodes(),
    findings: findings.done(),
    events,
    rest,
  }
}
