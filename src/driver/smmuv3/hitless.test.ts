import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encode, type Layout, setField, type Values } from '../../base/layout.ts'
import { CD } from '../../format/smmuv3/cd.ts'
import { STE } from '../../format/smmuv3/ste.ts'
import { type EntryKind, planUpdate } from '../common/hitless.ts'
import { CD_ENTRY, STE_ENTRY } from './used-bits.ts'

type SteValues = Partial<Values<typeof STE.fields>>
type CdValues = Partial<Values<typeof CD.fields>>

const ste = (values: SteValues) => encode(STE, { V: 1, ...values })
const abort = ste({ Config: 0b000 })
const bypass = ste({ Config: 0b100, SHCFG: 1 })
/** As a driver writes it on an SMMU that can override attributes: SHCFG counts only where stage 1 is bypassed. */
const cdTable = (s1dss: number, other: SteValues = {}) =>
  ste({
    Config: 0b101,
    S1Fmt: 2,
    S1ContextPtr: 0xf0f0_f0f0_f000n,
    S1CDMax: 8,
    S1DSS: s1dss,
    S1CIR: 1,
    S1COR: 1,
    S1CSH: 3,
    S1STALLD: 1,
    EATS: 1,
    ...(s1dss === 1 ? { SHCFG: 1 } : {}),
    ...other,
  })
const stage2 = (other: SteValues = {}) =>
  ste({
    Config: 0b110,
    EATS: 1,
    SHCFG: 1,
    S2T0SZ: 4,
    S2SL0: 3,
    S2IR0: 2,
    S2OR0: 1,
    S2SH0: 3,
    S2TG: 2,
    S2PS: 1,
    S2AA64: 1,
    S2PTW: 1,
    S2R: 1,
    S2TTB: 0xbeef_dead_bee0n,
    ...other,
  })
const STALLS: SteValues = { S1STALLD: 0, EATS: 0 }

const common: CdValues = { V: 1, EPD1: 1, IPS: 1, AA64: 1, R: 1, A: 1, MAIR0: 0x12345678, MAIR1: 0xabcdef0 }
const cd = (asid: number, other: CdValues = {}) =>
  encode(CD, { ...common, T0SZ: 4, TG0: 2, IR0: 2, OR0: 1, SH0: 3, ASET: 1, ASID: asid, TTB0: 0xbeef_dead_bee0n, ...other })
const quiet = (asid: number) => encode(CD, { ...common, EPD0: 1, ASID: asid })
const none = new Uint32Array(16)

/** Applies a plan, and says what the entry is after each store. */
function apply(current: Uint32Array, target: Uint32Array, kind: EntryKind) {
  const plan = planUpdate(current, target, kind)
  const entry = current.slice()
  for (const step of plan.steps) for (const { at, words } of step) entry.set(words, at)
  expect([...entry]).toEqual([...target])
  return { syncs: plan.steps.length, hitless: plan.hitless }
}

const transitions: [string, Uint32Array, Uint32Array, EntryKind, number, boolean][] = [
  ['bypass ↔ abort', bypass, abort, STE_ENTRY, 2, true],
  ['CD table ↔ abort', cdTable(2), abort, STE_ENTRY, 2, true],
  ['CD table ↔ bypass', cdTable(2), bypass, STE_ENTRY, 3, true],
  ['CD table with S1DSS bypass ↔ bypass', cdTable(1), bypass, STE_ENTRY, 2, true],
  ['S1DSS alone', cdTable(2), cdTable(1), STE_ENTRY, 1, true],
  ['stage 2 ↔ abort', stage2(), abort, STE_ENTRY, 2, true],
  ['stage 2 ↔ bypass', stage2(), bypass, STE_ENTRY, 2, true],
  ['CD table ↔ stage 2', cdTable(2), stage2(), STE_ENTRY, 3, true],
  ['CD table ↔ stage 2, both stalling', cdTable(2, STALLS), stage2({ EATS: 0, S2S: 1 }), STE_ENTRY, 3, true],
  ['CD table pointer and S1DSS together', cdTable(2), cdTable(1, { S1ContextPtr: 0x4b_4b4b_4b40n }), STE_ENTRY, 3, false],
  ['ASID of a CD', cd(778), cd(1997), CD_ENTRY, 1, true],
  ['a process exits: its CD goes quiet', cd(1997, { ASET: 0 }), quiet(1997), CD_ENTRY, 2, true],
  ['a stalling CD goes quiet', cd(1997, { ASET: 0, S: 1 }), quiet(1997), CD_ENTRY, 2, true],
  ['a CD is written or cleared', none, cd(1997), CD_ENTRY, 2, false],
]

describe('hitless updates', () => {
  for (const [name, from, to, kind, syncs, hitless] of transitions) {
    it(`${name}: ${syncs} sync${syncs === 1 ? '' : 's'}, ${hitless ? 'hitless' : 'not hitless'}`, () => {
      expect(apply(from, to, kind)).toEqual({ syncs, hitless })
      expect(apply(to, from, kind)).toEqual({ syncs, hitless })
    })
  }
  it('does nothing for an entry that is as wanted', () => {
    expect(planUpdate(cdTable(2), cdTable(2), STE_ENTRY)).toEqual({ hitless: true, steps: [] })
  })
  it('clears bits that nobody uses with one sync', () => {
    const dirty = abort.slice()
    setField(dirty, STE.fields.S2VMID, 7)
    expect(apply(dirty, abort, STE_ENTRY)).toEqual({ syncs: 1, hitless: true })
  })
  it('refuses a new entry with bits that it does not use', () => {
    expect(() => planUpdate(abort, encode(STE, { V: 1, Config: 0, S2VMID: 7 }), STE_ENTRY)).toThrow(
      'word 4 of the new entry is 0x7, of which it uses only 0x0',
    )
  })
  it('needs V=0 for a stage 2 with another VMID: both tag what they cache with it', () => {
    expect(apply(cdTable(2), stage2({ S2VMID: 5 }), STE_ENTRY)).toEqual({ syncs: 3, hitless: false })
  })
})

/** Random entries with few distinct values per field, so that pairs share some words, and of every configuration. */
function entries(
  layout: Layout,
  valid: number,
  choices: Record<string, readonly (number | bigint)[]>,
): fc.Arbitrary<Uint32Array> {
  const fields = Object.entries(choices).map(([name, values]) =>
    fc.constantFrom(...values).map((value) => [name, value] as const),
  )
  return fc.tuple(...fields).map((values) => encode(layout, { V: valid, ...Object.fromEntries(values) } as never))
}
const used = (entry: Uint32Array, kind: EntryKind) => {
  const mask = kind.used(entry)
  return entry.map((word, index) => word & mask[index]!)
}
const randomSte = fc
  .oneof(
    entries(STE, 1, {
      Config: [0, 4, 5, 6, 7],
      S1DSS: [0, 1, 2],
      S1ContextPtr: [0x1000n, 0x2000n],
      S1CDMax: [0, 8],
      S1STALLD: [0, 1],
      EATS: [0, 1],
      STRW: [0, 2],
      SHCFG: [0, 1],
      S2VMID: [0, 3],
      S2T0SZ: [16, 24],
      S2TTB: [0x3000n, 0x4000n],
      S2S: [0, 1],
    }),
    fc.constant(none),
  )
  .map((entry) => used(entry, STE_ENTRY))
const randomCd = fc
  .oneof(
    entries(CD, 1, {
      T0SZ: [16, 25],
      EPD0: [0, 1],
      EPD1: [0, 1],
      T1SZ: [0, 16],
      S: [0, 1],
      ASID: [1, 2],
      TTB0: [0x1000n, 0x2000n],
      TTB1: [0n, 0x5000n],
      MAIR0: [0xff, 0x4404],
    }),
    fc.constant(none),
  )
  .map((entry) => used(entry, CD_ENTRY))

const noise = fc.uint32Array({ minLength: 16, maxLength: 16 })

for (const [name, kind, arbitrary] of [
  ['STE', STE_ENTRY, randomSte],
  ['CD', CD_ENTRY, randomCd],
] as const) {
  describe(`random ${name} updates`, () => {
    it('let the hardware see the old entry or the new one, or in the disruptive way none, however it tears its reads between two syncs', () => {
      const kinds = new Set<string>()
      fc.assert(
        fc.property(arbitrary, arbitrary, noise, (from, to, rubbish) => {
          // What the old entry ignores may hold anything.
          const mask = kind.used(from)
          const entry = from.map((word, index) => (word & mask[index]!) | (rubbish[index]! & ~mask[index]!))
          const plan = planUpdate(entry, to, kind)
          kinds.add(`${plan.hitless} ${plan.steps.length}`)
          const allowed = new Set([used(from, kind).join(), used(to, kind).join()])
          if (!plan.hitless) allowed.add(none.join())
          for (const step of plan.steps) {
            // Every mix of words that were stored and words that were not: stores are seen in any order, reads are torn.
            for (let seen = 0; seen < 1 << step.length; seen++) {
              const mix = entry.slice()
              step.forEach(({ at, words }, index) => {
                if (((seen >>> index) & 1) === 1) mix.set(words, at)
              })
              if (!allowed.has(used(mix, kind).join())) expect([...allowed]).toContain(used(mix, kind).join())
            }
            for (const { at, words } of step) entry.set(words, at)
          }
          expect(entry.join()).toBe(to.join())
        }),
        { numRuns: 3000 },
      )
      // The property says something only if it met each way of updating.
      expect(kinds.size).toBeGreaterThanOrEqual(5)
    })
    it('are disruptive only where two words that count must change', () => {
      fc.assert(
        fc.property(arbitrary, arbitrary, (from, to) => {
          const plan = planUpdate(from, to, kind)
          if (plan.hitless || from.join() === none.join() || to.join() === none.join()) return
          const both = kind.used(from).map((word, index) => word & kind.used(to)[index]!)
          const words = new Set<number>()
          both.forEach((mask, index) => {
            if (((from[index]! ^ to[index]!) & mask) !== 0) words.add(index >> 1)
          })
          expect(words.size).toBeGreaterThanOrEqual(2)
        }),
        { numRuns: 1000 },
      )
    })
    it('depend on no bit that does not count', () => {
      fc.assert(
        fc.property(arbitrary, noise, (entry, rubbish) => {
          const mask = kind.used(entry)
          const dirty = entry.map((word, index) => (word & mask[index]!) | (rubbish[index]! & ~mask[index]!))
          expect(kind.used(dirty).join()).toBe(mask.join())
        }),
        { numRuns: 500 },
      )
    })
  })
}
