/** `iomm doctor`: why shared virtual addressing is off. */
import { readFile, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { Command } from 'commander'
import { type Answer, diagnose, type Evidence, joined, readText, type Verdict } from '../explain/doctor/index.ts'
import { InputError, openCapture, readUnpacked } from '../node/index.ts'
import { CliError, colourFor, EXIT_FINDINGS, EXIT_INPUT, EXIT_OK, EXIT_USAGE, harmless, note, print, toJson } from './common.ts'
import { openInput, withInputErrors } from './input.ts'
import { COLOURS, type Painter, PLAIN, wrapped } from './paint.ts'

interface Options {
  readonly device?: string
  readonly json?: true
  readonly all?: true
}

export function doctorCommand(): Command {
  return new Command('doctor')
    .summary('why shared virtual addressing (SVA) is off, condition by condition')
    .description(
      'Takes what is known of a machine, in any order, and tells for each condition of shared virtual addressing whether it holds, fails or is ' +
        'not known, what says so, and what would change it. Files are told apart by content: kernel logs (dmesg, journalctl -k, from the boot ' +
        'on), lspci -vvv (as root), the kernel command line, /proc/cpuinfo, a kernel configuration, captures, scenarios, QMP sockets of running guests.',
    )
    .argument('<input...>', "texts, captures (folders) or scenarios; '-' is a text on standard input")
    .option('--device <address>', 'only this PCI device: 0000:6a:01.0 or 6a:01.0')
    .option('--all', 'conditions that hold too')
    .option('--json', 'all conditions as JSON')
    .addHelpText(
      'after',
      `
Examples:
  dmesg | iomm doctor -
  dmesg > log; sudo lspci -vvv > pci; iomm doctor log pci /proc/cmdline /proc/cpuinfo /boot/config-$(uname -r)
  iomm doctor --device 6a:01.0 --all log pci
  iomm doctor ../shared/captures/amd64-vtd-pasid-sva

Exit code: 0 no condition fails, 1 some do, 2 usage, 3 unreadable input, 4 not supported.`,
    )
    .action(async (inputs: string[], options: Options) => {
      process.exitCode = await doctor(inputs, options)
    })
}

/** Texts of people are not larger. */
const TEXT_LIMIT = 64 << 20

async function doctor(inputs: readonly string[], options: Options): Promise<number> {
  const device = options.device === undefined ? null : deviceName(options.device)
  const parts: Evidence[] = []
  for (const input of inputs) parts.push(...(await withInputErrors(() => evidenceOf(input))))
  const answers = diagnose(joined(parts), device)
  if (options.json) print(toJson({ conditions: answers }))
  else print(answersText(answers, options.all === true, colourFor(process.stdout) ? COLOURS : PLAIN))
  return answers.some(({ verdict }) => verdict === 'fail') ? EXIT_FINDINGS : EXIT_OK
}

function deviceName(text: string): string {
  const match = /^(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}:[0-9a-f]{2}\.[0-7])$/i.exec(text)
  if (match === null) throw new CliError(EXIT_USAGE, `--device '${text}': expected a PCI address like 0000:6a:01.0 or 6a:01.0.`)
  return `${match[1] ?? '0000'}:${match[2]}`.toLowerCase()
}

async function evidenceOf(input: string): Promise<Evidence[]> {
  if (input === '-') return [told('standard input', await standardInput())]
  let isFolder: boolean
  let isSocket: boolean
  try {
    const found = await stat(input)
    isFolder = found.isDirectory()
    isSocket = found.isSocket()
  } catch (error) {
    throw new CliError(
      EXIT_INPUT,
      `${input}: ${(error as NodeJS.ErrnoException).code === 'ENOENT' ? 'no such file or folder' : (error as Error).message}.`,
    )
  }
  if (isFolder) return capture(input)
  if (isSocket || /\.ya?ml$/i.test(input)) return [await registers(input)]
  // Files of /proc say that they are empty: read to the end, not to their size.
  const bytes = /\.(?:gz|zst)$/i.test(input) ? await readUnpacked(input, TEXT_LIMIT) : await readFile(input)
  if (bytes.length > TEXT_LIMIT)
    throw new InputError(input, TEXT_LIMIT, 'is larger than any text that is understood here (64 MiB)')
  const text = new TextDecoder().decode(bytes)
  if (text.includes('\0')) throw new InputError(input, text.indexOf('\0'), 'is no text: it holds zero bytes')
  return [told(input, text)]
}

function told(name: string, text: string): Evidence {
  const evidence = readText(text)
  note(`${name}: ${evidence.kind}${evidence.kind === 'lspci' ? `, ${evidence.devices.length} devices` : ''}`)
  return evidence
}

/** Registers, command line and boot messages of a capture. */
async function capture(folder: string): Promise<Evidence[]> {
  const { side } = await openCapture(folder)
  const parts = [await registers(folder)]
  const line = (side as { kernel_cmdline?: unknown }).kernel_cmdline
  if (typeof line === 'string') parts.push({ ...NOTHING, commandLine: line })
  const log = join(folder, 'dmesg.txt.gz')
  if (await exists(log)) parts.push(readText(new TextDecoder().decode(await readUnpacked(log, TEXT_LIMIT))))
  return parts
}

const NOTHING: Evidence = { iommus: [], devices: [], commandLine: null, messages: [], cpuFlags: null, config: null }

async function registers(input: string): Promise<Evidence> {
  const machine = await openInput(input)
  const values = new Map(machine.graph().registers.map(({ name, value }) => [name, value]))
  const { kind } = machine.architecture
  const iommu = { kind, name: kind, register: (name: string) => values.get(name) ?? null, facts: new Map() }
  note(`${basename(input)}: registers of an ${machine.architecture.name}`)
  return { ...NOTHING, iommus: [iommu] }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isFile(),
    () => false,
  )
}

async function standardInput(): Promise<string> {
  const pieces: Buffer[] = []
  let bytes = 0
  for await (const piece of process.stdin) {
    pieces.push(piece as Buffer)
    bytes += (piece as Buffer).length
    if (bytes > TEXT_LIMIT)
      throw new InputError('standard input', bytes, 'is larger than any text that is understood here (64 MiB)')
  }
  return Buffer.concat(pieces).toString('utf8')
}

const MARKS: Readonly<Record<Verdict, string>> = { pass: 'pass   ', fail: 'FAIL   ', unknown: 'unknown' }

function answersText(answers: readonly Answer[], all: boolean, paint: Painter): string {
  const paints: Readonly<Record<Verdict, (text: string) => string>> = { pass: paint.good, fail: paint.bad, unknown: paint.dim }
  const lines: string[] = []
  for (const where of new Set(answers.map((answer) => answer.where))) {
    const list = answers.filter((answer) => answer.where === where)
    const counts = (['pass', 'fail', 'unknown'] as const).map(
      (verdict) => `${list.filter((answer) => answer.verdict === verdict).length} ${verdict}`,
    )
    lines.push(paint.bold(harmless(`${where}: ${counts.join(', ')}`)))
    for (const { condition, verdict, because, change } of list) {
      if (verdict === 'pass' && !all) continue
      lines.push(`  ${paints[verdict](MARKS[verdict])} ${harmless(condition)}`)
      lines.push(...wrapped(harmless(because), 10))
      if (change !== null) lines.push(...wrapped(harmless(`→ ${change}`), 10))
    }
  }
  const failing = answers.filter(({ verdict }) => verdict === 'fail').length
  const unknown = answers.filter(({ verdict }) => verdict === 'unknown').length
  const sum =
    failing > 0
      ? `${failing} of ${answers.length} conditions fail`
      : unknown > 0
        ? `nothing fails; ${unknown} of ${answers.length} conditions are not known`
        : 'all conditions hold'
  return `${lines.join('\n')}\n\n${paint.bold(sum)}`
}
