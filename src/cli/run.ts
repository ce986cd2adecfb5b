/** `iomm run`: runs a scenario, says what happened step by step, checks expectations, and shows the machine at its end. */
import { type FileHandle, open } from 'node:fs/promises'
import { basename, relative } from 'node:path'
import { Command, InvalidArgumentError } from 'commander'
import { parseNumber } from '../base/hex.ts'
import type { MachineGraph } from '../inspect/graph.ts'
import {
  ARCHITECTURE_KINDS,
  type Line,
  loadScenario,
  loadScenarioOn,
  type Machine,
  problemText,
  type Report,
  runScenario,
  type Scenario,
  type StepReport,
  targetOf,
} from '../machine/index.ts'
import { MOST_BYTES } from '../machine/language/load.ts'
import { renderPicture } from '../render/picture.ts'
import { architectureOf } from './architectures.ts'
import { CliError, colourFor, EXIT_FINDINGS, EXIT_INPUT, EXIT_OK, EXIT_UNSUPPORTED, harmless, print, toJson } from './common.ts'
import { COLOURS, type Painter, PLAIN, wrapped } from './paint.ts'
import { type Column, differencesOf, sideBySideText } from './side-by-side.ts'

interface Options {
  readonly quiet?: true
  readonly json?: true
  readonly seed?: number
  readonly on?: readonly string[]
}

export function runCommand(): Command {
  return new Command('run')
    .summary('run a scenario: what happens, whether it is what was expected, and the picture')
    .description(
      'Builds the computer that a scenario describes, takes its steps, and says what each of them did: PASIDs, commands, events, page ' +
        'requests. Checks the expectations, and ends with the picture of the machine.',
    )
    .argument('<scenario>', "a YAML file, such as examples/two-domains.yaml; '-' is standard input")
    .option('-q, --quiet', 'only what was not as expected, and the last line')
    .option('--json', 'the whole report as JSON')
    .option('--seed <number>', 'seed of every interleaving, instead of those of the scenario', seedArgument)
    .option(
      '--on <kinds>',
      `run it on these architectures instead of the file's, side by side: ${ARCHITECTURE_KINDS}; or all of them: all`,
      kindsArgument,
    )
    .addHelpText(
      'after',
      `
Examples:
  iomm run examples/two-domains.yaml
  iomm run examples/two-domains.yaml --on smmuv3,riscv
  iomm run examples/two-domains.yaml --on all --quiet
  iomm run examples/two-domains.yaml --on vtd:mode=legacy
  iomm run examples/interleaved-exit-unbind.yaml --quiet --seed 7
  iomm run examples/demand-paging.yaml --json | jq '.steps[] | {title, result}'

Exit code: 0 all expectations held, 1 some did not, 2 usage, 3 unreadable scenario, 4 the architecture cannot do it, or not all steps of it.`,
    )
    .action(async (file: string, options: Options) => {
      process.exitCode = options.on === undefined ? await runFile(file, options) : await runOn(file, options.on, options)
    })
}

function seedArgument(text: string): number {
  const seed = parseNumber(text)
  if (seed === null || seed >= 1n << 32n) throw new InvalidArgumentError(`'${text}' is not a seed: a number below 2^32.`)
  return Number(seed)
}

/** Each with options of `iommu:`, if need be: `vtd:mode=legacy`. */
function kindsArgument(text: string): string[] {
  const kinds = new Set(text.split(',').flatMap((kind) => (kind.trim() === 'all' ? ARCHITECTURE_KINDS : [kind.trim()])))
  for (const kind of kinds) {
    try {
      targetOf(kind)
    } catch (error) {
      if (error instanceof RangeError) throw new InvalidArgumentError(`${error.message}.`)
      throw error
    }
  }
  return [...kinds]
}

/** Reads a scenario. @throws CliError that names each mistake with line and column. */
export async function readScenario(file: string): Promise<Scenario> {
  return scenarioOf(await readText(file), file)
}

const WHY_UNREADABLE: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  EISDIR: 'is a folder; a scenario is a YAML file (`iomm show` and `iomm walk` read captures)',
  EACCES: 'may not be read',
}

/** Reads no further than a scenario can be long: the file may be a device or a pipe without an end. */
async function readText(file: string): Promise<string> {
  const bytes = Buffer.alloc(MOST_BYTES + 1)
  let length = 0
  let handle: FileHandle | null = null
  try {
    handle = await open(file === '-' ? '/dev/stdin' : file)
    while (length < bytes.length) {
      const { bytesRead } = await handle.read(bytes, length, bytes.length - length)
      if (bytesRead === 0) return bytes.toString('utf8', 0, length)
      length += bytesRead
    }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    throw new CliError(EXIT_INPUT, `${file}: ${WHY_UNREADABLE[code ?? ''] ?? `cannot be read (${code ?? message})`}.`)
  } finally {
    await handle?.close()
  }
  throw new CliError(EXIT_INPUT, `${file}: longer than ${MOST_BYTES} bytes; a scenario has ${MOST_BYTES} at most.`)
}

/** @param kind read it as if it said this kind of IOMMU. */
export function scenarioOf(text: string, file: string, kind?: string): Scenario {
  const loaded = kind === undefined ? loadScenario(text, file) : loadScenarioOn(kind, text, file)
  if (loaded.ok) return loaded.scenario
  const count = loaded.problems.length
  throw new CliError(
    EXIT_INPUT,
    `${count === 1 ? 'a mistake' : `${count} mistakes`} in the scenario\n${loaded.problems.map(problemText).join('\n')}`,
  )
}

/** Runs a scenario from its beginning to its end. @throws CliError when its machine cannot be built. */
export function completeRun(scenario: Scenario, options: { seed?: number; onStep?: (step: StepReport) => void } = {}): Report {
  const report = runScenario(scenario, options)
  if (!('problem' in report)) return report
  const { line, column } = report.place
  throw new CliError(EXIT_UNSUPPORTED, `${scenario.file}:${line}:${column}: this machine cannot be built: ${report.problem}`)
}

/** The machine as a graph. */
export function graphOf(machine: Machine, title: string): MachineGraph {
  const { inspect } = architectureOf(machine.architecture.kind, title)
  const register = (offset: number, bytes: 4 | 8) => machine.register(offset, bytes)
  return inspect({ title, memory: machine.memory, register, names: machine.names() })
}

/** What a run ends with: what was not as expected counts more than what could not be done. */
function exitCode({ failed, skipped }: Pick<Report, 'failed' | 'skipped'>): number {
  return failed > 0 ? EXIT_FINDINGS : skipped > 0 ? EXIT_UNSUPPORTED : EXIT_OK
}

/** One scenario on several architectures. */
async function runOn(file: string, kinds: readonly string[], options: Options): Promise<number> {
  const text = await readText(file)
  // Mistakes of the file are the same everywhere.
  scenarioOf(text, file)
  const seed = options.seed === undefined ? {} : { seed: options.seed }
  const columns: Column[] = kinds.map((kind) => {
    const scenario = scenarioOf(text, file, kind)
    const report = runScenario(scenario, seed)
    const problem = 'problem' in report ? `this machine cannot be built: ${report.problem}` : null
    return { kind, report: 'problem' in report ? null : report, problem, dropped: scenario.iommu?.dropped ?? [] }
  })
  const paint = colourFor(process.stdout) ? COLOURS : PLAIN
  if (options.json) {
    const json = columns.map(({ kind, report, problem, dropped }) => {
      if (report === null) return { kind, problem, dropped }
      const { machine, ...rest } = report
      return { kind, dropped, ...rest, graph: graphOf(machine, basename(file)) }
    })
    print(toJson({ file, architectures: json, differences: differencesOf(columns) }))
  } else if (options.quiet) {
    for (const { kind, report, problem } of columns) {
      for (const step of report?.steps ?? []) printFailures(harmlessStep(step), `${kind}: ${file}`, paint)
      print(`${kind}: ${report === null ? paint.bad(problem!) : lastLine(report, paint)}`)
    }
  } else {
    const shown = columns.map((column) =>
      column.report === null ? column : { ...column, report: { ...column.report, steps: column.report.steps.map(harmlessStep) } },
    )
    print(sideBySideText(shown, file, paint, process.stdout.columns))
  }
  const failed = columns.reduce((sum, { report }) => sum + (report?.failed ?? 0), 0)
  const skipped = columns.reduce((sum, { report }) => sum + (report?.skipped ?? 1), 0)
  return exitCode({ failed, skipped })
}

async function runFile(file: string, options: Options): Promise<number> {
  const scenario = await readScenario(file)
  const seed = options.seed === undefined ? {} : { seed: options.seed }
  if (options.json) {
    const report = completeRun(scenario, seed)
    const { machine, ...rest } = report
    print(toJson({ ...rest, graph: graphOf(machine, basename(file)) }))
    return exitCode(report)
  }
  const paint = colourFor(process.stdout) ? COLOURS : PLAIN
  if (options.quiet) {
    const report = completeRun(scenario, seed)
    for (const step of report.steps) printFailures(harmlessStep(step), file, paint)
    print(lastLine(report, paint))
    return exitCode(report)
  }
  print(headText(scenario, paint))
  const report = completeRun(scenario, { ...seed, onStep: (step) => print(stepText(harmlessStep(step), paint)) })
  const width = process.stdout.columns
  print('')
  print(
    renderPicture(graphOf(report.machine, basename(file)), {
      colour: colourFor(process.stdout),
      ...(width === undefined ? {} : { width }),
    }),
  )
  print(nextText(relative('', file) || file, report, paint))
  print(lastLine(report, paint))
  return exitCode(report)
}

function headText(scenario: Scenario, paint: Painter): string {
  const lines = [paint.bold(harmless(scenario.title ?? scenario.file))]
  const about = harmless(scenario.about ?? '').trim()
  if (about !== '')
    lines.push(
      ...about.split('\n\n').flatMap((part) => wrapped(part.replaceAll('\n', ' '), 2).map((line) => line.replace(/^ {4}/, '  '))),
    )
  return lines.join('\n')
}

/** A step whose words steer no terminal: some of them are the scenario's. */
function harmlessStep(step: StepReport): StepReport {
  return {
    ...step,
    title: harmless(step.title),
    why: step.why === null ? null : harmless(step.why),
    text: harmless(step.text),
    verdicts: step.verdicts.map((verdict) => ({ ...verdict, text: harmless(verdict.text) })),
    inner: step.inner.map(harmlessStep),
  }
}

const WHO: Record<Line['who'], string> = { os: 'os', driver: 'driver', device: 'device', cpu: 'cpu', watch: '!' }

/** A step: its title, what it shows, what happened, what came out, and whether that was expected. */
function stepText(step: StepReport, paint: Painter, indent = 0): string {
  const margin = ' '.repeat(indent)
  const number = `${step.number}`.padStart(3)
  if (step.action === 'say') return `\n${margin}${paint.bold(step.title)}`
  const lines = [`\n${margin}${number}  ${paint.bold(step.title)}`]
  if (step.why !== null) lines.push(...wrapped(step.why.trim().replaceAll(/\s+/g, ' '), indent + 5, paint.dim))
  for (const { who, text } of step.narration) {
    const line = wrapped(text, indent + 14)
    const label = who === 'watch' ? paint.bad(WHO[who].padEnd(7)) : paint.dim(WHO[who].padEnd(7))
    lines.push(`${margin}     ${label}  ${line[0]!.trimStart()}`, ...line.slice(1))
  }
  for (const inner of step.inner) lines.push(stepText(inner, paint, indent + 4).replace(/^\n/, ''))
  const colour = step.result === 'ok' ? paint.result : step.result === 'skipped' ? paint.dim : paint.address
  if (step.text !== '') lines.push(...wrapped(`→ ${step.text}`, indent + 5, colour))
  for (const { held, text } of step.verdicts)
    lines.push(`${margin}     ${held ? paint.good(`✓ ${text}`) : paint.bad(`✗ ${text}`)}`)
  return lines.join('\n')
}

function printFailures(step: StepReport, file: string, paint: Painter): void {
  for (const { held, text } of step.verdicts) {
    if (held) continue
    const { line, column } = step.place
    print(`${file}:${line}:${column}: ${step.title}: ${paint.bad(text)}`)
  }
  for (const inner of step.inner) printFailures(inner, file, paint)
}

/** What to try next: commands that work on this machine as it is. */
function nextText(file: string, { machine }: Report, paint: Painter): string {
  const bond = [...machine.iommu.bonds].find(({ ioMm }) => ioMm.mm !== null) ?? [...machine.iommu.bonds][0]
  const device = bond?.device.name ?? [...machine.devices.keys()][0]
  const commands = [[`iomm show ${file} -v`, 'each table entry with its fields']]
  if (device !== undefined) {
    const pasid = bond === undefined ? '' : `:${bond.pasid}`
    const address = addressIn(machine, bond?.ioMm.mm ?? null)
    commands.push([`iomm walk ${file} ${device}${pasid} ${address} --write`, 'why a DMA goes where it goes'])
  }
  commands.push([`iomm show ${file} -o machine.svg`, 'the picture as a drawing'])
  const widest = Math.max(...commands.map(([command]) => command!.length))
  const lines = commands.map(([command, what]) => `  ${paint.result(command!.padEnd(widest))}  ${paint.dim(what!)}`)
  return [paint.bold('What to try next'), ...lines, ''].join('\n')
}

/** An address that a process has memory at. */
function addressIn(machine: Machine, mm: object | null): string {
  const process = [...machine.processes.values()].find((one) => one.mm === mm)
  const first = process?.mm.vmas[0]?.start
  return first === undefined ? '0x1000' : `0x${first.toString(16)}`
}

function lastLine({ passed, failed, skipped, machine }: Report, paint: Painter): string {
  const all = passed + failed
  const text = `${passed} of ${all} expectations held`
  const left =
    skipped === 0 ? '' : `; ${skipped} ${skipped === 1 ? 'step is' : 'steps are'} not possible with ${machine.architecture.title}`
  if (failed > 0) return paint.bad(`${text}, ${failed} did not${left}`)
  return skipped > 0 ? paint.address(`${text}${left}`) : paint.good(text)
}
