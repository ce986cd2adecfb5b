import { describe, expect, it } from 'vitest'
import { run } from '../../base/op.ts'
import { C_BAD_SUBSTREAMID } from '../../format/smmuv3/events.ts'
import { Bench, PCIE, PLAIN, process, STALLS, syncs } from './driver.suite.ts'

/** A dma domain with two PCIe devices. */
function twoDevices(...given: ConstructorParameters<typeof Bench>) {
  const bench = new Bench(...given)
  const devices = [bench.device(1), bench.device(2)] as const
  return { bench, devices, domain: bench.domain('A', 'dma', ...devices) }
}

describe('a bind', () => {
  it('writes the CD in two steps, each invalidated for every device of the domain, and needs no TLB invalidation', () => {
    const { bench, domain } = twoDevices()
    const ioMm = bench.ioMm(3, process('X', 77))
    expect(bench.bound(domain, ioMm)).toEqual([
      'CFGI_CD SubstreamID=3 StreamID=1 Leaf=1',
      'CFGI_CD SubstreamID=3 StreamID=2 Leaf=1',
      'SYNC',
      'CFGI_CD SubstreamID=3 StreamID=1 Leaf=1',
      'CFGI_CD SubstreamID=3 StreamID=2 Leaf=1',
      'SYNC',
    ])
    expect(bench.cd(1, 3)).toMatchObject({
      V: 1,
      ASID: 77,
      ASET: 0,
      TTB0: 0x7000_0000n,
      T0SZ: 16,
      IPS: 4,
      HA: 1,
      R: 1,
      A: 1,
      S: 0,
    })
    expect(bench.cd(2, 3)).toEqual(bench.cd(1, 3))
  })
  it('completes a new leaf, and makes it known, before the CD is in it', () => {
    const { bench, domain } = twoDevices()
    expect(bench.cd(1, 1500)).toBe(C_BAD_SUBSTREAMID)
    const ioMm = bench.ioMm(1500, process('X', 77))
    expect(bench.bound(domain, ioMm).slice(0, 3)).toEqual(['CFGI_CD_ALL StreamID=1', 'CFGI_CD_ALL StreamID=2', 'SYNC'])
    expect(bench.cd(1, 1500)).toMatchObject({ V: 1, ASID: 77 })
    expect(bench.cd(1, 1499)).toMatchObject({ V: 0 })
  })
  it('never shows the hardware a CD that is valid and not complete', () => {
    const { bench, domain } = twoDevices()
    const ioMm = bench.ioMm(3, process('X', 77))
    const seen = new Set<string>()
    const op = bench.driver.ioMmAttach(domain, ioMm)
    for (let next = op.next(); next.done !== true; next = op.next()) {
      const cd = bench.cd(1, 3)
      if (typeof cd === 'object') seen.add(`V=${cd.V}${cd.V ? ` ASID=${cd.ASID} TTB0=${cd.TTB0}` : ''}`)
      bench.smmu.step()
    }
    expect([...seen]).toEqual(['V=0', `V=1 ASID=77 TTB0=${0x7000_0000}`])
  })
  it('stalls where the devices do', () => {
    const bench = new Bench()
    const domain = bench.domain('A', 'dma', bench.device(1, STALLS))
    bench.bound(domain, bench.ioMm(3, process('X', 77)))
    expect(bench.cd(1, 3)).toMatchObject({ S: 1 })
  })
  it('refuses PASID 0, PASIDs that no device of the domain can send, and those in use', () => {
    const { bench, domain } = twoDevices()
    bench.bound(domain, bench.ioMm(3, null))
    for (const [pasid, code] of [
      [0, 'PasidOutOfRange'],
      [4096, 'PasidOutOfRange'],
      [3, 'Busy'],
    ] as const) {
      const ioMm = bench.ioMm(pasid, null)
      expect(bench.failure(() => bench.driver.ioMmAttach(domain, ioMm))).toMatchObject({ code })
    }
  })
  it('fits a table of one leaf form or the other', () => {
    for (const [cdtab, S1Fmt] of [
      ['linear', 0],
      ['2lvl-4k', 1],
      ['2lvl-64k', 2],
    ] as const) {
      const { bench, domain } = twoDevices({}, { cdtab })
      const ioMm = bench.ioMm(4095, process('X', 77))
      bench.bound(domain, ioMm)
      expect(bench.steFields(2)).toMatchObject({ S1Fmt, S1CDMax: 12 })
      expect(bench.cd(2, 4095)).toMatchObject({ V: 1, ASID: 77 })
    }
  })
})

describe('an unbind', () => {
  it('clears the CD, then the IOTLB by ASID, then the ATCs', () => {
    const { bench, domain } = twoDevices()
    const ioMm = bench.ioMm(3, process('X', 77))
    bench.bound(domain, ioMm)
    const sent = bench.smmu.sent(bench.driver.ioMmDetach(domain, ioMm))
    expect(sent.slice(0, 2)).toEqual(['CFGI_CD SubstreamID=3 StreamID=1 Leaf=1', 'CFGI_CD SubstreamID=3 StreamID=2 Leaf=1'])
    expect(sent.slice(6)).toEqual([
      'TLBI_NH_ASID ASID=77',
      'SYNC',
      'ATC_INV SSV=1 SubstreamID=3 StreamID=1 Size=52',
      'ATC_INV SSV=1 SubstreamID=3 StreamID=2 Size=52',
      'SYNC',
    ])
    expect(bench.cd(1, 3)).toMatchObject({ V: 0, ASID: 0, TTB0: 0n, MAIR0: 0 })
  })
  it('leaves other domains alone', () => {
    const bench = new Bench()
    const [a, b] = [bench.domain('A', 'dma', bench.device(1)), bench.domain('B', 'dma', bench.device(2))]
    const ioMm = bench.ioMm(3, process('X', 77))
    bench.bound(a, ioMm)
    bench.bound(b, ioMm)
    const sent = bench.smmu.sent(bench.driver.ioMmDetach(a, ioMm))
    expect(sent.filter((command) => command.includes('StreamID=2 ') || command.endsWith('StreamID=2'))).toEqual([])
    expect([bench.cd(1, 3), bench.cd(2, 3)]).toMatchObject([{ V: 0 }, { V: 1 }])
  })
  it('is needed before an io_mm is freed, and unpins the ASID then', () => {
    const { bench, domain } = twoDevices()
    const mm = process('X', 77)
    const ioMm = bench.ioMm(3, mm)
    bench.bound(domain, ioMm)
    expect(bench.failure(() => bench.driver.ioMmFree(ioMm))).toMatchObject({ code: 'Busy' })
    bench.smmu.sent(bench.driver.ioMmDetach(domain, ioMm))
    expect(mm.pins).toBe(1)
    bench.smmu.sent(bench.driver.ioMmFree(ioMm))
    expect(mm.pins).toBe(0)
  })
})

describe('the exit of a process', () => {
  it('makes the CD quiet with two syncs, hitlessly, then empties the caches', () => {
    const { bench, domain } = twoDevices()
    const ioMm = bench.ioMm(3, process('X', 77))
    bench.bound(domain, ioMm)
    const sent = bench.smmu.sent(bench.driver.ioMmExit(domain, ioMm))
    expect(syncs(sent)).toBe(4)
    expect(sent.slice(-5)).toEqual([
      'TLBI_NH_ASID ASID=77',
      'SYNC',
      'ATC_INV SSV=1 SubstreamID=3 StreamID=1 Size=52',
      'ATC_INV SSV=1 SubstreamID=3 StreamID=2 Size=52',
      'SYNC',
    ])
    expect(bench.cd(1, 3)).toMatchObject({ V: 1, EPD0: 1, EPD1: 1, R: 0, S: 0, A: 1, TTB0: 0n })
    expect(syncs(bench.smmu.sent(bench.driver.ioMmExit(domain, ioMm)))).toBe(2)
  })
})

describe('a change of a process', () => {
  const bind = (...given: ConstructorParameters<typeof Bench>) => {
    const { bench, domain } = twoDevices(...given)
    const ioMm = bench.ioMm(3, process('X', 77))
    bench.bound(domain, ioMm)
    const change = (start: bigint | null, end: bigint | null) =>
      bench.smmu.sent(bench.driver.ioMmInvalidate(ioMm, [domain], start, end))
    return { bench, domain, ioMm, change }
  }
  const atc = (rest: string) => [
    `ATC_INV SSV=1 SubstreamID=3 StreamID=1 ${rest}`,
    `ATC_INV SSV=1 SubstreamID=3 StreamID=2 ${rest}`,
  ]

  it('of one page goes to the IOTLB by ASID and address, then to the ATCs', () => {
    const { change } = bind()
    expect(change(0x5000n, 0x6000n)).toEqual(['TLBI_NH_VA ASID=77 Address=0x5000', 'SYNC', ...atc('Address=0x5000'), 'SYNC'])
  })
  it('that is not aligned takes all the pages that it touches', () => {
    const { change } = bind()
    expect(change(0x5fffn, 0x7001n)).toEqual([
      'TLBI_NH_VA ASID=77 Address=0x5000',
      'TLBI_NH_VA ASID=77 Address=0x6000',
      'TLBI_NH_VA ASID=77 Address=0x7000',
      'SYNC',
      'ATC_INV SSV=1 SubstreamID=3 StreamID=1 Address=0x5000',
      'ATC_INV SSV=1 SubstreamID=3 StreamID=1 Size=1 Address=0x6000',
      'ATC_INV SSV=1 SubstreamID=3 StreamID=2 Address=0x5000',
      'ATC_INV SSV=1 SubstreamID=3 StreamID=2 Size=1 Address=0x6000',
      'SYNC',
    ])
  })
  it('that is empty sends nothing', () => {
    const { change } = bind()
    expect(change(0x5000n, 0x5000n)).toEqual([])
  })
  it('of everything goes by ASID and by PASID', () => {
    const { change } = bind()
    expect(change(null, null)).toEqual(['TLBI_NH_ASID ASID=77', 'SYNC', ...atc('Size=52'), 'SYNC'])
  })
  it('above the thresholds goes by ASID and by PASID', () => {
    const { change } = bind({}, { tlbiThreshold: 4, atcInvalidateThreshold: 2 })
    expect(change(0x4000n, 0x8000n)).toHaveLength(4 + 1 + 2 + 1)
    expect(change(0x4000n, 0x9000n)).toEqual([
      'TLBI_NH_ASID ASID=77',
      'SYNC',
      ...[1, 2].flatMap((sid) => [
        `ATC_INV SSV=1 SubstreamID=3 StreamID=${sid} Size=2 Address=0x4000`,
        `ATC_INV SSV=1 SubstreamID=3 StreamID=${sid} Address=0x8000`,
      ]),
      'SYNC',
    ])
    expect(change(0x3000n, 0x9000n).slice(2)).toEqual([...atc('Size=52'), 'SYNC'])
  })
  it('uses ranges where the SMMU takes them', () => {
    const { change } = bind({ IDR3: { RIL: 1 } })
    expect(change(0n, 0x4000_0000n)).toEqual(['TLBI_NH_VA SCALE=18 ASID=77 TG=1', 'SYNC', ...atc('Size=18'), 'SYNC'])
  })
  it('reaches the IOTLB by broadcast where the SMMU listens, but never the ATCs', () => {
    const broadcasts: unknown[] = []
    const { change } = bind({}, { btm: true, broadcastTlbi: (broadcast) => broadcasts.push(broadcast) })
    expect(change(0x5000n, 0x6000n)).toEqual([...atc('Address=0x5000'), 'SYNC'])
    expect(broadcasts).toEqual([{ asid: 77, start: 0x5000n, end: 0x6000n }])
  })
  it('is broadcast, but the last invalidation of an ASID is not: detaching sends it', () => {
    const { bench, domain, ioMm } = bind({}, { btm: true })
    expect(bench.smmu.sent(bench.driver.ioMmDetach(domain, ioMm))).toContain('TLBI_NH_ASID ASID=77')
  })
  it('while the entry is being written reaches the devices already', () => {
    const { bench, domain } = twoDevices()
    const ioMm = bench.ioMm(3, process('X', 77))
    const attach = bench.driver.ioMmAttach(domain, ioMm)
    for (let pause = 0; pause < 4; pause++) attach.next()
    const sent = bench.smmu.sent(bench.driver.ioMmInvalidate(ioMm, [domain], 0x5000n, 0x6000n))
    expect(sent).toContain('ATC_INV SSV=1 SubstreamID=3 StreamID=2 Address=0x5000')
    run(attach, () => bench.smmu.step())
  })
  it('of a space that is gone sends nothing', () => {
    const bench = new Bench()
    expect(bench.smmu.sent(bench.driver.ioMmInvalidate({ pasid: 1, mm: null }, [], null, null))).toEqual([])
  })
})

describe('private address spaces', () => {
  it('have an ASID and a page table of their own, and ATC invalidations with their PASID', () => {
    const { bench, domain } = twoDevices()
    const ioMm = bench.ioMm(5, null)
    bench.bound(domain, ioMm)
    expect(bench.cd(1, 5)).toMatchObject({ ASID: 2, ASET: 1 })
    const table = bench.driver.ioMmPgtable(ioMm)
    bench.smmu.sent(table.map(0x8000n, 0x5000_0000n, 0x1000n, 0b011011))
    expect(table.iovaToPhys(0x8123n)).toBe(0x5000_0123n)
    expect(bench.driver.pgtable(domain)!.iovaToPhys(0x8123n)).toBeNull()
    expect(bench.smmu.sent(table.unmap(0x8000n, 0x1000n))).toEqual([
      'TLBI_NH_VA ASID=2 Address=0x8000',
      'SYNC',
      'ATC_INV SSV=1 SubstreamID=5 StreamID=1 Address=0x8000',
      'ATC_INV SSV=1 SubstreamID=5 StreamID=2 Address=0x8000',
      'SYNC',
    ])
  })
  it('may be freed with mappings left', () => {
    const { bench, domain } = twoDevices()
    const turn = () => {
      const ioMm = bench.ioMm(5, null)
      bench.bound(domain, ioMm)
      bench.smmu.sent(bench.driver.ioMmPgtable(ioMm).map(0x8000n, 0x5000_0000n, 0x1000n, 0b011011))
      bench.smmu.sent(bench.driver.ioMmDetach(domain, ioMm))
      expect(bench.smmu.sent(bench.driver.ioMmFree(ioMm))).toEqual(['TLBI_NH_ASID ASID=2', 'SYNC'])
    }
    turn()
    const probe = bench.smmu.memory.allocate(4096)
    bench.smmu.memory.free(probe, 4096)
    for (let count = 0; count < 10; count++) turn()
    expect(bench.smmu.memory.allocate(4096)).toBe(probe)
  })
  it('are not those of processes', () => {
    const { bench } = twoDevices()
    const ioMm = bench.ioMm(5, process('X', 77))
    expect(() => bench.driver.ioMmPgtable(ioMm)).toThrow(expect.objectContaining({ code: 'Unsupported' }))
  })
})

describe('ASIDs', () => {
  it('of the CPU push a private domain to another: one hitless CD update, then the old ASID is invalidated', () => {
    const { bench, domain } = twoDevices()
    expect(bench.cd(1, null)).toMatchObject({ ASID: 1 })
    const ioMm = { pasid: 3, mm: process('X', 1) }
    expect(bench.smmu.sent(bench.driver.ioMmAlloc(ioMm))).toEqual([
      'CFGI_CD StreamID=1 Leaf=1',
      'CFGI_CD StreamID=2 Leaf=1',
      'SYNC',
      'TLBI_NH_ASID ASID=1',
      'SYNC',
    ])
    expect(bench.cd(1, null)).toMatchObject({ V: 1, ASID: 2, ASET: 1 })
    bench.bound(domain, ioMm)
    expect(bench.cd(1, 3)).toMatchObject({ V: 1, ASID: 1, ASET: 0 })
  })
  it('of the CPU push a private io_mm in every domain that has it', () => {
    const bench = new Bench()
    const [a, b] = [bench.domain('A', 'dma', bench.device(1)), bench.domain('B', 'dma', bench.device(2))]
    const space = bench.ioMm(5, null)
    bench.bound(a, space)
    bench.bound(b, space)
    expect([bench.cd(1, 5), bench.cd(2, 5)]).toMatchObject([{ ASID: 3 }, { ASID: 3 }])
    bench.ioMm(6, process('X', 3))
    expect([bench.cd(1, 5), bench.cd(2, 5)]).toMatchObject([{ ASID: 4 }, { ASID: 4 }])
  })
  it('are both invalidated by an unmap that meets a domain on its way to another', () => {
    const { bench, domain } = twoDevices()
    bench.map(domain, 0x1000n, 0x5000_0000n, 0x2000n)
    const move = bench.driver.ioMmAlloc({ pasid: 3, mm: process('X', 1) })
    for (let pause = 0; pause < 4; pause++) move.next()
    expect(bench.unmap(domain, 0x1000n, 0x1000n).filter((command) => command.startsWith('TLBI'))).toEqual([
      'TLBI_NH_VA ASID=2 Leaf=1 Address=0x1000',
      'TLBI_NH_VA ASID=1 Leaf=1 Address=0x1000',
    ])
    run(move, () => bench.smmu.step())
    expect(bench.unmap(domain, 0x2000n, 0x1000n)[0]).toBe('TLBI_NH_VA ASID=2 Address=0x2000')
  })
  it('run out for processes when none can be pinned', () => {
    const bench = new Bench()
    expect(bench.failure(() => bench.driver.ioMmAlloc({ pasid: 3, mm: process('X', null) }))).toMatchObject({
      code: 'AsidExhausted',
    })
  })
  it('run out for domains, and what failed leaves nothing behind', () => {
    const bench = new Bench({ IDR0: { ASID16: 0 } })
    for (let count = 1; count < 256; count++) bench.ioMm(count, null)
    const mm = process('X', 7)
    expect(bench.failure(() => bench.driver.ioMmAlloc({ pasid: 300, mm }))).toMatchObject({ code: 'AsidExhausted' })
    expect(mm.pins).toBe(0)
    const probe = bench.smmu.memory.allocate(4096)
    bench.smmu.memory.free(probe, 4096)
    expect(bench.failure(() => bench.driver.domainAlloc({ name: 'D', kind: 'dma', devices: new Set() }))).toMatchObject({
      code: 'AsidExhausted',
    })
    expect(bench.smmu.memory.allocate(4096)).toBe(probe)
  })
  it('of two processes are never the same, and fit the SMMU', () => {
    const bench = new Bench({ IDR0: { ASID16: 0 } })
    bench.ioMm(3, process('X', 7))
    const [twin, wide] = [process('Y', 7), process('Z', 256)]
    expect(bench.failure(() => bench.driver.ioMmAlloc({ pasid: 4, mm: twin }))).toMatchObject({ code: 'Unsupported' })
    expect(bench.failure(() => bench.driver.ioMmAlloc({ pasid: 5, mm: wide }))).toMatchObject({ code: 'Unsupported' })
    expect([twin.pins, wide.pins]).toEqual([0, 0])
  })
})

describe('forgotten invalidations', () => {
  it('are left out, and only they', () => {
    for (const [kind, left] of [
      ['iotlb', ['SYNC', 'ATC_INV StreamID=1 Address=0x1000', 'SYNC']],
      ['atc', ['TLBI_NH_VA ASID=1 Address=0x1000', 'SYNC', 'SYNC']],
      ['sync', ['TLBI_NH_VA ASID=1 Address=0x1000', 'ATC_INV StreamID=1 Address=0x1000']],
    ] as const) {
      const bench = new Bench()
      const domain = bench.domain('A', 'dma', bench.device(1), bench.device(9, PLAIN))
      bench.map(domain, 0x1000n, 0x5000_0000n, 0x1000n)
      bench.driver.commands.forget.add(kind)
      expect(bench.unmap(domain, 0x1000n, 0x1000n)).toEqual(left)
    }
    const bench = new Bench({}, { forget: ['config'] })
    expect(bench.smmu.log).toEqual(['SYNC', 'TLBI_EL2_ALL', 'TLBI_NSNH_ALL', 'SYNC'])
  })
  it('do not keep devices without ATS waiting for ATC invalidations', () => {
    const bench = new Bench({ IDR0: { ATS: 0, PRI: 0 } })
    const domain = bench.domain('A', 'dma', bench.device(1, PCIE))
    bench.map(domain, 0x1000n, 0x5000_0000n, 0x1000n)
    expect(bench.unmap(domain, 0x1000n, 0x1000n)).toEqual(['TLBI_NH_VA ASID=1 Address=0x1000', 'SYNC'])
    expect(bench.steFields(1).EATS).toBe(0)
  })
})
