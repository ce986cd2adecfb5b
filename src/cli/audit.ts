/** `iomm audit`: what an attacker's device could do, and what is probably a mistake. */
import { Command, Option } from 'commander'
import { audit, type Remark, RULES, SEVERITIES, type Severity } from '../inspect/audit.ts'
import { colourFor, EXIT_FINDINGS, EXIT_OK, harmless, note, print, toJson } from './common.ts'
import { openInput } from './input.ts'
import { COLOURS, type Painter, PLAIN, wrapped } from './paint.ts'
import { DUMP_HELP, type RegisterOptions, withRegisterOptions } from './registers.ts'

interface Options extends RegisterOptions {
  readonly json?: true
  readonly rules?: true
  readonly least: Severity
}

export function auditCommand(): Command {
  return withRegisterOptions(new Command('audit'))
    .summary('what is dangerous or probably a mistake in the tables of a machine')
    .description(
      'Reads the tables of a machine and lists what a device could do that it should not, and what is probably a mistake: devices that are ' +
        "not translated, mappings of the kernel or of the IOMMU's own tables, memory shared between domains, ATS, entries that are left " +
        'over or illegal. Each with its severity and its place.',
    )
    .argument(
      '[input]',
      "a scenario (YAML file; its state after the last step), a capture (folder), a dump of memory, or QEMU's QMP socket",
    )
    .option('--json', 'the remarks as JSON')
    .addOption(new Option('--least <severity>', 'list nothing below this').choices([...SEVERITIES]).default('note'))
    .option('--rules', 'what is looked for, why, and what to do about it')
    .addHelpText(
      'after',
      `
Examples:
  iomm audit examples/two-domains.yaml
  iomm audit test/fixtures/arm64-smmuv3-s1 --least medium
  iomm audit test/fixtures/arm64-smmuv3-s1 --json | jq '.remarks[] | select(.severity == "high")'
  iomm audit --rules
${DUMP_HELP}

Exit code: 0 nothing above a note, 1 something, 2 usage, 3 unreadable input, 4 not supported.`,
    )
    .action(async (input: string | undefined, options: Options, command: Command) => {
      if (options.rules) print(options.json ? toJson({ rules: RULES.map(ruleView) }) : rulesText())
      else if (input === undefined) command.error("error: missing required argument 'input'")
      else process.exitCode = await run(input, options)
    })
}

async function run(input: string, options: Options): Promise<number> {
  const machine = await openInput(input, options)
  const graph = machine.graph()
  const least = SEVERITIES.indexOf(options.least)
  const all = audit(graph, machine.memory, machine.names)
  const remarks = all.filter(({ severity }) => SEVERITIES.indexOf(severity) <= least)
  if (options.json) print(toJson({ machine: graph.title, iommu: graph.iommu, remarks }))
  else {
    if (machine.names.memory === undefined)
      note(
        'It is not known what lies where in memory: nothing is said about the kernel, and doorbell registers cannot be told from memory.',
      )
    print(remarksText(remarks, colourFor(process.stdout) ? COLOURS : PLAIN))
  }
  return remarks.some(({ severity }) => severity !== 'note') ? EXIT_FINDINGS : EXIT_OK
}

function remarksText(remarks: readonly Remark[], paint: Painter): string {
  if (remarks.length === 0) return 'Nothing was found.'
  const lines: string[] = []
  for (const severity of SEVERITIES) {
    const list = remarks.filter((remark) => remark.severity === severity)
    if (list.length === 0) continue
    const heading = `${severity} (${list.length})`
    lines.push(severity === 'high' || severity === 'medium' ? paint.bad(heading) : paint.bold(heading))
    // What is said of one place stands together.
    for (const place of new Set(list.map((remark) => remark.place))) {
      const here = list.filter((remark) => remark.place === place)
      if (here.length === 1) lines.push(...wrapped(harmless(`${place}: ${here[0]!.text} [${here[0]!.rule}]`), 2))
      else {
        lines.push(...wrapped(harmless(`${place}:`), 2))
        for (const { rule, text } of here) lines.push(...wrapped(harmless(`- ${text} [${rule}]`), 4))
      }
    }
    lines.push('')
  }
  return lines.join('\n')
}

const ruleView = ({ name, severities, about, advice }: (typeof RULES)[number]) => ({ rule: name, severities, about, advice })

function rulesText(): string {
  return RULES.flatMap(({ name, about, advice }) => [name, ...wrapped(about, 2), ...wrapped(advice, 2), '']).join('\n')
}
