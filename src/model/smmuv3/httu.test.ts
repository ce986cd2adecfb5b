import { describe, expect, it } from 'vitest'
import { PR, PW, UR, UW } from '../../base/types.ts'
import { CFGI_STE_RANGE, TLBI_NSNH_ALL } from '../../format/smmuv3/commands.ts'
import { EATS_FULL } from '../../format/smmuv3/ste.ts'
import { type CdValues, Rig, type RigOptions, RW, type Space, type SteValues } from './rig.suite.ts'

const PA = 0x5000_0000
const AF = 1n << 10n
const READ_ONLY = 1n << 7n
const DBM = 1n << 51n

const entry = (rig: Rig, space: Space, iova: number) => rig.memory.read64(space.table.leaf(iova)!.pa)
const edit = (rig: Rig, space: Space, iova: number, change: (value: bigint) => bigint) => {
  const { pa } = space.table.leaf(iova)!
  rig.memory.write64(pa, change(rig.memory.read64(pa)))
}

/** One page at 0x1000: not accessed yet, writable by hardware's leave only. */
function fresh(cd: CdValues, ste: SteValues = {}, options: RigOptions = {}) {
  const rig = new Rig(options)
  const space = rig.space(1)
  space.table.map(0x1000, PA, 0x1000, UR | PR)
  edit(rig, space, 0x1000, (value) => (value & ~AF) | DBM)
  rig.stage1(1, space, cd, ste)
  return { rig, space, flags: () => entry(rig, space, 0x1000) & (AF | READ_ONLY) }
}

describe('SMMUv3 hardware table updates', () => {
  it('set the access flag with CD.HA, once, and leave dirty state alone', () => {
    const { rig, flags } = fresh({ HA: 1 })
    expect(rig.smmu.explain({ device: 1, iova: 0x1000n, access: 'read' }).outcome.ok).toBe(true)
    expect(flags()).toBe(READ_ONLY)
    expect(rig.reach(1, 0x1000)).toBe(BigInt(PA))
    expect(flags()).toBe(AF | READ_ONLY)
    expect(rig.reach(1, 0x1000, { access: 'write' })).toBe('F_PERMISSION')
  })

  it('mark a page dirty on the first write with CD.HD, also past a cached read', () => {
    const { rig, flags } = fresh({ HA: 1, HD: 1 })
    expect(rig.dma(1, 0x1000)).toMatchObject({ pa: BigInt(PA), rights: RW })
    expect(flags()).toBe(AF | READ_ONLY)
    expect(rig.dma(1, 0x1000)).toMatchObject({ cached: true })
    expect(rig.dma(1, 0x1000, { access: 'write' })).toMatchObject({ pa: BigInt(PA), cached: false })
    expect(flags()).toBe(AF)
    expect(rig.dma(1, 0x1000, { access: 'write' })).toMatchObject({ cached: true })
    expect(rig.eventNames()).toEqual([])
  })

  it('are illegal where IDR0.HTTU does not offer them, and HD without HA does nothing', () => {
    const outcome = (cd: CdValues, HTTU: number, access: 'read' | 'write' = 'read') =>
      fresh(cd, {}, { idr: { HTTU } }).rig.reach(1, 0x1000, { access })
    expect(outcome({}, 0)).toBe('F_ACCESS')
    expect(outcome({ HA: 1 }, 0)).toBe('C_BAD_CD')
    expect(outcome({ HA: 1, HD: 1 }, 1)).toBe('C_BAD_CD')
    expect(outcome({ HA: 1 }, 1)).toBe(BigInt(PA))
    expect(outcome({ HA: 1 }, 1, 'write')).toBe('F_PERMISSION')
    expect(outcome({ HD: 1 }, 2)).toBe('F_ACCESS')
  })

  it('do not make writable what only DBM does not', () => {
    const { rig, space, flags } = fresh({ HA: 1, HD: 1 })
    edit(rig, space, 0x1000, (value) => value & ~DBM)
    expect(rig.reach(1, 0x1000, { access: 'write' })).toBe('F_PERMISSION')
    expect(flags() & READ_ONLY).toBe(READ_ONLY)
  })

  describe('with two stages', () => {
    /** 0x1000 → 0x3000 → PA. The page of the stage 1 tables is read-only but for DBM. */
    function nested(ste: SteValues, options: RigOptions = {}) {
      const rig = new Rig(options)
      const [inner, outer] = [rig.space(1), rig.space(2)]
      inner.table.map(0x1000, 0x3000, 0x1000, UR | PR)
      edit(rig, inner, 0x1000, (value) => (value & ~AF) | DBM)
      const leaf = inner.table.leaf(0x1000)!
      const page = leaf.pa - (leaf.pa % 4096)
      outer.table.map(0x4000_0000, 0x4000_0000, 0x4000_0000, RW)
      outer.table.unmap(page, 0x1000)
      outer.table.map(page, page, 0x1000, UR | PR)
      outer.table.map(0x3000, PA, 0x1000, UR | PR)
      for (const ipa of [page, 0x3000]) edit(rig, outer, ipa, (value) => value | DBM)
      rig.nested(1, inner, outer, { HA: 1, HD: 1 }, ste)
      const writable = (ipa: number) => (entry(rig, outer, ipa) & READ_ONLY) !== 0n
      return { rig, inner, outer, page, writable, leaf }
    }

    it('make the page of the updated table dirty at stage 2, and the data page only for a write', () => {
      const { rig, inner, page, writable } = nested({ S2HA: 1, S2HD: 1 })
      expect(rig.reach(1, 0x1000)).toBe(BigInt(PA))
      expect(entry(rig, inner, 0x1000) & AF).toBe(AF)
      expect([writable(page), writable(0x3000)]).toEqual([true, false])
      expect(rig.reach(1, 0x1000, { access: 'write' })).toBe(BigInt(PA))
      expect([entry(rig, inner, 0x1000) & READ_ONLY, writable(0x3000)]).toEqual([0n, true])
    })

    it('fault where stage 2 does not let the table be written: CLASS TTD, TTRnW write', () => {
      const { rig, leaf } = nested({ S2HA: 1 })
      expect(rig.dma(1, 0x1000)).toMatchObject({ name: 'F_PERMISSION', stage: 2, ipa: BigInt(leaf.pa) })
      expect(rig.events()[0]!.fields).toMatchObject({
        S2: 1,
        CLASS: 1,
        TTRnW: 0,
        RnW: 1,
        IPA: BigInt(leaf.pa - (leaf.pa % 4096)),
      })
    })

    it('set the access flag of stage 2 for the fetch of a CD, never its dirty state', () => {
      const { rig, outer, inner } = nested({ S2HA: 1, S2HD: 1 })
      const cd = rig.nested(2, inner, outer, { HA: 1, HD: 1 }, { S2HA: 1, S2HD: 1 })
      outer.table.unmap(cd, 0x1000)
      outer.table.map(cd, cd, 0x1000, UR | PR)
      edit(rig, outer, cd, (value) => (value & ~AF) | DBM)
      expect(rig.reach(2, 0x1000, { access: 'write' })).toBe(BigInt(PA))
      expect(entry(rig, outer, cd) & (AF | READ_ONLY)).toBe(AF)
    })
  })

  it('for ATS: what is granted counts as accessed, what is asked for writing as dirty', () => {
    const { rig, space, flags } = fresh({ HA: 1, HD: 1 }, { EATS: EATS_FULL })
    const ask = (access: 'read' | 'write') => rig.dma(1, 0x1000, { kind: 'ats-request', access })
    expect(ask('read')).toMatchObject({ ok: true, rights: UR })
    expect(flags()).toBe(AF | READ_ONLY)
    expect(ask('read')).toMatchObject({ rights: UR, cached: true })
    expect(ask('write')).toMatchObject({ rights: UR | UW })
    expect(flags()).toBe(AF)
    expect(ask('read')).toMatchObject({ rights: UR | UW, cached: true })
    // Nothing granted, nothing marked.
    space.table.map(0x2000, PA, 0x1000, PR | PW)
    edit(rig, space, 0x2000, (value) => value & ~AF)
    expect(rig.dma(1, 0x2000, { kind: 'ats-request' })).toMatchObject({ response: 'no-access' })
    expect(entry(rig, space, 0x2000) & AF).toBe(0n)
  })

  it('for ATS without hardware dirty state: a read-only page is not granted for writing', () => {
    const { rig, flags } = fresh({ HA: 1 }, { EATS: EATS_FULL })
    expect(rig.dma(1, 0x1000, { kind: 'ats-request', access: 'write' })).toMatchObject({ ok: true, rights: UR })
    expect(flags()).toBe(AF | READ_ONLY)
    const off = fresh({}, { EATS: EATS_FULL })
    expect(off.rig.dma(1, 0x1000, { kind: 'ats-request' })).toMatchObject({ name: 'F_ACCESS', response: 'no-access' })
  })

  it('of stage 2 alone', () => {
    const rig = new Rig()
    const space = rig.space(2)
    space.table.map(0x1000, PA, 0x1000, UR | PR)
    edit(rig, space, 0x1000, (value) => (value & ~AF) | DBM)
    rig.stage2(1, space, { S2HA: 1, S2HD: 1 })
    expect(rig.reach(1, 0x1000)).toBe(BigInt(PA))
    expect(entry(rig, space, 0x1000) & (AF | READ_ONLY)).toBe(AF)
    expect(rig.reach(1, 0x1000, { access: 'write' })).toBe(BigInt(PA))
    expect(entry(rig, space, 0x1000) & (AF | READ_ONLY)).toBe(AF | READ_ONLY)
    // S2AFFD: no flag needed, none set.
    edit(rig, space, 0x1000, (value) => value & ~AF)
    rig.stage2(1, space, { S2AFFD: 1 })
    rig.send(CFGI_STE_RANGE, { Range: 31 })
    rig.send(TLBI_NSNH_ALL)
    expect(rig.reach(1, 0x1000)).toBe(BigInt(PA))
    expect(entry(rig, space, 0x1000) & AF).toBe(0n)
  })
})
