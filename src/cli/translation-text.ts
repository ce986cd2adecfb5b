/** Text of debug files that lists tables, as INPUT. */
import type { Finding } from '../inspect/graph.ts'
import { chosenUnit, parseTranslationText } from '../node/index.ts'
import { REGISTER_TABLES } from './architectures.ts'
import { type OpenedMachine, openedDump } from './input.ts'
import { type RegisterOptions, registersFrom, sourceOf } from './registers.ts'

/** @throws CliError or InputError that says what is wrong with it. */
export async function openedTableText(text: string, path: string, options: RegisterOptions): Promise<OpenedMachine> {
  const { kind, pointer, devices, dump } = chosenUnit(path, parseTranslationText(path, text), options.unit ?? null)
  const table = REGISTER_TABLES.find((one) => one.kind === kind)!
  const told = { how: path, names: { devices } }
  const registers = (await registersFrom(options)) ?? sourceOf(table, [pointer], told)
  const machine = openedDump(dump, { ...registers, names: registers.names ?? told.names })
  return {
    ...machine,
    graph() {
      const graph = machine.graph()
      return { ...graph, findings: withoutMissing(graph.findings) }
    },
  }
}

/** Page tables that a text does not list are no mistake of the machine. */
function withoutMissing(findings: readonly Finding[]): Finding[] {
  const rest = findings.filter(
    ({ place, text }) => !(place.startsWith('page table at') && /^nothing answers|more tables are missing$/.test(text)),
  )
  if (rest.length === findings.length) return rest
  const text =
    'page tables are not listed in it: what they map is not known (domain_translation_struct of the Intel driver lists it)'
  return [...rest, { severity: 'note', place: 'page tables', text }]
}
