import { describe, expect, it } from 'vitest'
import { C_BAD_STREAMID, C_BAD_SUBSTREAMID, F_STREAM_DISABLED } from '../../format/smmuv3/events.ts'
import { Bench, PCIE, PLAIN, process, STALLS, syncs } from './driver.suite.ts'

describe('setting the SMMU up', () => {
  it('empties the caches, then enables everything', () => {
    const { smmu } = new Bench()
    expect(smmu.log).toEqual(['CFGI_STE_RANGE Range=31', 'SYNC', 'TLBI_EL2_ALL', 'TLBI_NSNH_ALL', 'SYNC'])
    expect(smmu.register('CR0')).toBe(0b11111n)
    expect(smmu.register('IRQ_CTRL')).toBe(0b111n)
    expect(smmu.register('GBPA')).toBe(1n << 20n)
  })
  it('leaves out what the SMMU has not', () => {
    const { smmu } = new Bench({ IDR0: { PRI: 0, ATS: 0, Hyp: 0 } })
    expect(smmu.log.slice(2)).toEqual(['TLBI_NSNH_ALL', 'SYNC'])
    expect(smmu.register('CR0')).toBe(0b01101n)
    expect(smmu.register('PRIQ_BASE')).toBe(0n)
  })
  it('refuses options for what the SMMU has not', () => {
    expect(() => new Bench({ IDR0: { BTM: 0 } }, { btm: true })).toThrow('SMMU_IDR0.BTM')
    expect(() => new Bench({ IDR0: { CD2L: 0 } }, { cdtab: '2lvl-4k' })).toThrow('SMMU_IDR0.CD2L')
    expect(() => new Bench({ IDR0: { ST_LEVEL: 0 } }, { strtab: '2lvl' })).toThrow('SMMU_IDR0.ST_LEVEL')
    expect(() => new Bench({ IDR5: { GRAN16K: 0 } }, { granule: 14 })).toThrow('no 16 KiB granule')
  })
  it('listens to broadcasts only when told to', () => {
    const ptm = (bench: Bench) => (bench.smmu.register('CR2') >> 2n) & 1n
    expect(ptm(new Bench())).toBe(1n)
    expect(ptm(new Bench({}, { btm: true }))).toBe(0n)
  })
})

describe('devices', () => {
  it('are blocked until attached, and unknown ones have no STE', () => {
    const bench = new Bench()
    expect(bench.ste(0x123)).toBe(C_BAD_STREAMID)
    bench.device(0x123)
    expect(bench.steFields(0x123)).toMatchObject({ V: 1, Config: 0 })
    expect(bench.steFields(0x124)).toMatchObject({ V: 0 })
    expect(bench.ste(0x223)).toBe(C_BAD_STREAMID)
    // The last of a leaf, and the last of all.
    for (const last of [0x1ff, 0xffff]) {
      bench.device(last)
      expect(bench.steFields(last)).toMatchObject({ V: 1, Config: 0 })
    }
    const linear = new Bench({}, { strtab: 'linear', streamIdBits: 10 })
    expect(linear.steFields(0x223)).toMatchObject({ V: 0 })
  })
  it('have first-level entries invalidated when their leaf is new', () => {
    const bench = new Bench()
    const add = (id: number) => bench.smmu.sent(bench.driver.addDevice({ id, name: `device ${id}`, capabilities: PCIE }))
    expect(add(0x101)).toEqual(['CFGI_STE_RANGE StreamID=256 Range=7', 'SYNC', 'CFGI_STE StreamID=257 Leaf=1', 'SYNC'])
    expect(add(0x102)).toEqual(['CFGI_STE StreamID=258 Leaf=1', 'SYNC'])
  })
  it('need a StreamID that fits the stream table', () => {
    const bench = new Bench({}, { streamIdBits: 9 })
    expect(() => bench.device(0x200)).toThrow(expect.objectContaining({ code: 'BadArgument' }))
  })
})

describe('domains', () => {
  it('of kind dma use CD 0 for traffic without PASID', () => {
    const bench = new Bench()
    const [a, b] = [bench.device(1), bench.device(2)]
    const domain = bench.domain('A', 'dma')
    expect(bench.attach(domain, a)).toEqual(['CFGI_STE StreamID=1 Leaf=1', 'SYNC', 'CFGI_STE StreamID=1 Leaf=1', 'SYNC'])
    bench.attach(domain, b)
    expect(bench.steFields(1)).toMatchObject({ Config: 5, S1DSS: 2, S1CDMax: 12, S1Fmt: 2, EATS: 1, S1STALLD: 1 })
    expect(bench.ste(1)).toEqual(bench.ste(2))
    expect(bench.cd(1, null)).toMatchObject({ V: 1, ASID: 1, ASET: 1, S: 0, EPD1: 1 })
    expect(bench.cd(1, 0)).toBe(F_STREAM_DISABLED)
    expect(bench.cd(1, 1)).toMatchObject({ V: 0 })
    expect(bench.cd(1, 1024)).toBe(C_BAD_SUBSTREAMID)
  })
  it('of kind identity bypass, and keep PASIDs out until there are any', () => {
    const bench = new Bench()
    bench.domain('I', 'identity', bench.device(1))
    expect(bench.steFields(1)).toMatchObject({ Config: 4, SHCFG: 1, EATS: 0 })
    expect(bench.driver.pgtable(bench.domain('J', 'identity'))).toBeNull()
  })
  it('of kind identity bypass without PASID once there are PASIDs, and go back after the last', () => {
    const bench = new Bench()
    const [a, b] = [bench.device(1), bench.device(2)]
    const domain = bench.domain('I', 'identity', a, b)
    const first = bench.ioMm(1, null)
    const second = bench.ioMm(2, null)
    const sent = bench.bound(domain, first)
    // The CD is complete before an STE leads to it; each STE takes two syncs.
    expect(sent.filter((command) => command.startsWith('CFGI_STE'))).toHaveLength(4)
    expect(bench.steFields(2)).toMatchObject({ Config: 5, S1DSS: 1, SHCFG: 1 })
    expect([bench.cd(1, null), bench.cd(1, 1)]).toMatchObject(['bypass', { V: 1, ASID: 1 }])
    expect(bench.bound(domain, second).filter((command) => command.startsWith('CFGI_STE'))).toEqual([])
    bench.smmu.sent(bench.driver.ioMmDetach(domain, first))
    expect(bench.steFields(1).Config).toBe(5)
    bench.smmu.sent(bench.driver.ioMmDetach(domain, second))
    expect([bench.steFields(1).Config, bench.steFields(2).Config]).toEqual([4, 4])
  })
  it('of kind blocked stay so without PASID when there are PASIDs', () => {
    const bench = new Bench()
    const domain = bench.domain('B', 'blocked', bench.device(1))
    expect(bench.steFields(1).Config).toBe(0)
    bench.bound(domain, bench.ioMm(1, null))
    expect(bench.steFields(1)).toMatchObject({ Config: 5, S1DSS: 0 })
    expect([bench.cd(1, null), bench.cd(1, 1)]).toMatchObject([F_STREAM_DISABLED, { V: 1 }])
  })
  it('may be translated by stage 2 alone, which shares no process', () => {
    const bench = new Bench({}, { domainStage: 2 })
    const device = bench.device(1)
    const domain = bench.domain('S', 'dma', device)
    expect(bench.steFields(1)).toMatchObject({ Config: 6, S2VMID: 1, S2R: 1, S2S: 0, EATS: 1 })
    expect(bench.driver.svaObstacle(device, null)).toContain('domain S is translated by stage 2')
    const ioMm = bench.ioMm(1, null)
    expect(() => bench.bound(domain, ioMm)).toThrow(expect.objectContaining({ code: 'Unsupported' }))
    bench.map(domain, 0x10_0000n, 0x5000_0000n, 0x2000n)
    expect(bench.unmap(domain, 0x10_0000n, 0x2000n)).toEqual([
      'TLBI_S2_IPA VMID=1 Address=0x100000',
      'TLBI_S2_IPA VMID=1 Address=0x101000',
      'SYNC',
      'ATC_INV StreamID=1 Size=1 Address=0x100000',
      'SYNC',
    ])
  })
  it('replace each other on a device, whose ATC is emptied when the old one is out of reach', () => {
    const bench = new Bench()
    const device = bench.device(1)
    const [a, b] = [bench.domain('A', 'dma', device), bench.domain('B', 'dma')]
    const sent = bench.attach(b, device)
    expect(sent.slice(-2)).toEqual(['ATC_INV StreamID=1 Size=52', 'SYNC'])
    expect(bench.cd(1, null)).toMatchObject({ ASID: 2 })
    a.devices.delete(device)
    // The old domain has no say any more.
    bench.map(a, 0n, 0x5000_0000n, 0x1000n)
    expect(bench.unmap(a, 0n, 0x1000n).filter((command) => command.startsWith('ATC'))).toEqual([])
    bench.smmu.sent(bench.driver.domainFree(a))
    expect(() => bench.smmu.sent(bench.driver.domainFree(b))).toThrow(expect.objectContaining({ code: 'Busy' }))
  })
  it('leave a detached device blocked, with an empty ATC', () => {
    const bench = new Bench()
    const device = bench.device(1)
    const domain = bench.domain('A', 'dma', device)
    expect(bench.detach(domain, device).slice(-2)).toEqual(['ATC_INV StreamID=1 Size=52', 'SYNC'])
    expect(bench.steFields(1)).toMatchObject({ V: 1, Config: 0, S1ContextPtr: 0n })
  })
  it('end what stalls when a device leaves, where anything can stall', () => {
    for (const [STALL_MODEL, sent] of [
      [0, ['STALL_TERM StreamID=1', 'SYNC']],
      [1, []],
    ] as const) {
      const bench = new Bench({ IDR0: { STALL_MODEL } })
      const device = bench.device(1, STALLS)
      const domain = bench.domain('A', 'dma', device)
      expect(bench.cd(1, null)).toMatchObject({ S: 1 - STALL_MODEL })
      expect(
        bench
          .detach(domain, device)
          .filter((command) => !command.startsWith('CFGI'))
          .slice(2),
      ).toEqual(sent)
    }
  })
  it('give everything back when freed', () => {
    const bench = new Bench()
    const device = bench.device(1)
    const use = () => {
      const domain = bench.domain('A', 'dma', device)
      bench.map(domain, 0n, 0x5000_0000n, 0x60_0000n)
      bench.detach(domain, device)
      bench.smmu.sent(bench.driver.domainFree(domain))
    }
    use()
    const before = bench.smmu.memory.allocate(4096)
    bench.smmu.memory.free(before, 4096)
    for (let turn = 0; turn < 20; turn++) use()
    expect(bench.smmu.memory.allocate(4096)).toBe(before)
    expect(bench.steFields(1)).toMatchObject({ V: 1, Config: 0 })
  })
  it('have devices that all stall or all do not', () => {
    const bench = new Bench()
    const [stalls, pcie] = [bench.device(1, STALLS), bench.device(2, PCIE)]
    const domain = bench.domain('A', 'dma', stalls)
    expect(bench.cd(1, null)).toMatchObject({ S: 1 })
    expect(bench.steFields(1)).toMatchObject({ S1STALLD: 0, EATS: 0 })
    expect(bench.failure(() => bench.driver.attachDevice(domain, pcie))).toMatchObject({ code: 'Unsupported' })
    expect(bench.steFields(2).Config).toBe(0)
    bench.detach(domain, stalls)
    bench.attach(domain, pcie)
    expect(bench.cd(2, null)).toMatchObject({ S: 0 })
  })
  it('give a PASID table back that became too small', () => {
    const allocated = new Set<number>()
    const bench = new Bench()
    const { memory } = bench.smmu
    const [allocate, free] = [memory.allocate.bind(memory), memory.free.bind(memory)]
    memory.allocate = (bytes) => {
      const pa = allocate(bytes)
      allocated.add(pa)
      return pa
    }
    memory.free = (pa, bytes) => {
      expect(allocated.delete(pa)).toBe(true)
      free(pa, bytes)
    }
    const devices = [4, 12, 20].map((pasidBits, id) => bench.device(id, { ...PCIE, pasidBits }))
    const before = allocated.size
    const domain = bench.domain('A', 'dma', ...devices)
    const ioMm = bench.ioMm(9, process('X', 9))
    bench.bound(domain, ioMm)
    bench.smmu.sent(bench.driver.ioMmDetach(domain, ioMm))
    for (const device of devices) bench.detach(domain, device)
    bench.smmu.sent(bench.driver.domainFree(domain))
    expect(allocated.size).toBe(before)
  })
  it('get a larger PASID table, hitlessly, when a device with wider PASIDs comes', () => {
    const bench = new Bench()
    const [plain, narrow, wide] = [
      bench.device(1, PLAIN),
      bench.device(2, { ...PCIE, pasidBits: 4 }),
      bench.device(3, { ...PCIE, pasidBits: 20 }),
    ]
    const domain = bench.domain('A', 'dma', plain)
    expect(bench.steFields(1)).toMatchObject({ S1CDMax: 0, S1Fmt: 0 })
    bench.attach(domain, narrow)
    expect([bench.steFields(1), bench.steFields(2)]).toMatchObject([{ S1CDMax: 4, S1Fmt: 0 }, { S1CDMax: 4 }])
    const ioMm = bench.ioMm(5, process('X', 9))
    bench.bound(domain, ioMm)
    const sent = bench.attach(domain, wide)
    // One word of each STE, one sync each; then the new device's two.
    expect(syncs(sent)).toBe(4)
    expect(bench.ste(1)).not.toEqual(bench.ste(3))
    expect([bench.steFields(1), bench.steFields(3)]).toMatchObject([
      { S1CDMax: 20, S1Fmt: 2 },
      { S1CDMax: 20, S1Fmt: 2 },
    ])
    for (const sid of [1, 2, 3]) {
      expect(bench.cd(sid, null)).toMatchObject({ V: 1, ASID: 1 })
      expect(bench.cd(sid, 5)).toMatchObject({ V: 1, ASID: 9 })
      expect(bench.cd(sid, 6)).toMatchObject({ V: 0 })
    }
  })
})

describe('map and unmap', () => {
  it('need no command to map, and IOTLB before ATC to unmap', () => {
    const bench = new Bench()
    const domain = bench.domain('A', 'dma', bench.device(1), bench.device(2), bench.device(3, PLAIN))
    expect(bench.map(domain, 0x1000n, 0x5000_0000n, 0x3000n)).toEqual([])
    expect(bench.driver.pgtable(domain)!.iovaToPhys(0x3abcn)).toBe(0x5000_2abcn)
    expect(bench.unmap(domain, 0x2000n, 0x2000n)).toEqual([
      'TLBI_NH_VA ASID=1 Leaf=1 Address=0x2000',
      'TLBI_NH_VA ASID=1 Leaf=1 Address=0x3000',
      'SYNC',
      'ATC_INV StreamID=1 Size=1 Address=0x2000',
      'ATC_INV StreamID=2 Size=1 Address=0x2000',
      'SYNC',
    ])
    expect(bench.driver.pgtable(domain)!.iovaToPhys(0x3abcn)).toBeNull()
    expect(bench.driver.pgtable(domain)!.iovaToPhys(0x1abcn)).toBe(0x5000_0abcn)
  })
  it('invalidate tables too when tables go, and give them back after the sync', () => {
    const bench = new Bench()
    const domain = bench.domain('A', 'dma', bench.device(1))
    bench.map(domain, 0x1000n, 0x5000_0000n, 0x1000n)
    expect(bench.unmap(domain, 0x1000n, 0x1000n)[0]).toBe('TLBI_NH_VA ASID=1 Address=0x1000')
    bench.map(domain, 0x1000n, 0x5000_0000n, 0x1000n)
    const freedAt: number[] = []
    const free = bench.smmu.memory.free.bind(bench.smmu.memory)
    bench.smmu.memory.free = (pa, bytes) => {
      freedAt.push(bench.smmu.log.length)
      free(pa, bytes)
    }
    const start = bench.smmu.log.length
    bench.unmap(domain, 0x1000n, 0x1000n)
    expect(freedAt.map((at) => at - start)).toEqual([2, 2, 2])
  })
  it('break a block before they make its parts', () => {
    const bench = new Bench()
    const domain = bench.domain('A', 'dma', bench.device(1))
    bench.map(domain, 0n, 0x4000_0000n, 0x4000_0000n)
    const sent = bench.unmap(domain, 0x20_1000n, 0x1000n)
    // 1 GiB to 2 MiB, 2 MiB to 4 KiB: more pages than the limit, so by ASID, then 512 pages by address, then the page itself.
    expect(sent.slice(0, 2)).toEqual(['TLBI_NH_ASID ASID=1', 'SYNC'])
    expect(sent.slice(2, 515)).toEqual([
      ...Array.from(
        { length: 512 },
        (_, page) => `TLBI_NH_VA ASID=1 Leaf=1 Address=0x${(0x20_0000 + page * 0x1000).toString(16)}`,
      ),
      'SYNC',
    ])
    expect(sent.slice(515)).toEqual([
      'TLBI_NH_VA ASID=1 Leaf=1 Address=0x201000',
      'SYNC',
      'ATC_INV StreamID=1 Address=0x201000',
      'SYNC',
    ])
    const table = bench.driver.pgtable(domain)!
    expect([0x20_0fffn, 0x20_1000n, 0x20_2000n, 0x3fff_ffffn].map((iova) => table.iovaToPhys(iova))).toEqual([
      0x4020_0fffn,
      null,
      0x4020_2000n,
      0x7fff_ffffn,
    ])
  })
  it('change nothing when the arguments are wrong', () => {
    const bench = new Bench()
    const domain = bench.domain('A', 'dma', bench.device(1))
    bench.map(domain, 0n, 0x5000_0000n, 0x20_0000n)
    for (const [iova, size] of [
      [0x800n, 0x1000n],
      [0x1000n, 0x800n],
    ] as const)
      expect(() => bench.unmap(domain, iova, size)).toThrow('needs multiples of the page size')
    expect(() => bench.map(domain, 0x1000n, 0n, 0x1000n)).toThrow('is mapped already')
    expect(bench.driver.pgtable(domain)!.iovaToPhys(0x1000n)).toBe(0x5000_1000n)
  })
  it('say nothing when nothing was mapped', () => {
    const bench = new Bench()
    const domain = bench.domain('A', 'dma', bench.device(1))
    expect(bench.unmap(domain, 0x1000n, 0x1000n)).toEqual([])
  })
  it('use ranges where the SMMU takes them', () => {
    const bench = new Bench({ IDR3: { RIL: 1 } })
    const domain = bench.domain('A', 'dma', bench.device(1))
    bench.map(domain, 0x1000n, 0x5000_0000n, 0x2_1000n)
    expect(bench.unmap(domain, 0x1000n, 0x2_1000n).slice(0, 3)).toEqual([
      'TLBI_NH_VA ASID=1 Address=0x1000',
      'TLBI_NH_VA SCALE=5 ASID=1 TG=1 Address=0x2000',
      'SYNC',
    ])
  })
})
