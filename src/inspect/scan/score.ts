/** What a proposal is worth: what an inspector makes of it. */
import type { MachineGraph } from '../graph.ts'
import type { Budget } from '../space.ts'

export interface Score {
  /** Devices with tables in which something is mapped. */
  readonly devices: number
  /** Address spaces in which something is mapped. */
  readonly spaces: number
  /** What is wrong in the tables: illegal entries, pointers to where nothing answers. */
  readonly contradictions: number
}

/** Enough to tell tables from other things: a look costs milliseconds, whatever the machine's size. */
export function scoreBudget(): Budget {
  return { tables: 1 << 12, ranges: 1 << 14, entries: 1 << 18, listed: 1 << 10 }
}

/** @param graph the machine, read with nothing but what was proposed. */
export function scoreOf(graph: MachineGraph): Score {
  const mapped = new Set(graph.spaces.filter(({ leafCount }) => leafCount > 0).map(({ id }) => id))
  const tables = new Map(graph.pasidTables.map((table) => [table.id, table]))
  const has = (space: string | null | undefined) => space !== null && space !== undefined && mapped.has(space)
  const devices = graph.devices.filter(({ state, space, pasidTable }) => {
    if (state !== 'tables') return false
    const entries = pasidTable === null ? [] : (tables.get(pasidTable)?.entries ?? [])
    return has(space) || entries.some((entry) => has(entry.space) || has(entry.upper))
  })
  const contradictions = graph.findings.filter(({ severity, text }) => severity === 'error' && !text.startsWith(UNKNOWN_VALUE))
  return { devices: devices.length, spaces: mapped.size, contradictions: contradictions.length }
}

/** Registers that no scan finds are no contradiction. */
const UNKNOWN_VALUE = 'its value is not known'

/** Whether it is to be believed at all. A machine may have a mistake in its tables; nonsense has more mistakes than devices. */
export function plausible({ devices, contradictions }: Score): boolean {
  return devices > 0 && contradictions * 4 <= devices
}

/** The best first. */
export function compare(a: Score, b: Score): number {
  return value(b) - value(a)
}

function value({ devices, spaces, contradictions }: Score): number {
  return devices * 2 + spaces - contradictions * 8
}
