import { describe, expect, it } from 'vitest'
import { PR, PW, type Transaction, UR, UW, UX } from '../../base/types.ts'
import * as cmd from '../../format/smmuv3/commands.ts'
import { CONFIG_ABORT, CONFIG_BYPASS, CONFIG_S1, EATS_FULL, EATS_SPLIT } from '../../format/smmuv3/ste.ts'
import { ATSCHK, CMDQEN, EVENTQEN, HOLE, Rig, RW, SMMUEN } from './rig.suite.ts'

const PA = 0x5000_0000
const ALL = SMMUEN | CMDQEN | EVENTQEN | ATSCHK

/** A translation request. */
const ask = (rig: Rig, device: number, iova: number | bigint, given: Partial<Transaction> = {}) =>
  rig.dma(device, iova, { kind: 'ats-request', ...given })

/** A transaction with an address that the device translated. */
const direct = (rig: Rig, device: number, address: number | bigint, given: Partial<Transaction> = {}) =>
  rig.dma(device, address, { kind: 'translated', ...given })

/** Stream 1 with ATS and CDs 0 (without SubstreamID) and 5; pages: 1 rw for all, 2 read-only, 3 privileged, 4 executable. */
function simple(options: ConstructorParameters<typeof Rig>[0] = {}, ste: Parameters<Rig['ste']>[1] = {}) {
  const rig = new Rig(options)
  const space = rig.space(1)
  space.table.map(0x1000, PA, 0x1000, RW)
  space.table.map(0x2000, PA + 0x1000, 0x1000, UR | PR)
  space.table.map(0x3000, PA + 0x2000, 0x1000, PR | PW)
  space.table.map(0x4000, PA + 0x3000, 0x1000, UR | UX | PR)
  const table = rig.cdTable(4)
  for (const index of [0, 5]) rig.cd(table + index * 64, { ASID: index, ...space.cd })
  rig.ste(1, { Config: CONFIG_S1, S1ContextPtr: BigInt(table), S1CDMax: 4, S1DSS: 2, EATS: EATS_FULL, ...ste })
  return { rig, space, table }
}

describe('SMMUv3 ATS translation requests', () => {
  it('are answered with the address and what the tables allow', () => {
    const { rig } = simple()
    expect(ask(rig, 1, 0x1008)).toEqual({ ok: true, pa: BigInt(PA + 8), sizeLog2: 12, rights: UR | UW, cached: false })
    expect(ask(rig, 1, 0x1008, { pasid: 5 })).toMatchObject({ pa: BigInt(PA + 8), rights: UR | UW })
    // Asked for writing, granted for reading only.
    expect(ask(rig, 1, 0x2000, { access: 'write' })).toMatchObject({ ok: true, rights: UR })
    // Execution is granted only where asked, with a PASID.
    expect(ask(rig, 1, 0x4000, { pasid: 5, access: 'execute' })).toMatchObject({ rights: UR | UX })
    expect(ask(rig, 1, 0x4000, { pasid: 5 })).toMatchObject({ rights: UR })
    expect(ask(rig, 1, 0x4000, { access: 'execute' })).toMatchObject({ rights: UR })
    // So is privilege.
    expect(ask(rig, 1, 0x3000, { pasid: 5, privileged: true })).toMatchObject({ rights: PR | PW })
    expect(ask(rig, 1, 0x3000, { privileged: true })).toMatchObject({ response: 'no-access' })
    expect(rig.eventNames()).toEqual([])
  })

  it('say no access where a transaction would have a fault of translation, whatever CD.A, R and S say', () => {
    const { rig, space, table } = simple()
    rig.cd(table, { ASID: 0, ...space.cd, A: 0, R: 1, S: 1 })
    const no = { ok: false, response: 'no-access', record: null }
    expect(ask(rig, 1, 0x9000)).toMatchObject({ ...no, name: 'F_TRANSLATION' })
    expect(ask(rig, 1, 0x3000)).toMatchObject({ ...no, name: 'F_PERMISSION' })
    expect(ask(rig, 1, 1n << 50n)).toMatchObject(no)
    expect([rig.eventNames(), rig.smmu.stalls.count]).toEqual([[], 0])
  })

  it('say no access for a quiet CD', () => {
    const { rig, table } = simple()
    rig.cd(table + 5 * 64, { ASID: 5, EPD0: 1, R: 0 })
    expect(ask(rig, 1, 0x1000, { pasid: 5 })).toMatchObject({ response: 'no-access', record: null })
  })

  it('are completer aborts for what a transaction would call an error, recorded with CR2.REC_CFG_ATS only', () => {
    for (const cr2 of [2, 10]) {
      const { rig, space } = simple({ cr2 })
      rig.ste(2, { V: 0 })
      rig.ste(3, { Config: CONFIG_S1, S1ContextPtr: BigInt(HOLE), EATS: EATS_FULL })
      rig.stage1(4, rig.space(1), { V: 0 }, { EATS: EATS_FULL })
      const abort = { ok: false, response: 'completer-abort' }
      expect(ask(rig, 0x100, 0)).toMatchObject({ ...abort, name: 'C_BAD_STREAMID' })
      expect(ask(rig, 2, 0)).toMatchObject({ ...abort, name: 'C_BAD_STE' })
      expect(ask(rig, 3, 0)).toMatchObject({ ...abort, name: 'F_CD_FETCH' })
      expect(ask(rig, 4, 0)).toMatchObject({ ...abort, name: 'C_BAD_CD' })
      expect(ask(rig, 1, 0, { pasid: 0 })).toMatchObject({ ...abort, name: 'F_STREAM_DISABLED' })
      expect(ask(rig, 1, 0, { pasid: 99 })).toMatchObject({ ...abort, name: 'C_BAD_SUBSTREAMID' })
      rig.memory.write64(Number(space.cd.TTB0!), BigInt(HOLE) | 3n)
      expect(ask(rig, 1, 0x1000)).toMatchObject({ ...abort, name: 'F_WALK_EABT' })
      const all = [
        'C_BAD_STREAMID',
        'C_BAD_STE',
        'F_CD_FETCH',
        'C_BAD_CD',
        'F_STREAM_DISABLED',
        'C_BAD_SUBSTREAMID',
        'F_WALK_EABT',
      ]
      expect(rig.eventNames()).toEqual(cr2 === 10 ? all : [])
    }
  })

  it('are unsupported where ATS is off, with an event that tells so', () => {
    const { rig } = simple({}, { EATS: 0 })
    rig.ste(2, { Config: CONFIG_BYPASS, EATS: EATS_FULL })
    rig.ste(3, { Config: CONFIG_ABORT, EATS: EATS_FULL })
    const given = { access: 'execute', pasid: 5, privileged: true } as const
    expect(ask(rig, 1, 0x1234, given)).toMatchObject({ name: 'F_BAD_ATS_TREQ', response: 'unsupported-request' })
    expect(ask(rig, 2, 0x1234)).toMatchObject({ name: 'F_BAD_ATS_TREQ' })
    expect(ask(rig, 3, 0x1234)).toMatchObject({ response: 'unsupported-request', record: null })
    rig.set('CR0', EVENTQEN)
    expect(ask(rig, 1, 0x1234, { access: 'write' })).toMatchObject({ name: 'F_BAD_ATS_TREQ', response: 'unsupported-request' })
    const events = rig.events()
    expect(events.map((event) => event.record.name)).toEqual(['F_BAD_ATS_TREQ', 'F_BAD_ATS_TREQ', 'F_BAD_ATS_TREQ'])
    expect(events[0]!.fields).toMatchObject({
      StreamID: 1,
      SSV: 1,
      SubstreamID: 5,
      R: 1,
      W: 0,
      X: 1,
      Priv: 1,
      InputAddr: 0x1000n,
    })
    expect(events[2]!.fields).toMatchObject({ SSV: 0, R: 1, W: 1, X: 0, Priv: 0 })
  })

  it('pass addresses one to one where stage 1 is bypassed', () => {
    const { rig } = simple({}, { S1DSS: 1 })
    expect(ask(rig, 1, 0x7777_7000)).toMatchObject({ pa: 0x7777_7000n, rights: UR | UW })
    expect(ask(rig, 1, 1n << 48n)).toMatchObject({ response: 'no-access' })
    expect(ask(rig, 1, 0x1000, { pasid: 5 })).toMatchObject({ pa: BigInt(PA) })
  })

  it('refill from a stale IOTLB: why the IOTLB is invalidated before the device', () => {
    const { rig, space } = simple()
    ask(rig, 1, 0x1000)
    space.table.unmap(0x1000, 0x1000)
    rig.send(cmd.ATC_INV, { StreamID: 1, Address: 0x1000n })
    expect(ask(rig, 1, 0x1000)).toMatchObject({ ok: true, pa: BigInt(PA), cached: true })
    rig.send(cmd.TLBI_NH_VA, { Address: 0x1000n })
    expect(ask(rig, 1, 0x1000)).toMatchObject({ response: 'no-access' })
  })

  it('without PASID are for unprivileged data, E0PD included', () => {
    const { rig, space, table } = simple()
    rig.cd(table, { ASID: 0, ...space.cd, E0PD0: 1 })
    expect(ask(rig, 1, 0x1000, { privileged: true })).toMatchObject({ name: 'F_TRANSLATION', response: 'no-access' })
    rig.cd(table + 5 * 64, { ASID: 5, ...space.cd, E0PD0: 1 })
    expect(ask(rig, 1, 0x1000, { privileged: true, pasid: 5 })).toMatchObject({ ok: true, rights: PR | PW })
  })

  it('obey INSTCFG and PRIVCFG', () => {
    const privileged = simple({}, { PRIVCFG: 3 })
    // The answer has the privilege of the question.
    expect(ask(privileged.rig, 1, 0x3000)).toMatchObject({ rights: UR | UW })
    const instruction = simple({}, { INSTCFG: 3 })
    expect(ask(instruction.rig, 1, 0x1000)).toMatchObject({ rights: UW })
    expect(ask(instruction.rig, 1, 0x4000, { pasid: 5, access: 'execute' })).toMatchObject({ rights: UR | UX })
    const data = simple({}, { INSTCFG: 2 })
    expect(ask(data.rig, 1, 0x2000, { pasid: 5, access: 'execute' })).toMatchObject({ rights: UR | UX })
  })
})

describe('SMMUv3 ATS with two stages', () => {
  /** 0x1000 → intermediate 0x3000 → PA, which stage 2 lets nobody write. */
  function nested(eats: number, cr0 = ALL) {
    const rig = new Rig({ cr0 })
    const [inner, outer] = [rig.space(1), rig.space(2)]
    outer.table.map(0x4000_0000, 0x4000_0000, 0x4000_0000, RW)
    outer.table.map(0x3000, PA, 0x1000, UR | PR)
    inner.table.map(0x1000, 0x3000, 0x1000, RW)
    inner.table.map(0x2000, 0x6000, 0x1000, RW)
    inner.table.map(0x5000, 0x6000, 0x1000, PR | PW)
    rig.nested(1, inner, outer, {}, { EATS: eats, S1CDMax: 4, S1DSS: 2 })
    return { rig, inner, outer }
  }

  it('full: the answer is physical, with what both stages allow', () => {
    const { rig } = nested(EATS_FULL)
    expect(ask(rig, 1, 0x1010, { access: 'write' })).toMatchObject({ pa: BigInt(PA + 0x10), rights: UR })
    expect(ask(rig, 1, 0x2000)).toMatchObject({ response: 'no-access', stage: 2 })
    expect(ask(rig, 1, 0x5000)).toMatchObject({ response: 'no-access', stage: 1 })
    expect(direct(rig, 1, PA + 0x10)).toMatchObject({ ok: true, pa: BigInt(PA + 0x10) })
  })

  it('split-stage: the answer is intermediate, and translated transactions go through stage 2', () => {
    const { rig } = nested(EATS_SPLIT)
    for (let time = 0; time < 2; time++)
      expect(ask(rig, 1, 0x1010, { access: 'write' })).toMatchObject({ pa: 0x3010n, rights: UR, sizeLog2: 12 })
    expect(direct(rig, 1, 0x3010)).toMatchObject({ pa: BigInt(PA + 0x10), cached: false })
    expect(direct(rig, 1, 0x3018)).toMatchObject({ pa: BigInt(PA + 0x18), cached: true })
    const fault = direct(rig, 1, 0x3010, { access: 'write', privileged: true, pasid: 7 })
    expect(fault).toMatchObject({ name: 'F_PERMISSION', stage: 2, ipa: 0x3010n, response: 'abort' })
    expect(direct(rig, 1, 1n << 48n)).toMatchObject({ name: 'F_ADDR_SIZE', stage: 1 })
    expect(rig.events().map(({ fields }) => [fields.SSV, fields.PnU, fields.S2, fields.RnW])).toEqual([
      [0, 0, 1, 0],
      [0, 0, 0, 1],
    ])
  })

  it('split-stage and bypass of stage 1: one to one, with the rights of stage 2', () => {
    const { rig, inner, outer } = nested(EATS_SPLIT)
    rig.nested(2, inner, outer, {}, { EATS: EATS_SPLIT, S1CDMax: 4, S1DSS: 1 })
    expect(ask(rig, 2, 0x3000, { access: 'write' })).toMatchObject({ pa: 0x3000n, rights: UR })
    expect(ask(rig, 2, 0x6000)).toMatchObject({ response: 'no-access' })
  })

  it('split-stage needs CR0.ATSCHK', () => {
    const { rig } = nested(EATS_SPLIT, ALL & ~ATSCHK)
    expect(ask(rig, 1, 0x1000)).toMatchObject({ name: 'F_BAD_ATS_TREQ' })
  })

  it('stage 2 alone', () => {
    const rig = new Rig({ cr0: ALL })
    const space = rig.space(2)
    space.table.map(0x3000, PA, 0x1000, UR | PR)
    rig.stage2(1, space, { EATS: EATS_FULL })
    for (let time = 0; time < 2; time++)
      expect(ask(rig, 1, 0x3004, { access: 'write' })).toMatchObject({ pa: BigInt(PA + 4), rights: UR, cached: time === 1 })
    expect(ask(rig, 1, 0x4000)).toMatchObject({ response: 'no-access' })
  })
})

describe('SMMUv3 translated transactions', () => {
  it('pass unchecked while CR0.ATSCHK is 0, but for their size', () => {
    const rig = new Rig()
    expect(direct(rig, 0x999, 0x1234)).toMatchObject({ ok: true, pa: 0x1234n })
    expect(direct(rig, 0x999, 1n << 48n)).toMatchObject({ ok: false, response: 'abort', record: null })
    expect(rig.eventNames()).toEqual([])
  })

  it('are checked against STE.EATS with ATSCHK', () => {
    const { rig } = simple({ cr0: ALL })
    rig.stage1(2, rig.space(1))
    rig.ste(3, { Config: CONFIG_BYPASS, EATS: EATS_FULL })
    rig.ste(4, { Config: CONFIG_ABORT })
    expect(direct(rig, 1, 0x1234)).toMatchObject({ ok: true, pa: 0x1234n })
    expect(direct(rig, 2, 0x1234, { access: 'write' })).toMatchObject({ name: 'F_TRANSL_FORBIDDEN', response: 'abort' })
    expect(direct(rig, 3, 0x1234)).toMatchObject({ name: 'F_TRANSL_FORBIDDEN' })
    expect(direct(rig, 4, 0x1234)).toMatchObject({ response: 'abort', record: null })
    const events = rig.events()
    expect(events.map((event) => event.fields.StreamID)).toEqual([2, 3])
    expect(events[0]!.fields).toMatchObject({ RnW: 0, InputAddr: 0x1234n })
  })

  it('abort on errors of the configuration, recorded with CR2.REC_CFG_ATS only', () => {
    for (const cr2 of [0, 8]) {
      const rig = new Rig({ cr0: ALL, cr2 })
      expect(direct(rig, 5, 0x1234)).toMatchObject({ name: 'C_BAD_STE', response: 'abort' })
      expect(direct(rig, 0x100, 0x1234)).toMatchObject({ name: 'C_BAD_STREAMID', response: 'abort' })
      expect(rig.eventNames()).toEqual(cr2 === 8 ? ['C_BAD_STE', 'C_BAD_STREAMID'] : [])
    }
  })

  it('are forbidden while SMMUEN is 0', () => {
    const rig = new Rig({ cr0: EVENTQEN })
    expect(direct(rig, 1, 0x1234)).toMatchObject({ name: 'F_TRANSL_FORBIDDEN' })
    expect(rig.eventNames()).toEqual(['F_TRANSL_FORBIDDEN'])
  })
})

describe('SMMUv3 ATS invalidation', () => {
  it('reaches the device with its range, and its PASID where given', () => {
    const rig = new Rig()
    rig.send(cmd.ATC_INV, { StreamID: 7, Address: 0x1234_5000n, Size: 4 })
    rig.send(cmd.ATC_INV, { StreamID: 7, SSV: 1, SubstreamID: 9, Address: 0xffff_ffff_ffff_f000n })
    rig.send(cmd.ATC_INV, { StreamID: 7, SSV: 1, SubstreamID: 9, Address: 0x5000n, Size: 52 })
    const common = { kind: 'invalidate', device: 7 }
    expect(rig.messages).toEqual([
      { ...common, pasid: null, address: 0x1234_0000n, bytes: 0x1_0000n, tag: 0 },
      { ...common, pasid: 9, address: 0xffff_ffff_ffff_f000n, bytes: 0x1000n, tag: 1 },
      { ...common, pasid: 9, address: 0n, bytes: null, tag: 2 },
    ])
  })

  it('is ignored while SMMUEN is 0, and where no device listens', () => {
    const off = new Rig({ cr0: CMDQEN })
    off.send(cmd.ATC_INV, { StreamID: 7 })
    off.sync()
    const deaf = new Rig()
    deaf.smmu.onMessage = null
    deaf.send(cmd.ATC_INV, { StreamID: 7 })
    deaf.send(cmd.PRI_RESP, { StreamID: 7, Resp: 2 })
    deaf.sync()
    expect([off.get('CMDQ_CONS'), off.messages, deaf.get('CMDQ_CONS')]).toEqual([2n, [], 3n])
  })
})
