import { describe, expect, it } from 'vitest'
import * as cmd from '../../format/smmuv3/commands.ts'
import { CONFIG_ABORT } from '../../format/smmuv3/ste.ts'
import { CMDQEN, EVENTQEN, HOLE, Rig, type RigOptions, RW, SMMUEN, type Space } from './rig.suite.ts'

const PA = 0x5000_0000

/** Stream 1 stalls at stage 1. */
function stalling(options: RigOptions = {}): { rig: Rig; space: Space; resume: (given: Record<string, number>) => void } {
  const rig = new Rig(options)
  const space = rig.space(1)
  rig.stage1(1, space, { S: 1, R: 0 })
  const resume = (given: Record<string, number>) => rig.send(cmd.RESUME, { StreamID: 1, ...given })
  return { rig, space, resume }
}

const message = (stallTag: number, action: string) => ({ kind: 'resume', device: 1, stallTag, action })

describe('SMMUv3 stalls', () => {
  it('hold the transaction, and record it whatever CD.R says', () => {
    const { rig } = stalling()
    expect(rig.dma(1, 0x1234, { access: 'write' })).toMatchObject({ response: 'stalled', stallTag: 0, name: 'F_TRANSLATION' })
    expect(rig.events()[0]!.fields).toMatchObject({ Stall: 1, STAG: 0, StreamID: 1, RnW: 0, InputAddr: 0x1234n })
    expect([rig.smmu.stalls.count, rig.messages]).toEqual([1, []])
  })

  it('end as CMD_RESUME says: retry, abort, or RAZ/WI', () => {
    const { rig, space, resume } = stalling()
    for (const iova of [0x1000, 0x2000, 0x3000]) rig.dma(1, iova)
    expect(rig.events().map((event) => event.fields.STAG)).toEqual([0, 1, 2])
    resume({ STAG: 1, Ab: 1 })
    resume({ STAG: 2 })
    space.table.map(0x1000, PA, 0x1000, RW)
    resume({ STAG: 0, Ac: 1, Ab: 1 })
    expect(rig.messages).toEqual([message(1, 'abort'), message(2, 'terminate'), message(0, 'retry')])
    expect(rig.reach(1, 0x1000)).toBe(BigInt(PA))
    expect(rig.smmu.stalls.count).toBe(0)
  })

  it('are new transactions when retried: a fault stalls again, under another tag', () => {
    const { rig, resume } = stalling()
    rig.smmu.onMessage = (given) => {
      if (given.kind === 'resume' && given.action === 'retry') rig.dma(1, 0x1000)
    }
    rig.dma(1, 0x1000)
    resume({ STAG: 0, Ac: 1 })
    expect(rig.events().map((event) => event.fields.STAG)).toEqual([0, 1])
    expect(rig.smmu.stalls.count).toBe(1)
  })

  it('ignore a tag that is not held, is answered already, or belongs to another stream', () => {
    const { rig, resume } = stalling()
    rig.dma(1, 0x1000)
    resume({ STAG: 5, Ac: 1 })
    resume({ StreamID: 2, STAG: 0, Ac: 1 })
    expect([rig.smmu.stalls.count, rig.messages]).toEqual([1, []])
    resume({ STAG: 0, Ac: 1 })
    resume({ STAG: 0, Ac: 1 })
    expect(rig.messages).toEqual([message(0, 'retry')])
    expect(rig.cmdqError).toBe(0)
  })

  it('abort where the SMMU cannot do RAZ/WI', () => {
    const { rig, resume } = stalling({ idr: { TERM_MODEL: 1 } })
    rig.dma(1, 0x1000)
    resume({ STAG: 0 })
    expect(rig.messages).toEqual([message(0, 'abort')])
  })

  it('end with an abort on CMD_STALL_TERM, those of one stream', () => {
    const { rig, space } = stalling()
    rig.stage1(2, space, { S: 1 })
    rig.dma(1, 0x1000)
    rig.dma(2, 0x1000)
    rig.dma(1, 0x2000)
    rig.ste(1, { Config: CONFIG_ABORT })
    rig.send(cmd.CFGI_STE, { StreamID: 1 })
    rig.send(cmd.STALL_TERM, { StreamID: 1 })
    expect(rig.messages).toEqual([message(0, 'abort'), message(2, 'abort')])
    expect(rig.smmu.stalls.of(null).map((each) => each.device)).toEqual([2])
  })

  it('end with an abort when translation is switched off', () => {
    const { rig } = stalling()
    rig.dma(1, 0x1000)
    rig.set('CR0', CMDQEN | EVENTQEN)
    expect([rig.messages, rig.smmu.stalls.count]).toEqual([[message(0, 'abort')], 0])
  })

  it('come of stage 2 too, for CDs and tables as for data', () => {
    const rig = new Rig()
    const [inner, outer] = [rig.space(1), rig.space(2)]
    const cd = rig.nested(1, inner, outer, {}, { S2S: 1, S2R: 0 })
    expect(rig.dma(1, 0x1000)).toMatchObject({ response: 'stalled', stage: 2, ipa: BigInt(cd) })
    outer.table.map(0x4000_0000, 0x4000_0000, 0x4000_0000, RW)
    inner.table.map(0x1000, 0x3000, 0x1000, RW)
    expect(rig.dma(1, 0x1000)).toMatchObject({ response: 'stalled', stage: 2, ipa: 0x3000n })
    expect(rig.events().map(({ fields }) => [fields.CLASS, fields.Stall])).toEqual([
      [0, 1],
      [2, 1],
    ])
  })

  it('are not for errors of the configuration, nor for aborted fetches', () => {
    const { rig, space } = stalling()
    rig.memory.write64(Number(space.cd.TTB0!), BigInt(HOLE) | 3n)
    expect(rig.dma(1, 0x1000)).toMatchObject({ name: 'F_WALK_EABT', response: 'abort' })
  })

  it('are illegal where the SMMU or the STE has none, and forced where it has nothing else', () => {
    const never = stalling({ idr: { STALL_MODEL: 1, STALL_MAX: 0 } })
    expect(never.rig.reach(1, 0x1000)).toBe('C_BAD_CD')
    const forced = new Rig({ idr: { STALL_MODEL: 2 } })
    forced.stage1(1, forced.space(1))
    expect(forced.reach(1, 0x1000)).toBe('C_BAD_CD')
    const disabled = new Rig()
    disabled.stage1(1, disabled.space(1), { S: 1 }, { S1STALLD: 1 })
    expect(disabled.reach(1, 0x1000)).toBe('C_BAD_CD')
  })

  it('never lose their event: it is recorded when the queue has room, and is no overflow', () => {
    const { rig } = stalling({ eventqLog2: 0 })
    rig.dma(1, 0x1000)
    rig.dma(1, 0x2000)
    rig.dma(1, 0x3000)
    expect(rig.get('EVENTQ_PROD')).toBe(1n)
    const seen: (bigint | number)[] = []
    for (let round = 0; round < 3; round++) seen.push(...rig.events().map((event) => event.fields.InputAddr!))
    expect(seen).toEqual([0x1000n, 0x2000n, 0x3000n])
    expect(rig.get('EVENTQ_PROD') & 0x8000_0000n).toBe(0n)
  })

  it('wait for the event queue to be switched on, and for an abort of it to be acknowledged', () => {
    const { rig } = stalling({ cr0: SMMUEN | CMDQEN })
    rig.dma(1, 0x1000)
    expect(rig.smmu.stalls.unrecorded()).toHaveLength(1)
    rig.set('CR0', SMMUEN | CMDQEN | EVENTQEN)
    expect(rig.events().map((event) => event.fields.STAG)).toEqual([0])
  })

  it('whose event could not be written are tried again as if they had just arrived', () => {
    const { rig, space } = stalling({ eventqLog2: 0 })
    rig.stage1(2, rig.space(1), { S: 1 })
    rig.dma(1, 0x1000)
    rig.dma(1, 0x2000)
    rig.dma(2, 0x3000)
    // By then one would pass, and another's stream aborts everything.
    space.table.map(0x2000, PA, 0x1000, RW)
    rig.ste(2, { Config: CONFIG_ABORT })
    rig.send(cmd.CFGI_STE, { StreamID: 2 })
    rig.sync()
    rig.events()
    expect(rig.messages).toEqual([message(1, 'retry'), { ...message(2, 'abort'), device: 2 }])
    expect([rig.eventNames(), rig.smmu.stalls.count]).toEqual([[], 1])
  })

  it('cannot be resumed before software has seen the event', () => {
    const { rig, resume } = stalling({ eventqLog2: 0 })
    rig.dma(1, 0x1000)
    rig.dma(1, 0x2000)
    resume({ STAG: 1, Ac: 1 })
    expect(rig.messages).toEqual([])
  })

  it('beyond IDR5.STALL_MAX wait for a tag, without an event', () => {
    const { rig, resume } = stalling({ idr: { STALL_MAX: 2 } })
    for (const iova of [0x1000, 0x2000]) rig.dma(1, iova)
    expect(rig.dma(1, 0x3000)).toMatchObject({ response: 'stalled', stallTag: 0x10000, record: null })
    expect(rig.events()).toHaveLength(2)
    resume({ STAG: 0, Ac: 1 })
    expect(rig.events().map((event) => [event.fields.InputAddr, event.fields.STAG])).toEqual([[0x3000n, 0]])
    resume({ STAG: 0, Ab: 1 })
    expect(rig.messages).toEqual([message(0, 'retry'), message(0x10000, 'abort')])
  })

  it('use a tag again only after it was answered', () => {
    const { rig, resume } = stalling({ idr: { STALL_MAX: 3 } })
    const tags: number[] = []
    for (let round = 0; round < 8; round++) {
      rig.dma(1, 0x1000 * (round + 1))
      const [event] = rig.events()
      tags.push(Number(event!.fields.STAG))
      if (round > 0) resume({ STAG: tags[round]!, Ac: 1 })
    }
    expect(tags.slice(1)).not.toContain(tags[0])
    expect(new Set(tags).size).toBe(3)
  })

  it('leave no trace when explained', () => {
    const { rig } = stalling()
    const { outcome } = rig.smmu.explain({ device: 1, iova: 0x1000n, access: 'read' })
    expect(outcome).toMatchObject({ response: 'stalled' })
    expect([rig.smmu.stalls.count, rig.eventNames()]).toEqual([0, []])
  })
})
