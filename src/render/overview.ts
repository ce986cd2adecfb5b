/**
 * What a drawing shows of a machine: which devices, tables, entries and spaces, in cleaned words and with colours given out. Pictures of
 * big machines are summarised here, so that what follows has little to do and says what is missing.
 */
import { hex } from '../base/hex.ts'
import type { DeviceNode, MachineGraph, PasidNode, PasidTableNode, SpaceNode } from '../inspect/graph.ts'
import { worstFirst } from '../inspect/source.ts'
import { clean } from './clean.ts'
import { type Colour, HUES, SLATE } from './palette.ts'
import { count, deviceSays, grouped, spaceAbout, spaceMaps, spaceName } from './words.ts'

/** An address space as drawn. */
export interface SpaceView {
  readonly id: string
  readonly name: string
  readonly about: string
  readonly root: string
  readonly maps: string
  readonly colour: Colour
  /** No process behind it, and no domain either. */
  readonly isPrivate: boolean
  /** How many table entries and devices of the whole machine lead here. */
  readonly uses: number
  /** The stage 2 that it runs over. */
  readonly over: string | null
  /** Whether others run over it: it is drawn in a column of its own. */
  readonly under: boolean
}

/** One line of a PASID table's box. */
export interface RowView {
  /**
   * `entry`; `upper`: the same entry's space for the upper half of the addresses; `unused`: one entry between two that are in use; `more`: entries that are left out; `empty`: none is in use; `without`: what
   * transactions without PASID do, where they do not use entry 0.
   */
  readonly kind: 'entry' | 'upper' | 'unused' | 'more' | 'empty' | 'without'
  /** PASID, or what the line says. */
  readonly text: string
  /** What the entry says besides: `ASID 3`, `quiet`. */
  readonly tags: string
  readonly state: PasidNode['state']
  readonly space: string | null
  /** Why it leads nowhere. */
  readonly note: string
  /** Entries before it are unused and not drawn. */
  readonly gap: boolean
}

/** What a device leads to: a PASID table, or a space straight through the column of the tables. */
export type BlockView =
  | {
      readonly kind: 'table'
      readonly title: string
      readonly address: string
      readonly rows: readonly RowView[]
    }
  | { readonly kind: 'pass'; readonly space: string }

export interface DeviceView {
  readonly id: number
  readonly idText: string
  readonly name: string
  readonly detail: string
  /** Domain, or the state where there are no tables: `bypass`. */
  readonly says: string
  readonly state: DeviceNode['state']
  /** Index in `blocks`. */
  readonly block: number | null
}

export interface Overview {
  readonly title: string
  /** `Arm SMMUv3`, `Arm SMMUv3, not enabled`. */
  readonly machine: string
  readonly deviceTable: string
  readonly words: MachineGraph['words']
  readonly devices: readonly DeviceView[]
  /** In the order of the first device that leads there. */
  readonly blocks: readonly BlockView[]
  readonly spaces: ReadonlyMap<string, SpaceView>
  /** Lines beneath: what is not drawn, and what is wrong. */
  readonly notes: readonly { readonly text: string; readonly severity: 'error' | 'warning' | 'note' }[]
}

/** How much a drawing holds. */
export interface Limits {
  readonly devices: number
  /** Lines of one PASID table. */
  readonly rows: number
  /** Lines of all: a table counts its rows and two more. */
  readonly total: number
}

/** What a terminal shows. */
export const TERMINAL: Limits = { devices: 30, rows: 20, total: 120 }

const FINDINGS_SHOWN = 4

/** Chooses and words what is drawn of a machine. */
export function overview(graph: MachineGraph, limits: Limits): Overview {
  const index = new Index(graph)
  const chosen = choose(index, graph, limits)
  const spaces = new Map<string, SpaceView>()
  const blocks: BlockView[] = []
  const blockOf = new Map<string, number>()
  const devices = chosen.devices.map((device) => deviceView(device, index, blockOf, ids(graph)))
  for (const key of blockOf.keys()) {
    const table = key.startsWith('t') ? index.tables.get(key.slice(1)) : undefined
    blocks.push(table === undefined ? { kind: 'pass', space: key.slice(1) } : tableView(table, chosen.rows, index))
  }
  blocks.forEach((block, at) => {
    // What only one device leads to need not name that device again.
    const to = chosen.devices.filter((_, each) => devices[each]!.block === at)
    const owner = to.length === 1 ? clean(to[0]!.name) : ''
    if (block.kind === 'pass') addSpace(spaces, block.space, index, owner, '')
    else
      for (const row of block.rows)
        if (row.space !== null) addSpace(spaces, row.space, index, owner, row.state === 'valid' ? '' : row.note)
  })
  return {
    title: clean(graph.title, 80),
    machine: `${clean(graph.iommu, 60)}${graph.enabled ? '' : ', not enabled'}`,
    deviceTable: graph.deviceTable === null ? '' : `${hex(graph.deviceTable.address)}, ${clean(graph.deviceTable.layout, 40)}`,
    words: cleanWords(graph.words),
    devices,
    blocks,
    spaces: paintSpaces(spaces),
    notes: notes(graph, chosen.devices.length, blocks, spaces),
  }
}

/** The manual's names, fit for a heading. */
export function cleanWords(words: MachineGraph['words']): MachineGraph['words'] {
  return {
    deviceTable: clean(words.deviceTable, 30),
    deviceEntry: clean(words.deviceEntry, 30),
    pasidTable: clean(words.pasidTable, 30),
    pasidEntry: clean(words.pasidEntry, 30),
    pasid: clean(words.pasid, 30),
  }
}

/** Device ids as the picture writes them: decimal while all have one digit, else as the manuals do. */
export function ids(graph: MachineGraph): (id: number) => string {
  const small = graph.devices.every((device) => device.id < 10)
  return (id) => (small ? String(id) : hex(id))
}

/** The graph by id, and who leads where. */
class Index {
  readonly tables: ReadonlyMap<string, PasidTableNode>
  readonly spaces: ReadonlyMap<string, SpaceNode>
  /** Space id → entries and devices that lead there. */
  readonly uses = new Map<string, number>()
  readonly under = new Set<string>()

  constructor(graph: MachineGraph) {
    this.tables = new Map(graph.pasidTables.map((table) => [table.id, table]))
    this.spaces = new Map(graph.spaces.map((space) => [space.id, space]))
    const use = (id: string | null) => {
      if (id !== null) this.uses.set(id, (this.uses.get(id) ?? 0) + 1)
    }
    for (const table of graph.pasidTables)
      for (const entry of table.entries) {
        use(entry.space)
        use(entry.upper ?? null)
      }
    for (const device of graph.devices) if (device.pasidTable === null) use(device.space)
    for (const space of graph.spaces) if (space.over !== null && this.spaces.has(space.over)) this.under.add(space.over)
  }

  /** What a device leads to, as a key: `t` and the table's id, or `s` and the space's. */
  block(device: DeviceNode): string | null {
    if (device.pasidTable !== null && this.tables.has(device.pasidTable)) return `t${device.pasidTable}`
    return device.space !== null && this.spaces.has(device.space) ? `s${device.space}` : null
  }
}

/**
 * The devices drawn, and how many rows a table may have: as many as fit. Devices that lead somewhere go first, those that the hardware
 * refuses next; they are drawn in order of their ids.
 */
function choose(index: Index, graph: MachineGraph, limits: Limits): { devices: DeviceNode[]; rows: number } {
  const rank = (device: DeviceNode) =>
    index.block(device) !== null ? 0 : device.state === 'bad' ? 1 : device.state === 'none' ? 3 : 2
  const byRank = graph.devices
    .map((device) => ({ device, rank: rank(device) }))
    .sort((a, b) => a.rank - b.rank || a.device.id - b.device.id)
    .slice(0, limits.devices)
    .map(({ device }) => device)
  const height = (devices: readonly DeviceNode[], rows: number) => {
    const keys = new Set(devices.map((device) => index.block(device)))
    let sum = 0
    for (const key of keys) {
      const table = key?.startsWith('t') ? index.tables.get(key.slice(1)) : undefined
      sum += table === undefined ? 1 : 1 + Math.min(rows + 1, rowCount(table))
    }
    return Math.max(sum, devices.length)
  }
  let rows = limits.rows
  while (rows > 3 && height(byRank, rows) > limits.total) rows--
  let kept = byRank.length
  while (kept > 1 && height(byRank.slice(0, kept), rows) > limits.total) kept--
  return { devices: byRank.slice(0, kept).sort((a, b) => a.id - b.id), rows }
}

/** Lines of a table's box, its title among them, when nothing is left out; more than `enough` need not be counted. */
function rowCount(table: PasidTableNode, enough = 64): number {
  if (table.entries.length > enough) return table.entries.length
  let rows = 1
  let previous = -1
  for (const { pasid, upper } of table.entries) {
    rows += (pasid === previous + 2 ? 2 : 1) + (upper ? 1 : 0)
    previous = pasid
  }
  return rows
}

function deviceView(device: DeviceNode, index: Index, blockOf: Map<string, number>, idText: (id: number) => string): DeviceView {
  const key = index.block(device)
  let block: number | null = null
  if (key !== null) {
    block = blockOf.get(key) ?? blockOf.size
    blockOf.set(key, block)
  }
  const name = clean(device.name, 60)
  return {
    id: device.id,
    idText: idText(device.id),
    name: name === idText(device.id) ? '' : name,
    detail: clean(device.detail ?? '', 60),
    says: deviceSays(device),
    state: device.state,
    block,
  }
}

const PLAIN_ROW = { tags: '', state: 'valid', space: null, note: '', gap: false } as const

function tableView(table: PasidTableNode, limit: number, index: Index): BlockView {
  const rows: RowView[] = []
  let previous = -1
  const without = clean(table.withoutPasid, 40)
  if (!/^(entry 0)?$/i.test(without)) rows.push({ ...PLAIN_ROW, kind: 'without', text: `no PASID: ${without}` })
  for (const [at, entry] of table.entries.entries()) {
    const left = table.entries.length - at
    const mine = entryRows(entry, index, entry.pasid > previous + 2)
    if (entry.pasid === previous + 2) mine.unshift({ ...PLAIN_ROW, kind: 'unused', text: String(previous + 1) })
    // The last line is kept for what is left out, unless all fits.
    if (rows.length + mine.length > limit - (left > 1 ? 1 : 0)) {
      rows.push({ ...PLAIN_ROW, kind: 'more', text: `… and ${grouped(left)} more` })
      break
    }
    rows.push(...mine)
    previous = entry.pasid
  }
  if (table.entries.length === 0) rows.push({ ...PLAIN_ROW, kind: 'empty', text: 'no entry in use' })
  return {
    kind: 'table',
    title: clean(table.label ?? '', 60),
    address: hex(table.address),
    rows,
  }
}

/** An entry's line; a second one where it has a space for each half of the addresses. */
function entryRows(entry: PasidNode, index: Index, gap: boolean): RowView[] {
  const known = (id: string | null | undefined) => (id === null || id === undefined ? undefined : index.spaces.get(id))
  const space = known(entry.space)
  const upper = known(entry.upper)
  const said = clean(entry.note ?? '', 120)
  const tags = entry.state === 'valid' ? (entry.tags ?? space?.tags ?? []).map((tag) => clean(tag, 20)).join(', ') : entry.state
  const fallback = { valid: '', quiet: 'walks nothing', bad: 'refused' }[entry.state]
  const note = entry.state === 'valid' ? said : `${entry.state}: ${said || fallback}`
  const { state } = entry
  const rows: RowView[] = [{ kind: 'entry', text: String(entry.pasid), tags, state, space: space?.id ?? null, note, gap }]
  if (upper !== undefined) rows.push({ ...PLAIN_ROW, kind: 'upper', text: 'upper half', state, space: upper.id })
  return rows
}

/** `instead`: what the first entry that leads there says instead of what it maps. */
function addSpace(spaces: Map<string, SpaceView>, id: string, index: Index, owner: string, instead: string): void {
  const node = index.spaces.get(id)
  if (node === undefined || spaces.has(id)) return
  const over = node.over !== null && index.spaces.has(node.over) ? node.over : null
  const about = spaceAbout(node, !index.under.has(id))
  const ownerAt = owner === '' || index.uses.get(id) !== 1 ? -1 : about.lastIndexOf(` of ${owner}`)
  spaces.set(id, {
    id,
    name: spaceName(node),
    about: ownerAt > 0 && ownerAt + owner.length + 4 === about.length ? about.slice(0, ownerAt) : about,
    root: node.root === null ? '' : hex(node.root),
    maps: instead || spaceMaps(node),
    colour: SLATE,
    isPrivate: node.role === 'private',
    uses: index.uses.get(id) ?? 0,
    over,
    under: index.under.has(id),
  })
  if (over !== null) addSpace(spaces, over, index, '', '')
}

/**
 * Gives out the colours. What is shared comes first, since a colour twice would tell a lie there; then, while colours last, all that
 * is no domain's own. A domain's own page table that nothing shares stays slate.
 */
function paintSpaces(spaces: ReadonlyMap<string, SpaceView>): Map<string, SpaceView> {
  const all = [...spaces.values()]
  const shared = all.filter((space) => space.uses > 1 || space.under)
  const own = all.filter((space) => !shared.includes(space) && space.name !== 'io_pgtable')
  const coloured =
    shared.length + own.length <= HUES.length ? all.filter((space) => shared.includes(space) || own.includes(space)) : shared
  const colours = new Map(coloured.map((space, at) => [space.id, HUES[at % HUES.length]!]))
  return new Map(all.map((space) => [space.id, { ...space, colour: colours.get(space.id) ?? SLATE }]))
}

function notes(
  graph: MachineGraph,
  devices: number,
  blocks: readonly BlockView[],
  spaces: ReadonlyMap<string, unknown>,
): Overview['notes'] {
  const out: { text: string; severity: 'error' | 'warning' | 'note' }[] = []
  const say = (text: string, severity: 'error' | 'warning' | 'note' = 'note') => out.push({ text, severity })
  const tables = blocks.filter((block) => block.kind === 'table').length
  const missing = [
    graph.devices.length > devices ? count(graph.devices.length - devices, 'more device') : '',
    graph.pasidTables.length > tables ? count(graph.pasidTables.length - tables, 'PASID table') : '',
    graph.spaces.length > spaces.size ? count(graph.spaces.length - spaces.size, 'address space') : '',
  ].filter((part) => part !== '')
  if (missing.length > 0) say(`… and ${missing.join(', ')}, not drawn`)
  for (const line of graph.rest.slice(0, FINDINGS_SHOWN)) say(`${clean(graph.words.deviceTable, 30)}: ${clean(line)}`)
  for (const device of graph.devices.filter((each) => each.state === 'bad').slice(0, FINDINGS_SHOWN)) {
    if (device.note !== null && !graph.findings.some((finding) => finding.text === device.note))
      say(`${clean(device.name, 60)}: ${clean(device.note)}`, 'error')
  }
  const events = graph.events ?? []
  if (events.length > 0)
    say(`${count(events.length, 'recorded event')}, the newest: ${clean(events[0]!.name, 40)}: ${clean(events[0]!.text)}`)
  const findings = worstFirst(graph.findings)
  for (const finding of findings.slice(0, FINDINGS_SHOWN))
    say(`${finding.severity}: ${clean(finding.place, 60)}: ${clean(finding.text)}`, finding.severity)
  if (findings.length > FINDINGS_SHOWN) say(`… and ${count(findings.length - FINDINGS_SHOWN, 'more finding')}`)
  return out
}
