/** `iomm show`: the picture of a machine, ours or a real one: device table → PASID tables → address spaces. */
import { extname } from 'node:path'
import { Command } from 'commander'
import type { MachineGraph } from '../inspect/graph.ts'
import { renderJson, renderPicture, renderSvg, renderText } from '../render/index.ts'
import { CliError, colourFor, EXIT_USAGE, note, print } from './common.ts'
import { openInput } from './input.ts'
import { DUMP_HELP, type RegisterOptions, withRegisterOptions } from './registers.ts'
import { writeWhole } from './write-file.ts'

interface Options extends RegisterOptions {
  readonly output?: string
  readonly json?: true
  readonly verbose?: number
  readonly ascii?: true
}

export function showCommand(): Command {
  return withRegisterOptions(
    new Command('show')
      .summary('draw a machine: devices, PASID tables, address spaces')
      .description(
        'Reads the tables of a machine and draws what they say: which device leads to which PASID table, which entries share an address ' +
          'space, what is mapped there and with which permissions; what is wrong in the tables, and the faults that its queue holds.',
      )
      .argument('<input>', "a scenario (YAML file; its state after the last step), a capture (folder), a dump of memory, or '-'")
      .option('-o, --output <file>', 'write to a file: .svg (a drawing), .json or .txt')
      .option('--json', 'everything that was read, as JSON')
      .option(
        '-v, --verbose',
        'entries with all their fields and every range; -vv: raw words too',
        (_, level: number) => level + 1,
        0,
      )
      .option('--ascii', 'only ASCII characters')
      .addHelpText(
        'after',
        `
Examples:
  iomm show examples/two-domains.yaml
  iomm show examples/two-domains.yaml -o machine.svg
  iomm show test/fixtures/arm64-smmuv3-s1 -v | less
  iomm show test/fixtures/arm64-smmuv3-s1 --json | jq '.spaces[].label'
  iomm show vmcore
  iomm show vmcore --registers iommu_regset.txt --unit dmar1
  iomm show dmar_translation_struct.txt
  iomm show vmcore --smmu strtab-base=0x44b72000,strtab-base-cfg=0x10210
  iomm show guest.kdump --registers test/fixtures/arm64-smmuv3-s1/side.json.gz
  iomm show raw:0x40000000:/dev/shm/guest.ram --riscv ddtp=0x2041e004
${DUMP_HELP}

Exit code: 0 drawn, findings or not, 2 usage, 3 unreadable input, 4 not supported.`,
      )
      .action(show),
  )
}

async function show(input: string, options: Options): Promise<void> {
  const extension = options.output === undefined ? null : extname(options.output).toLowerCase()
  if (extension !== null && !['.svg', '.json', '.txt'].includes(extension))
    throw new CliError(EXIT_USAGE, `${options.output}: the name must end in .svg, .json or .txt; that decides what is written.`)
  if (options.json && extension !== null && extension !== '.json')
    throw new CliError(EXIT_USAGE, '--json and -o contradict each other: give the file a name that ends in .json.')
  const graph = (await openInput(input, options)).graph()
  if (options.output === undefined) {
    print(options.json ? renderJson(graph) : textOf(graph, options, process.stdout))
    return
  }
  const contents =
    extension === '.svg' ? renderSvg(graph) : extension === '.json' ? renderJson(graph) : textOf(graph, options, {})
  await writeWhole(options.output, contents.endsWith('\n') ? contents : `${contents}\n`)
  note(`wrote ${options.output}`)
}

/** The picture, and below it what has no room there: ranges, findings, entries. */
function textOf(graph: MachineGraph, { verbose = 0, ascii }: Options, stream: { isTTY?: boolean; columns?: number }): string {
  const width = stream.isTTY === true ? stream.columns : undefined
  const options = { colour: colourFor(stream), ascii: ascii ?? false, ...(width === undefined ? {} : { width }) }
  return `${renderPicture(graph, options)}\n${renderText(graph, { ...options, verbose })}`
}
