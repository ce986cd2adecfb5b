/** What the commands know about a RISC-V IOMMU. */
import { describe, wordsFromU64 } from '../base/layout.ts'
import { hi32, lo32 } from '../base/u64.ts'
import { CAUSES, FAULT_RECORD } from '../format/riscv/records.ts'
import { REG, REGISTERS } from '../format/riscv/registers.ts'
import { RiscvIommu } from '../model/riscv/iommu.ts'
import type { Readable } from './architectures.ts'

export const RISCV: Readable = {
  name: 'RISC-V IOMMU',
  restore(memory, register) {
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
  },
  describeRecord(record) {
    const words = wordsFromU64(record)
    const name = CAUSES[words[0]! & 0xfff]
    return name === undefined ? null : { name, fields: describe(FAULT_RECORD, words) }
  },
  letters: 'rwx',
}
