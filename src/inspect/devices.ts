/** Devices out of a device table: those with tables, those with a name, and the others by number. */
import { hex } from '../base/hex.ts'
import type { DeviceNode, Names } from './graph.ts'
import { deviceName, type Findings } from './source.ts'
import type { Budget } from './space.ts'

/** So many devices are listed; of those without a name, so many that say the same. */
const DEVICES = 1 << 12
const ALIKE = 8

/** An entry that may be listed. */
export interface Candidate {
  readonly id: number
  readonly address: number
  readonly words: Int32Array
}

/** What an entry of a device without a name counts as. */
export interface EntryKind {
  /** As in `757 entries: abort`. */
  readonly text: string
  /** Entries with the same key count as the same. */
  readonly key: string
  /** Whether the first few are listed even when there are many; `few`: listed when there are few. Else they are only ever counted. */
  readonly listed: 'first' | 'few' | 'never'
}

/** A device table, as its architecture reads it. */
export interface DeviceTable {
  /** For messages: `stream table`; `StreamID`. */
  readonly name: string
  readonly idName: string
  /** 32-bit words of an entry. */
  readonly entryWords: number
  /** Visits every entry in order of device ids; those that are not valid may be left out. @returns whether all were looked up, and how many lookups that took. */
  each(
    limit: number,
    visit: (id: number, address: number, words: Int32Array, at: number) => void,
  ): { complete: boolean; lookups: number }
  /** Null for an entry that is not valid: an unused one. */
  kindOf(words: Int32Array, at: number, id: number): EntryKind | null
  nodeOf(candidate: Candidate): DeviceNode
  /** Why the entry of a device that is known to exist cannot be reached; null when it can. */
  absence(id: number): string | null
}

interface Kind extends Omit<EntryKind, 'key'> {
  count: number
  readonly firstId: number
  lastId: number
  readonly candidates: Candidate[]
}

/** Devices in order of their ids, and the others in words: `757 entries: abort`. */
export function readDevices(
  table: DeviceTable,
  names: Names | undefined,
  budget: Budget,
  findings: Findings,
): { devices: DeviceNode[]; rest: string[] } {
  const kinds = new Map<string, Kind>()
  const chosen: Candidate[] = []
  const named = new Set(names?.devices?.keys())
  const { complete, lookups } = table.each(Math.ceil(budget.entries / 2), (id, address, words, at) => {
    const candidate = () => ({ id, address, words: words.slice(at, at + table.entryWords) })
    if (named.has(id)) {
      chosen.push(candidate())
      return
    }
    const kind = table.kindOf(words, at, id)
    if (kind !== null) count(kinds, kind, id, candidate)
  })
  budget.entries -= lookups
  if (!complete)
    findings.add('warning', table.name, `is larger than what is read of one machine: ${table.idName}s are left out`, 'incomplete')
  const rest: string[] = []
  for (const kind of kinds.values()) {
    const all = kind.count <= ALIKE && kind.candidates.length === kind.count
    if (all || kind.listed === 'first') chosen.push(...kind.candidates)
    const left = all ? 0 : kind.listed === 'first' ? kind.count - kind.candidates.length : kind.count
    if (left > 0) rest.push(restText(table.idName, kind, left))
  }
  chosen.sort((a, b) => a.id - b.id)
  if (chosen.length > DEVICES) {
    rest.push(`${chosen.length - DEVICES} entries: not listed, there are too many`)
    chosen.length = DEVICES
  }
  const devices = chosen.map((candidate) => table.nodeOf(candidate))
  const seen = new Set(chosen.map(({ id }) => id))
  for (const id of named) {
    if (seen.has(id)) continue
    const note = table.absence(id) ?? `not read: the ${table.name} is too large`
    devices.push(deviceNode(id, names, 'none', { note }))
  }
  return { devices: devices.sort((a, b) => a.id - b.id), rest }
}

/** A device, with what its names say. */
export function deviceNode(
  id: number,
  names: Names | undefined,
  state: DeviceNode['state'],
  more: Partial<DeviceNode> = {},
): DeviceNode {
  const known = names?.devices?.get(id)
  return {
    id,
    name: deviceName(names, id),
    detail: known?.detail ?? null,
    domain: known?.domain ?? null,
    state,
    pasidTable: null,
    space: null,
    note: null,
    entry: null,
    ...more,
  }
}

/** Devices with a name, where a register decides for all. */
export function devicesWithoutTable(names: Names | undefined, state: DeviceNode['state'], note: string): DeviceNode[] {
  return [...(names?.devices?.keys() ?? [])].map((id) => deviceNode(id, names, state, { note })).sort((a, b) => a.id - b.id)
}

function restText(idName: string, { text, firstId, lastId }: Kind, left: number): string {
  const where = firstId === lastId ? `${idName} ${hex(firstId)}` : `${idName}s ${hex(firstId)}–${hex(lastId)}`
  return `${left} ${left === 1 ? 'entry' : 'entries'}: ${text} (${where})`
}

function count(kinds: Map<string, Kind>, { text, key, listed }: EntryKind, id: number, candidate: () => Candidate): void {
  let kind = kinds.get(key)
  if (kind === undefined) {
    // Tables of their own for each of very many devices: beyond what is listed they are only counted.
    const full = kinds.size >= DEVICES
    const name = full ? 'with tables, not listed' : text
    kind = kinds.get(full ? name : key)
    if (kind === undefined) {
      kind = { text: name, count: 0, firstId: id, lastId: id, candidates: [], listed: full ? 'never' : listed }
      kinds.set(full ? name : key, kind)
    }
  }
  kind.count++
  kind.lastId = id
  if (kind.candidates.length < ALIKE && kind.listed !== 'never') kind.candidates.push(candidate())
}
