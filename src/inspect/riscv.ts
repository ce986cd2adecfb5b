/**
 * A RISC-V IOMMU into a graph: registers → device directory → process directories → page tables, with what is wrong in them and what the
 * fault queue still holds. RISC-V IOMMU 1.0. Lookups, rules and walks are those of `format/riscv` and `format/pt`, which the hardware
 * model uses too.
 */
import { hi32, lo32 } from '../base/u64.ts'
import { ppnAddressAt10 } from '../format/riscv/contexts.ts'
import { featuresOf } from '../format/riscv/features.ts'
import { DDTP, DDTP_3LVL, DDTP_BARE, DDTP_OFF, REGISTERS } from '../format/riscv/registers.ts'
import { devicesWithoutTable, readDevices } from './devices.ts'
import type { MachineGraph } from './graph.ts'
import { readingOf } from './reading.ts'
import { RegisterFile } from './registers.ts'
import { deviceTable } from './riscv/devices.ts'
import { deviceBits } from './riscv/directory.ts'
import { ProcessDirectories } from './riscv/processes.ts'
import { readFaults, readPageRequests, registerFindings } from './riscv/queues.ts'
import { Findings, type MachineSource } from './source.ts'

const WORDS: MachineGraph['words'] = {
  deviceTable: 'Device directory',
  deviceEntry: 'DC',
  pasidTable: 'Process directory',
  pasidEntry: 'PC',
  pasid: 'process_id',
}

const PLACES = REGISTERS.map(({ name, offset, layout }) => ({ name, offset, layout, bytes: layout.bits === 64 ? 8 : 4 }) as const)

/** Reads a machine with a RISC-V IOMMU. */
export function inspectRiscv(source: MachineSource): MachineGraph {
  const { names, title } = source
  const registers = new RegisterFile(source, PLACES)
  const findings = new Findings()
  registerFindings(registers, findings)
  const capabilities = registers.value('capabilities')
  const features = featuresOf(hi32(capabilities), lo32(capabilities), registers.number('fctl'))
  const mode = registers.field(DDTP, 'iommu_mode')
  const ddtp = registers.value('ddtp')
  const directory = { root: ppnAddressAt10(hi32(ddtp), lo32(ddtp)), levels: mode - DDTP_BARE }
  const enabled = mode > DDTP_BARE && mode <= DDTP_3LVL
  const reading = readingOf(source, features, findings)
  const { budget, spaces } = reading
  const directories = new ProcessDirectories(reading)
  const context = { ...reading, directories }
  const off = () => ({
    devices: devicesWithoutTable(names, mode === DDTP_OFF ? 'abort' : 'bypass', 'translation is off'),
    rest: [],
  })
  const { devices, rest } = enabled ? readDevices(deviceTable(context, directory), names, budget, findings) : off()
  const events = readFaults(reading, registers)
  readPageRequests(reading, registers)
  const levels = directory.levels === 1 ? '1 level' : `${directory.levels} levels`
  return {
    title,
    iommu: 'RISC-V IOMMU',
    words: WORDS,
    enabled,
    deviceTable: enabled
      ? {
          address: BigInt(directory.root),
          layout: `${levels}, ${features.extended ? 'extended' : 'base'} contexts`,
          entries: 2 ** deviceBits(features, directory.levels),
        }
      : null,
    registers: registers.views(),
    devices,
    pasidTables: directories.nodes(),
    spaces: spaces.nodes(),
    findings: findings.done(),
    events,
    rest,
  }
}
