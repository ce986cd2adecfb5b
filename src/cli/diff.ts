/** `iomm diff`: what differs between two machines, or between two moments of one. */
import { Command } from 'commander'
import { rightsText } from '../base/types.ts'
import { diffMachines, isEmptyDiff, type MachineDiff, type MappingChange } from '../inspect/diff.ts'
import { colourFor, EXIT_FINDINGS, EXIT_OK, note, print, toJson } from './common.ts'
import { diffText } from './diff-text.ts'
import { openInput } from './input.ts'
import { COLOURS, PLAIN } from './paint.ts'
import { DUMP_HELP, type RegisterOptions, withRegisterOptions } from './registers.ts'

interface Options extends RegisterOptions {
  readonly json?: true
}

export function diffCommand(): Command {
  return withRegisterOptions(new Command('diff'))
    .summary('what differs between two machines, or two moments of one')
    .description(
      'Reads both machines and tells what differs: registers, devices, PASID entries, and for each address space what was mapped, ' +
        'unmapped, moved or given other permissions. Spaces are compared by who uses them, wherever their tables lie.',
    )
    .argument(
      '<before>',
      "a scenario (YAML file; its state after the last step), a capture (folder), a dump of memory, or QEMU's QMP socket",
    )
    .argument('<after>', 'the same, to compare with it')
    .option('--json', 'what differs as JSON')
    .addHelpText(
      'after',
      `
Examples:
  iomm diff examples/two-domains.yaml examples/private-pasid.yaml
  iomm diff ../shared/captures/arm64-smmuv3-s1 ../shared/captures/arm64-smmuv3-s2
  iomm diff before after --json | jq '.spaces[].changes | length'
${DUMP_HELP}

Exit code: 0 nothing differs, 1 something does, 2 usage, 3 unreadable input, 4 not supported.`,
    )
    .action(async (before: string, after: string, options: Options) => {
      process.exitCode = await diff(before, after, options)
    })
}

async function diff(before: string, after: string, options: Options): Promise<number> {
  const [first, second] = [await openInput(before, options), await openInput(after, options)]
  const graphs = [first.graph(), second.graph()] as const
  for (const graph of graphs)
    if (graph.spaces.some(({ complete }) => !complete))
      note(`${graph.title}: not all tables were read; what was left out counts as not there.`)
  const found = diffMachines(...graphs)
  const same = isEmptyDiff(found)
  if (options.json) print(toJson({ before: graphs[0].title, after: graphs[1].title, same, ...plain(found) }))
  else print(same ? 'Nothing differs.' : diffText(found, colourFor(process.stdout) ? COLOURS : PLAIN))
  return same ? EXIT_OK : EXIT_FINDINGS
}

/** For JSON: names instead of nodes. */
function plain({ registers, devices, pasids, spaces, findings, events }: MachineDiff) {
  const side = (what: MappingChange['before']) => (what === null ? null : { ...what, rights: rightsText(what.rights) })
  return {
    registers,
    devices: devices.map(({ before, after, what }) => ({ device: (after ?? before)!.name, what })),
    pasids: pasids.map(({ device, pasid, before, after }) => ({
      device,
      pasid,
      before: before?.state ?? null,
      after: after?.state ?? null,
    })),
    spaces: spaces.map(({ users, before, after, changes, more }) => ({
      users,
      rootBefore: before?.root ?? null,
      rootAfter: after?.root ?? null,
      changes: changes.map((change) => ({ ...change, before: side(change.before), after: side(change.after) })),
      more,
    })),
    findings,
    events,
  }
}
