import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encode, type Values, wordsFromU64 } from '../../base/layout.ts'
import { PR, PW, PX, UR, UW, UX } from '../../base/types.ts'
import { PhysicalMemory } from '../../memory/physical.ts'
import { inputInRange } from '../pt/entry.ts'
import { AD_FAULT, AD_IGNORE, AD_SET, NO_FIX, TOP_ONES, TOP_ZERO, tableLog2 } from '../pt/format.ts'
import { Walker } from '../pt/walker.ts'
import { CD } from './cd.ts'
import { noStage1, noStage2, stage1Space, stage2Space, streamWorld, unprivilegedBlocked } from './context.ts'
import { featuresFromIdr, GENEROUS_IDR } from './features.ts'
import { STE } from './ste.ts'

const features = featuresFromIdr((name) => GENEROUS_IDR[name as 'IDR0'] ?? 0)
type CdValues = Partial<Values<(typeof CD)['fields']>>
type SteValues = Partial<Values<(typeof STE)['fields']>>
const cdOf = (values: CdValues) =>
  encode(CD, { V: 1, AA64: 1, T0SZ: 16, T1SZ: 16, TG1: 2, IPS: 5, TTB0: 0x8000_0000n, TTB1: 0x9000_0000n, ...values })
const steOf = (values: SteValues) =>
  encode(STE, { V: 1, Config: 6, S2AA64: 1, S2T0SZ: 24, S2SL0: 1, S2PS: 5, S2TTB: 0x8000_0000n, ...values })
const s1ste = encode(STE, { V: 1, Config: 5 })
const s1 = (values: CdValues, half: 0 | 1 = 0, ste = s1ste, given = features) => stage1Space(cdOf(values), 0, ste, 0, given, half)
const s2 = (values: SteValues, given = features) => stage2Space(steOf(values), 0, given)

describe('stage 1 of a CD', () => {
  // DDI 0487 D8.2: initial lookup levels. TG0: 0 is 4 KiB, 2 is 16 KiB, 1 is 64 KiB; depth is 3 − level.
  it.each([
    [0, 16, 3],
    [0, 25, 2],
    [0, 33, 2],
    [0, 34, 1],
    [0, 39, 1],
    [0, 43, 0],
    [0, 48, 0],
    [2, 16, 3],
    [2, 17, 2],
    [2, 28, 1],
    [2, 39, 0],
    [1, 16, 2],
    [1, 12, 2],
    [1, 21, 2],
    [1, 22, 1],
    [1, 34, 1],
    [1, 35, 0],
  ])('with TG0 %i and T0SZ %i starts at depth %i', (TG0, T0SZ, depth) => {
    expect(s1({ TG0, T0SZ })).toMatchObject({ topDepth: depth, inputBits: 64 - T0SZ })
  })
  it('with 52 bits and DS starts a level earlier', () => {
    expect(s1({ TG0: 0, T0SZ: 12, DS: 1, IPS: 6 })).toMatchObject({ topDepth: 4, inputBits: 52 })
    expect(s1({ TG0: 2, T0SZ: 12, DS: 1, IPS: 6 })).toMatchObject({ topDepth: 3, inputBits: 52 })
  })
  it('takes each half with its own granule, root, size and top bits', () => {
    const values = { T0SZ: 25, T1SZ: 22, TG0: 0, TG1: 3, TBI1: 1 }
    expect(s1(values, 0)).toMatchObject({
      root: 0x8000_0000,
      inputBits: 39,
      top: TOP_ZERO,
      ignoreTopByte: false,
      format: { granuleLog2: 12 },
    })
    expect(s1(values, 1)).toMatchObject({
      root: 0x9000_0000,
      inputBits: 42,
      top: TOP_ONES,
      ignoreTopByte: true,
      format: { granuleLog2: 16 },
    })
    expect(s1({ TG1: 1 }, 1)?.format.granuleLog2).toBe(14)
  })
  it('limits outputs to IPS, and to what the SMMU has', () => {
    const limit = (IPS: number, oas: number) => Math.log2(s1({ IPS }, 0, s1ste, { ...features, oas })!.outputLimit)
    expect([0, 1, 2, 3, 4, 5, 6].map((IPS) => limit(IPS, 52))).toEqual([32, 36, 40, 42, 44, 48, 52])
    expect([limit(5, 44), limit(7, 52)]).toEqual([44, 52])
  })
  it('holds 52-bit outputs in its entries with 64 KiB, and with DS otherwise', () => {
    const wide = (values: CdValues, given = features) =>
      s1({ ...values, IPS: 6 }, 0, s1ste, given)!.format.name.includes('52-bit')
    expect([wide({ TG0: 1 }), wide({ TG0: 0 }), wide({ TG0: 0, DS: 1 }), wide({ TG0: 2, DS: 1 })]).toEqual([
      true,
      false,
      true,
      true,
    ])
    expect([wide({ TG0: 1 }, { ...features, oas: 48 }), wide({ TG0: 0, DS: 1 }, { ...features, ds: false })]).toEqual([
      false,
      false,
    ])
  })
  it('aligns the root to the size of its table', () => {
    expect(s1({ T0SZ: 16, TTB0: 0x8000_0ff0n })?.root).toBe(0x8000_0000)
    // 26 bits of 4 KiB: 32 entries of the table above pages. 31 bits: two entries, but 64 bytes at least with 52-bit outputs.
    expect(s1({ T0SZ: 38, TTB0: 0x8000_0ff0n })?.root).toBe(0x8000_0f00)
    expect(s1({ T0SZ: 33, TTB0: 0x8000_0ff0n })?.root).toBe(0x8000_0ff0)
    expect(s1({ T0SZ: 33, TTB0: 0x8000_0ff0n, IPS: 6 })?.root).toBe(0x8000_0fc0)
  })
  it('has no space where walks are off, and says why', () => {
    const why = (values: CdValues, half: 0 | 1, ste = s1ste) => noStage1(cdOf(values), 0, ste, 0, features, half)
    expect(s1({ EPD0: 1 })).toBeNull()
    expect(why({ EPD0: 1 }, 0)).toContain('EPD0')
    expect(why({ EPD1: 1 }, 1)).toContain('EPD1')
    expect(why({}, 0)).toBeNull()
    expect(why({ AA64: 0 }, 0)).toContain('LPAE')
    expect(why({ TG0: 3 }, 0)).toContain('TG0 is reserved')
    expect(why({ TG1: 0 }, 1)).toContain('TG1 is reserved')
    expect(why({ T0SZ: 60 }, 0)).toContain('T0SZ')
    const el2 = encode(STE, { V: 1, Config: 5, STRW: 2 })
    expect(why({}, 1, el2)).toContain('no TTB1')
    // EL2 cannot switch its only table off.
    expect(why({ EPD0: 1 }, 0, el2)).toBeNull()
  })
  it('follows HA, HD and AFFD as far as the SMMU updates tables', () => {
    const ad = (values: CdValues, httu = 2) => {
      const space = s1(values, 0, s1ste, { ...features, httu })!
      return [space.accessed, space.dirty]
    }
    expect(ad({})).toEqual([AD_FAULT, AD_IGNORE])
    expect(ad({ AFFD: 1 })).toEqual([AD_IGNORE, AD_IGNORE])
    expect(ad({ HA: 1, AFFD: 1 })).toEqual([AD_SET, AD_IGNORE])
    expect(ad({ HA: 1, HD: 1 })).toEqual([AD_SET, AD_SET])
    expect(ad({ HD: 1 })).toEqual([AD_FAULT, AD_IGNORE])
    expect(ad({ HA: 1, HD: 1 }, 1)).toEqual([AD_SET, AD_IGNORE])
    expect(ad({ HA: 1, HD: 1 }, 0)).toEqual([AD_FAULT, AD_IGNORE])
  })
  it('lets HAD switch rights of table entries off, where the SMMU has it', () => {
    expect(s1({ HAD0: 1 })?.hierarchical).toBe(false)
    expect(s1({ HAD0: 1 }, 1)?.hierarchical).toBe(true)
    expect(s1({ HAD1: 1 }, 1)?.hierarchical).toBe(false)
    expect(s1({ HAD0: 1 }, 0, s1ste, { ...features, had: false })?.hierarchical).toBe(true)
  })
  it('reads big-endian tables where ENDI says so', () => {
    expect(s1({ ENDI: 1 })?.bigEndian).toBe(true)
    expect(s1({ ENDI: 1 }, 0, s1ste, { ...features, endian: 2 })?.bigEndian).toBe(false)
    expect(s1({ ENDI: 0 }, 0, s1ste, { ...features, endian: 3 })?.bigEndian).toBe(true)
  })
  it('takes execution from what is writable with WXN, by privilege', () => {
    const { fix } = s1({ WXN: 1 })!
    expect(fix[UR | UW | UX | PR | PW | PX]).toBe(UR | UW | PR | PW)
    expect(fix[UR | UX | PR | PW | PX]).toBe(UR | UX | PR | PW)
    expect(fix[UR | UX | PR | PX]).toBe(UR | UX | PR | PX)
  })
  it('keeps privileged accesses out of unprivileged pages with PAN, and with EPAN of executable ones', () => {
    const { fix } = s1({ PAN: 1 })!
    expect(fix[UR | PR]).toBe(UR)
    expect(fix[UR | UW | PR | PW | UX]).toBe(UR | UW | UX)
    expect(fix[UX | PR | PW]).toBe(UX | PR | PW)
    expect(fix[PR | PW | PX]).toBe(PR | PW | PX)
    const epan = { ...features, epan: true }
    expect(s1({ PAN: 1, EPAN: 1 }, 0, s1ste, epan)!.fix[UX | PR | PW]).toBe(UX)
    expect(s1({ PAN: 1, EPAN: 1 })!.fix[UX | PR | PW]).toBe(UX | PR | PW)
  })
  it('changes nothing otherwise, and keeps its tables', () => {
    expect(s1({})?.fix).toBe(NO_FIX)
    expect(s1({ UWXN: 1 })?.fix).toBe(NO_FIX)
    expect(s1({ WXN: 1 })?.fix).toBe(s1({ WXN: 1, TBI0: 1 })?.fix)
  })
  it('knows the regime of a stream', () => {
    const ste = (values: SteValues) => encode(STE, { V: 1, Config: 5, ...values })
    const world = (values: SteValues, given = features) => streamWorld(ste(values), 0, given)
    expect([world({}), world({ STRW: 2 }), world({ STRW: 2 }, { ...features, e2h: true })]).toEqual(['el1', 'el2', 'el2-e2h'])
    expect([world({ STRW: 2, Config: 7 }), world({ STRW: 2 }, { ...features, hyp: false })]).toEqual(['el1', 'el1'])
    const el2 = s1({ PAN: 1 }, 0, ste({ STRW: 2 }))!
    // EL2 has one privilege: no PAN, and another reading of AP and XN.
    expect(el2.fix).toBe(NO_FIX)
    expect(el2.format).not.toBe(s1({})!.format)
    expect(s1({}, 1, ste({ STRW: 2 }), { ...features, e2h: true })?.format).toBe(s1({})!.format)
  })
  it('tells where unprivileged accesses are kept out', () => {
    const blocked = (values: CdValues, half: 0 | 1, given = features) =>
      unprivilegedBlocked(cdOf(values), 0, s1ste, 0, given, half)
    expect([blocked({ E0PD1: 1 }, 1), blocked({ E0PD1: 1 }, 0), blocked({ E0PD0: 1 }, 0)]).toEqual([true, false, true])
    expect(blocked({ E0PD1: 1 }, 1, { ...features, e0pd: false })).toBe(false)
  })
  it('walks what a Linux CD describes', () => {
    const memory = new PhysicalMemory([{ start: 0x4000_0000, end: 0x5000_0000 }])
    const cd = wordsFromU64([0x0006e204c0003510n, 0x0000000044914000n, 0n, 0xfffffffff404ff44n, 0n, 0n, 0n, 0n])
    memory.write64(0x4491_4000, 0x4000_1003n)
    memory.write64(0x4000_1000, 0x4000_2003n)
    // A 2 MiB block at the third entry: AF, inner shareable, read-write.
    memory.write64(0x4000_2010, 0x4a00_0701n)
    const space = stage1Space(cd, 0, s1ste, 0, features, 0)!
    const walker = new Walker(memory)
    expect(walker.walk(space, 0, 0x0041_2345, PR | PW, false)).toBe(0)
    expect(walker.outLo).toBe(0x4a01_2345)
    expect(noStage1(cd, 0, s1ste, 0, features, 1)).toContain('EPD1')
  })
})

describe('stage 2 of an STE', () => {
  // DDI 0487, VTCR_EL2.SL0: 4 KiB (0) 2→level 0, 1→1, 0→2, 3→3; 16 KiB (2) and 64 KiB (1) 0→3, 1→2, 2→1, 3→0 with DS.
  it.each([
    [0, 2, 16, 3],
    [0, 1, 24, 2],
    [0, 1, 25, 2],
    [0, 0, 34, 1],
    [0, 0, 30, 1],
    [0, 3, 43, 0],
    [2, 2, 20, 2],
    [2, 1, 28, 1],
    [2, 0, 40, 0],
    [1, 2, 20, 2],
    [1, 1, 24, 1],
    [1, 0, 38, 0],
  ])('with S2TG %i, S2SL0 %i and S2T0SZ %i starts at depth %i', (S2TG, S2SL0, S2T0SZ, depth) => {
    expect(s2({ S2TG, S2SL0, S2T0SZ })).toMatchObject({ topDepth: depth, inputBits: 64 - S2T0SZ, top: TOP_ZERO })
  })
  it('concatenates up to 16 tables at the top', () => {
    // 40 bits from level 1: two tables; 43 bits: 16 tables, aligned to their size.
    expect(tableLog2(s2({ S2T0SZ: 24 })!, 2)).toBe(13)
    const sixteen = s2({ S2T0SZ: 21, S2TTB: 0x8001_f000n })!
    expect([tableLog2(sixteen, 2), sixteen.root]).toEqual([16, 0x8001_0000])
    expect(s2({ S2T0SZ: 20 })).toBeNull()
  })
  it('starts at level −1 with 52 bits, S2DS and S2SL0_2', () => {
    expect(s2({ S2T0SZ: 12, S2SL0: 0, S2SL0_2: 1, S2DS: 1, S2PS: 6 })).toMatchObject({ topDepth: 4, inputBits: 52 })
    expect(s2({ S2TG: 2, S2T0SZ: 12, S2SL0: 3, S2DS: 1, S2PS: 6 })).toMatchObject({ topDepth: 3, inputBits: 52 })
    expect(s2({ S2TG: 2, S2T0SZ: 16, S2SL0: 3 })).toBeNull()
    expect(s2({ S2T0SZ: 12, S2SL0: 1, S2SL0_2: 1, S2DS: 1 })).toBeNull()
  })
  it('has no space for what does not go together, and says why', () => {
    const why = (values: SteValues) => noStage2(steOf(values), 0, features)
    expect(why({ S2SL0: 2, S2T0SZ: 30 })).toContain('do not go together')
    expect(why({ S2SL0: 0, S2T0SZ: 16 })).toContain('do not go together')
    expect(why({ S2TG: 3 })).toContain('S2TG is reserved')
    expect(why({ S2AA64: 0 })).toContain('LPAE')
    expect(why({ Config: 5 })).toContain('does not enable stage 2')
    expect(why({ Config: 2 })).toContain('does not enable stage 2')
    expect(why({ Config: 7 })).toBeNull()
  })
  it('follows S2PS, S2HA, S2HD, S2AFFD, S2ENDI and XNX', () => {
    expect(s2({ S2PS: 4 })?.outputLimit).toBe(2 ** 44)
    expect(s2({ S2PS: 6 }, { ...features, oas: 44 })?.outputLimit).toBe(2 ** 44)
    const ad = (values: SteValues, httu = 2) => {
      const space = s2(values, { ...features, httu })!
      return [space.accessed, space.dirty]
    }
    expect([ad({}), ad({ S2AFFD: 1 }), ad({ S2HA: 1 }), ad({ S2HA: 1, S2HD: 1 })]).toEqual([
      [AD_FAULT, AD_IGNORE],
      [AD_IGNORE, AD_IGNORE],
      [AD_SET, AD_IGNORE],
      [AD_SET, AD_SET],
    ])
    expect(ad({ S2HA: 1, S2HD: 1 }, 1)).toEqual([AD_SET, AD_IGNORE])
    expect(s2({ S2ENDI: 1 })?.bigEndian).toBe(true)
    expect(s2({})?.format).not.toBe(s2({}, { ...features, xnx: false })?.format)
  })
})

describe('any CD and STE', () => {
  it('give spaces that can be walked, or none', () => {
    const memory = new PhysicalMemory([{ start: 0, end: 0x10_0000 }])
    const walker = new Walker(memory)
    const dwords = fc.array(fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }), { minLength: 8, maxLength: 8 })
    fc.assert(
      fc.property(dwords, dwords, fc.integer(), fc.integer(), (cd, ste, hi, lo) => {
        const cdWords = wordsFromU64([cd[0]! | (1n << 41n), ...cd.slice(1)])
        const steWords = wordsFromU64([ste[0]!, ste[1]!, ste[2]! | (1n << 51n), ...ste.slice(3)])
        const stage2 = stage2Space(steWords, 0, features)
        for (const half of [0, 1] as const) {
          const space = stage1Space(cdWords, 0, steWords, 0, features, half, stage2)
          if (space === null) continue
          expect(space.topDepth).toBeGreaterThanOrEqual(0)
          expect(space.topDepth).toBeLessThanOrEqual(4)
          expect(space.root).toBeLessThan(2 ** 56)
          inputInRange(space, hi, lo)
          walker.walk(space, hi, lo, UR, false)
        }
        if (stage2 !== null) new Walker(memory, 2).walk(stage2, hi, lo, UR, false)
      }),
      { numRuns: 300 },
    )
  })
})
