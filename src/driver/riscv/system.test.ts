import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encode } from '../../base/layout.ts'
import { run } from '../../base/op.ts'
import { checkDc } from '../../format/riscv/check.ts'
import { DC, PC } from '../../format/riscv/contexts.ts'
import { CAUSES } from '../../format/riscv/records.ts'
import { REG } from '../../format/riscv/registers.ts'
import { commandName } from '../../format/riscv/structures.ts'
import {
  expectExactlyWhatIsMapped,
  joinsWithMorePasids,
  mapChanges,
  pageRequest,
  showsForgottenIotlb,
  withoutAnswers,
} from '../common/behaviours.suite.ts'
import { loadWords } from '../common/words.ts'
import { HOST, iotinvalVma } from './commands.ts'
import { RiscvDriver } from './driver.ts'
import { capabilities, type PCIE, PLAIN, RW, System } from './system.suite.ts'

const READ_FAULT = CAUSES[13]!
const NO_PC = CAUSES[266]!
const NO_DC = CAUSES[258]!
const DISALLOWED = CAUSES[260]!

/** Commands that an operation sends, fences left out. */
const sent = (system: System, act: () => void) => system.sent(act, commandName, 'IOFENCE.C')

/** Where the device context lies, in one level of extended contexts. */
const dcOf = (system: System, device: number) => {
  const ddtp = system.model.read(REG.ddtp, 8)
  return Number(((ddtp >> 10n) << 12n) & 0xffffffffffffffn) + device * 64
}

describe('DMA without PASID', () => {
  for (const [name, capabilities] of [
    ['an ordinary device', PLAIN],
    ['a device with an ATC', {}],
  ] as const)
    it(`of ${name} reaches what is mapped, and faults once it is unmapped`, () => {
      const system = new System()
      const device = system.device(1, capabilities)
      const domain = system.domain('A', 'dma')
      expect(device.dma(0x1000n)).not.toBeTypeOf('bigint')
      system.attach(domain, device)
      const missing = device.dma(0x1000n)
      expect([READ_FAULT, 'no access']).toContain(missing)
      system.map(domain, 0x1000n, 0x5000_0000n, 0x2000n)
      expect([device.dma(0x1234n), device.dma(0x2fffn, null, 'write')]).toEqual([0x5000_0234n, 0x5000_1fffn])
      expect(system.unmap(domain, 0x1000n)).toBe(0x1000n)
      expect([device.dma(0x1234n), device.dma(0x2fffn)]).toEqual([missing, 0x5000_1fffn])
    })
  it('works in every mode, at either stage, in every form of the device directory, with base and extended contexts', () => {
    for (const mode of ['Sv39', 'Sv48', 'Sv57'] as const)
      for (const domainStage of [1, 2] as const)
        for (const directoryLevels of [1, 2, 3] as const)
          for (const MSI_FLAT of [0, 1] as const) {
            const hardware = { capabilities: capabilities({ MSI_FLAT, MSI_MRIF: MSI_FLAT }) }
            const system = new System({ mode, domainStage, directoryLevels }, hardware)
            const device = system.device([63, 0x7fff, 0xfffffe][directoryLevels - 1]!, PLAIN)
            const domain = system.domain('A', 'dma', device)
            system.map(domain, 0x4000_0000n, 0x6000_0000n, 0x200_1000n)
            expect([device.dma(0x4000_0123n), device.dma(0x4200_0000n)]).toEqual([0x6000_0123n, 0x6200_0000n])
            system.unmap(domain, 0x4000_0000n)
            expect([device.dma(0x4000_0123n), device.dma(0x4000_1000n)]).toEqual([
              domainStage === 1 ? READ_FAULT : CAUSES[21],
              0x6000_1000n,
            ])
          }
  })
  it('needs no process directory where the IOMMU has none', () => {
    const system = new System({}, { capabilities: capabilities({ PD8: 0, PD17: 0, PD20: 0 }) })
    expect(system.driver.pasidBits).toBe(0)
    const { device } = system.mapped()
    expect(device.dma(0x1000n)).toBe(0x5000_0000n)
    expect(system.driver.svaObstacle(device, null)).toMatch(/process directories/)
  })
  it('sees exactly what random maps and unmaps left, through all the caches', () => {
    fc.assert(
      fc.property(
        mapChanges,
        fc.constantFrom({}, { iotinvalThreshold: 2 }),
        fc.constantFrom({}, { S: 0 as const }, { NL: 0 as const, S: 0 as const }),
        (changes, options, has) => {
          const system = new System(options, { capabilities: capabilities(has) })
          expectExactlyWhatIsMapped(system, changes)
        },
      ),
      { numRuns: 40 },
    )
  })
  it('is not disturbed while a block of which it uses another part is cut', () => {
    const system = new System()
    const device = system.device(1, PLAIN)
    const domain = system.domain('A', 'dma', device)
    system.map(domain, 0x4000_0000n, 0x6000_0000n, 0x20_0000n)
    // "The only PTE update without first clearing the V bit is a page size promotion or demotion."
    system.watch(system.driver.pgtable(domain)!.unmap(0x4000_0000n, 0x1000n), () =>
      expect(device.dma(0x4000_1000n)).toBe(0x6000_1000n),
    )
    expect(device.dma(0x4000_0000n)).toBe(READ_FAULT)
  })
  it('cannot be given addresses that stand for the upper half', () => {
    const system = new System({ mode: 'Sv39' })
    const domain = system.domain('A', 'dma', system.device(1))
    expect(() => system.map(domain, 1n << 38n, 0x5000_0000n)).toThrow(/lower half/)
    system.map(domain, (1n << 38n) - 0x1000n, 0x5000_0000n)
  })
})

describe('kinds of domains', () => {
  it('blocked: nothing passes, and nothing is recorded', () => {
    const system = new System()
    for (const device of [system.device(1), system.device(2, PLAIN)]) {
      // No domain at all, then a blocked one.
      for (const domain of [null, system.domain('B', 'blocked')]) {
        if (domain !== null) system.attach(domain, device)
        expect(device.dma(0x1000n)).not.toBeTypeOf('bigint')
        expect(device.dma(0x1000n, 3)).not.toBeTypeOf('bigint')
      }
    }
    expect(system.events()).toEqual([])
  })
  it('a device that nobody added has no valid context, and that is recorded', () => {
    const system = new System()
    expect(system.model.translate({ device: 5, iova: 0n, access: 'read' })).toMatchObject({ name: NO_DC })
    expect(system.events()).toEqual([NO_DC])
  })
  it('identity: addresses pass as they are, without PASID only', () => {
    const system = new System()
    const [narrow, wide] = [system.device(1, PLAIN), system.device(2)]
    system.domain('I', 'identity', narrow, wide)
    expect([narrow.dma(0x5678n), wide.dma(0x5678n)]).toEqual([0x5678n, 0x5678n])
    // A device without PASIDs has no process directory, whoever else is in the domain.
    expect([narrow.dma(0x5678n, 1), wide.dma(0x5678n, 1)]).toEqual([DISALLOWED, 'no access'])
  })
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
      system.watch(system.driver.ioMmDetach(domain, ioMm), without)
      expect(device.dma(0x1000n, 1)).toBe(NO_PC)
      // The blocked domain speaks only while a PASID is in use.
      expect(system.events().filter((name) => name === NO_DC)).toEqual([])
    }
  })
})

describe('PASIDs', () => {
  it('lead each to its own address space, in every form of the process directory', () => {
    for (const processDirectory of ['PD8', 'PD17', 'PD20'] as const) {
      const system = new System({ processDirectory })
      const [a, b] = [system.device(1, { pasidBits: 20 }), system.device(2, { ats: false, pri: false })]
      const domain = system.domain('A', 'dma', a, b)
      const most = { PD8: 255, PD17: 0x1ffff, PD20: 0xfffff }[processDirectory]
      const mm = system.process('P', 3)
      mm.table.map(0x1000, 0x5000_0000, 0x1000, RW)
      system.bind(domain, most, mm)
      const own = system.bind(domain, 1, null)
      system.run(system.driver.ioMmPgtable(own).map(0x1000n, 0x6000_0000n, 0x1000n, RW))
      system.map(domain, 0x1000n, 0x7000_0000n)
      expect([null, 1, most].map((pasid) => a.dma(0x1000n, pasid))).toEqual([0x7000_0000n, 0x6000_0000n, 0x5000_0000n])
      expect([null, 1, 2].map((pasid) => b.dma(0x1000n, pasid))).toEqual([0x7000_0000n, 0x6000_0000n, NO_PC])
    }
  })
  it('are bound without any command: what was not valid is never cached', () => {
    const system = new System()
    const { device, domain, mm } = system.withProcess()
    expect(device.dma(0x1000n, 200)).toBe('no access')
    expect(sent(system, () => system.bind(domain, 200, mm))).toEqual([])
    expect(device.dma(0x1000n, 200)).toBe(0x5000_0000n)
  })
  it('are unbound in order: the context, the IOATC by PSCID, then the ATCs', () => {
    const system = new System()
    const { device, domain, mm } = system.withProcess()
    const ioMm = system.bind(domain, 4, mm)
    expect(device.dma(0x1000n, 4)).toBe(0x5000_0000n)
    expect(sent(system, () => system.run(system.driver.ioMmDetach(domain, ioMm)))).toEqual([
      'IODIR.INVAL_PDT',
      'IOTINVAL.VMA',
      'ATS.INVAL',
    ])
    expect(device.dma(0x1000n, 4)).toBe('no access')
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
    expect(commands).toEqual(['IODIR.INVAL_PDT', 'IOTINVAL.VMA', 'ATS.INVAL'])
    expect(device.dma(0x1000n, 4)).toBe('no access')
    expect(system.events()).toEqual([])
    // What the architecture cannot keep quiet: a transaction that was not asked for beforehand is recorded, as a page fault.
    expect(system.model.translate({ device: 1, pasid: 4, iova: 0x1000n, access: 'read' })).toMatchObject({ code: 13 })
    expect(system.events()).toEqual([READ_FAULT])
    // And no record of a PASID that is not bound: that is another cause.
    expect(system.model.translate({ device: 1, pasid: 5, iova: 0x1000n, access: 'read' })).toMatchObject({ code: 266 })
  })
  it('go on undisturbed while the directory grows for a device with wider PASIDs', () => {
    const system = new System()
    const wide = joinsWithMorePasids(system)
    expect([wide.dma(0x1000n, 7), wide.dma(0x1000n, 0x80000)]).toEqual([0x6000_0000n, NO_PC])
  })
  it('let no supervisor request reach a process, whose table holds the kernel too, but private spaces', () => {
    const system = new System()
    const domain = system.domain('A', 'dma', system.device(1, { ats: false, pri: false }))
    const mm = system.process('P', 3)
    mm.table.map(0x1000, 0x5000_0000, 0x1000, RW)
    system.bind(domain, 1, mm)
    const own = system.bind(domain, 2, null)
    system.run(system.driver.ioMmPgtable(own).map(0x1000n, 0x6000_0000n, 0x1000n, RW))
    const asked = (pasid: number) => system.model.translate({ device: 1, pasid, iova: 0x1000n, access: 'read', privileged: true })
    expect(asked(1)).toMatchObject({ ok: false, name: DISALLOWED })
    expect(asked(2)).toMatchObject({ ok: true, pa: 0x6000_0000n })
  })
  it('have pages marked by hardware where the CPUs do so too', () => {
    for (const hardwareUpdates of [false, true]) {
      const system = new System({ hardwareUpdates })
      const device = system.device(1)
      const domain = system.domain('A', 'dma', device)
      const mm = system.process('P', 3, hardwareUpdates)
      mm.table.map(0x1000, 0x5000_0000, 0x1000, RW, { clearLo: 0xc0 })
      system.bind(domain, 1, mm)
      expect(device.dma(0x1000n, 1, 'write')).toBe(hardwareUpdates ? 0x5000_0000n : 'no access')
      expect(mm.table.leaf(0x1000)!.lo & 0xc0).toBe(hardwareUpdates ? 0xc0 : 0)
    }
  })
})

describe('device contexts', () => {
  it('are at every instant the old one, the new one, or not valid; and never misconfigured', () => {
    const system = new System()
    const device = system.device(1)
    const at = dcOf(system, 1)
    const seen = new Set<string>()
    const look = () => {
      const words = Int32Array.from(loadWords(system.memory, at, 16))
      if ((words[0]! & 1) === 1) expect(checkDc(words, 0, system.driver.features)).toBe(0)
      seen.add((words[0]! & 1) === 1 ? words.join() : 'not valid')
    }
    const domains = (['dma', 'identity', 'blocked', 'nested'] as const).map((kind) => system.domain(kind, kind))
    for (const domain of [...domains, ...domains.reverse()]) {
      seen.clear()
      look()
      const before = [...seen][0]!
      domain.devices.add(device)
      system.watch(system.driver.attachDevice(domain, device), look)
      const after = Int32Array.from(loadWords(system.memory, at, 16)).join()
      expect([...seen].filter((one) => one !== before && one !== after && one !== 'not valid')).toEqual([])
    }
  })
  it('are forgotten as the specification asks, by what they were before', () => {
    const system = new System()
    const device = system.device(1)
    const kinds = { A: 'dma', I: 'identity', N: 'nested' } as const
    const [dma, identity, nested] = Object.entries(kinds).map(([name, kind]) => system.domain(name, kind))
    const moved = (domain: typeof dma) => sent(system, () => system.attach(domain!, device))
    // From a first stage without directory (blocked): by its PSCID.
    expect(moved(dma)).toEqual(['IODIR.INVAL_DDT', 'IOTINVAL.VMA'])
    // From a process directory: everything of the host.
    expect(moved(identity)).toEqual(['IODIR.INVAL_DDT', 'IOTINVAL.VMA', 'ATS.INVAL'])
    expect(moved(nested)).toEqual(['IODIR.INVAL_DDT', 'IOTINVAL.VMA', 'ATS.INVAL'])
    // From a second stage: everything of the guest.
    expect(moved(dma)).toEqual(['IODIR.INVAL_DDT', 'IOTINVAL.VMA', 'IOTINVAL.GVMA', 'ATS.INVAL'])
  })
  it('need a device_id that fits the directory', () => {
    const system = new System({ deviceIdBits: 6 })
    expect(() => system.device(64)).toThrow(/device_id 0x40 needs more than the 6 bits/)
  })
})

describe('an invalidation that is forgotten shows', () => {
  it('in the IOATC: unmapped memory is still reached', () => {
    const system = new System()
    const { device } = showsForgottenIotlb(system)
    system.run(system.driver.commands.issueAndSync([iotinvalVma(HOST)]))
    expect(device.dma(0x1000n)).toBe(READ_FAULT)
  })
  it('in a cached process context: an unbound PASID still translates', () => {
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
    const system = new System({ forget: ['atc'] })
    const { device, domain } = system.mapped()
    expect(device.dma(0x1000n)).toBe(0x5000_0000n)
    system.unmap(domain, 0x1000n)
    expect(device.dma(0x1000n)).toBe(0x5000_0000n)
  })
})

describe('faults and page requests', () => {
  it('become reports with every word of the record', () => {
    const system = new System()
    system.domain('A', 'dma', system.device(1, { ats: false, pri: false }))
    system.model.translate({ device: 1, pasid: 9, iova: 0xffff_8000_0000_1000n, access: 'write', privileged: true })
    expect(system.events()).toEqual([NO_PC])
    expect(system.faults[0]).toMatchObject({ device: 1, pasid: 9, address: 0xffff_8000_0000_1000n, code: 266 })
    expect(system.faults[0]!.record).toHaveLength(4)
    expect(system.faults[0]!.text).toContain('device_id 0x1, process_id 0x9, untranslated write/AMO at 0xffff800000001000')
  })
  it('are passed on in order, stop markers too, and answered with the PASID where the device needs it', () => {
    const system = new System()
    const [a, b] = [system.device(1), system.device(2, { responseNeedsPasid: false })]
    system.domain('A', 'dma', a, b)
    system.model.pageRequest(pageRequest(a, 5, { last: false }))
    system.model.pageRequest(pageRequest(b, 6, { write: true, read: false }))
    system.model.pageRequest(pageRequest(a, 0, { read: false }))
    expect(system.events()).toEqual([])
    expect(system.requests).toMatchObject([
      { device: 1, pasid: 3, group: 5, last: false, read: true, stallTag: null },
      { device: 2, group: 6, write: true },
      { device: 1, last: true, read: false, write: false },
    ])
    const code = 'success' as const
    system.run(system.driver.pageResponse({ device: a, pasid: 3, group: 5, stallTag: null, code }))
    system.run(system.driver.pageResponse({ device: b, pasid: 3, group: 6, stallTag: null, code }))
    while (system.model.step());
    expect([a.messages, b.messages]).toMatchObject([[{ group: 5, pasid: 3, code }], [{ group: 6, pasid: null, code }]])
  })
  it('that were lost are told, and later ones come through again', () => {
    const system = new System({ pageRequestQueueLog2: 1, faultQueueLog2: 1 })
    const [a, plain] = [system.device(1), system.device(2, PLAIN)]
    system.domain('A', 'dma', a, plain)
    for (let group = 0; group < 3; group++) system.model.pageRequest(pageRequest(a, group))
    for (let turn = 0; turn < 3; turn++) plain.dma(0x1000n)
    expect(system.events()).toEqual([READ_FAULT, 'fqof'])
    expect([system.requests.length, system.overflows]).toEqual([1, 1])
    system.model.pageRequest(pageRequest(a, 7))
    plain.dma(0x1000n)
    expect(system.events()).toEqual([READ_FAULT])
    expect([system.requests.length, system.overflows]).toEqual([2, 1])
  })
  it('interrupt again after they were read', () => {
    const system = new System()
    const { faults, signals } = system.faultsInTurns()
    expect(faults).toEqual(Array(3).fill(`${READ_FAULT},${READ_FAULT}`))
    expect(signals).toEqual(['fip', 'fip', 'fip'])
  })
  it('of the command queue: a refused command is skipped and reported with its words', () => {
    const system = new System()
    const bad = Uint32Array.of(0x7f, 1, 2, 3)
    system.run(system.driver.commands.issueAndSync([bad, iotinvalVma(HOST)]))
    expect(system.events()).toEqual(['cmd_ill'])
    expect(system.faults[0]!.record).toEqual([0x1_0000007fn, 0x3_00000002n])
  })
  it('of devices that do not answer an invalidation are reported, and the driver goes on', () => {
    const system = new System()
    const { domain } = system.mapped()
    const background = withoutAnswers(system.model, (tag) => system.model.invalidationTimeout(1 << tag))
    run(system.driver.pgtable(domain)!.unmap(0x1000n, 0x1000n), background)
    expect(system.events()).toEqual(['cmd_to'])
  })
})

describe('setting up', () => {
  it('takes over an IOMMU that somebody else has used', () => {
    const first = new System()
    const device = first.device(1, PLAIN)
    const domain = first.domain('A', 'dma', device)
    first.map(domain, 0x1000n, 0x5000_0000n)
    expect(device.dma(0x1000n)).toBe(0x5000_0000n)
    device.dma(0x9000n)
    const driver = new RiscvDriver(first.model, first.memory)
    first.run(driver.init())
    expect(device.dma(0x1000n)).toBe(NO_DC)
    first.run(driver.addDevice({ id: 1, name: 'one', capabilities: PLAIN }))
    expect(device.dma(0x1000n)).toBe(READ_FAULT)
    first.run(driver.handleQueues(first))
    expect(first.faults.map(({ name }) => name)).toEqual([NO_DC])
  })
  it('uses messages where there are no wires', () => {
    const system = new System({ msi: { address: 0x4800_0000n, data: 0x2a } }, { capabilities: capabilities({ IGS: 0 }) })
    const device = system.device(1, PLAIN)
    system.domain('A', 'dma', device)
    device.dma(0x1000n)
    expect(system.memory.read32(0x4800_0000)).toBe(0x2a)
  })
  it('says when the IOMMU does not take so many levels', () => {
    expect(() => new System({ directoryLevels: 3 }, { maxMode: 3 })).toThrow(/3LVL/)
    expect(() => new System({ processDirectory: 'PD20' }, { capabilities: capabilities({ PD20: 0 }) })).toThrow(/no PD20/)
    expect(() => new System({ mode: 'Sv57' }, { capabilities: capabilities({ Sv57: 0 }) })).toThrow(/no Sv57/)
  })
})

describe('sharing a process', () => {
  const obstacle = (device: Partial<typeof PCIE>, has = {}) => {
    const system = new System({}, { capabilities: capabilities(has) })
    return system.driver.svaObstacle(system.device(1, device), system.process('P', 3))
  }
  it('needs PASIDs, ATS with PRI, the mode of the CPU and its addresses, and says which it has not', () => {
    expect(obstacle({})).toBeNull()
    expect(obstacle({ pasidBits: 0 })).toMatch(/cannot send PASIDs/)
    expect(obstacle({ pri: false })).toMatch(/ATS with PRI/)
    expect(obstacle({ ats: false, pri: false, stall: true })).toMatch(/cannot hold a transaction/)
    expect(obstacle({}, { ATS: 0, T2GPA: 0 })).toMatch(/capabilities.ATS/)
    expect(obstacle({}, { Sv48: 0 })).toMatch(/Sv48/)
    expect(obstacle({}, { Svpbmt: 0 })).toMatch(/Svpbmt/)
    expect(obstacle({}, { PAS: 40 })).toMatch(/56 bits, the IOMMU's 40/)
  })
  it('asks less of a private space, and is refused behind a second stage', () => {
    const system = new System({ domainStage: 2 })
    const device = system.device(1, { ats: false, pri: false })
    expect(system.driver.svaObstacle(device, null)).toBeNull()
    const domain = system.domain('A', 'dma', device)
    expect(system.driver.svaObstacle(device, null)).toMatch(/stage 2/)
    const own = system.ioMm(1, null)
    expect(() => system.run(system.driver.ioMmAttach(domain, own))).toThrow(/stage 1 domain/)
  })
})

describe('a guest', () => {
  function guest() {
    const system = new System()
    const device = system.device(1, { ats: false, pri: false })
    const domain = system.domain('VM', 'nested', device)
    // 16 MiB of guest memory at 0x8000_0000 of its own addresses, behind 0x6000_0000.
    system.run(system.driver.pgtable(domain)!.map(0x8000_0000n, 0x6000_0000n, 0x100_0000n, 63))
    const write = (address: number, ...words: bigint[]) =>
      words.forEach((word, index) => {
        system.memory.write64(0x6000_0000 + address - 0x8000_0000 + index * 8, word)
      })
    // PC 0 leads to an Sv39 table at 0x8000_2000 that maps 1 GiB: 0x4000_0000 → 0x8000_0000.
    const pc = encode(PC, { 'ta.V': 1, 'ta.PSCID': 5, 'fsc.MODE': 8, 'fsc.PPN': 0x8000_2000n })
    write(0x8000_1000, BigInt(pc[0]!), (BigInt(pc[3]!) << 32n) | BigInt(pc[2]!))
    write(0x8000_2008, (0x8000_0000n >> 2n) | 0xdfn)
    const dc = encode(DC, { 'tc.V': 1, 'tc.PDTV': 1, 'tc.DPE': 1, 'fsc.MODE': 1, 'fsc.PPN': 0x8000_1000n })
    return { system, device, domain, dc, write }
  }
  it('sees its own addresses until it switches its first stage on; then both stages translate', () => {
    const { system, device, dc } = guest()
    expect(device.dma(0x8000_3000n)).toBe(0x6000_3000n)
    system.run(system.driver.setGuestEntry(device, dc))
    expect([device.dma(0x4000_3000n), device.dma(0x8000_3000n)]).toEqual([0x6000_3000n, READ_FAULT])
    expect(device.dma(0x4100_0000n)).toBe(CAUSES[21])
  })
  it('keeps what it has when it asks for what is not its own', () => {
    const { system, device, dc } = guest()
    system.run(system.driver.setGuestEntry(device, dc))
    for (const own of [{ 'iohgatp.GSCID': 1 }, { 'iohgatp.MODE': 8 }, { 'tc.GADE': 1 }, { 'msiptp.MODE': 1 }] as const) {
      const wrong = encode(DC, { 'tc.V': 1, ...own })
      expect(() => system.run(system.driver.setGuestEntry(device, wrong))).toThrow(/may set only/)
    }
    expect(device.dma(0x4000_3000n)).toBe(0x6000_3000n)
    system.run(system.driver.setGuestEntry(device, new Uint32Array(16)))
    expect(device.dma(0x4000_3000n)).not.toBeTypeOf('bigint')
  })
  it('invalidates its own translations, and nobody else’s', () => {
    const { system, device, domain, dc, write } = guest()
    system.run(system.driver.setGuestEntry(device, dc))
    expect(device.dma(0x4000_3000n)).toBe(0x6000_3000n)
    write(0x8000_2008, 0n)
    expect(device.dma(0x4000_3000n)).toBe(0x6000_3000n)
    const say = (...commands: Uint32Array[]) => system.run(system.driver.guestInvalidate(domain, commands))
    say(iotinvalVma({ ...HOST, pscid: 5 }))
    expect(device.dma(0x4000_3000n)).toBe(READ_FAULT)
    const host = { ...HOST, gscid: 1 }
    for (const [command, why] of [
      [iotinvalVma(host), /no second stage/],
      [Uint32Array.of(0x81, 0, 0, 0), /IOTINVAL.GVMA/],
      [Uint32Array.of(3, 0, 0, 0), /for all devices/],
      [Uint32Array.of(3, 2 | (9 << 8), 0, 0), /device_id 0x9/],
      [Uint32Array.of(2, 0, 0, 0), /IOFENCE.C/],
    ] as const)
      expect(() => say(command)).toThrow(why)
  })
  it('loses what its host takes away, whatever was cached of both stages together', () => {
    const { system, device, domain, dc } = guest()
    system.run(system.driver.setGuestEntry(device, dc))
    expect(device.dma(0x4000_3000n)).toBe(0x6000_3000n)
    const commands = sent(system, () => system.unmap(domain, 0x8000_3000n))
    expect(commands).toEqual(['IOTINVAL.GVMA', 'IODIR.INVAL_DDT'])
    expect([device.dma(0x4000_3000n), device.dma(0x4000_4000n)]).toEqual([CAUSES[21], 0x6000_4000n])
  })
})
