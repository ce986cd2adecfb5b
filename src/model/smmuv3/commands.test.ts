import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encode } from '../../base/layout.ts'
import { checkCommand } from '../../format/smmuv3/command-rules.ts'
import * as cmd from '../../format/smmuv3/commands.ts'
import { CONFIG_ABORT, CONFIG_BYPASS, CONFIG_S1 } from '../../format/smmuv3/ste.ts'
import { Rig, type RigOptions, RW } from './rig.suite.ts'

const PA = 0x5000_0000

/** Streams 1 and 2 with ASIDs 1 and 2, page 0x1000 mapped in both; stream 3 with stage 2, VMID 3. All is cached. */
function warm(options: RigOptions = {}): { rig: Rig; used: () => (string | null)[] } {
  const rig = new Rig(options)
  for (const sid of [1, 2]) {
    const space = rig.space(1)
    space.table.map(0x1000, PA, 0x1000, RW)
    space.table.map(0x20_0000, 0x6000_0000, 0x20_0000, RW)
    rig.stage1(sid, space, {}, { S2VMID: 5 })
  }
  const space = rig.space(2)
  space.table.map(0x1000, PA, 0x1000, RW)
  rig.stage2(3, space)
  for (const sid of [1, 2, 3]) rig.reach(sid, 0x1000)
  for (const sid of [1, 2]) rig.reach(sid, 0x20_0000)
  const used = () =>
    rig.smmu.tlb
      .list()
      .map(({ regime, vmid, asid, input }) =>
        regime === 3 ? `vmid ${vmid}` : `asid ${asid} ${input === 0x1000n ? 'page' : 'block'}`,
      )
      .sort()
  return { rig, used }
}

const everything = ['asid 1 block', 'asid 1 page', 'asid 2 block', 'asid 2 page', 'vmid 3']

describe('SMMUv3 TLB invalidation', () => {
  it('keeps translations until the command that covers them', () => {
    const { rig, used } = warm()
    expect(used()).toEqual(everything)
    rig.send(cmd.TLBI_NH_ASID, { VMID: 5, ASID: 1 })
    expect(used()).toEqual(['asid 2 block', 'asid 2 page', 'vmid 3'])
    rig.send(cmd.TLBI_NH_ASID, { VMID: 6, ASID: 2 })
    expect(used()).toHaveLength(3)
    rig.send(cmd.TLBI_S2_IPA, { VMID: 3, Address: 0x2000n })
    expect(used()).toHaveLength(3)
    rig.send(cmd.TLBI_S2_IPA, { VMID: 3, Address: 0x1000n, Leaf: 1 })
    expect(used()).toEqual(['asid 2 block', 'asid 2 page'])
    rig.send(cmd.TLBI_NH_ALL, { VMID: 5 })
    expect(used()).toEqual([])
  })

  it('shows a forgotten invalidation: the device goes on to the old page', () => {
    const { rig } = warm()
    const space = rig.space(1)
    space.table.map(0x1000, 0x7000_0000, 0x1000, RW)
    rig.stage1(4, space)
    expect(rig.reach(4, 0x1000)).toBe(0x7000_0000n)
    space.table.unmap(0x1000, 0x1000)
    expect(rig.reach(4, 0x1000)).toBe(0x7000_0000n)
    expect(rig.smmu.explain({ device: 4, iova: 0x1000n, access: 'read' }).outcome).toMatchObject({ name: 'F_TRANSLATION' })
    rig.send(cmd.TLBI_NH_VA, { ASID: 4, Address: 0x1000n })
    expect(rig.reach(4, 0x1000)).toBe('F_TRANSLATION')
  })

  it('does not cache what does not translate', () => {
    const rig = new Rig()
    const space = rig.space(1)
    rig.stage1(1, space)
    expect(rig.reach(1, 0x1000)).toBe('F_TRANSLATION')
    space.table.map(0x1000, PA, 0x1000, RW)
    expect(rig.reach(1, 0x1000)).toBe(BigInt(PA))
  })

  it('by address hits the whole block, and by address alone all ASIDs', () => {
    const { rig, used } = warm()
    rig.send(cmd.TLBI_NH_VA, { VMID: 5, ASID: 1, Address: 0x3f_f000n })
    expect(used()).toEqual(['asid 1 page', 'asid 2 block', 'asid 2 page', 'vmid 3'])
    rig.send(cmd.TLBI_NH_VAA, { VMID: 5, Address: 0x1000n })
    expect(used()).toEqual(['asid 2 block', 'vmid 3'])
  })

  it('takes the ASID commands past global entries, and the address commands to them', () => {
    const rig = new Rig()
    const space = rig.space(1)
    space.table.map(0x1000, PA, 0x1000, RW, { clearLo: 1 << 11 })
    rig.stage1(1, space)
    rig.reach(1, 0x1000)
    rig.send(cmd.TLBI_NH_ASID, { ASID: 1 })
    expect(rig.smmu.tlb.list()).toMatchObject([{ asid: null }])
    rig.send(cmd.TLBI_NH_VA, { ASID: 2, Address: 0x1000n })
    expect(rig.smmu.tlb.used).toBe(0)
    rig.reach(1, 0x1000)
    rig.send(cmd.TLBI_NH_ALL, {})
    expect(rig.smmu.tlb.used).toBe(0)
  })

  it('covers (NUM + 1) × 2^SCALE granules, and takes TG and TTL as limits', () => {
    const range = { VMID: 5, ASID: 1, TG: 1 }
    const cases: [Record<string, number | bigint>, string[]][] = [
      [{ Address: 0n, NUM: 1, SCALE: 0 }, ['asid 1 block']],
      [{ Address: 0n, NUM: 0, SCALE: 1 }, ['asid 1 block']],
      [{ Address: 0n, NUM: 0, SCALE: 10 }, []],
      [{ Address: 0x2000n, NUM: 31, SCALE: 0 }, ['asid 1 block', 'asid 1 page']],
      [{ Address: 0n, NUM: 31, SCALE: 5, TTL: 3 }, ['asid 1 block']],
      [{ Address: 0n, NUM: 31, SCALE: 5, TTL: 2 }, ['asid 1 page']],
      [{ Address: 0n, NUM: 31, SCALE: 5, TG: 3 }, ['asid 1 block', 'asid 1 page']],
    ]
    for (const [given, left] of cases) {
      const { rig, used } = warm()
      rig.send(cmd.TLBI_NH_VA, { ...range, ...given })
      expect(
        used().filter((entry) => entry!.startsWith('asid 1')),
        JSON.stringify(given, (_, v) => String(v)),
      ).toEqual(left)
      expect(rig.cmdqError).toBe(0)
    }
  })

  it('refuses the reserved range, and knows no ranges without IDR3.RIL', () => {
    for (const given of [{ TG: 1 }, { TG: 2, TTL: 1 }]) {
      const { rig } = warm()
      rig.send(cmd.TLBI_NH_VA, { VMID: 5, ASID: 1, ...given })
      expect(rig.cmdqError).toBe(cmd.CERROR_ILL)
    }
    const { rig, used } = warm({ idr: { RIL: 0 } })
    rig.send(cmd.TLBI_NH_VA, { VMID: 5, ASID: 1, TG: 1, SCALE: 20, Address: 0x1000n })
    expect(used()).toEqual(['asid 1 block', 'asid 2 block', 'asid 2 page', 'vmid 3'])
  })

  it('by VMID, for everything, and with the wildcard', () => {
    let { rig, used } = warm()
    rig.send(cmd.TLBI_S12_VMALL, { VMID: 3 })
    expect(used()).toEqual(everything.slice(0, 4))
    rig.send(cmd.TLBI_NSNH_ALL)
    expect(used()).toEqual([])
    ;({ rig, used } = warm())
    rig.set('CR0', 0xf | (3 << 6))
    rig.send(cmd.TLBI_S12_VMALL, { VMID: 7 })
    expect(used()).toEqual([])
  })

  it('leaves combined translations when only stage 2 is invalidated', () => {
    const rig = new Rig()
    const [inner, outer] = [rig.space(1), rig.space(2)]
    outer.table.map(0x4000_0000, 0x4000_0000, 0x4000_0000, RW)
    inner.table.map(0x1000, PA, 0x1000, RW)
    rig.nested(1, inner, outer)
    expect(rig.reach(1, 0x1000)).toBe(BigInt(PA))
    outer.table.unmap(PA, 0x1000)
    rig.send(cmd.TLBI_S2_IPA, { VMID: 1, Address: BigInt(PA) })
    expect(rig.reach(1, 0x1000)).toBe(BigInt(PA))
    rig.send(cmd.TLBI_NH_ALL, { VMID: 1 })
    expect(rig.dma(1, 0x1000)).toMatchObject({ name: 'F_TRANSLATION', stage: 2 })
  })

  it('keeps EL2 and EL2-E2H apart', () => {
    for (const e2h of [0, 1]) {
      const rig = new Rig({ cr2: 2 | e2h })
      const space = rig.space(1, { regime: e2h ? 'el1' : 'el2' })
      space.table.map(0x1000, PA, 0x1000, RW)
      rig.stage1(1, space, { EPD1: e2h }, { STRW: 2 })
      const fill = () => {
        expect(rig.reach(1, 0x1000)).toBe(BigInt(PA))
        return rig.smmu.tlb.used
      }
      const left = (layout: Parameters<Rig['send']>[0], values: Record<string, number | bigint>) => {
        expect(fill()).toBe(1)
        rig.send(layout, values as never)
        return rig.smmu.tlb.used
      }
      expect(left(cmd.TLBI_NSNH_ALL, {})).toBe(1)
      expect(left(cmd.TLBI_EL2_VA, { Address: 0x1000n, ASID: 9 })).toBe(e2h)
      expect(left(cmd.TLBI_EL2_VA, { Address: 0x1000n, ASID: 1 })).toBe(0)
      expect(left(cmd.TLBI_EL2_VAA, { Address: 0x1000n })).toBe(0)
      expect(left(cmd.TLBI_EL2_ASID, { ASID: 1 })).toBe(e2h ? 0 : 1)
      expect(left(cmd.TLBI_EL2_ALL, {})).toBe(0)
    }
  })

  it('has VMIDs only with stage 2, and commands only for what is there', () => {
    const illegal = (options: RigOptions, send: (rig: Rig) => void) => {
      const rig = new Rig(options)
      send(rig)
      return rig.cmdqError === cmd.CERROR_ILL
    }
    const { rig, used } = warm({ idr: { S2P: 0, XNX: 0, FWB: 0 } })
    rig.send(cmd.TLBI_NH_ASID, { VMID: 77, ASID: 1 })
    expect(used().filter((entry) => entry!.startsWith('asid 1'))).toEqual([])
    expect(illegal({ idr: { S2P: 0 } }, (rig) => rig.send(cmd.TLBI_S12_VMALL))).toBe(true)
    expect(illegal({ idr: { S2P: 0 } }, (rig) => rig.send(cmd.TLBI_S2_IPA))).toBe(true)
    expect(illegal({ idr: { S1P: 0 } }, (rig) => rig.send(cmd.TLBI_NH_ALL))).toBe(true)
    expect(illegal({ idr: { S1P: 0 } }, (rig) => rig.send(cmd.CFGI_CD))).toBe(true)
    expect(illegal({ idr: { S1P: 0 } }, (rig) => rig.send(cmd.CFGI_CD_ALL))).toBe(true)
    expect(illegal({ idr: { S1P: 0 } }, (rig) => rig.send(cmd.TLBI_NSNH_ALL))).toBe(false)
    expect(illegal({ idr: { Hyp: 0 } }, (rig) => rig.send(cmd.TLBI_EL2_ALL))).toBe(true)
    expect(illegal({ idr: { ATS: 0 } }, (rig) => rig.send(cmd.ATC_INV))).toBe(true)
    expect(illegal({}, (rig) => rig.send(cmd.ATC_INV, { Size: 53 }))).toBe(true)
    expect(illegal({ idr: { PRI: 0 } }, (rig) => rig.send(cmd.PRI_RESP))).toBe(true)
    expect(illegal({}, (rig) => rig.send(cmd.PRI_RESP, { Resp: 3 }))).toBe(true)
    expect(illegal({ idr: { STALL_MODEL: 1 } }, (rig) => rig.send(cmd.RESUME))).toBe(true)
    expect(illegal({ idr: { STALL_MODEL: 1 } }, (rig) => rig.send(cmd.STALL_TERM))).toBe(true)
    const secure = [cmd.TLBI_EL3_ALL, cmd.TLBI_EL3_VA, cmd.TLBI_S_EL2_ALL, cmd.TLBI_S_S12_VMALL, cmd.TLBI_SNH_ALL]
    for (const layout of [...secure, cmd.CFGI_VMS_PIDM])
      expect(
        illegal({}, (rig) => rig.send(layout as typeof cmd.TLBI_NSNH_ALL)),
        layout.name,
      ).toBe(true)
    const withSsec = [cmd.CFGI_STE, cmd.CFGI_STE_RANGE, cmd.CFGI_CD, cmd.CFGI_CD_ALL, cmd.PREFETCH_CONFIG, cmd.PREFETCH_ADDR]
    for (const layout of [...withSsec, cmd.ATC_INV, cmd.PRI_RESP, cmd.RESUME, cmd.STALL_TERM])
      expect(
        illegal({}, (rig) => rig.send(layout as typeof cmd.CFGI_STE, { SSec: 1 })),
        layout.name,
      ).toBe(true)
    for (const opcode of [0, 0x08, 0x70, 0x14, 0x29, 0x42, 0x47, 0x80, 0xff])
      expect(
        illegal({}, (rig) => rig.sendRaw(Uint32Array.of(opcode, 0, 0, 0))),
        `${opcode}`,
      ).toBe(true)
  })
})

describe('SMMUv3 commands', () => {
  it('are refused exactly where the rules of the format find them illegal', () => {
    const without = [{}, { S1P: 0 }, { S2P: 0 }, { Hyp: 0 }, { ATS: 0, PRI: 0 }, { RIL: 0 }, { STALL_MODEL: 1 }, { DS: 1 }]
    const opcode = fc.oneof(fc.constantFrom(...cmd.COMMANDS.keys()), fc.nat(255))
    const word = fc.oneof(fc.constant(0), fc.nat(0x3ff), fc.integer())
    fc.assert(
      fc.property(fc.constantFrom(...without), opcode, word, word, word, word, (idr, code, ...rest) => {
        const words = Uint32Array.from([(rest[0] & ~0xff) | code, rest[1], rest[2], rest[3]])
        const rig = new Rig({ idr })
        rig.sendRaw(words)
        expect(rig.cmdqError === cmd.CERROR_ILL).toBe(checkCommand(words, 0, rig.smmu.features) !== null)
      }),
      { numRuns: 400 },
    )
  })
})

describe('SMMUv3 configuration invalidation', () => {
  /** Streams 1 and 2 share a CD table with CDs 0, 1 and 2; all are cached, then every CD is moved to another ASID. */
  function shared(): { rig: Rig; asids: () => number[][] } {
    const rig = new Rig()
    const table = rig.cdTable(2)
    const spaces = [0, 1, 2].map((index) => {
      const space = rig.space(1)
      space.table.map(0x1000, PA + index * 0x1000, 0x1000, RW)
      rig.cd(table + index * 64, { ASID: index, ...space.cd })
      return space
    })
    for (const sid of [1, 2]) rig.ste(sid, { Config: CONFIG_S1, S1ContextPtr: BigInt(table), S1CDMax: 2, S1DSS: 2 })
    const asids = () => {
      rig.send(cmd.TLBI_NSNH_ALL)
      return [1, 2].map((sid) =>
        [{}, { pasid: 1 }, { pasid: 2 }].map((given) => {
          rig.send(cmd.TLBI_NSNH_ALL)
          rig.reach(sid, 0x1000, given)
          return rig.smmu.tlb.list()[0]?.asid ?? -1
        }),
      )
    }
    expect(asids()).toEqual([
      [0, 1, 2],
      [0, 1, 2],
    ])
    spaces.forEach((space, index) => {
      rig.cd(table + index * 64, { ASID: 10 + index, ...space.cd })
    })
    return { rig, asids }
  }

  it('is needed before a changed CD counts', () => {
    const { asids } = shared()
    expect(asids()).toEqual([
      [0, 1, 2],
      [0, 1, 2],
    ])
  })

  it('CMD_CFGI_CD takes one CD of one stream; index 0 also without SubstreamIDs', () => {
    const { rig, asids } = shared()
    rig.send(cmd.CFGI_CD, { StreamID: 1, SubstreamID: 2, Leaf: 1 })
    expect(asids()).toEqual([
      [0, 1, 12],
      [0, 1, 2],
    ])
    rig.send(cmd.CFGI_CD, { StreamID: 2, SubstreamID: 0, Leaf: 1 })
    expect(asids()).toEqual([
      [0, 1, 12],
      [10, 1, 2],
    ])
  })

  it('CMD_CFGI_CD_ALL and CMD_CFGI_STE take all CDs of one stream', () => {
    for (const layout of [cmd.CFGI_CD_ALL, cmd.CFGI_STE]) {
      const { rig, asids } = shared()
      rig.send(layout as typeof cmd.CFGI_STE, { StreamID: 2 })
      expect(asids()).toEqual([
        [0, 1, 2],
        [10, 11, 12],
      ])
    }
  })

  it('CMD_CFGI_STE_RANGE takes an aligned range of streams, CMD_CFGI_ALL all', () => {
    const rig = new Rig()
    const sids = [0, 3, 4, 7, 8]
    const passing = () => sids.filter((sid) => rig.reach(sid, 0x42) === 0x42n)
    const refill = () => {
      for (const sid of sids) rig.ste(sid, { Config: CONFIG_BYPASS })
      rig.send(cmd.CFGI_STE_RANGE, { Range: 31 })
      expect(passing()).toEqual(sids)
      for (const sid of sids) rig.ste(sid, { Config: CONFIG_ABORT })
      expect(passing()).toEqual(sids)
    }
    refill()
    rig.send(cmd.CFGI_STE_RANGE, { StreamID: 6, Range: 1 })
    expect(passing()).toEqual([0, 3, 8])
    refill()
    rig.send(cmd.CFGI_STE_RANGE, { StreamID: 6, Range: 31 })
    expect(passing()).toEqual([])
  })

  it('does not invalidate translations, nor TLBI the configuration', () => {
    const { rig } = warm()
    rig.send(cmd.CFGI_STE_RANGE, { Range: 31 })
    expect(rig.smmu.tlb.used).toBe(5)
    rig.reach(1, 0x1000)
    rig.send(cmd.TLBI_NSNH_ALL)
    expect(rig.smmu.config.streams.used).toBe(1)
  })

  it('keeps invalid entries only when asked to: then CMD_CFGI_* is needed to make one valid', () => {
    for (const negativeCaching of [false, true]) {
      const rig = new Rig({ negativeCaching })
      rig.ste(1, { V: 0 })
      expect(rig.reach(1, 0x42)).toBe('C_BAD_STE')
      rig.ste(1, { Config: CONFIG_BYPASS })
      expect(rig.reach(1, 0x42)).toBe(negativeCaching ? 'C_BAD_STE' : 0x42n)
      rig.send(cmd.CFGI_STE, { StreamID: 1, Leaf: 1 })
      expect(rig.reach(1, 0x42)).toBe(0x42n)

      const space = rig.space(1)
      space.table.map(0x1000, PA, 0x1000, RW)
      const cd = rig.stage1(2, space, { V: 0 })
      expect(rig.reach(2, 0x1000)).toBe('C_BAD_CD')
      rig.cd(cd, { ...space.cd })
      expect(rig.reach(2, 0x1000)).toBe(negativeCaching ? 'C_BAD_CD' : BigInt(PA))
      rig.send(cmd.CFGI_CD, { StreamID: 2, Leaf: 1 })
      expect(rig.reach(2, 0x1000)).toBe(BigInt(PA))
    }
  })

  it('needs Leaf = 0 to forget a level 1 descriptor that was not valid', () => {
    const rig = new Rig({ negativeCaching: true })
    const [l1, l2] = [rig.memory.allocate(4096), rig.memory.allocate(4096)]
    const space = rig.space(1)
    space.table.map(0x1000, PA, 0x1000, RW)
    rig.ste(1, { Config: CONFIG_S1, S1ContextPtr: BigInt(l1), S1CDMax: 12, S1Fmt: 1 })
    expect(rig.reach(1, 0x1000, { pasid: 1 })).toBe('C_BAD_SUBSTREAMID')
    rig.cd(l2 + 64, { ASID: 1, ...space.cd })
    rig.memory.write64(l1, BigInt(l2) | 1n)
    rig.send(cmd.CFGI_CD, { StreamID: 1, SubstreamID: 1, Leaf: 1 })
    expect(rig.reach(1, 0x1000, { pasid: 1 })).toBe('C_BAD_SUBSTREAMID')
    rig.send(cmd.CFGI_CD, { StreamID: 1, SubstreamID: 1, Leaf: 0 })
    expect(rig.reach(1, 0x1000, { pasid: 1 })).toBe(BigInt(PA))
  })

  it('keeps a CD when only its STE was evicted', () => {
    const rig = new Rig({ caches: { config: { ste: 4, cd: 64 } } })
    const space = rig.space(1)
    space.table.map(0x1000, PA, 0x1000, RW)
    const cd = rig.stage1(1, space)
    rig.reach(1, 0x1000)
    rig.cd(cd, { V: 0 })
    for (let sid = 10; sid < 20; sid++) rig.ste(sid, { Config: CONFIG_BYPASS })
    for (let sid = 10; sid < 20; sid++) rig.reach(sid, 0x42)
    rig.send(cmd.TLBI_NSNH_ALL)
    expect(rig.reach(1, 0x1000)).toBe(BigInt(PA))
  })
})

describe('SMMUv3 prefetch', () => {
  it('fills the caches without a trace of what is wrong', () => {
    const { rig } = warm()
    rig.send(cmd.TLBI_NSNH_ALL)
    rig.send(cmd.CFGI_STE_RANGE, { Range: 31 })
    rig.send(cmd.PREFETCH_CONFIG, { StreamID: 1 })
    expect([rig.smmu.config.streams.used, rig.smmu.config.contexts.used, rig.smmu.tlb.used]).toEqual([1, 1, 0])
    rig.send(cmd.PREFETCH_ADDR, { StreamID: 1, Address: 0x1000n, Size: 1 })
    rig.send(cmd.PREFETCH_ADDR, { StreamID: 3, Address: 0x1000n })
    expect(rig.smmu.tlb.used).toBe(2)
    expect(rig.dma(1, 0x1000)).toMatchObject({ pa: BigInt(PA), cached: true })
    rig.send(cmd.PREFETCH_ADDR, { StreamID: 99, Address: 0x1000n, Size: 31 })
    rig.send(cmd.PREFETCH_CONFIG, { StreamID: 0xffff_ffff, SSV: 1, SubstreamID: 5 })
    expect([rig.cmdqError, rig.eventNames()]).toEqual([0, []])
  })

  it('is nothing while SMMUEN is 0', () => {
    const rig = new Rig({ cr0: 8 })
    rig.sendRaw(encode(cmd.PREFETCH_CONFIG, { opcode: cmd.CMD_PREFETCH_CONFIG }))
    expect([rig.cmdqError, rig.smmu.config.streams.used]).toEqual([0, 0])
  })
})
