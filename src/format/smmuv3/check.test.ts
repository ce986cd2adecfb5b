import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encode, type Values, wordsFromU64 } from '../../base/layout.ts'
import { CD } from './cd.ts'
import { CD_RULES } from './cd-rules.ts'
import { brokenCdRules, brokenSteRules, checkCd, checkSte } from './check.ts'
import { noStage1, noStage2 } from './context.ts'
import { featuresFromIdr, GENEROUS_IDR, type SmmuFeatures } from './features.ts'
import { STE } from './ste.ts'
import { STE_RULES } from './ste-rules.ts'

type SteValues = Partial<Values<(typeof STE)['fields']>>
type CdValues = Partial<Values<(typeof CD)['fields']>>

const features = featuresFromIdr((name) => GENEROUS_IDR[name as 'IDR0'] ?? 0)

/** Legal, with both stages: CDs of 5 SubstreamID bits, 48-bit stage 2 from level 0 with 4 KiB pages. */
const steBase: SteValues = {
  V: 1,
  Config: 7,
  S1CDMax: 5,
  S1ContextPtr: 0x8000_0000n,
  S2VMID: 7,
  S2T0SZ: 16,
  S2SL0: 2,
  S2PS: 5,
  S2AA64: 1,
  S2R: 1,
  S2TTB: 0x9000_0000n,
}
const cdBase: CdValues = {
  V: 1,
  T0SZ: 16,
  T1SZ: 16,
  TG1: 2,
  IPS: 5,
  AA64: 1,
  R: 1,
  A: 1,
  ASID: 6,
  TTB0: 0x8000_0000n,
  TTB1: 0x9000_0000n,
}
const dontStage2: SteValues = { Config: 5 }

/** What breaks a rule, found by the words it starts with, and the legal entry next to it: one field or feature away. */
interface Case<V> {
  readonly rule: string
  readonly bad: V
  readonly features?: Partial<SmmuFeatures>
  /** What makes the same entry legal again. */
  readonly good?: V
  readonly goodFeatures?: Partial<SmmuFeatures>
}

const steCases: readonly Case<SteValues>[] = [
  { rule: 'STE.V is 0', bad: { V: 0 } },
  { rule: 'STE.Config enables stage 1', bad: {}, features: { s1: false }, good: { Config: 6 } },
  { rule: 'STE.Config enables stage 2', bad: {}, features: { s2: false }, good: { Config: 5 } },
  { rule: 'STE.EATS asks for split-stage ATS, but STE.Config', bad: { Config: 5, EATS: 2 }, good: { Config: 7 } },
  { rule: 'STE.EATS asks for split-stage ATS, and STE.S2S', bad: { EATS: 2, S2S: 1 }, goodFeatures: { ats: false } },
  { rule: 'STE.EATS asks for split-stage ATS, which', bad: { EATS: 2 }, features: { ns1ats: true }, good: { EATS: 1 } },
  { rule: 'STE.EATS asks for full ATS, and STE.S2S', bad: { EATS: 1, S2S: 1 }, good: { Config: 5 } },
  {
    rule: 'STE.EATS asks for ATS with device permission checks, and the stream',
    bad: { Config: 5, EATS: 3, STRW: 2 },
    features: { dpt: true },
    goodFeatures: { dpt: false },
  },
  {
    rule: 'STE.EATS asks for ATS with device permission checks, and STE.S2S',
    bad: { EATS: 3, S2S: 1 },
    features: { dpt: true },
    goodFeatures: { dpt: false },
  },
  { rule: 'STE.STRW is reserved', bad: { Config: 5, STRW: 3 }, good: { Config: 7 } },
  { rule: 'STE.S1STALLD is 1', bad: { S1STALLD: 1 }, features: { stallModel: 1 }, good: { Config: 6 } },
  { rule: 'STE.S1CDMax is larger', bad: { S1CDMax: 5 }, features: { ssidBits: 4 }, good: { S1CDMax: 4 } },
  { rule: 'STE.S1Fmt asks', bad: { S1Fmt: 1 }, features: { cd2l: false }, good: { S1Fmt: 3 } },
  {
    rule: 'STE.S1ContextPtr is beyond',
    bad: { Config: 5, S1ContextPtr: 1n << 36n },
    features: { oas: 36 },
    good: { S1ContextPtr: 1n << 35n },
  },
  { rule: 'STE.S2FWB is 1', bad: { S2FWB: 1, S2AA64: 0, S2T0SZ: 0, S2SL0: 1 }, features: { aarch32: true }, good: { S2FWB: 0 } },
  { rule: 'STE.S2S lets', bad: { S2S: 1 }, features: { stallModel: 1 }, good: { Config: 5 } },
  { rule: 'STE.S2S is 0', bad: {}, features: { stallModel: 2 }, good: { S2S: 1 } },
  {
    rule: 'STE.S2AA64 selects VMSAv8-32',
    bad: { S2AA64: 0, S2T0SZ: 0, S2SL0: 1 },
    goodFeatures: { aarch32: true },
  },
  { rule: 'STE.S2AA64 selects VMSAv8-64', bad: {}, features: { aarch64: false, aarch32: true }, good: { Config: 5 } },
  { rule: 'STE.S2HA or S2HD', bad: { S2HA: 1 }, features: { httu: 0 }, goodFeatures: { httu: 1 } },
  { rule: 'STE.S2HD is 1', bad: { S2HA: 1, S2HD: 1 }, features: { httu: 1 }, goodFeatures: { httu: 2 } },
  { rule: 'STE.S2HAFT is 1', bad: { S2HAFT: 1 }, features: { httu: 3 }, good: { S2HA: 1 } },
  {
    rule: 'STE.S2TG is reserved',
    bad: { S2TG: 2, S2SL0: 2, S2T0SZ: 20 },
    features: { gran16k: false },
    goodFeatures: { gran16k: true },
  },
  { rule: 'STE.S2TTB is beyond', bad: { S2PS: 3, S2TTB: 1n << 42n }, good: { S2PS: 4 } },
  { rule: 'STE.S2T0SZ is out of range', bad: { S2T0SZ: 19 }, features: { oas: 44 }, good: { S2T0SZ: 20 } },
  { rule: 'STE.S2SL0 is not', bad: { S2SL0: 0 }, good: { S2T0SZ: 30 } },
  { rule: 'STE.S2ENDI', bad: { S2ENDI: 1 }, features: { endian: 2 }, good: { S2ENDI: 0 } },
  {
    rule: 'STE.S2PIE',
    bad: { S2PIE: 1, S2AA64: 0, S2T0SZ: 0, S2SL0: 1 },
    features: { s2pi: true, aarch32: true },
    good: { S2PIE: 0 },
  },
  { rule: 'STE.S2POE is 1 without', bad: { S2POE: 1 }, features: { s2po: true }, good: { S2PIE: 1 } },
  {
    rule: 'STE.S2POE is 1 together',
    bad: { S2POE: 1, S2PIE: 1, S2HWU61: 1 },
    features: { s2po: true, pbha: true },
    good: { S2HWU61: 0 },
  },
  {
    rule: 'STE.S2POE is 1, and',
    bad: { S2POE: 1, S2PIE: 1, S2POI: 0x5000n },
    features: { s2po: true },
    good: { S2POI: 0x7000n },
  },
  { rule: 'STE.S2VMID has', bad: { S2VMID: 256 }, features: { vmid16: false }, good: { Config: 5, STRW: 2 } },
  {
    rule: 'STE.VMSPtr is beyond',
    bad: { S1MPAM: 1, VMSPtr: 1n << 52n },
    features: { mpam: true },
    good: { S1MPAM: 0 },
  },
]

/** Each also names the STE through which the CD is reached, where that matters. */
const cdCases: readonly (Case<CdValues> & { readonly ste?: SteValues; readonly goodSte?: SteValues })[] = [
  { rule: 'CD.V is 0', bad: { V: 0 } },
  { rule: 'CD.S lets faults stall, but STE.S1STALLD', bad: { S: 1 }, ste: { S1STALLD: 1 }, goodSte: { S1STALLD: 0 } },
  { rule: 'CD.A is 0', bad: { A: 0 }, features: { abortOnly: true }, good: { A: 1 } },
  { rule: 'CD.S lets faults stall, but this SMMU', bad: { S: 1 }, features: { stallModel: 1 }, good: { S: 0 } },
  { rule: 'CD.S is 0', bad: { S: 0 }, features: { stallModel: 2 }, good: { S: 1 } },
  { rule: 'CD.ENDI', bad: { ENDI: 1 }, features: { endian: 2 }, good: { EPD0: 1, EPD1: 1 } },
  { rule: 'CD.AA64 selects VMSAv8-32', bad: { AA64: 0 }, goodFeatures: { aarch32: true } },
  { rule: 'CD.AA64 selects VMSAv8-64 tables, which', bad: {}, features: { aarch64: false, aarch32: true }, good: { AA64: 0 } },
  {
    rule: 'CD.AA64 selects VMSAv8-64 tables over',
    bad: {},
    ste: { Config: 7, S2AA64: 0 },
    features: { aarch32: true },
    goodSte: { Config: 5, S2AA64: 0 },
  },
  { rule: 'CD.HA or HD is 1', bad: { HA: 1 }, features: { httu: 0 }, goodFeatures: { httu: 1 } },
  { rule: 'CD.HD is 1', bad: { HA: 1, HD: 1 }, features: { httu: 1 }, goodFeatures: { httu: 2 } },
  { rule: 'CD.HAFT', bad: { HAFT: 1 }, features: { httu: 3 }, good: { HA: 1 } },
  { rule: 'CD.ASID', bad: { ASID: 256 }, features: { asid16: false }, goodSte: { STRW: 2 } },
  { rule: 'CD.T0SZ', bad: { T0SZ: 15 }, good: { EPD0: 1 } },
  { rule: 'CD.T1SZ', bad: { T1SZ: 49 }, good: { T1SZ: 48 } },
  { rule: 'CD.TG0', bad: { TG0: 3 }, good: { EPD0: 1 } },
  { rule: 'CD.TG1', bad: { TG1: 3 }, features: { gran64k: false }, good: { EPD1: 1 } },
  { rule: 'CD.TTB0', bad: { IPS: 0, TTB0: 1n << 32n, EPD1: 1 }, good: { IPS: 1 } },
  { rule: 'CD.TTB1', bad: { IPS: 6, TTB1: 1n << 48n }, good: { DS: 1 } },
  {
    rule: 'CD.AA64 selects VMSAv9-128',
    bad: { AA64: 0 },
    features: { d128: true },
    goodSte: { S1PIE: 1 },
  },
  {
    rule: 'CD.PIIP or PIIU',
    bad: { PIE: 1, PIIP: 4n << 6n },
    ste: { S1PIE: 1 },
    features: { s1pi: true },
    good: { PIIP: 5n << 6n },
  },
]

const find = <R extends { readonly rule: string }>(rules: readonly R[], start: string): R => {
  const found = rules.filter((rule) => rule.rule.startsWith(start))
  expect(found.length, start).toBe(1)
  return found[0]!
}

describe('illegal STEs', () => {
  const check = (values: SteValues, given: Partial<SmmuFeatures> = {}) =>
    checkSte(encode(STE, { ...steBase, ...values }), 0, { ...features, ...given })

  it('takes the legal entry, alone and in each configuration', () => {
    for (const Config of [4, 5, 6, 7]) expect(check({ Config })).toBeNull()
  })
  it.each(steCases.map((entry) => [entry.rule, entry] as const))('%s', (_, entry) => {
    const rule = find(STE_RULES, entry.rule)
    expect(check(entry.bad, entry.features)).toBe(rule)
    if (entry.good !== undefined) expect(check({ ...entry.bad, ...entry.good }, entry.features)).toBeNull()
    if (entry.goodFeatures !== undefined) expect(check(entry.bad, { ...entry.features, ...entry.goodFeatures })).toBeNull()
  })
  it('has a case for every rule', () => {
    expect(new Set(steCases.map((entry) => find(STE_RULES, entry.rule))).size).toBe(STE_RULES.length)
  })
  it('asks nothing of an entry that lets nothing pass', () => {
    for (const Config of [0, 1, 2, 3])
      expect(check({ Config, EATS: 2, S2S: 1, S2TG: 3, S1CDMax: 31 }, { s1: false, s2: false })).toBeNull()
  })
  it('ignores what belongs to a stage that is bypassed', () => {
    expect(check({ Config: 5, S2TG: 3, S2T0SZ: 63, S2TTB: 1n << 55n, S2HA: 1 }, { httu: 0 })).toBeNull()
    expect(check({ Config: 6, S1CDMax: 31, S1ContextPtr: 1n << 55n, S1STALLD: 1 }, { stallModel: 1 })).toBeNull()
    expect(check({ Config: 4, S1CDMax: 31, S2TG: 3, EATS: 2 })).toBeNull()
  })
  it('takes S2DS for nothing where the SMMU has no 52-bit addresses with 4 and 16 KiB granules', () => {
    const wide = { Config: 6, S2PS: 6, S2DS: 1, S2TTB: 1n << 48n }
    expect(check(wide)).toBeNull()
    expect(check(wide, { ds: false })?.section).toBe('5.2 S2TTB')
  })
  it('takes intermediate addresses of 40 bits for CDs over an AArch32-capable stage 2', () => {
    const small = { oas: 36, aarch32: true }
    const sizes = { S2T0SZ: 28, S2SL0: 1, S2PS: 1, S1ContextPtr: 1n << 39n }
    expect(check(sizes, small)).toBeNull()
    expect(check(sizes, { oas: 36 })?.section).toBe('5.2 S1ContextPtr, 3.4.3')
  })
  it('knows the sizes of stage 2 by granule and revision', () => {
    const legal = (values: SteValues, given: Partial<SmmuFeatures> = {}) => check({ ...values, Config: 6 }, given) === null
    expect([legal({ S2T0SZ: 12, S2SL0: 0, S2SL0_2: 1, S2DS: 1, S2PS: 6 }), legal({ S2T0SZ: 12, S2SL0: 2, S2PS: 6 })]).toEqual([
      true,
      false,
    ])
    expect([legal({ S2TG: 1, S2T0SZ: 12, S2SL0: 2, S2PS: 6 }), legal({ S2TG: 1, S2T0SZ: 11, S2SL0: 2, S2PS: 6 })]).toEqual([
      true,
      false,
    ])
    // Start level 3 with 4 KiB pages came with small tables.
    expect([legal({ S2T0SZ: 44, S2SL0: 3 }), legal({ S2T0SZ: 44, S2SL0: 3 }, { stt: false })]).toEqual([true, false])
    expect([legal({ S2T0SZ: 39, S2SL0: 0 }, { stt: false }), legal({ S2T0SZ: 40, S2SL0: 3 }, { stt: false })]).toEqual([
      true,
      false,
    ])
    // A start at level 0 needs 44 bits of physical address, at level −1 52.
    expect([legal({ S2T0SZ: 22, S2SL0: 2 }, { oas: 42 }), legal({ S2T0SZ: 22, S2SL0: 1 }, { oas: 42 })]).toEqual([false, true])
    expect(legal({ S2TG: 3 })).toBe(false)
  })
  it('tells all broken rules, but nothing more of an entry that is not valid', () => {
    const words = encode(STE, { ...steBase, S2TG: 3, S2S: 1, EATS: 2 })
    const broken = brokenSteRules(words, 0, { ...features, stallModel: 1 }).map((rule) => rule.section)
    expect(broken).toEqual(['5.2 EATS', '5.5', '5.2 S2TG'])
    expect(brokenSteRules(encode(STE, { S2TG: 3 }), 0, features)).toEqual([STE_RULES[0]])
    expect(brokenSteRules(encode(STE, steBase), 0, features)).toEqual([])
    expect(brokenSteRules(encode(STE, { V: 1, Config: 0, EATS: 2 }), 0, features)).toEqual([])
  })
})

describe('illegal CDs', () => {
  const check = (values: CdValues, ste: SteValues = {}, given: Partial<SmmuFeatures> = {}) =>
    checkCd(encode(CD, { ...cdBase, ...values }), 0, encode(STE, { ...steBase, ...dontStage2, ...ste }), 0, {
      ...features,
      ...given,
    })

  it('takes the legal entry, and one that walks nothing', () => {
    expect(check({})).toBeNull()
    // The entry of a process that has exited: valid, quiet.
    expect(check({ EPD0: 1, EPD1: 1, T0SZ: 0, TG0: 3, TTB0: 0n })).toBeNull()
  })
  it.each(cdCases.map((entry) => [entry.rule, entry] as const))('%s', (_, entry) => {
    const rule = find(CD_RULES, entry.rule)
    expect(check(entry.bad, entry.ste, entry.features)).toBe(rule)
    if (entry.good !== undefined) expect(check({ ...entry.bad, ...entry.good }, entry.ste, entry.features)).toBeNull()
    if (entry.goodSte !== undefined) expect(check(entry.bad, entry.goodSte, entry.features)).toBeNull()
    if (entry.goodFeatures !== undefined)
      expect(check(entry.bad, entry.ste, { ...entry.features, ...entry.goodFeatures })).toBeNull()
  })
  it('has a case for every rule', () => {
    expect(new Set(cdCases.map((entry) => find(CD_RULES, entry.rule))).size).toBe(CD_RULES.length)
  })
  it('has no TTB1 rules for EL2 streams, nor EPD0', () => {
    expect(check({ T1SZ: 0, TG1: 0, TTB1: 1n << 51n }, { STRW: 2 })).toBeNull()
    expect(check({ EPD0: 1, TG0: 3 }, { STRW: 2 })?.section).toBe('5.4 TG0')
    expect(check({ AA64: 0 }, { STRW: 2 }, { aarch32: true, e2h: true })?.section).toBe('5.4 AA64')
  })
  it('knows the virtual address sizes by granule', () => {
    const legal = (values: CdValues, given: Partial<SmmuFeatures> = {}) => check(values, {}, given) === null
    expect([legal({ TG0: 1, T0SZ: 12 }), legal({ TG0: 1, T0SZ: 11 }), legal({ TG0: 1, T0SZ: 12 }, { vaBits: 48 })]).toEqual([
      true,
      false,
      false,
    ])
    expect([legal({ T0SZ: 12 }), legal({ T0SZ: 12, DS: 1 }), legal({ T0SZ: 12, DS: 1 }, { ds: false })]).toEqual([
      false,
      true,
      false,
    ])
    expect([legal({ T0SZ: 40 }), legal({ T0SZ: 40 }, { stt: false }), legal({ TG0: 1, T0SZ: 48 })]).toEqual([true, false, false])
  })
  it('takes DS for nothing where the SMMU has no 52-bit addresses with 4 and 16 KiB granules', () => {
    expect(check({ IPS: 6, TTB1: 1n << 48n, DS: 1 })).toBeNull()
    expect(check({ IPS: 6, TTB1: 1n << 48n, DS: 1 }, {}, { ds: false })?.section).toBe('5.4 TTB1')
  })
  it('lets nothing execute at EL1 that EL0 can write, with permission indirection', () => {
    const both = { PIE: 1, PIIP: 2n, PIIU: 5n }
    expect(check(both, { S1PIE: 1 }, { s1pi: true })?.section).toBe('5.4 PIIP')
    expect(check(both, { S1PIE: 0 }, { s1pi: true })).toBeNull()
    expect(check(both, { S1PIE: 1, STRW: 2 }, { s1pi: true })).toBeNull()
  })
  it('tells all broken rules, but nothing more of an entry that is not valid', () => {
    const ste = encode(STE, { ...steBase, ...dontStage2 })
    const broken = brokenCdRules(encode(CD, { ...cdBase, S: 1, TG0: 3, T1SZ: 0 }), 0, ste, 0, { ...features, stallModel: 1 })
    expect(broken.map((rule) => rule.section)).toEqual(['5.5', '5.4 T0SZ', '5.4 TG0'])
    expect(brokenCdRules(encode(CD, { TG0: 3 }), 0, ste, 0, features)).toEqual([CD_RULES[0]])
    expect(brokenCdRules(encode(CD, cdBase), 0, ste, 0, features)).toEqual([])
  })
})

describe('legal entries', () => {
  it('are those that Linux writes', () => {
    const real = featuresFromIdr(
      (name) => ({ IDR0: 0x0d4c_101b, IDR1: 0x0273_0410, IDR3: 0x1414, IDR5: 0x74, AIDR: 1 })[name] ?? 0,
    )
    const ste = wordsFromU64([0x000000004491500bn, 0xd6n, 0n, 0n, 0n, 0n, 0n, 0n])
    const cd = wordsFromU64([0x0006e204c0003510n, 0x44914000n, 0n, 0xfffffffff404ff44n, 0n, 0n, 0n, 0n])
    expect([checkSte(ste, 0, real), checkCd(cd, 0, ste, 0, real)]).toEqual([null, null])
  })
  it('have the spaces that they ask for', () => {
    const dwords = fc.array(fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }), { minLength: 8, maxLength: 8 })
    let legal = 0
    fc.assert(
      fc.property(dwords, dwords, fc.nat(48), fc.nat(2), (cdRandom, steRandom, size, granule) => {
        // Random entries are nearly always illegal: make the sizes likely, the rest random.
        const cd = wordsFromU64([...cdRandom])
        const ste = wordsFromU64([...steRandom])
        const likely = encode(CD, { V: 1, AA64: 1, T0SZ: size, T1SZ: size, TG0: granule, TG1: granule + 1 })
        cd[0] = (cd[0]! & 0x0000_c000) | likely[0]!
        cd[1] = (cd[1]! & ~1) | likely[1]!
        for (const index of [3, 5]) cd[index] = cd[index]! & 0xffff
        ste[0] = encode(STE, { V: 1, Config: 7 })[0]!
        ste[1] = 0
        ste[2] = 0
        ste[5] = encode(STE, { S2T0SZ: size, S2TG: granule, S2SL0: size & 3, S2AA64: 1, S2PS: 6 })[5]!
        ste[7] = ste[7]! & 0xf
        if (checkSte(ste, 0, features) !== null) return
        expect(noStage2(ste, 0, features)).toBeNull()
        if (checkCd(cd, 0, ste, 0, features) !== null) return
        legal++
        for (const half of [0, 1] as const) {
          const why = noStage1(cd, 0, ste, 0, features, half)
          if (why !== null) expect(why).toContain('EPD')
        }
      }),
      { numRuns: 3000 },
    )
    expect(legal).toBeGreaterThan(50)
  })
})
