/**
 * A machine as a listing: devices, PASID tables, address spaces with what they map, findings. `verbose` 1 adds every entry with all its
 * fields, 2 the raw words.
 */
import { hex, hexPad, size } from '../base/hex.ts'
import type { DescribedField } from '../base/layout.ts'
import { rightsText } from '../base/types.ts'
import type { DeviceNode, EntryView, MachineGraph, PasidTableNode, RangeView, SpaceNode } from '../inspect/graph.ts'
import { clean, columns, pad, type Say, speaker } from './clean.ts'
import { ids, overview, TERMINAL } from './overview.ts'
import { type Colour, paint, RED, type Style } from './palette.ts'
import { count, deviceSays, grouped, plural, spaceAbout, spaceMaps, spaceName } from './words.ts'

export interface TextOptions {
  /** Colours for terminals (ANSI, 256 colours): those of the picture. Default: none. */
  readonly colour?: boolean
  /** 0 (default): a summary. 1: every entry with all its fields, every range. 2: raw words, and fields of registers. */
  readonly verbose?: number
  /** Columns for descriptions; what is data is never cut. Default 100. */
  readonly width?: number
  /** Only ASCII characters. */
  readonly ascii?: boolean
}

/** How many of each are listed without -v. */
const SUMMARY = { devices: 64, tables: 64, entries: 32, spaces: 64, ranges: 12, findings: 20 }
type Limits = typeof SUMMARY
const ALL = Number.POSITIVE_INFINITY
const EVERYTHING: Limits = { devices: ALL, tables: ALL, entries: ALL, spaces: ALL, ranges: ALL, findings: ALL }
/** The longest listing. Whoever needs more reads the JSON. */
const MAX_LINES = 500_000

const FAINT: Style = { faint: true }
const BOLD: Style = { bold: true }
const WRONG: Style = { colour: RED, bold: true }

/**
 * The listing of a machine.
 * @example renderText(graph, { verbose: 1, colour: process.stdout.isTTY === true })
 */
export function renderText(graph: MachineGraph, options: TextOptions = {}): string {
  return new Listing(graph, options).text()
}

class Listing {
  readonly #graph: MachineGraph
  readonly #verbose: number
  readonly #limits: Limits
  readonly #width: number
  readonly #colour: boolean
  readonly #say: Say
  readonly #lines: string[] = []
  readonly #idText: (id: number) => string
  readonly #spaces: ReadonlyMap<string, SpaceNode>
  readonly #tables: ReadonlyMap<string, PasidTableNode>
  readonly #colours: ReadonlyMap<string, Colour>

  constructor(graph: MachineGraph, options: TextOptions) {
    this.#graph = graph
    this.#verbose = options.verbose ?? 0
    this.#limits = this.#verbose > 0 ? EVERYTHING : SUMMARY
    this.#width = Math.max(60, options.width ?? 100)
    this.#colour = options.colour === true
    this.#say = speaker(options.ascii === true)
    this.#idText = ids(graph)
    this.#spaces = new Map(graph.spaces.map((space) => [space.id, space]))
    this.#tables = new Map(graph.pasidTables.map((table) => [table.id, table]))
    const colours = this.#colour ? [...overview(graph, TERMINAL).spaces.values()] : []
    this.#colours = new Map(colours.map((space) => [space.id, space.colour]))
  }

  text(): string {
    this.#header()
    if (this.#verbose > 0) this.#registers()
    this.#devices()
    this.#pasidTables()
    this.#addressSpaces()
    this.#findings()
    if (this.#lines.length >= MAX_LINES)
      this.#lines.push(`… the listing ends here, after ${grouped(MAX_LINES)} lines: the JSON has the rest`)
    return this.#lines.join('\n')
  }

  #paint(text: string, style: Style): string {
    return this.#colour && text !== '' ? paint(this.#say(text), style) : this.#say(text)
  }

  #line(text = ''): boolean {
    if (this.#lines.length >= MAX_LINES) return false
    this.#lines.push(text.trimEnd())
    return true
  }

  #heading(text: string): void {
    this.#line()
    this.#line(this.#paint(text, BOLD))
  }

  /** The first few, and how many more there are. */
  #each<T>(items: readonly T[], limit: number, indent: string, what: string, line: (item: T) => void): void {
    const shown = Math.min(items.length, limit)
    for (let at = 0; at < shown && this.#lines.length < MAX_LINES; at++) line(items[at]!)
    const left = items.length - shown
    if (left > 0) this.#line(`${indent}${this.#paint(`… and ${count(left, `more ${what}`)} (-v lists all)`, FAINT)}`)
  }

  #header(): void {
    const { title, iommu, enabled, deviceTable, words, devices, pasidTables, spaces, findings, rest } = this.#graph
    this.#line(`${this.#paint(clean(title), BOLD)}  ${this.#say(clean(iommu))}, ${enabled ? 'enabled' : 'not enabled'}`)
    if (deviceTable !== null)
      this.#line(
        this.#say(
          `${clean(words.deviceTable)} at ${hex(deviceTable.address)}: ${clean(deviceTable.layout)}, ${count(deviceTable.entries, 'entry', 'entries')}`,
        ),
      )
    const counts = [
      count(devices.length, 'device'),
      count(pasidTables.length, clean(words.pasidTable)),
      count(spaces.length, 'address space'),
    ]
    this.#line(this.#say([...counts, ...(findings.length > 0 ? [count(findings.length, 'finding')] : [])].join(', ')))
    for (const each of rest.slice(0, this.#limits.findings)) this.#line(this.#say(`${clean(words.deviceTable)}: ${clean(each)}`))
  }

  #registers(): void {
    const { registers } = this.#graph
    if (registers.length === 0) return
    this.#heading('REGISTERS')
    const width = widest(registers.map(({ name }) => clean(name, 40)))
    for (const register of registers) {
      this.#line(`  ${hexPad(register.offset, 4)}  ${pad(this.#say(clean(register.name, 40)), width)}  ${hex(register.value)}`)
      if (this.#verbose > 1) this.#fields(register.fields, '          ')
    }
  }

  #devices(): void {
    const { devices, words } = this.#graph
    this.#heading(`DEVICES (${clean(words.deviceTable)})`)
    if (devices.length === 0) this.#line('  none')
    const shown = devices.slice(0, this.#limits.devices)
    const widths = [
      widest(shown.map(({ id }) => this.#idText(id))),
      widest(shown.map((device) => this.#say(this.#name(device)))),
      widest(shown.map(({ detail }) => this.#say(clean(detail ?? '', 40)))),
      widest(shown.map((device) => this.#say(this.#domain(device)))),
    ]
    this.#each(devices, this.#limits.devices, '  ', 'device', (device) => {
      const cells = [this.#idText(device.id), this.#name(device), clean(device.detail ?? '', 40), this.#domain(device)]
      const text = cells.map((cell, at) => pad(this.#say(cell), widths[at]!)).filter((_, at) => widths[at]! > 0)
      const style = device.state === 'bad' ? WRONG : {}
      this.#line(`  ${text.join('  ')}  ${this.#paint(this.#leadsTo(device), style)}`)
      if (this.#verbose > 0 && device.entry !== null) this.#entry(device.entry, '      ')
    })
  }

  /** Nothing where the name only repeats the id. */
  #name(device: DeviceNode): string {
    const name = clean(device.name, 40)
    return name === this.#idText(device.id) ? '' : name
  }

  #domain(device: DeviceNode): string {
    return device.domain === null ? '' : deviceSays({ ...device, state: 'tables' })
  }

  #leadsTo(device: DeviceNode): string {
    const note = device.note === null ? '' : `: ${clean(device.note)}`
    const table = device.pasidTable === null ? undefined : this.#tables.get(device.pasidTable)
    if (table !== undefined) return `→ ${clean(this.#graph.words.pasidTable)} at ${hex(table.address)}${note}`
    if (device.space !== null) return `→ ${this.#spaceText(device.space)}${note}`
    const said = {
      tables: 'tables that were not read',
      bypass: 'bypass: not translated',
      abort: 'abort: all DMA is refused',
      bad: 'bad',
      none: 'no valid entry',
    }
    return `${said[device.state]}${note}`
  }

  /** `io_mm → mm Y, root 0x40400000`. */
  #spaceText(id: string): string {
    const space = this.#spaces.get(id)
    if (space === undefined) return 'a space that was not read'
    const parts = [spaceName(space), spaceAbout(space), space.root === null ? '' : `root ${hex(space.root)}`]
    return parts.filter((part) => part !== '').join(', ')
  }

  #style(space: string): Style {
    const colour = this.#colours.get(space)
    return colour === undefined ? {} : { colour }
  }

  #pasidTables(): void {
    const { pasidTables, words, devices } = this.#graph
    if (pasidTables.length === 0) return
    this.#heading(`PASID TABLES (${plural(clean(words.pasidTable))}, by ${clean(words.pasid)})`)
    const users = new Map<string, number[]>()
    for (const { pasidTable, id } of devices) {
      if (pasidTable === null) continue
      const list = users.get(pasidTable)
      if (list === undefined) users.set(pasidTable, [id])
      else list.push(id)
    }
    this.#each(pasidTables, this.#limits.tables, '  ', clean(words.pasidTable), (table) => {
      if (table !== pasidTables[0]) this.#line()
      const label = table.label === null ? '' : `  ${clean(table.label)}`
      this.#line(`  ${this.#paint(`${hex(table.address)}${label}`, BOLD)}`)
      const facts = [
        clean(table.layout),
        `${grouped(table.entries.length)} of ${count(table.capacity, 'entry', 'entries')} in use`,
        `without PASID: ${clean(table.withoutPasid)}`,
        deviceList(users.get(table.id) ?? [], this.#idText),
      ]
      this.#line(`    ${this.#paint(facts.join('; '), FAINT)}`)
      const digits = widest(table.entries.slice(0, 4096).map(({ pasid }) => String(pasid)))
      this.#each(table.entries, this.#limits.entries, '    ', 'entry', (entry) => {
        const note = entry.state === 'valid' ? clean(entry.note ?? '') : `${entry.state}: ${clean(entry.note ?? '')}`
        const to = [entry.space, entry.upper ?? null].filter((id) => id !== null)
        const spaces = to.map((id) => this.#paint(`→ ${this.#spaceText(id)}`, this.#style(id)))
        const style = entry.state === 'bad' ? WRONG : FAINT
        this.#line(
          `    ${String(entry.pasid).padStart(digits)}  ${[...spaces, this.#paint(note, style)].filter((part) => part !== '').join('  ')}`,
        )
        if (this.#verbose > 0) this.#entry(entry.entry, '        ')
      })
    })
  }

  #addressSpaces(): void {
    const { spaces } = this.#graph
    if (spaces.length === 0) return
    this.#heading('ADDRESS SPACES')
    const ways = this.#ways()
    this.#each(spaces, this.#limits.spaces, '  ', 'address space', (space) => {
      if (space !== spaces[0]) this.#line()
      this.#space(space, ways.get(space.id) ?? [])
    })
  }

  /** Who reaches each space: `PASID 2 of domain A`, `device 0x10`. A few of each. */
  #ways(): Map<string, string[]> {
    const ways = new Map<string, string[]>()
    const add = (id: string | null | undefined, way: string) => {
      if (id === null || id === undefined) return
      const list = ways.get(id)
      if (list === undefined) ways.set(id, [way])
      else list.push(way)
    }
    for (const table of this.#graph.pasidTables) {
      const whose = table.label === null ? `the table at ${hex(table.address)}` : clean(table.label, 40)
      for (const entry of table.entries) {
        add(entry.space, `PASID ${entry.pasid} of ${whose}`)
        add(entry.upper, `PASID ${entry.pasid} of ${whose} (upper half)`)
      }
    }
    for (const device of this.#graph.devices)
      if (device.pasidTable === null) add(device.space, `device ${this.#idText(device.id)}`)
    for (const space of this.#graph.spaces) add(space.over, `the stage 1 ${spaceName(space)}`)
    return ways
  }

  #space(space: SpaceNode, ways: readonly string[]): void {
    const { id, format, inputBits, levels, tags, tableCount, ranges } = space
    const about = spaceAbout(space)
    this.#line(
      `  ${this.#paint(spaceName(space), { ...this.#style(id), bold: true })}${about === '' ? '' : `  ${this.#say(about)}`}`,
    )
    const facts = [
      space.root === null ? '' : `root ${hex(space.root)}`,
      clean(format, 60),
      `${inputBits} bits, ${count(levels, 'level')}`,
      ...tags.map((tag) => clean(tag, 30)),
      count(tableCount, 'table'),
      space.over === null ? '' : `over ${this.#spaceText(space.over)}`,
    ]
    this.#line(`    ${this.#paint(facts.filter((part) => part !== '').join('; '), FAINT)}`)
    const more = ways.length > 6 ? ` and ${grouped(ways.length - 6)} more` : ''
    if (ways.length > 0) this.#line(`    ${this.#paint(`reached by ${ways.slice(0, 6).join(', ')}${more}`, FAINT)}`)
    this.#line(`    ${this.#say(spaceMaps(space))}`)
    if (ranges.length === 0) return
    const rights = widest(ranges.slice(0, Math.min(ranges.length, 4096)).map((range) => rightsText(range.rights)))
    const head = ['first', 'last', 'size', 'rights', space.over === null ? 'physical' : 'intermediate', 'pages']
    const widths = [18, 18, 9, Math.max(6, rights), 18, 5]
    this.#line(`    ${this.#paint(head.map((text, at) => pad(text, widths[at]!)).join('  '), FAINT)}`)
    this.#each(ranges, this.#limits.ranges, '    ', 'range', (range) => {
      const cells = rangeCells(range)
      this.#line(
        `    ${this.#say(cells.map((cell, at) => (at === 5 ? cell : pad(cell, Math.max(widths[at]!, columns(cell))))).join('  '))}`,
      )
    })
  }

  #entry(entry: EntryView, indent: string): void {
    this.#line(`${indent}${this.#paint(`${clean(entry.structure, 40)} at ${hex(entry.address)}`, FAINT)}`)
    if (this.#verbose > 1)
      for (let at = 0; at < entry.words.length; at += 4)
        this.#line(
          `${indent}  ${entry.words
            .slice(at, at + 4)
            .map((word) => hexPad(word, 16))
            .join(' ')}`,
        )
    this.#fields(entry.fields, `${indent}  `)
  }

  #fields(fields: readonly DescribedField[], indent: string): void {
    const names = widest(fields.map(({ name }) => clean(name, 30)))
    const bits = widest(fields.map(bitsText))
    const values = Math.min(30, widest(fields.map(valueText)))
    for (const field of fields) {
      const start = `${indent}${pad(clean(field.name, 30), names)}  ${pad(bitsText(field), bits)}  `
      const value = valueText(field)
      const data = `${start}${value}${' '.repeat(Math.max(0, values - columns(value)))}`
      const doc = this.#say(clean(field.doc, 120), Math.max(0, this.#width - columns(data) - 2))
      if (!this.#line(`${this.#say(data)}  ${this.#paint(doc, FAINT)}`)) return
    }
  }

  #findings(): void {
    const { findings, events = [] } = this.#graph
    if (findings.length > 0) {
      this.#heading('FINDINGS')
      this.#each(findings, this.#limits.findings, '  ', 'finding', ({ severity, place, text }) => {
        const style = severity === 'error' ? WRONG : severity === 'warning' ? BOLD : FAINT
        this.#line(`  ${this.#paint(severity, style)}  ${this.#say(`${clean(place)}: ${clean(text, 400)}`)}`)
      })
    }
    if (events.length === 0) return
    this.#heading('RECORDED EVENTS, THE NEWEST FIRST')
    this.#each(events, this.#limits.findings, '  ', 'event', (event) => {
      const unread = event.pending ? ' (not read by software yet)' : ''
      this.#line(
        `  ${this.#paint(clean(event.name, 40), BOLD)}  ${this.#say(clean(event.text, 400))}${this.#paint(unread, FAINT)}`,
      )
      if (this.#verbose > 0)
        this.#entry({ structure: event.name, address: event.address, words: event.words, fields: event.fields }, '      ')
    })
  }
}

function widest(texts: readonly string[]): number {
  return texts.reduce((most, text) => Math.max(most, columns(text)), 0)
}

function deviceList(users: readonly number[], idText: (id: number) => string): string {
  if (users.length === 0) return 'no device'
  const more = users.length > 8 ? ` and ${grouped(users.length - 8)} more` : ''
  return `${users.length === 1 ? 'device' : 'devices'} ${users.slice(0, 8).map(idText).join(', ')}${more}`
}

function rangeCells(range: RangeView): string[] {
  const pages = [...range.leaves]
    .sort(([a], [b]) => a - b)
    .map(([log2, number]) => `${grouped(number)} × ${size(1n << BigInt(log2))}`)
  return [
    hexPad(range.start, 16),
    hexPad(range.end - 1n, 16),
    size(range.end - range.start),
    rightsText(range.rights),
    hexPad(range.output, 16),
    pages.join(', '),
  ]
}

function bitsText(field: DescribedField): string {
  return field.msb === field.lsb ? String(field.lsb) : `${field.msb}:${field.lsb}`
}

function valueText(field: DescribedField): string {
  const value = typeof field.value === 'bigint' || field.value > 9 ? hex(field.value) : String(field.value)
  return field.means === null ? value : `${value} ${clean(field.means, 40)}`
}
