/**
 * What differs between two machines, or between two moments of one: registers, devices, PASID entries, mappings. Spaces are compared by
 * who uses them (device and PASID), not by where their tables lie: a table that was rebuilt elsewhere with the same mappings is only said
 * to have moved.
 */
import type { DeviceNode, MachineGraph, PasidNode, RangeView, SpaceNode } from './graph.ts'

/** A stretch of addresses of a device that leads elsewhere than before. End exclusive. */
export interface MappingChange {
  readonly kind: 'mapped' | 'unmapped' | 'moved' | 'rights'
  readonly start: bigint
  readonly end: bigint
  /** Output of `start` and rights (mask of UR … PX) before; null: nothing was mapped. */
  readonly before: { readonly output: bigint; readonly rights: number } | null
  readonly after: { readonly output: bigint; readonly rights: number } | null
}

export interface SpaceChange {
  /** Who uses it: device name and PASID (null: no PASID). Several where they share it. */
  readonly users: readonly { readonly device: string; readonly pasid: number | null }[]
  /** Null: there was none, or is none any more. */
  readonly before: SpaceNode | null
  readonly after: SpaceNode | null
  readonly changes: readonly MappingChange[]
  /** Changes that are not listed. */
  readonly more: number
}

export interface MachineDiff {
  /** Registers with another value; null where one side does not know it. */
  readonly registers: readonly { readonly name: string; readonly before: bigint | null; readonly after: bigint | null }[]
  readonly devices: readonly {
    readonly before: DeviceNode | null
    readonly after: DeviceNode | null
    readonly what: readonly string[]
  }[]
  /** PASID entries that came, went, or changed state. */
  readonly pasids: readonly {
    readonly device: string
    readonly pasid: number
    readonly before: PasidNode | null
    readonly after: PasidNode | null
  }[]
  readonly spaces: readonly SpaceChange[]
  /** Findings on one side only. */
  readonly findings: { readonly gone: readonly string[]; readonly come: readonly string[] }
  /** Faults and page requests that the queues hold now and did not hold before. */
  readonly events: readonly string[]
}

/** So many changes of one space are kept. */
const CHANGES = 1 << 12

/** Compares two graphs. Both should be complete: what a budget left out counts as not there. */
export function diffMachines(before: MachineGraph, after: MachineGraph): MachineDiff {
  const uses = [usesOf(before), usesOf(after)] as const
  return {
    registers: registerChanges(before, after),
    devices: deviceChanges(before, after),
    pasids: pasidChanges(uses[0], uses[1]),
    spaces: spaceChanges(uses[0], uses[1]),
    findings: { gone: onlyIn(findingsOf(before), findingsOf(after)), come: onlyIn(findingsOf(after), findingsOf(before)) },
    events: onlyIn(eventsOf(after), eventsOf(before)),
  }
}

/** Whether nothing differs. */
export function isEmptyDiff({ registers, devices, pasids, spaces, findings, events }: MachineDiff): boolean {
  const lists = [registers, devices, pasids, spaces, findings.gone, findings.come, events]
  return lists.every((list) => list.length === 0)
}

function registerChanges(before: MachineGraph, after: MachineGraph): MachineDiff['registers'] {
  const values = (graph: MachineGraph) => new Map(graph.registers.map(({ name, value }) => [name, value]))
  const [a, b] = [values(before), values(after)]
  return [...new Set([...a.keys(), ...b.keys()])]
    .map((name) => ({ name, before: a.get(name) ?? null, after: b.get(name) ?? null }))
    .filter((change) => change.before !== change.after)
}

function deviceChanges(before: MachineGraph, after: MachineGraph): MachineDiff['devices'] {
  const byId = (graph: MachineGraph) => new Map(graph.devices.map((device) => [device.id, device]))
  const [a, b] = [byId(before), byId(after)]
  return [...new Set([...a.keys(), ...b.keys()])]
    .sort((x, y) => x - y)
    .map((id) => ({ before: a.get(id) ?? null, after: b.get(id) ?? null }))
    .map((pair) => ({ ...pair, what: deviceWords(pair.before, pair.after) }))
    .filter(({ what }) => what.length > 0)
}

/** What of a device changed, in words. */
function deviceWords(a: DeviceNode | null, b: DeviceNode | null): string[] {
  if (a === null || b === null) return [a === null ? 'new' : 'gone']
  const what: string[] = []
  if (a.name !== b.name) what.push(`called ${a.name}, now ${b.name}`)
  if (a.domain !== b.domain) what.push(`domain ${a.domain ?? 'none'} → ${b.domain ?? 'none'}`)
  if (a.state !== b.state) what.push(`${a.state} → ${b.state}`)
  if (a.note !== b.note && b.note !== null) what.push(b.note)
  const fields = a.entry === null || b.entry === null ? [] : fieldChanges(a.entry.fields, b.entry.fields)
  if (fields.length > 0) what.push(`${b.entry!.structure}: ${fields.join(', ')}`)
  else if ((a.entry === null) !== (b.entry === null)) what.push(b.entry === null ? 'its entry is gone' : 'has an entry now')
  return what
}

type Fields = NonNullable<DeviceNode['entry']>['fields']

function fieldChanges(a: Fields, b: Fields): string[] {
  const before = new Map(a.map(({ name, value }) => [name, value]))
  return b
    .filter(({ name, value }) => before.get(name) !== value)
    .map(({ name, value }) => `${name} ${text(before.get(name))} → ${text(value)}`)
}

function text(value: bigint | number | undefined): string {
  return value === undefined ? '–' : typeof value === 'bigint' || value > 9 ? `0x${value.toString(16)}` : String(value)
}

/** What each user (device, PASID) has. */
interface Used {
  readonly device: string
  readonly pasid: number | null
  readonly entry: PasidNode | null
  readonly space: SpaceNode | null
}

function usesOf(graph: MachineGraph): Map<string, Used> {
  const uses = new Map<string, Used>()
  const spaces = new Map(graph.spaces.map((space) => [space.id, space]))
  const tables = new Map(graph.pasidTables.map((table) => [table.id, table]))
  for (const { id, name, space, pasidTable } of graph.devices) {
    const add = (pasid: number | null, half: string, entry: PasidNode | null, spaceId: string | null | undefined) => {
      const node = spaceId === null || spaceId === undefined ? null : (spaces.get(spaceId) ?? null)
      if (entry !== null || node !== null) uses.set(`${id} ${pasid} ${half}`, { device: name, pasid, entry, space: node })
    }
    add(null, '', null, space)
    const table = pasidTable === null ? undefined : tables.get(pasidTable)
    for (const entry of table?.entries ?? []) {
      add(entry.pasid, 'entry', entry, entry.space)
      if (entry.upper) add(entry.pasid, 'upper', null, entry.upper)
    }
  }
  return uses
}

function pasidChanges(a: ReadonlyMap<string, Used>, b: ReadonlyMap<string, Used>): MachineDiff['pasids'] {
  const changes: MachineDiff['pasids'][number][] = []
  for (const key of new Set([...a.keys(), ...b.keys()])) {
    const before = a.get(key)?.entry ?? null
    const after = b.get(key)?.entry ?? null
    const words = (entry: PasidNode | null) => (entry === null ? '' : `${entry.state} ${entry.note} ${entry.entry.words.join()}`)
    if (words(before) === words(after)) continue
    const { device, pasid } = (b.get(key) ?? a.get(key))!
    changes.push({ device, pasid: pasid!, before, after })
  }
  return changes
}

function spaceChanges(a: ReadonlyMap<string, Used>, b: ReadonlyMap<string, Used>): SpaceChange[] {
  const pairs = new Map<string, { before: SpaceNode | null; after: SpaceNode | null; users: SpaceChange['users'][number][] }>()
  for (const key of new Set([...a.keys(), ...b.keys()])) {
    const before = a.get(key)?.space ?? null
    const after = b.get(key)?.space ?? null
    if (before === null && after === null) continue
    const { device, pasid } = (b.get(key) ?? a.get(key))!
    const pair = `${before?.id} ${after?.id}`
    const known = pairs.get(pair)
    if (known === undefined) pairs.set(pair, { before, after, users: [{ device, pasid }] })
    else known.users.push({ device, pasid })
  }
  const out: SpaceChange[] = []
  for (const { before, after, users } of pairs.values()) {
    const { changes, more } = rangeChanges(before?.ranges ?? [], after?.ranges ?? [])
    const moved = before !== null && after !== null && (before.root !== after.root || before.format !== after.format)
    if (changes.length > 0 || moved || before === null || after === null) out.push({ users, before, after, changes, more })
  }
  return out
}

/** Both lists in order of addresses, and apart. */
export function rangeChanges(a: readonly RangeView[], b: readonly RangeView[]): { changes: MappingChange[]; more: number } {
  const [left, right] = [ordered(a), ordered(b)]
  const changes: MappingChange[] = []
  let more = 0
  const add = (change: MappingChange): void => {
    const last = changes.at(-1)
    if (last !== undefined && joins(last, change)) changes[changes.length - 1] = { ...last, end: change.end }
    else if (changes.length < CHANGES) changes.push(change)
    else more++
  }
  let i = 0
  let j = 0
  let at = 0n
  while (i < left.length || j < right.length) {
    const one = left[i]
    const other = right[j]
    const start = least(one?.start, other?.start, at)
    const inOne = one !== undefined && one.start <= start
    const inOther = other !== undefined && other.start <= start
    // Up to where either begins or ends.
    const bounds = [one, other]
      .flatMap((range) => (range === undefined ? [] : [range.start, range.end]))
      .filter((bound) => bound > start)
    const end = bounds.reduce(earlier)
    const before = inOne ? { output: one.output + (start - one.start), rights: one.rights } : null
    const after = inOther ? { output: other.output + (start - other.start), rights: other.rights } : null
    const kind = kindOf(before, after)
    if (kind !== null) add({ kind, start, end, before, after })
    at = end
    if (one !== undefined && one.end <= end) i++
    if (other !== undefined && other.end <= end) j++
  }
  return { changes, more }
}

/** Where the next stretch begins: where the last one ended, or at the next range behind a gap. */
function least(a: bigint | undefined, b: bigint | undefined, at: bigint): bigint {
  const starts = [a, b].filter((start) => start !== undefined).map((start) => (start < at ? at : start))
  return starts.reduce(earlier)
}

function earlier(a: bigint, b: bigint): bigint {
  if (b < a) return b
  return a
}

function kindOf(before: MappingChange['before'], after: MappingChange['after']): MappingChange['kind'] | null {
  if (before === null) return after === null ? null : 'mapped'
  if (after === null) return 'unmapped'
  if (before.output !== after.output) return 'moved'
  return before.rights === after.rights ? null : 'rights'
}

/** Whether a stretch goes on where the last one ended, in the same way. */
function joins(last: MappingChange, next: MappingChange): boolean {
  if (last.kind !== next.kind || last.end !== next.start) return false
  const bytes = last.end - last.start
  const follows = (a: MappingChange['before'], b: MappingChange['before']) =>
    a === null || b === null ? a === b : a.output + bytes === b.output && a.rights === b.rights
  return follows(last.before, next.before) && follows(last.after, next.after)
}

function ordered(ranges: readonly RangeView[]): readonly RangeView[] {
  return [...ranges].sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0))
}

const findingsOf = ({ findings }: MachineGraph) =>
  findings.map(({ severity, place, text: what }) => `${severity}: ${place}: ${what}`)
const eventsOf = ({ events }: MachineGraph) =>
  (events ?? []).map(
    ({ name, address, words, text: what }) =>
      `${name} at 0x${address.toString(16)}: ${what} [${words.map((word) => word.toString(16)).join(' ')}]`,
  )

/** Texts of one list that the other does not have, as often as they are more. */
function onlyIn(list: readonly string[], other: readonly string[]): string[] {
  const counts = new Map<string, number>()
  for (const one of other) counts.set(one, (counts.get(one) ?? 0) + 1)
  return list.filter((one) => {
    const count = counts.get(one) ?? 0
    if (count > 0) counts.set(one, count - 1)
    return count === 0
  })
}
