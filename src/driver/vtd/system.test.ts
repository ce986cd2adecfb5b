import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decode } from '../../base/layout.ts'
import { run } from '../../base/op.ts'
import { DESCRIPTORS, descriptorType, INV_WAIT_DSC, TYPE_WAIT } from '../../format/vtd/descriptors.ts'
import { REG } from '../../format/vtd/registers.ts'
import {
  expectExactlyWhatIsMapped,
  joinsWithMorePasids,
  mapChanges,
  showsForgottenIotlb,
  withoutAnswers,
} from '../common/behaviours.suite.ts'
import { loadWords } from '../common/words.ts'
import { descriptorName } from './command-queue.ts'
import { iotlbGlobal } from './commands.ts'
import { VtdDriver, type VtdDriverOptions } from './driver.ts'
import { type PCIE, PLAIN, RW, System } from './system.suite.ts'

/** First stage: nothing there. Second stage, which has no present bit: nothing permitted; in legacy mode by access. */
const NOT_MAPPED = 'SFS.2'
const NO_PASID = 'SPT.2'
const NO_READ = 'LGN.3'

/** Descriptors that an operation sends, waits left out. */
const sent = (system: System, act: () => void) => system.sent(act, descriptorName, 'inv_wait_dsc')

/** Where the context entry of a device lies. */
function contextOf(system: System, device: number): number {
  const scalable = system.driver.mode === 'scalable'
  const root = Number(system.model.read(REG.RTADDR, 8) & ~0xfffn)
  const at = scalable ? root + (device >> 8) * 16 + ((device >> 7) & 1) * 8 : root + (device >> 8) * 16
  const table = Number(system.memory.read64(at) & ~0xfffn)
  return table + (scalable ? (device & 127) * 32 : (device & 255) * 16)
}

/** Where the PASID table entry of a device lies. */
function pasidOf(system: System, device: number, pasid: number): number {
  const directory = Number(system.memory.read64(contextOf(system, device)) & 0xf_ffff_ffff_f000n)
  const table = Number(system.memory.read64(directory + (pasid >> 6) * 8) & ~0xfffn)
  return table + (pasid & 63) * 64
}

describe('DMA without PASID', () => {
  for (const mode of ['scalable', 'legacy'] as const)
    for (const [name, capabilities] of [
      ['an ordinary device', PLAIN],
      ['a device with an ATC', {}],
    ] as const)
      it(`of ${name} reaches what is mapped, and nothing once it is unmapped, in ${mode} mode`, () => {
        const system = new System({ mode })
        const device = system.device(1, capabilities)
        const domain = system.domain('A', 'dma')
        expect(device.dma(0x1000n)).not.toBeTypeOf('bigint')
        system.attach(domain, device)
        const missing = device.dma(0x1000n)
        expect([NOT_MAPPED, NO_READ, 'no access']).toContain(missing)
        system.map(domain, 0x1000n, 0x5000_0000n, 0x2000n)
        expect([device.dma(0x1234n), device.dma(0x2fffn, null, 'write')]).toEqual([0x5000_0234n, 0x5000_1fffn])
        expect(system.unmap(domain, 0x1000n)).toBe(0x1000n)
        expect([device.dma(0x1234n), device.dma(0x2fffn)]).toEqual([missing, 0x5000_1fffn])
      })
  it('works with every number of levels, at either stage, on every part of the bus', () => {
    const forms: VtdDriverOptions[] = [
      ...([4, 5] as const).map((firstLevels) => ({ firstLevels })),
      ...([3, 4, 5] as const).map((secondLevels) => ({ domainStage: 2 as const, secondLevels })),
      ...([3, 4, 5] as const).map((secondLevels) => ({ mode: 'legacy' as const, secondLevels })),
      { mode: 'legacy', descriptorBits: 256 },
    ]
    for (const options of forms)
      for (const source of [0, 0x7f, 0x80, 0xffff]) {
        const system = new System(options)
        const device = system.device(source, PLAIN)
        const domain = system.domain('A', 'dma', device)
        system.map(domain, 0x4000_0000n, 0x6000_0000n, 0x200_1000n)
        expect([device.dma(0x4000_0123n), device.dma(0x4200_0000n)]).toEqual([0x6000_0123n, 0x6200_0000n])
        system.unmap(domain, 0x4000_0000n)
        expect(device.dma(0x4000_0123n)).not.toBeTypeOf('bigint')
        expect(device.dma(0x4000_1000n)).toBe(0x6000_1000n)
      }
  })
  it('sees exactly what random maps and unmaps left, through all the caches', () => {
    fc.assert(
      fc.property(
        mapChanges,
        fc.constantFrom<VtdDriverOptions>({}, { iotlbThreshold: 2 }, { mode: 'legacy' }, { domainStage: 2 }),
        fc.constantFrom({}, { PSI: 0 }, { MAMV: 2 }, { SSLPS: 0, FS1GP: 0 }),
        (changes, options, cap) => {
          const system = new System(options, { cap })
          expectExactlyWhatIsMapped(system, changes)
        },
      ),
      { numRuns: 40 },
    )
  })
  it('is not disturbed while a large page of which it uses another part is cut', () => {
    for (const mode of ['scalable', 'legacy'] as const) {
      const system = new System({ mode })
      const device = system.device(1, PLAIN)
      const domain = system.domain('A', 'dma', device)
      system.map(domain, 0x4000_0000n, 0x6000_0000n, 0x20_0000n)
      system.watch(system.driver.pgtable(domain)!.unmap(0x4000_0000n, 0x1000n), () =>
        expect(device.dma(0x4000_1000n)).toBe(0x6000_1000n),
      )
      expect(device.dma(0x4000_0000n)).not.toBeTypeOf('bigint')
    }
  })
})

describe('kinds of domains', () => {
  for (const mode of ['scalable', 'legacy'] as const) {
    it(`blocked: nothing passes, and nothing is recorded, in ${mode} mode`, () => {
      const system = new System({ mode })
      for (const device of [system.device(1), system.device(2, PLAIN)]) {
        // No domain at all, then a blocked one.
        for (const domain of [null, system.domain('B', 'blocked')]) {
          if (domain !== null) system.attach(domain, device)
          expect(device.dma(0x1000n)).not.toBeTypeOf('bigint')
        }
      }
      expect(system.events()).toEqual([])
    })
    it(`a device that nobody added has no context entry, and that is recorded, in ${mode} mode`, () => {
      const system = new System({ mode })
      system.device(1)
      const [context, root] = mode === 'scalable' ? ['SCT.2', 'SRT.2'] : ['LCT.2', 'LRT.2']
      expect(system.model.translate({ device: 5, iova: 0n, access: 'read' })).toMatchObject({ name: context })
      expect(system.model.translate({ device: 0x4000, iova: 0n, access: 'read' })).toMatchObject({ name: root })
      expect(system.events()).toEqual([context, root])
    })
    it(`identity: addresses pass as they are, by pass-through or by a table, in ${mode} mode`, () => {
      for (const identity of ['pass-through', 'mapped'] as const) {
        const system = new System({ mode, identity })
        const [narrow, wide] = [system.device(1, PLAIN), system.device(2)]
        system.domain('I', 'identity', narrow, wide)
        for (const device of [narrow, wide])
          expect([device.dma(0x4000_5678n), device.dma(0x7f_ffff_f000n, null, 'write')]).toEqual([0x4000_5678n, 0x7f_ffff_f000n])
        // All identity domains share one table.
        system.attach(system.domain('J', 'identity'), wide)
        expect(wide.dma(0x4000_5678n)).toBe(0x4000_5678n)
      }
    })
  }
  it('identity and blocked go on as they are when a PASID is bound, and hitlessly so', () => {
    for (const kind of ['identity', 'blocked'] as const) {
      const system = new System()
      const device = system.device(1, { ats: false, pri: false })
      const domain = system.domain('D', kind, device)
      const ioMm = system.ioMm(1, null)
      system.run(system.driver.ioMmPgtable(ioMm).map(0x1000n, 0x5000_0000n, 0x1000n, RW))
      const without = () => expect(device.dma(0x7000n)).toEqual(kind === 'identity' ? 0x7000n : expect.any(String))
      system.watch(system.driver.ioMmAttach(domain, ioMm), without)
      expect(device.dma(0x1000n, 1)).toBe(0x5000_0000n)
      // The blocked domain speaks only while a PASID is in use.
      system.events()
      device.dma(0x7000n)
      expect(system.events()).toEqual(kind === 'identity' ? [] : [NO_PASID])
      system.watch(system.driver.ioMmDetach(domain, ioMm), without)
      expect(device.dma(0x1000n, 1)).toBe(NO_PASID)
      system.events()
      device.dma(0x7000n)
      expect(system.events()).toEqual([])
    }
  })
})

describe('legacy mode', () => {
  it('has no PASIDs, and says so', () => {
    const system = new System({ mode: 'legacy' })
    const device = system.device(1)
    const domain = system.domain('A', 'dma', device)
    expect(system.driver.pasidBits).toBe(0)
    expect(system.driver.svaObstacle(device, null)).toMatch(/legacy mode has no PASIDs: choose scalable mode/)
    const own = system.ioMm(1, null)
    expect(() => system.run(system.driver.ioMmAttach(domain, own))).toThrow(/stage 1 domain/)
    expect(device.dma(0x1000n, 3)).toBe('RTA.2')
  })
  it('is what an IOMMU has that knows nothing else', () => {
    const ecap = { SMTS: 0, PASID: 0, PRS: 0, PDS: 0, NEST: 0, FSTS: 0, SSTS: 0, RPS: 0, RPRIVS: 0, SMPWCS: 0, ADMS: 0 }
    const system = new System({}, { ecap })
    expect(system.driver.mode).toBe('legacy')
    const device = system.device(1)
    expect(system.driver.svaObstacle(device, null)).toMatch(/ECAP.SMTS/)
    expect(() => new System({ mode: 'scalable' }, { ecap })).toThrow(/no scalable mode/)
    expect(() => new System({ descriptorBits: 256 }, { ecap })).toThrow(/128 bits only/)
  })
  it('changes a context entry in one store: traffic sees the old domain or the new one', () => {
    const system = new System({ mode: 'legacy' })
    const device = system.device(1, PLAIN)
    const [a, b] = [system.domain('A', 'dma', device), system.domain('B', 'dma')]
    system.map(a, 0x1000n, 0x5000_0000n)
    system.map(b, 0x1000n, 0x6000_0000n)
    b.devices.add(device)
    system.watch(system.driver.attachDevice(b, device), () => {
      expect([0x5000_0000n, 0x6000_0000n]).toContain(device.dma(0x1000n))
    })
    expect(device.dma(0x1000n)).toBe(0x6000_0000n)
  })
  it('forgets what a device did in its old domain', () => {
    const system = new System({ mode: 'legacy' })
    const device = system.device(1)
    const [a, b] = [system.domain('A', 'dma'), system.domain('B', 'dma')]
    expect(sent(system, () => system.attach(a, device))).toEqual([])
    expect(sent(system, () => system.attach(b, device))).toEqual(['cc_inv_dsc', 'iotlb_inv_dsc', 'dev_tlb_inv_dsc'])
  })
  it('has no guests with a first stage of their own', () => {
    const system = new System({ mode: 'legacy' })
    const device = system.device(1, PLAIN)
    system.domain('VM', 'nested', device)
    expect(() => system.run(system.driver.setGuestEntry(device, new Uint32Array(8)))).toThrow(/one stage only/)
  })
})

describe('PASIDs', () => {
  it('lead each to its own address space, however wide they are', () => {
    for (const pasidBits of [3, 13, 16, 20]) {
      const system = new System()
      const [a, b] = [system.device(1, { pasidBits }), system.device(2, { ats: false, pri: false, pasidBits })]
      const domain = system.domain('A', 'dma', a, b)
      const most = 2 ** pasidBits - 1
      const mm = system.process('P', 3)
      mm.table.map(0x1000, 0x5000_0000, 0x1000, RW)
      system.bind(domain, most, mm)
      const own = system.bind(domain, 1, null)
      system.run(system.driver.ioMmPgtable(own).map(0x1000n, 0x6000_0000n, 0x1000n, RW))
      system.map(domain, 0x1000n, 0x7000_0000n)
      expect([null, 1, most].map((pasid) => a.dma(0x1000n, pasid))).toEqual([0x7000_0000n, 0x6000_0000n, 0x5000_0000n])
      expect([null, 1, 2].map((pasid) => b.dma(0x1000n, pasid))).toEqual([0x7000_0000n, 0x6000_0000n, NO_PASID])
    }
  })
  it('stand beside a domain that is translated by a second stage: each entry says which stage it is', () => {
    const system = new System({ domainStage: 2 })
    const { device, domain, mm } = system.withProcess()
    expect(system.driver.svaObstacle(device, mm)).toBeNull()
    system.bind(domain, 4, mm)
    system.map(domain, 0x1000n, 0x7000_0000n)
    expect([device.dma(0x1000n), device.dma(0x1000n, 4)]).toEqual([0x7000_0000n, 0x5000_0000n])
  })
  it('have second stages of ours where the IOMMU has no first one', () => {
    const system = new System({}, { ecap: { FSTS: 0, NEST: 0 } })
    const device = system.device(1)
    const domain = system.domain('A', 'dma', device)
    const own = system.bind(domain, 2, null)
    system.run(system.driver.ioMmPgtable(own).map(0x1000n, 0x6000_0000n, 0x1000n, RW))
    expect(device.dma(0x1000n, 2)).toBe(0x6000_0000n)
    system.run(system.driver.ioMmPgtable(own).unmap(0x1000n, 0x1000n))
    expect(device.dma(0x1000n, 2)).toBe('no access')
  })
  it('are bound without any descriptor: what was not present is not cached', () => {
    const system = new System()
    const { device, domain, mm } = system.withProcess()
    expect(device.dma(0x1000n, 200)).toBe('no access')
    expect(sent(system, () => system.bind(domain, 200, mm))).toEqual([])
    expect(device.dma(0x1000n, 200)).toBe(0x5000_0000n)
  })
  it('are unbound in order: the entry, the IOTLB by domain id and PASID, then the device-TLBs', () => {
    const system = new System()
    const devices = [system.device(1), system.device(2)]
    const domain = system.domain('A', 'dma', ...devices)
    const mm = system.process('P', 3)
    mm.table.map(0x1000, 0x5000_0000, 0x1000, RW)
    const ioMm = system.bind(domain, 4, mm)
    expect(devices.map((device) => device.dma(0x1000n, 4))).toEqual([0x5000_0000n, 0x5000_0000n])
    // One pc_inv_dsc serves both devices: it names a domain id, not a device.
    expect(sent(system, () => system.run(system.driver.ioMmDetach(domain, ioMm)))).toEqual([
      'pc_inv_dsc',
      'p_iotlb_inv_dsc',
      'p_dev_tlb_inv_dsc',
      'p_dev_tlb_inv_dsc',
    ])
    expect(devices.map((device) => device.dma(0x1000n, 4))).toEqual(['no access', 'no access'])
  })
  it('lead nowhere after their process exited, at every instant the old table or none, and nothing is recorded', () => {
    const system = new System()
    const [ats, plain] = [system.device(1), system.device(2, { ats: false, pri: false })]
    const domain = system.domain('A', 'dma', ats, plain)
    const mm = system.process('P', 3)
    mm.table.map(0x1000, 0x5000_0000, 0x1000, RW)
    const ioMm = system.bind(domain, 4, mm)
    expect(ats.dma(0x1000n, 4)).toBe(0x5000_0000n)
    system.watch(system.driver.ioMmExit(domain, ioMm), () => {
      expect([0x5000_0000n, 'no access']).toContain(ats.dma(0x1000n, 4))
      expect([0x5000_0000n, NOT_MAPPED]).toContain(plain.dma(0x1000n, 4))
    })
    // Unlike a RISC-V IOMMU, this one is quiet also about what did not ask beforehand: FPD.
    expect([ats.dma(0x1000n, 4), plain.dma(0x1000n, 4)]).toEqual(['no access', NOT_MAPPED])
    expect(system.events()).toEqual([])
    // Its page requests come through, to be answered.
    const request = { address: 0x1000n, group: 1, last: true, read: true, write: false, execute: false, privileged: false }
    system.model.pageRequest({ device: 1, pasid: 4, ...request })
    expect(system.events()).toEqual([])
    expect(system.requests).toMatchObject([{ device: 1, pasid: 4, group: 1 }])
    // Once unbound, it is a driver's mistake.
    system.run(system.driver.ioMmDetach(domain, ioMm))
    expect(plain.dma(0x1000n, 4)).toBe(NO_PASID)
    expect(system.events()).toEqual([NO_PASID])
  })
  it('go on undisturbed while the directory grows for a device with wider PASIDs', () => {
    const system = new System()
    const wide = joinsWithMorePasids(system)
    expect([wide.dma(0x1000n, 7), wide.dma(0x1000n, 0x80000)]).toEqual([0x6000_0000n, 'SPD.2'])
  })
  it('let no privileged request reach a process, whose table holds the kernel too, but private spaces', () => {
    const system = new System()
    const domain = system.domain('A', 'dma', system.device(1, { ats: false, pri: false }))
    const mm = system.process('P', 3)
    mm.table.map(0x1000, 0x5000_0000, 0x1000, RW)
    system.bind(domain, 1, mm)
    const own = system.bind(domain, 2, null)
    system.run(system.driver.ioMmPgtable(own).map(0x1000n, 0x6000_0000n, 0x1000n, RW))
    const asked = (pasid: number) => system.model.translate({ device: 1, pasid, iova: 0x1000n, access: 'read', privileged: true })
    expect(asked(1)).toMatchObject({ ok: false, name: 'SPT.6' })
    expect(asked(2)).toMatchObject({ ok: true, pa: 0x6000_0000n })
  })
  it('run out of domain ids where there are few', () => {
    // 4 bits: 15 of them, 0 left out.
    const system = new System({}, { cap: { ND: 0 } })
    const domain = system.domain('A', 'dma', system.device(1))
    for (let pasid = 1; pasid < 15; pasid++) system.bind(domain, pasid, null)
    expect(() => system.ioMm(15, null)).toThrow(
      expect.objectContaining({ code: 'AsidExhausted', message: expect.stringMatching(/all 15 domain ids/) }),
    )
  })
})

describe('entries of live devices', () => {
  it('of contexts are at every instant the old ones or the new ones', () => {
    const system = new System()
    const device = system.device(1)
    const look = () => {
      // 128 bits are read at once; the upper half is always zero here.
      const words = loadWords(system.memory, contextOf(system, 1), 8)
      expect([...words.subarray(4)]).toEqual([0, 0, 0, 0])
      seen.add(words.join())
    }
    const seen = new Set<string>()
    const domains = (['dma', 'identity', 'blocked', 'nested'] as const).map((kind) => system.domain(kind, kind))
    for (const domain of [...domains, ...domains.reverse()]) {
      seen.clear()
      look()
      domain.devices.add(device)
      system.watch(system.driver.attachDevice(domain, device), look)
      expect(seen.size).toBeLessThanOrEqual(2)
    }
  })
  it('are forgotten as the manual asks: the context, then all that its PASIDs had', () => {
    const system = new System()
    const device = system.device(1)
    const [dma, identity, nested] = (['dma', 'identity', 'nested'] as const).map((kind) => system.domain(kind, kind))
    const moved = (domain: typeof dma) => sent(system, () => system.attach(domain!, device))
    expect(moved(dma)).toEqual([])
    system.bind(dma!, 3, null)
    const ofTwo = ['cc_inv_dsc', 'pc_inv_dsc', 'pc_inv_dsc', 'iotlb_inv_dsc', 'iotlb_inv_dsc', 'dev_tlb_inv_dsc']
    expect(moved(identity)).toEqual(ofTwo)
    expect(moved(nested)).toEqual(['cc_inv_dsc', 'pc_inv_dsc', 'iotlb_inv_dsc', 'dev_tlb_inv_dsc'])
  })
  it('need a source-id of 16 bits', () => {
    expect(() => new System().device(0x10000)).toThrow(/0x10000 is not a source-id/)
  })
})

describe('an invalidation that is forgotten shows', () => {
  it('in the IOTLB: unmapped memory is still reached', () => {
    const system = new System()
    const { device } = showsForgottenIotlb(system)
    system.run(system.driver.commands.issueAndSync([iotlbGlobal({ DR: 1, DW: 1 })]))
    expect(device.dma(0x1000n)).toBe(NOT_MAPPED)
  })
  it('in a cached PASID table entry: an unbound PASID still translates', () => {
    const system = new System()
    const device = system.device(1, { ats: false, pri: false })
    const domain = system.domain('A', 'dma', device)
    const own = system.bind(domain, 1, null)
    system.run(system.driver.ioMmPgtable(own).map(0x1000n, 0x6000_0000n, 0x1000n, RW))
    expect(device.dma(0x1000n, 1)).toBe(0x6000_0000n)
    system.driver.commands.forget.add('config')
    system.run(system.driver.ioMmDetach(domain, own))
    expect(device.dma(0x1000n, 1)).toBe(0x6000_0000n)
  })
  it('in the ATC of a device', () => {
    for (const mode of ['scalable', 'legacy'] as const) {
      const system = new System({ mode, forget: ['atc'] })
      const { device, domain } = system.mapped()
      expect(device.dma(0x1000n)).toBe(0x5000_0000n)
      system.unmap(domain, 0x1000n)
      expect(device.dma(0x1000n)).toBe(0x5000_0000n)
    }
  })
})

describe('setting up', () => {
  it('takes over an IOMMU that somebody else has used, in any mode, and lets nothing through meanwhile', () => {
    for (const from of ['scalable', 'legacy'] as const)
      for (const to of ['scalable', 'legacy'] as const) {
        const first = new System({ mode: from }, { deferred: true })
        const device = first.device(1, PLAIN)
        const domain = first.domain('A', 'dma', device)
        first.map(domain, 0x1000n, 0x5000_0000n)
        expect(device.dma(0x1000n)).toBe(0x5000_0000n)
        device.dma(0x9000n)
        const driver = new VtdDriver(first.model, first.memory, { mode: to })
        first.watch(driver.init(), () => expect([0x5000_0000n, 'LRT.2', 'SRT.2']).toContain(device.dma(0x1000n)))
        const none = to === 'scalable' ? 'SRT.2' : 'LRT.2'
        expect(device.dma(0x1000n)).toBe(none)
        first.run(driver.addDevice({ id: 1, name: 'one', capabilities: PLAIN }))
        expect(device.dma(0x1000n)).not.toBeTypeOf('bigint')
        first.run(driver.handleQueues(first))
        expect(new Set(first.faults.map(({ name }) => name))).toContain(none)
        const next = { name: 'B', kind: 'dma' as const, devices: new Set([device]) }
        first.run(driver.domainAlloc(next))
        first.run(driver.attachDevice(next, device))
        first.run(driver.pgtable(next)!.map(0x1000n, 0x6000_0000n, 0x1000n, RW))
        expect(device.dma(0x1000n)).toBe(0x6000_0000n)
      }
  })
  it('says what the IOMMU has not', () => {
    expect(() => new System({ secondLevels: 5 }, { cap: { SAGAW: 4 } })).toThrow(/no second stage of 5 levels/)
    expect(() => new System({ firstLevels: 5 }, { cap: { FS5LP: 0 } }).domain('A', 'dma')).toThrow(/no 5-level first stage/)
    expect(() => new System({}, { cap: { RWBF: 1 } })).toThrow(/CAP.RWBF/)
    expect(() => new System({}, { cap: { CM: 1 } })).toThrow(/CAP.CM/)
    expect(() => new System({}, { ecap: { QI: 0 } })).toThrow(/ECAP.QI/)
    expect(() => new System({ descriptorBits: 128 })).toThrow(/256 bits/)
    expect(() => new System({ domainStage: 2 }, { ecap: { SSTS: 0, NEST: 0 } })).toThrow(/ECAP.SSTS/)
    expect(() => new System({ mode: 'legacy', domainStage: 1 })).toThrow(/second stage only/)
    expect(() => new System({ identity: 'pass-through' }, { ecap: { PT: 0 } })).toThrow(/ECAP.PT/)
    expect(() => new System({}, { ecap: { NEST: 0 } }).domain('VM', 'nested')).toThrow(/ECAP.NEST/)
  })
  it('maps identity domains where the IOMMU has no pass-through', () => {
    const system = new System({}, { ecap: { PT: 0 } })
    const device = system.device(1, PLAIN)
    system.domain('I', 'identity', device)
    expect(device.dma(0x4000_5678n)).toBe(0x4000_5678n)
  })
})

describe('sharing a process', () => {
  const obstacle = (device: Partial<typeof PCIE>, ecap = {}, cap = {}, levels: 4 | 5 = 4, options = {}) => {
    const system = new System(options, { ecap, cap }, levels)
    return system.driver.svaObstacle(system.device(1, device), system.process('P', 3))
  }
  it('needs PASIDs, a first stage like the CPU, and page requests, and says which it has not', () => {
    expect(obstacle({})).toBeNull()
    expect(obstacle({}, {}, {}, 5)).toBeNull()
    expect(obstacle({ pasidBits: 0 })).toMatch(/cannot send PASIDs/)
    expect(obstacle({ pri: false })).toMatch(/ATS with PRI/)
    expect(obstacle({ ats: false, pri: false, stall: true })).toMatch(/cannot hold a transaction/)
    expect(obstacle({}, { PASID: 0 })).toMatch(/ECAP.PASID/)
    expect(obstacle({}, { FSTS: 0, NEST: 0 })).toMatch(/ECAP.FSTS/)
    expect(obstacle({}, { DT: 0, DIT: 0 })).toMatch(/ECAP.DT/)
    expect(obstacle({}, { PRS: 0, PDS: 0 })).toMatch(/ECAP.PRS/)
    expect(obstacle({}, { SMPWCS: 0 })).toMatch(/ECAP.SMPWCS/)
    expect(obstacle({}, {}, { FS5LP: 0 }, 5)).toMatch(/5 levels.*CAP.FS5LP/)
    expect(obstacle({}, {}, { FS1GP: 0 })).toMatch(/CAP.FS1GP/)
    expect(obstacle({}, {}, {}, 4, { hostAddressBits: 46 })).toMatch(/52 bits, the IOMMU's 46/)
    expect(obstacle({}, {}, {}, 4, { mode: 'legacy' })).toMatch(/choose scalable mode/)
  })
  it('asks less of a private space', () => {
    const system = new System()
    expect(system.driver.svaObstacle(system.device(1, { ats: false, pri: false }), null)).toBeNull()
  })
  it('keeps interrupt messages out of every address space', () => {
    expect(new System().driver.reserved).toMatchObject([{ start: 0xfee0_0000n, end: 0xfef0_0000n }])
  })
})

describe('waits', () => {
  it('come after every operation that must be complete, each with a number of its own', () => {
    const system = new System()
    const { domain } = system.mapped()
    const waits: number[] = []
    const order: string[] = []
    system.driver.commands.onCommand = (words) => {
      order.push(descriptorName(words))
      expect(DESCRIPTORS[descriptorType(words[0]!)]).toBeDefined()
      if (descriptorType(words[0]!) === TYPE_WAIT) waits.push(Number(decode(INV_WAIT_DSC, words).STDATA))
    }
    system.unmap(domain, 0x1000n)
    expect(order).toEqual(['p_iotlb_inv_dsc', 'inv_wait_dsc', 'dev_tlb_inv_dsc', 'inv_wait_dsc'])
    expect(waits[1]! - waits[0]!).toBe(2)
  })
  it('are not mistaken for complete when the queue comes round', () => {
    const system = new System({ invalidationQueueLog2: 7 }, { deferred: true })
    const device = system.device(1, PLAIN)
    const domain = system.domain('A', 'dma', device)
    for (let turn = 0n; turn < 300n; turn++) {
      system.map(domain, 0x1000n, 0x5000_0000n + turn * 0x1000n)
      expect(device.dma(0x1000n)).toBe(0x5000_0000n + turn * 0x1000n)
      system.unmap(domain, 0x1000n)
      expect(device.dma(0x1000n)).toBe(NOT_MAPPED)
    }
  })
  it('drain page requests where the IOMMU can', () => {
    for (const PDS of [0, 1] as const) {
      const system = new System({}, { ecap: { PDS } })
      const drains: number[] = []
      system.driver.commands.onCommand = (words) => {
        if (descriptorType(words[0]!) === TYPE_WAIT) drains.push(Number(decode(INV_WAIT_DSC, words).PD))
      }
      system.run(system.driver.drainPageRequests())
      expect(drains.filter((drain) => drain === 1)).toHaveLength(PDS)
    }
  })
})

describe('errors of the invalidation queue', () => {
  it('a refused descriptor is skipped and reported with its words', () => {
    const system = new System()
    const bad = Uint32Array.of(0xf, 1, 2, 3, 4, 5, 6, 7)
    system.run(system.driver.commands.issueAndSync([bad, iotlbGlobal({ DR: 0, DW: 0 })]))
    expect(system.events()).toEqual(['IQE'])
    expect(system.faults[0]!.record).toEqual([0x1_0000000fn, 0x3_00000002n, 0x5_00000004n, 0x7_00000006n])
    expect(system.faults[0]!.text).toMatch(/refused descriptor type 15 .*invalid descriptor type/)
  })
  it('a device that does not answer in time is asked again', () => {
    const system = new System({}, { deferred: true })
    const { device, domain } = system.mapped()
    expect(device.dma(0x1000n)).toBe(0x5000_0000n)
    const tags: number[] = []
    let deaf = 2
    system.model.onMessage = (message) => {
      if (message.kind !== 'invalidate') return
      if (deaf-- > 0) tags.push(message.tag)
      else device.receive(message)
    }
    run(system.driver.pgtable(domain)!.unmap(0x1000n, 0x1000n), () => {
      const moved = system.model.step()
      if (!moved && tags.length > 0) system.model.invalidationTimeout(tags.pop()!)
      return true
    })
    // What it holds is gone when the operation has returned.
    expect(device.dma(0x1000n)).toBe('no access')
    expect(system.events()).toEqual(['ITE', 'ITE'])
  })
  it('a device that never answers ends the driver’s patience', () => {
    const system = new System({}, { deferred: true })
    const { domain } = system.mapped()
    const background = withoutAnswers(system.model, (tag) => system.model.invalidationTimeout(tag))
    expect(() => run(system.driver.pgtable(domain)!.unmap(0x1000n, 0x1000n), background)).toThrow(/reset the device/)
  })
  it('an answer that nobody asked for is reported', () => {
    const system = new System()
    system.model.invalidationComplete(5)
    expect(system.events()).toEqual(['ICE'])
    expect(system.events()).toEqual([])
  })
})

describe('PASID table entries', () => {
  it('are cleared in two steps: first what makes them present, with all of its part; then the rest', () => {
    const system = new System()
    const device = system.device(1)
    const domain = system.domain('A', 'dma', device)
    const ioMm = system.bind(domain, 4, system.process('P', 3))
    const at = pasidOf(system, 1, 4)
    const states: string[] = []
    const look = () => {
      const words = loadWords(system.memory, at, 16)
      const part = (from: number) => (words.subarray(from, from + 4).some((word) => word !== 0) ? 'set' : '0')
      const state = [0, 4, 8, 12].map(part).join()
      if (states.at(-1) !== state) states.push(state)
    }
    system.watch(system.driver.ioMmDetach(domain, ioMm), look)
    expect(states).toEqual(['set,set,0,0', '0,set,0,0', '0,0,0,0'])
  })
})
