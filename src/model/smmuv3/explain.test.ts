import { describe, expect, it } from 'vitest'
import { PR, UR } from '../../base/types.ts'
import { CONFIG_ABORT, CONFIG_BYPASS, CONFIG_S1 } from '../../format/smmuv3/ste.ts'
import { CMDQEN, EVENTQEN, HOLE, Rig, RW } from './rig.suite.ts'

const PA = 0x5000_0000

/** Structure, level and text of each step. */
const told = (rig: Rig, device: number, iova: number, pasid?: number) =>
  rig.smmu
    .explain({ device, iova: BigInt(iova), access: 'read', ...(pasid === undefined ? {} : { pasid }) })
    .steps.map((step) => `${step.structure}${step.level === null ? '' : ` ${step.level}`}: ${step.decided}`)

describe('SMMUv3 explanations', () => {
  it('tell each entry from the STE to the page', () => {
    const rig = new Rig()
    const space = rig.space(1)
    space.table.map(0x1000, PA, 0x1000, UR | PR)
    const cd = rig.stage1(1, space)
    const root = Number(space.cd.TTB0!)
    const next = (table: number, index: number) => Number(rig.memory.read64(table + index * 8) & 0xffff_ffff_f000n)
    const [l1, l2, l3] = [next(root, 0), next(next(root, 0), 0), next(next(next(root, 0), 0), 0)]
    const hex = (value: number) => `0x${value.toString(16)}`
    expect(told(rig, 1, 0x1234)).toEqual([
      `STE: valid, stage 1, CD at ${hex(cd)}`,
      `CD: valid, ASID 1, TTB0 at ${hex(root)}, 48 bits, 4 KiB granule, TTB1 off: CD.EPD1 is 1: no walks of TTB1 (5.4)`,
      `VMSAv8-64 stage 1, 4 KiB 0: table at ${hex(l1)}`,
      `VMSAv8-64 stage 1, 4 KiB 1: table at ${hex(l2)}`,
      `VMSAv8-64 stage 1, 4 KiB 2: table at ${hex(l3)}`,
      `VMSAv8-64 stage 1, 4 KiB 3: page of 4 KiB at ${hex(PA)}, r--`,
    ])
    const { outcome, steps } = rig.smmu.explain({ device: 1, iova: 0x1234n, access: 'read' })
    expect(outcome).toMatchObject({ ok: true, pa: BigInt(PA + 0x234), cached: false })
    expect(steps.map((step) => [step.stage, step.address])).toEqual([
      [0, BigInt(rig.strtab + 64)],
      [0, BigInt(cd)],
      [1, BigInt(root)],
      [1, BigInt(l1)],
      [1, BigInt(l2)],
      [1, BigInt(l3 + 8)],
    ])
    expect(steps[0]!.words).toHaveLength(8)
    expect(steps[0]!.fields.find((field) => field.name === 'Config')).toMatchObject({ value: 5, means: 'stage 1' })
    expect(steps[5]!.words).toEqual([rig.memory.read64(l3 + 8)])
  })

  it('tell both levels of stream table and CD table, and both stages', () => {
    const rig = new Rig({ start: false })
    const [inner, outer] = [rig.space(1, { inputBits: 30 }), rig.space(2, { inputBits: 32 })]
    outer.table.map(0x4000_0000, 0x4000_0000, 0x4000_0000, RW)
    inner.table.map(0x20_0000, 0x4000_0000, 0x20_0000, RW)
    const [streams, l1, l2] = [rig.memory.allocate(4096), rig.memory.allocate(4096), rig.memory.allocate(4096)]
    rig.memory.write64(streams + 8, BigInt(rig.strtab) | 9n)
    rig.memory.write64(l1, BigInt(l2) | 1n)
    rig.cd(l2 + 5 * 64, { ASID: 3, ...inner.cd })
    rig.ste(1, { Config: 7, S2VMID: 4, ...outer.ste, S1ContextPtr: BigInt(l1), S1CDMax: 10, S1Fmt: 1, S1DSS: 1 })
    rig.set('STRTAB_BASE', BigInt(streams))
    rig.set('STRTAB_BASE_CFG', (1 << 16) | (8 << 6) | 16)
    rig.set('CR0', 0xd)
    const steps = told(rig, 0x101, 0x20_0042, 5)
    expect(steps[0]).toMatch(/^L1STD: second level at 0x[0-9a-f]+, 256 entries$/)
    expect(steps[1]).toMatch(
      /^STE: valid, stage 1, CD table at 0x\w+ for 1024 SubstreamIDs, without SubstreamID bypass of stage 1, stage 2, VMID 4, table at/,
    )
    // The CD table, then each level of stage 1, then the page: each through one level of stage 2.
    expect(steps.slice(2).map((step) => step.split(':')[0])).toEqual([
      'VMSAv8-64 stage 2, 4 KiB 1',
      'VMSAv8-64 stage 2, 4 KiB 1',
      'L1CD',
      'CD',
      'VMSAv8-64 stage 2, 4 KiB 1',
      'VMSAv8-64 stage 1, 4 KiB 2',
      'VMSAv8-64 stage 2, 4 KiB 1',
    ])
    expect(steps.at(-2)).toContain('block of 2 MiB at intermediate 0x40000000')
    expect(told(rig, 0x101, 0, 99).at(-1)).toContain('L1CD.V is 0')
    expect(told(rig, 0x201, 0).at(-1)).toContain('L1STD.Span is 0')
  })

  it('say what is wrong where it ends', () => {
    const rig = new Rig()
    rig.ste(1, { V: 0 })
    rig.ste(2, { Config: CONFIG_ABORT })
    rig.ste(3, { Config: CONFIG_BYPASS })
    rig.ste(4, { Config: CONFIG_S1, S1ContextPtr: BigInt(HOLE) })
    rig.stage1(5, rig.space(1), { TG0: 3 })
    rig.stage1(6, rig.space(1))
    expect(told(rig, 1, 0)[0]).toMatch(/^STE: bad: .*V.*5\.2/)
    expect(told(rig, 2, 0)).toEqual(['STE: valid, aborts everything silently'])
    expect(told(rig, 3, 0)).toEqual(['STE: valid, bypass: addresses pass as they are'])
    expect(told(rig, 4, 0)[1]).toMatch(/^CD: nothing answers/)
    expect(told(rig, 5, 0)[1]).toMatch(/^CD: bad: .*TG0/)
    expect(told(rig, 6, 0)[2]).toMatch(/0: the level 0 entry is not valid: bit 0 is 0/)
    expect(told(rig, 0x100, 0)).toEqual(['STE: StreamID is beyond STRTAB_BASE_CFG.LOG2SIZE (7.3.3)'])
    rig.set('CR0', CMDQEN | EVENTQEN)
    expect(told(rig, 1, 0)).toEqual([
      'CR0: SMMUEN is 0: no tables are read, GBPA decides',
      'GBPA: ABORT is 0: everything passes as it is',
    ])
  })

  it('say why an entry of a page table ends the walk', () => {
    const rig = new Rig()
    const space = rig.space(1)
    space.table.map(0x1000, PA, 0x1000, RW)
    rig.stage1(1, space)
    const { pa } = space.table.leaf(0x1000)!
    const root = Number(space.cd.TTB0!)
    const [leaf, table] = [rig.memory.read64(pa), rig.memory.read64(root)]
    const last = (address: number, value: bigint) => {
      const before = rig.memory.read64(address)
      rig.memory.write64(address, value)
      const text = told(rig, 1, 0x1000).at(-1)!
      const fault = rig.smmu.explain({ device: 1, iova: 0x1000n, access: 'read' }).outcome
      expect(fault.ok).toBe(false)
      if (!fault.ok) expect(fault.why).toContain(text.replace(/^[^:]*: /, ''))
      rig.memory.write64(address, before)
      return text
    }
    expect(last(pa, leaf & ~1n)).toContain('3: the level 3 entry is not valid: bit 0 is 0')
    expect(last(pa, leaf & ~2n)).toContain('3: the level 3 entry is reserved: bits 1:0 are 0b01')
    expect(last(root, table & ~2n)).toContain('0: the level 0 entry is not valid: no block may stand at this level')
    expect(last(pa, leaf & ~0x400n)).toContain('AF of the level 3 entry is 0')
    // APTable takes unprivileged access away, whatever the page says; so EL0 does not write, and EL1 may execute (D8.4).
    expect(last(root, table | (1n << 61n))).toContain('the tables allow ---/rwx, which is not enough')
  })

  it('see the tables as they are now, and leave everything as it is', () => {
    const rig = new Rig()
    const space = rig.space(1)
    space.table.map(0x1000, PA, 0x1000, RW)
    rig.stage1(1, space)
    rig.reach(1, 0x1000)
    rig.ste(1, { V: 0 })
    const before = [rig.smmu.tlb.used, rig.smmu.config.streams.used, rig.get('EVENTQ_PROD')]
    expect(rig.smmu.explain({ device: 1, iova: 0x1000n, access: 'read' }).outcome).toMatchObject({ name: 'C_BAD_STE' })
    expect([rig.smmu.tlb.used, rig.smmu.config.streams.used, rig.get('EVENTQ_PROD')]).toEqual(before)
    expect(rig.dma(1, 0x1000)).toMatchObject({ ok: true, cached: true })
  })
})
