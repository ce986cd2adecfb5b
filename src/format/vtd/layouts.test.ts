import { describe, expect, it } from 'vitest'
import { decode, encode, type Fields, type Layout, type Values, wordsToU64 } from '../../base/layout.ts'
import { testLayouts } from '../layouts.suite.ts'
import { CONTEXT_ENTRY, pasidLimit, SM_CONTEXT_ENTRY } from './contexts.ts'
import * as dsc from './descriptors.ts'
import { COMPATIBILITY_ADDRESS, INTERRUPT_DATA, IRTE_POSTED, IRTE_REMAPPED, PI_DESCRIPTOR, REMAPPABLE_ADDRESS } from './irte.ts'
import { PASID_DIR_ENTRY, PASID_ENTRY } from './pasid.ts'
import { FAULT_RECORD, PAGE_REQUEST } from './records.ts'
import {
  CAP,
  ECAP,
  FSTS,
  faultOffset,
  faultRegisters,
  GCMD,
  GS_CFI,
  GS_IRE,
  GS_IRTP,
  GS_QIE,
  GS_RTP,
  GS_TE,
  GS_WBF,
  GSTS,
  IOTLB,
  IQA,
  IQERCD,
  IRTA,
  IVA,
  invalidationOffset,
  REG,
  REGISTERS,
  RTADDR,
  registersOf,
} from './registers.ts'
import { ROOT_ENTRY, SM_ROOT_ENTRY } from './root.ts'

const LAYOUTS: Layout[] = [
  ROOT_ENTRY,
  SM_ROOT_ENTRY,
  CONTEXT_ENTRY,
  SM_CONTEXT_ENTRY,
  PASID_DIR_ENTRY,
  PASID_ENTRY,
  IRTE_REMAPPED,
  IRTE_POSTED,
  PI_DESCRIPTOR,
  REMAPPABLE_ADDRESS,
  COMPATIBILITY_ADDRESS,
  INTERRUPT_DATA,
  FAULT_RECORD,
  PAGE_REQUEST,
  IVA,
  IOTLB,
  ...Object.values(dsc.DESCRIPTORS),
  ...REGISTERS.map(({ layout }) => layout),
]

const words = <F extends Fields>(layout: Layout<F>, values: Partial<Values<F>>) => wordsToU64(encode(layout, values))

describe('layouts', () => {
  testLayouts(LAYOUTS)

  it('have the bits of the specification: root and context entries', () => {
    expect(words(ROOT_ENTRY, { P: 1, CTP: 0x1_2345_6000n })).toEqual([0x1_2345_6001n, 0n])
    expect(words(SM_ROOT_ENTRY, { LP: 1, LCTP: 0x1000n, UP: 1, UCTP: 0x2000n })).toEqual([0x1001n, 0x2001n])
    expect(words(CONTEXT_ENTRY, { P: 1, FPD: 1, TT: 2, SSPTPTR: 0x5000n, AW: 2, AVAIL: 5, DID: 0x1234 })).toEqual([
      0x500bn,
      0x12342an,
    ])
    expect(
      words(SM_CONTEXT_ENTRY, {
        P: 1,
        DTE: 1,
        PASIDE: 1,
        PRE: 1,
        PDTS: 2,
        PASIDDIRPTR: 0x101593000n,
        RID_PASID: 0x54321,
        RID_PRIV: 1,
      }),
    ).toEqual([0x10159341dn, 0x154321n, 0n, 0n])
  })

  it('read what Linux wrote: a first-stage and a second-stage PASID table entry', () => {
    const first = { P: 1, AW: 2, PGTT: 1, DID: 2, PWSNP: 1, FSPTPTR: 0x1015a8000n }
    expect(words(PASID_ENTRY, first)).toEqual([0x49n, 0x800002n, 0x1015a8000n, 0n, 0n, 0n, 0n, 0n])
    expect(words(PASID_ENTRY, { P: 1, AW: 2, PGTT: 2, DID: 3, SSPTPTR: 0x101562000n }).slice(0, 2)).toEqual([0x101562089n, 3n])
  })

  it('have the bits of the specification: flags of a PASID table entry', () => {
    expect(words(PASID_ENTRY, { FPD: 1, SSEE: 1, SSADE: 1 })[0]).toBe(0x222n)
    expect(words(PASID_ENTRY, { PGSNP: 1, CD: 1, EMTE: 1, EMT: 6, PWT: 1, PCD: 1, PAT: 0x7040600 })[1]).toBe(
      0x0704_0600_f700_0000n,
    )
    expect(words(PASID_ENTRY, { SRE: 1, ERE: 1, FSPM: 1, WPE: 1, NXE: 1, SMEP: 1, EAFE: 1 })[2]).toBe(0xf7n)
    expect(words(PASID_DIR_ENTRY, { P: 1, FPD: 1, SMPTBLPTR: 0x7000n })).toEqual([0x7003n])
  })

  it('have the bits of the specification: interrupt remapping', () => {
    expect(words(IRTE_REMAPPED, { P: 1, DM: 1, RH: 1, TM: 1, DLM: 1, V: 0x31, DST: 0x100, SID: 0xff00, SQ: 2, SVT: 1 })).toEqual([
      0x100_0031_003dn,
      0x6ff00n,
    ])
    const at = 0x12_3456_7fc0n
    const posted = words(IRTE_POSTED, {
      P: 1,
      URG: 1,
      IM: 1,
      V: 0x41,
      PDAL: at & 0xffff_ffc0n,
      PDAH: (at >> 32n) << 32n,
      SID: 0x10,
    })
    expect(posted).toEqual([0x3456_7fc0_0041_c001n, 0x12_0000_0010n])
    expect(words(PI_DESCRIPTOR, { PIR1: 1n, ON: 1, SN: 1, NV: 0xf2, NDST: 0x300 })).toEqual([
      0n,
      1n,
      0n,
      0n,
      0x300_00f2_0003n,
      0n,
      0n,
      0n,
    ])
    expect(encode(REMAPPABLE_ADDRESS, { FEE: 0xfee, FORMAT: 1, SHV: 1, HANDLE: 0x7fff, HANDLE_HIGH: 1 })[0]).toBe(0xfeeffffc)
  })

  it('have the bits of the specification: descriptors', () => {
    expect(words(dsc.CC_INV_DSC, { TYPE: 1, G: 3, DID: 5, SID: 0x30, FM: 2 })).toEqual([0x0002_0030_0005_0031n, 0n])
    expect(words(dsc.IOTLB_INV_DSC, { TYPE: 2, G: 3, DW: 1, DR: 1, DID: 7, AM: 9, IH: 1, ADDR: 0x20_0000n })).toEqual([
      0x700f2n,
      0x200049n,
    ])
    expect(words(dsc.DEV_TLB_INV_DSC, { TYPE: 3, MIP: 4, SID: 0x100, PFSID_LOW: 8, PFSID_HIGH: 1, S: 1, ADDR: 0x1000n })).toEqual(
      [0x0010_0100_0004_8003n, 0x1001n],
    )
    expect(words(dsc.IEC_INV_DSC, { TYPE: 4, G: 1, IM: 3, IIDX: 0x21 })).toEqual([0x21_1800_0014n, 0n])
    expect(words(dsc.INV_WAIT_DSC, { TYPE: 5, IF: 1, SW: 1, FN: 1, PD: 1, STDATA: 2, STADDR: 0x8004n })).toEqual([
      0x2_0000_00f5n,
      0x8004n,
    ])
    expect(words(dsc.P_IOTLB_INV_DSC, { TYPE: 6, G: 2, DID: 1, PASID: 0xfffff }).slice(0, 2)).toEqual([0xfffff_0001_0026n, 0n])
    expect(words(dsc.PC_INV_DSC, { TYPE: 7, G: 1, DID: 1, PASID: 5 })[0]).toBe(0x5_0001_0017n)
    expect(
      words(dsc.P_DEV_TLB_INV_DSC, { TYPE: 8, MIP: 16, SID: 0x30, PASID: 9, S: 1, ADDR: 0x3000n, PFSID_LOW: 3 }).slice(0, 2),
    ).toEqual([0x9_0030_3108n, 0x3800n])
    expect(words(dsc.PAGE_GRP_RESP_DSC, { TYPE: 9, PP: 1, RC: 1, RID: 0x30, PASID: 9, PRGI: 3, LPIG: 1 }).slice(0, 2)).toEqual([
      0x9_0030_1019n,
      0x1cn,
    ])
  })

  it('find the type of a descriptor in its two places', () => {
    for (const [type, layout] of Object.entries(dsc.DESCRIPTORS))
      expect(dsc.descriptorType(encode(layout, { TYPE: Number(type) })[0]!)).toBe(Number(type))
    expect(dsc.descriptorType(encode(dsc.CC_INV_DSC, { TYPE: 1, TYPE_HIGH: 5 })[0]!)).toBe(0x51)
    expect(dsc.descriptorType(0xffff_f1f0)).toBe(0)
  })

  it('have the bits of the specification: records', () => {
    const record = { FI: 0x77_0000_0000n, SID: 0x30, PP: 1, EXE: 1, PRIV: 1, FR: 0x71, PV: 0x54321, AT: 2, T1: 1, T2: 1, F: 1 }
    expect(words(FAULT_RECORD, record)).toEqual([0x77_0000_0000n, 0xe543_2171_f000_0030n])
    expect(
      words(PAGE_REQUEST, {
        TYPE: 1,
        PP: 1,
        RID: 0x30,
        PASID: 5,
        EXE: 1,
        PRIV: 1,
        RD: 1,
        WR: 1,
        LPIG: 1,
        PRGI: 0x1ff,
        ADDR: 0x7000n,
      }),
    ).toEqual([0x30_0005_0030_0101n, 0x7fffn, 0n, 0n])
  })

  it('read the fault that QEMU recorded', () => {
    const record = decode(FAULT_RECORD, encode(FAULT_RECORD, { FI: 0x1000000001000n, SID: 0x100, FR: 4 }))
    expect(words(FAULT_RECORD, record)).toEqual([0x1000000001000n, 0x400000100n])
  })
})

describe('registers', () => {
  it('do not overlap', () => {
    const owner = new Map<number, string>()
    for (const { name, offset, layout } of registersOf(0x80d2008c222f0606n, 0xf00f4an)) {
      expect(offset % (layout.bits === 32 ? 4 : 8)).toBe(0)
      for (let at = offset; at < offset + layout.bits / 8; at++) {
        expect([name, owner.get(at)]).toEqual([name, undefined])
        owner.set(at, name)
      }
    }
  })

  it('lie where QEMU has them', () => {
    const at = (name: string) => registersOf(0x80d2008c222f0606n, 0xf00f4an).find((register) => register.name === name)?.offset
    expect([at('GSTS'), at('RTADDR'), at('FSTS'), at('PMEN'), at('PHMLIMIT')]).toEqual([0x1c, 0x20, 0x34, 0x64, 0x78])
    expect([at('IQH'), at('IQT'), at('IQA'), at('ICS'), at('IECTL'), at('IQERCD'), at('IRTA')]).toEqual([
      0x80, 0x88, 0x90, 0x9c, 0xa0, 0xb0, 0xb8,
    ])
    expect([at('PQH'), at('PQT'), at('PQA'), at('PRS'), at('PECTL'), at('PEUADDR')]).toEqual([0xc0, 0xc8, 0xd0, 0xdc, 0xe0, 0xec])
    expect([at('IVA'), at('IOTLB'), at('FRCD0'), at('FRCD1')]).toEqual([0xf0, 0xf8, 0x220, undefined])
    expect([at('MTRRCAP'), at('MTRR_FIX4K_F8000'), at('MTRR_PHYSMASK9'), at('VCMD')]).toEqual([0x100, 0x170, 0x218, 0xe00])
  })

  it('move with the capabilities', () => {
    const cap = words(CAP, { FRO: 0x40, NFR: 7 })[0]!
    const ecap = words(ECAP, { IRO: 0x50 })[0]!
    expect([faultOffset(cap), faultRegisters(cap), invalidationOffset(ecap)]).toEqual([0x400, 8, 0x500])
    const names = registersOf(cap, ecap).map(({ name }) => name)
    expect(names.filter((name) => name.startsWith('FRCD'))).toHaveLength(8)
  })

  it('have the bits of the specification', () => {
    expect(words(CAP, { ND: 6, SAGAW: 6, MGAW: 47, FRO: 0x22, SSLPS: 3, PSI: 1, MAMV: 18, DWD: 1, DRD: 1, ESRTPS: 1 })[0]).toBe(
      0x80d2008c222f0606n,
    )
    // The machine with shared virtual addressing.
    const ecap = {
      QI: 1,
      DT: 1,
      IR: 1,
      PT: 1,
      IRO: 0xf,
      MHMV: 15,
      PRS: 1,
      PSS: 19,
      PASID: 1,
      SMTS: 1,
      PDS: 0,
      FSTS: 1,
      SMPWCS: 1,
    }
    expect(words(ECAP, ecap)[0]! & 0x1_8998_20f0_0f4en).toBe(0x1_8998_20f0_0f4en)
    expect(words(RTADDR, { TTM: 1, RTA: 0x101589000n })[0]).toBe(0x101589400n)
    expect(words(IQA, { IQA: 0x100228000n, QS: 1, DW: 1 })[0]).toBe(0x100228801n)
    expect(words(IRTA, { IRTA: 0x100300000n, S: 15, EIME: 1 })[0]).toBe(0x10030080fn)
    expect(words(IOTLB, { IVT: 1, IIRG: 3, IAIG: 1, DR: 1, DW: 1, DID: 0x12 })[0]).toBe(0xb203_0012_0000_0000n)
    expect(words(IQERCD, { IQEI: 4, ITESID: 0x30, ICESID: 0x38 })[0]).toBe(0x0038_0030_0000_0004n)
    expect(encode(FSTS, { PFO: 1, PPF: 1, IQE: 1, ICE: 1, ITE: 1, FRI: 3 })[0]).toBe(0x373)
    expect(REG.VCCAP).toBe(0xe30)
  })

  it('have commands and their status in the same bits', () => {
    const masks = { TE: GS_TE, SRTP: GS_RTP, WBF: GS_WBF, QIE: GS_QIE, IRE: GS_IRE, SIRTP: GS_IRTP, CFI: GS_CFI }
    const status = { TE: 'TES', SRTP: 'RTPS', WBF: 'WBFS', QIE: 'QIES', IRE: 'IRES', SIRTP: 'IRTPS', CFI: 'CFIS' } as const
    for (const [name, mask] of Object.entries(masks)) {
      expect(encode(GCMD, { [name]: 1 })[0]).toBe(mask >>> 0)
      expect(encode(GSTS, { [status[name as 'TE']]: 1 })[0]).toBe(mask >>> 0)
    }
  })
})

describe('PASID directories', () => {
  it('hold 64 PASIDs for each of their 2^(PDTS + 7) entries, 2^20 at most', () => {
    expect([0, 2, 7].map(pasidLimit)).toEqual([1 << 13, 1 << 15, 1 << 20])
  })
})
