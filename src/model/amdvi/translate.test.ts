import { describe, expect, it } from 'vitest'
import { ALL_RIGHTS, UR, UW } from '../../base/types.ts'
import { REG } from '../../format/amdvi/registers.ts'
import { DEVICE, efr, PASID, Rig } from './rig.suite.ts'

const R = UR | 8
const W = UW | 16

describe('AMD-Vi, without PASID', () => {
  it('lets everything pass while the IOMMU is off', () => {
    const rig = new Rig({}, { IommuEn: 0 })
    expect(rig.dma({ iova: 0x1234n })).toBe(0x1234n)
    expect(rig.fault({ kind: 'ats-request' })).toMatchObject({ code: 0, response: 'unsupported-request', record: null })
  })

  it('lets everything pass where V is 0', () => {
    const rig = new Rig()
    expect(rig.dma({ iova: 0x1234n, access: 'write' })).toBe(0x1234n)
  })

  it('passes addresses as they are in mode 0, as IR and IW allow', () => {
    const rig = new Rig()
    rig.dte({ IW: 0 })
    expect(rig.translate()).toMatchObject({ ok: true, pa: 0x4000_0000n, rights: 0b101101 })
    expect(rig.fault({ access: 'write' })).toMatchObject({ name: 'IO_PAGE_FAULT', response: 'abort' })
    expect(rig.logged()).toEqual([
      { event: 'IO_PAGE_FAULT', DeviceID: DEVICE, 'DomainID/PASID[15:0]': 7, PR: 1, RW: 1, PE: 1, Address: 0x4000_0000 },
    ])
  })

  it.each([1, 2, 3, 4, 5, 6] as const)('walks host tables of %i levels', (levels) => {
    const rig = new Rig()
    const { table, fields } = rig.host(levels)
    const pa = rig.page()
    const bits = Math.min(64, 12 + 9 * levels)
    const top = 2n ** BigInt(bits) - 0x1000n
    table.map(0x3000, pa, 0x1000, R)
    rig.dte(fields)
    expect(rig.translate({ iova: 0x3abcn })).toMatchObject({ ok: true, pa: BigInt(pa) + 0xabcn, sizeLog2: 12 })
    expect(rig.fault({ iova: top })).toMatchObject({ code: 2, stage: 2, level: levels })
    if (levels < 6) expect(rig.fault({ iova: 2n ** BigInt(bits) })).toMatchObject({ code: 2, level: null, entryAddress: null })
  })

  it('takes the size of a page from its address where the next level is 7', () => {
    const rig = new Rig()
    const { table, fields } = rig.host(3)
    table.map(0x10_0000, 0x40_0000, 0x1000, R)
    rig.dte(fields)
    const leaf = Number(rig.iommu.explain({ device: DEVICE, iova: 0x10_0000n, access: 'read' }).steps.at(-1)!.address)
    // The lowest clear bit from bit 12 up is half of the size: 14.
    const entry = (1n << 61n) | 0x40_0000n | 0x3000n | (7n << 9n) | 1n
    for (let each = 0; each < 8; each++) rig.memory.write64(leaf + each * 8, entry)
    expect(rig.translate({ iova: 0x10_7123n })).toMatchObject({ pa: 0x40_7123n, sizeLog2: 15 })
    expect(rig.translate({ iova: 0x10_0123n })).toMatchObject({ cached: true, pa: 0x40_0123n })
  })

  it('does not let a large page cover the interrupt range', () => {
    const rig = new Rig()
    const { table, fields } = rig.host(4)
    table.map(0xc000_0000, 0, 0x4000_0000, R | W)
    rig.dte(fields)
    expect(rig.translate({ iova: 0xc000_0000n })).toMatchObject({ pa: 0n, sizeLog2: 29 })
    expect(rig.dma({ iova: 0xfee0_1000n, access: 'write' })).toBe(0xfee0_1000n)
    expect(rig.translate({ iova: 0xfef0_0000n })).toMatchObject({ pa: 0x3ef0_0000n, sizeLog2: 20 })
    expect(rig.dma({ iova: 0xfee0_1000n })).toBe('INVALID_DEVICE_REQUEST')
  })

  it('limits the rights of the tables by those of the entry', () => {
    const rig = new Rig()
    rig.withHost({ IR: 0 })
    expect(rig.dma({ access: 'write' })).not.toBeTypeOf('string')
    expect(rig.fault().why).toContain('DTE.IR')
  })

  it('counts execution and privilege only with a PASID', () => {
    const rig = new Rig()
    const { pa } = rig.withHost({}, R)
    expect(rig.dma({ access: 'execute', privileged: true })).toBe(BigInt(pa))
  })

  it('sets A and D in host tables only where HADUpdate and HAD say so', () => {
    for (const [update, had, read, written] of [
      [0, 3, 0, 0],
      [1, 3, 0x20, 0x20],
      [3, 1, 0x20, 0x20],
      [3, 3, 0x20, 0x60],
    ] as const) {
      const rig = new Rig({}, { HADUpdate: update })
      const { table } = rig.withHost({ HAD: had })
      const leaf = () => {
        const fault = rig.iommu.explain({ device: DEVICE, iova: 0x4000_0000n, access: 'read' }).steps.at(-1)!
        return Number(fault.words[0]! & 0x60n)
      }
      rig.dma()
      expect([update, had, leaf()]).toEqual([update, had, read])
      rig.dma({ access: 'write' })
      expect([update, had, leaf()]).toEqual([update, had, written])
      expect(table.space.format.name).toBe('AMD v1')
    }
  })
})

describe('AMD-Vi, with PASID', () => {
  it('walks guest tables', () => {
    const rig = new Rig()
    const { pa } = rig.withPasid()
    expect(rig.translate({ pasid: PASID, iova: 0x4000_0123n })).toMatchObject({
      ok: true,
      pa: BigInt(pa) + 0x123n,
      cached: false,
    })
    expect(rig.translate({ pasid: PASID, iova: 0x4000_0456n })).toMatchObject({ ok: true, pa: BigInt(pa) + 0x456n, cached: true })
  })

  it('walks guest tables of five levels', () => {
    const rig = new Rig()
    const table = rig.guest(5)
    const pa = rig.page()
    table.map(2 ** 50, pa, 0x1000, ALL_RIGHTS)
    rig.dte({ GV: 1, GuestPagingMode: 1, gcr3: rig.gcr3({ [PASID]: table.space }) })
    expect(rig.dma({ pasid: PASID, iova: 2n ** 50n })).toBe(BigInt(pa))
    expect(rig.fault({ pasid: PASID, iova: 2n ** 60n })).toMatchObject({ code: 2, stage: 1, level: null })
  })

  it.each([0, 1, 2])('finds the entry in a GCR3 table of GLX %i', (glx) => {
    const rig = new Rig()
    const table = rig.guest()
    const pa = rig.page()
    table.map(0x4000_0000, pa, 0x1000, ALL_RIGHTS)
    const pasid = [0x1ff, 0x3ffff, 0xfffff][glx]!
    let next = BigInt(table.space.root)
    for (let level = 0; level <= glx; level++) {
      const at = rig.page()
      rig.memory.write64(at + ((pasid >>> (9 * level)) & 511) * 8, next | 1n)
      next = BigInt(at)
    }
    rig.dte({ GV: 1, GLX: glx, gcr3: Number(next) })
    expect(rig.dma({ pasid })).toBe(BigInt(pa))
    expect(rig.fault({ pasid: pasid - 1 })).toMatchObject({ code: 2, entry: 0n })
    if (glx < 2) expect(rig.fault({ pasid: pasid + 1 }).why).toContain('wider')
  })

  it('holds the PASID, user privileges and execution in the event', () => {
    const rig = new Rig()
    const table = rig.guest()
    table.map(0x4000_0000, rig.page(), 0x1000, UR | 8)
    const at = rig.page()
    const top = rig.page()
    rig.memory.write64(top + (0x12345 >>> 9) * 8, BigInt(at) | 1n)
    rig.memory.write64(at + (0x12345 & 511) * 8, BigInt(table.space.root) | 1n)
    rig.dte({ GV: 1, GLX: 1, gcr3: top })
    expect(rig.dma({ pasid: 0x12345, access: 'execute' })).toBe('IO_PAGE_FAULT')
    expect(rig.dma({ pasid: 0x12345, access: 'write', privileged: true })).toBe('IO_PAGE_FAULT')
    expect(rig.dma({ pasid: 0x12345, iova: 0x5000_0000n })).toBe('IO_PAGE_FAULT')
    const common = { event: 'IO_PAGE_FAULT', DeviceID: DEVICE, 'PASID[19:16]': 1, 'DomainID/PASID[15:0]': 0x2345, GN: 1 }
    expect(rig.logged()).toEqual([
      { ...common, NX: 1, US: 1, PR: 1, PE: 1, Address: 0x4000_0000 },
      { ...common, RW: 1, PR: 1, PE: 1, Address: 0x4000_0000 },
      { ...common, US: 1, Address: 0x5000_0000 },
    ])
  })

  it('keeps user code from supervisor pages, where USSup says that there are any', () => {
    const rig = new Rig()
    const { table } = rig.withPasid()
    table.map(0x5000_0000, rig.page(), 0x1000, 0b111000)
    expect(rig.dma({ pasid: PASID, iova: 0x5000_0000n })).toBe('IO_PAGE_FAULT')
    expect(rig.dma({ pasid: PASID, iova: 0x5000_0000n, privileged: true })).not.toBeTypeOf('string')
    const flat = new Rig({ efr: efr({ USSup: 0 }) })
    flat.withPasid().table.map(0x5000_0000, flat.page(), 0x1000, 0b111000)
    expect(flat.dma({ pasid: PASID, iova: 0x5000_0000n })).not.toBeTypeOf('string')
  })

  it('refuses PASIDs where there are no guest tables', () => {
    const rig = new Rig()
    rig.withHost()
    expect(rig.fault({ pasid: PASID })).toMatchObject({ code: 2, stage: null })
    const off = new Rig({}, { GTEn: 0 })
    off.withPasid()
    expect(off.fault({ pasid: PASID }).why).toContain('GTEn')
  })

  it('uses entry 0 for requests without PASID where GIOV says so', () => {
    const rig = new Rig()
    const table = rig.guest()
    const pa = rig.page()
    table.map(0x4000_0000, pa, 0x1000, ALL_RIGHTS)
    rig.dte({ GV: 1, GIOV: 1, gcr3: rig.gcr3({ 0: table.space }) })
    expect(rig.dma()).toBe(BigInt(pa))
    expect(rig.dma({ pasid: 0 })).toBe(BigInt(pa))
    expect(rig.dma({ iova: 0x5000_0000n })).toBe('IO_PAGE_FAULT')
    expect(rig.logged()).toMatchObject([{ GN: 1, Address: 0x5000_0000 }])
  })

  it('sets A and D in guest tables, and nothing with the controls that switch it off', () => {
    for (const [control, expected] of [
      [{}, 0x60],
      [{ GDUpdateDis: 1 }, 0x20],
      [{ GAUpdateDis: 1, GDUpdateDis: 1 }, 0],
    ] as const) {
      const rig = new Rig({}, control)
      const { table } = rig.withPasid()
      const step = () => rig.iommu.explain({ device: DEVICE, pasid: PASID, iova: 0x4000_0000n, access: 'read' }).steps.at(-1)!
      const at = Number(step().address)
      rig.memory.write64(at, rig.memory.read64(at) & ~0x60n)
      rig.dma({ pasid: PASID })
      expect(Number(step().words[0]! & 0x60n)).toBe(expected & 0x20)
      rig.dma({ pasid: PASID, access: 'write' })
      expect(Number(step().words[0]! & 0x60n)).toBe(expected)
      expect(table.space.format.name).toBe('AMD v2')
    }
  })
})

describe('AMD-Vi, nested', () => {
  function nested(rig: Rig) {
    const host = rig.identity()
    return { host, ...rig.withPasid(host.fields) }
  }

  it('takes addresses of guest tables through the host tables', () => {
    const rig = new Rig()
    const { pa } = nested(rig)
    expect(rig.dma({ pasid: PASID })).toBe(BigInt(pa))
    expect(rig.dma({ iova: BigInt(pa) })).toBe(BigInt(pa))
  })

  it('reports what the host tables refuse with the guest physical address and the domain', () => {
    const rig = new Rig()
    const { host, pa } = nested(rig)
    host.table.unmap(pa, 0x1000)
    expect(rig.fault({ pasid: PASID, iova: 0x4000_0123n })).toMatchObject({ stage: 2, ipa: BigInt(pa) + 0x123n })
    expect(rig.logged()).toEqual([{ event: 'IO_PAGE_FAULT', DeviceID: DEVICE, 'DomainID/PASID[15:0]': 7, Address: pa + 0x123 }])
  })

  it('reports a guest table that the host tables refuse', () => {
    const rig = new Rig()
    const { host, table } = nested(rig)
    host.table.unmap(table.space.root, 0x1000)
    expect(rig.fault({ pasid: PASID })).toMatchObject({ stage: 2, code: 2 })
    expect(rig.logged()).toMatchObject([{ 'DomainID/PASID[15:0]': 7, Address: table.space.root }])
  })

  it('reports a GCR3 table that the host tables refuse, where its address is a guest physical one', () => {
    const rig = new Rig({}, { GCR3TRPMode: 1 })
    const { host, gcr3 } = nested(rig)
    host.table.unmap(gcr3, 0x1000)
    expect(rig.fault({ pasid: PASID })).toMatchObject({ stage: 2, code: 2, ipa: BigInt(gcr3 + PASID * 8) })
    expect(rig.logged()).toMatchObject([{ 'DomainID/PASID[15:0]': 7, Address: gcr3 + PASID * 8 }])
  })
})

describe('AMD-Vi, special addresses', () => {
  const HT = 0xfd_0000_0000n

  it('lets the exclusion range pass, for all devices or those with EX', () => {
    const rig = new Rig()
    rig.withHost()
    rig.set(REG.EXCL_BASE, 0x4000_0001)
    rig.set(REG.EXCL_LIMIT, 0x4000_1000)
    expect(rig.dma({ iova: 0x4000_1fffn })).toBe('IO_PAGE_FAULT')
    rig.set(REG.EXCL_BASE, 0x4000_0003)
    expect(rig.dma({ iova: 0x4000_1fffn })).toBe(0x4000_1fffn)
    expect(rig.dma({ iova: 0x4000_2000n })).toBe('IO_PAGE_FAULT')
    rig.set(REG.EXCL_BASE, 0x4000_0001)
    rig.withHost({ EX: 1 })
    rig.command('INVALIDATE_DEVTAB_ENTRY', { DeviceID: DEVICE })
    expect(rig.dma({ iova: 0x4000_0123n })).toBe(0x4000_0123n)
  })

  it('translates addresses with PASID also in the exclusion range', () => {
    const rig = new Rig()
    const { pa } = rig.withPasid()
    rig.set(REG.EXCL_BASE, 0x4000_0003)
    rig.set(REG.EXCL_LIMIT, 0x4000_0000)
    expect(rig.dma({ pasid: PASID })).toBe(BigInt(pa))
    expect(rig.dma()).toBe(0x4000_0000n)
  })

  it('treats an interrupt with PASID as a page fault', () => {
    const rig = new Rig()
    rig.withPasid()
    expect(rig.dma({ pasid: PASID, iova: 0xfee0_0000n, access: 'write' })).toBe('IO_PAGE_FAULT')
    expect(rig.logged()).toMatchObject([{ I: 1, GN: 1, Address: 0xfee0_0000 }])
  })

  it('ignores the HyperTransport range where EXT_FEATURE2 says so', () => {
    const rig = new Rig({ efr2: 1n << 11n })
    rig.dte()
    expect(rig.dma({ iova: HT + 0x1000n })).toBe(HT + 0x1000n)
  })

  it.each([
    ['SysMgt', 1, 0xf910_0000n, 'write', 'pass'],
    ['SysMgt', 3, 0xf910_0000n, 'write', 'translate'],
    ['IoCtl', 1, 0xfc00_0000n, 'read', 'pass'],
    ['IoCtl', 2, 0xfc00_0000n, 'read', 'translate'],
    ['IntCtl', 0, 0xf800_0000n, 'write', 'pass'],
  ] as const)('%s %i: what becomes of HyperTransport address %s, %s: %s', (field, value, offset, access, what) => {
    const rig = new Rig()
    rig.withHost({ [field]: value })
    const iova = HT + offset
    expect(rig.dma({ iova, access })).toBe(what === 'pass' ? iova : 'IO_PAGE_FAULT')
  })
})
