import { describe, expect, it } from 'vitest'
import { ALL_RIGHTS } from '../../base/types.ts'
import { REG } from '../../format/amdvi/registers.ts'
import { DEVICE, DOMAIN, efr, NOWHERE, PASID, Rig } from './rig.suite.ts'

/** Everything: what software writes for it. */
const ALL = 0x7fff_ffff_ffff_f000n

describe('AMD-Vi command buffer', () => {
  it('stores and interrupts at COMPLETION_WAIT', () => {
    const rig = new Rig()
    const at = rig.page()
    rig.command('COMPLETION_WAIT', { S: 1, I: 1, F: 1, StoreAddress: BigInt(at) + 8n, StoreData: 0x1234_5678_9abc_def0n })
    expect(rig.memory.read64(at + 8)).toBe(0x1234_5678_9abc_def0n)
    expect(rig.interrupts).toEqual(['ComWaitInt'])
    expect([rig.get(REG.CMD_HEAD), rig.get(REG.STATUS) & 4]).toEqual([16, 4])
  })

  it('waits at COMPLETION_WAIT for devices', () => {
    const rig = new Rig()
    const at = rig.page()
    rig.command('INVALIDATE_IOTLB_PAGES', { DeviceID: DEVICE, Address: 0x1000n })
    rig.command('INVALIDATE_IOTLB_PAGES', { DeviceID: DEVICE, Address: 0x2000n })
    rig.command('COMPLETION_WAIT', { S: 1, StoreAddress: BigInt(at), StoreData: 1n })
    expect([rig.get(REG.CMD_HEAD), rig.memory.read64(at)]).toEqual([32, 0n])
    rig.iommu.invalidationComplete(1)
    expect(rig.get(REG.CMD_HEAD)).toBe(32)
    rig.iommu.invalidationComplete(0)
    expect([rig.get(REG.CMD_HEAD), rig.memory.read64(at)]).toEqual([48, 1n])
  })

  it('goes on when a device does not answer in time, and says so', () => {
    const rig = new Rig()
    const at = rig.command('INVALIDATE_IOTLB_PAGES', { DeviceID: DEVICE, Address: 0x1000n })
    rig.command('COMPLETION_WAIT')
    rig.iommu.invalidationTimeout(0)
    expect(rig.get(REG.CMD_HEAD)).toBe(32)
    expect(rig.logged()).toEqual([{ event: 'IOTLB_INV_TIMEOUT', DeviceID: DEVICE, Address: BigInt(at) }])
    rig.iommu.invalidationTimeout(0)
    expect(rig.logged()).toEqual([])
  })

  it('waits for ever where CONTROL.InvTimeOut gives no time', () => {
    const rig = new Rig({}, { InvTimeOut: 0 })
    rig.command('INVALIDATE_IOTLB_PAGES', { DeviceID: DEVICE })
    rig.command('COMPLETION_WAIT')
    rig.iommu.invalidationTimeout(0)
    expect([rig.get(REG.CMD_HEAD), rig.logged().length]).toEqual([16, 0])
  })

  it('stops at an illegal command, until CmdBufEn is written as 0', () => {
    const rig = new Rig()
    const at = rig.raw([0x2000_0000_0001_0000n, 0n])
    rig.command('COMPLETION_WAIT', { I: 1 })
    expect([rig.get(REG.CMD_HEAD), rig.get(REG.STATUS) & 0x10, rig.interrupts]).toEqual([0, 0, ['EventLogInt']])
    expect(rig.logged()).toEqual([{ event: 'ILLEGAL_COMMAND_ERROR', Address: BigInt(at) }])
    rig.control()
    expect(rig.get(REG.STATUS) & 0x10).toBe(0)
    rig.control({ CmdBufEn: 0 })
    rig.set(REG.CMD_HEAD, 16)
    rig.control()
    expect([rig.get(REG.CMD_HEAD), rig.get(REG.STATUS) & 0x10]).toEqual([32, 0x10])
    expect(rig.interrupts).toContain('ComWaitInt')
  })

  it.each([
    ['PREFETCH_IOMMU_PAGES', { PreFSup: 0 }, {}],
    ['COMPLETE_PPR_REQUEST', { PPRSup: 0 }, {}],
    ['INVALIDATE_IOMMU_ALL', { IASup: 0 }, {}],
    ['INVALIDATE_IOMMU_PAGES', { GTSup: 0 }, { GN: 1 }],
    ['INVALIDATE_IOTLB_PAGES', { InvIotlbTypeSup: 0 }, { Type: 1 }],
    ['INSERT_GUEST_EVENT', {}, {}],
    ['RESET_VMMIO', {}, {}],
  ] as const)('has no %s without %o', (name, features, values) => {
    const rig = new Rig({ efr: efr(features) })
    rig.command(name, values)
    expect(rig.logged()).toMatchObject([{ event: 'ILLEGAL_COMMAND_ERROR' }])
  })

  it('stops where a store finds nothing', () => {
    const rig = new Rig()
    rig.command('COMPLETION_WAIT', { S: 1, StoreAddress: BigInt(NOWHERE) })
    expect(rig.logged()).toEqual([{ event: 'COMMAND_HARDWARE_ERROR', Type: 1, Address: BigInt(NOWHERE) }])
    expect(rig.get(REG.STATUS) & 0x10).toBe(0)
  })

  it('goes round the end of the buffer', () => {
    const rig = new Rig()
    for (let each = 0; each < 300; each++) rig.command('COMPLETION_WAIT')
    expect(rig.get(REG.CMD_HEAD)).toBe((300 * 16) % 4096)
  })

  it('executes nothing while it is off, or by itself when told so', () => {
    const rig = new Rig({ deferred: true })
    rig.command('COMPLETION_WAIT')
    rig.command('COMPLETION_WAIT')
    expect(rig.get(REG.CMD_HEAD)).toBe(0)
    expect([rig.iommu.step(), rig.get(REG.CMD_HEAD)]).toEqual([true, 16])
    rig.control({ CmdBufEn: 0 })
    expect([rig.iommu.step(), rig.get(REG.CMD_HEAD)]).toEqual([false, 16])
  })

  it('sends invalidation requests as devices take them', () => {
    const rig = new Rig()
    rig.command('INVALIDATE_IOTLB_PAGES', { DeviceID: DEVICE, Address: 0x5000n })
    rig.command('INVALIDATE_IOTLB_PAGES', { DeviceID: DEVICE, PASID: 0x54321, GN: 1, S: 1, Address: 0x3000n })
    rig.command('INVALIDATE_IOTLB_PAGES', { DeviceID: DEVICE, S: 1, Address: ALL })
    expect(rig.messages).toEqual([
      { kind: 'invalidate', device: DEVICE, pasid: null, address: 0x5000n, bytes: 4096n, tag: 0 },
      { kind: 'invalidate', device: DEVICE, pasid: 0x54321, address: 0n, bytes: 0x8000n, tag: 1 },
      { kind: 'invalidate', device: DEVICE, pasid: null, address: 0n, bytes: null, tag: 2 },
    ])
  })

  it('asks nobody where no devices listen', () => {
    const rig = new Rig()
    rig.iommu.onMessage = null
    rig.command('INVALIDATE_IOTLB_PAGES', { DeviceID: DEVICE })
    rig.command('COMPLETION_WAIT')
    expect(rig.get(REG.CMD_HEAD)).toBe(32)
  })

  it('answers page requests', () => {
    const rig = new Rig()
    rig.command('COMPLETE_PPR_REQUEST', { DeviceID: DEVICE, PASID, GN: 1, CompletionTag: 0x1ff })
    rig.command('COMPLETE_PPR_REQUEST', { DeviceID: DEVICE, CompletionTag: 3, Response: 1 })
    rig.command('COMPLETE_PPR_REQUEST', { DeviceID: DEVICE, CompletionTag: 3, Response: 15 })
    expect(rig.messages).toEqual([
      { kind: 'page-response', device: DEVICE, pasid: PASID, group: 0x1ff, code: 'success' },
      { kind: 'page-response', device: DEVICE, pasid: null, group: 3, code: 'invalid' },
      { kind: 'page-response', device: DEVICE, pasid: null, group: 3, code: 'failure' },
    ])
  })

  it('prefetches, and records nothing where there is nothing', () => {
    const rig = new Rig()
    const { table } = rig.withHost()
    table.map(0x4000_1000, rig.page(), 0x1000, ALL_RIGHTS)
    rig.command('PREFETCH_IOMMU_PAGES', { DeviceID: DEVICE, PFCount: 3, Address: 0x4000_0000n })
    expect(rig.translate({ iova: 0x4000_0000n })).toMatchObject({ ok: true, cached: true })
    expect(rig.translate({ iova: 0x4000_1000n })).toMatchObject({ ok: true, cached: true })
    expect(rig.logged()).toEqual([])
    table.unmap(0x4000_0000, 0x1000)
    rig.command('PREFETCH_IOMMU_PAGES', { DeviceID: DEVICE, Inval: 1, Address: 0x4000_0000n })
    expect(rig.dma()).toBe('IO_PAGE_FAULT')
  })
})

describe('AMD-Vi prefetch', () => {
  it('drops nothing for a device that has no domain', () => {
    const rig = new Rig()
    rig.withHost({ DomainID: 0 })
    rig.dma()
    rig.command('PREFETCH_IOMMU_PAGES', { DeviceID: 0x300, Inval: 1, Address: 0x4000_0000n })
    expect(rig.translate()).toMatchObject({ ok: true, cached: true })
  })
})

describe('AMD-Vi invalidation', () => {
  /** Two pages of the host tables and one of the guest tables, cached. */
  function warm(rig: Rig) {
    const { table, fields } = rig.host()
    for (const iova of [0x1000, 0x2000, 0x3000, 0x4000]) table.map(iova, rig.page(), 0x1000, ALL_RIGHTS)
    const guest = rig.withPasid(fields)
    table.map(0x20_0000, 0, 0x20_0000, ALL_RIGHTS)
    const hits = () => [
      ...[0x1000n, 0x2000n, 0x3000n, 0x4000n, 0x20_0000n].map((iova) => hit(rig, { iova })),
      hit(rig, { pasid: PASID }),
    ]
    return { table, guest, hits }
  }
  const hit = (rig: Rig, given: object) => {
    const outcome = rig.translate(given)
    return outcome.ok && outcome.cached
  }
  const NONE = [false, false, false, false, false, false]

  function bothTables() {
    const rig = new Rig()
    const identity = rig.host()
    identity.table.map(0, 0, 0x1000_0000, ALL_RIGHTS)
    rig.withPasid(identity.fields)
    return { rig, table: identity.table }
  }

  it('keeps translations until a command covers them', () => {
    const { rig, table } = bothTables()
    const iova = 0x2000n
    expect(rig.dma({ iova })).toBe(0x2000n)
    table.unmap(0, 0x20_0000)
    expect(rig.dma({ iova })).toBe(0x2000n)
    rig.command('INVALIDATE_IOMMU_PAGES', { DomainID: DOMAIN + 1, S: 1, PDE: 1, Address: ALL })
    expect(rig.dma({ iova })).toBe(0x2000n)
    rig.command('INVALIDATE_IOMMU_PAGES', { DomainID: DOMAIN, Address: 0x2000n })
    expect(rig.dma({ iova })).toBe('IO_PAGE_FAULT')
  })

  it.each([
    ['one page', { Address: 0x2000n }, [0x2000n]],
    ['two pages', { S: 1, Address: 0x2000n }, [0x2000n, 0x3000n]],
    ['four pages', { S: 1, Address: 0x1000n }, [0x1000n, 0x2000n, 0x3000n]],
    ['everything', { S: 1, Address: ALL }, [0x1000n, 0x2000n, 0x3000n, 0x4000n, 0x20_0000n]],
    ['a page within a large one', { Address: 0x3f_f000n }, [0x20_0000n]],
  ] as const)('of %s', (_what, values, gone) => {
    const rig = new Rig()
    const { table, fields } = rig.host()
    const all = [0x1000n, 0x2000n, 0x3000n, 0x4000n, 0x20_0000n]
    for (const iova of all.slice(0, 4)) table.map(Number(iova), rig.page(), 0x1000, ALL_RIGHTS)
    table.map(0x20_0000, 0, 0x20_0000, ALL_RIGHTS)
    rig.dte(fields)
    for (const iova of all) rig.dma({ iova })
    rig.command('INVALIDATE_IOMMU_PAGES', { DomainID: DOMAIN, ...values })
    expect(all.filter((iova) => !hit(rig, { iova }))).toEqual(gone)
  })

  it('drops nested translations with host ones, whatever the address, and others only with GN', () => {
    const nested = bothTables().rig
    nested.dma({ pasid: PASID })
    nested.command('INVALIDATE_IOMMU_PAGES', { DomainID: DOMAIN, Address: 0x9999_9000n })
    expect(hit(nested, { pasid: PASID })).toBe(false)
    const flat = new Rig()
    flat.withPasid()
    flat.dma({ pasid: PASID })
    flat.command('INVALIDATE_IOMMU_PAGES', { DomainID: DOMAIN, S: 1, Address: ALL })
    expect(hit(flat, { pasid: PASID })).toBe(true)
    flat.command('INVALIDATE_IOMMU_PAGES', { DomainID: DOMAIN, GN: 1, PASID: PASID + 1, S: 1, Address: ALL })
    flat.command('INVALIDATE_IOMMU_PAGES', { DomainID: DOMAIN, GN: 1, PASID, Address: 0x5000_0000n })
    expect(hit(flat, { pasid: PASID })).toBe(true)
    flat.command('INVALIDATE_IOMMU_PAGES', { DomainID: DOMAIN, GN: 1, PASID, Address: 0x4000_0000n })
    expect(hit(flat, { pasid: PASID })).toBe(false)
  })

  it('leaves host translations alone with GN', () => {
    const { rig } = bothTables()
    rig.dma({ iova: 0x1000n })
    rig.command('INVALIDATE_IOMMU_PAGES', { DomainID: DOMAIN, GN: 1, PASID: 0, S: 1, PDE: 1, Address: ALL })
    expect(hit(rig, { iova: 0x1000n })).toBe(true)
  })

  it('tells PASIDs apart by all their bits', () => {
    const rig = new Rig()
    const table = rig.guest()
    table.map(0x4000_0000, rig.page(), 0x1000, ALL_RIGHTS)
    const leaf = rig.gcr3({ [PASID]: table.space })
    const top = rig.page()
    for (const high of [0, 128]) rig.memory.write64(top + high * 8, BigInt(leaf) | 1n)
    rig.dte({ GV: 1, GLX: 1, gcr3: top })
    const wide = 0x10000 | PASID
    rig.dma({ pasid: PASID })
    rig.dma({ pasid: wide })
    rig.command('INVALIDATE_IOMMU_PAGES', { DomainID: DOMAIN, GN: 1, PASID: wide, S: 1, Address: ALL })
    expect([hit(rig, { pasid: PASID }), hit(rig, { pasid: wide })]).toEqual([true, false])
  })

  it('of everything drops all that is cached', () => {
    const rig = new Rig()
    const { hits } = warm(rig)
    hits()
    rig.command('INVALIDATE_IOMMU_ALL')
    expect(hits()).toEqual(NONE)
    expect(rig.iommu.tlb.used).toBeGreaterThan(0)
  })

  it('of a device table entry makes it be read again', () => {
    const rig = new Rig()
    const { pa } = rig.withHost()
    expect(rig.dma()).toBe(BigInt(pa))
    rig.dte({ IR: 0, IW: 0 })
    expect(rig.dma()).toBe(BigInt(pa))
    rig.command('INVALIDATE_DEVTAB_ENTRY', { DeviceID: DEVICE + 1 })
    expect(rig.dma()).toBe(BigInt(pa))
    rig.command('INVALIDATE_DEVTAB_ENTRY', { DeviceID: DEVICE })
    expect(rig.dma()).toBe('IO_PAGE_FAULT')
  })

  it('of entries above the leaves drops cached GCR3 entries', () => {
    const rig = new Rig()
    const { gcr3, pa } = rig.withPasid()
    const other = rig.guest()
    const second = rig.page()
    other.map(0x4000_0000, second, 0x1000, ALL_RIGHTS)
    expect(rig.dma({ pasid: PASID })).toBe(BigInt(pa))
    rig.memory.write64(gcr3 + PASID * 8, BigInt(other.space.root) | 1n)
    const invalidate = (more: object) =>
      rig.command('INVALIDATE_IOMMU_PAGES', { DomainID: DOMAIN, GN: 1, PASID, S: 1, Address: ALL, ...more })
    invalidate({})
    expect(rig.dma({ pasid: PASID })).toBe(BigInt(pa))
    invalidate({ PDE: 1, PASID: PASID + 1 })
    expect(rig.dma({ pasid: PASID })).toBe(BigInt(pa))
    invalidate({ PDE: 1 })
    expect(rig.dma({ pasid: PASID })).toBe(BigInt(second))
  })

  it('of GCR3 entry 0 counts for requests without PASID that use it', () => {
    const rig = new Rig()
    const [first, second] = [rig.guest(), rig.guest()]
    const pa = rig.page()
    first.map(0x4000_0000, rig.page(), 0x1000, ALL_RIGHTS)
    second.map(0x4000_0000, pa, 0x1000, ALL_RIGHTS)
    const gcr3 = rig.gcr3({ 0: first.space })
    rig.dte({ GV: 1, GIOV: 1, gcr3 })
    rig.dma()
    rig.memory.write64(gcr3, BigInt(second.space.root) | 1n)
    rig.command('INVALIDATE_IOMMU_PAGES', { DomainID: DOMAIN, GN: 1, PASID: 0, S: 1, PDE: 1, Address: ALL })
    expect(rig.dma()).toBe(BigInt(pa))
  })

  it.each([
    ['keeps GCR3 entries without host tables', false],
    ['drops GCR3 entries that were reached through host tables', true],
  ])('of host entries above the leaves %s', (_what, nested) => {
    const rig = new Rig()
    const { pa, gcr3 } = rig.withPasid(nested ? rig.identity().fields : {})
    const other = rig.guest()
    const second = rig.page()
    other.map(0x4000_0000, second, 0x1000, ALL_RIGHTS)
    rig.dma({ pasid: PASID })
    rig.memory.write64(gcr3 + PASID * 8, BigInt(other.space.root) | 1n)
    rig.command('INVALIDATE_IOMMU_PAGES', { DomainID: DOMAIN, S: 1, PDE: 1, Address: ALL })
    expect(rig.dma({ pasid: PASID })).toBe(BigInt(nested ? second : pa))
  })
})
