/**
 * Messages of AMD-Vi: logged events in the forms that Linux printed over the years (two lines; one line with or without `device=`, with
 * PASID, with segment), Xen's forms, the device table entry that follows, and the command queue's time-outs.
 */
import { decode, getBits, wordsFromU64 } from '../base/layout.ts'
import { DTE, gcr3Root, interruptEntries, interruptRoot } from '../format/amdvi/dte.ts'
import {
  EVENT1_GN,
  EVENT1_I,
  EVENT1_NX,
  EVENT1_PE,
  EVENT1_PR,
  EVENT1_RW,
  EVENT1_RZ,
  EVENT1_TR,
  EVENT1_US,
  REQUEST_TYPES,
} from '../format/amdvi/events.ts'
import { isAmdInterruptAddress } from './address.ts'
import type { LineFeed } from './feed.ts'
import { type Findings, flagNames, type LogParser } from './parser.ts'
import { type Finding, hexNumber, hexOf, type OpenReport, pciOf, pciOfId, type ReportKind, reportOf } from './report.ts'

// Linux prints the flags as a word of their own: bits 31:16 of the event's second word.
const SHIFT = 16
const FLAGS = [
  ['GN', EVENT1_GN >>> SHIFT],
  ['NX', EVENT1_NX >>> SHIFT],
  ['US', EVENT1_US >>> SHIFT],
  ['I', EVENT1_I >>> SHIFT],
  ['PR', EVENT1_PR >>> SHIFT],
  ['RW', EVENT1_RW >>> SHIFT],
  ['PE', EVENT1_PE >>> SHIFT],
  ['RZ', EVENT1_RZ >>> SHIFT],
  ['TR', EVENT1_TR >>> SHIFT],
] as const
const GN = EVENT1_GN >>> SHIFT
const I = EVENT1_I >>> SHIFT
const PR = EVENT1_PR >>> SHIFT
const RW = EVENT1_RW >>> SHIFT
const TR = EVENT1_TR >>> SHIFT

const NAMES =
  'ILLEGAL_DEV_TABLE_ENTRY|IO_PAGE_FAULT|DEV_TAB_HARDWARE_ERROR|PAGE_TAB_HARDWARE_ERROR|ILLEGAL_COMMAND_ERROR|COMMAND_HARDWARE_ERROR|IOTLB_INV_TIMEOUT|INVALID_DEVICE_REQUEST|INVALID_PPR_REQUEST|RMP_PAGE_FAULT|RMP_HW_ERROR|RMP_HARDWARE_ERROR|EVENT_COUNTER_ZERO|GUEST_EVENT_FAULT|VIOMMU_HARDWARE_ERROR'
const EVENT_NAMED = new RegExp(String.raw`(?<![\w*])(${NAMES}|UNKNOWN)\b`)
const EVENT_BEGINS =
  /AMD-Vi: ?Event logged ?\[?|Event logged \[|AMD-Vi: ?(?:INVALID_|IO_PAGE|ILLEGAL_|IOTLB_INV|RMP_|[A-Z]+_TAB_|COMMAND_)/
// Xen: `IO_PAGE_FAULT: domain = 0, device id = 0xa1, fault address = 0x…, flags = 0x20`, or with the device and the flags' names.
const XEN_BEGINS = new RegExp(`AMD-Vi: ?(?:${NAMES}):`)
const WHOLE = new RegExp(String.raw`(?<![\w*])(${NAMES}|UNKNOWN)\b[ :]*([^\]]*)\]`)
const LINE = new RegExp(String.raw`(?<![\w*])(${NAMES}|UNKNOWN)\b[ :]*(.*)$`)
const GOES_ON = new RegExp(String.raw`^(?:${NAMES}|UNKNOWN)\b`)
const PREFIX = /^(?:([\w.-]+) )?((?:[0-9a-f]{4}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]): AMD-Vi:/i
const IVHD = /\biommu (ivhd\d+): AMD-Vi:/i
const DTE_LINE = /\bDTE\[([0-3])\]: ?(?:0x)?([0-9a-f]{1,16})\b/i
const COMMAND_LINE = /\bCMD\[([0-3])\]: ?(?:0x)?([0-9a-f]{1,8})\b/i
const TIMEOUT = /\b(Completion-Wait loop timed out|Command buffer timeout|COMPLETION_WAIT timed out)/i

const KINDS: Readonly<Record<string, ReportKind>> = {
  ILLEGAL_DEV_TABLE_ENTRY: 'device-table',
  DEV_TAB_HARDWARE_ERROR: 'device-table',
  RMP_PAGE_FAULT: 'dma-fault',
  PAGE_TAB_HARDWARE_ERROR: 'dma-fault',
  ILLEGAL_COMMAND_ERROR: 'command-error',
  COMMAND_HARDWARE_ERROR: 'command-error',
  IOTLB_INV_TIMEOUT: 'invalidation-timeout',
  INVALID_PPR_REQUEST: 'page-request',
}

export class AmdParser implements LogParser {
  readonly arch = 'amd-vi'
  private readonly findings: Findings
  /** Its words follow in lines of their own. */
  private entry: { readonly finding: Finding; readonly words: (bigint | null)[] } | null = null
  private command: Finding | null = null

  constructor(findings: Findings) {
    this.findings = findings
  }

  take(feed: LineFeed): boolean {
    const { text, number: line } = feed.line
    if (EVENT_BEGINS.test(text) || XEN_BEGINS.test(text)) return this.takeEvent(feed)
    // Without `AMD-Vi` in front: cut off by whoever quoted it.
    if (EVENT_NAMED.test(text) && /\b(?:address|flags)=/.test(text)) return this.takeEvent(feed)
    const dte = DTE_LINE.exec(text)
    if (dte !== null) return this.takeDte(Number(dte[1]), BigInt(`0x${dte[2]}`))
    const command = COMMAND_LINE.exec(text)
    if (command !== null) return this.takeCommand(command[2]!)
    const timeout = TIMEOUT.exec(text)
    if (timeout === null) return false
    this.findings.other(this.arch, line, 'command-timeout', timeout[1]!)
    return true
  }

  private takeEvent(feed: LineFeed): boolean {
    const { text: first, number: line, xen } = feed.line
    // Xen closes no bracket; neither does Linux for unknown events.
    const message = xen || XEN_BEGINS.test(first) || /UNKNOWN/.test(first) ? feed.message(LINE) : feed.message(WHOLE, 5, GOES_ON)
    const found = message ?? feed.message(LINE)
    if (found === null) return false
    const [, name, values] = found.match
    const prefix = PREFIX.exec(found.text)
    const report = eventReport(name!, values!, pciOf(prefix?.[2]))
    const finding = this.findings.add(this.arch, line, report, {
      printer: xen ? 'xen' : 'linux',
      instance: IVHD.exec(found.text)?.[1] ?? null,
      driver: prefix?.[1] ?? null,
      notes: message === null ? ['the event is cut off: its end is not in the text'] : [],
    })
    this.entry = name === 'ILLEGAL_DEV_TABLE_ENTRY' ? { finding, words: [null, null, null, null] } : null
    this.command = name === 'ILLEGAL_COMMAND_ERROR' ? finding : null
    return true
  }

  private takeDte(index: number, word: bigint): boolean {
    if (this.entry === null) return true
    const { finding, words } = this.entry
    words[index] = word
    if (words.every((known) => known !== null)) {
      const fields = finding.report.fields
      fields.dte = words.map((known) => `0x${known.toString(16).padStart(16, '0')}`)
      fields.dte_decoded = decodedDte(words)
      this.entry = null
    }
    return true
  }

  private takeCommand(word: string): boolean {
    if (this.command === null) return true
    const fields = this.command.report.fields
    const words = Array.isArray(fields.command) ? fields.command : []
    if (words.length < 4) words.push(`0x${word.padStart(8, '0')}`)
    fields.command = words
    return true
  }
}

function eventReport(name: string, text: string, prefixed: string | null): OpenReport {
  const values = valuesOf(text)
  const flags = hexNumber(values.get('flags'))
  const interrupt = flags !== null && (flags & I) !== 0
  const address = hexOf(values.get('address') ?? values.get('gpa') ?? values.get('addr'))
  const kind = KINDS[name] ?? (name === 'IO_PAGE_FAULT' ? (interrupt ? 'interrupt-fault' : 'dma-fault') : 'other')
  const report = reportOf(kind, { name: name === 'RMP_HARDWARE_ERROR' ? 'RMP_HW_ERROR' : name })
  const { fields } = report
  report.device =
    pciOf(values.get('device')) ?? deviceId(values.get('devid')) ?? (/^COMMAND|^ILLEGAL_COMMAND/.test(name) ? null : prefixed)

  // GN says whose number stands where a domain is printed, and whether the printed PASID is one.
  const guest = flags !== null && (flags & GN) !== 0
  const domain = hexNumber(values.get('domain'))
  const pasid = hexNumber(values.get('pasid'))
  if (guest) report.pasid = name === 'IO_PAGE_FAULT' ? domain : pasid
  else if (domain !== null) fields.domain = domain
  else if (name === 'PAGE_TAB_HARDWARE_ERROR' && pasid !== null) fields.domain = pasid

  if (/_COMMAND|^COMMAND|^IOTLB/.test(name)) fields.command_address = address
  else if (/_TAB_HARDWARE/.test(name)) fields.table_address = address
  else report.address = address
  if (values.has('gpa')) fields.address_is = 'gpa'
  for (const key of ['vmg_tag', 'tag'] as const) if (values.has(key)) fields[key] = hexNumber(values.get(key))
  if (values.has('flags_rmp')) fields.flags_rmp = values.get('flags_rmp')
  if (values.has('spa')) fields.spa = hexOf(values.get('spa'))
  for (const [key, value] of values) if (/^(?:event|type)/.test(key)) fields[key] = value

  if (flags !== null) {
    fields.flags_raw = `0x${flags.toString(16).padStart(4, '0')}`
    fields.flags = flagNames(flags, FLAGS)
    report.access = accessOf(name, flags)
    if (name === 'INVALID_DEVICE_REQUEST') describeRequest(report, flags)
  } else if (name === 'INVALID_DEVICE_REQUEST') describeRequest(report, null)
  return report
}

/** RW means something with PR only; Linux takes a set bit for a write all the same. An interrupt is neither. */
function accessOf(name: string, flags: number): 'read' | 'write' | null {
  if ((flags & I) !== 0) return null
  if ((flags & RW) !== 0) return 'write'
  return (flags & PR) !== 0 || name === 'ILLEGAL_DEV_TABLE_ENTRY' ? 'read' : null
}

/** INVALID_DEVICE_REQUEST: bits 11:9 say what was sent. */
function describeRequest(report: OpenReport, flags: number | null): void {
  const address = report.address === null ? null : BigInt(report.address)
  report.kind = address !== null && isAmdInterruptAddress(address) ? 'interrupt-fault' : 'dma-fault'
  if (flags === null) return
  const type = (flags >>> 9) & 7
  const translation = (flags & TR) !== 0
  report.fields.request_type = type
  report.fields.request = REQUEST_TYPES[translation ? 1 : 0][type] ?? 'reserved'
  // Types 3, 5 and 6 are writes by what they are; 0 and 4 reads.
  if (translation || (flags & RW) !== 0) return
  report.access = type === 3 || type === 5 || type === 6 ? 'write' : type === 0 || type === 4 ? 'read' : report.access
}

/** `a=1 b=0x2`, with commas or not, and Xen's `device id = 0xa1` and `0000:00:14.1 d0 addr … flags 0x30 RW`. */
function valuesOf(text: string): Map<string, string> {
  const values = new Map<string, string>()
  for (const [, key, value] of text.matchAll(/([\w[\]]+(?: id| address)?) ?= ?([0-9a-fx:.]+)/gi)) {
    const plain = key!.toLowerCase().replace('device id', 'devid').replace('fault address', 'address')
    if (!values.has(plain)) values.set(plain, value!)
  }
  if (values.size > 0) return values
  const xen =
    /([0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])(?: d(\d+|\[\w+\]))? addr (?:0x)?([0-9a-f]+) flags ((?:0x)?[0-9a-f]+)\b/i.exec(
      text,
    )
  if (xen !== null) {
    values.set('device', xen[1]!)
    if (/^\d+$/.test(xen[2] ?? '')) values.set('domain', Number(xen[2]).toString(16))
    values.set('address', xen[3]!)
    values.set('flags', xen[4]!)
    return values
  }
  // Parts that were made unreadable: what is left.
  const flags = /\bflags (0x[0-9a-f]+)/i.exec(text)?.[1]
  if (flags !== undefined) values.set('flags', flags)
  return values
}

function deviceId(text: string | undefined): string | null {
  const id = hexNumber(text)
  return id === null || id > 0xffff ? null : pciOfId(id)
}

/** The fields of a device table entry that decide, by the names of the specification. */
function decodedDte(words: readonly (bigint | null)[]): Record<string, unknown> {
  const entry = wordsFromU64(words.map((word) => word ?? 0n))
  const { V, TV, Mode, IR, IW, PPR, GIOV, GV, GLX, DomainID, I: iotlb, IV, IntCtl, HostPageTableRootPtr } = decode(DTE, entry)
  return {
    V,
    TV,
    mode: Mode,
    ...(Mode === 0 ? {} : { host_root: hexOf(HostPageTableRootPtr.toString(16)) }),
    IR,
    IW,
    PPR,
    GIOV,
    GV,
    GLX,
    gcr3_root: hexOf(gcr3Root(entry).toString(16)),
    domain: DomainID,
    IOTLB: iotlb,
    IV,
    interrupt_table_entries: getBits(entry, 132, 129) > 11 ? null : interruptEntries(entry),
    interrupt_table_root: hexOf(interruptRoot(entry).toString(16)),
    IntCtl,
  }
}
