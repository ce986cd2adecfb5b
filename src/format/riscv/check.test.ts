import { describe, expect, it } from 'vitest'
import { encode, setBits } from '../../base/layout.ts'
import { hi32, lo32 } from '../../base/u64.ts'
import { CONTEXT_RULES, checkDc, checkPc } from './check.ts'
import { DC, PC, TC_SXL } from './contexts.ts'
import { featuresOf, UNKNOWN_CHOICES } from './features.ts'
import { CAPABILITIES, FCTL_BE, FCTL_GXL } from './registers.ts'

type Caps = Parameters<typeof encode<typeof CAPABILITIES.fields>>[1]
const ALL: Caps = {
  Sv32: 1,
  Sv39: 1,
  Sv48: 1,
  Sv57: 1,
  Sv32x4: 1,
  Sv39x4: 1,
  Sv48x4: 1,
  Sv57x4: 1,
  MSI_FLAT: 1,
  AMO_HWAD: 1,
  ATS: 1,
  T2GPA: 1,
  END: 1,
  PAS: 56,
  PD8: 1,
  PD17: 1,
  PD20: 1,
  QOSID: 1,
}

function features(caps: Caps = {}, fctl = 0, choices = {}) {
  const words = encode(CAPABILITIES, { ...ALL, ...caps })
  return featuresOf(words[1]! | 0, words[0]! | 0, fctl, { ...UNKNOWN_CHOICES, ...choices })
}

type Dc = Parameters<typeof encode<typeof DC.fields>>[1]
const rule = (dc: Dc, given = features()) => CONTEXT_RULES[checkDc(Int32Array.from(encode(DC, { 'tc.V': 1, ...dc })), 0, given)]

describe('device-context configuration checks', () => {
  it('pass a context of each kind', () => {
    expect(rule({})).toBe('')
    expect(rule({ 'fsc.MODE': 10, 'iohgatp.MODE': 9, 'msiptp.MODE': 1, 'tc.SADE': 1, 'tc.GADE': 1 })).toBe('')
    expect(rule({ 'tc.PDTV': 1, 'tc.DPE': 1, 'fsc.MODE': 3, 'tc.EN_ATS': 1, 'tc.EN_PRI': 1, 'tc.PRPR': 1 })).toBe('')
    expect(rule({ 'tc.custom': 255 })).toBe('')
  })

  it('find each reserved bit', () => {
    const words = Int32Array.from(encode(DC, { 'tc.V': 1 }))
    let reserved = 0
    for (let bit = 0; bit < 512; bit++) {
      const changed = words.slice()
      setBits(changed, bit, bit, 1)
      if (checkDc(changed, 0, features()) === 1) reserved++
    }
    // 12 + 32 of tc, 12 + 8 of ta, 16 of fsc, 16 of msiptp, 12 of mask, 12 of pattern, 64 of the last doubleword.
    expect(reserved).toBe(12 + 32 + 20 + 16 + 16 + 12 + 12 + 64)
  })

  it.each([
    [2, { 'tc.EN_ATS': 1 }, { ATS: 0 }],
    [2, { 'tc.PRPR': 1 }, { ATS: 0 }],
    [3, { 'tc.T2GPA': 1, 'iohgatp.MODE': 8 }, {}],
    [4, { 'tc.EN_PRI': 1 }, {}],
    [5, { 'tc.EN_ATS': 1, 'tc.PRPR': 1 }, {}],
    [6, { 'tc.EN_ATS': 1, 'tc.T2GPA': 1, 'iohgatp.MODE': 8 }, { T2GPA: 0 }],
    [7, { 'tc.EN_ATS': 1, 'tc.T2GPA': 1 }, {}],
    [8, { 'tc.PDTV': 1, 'fsc.MODE': 3 }, { PD20: 0 }],
    [8, { 'tc.PDTV': 1, 'fsc.MODE': 2 }, { PD17: 0 }],
    [8, { 'tc.PDTV': 1, 'fsc.MODE': 1 }, { PD8: 0 }],
    [8, { 'tc.PDTV': 1, 'fsc.MODE': 4 }, {}],
    [9, { 'fsc.MODE': 1 }, {}],
    [9, { 'fsc.MODE': 11 }, {}],
    [9, { 'fsc.MODE': 10 }, { Sv57: 0 }],
    [9, { 'fsc.MODE': 9, 'tc.SXL': 1 }, {}],
    [9, { 'fsc.MODE': 8, 'tc.SXL': 1 }, { Sv32: 0 }],
    [10, { 'tc.DPE': 1 }, {}],
    [11, { 'iohgatp.MODE': 7 }, {}],
    [11, { 'iohgatp.MODE': 9 }, { Sv48x4: 0 }],
    [12, { 'msiptp.MODE': 2, 'iohgatp.MODE': 8 }, {}],
    [13, { 'iohgatp.MODE': 8, 'iohgatp.PPN': 0x1000n }, {}],
    [14, { 'tc.SADE': 1 }, { AMO_HWAD: 0 }],
    [14, { 'tc.GADE': 1 }, { AMO_HWAD: 0 }],
    [15, { 'tc.SBE': 1 }, { END: 0 }],
    [19, { 'msiptp.MODE': 1 }, {}],
  ] as [number, Dc, Caps][])('report rule %i', (number, dc, caps) => {
    expect(rule(dc, features(caps))).toBe(CONTEXT_RULES[number])
    // The rule is the only thing wrong: with all capabilities, or with the DC of all zeros, it is not broken.
    expect(rule({}, features(caps))).toBe('')
  })

  it('want SXL as fctl.GXL says, and SBE as fctl.BE where it cannot be written', () => {
    expect(rule({ 'tc.SXL': 0 }, features({}, FCTL_GXL))).toBe(CONTEXT_RULES[16])
    expect(rule({ 'tc.SXL': 1 }, features({}, FCTL_GXL))).toBe('')
    expect(rule({ 'tc.SXL': 1 }, features({}, 0, { gxlWritable: false }))).toBe(CONTEXT_RULES[16])
    expect(rule({ 'tc.SXL': 1 }, features({}, 0, { gxlWritable: true }))).toBe('')
    expect(rule({ 'tc.SBE': 1 }, features({}, 0, { beWritable: false }))).toBe(CONTEXT_RULES[17])
    expect(rule({ 'tc.SBE': 0 }, features({}, FCTL_BE, { beWritable: false }))).toBe(CONTEXT_RULES[17])
    expect(rule({ 'tc.SBE': 1 }, features({}, FCTL_BE, { beWritable: false }))).toBe('')
  })

  it('take the second stage by fctl.GXL: Sv32x4 has the number of Sv39x4', () => {
    expect(rule({ 'iohgatp.MODE': 8, 'tc.SXL': 1 }, features({ Sv39x4: 0, Sv48x4: 0, Sv57x4: 0 }, FCTL_GXL))).toBe('')
    expect(rule({ 'iohgatp.MODE': 8, 'tc.SXL': 1 }, features({ Sv32x4: 0 }, FCTL_GXL))).toBe(CONTEXT_RULES[11])
    expect(rule({ 'iohgatp.MODE': 9, 'tc.SXL': 1 }, features({}, FCTL_GXL))).toBe(CONTEXT_RULES[11])
  })

  it('want RCID and MCID as narrow as the IOMMU has them, and zero without QoS identifiers', () => {
    const choices = { qosMask: 0x000f0003 }
    expect(rule({ 'ta.RCID': 3, 'ta.MCID': 15 }, features({}, 0, choices))).toBe('')
    expect(rule({ 'ta.RCID': 4 }, features({}, 0, choices))).toBe(CONTEXT_RULES[18])
    expect(rule({ 'ta.MCID': 16 }, features({}, 0, choices))).toBe(CONTEXT_RULES[18])
    expect(rule({ 'ta.RCID': 1 }, features({ QOSID: 0 }, 0, choices))).toBe(CONTEXT_RULES[18])
  })
})

describe('process-context configuration checks', () => {
  const pc = (values: Parameters<typeof encode<typeof PC.fields>>[1]) => Int32Array.from(encode(PC, { 'ta.V': 1, ...values }))

  it('find reserved bits and modes that are not supported', () => {
    expect(checkPc(pc({ 'fsc.MODE': 9 }), 0, 0, features())).toBe(0)
    expect(checkPc(pc({ 'fsc.MODE': 9 }), 0, 0, features({ Sv48: 0 }))).toBe(9)
    expect(checkPc(pc({ 'fsc.MODE': 9 }), 0, TC_SXL, features())).toBe(9)
    expect(checkPc(pc({ 'fsc.MODE': 8 }), 0, TC_SXL, features())).toBe(0)
    let reserved = 0
    for (let bit = 0; bit < 128; bit++) {
      const words = pc({})
      setBits(words, bit, bit, 1)
      if (checkPc(words, 0, 0, features()) === 1) reserved++
    }
    expect(reserved).toBe(9 + 32 + 16)
  })
})

describe('features', () => {
  it('come out of the capabilities', () => {
    const caps = 0xdf287ae4e10n
    const found = featuresOf(hi32(caps), lo32(caps), 0)
    expect(found.addressBits).toBe(50)
    expect([found.extended, found.ats, found.t2gpa, found.hwad, found.mrif]).toEqual([false, true, true, true, true])
    expect(found.stage1Modes).toEqual([0b11100000001, 1])
    expect(found.stage1[0][8]?.mode).toBe('Sv39')
    expect(found.stage1[1][8]).toBeNull()
    expect(found.pdtModes).toBe(0b1111)
  })

  it('tell which page-number bits MSI patterns have', () => {
    const width = (caps: Caps) => {
      const { msiPageHi, msiPageLo } = features(caps)
      return (BigInt(msiPageHi >>> 0) << 32n) | BigInt(msiPageLo >>> 0)
    }
    expect(width({})).toBe((1n << 47n) - 1n)
    expect(width({ Sv57x4: 0 })).toBe((1n << 38n) - 1n)
    expect(width({ Sv57x4: 0, Sv48x4: 0 })).toBe((1n << 29n) - 1n)
    expect(width({ Sv57x4: 0, Sv48x4: 0, Sv39x4: 0 })).toBe((1n << 22n) - 1n)
    expect(width({ Sv57x4: 0, Sv48x4: 0, Sv39x4: 0, Sv32x4: 0, PAS: 44 })).toBe((1n << 32n) - 1n)
  })
})
