/** Messages that say why shared virtual addressing is not to be had, of whatever driver. */
import type { LineFeed } from './feed.ts'
import type { Findings, LogParser } from './parser.ts'
import { type LogArch, pciOf, reportOf } from './report.ts'

const PREFIX = /^(?:([\w-]+) )?((?:[0-9a-f]{4}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]|[\w.:-]+): (.*)$/i
const REFUSED =
  /\b(Unable to turn on (?:user )?SVA feature|User forced SVA off via module param|(?:Failed|Unable|unable|failed|cannot|can't) [\w ]*\b(?:SVA|PASID|IOPF|PRI)\b[^;]*|\bSVA\b[\w ]*(?:not supported|not available|disabled|unavailable|failed)[^;]*|No in-kernel DMA with PASID[^;]*)/

export class SvaParser implements LogParser {
  /** Where nothing else tells the architecture. */
  readonly arch: LogArch
  private readonly findings: Findings

  constructor(findings: Findings) {
    this.findings = findings
    this.arch = 'intel-vtd'
  }

  take(feed: LineFeed): boolean {
    const { text, number: line } = feed.line
    if (!/SVA|PASID|IOPF|\bPRI\b/.test(text)) return false
    const prefix = PREFIX.exec(text)
    const match = REFUSED.exec(prefix?.[3] ?? text)
    if (match === null || prefix === null) return false
    const device = pciOf(prefix[2])
    const driver = device === null ? prefix[1] : (prefix[1] ?? null)
    const fields = driver === undefined || driver === null ? {} : { driver }
    const name = match[1]!.replace(/[.: ]+$/, '').replace(/:? ?-?\d+$/, '')
    this.findings.add(archOf(driver), line, reportOf('sva-unavailable', { device, name, fields }), { driver: driver ?? null })
    return true
  }
}

/** By the drivers that only one architecture has. */
function archOf(driver: string | null | undefined): LogArch {
  if (driver === undefined || driver === null) return 'intel-vtd'
  if (/smmu|hisi|uacce|zip|sec2|hpre/i.test(driver)) return 'arm-smmuv3'
  return /amd|kfd|xdna/i.test(driver) ? 'amd-vi' : 'intel-vtd'
}
