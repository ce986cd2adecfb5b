import { describe, expect, it } from 'vitest'
import { explainFindings } from './explanation.ts'
import { MESSAGES } from './logs.suite.ts'
import { parseLog } from './parse.ts'
import { readPciIds } from './pci-ids.ts'

const explain = (text: string) => explainFindings(parseLog(text))
const vtd = (device: string, reason: string, address = '0xdceff000') =>
  `DMAR: [DMA Read NO_PASID] Request device [${device}] fault addr ${address} [fault reason ${reason}]`

describe('explanations', () => {
  it('every kind of message has a headline and says what it means', () => {
    for (const message of MESSAGES) {
      const [told] = explain(message)
      expect(told!.headline, message).not.toBe('')
      expect(told!.meaning, message).not.toBeNull()
      expect(told!.meaning, message).not.toMatch(/undefined|null|NaN/)
      expect(told!.causes.length, message).toBeGreaterThan(0)
    }
  })

  it('a function that the log does not list is an alias, or hidden', () => {
    const list = 'pci 0000:03:00.0: [1b4b:9125] type 00 class 0x010601\n'
    expect(explain(list + vtd('03:00.1', '0x02'))[0]!.causes[0]).toMatch(/does not exist.*0000:03:00\.0 does: a DMA alias/)
    expect(explain(vtd('03:00.1', '0x02'))[0]!.next[0]).toMatch(/whether lspci lists 03:00\.1/)
    expect(explain(list + vtd('03:00.0', '0x02'))[0]!.causes.join()).not.toContain('does not exist')
  })

  it('a context entry that is missing makes the address unimportant', () => {
    expect(explain(vtd('03:00.0', '0x02'))[0]!.remarks.join()).toContain('whether the address is mapped plays no part')
  })

  it('a hidden function at an address like those of memory may be firmware; one of the DMA API is not', () => {
    const [told] = explain(vtd('00:12.4', '0x02', '0xb7fff000'))
    expect(told!.causes).toContainEqual(expect.stringMatching(/a function that it hides.*RMRR/))
    expect(told!.next).toContainEqual(expect.stringContaining('boot memory map'))
    expect(explain(vtd('03:00.1', '0x02', '0xfffc0000'))[0]!.causes.join()).not.toContain('RMRR')
    expect(explain(vtd('03:00.0', '0x02', '0xb7fff000'))[0]!.causes.join()).not.toContain('RMRR')
  })

  it('an address that the boot memory map has as reserved is memory of firmware', () => {
    const map = 'BIOS-e820: [mem 0x00000000dce00000-0x00000000dcffffff] reserved\n'
    const [told] = explain(map + vtd('03:00.0', '0x06'))
    expect(told!.address!.kinds[0]).toMatchObject({ kind: 'known-region', confidence: 'high' })
    expect(told!.causes[0]).toMatch(/^firmware, or the device's own firmware/)
  })

  it('a page that is mapped without the permission is a direction mismatch', () => {
    const text = 'nvme 0000:01:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x000c address=0xffffc000 flags=0x0050]'
    expect(explain(text)[0]!.causes[0]).toContain('mapped for writes by the device (DMA_FROM_DEVICE)')
  })

  it('a device table entry is judged, and what it needs is said', () => {
    const entry = (
      second: string,
    ) => `AMD-Vi: Event logged [ILLEGAL_DEV_TABLE_ENTRY device=06:00.0 pasid=0x00000 address=0x1000 flags=0x0080]
AMD-Vi: DTE[0]: ${second}
AMD-Vi: DTE[1]: 0000100103fc0009
AMD-Vi: DTE[2]: 2000000117840013
AMD-Vi: DTE[3]: 0000000000000000`
    expect(explain(entry('7d90000000000e03'))[0]!.causes[0]).toContain('Mode is 7, which is reserved')
    expect(explain(entry('7d90000000000003'))[0]!.remarks.join()).toContain('the entry uses PPR')
  })

  it("a page fault as QEMU's AMD IOMMU writes it is no interrupt, and has no address", () => {
    const fault = (domain: string, address: string, flags: string) =>
      `AMD-Vi: Event logged [IO_PAGE_FAULT device=00:06.0 domain=${domain} address=${address} flags=${flags}]`
    const [write] = explain(fault('0x0000', '0x0', '0x000a'))
    expect(write!.causes).toEqual([expect.stringMatching(/QEMU: a write by DMA .* no interrupt/)])
    expect(write!.address!.kinds).toEqual([])
    expect(explain(fault('0x0000', '0x0', '0x0009'))[0]!.causes).toEqual([expect.stringContaining('a read by DMA')])
    for (const other of [fault('0x0055', '0xfffffffdf8000000', '0x0008'), fault('0x0000', '0x0', '0x0020')])
      expect(explain(other)[0]!.causes.join()).not.toContain('QEMU')
  })

  it('a doorbell is called one', () => {
    const text =
      'arm-smmu-v3 1.iommu: event: F_TRANSLATION client: 0000:01:00.0 sid: 0x100 ssid: 0x0 iova: 0xffffe040 ipa: 0x0\narm-smmu-v3 1.iommu: unpriv data write s1 "Input address caused fault" stag: 0x0'
    expect(explain(text)[0]!.causes[0]).toMatch(/^an MSI: the page of the doorbell is not mapped/)
  })

  it('a descriptor names the device that may not have answered', () => {
    const text =
      'DMAR: VT-d detected Invalidation Time-out Error: SID 0\nDMAR: QI PRIOR: Device-TLB Invalidation qw0 = 0x5300530000000003, qw1 = 0x7ffffffffffff001'
    expect(explain(text)[0]!.remarks.join()).toContain('invalidates the TLB of 0000:53:00.0')
  })

  it('lost faults are said to be lost', () => {
    const text = `dmar_fault: 7 callbacks suppressed\nDMAR: DRHD: handling fault status reg 3\n${vtd('03:00.0', '0x06')}`
    expect(explain(text)[0]!.remarks.join()).toMatch(/7 earlier messages.*PFO is set/)
  })

  it('what is not known is said to be unknown', () => {
    const [told] = explain('DMAR: something strange failed')
    expect(told).toMatchObject({ meaning: 'what this message means in detail is not known here', causes: [] })
    expect(explain(vtd('03:00.0', '0x77'))[0]!.meaning).toContain('0x77')
    expect(explain(vtd('03:00.0', '0xee'))[0]!.meaning).toContain('unknown to VT-d')
  })
})

describe('names of PCI devices', () => {
  const names = readPciIds(
    '# comment\n8086  Intel Corporation\n\t1e31  xHCI Controller\n\t\t17aa 21f3  Subsystem\n1b4b  Marvell\nC 01  Mass storage\n\t00  SCSI\n',
  )
  it('by vendor and device, as far as they are known', () => {
    expect(names.name('8086:1e31')).toBe('Intel Corporation xHCI Controller')
    expect(names.name('8086:ffff')).toBe('Intel Corporation')
    expect(names.name('1b4b:1e31')).toBe('Marvell')
    expect(names.name('ffff:0000')).toBeNull()
  })
})
