import { describe, expect, it } from 'vitest'
import { encode, type Fields, type Layout, setBits, type Values } from '../../base/layout.ts'
import {
  checkContext,
  checkIrte,
  checkPasid,
  checkPasidDir,
  checkRoot,
  checkSmContext,
  checkSmRoot,
  ENTRY_RULES,
} from './check.ts'
import { CONTEXT_ENTRY, SM_CONTEXT_ENTRY } from './contexts.ts'
import { featuresOf } from './features.ts'
import { IRTE_POSTED, IRTE_REMAPPED } from './irte.ts'
import { PASID_DIR_ENTRY, PASID_ENTRY } from './pasid.ts'
import { CAP, ECAP, FULL_CAP, FULL_ECAP } from './registers.ts'
import { ROOT_ENTRY, SM_ROOT_ENTRY } from './root.ts'

/** Everything, but what is taken away. */
function features(
  cap: readonly (keyof typeof CAP.fields)[] = [],
  ecap: readonly (keyof typeof ECAP.fields)[] = [],
  hostAddressBits = 52,
) {
  const without = (all: bigint, fields: Fields, names: readonly string[]) =>
    names.reduce((rest, name) => {
      const { msb, lsb } = fields[name]!
      return rest & ~(((1n << BigInt(msb - lsb + 1)) - 1n) << BigInt(lsb))
    }, all)
  return featuresOf(without(FULL_CAP, CAP.fields, cap), without(FULL_ECAP, ECAP.fields, ecap), { hostAddressBits })
}

const full = features()
const of = <F extends Fields>(layout: Layout<F>, values: Partial<Values<F>>) => Int32Array.from(encode(layout, values))

type Check = (words: Int32Array, at: number, given: typeof full) => number
/** Bits of a legal entry that, set alone, are refused as reserved. */
function reservedBits(entry: Int32Array, check: Check, given = full): number[] {
  const bits: number[] = []
  for (let bit = 0; bit < entry.length * 32; bit++) {
    const changed = entry.slice()
    setBits(changed, bit, bit, 1)
    if (check(changed, 0, given) === 1) bits.push(bit)
  }
  return bits
}
const range = (msb: number, lsb: number) => Array.from({ length: msb - lsb + 1 }, (_, at) => lsb + at)

describe('reserved bits', () => {
  it('of root entries are those of no field, and address bits above the host width', () => {
    expect(reservedBits(of(ROOT_ENTRY, { P: 1 }), checkRoot)).toEqual([...range(11, 1), ...range(63, 52), ...range(127, 64)])
    const narrow = features([], [], 39)
    expect(reservedBits(of(ROOT_ENTRY, { P: 1 }), checkRoot, narrow)).toEqual([
      ...range(11, 1),
      ...range(63, 39),
      ...range(127, 64),
    ])
    expect(reservedBits(of(SM_ROOT_ENTRY, { LP: 1 }).slice(0, 2), checkSmRoot)).toEqual([...range(11, 1), ...range(63, 52)])
  })

  it('of context entries', () => {
    const entry = of(CONTEXT_ENTRY, { P: 1, AW: 2 })
    expect(reservedBits(entry, checkContext)).toEqual([...range(11, 4), ...range(63, 52), 71, ...range(127, 88)])
    // Fewer domains: the upper bits of DID are not there. SSPTPTR does not count in pass-through.
    expect(reservedBits(of(CONTEXT_ENTRY, { P: 1, AW: 2, TT: 2 }), checkContext, features(['ND']))).toEqual([
      ...range(11, 4),
      71,
      ...range(127, 76),
    ])
  })

  it('of scalable-mode context entries are more where the IOMMU has less', () => {
    const entry = of(SM_CONTEXT_ENTRY, { P: 1, DTE: 1 })
    const always = [...range(8, 5), ...range(63, 52)]
    expect(reservedBits(entry, checkSmContext)).toEqual([...always, ...range(255, 85)])
    const bare = features([], ['PASID', 'PRS', 'RPS', 'RPRIVS'])
    expect(reservedBits(entry, checkSmContext, bare)).toEqual([3, 4, ...always, ...range(255, 64)])
    expect(checkSmContext(entry, 0, features([], ['DT']))).toBe(1)
  })

  it('of PASID directory and table entries', () => {
    expect(reservedBits(of(PASID_DIR_ENTRY, { P: 1 }), checkPasidDir)).toEqual([...range(11, 2), ...range(63, 52)])
    const entry = of(PASID_ENTRY, { P: 1, PGTT: 1 })
    const always = [10, 11, ...range(63, 52), ...range(86, 80)]
    const above = [...range(139, 136), ...range(191, 180), ...range(511, 192)]
    expect(reservedBits(entry, checkPasid)).toEqual([...always, ...above])
    const bare = features([], ['ERS', 'MTS', 'SSADS', 'SMPWCS', 'SC', 'SRS', 'EAFS'])
    expect(reservedBits(entry, checkPasid, bare)).toEqual([
      ...[5, 9, 10, 11],
      ...range(63, 52),
      ...range(129, 80),
      ...[133, 134, 135],
      ...above,
    ])
  })

  it('of interrupt remapping table entries, by form and by extended mode', () => {
    const remapped = of(IRTE_REMAPPED, { P: 1 })
    const posted = of(IRTE_POSTED, { P: 1, IM: 1 })
    const wide: Check = (words, at, given) => checkIrte(words, at, given, true)
    const short: Check = (words, at, given) => checkIrte(words, at, given, false)
    const top = range(127, 84)
    expect(reservedBits(remapped, wide).filter((bit) => bit !== 15)).toEqual([12, 13, 14, ...range(31, 24), ...top])
    expect(reservedBits(remapped, short).filter((bit) => bit !== 15)).toEqual([
      ...[12, 13, 14, ...range(39, 24), ...range(63, 48)],
      ...top,
    ])
    expect(reservedBits(posted, wide)).toEqual([...range(7, 2), 12, 13, ...range(37, 24), ...range(95, 84)])
  })
})

describe('rules', () => {
  const context = (values: Partial<Values<typeof CONTEXT_ENTRY.fields>>, given = full) =>
    ENTRY_RULES[checkContext(of(CONTEXT_ENTRY, { P: 1, AW: 2, ...values }), 0, given)]

  it('of context entries, each broken by itself', () => {
    for (const TT of [0, 1, 2]) expect(context({ TT })).toBe('')
    for (const AW of [1, 2, 3]) expect(context({ AW })).toBe('')
    expect(context({ TT: 3 })).toBe('TT is reserved')
    expect(context({ TT: 1 }, features([], ['DT']))).toBe('TT asks for a device-TLB, and ECAP.DT is 0')
    expect(context({ TT: 2 }, features([], ['PT']))).toBe('TT is pass-through, and ECAP.PT is 0')
    for (const AW of [0, 4, 7]) expect(context({ AW })).toBe('AW is not a width that CAP.SAGAW has')
    expect(context({ AW: 2 }, features(['SAGAW']))).toBe('AW is not a width that CAP.SAGAW has')
  })

  it('of scalable-mode context entries, each broken by itself', () => {
    const rule = (values: Partial<Values<typeof SM_CONTEXT_ENTRY.fields>>) =>
      ENTRY_RULES[checkSmContext(of(SM_CONTEXT_ENTRY, { P: 1, ...values }), 0, full)]
    expect(rule({ DTE: 1, PRE: 1, PASIDE: 1, PDTS: 7, RID_PASID: 0xfffff })).toBe('')
    expect(rule({ RID_PASID: 0x1fff })).toBe('')
    expect(rule({ RID_PASID: 0x2000 })).toBe('RID_PASID is beyond the PASID directory (PDTS)')
    expect(rule({ PRE: 1 })).toBe('PRE is 1, and DTE is 0')
  })

  const pasid = (values: Partial<Values<typeof PASID_ENTRY.fields>>, given = full) =>
    ENTRY_RULES[checkPasid(of(PASID_ENTRY, { P: 1, AW: 2, ...values }), 0, given)]

  it('of PASID table entries pass each kind', () => {
    for (const PGTT of [1, 2, 3, 4]) expect(pasid({ PGTT })).toBe('')
    // What the translation does not use does not count.
    expect(pasid({ PGTT: 1, AW: 7 })).toBe('')
    expect(pasid({ PGTT: 2, FSPM: 3 })).toBe('')
  })

  it.each([
    [{ PGTT: 0 }, [], [], 'PGTT is reserved'],
    [{ PGTT: 5 }, [], [], 'PGTT is reserved'],
    [{ PGTT: 7 }, [], [], 'PGTT is reserved'],
    [{ PGTT: 1 }, [], ['FSTS'], 'PGTT asks for a first stage, and ECAP.FSTS is 0'],
    [{ PGTT: 3 }, [], ['FSTS'], 'PGTT asks for a first stage, and ECAP.FSTS is 0'],
    [{ PGTT: 2 }, [], ['SSTS'], 'PGTT asks for a second stage, and ECAP.SSTS is 0'],
    [{ PGTT: 3 }, [], ['SSTS'], 'PGTT asks for a second stage, and ECAP.SSTS is 0'],
    [{ PGTT: 3 }, [], ['NEST'], 'PGTT is nested, and ECAP.NEST is 0'],
    [{ PGTT: 4 }, [], ['PT'], 'PGTT is pass-through, and ECAP.PT is 0'],
    [{ PGTT: 1, FSPM: 2 }, [], [], 'FSPM is reserved'],
    [{ PGTT: 1, FSPM: 1 }, ['FS5LP'], [], 'FSPM asks for 5 levels, and CAP.FS5LP is 0'],
    [{ PGTT: 2, AW: 0 }, [], [], 'AW is not a width that CAP.SAGAW has'],
    [{ PGTT: 3, AW: 4 }, [], [], 'AW is not a width that CAP.SAGAW has'],
    [{ PGTT: 4, AW: 5 }, [], [], 'AW is not a width that CAP.SAGAW has'],
    [{ PGTT: 2, AW: 2 }, ['SAGAW'], [], 'AW is not a width that CAP.SAGAW has'],
    [{ PGTT: 3, AW: 1, FSPTPTR: 1n << 39n }, [], [], 'nested, and FSPTPTR is wider than the second stage (AW, CAP.MGAW)'],
  ] as const)('of PASID table entries, each broken by itself: %o', (values, cap, ecap, text) => {
    expect(pasid(values, features(cap, ecap))).toBe(text)
  })

  it('of interrupt remapping table entries, each broken by itself', () => {
    const rule = (values: Partial<Values<typeof IRTE_REMAPPED.fields>>, given = full) =>
      ENTRY_RULES[checkIrte(of(IRTE_REMAPPED, { P: 1, ...values }), 0, given, true)]
    for (const DLM of [0, 1, 2, 4, 5, 7]) expect(rule({ DLM })).toBe('')
    for (const DLM of [3, 6]) expect(rule({ DLM })).toBe('DLM is reserved')
    for (const SVT of [0, 1, 2]) expect(rule({ SVT })).toBe('')
    expect(rule({ SVT: 3 })).toBe('SVT is reserved')
    expect(rule({ IM: 1 })).toBe('')
    expect(rule({ IM: 1 }, features(['PI']))).toBe('the entry is posted (IM), and CAP.PI is 0')
  })
})
