/** `iomm find`: which devices reach this physical memory, through which tables. */
import { Command } from 'commander'
import { about, hex, parseNumber, size } from '../base/hex.ts'
import { rightsText } from '../base/types.ts'
import { findReaches, type Mapping, type Reach } from '../inspect/find.ts'
import { spaceAbout, spaceName } from '../render/words.ts'
import { CliError, colourFor, EXIT_FINDINGS, EXIT_OK, EXIT_USAGE, harmless, note, print, toJson } from './common.ts'
import { openInput } from './input.ts'
import { COLOURS, PLAIN } from './paint.ts'
import { DUMP_HELP, type RegisterOptions, withRegisterOptions } from './registers.ts'

interface Options extends RegisterOptions {
  readonly json?: true
}

export function findCommand(): Command {
  return withRegisterOptions(new Command('find'))
    .summary('which devices reach a physical page, with which PASID and permissions')
    .description(
      'Reads every table of a machine backwards: from physical memory to the devices that reach it, the PASID and the address that ' +
        'they use, what they may do there, and the page-table entry that lets them.',
    )
    .argument(
      '<input>',
      "a scenario (YAML file; its state after the last step), a capture (folder), a dump of memory, or QEMU's QMP socket",
    )
    .argument('<phys>', 'physical address (its 4 KiB page is looked for), ADDRESS+SIZE, or START-END (end exclusive)')
    .option('--json', 'what was found as JSON')
    .addHelpText(
      'after',
      `
Examples:
  iomm find examples/two-domains.yaml 0x80008000
  iomm find test/fixtures/arm64-smmuv3-s1 0x42a3d000
  iomm find test/fixtures/arm64-smmuv3-s1 0x40000000-0x80000000
  iomm find ../shared/captures/amd64-vtd-pasid-sva 0x13d4ea000+64K --json | jq '.reaches[].pasid'
${DUMP_HELP}

Exit code: 0 some device reaches it, 1 none does, 2 usage, 3 unreadable input, 4 not supported.`,
    )
    .action(async (input: string, phys: string, options: Options) => {
      process.exitCode = await find(input, phys, options)
    })
}

/** The range that PHYS means. @throws CliError */
function range(text: string): { start: number; end: number } {
  const fail = (why: string): never => {
    throw new CliError(
      EXIT_USAGE,
      `'${text}': ${why}. Write an address like 0x42a3d000, 0x42a3d000+64K or 0x40000000-0x80000000.`,
    )
  }
  const [, first = '', sign, second = ''] = /^([^+-]+)(?:([+-])(.+))?$/.exec(text) ?? []
  const start = parseNumber(first) ?? fail('the address is no number')
  if (sign === undefined) {
    const page = start & ~0xfffn
    return start < 1n << 52n ? { start: Number(page), end: Number(page + 4096n) } : fail('the address is above 2^52')
  }
  const other = parseNumber(second) ?? fail(sign === '+' ? 'the size is no number' : 'the end is no number')
  const end = sign === '+' ? start + other : other
  if (end <= start) fail('the range is empty')
  return end <= 1n << 52n ? { start: Number(start), end: Number(end) } : fail('the range reaches above 2^52')
}

async function find(input: string, phys: string, options: Options): Promise<number> {
  const { start, end } = range(phys)
  const machine = await openInput(input, options)
  const graph = machine.graph()
  const { reaches, complete } = findReaches(graph, machine.memory, start, end)
  if (!complete) note('There is more: the tables lead there in more ways than are listed.')
  if (options.json) {
    print(toJson({ machine: graph.title, start: BigInt(start), end: BigInt(end), complete, reaches: reaches.map(plain) }))
  } else {
    const paint = colourFor(process.stdout) ? COLOURS : PLAIN
    const what = `${hex(start)} to ${hex(end - 1)} (${about(BigInt(end - start))})`
    print(
      paint.bold(
        reaches.length === 0
          ? `No device reaches ${what}.`
          : `${what} is reached by ${reaches.length === 1 ? 'one way' : `${reaches.length} ways`}:`,
      ),
    )
    for (const reach of reaches) print(harmless(reachText(reach)))
    const open = graph.rest.filter((text) => /bypass/i.test(text))
    if (open.length > 0) note(`Not counted above, and not translated: ${open.join('; ')}.`)
  }
  return reaches.length > 0 ? EXIT_OK : EXIT_FINDINGS
}

/** For JSON: names instead of nodes. */
function plain({ device, pasid, space, mappings }: Reach) {
  return {
    device: device.name,
    id: device.id,
    pasid,
    space: space === null ? null : { id: space.id, label: space.label, role: space.role },
    mappings: mappings.map((mapping) => ({ ...mapping, rights: rightsText(mapping.rights) })),
  }
}

/** So many mappings of one way are listed. */
const LISTED = 16

function reachText({ device, pasid, space, mappings }: Reach): string {
  const detail = device.detail === null ? '' : ` (${device.detail})`
  const who = `  ${device.name}${detail}, ${pasid === null ? 'no PASID' : `PASID ${pasid}`}`
  if (space === null) return `${who}: not translated, at the same address, ${rightsText(mappings[0]!.rights)}`
  const about = spaceAbout(space)
  const lines = [`${who}: ${spaceName(space)}${about === '' ? '' : `, ${about}`}`]
  for (const mapping of mappings.slice(0, LISTED)) lines.push(`    ${mappingText(mapping)}`)
  if (mappings.length > LISTED) lines.push(`    and ${mappings.length - LISTED} more mappings: see --json`)
  return lines.join('\n')
}

function mappingText({ start, end, pa, rights, log2, entryAddress, entry }: Mapping): string {
  const from = entryAddress === null ? '' : `; entry ${hex(entry!)} at ${hex(entryAddress)}`
  const page = log2 === null ? '' : `, ${size(2n ** BigInt(log2))} pages`
  return `${hex(start)} to ${hex(end - 1n)} → ${hex(pa)}, ${rightsText(rights)}${page}${from}`
}
