import { describe, expect, it } from 'vitest'
import { encode, type Fields, type Layout, type Values, wordsToU64 } from '../../base/layout.ts'
import { PR, PW, type Transaction, UR, UW } from '../../base/types.ts'
import * as ev from '../../format/smmuv3/events.ts'
import { CONFIG_BYPASS, CONFIG_S1, CONFIG_S2 } from '../../format/smmuv3/ste.ts'
import { HOLE, Rig, type RigOptions, RW } from './rig.suite.ts'

const PA = 0x5000_0000

/** The record that a transaction leaves, in its queue and in its fault. */
function check<F extends Fields>(
  rig: Rig,
  transaction: Omit<Transaction, 'iova' | 'access'> & { iova: bigint | number; access?: Transaction['access'] },
  layout: Layout<F>,
  values: Partial<Values<F>>,
  more: Record<string, unknown> = {},
): void {
  const { iova, access = 'read', ...rest } = transaction
  const record = wordsToU64(encode(layout, values))
  const explained = rig.smmu.explain({ ...rest, iova: BigInt(iova), access }).outcome
  expect(rig.events()).toEqual([])
  const outcome = rig.smmu.translate({ ...rest, iova: BigInt(iova), access })
  expect(outcome).toMatchObject({ ok: false, name: layout.name, response: 'abort', record, ...more })
  expect(rig.events().map((event) => event.words)).toEqual([record])
  expect(explained).toEqual(outcome)
}

describe('SMMUv3 configuration errors', () => {
  it('C_BAD_STREAMID: beyond the stream table, recorded only if CR2 says so', () => {
    for (const cr2 of [0, 2]) {
      const rig = new Rig({ cr2 })
      const fault = rig.dma(0x100, 0x42, { pasid: 7 })
      expect(fault).toMatchObject({ name: 'C_BAD_STREAMID', response: 'abort', entryAddress: null, entry: null })
      expect(rig.events().map((event) => event.words)).toEqual(
        cr2 === 0 ? [] : [wordsToU64(encode(ev.EVENT_C_BAD_STREAMID, { type: 2, SSV: 1, SubstreamID: 7, StreamID: 0x100 }))],
      )
    }
  })

  it('F_STE_FETCH: nothing answers where the STE should be', () => {
    const rig = new Rig({ start: false })
    rig.set('STRTAB_BASE', BigInt(HOLE))
    rig.set('CR0', 0xd)
    const values = { type: 3, StreamID: 5, FetchAddr: BigInt(HOLE + 5 * 64) }
    check(rig, { device: 5, iova: 0 }, ev.EVENT_F_STE_FETCH, values, { entryAddress: BigInt(HOLE + 5 * 64), entry: null })
  })

  it('C_BAD_STE: with the rule that the entry breaks', () => {
    const rig = new Rig()
    const at = rig.ste(3, { V: 0 })
    const found = { entryAddress: BigInt(at), entry: 0n, why: expect.stringMatching(/V.*5\.2/) }
    check(rig, { device: 3, iova: 0x1234, pasid: 9 }, ev.EVENT_C_BAD_STE, { type: 4, StreamID: 3, SSV: 1, SubstreamID: 9 }, found)
    rig.ste(4, { Config: CONFIG_S2, S2VMID: 4, ...rig.space(2).ste, S2TG: 3 })
    check(rig, { device: 4, iova: 0 }, ev.EVENT_C_BAD_STE, { type: 4, StreamID: 4 }, { why: expect.stringContaining('S2TG') })
  })

  it('F_STREAM_DISABLED: no SubstreamID where one is needed, and SubstreamID 0 where it is taken', () => {
    const rig = new Rig()
    const table = BigInt(rig.cdTable(4))
    rig.ste(1, { Config: CONFIG_S1, S1ContextPtr: table, S1CDMax: 4, S1DSS: 0 })
    check(rig, { device: 1, iova: 0 }, ev.EVENT_F_STREAM_DISABLED, { type: 6, StreamID: 1 })
    rig.ste(2, { Config: CONFIG_S1, S1ContextPtr: table, S1CDMax: 4, S1DSS: 2 })
    check(rig, { device: 2, iova: 0, pasid: 0 }, ev.EVENT_F_STREAM_DISABLED, { type: 6, StreamID: 2 })
  })

  it('C_BAD_SUBSTREAMID: too large, no substreams, no stage 1', () => {
    const rig = new Rig()
    const table = BigInt(rig.cdTable(4))
    rig.ste(1, { Config: CONFIG_S1, S1ContextPtr: table, S1CDMax: 4 })
    rig.ste(2, { Config: CONFIG_S1, S1ContextPtr: table })
    rig.ste(3, { Config: CONFIG_BYPASS })
    const why = [/S1CDMax \(/, /S1CDMax is 0/, /no stage 1/]
    for (const device of [1, 2, 3]) {
      const values = { type: 8, StreamID: device, SubstreamID: 16 }
      check(rig, { device, iova: 0, pasid: 16 }, ev.EVENT_C_BAD_SUBSTREAMID, values, {
        why: expect.stringMatching(why[device - 1]!),
      })
    }
    const none = new Rig({ idr: { SSIDSIZE: 0 } })
    none.ste(1, { Config: CONFIG_S1, S1ContextPtr: table })
    check(none, { device: 1, iova: 0, pasid: 0 }, ev.EVENT_C_BAD_SUBSTREAMID, { type: 8, StreamID: 1, SubstreamID: 0 })
  })

  it('F_CD_FETCH: nothing answers where the CD, or its level 1 descriptor, should be', () => {
    const rig = new Rig()
    rig.ste(1, { Config: CONFIG_S1, S1ContextPtr: BigInt(HOLE), S1CDMax: 4 })
    rig.ste(2, { Config: CONFIG_S1, S1ContextPtr: BigInt(HOLE), S1CDMax: 12, S1Fmt: 1 })
    const values = { type: 9, SSV: 1, SubstreamID: 3 }
    const where = (at: number) => ({ FetchAddr: BigInt(at) })
    check(rig, { device: 1, iova: 0, pasid: 3 }, ev.EVENT_F_CD_FETCH, { ...values, StreamID: 1, ...where(HOLE + 192) })
    check(rig, { device: 2, iova: 0, pasid: 3 }, ev.EVENT_F_CD_FETCH, { ...values, StreamID: 2, ...where(HOLE) })
  })

  it('C_BAD_CD: with the rule that the entry breaks', () => {
    const rig = new Rig()
    const cd = rig.stage1(1, rig.space(1), { V: 0 })
    const why = expect.stringMatching(/V.*5\.4/)
    check(rig, { device: 1, iova: 0 }, ev.EVENT_C_BAD_CD, { type: 10, StreamID: 1 }, { entryAddress: BigInt(cd), why })
    rig.stage1(2, rig.space(1), { S: 1 }, { S1STALLD: 1 })
    check(rig, { device: 2, iova: 0 }, ev.EVENT_C_BAD_CD, { type: 10, StreamID: 2 }, { why: expect.stringContaining('S1STALLD') })
  })
})

describe('SMMUv3 faults of translation', () => {
  /** A stream with stage 1 and a page at 0x1000. */
  function simple(options: RigOptions = {}, cd: Parameters<Rig['stage1']>[2] = {}) {
    const rig = new Rig(options)
    const space = rig.space(1)
    space.table.map(0x1000, PA, 0x1000, UR | PR)
    rig.stage1(1, space, cd)
    return { rig, space, leaf: space.table.leaf(0x1000)! }
  }

  const input = { StreamID: 1, CLASS: ev.CLASS_IN, RnW: 1 }

  it('F_TRANSLATION of stage 1, with the entry that decided', () => {
    const { rig, leaf } = simple()
    const at = BigInt(leaf.pa + 8)
    check(
      rig,
      { device: 1, iova: 0x2abc, access: 'write', privileged: true },
      ev.EVENT_F_TRANSLATION,
      { type: 0x10, ...input, RnW: 0, PnU: 1, InputAddr: 0x2abcn },
      { stage: 1, level: 3, entryAddress: at, entry: 0n, ipa: null, why: expect.stringContaining('bit 0 is 0') },
    )
    const why = expect.stringContaining('48 bits')
    const high = 1n << 48n
    check(rig, { device: 1, iova: high }, ev.EVENT_F_TRANSLATION, { type: 0x10, ...input, InputAddr: high }, { why, level: null })
  })

  it('F_PERMISSION of stage 1', () => {
    const { rig } = simple()
    const values = { type: 0x13, ...input, RnW: 0, InputAddr: 0x1010n }
    check(rig, { device: 1, iova: 0x1010, access: 'write' }, ev.EVENT_F_PERMISSION, values, { stage: 1, level: 3 })
    const fetch = { type: 0x13, ...input, InD: 1, InputAddr: 0x1010n }
    check(rig, { device: 1, iova: 0x1010, access: 'execute' }, ev.EVENT_F_PERMISSION, fetch)
  })

  it('F_ACCESS of stage 1, before F_PERMISSION', () => {
    const { rig, leaf } = simple()
    rig.memory.write64(leaf.pa, rig.memory.read64(leaf.pa) & ~0x400n)
    const values = { type: 0x12, ...input, RnW: 0, InputAddr: 0x1000n }
    check(rig, { device: 1, iova: 0x1000, access: 'write' }, ev.EVENT_F_ACCESS, values, { why: expect.stringContaining('AF') })
  })

  it('no F_ACCESS where CD.AFFD says so', () => {
    const { rig, leaf } = simple({}, { AFFD: 1 })
    rig.memory.write64(leaf.pa, rig.memory.read64(leaf.pa) & ~0x400n)
    expect(rig.reach(1, 0x1000)).toBe(BigInt(PA))
  })

  it('F_ADDR_SIZE of stage 1: of a table address and of the output', () => {
    const { rig, space, leaf } = simple({}, { IPS: 2 })
    const values = { type: 0x11, ...input, InputAddr: 0x1000n }
    rig.memory.write64(leaf.pa, (1n << 40n) | 0x703n)
    check(rig, { device: 1, iova: 0x1000 }, ev.EVENT_F_ADDR_SIZE, values, { level: 3, why: expect.stringContaining('40 bits') })
    const root = Number(space.cd.TTB0!)
    rig.memory.write64(root, (1n << 40n) | 3n)
    check(rig, { device: 1, iova: 0x1000 }, ev.EVENT_F_ADDR_SIZE, values, { level: 0, entryAddress: BigInt(root) })
  })

  it('F_WALK_EABT of stage 1: nothing answers at a table entry', () => {
    const { rig, space } = simple()
    rig.memory.write64(Number(space.cd.TTB0!), BigInt(HOLE) | 3n)
    const values = { type: 0x0b, ...input, CLASS: ev.CLASS_TTD, InputAddr: 0x1000n, FetchAddr: BigInt(HOLE) }
    check(rig, { device: 1, iova: 0x1000 }, ev.EVENT_F_WALK_EABT, values, { stage: 1, level: 1, entryAddress: BigInt(HOLE) })
  })

  /** A nested stream: 0x4000_0000 … is mapped one to one at stage 2, page 0x1000 leads to intermediate address 0x3000. */
  function nested(ste: Parameters<Rig['nested']>[4] = {}) {
    const rig = new Rig()
    const [inner, outer] = [rig.space(1), rig.space(2, { top: 2 })]
    outer.table.map(0x4000_0000, 0x4000_0000, 0x4000_0000, RW)
    inner.table.map(0x1000, 0x3000, 0x1000, RW)
    inner.table.map(0x40_0000, 0x4000, 0x1000, RW)
    const cd = rig.nested(1, inner, outer, {}, { ...ste })
    return { rig, inner, outer, cd, leaf: inner.table.leaf(0x1000)! }
  }
  const stage2 = { StreamID: 1, S2: 1, RnW: 1 }

  it('of stage 2 for the transaction: CLASS IN, with the intermediate address', () => {
    const { rig, outer } = nested()
    const fault = { ...stage2, CLASS: ev.CLASS_IN, InputAddr: 0x1abcn, IPA: 0x3000n }
    const at = { device: 1, iova: 0x1abc }
    check(rig, at, ev.EVENT_F_TRANSLATION, { type: 0x10, ...fault }, { stage: 2, ipa: 0x3abcn })
    outer.table.map(0x3000, PA, 0x1000, UW | PW)
    check(rig, at, ev.EVENT_F_PERMISSION, { type: 0x13, ...fault }, { stage: 2, ipa: 0x3abcn, level: 3 })
    const leaf = outer.table.leaf(0x3000)!
    rig.memory.write64(leaf.pa, rig.memory.read64(leaf.pa) & ~0x400n)
    check(rig, at, ev.EVENT_F_ACCESS, { type: 0x12, ...fault })
  })

  it('of stage 2 for a stage 1 table: CLASS TTD, with the entry’s intermediate address', () => {
    const { rig, outer, leaf } = nested()
    const table = leaf.pa - (leaf.pa % 4096)
    outer.table.unmap(table, 0x1000)
    const ipa = leaf.pa
    const fault = { ...stage2, CLASS: ev.CLASS_TTD, InputAddr: 0x1000n, IPA: BigInt(table) }
    check(rig, { device: 1, iova: 0x1000 }, ev.EVENT_F_TRANSLATION, { type: 0x10, ...fault }, { stage: 2, ipa: BigInt(ipa) })
    outer.table.map(table, table, 0x1000, UW | PW)
    check(rig, { device: 1, iova: 0x1000 }, ev.EVENT_F_PERMISSION, { type: 0x13, ...fault, TTRnW: 1 }, { stage: 2 })
  })

  it('of stage 2 for the CD: CLASS CD, and nothing of it is cached', () => {
    const { rig, outer, cd } = nested()
    outer.table.unmap(cd, 0x1000)
    const fault = { ...stage2, CLASS: ev.CLASS_CD, InputAddr: 0x1000n, IPA: BigInt(cd) }
    check(rig, { device: 1, iova: 0x1000 }, ev.EVENT_F_TRANSLATION, { type: 0x10, ...fault }, { stage: 2, ipa: BigInt(cd) })
    outer.table.map(cd, cd, 0x1000, RW)
    outer.table.map(0x3000, PA, 0x1000, RW)
    expect(rig.reach(1, 0x1000)).toBe(BigInt(PA))
  })

  it('F_WALK_EABT of stage 2, of each class', () => {
    const hole = (rig: Rig, space: { ste: Record<string, unknown> }, index: number) =>
      rig.memory.write64(Number(space.ste.S2TTB) + index * 8, BigInt(HOLE) | 3n)
    // Start level 1: entry 0 covers intermediate addresses below 1 GiB, entry 1 the tables.
    const first = nested()
    expect(first.outer.ste.S2SL0).toBe(1)
    hole(first.rig, first.outer, 0)
    const fault = { type: 0x0b, ...stage2, InputAddr: 0x1000n }
    const input2 = { ...fault, CLASS: ev.CLASS_IN, FetchAddr: BigInt(HOLE) }
    check(first.rig, { device: 1, iova: 0x1000 }, ev.EVENT_F_WALK_EABT, input2, { stage: 2, ipa: 0x3000n, level: 2 })
    const second = nested()
    hole(second.rig, second.outer, 1)
    const slot = Math.floor(second.cd / 2 ** 21) % 512
    const class0 = { ...fault, CLASS: ev.CLASS_CD, FetchAddr: BigInt(HOLE + slot * 8) }
    check(second.rig, { device: 1, iova: 0x1000 }, ev.EVENT_F_WALK_EABT, class0, { stage: 2, ipa: BigInt(second.cd) })
    const third = nested()
    third.rig.reach(1, 0x40_0000)
    third.rig.events()
    hole(third.rig, third.outer, 1)
    const root = Number(third.inner.cd.TTB0!)
    const class1 = { ...fault, CLASS: ev.CLASS_TTD, FetchAddr: BigInt(HOLE + (Math.floor(root / 2 ** 21) % 512) * 8) }
    // The CD is cached, so that the fetch of the first table entry is what fails; explaining would fail at the CD.
    expect(third.rig.dma(1, 0x1000)).toMatchObject({ name: 'F_WALK_EABT', stage: 2, ipa: BigInt(root) })
    expect(third.rig.events()[0]!.words).toEqual(wordsToU64(encode(ev.EVENT_F_WALK_EABT, class1)))
  })

  it('F_ADDR_SIZE of stage 2', () => {
    const { rig, outer } = nested({ S2PS: 2 })
    outer.table.map(0x3000, 2 ** 40, 0x1000, RW)
    const values = { type: 0x11, ...stage2, CLASS: ev.CLASS_IN, InputAddr: 0x1000n, IPA: 0x3000n }
    check(rig, { device: 1, iova: 0x1000 }, ev.EVENT_F_ADDR_SIZE, values, { stage: 2, why: expect.stringContaining('40 bits') })
  })
})

describe('SMMUv3 A, R and S2R', () => {
  const cases: [A: number, R: number, response: string, events: number][] = [
    [0, 0, 'read-zero', 0],
    [0, 1, 'read-zero', 1],
    [1, 0, 'abort', 0],
    [1, 1, 'abort', 1],
  ]
  it.each(cases)('CD.A %i, CD.R %i: %s', (A, R, response, events) => {
    const rig = new Rig()
    rig.stage1(1, rig.space(1), { A, R })
    const fault = rig.dma(1, 0x1000)
    expect(fault).toMatchObject({ name: 'F_TRANSLATION', response })
    expect([rig.eventNames().length, !fault.ok && fault.record !== null]).toEqual([events, events === 1])
  })

  it('R = 0 hides faults of translation only', () => {
    const rig = new Rig()
    const space = rig.space(1)
    rig.stage1(1, space, { A: 0, R: 0 })
    rig.memory.write64(Number(space.cd.TTB0!), BigInt(HOLE) | 3n)
    expect(rig.dma(1, 0x1000)).toMatchObject({ name: 'F_WALK_EABT', response: 'abort' })
    expect(rig.eventNames()).toEqual(['F_WALK_EABT'])
  })

  it('S2R = 0 hides faults of stage 2, which always abort', () => {
    const rig = new Rig()
    rig.stage2(1, rig.space(2), { S2R: 0 })
    expect(rig.dma(1, 0x1000)).toMatchObject({ name: 'F_TRANSLATION', stage: 2, response: 'abort', record: null })
    expect(rig.eventNames()).toEqual([])
  })

  it('an SMMU that can only abort finds CD.A = 0 illegal', () => {
    const rig = new Rig({ idr: { TERM_MODEL: 1 } })
    rig.stage1(1, rig.space(1), { A: 0 })
    expect(rig.reach(1, 0x1000)).toBe('C_BAD_CD')
  })

  it('a quiet CD (EPD0, no R, no S) aborts without a word, whatever the access', () => {
    const rig = new Rig()
    rig.stage1(1, rig.space(1), { EPD0: 1, R: 0, S: 0, A: 1 })
    for (const access of ['read', 'write', 'execute'] as const) {
      const quiet = { name: 'F_TRANSLATION', response: 'abort', record: null, why: expect.stringContaining('EPD0') }
      expect(rig.dma(1, 0x1000, { access })).toMatchObject(quiet)
    }
    // With R it would be heard.
    rig.stage1(2, rig.space(1), { EPD0: 1 })
    rig.reach(2, 0x1000)
    expect(rig.events().map((event) => event.fields.StreamID)).toEqual([2])
  })
})
