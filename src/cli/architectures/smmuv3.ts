/** What the commands know about an Arm SMMUv3. */
import { describe, encode, wordsFromU64, wordsToU64 } from '../../base/layout.ts'
import { eventOf } from '../../format/smmuv3/events.ts'
import { IDR0, IDR1, IDR3, IDR5, REGISTERS } from '../../format/smmuv3/registers.ts'
import { SmmuV3 } from '../../model/smmuv3/smmu.ts'
import { configList, SMMUV3_FACTS } from '../checks/smmuv3.ts'
import { EVERYTHING } from '../register-tables.ts'
import type { Readable } from './contract.ts'

const one = (words: Uint32Array) => wordsToU64(words)[0]!

export const SMMUV3: Readable<'smmu'> = {
  name: 'Arm SMMUv3',
  registers: {
    kind: 'smmuv3',
    flag: 'smmu',
    title: 'Arm SMMUv3',
    registers: REGISTERS,
    around: /^SMMU_/,
    aliases: { CFG: 'STRTAB_BASE_CFG', BASE_CFG: 'STRTAB_BASE_CFG', BASE: 'STRTAB_BASE' },
    needed: 'STRTAB_BASE',
    assumed: [
      { name: 'STRTAB_BASE_CFG', value: 0x10210n, what: '2 levels of 2^8 streams, 2^16 streams, as Linux has them for PCI' },
      { name: 'CR0', value: 1n, what: 'translation is on' },
      {
        name: 'IDR0',
        value: one(
          encode(IDR0, {
            ...{ S2P: 1, S1P: 1, TTF: 2, COHACC: 1, BTM: 1, HTTU: 2, Hyp: 1, ATS: 1, ASID16: 1, MSI: 1, SEV: 1, PRI: 1, VMW: 1 },
            ...{ VMID16: 1, CD2L: 1, TTENDIAN: 2, ST_LEVEL: 1 },
          }),
        ),
        what: EVERYTHING,
      },
      {
        name: 'IDR1',
        value: one(encode(IDR1, { SIDSIZE: 32, SSIDSIZE: 20, PRIQS: 19, EVENTQS: 19, CMDQS: 19 })),
        what: EVERYTHING,
      },
      { name: 'IDR3', value: one(encode(IDR3, { HAD: 1, XNX: 1, FWB: 1, RIL: 1, BBML: 2, E0PD: 1 })), what: EVERYTHING },
      {
        name: 'IDR5',
        value: one(encode(IDR5, { OAS: 6, GRAN4K: 1, GRAN16K: 1, GRAN64K: 1, VAX: 1 })),
        what: '52-bit addresses, all granules',
      },
      { name: 'AIDR', value: 2n, what: 'SMMUv3.2' },
    ],
    machines: [183, 40],
    machineName: 'Arm',
    example: '--smmu strtab-base=0x44b72000,strtab-base-cfg=0x10210',
  },
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
  facts: { names: SMMUV3_FACTS, more: (capture) => [configList(capture)] },
}
