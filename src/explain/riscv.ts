/** Messages of the RISC-V IOMMU driver: fault records, queue errors; and causes that are only told of. */
import { CAUSES, isGuestPageFault } from '../format/riscv/records.ts'
import type { LineFeed } from './feed.ts'
import type { Findings, LogParser } from './parser.ts'
import { hexOf, type OpenReport, type ReportKind, reportOf } from './report.ts'

const FAULT = /\bFault (\d{1,4}) devid: (0x[0-9a-f]+) iotval: (?:0x)?([0-9a-f]{1,16}) iotval2: (?:0x)?([0-9a-f]{1,16})\b ?(.*)$/i
const CUT_FAULT = /\bFault (\d{1,4}) devid: (0x[0-9a-f]+)(?: iotval: (?:0x)?([0-9a-f]{1,16}))?/i
const BEGINS = /\bFault \d{1,4} devid:/i
const DRIVER = /\briscv,iommu|riscv-iommu|\briscv_iommu|\biommu[\w.]*: /i
const QUEUE =
  /\bHardware error: (.*)$|\bqueue (?:#|error|overflow)|\bQueue #\d+; (.*)$|\b((?:FQ|CQ|PQ|Fault queue|Command queue|Page request queue)[\w -]*(?:overflow|error|fault|timeout)[\w :,-]*)/i
const PAIR = /([\w-]+)=([^\s,]+)/g
// Prose: `cause=264`, `fault 15 exception`, `cause 258`.
const TOLD = /\b(?:cause|fault)(?: code| id)? ?[=:]? ?(0x[0-9a-f]{1,3}|\d{1,3})\b(?! devid)/gi
const TOLD_DEVICE = /\b(?:devid|did|device_id) ?[=:]? ?(0x[0-9a-f]{1,6})\b/i
const TOLD_ADDRESS = /\b(?:iova|iotval) ?[=:]? ?0x([0-9a-f]{1,16})\b/i
const ABOUT = /\biommu|\bDDT\b|\bMRIF\b|\briscv|\bcause ?=/i

/** Causes that the delivery of an MSI can have. */
const MSI_CAUSES = new Set([261, 262, 263, 264, 270, 271, 273])
const CONFIG_CAUSES = new Set([256, 257, 258, 259, 260, 265, 266, 267, 268, 269])

export class RiscvParser implements LogParser {
  readonly arch = 'riscv-iommu'
  private readonly findings: Findings
  /** What is only told of counts where the text has no message. */
  private readonly told: { readonly line: number; readonly text: string; readonly cause: number }[] = []

  constructor(findings: Findings) {
    this.findings = findings
  }

  take(feed: LineFeed): boolean {
    const { text, number: line } = feed.line
    if (BEGINS.test(text)) {
      const message = feed.message(FAULT, 2)
      const match = message?.match ?? CUT_FAULT.exec(text)
      if (match === null) return false
      this.findings.add(this.arch, line, faultReport(match, message !== null))
      return true
    }
    if (DRIVER.test(text)) {
      const match = QUEUE.exec(text)
      const name = (match?.[1] ?? match?.[2] ?? match?.[3] ?? match?.[0])?.trim()
      if (name !== undefined && name !== '') {
        const timeout = /timeout|timed out/i.test(name)
        const command = /command|CQ/i.test(name)
        this.findings.other(this.arch, line, timeout ? 'command-timeout' : command ? 'command-error' : 'other', name)
        return true
      }
    }
    if (this.told.length < 8 && ABOUT.test(text)) this.listen(text, line)
    return false
  }

  private listen(text: string, line: number): void {
    for (const [, digits] of text.matchAll(TOLD)) {
      const cause = Number(digits)
      if (CAUSES[cause] !== undefined && this.told.length < 8) this.told.push({ line, text, cause })
    }
  }

  end(): void {
    if (this.findings.list.length > 0) return
    for (const { line, text, cause } of this.told) {
      const report = causeReport(cause)
      const device = hexOf(TOLD_DEVICE.exec(text)?.[1])
      if (device !== null) report.device = `sid:${device}`
      report.address = hexOf(TOLD_ADDRESS.exec(text)?.[1])
      this.findings.add(this.arch, line, report, { notes: ['no message of a driver, but a cause that is told of'] })
    }
  }
}

/** What a cause says by itself. */
function causeReport(cause: number): OpenReport {
  const access = [1, 12, 20].includes(cause)
    ? 'execute'
    : [4, 5, 13, 21].includes(cause)
      ? 'read'
      : [6, 7, 15, 23].includes(cause)
        ? 'write'
        : null
  return reportOf(kindOf(cause), { access, code: cause, name: CAUSES[cause] ?? null })
}

function kindOf(cause: number): ReportKind {
  if (cause < 256) return 'dma-fault'
  return MSI_CAUSES.has(cause) ? 'interrupt-fault' : CONFIG_CAUSES.has(cause) ? 'config' : 'other'
}

function faultReport(match: RegExpExecArray, whole: boolean): OpenReport {
  const [, cause, device, iotval, iotval2, more] = match
  const report = causeReport(Number(cause))
  report.device = `sid:${hexOf(device)}`
  report.address = hexOf(iotval)
  report.fields.iotval2 = hexOf(iotval2)
  // iotval2 holds a guest physical address; its low bits say what the implicit access was.
  if (isGuestPageFault(Number(cause)) && iotval2 !== undefined) {
    const value = BigInt(`0x${iotval2}`)
    report.fields.gpa = hexOf((value & ~3n).toString(16))
    report.fields.implicit = (value & 1n) === 1n
  }
  const suffix: Record<string, unknown> = {}
  if (whole) for (const [, key, value] of (more ?? '').matchAll(PAIR)) suffix[key!] = plain(value!)
  if (Object.keys(suffix).length > 0) report.fields.vendor_suffix = suffix
  return report
}

/** A value of another's making: hexadecimal without leading zeros, decimal as number, else as it is. */
function plain(text: string): string | number {
  if (/^0x[0-9a-f]{1,16}$/i.test(text)) return hexOf(text)!
  return /^-?\d{1,15}$/.test(text) ? Number(text) : text
}
