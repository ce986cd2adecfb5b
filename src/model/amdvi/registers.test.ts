import { describe, expect, it } from 'vitest'
import { FULL_EXT_FEATURE, REG } from '../../format/amdvi/registers.ts'
import { AmdIommu } from './iommu.ts'
import { DEVICE, efr, Rig } from './rig.suite.ts'

describe('AMD-Vi registers', () => {
  it('says what it can do, and lets software change nothing of it', () => {
    const rig = new Rig()
    expect(rig.iommu.read(REG.EXT_FEATURE, 8)).toBe(FULL_EXT_FEATURE)
    rig.set(REG.EXT_FEATURE, 0)
    expect(rig.iommu.read(REG.EXT_FEATURE, 8)).toBe(FULL_EXT_FEATURE)
  })

  it('reads and writes halves of a register', () => {
    const rig = new Rig()
    rig.iommu.write(REG.EXCL_LIMIT, 4, 0xffff_ffffn)
    rig.iommu.write(REG.EXCL_LIMIT + 4, 4, 0xffff_ffffn)
    expect(rig.iommu.read(REG.EXCL_LIMIT, 8)).toBe(0xf_ffff_ffff_f000n)
    expect(rig.iommu.read(REG.EXCL_LIMIT + 4, 4)).toBe(0xf_ffffn)
  })

  it('reads 0, and ignores writes, where there is no register or the access is not aligned', () => {
    const rig = new Rig()
    for (const [offset, bytes] of [
      [0x3ff8, 8],
      [0x4000, 8],
      [REG.CONTROL + 4, 8],
      [-8, 8],
      [2, 4],
    ] as const) {
      rig.iommu.write(offset, bytes, 0xffff_ffffn)
      expect(rig.iommu.read(offset, bytes)).toBe(0n)
    }
  })

  it('keeps controls of what is not there at 0', () => {
    const rig = new Rig({ efr: efr({ PPRSup: 0, GTSup: 0, GASup: 0, XTSup: 0, DevTblSegSup: 0 }) })
    rig.set(REG.CONTROL, 0xffff_ffff_ffff_ffffn)
    const control = rig.iommu.read(REG.CONTROL, 8)
    for (const bit of [13, 14, 15, 16, 17, 25, 28, 34, 40, 50, 51, 52, 53])
      expect([bit, (control >> BigInt(bit)) & 1n]).toEqual([bit, 0n])
    for (const bit of [0, 2, 3, 4, 12]) expect([bit, (control >> BigInt(bit)) & 1n]).toEqual([bit, 1n])
    rig.set(REG.PPR_LOG_BASE, (9n << 56n) | 0x1000n)
    expect(rig.get(REG.PPR_LOG_BASE)).toBe(0)
    rig.set(REG.DEV_TAB_SEG1, 0x1000)
    expect(rig.get(REG.DEV_TAB_SEG1)).toBe(0)
  })

  it('says what runs', () => {
    const rig = new Rig({}, { IommuEn: 0 })
    expect(rig.get(REG.STATUS)).toBe(0)
    rig.control()
    expect(rig.get(REG.STATUS)).toBe(0x98)
    rig.control({ CmdBufEn: 0, PPREn: 0 })
    expect(rig.get(REG.STATUS)).toBe(8)
  })

  it('clears both pointers with a base register, which stands while its ring runs', () => {
    const rig = new Rig()
    const base = rig.get(REG.EVT_LOG_BASE)
    rig.set(REG.EVT_LOG_BASE, (9n << 56n) | 0x2000n)
    expect(rig.get(REG.EVT_LOG_BASE)).toBe(base)
    rig.control({ EventLogEn: 0 })
    rig.set(REG.EVT_TAIL, 0x20)
    rig.set(REG.EVT_HEAD, 0x10)
    expect([rig.get(REG.EVT_TAIL), rig.get(REG.EVT_HEAD)]).toEqual([0x20, 0x10])
    rig.set(REG.EVT_LOG_BASE, (9n << 56n) | 0x2000n)
    expect(rig.iommu.read(REG.EVT_LOG_BASE, 8)).toBe((9n << 56n) | 0x2000n)
    expect([rig.get(REG.EVT_TAIL), rig.get(REG.EVT_HEAD)]).toEqual([0, 0])
  })

  it('ignores lengths below 256 entries, and pointers beyond the ring', () => {
    const rig = new Rig({}, { IommuEn: 0 })
    const base = rig.iommu.read(REG.CMD_BUF_BASE, 8)
    rig.set(REG.CMD_BUF_BASE, (7n << 56n) | 0x2000n)
    expect(rig.iommu.read(REG.CMD_BUF_BASE, 8)).toBe(base)
    rig.set(REG.CMD_TAIL, 0x1000)
    expect(rig.get(REG.CMD_TAIL)).toBe(0)
    rig.set(REG.CMD_TAIL, 0xff8)
    expect(rig.get(REG.CMD_TAIL)).toBe(0xff0)
  })

  it('does not let software move the pointers that the IOMMU moves', () => {
    const rig = new Rig()
    rig.set(REG.CMD_HEAD, 0x10)
    rig.set(REG.EVT_TAIL, 0x10)
    expect([rig.get(REG.CMD_HEAD), rig.get(REG.EVT_TAIL)]).toEqual([0, 0])
  })

  it('finds entries in segments of the device table', () => {
    const rig = new Rig({}, { DevTblSegEn: 1 })
    const segment = rig.page()
    rig.set(REG.DEV_TAB_SEG1, segment)
    rig.memory.write64(segment + 32, 0x2000_0000_0000_0003n)
    expect(rig.dma({ device: 0x8001 })).toBe(0x4000_0000n)
    expect(rig.dma({ device: 0x8001, access: 'write' })).toBe('IO_PAGE_FAULT')
    expect(rig.dma({ device: 0x8080 })).toBe('IO_PAGE_FAULT')
  })

  it('ignores more segments than there may be', () => {
    const rig = new Rig({ efr: efr({ DevTblSegSup: 1 }) })
    rig.control({ DevTblSegEn: 2 })
    expect((rig.iommu.read(REG.CONTROL, 8) >> 34n) & 7n).toBe(0n)
    rig.control({ DevTblSegEn: 1 })
    expect((rig.iommu.read(REG.CONTROL, 8) >> 34n) & 7n).toBe(1n)
  })

  it('takes over the registers of a real machine', () => {
    const rig = new Rig()
    const { pa } = rig.withHost()
    const names = ['DEV_TAB_BASE', 'CONTROL', 'CMD_BUF_BASE', 'EVT_LOG_BASE', 'STATUS'] as const
    const captured = Object.fromEntries(names.map((name) => [name, rig.iommu.read(REG[name], 8)]))
    const other = new AmdIommu(rig.memory)
    other.loadRegisters({ ...captured, EXT_FEATURE: 0x29d7n, UNKNOWN: 1n })
    expect(other.translate({ device: DEVICE, iova: 0x4000_0000n, access: 'read' })).toMatchObject({ ok: true, pa: BigInt(pa) })
    expect(other.read(REG.STATUS, 8)).toBe(captured.STATUS)
    expect(other.features.pasidBits).toBe(1)
    other.loadRegisters({ STATUS: 8n })
    expect(other.read(REG.STATUS, 8) & 0x10n).toBe(0n)
  })

  it('sends an interrupt when what is pending is enabled', () => {
    const rig = new Rig({}, { EventIntEn: 0 })
    rig.withHost()
    rig.fault({ iova: 0x5000_0000n })
    expect(rig.interrupts).toEqual([])
    rig.control()
    expect(rig.interrupts).toEqual(['EventLogInt'])
    rig.fault({ iova: 0x5000_0000n })
    expect(rig.interrupts).toHaveLength(1)
    rig.set(REG.STATUS, 2)
    rig.fault({ iova: 0x5000_0000n })
    expect(rig.interrupts).toHaveLength(2)
  })

  it('refuses devices, PASIDs and messages that are none', () => {
    const rig = new Rig()
    expect(() => rig.dma({ device: 0x10000 })).toThrow('DeviceID')
    expect(() => rig.dma({ pasid: 0x100000 })).toThrow('PASID')
    expect(() => rig.iommu.interrupt({ device: DEVICE, address: 0xfee0_0000n, data: -1 })).toThrow('data -1')
  })
})
