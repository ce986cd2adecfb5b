import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encode } from '../../base/layout.ts'
import { run } from '../../base/op.ts'
import { ptSpace } from '../../format/pt/format.ts'
import { PageTable } from '../../format/pt/mapper.ts'
import { vmsav8 } from '../../format/pt/vmsav8.ts'
import { CD } from '../../format/smmuv3/cd.ts'
import { STE } from '../../format/smmuv3/ste.ts'
import { tlbiAsid } from './commands.ts'
import { PLAIN, STALLS } from './driver.suite.ts'
import { RW, System, TestDevice } from './system.suite.ts'

describe('DMA without PASID', () => {
  for (const [name, capabilities] of [
    ['an ordinary device', PLAIN],
    ['a device with an ATC', {}],
  ] as const) {
    it(`of ${name} reaches what is mapped, and faults once it is unmapped`, () => {
      const system = new System()
      const device = system.device(1, capabilities)
      const domain = system.domain('A', 'dma')
      expect(device.dma(0x1000n)).not.toBeTypeOf('bigint')
      system.attach(domain, device)
      const missing = device.dma(0x1000n)
      expect(['F_TRANSLATION', 'no access']).toContain(missing)
      system.map(domain, 0x1000n, 0x5000_0000n, 0x2000n)
      expect([device.dma(0x1234n), device.dma(0x2fffn, null, 'write')]).toEqual([0x5000_0234n, 0x5000_1fffn])
      expect(system.unmap(domain, 0x1000n)).toBe(0x1000n)
      expect([device.dma(0x1234n), device.dma(0x2fffn)]).toEqual([missing, 0x5000_1fffn])
    })
  }
  it('goes where each device of the domain sees it, and not where another domain does', () => {
    const system = new System()
    const [a, b, c] = [system.device(1), system.device(2), system.device(3)]
    const [first, second] = [system.domain('A', 'dma', a, b), system.domain('B', 'dma', c)]
    system.map(first, 0x1000n, 0x5000_0000n)
    system.map(second, 0x1000n, 0x6000_0000n)
    expect([a, b, c].map((device) => device.dma(0x1000n))).toEqual([0x5000_0000n, 0x5000_0000n, 0x6000_0000n])
    // Into the other domain in one go: nothing of the old one is left in the caches.
    system.attach(second, a)
    expect(a.dma(0x1000n)).toBe(0x6000_0000n)
    system.run(system.driver.detachDevice(second, a))
    expect(a.dma(0x1000n)).not.toBeTypeOf('bigint')
  })
  it('works with every granule, at either stage', () => {
    for (const granule of [12, 14, 16] as const)
      for (const domainStage of [1, 2] as const)
        for (const OAS of [5, 6] as const) {
          const system = new System({ granule, domainStage }, { idr: { OAS, DS: 1, VAX: 1 } })
          const device = system.device(1, PLAIN)
          const domain = system.domain('A', 'dma', device)
          const page = 1n << BigInt(granule)
          system.map(domain, 0x4000_0000n, 0x6000_0000n, 0x200_0000n + page)
          expect([device.dma(0x4000_0123n), device.dma(0x4200_0000n)]).toEqual([0x6000_0123n, 0x6200_0000n])
          system.unmap(domain, 0x4000_0000n, page)
          expect([device.dma(0x4000_0123n), device.dma(0x4000_0000n + page)]).toEqual(['F_TRANSLATION', 0x6000_0000n + page])
        }
  })
  it('sees exactly what random maps and unmaps left, through all the caches', () => {
    const operation = fc.record({
      map: fc.boolean(),
      page: fc.nat(40),
      pages: fc.constantFrom(1n, 3n, 512n, 600n),
      domain: fc.nat(1),
    })
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 15 }), fc.boolean(), (operations, ril) => {
        const system = new System({}, { idr: { RIL: ril ? 1 : 0 } })
        const devices = [system.device(1), system.device(2, PLAIN)]
        const domains = devices.map((device, index) => system.domain(`${index}`, 'dma', device))
        const expected = devices.map(() => new Map<bigint, bigint>())
        for (const { map, page, pages, domain } of operations) {
          const first = BigInt(page) * 32n
          const shadow = expected[domain]!
          const range = Array.from({ length: Number(pages) }, (_, index) => first + BigInt(index))
          if (!map) {
            const mapped = range.filter((at) => shadow.delete(at)).length
            expect(system.unmap(domains[domain]!, first << 12n, pages << 12n)).toBe(BigInt(mapped) << 12n)
          } else if (range.every((at) => !shadow.has(at))) {
            const pa = 0x5000_0000n + (first << 12n)
            system.map(domains[domain]!, first << 12n, pa, pages << 12n)
            for (const at of range) shadow.set(at, 0x5000_0000n + (at << 12n))
          }
          // Every DMA also fills the caches with what the next operation must remove.
          for (let at = 0n; at < 1900n; at += 13n)
            devices.forEach((device, index) => {
              const wanted = expected[index]!.get(at)
              const got = device.dma(at << 12n)
              if (wanted !== undefined || typeof got !== 'string') expect(got).toBe(wanted)
            })
        }
      }),
      { numRuns: 25 },
    )
  })
  it('never meets anything but the old mapping or none while it is unmapped, and after it none', () => {
    const system = new System()
    const device = system.device(1, PLAIN)
    const domain = system.domain('A', 'dma', device)
    system.map(domain, 0n, 0x4000_0000n, 0x40_0000n)
    const seen = new Set<unknown>()
    system.watch(system.driver.pgtable(domain)!.unmap(0x1000n, 0x1000n), () => {
      seen.add(device.dma(0x1000n))
      expect([0x4020_0000n, 'F_TRANSLATION']).toContain(device.dma(0x20_0000n))
    })
    expect([...seen].sort()).toEqual([0x4000_1000n, 'F_TRANSLATION'])
    expect([device.dma(0x0fffn), device.dma(0x1000n), device.dma(0x2000n)]).toEqual([0x4000_0fffn, 'F_TRANSLATION', 0x4000_2000n])
  })
})

describe('PASIDs', () => {
  it('lead each to its own address space, in every device of the domain', () => {
    const system = new System()
    const [a, b, c] = [system.device(1), system.device(2, PLAIN), system.device(3)]
    const [first, second] = [system.domain('A', 'dma', a, b), system.domain('B', 'dma', c)]
    const [x, y] = [system.process('X', 7), system.process('Y', 8)]
    x.table.map(0x1000, 0x5000_0000, 0x1000, RW)
    y.table.map(0x1000, 0x6000_0000, 0x1000, RW)
    system.map(first, 0x1000n, 0x7000_0000n)
    system.bind(first, 1, x)
    const shared = system.bind(first, 2, y)
    system.run(system.driver.ioMmAttach(second, shared))
    const own = system.bind(first, 3, null)
    system.run(system.driver.ioMmPgtable(own).map(0x1000n, 0x5800_0000n, 0x1000n, RW))
    expect([null, 1, 2, 3].map((pasid) => a.dma(0x1000n, pasid))).toEqual([
      0x7000_0000n,
      0x5000_0000n,
      0x6000_0000n,
      0x5800_0000n,
    ])
    expect(c.dma(0x1000n, 2)).toBe(0x6000_0000n)
    expect(system.events()).toEqual([])
    // What is not bound, and PASID 0, which is for traffic without.
    for (const [device, pasid] of [
      [c, 1],
      [a, 4],
      [a, 0],
    ] as const)
      expect(device.dma(0x1000n, pasid)).not.toBeTypeOf('bigint')
  })
  it('work beside bypass in identity domains, and alone in blocked ones', () => {
    const system = new System()
    const [a, b] = [system.device(1, { ats: false, pri: false }), system.device(2, { ats: false, pri: false })]
    const [identity, blocked] = [system.domain('I', 'identity', a), system.domain('B', 'blocked', b)]
    const x = system.process('X', 7)
    x.table.map(0x1000, 0x5000_0000, 0x1000, RW)
    expect([a.dma(0x7777n), b.dma(0x7777n)]).toMatchObject([0x7777n, expect.any(String)])
    const ioMm = system.ioMm(1, x)
    // Bypass goes on, whatever the table entries look like meanwhile.
    system.watch(system.driver.ioMmAttach(identity, ioMm), () => expect(a.dma(0x7777n)).toBe(0x7777n))
    system.run(system.driver.ioMmAttach(blocked, ioMm))
    expect([a.dma(0x1000n, 1), a.dma(0x7777n)]).toEqual([0x5000_0000n, 0x7777n])
    expect([b.dma(0x1000n, 1), b.dma(0x7777n)]).toEqual([0x5000_0000n, 'F_STREAM_DISABLED'])
    system.watch(system.driver.ioMmDetach(identity, ioMm), () => expect(a.dma(0x7777n)).toBe(0x7777n))
    expect([a.dma(0x1000n, 1), a.dma(0x7777n)]).toEqual(['C_BAD_SUBSTREAMID', 0x7777n])
  })
  it('are cut off by an unbind, in IOTLB and ATC too', () => {
    const system = new System()
    const device = system.device(1)
    const domain = system.domain('A', 'dma', device)
    const x = system.process('X', 7)
    x.table.map(0x1000, 0x5000_0000, 0x1000, RW)
    const ioMm = system.bind(domain, 1, x)
    expect(device.dma(0x1000n, 1)).toBe(0x5000_0000n)
    system.run(system.driver.ioMmDetach(domain, ioMm))
    expect(device.dma(0x1000n, 1)).toBe('C_BAD_CD')
    expect(system.events()).toEqual(['C_BAD_CD'])
    // The same PASID for another process: nothing of the old one.
    const y = system.process('Y', 7)
    y.table.map(0x1000, 0x6000_0000, 0x1000, RW)
    system.run(system.driver.ioMmFree(ioMm))
    system.bind(domain, 1, y)
    expect(device.dma(0x1000n, 1)).toBe(0x6000_0000n)
  })
  it('say nothing after their process exited: DMA is aborted, ATS gives no access, and no event is written', () => {
    const system = new System()
    const [ats, plain] = [system.device(1), system.device(2, { ats: false, pri: false })]
    const domain = system.domain('A', 'dma', ats, plain)
    const x = system.process('X', 7)
    x.table.map(0x1000, 0x5000_0000, 0x1000, RW)
    const ioMm = system.bind(domain, 1, x)
    const outcomes = new Set<unknown>()
    system.watch(system.driver.ioMmExit(domain, ioMm), () => outcomes.add(plain.dma(0x1000n, 1)))
    expect(outcomes).toEqual(new Set([0x5000_0000n, 'F_TRANSLATION']))
    expect([ats.dma(0x1000n, 1), ats.dma(0x9000n, 1)]).toEqual(['no access', 'no access'])
    expect(system.events()).toEqual([])
    // Cleared too early, it would have been an error to report.
    system.run(system.driver.ioMmDetach(domain, ioMm))
    expect(plain.dma(0x1000n, 1)).toBe('C_BAD_CD')
    expect(system.events()).toEqual(['C_BAD_CD'])
  })
  it('in a table of two levels need a leaf: before, C_BAD_SUBSTREAMID; after the first bind there, a translation', () => {
    for (const cdtab of ['2lvl-4k', '2lvl-64k'] as const) {
      const system = new System({ cdtab })
      const device = system.device(1, { ats: false, pri: false })
      const domain = system.domain('A', 'dma', device)
      const x = system.process('X', 7)
      x.table.map(0x1000, 0x5000_0000, 0x1000, RW)
      expect(device.dma(0x1000n, 2000)).toBe('C_BAD_SUBSTREAMID')
      system.bind(domain, 2000, x)
      expect([device.dma(0x1000n, 2000), device.dma(0x1000n, 2001)]).toEqual([0x5000_0000n, 'C_BAD_CD'])
    }
  })
  it('that were tried too early work once they are bound, and so do devices, whoever made the leaf that they share', () => {
    for (const cdtab of ['2lvl-4k', '2lvl-64k'] as const) {
      const system = new System({ cdtab })
      const early = new TestDevice(system.model, 2, { ...PLAIN, pasidBits: 12 })
      expect(early.dma(0x1000n)).toBe('C_BAD_STREAMID')
      const device = system.device(1, { ats: false, pri: false })
      const domain = system.domain('A', 'dma', device, system.device(2, early.capabilities))
      const x = system.process('X', 7)
      x.table.map(0x1000, 0x5000_0000, 0x1000, RW)
      system.map(domain, 0x1000n, 0x6000_0000n)
      expect(early.dma(0x1000n)).toBe(0x6000_0000n)
      expect(device.dma(0x1000n, 2001)).toBe('C_BAD_SUBSTREAMID')
      system.bind(domain, 2000, null)
      system.bind(domain, 2001, x)
      expect([device.dma(0x1000n, 2001), early.dma(0x1000n, 2001)]).toEqual([0x5000_0000n, 0x5000_0000n])
    }
  })
  it('that share an ASID number with a domain do not share its translations: the domain moves', () => {
    const system = new System()
    const device = system.device(1, { ats: false, pri: false })
    const domain = system.domain('A', 'dma', device)
    system.map(domain, 0x1000n, 0x7000_0000n)
    // In the IOTLB now, under ASID 1.
    expect(device.dma(0x1000n)).toBe(0x7000_0000n)
    const x = system.process('X', 1)
    x.table.map(0x1000, 0x5000_0000, 0x1000, RW)
    const ioMm = { pasid: 1, mm: x }
    system.watch(system.driver.ioMmAlloc(ioMm), () => expect(device.dma(0x1000n)).toBe(0x7000_0000n))
    system.run(system.driver.ioMmAttach(domain, ioMm))
    expect([device.dma(0x1000n, 1), device.dma(0x1000n)]).toEqual([0x5000_0000n, 0x7000_0000n])
    system.unmap(domain, 0x1000n)
    expect([device.dma(0x1000n, 1), device.dma(0x1000n)]).toEqual([0x5000_0000n, 'F_TRANSLATION'])
  })
  it('go on undisturbed while the table grows for a device with wider PASIDs', () => {
    const system = new System()
    const narrow = system.device(1, { ats: false, pri: false, pasidBits: 4 })
    const domain = system.domain('A', 'dma', narrow)
    const x = system.process('X', 7)
    x.table.map(0x1000, 0x5000_0000, 0x1000, RW)
    system.bind(domain, 1, x)
    system.map(domain, 0x1000n, 0x7000_0000n)
    const wide = system.device(2, { ats: false, pri: false, pasidBits: 20 })
    domain.devices.add(wide)
    system.watch(system.driver.attachDevice(domain, wide), () =>
      expect([narrow.dma(0x1000n, 1), narrow.dma(0x1000n)]).toEqual([0x5000_0000n, 0x7000_0000n]),
    )
    expect([wide.dma(0x1000n, 1), wide.dma(0x1000n)]).toEqual([0x5000_0000n, 0x7000_0000n])
  })
  it('let the hardware mark pages of processes, where the CPU does so too', () => {
    for (const httu of [true, false]) {
      const system = new System({ httu })
      const device = system.device(1, { ats: false, pri: false })
      const domain = system.domain('A', 'dma', device)
      const x = system.process('X', 7, true)
      x.table.map(0x1000, 0x5000_0000, 0x1000, RW, { clearLo: 1 << 10 })
      system.bind(domain, 1, x)
      expect(device.dma(0x1000n, 1)).toBe(httu ? 0x5000_0000n : 'F_ACCESS')
      expect((x.table.leaf(0x1000)!.lo >>> 10) & 1).toBe(httu ? 1 : 0)
    }
  })
})

describe('an invalidation that is forgotten shows', () => {
  it('in the IOTLB: unmapped memory is still reached', () => {
    const system = new System()
    const device = system.device(1, PLAIN)
    const domain = system.domain('A', 'dma', device)
    system.map(domain, 0x1000n, 0x5000_0000n)
    device.dma(0x1000n)
    system.driver.commands.forget.add('iotlb')
    system.unmap(domain, 0x1000n)
    expect(device.dma(0x1000n)).toBe(0x5000_0000n)
  })
  it('in the ATC of a process that changed', () => {
    const system = new System()
    const device = system.device(1)
    const domain = system.domain('A', 'dma', device)
    const x = system.process('X', 7)
    x.table.map(0x1000, 0x5000_0000, 0x1000, RW)
    const ioMm = system.bind(domain, 1, x)
    const change = () => {
      x.table.unmap(0x1000, 0x1000)
      system.run(system.driver.ioMmInvalidate(ioMm, [domain], 0x1000n, 0x2000n))
    }
    expect(device.dma(0x1000n, 1)).toBe(0x5000_0000n)
    system.driver.commands.forget.add('atc')
    change()
    expect(device.dma(0x1000n, 1)).toBe(0x5000_0000n)
    system.driver.commands.forget.clear()
    change()
    expect(device.dma(0x1000n, 1)).toBe('no access')
  })
  it('in the ATC also when it comes before the IOTLB: it is filled again with what is stale', () => {
    const system = new System()
    const device = system.device(1)
    const domain = system.domain('A', 'dma', device)
    const x = system.process('X', 7)
    x.table.map(0x1000, 0x5000_0000, 0x1000, RW)
    const ioMm = system.bind(domain, 1, x)
    device.dma(0x1000n, 1)
    x.table.unmap(0x1000, 0x1000)
    const forget = system.driver.commands.forget
    forget.add('iotlb')
    system.run(system.driver.ioMmInvalidate(ioMm, [domain], 0x1000n, 0x2000n))
    device.dma(0x1000n, 1)
    forget.clear()
    forget.add('atc')
    system.run(system.driver.ioMmInvalidate(ioMm, [domain], 0x1000n, 0x2000n))
    expect(device.dma(0x1000n, 1)).toBe(0x5000_0000n)
  })
  it('in a cached CD: an unbound PASID still translates', () => {
    const system = new System()
    const device = system.device(1, { ats: false, pri: false })
    const domain = system.domain('A', 'dma', device)
    const x = system.process('X', 7)
    x.table.map(0x1000, 0x5000_0000, 0x1000, RW)
    const ioMm = system.bind(domain, 1, x)
    device.dma(0x1000n, 1)
    system.driver.commands.forget.add('config')
    system.run(system.driver.ioMmDetach(domain, ioMm))
    expect(device.dma(0x1000n, 1)).toBe(0x5000_0000n)
  })
  it('in a cached invalid CD, after the first bind', () => {
    for (const forgets of [false, true]) {
      const system = new System()
      const device = system.device(1, { ats: false, pri: false })
      const domain = system.domain('A', 'dma', device)
      const x = system.process('X', 7)
      x.table.map(0x1000, 0x5000_0000, 0x1000, RW)
      // The device tries too early, and the SMMU remembers that there was nothing.
      expect(device.dma(0x1000n, 1)).toBe('C_BAD_CD')
      if (forgets) system.driver.commands.forget.add('config')
      system.bind(domain, 1, x)
      expect(device.dma(0x1000n, 1)).toBe(forgets ? 'C_BAD_CD' : 0x5000_0000n)
    }
  })
  it('in a cached STE: a detached device still gets through', () => {
    const system = new System()
    const device = system.device(1, PLAIN)
    const domain = system.domain('A', 'dma', device)
    system.map(domain, 0x1000n, 0x5000_0000n)
    device.dma(0x1000n)
    system.driver.commands.forget.add('config')
    system.run(system.driver.detachDevice(domain, device))
    expect(device.dma(0x1000n)).toBe(0x5000_0000n)
  })
  it('as a race: without the sync an operation returns before its invalidations are done', () => {
    const system = new System()
    const device = system.device(1, PLAIN)
    const domain = system.domain('A', 'dma', device)
    system.map(domain, 0x1000n, 0x5000_0000n)
    device.dma(0x1000n)
    system.driver.commands.forget.add('sync')
    // No command is consumed meanwhile.
    run(system.driver.pgtable(domain)!.unmap(0x1000n, 0x1000n))
    expect(device.dma(0x1000n)).toBe(0x5000_0000n)
    while (system.model.step());
    expect(device.dma(0x1000n)).toBe('F_TRANSLATION')
  })
})

describe('faults that can be answered', () => {
  it('stall the transaction until it is resumed: again after success, with an abort otherwise', () => {
    const system = new System()
    const device = system.device(1, STALLS)
    const domain = system.domain('A', 'dma', device)
    const x = system.process('X', 7)
    system.bind(domain, 1, x)
    expect(device.dma(0x1234n, 1, 'write')).toBe('F_TRANSLATION')
    expect(device.dma(0x9000n, 1)).toBe('F_TRANSLATION')
    expect(system.events()).toEqual([])
    expect(system.requests).toMatchObject([
      { device: 1, pasid: 1, address: 0x1234n, write: true, read: false, last: true },
      { device: 1, pasid: 1, address: 0x9000n, write: false, read: true, last: true },
    ])
    x.table.map(0x1000, 0x5000_0000, 0x1000, RW)
    for (const [index, code] of (['success', 'invalid'] as const).entries()) {
      const { pasid, group, stallTag } = system.requests[index]!
      system.run(system.driver.pageResponse({ device, pasid, group, stallTag, code }))
    }
    while (system.model.step());
    expect(device.messages).toMatchObject([
      { kind: 'resume', action: 'retry' },
      { kind: 'resume', action: 'abort' },
    ])
    expect(device.dma(0x1234n, 1, 'write')).toBe(0x5000_0234n)
  })
  it('end with an abort when the device leaves the domain while they wait', () => {
    const system = new System()
    const device = system.device(1, STALLS)
    const domain = system.domain('A', 'dma', device)
    const other = system.domain('B', 'dma')
    for (const leave of [() => system.run(system.driver.detachDevice(domain, device)), () => system.attach(other, device)]) {
      system.attach(domain, device)
      device.messages.length = 0
      device.dma(0x1000n)
      expect(device.messages).toEqual([])
      leave()
      expect(device.messages).toMatchObject([{ kind: 'resume', action: 'abort' }])
    }
  })
  it('are page requests, answered with the PASID where the device needs it', () => {
    for (const responseNeedsPasid of [true, false]) {
      const system = new System()
      const device = system.device(1, { responseNeedsPasid })
      const domain = system.domain('A', 'dma', device)
      system.bind(domain, 1, system.process('X', 7))
      const request = { device: 1, pasid: 1, write: false, execute: false, privileged: false, read: true }
      system.model.pageRequest({ ...request, address: 0x8000n, group: 5, last: false })
      system.model.pageRequest({ ...request, address: 0x9000n, group: 5, last: true })
      system.events()
      expect(system.requests.map(({ address, group, last }) => [address, group, last])).toEqual([
        [0x8000n, 5, false],
        [0x9000n, 5, true],
      ])
      system.run(system.driver.pageResponse({ device, pasid: 1, group: 5, stallTag: null, code: 'success' }))
      while (system.model.step());
      expect(device.messages).toMatchObject([
        { kind: 'page-response', group: 5, code: 'success', pasid: responseNeedsPasid ? 1 : null },
      ])
    }
  })
  it('may be more than the queue holds: the core is told, and later ones come through again', () => {
    const system = new System({ priQueueLog2: 1 })
    const device = system.device(1)
    system.domain('A', 'dma', device)
    const request = { device: 1, pasid: 1, write: false, execute: false, privileged: false, read: true, last: true }
    for (let group = 0; group < 4; group++) system.model.pageRequest({ ...request, address: 0x8000n, group })
    system.events()
    expect([system.requests.length, system.overflows]).toEqual([2, 1])
    system.model.pageRequest({ ...request, address: 0x8000n, group: 9 })
    system.events()
    expect([system.requests.at(-1)!.group, system.overflows]).toEqual([9, 1])
  })
})

describe('a guest', () => {
  /** Guest memory at intermediate 1 GiB … is at 0x6000_0000 …; its stage 1 maps 0x1000 to its page 0x4010_0000. */
  function guest() {
    const system = new System()
    const device = system.device(1, { ats: false, pri: false })
    const domain = system.domain('guest', 'nested', device)
    system.map(domain, 0x4000_0000n, 0x6000_0000n, 0x40_0000n)
    // The guest writes its tables through its own, intermediate, addresses: the same memory, seen from the guest.
    const inside = {
      get words() {
        return system.memory.words
      },
      index: (pa: number) => system.memory.index(pa + 0x2000_0000),
      indexAt: (hi: number, lo: number) => system.memory.indexAt(hi, lo + 0x2000_0000),
      indexForWrite: (pa: number) => system.memory.indexForWrite(pa + 0x2000_0000),
    }
    let next = 0x4020_0000
    const pages = {
      allocate(bytes: number) {
        next += bytes
        return next - bytes
      },
      free() {},
    }
    const space = ptSpace({
      format: vmsav8(12, 'el1'),
      root: pages.allocate(4096),
      topDepth: 3,
      inputBits: 48,
      outputLimit: 2 ** 48,
      attributesLo: 1 << 11,
    })
    const table = new PageTable(inside, pages, space)
    table.map(0x1000, 0x4010_0000, 0x1000, RW)
    const cdTable = 0x4030_0000
    const cd = { V: 1, T0SZ: 16, EPD1: 1, IPS: 5, AA64: 1, R: 1, A: 1, ASID: 5, TTB0: BigInt(space.root) }
    system.memory.words.set(encode(CD, cd), inside.indexForWrite(cdTable))
    const ste = encode(STE, { V: 1, Config: 5, S1ContextPtr: BigInt(cdTable), S1CDMax: 0 })
    return { system, device, domain, table, ste }
  }

  it('sees its own addresses until it switches its stage 1 on; then both stages translate', () => {
    const { system, device, ste } = guest()
    expect(device.dma(0x4000_0123n)).toBe(0x6000_0123n)
    system.run(system.driver.setGuestEntry(device, ste))
    expect(device.dma(0x1123n)).toBe(0x6010_0123n)
    expect(device.dma(0x4000_0123n)).toBe('F_TRANSLATION')
    expect(system.events()).toEqual(['F_TRANSLATION'])
    expect(system.faults[0]!.text).toContain('at 0x40000123')
  })
  it('invalidates its own translations by its own ASIDs', () => {
    const { system, device, domain, table, ste } = guest()
    system.run(system.driver.setGuestEntry(device, ste))
    expect(device.dma(0x1123n)).toBe(0x6010_0123n)
    table.unmap(0x1000, 0x1000)
    expect(device.dma(0x1123n)).toBe(0x6010_0123n)
    system.run(system.driver.guestInvalidate(domain, [tlbiAsid(5)]))
    expect(device.dma(0x1123n)).toBe('F_TRANSLATION')
  })
  it('loses what its host takes away, whatever was cached of both stages together', () => {
    const { system, device, domain, ste } = guest()
    system.run(system.driver.setGuestEntry(device, ste))
    expect(device.dma(0x1123n)).toBe(0x6010_0123n)
    system.unmap(domain, 0x4010_0000n)
    expect(device.dma(0x1123n)).toBe('F_TRANSLATION')
    system.events()
    // Bit S2 of the record.
    expect((system.faults[0]!.record[1]! >> 39n) & 1n).toBe(1n)
  })
})
