/**
 * Logs of real machines with the reports that they hold, one JSON object a line: each report is compared field by field. Keys of
 * `fields` that only one side has are no failure; they are counted.
 */
import { stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { explainFindings, type Finding, type ParsedLog, parseLog } from '../../explain/index.ts'
import { InputError, readUnpacked } from '../../node/index.ts'
import { groupText } from '../explain-text.ts'
import { PLAIN } from '../paint.ts'
import type { CheckList, Failure, FileVerifier, Verification } from './contract.ts'

/** The report fields that every entry has. */
const FIELDS = ['kind', 'device', 'pasid', 'address', 'access', 'code', 'name'] as const

interface Entry {
  readonly id: string
  readonly arch: string
  readonly log: string
  readonly reports: readonly Readonly<Record<string, unknown>>[]
}

export const LOGS: FileVerifier = {
  what: 'logs with their reports (.jsonl)',
  async accepts(path) {
    if (!(await stat(path)).isFile()) return false
    try {
      return (await readEntries(path, 1)).length > 0
    } catch (error) {
      if (error instanceof InputError) return false
      throw error
    }
  },
  open: async (path) => verification(basename(path), await readEntries(path)),
}

async function readEntries(path: string, most: number = Number.POSITIVE_INFINITY): Promise<Entry[]> {
  const lines = new TextDecoder().decode(await readUnpacked(path)).split('\n')
  const entries: Entry[] = []
  for (const [index, line] of lines.entries()) {
    if (line.trim() === '' || entries.length >= most) continue
    entries.push(entryOf(path, `line ${index + 1}`, line))
  }
  return entries
}

function entryOf(path: string, where: string, line: string): Entry {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch (error) {
    throw new InputError(path, where, `is no JSON: ${(error as Error).message}`)
  }
  const { id, arch, log, reports } = (value ?? {}) as Partial<Record<keyof Entry, unknown>>
  if (typeof id !== 'string' || typeof log !== 'string' || !Array.isArray(reports))
    throw new InputError(path, where, 'is no entry of a log corpus: id and log (texts) and reports (a list) are needed')
  if (reports.some((report) => typeof report !== 'object' || report === null))
    throw new InputError(path, where, 'has a report that is no object')
  return { id, arch: typeof arch === 'string' ? arch : 'logs', log, reports }
}

/** Keys of `fields` that only one side has. */
interface Tally {
  reports: number
  compared: number
  readonly missing: Map<string, number>
}

function verification(title: string, entries: readonly Entry[]): Verification {
  const tally: Tally = { reports: 0, compared: 0, missing: new Map() }
  const archs = [...new Set(entries.map(({ arch }) => arch))]
  return {
    title,
    lists: archs.map((arch) =>
      entryList(
        arch,
        entries.filter((entry) => entry.arch === arch),
        tally,
      ),
    ),
    remarks() {
      const missing = [...tally.missing].map(([key, count]) => `${key} (${count})`).join(', ')
      return [
        `${tally.reports} reports; ${tally.compared} of their further fields compared too`,
        ...(missing === '' ? [] : [`further fields that are expected and not given: ${missing}`]),
      ]
    },
  }
}

function entryList(name: string, entries: readonly Entry[], tally: Tally): CheckList {
  return {
    name,
    count: entries.length,
    check(index) {
      const entry = entries[index]!
      const log = parseLog(entry.log)
      return compare(entry, log, tally)
    },
  }
}

function compare(entry: Entry, log: ParsedLog, tally: Tally): Failure | null {
  const { findings } = log
  tally.reports += entry.reports.length
  for (const [index, expected] of entry.reports.entries()) {
    const finding = findings[index]
    if (finding === undefined) return failure(entry, log, 'missing report', index, expected, undefined)
    for (const field of FIELDS)
      if (!same(expected[field] ?? null, finding.report[field]))
        return failure(entry, log, `different ${field}`, index, expected[field], finding.report[field])
    const wrong = compareFields(expected.fields, finding, tally)
    if (wrong !== null) {
      const { [wrong]: want } = expected.fields as Record<string, unknown>
      return failure(entry, log, `different fields.${wrong}`, index, want, finding.report.fields[wrong])
    }
  }
  const extra = findings[entry.reports.length]
  return extra === undefined ? null : failure(entry, log, 'report too many', entry.reports.length, undefined, extra.report)
}

/** @returns the first key that both sides have with different values. */
function compareFields(expected: unknown, { report }: Finding, tally: Tally): string | null {
  for (const [key, value] of Object.entries(expected ?? {})) {
    const actual = report.fields[key]
    if (actual === undefined) {
      if (value !== null) tally.missing.set(key, (tally.missing.get(key) ?? 0) + 1)
      continue
    }
    tally.compared++
    if (!same(value, actual)) return key
  }
  return null
}

/** Equal as JSON is. Keys of objects that only one side has are not compared. */
function same(expected: unknown, actual: unknown): boolean {
  if (typeof expected !== 'object' || expected === null || typeof actual !== 'object' || actual === null)
    return expected === actual
  if (Array.isArray(expected) || Array.isArray(actual)) {
    if (!Array.isArray(expected) || !Array.isArray(actual) || expected.length !== actual.length) return false
    return expected.every((item, index) => same(item, actual[index]))
  }
  return Object.entries(expected).every(
    ([key, value]) => !(key in actual) || same(value, (actual as Record<string, unknown>)[key]),
  )
}

function failure(entry: Entry, log: ParsedLog, kind: string, index: number, expected: unknown, actual: unknown): Failure {
  const text = (value: unknown) => (value === undefined ? 'nothing' : JSON.stringify(value))
  return {
    kind,
    item: `${entry.id} reports[${index}]`,
    expected: text(expected),
    actual: text(actual),
    explain() {
      if (log.findings[index] === undefined) return entry.log
      const group = { first: index, members: [index] }
      return `${entry.log}\n\n${groupText(group, log.findings, explainFindings(log), PLAIN)}`
    },
  }
}
