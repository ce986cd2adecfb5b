/** A machine in sentences, for those who cannot see the drawing. */
import { hex } from '../base/hex.ts'
import type { MachineGraph } from '../inspect/graph.ts'
import { clean } from './clean.ts'
import { ids } from './overview.ts'
import { count, spaceAbout, spaceName } from './words.ts'

const DEVICES = 12
const ENTRIES = 8

/** Counts, and where the first devices lead. */
export function describeMachine(graph: MachineGraph): string {
  const spaces = new Map(graph.spaces.map((space) => [space.id, space]))
  const tables = new Map(graph.pasidTables.map((table) => [table.id, table]))
  const idText = ids(graph)
  const named = (id: string | null) => {
    const space = id === null ? undefined : spaces.get(id)
    return space === undefined ? 'nothing' : [spaceName(space), spaceAbout(space)].filter((part) => part !== '').join(', ')
  }
  const lines = [
    `${clean(graph.iommu, 60)}: ${count(graph.devices.length, 'device')}, ${count(graph.pasidTables.length, 'PASID table')}, ${count(graph.spaces.length, 'address space')}.`,
  ]
  for (const device of graph.devices.slice(0, DEVICES)) {
    const table = device.pasidTable === null ? undefined : tables.get(device.pasidTable)
    const who = `Device ${idText(device.id)}${clean(device.name) === idText(device.id) ? '' : ` (${clean(device.name, 40)})`}`
    if (table !== undefined) {
      const entries = table.entries
        .slice(0, ENTRIES)
        .map((entry) => `PASID ${entry.pasid} to ${entry.state === 'valid' ? named(entry.space) : entry.state}`)
      if (table.entries.length > ENTRIES) entries.push(`${table.entries.length - ENTRIES} more`)
      lines.push(`${who} has the PASID table at ${hex(table.address)}: ${entries.join('; ') || 'no entry in use'}.`)
    } else lines.push(`${who}: ${device.space !== null ? named(device.space) : device.state}.`)
  }
  if (graph.devices.length > DEVICES) lines.push(`And ${count(graph.devices.length - DEVICES, 'more device')}.`)
  return lines.join('\n')
}
