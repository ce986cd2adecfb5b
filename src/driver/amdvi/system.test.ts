import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decode } from '../../base/layout.ts'
import { run } from '../../base/op.ts'
import { checkDte } from '../../format/amdvi/check.ts'
import { INVALIDATE_IOMMU_PAGES } from '../../format/amdvi/commands.ts'
import { CONTROL_IOMMU_EN, REG } from '../../format/amdvi/registers.ts'
import type { PageRequestMessage } from '../../model/iommu.ts'
import {
  expectExactlyWhatIsMapped,
  joinsWithMorePasids,
  mapChanges,
  pageRequest,
  showsForgottenIotlb,
  withoutAnswers,
} from '../common/behaviours.suite.ts'
import { loadWords } from '../common/words.ts'
import { commandName } from './command-buffer.ts'
import { invalidateAll } from './commands.ts'
import { AmdDriver } from './driver.ts'
import { features, type PCIE, PLAIN, RW, System, type TestDevice } from './system.suite.ts'

const FAULT = 'IO_PAGE_FAULT'
const REFUSED = 'INVALID_DEVICE_REQUEST'

/** Commands that an operation sends, fences left out. */
const sent = (system: System, act: () => void) => system.sent(act, commandName, 'COMPLETION_WAIT')

/** The device table entry. */
const dteOf = (system: System, device: number) => {
  const base = Number(system.model.read(REG.DEV_TAB_BASE, 8) & 0xffffffffff000n)
  return Int32Array.from(loadWords(system.memory, base + device * 32, 8))
}

describe('DMA without PASID', () => {
  for (const tables of ['v1', 'v2'] as const)
    for (const [name, capabilities] of [
      ['an ordinary device', PLAIN],
      ['a device with an ATC', {}],
    ] as const)
      it(`of ${name} reaches what is mapped in ${tables} tables, and faults once it is unmapped`, () => {
        const system = new System({ tables })
        const device = system.device(1, capabilities)
        const domain = system.domain('A', 'dma')
        expect(device.dma(0x1000n)).not.toBeTypeOf('bigint')
        system.attach(domain, device)
        const missing = device.dma(0x1000n)
        expect([FAULT, 'no access']).toContain(missing)
        system.map(domain, 0x1000n, 0x5000_0000n, 0x2000n)
        expect([device.dma(0x1234n), device.dma(0x2fffn, null, 'write')]).toEqual([0x5000_0234n, 0x5000_1fffn])
        expect(system.unmap(domain, 0x1000n)).toBe(0x1000n)
        expect([device.dma(0x1234n), device.dma(0x2fffn)]).toEqual([missing, 0x5000_1fffn])
      })
  it('works with tables of every depth', () => {
    const choices = [
      ...([3, 4, 5, 6] as const).map((hostLevels) => ({ tables: 'v1', hostLevels }) as const),
      ...([4, 5] as const).map((guestLevels) => ({ tables: 'v2', guestLevels }) as const),
    ]
    for (const options of choices) {
      const system = new System(options)
      const device = system.device(0xff, PLAIN)
      const domain = system.domain('A', 'dma', device)
      system.map(domain, 0x4000_0000n, 0x6000_0000n, 0x200_1000n)
      expect([device.dma(0x4000_0123n), device.dma(0x4200_0000n)]).toEqual([0x6000_0123n, 0x6200_0000n])
      system.unmap(domain, 0x4000_0000n)
      expect([device.dma(0x4000_0123n), device.dma(0x4000_1000n)]).toEqual([FAULT, 0x6000_1000n])
    }
  })
  it('uses v1 tables where the IOMMU has no guest tables, or no GIOV', () => {
    for (const has of [{ GTSup: 0, GIOSup: 0 }, { GIOSup: 0 }] as const) {
      const system = new System({}, { efr: features(has) })
      expect(system.driver.tables).toBe('v1')
      const device = system.device(1)
      system.map(system.domain('A', 'dma', device), 0x1000n, 0x5000_0000n)
      expect(device.dma(0x1000n)).toBe(0x5000_0000n)
    }
  })
  it('sees exactly what random maps and unmaps left, through all the caches', () => {
    fc.assert(
      fc.property(
        mapChanges,
        fc.constantFrom({}, { iotlbThreshold: 2 }, { tables: 'v1' as const }, { tables: 'v1' as const, iotlbThreshold: 2 }),
        (changes, options) => {
          const system = new System(options)
          expectExactlyWhatIsMapped(system, changes)
        },
      ),
      { numRuns: 30 },
    )
  })
  it('is not disturbed while a block of which it uses another part is cut', () => {
    for (const tables of ['v1', 'v2'] as const) {
      const system = new System({ tables })
      const device = system.device(1, PLAIN)
      const domain = system.domain('A', 'dma', device)
      system.map(domain, 0x4000_0000n, 0x6000_0000n, 0x20_0000n)
      system.watch(system.driver.pgtable(domain)!.unmap(0x4000_0000n, 0x1000n), () =>
        expect(device.dma(0x4000_1000n)).toBe(0x6000_1000n),
      )
      expect(device.dma(0x4000_0000n)).toBe(FAULT)
    }
  })
  it('cannot be given addresses that stand for the upper half of guest tables', () => {
    const system = new System()
    const domain = system.domain('A', 'dma', system.device(1))
    expect(() => system.map(domain, 1n << 47n, 0x5000_0000n)).toThrow(/lower half/)
    system.map(domain, (1n << 47n) - 0x1000n, 0x5000_0000n)
  })
})

describe('kinds of domains', () => {
  it('blocked: nothing passes, and only that a device asks for translations is recorded', () => {
    const system = new System()
    const [ats, plain, pasids] = [system.device(1), system.device(2, PLAIN), system.device(3, { ats: false, pri: false })]
    for (const device of [ats, plain, pasids]) {
      // No domain at all, then a blocked one.
      for (const domain of [null, system.domain('B', 'blocked')]) {
        if (domain !== null) system.attach(domain, device)
        expect(device.dma(0x1000n)).toBe(device === ats ? REFUSED : FAULT)
        expect(device.dma(0x1000n, 3)).toBe(device === ats ? REFUSED : FAULT)
        // What it may have cached does not help: translated requests are refused too.
        const translated = { device: device.id, iova: 0x1000n, access: 'write', kind: 'translated' } as const
        expect(system.model.translate(translated)).toMatchObject({ ok: false, name: REFUSED })
        expect(system.events().filter((name) => name !== REFUSED)).toEqual([])
      }
    }
  })
  it('a device that nobody added is blocked too, within the device table and beyond it', () => {
    const system = new System()
    for (const [device, name] of [
      [5, FAULT],
      [0x500, FAULT],
    ] as const)
      expect(system.model.translate({ device, iova: 0n, access: 'read' })).toMatchObject({ ok: false, name })
    expect(() => system.device(0x100)).toThrow(/beyond the device table, which ends with 0xff/)
    expect(() => new System({ largestDevice: 0x10000 })).toThrow(/not a DeviceID/)
  })
  it('identity: addresses pass as they are, without PASID only', () => {
    const system = new System()
    const [narrow, wide] = [system.device(1, PLAIN), system.device(2)]
    system.domain('I', 'identity', narrow, wide)
    expect([narrow.dma(0x5678n), wide.dma(0x5678n)]).toEqual([0x5678n, 0x5678n])
    expect([narrow.dma(0x5678n, 1), wide.dma(0x5678n, 1)]).toEqual([FAULT, 'no access'])
  })
  it('identity and blocked go on as they are when a PASID is bound, and hitlessly so', () => {
    for (const kind of ['identity', 'blocked'] as const) {
      const system = new System()
      const device = system.device(1, { ats: false, pri: false })
      const domain = system.domain('D', kind, device, system.device(2, PLAIN))
      const ioMm = system.ioMm(1, null)
      system.run(system.driver.ioMmPgtable(ioMm).map(0x1000n, 0x5000_0000n, 0x1000n, RW))
      const without = () => expect(device.dma(0x7000n)).toEqual(kind === 'identity' ? 0x7000n : FAULT)
      system.watch(system.driver.ioMmAttach(domain, ioMm), without)
      expect(device.dma(0x1000n, 1)).toBe(0x5000_0000n)
      system.watch(system.driver.ioMmDetach(domain, ioMm), without)
      system.events()
      // As before the first one: a blocked domain speaks only while a PASID is in use.
      expect([device.dma(0x1000n, 1), device.dma(0x7000n)]).toEqual([FAULT, kind === 'identity' ? 0x7000n : FAULT])
      expect(system.events()).toEqual(kind === 'identity' ? [FAULT] : [])
    }
  })
  it('blocked with PASIDs needs GIOV, or what has no PASID would pass', () => {
    const system = new System({}, { efr: features({ GIOSup: 0 }) })
    const device = system.device(1)
    system.domain('B', 'blocked', device)
    expect(system.driver.svaObstacle(device, null)).toMatch(/GIOSup/)
  })
  it('give their DomainIDs back', () => {
    const system = new System()
    const device = system.device(1)
    const ids = new Set<number>()
    for (let turn = 0; turn < 5; turn++) {
      const domain = system.domain(`D${turn}`, 'dma', device)
      ids.add(dteOf(system, 1)[2]! & 0xffff)
      system.run(system.driver.detachDevice(domain, device))
      domain.devices.delete(device)
      system.run(system.driver.domainFree(domain))
    }
    expect(ids.size).toBe(1)
  })
})

describe('PASIDs', () => {
  it('lead each to its own address space, in GCR3 tables of every depth', () => {
    for (const gcr3Levels of [1, 2, 3, undefined] as const) {
      const system = new System(gcr3Levels === undefined ? {} : { gcr3Levels })
      const [a, b] = [system.device(1, { pasidBits: 20 }), system.device(2, { ats: false, pri: false })]
      const domain = system.domain('A', 'dma', a, b)
      const most = { 1: 511, 2: 0x3ffff, 3: 0xfffff }[gcr3Levels ?? 3]
      const mm = system.process('P', 3)
      mm.table.map(0x1000, 0x5000_0000, 0x1000, RW)
      system.bind(domain, most, mm)
      const own = system.bind(domain, 1, null)
      system.run(system.driver.ioMmPgtable(own).map(0x1000n, 0x6000_0000n, 0x1000n, RW))
      system.map(domain, 0x1000n, 0x7000_0000n)
      expect([null, 1, most].map((pasid) => a.dma(0x1000n, pasid))).toEqual([0x7000_0000n, 0x6000_0000n, 0x5000_0000n])
      expect([null, 1, 2].map((pasid) => b.dma(0x1000n, pasid))).toEqual([0x7000_0000n, 0x6000_0000n, FAULT])
    }
  })
  it('have as many bits as GCR3 tables of so many levels, and as the IOMMU takes', () => {
    expect(new System().driver.pasidBits).toBe(20)
    expect(new System({ gcr3Levels: 1 }).driver.pasidBits).toBe(9)
    expect(new System({}, { efr: features({ GLXSup: 1 }) }).driver.pasidBits).toBe(18)
    expect(new System({}, { efr: features({ PASmax: 6 }) }).driver.pasidBits).toBe(7)
    expect(new System({}, { efr: features({ GTSup: 0, GIOSup: 0 }) }).driver.pasidBits).toBe(0)
  })
  it('are bound without any command: what was not valid is never cached', () => {
    const system = new System()
    const { device, domain, mm } = system.withProcess()
    expect(device.dma(0x1000n, 200)).toBe('no access')
    expect(sent(system, () => system.bind(domain, 200, mm))).toEqual([])
    expect(device.dma(0x1000n, 200)).toBe(0x5000_0000n)
  })
  it('are unbound in order: GCR3 entry and IOTLB by one command, then the ATCs', () => {
    const system = new System()
    const { device, domain, mm } = system.withProcess()
    const ioMm = system.bind(domain, 4, mm)
    expect(device.dma(0x1000n, 4)).toBe(0x5000_0000n)
    expect(sent(system, () => system.run(system.driver.ioMmDetach(domain, ioMm)))).toEqual([
      'INVALIDATE_IOMMU_PAGES',
      'INVALIDATE_IOTLB_PAGES',
    ])
    expect(device.dma(0x1000n, 4)).toBe('no access')
  })
  it('of one process are forgotten in every domain that has it, under the number of each', () => {
    const system = new System()
    const [a, b] = [1, 2].map((id) => system.device(id, { ats: false, pri: false })) as [TestDevice, TestDevice]
    const [first, second] = [system.domain('A', 'dma', a), system.domain('B', 'dma', b)]
    const mm = system.process('P', 3)
    mm.table.map(0x1000, 0x5000_0000, 0x1000, RW)
    const ioMm = system.bind(first, 4, mm)
    system.run(system.driver.ioMmAttach(second, ioMm))
    expect([a, b].map((device) => device.dma(0x1000n, 4))).toEqual([0x5000_0000n, 0x5000_0000n])
    mm.table.unmap(0x1000, 0x1000)
    system.run(system.driver.ioMmInvalidate(ioMm, [first, second], 0x1000n, 0x2000n))
    expect([a, b].map((device) => device.dma(0x1000n, 4))).toEqual([FAULT, FAULT])
  })
  it('lead nowhere after their process exited: translation requests get no access, and nothing is recorded', () => {
    const system = new System()
    const { device, domain, mm } = system.withProcess()
    const ioMm = system.bind(domain, 4, mm)
    expect(device.dma(0x1000n, 4)).toBe(0x5000_0000n)
    const commands = sent(system, () =>
      // One store of 64 bits: the old table, then none; never anything else.
      system.watch(system.driver.ioMmExit(domain, ioMm), () =>
        expect([0x5000_0000n, 'no access']).toContain(device.dma(0x1000n, 4)),
      ),
    )
    expect(commands).toEqual(['INVALIDATE_IOMMU_PAGES', 'INVALIDATE_IOTLB_PAGES'])
    expect(device.dma(0x1000n, 4)).toBe('no access')
    expect(system.events()).toEqual([])
    // What the architecture cannot keep quiet: a transaction that was not asked for beforehand is recorded, as any page fault.
    expect(system.model.translate({ device: 1, pasid: 4, iova: 0x1000n, access: 'read' })).toMatchObject({ name: FAULT })
    expect(system.events()).toEqual([FAULT])
  })
  it('go on undisturbed while the table grows for a device with wider PASIDs', () => {
    const system = new System()
    const wide = joinsWithMorePasids(system)
    expect([wide.dma(0x1000n, 7), wide.dma(0x1000n, 0x80000)]).toEqual([0x6000_0000n, FAULT])
  })
})

describe('device table entries', () => {
  it('never let anything pass that neither the old nor the new one does, and are never illegal', () => {
    const system = new System()
    const device = system.device(1)
    const seen = new Set<string>()
    const look = () => {
      const words = dteOf(system, 1)
      expect([words[0]! & 3, checkDte(words, 0, system.driver.features)]).toEqual([3, 0])
      seen.add(words.join())
    }
    const domains = (['dma', 'identity', 'blocked', 'nested'] as const).map((kind) => system.domain(kind, kind))
    for (const domain of [...domains, ...domains.reverse()]) {
      seen.clear()
      look()
      const before = [...seen][0]!
      domain.devices.add(device)
      system.watch(system.driver.attachDevice(domain, device), look)
      const after = dteOf(system, 1).join()
      // What differs besides is what V, TV, Mode and GV make the hardware ignore, or says only what is recorded: all the rest is in one part.
      for (const one of seen) {
        const part = (text: string) => text.split(',').slice(0, 2).join()
        expect([part(before), part(after)]).toContain(part(one))
      }
    }
  })
  it('are forgotten, and what the device cached', () => {
    const system = new System()
    const device = system.device(1)
    const kinds = { A: 'dma', I: 'identity', N: 'nested' } as const
    const [dma, identity, nested] = Object.entries(kinds).map(([name, kind]) => system.domain(name, kind))
    const moved = (domain: typeof dma) => new Set(sent(system, () => system.attach(domain!, device)))
    expect(moved(dma)).toEqual(new Set(['INVALIDATE_DEVTAB_ENTRY']))
    expect(moved(identity)).toEqual(new Set(['INVALIDATE_DEVTAB_ENTRY', 'INVALIDATE_IOTLB_PAGES']))
    expect(moved(nested)).toEqual(new Set(['INVALIDATE_DEVTAB_ENTRY', 'INVALIDATE_IOTLB_PAGES']))
  })
})

describe('what is unmapped', () => {
  it('is forgotten by ranges; with entries above the leaves where tables were taken out', () => {
    for (const tables of ['v1', 'v2'] as const) {
      const system = new System({ tables })
      const domain = system.domain('A', 'dma', system.device(1))
      system.map(domain, 0x20_0000n, 0x5000_0000n, 0x5000n)
      const told: unknown[] = []
      system.driver.commands.onCommand = (words) => {
        const { GN, PASID, PDE, S, Address } = decode(INVALIDATE_IOMMU_PAGES, words)
        if (commandName(words) === 'INVALIDATE_IOMMU_PAGES') told.push([GN, PASID, PDE, S, Address])
      }
      system.unmap(domain, 0x20_0000n, 0x3000n)
      system.unmap(domain, 0x20_3000n, 0x2000n)
      const GN = tables === 'v1' ? 0 : 1
      expect(told).toEqual([
        [GN, 0, 0, 1, 0x20_0000n],
        [GN, 0, 0, 0, 0x20_2000n],
        [GN, 0, 1, 0, 0x20_3000n],
        [GN, 0, 1, 0, 0x20_4000n],
      ])
    }
  })
})

describe('an invalidation that is forgotten shows', () => {
  it('in the IOTLB: unmapped memory is still reached', () => {
    const system = new System()
    const { device } = showsForgottenIotlb(system)
    system.run(system.driver.commands.issueAndSync([invalidateAll()]))
    expect(device.dma(0x1000n)).toBe(FAULT)
  })
  it('in a cached device table entry: a blocked device still reaches memory', () => {
    const system = new System()
    const device = system.device(1, PLAIN)
    const domain = system.domain('A', 'dma', device)
    system.map(domain, 0x1000n, 0x6000_0000n)
    expect(device.dma(0x1000n)).toBe(0x6000_0000n)
    system.driver.commands.forget.add('config')
    system.run(system.driver.detachDevice(domain, device))
    expect(device.dma(0x1000n)).toBe(0x6000_0000n)
  })
})

describe('faults and page requests', () => {
  const request = (device: TestDevice, group: number, more: Partial<PageRequestMessage> = {}) =>
    pageRequest(device, group, { pasid: 0x12345, ...more })
  it('become reports with every word of the record', () => {
    const system = new System()
    system.domain('A', 'dma', system.device(1, { ats: false, pri: false }))
    system.model.translate({ device: 1, pasid: 0x509, iova: 0x7000_0000_1000n, access: 'write', privileged: true })
    expect(system.events()).toEqual([FAULT])
    expect(system.faults[0]).toMatchObject({ device: 1, pasid: 0x509, address: 0x7000_0000_1000n, code: 2 })
    expect(system.faults[0]!.record).toHaveLength(2)
    expect(system.faults[0]!.text).toContain('DeviceID 0x1, PASID 0x509, write at 0x700000001000')
    // Without PASID entry 0 was used: that is the domain's own.
    system.model.translate({ device: 1, iova: 0x1000n, access: 'read' })
    expect(system.events()).toEqual([FAULT])
    expect(system.faults[0]).toMatchObject({ pasid: null, address: 0x1000n })
  })
  it('are passed on in order, stop markers too, and answered with the PASID where the device needs it', () => {
    const system = new System()
    const [a, b] = [system.device(1), system.device(2, { responseNeedsPasid: false })]
    system.domain('A', 'dma', a, b)
    system.model.pageRequest(request(a, 5, { last: false }))
    system.model.pageRequest(request(b, 511, { write: true, read: false, execute: true, privileged: true }))
    system.model.pageRequest(request(a, 0, { read: false, pasid: null }))
    expect(system.events()).toEqual([])
    expect(system.requests).toMatchObject([
      { device: 1, pasid: 0x12345, address: 0x7000n, group: 5, last: false, read: true, privileged: false, stallTag: null },
      { device: 2, group: 511, last: true, write: true, execute: true, privileged: true },
      { device: 1, pasid: null, last: true, read: false, write: false },
    ])
    const code = 'success' as const
    system.run(system.driver.pageResponse({ device: a, pasid: 3, group: 5, stallTag: null, code }))
    system.run(system.driver.pageResponse({ device: b, pasid: 3, group: 6, stallTag: null, code }))
    while (system.model.step());
    expect([a.messages, b.messages]).toMatchObject([[{ group: 5, pasid: 3, code }], [{ group: 6, pasid: null, code }]])
  })
  it('of a device that may not send any are refused by the hardware, and recorded', () => {
    const system = new System()
    const device = system.device(1, { pri: false })
    system.domain('A', 'dma', device)
    system.model.pageRequest(request(device, 5))
    expect(system.events()).toEqual(['INVALID_PPR_REQUEST'])
    expect(system.faults[0]).toMatchObject({ device: 1, pasid: 0x12345, address: 0x7000n })
    expect([system.requests.length, device.messages]).toMatchObject([0, [{ group: 5, code: 'failure' }]])
  })
  it('of a device that nobody knows are answered with failure, and reported', () => {
    const system = new System()
    const device = system.device(1)
    system.domain('A', 'dma', device)
    // Somebody else gave device 7 the same entry.
    const base = Number(system.model.read(REG.DEV_TAB_BASE, 8) & 0xffffffffff000n)
    dteOf(system, 1).forEach((word, index) => {
      system.memory.write32(base + 7 * 32 + index * 4, word >>> 0)
    })
    const messages: unknown[] = []
    system.model.onMessage = (message) => messages.push(message)
    system.model.pageRequest(request(device, 5, { device: 7 }))
    system.model.pageRequest(request(device, 6, { device: 7, read: false }))
    expect(system.events()).toEqual(['page request', 'page request'])
    while (system.model.step());
    expect([system.requests.length, messages]).toMatchObject([0, [{ device: 7, pasid: 0x12345, group: 5, code: 'failure' }]])
  })
  it('that were lost are told, and later ones come through again', () => {
    const system = new System()
    const [a, plain] = [system.device(1), system.device(2, PLAIN)]
    system.domain('A', 'dma', a, plain)
    // A log is full with one entry less than it has.
    for (let group = 0; group < 257; group++) system.model.pageRequest(request(a, group))
    for (let turn = 0; turn < 300; turn++) plain.dma(0x1000n)
    // The hardware answered the lost ones: try again.
    expect(a.messages).toMatchObject([255, 256].map((group) => ({ group, code: 'success', pasid: 0x12345 })))
    expect(system.events()).toEqual([...Array(255).fill(FAULT), 'EventOverflow'])
    expect([system.requests.length, system.overflows]).toEqual([255, 1])
    system.model.pageRequest(request(a, 7))
    plain.dma(0x1000n)
    expect(system.events()).toEqual([FAULT])
    expect([system.requests.length, system.overflows]).toEqual([256, 1])
  })
  it('interrupt again after they were read', () => {
    const system = new System()
    const { faults, signals } = system.faultsInTurns()
    expect(faults).toEqual(Array(3).fill(`${FAULT},${FAULT}`))
    expect(signals).toEqual(['EventLogInt', 'EventLogInt', 'EventLogInt'])
  })
  it('of the command buffer: a refused command is skipped and reported with its words', () => {
    const system = new System()
    const bad = Uint32Array.of(0x7f, 0xf000_0001, 2, 3)
    system.run(system.driver.commands.issueAndSync([bad, invalidateAll()]))
    expect(system.events()).toEqual(['ILLEGAL_COMMAND_ERROR', 'ILLEGAL_COMMAND_ERROR'])
    // The driver's own report has the words, the event the place.
    expect(system.faults[0]!.record).toEqual([0xf000_0001_0000_007fn, 0x3_0000_0002n])
    expect(system.faults[0]!.text).toContain('opcode 15 is reserved')
    expect(system.faults[1]).toMatchObject({ device: null, address: expect.any(BigInt) })
  })
  it('of devices that do not answer an invalidation are reported, and the driver goes on', () => {
    const system = new System()
    const { domain } = system.mapped()
    const background = withoutAnswers(system.model, (tag) => system.model.invalidationTimeout(tag))
    run(system.driver.pgtable(domain)!.unmap(0x1000n, 0x1000n), background)
    expect(system.events()).toEqual(['IOTLB_INV_TIMEOUT'])
  })
})

describe('setting up', () => {
  it('takes over an IOMMU that somebody else has used, which stays on meanwhile', () => {
    const first = new System({}, { deferred: true })
    const device = first.device(1, PLAIN)
    const domain = first.domain('A', 'dma', device)
    first.map(domain, 0x1000n, 0x5000_0000n)
    expect(device.dma(0x1000n)).toBe(0x5000_0000n)
    device.dma(0x9000n)
    first.model.write(REG.EXCL_BASE, 8, 0x9003n)
    first.model.write(REG.EXCL_LIMIT, 8, 0xf000n)
    const driver = new AmdDriver(first.model, first.memory, { largestDevice: 0xff })
    first.watch(driver.init(), () => {
      expect(first.model.read(REG.CONTROL, 8) & BigInt(CONTROL_IOMMU_EN)).toBe(1n)
      expect([0x5000_0000n, FAULT]).toContain(device.dma(0x1000n))
    })
    expect([device.dma(0x1000n), device.dma(0x9000n)]).toEqual([FAULT, FAULT])
    first.run(driver.addDevice({ id: 1, name: 'one', capabilities: PLAIN }))
    first.run(driver.handleQueues(first))
    expect(first.faults).toEqual([])
  })
  it('forgets everything one by one where there is no command for all', () => {
    const system = new System({}, { efr: features({ IASup: 0, GTSup: 0, GIOSup: 0 }) })
    const { device } = system.mapped(PLAIN)
    expect(device.dma(0x1000n)).toBe(0x5000_0000n)
    const driver = new AmdDriver(system.model, system.memory, { largestDevice: 0xff })
    const names = new Map<string, number>()
    driver.commands.onCommand = (words) => names.set(commandName(words), (names.get(commandName(words)) ?? 0) + 1)
    system.run(driver.init())
    expect(Object.fromEntries(names)).toMatchObject({ INVALIDATE_DEVTAB_ENTRY: 0x100, INVALIDATE_IOMMU_PAGES: 0x10000 })
    expect(device.dma(0x1000n)).toBe(FAULT)
  })
  it('says what the IOMMU has not', () => {
    expect(() => new System({ tables: 'v2' }, { efr: features({ GTSup: 0, GIOSup: 0 }) })).toThrow(/GTSup/)
    expect(() => new System({ tables: 'v2' }, { efr: features({ GIOSup: 0 }) })).toThrow(/GIOSup/)
    expect(() => new System({ gcr3Levels: 3 }, { efr: features({ GLXSup: 1 }) })).toThrow(/GLXSup/)
    expect(() => new System({ guestLevels: 5 }, { efr: features({ GATS: 0 }) })).toThrow(/GATS/)
    const system = new System({ tables: 'v1', hostLevels: 6 }, { efr: features({ HATS: 1 }) })
    expect(() => system.domain('A', 'dma')).toThrow(/HATS/)
  })
})

describe('sharing a process', () => {
  const obstacle = (device: Partial<typeof PCIE>, has = {}, options = {}, levels: 4 | 5 = 4) => {
    const system = new System(options, { efr: features(has) }, levels)
    return system.driver.svaObstacle(system.device(1, device), system.process('P', 3))
  }
  it('needs PASIDs, ATS with PRI, guest tables of as many levels as the CPU, and says which it has not', () => {
    expect(obstacle({})).toBeNull()
    expect(obstacle({}, {}, { guestLevels: 5 }, 5)).toBeNull()
    expect(obstacle({ pasidBits: 0 })).toMatch(/cannot send PASIDs/)
    expect(obstacle({ pri: false })).toMatch(/ATS with PRI/)
    expect(obstacle({ ats: false, pri: false, stall: true })).toMatch(/cannot hold a transaction/)
    expect(obstacle({}, { GTSup: 0, GIOSup: 0 })).toMatch(/GTSup/)
    expect(obstacle({}, { PPRSup: 0, PprAutoRspSup: 0, EPHSup: 0 })).toMatch(/PPRSup/)
    expect(obstacle({}, { USSup: 0 })).toMatch(/USSup/)
    expect(obstacle({}, { NXSup: 0 })).toMatch(/NXSup/)
    expect(obstacle({}, { GATS: 0 }, {}, 5)).toMatch(/5 levels, the IOMMU's guest tables 4/)
    expect(obstacle({}, {}, {}, 5)).toMatch(/5 levels and guest tables of ours 4/)
  })
  it('asks less of a private space, and is refused beside host tables', () => {
    const system = new System({ tables: 'v1' })
    const device = system.device(1, { ats: false, pri: false })
    expect(system.driver.svaObstacle(device, null)).toBeNull()
    const domain = system.domain('A', 'dma', device)
    expect(system.driver.svaObstacle(device, null)).toMatch(/host tables \(v1\)/)
    const own = system.ioMm(1, null)
    expect(() => system.run(system.driver.ioMmAttach(domain, own))).toThrow(/stage 1 domain/)
  })
})
