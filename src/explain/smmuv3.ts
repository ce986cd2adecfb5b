/**
 * Messages of SMMUv3: events as raw words (64 bits a line, or two words of 32), decoded text of newer kernels, both; errors of the
 * command queue with the global error that announces them; time-outs; page requests. Lines of several SMMUs may be mixed.
 */
import { decode, getBits, type Values, type Words, wordsFromU64 } from '../base/layout.ts'
import { CERROR_ATC_INV_SYNC } from '../format/smmuv3/commands.ts'
import { E_PAGE_REQUEST, EVENT_F_PERMISSION, EVENTS, eventName } from '../format/smmuv3/events.ts'
import { CMDQ_CONS, GERROR } from '../format/smmuv3/registers.ts'
import type { LineFeed } from './feed.ts'
import { type Findings, type LogParser, Recent } from './parser.ts'
import { type Finding, hexNumber, hexOf, type OpenReport, pasidOf, pciOf, type ReportKind, reportOf } from './report.ts'

const HEADER = /\bevent (?:0x)?([0-9a-f]{1,2}) received\b:?\s*(.*)$/i
const PREFIX = /^(?:([\w-]+) )?([\w.:/@-]+): (.*)$/
const DWORDS = /^(?:0x[0-9a-f]{1,16}|[0-9a-f]{8}|[0-9a-f]{16})(?: (?:0x)?[0-9a-f]{8,16}){0,7}$/i
const DECODED = /\bevent: (\w+)(?: \((0x[0-9a-f]+)\))? client: (.+?) sid: (0x[0-9a-f]+|\d+) ssid: (0x[0-9a-f]+|\d+)(.*)$/i
const DECODED_BEGINS = /\bevent: \w+(?: \(0x[0-9a-f]+\))? client:/i
const DETAIL = /\b(un)?priv (data|inst) (read|write) s([12]) "([^"]*)"( ttd_(?:read|write))?( stall)? stag: (0x[0-9a-f]+|\d+)/i
const DETAIL_BEGINS = /\b(?:un)?priv (?:data|inst) (?:read|write)\b/i
const GERROR_LINE = /unexpected global error reported \((0x[0-9a-f]+)\)/i
const GERROR_BEGINS = /unexpected global error reported/i
const CMDQ =
  /CMDQ error \(cons (0x[0-9a-f]+)\):? ?(?:(No error|Illegal command|Abort on command fetch|ATC invalidate timeout|\w[\w ]*))?/i
const SKIPPING = /skipping command in error state/i
const SYNC = /(CMD_SYNC timeout|CMDQ timeout)(?: at (0x[0-9a-f]+) ?\[hwprod (0x[0-9a-f]+), hwcons (0x[0-9a-f]+)\])?/i
const SYNC_WHOLE = /CMD_SYNC timeout at (0x[0-9a-f]+) ?\[hwprod (0x[0-9a-f]+), hwcons (0x[0-9a-f]+)\]/i
const LOST =
  /\b((?:EVTQ|PRIQ) (?:overflow detected|write aborted)[ -]*(?:events|requests)?[a-z ]*)|(\w+ MSI write aborted)|(device has entered Service Failure Mode)/i
const REQUEST_BEGINS = /unexpected PRI request received/i
const REQUEST =
  /sid (?:0x)?([0-9a-f]{1,8})\.(?:0x)?([0-9a-f]{1,5}): \[(\d+)(L?)\] (un)?privileged(?: access,)? ?([RWX]*)(?: access)? at iova (0x[0-9a-f]+)/i
const FOREIGN = /^(?!.*(?:smmu|iommu))/i

/** CLASS of a fault as newer kernels print it. */
const CLASSES: readonly (readonly [printed: RegExp, name: string])[] = [
  [/^CD fetch/i, 'CD'],
  [/translation table fetch/i, 'TTD'],
  [/^Input address/i, 'IN'],
]

const CONFIG = new Set(['F_STE_FETCH', 'F_CD_FETCH', 'F_VMS_FETCH', 'F_STREAM_DISABLED', 'F_CFG_CONFLICT'])

/** An event whose words are still coming. */
interface Open {
  readonly finding: Finding
  readonly printed: number
  readonly words: bigint[]
}

export class Smmuv3Parser implements LogParser {
  readonly arch = 'arm-smmuv3'
  private readonly findings: Findings
  private readonly open = new Recent<Open>()
  /** Words whose first line is not in the text. */
  private readonly loose = new Recent<{ readonly line: number; readonly words: bigint[] }>()
  /** By SMMU: the last event, whose decoded text may follow. */
  private readonly last = new Recent<{ readonly finding: Finding; decoded: boolean; detailed: boolean }>()
  private readonly global = new Recent<{
    readonly value: string
    readonly line: number
    readonly flags: string[]
    told: boolean
  }>()
  private readonly queue = new Recent<Finding>()

  constructor(findings: Findings) {
    this.findings = findings
  }

  take(feed: LineFeed): boolean {
    const { text } = feed.line
    return (
      this.takeHeader(text, feed.line.number, feed.line.xen) ||
      this.takeWords(text, feed.line.number) ||
      this.takeDecoded(feed) ||
      this.takeDetail(feed) ||
      this.takeQueue(feed) ||
      this.takeRequest(feed) ||
      this.takeLost(text, feed.line.number)
    )
  }

  end(): void {
    for (const instance of [...this.loose.keys()]) this.looseEvent(instance, null)
    for (const error of this.global.values()) if (!error.told) this.tellGlobal(error)
  }

  private takeHeader(text: string, line: number, xen: boolean): boolean {
    const match = HEADER.exec(text)
    if (match === null) return false
    const instance = instanceOf(text)
    const printed = Number.parseInt(match[1]!, 16)
    const report = reportOf(kindOf(printed), { code: printed, name: eventName(printed) })
    const finding = this.findings.add(this.arch, line, report, { instance: instance || null, printer: xen ? 'xen' : 'linux' })
    const event: Open = { finding, printed, words: [] }
    this.open.set(instance, event)
    this.last.set(instance, { finding, decoded: false, detailed: false })
    if (match[2] !== '' && DWORDS.test(match[2]!)) this.addWords(instance, event, match[2]!)
    return true
  }

  private takeWords(text: string, line: number): boolean {
    const prefix = PREFIX.exec(text)
    const own = DWORDS.test(text)
    const words = own ? text : prefix !== null && DWORDS.test(prefix[3]!) ? prefix[3]! : null
    if (words === null) return false
    const instance = own ? this.onlyOpen() : instanceOf(text)
    const event = this.open.get(instance)
    if (event !== undefined) {
      this.addWords(instance, event, words)
      return true
    }
    const error = this.queue.get(instance)
    const command = Array.isArray(error?.report.fields.command) ? error.report.fields.command : []
    if (error !== undefined && command.length < 2) {
      for (const word of sixtyFour(words)) command.push(padded(word))
      error.report.fields.command = command
      return true
    }
    if (instance === '') return false
    const loose = this.loose.get(instance) ?? { line, words: [] }
    loose.words.push(...sixtyFour(words))
    this.loose.set(instance, loose)
    return true
  }

  /** Four words that no header announced, as an event; null when they are none. */
  private looseEvent(instance: string, name: string | null): Finding | null {
    const loose = this.loose.get(instance)
    this.loose.delete(instance)
    if (loose === undefined || loose.words.length !== 4) return null
    const code = Number(loose.words[0]! & 0xffn)
    if (!EVENTS.has(code) || (name !== null && eventName(code) !== name)) return null
    const notes = ['the first line of the event is not in the text']
    const report = reportOf(kindOf(code), { code, name: eventName(code) })
    const finding = this.findings.add(this.arch, loose.line, report, { instance, notes })
    fillEvent(finding, loose.words, code)
    return finding
  }

  /** Words without the name of an SMMU: of the event that still lacks some. */
  private onlyOpen(): string {
    let found = ''
    for (const { finding } of this.open.values()) found = finding.instance ?? ''
    if (found !== '') return found
    for (const finding of this.queue.values()) found = finding.instance ?? ''
    return found
  }

  private addWords(instance: string, event: Open, text: string): void {
    event.words.push(...sixtyFour(text).slice(0, 4 - event.words.length))
    fillEvent(event.finding, event.words, event.printed)
    if (event.words.length === 4) this.open.delete(instance)
  }

  private takeDecoded(feed: LineFeed): boolean {
    if (!DECODED_BEGINS.test(feed.line.text)) return false
    const { number: line, xen } = feed.line
    const message = feed.message(DECODED, 2)
    if (message === null) return false
    const [, name, , client, sid, ssid, more] = message.match
    const instance = instanceOf(message.text)
    this.open.delete(instance)
    const loose = this.looseEvent(instance, name!)
    if (loose !== null) this.last.set(instance, { finding: loose, decoded: false, detailed: false })
    const known = this.last.get(instance)
    const numeric = numberOf(sid!)
    const same = known !== undefined && !known.decoded && known.finding.report.name === name
    if (known !== undefined && same) {
      known.decoded = true
      addClient(known.finding, client!, numeric)
      return true
    }
    const report = decodedReport(name!, numeric, pasidOf(ssid), more!)
    const finding = this.findings.add(this.arch, line, report, { instance: instance || null, printer: xen ? 'xen' : 'linux' })
    addClient(finding, client!, numeric)
    this.last.set(instance, { finding, decoded: true, detailed: false })
    return true
  }

  private takeDetail(feed: LineFeed): boolean {
    if (!DETAIL_BEGINS.test(feed.line.text)) return false
    const known = this.last.get(instanceOf(feed.line.text))
    const message = feed.message(DETAIL, 2)
    if (message === null || known === undefined || known.detailed) return message !== null
    known.detailed = true
    const [, un, kind, direction, stage, printedClass, table, stall, stag] = message.match
    const { report } = known.finding
    if (report.fields.dwords !== undefined) return true
    const instruction = kind === 'inst'
    report.access = instruction && direction === 'read' ? 'execute' : (direction as 'read' | 'write')
    Object.assign(report.fields, {
      class: CLASSES.find(([printed]) => printed.test(printedClass!))?.[1] ?? null,
      stage: Number(stage),
      privileged: un === undefined,
      instruction,
      stall: stall !== undefined,
      stag: numberOf(stag!),
      ...(table === undefined ? {} : { table_access: table.trim() }),
    })
    if (stage === '1') report.fields.ipa = null
    return true
  }

  private takeQueue(feed: LineFeed): boolean {
    const { text, number: line } = feed.line
    if (GERROR_BEGINS.test(text)) {
      const message = feed.message(GERROR_LINE, 2)
      if (message === null) return false
      const instance = instanceOf(text)
      const value = message.match[1]!
      const before = this.global.get(instance)
      if (before !== undefined && !before.told) this.tellGlobal(before)
      this.global.set(instance, { value, line, flags: gerrorFlags(Number(value)), told: false })
      return true
    }
    if (/CMDQ error \(cons/i.test(text)) {
      const message = feed.message(CMDQ, 0)
      return message !== null && this.takeError(message.match, line, instanceOf(text), text)
    }
    if (SKIPPING.test(text) || /retrying command fetch/i.test(text)) return true
    if (!/CMD_SYNC timeout|CMDQ timeout/i.test(text)) return false
    const whole = / at\b/i.test(text) || text.endsWith('timeout') ? feed.message(SYNC_WHOLE, 2) : null
    const message = whole ?? feed.message(SYNC, 0)
    if (message === null) return false
    const [position, produced, consumed] = whole === null ? message.match.slice(2) : message.match.slice(1)
    const report = reportOf('command-timeout', { name: whole === null ? message.match[1]! : 'CMD_SYNC timeout' })
    if (position !== undefined)
      Object.assign(report.fields, { position: hexOf(position), hwprod: hexOf(produced), hwcons: hexOf(consumed) })
    this.findings.add(this.arch, line, report, { instance: instanceOf(text) || null })
    return true
  }

  private takeError(match: RegExpExecArray, line: number, instance: string, text: string): boolean {
    const cons = match[1]!
    const value = Number(cons)
    const { ERR } = CMDQ_CONS.fields
    const error = getBits(wordsFromU64([BigInt(cons)]), ERR.msb, ERR.lsb)
    const name = ERR.names[error]
    const global = this.global.get(instance)
    const timeout = error === CERROR_ATC_INV_SYNC
    const report = reportOf(timeout ? 'invalidation-timeout' : 'command-error', { name: name ?? match[2] ?? null })
    if (global !== undefined && !global.told) {
      global.told = true
      report.fields.gerror = global.value
      report.fields.gerror_flags = global.flags
    }
    Object.assign(report.fields, { cmdq_cons: cons, cmdq_error: error, cmdq_rd: hexOf((value & 0xfffff).toString(16)) })
    const at = global?.line ?? line
    const finding = this.findings.add(this.arch, at, report, { instance: instanceOf(text) || null })
    this.queue.set(instance, finding)
    return true
  }

  /** A global error that no queue error follows. */
  private tellGlobal(error: { value: string; line: number; flags: string[]; told: boolean }): void {
    error.told = true
    const name = error.flags.length > 0 ? error.flags.join(', ') : 'unexpected global error'
    const kind = error.flags.includes('CMDQ_ERR') ? 'command-error' : 'other'
    this.findings.add(this.arch, error.line, reportOf(kind, { name, fields: { gerror: error.value, gerror_flags: error.flags } }))
  }

  private takeRequest(feed: LineFeed): boolean {
    const { text, number: line } = feed.line
    if (REQUEST_BEGINS.test(text)) return true
    if (!/\bsid (?:0x)?[0-9a-f]+\.(?:0x)?[0-9a-f]+: \[/i.test(text)) return false
    const message = feed.message(REQUEST, 2)
    if (message === null) return false
    const [, sid, ssid, group, lastOne, un, rights, iova] = message.match
    const write = /W/i.test(rights!)
    const report = reportOf('page-request', {
      device: `sid:${hexOf(sid)}`,
      pasid: pasidOf(ssid) || null,
      address: hexOf(iova),
      access: /X/i.test(rights!) ? 'execute' : write ? 'write' : /R/i.test(rights!) ? 'read' : null,
      name: 'unexpected PRI request',
      fields: {
        sid: hexOf(sid),
        ssid: hexNumber(ssid),
        group: Number(group),
        last: lastOne !== '',
        privileged: un === undefined,
        requested: rights,
      },
    })
    this.findings.add(this.arch, line, report, { instance: instanceOf(text) || null })
    return true
  }

  private takeLost(text: string, line: number): boolean {
    const match = LOST.exec(text)
    if (match === null) return false
    const instance = instanceOf(text)
    const global = this.global.get(instance)
    // The words for a bit of the global error above.
    if (global !== undefined && !/overflow/i.test(text)) {
      if (!global.told) this.tellGlobal(global)
      return true
    }
    const name = (match[1] ?? match[2] ?? match[3])!.trim()
    this.findings.add(this.arch, line, reportOf('other', { name }), { instance: instance || null })
    return true
  }
}

/** The SMMU's own name in front of a message; '' where it is not printed. */
function instanceOf(text: string): string {
  const match = PREFIX.exec(text)
  if (match === null || FOREIGN.test(`${match[1] ?? ''} ${match[2]}`)) return ''
  return match[2]!
}

function kindOf(code: number): ReportKind {
  const name = eventName(code)
  if (name.startsWith('C_BAD_') || CONFIG.has(name)) return 'config'
  return EVENTS.has(code) && code !== E_PAGE_REQUEST ? 'dma-fault' : 'other'
}

function codeOf(name: string): number | null {
  for (const [code, event] of EVENTS) if (event.name === name) return code
  return null
}

/** 64-bit words of a line: halves of 32 bits are printed with the upper one first. */
function sixtyFour(text: string): bigint[] {
  const parts = text.split(' ').map((part) => part.replace(/^0x/i, ''))
  const words: bigint[] = []
  for (let index = 0; index < parts.length; index++) {
    const part = parts[index]!
    const next = parts[index + 1]
    if (part.length === 8 && next !== undefined && next.length === 8) {
      words.push(BigInt(`0x${part}${next}`))
      index++
    } else words.push(BigInt(`0x${part}`))
  }
  return words
}

const padded = (word: bigint) => `0x${word.toString(16).padStart(16, '0')}`

function numberOf(text: string): number {
  return Number(text)
}

/** What the words say that are known so far: words that are missing say nothing. */
function fillEvent(finding: Finding, known: readonly bigint[], printed: number): void {
  const { report } = finding
  const words: Words = new Uint32Array(8)
  words.set(wordsFromU64(known))
  const code = getBits(words, 7, 0)
  if (known.length === 1 && code !== printed) {
    finding.notes.push(
      `the words are of event 0x${code.toString(16)}, the message says 0x${printed.toString(16)}: shown by the words`,
    )
    report.code = code
    report.name = eventName(code)
    report.kind = kindOf(code)
  }
  const has = (field: string) => EVENTS.get(code)?.layout.fields[field] !== undefined
  report.fields.dwords = known.map(padded)
  const valid = has('SSV') ? getBits(words, 11, 11) === 1 : has('SubstreamID')
  const sid = hexOf(getBits(words, 63, 32).toString(16))
  const ssid = valid ? getBits(words, 31, 12) : null
  report.fields.sid = sid
  if (EVENTS.has(code)) Object.assign(report.fields, { ssid_valid: valid, ssid })
  report.device ??= `sid:${sid}`
  report.pasid = ssid
  if (known.length >= 2 && has('RnW')) fillAccess(report, words, has)
  if (known.length >= 3 && has('InputAddr')) {
    const field = EVENTS.get(code)!.layout.fields.InputAddr!
    const whole = known[2]!
    report.address = hexOf((field.kind === 'addr' ? whole & ~0xfffn : whole).toString(16))
  }
  if (known.length >= 4) {
    if (has('S2')) report.fields.ipa = getBits(words, 103, 103) === 1 ? hexOf((known[3]! & 0xffffffffff000n).toString(16)) : null
    if (has('FetchAddr')) report.fields.fetch_address = hexOf((known[3]! & 0xffffffffffff8n).toString(16))
  }
}

function fillAccess(report: OpenReport, words: Words, has: (field: string) => boolean): void {
  // F_PERMISSION has the fields of all the faults, in the same places.
  const values: Values<typeof EVENT_F_PERMISSION.fields> = decode(EVENT_F_PERMISSION, words)
  const instruction = has('InD') && values.InD === 1
  report.access = values.RnW === 0 ? 'write' : instruction ? 'execute' : 'read'
  if (has('CLASS')) report.fields.class = ['CD', 'TTD', 'IN'][Number(values.CLASS)] ?? null
  if (has('S2')) report.fields.stage = values.S2 === 1 ? 2 : 1
  if (has('PnU')) Object.assign(report.fields, { privileged: values.PnU === 1, instruction })
  if (has('Stall')) Object.assign(report.fields, { stall: values.Stall === 1, stag: Number(values.STAG) })
}

/** An event of which only the decoded text is there. It prints an ssid of 0 also where there is none. */
function decodedReport(name: string, sid: number, ssid: number | null, more: string): OpenReport {
  const code = codeOf(name)
  const value = (key: string) => new RegExp(`\\b${key}: (0x[0-9a-f]+)`, 'i').exec(more)?.[1]
  const pasid = ssid === 0 ? null : ssid
  const report = reportOf(code === null ? 'other' : kindOf(code), { code, name, pasid, address: hexOf(value('iova')) })
  Object.assign(report.fields, { sid: `0x${sid.toString(16)}`, ssid_valid: pasid === null ? null : true, ssid: pasid })
  if (value('ipa') !== undefined) report.fields.ipa = hexOf(value('ipa'))
  if (value('fetch_addr') !== undefined) report.fields.fetch_address = hexOf(value('fetch_addr'))
  return report
}

/** The device as newer kernels name it; the words decide the rest. */
function addClient(finding: Finding, client: string, sid: number): void {
  const { report } = finding
  report.device = pciOf(client) ?? `sid:0x${sid.toString(16)}`
  if (!client.startsWith('(') && pciOf(client) === null) report.fields.client = client
  const known = report.fields.sid
  if (typeof known === 'string' && Number(known) !== sid)
    finding.notes.push(`the words say sid ${known}, the decoded text 0x${sid.toString(16)}`)
}

function gerrorFlags(value: number): string[] {
  return Object.entries(GERROR.fields)
    .filter(([, { lsb }]) => (value >>> lsb) & 1)
    .map(([name]) => name)
}
