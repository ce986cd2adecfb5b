import { describe, expect, it } from 'vitest'
import { ALL_RIGHTS, UR, UW } from '../../base/types.ts'
import { DEVICE, DOMAIN, PASID, Rig } from './rig.suite.ts'

describe('AMD-Vi caches', () => {
  it('shares translations between the devices of a domain, but not their rights', () => {
    const rig = new Rig()
    const { table } = rig.withHost()
    const fields = { Mode: 4, HostPageTableRootPtr: BigInt(table.space.root) }
    rig.dte({ ...fields, IW: 0 }, DEVICE + 1)
    rig.dte({ ...fields, DomainID: DOMAIN + 1 }, DEVICE + 2)
    rig.dma()
    expect(rig.translate({ device: DEVICE + 1 })).toMatchObject({ ok: true, cached: true, rights: 0b101101 })
    expect(rig.dma({ device: DEVICE + 1, access: 'write' })).toBe('IO_PAGE_FAULT')
    expect(rig.translate({ device: DEVICE + 2 })).toMatchObject({ ok: true, cached: false })
  })

  it('walks again for what an entry does not allow', () => {
    const rig = new Rig()
    const { table, pa } = rig.withHost({}, UR | 8)
    rig.dma()
    expect(rig.dma({ access: 'write' })).toBe('IO_PAGE_FAULT')
    table.unmap(0x4000_0000, 0x1000)
    table.map(0x4000_0000, pa, 0x1000, UR | UW | 8 | 16)
    expect(rig.dma({ access: 'write' })).toBe(BigInt(pa))
  })

  it('remembers nothing of absent pages and GCR3 entries without NpCache', () => {
    const rig = new Rig()
    const { table, gcr3 } = rig.withPasid()
    expect(rig.dma({ pasid: PASID, iova: 0x5000_0000n })).toBe('IO_PAGE_FAULT')
    expect(rig.dma({ pasid: PASID + 1 })).toBe('IO_PAGE_FAULT')
    table.map(0x5000_0000, rig.page(), 0x1000, ALL_RIGHTS)
    rig.memory.write64(gcr3 + (PASID + 1) * 8, BigInt(table.space.root) | 1n)
    expect(rig.dma({ pasid: PASID, iova: 0x5000_0000n })).not.toBeTypeOf('string')
    expect(rig.dma({ pasid: PASID + 1 })).not.toBeTypeOf('string')
  })

  it('remembers them with NpCache, until they are invalidated', () => {
    const rig = new Rig({ npCache: true })
    const { table, gcr3 } = rig.withPasid()
    const far = { pasid: PASID, iova: 0x5000_0000n }
    rig.dma(far)
    rig.dma({ pasid: PASID + 1 })
    table.map(0x5000_0000, rig.page(), 0x1000, ALL_RIGHTS)
    rig.memory.write64(gcr3 + (PASID + 1) * 8, BigInt(table.space.root) | 1n)
    expect(rig.fault(far).why).toContain('NpCache')
    expect(rig.dma({ pasid: PASID + 1 })).toBe('IO_PAGE_FAULT')
    rig.command('INVALIDATE_IOMMU_PAGES', { DomainID: DOMAIN, GN: 1, PASID, Address: 0x5000_0000n })
    rig.command('INVALIDATE_IOMMU_PAGES', { DomainID: DOMAIN, GN: 1, PASID: PASID + 1, PDE: 1, Address: 0n })
    expect(rig.dma(far)).not.toBeTypeOf('string')
    expect(rig.dma({ pasid: PASID + 1 })).not.toBeTypeOf('string')
  })

  it('works without any cache, and with small ones', () => {
    for (const size of [0, 1]) {
      const rig = new Rig({ caches: { devices: size, contexts: size, translations: size, interrupts: size } })
      const { pa } = rig.withPasid()
      for (let each = 0; each < 3; each++) {
        expect(rig.translate({ pasid: PASID })).toMatchObject({ pa: BigInt(pa), cached: size === 1 && each > 0 })
        rig.dte({}, 9 + each)
        expect(rig.dma({ device: 9 + each })).toBe(0x4000_0000n)
      }
    }
  })

  it('has nothing of a device table entry that it does not keep', () => {
    const rig = new Rig({ caches: { devices: 0 } })
    const { pa } = rig.withHost()
    expect(rig.dma()).toBe(BigInt(pa))
    rig.dte({ IR: 0 })
    expect(rig.dma()).toBe('IO_PAGE_FAULT')
  })

  it('forgets entries when the controls that they depend on change', () => {
    const rig = new Rig()
    const { pa } = rig.withPasid()
    expect(rig.dma({ pasid: PASID })).toBe(BigInt(pa))
    rig.control({ GTEn: 0 })
    expect(rig.dma({ pasid: PASID })).toBe('IO_PAGE_FAULT')
    rig.control()
    expect(rig.dma({ pasid: PASID })).toBe(BigInt(pa))
  })
})
