/**
 * Messages of SMMUv1 and v2: context faults (one line; with StreamID since 5.x; with the decoded registers of newer kernels; register
 * by register as Qualcomm's kernels print them) and global faults.
 */
import type { LineFeed } from './feed.ts'
import { type Findings, type LogParser, Recent } from './parser.ts'
import { type Finding, hexNumber, hexOf, type OpenReport, reportOf } from './report.ts'
import {
  bitsOf,
  FSR_FLAGS,
  fsrFormat,
  fsrName,
  fsynr0Access,
  fsynr0Fields,
  GFSR_FLAGS,
  gfsrName,
  gfsynr0Access,
} from './smmuv2-bits.ts'

const CONTEXT_BEGINS = /\b(?:Unhandled|Unexpected)(?: arm-smmu)? context fault\b/i
const CONTEXT =
  /\b(?:Unhandled|Unexpected)(?: arm-smmu)? context fault:?(?=.*\biova=)(.*\bcb=(?:0x[0-9a-f]+|\d+)(?:.*fsynr1=0x[0-9a-f]+)?)/i
const CONTEXT_PLAIN = /\b(?:Unhandled|Unexpected)(?: arm-smmu)? context fault:?(?: \(fsr (0x[0-9a-f]+)\))?(.*)$/i
const FROM = /context fault from ([\w.:-]+?)!?$/i
const VALUE = /\b(fsr|iova|fsynr0?|fsynr1|cbfrsynra|cb)=(0x[0-9a-f]+|\d+)/gi
// One register to a line, with blanks around the equals sign.
const REGISTER =
  /(?:^|: )(FAR|FSR|FSYNR0|FSYNR1|PAR|TTBR[01]|TCR|SCTLR|context bank#|cb|CBFRSYNRA|SID|MAIR[01]) ?= ?(?:0x)?([0-9a-f]{1,16})\b(?: \[([^\]]*)\])?(?:, SID=(0x[0-9a-f]+))?/i
const GLOBAL_BEGINS = /\bUnexpected (?:(?:secure|non-secure) )?global fault\b/i
const UNKNOWN = /\bBlocked unknown Stream ID (0x[0-9a-f]+)/i
const GLOBAL = /\bGFSR (0x[0-9a-f]+), ?GFSYNR0 (0x[0-9a-f]+), ?GFSYNR1 (0x[0-9a-f]+), ?GFSYNR2 (0x[0-9a-f]+)/i
const WALK = /\b(soft|hard) iova-to-phys(?: \(ATOS\))? ?(=|failed)\s?(0x[0-9a-f]+)?|SOFTWARE TABLE WALK FAILED/i
const PREFIX = /^(?:[\w-]+ )?([\w.:/@-]+): /

/** A header whose registers have not come. */
interface Header {
  readonly line: number
  readonly stream: string | null
}

export class Smmuv2Parser implements LogParser {
  readonly arch = 'arm-smmuv2'
  private readonly findings: Findings
  private readonly last = new Recent<Finding>()
  private readonly headers = new Recent<Header & { readonly instance: string }>()

  constructor(findings: Findings) {
    this.findings = findings
  }

  take(feed: LineFeed): boolean {
    const { text } = feed.line
    return (
      (CONTEXT_BEGINS.test(text) && this.takeContext(feed)) ||
      this.takeRegister(text) ||
      this.takeGlobal(feed) ||
      this.takeWalk(text)
    )
  }

  end(): void {
    for (const header of this.headers.values()) this.tellHeader(header)
  }

  private takeContext(feed: LineFeed): boolean {
    const { text, number: line, xen } = feed.line
    const instance = instanceOf(text)
    const report = reportOf('dma-fault')
    const message = /context fault:? ?(?:iova|fsr|cb|smmu|$)/i.test(text) ? feed.message(CONTEXT, 2) : null
    if (message !== null) fillContext(report, message.match[1]!)
    else {
      const plain = feed.message(CONTEXT_PLAIN, 0)!
      fillContext(report, plain.match[1] === undefined ? plain.match[2]! : `fsr=${plain.match[1]}`)
      const from = FROM.exec(plain.text)?.[1]
      if (from !== undefined) report.fields.client = from
    }
    const finding = this.findings.add(this.arch, line, report, { instance: instance || null, printer: xen ? 'xen' : 'linux' })
    this.last.set(instance, finding)
    return true
  }

  /** `FSR    = 00000402 [Format=2 TF], SID=0x828`: the same registers again, or for the first time. */
  private takeRegister(text: string): boolean {
    const match = REGISTER.exec(text)
    const finding = match === null ? undefined : this.last.get(instanceOf(text))
    if (match === null || finding === undefined) return false
    const [, name, value, , stream] = match
    const { report } = finding
    const number = hexNumber(value)
    switch (name!.toUpperCase()) {
      case 'FAR':
        report.address ??= hexOf(value)
        break
      case 'FSR':
        if (number !== null) fillFsr(finding, number)
        break
      case 'FSYNR0':
        if (number !== null) fillFsynr0(finding, number)
        break
      case 'CONTEXT BANK#':
      case 'CB':
        report.fields.cb ??= number
        break
      case 'SID':
      case 'CBFRSYNRA':
        fillStream(report, number)
        break
      default:
        report.fields[name!.toLowerCase()] = hexOf(value)
    }
    if (stream !== undefined) fillStream(report, hexNumber(stream))
    return true
  }

  private takeGlobal(feed: LineFeed): boolean {
    const { text, number: line } = feed.line
    const instance = instanceOf(text)
    const blocked = UNKNOWN.exec(text)
    if (blocked !== null || GLOBAL_BEGINS.test(text)) {
      const before = this.headers.get(instance)
      if (before !== undefined) this.tellHeader(before)
      this.headers.set(instance, { line, stream: hexOf(blocked?.[1]), instance })
      return true
    }
    if (!/\bGFSR 0x/i.test(text)) return false
    const message = feed.message(GLOBAL, 2)
    if (message === null) return false
    const [gfsr, syndrome0, syndrome1, syndrome2] = message.match.slice(1).map((value) => hexNumber(value) ?? 0)
    const header = this.headers.get(instance)
    this.headers.delete(instance)
    const sid = `0x${(syndrome1! & 0xffff).toString(16)}`
    const report = reportOf('global-fault', {
      device: `sid:${sid}`,
      access: gfsynr0Access(syndrome0!),
      code: gfsr!,
      name: gfsrName(gfsr!),
      fields: {
        sid,
        gfsr_flags: bitsOf(gfsr!, GFSR_FLAGS),
        gfsynr0: `0x${syndrome0!.toString(16)}`,
        gfsynr1: `0x${syndrome1!.toString(16)}`,
        gfsynr2: `0x${syndrome2!.toString(16)}`,
      },
    })
    this.findings.add(this.arch, header?.line ?? line, report, { instance: instance || null })
    return true
  }

  /** The registers of a global fault are not in the text. */
  private tellHeader({ line, stream, instance }: Header & { instance: string }): void {
    this.headers.delete(instance)
    const report = reportOf('global-fault', { name: stream === null ? 'Unexpected global fault' : 'Unidentified stream fault' })
    if (stream !== null) fillStream(report, Number(stream))
    const notes = ['the registers GFSR and GFSYNR0 to GFSYNR2 are not in the text']
    this.findings.add(this.arch, line, report, { instance: instance || null, notes })
  }

  private takeWalk(text: string): boolean {
    const match = WALK.exec(text)
    const finding = match === null ? undefined : this.last.get(instanceOf(text))
    if (match === null || finding === undefined) return false
    const { fields } = finding.report
    if (match[1] === undefined) fields.software_walk = 'failed'
    else fields[match[1].toLowerCase() === 'soft' ? 'software_walk' : 'hardware_walk'] = hexOf(match[3]) ?? 'failed'
    return true
  }
}

function instanceOf(text: string): string {
  return PREFIX.exec(text)?.[1] ?? ''
}

function fillContext(report: OpenReport, text: string): void {
  const finding = { report, notes: [] }
  report.name = 'Unhandled context fault'
  for (const [, key, value] of text.matchAll(VALUE)) {
    const number = value!.startsWith('0x') ? hexNumber(value) : Number(value)
    switch (key!.toLowerCase()) {
      case 'iova':
        report.address = hexOf(value)
        break
      case 'fsr':
        if (number !== null) fillFsr(finding, number)
        break
      case 'fsynr':
      case 'fsynr0':
        if (number !== null) fillFsynr0(finding, number)
        break
      case 'cbfrsynra':
        fillStream(report, number)
        break
      case 'cb':
        report.fields.cb = number
        break
      default:
        report.fields[key!.toLowerCase()] = hexOf(value)
    }
  }
}

function fillFsr({ report, notes }: Pick<Finding, 'report' | 'notes'>, fsr: number): void {
  if (report.code !== null) {
    if (report.code !== fsr)
      notes.push(`FSR is printed twice, and differs: 0x${report.code.toString(16)} and 0x${fsr.toString(16)}`)
    return
  }
  report.code = fsr
  report.name = fsrName(fsr)
  report.fields.fsr_flags = bitsOf(fsr, FSR_FLAGS)
  report.fields.format = fsrFormat(fsr)
}

function fillFsynr0({ report }: Pick<Finding, 'report'>, fsynr0: number): void {
  report.access = fsynr0Access(fsynr0)
  Object.assign(report.fields, { fsynr0: `0x${fsynr0.toString(16)}`, ...fsynr0Fields(fsynr0) })
}

/** CBFRSYNRA: StreamID in bits 15:0. */
function fillStream(report: OpenReport, value: number | null): void {
  if (value === null) return
  const sid = `0x${(value & 0xffff).toString(16)}`
  report.device ??= `sid:${sid}`
  report.fields.sid ??= sid
}
