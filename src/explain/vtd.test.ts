import { describe, expect, it } from 'vitest'
import { reportOfText, reportsOf } from './logs.suite.ts'

describe('VT-d fault records', () => {
  const expected = { kind: 'dma-fault', device: '0000:0a:00.3', pasid: null, address: '0x8abcd000', access: 'read', code: 6 }

  it.each([
    [
      'with and without PASID, in hexadecimal',
      '[DMA Read NO_PASID] Request device [0a:00.3] fault addr 0x8abcd000 [fault reason 0x06] PTE Read access is not set',
    ],
    [
      'with 0x in the device',
      '[DMA Read NO_PASID] Request device [0x0a:0x00.3] fault addr 0x8abcd000 [fault reason 0x06] PTE Read access is not set',
    ],
    [
      'with a PASID of all ones',
      '[DMA Read] Request device [0a:00.3] PASID ffffffff fault addr 8abcd000 [fault reason 06] PTE Read access is not set',
    ],
    ['before PASIDs', '[DMA Read] Request device [0a:00.3] fault addr 8abcd000 [fault reason 06] PTE Read access is not set'],
    ['without a name', '[DMA Read] Request device [0a:00.3] fault addr 8abcd000 [fault reason 06]'],
  ])('%s', (_, text) => {
    expect(reportOfText(`[    1.000000] DMAR: ${text}`)).toMatchObject({ ...expected, name: 'PTE Read access is not set' })
  })

  it('in two lines, with others between them', () => {
    const text = `[ 1.0] DMAR:[DMA Read] Request device [0a:00.3] fault addr 8abcd000
[ 1.1] usb 1-1: reset high-speed USB device
[ 1.2] DMAR:[fault reason 06] PTE Read access is not set`
    expect(reportOfText(text)).toMatchObject(expected)
  })

  it('in several lines of a wrapped mail, the name too', () => {
    const text = `> DMAR: [DMA Read] Request device [0a:00.3] PASID 2a
>     fault addr 8abcd000
> [fault reason 06] PTE Read access
> is not set
> and so on`
    expect(reportOfText(text)).toMatchObject({ ...expected, pasid: 0x2a, name: 'PTE Read access is not set' })
  })

  it('of Xen, where reasons are hexadecimal', () => {
    const text = `(XEN) [VT-D]DMAR:[DMA Write] Request device [0000:0a:00.3] fault addr 8abcd000, iommu reg = ffff82c000203000
(XEN) [VT-D]DMAR: reason 0c - non-zero reserved fields in PTE`
    expect(reportOfText(text)).toMatchObject({ ...expected, access: 'write', code: 12, name: 'non-zero reserved fields in PTE' })
  })

  it('of which the reason is cut off: what is there is told', () => {
    expect(reportOfText('DMAR: [DMA Read NO_PASID] Request device [0a:00.3] fault addr 0x8abcd000')).toMatchObject({
      ...expected,
      code: null,
      name: null,
    })
  })

  it('have the status of the line before them, and no other', () => {
    const record =
      'DMAR: [DMA Read NO_PASID] Request device [0a:00.3] fault addr 0x8abcd000 [fault reason 0x06] PTE Read access is not set'
    const [first, second] = reportsOf(`DMAR: DRHD: handling fault status reg 303\n${record}\n${record}`)
    expect(first!.fields).toMatchObject({ fault_status: 0x303, fault_status_flags: ['PFO', 'PPF'], fault_record_index: 3 })
    expect(second!.fields).toEqual({ failed_at: 'page-table' })
    expect(reportsOf('DMAR: DRHD: handling fault status reg 3')).toEqual([])
  })

  it('know how many were suppressed before them', () => {
    const text = `dmar_fault: 29 callbacks suppressed
DMAR: [DMA Read NO_PASID] Request device [0a:00.3] fault addr 0x8abcd000 [fault reason 0x06] PTE Read access is not set`
    expect(reportOfText(text).fields.suppressed_messages).toBe(29)
  })

  it('of codes that nobody named keep their number', () => {
    expect(reportOfText('DMAR: [DMA Read] Request device [0a:00.3] fault addr 0 [fault reason 119] Unknown')).toMatchObject({
      code: 119,
      name: 'Unknown',
    })
  })

  it('are followed by the table entries of the address', () => {
    const text = `DMAR: [DMA Read NO_PASID] Request device [0a:00.3] fault addr 0x8abcd000 [fault reason 0x06] PTE Read access is not set
DMAR: Dump dmar2 table entries for IOVA 0x8abcd000
DMAR: root entry: 0x0000000123456001
DMAR: context entry: hi 0x0000000000000102, low 0x0000000123457001
DMAR: pte level: 4, pte value: 0x0000000000000000`
    expect(reportOfText(text).fields).toMatchObject({ iommu: 'dmar2', entries: { length: 3 } })
  })
})

describe('VT-d interrupt faults', () => {
  it.each([
    [
      '[INTR-REMAP] Request device [0a:00.3] fault index 3b [fault reason 38] Blocked an interrupt request due to source-id verification failure',
      0x3b,
      38,
    ],
    [
      '[INTR-REMAP] Request device [0a:00.3] fault index 0x12 [fault reason 0x22] Present field in the IRTE entry is clear',
      0x12,
      0x22,
    ],
  ])('%s', (text, index, code) => {
    const report = reportOfText(`DMAR: ${text}`)
    expect(report).toMatchObject({ kind: 'interrupt-fault', device: '0000:0a:00.3', address: null, access: null, code })
    expect(report.fields.fault_index).toBe(index)
  })

  it('in two lines, of kernels of before 2016 and of Xen', () => {
    const old =
      'INTR-REMAP: Request device [[0a:00.3] fault index 2f\nINTR-REMAP:[fault reason 34] Present field in the IRTE entry is clear'
    const xen =
      '(XEN) [VT-D]INTR-REMAP: Request device [0000:0a:00.3] fault index 2f\n(XEN) [VT-D]INTR-REMAP: reason 22 - Present field in the IRTE entry is clear'
    for (const text of [old, xen]) {
      const report = reportOfText(text)
      expect(report).toMatchObject({ kind: 'interrupt-fault', code: 0x22, name: 'Present field in the IRTE entry is clear' })
      expect(report.fields.fault_index).toBe(0x2f)
    }
  })
})

describe('VT-d invalidation errors', () => {
  it('name the device where the hardware reports one', () => {
    const report = (sid: string) => reportOfText(`DMAR: VT-d detected Invalidation Time-out Error: SID ${sid}`)
    expect(report('5300')).toMatchObject({ kind: 'invalidation-timeout', device: '0000:53:00.0' })
    expect(report('0')).toMatchObject({ device: null, fields: { source_id: '0x0' } })
    expect(report('ffff')).toMatchObject({ device: null, fields: { source_id: '0xffff' } })
  })

  it('are one report with their descriptors and with the line that clears them', () => {
    const text = `DMAR: VT-d detected Invalidation Queue Error: Reason 3
DMAR: QI HEAD: UNKNOWN qw0 = 0x1f, qw1 = 0x0
DMAR: QI PRIOR: IOTLB Invalidation qw0 = 0x2, qw1 = 0x0
DMAR: Invalidation Queue Error (IQE) cleared`
    const report = reportOfText(text)
    expect(report).toMatchObject({ kind: 'invalidation-error', name: 'Invalidation Queue Error' })
    expect(report.fields).toMatchObject({ reason: 3, reason_meaning: 'invalid descriptor type', queue_head: ['0x1f', '0x0'] })
  })

  it('that come together are told one by one, and cleared together', () => {
    const text = `DMAR: VT-d detected Invalidation Time-out Error: SID ffff
DMAR: VT-d detected Invalidation Completion Error: SID ffff
DMAR: Invalidation Time-out Error (ITE) cleared
DMAR: Invalidation Completion Error (ICE) cleared`
    expect(reportsOf(text).map(({ name }) => name)).toEqual(['Invalidation Time-out Error', 'Invalidation Completion Error'])
    expect(reportsOf('DMAR: Invalidation Time-out Error (ITE) cleared')).toHaveLength(1)
  })

  it('that only the status tells are told once', () => {
    const status = 'DMAR: DRHD: handling fault status reg 40\n'
    expect(reportsOf(status + status)).toMatchObject([{ kind: 'invalidation-timeout', fields: { fault_status_flags: ['ITE'] } }])
    expect(reportsOf(`${status}DMAR: VT-d detected Invalidation Time-out Error: SID 0`)).toHaveLength(1)
  })
})

describe('page requests that VT-d refuses', () => {
  it('are decoded where their words are printed', () => {
    const report = reportOfText(
      'IOMMU: dmar3: Page request without PASID: 0000001000a00001 00000000abcd0003\ndmar3: Invalid page request: 0000001000a00001 00000000abcd0003',
    )
    expect(report).toMatchObject({
      kind: 'page-request',
      device: '0000:00:14.0',
      pasid: null,
      address: '0xabcd0000',
      access: 'write',
    })
    expect(report.fields).toMatchObject({ iommu: 'dmar3', response: 'invalid' })
  })
})

describe('QEMU', () => {
  it('says in two lines why its VT-d refuses, and who it was', () => {
    const text = `qemu-system-x86_64: vtd_iova_to_slpte: detected slpte permission error (iova=0x7ffde000, level=0x3, slpte=0x0, write=1)
qemu-system-x86_64: vtd_iommu_translate: detected translation failure (dev=0a:00:03, iova=0x7ffde000)
qemu-system-x86_64: New fault is not recorded due to compression of faults`
    expect(reportOfText(text)).toMatchObject({
      kind: 'dma-fault',
      device: '0000:0a:00.3',
      address: '0x7ffde000',
      access: 'write',
    })
  })
})
