/**
 * Messages of Intel VT-d: fault records as Linux prints them (since 2.6.2x: two lines; later one, with and without PASID, reasons in
 * decimal and then in hexadecimal) and as Xen and QEMU do; invalidation errors; refused page requests.
 */
import { decode, wordsFromU64 } from '../base/layout.ts'
import { PAGE_REQUEST } from '../format/vtd/records.ts'
import { FSTS_AFO, FSTS_APF, FSTS_ICE, FSTS_IQE, FSTS_ITE, FSTS_PFO, FSTS_PPF, IQERCD } from '../format/vtd/registers.ts'
import type { LineFeed, Message } from './feed.ts'
import { type Findings, flagNames, type LogParser } from './parser.ts'
import { type Finding, hexNumber, hexOf, type OpenReport, pasidOf, pciOf, pciOfId, reportOf } from './report.ts'
import { failedAt, printedReason } from './vtd-names.ts'

const FLAGS = [
  ['PFO', FSTS_PFO],
  ['PPF', FSTS_PPF],
  ['AFO', FSTS_AFO],
  ['APF', FSTS_APF],
  ['IQE', FSTS_IQE],
  ['ICE', FSTS_ICE],
  ['ITE', FSTS_ITE],
  ['PRO', 1 << 7],
] as const

const HEX = '(?:0x)?[0-9a-f]+'
const BDF = String.raw`(?:[0-9a-f]{4}:)?(?:0x)?[0-9a-f]{1,2}:(?:0x)?[0-9a-f]{1,2}\.[0-7]`
const STATUS = /(?:handling fault status reg|Fault Status Register:) ?(0x)?([0-9a-f]{1,8})\b/i
const RECORD_BEGINS = /\[DMA (?:Read|Write)\b|INTR-REMAP\]?:? ?Request device/i
const WHO = String.raw`(?:\[(DMA (?:Read|Write)) ?(NO_PASID|PASID ${HEX})? ?\]|\[?(INTR-REMAP)(?:\]|:)) ?Request device ?\[{1,2}(${BDF})\]`
const WHAT = String.raw`(?: PASID (${HEX}))? fault (addr|index):? ?(${HEX})\b`
const RECORD_WHERE = new RegExp(`${WHO}${WHAT}`, 'i')
const REASON = String.raw`(?:\[fault reason:? (0x[0-9a-f]{1,2}|\d{1,3})\]|\breason ([0-9a-f]{1,2}) -) ?(.*)$`
const RECORD = new RegExp(`${WHO}${WHAT}.*?${REASON}`, 'i')
// The second line of old forms begins as a message of its own does.
const RECORD_GOES_ON =
  /^(?:DMAR:|INTR-REMAP:|\[VT-D\]DMAR:|\[VT-D\]INTR-REMAP:) ?(?:\[fault reason|reason [0-9a-f]{2} -)|^fault (?:addr|index)/i
const INVALIDATION =
  /VT-d detected (Invalidation (?:Queue|Time-?out|Completion) Error)(?::? (?:Reason|SID) ([0-9a-f]+))?|\b(?:ITE|ICE|IQE) ?(Time-?out Error|Completion Error|Queue Error)/i
const CLEARED = /(Invalidation (?:Queue|Time-?out|Completion) Error) \((?:IQE|ITE|ICE)\) cleared/i
const DESCRIPTOR =
  /QI (HEAD|PRIOR): (.*?) ?qw0 = (0x[0-9a-f]+)(?:, qw1 = (0x[0-9a-f]+))?|invalid descriptor: low=([0-9a-f]+), high=([0-9a-f]+)/i
const PAGE_REQUEST_LINE =
  /(?:\b(dmar\d+): )?(Page request without PASID|Invalid page request|Page request in Privilege Mode|Execute request not supported|Address is not canonical)\b:? ?(?:([0-9a-f]{8,16}) ([0-9a-f]{8,16}))?/i
const QUEUE_OVERFLOW = /(?:\b(dmar\d+): )?(PRQ overflow (?:detected|cleared))/i
const DUMP =
  /\bDMAR: (?:Dump (\w+) table entries for IOVA (0x[0-9a-f]+)|(.*\b(?:entry|entry\[\d+\]|value|table)\b(?::| is not present).*))/i
const QEMU_WALK = /\bvtd_iova_to_\w+: detected (.+?) \(?iova=(0x[0-9a-f]+)(.*)$/i
const QEMU_FAILED =
  /\bvtd_(?:do_)?iommu_translate: detected translation failure ?\(dev=([0-9a-f]{2}:[0-9a-f]{2}:[0-9a-f]{2})(?:, pasid=(0x[0-9a-f]+))?, iova=(0x[0-9a-f]+)\)/i

const INVALIDATION_NAMES: readonly (readonly [mask: number, name: string])[] = [
  [FSTS_ITE, 'Invalidation Time-out Error'],
  [FSTS_ICE, 'Invalidation Completion Error'],
  [FSTS_IQE, 'Invalidation Queue Error'],
]

interface Status {
  readonly value: number
  readonly line: number
}

export class VtdParser implements LogParser {
  readonly arch = 'intel-vtd'
  private readonly findings: Findings
  /** A status line whose record has not come yet. */
  private status: Status | null = null
  private lastFault: Finding | null = null
  private lastInvalidation: Finding | null = null
  /** Names of invalidation errors that were told and not yet cleared. */
  private readonly told = new Set<string>()
  private lastRequest: Finding | null = null
  /** An invalidation error that only the status told so far. */
  private untold: Status | null = null
  private qemu: Finding | null = null

  constructor(findings: Findings) {
    this.findings = findings
  }

  take(feed: LineFeed): boolean {
    const { text } = feed.line
    return (
      this.takeStatus(text, feed.line.number) ||
      (RECORD_BEGINS.test(text) && this.takeRecord(feed)) ||
      this.takeInvalidation(feed) ||
      this.takeRequest(feed) ||
      this.takeDump(text) ||
      this.takeQemu(feed)
    )
  }

  end(): void {
    this.tellStatus()
  }

  private takeStatus(text: string, line: number): boolean {
    const match = STATUS.exec(text)
    if (match === null) return false
    const value = Number.parseInt(match[2]!, 16)
    this.status = { value, line }
    if ((value & (FSTS_IQE | FSTS_ICE | FSTS_ITE)) !== 0 && this.lastInvalidation === null) this.untold ??= this.status
    return true
  }

  private takeRecord(feed: LineFeed): boolean {
    const { number: line, xen } = feed.line
    const status = this.status
    this.status = null
    const whole = feed.message(RECORD, 5, RECORD_GOES_ON)
    const found = whole ?? feed.message(RECORD_WHERE)
    if (found === null) {
      this.status = status
      return false
    }
    const report = recordReport(found, whole !== null, feed)
    if (status !== null) {
      report.fields.fault_status = status.value
      report.fields.fault_status_flags = flagNames(status.value, FLAGS)
      report.fields.fault_record_index = (status.value >>> 8) & 0xff
    }
    const notes = whole === null ? ['the fault reason is not in the text'] : []
    if (/PASID (?:0x)?f{5,8}\b/i.test(found.text))
      notes.push('a PASID of all ones is how kernels of 2019 to 2021 spell that there is none')
    this.lastFault = this.findings.add(this.arch, line, report, { printer: xen ? 'xen' : 'linux', notes })
    return true
  }

  private takeInvalidation(feed: LineFeed): boolean {
    const { text, number: line } = feed.line
    const descriptor = DESCRIPTOR.exec(text)
    if (descriptor !== null) {
      const [, place, type, low, high, oldLow, oldHigh] = descriptor
      const key = place === undefined ? 'descriptor' : place.toUpperCase() === 'HEAD' ? 'queue_head' : 'queue_prior'
      const finding = this.lastInvalidation ?? this.addInvalidation(line, 'Invalidation Queue Error', undefined)
      finding.report.fields[key] = [hexOf(low ?? oldLow), hexOf(high ?? oldHigh)]
      if (type !== undefined && type.trim() !== '') finding.report.fields[`${key}_type`] = type.trim()
      return true
    }
    const cleared = CLEARED.exec(text)
    if (cleared !== null) {
      const name = spelled(cleared[1]!)
      if (!this.told.delete(name)) {
        this.addInvalidation(line, name, undefined)
        this.told.delete(name)
      }
      if (this.told.size === 0) this.lastInvalidation = null
      return true
    }
    if (!/VT-d detected|\b(?:ITE|ICE|IQE) /i.test(text)) return false
    const message = feed.message(INVALIDATION, 2)
    if (message === null) return false
    const [, name, value, short] = message.match
    this.lastInvalidation = this.addInvalidation(line, name ?? `Invalidation ${short}`, value)
    return true
  }

  private addInvalidation(line: number, printed: string, value: string | undefined): Finding {
    const name = spelled(printed)
    const timeout = /Time-out/.test(name)
    const report = reportOf(timeout ? 'invalidation-timeout' : 'invalidation-error', { name })
    if (/Queue/.test(name)) {
      const reason = hexNumber(value)
      if (reason !== null) {
        report.fields.reason = reason
        const meaning = IQERCD.fields.IQEI.names[reason as keyof typeof IQERCD.fields.IQEI.names]
        if (meaning !== undefined) report.fields.reason_meaning = meaning
      }
    } else {
      const source = hexNumber(value)
      if (source !== null) {
        report.fields.source_id = hexOf(value)
        // 0 and all ones are what hardware reads that does not report it.
        if (source !== 0 && source < 0xffff) report.device = pciOfId(source)
      }
    }
    this.untold = null
    this.status = null
    this.told.add(name)
    return this.findings.add(this.arch, line, report)
  }

  /** Invalidation errors that nothing but the status register tells. */
  private tellStatus(): void {
    if (this.untold === null) return
    const { value, line } = this.untold
    for (const [mask, name] of INVALIDATION_NAMES) {
      if ((value & mask) === 0) continue
      const finding = this.addInvalidation(line, name, undefined)
      finding.report.fields.fault_status = value
      finding.report.fields.fault_status_flags = flagNames(value, FLAGS)
    }
  }

  private takeRequest(feed: LineFeed): boolean {
    const { text, number: line } = feed.line
    const overflow = QUEUE_OVERFLOW.exec(text)
    if (overflow !== null) {
      if (/detected/i.test(overflow[2]!)) this.findings.other(this.arch, line, 'other', 'PRQ overflow', named(overflow[1]))
      return true
    }
    const match = PAGE_REQUEST_LINE.exec(text)
    if (match === null) return false
    const [, iommu, name, low, high] = match
    // `Invalid page request` follows the line that says what is wrong with it.
    const first = this.lastRequest
    if (/^Invalid/i.test(name!) && first !== null && (iommu === undefined || first.instance === iommu)) {
      this.lastRequest = null
      first.report.fields.response = 'invalid'
      fillRequest(first.report, low, high)
      return true
    }
    const report = reportOf('page-request', { name: name!, fields: { ...named(iommu), response: 'invalid' } })
    fillRequest(report, low, high)
    const finding = this.findings.add(this.arch, line, report, { instance: iommu ?? null })
    this.lastRequest = /^Invalid/i.test(name!) ? null : finding
    return true
  }

  /** The table entries of a faulting address, which newer kernels print after the record. */
  private takeDump(text: string): boolean {
    if (!text.includes('DMAR: ')) return false
    const match = DUMP.exec(text)
    if (match === null || this.lastFault === null) return false
    const fields = this.lastFault.report.fields
    if (match[1] !== undefined) {
      fields.iommu = match[1]
      fields.entries = []
    } else if (Array.isArray(fields.entries) && fields.entries.length < 16) fields.entries.push(match[3]!)
    else return false
    return true
  }

  /** QEMU's own words for what its IOMMU refuses: why, and then who. */
  private takeQemu(feed: LineFeed): boolean {
    const { text, number: line } = feed.line
    if (/New fault is not recorded due to compression of faults/.test(text)) return true
    if (!text.includes('vtd_')) return false
    if (/vtd_iova_to_/.test(text)) {
      const message = feed.message(QEMU_WALK, 2)
      if (message === null) return false
      const [, name, iova, more] = message.match
      const write = /write=(\d)/.exec(more!)?.[1]
      const report = reportOf('dma-fault', {
        name: name!.replace(/,$/, ''),
        address: hexOf(iova),
        access: write === undefined ? null : write === '0' ? 'read' : 'write',
      })
      const level = /level=(0x[0-9a-f]+)/i.exec(more!)?.[1]
      const entry = /[sf][sl]?pte=(0x[0-9a-f]+)/i.exec(more!)?.[1]
      if (level !== undefined) report.fields.level = hexNumber(level)
      if (entry !== undefined) report.fields.entry = hexOf(entry)
      this.qemu = this.findings.add(this.arch, line, report, { printer: 'qemu' })
      return true
    }
    const message = /iommu_translate/.test(text) ? feed.message(QEMU_FAILED, 2) : null
    if (message === null) return false
    const [, device, pasid, iova] = message.match
    const address = hexOf(iova)
    const before = this.qemu
    this.qemu = null
    const finding =
      before !== null && before.report.address === address && before.report.device === null
        ? before
        : this.findings.add(this.arch, line, reportOf('dma-fault', { name: 'detected translation failure', address }), {
            printer: 'qemu',
          })
    finding.report.device = pciOf(device)
    finding.report.pasid = pasidOf(pasid)
    return true
  }
}

/** `Time-out` as newer kernels write it. */
function spelled(name: string): string {
  return name.replace(/Time-?out/i, 'Time-out')
}

function named(iommu: string | undefined): Record<string, unknown> {
  return iommu === undefined ? {} : { iommu }
}

/** A fault record. Reasons: hexadecimal with 0x and in Xen, else decimal. */
function recordReport({ match }: Message, whole: boolean, feed: LineFeed): OpenReport {
  const [, dma, earlyPasid, , device, latePasid, what, value, linuxReason, xenReason, tail] = match
  const interrupt = dma === undefined
  const report = reportOf(interrupt ? 'interrupt-fault' : 'dma-fault', { device: pciOf(device) })
  const reason = !whole ? null : linuxReason === undefined ? Number.parseInt(xenReason!, 16) : Number(linuxReason)
  report.code = reason
  if (what!.toLowerCase() === 'index') report.fields.fault_index = hexNumber(value)
  else if (!interrupt) report.address = hexOf(value)
  if (!interrupt) {
    report.access = /Write/i.test(dma) ? 'write' : 'read'
    report.pasid = pasidOf(earlyPasid?.replace(/^(?:NO_)?PASID ?/i, '') || latePasid)
    const at = reason === null ? null : failedAt(reason)
    if (at !== null) report.fields.failed_at = at
    if (reason !== null && reason >= 0x30) report.fields.scalable_mode = true
  }
  if (reason !== null) report.name = reasonName(tail!.trim(), reason, feed)
  return report
}

/** The printed name; whole where it was wrapped, without what follows it on the line. The usual one where none is printed. */
function reasonName(printed: string, code: number, feed: LineFeed): string | null {
  const usual = printedReason(code)
  if (printed === '' || /^unknown$/i.test(printed)) return usual ?? (printed === '' ? null : printed)
  if (usual === null) return printed
  if (printed.startsWith(usual)) return usual
  return feed.rest(printed, usual)
}

/** What a page request asks, where its words are printed (VT-d 3.0 and later: the old form had no RID there). */
function fillRequest(report: OpenReport, low: string | undefined, high: string | undefined): void {
  if (low === undefined || high === undefined) return
  const words = new Uint32Array(8)
  words.set(wordsFromU64([BigInt(`0x${low}`), BigInt(`0x${high}`)]))
  const request = decode(PAGE_REQUEST, words)
  report.fields.dwords = [hexOf(low), hexOf(high)]
  if (request.TYPE !== 1) return
  report.device = pciOfId(Number(request.RID))
  report.pasid = request.PP === 1 ? Number(request.PASID) : null
  report.address = hexOf(request.ADDR.toString(16))
  report.access = request.EXE === 1 ? 'execute' : request.WR === 1 ? 'write' : request.RD === 1 ? 'read' : null
}
