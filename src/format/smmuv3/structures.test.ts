import { describe, expect, it } from 'vitest'
import { encode, type Values } from '../../base/layout.ts'
import { structuresNamed } from '../registry.ts'
import { reservedBitsSet, type StructureSet, type Surroundings } from '../structure.ts'
import { CD } from './cd.ts'
import { checkCommand } from './command-rules.ts'
import * as op from './commands.ts'
import { featuresFromIdr, GENEROUS_IDR, type SmmuFeatures } from './features.ts'
import { L1STD } from './l1.ts'
import { PRI } from './pri.ts'
import { remarksCd, remarksSte } from './remarks.ts'
import { STE } from './ste.ts'
import { SMMUV3_STRUCTURES } from './structures.ts'

const features = featuresFromIdr((name) => GENEROUS_IDR[name as 'IDR0'] ?? 0)
const nothing: Surroundings = { register: () => null, structure: () => null }
const structure = (name: string) => SMMUV3_STRUCTURES.structures.find((each) => each.name === name)!

describe('registry', () => {
  it('has each name once', () => {
    const names = SMMUV3_STRUCTURES.structures.map(({ name }) => name)
    expect(new Set(names).size).toBe(names.length)
  })
  it('finds names in any case, and says which architectures share one', () => {
    const other: StructureSet = { ...SMMUV3_STRUCTURES, key: 'other', structures: [structure('CD')], registerPrefix: '' }
    const sets = [SMMUV3_STRUCTURES, other]
    expect(structuresNamed('cd', sets).map(({ set }) => set.key)).toEqual(['smmuv3', 'other'])
    expect(structuresNamed('other:cd', sets).map(({ set }) => set.key)).toEqual(['other'])
    expect(structuresNamed('SMMU_CR0')).toHaveLength(1)
    expect(structuresNamed('SMMU_STE')).toHaveLength(0)
  })
  it('tells bits that are set and belong to no field', () => {
    expect(reservedBitsSet(Uint32Array.of(0xffff_ff00, 0xff), Uint32Array.of(0x8000_0fff, 0x7))).toEqual([
      [11, 8],
      [34, 31],
    ])
  })
})

describe('verdicts', () => {
  it('use the registers and the STE that are known', () => {
    const ste = encode(STE, { V: 1, Config: 5, S1CDMax: 5 })
    expect(structure('STE').check!(ste, 0, nothing).map(({ kind }) => kind)).not.toContain('illegal')
    const narrow = { ...nothing, register: (name: string) => (name === 'IDR1' ? BigInt(16 | (4 << 6)) : null) }
    expect(structure('STE').check!(ste, 0, narrow)).toEqual([
      expect.objectContaining({ kind: 'illegal', section: '5.2 S1CDMax' }),
    ])
    const cd = encode(CD, { V: 1, AA64: 1, EPD1: 1, T0SZ: 16, A: 1, AFFD: 1, ASID: 1, PAN: 1 })
    expect(structure('CD').check!(cd, 0, nothing)).toEqual([])
    // CR2.E2H makes an EL2 stream one of EL2-E2H, which has no AArch32 tables.
    const e2h = {
      register: (name: string) => (name === 'CR2' ? 1n : name === 'IDR0' ? BigInt(GENEROUS_IDR.IDR0 | 4) : null),
      structure: () => encode(STE, { V: 1, Config: 5, STRW: 2 }),
    }
    const old = encode(CD, { V: 1, EPD1: 1, A: 1 })
    expect(structure('CD').check!(old, 0, e2h)).toEqual([expect.objectContaining({ kind: 'illegal', section: '5.4 AA64' })])
  })
  it('count the STEs of a level 1 descriptor', () => {
    const says = (Span: number) => structure('L1STD').check!(encode(L1STD, { Span }), 0, nothing)[0]
    expect([says(0)?.text, says(1)?.text, says(9)?.text, says(12)?.kind]).toEqual([
      'no STEs here',
      '1 STE here',
      '256 STEs here',
      'illegal',
    ])
  })
  it('know a Stop Marker', () => {
    const says = (values: Partial<Values<(typeof PRI)['fields']>>) =>
      structure('PRI').check!(encode(PRI, values), 0, nothing).length
    expect([
      says({ Last: 1, SSV: 1 }),
      says({ Last: 1 }),
      says({ Last: 1, SSV: 1, R: 1 }),
      says({ Last: 1, SSV: 1, W: 1 }),
    ]).toEqual([1, 0, 0, 0])
  })
})

describe('illegal commands', () => {
  const section = (code: number, values: Record<string, number | bigint> = {}, given: Partial<SmmuFeatures> = {}) => {
    const words = new Uint32Array([code, 0, 0, 0])
    if (op.COMMANDS.has(code)) words.set(encode(op.COMMANDS.get(code)!.layout, { opcode: code, ...values }))
    return checkCommand(words, 0, { ...features, ...given })?.section ?? null
  }
  it('are reserved opcodes and those of the secure queue', () => {
    expect([section(0), section(0x47), section(0x73)]).toEqual(['4.1.1', '4.1.1', '4.1.1'])
    for (const code of [0x18, 0x1a, 0x50, 0x51, 0x52, 0x53, 0x58, 0x5a, 0x60]) expect(section(code)).toBe('4.4')
  })
  it('are those that name secure streams', () => {
    for (const { opcode, layout } of op.COMMANDS.values()) {
      if ('SSec' in layout.fields) expect(section(opcode, { SSec: 1 }), layout.name).toBe('4.1.6')
    }
  })
  it('are those for what the SMMU does not have', () => {
    for (const code of [0x05, 0x06, 0x10, 0x11, 0x12, 0x13, 0x20, 0x21, 0x22, 0x23]) {
      expect(section(code)).toBeNull()
      expect(section(code, {}, { s1: false })).toBe('4.3.3, 4.4.2')
    }
    for (const code of [0x20, 0x21, 0x22, 0x23]) expect(section(code, {}, { hyp: false })).toBe('4.4.2')
    for (const code of [0x28, 0x2a]) expect([section(code), section(code, {}, { s2: false })]).toEqual([null, '4.4.3'])
    expect([section(0x07), section(0x07, {}, { mpam: true })]).toEqual(['4.3.5', null])
    expect([section(0x40), section(0x40, {}, { ats: false })]).toEqual([null, '4.5.1'])
    expect([section(0x41), section(0x41, {}, { pri: false })]).toEqual([null, '4.5.2'])
    for (const code of [0x44, 0x45]) expect([section(code), section(code, {}, { stallModel: 1 })]).toEqual([null, '4.7.1, 4.7.2'])
    for (const code of [0x01, 0x02, 0x03, 0x04, 0x30]) expect(section(code, {}, { s1: false, s2: false, hyp: false })).toBeNull()
  })
  it('are those with reserved values', () => {
    expect([section(0x40, { Size: 52 }), section(0x40, { Size: 53 })]).toEqual([null, '4.5.1'])
    expect([section(0x41, { Resp: 2 }), section(0x41, { Resp: 3 })]).toEqual([null, '4.5.2'])
    expect([section(0x46, { CS: 2 }), section(0x46, { CS: 3 })]).toEqual([null, '4.7.3'])
  })
  it('are ranges that say nothing', () => {
    for (const code of [0x12, 0x13, 0x22, 0x23, 0x2a]) {
      expect(section(code, { TG: 1 })).toBe('4.4.1.1')
      for (const values of [{ NUM: 1 }, { SCALE: 1 }, { TTL: 3 }]) expect(section(code, { TG: 1, ...values })).toBeNull()
      expect(section(code, { TG: 1 }, { ril: false })).toBeNull()
    }
    // 16 KiB tables have leaves at level 1, and SCALE a sixth bit, with 52-bit addresses only.
    expect([section(0x12, { TG: 2, TTL: 1 }), section(0x12, { TG: 2, TTL: 1 }, { ds: false })]).toEqual([null, '4.4.1.1'])
    expect([section(0x12, { TG: 1, SCALE: 32 }), section(0x12, { TG: 1, SCALE: 32 }, { ds: false })]).toEqual([null, '4.4.1.1'])
  })
})

describe('remarks', () => {
  const ste = (values: Partial<Values<(typeof STE)['fields']>>, given: Partial<SmmuFeatures> = {}) =>
    remarksSte(encode(STE, { V: 1, ...values }), 0, { ...features, ...given }).map(({ rule }) => rule)
  it('tell reserved values of an STE, and what does not count', () => {
    expect(ste({ Config: 0 })).toEqual([expect.stringContaining('all traffic is aborted')])
    expect(ste({ Config: 2 })).toEqual([expect.stringContaining('STE.Config is reserved')])
    expect(ste({ Config: 5 })).toEqual([expect.stringContaining('there is one CD')])
    expect(ste({ Config: 5, S1CDMax: 5 })).toEqual([])
    expect(ste({ Config: 5, S1CDMax: 5, S1Fmt: 3 })).toEqual([expect.stringContaining('S1Fmt is reserved')])
    expect(ste({ Config: 5, S1CDMax: 5, S1DSS: 3 })).toEqual([expect.stringContaining('S1DSS is reserved')])
    expect(ste({ Config: 5, S1CDMax: 5, S1DSS: 2 })).toEqual([expect.stringContaining('F_STREAM_DISABLED')])
    expect(ste({ Config: 5, S1CDMax: 5, S1ContextPtr: 0x40n })).toEqual([expect.stringContaining('S1ContextPtr is not aligned')])
    expect(ste({ Config: 4, EATS: 1 })).toEqual([expect.stringContaining('EATS does not count')])
    expect(ste({ Config: 5, S1CDMax: 5, EATS: 1 }, { ats: false })).toEqual([expect.stringContaining('EATS does not count')])
    const s2 = { Config: 6, S2AA64: 1, S2T0SZ: 24, S2SL0: 1 }
    expect(ste(s2)).toEqual([])
    expect(ste({ ...s2, S2HD: 1 })).toEqual([expect.stringContaining('S2HD does nothing')])
    expect(ste({ ...s2, S2TTB: 0x1000n })).toEqual([expect.stringContaining('S2TTB is not aligned')])
  })
  it('tell what does not count in a CD, and that it walks nothing', () => {
    const plain = encode(STE, { V: 1, Config: 5 })
    const cd = (values: Partial<Values<(typeof CD)['fields']>>) =>
      remarksCd(encode(CD, { V: 1, AA64: 1, T0SZ: 16, EPD1: 1, ...values }), 0, plain, 0, features).map(({ rule }) => rule)
    expect(cd({})).toEqual([])
    expect(cd({ EPD0: 1 })).toEqual([expect.stringContaining('no event is recorded')])
    expect(cd({ EPD0: 1, R: 1 })).toEqual(['nothing is walked: every address faults'])
    expect(cd({ HD: 1 })).toEqual([expect.stringContaining('HD does nothing')])
    expect(cd({ UWXN: 1 })).toEqual([expect.stringContaining('UWXN does nothing')])
    expect(cd({ TTB0: 0x800n })).toEqual([expect.stringContaining('TTB0 is not aligned')])
  })
})
