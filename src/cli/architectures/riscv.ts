/** What the commands know about a RISC-V IOMMU. */
import { describe, wordsFromU64 } from '../../base/layout.ts'
import { hi32, lo32 } from '../../base/u64.ts'
import { CAUSES, FAULT_RECORD } from '../../format/riscv/records.ts'
import { FULL_CAPABILITIES, REG, REGISTERS } from '../../format/riscv/registers.ts'
import type { PhysicalMemory } from '../../memory/physical.ts'
import { RiscvIommu } from '../../model/riscv/iommu.ts'
import type { Capture } from '../../node/index.ts'
import { debugList, RISCV_FACTS } from '../checks/riscv.ts'
import { vectorFiles } from '../checks/riscv-vectors.ts'
import { EVERYTHING, placed } from '../register-tables.ts'
import type { Readable } from './contract.ts'

function restore(memory: PhysicalMemory, register: Capture['register']): RiscvIommu {
  const model = new RiscvIommu(memory, {
    capabilities: register(REG.capabilities, 8) ?? 0n,
    fctl: Number(register(REG.fctl, 4) ?? 0n),
    // What registers do not tell: nothing that a real machine's contexts use is refused.
    gxlWritable: true,
  })
  // Put, not written: a write to cqt or to tr_req_ctl would set the hardware to work.
  const file = model.registerWords
  for (const { offset, layout } of REGISTERS) {
    const value = register(offset, layout.bits === 64 ? 8 : 4)
    if (value === null) continue
    file[offset / 4] = lo32(value)
    if (layout.bits === 64) file[offset / 4 + 1] = hi32(value)
  }
  return model
}

function describeRecord(record: readonly bigint[]): ReturnType<Readable['describeRecord']> {
  const words = wordsFromU64(record)
  const name = CAUSES[words[0]! & 0xfff]
  return name === undefined ? null : { name, fields: describe(FAULT_RECORD, words) }
}

export const RISCV: Readable<'riscv'> = {
  name: 'RISC-V IOMMU',
  registers: {
    kind: 'riscv',
    flag: 'riscv',
    title: 'RISC-V IOMMU',
    registers: REGISTERS.map(placed),
    around: /^IOMMU_/,
    aliases: { CAP: 'capabilities', CAPS: 'capabilities' },
    needed: 'ddtp',
    assumed: [
      { name: 'capabilities', value: FULL_CAPABILITIES, what: `${EVERYTHING}: device contexts of 64 bytes, for MSI_FLAT is 1` },
      { name: 'fctl', value: 0n, what: 'little-endian, MSI' },
    ],
    machines: [243],
    machineName: 'RISC-V',
    example: '--riscv ddtp=0x2041e004',
  },
  restore,
  describeRecord,
  letters: 'rwx',
  facts: {
    names: RISCV_FACTS,
    more: (capture, explain) => [debugList(capture, restore(capture.memory, capture.register), explain)],
  },
  files: [vectorFiles(describeRecord)],
}
