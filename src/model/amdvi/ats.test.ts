import { describe, expect, it } from 'vitest'
import { ALL_RIGHTS, UR, UW, UX } from '../../base/types.ts'
import { REG } from '../../format/amdvi/registers.ts'
import { DEVICE, PASID, Rig } from './rig.suite.ts'

const ATS = { kind: 'ats-request' } as const

describe('AMD-Vi, ATS', () => {
  it('answers translation requests with the rights that the tables give', () => {
    const rig = new Rig()
    const { pa } = rig.withHost({ I: 1 }, UR | 8)
    expect(rig.translate({ ...ATS, access: 'write' })).toMatchObject({ ok: true, pa: BigInt(pa), rights: UR })
    expect(rig.translate(ATS)).toMatchObject({ ok: true, rights: UR })
    const all = new Rig()
    all.withHost({ I: 1 })
    expect(all.translate(ATS)).toMatchObject({ ok: true, rights: UR | UW, cached: false })
    expect(all.translate(ATS)).toMatchObject({ ok: true, rights: UR | UW, cached: true })
  })

  it('grants execution only with a PASID and when it is asked for, and rights of the privilege', () => {
    const rig = new Rig()
    const { table } = rig.withPasid()
    table.map(0x5000_0000, rig.page(), 0x1000, 0b111000)
    expect(rig.translate({ ...ATS, pasid: PASID })).toMatchObject({ rights: UR | UW })
    expect(rig.translate({ ...ATS, pasid: PASID, access: 'write' })).toMatchObject({ rights: UR | UW })
    expect(rig.translate({ ...ATS, pasid: PASID, access: 'execute' })).toMatchObject({ rights: UR | UW | UX })
    expect(rig.translate({ ...ATS, pasid: PASID, access: 'execute', privileged: true })).toMatchObject({
      rights: (UR | UW | UX) << 3,
    })
    expect(rig.fault({ ...ATS, pasid: PASID, iova: 0x5000_0000n })).toMatchObject({ response: 'no-access', record: null })
    expect(rig.translate({ ...ATS, pasid: PASID, iova: 0x5000_0000n, privileged: true })).toMatchObject({ ok: true })
  })

  it('makes a page dirty for a request to write, and grants writing only then', () => {
    const rig = new Rig()
    const { table } = rig.withPasid()
    const leaf = Number(
      rig.iommu.explain({ device: DEVICE, pasid: PASID, iova: 0x4000_0000n, access: 'read' }).steps.at(-1)!.address,
    )
    const clean = rig.memory.read64(leaf) & ~0x60n
    rig.memory.write64(leaf, clean)
    const wish = { device: DEVICE, pasid: PASID, iova: 0x4000_0000n, access: 'write', ...ATS } as const
    expect(rig.iommu.explain(wish).outcome).toMatchObject({ rights: UR | UW })
    expect(rig.memory.read64(leaf) & 0x60n).toBe(0n)
    expect(rig.translate({ ...ATS, pasid: PASID })).toMatchObject({ rights: UR })
    expect(rig.memory.read64(leaf) & 0x60n).toBe(0x20n)
    expect(rig.translate({ ...ATS, pasid: PASID, access: 'write' })).toMatchObject({ rights: UR | UW })
    expect(rig.memory.read64(leaf) & 0x60n).toBe(0x60n)
    expect(table.space.root).toBeGreaterThan(0)
  })

  it('has no event for page faults of translation requests', () => {
    const rig = new Rig()
    rig.withHost({ I: 1 })
    expect(rig.fault({ ...ATS, iova: 0x5000_0000n })).toMatchObject({
      name: 'IO_PAGE_FAULT',
      response: 'no-access',
      record: null,
    })
    expect(rig.fault({ ...ATS, pasid: PASID })).toMatchObject({ response: 'no-access' })
    expect(rig.logged()).toEqual([])
  })

  it.each([
    ['I is 0', {}],
    ['V is 0', { V: 0, I: 1 }],
    ['TV is 0', { TV: 0, I: 1 }],
  ])('refuses translation requests where %s', (_what, fields) => {
    const rig = new Rig()
    rig.withHost(fields)
    expect(rig.fault(ATS)).toMatchObject({ name: 'INVALID_DEVICE_REQUEST', response: 'unsupported-request' })
    expect(rig.logged()).toEqual([{ event: 'INVALID_DEVICE_REQUEST', DeviceID: DEVICE, TR: 1, Address: 0x4000_0000 }])
  })

  it('refuses a translation request of a device without an entry', () => {
    const rig = new Rig()
    expect(rig.fault({ ...ATS, device: 0x300 })).toMatchObject({ name: 'INVALID_DEVICE_REQUEST' })
  })

  it('answers with a completer abort where the tables cannot be read', () => {
    const rig = new Rig()
    rig.dte({ I: 1, Mode: 4, HostPageTableRootPtr: 0x80_0000_0000n })
    expect(rig.fault(ATS)).toMatchObject({ name: 'PAGE_TAB_HARDWARE_ERROR', response: 'completer-abort' })
    expect(rig.logged()).toMatchObject([{ TR: 1 }])
  })

  it('answers as it passes other requests: mode 0, and the exclusion range', () => {
    const rig = new Rig()
    rig.dte({ I: 1, IW: 0 })
    expect(rig.translate({ ...ATS, access: 'write' })).toMatchObject({ ok: true, pa: 0x4000_0000n, rights: UR })
    rig.dte({ I: 1, IR: 0, IW: 0 }, 1)
    expect(rig.fault({ ...ATS, device: 1 })).toMatchObject({ response: 'no-access' })
    rig.set(REG.EXCL_LIMIT, 0x4000_0000)
    rig.set(REG.EXCL_BASE, 0x4000_0003)
    expect(rig.translate({ ...ATS, device: 1 })).toMatchObject({ ok: true, pa: 0x4000_0000n, rights: ALL_RIGHTS })
  })

  it('lets translated requests pass for devices with ATS, and no others', () => {
    const rig = new Rig()
    rig.withHost({ I: 1 })
    expect(rig.dma({ kind: 'translated', iova: 0x1234_5678n })).toBe(0x1234_5678n)
    expect(rig.fault({ device: 2, kind: 'translated' })).toMatchObject({ name: 'INVALID_DEVICE_REQUEST', response: 'abort' })
    expect(rig.logged()).toEqual([{ event: 'INVALID_DEVICE_REQUEST', DeviceID: 2, Type: 1, Address: 0x4000_0000 }])
  })
})
