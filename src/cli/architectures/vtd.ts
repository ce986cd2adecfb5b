/** What the commands know about an Intel IOMMU. */
import { describe, getNumber, wordsFromU64 } from '../../base/layout.ts'
import { faultReason } from '../../format/vtd/faults.ts'
import { FAULT_RECORD } from '../../format/vtd/records.ts'
import { FULL_CAP, FULL_ECAP, GS_RTP, GS_TE, IQA, IRTA, PQA, REG, REGISTERS, registersOf } from '../../format/vtd/registers.ts'
import { VtdIommu } from '../../model/vtd/iommu.ts'
import { tracedFaultList, VTD_FACTS } from '../checks/vtd.ts'
import { EVERYTHING, placed } from '../register-tables.ts'
import type { Readable } from './contract.ts'

export const VTD: Readable<'vtd'> = {
  name: 'Intel VT-d',
  registers: {
    kind: 'vtd',
    flag: 'vtd',
    title: 'Intel IOMMU (VT-d)',
    registers: REGISTERS.map(placed),
    around: /_REG$/,
    aliases: { RTADDR_REG: 'RTADDR', ROOT: 'RTADDR' },
    needed: 'RTADDR',
    assumed: [
      { name: 'GSTS', value: BigInt((GS_TE | GS_RTP) >>> 0), what: 'translation is on' },
      { name: 'CAP', value: FULL_CAP, what: EVERYTHING },
      { name: 'ECAP', value: FULL_ECAP, what: EVERYTHING },
    ],
    machines: [62, 3],
    machineName: 'x86',
    example: '--vtd rtaddr=0x1a20400,cap=0xd2008c222f0686',
  },
  restore(memory, register) {
    const values: Record<string, bigint> = {}
    const cap = register(REG.CAP, 8) ?? 0n
    const ecap = register(REG.ECAP, 8) ?? 0n
    for (const { name, offset, layout } of registersOf(cap, ecap)) {
      const value = register(offset, layout.bits === 32 ? 4 : 8)
      if (value === null) continue
      if (layout.bits <= 64) values[name] = value
      else {
        values[`${name}_LO`] = value
        values[`${name}_HI`] = register(offset + 8, 8) ?? 0n
      }
    }
    const model = new VtdIommu(memory)
    model.loadRegisters(values)
    return model
  },
  zeros(register) {
    // Pages of these that no entry stands in are often left out of a dump.
    const range = (offset: number, size: (words: Uint32Array) => number) => {
      const words = wordsFromU64([register(offset, 8) ?? 0n])
      const start = Number(((register(offset, 8) ?? 0n) >> 12n) << 12n)
      return { start, end: start + Math.max(4096, size(words)) }
    }
    return [
      range(REG.IRTA, (words) => 2 ** (getNumber(words, IRTA.fields.S) + 5)),
      range(REG.IQA, (words) => 2 ** (getNumber(words, IQA.fields.QS) + 12)),
      range(REG.PQA, (words) => 2 ** (getNumber(words, PQA.fields.PQS) + 12)),
    ].filter(({ start, end }) => start > 0 && end <= 2 ** 52)
  },
  describeRecord(record) {
    const words = wordsFromU64(record)
    const reason = faultReason(getNumber(words, FAULT_RECORD.fields.FR))
    return reason === null ? null : { name: reason.name, fields: describe(FAULT_RECORD, words) }
  },
  letters: 'rw',
  facts: {
    names: VTD_FACTS,
    more: (capture, explain) => [tracedFaultList(capture, VTD.restore(capture.memory, capture.register), explain)],
  },
}
