import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encode, type Layout, setBits, uncovered, wordsToU64 } from '../../base/layout.ts'
import { testLayouts } from '../layouts.suite.ts'
import { ATS, ATS_INVAL_PAYLOAD, ATS_PRGR_PAYLOAD, COMMANDS, IODIR, IOFENCE, IOTINVAL } from './commands.ts'
import { DC, DC_BASE, DDTE, PC, PDTE, ppnAddress, ppnAddressAt10 } from './contexts.ts'
import { extract, MSI_PTE_FLAT, MSI_PTE_MRIF } from './msi.ts'
import { CAUSES, FAULT_RECORD, PAGE_REQUEST, reportedDespiteDtf } from './records.ts'
import { REG, REGISTER_BYTES, REGISTERS } from './registers.ts'

const LAYOUTS: Layout[] = [
  DDTE,
  PDTE,
  DC_BASE,
  DC,
  PC,
  MSI_PTE_FLAT,
  MSI_PTE_MRIF,
  IOTINVAL,
  IOFENCE,
  IODIR,
  ATS,
  ATS_INVAL_PAYLOAD,
  ATS_PRGR_PAYLOAD,
  FAULT_RECORD,
  PAGE_REQUEST,
  ...new Set(REGISTERS.map(({ layout }) => layout)),
]

describe('layouts', () => {
  testLayouts(LAYOUTS)

  it('have the bits of the specification: device context', () => {
    const word = (values: Parameters<typeof encode<typeof DC.fields>>[1]) => wordsToU64(encode(DC, values))
    expect(word({ 'tc.V': 1, 'tc.PDTV': 1, 'tc.SXL': 1 })[0]).toBe(0x821n)
    expect(word({ 'tc.EN_ATS': 1, 'tc.EN_PRI': 1, 'tc.T2GPA': 1, 'tc.DTF': 1, 'tc.PRPR': 1 })[0]).toBe(0x5en)
    expect(word({ 'tc.GADE': 1, 'tc.SADE': 1, 'tc.DPE': 1, 'tc.SBE': 1 })[0]).toBe(0x780n)

    expect(word({ 'ta.PSCID': 0x35f, 'ta.RCID': 1, 'ta.MCID': 2 })[2]).toBe(0x0020010000000000n | 0x35f000n)
    expect(word({ 'fsc.MODE': 3, 'fsc.PPN': 0x1bbb66000n })[3]).toBe(0x30000000001bbb66n)
    expect(word({ 'msiptp.MODE': 1, 'msiptp.PPN': 0x282f43f15e000n })[4]).toBe(0x100000282f43f15en)
    expect(word({ 'msi_addr_mask.mask': 0x890, 'msi_addr_pattern.pattern': 0x728ca3d }).slice(5)).toEqual([
      0x890n,
      0x728ca3dn,
      0n,
    ])
  })

  it('have the bits of the specification: directory entries, process contexts, MSI PTEs', () => {
    expect(wordsToU64(encode(DDTE, { V: 1, PPN: 0x1bb7b4000n }))).toEqual([0x6eded001n])
    expect(wordsToU64(encode(PC, { 'ta.V': 1, 'ta.SUM': 1, 'ta.PSCID': 0x35f, 'fsc.MODE': 8, 'fsc.PPN': 0xab158000n }))).toEqual([
      0x35f005n,
      0x80000000000ab158n,
    ])
    // AIA: V, M = 3; M = 1 with MRIF_Address[55:9] at 53:7, NPPN at 53:10 and N10 at 60 of the second doubleword.
    expect(wordsToU64(encode(MSI_PTE_FLAT, { V: 1, M: 3, PPN: 0xba5b298e9000n }))[0]).toBe((0xba5b298e9n << 10n) | 7n)
    expect(
      wordsToU64(encode(MSI_PTE_MRIF, { V: 1, M: 1, MRIF_Address: 0x254ed412ace00n, N: 529, N10: 1, NPPN: 0x36c6381bfd000n })),
    ).toEqual([(0x254ed412ace00n >> 2n) | 3n, (0x36c6381bfdn << 10n) | 529n | (1n << 60n)])
  })

  it('have the bits of the specification: commands and records', () => {
    expect(
      wordsToU64(encode(IOTINVAL, { opcode: 1, func3: 1, AV: 1, GV: 1, GSCID: 0x5c3a, ADDR: 0x5_1234_5000n, S: 1 })),
    ).toEqual([0x05c3a00200000481n, (0x512345n << 10n) | 0x200n])
    expect(wordsToU64(encode(IOFENCE, { opcode: 2, AV: 1, PR: 1, PW: 1, DATA: 0x922d2a76, ADDR: 0x22155157340n }))).toEqual([
      0x922d2a7600003402n,
      0x22155157340n >> 2n,
    ])
    expect(wordsToU64(encode(IODIR, { opcode: 3, func3: 1, DV: 1, DID: 0x585a, PID: 5 }))[0]).toBe(0x00585a0200005083n)
    expect(wordsToU64(encode(ATS, { opcode: 4, func3: 0, DSV: 1, DSEG: 84, RID: 47896, PV: 1, PID: 216055 }))[0]).toBe(
      0x54bb180334bf7004n,
    )
    expect(wordsToU64(encode(FAULT_RECORD, { CAUSE: 13, TTYP: 2, DID: 0xd94c96, iotval: 0x43a16270a0en }))).toEqual([
      0xd94c96080000000dn,
      0n,
      0x43a16270a0en,
      0n,
    ])
    expect(wordsToU64(encode(PAGE_REQUEST, { DID: 0x9bfe, PID: 476421, PV: 1, EXEC: 1 }))[0]).toBe(0x009bfe0574505000n)
  })

  it('leave as reserved what the specification reserves', () => {
    expect(wordsToU64(uncovered(DDTE))).toEqual([0xffc00000000003fen])
    expect(wordsToU64(uncovered(DC))).toEqual([
      0xffffffff00fff000n,
      0n,
      0x000000ff00000fffn,
      0x0ffff00000000000n,
      0x0ffff00000000000n,
      0xfff0000000000000n,
      0xfff0000000000000n,
      0xffffffffffffffffn,
    ])
    expect(wordsToU64(uncovered(PC))).toEqual([0xffffffff00000ff8n, 0x0ffff00000000000n])
    expect(wordsToU64(uncovered(IOFENCE))).toEqual([0x00000000ffffc000n, 0xc000000000000000n])
    expect(Object.keys(COMMANDS)).toEqual(['1', '2', '3', '4'])
  })
})

describe('registers', () => {
  it('do not overlap, and lie where the register layout has them', () => {
    const owner = new Array<string>(REGISTER_BYTES).fill('')
    for (const { name, offset, layout } of REGISTERS) {
      for (let byte = offset; byte < offset + layout.bits / 8; byte++) {
        expect(`${byte} ${owner[byte]}`).toBe(`${byte} `)
        owner[byte] = name
      }
    }
    const at = (offset: number) => owner[offset]
    expect([0, 8, 16, 24, 32, 36, 40, 48, 52, 56, 64, 68, 72, 76, 80, 84].map(at)).toEqual(
      'capabilities fctl ddtp cqb cqh cqt fqb fqh fqt pqb pqh pqt cqcsr fqcsr pqcsr ipsr'.split(' '),
    )
    expect([88, 92, 96, 104, 344, 352, 592, 600, 608, 616, 624, 760, 768, 776, 780, 1008, 1020].map(at)).toEqual(
      'iocountovf iocountinh iohpmcycles iohpmctr1 iohpmctr31 iohpmevt1 iohpmevt31 tr_req_iova tr_req_ctl tr_response iommu_qosid icvec msi_addr_0 msi_data_0 msi_vec_ctl_0 msi_addr_15 msi_vec_ctl_15'.split(
        ' ',
      ),
    )
    for (const [name, offset] of Object.entries(REG)) if (name !== 'msi_cfg_tbl') expect(owner[offset]).toBe(name)
  })
})

describe('page numbers', () => {
  it('become addresses of up to 56 bits, exactly', () => {
    const ppn = fc.bigInt({ min: 0n, max: (1n << 44n) - 1n })
    fc.assert(
      fc.property(ppn, fc.nat(1023), (number, low) => {
        const words = new Int32Array(2)
        setBits(words, 31, 0, Number(number & 0xffffffffn))
        setBits(words, 43, 32, Number(number >> 32n))
        setBits(words, 63, 44, 0xfffff)
        expect(BigInt(ppnAddress(words[1]!, words[0]!))).toBe(number << 12n)
        const at10 = (number << 10n) | BigInt(low) | (0x3ffn << 54n)
        expect(BigInt(ppnAddressAt10(Number(at10 >> 32n) | 0, Number(at10 & 0xffffffffn) | 0))).toBe(number << 12n)
      }),
    )
  })

  it('extract packs the bits that the mask selects, as the example of the specification', () => {
    // x = abcdefgh, y = 10100110: 0000acfg
    expect(extract(0, 0b10110110, 0, 0b10100110)).toBe(0b1111)
    expect(extract(0, 0b10000010, 0, 0b10100110)).toBe(0b1001)
    expect(extract(0xfffff, -1, 0xfffff, -1)).toBe(2 ** 52 - 1)
    expect(extract(1, 0, 1, 0xff)).toBe(0x100)
  })
})

describe('causes', () => {
  it('are reported despite DTF as the last column of the table says', () => {
    const reported = Object.keys(CAUSES).map(Number).filter(reportedDespiteDtf)
    expect(reported).toEqual([256, 257, 258, 259, 268, 272, 273])
  })
})
