import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decode, encode } from '../../base/layout.ts'
import { AD_FAULT, AD_IGNORE, AD_SET, type PtSpace, ptSpace } from '../../format/pt/format.ts'
import { type Granule, vmsav8 } from '../../format/pt/vmsav8.ts'
import { CD } from '../../format/smmuv3/cd.ts'
import { checkCd, checkSte } from '../../format/smmuv3/check.ts'
import { noStage1, stage1Space, stage2Space } from '../../format/smmuv3/context.ts'
import { featuresFromIdr, GENEROUS_IDR, type SmmuFeatures } from '../../format/smmuv3/features.ts'
import { STE } from '../../format/smmuv3/ste.ts'
import { PhysicalMemory } from '../../memory/physical.ts'
import { planUpdate } from '../common/hitless.ts'
import { CdTable } from './cd-table.ts'
import { abortSte, bypassSte, cdTableSte, nestedSte, privateCd, quietCd, sharedCd, stage2Ste } from './entries.ts'
import { stage1Shape, stage2Shape } from './spaces.ts'
import { CD_ENTRY, STE_ENTRY } from './used-bits.ts'

const generous = featuresFromIdr((name) => GENEROUS_IDR[name as keyof typeof GENEROUS_IDR])
const memory = new PhysicalMemory([{ start: 0x4000_0000, end: 0x8000_0000 }])
const stream = { ats: true, stall: false, ppar: false }

/** SMMUs that differ in what matters to the entries. */
const anyFeatures: fc.Arbitrary<SmmuFeatures> = fc
  .record({
    hyp: fc.boolean(),
    stallModel: fc.constantFrom(0, 1, 2),
    abortOnly: fc.boolean(),
    attrTypesOverride: fc.boolean(),
    cd2l: fc.constant(true),
    oas: fc.constantFrom(32, 36, 40, 42, 44, 48, 52),
    vaBits: fc.constantFrom(48, 52),
    ds: fc.boolean(),
    xnx: fc.boolean(),
    httu: fc.constantFrom(0, 1, 2),
    endian: fc.constantFrom(0, 2),
    pps: fc.boolean(),
    minor: fc.constantFrom(1, 2, 3),
  })
  .map((some) => ({ ...generous, ...some }))
const granule = fc.constantFrom<Granule>(12, 14, 16)
const forms = fc.constantFrom('linear' as const, '2lvl-4k' as const, '2lvl-64k' as const)

/** What a walk depends on. */
const essence = ({
  format,
  root,
  topDepth,
  inputBits,
  outputLimit,
  top,
  ignoreTopByte,
  bigEndian,
  accessed,
  dirty,
}: PtSpace) => ({
  ...{ format: format.name, root, topDepth, inputBits, outputLimit, top, ignoreTopByte, bigEndian, accessed, dirty },
})

describe('stream table entries of the driver', () => {
  it('are legal, whatever the SMMU', () => {
    fc.assert(
      fc.property(anyFeatures, granule, forms, fc.nat(20), fc.nat(2), fc.boolean(), (features, size, form, bits, dss, ats) => {
        const table = new CdTable(memory, memory, bits > 11 && form === 'linear' ? 11 : bits, form)
        const stall = features.stallModel !== 1
        const choices = { ats, stall, ppar: ats }
        const stage2 = ptSpace({ ...stage2Shape(features, size), root: 0x5000_0000 })
        const entries = [
          abortSte(),
          bypassSte(features),
          cdTableSte(table, dss, choices, features),
          stage2Ste(stage2, 7, choices, features),
          nestedSte(
            cdTableSte(table, dss, { ...choices, ppar: false }, { ...features, attrTypesOverride: false }),
            stage2,
            7,
            choices,
            features,
          ),
        ]
        for (const entry of entries) {
          expect(checkSte(entry, 0, features)).toBeNull()
          // And of themselves they use every bit that they set.
          expect(() => planUpdate(abortSte(), entry, STE_ENTRY)).not.toThrow()
        }
        table.free()
      }),
      { numRuns: 150 },
    )
  })
  it('set up the stage 2 in which the driver maps', () => {
    fc.assert(
      fc.property(anyFeatures, granule, fc.integer({ min: 32, max: 48 }), (features, size, bits) => {
        const space = ptSpace({ ...stage2Shape(features, size, Math.min(bits, features.oas)), root: 0x5000_0000 })
        const ste = stage2Ste(space, 7, stream, features)
        expect(essence(stage2Space(ste, 0, features)!)).toEqual(essence(ptSpace({ ...space, accessed: AD_FAULT })))
      }),
      { numRuns: 100 },
    )
  })
  it('give a guest its fields, and nothing more', () => {
    const space = ptSpace({ ...stage2Shape(generous, 12), root: 0x5000_0000 })
    const own = { V: 1, Config: 5, S1Fmt: 1, S1ContextPtr: 0x1234_5000n, S1CDMax: 12, S1DSS: 2, S1CIR: 1, S1COR: 1, S1CSH: 3 }
    const nested = nestedSte(encode(STE, { ...own, EATS: 1 }), space, 7, stream, generous)
    expect(decode(STE, nested)).toMatchObject({ ...own, Config: 7, EATS: 1, S2VMID: 7, S2TTB: 0x5000_0000n })
    expect(decode(STE, nestedSte(encode(STE, { ...own, EATS: 1 }), space, 7, { ...stream, ats: false }, generous)).EATS).toBe(0)
    for (const [values, message] of [
      [{ ...own, S2VMID: 1 }, 'sets 0x1 in word 4'],
      [{ ...own, STRW: 2 }, 'sets 0x80000000 in word 2'],
      [{ ...own, Config: 7 }, 'stage 2 is ours'],
    ] as const)
      expect(() => nestedSte(encode(STE, values), space, 7, stream, generous)).toThrow(
        expect.objectContaining({ code: 'BadArgument', message: expect.stringContaining(message) }),
      )
  })
  it('abort for a guest that aborts or has no valid entry, and leave stage 2 alone for one that bypasses', () => {
    const space = ptSpace({ ...stage2Shape(generous, 12), root: 0x5000_0000 })
    const config = (values: Parameters<typeof encode<typeof STE.fields>>[1]) =>
      decode(STE, nestedSte(encode(STE, values), space, 7, stream, generous)).Config
    expect(config({})).toBe(0)
    expect(config({ V: 1, Config: 0 })).toBe(0)
    expect(config({ V: 1, Config: 4, SHCFG: 1 })).toBe(6)
  })
})

describe('context descriptors of the driver', () => {
  const throughSte = (features: SmmuFeatures, stall: boolean) =>
    cdTableSte(new CdTable(memory, memory, 4, 'linear'), 2, { ats: false, stall, ppar: false }, features)

  it('are legal, and set up the space in which the driver maps', () => {
    fc.assert(
      fc.property(anyFeatures, granule, fc.integer({ min: 25, max: 52 }), (features, size, bits) => {
        const most = size === 16 || features.ds ? features.vaBits : 48
        const space = ptSpace({ ...stage1Shape(features, size, Math.min(bits, most)), root: 0x5000_0000 })
        const stall = features.stallModel !== 1
        const ste = throughSte(features, stall)
        const cd = privateCd(space, 9, stall)
        for (const entry of [cd, quietCd(cd, features)]) {
          expect(checkCd(entry, 0, ste, 0, features)).toBeNull()
          expect(() => planUpdate(new Uint32Array(16), entry, CD_ENTRY)).not.toThrow()
        }
        expect(essence(stage1Space(cd, 0, ste, 0, features, 0)!)).toEqual(essence(ptSpace({ ...space, accessed: AD_FAULT })))
        expect(noStage1(quietCd(cd, features), 0, ste, 0, features, 0)).toContain('EPD0')
      }),
      { numRuns: 150 },
    )
  })
  it('let the SMMU walk the CPU tables as the CPU does', () => {
    fc.assert(
      fc.property(
        granule,
        fc.integer({ min: 30, max: 48 }),
        fc.constantFrom(AD_FAULT, AD_SET, AD_IGNORE),
        fc.boolean(),
        fc.boolean(),
        (size, inputBits, accessed, dirty, bigEndian) => {
          const features = { ...generous, oas: 48 }
          const cpu = ptSpace({
            format: vmsav8(size, 'el1'),
            root: 0x5000_0000,
            topDepth: Math.ceil((inputBits - size) / (size - 3)) - 1,
            inputBits,
            outputLimit: 2 ** 44,
            accessed,
            dirty: accessed === AD_SET && dirty ? AD_SET : AD_IGNORE,
            bigEndian,
          })
          const ste = throughSte(features, false)
          const cd = sharedCd(cpu, 9, false, 2)
          expect(checkCd(cd, 0, ste, 0, features)).toBeNull()
          expect(essence(stage1Space(cd, 0, ste, 0, features, 0)!)).toEqual(essence(cpu))
        },
      ),
      { numRuns: 100 },
    )
  })
  it('use the ASID set that broadcasts reach for processes only, and hardware updates as far as both sides have them', () => {
    const space = ptSpace({ ...stage1Shape(generous, 12), root: 0x5000_0000, accessed: AD_SET, dirty: AD_SET })
    expect(decode(CD, privateCd(space, 9, false))).toMatchObject({ ASET: 1, ASID: 9, HA: 0, HD: 0 })
    expect(decode(CD, sharedCd(space, 9, true, 2))).toMatchObject({ ASET: 0, S: 1, HA: 1, HD: 1, TBI0: 0 })
    expect(decode(CD, sharedCd(space, 9, true, 1))).toMatchObject({ HA: 1, HD: 0 })
    expect(decode(CD, sharedCd(ptSpace({ ...space, accessed: AD_FAULT }), 9, true, 2))).toMatchObject({ HA: 0, HD: 0, AFFD: 0 })
  })
  it('say no word and walk nothing when quiet, and change hitlessly to that', () => {
    const cd = sharedCd(ptSpace({ ...stage1Shape(generous, 12), root: 0x5000_0000 }), 9, true, 0)
    const quiet = quietCd(cd, generous)
    expect(decode(CD, quiet)).toMatchObject({ V: 1, EPD0: 1, EPD1: 1, A: 1, R: 0, S: 0, TTB0: 0n, ASID: 9, ASET: 0 })
    const plan = planUpdate(cd, quiet, CD_ENTRY)
    expect([plan.hitless, plan.steps.length]).toEqual([true, 2])
  })
})
