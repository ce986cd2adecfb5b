/** Other messages of an IOMMU's driver: those that tell of trouble, by their words. What is only informative is no report. */
import type { LineFeed } from './feed.ts'
import type { Findings, LogParser } from './parser.ts'
import { type LogArch, type OpenReport, pciOf, reportOf } from './report.ts'

const TAGS: readonly (readonly [tag: RegExp, arch: LogArch])[] = [
  [/(?:^|[\s\]])(?:DMAR|DMAR-IR)(?:: | ?\[)(.*)$/, 'intel-vtd'],
  [/(?:^|\s)AMD-Vi: ?(?:AMD-Vi: ?)?(.*)$/, 'amd-vi'],
  [/(?:^|\s)arm-smmu-v3(?: [\w.@:-]+)?: (.*)$/, 'arm-smmuv3'],
  [/(?:^|\s)tegra241_cmdqv(?: [\w.@:-]+)?: (.*)$/, 'arm-smmuv3'],
  [/(?:^|\s)arm-smmu(?: [\w.@:-]+)?: (.*)$/, 'arm-smmuv2'],
  [/(?:^|\s)riscv[,_-]iommu[\w-]*(?: [\w.@:-]+)?: (.*)$/, 'riscv-iommu'],
]
const SUPPRESSED = /\b(\w+): (\d{1,9}) callbacks suppressed/
const TROUBLE =
  /\b(?:error|errors|fail(?:ed|ure|s)?|cannot|can't|unable|timeout|timed out|time-out|inconsistent|invalid|illegal|overflow|aborted?|Firmware Bug|BIOS Bug|could be serious|not supported|unsupported|unexpected|already set|mismatch|corrupt\w*|bogus|disabling|broken|unresponsive|stuck|lost|missing|conflict\w*|not in IVRS|restarting)\b/i
// Announcements that have such words.
const HARMLESS =
  /\b(?:Enabled|enabled|Using|Adding|using|features:|Found|ias \d|allocated|Default domain|No ATSR found|host address width)\b/
const FEATURE = /^(?:dmar\d+: )?(IOMMU feature (\w+) inconsistent)/i
const BY_FUNCTION: readonly (readonly [name: RegExp, arch: LogArch])[] = [
  [/^dmar_fault|dmar|intel|qi_|prq/, 'intel-vtd'],
  [/amd_iommu|iommu_print_event|iommu_poll|report_page_fault/, 'amd-vi'],
  [/arm_smmu_(?:global|context|testbus|fault)|qcom_/, 'arm-smmuv2'],
  [/arm_smmu/, 'arm-smmuv3'],
  [/riscv_iommu/, 'riscv-iommu'],
]

export class OtherParser implements LogParser {
  readonly arch = 'intel-vtd'
  private readonly findings: Findings

  constructor(findings: Findings) {
    this.findings = findings
  }

  take(feed: LineFeed): boolean {
    const { text, number: line } = feed.line
    const suppressed = SUPPRESSED.exec(text)
    if (suppressed !== null) {
      const arch = BY_FUNCTION.find(([name]) => name.test(suppressed[1]!))?.[1]
      if (arch !== undefined) this.findings.suppress(arch, Number(suppressed[2]))
      return arch !== undefined
    }
    for (const [tag, arch] of TAGS) {
      const match = tag.exec(text)
      if (match === null) continue
      const message = match[1]!.trim()
      if (!TROUBLE.test(message) || HARMLESS.test(message)) return false
      this.findings.add(arch, line, otherReport(message, text))
      return true
    }
    return false
  }
}

function otherReport(message: string, text: string): OpenReport {
  const feature = FEATURE.exec(message)
  if (feature !== null) return reportOf('other', { name: feature[1]!, fields: { feature: feature[2] } })
  // A device of another driver in front of the tag is who it is about.
  const device = /^(?!iommu |arm-smmu)[\w-]+ ((?:[0-9a-f]{4}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]): /i.exec(text)
  return reportOf('other', { name: message.replace(/[.!]+$/, ''), device: pciOf(device?.[1]) })
}
