/**
 * `tables` of a capture: what an independent program found in the same bytes. Compared with the graph that `inspect` makes: raw entries,
 * their fields, and the leaves of each address space by size.
 */
import { hex, hexPad, size } from '../../base/hex.ts'
import type { DeviceNode, EntryView, MachineGraph, PasidNode, SpaceNode } from '../../inspect/graph.ts'
import { type DeviceFacts, factNumber, factWords, type SpaceFacts } from '../../node/index.ts'
import type { CheckList, Failure } from './contract.ts'

/** How the facts of one architecture are named. */
export interface FactNames {
  /** Key of a device entry's raw words, and of a PASID entry's. */
  readonly deviceWords: string
  readonly pasidWords: string
  /** Numbers about the device entry: key → its field. */
  readonly deviceFields: Readonly<Record<string, string>>
  /** Numbers about the PASID entry: key → its field. */
  readonly pasidFields: Readonly<Record<string, string>>
  /** Numbers that the device entry holds about a space without PASID entry (stage 2): key → its field. */
  readonly spaceFields: Readonly<Record<string, string>>
  /** Numbers about the page table itself. */
  readonly space: Readonly<Record<string, (space: SpaceNode) => bigint | null>>
  /** Words for `fmt`. */
  readonly formats: Readonly<Record<string, (space: SpaceNode) => boolean>>
  /** Words for `fmt` that mean no page table at all: everything passes as it is. */
  readonly bypass?: readonly string[]
  /** Words for `fmt` that mean no page table at all; whether anything passes, other bits of the device entry decide. */
  readonly withoutTables?: readonly string[]
  /** Keys that say nothing by themselves: they hold what is compared elsewhere. */
  readonly structural: readonly string[]
}

type Facts = Readonly<Record<string, unknown>>

interface Item {
  readonly name: string
  check(): Failure | null
}

/** One item for each device entry, and one for each address space. */
export function tableList(
  graph: MachineGraph,
  tables: Readonly<Record<string, DeviceFacts>>,
  deviceOf: (name: string) => number | null,
  names: FactNames,
): CheckList & { readonly ignored: ReadonlyMap<string, number> } {
  // Facts that nothing here compares, so that a reader is told.
  const ignored = new Map<string, number>()
  const context: Context = { graph, names, ignored }
  const items: Item[] = []
  for (const [device, facts] of Object.entries(tables)) {
    const node = graph.devices.find(({ id }) => id === deviceOf(device)) ?? null
    items.push({ name: device, check: () => checkDevice(context, device, node, facts) })
    for (const [pasid, space] of Object.entries(facts.spaces ?? {})) {
      if (pasid !== 'none' && !/^\d+$/.test(pasid)) {
        count(ignored, `spaces.${pasid}`)
        continue
      }
      const name = `${device}, ${pasid === 'none' ? 'no PASID' : `PASID ${pasid}`}`
      items.push({ name, check: () => checkSpace(context, name, node, pasid, space) })
    }
  }
  return { name: 'tables', count: items.length, ignored, check: (index) => items[index]!.check() }
}

interface Context {
  readonly graph: MachineGraph
  readonly names: FactNames
  readonly ignored: Map<string, number>
}

function failure(item: string, kind: string, expected: string, actual: string): Failure {
  return { item: `tables (${item})`, kind, expected, actual, explain: () => '' }
}

function checkDevice({ names, ignored }: Context, item: string, node: DeviceNode | null, facts: Facts): Failure | null {
  if (node === null || node.entry === null)
    return failure(
      item,
      'no device entry',
      `an entry in the device table`,
      node === null ? 'no such device' : `none: ${node.note}`,
    )
  const keys = [names.deviceWords, ...names.structural, 'spaces']
  return (
    compareWords(item, names.deviceWords, facts, node.entry) ??
    compareFields(item, facts, node.entry, names.deviceFields, keys, ignored)
  )
}

function checkSpace(context: Context, item: string, device: DeviceNode | null, key: string, facts: SpaceFacts): Failure | null {
  const { graph, names, ignored } = context
  if (facts.fmt !== undefined && names.bypass?.includes(facts.fmt)) {
    if (device?.state === 'bypass') return null
    return failure(
      item,
      'no bypass',
      'everything passes as it is',
      device === null ? 'no such device' : `the device is '${device.state}'`,
    )
  }
  if (facts.fmt !== undefined && names.withoutTables?.includes(facts.fmt)) {
    if (device?.state === 'bypass' || device?.state === 'abort') return null
    return failure(item, 'tables', 'no address space', device === null ? 'no such device' : `the device is '${device.state}'`)
  }
  const table = graph.pasidTables.find(({ id }) => id === device?.pasidTable)
  const pasid = key === 'none' ? 0 : Number(key)
  const entry = table?.entries.find((candidate) => candidate.pasid === pasid) ?? null
  const spaceId = entry === null ? (key === 'none' ? (device?.space ?? null) : null) : entry.space
  const space = graph.spaces.find(({ id }) => id === spaceId)
  if (space === undefined) return failure(item, 'no address space', 'an address space', absence(device, entry))
  const keys = [names.pasidWords, ...names.structural, 'fmt', 'leaf_histogram', ...Object.keys(names.space)]
  return (
    (entry === null
      ? compareFields(item, facts, device!.entry!, names.spaceFields, keys, ignored)
      : (compareWords(item, names.pasidWords, facts, entry.entry) ??
        compareFields(item, facts, entry.entry, names.pasidFields, keys, ignored))) ??
    compareShape(item, facts, space, names, ignored) ??
    compareLeaves(item, facts, space)
  )
}

function absence(device: DeviceNode | null, entry: PasidNode | null): string {
  if (device === null) return 'no such device'
  if (entry !== null) return `the entry is ${entry.state}: ${entry.note ?? 'no reason given'}`
  return `the device is '${device.state}'${device.note === null ? '' : `: ${device.note}`}, and has no such entry`
}

function compareWords(item: string, key: string, facts: Facts, entry: EntryView): Failure | null {
  const words = factWords(facts, key)
  if (words === null || words.every((word, index) => word === entry.words[index])) return null
  const text = (list: readonly bigint[]) => list.map((word) => hexPad(word, 16)).join(' ')
  return failure(item, `different ${entry.structure}`, text(words), `${text(entry.words)} at ${hex(entry.address)}`)
}

function compareFields(
  item: string,
  facts: Facts,
  entry: EntryView,
  fields: Readonly<Record<string, string>>,
  done: readonly string[],
  ignored: Map<string, number>,
): Failure | null {
  for (const key of Object.keys(facts)) {
    const name = fields[key]
    const expected = factNumber(facts, key)
    if (name === undefined || expected === null) {
      if (!done.includes(key)) count(ignored, key)
      continue
    }
    const field = entry.fields.find((candidate) => candidate.name === name)
    if (field !== undefined && BigInt(field.value) === expected) continue
    const actual = field === undefined ? 'there is no such field' : hex(field.value)
    return failure(item, `different ${entry.structure}.${name}`, `${entry.structure}.${name} = ${hex(expected)}`, actual)
  }
  return null
}

function compareShape(
  item: string,
  facts: SpaceFacts,
  space: SpaceNode,
  names: FactNames,
  ignored: Map<string, number>,
): Failure | null {
  if (facts.fmt !== undefined) {
    const fits = names.formats[facts.fmt]
    if (fits === undefined) count(ignored, `fmt ${facts.fmt}`)
    else if (!fits(space)) return failure(item, 'different format', facts.fmt, space.format)
  }
  for (const [key, read] of Object.entries(names.space)) {
    const expected = factNumber(facts, key)
    const actual = read(space)
    if (expected !== null && expected !== actual)
      return failure(item, `different ${key}`, `${key} ${hex(expected)}`, actual === null ? 'none' : hex(actual))
  }
  return null
}

function count(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1)
}

function compareLeaves(item: string, facts: SpaceFacts, space: SpaceNode): Failure | null {
  if (facts.leaf_histogram === undefined) return null
  const text = (counts: ReadonlyMap<number, number>) =>
    [...counts]
      .filter(([, number]) => number > 0)
      .sort(([a], [b]) => a - b)
      .map(([bytes, number]) => `${number} × ${size(bytes)}`)
      .join(', ') || 'no leaves'
  const expected = text(new Map(Object.entries(facts.leaf_histogram).map(([bytes, count]) => [Number(bytes), count])))
  const counts = new Map<number, number>()
  for (const { leaves } of space.ranges) {
    for (const [log2, number] of leaves) counts.set(2 ** log2, (counts.get(2 ** log2) ?? 0) + number)
  }
  const actual = text(counts)
  if (!space.complete) return failure(item, 'too large to enumerate', expected, `${actual}, and more`)
  return expected === actual ? null : failure(item, 'different leaves', expected, actual)
}
