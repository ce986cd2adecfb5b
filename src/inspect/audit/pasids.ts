/** Rules about PASID tables: what is left over, and what means two things. */
import type { PasidNode, PasidTableNode } from '../graph.ts'
import { type Audited, listText, type Rule } from './contract.ts'

/** Entries for which something holds, by table. */
function* entries({ graph }: Audited, holds: (entry: PasidNode, table: PasidTableNode) => boolean) {
  for (const table of graph.pasidTables) {
    const found = table.entries.filter((entry) => holds(entry, table))
    if (found.length === 0) continue
    const users = graph.devices.filter(({ pasidTable }) => pasidTable === table.id).map(({ name }) => name)
    const numbers = listText(found.map(({ pasid }) => String(pasid)))
    yield { place: `${graph.words.pasidTable} of ${listText(users)}`, numbers, many: found.length > 1 }
  }
}

export const quiet: Rule<'low'> = {
  name: 'quiet',
  severities: ['low'],
  about: 'An entry that is valid and walks nothing: its process has exited, and the device was not told to stop.',
  advice: 'The driver of the device has to stop the PASID and unbind; until then the PASID cannot be used again.',
  *look(machine) {
    for (const { place, numbers } of entries(machine, ({ state }) => state === 'quiet'))
      yield { severity: 'low', place, text: `PASID ${numbers}: the process has exited, and the device is still bound` }
  },
}

export const stale: Rule<'low'> = {
  name: 'stale',
  severities: ['low'],
  about: 'A valid entry above 0 whose page table maps nothing, or is not in memory at all: often one that was forgotten.',
  advice:
    'See whether the process or domain still exists. A page that was freed and used again would become a page table for the device.',
  *look(machine) {
    const spaces = new Map(machine.graph.spaces.map((space) => [space.id, space]))
    const empty = ({ pasid, state, space, upper }: PasidNode) => {
      if (pasid === 0 || state !== 'valid' || space === null) return false
      return [space, upper].every(
        (id) => id === null || id === undefined || (spaces.get(id)?.leafCount === 0 && spaces.get(id)?.complete === true),
      )
    }
    for (const { place, numbers, many } of entries(machine, empty))
      yield {
        severity: 'low',
        place,
        text: `PASID ${numbers}: valid, and ${many ? 'their page tables map' : 'its page table maps'} nothing`,
      }
  },
}

export const ambiguous: Rule<'note'> = {
  name: 'ambiguous',
  severities: ['note'],
  about:
    'One PASID that means a process for one device and another address space for another device. Where processes are shared, the PASID space is global.',
  advice: 'Harmless as long as no work is handed from one device to the other with its PASID.',
  *look({ graph }) {
    const roles = new Map(graph.spaces.map(({ id, role }) => [id, role]))
    const meanings = new Map<number, Set<string>>()
    for (const { entries: list } of graph.pasidTables)
      for (const { pasid, state, space } of list) {
        if (pasid === 0 || state !== 'valid' || space === null) continue
        meanings.set(pasid, (meanings.get(pasid) ?? new Set()).add(space))
      }
    const twice = [...meanings].filter(([, spaces]) => spaces.size > 1 && [...spaces].some((id) => roles.get(id) === 'io_mm'))
    if (twice.length > 0)
      yield {
        severity: 'note',
        place: graph.words.pasidTable,
        text: `PASID ${listText(twice.map(([pasid]) => String(pasid)))}: a process for some devices, another address space for others`,
      }
  },
}

export const PASID_RULES: readonly Rule[] = [quiet, stale, ambiguous]
