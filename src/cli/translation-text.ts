/** Text of debug files that lists tables, as INPUT. */
import type { Finding } from '../inspect/graph.ts'
import { chosenUnit, parseTranslationText } from '../node/index.ts'
import { type OpenedMachine, openedDump } from './input.ts'
import { REGISTER_TABLES } from './register-tables.ts'
import { type RegisterOptions, registersFrom, sourceOf } from './registers.ts'

/** RTADDR.TTM: scalable mode. */
const SCALABLE = 1n << 10n

/** @throws CliError or InputError that says what is wrong with it. */
export async function openedTables(text: string, path: string, options: RegisterOptions): Promise<OpenedMachine> {
  const { kind, root, scalable, devices, dump } = chosenUnit(path, parseTranslationText(path, text), options.unit ?? null)
  const table = REGISTER_TABLES.find((one) => one.kind === kind)!
  const value = root | (scalable ? SCALABLE : 0n)
  const told = { how: path, names: { devices } }
  const registers = (await registersFrom(options)) ?? sourceOf(table, [{ offset: 0x20, size: 8, value }], told)
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
  const text = 'page tables are not listed in it: what they map is not known; domain_translation_struct lists it'
  return [...rest, { severity: 'note', place: 'page tables', text }]
}
