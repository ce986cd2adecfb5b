import { describe, expect, it } from 'vitest'
import { reportOfText, reportsOf } from './logs.suite.ts'
import { parseLog } from './parse.ts'

describe('RISC-V', () => {
  it.each([
    [1, 'execute', 'dma-fault', 'Instruction access fault'],
    [13, 'read', 'dma-fault', 'Read page fault'],
    [23, 'write', 'dma-fault', 'Write/AMO guest-page fault'],
    [258, null, 'config', 'DDT entry not valid'],
    [262, null, 'interrupt-fault', 'MSI PTE not valid'],
    [273, null, 'interrupt-fault', 'IOMMU MSI write access fault'],
  ])('cause %i', (cause, access, kind, name) => {
    const text = `riscv-iommu 0000:00:01.0: Fault ${cause} devid: 0xa00 iotval: fffe1000 iotval2: 0`
    expect(reportOfText(text)).toMatchObject({ kind, device: 'sid:0xa00', address: '0xfffe1000', access, code: cause, name })
  })

  it('a guest page fault has its guest physical address', () => {
    const { fields } = reportOfText('Fault 21 devid: 0xa00 iotval: 1000 iotval2: 80001001')
    expect(fields).toMatchObject({ iotval2: '0x80001001', gpa: '0x80001000', implicit: true })
  })

  it('causes that are told of count where there is no message', () => {
    expect(reportOfText('we get IOMMU fault 13 under load')).toMatchObject({ code: 13, device: null })
    expect(reportOfText('iommu: cause=258 did=0x10 iova=0x1000')).toMatchObject({
      code: 258,
      device: 'sid:0x10',
      address: '0x1000',
    })
    expect(reportsOf('Fault 13 devid: 0xa00 iotval: 1000 iotval2: 0\nso the IOMMU says cause 13')).toHaveLength(1)
    expect(reportsOf('fault 13 of a program that is none of ours')).toEqual([])
  })
})

describe('shared virtual addressing', () => {
  it('that is refused is a report of the device', () => {
    expect(reportOfText('idxd 0000:0a:01.0: Unable to turn on user SVA feature.')).toMatchObject({
      kind: 'sva-unavailable',
      device: '0000:0a:01.0',
      name: 'Unable to turn on user SVA feature',
      fields: { driver: 'idxd' },
    })
  })
})

describe('other messages', () => {
  it('of an IOMMU driver are reports where they tell of trouble', () => {
    expect(reportsOf('DMAR: IOMMU feature pasid inconsistent\nDMAR: Host address width 46\nDMAR: IOMMU enabled')).toMatchObject([
      { kind: 'other', name: 'IOMMU feature pasid inconsistent', fields: { feature: 'pasid' } },
    ])
    expect(reportsOf('[Firmware Bug]: AMD-Vi: IOAPIC[33] not in IVRS table\nAMD-Vi: Interrupt remapping enabled')).toHaveLength(1)
  })

  it('of other drivers are none', () => {
    const others = [
      'nvme nvme0: I/O 5 QID 1 timeout, aborting',
      'xhci_hcd 0000:00:14.0: ERROR Transfer event for disabled endpoint',
    ]
    expect(reportsOf(others.join('\n'))).toEqual([])
  })
})

describe('sources and patches that a mail quotes', () => {
  it('are no messages', () => {
    expect(
      reportsOf(`+ dev_err(smmu->dev, "Unhandled context fault: fsr=0x%x, iova=0x%08lx, fsynr=0x%x, cbfrsynra=0x%x, cb=%d",
- dev_err(dev, "Event logged [IO_PAGE_FAULT device=%02x:%02x.%x domain=0x%04x address=0x%llx flags=0x%04x]",
+ pr_err("VT-d detected Invalidation Time-out Error: SID %llx",`),
    ).toEqual([])
  })
})

describe('what a log tells beside its reports', () => {
  it('memory that is reserved, devices and their drivers', () => {
    const { context } = parseLog(`BIOS-e820: [mem 0x0000000069400000-0x000000006b2fefff] reserved
DMAR: RMRR base: 0x0000007b800000 end: 0x0000007fffffff
pci 0000:0a:00.0: [1234:5678] type 00 class 0x020000
some_nic 0000:0a:00.0: enabling device`)
    expect(context.ranges.map(({ first, last, ram }) => [first, last, ram])).toEqual([
      [0x69400000n, 0x6b2fefffn, false],
      [0x7b800000n, 0x7fffffffn, false],
    ])
    expect(context.enumerated).toBe(true)
    expect(context.devices.get('0000:0a:00.0')).toEqual({ ids: '1234:5678', driver: 'some_nic' })
  })
})
