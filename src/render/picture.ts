/** The picture for the terminal: device table → PASID tables → address spaces, in box-drawing characters or ASCII. */
import type { MachineGraph } from '../inspect/graph.ts'
import { Canvas } from './canvas.ts'
import { columns, speaker } from './clean.ts'
import { type Metrics, type Net, type Placed, place } from './layout.ts'
import { type Overview, overview, type SpaceView, TERMINAL } from './overview.ts'
import { RED, type Style } from './palette.ts'
import { manualNames, type Sheet, sheet } from './sheet.ts'
import { plural, wrap } from './words.ts'

export interface PictureOptions {
  /** Colours for terminals (ANSI, 256 colours). Default: none. */
  readonly colour?: boolean
  /** Columns that the picture may take. Default 100; at least 60. */
  readonly width?: number
  /** Only ASCII characters. */
  readonly ascii?: boolean
}

/** Up to so many lines, rows get dividers between them. */
const ROOMY = 44
const roomy: Metrics = {
  deviceHead: 1,
  devicePitch: 2,
  deviceFoot: 1,
  gap: 2,
  port: 0,
  head: 1,
  pitch: 2,
  foot: 1,
  pass: 0,
  clear: 1,
  lanes: 6,
}
const tight: Metrics = { ...roomy, devicePitch: 1, pitch: 1, gap: 1 }

const FAINT: Style = { faint: true }
const BOLD: Style = { bold: true }
const WRONG: Style = { colour: RED, bold: true }
/** Line of the first row, below the headings. */
const TOP = 5

/**
 * The picture of a machine. Machines of any size: what has no room is counted beneath.
 * @example renderPicture(graph, { colour: process.stdout.isTTY === true, width: process.stdout.columns })
 */
export function renderPicture(graph: MachineGraph, options: PictureOptions = {}): string {
  const width = Math.max(60, Math.min(400, Math.floor(options.width ?? 100)))
  const view = overview(graph, TERMINAL)
  const wide = place(view, roomy)
  const isRoomy = wide.height <= ROOMY
  const placed = isRoomy ? wide : place(view, tight)
  const say = speaker(options.ascii === true)
  return new Picture(view, placed, sheet(view, placed, width, say), isRoomy, options.ascii === true).draw(options.colour === true)
}

class Picture {
  readonly #view: Overview
  readonly #placed: Placed
  readonly #sheet: Sheet
  readonly #canvas: Canvas
  readonly #roomy: boolean

  constructor(view: Overview, placed: Placed, texts: Sheet, isRoomy: boolean, plain: boolean) {
    this.#view = view
    this.#placed = placed
    this.#sheet = texts
    this.#roomy = isRoomy
    this.#canvas = new Canvas(texts.width, plain)
  }

  draw(colour: boolean): string {
    this.#headings()
    this.#devices()
    this.#tables()
    this.#leftLines()
    this.#rightLines()
    this.#underLines()
    this.#notes()
    return this.#canvas.toString(colour)
  }

  #text(x: number, y: number, text: string, style: Style = {}): void {
    this.#canvas.text(x, y, this.#sheet.say(text, this.#sheet.width - x), style)
  }

  #headings(): void {
    const { view, x } = { view: this.#view, x: this.#sheet.x }
    this.#text(0, 0, view.title, BOLD)
    const table = view.deviceTable === '' ? '' : ` · ${view.words.deviceTable} at ${view.deviceTable}`
    this.#text(columns(this.#sheet.say(view.title)) + 2, 0, `${view.machine}${table}`, FAINT)
    if (view.devices.length === 0) return
    const [deviceTable, pasidTables] = manualNames(view)
    const fits = columns(this.#sheet.say(pasidTables)) < x.label - x.table
    const head = (at: number, end: number, heading: string, manual: string) => {
      this.#canvas.text(at, 2, this.#sheet.say(heading, end - at), BOLD)
      this.#canvas.text(at, 3, this.#sheet.say(manual, end - at), FAINT)
    }
    head(x.device, x.table - 1, 'DEVICES', deviceTable)
    if (view.blocks.some((block) => block.kind === 'table'))
      head(x.table, x.label - 1, 'PASID TABLES', fits ? pasidTables : plural(view.words.pasidTable))
    if (view.blocks.length > 0) head(x.label, x.hasUnder ? x.under - 1 : this.#sheet.width, 'ADDRESS SPACES', 'page tables')
    if (x.hasUnder) head(x.under, this.#sheet.width, 'STAGE 2', 'under the others')
  }

  #devices(): void {
    const { x, devices } = this.#sheet
    const { deviceOrder, deviceRow, runs } = this.#placed
    for (const run of runs) {
      const rowOf = (at: number) => TOP + deviceRow[deviceOrder[at]!]!
      this.#canvas.box(x.device, rowOf(run.first) - 1, x.deviceEnd, rowOf(run.last) + 1, FAINT)
      for (let at = run.first; at <= run.last; at++) {
        const index = deviceOrder[at]!
        const device = this.#view.devices[index]!
        const row = rowOf(at)
        if (this.#roomy && at > run.first) {
          const follows = this.#view.devices[deviceOrder[at - 1]!]!.id + 1 === device.id
          this.#canvas.divider(x.device, x.deviceEnd, row - 1, FAINT, !follows)
        }
        const id = this.#sheet.say(device.idText)
        this.#canvas.text(x.device - 1 - columns(id), row, id, FAINT)
        const cell = devices[index]!
        this.#canvas.text(x.device + 2, row, cell.name, { bold: true })
        this.#canvas.text(x.device + 2 + cell.detailAt, row, cell.detail, FAINT)
        this.#canvas.text(x.device + 2 + cell.saysAt, row, cell.says, device.state === 'bad' ? WRONG : {})
      }
    }
  }

  #tables(): void {
    const { x, tables } = this.#sheet
    this.#view.blocks.forEach((block, index) => {
      if (block.kind === 'pass') return
      const { title, rows } = tables[index]!
      const lines = this.#placed.rows[index]!
      const top = TOP + this.#placed.blockTop[index]!
      const bottom = TOP + lines.at(-1)! + 1
      this.#canvas.box(x.table, top, x.tableEnd, bottom, FAINT)
      if (title !== '') this.#canvas.text(x.table + 2, top, ` ${title} `, BOLD)
      block.rows.forEach((row, at) => {
        const y = TOP + lines[at]!
        if (this.#roomy && at > 0) this.#canvas.divider(x.table, x.tableEnd, y - 1, FAINT, row.gap || row.kind === 'more')
        const inUse = row.kind === 'entry'
        this.#canvas.text(x.table + 2, y, rows[at]!.text, inUse ? {} : FAINT)
        this.#canvas.text(x.table + 2 + rows[at]!.tagsAt, y, rows[at]!.tags, row.state === 'bad' ? WRONG : FAINT)
        if (row.space !== null || row.note === '') return
        const style = row.state === 'bad' ? WRONG : FAINT
        this.#canvas.line(x.tableEnd, y, x.label - 2, y, `n${index}.${at}`, style, true)
        this.#text(x.label, y, row.note, style)
      })
    })
  }

  /** Devices to tables. What passes to a space has that space's colour and joins its lines. */
  #leftLines(): void {
    const { x } = this.#sheet
    for (const net of this.#placed.left.nets) {
      const block = this.#view.blocks[Number(net.key)]!
      const space = block.kind === 'pass' ? this.#view.spaces.get(block.space)! : null
      const style: Style = space === null ? {} : { colour: space.colour }
      const name = space === null ? `b${net.key}` : `s${space.id}`
      this.#net(net, name, x.deviceEnd, x.leftLane, space === null ? x.table - 1 : x.tableEnd, style)
      if (space === null) this.#canvas.arrow(x.table - 1, TOP + net.port, style)
    }
  }

  /** From pins through the lane to the port; the ends included. */
  #net(
    net: Net,
    name: string,
    from: number | ((row: number) => number),
    laneAt: number,
    to: number,
    style: Style,
    dashed: ReadonlySet<number> = new Set(),
  ): void {
    const start = (row: number) => (typeof from === 'number' ? from : from(row))
    const lane = net.lane === null ? to : laneAt + net.lane * 2
    for (const pin of net.pins) {
      if (net.broken && pin !== net.port) continue
      this.#canvas.line(start(pin), TOP + pin, lane, TOP + pin, name, style, dashed.has(pin))
    }
    if (net.lane === null) return
    const low = Math.min(net.port, ...net.pins)
    this.#canvas.line(lane, TOP + low, lane, TOP + Math.max(net.port, ...net.pins), name, style)
    this.#canvas.line(lane, TOP + net.port, to, TOP + net.port, name, style)
  }

  #rightLines(): void {
    const { x } = this.#sheet
    const dashed = this.#dashedRows()
    for (const net of this.#placed.right.nets) {
      const space = this.#view.spaces.get(String(net.key))!
      const style: Style = { colour: space.colour }
      this.#net(net, `s${space.id}`, x.tableEnd, x.rightLane, x.label - 2, style, dashed)
      this.#label(space, x.label, TOP + net.port)
      for (const pin of net.pins) {
        if (pin === net.port) continue
        if (net.broken)
          this.#canvas.line(x.tableEnd, TOP + pin, x.label - 2, TOP + pin, `r${space.id}.${pin}`, style, dashed.has(pin))
        this.#text(x.label, TOP + pin, `${net.broken ? '↑ ' : ''}${asAbove(space)}`, { ...style, faint: true })
      }
    }
  }

  /** Spaces to the stage 2 that they run over, and what passes there. */
  #underLines(): void {
    const { x } = this.#sheet
    for (const net of this.#placed.under.nets) {
      const space = this.#view.spaces.get(String(net.key))!
      const ends = new Map<number, number>()
      for (const [id, row] of this.#placed.spaceRow) {
        const label = this.#sheet.labels.get(id)
        if (this.#view.spaces.get(id)!.over === space.id && label !== undefined) ends.set(row, x.label + label.width + 1)
      }
      const style: Style = { colour: space.colour }
      this.#net(net, `s${space.id}`, (row) => ends.get(row) ?? x.tableEnd, x.underLane, x.under - 2, style)
      this.#label(space, x.under, TOP + net.port)
      if (net.broken)
        for (const pin of net.pins)
          if (pin !== net.port) this.#text(x.under, TOP + pin, `↑ ${asAbove(space)}`, { ...style, faint: true })
    }
  }

  #label(space: SpaceView, x: number, y: number): void {
    const label = this.#sheet.labels.get(space.id)!
    this.#canvas.text(x, y, label.name, { colour: space.colour, bold: true })
    this.#canvas.text(x + label.aboutAt, y, label.about, {})
    this.#canvas.text(x + label.rootAt, y, label.root, {})
    this.#text(x + label.mapsAt, y, label.maps, FAINT)
  }

  /** Rows whose entries are dashed or bad: their lines are dashed. */
  #dashedRows(): Set<number> {
    const rows = new Set<number>()
    this.#view.blocks.forEach((block, index) => {
      if (block.kind === 'pass') return
      block.rows.forEach((row, at) => {
        if (row.state !== 'valid') rows.add(this.#placed.rows[index]![at]!)
      })
    })
    return rows
  }

  #notes(): void {
    let y = this.#view.devices.length === 0 ? 2 : TOP + this.#placed.height + 2
    if (this.#view.devices.length === 0) this.#text(0, y++, 'No device has an entry: there is nothing to draw.')
    for (const note of this.#view.notes) {
      const style = note.severity === 'error' ? WRONG : note.severity === 'note' ? FAINT : {}
      const fits = (line: string) => columns(this.#sheet.say(line)) <= this.#sheet.width - 2
      wrap(note.text, fits).forEach((line, at) => {
        this.#text(at === 0 ? 0 : 2, y++, line, style)
      })
    }
  }
}

/** `mm Y (as above)`. */
function asAbove(space: SpaceView): string {
  return `${space.name.replace(/^io_mm → /, '')}${space.about === '' ? '' : ` ${space.about}`} (as above)`
}
