/** Lines as drivers print them, with made-up devices and addresses: one example of each form, for the tests. */
import { parseLog } from './parse.ts'
import type { Report } from './report.ts'

/** The reports of a text. */
export function reportsOf(text: string): Report[] {
  return parseLog(text).findings.map(({ report }) => report)
}

/** The only report of a text. */
export function reportOfText(text: string): Report {
  const reports = reportsOf(text)
  if (reports.length !== 1) throw new Error(`${reports.length} reports: ${JSON.stringify(reports)}`)
  return reports[0]!
}

/** Messages of one line or several, each one event. */
export const MESSAGES: readonly string[] = [
  'DMAR: [DMA Write NO_PASID] Request device [0a:00.3] fault addr 0xfffe1000 [fault reason 0x05] PTE Write access is not set',
  'DMAR: [DMA Read PASID 0x1a] Request device [0a:00.3] fault addr 0x7f0000001000 [fault reason 0x71] SM: Present bit in first-level paging entry is clear',
  'DMAR: [DMA Read] Request device [0a:00.3] PASID ffffffff fault addr 8abcd000 [fault reason 06] PTE Read access is not set',
  'DMAR: [INTR-REMAP] Request device [0a:00.3] fault index 0x12 [fault reason 0x22] Present field in the IRTE entry is clear',
  'DMAR:[DMA Read] Request device [0a:00.3] fault addr 8abcd000\nDMAR:[fault reason 06] PTE Read access is not set',
  'DMAR: VT-d detected Invalidation Completion Error: SID a00',
  'dmar3: Invalid page request: 0000001000a00101 00000000abcd0003',
  'nvme 0000:0a:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x0011 address=0xfffe1000 flags=0x0020]',
  'AMD-Vi: Event logged [\nIO_PAGE_FAULT device=0a:00.0 domain=0x0011 address=0x00000000fffe1000 flags=0x0050]',
  'iommu ivhd1: AMD-Vi: Event logged [INVALID_DEVICE_REQUEST device=0000:0a:00.0 pasid=0x00000 address=0xfdf8000010 flags=0x0a00]',
  'AMD-Vi: Completion-Wait loop timed out',
  'arm-smmu-v3 1000000.iommu: event 0x10 received:\narm-smmu-v3 1000000.iommu: 0x00000a0000000010\narm-smmu-v3 1000000.iommu: 0x0000020800000000\narm-smmu-v3 1000000.iommu: 0x00000000fffe1000\narm-smmu-v3 1000000.iommu: 0x0000000000000000',
  'arm-smmu-v3 1000000.iommu: event: C_BAD_STE client: (unassigned sid) sid: 0xa00 ssid: 0x0',
  'arm-smmu-v3 1000000.iommu: CMD_SYNC timeout at 0x00000017 [hwprod 0x00000019, hwcons 0x00000016]',
  'arm-smmu 2000000.iommu: Unhandled context fault: fsr=0x402, iova=0xfffe1000, fsynr=0x11, cbfrsynra=0xa00, cb=3',
  'arm-smmu 2000000.iommu: Unexpected global fault, this could be serious\narm-smmu 2000000.iommu: GFSR 0x00000001, GFSYNR0 0x00000002, GFSYNR1 0x00000a00, GFSYNR2 0x00000000',
  'riscv-iommu 0000:00:01.0: Fault 13 devid: 0xa00 iotval: fffe1000 iotval2: 0',
  'idxd 0000:0a:01.0: Unable to turn on user SVA feature.',
]
