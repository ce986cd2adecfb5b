/** One scenario on several architectures: each step once, and beside each other what came of it. */
import { basename } from 'node:path'
import type { Report, StepReport } from '../machine/index.ts'
import { renderPicture } from '../render/picture.ts'
import { colourFor } from './common.ts'
import { type Painter, wrapped } from './paint.ts'
import { graphOf } from './run.ts'

/** A run on one architecture; `problem`: its machine cannot be built. */
export interface Column {
  readonly kind: string
  readonly report: Report | null
  readonly problem: string | null
  /** Options of the file that this kind does not have. */
  readonly dropped: readonly string[]
}

/** A step in which architectures differ. */
export interface Difference {
  readonly step: number
  readonly line: number
  readonly title: string
  /** What differs, in words by kind: how the step ended, the events that the hardware recorded, what was expected. */
  readonly what: Readonly<Partial<Record<'result' | 'events' | 'expectations', Readonly<Record<string, string>>>>>
}

/** A line of a cell, and how it is painted. */
interface Piece {
  readonly text: string
  readonly paint: (text: string) => string
}

const NARROW = 36
const DEFAULT_WIDTH = 140

/** Everything, for the terminal. @param file as people would type it. */
export function sideBySideText(columns: readonly Column[], file: string, paint: Painter, width = DEFAULT_WIDTH): string {
  const ran = columns.filter((column) => column.report !== null)
  const lines: string[] = []
  for (const { kind, problem, dropped } of columns) {
    if (problem !== null) lines.push(paint.bad(`${kind}: ${problem}`))
    if (dropped.length > 0) lines.push(paint.dim(`${kind}: has no ${dropped.join(', ')}: left out`))
  }
  const cell = Math.max(NARROW, Math.floor((width - 5 - 3 * (ran.length - 1)) / Math.max(1, ran.length)))
  if (ran.length > 0) {
    const heads = ran.map(({ kind, report }) => [{ text: `${kind}: ${report!.machine.architecture.title}`, paint: paint.bold }])
    lines.push('', ...rows(heads, cell, paint))
    const [first] = ran
    first!.report!.steps.forEach((step, index) => {
      lines.push(
        ...stepRows(
          ran.map(({ report }) => report!.steps[index]!),
          step,
          cell,
          paint,
        ),
      )
    })
  }
  for (const { kind, report } of ran) {
    const picture = renderPicture(graphOf(report!.machine, `${basename(file)} on ${kind}`), {
      colour: colourFor(process.stdout),
      width,
    })
    lines.push('', picture.trimEnd())
  }
  lines.push('', ...differencesText(differencesOf(columns), paint), '', ...totals(columns, paint))
  return lines.join('\n')
}

function stepRows(steps: readonly StepReport[], step: StepReport, cell: number, paint: Painter): string[] {
  const number = `${step.number}`.padStart(3)
  if (step.action === 'say') return ['', paint.bold(step.title)]
  const lines = ['', `${number}  ${paint.bold(step.title)}`]
  if (step.why !== null) lines.push(...wrapped(step.why.trim().replaceAll(/\s+/g, ' '), 5, paint.dim))
  const cells = steps.map((one) => pieces(one, paint))
  lines.push(...rows(cells, cell, paint))
  step.inner.forEach((_, index) => {
    const inner = steps.map(({ inner: list }) => list[index]!)
    lines.push(`     ${inner[0]!.number}. ${inner[0]!.title}`)
    lines.push(
      ...rows(
        inner.map((one) => pieces(one, paint)),
        cell,
        paint,
      ),
    )
  })
  return lines
}

function pieces(step: StepReport, paint: Painter): Piece[] {
  const plain = (text: string) => text
  const out: Piece[] = step.narration.map(({ who, text }) => ({
    text: `${who === 'watch' ? '!' : who}: ${text}`,
    paint: who === 'watch' ? paint.bad : plain,
  }))
  if (step.text !== '')
    out.push({
      text: `→ ${step.text}`,
      paint: step.result === 'ok' ? paint.result : step.result === 'skipped' ? paint.dim : paint.address,
    })
  for (const { held, text } of step.verdicts)
    out.push({ text: `${held ? '✓' : '✗'} ${text}`, paint: held ? paint.good : paint.bad })
  return out
}

/** Cells beside each other, each broken into lines of its width. */
function rows(cells: readonly (readonly Piece[])[], width: number, paint: Painter): string[] {
  const columns = cells.map((list) =>
    list.flatMap(({ text, paint: colour }) => broken(text, width).map((line) => ({ line, colour }))),
  )
  const height = Math.max(0, ...columns.map(({ length }) => length))
  return Array.from({ length: height }, (_, row) => {
    const parts = columns.map((lines) => {
      const found = lines[row]
      return found === undefined
        ? ' '.repeat(width)
        : found.colour(found.line) + ' '.repeat(Math.max(0, width - found.line.length))
    })
    return `     ${parts.join(paint.dim(' │ '))}`.trimEnd()
  })
}

/** A text in lines of at most `width` columns; continued lines are indented. */
function broken(text: string, width: number): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    let rest = word
    if (line !== '' && line.length + 1 + rest.length > width) {
      lines.push(line)
      line = '  '
    } else if (line !== '') line += ' '
    while (line.length + rest.length > width) {
      lines.push(line + rest.slice(0, width - line.length))
      rest = rest.slice(width - line.length)
      line = '  '
    }
    line += rest
  }
  if (line.trim() !== '') lines.push(line)
  return lines
}

/** Steps that did not end alike: in their result, in what the hardware recorded, or in what was expected of them. */
export function differencesOf(columns: readonly Column[]): Difference[] {
  const ran = columns.filter((column): column is Column & { report: Report } => column.report !== null)
  const out: Difference[] = []
  const compare = (steps: readonly StepReport[]) => {
    const [first] = steps
    const what: Record<string, Readonly<Record<string, string>>> = {}
    const tell = (name: keyof Difference['what'], say: (step: StepReport) => string) => {
      const texts = steps.map(say)
      if (new Set(texts).size < 2) return
      what[name] = Object.fromEntries(ran.map(({ kind }, index) => [kind, texts[index]!]))
    }
    tell('result', ({ result }) => RESULTS[result])
    if (steps.every(({ result }) => result !== 'skipped')) {
      tell('events', ({ events }) => (events.length === 0 ? 'none' : events.join(', ')))
      tell('expectations', ({ verdicts }) => verdicts.map(({ text }) => text).join('; ') || 'none')
    }
    // Names of events are each architecture's own: that they differ says nothing by itself.
    if (Object.keys(what).length > 1 || (Object.keys(what).length === 1 && !alikeEvents(what.events)))
      out.push({ step: first!.number, line: first!.place.line, title: first!.title, what })
    first!.inner.forEach((_, index) => {
      compare(steps.map(({ inner }) => inner[index]!))
    })
  }
  const [first] = ran
  if (ran.length > 1) for (const index of first!.report.steps.keys()) compare(ran.map(({ report }) => report.steps[index]!))
  return out
}

/** As many events on each. */
function alikeEvents(events: Readonly<Record<string, string>> | undefined): boolean {
  if (events === undefined) return false
  return new Set(Object.values(events).map((names) => (names === 'none' ? 0 : names.split(', ').length))).size === 1
}

const RESULTS: Record<StepReport['result'], string> = {
  ok: 'ok',
  fault: 'refused, and recorded',
  silent: 'refused, and not recorded',
  segv: 'segv',
  error: 'refused by the OS side',
  skipped: 'not possible',
}

function differencesText(differences: readonly Difference[], paint: Painter): string[] {
  const kinds = differences.flatMap(({ what }) => Object.values(what).flatMap((by) => Object.keys(by)))
  const width = Math.max(0, ...kinds.map(({ length }) => length))
  if (differences.length === 0) return [paint.bold('No step differs in its result, its events or its expectations')]
  return [
    paint.bold('Differences'),
    ...differences.flatMap(({ step, line, title, what }) => [
      `  ${`${step}`.padStart(3)}  line ${line}, ${title}`,
      ...Object.entries(what).flatMap(([name, by]) =>
        Object.entries(by).map(
          ([kind, text], index) => `       ${(index === 0 ? name : '').padEnd(13)}${paint.dim(kind.padEnd(width))}  ${text}`,
        ),
      ),
    ]),
  ]
}

function totals(columns: readonly Column[], paint: Painter): string[] {
  const width = Math.max(...columns.map(({ kind }) => kind.length))
  return columns.map(({ kind, report }) => {
    const name = kind.padEnd(width)
    if (report === null) return paint.address(`${name}  not supported`)
    const { passed, failed, skipped, steps } = report
    const commands = steps.reduce((sum, step) => sum + step.commands, 0)
    const events = steps.reduce((sum, step) => sum + step.events.length, 0)
    const counted = (count: number, what: string) => `${count} ${what}${count === 1 ? '' : 's'}`
    const impossible = skipped === 0 ? '' : `, ${counted(skipped, 'step')} not possible`
    const more = `${counted(commands, 'command')}, ${counted(events, 'event')}${impossible}`
    const text = `${name}  ${passed} of ${passed + failed} expectations held  (${more})`
    return failed > 0 ? paint.bad(text) : skipped > 0 ? paint.address(text) : paint.good(text)
  })
}
