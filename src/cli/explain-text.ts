/** Explanations of a log, for people: alike reports together, each with what was found and what follows. */
import type { Confidence, Explanation, Finding } from '../explain/index.ts'
import { ARCH_TITLES } from '../explain/index.ts'
import { harmless } from './common.ts'
import { type Painter, wrapped } from './paint.ts'

/** Reports that say the same, but for the address. */
export interface Group {
  readonly first: number
  readonly members: readonly number[]
}

/** Columns of `who:` and the like. */
const LABEL = 9

/** So many addresses (and lines) of a group are listed. */
const LISTED = 4

/** Remarks of so many members of a group are told. */
const LOOKED_AT = 64

/** Reports that are alike, in the order of their first ones. */
export function groupsOf(findings: readonly Finding[], explanations: readonly Explanation[]): Group[] {
  const groups = new Map<string, { first: number; members: number[] }>()
  findings.forEach(({ arch, report }, index) => {
    const kind = explanations[index]!.address?.kinds[0]?.kind ?? ''
    const { kind: what, device, pasid, access, code, name } = report
    // A command that is refused, or an entry that is illegal, is looked at by itself.
    const own = what === 'dma-fault' || what === 'interrupt-fault' ? '' : (report.address ?? '')
    const key = [arch, what, device, pasid, access, code, name, kind, own].join('|')
    const group = groups.get(key)
    if (group === undefined) groups.set(key, { first: index, members: [index] })
    else group.members.push(index)
  })
  return [...groups.values()]
}

const HOW_SURE: Readonly<Record<Confidence, string>> = { high: 'surely', medium: 'probably', low: 'perhaps' }

/** One group. @param walk what a machine beside the log says, in lines. */
export function groupText(
  group: Group,
  findings: readonly Finding[],
  explanations: readonly Explanation[],
  paint: Painter,
  walk: readonly string[] = [],
): string {
  const finding = findings[group.first]!
  const told = explanations[group.first]!
  const { members } = group
  const times = members.length > 1 ? `${members.length} times: ` : ''
  const addresses = addressesOf(group, findings, told)
  const headline = addresses.length > 1 ? told.headline.replace(addresses[0]!, `${addresses[0]} and others`) : told.headline
  const lines = [...wrapped(harmless(`${times}${headline}`), 0, paint.bold)]
  const by = finding.printer === 'linux' ? '' : `, printed by ${finding.printer === 'xen' ? 'Xen' : 'QEMU'}`
  const where = linesText(members.map((index) => findings[index]!.line))
  lines.push(paint.dim(`  ${ARCH_TITLES[finding.arch]}, ${where}${by}`))
  const row = (label: string, text: string | null) => {
    if (text !== null) lines.push(...wrapped(`${label.padEnd(LABEL)}${harmless(text)}`, 2, undefined, LABEL))
  }
  const below = (text: string) => lines.push(...wrapped(harmless(text), 2 + LABEL, undefined, 0))
  row('who:', told.who)
  row('PASID:', told.pasid)
  row('address:', told.address === null ? null : listed(addresses))
  for (const kind of told.address?.kinds ?? []) below(`${HOW_SURE[kind.confidence]} ${kind.says} (${kind.rule})`)
  if (told.address !== null && told.address.kinds.length === 0) below('what kind of address it is, is not known')
  row('meaning:', told.meaning)
  row('fields:', fieldsText(finding))
  list('Likely causes:', told.causes, lines, paint, true)
  list('Look at:', told.next, lines, paint, false)
  const remarks = new Set(members.slice(0, LOOKED_AT).flatMap((index) => explanations[index]!.remarks))
  list('Mind:', [...remarks], lines, paint, false)
  lines.push(...walk)
  return lines.join('\n')
}

function list(title: string, items: readonly string[], lines: string[], paint: Painter, numbered: boolean): void {
  if (items.length === 0) return
  lines.push(`  ${paint.result(title)}`)
  items.forEach((item, index) => {
    lines.push(...wrapped(`${numbered && items.length > 1 ? `${index + 1}.` : '-'} ${harmless(item)}`, 4))
  })
}

/** The addresses of a group, each once. */
function addressesOf({ members }: Group, findings: readonly Finding[], { address }: Explanation): string[] {
  if (address === null) return []
  return [...new Set(members.map((index) => findings[index]!.report.address))].filter((one) => one !== null)
}

function listed(items: readonly (string | number)[]): string {
  const more = items.length > LISTED ? ` and ${items.length - LISTED} more` : ''
  return `${items.slice(0, LISTED).join(', ')}${more}`
}

/** `line 3`, `lines 3, 5, 8, 9 and 12 more`. */
function linesText(numbers: readonly number[]): string {
  return `${numbers.length === 1 ? 'line' : 'lines'} ${listed(numbers)}`
}

/** Decoded facts that the lines above do not say; raw words and what is only there for programs are left out. */
const UNSAID = new Set([
  'dwords',
  'dte_decoded',
  'dte',
  'entries',
  'request',
  'reason_meaning',
  'sid',
  'ssid',
  'client',
  'driver',
])

/** Numbers that kernels print in hex. */
const IN_HEX = new Set(['fault_index', 'domain'])

const inHex = (value: unknown) => (typeof value === 'number' ? `0x${value.toString(16)}` : valueText(value))

function fieldsText({ report }: Finding): string | null {
  const parts = Object.entries(report.fields)
    .filter(([key, value]) => !UNSAID.has(key) && value !== null && !(Array.isArray(value) && value.length === 0))
    .map(([key, value]) => `${key.replaceAll('_', ' ')} ${IN_HEX.has(key) ? inHex(value) : valueText(value)}`)
  return parts.length === 0 ? null : parts.join(', ')
}

function valueText(value: unknown): string {
  if (Array.isArray(value)) return value.map(String).join('+')
  if (typeof value === 'boolean') return value ? 'yes' : 'no'
  if (typeof value === 'object' && value !== null)
    return Object.entries(value)
      .map(([key, item]) => `${key}=${String(item)}`)
      .join(' ')
  return String(value)
}
