import { describe, expect, it } from 'vitest'
import { PR, PW, UR, UW } from '../../base/types.ts'
import { CFGI_CD, CFGI_STE } from '../../format/smmuv3/commands.ts'
import { CONFIG_ABORT, CONFIG_BYPASS, CONFIG_NESTED, CONFIG_S1 } from '../../format/smmuv3/ste.ts'
import { CMDQEN, EVENTQEN, Rig, RW } from './rig.suite.ts'

const PA = 0x5000_0000

describe('SMMUv3 translation', () => {
  it('lets everything pass while SMMUEN is 0, and aborts it when GBPA.ABORT is 1', () => {
    const rig = new Rig({ cr0: CMDQEN | EVENTQEN })
    expect(rig.reach(1, 0x1234n, { pasid: 5 })).toBe(0x1234n)
    rig.set('GBPA', 0x8010_0000n)
    expect(rig.dma(1, 0x1234n)).toMatchObject({ ok: false, code: 0, response: 'abort', record: null })
    rig.set('GBPA', 0x8000_0000n)
    expect(rig.reach(1, 0x1234n)).toBe(0x1234n)
    expect(rig.dma(1, 1n << 48n)).toMatchObject({ ok: false, response: 'abort', record: null })
    expect(rig.eventNames()).toEqual([])
  })

  it('obeys STE.Config: abort is silent, bypass passes addresses within the output size', () => {
    const rig = new Rig()
    rig.ste(1, { Config: CONFIG_ABORT })
    expect(rig.dma(1, 0)).toMatchObject({ ok: false, code: 0, response: 'abort', record: null })
    expect(rig.eventNames()).toEqual([])
    rig.ste(2, { Config: CONFIG_BYPASS })
    expect(rig.reach(2, 0xfedc_ba98_7654n)).toBe(0xfedc_ba98_7654n)
    expect(rig.dma(2, 1n << 48n)).toMatchObject({ ok: false, name: 'F_ADDR_SIZE', stage: 1, response: 'abort' })
    expect(rig.events()[0]).toMatchObject({ record: { name: 'F_ADDR_SIZE' }, fields: { S2: 0, CLASS: 2, InputAddr: 1n << 48n } })
    expect(rig.reach(2, 0, { pasid: 1 })).toBe('C_BAD_SUBSTREAMID')
  })

  it('translates stage 1, pages and blocks, with what the tables allow', () => {
    const rig = new Rig()
    const space = rig.space(1)
    rig.stage1(7, space)
    space.table.map(0x7f00_0000_0000, PA, 0x1000, UR | UW | PR | PW)
    space.table.map(0x4000_0000, 0x6000_0000, 0x20_0000, UR | PR)
    const first = rig.dma(7, 0x7f00_0000_0abcn, { access: 'write' })
    expect(first).toEqual({ ok: true, pa: BigInt(PA + 0xabc), sizeLog2: 12, rights: RW, cached: false })
    expect(rig.dma(7, 0x7f00_0000_0def)).toEqual({ ...first, pa: BigInt(PA + 0xdef), cached: true })
    expect(rig.dma(7, 0x4012_3456)).toMatchObject({ pa: 0x6012_3456n, sizeLog2: 21, rights: UR | PR })
    expect(rig.reach(7, 0x4012_3456, { access: 'write' })).toBe('F_PERMISSION')
    expect(rig.reach(7, 0x4040_0000)).toBe('F_TRANSLATION')
  })

  it('chooses the upper half by bit 55 and checks its own size', () => {
    const rig = new Rig()
    const [low, high] = [rig.space(1, { inputBits: 39 }), rig.space(1, { granule: 14, inputBits: 36 })]
    low.table.map(0x1000, PA, 0x1000, RW)
    high.table.map(0x4000, PA + 0x4000, 0x4000, RW)
    const upper = { EPD1: 0, T1SZ: 64 - 36, TG1: 1, TTB1: high.cd.TTB0! }
    rig.stage1(1, low, upper)
    expect(rig.reach(1, 0x1000)).toBe(BigInt(PA))
    expect(rig.reach(1, 0xffff_fff0_0000_4010n)).toBe(BigInt(PA + 0x4010))
    expect(rig.reach(1, 0xffff_ffe0_0000_4010n)).toBe('F_TRANSLATION')
    expect(rig.reach(1, 1n << 39n)).toBe('F_TRANSLATION')
  })

  it('ignores the top byte only where TBI says so', () => {
    const rig = new Rig()
    const space = rig.space(1)
    space.table.map(0x1000, PA, 0x1000, RW)
    rig.stage1(1, space, { TBI0: 1 })
    rig.stage1(2, space)
    expect(rig.reach(1, 0xab00_0000_0000_1000n)).toBe(BigInt(PA))
    expect(rig.dma(1, 0xcd00_0000_0000_1000n)).toMatchObject({ pa: BigInt(PA), cached: true })
    expect(rig.reach(2, 0xab00_0000_0000_1000n)).toBe('F_TRANSLATION')
    expect(rig.events()[0]!.fields).toMatchObject({ InputAddr: 0xab00_0000_0000_1000n })
  })

  it('translates stage 2 alone, tagged by VMID', () => {
    const rig = new Rig()
    const space = rig.space(2)
    space.table.map(0x8000_0000, PA, 0x4000, UR | UW | PR | PW)
    rig.stage2(3, space)
    expect(rig.dma(3, 0x8000_1234, { access: 'write' })).toMatchObject({ pa: BigInt(PA + 0x1234), cached: false })
    expect(rig.dma(3, 0x8000_1234)).toMatchObject({ pa: BigInt(PA + 0x1234), cached: true })
    expect(rig.smmu.tlb.list()).toMatchObject([{ vmid: 3, input: 0x8000_1000n, output: BigInt(PA + 0x1000) }])
    expect(rig.reach(3, 0x8000_0000, { pasid: 0 })).toBe('C_BAD_SUBSTREAMID')
    expect(rig.reach(3, 1n << 40n)).toBe('F_TRANSLATION')
    // Beyond the intermediate size it is a stage 1 matter.
    expect(rig.dma(3, 1n << 48n)).toMatchObject({ name: 'F_ADDR_SIZE', stage: 1 })
  })

  it('translates through both stages, CD and stage 1 tables included', () => {
    const rig = new Rig()
    const [inner, outer] = [rig.space(1), rig.space(2)]
    // The guest sees memory 0x1000_0000 lower than it is.
    const guest = 0x1000_0000
    outer.table.map(0x3000_0000, 0x4000_0000, 0x1000_0000, RW)
    inner.table.map(0x7000_0000, 0x3fff_0000, 0x1000, RW)
    outer.table.unmap(0x3fff_0000, 0x1000)
    outer.table.map(0x3fff_0000, PA, 0x1000, UR | PR)
    // Its tables hold intermediate addresses.
    const root = Number(inner.cd.TTB0!)
    for (let table = root, level = 0; level < 3; level++) {
      const index = level === 0 ? 0 : level === 1 ? 1 : (0x7000_0000 >> 21) & 511
      const entry = rig.memory.read64(table + index * 8)
      rig.memory.write64(table + index * 8, entry - BigInt(guest))
      table = Number(entry & 0xffff_ffff_f000n)
    }
    const cd = rig.nested(5, inner, outer, { TTB0: BigInt(root - guest) })
    rig.ste(5, { Config: CONFIG_NESTED, S2VMID: 9, ...outer.ste, S1ContextPtr: BigInt(cd - guest) })
    expect(rig.dma(5, 0x7000_0042)).toEqual({ ok: true, pa: BigInt(PA + 0x42), sizeLog2: 12, rights: UR | PR, cached: false })
    expect(rig.dma(5, 0x7000_0042)).toMatchObject({ cached: true })
    expect(rig.dma(5, 0x7000_0042, { access: 'write' })).toMatchObject({ name: 'F_PERMISSION', stage: 2, ipa: 0x3fff_0042n })
  })

  it('takes the smaller size of the two stages', () => {
    const rig = new Rig()
    const [inner, outer] = [rig.space(1), rig.space(2)]
    outer.table.map(0x4000_0000, 0x4000_0000, 0x4000_0000, RW)
    outer.table.unmap(0x5010_0000, 0x1000)
    inner.table.map(0, 0x5000_0000, 0x20_0000, RW)
    rig.nested(1, inner, outer)
    expect(rig.dma(1, 0x8_0000)).toMatchObject({ pa: 0x5008_0000n, sizeLog2: 12 })
    expect(rig.reach(1, 0x10_0000)).toBe('F_TRANSLATION')
  })

  it('walks every granule, with 52-bit addresses where the SMMU has them', () => {
    const rig = new Rig({ idr: { OAS: 6, VAX: 1, DS: 1 } })
    const high = 0xf_0000_0000_0000
    for (const granule of [12, 14, 16] as const) {
      const page = 2 ** granule
      const space = rig.space(1, { granule, inputBits: 52, wide: true })
      space.table.map(high, 0x5000_0000, page, RW)
      space.table.map(high + 16 * page, 0xf_1234_5600_0000 - (0xf_1234_5600_0000 % page), page, RW)
      rig.stage1(granule, space, { IPS: 6, DS: granule === 16 ? 0 : 1 })
      expect(rig.reach(granule, BigInt(high) + 0x30n), `${granule}`).toBe(0x5000_0030n)
      expect(rig.reach(granule, BigInt(high + 16 * page)), `${granule}`).toBe(0xf_1234_5600_0000n)
    }
    expect(rig.eventNames()).toEqual([])
  })

  describe('S1DSS', () => {
    const cases: [name: string, s1dss: number, none: string, zero: string, two: string, large: string][] = [
      ['terminate', 0, 'F_STREAM_DISABLED', 'CD 0', 'CD 2', 'C_BAD_SUBSTREAMID'],
      ['bypass', 1, 'bypass', 'CD 0', 'CD 2', 'C_BAD_SUBSTREAMID'],
      ['CD 0', 2, 'CD 0', 'F_STREAM_DISABLED', 'CD 2', 'C_BAD_SUBSTREAMID'],
      ['reserved, as terminate', 3, 'F_STREAM_DISABLED', 'CD 0', 'CD 2', 'C_BAD_SUBSTREAMID'],
    ]
    it.each(cases)('%s: without SubstreamID, 0, 2, too large', (_, S1DSS, ...expected) => {
      const rig = new Rig()
      const table = rig.cdTable(4)
      const pages: Record<string, string> = { [String(0x1000)]: 'bypass' }
      for (const index of [0, 2]) {
        const space = rig.space(1)
        space.table.map(0x1000, PA + index * 0x1000, 0x1000, RW)
        rig.cd(table + index * 64, { ASID: 10 + index, ...space.cd })
        pages[String(PA + index * 0x1000)] = `CD ${index}`
      }
      rig.ste(1, { Config: CONFIG_S1, S1ContextPtr: BigInt(table), S1CDMax: 4, S1DSS })
      const seen = [{}, { pasid: 0 }, { pasid: 2 }, { pasid: 16 }].map((given) => {
        const reached = rig.reach(1, 0x1000, given)
        return typeof reached === 'string' ? reached : pages[String(reached)]
      })
      expect(seen).toEqual(expected)
      // The same again, now that everything is cached.
      expect(rig.reach(1, 0x1000, { pasid: 2 })).toBe(BigInt(PA + 0x2000))
    })

    it('bypass goes on through stage 2', () => {
      const rig = new Rig()
      const [inner, outer] = [rig.space(1), rig.space(2)]
      outer.table.map(0x4000_0000, 0x4000_0000, 0x4000_0000, RW)
      outer.table.map(0x1000, PA, 0x1000, RW)
      rig.nested(1, inner, outer, {}, { S1CDMax: 4, S1DSS: 1 })
      expect(rig.reach(1, 0x1008)).toBe(BigInt(PA + 8))
      expect(rig.dma(1, 0x2000)).toMatchObject({ name: 'F_TRANSLATION', stage: 2, ipa: 0x2000n })
    })
  })

  it('finds CDs in two-level tables, and says which level 1 descriptor is missing', () => {
    for (const [S1Fmt, leaf] of [
      [1, 64],
      [2, 1024],
    ] as const) {
      const rig = new Rig()
      const space = rig.space(1)
      space.table.map(0x1000, PA, 0x1000, RW)
      const [l1, l2] = [rig.memory.allocate(4096), rig.memory.allocate(leaf * 64)]
      rig.memory.write64(l1 + 8, BigInt(l2) | 1n)
      rig.cd(l2 + 3 * 64, { ASID: 3, ...space.cd })
      rig.ste(1, { Config: CONFIG_S1, S1ContextPtr: BigInt(l1), S1CDMax: 12, S1Fmt, S1DSS: 0 })
      expect(rig.reach(1, 0x1000, { pasid: leaf + 3 })).toBe(BigInt(PA))
      expect(rig.reach(1, 0x1000, { pasid: leaf + 4 })).toBe('C_BAD_CD')
      expect(rig.dma(1, 0x1000, { pasid: 3 })).toMatchObject({
        name: 'C_BAD_SUBSTREAMID',
        why: expect.stringContaining('L1CD.V'),
      })
    }
  })

  it('finds STEs in a two-level stream table', () => {
    const rig = new Rig({ start: false })
    const [l1, l2] = [rig.memory.allocate(4096), rig.memory.allocate(64 * 256)]
    rig.memory.write64(l1 + 8, BigInt(l2) | 8n)
    rig.set('STRTAB_BASE', BigInt(l1))
    rig.set('STRTAB_BASE_CFG', (1 << 16) | (8 << 6) | 16)
    rig.set('CR0', 0xd)
    rig.writeWords(l2 + 5 * 64, new Uint32Array(rig.memory.read(rig.ste(0, { Config: CONFIG_BYPASS }), 64).buffer))
    expect(rig.reach(0x105, 0x42)).toBe(0x42n)
    expect(rig.reach(0x106, 0x42)).toBe('C_BAD_STE')
    expect(rig.reach(0x005, 0x42)).toBe('C_BAD_STREAMID')
    expect(rig.reach(0x185, 0x42)).toBe('C_BAD_STREAMID')
    expect(rig.reach(0x10000, 0x42)).toBe('C_BAD_STREAMID')
  })

  it('applies INSTCFG and PRIVCFG before it checks rights', () => {
    const rig = new Rig()
    const space = rig.space(1)
    // Privileged only, and never executable.
    space.table.map(0x1000, PA, 0x1000, PR | PW)
    rig.stage1(1, space)
    rig.stage1(2, space, {}, { PRIVCFG: 3 })
    rig.stage1(3, space, {}, { PRIVCFG: 3, INSTCFG: 3 })
    rig.stage1(4, space, {}, { PRIVCFG: 2 })
    rig.stage1(5, space, {}, { INSTCFG: 2 })
    expect(rig.reach(1, 0x1000)).toBe('F_PERMISSION')
    expect(rig.reach(1, 0x1000, { privileged: true })).toBe(BigInt(PA))
    expect(rig.reach(2, 0x1000)).toBe(BigInt(PA))
    expect(rig.reach(3, 0x1000)).toBe('F_PERMISSION')
    expect(rig.reach(3, 0x1000, { access: 'write' })).toBe(BigInt(PA))
    expect(rig.reach(4, 0x1000, { privileged: true })).toBe('F_PERMISSION')
    expect(rig.reach(5, 0x1000, { access: 'execute', privileged: true })).toBe(BigInt(PA))
    const seen = rig.events().map(({ fields }) => [fields.PnU, fields.InD, fields.RnW])
    expect(seen).toEqual([
      [0, 0, 1],
      [1, 1, 1],
      [0, 0, 1],
    ])
  })

  it('has one privilege and no ASIDs in EL2, and ASIDs again in EL2-E2H', () => {
    for (const cr2 of [2, 3]) {
      const rig = new Rig({ cr2 })
      const [a, b] = [rig.space(1, { regime: cr2 === 3 ? 'el1' : 'el2' }), rig.space(1, { regime: cr2 === 3 ? 'el1' : 'el2' })]
      a.table.map(0x1000, PA, 0x1000, PR | PW | (cr2 === 3 ? 0 : UR | UW))
      b.table.map(0x1000, PA + 0x1000, 0x1000, PR | PW | (cr2 === 3 ? 0 : UR | UW))
      rig.stage1(1, a, { EPD1: cr2 === 3 ? 1 : 0 }, { STRW: 2 })
      rig.stage1(2, b, { EPD1: cr2 === 3 ? 1 : 0 }, { STRW: 2 })
      expect(rig.reach(1, 0x1000, { privileged: true })).toBe(BigInt(PA))
      // EL2 has one address space: the other stream meets the first one's translation.
      expect(rig.reach(2, 0x1000, { privileged: true })).toBe(BigInt(cr2 === 3 ? PA + 0x1000 : PA))
      expect(rig.reach(1, 0x1000)).toBe(cr2 === 3 ? 'F_PERMISSION' : BigInt(PA))
      expect(rig.smmu.tlb.list().map((entry) => [entry.regime, entry.vmid, entry.asid])).toEqual(
        cr2 === 3
          ? [
              [2, 0, 1],
              [2, 0, 2],
            ]
          : [[1, 0, 0]],
      )
    }
  })

  it('answers E0PD and EPD with a translation fault, and hits past EPD until the entry is invalidated', () => {
    const rig = new Rig()
    const space = rig.space(1)
    space.table.map(0x1000, PA, 0x1000, RW)
    const cd = rig.stage1(1, space, { E0PD0: 1 })
    expect(rig.reach(1, 0x1000)).toBe('F_TRANSLATION')
    expect(rig.reach(1, 0x1000, { privileged: true })).toBe(BigInt(PA))
    expect(rig.reach(1, 0x1000)).toBe('F_TRANSLATION')
    rig.cd(cd, { ASID: 1, EPD0: 1 })
    rig.send(CFGI_CD, { StreamID: 1, Leaf: 1 })
    expect(rig.reach(1, 0x1000)).toBe(BigInt(PA))
    expect(rig.reach(1, 0x2000)).toBe('F_TRANSLATION')
  })

  it('reads big-endian tables where CD.ENDI says so', () => {
    const rig = new Rig()
    const space = rig.space(1)
    space.table.map(0x1000, PA, 0x1000, RW)
    let table = Number(space.cd.TTB0!)
    for (let level = 0; level < 4; level++) {
      const at = table + (level === 3 ? 8 : 0)
      const bytes = rig.memory.read(at, 8)
      table = Number(rig.memory.read64(at) & 0xffff_ffff_f000n)
      rig.memory.write(at, bytes.reverse())
    }
    rig.stage1(1, space, { ENDI: 1 })
    rig.stage1(2, space)
    expect(rig.reach(1, 0x1000)).toBe(BigInt(PA))
    expect(rig.reach(2, 0x1000)).toBe('F_TRANSLATION')
  })

  it('refuses what no bus can carry', () => {
    const rig = new Rig()
    expect(() => rig.dma(2 ** 32, 0)).toThrow(/StreamID/)
    expect(() => rig.dma(1, 0, { pasid: 1 << 20 })).toThrow(/0xfffff/)
    expect(() => rig.smmu.explain({ device: 1, pasid: -1, iova: 0n, access: 'read' })).toThrow(/leave it out/)
  })

  it('gives the same answers without any cache', () => {
    const rig = new Rig({ caches: { config: 0, tlb: 0 } })
    const space = rig.space(1)
    space.table.map(0x1000, PA, 0x1000, RW)
    rig.stage1(1, space)
    for (let time = 0; time < 2; time++) expect(rig.dma(1, 0x1000)).toMatchObject({ pa: BigInt(PA), cached: false })
    rig.ste(1, { Config: CONFIG_BYPASS })
    expect(rig.reach(1, 0x1000)).toBe(0x1000n)
  })

  it('uses a changed STE only after CMD_CFGI_STE', () => {
    const rig = new Rig()
    rig.ste(1, { Config: CONFIG_BYPASS })
    expect(rig.reach(1, 0x1000)).toBe(0x1000n)
    rig.ste(1, { Config: CONFIG_ABORT })
    expect(rig.reach(1, 0x1000)).toBe(0x1000n)
    rig.send(CFGI_STE, { StreamID: 1, Leaf: 1 })
    expect(rig.reach(1, 0x1000)).toBe('abort')
  })

  it('fast and bigint entries agree', () => {
    const rig = new Rig()
    const space = rig.space(2)
    space.table.map(0x12_3450_0000, PA, 0x1000, RW)
    rig.stage2(1, space)
    expect(rig.smmu.translateFast(1, -1, 0x12, 0x3450_0040, 1)).toBe(0)
    expect(rig.smmu.result).toMatchObject({ paHi: 0, paLo: PA + 0x40, sizeLog2: 12, rights: RW })
    expect(rig.smmu.translateFast(1, -1, 0x12, 0x3450_1000, 1)).not.toBe(0)
    expect(rig.smmu.result.fault).toMatchObject({ name: 'F_TRANSLATION', stage: 2, ipa: 0x12_3450_1000n })
    expect(rig.reach(1, 0x12_3450_0040n)).toBe(BigInt(PA + 0x40))
  })
})
