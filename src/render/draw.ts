/** The picture as shapes: the layout's rows in pixels, the columns' places across, and what is written there. */
import type { MachineGraph } from '../inspect/graph.ts'
import { type Across, APART, across, MIN_WIDTH, PAD, type SpaceColumn } from './across.ts'
import { describeMachine } from './description.ts'
import { type Drawing, label, type Shape } from './drawing.ts'
import { textWidth } from './font.ts'
import { type Net, type Placed, place } from './layout.ts'
import { legend } from './legend.ts'
import { type BlockView, type DeviceView, type Overview, overview, type RowView, type SpaceView } from './overview.ts'
import { type Colour, EDGE, FAINT, INK, PAPER, RED, SLATE, WIRE } from './palette.ts'
import { BODY_TOP, bodyHeight, LEGEND_GAP, MARGIN, NOTE_LINE, roomySizes, type Sizes, sans, tightSizes } from './sizes.ts'
import { pasidTablesHeading, wrap } from './words.ts'

/** Up to this height the drawing is roomy. */
const ROOMY = 640

/** What passes the tables is drawn in two lines; they overlap by so much. */
const JOINT = 2

/** The picture of a machine as shapes, on one page. */
export function draw(graph: MachineGraph): Drawing {
  const detailed = graph.devices.some((device) => device.detail !== null)
  for (let total = 96; ; total = Math.floor(total * 0.85)) {
    const view = overview(graph, { devices: 32, rows: 20, total })
    const roomy = roomySizes(detailed)
    const placed = place(view, roomy.metrics)
    if (placed.height <= ROOMY) return new Page(graph, view, placed, roomy).draw()
    const tight = tightSizes(detailed)
    const lines = view.notes.flatMap((note) => noteLines(note.text, MIN_WIDTH - 2 * MARGIN))
    const room = bodyHeight(lines.length)
    const closer = place(view, tight.metrics)
    if (closer.height <= room) return new Page(graph, view, closer, tight).draw()
  }
}

class Page {
  readonly #graph: MachineGraph
  readonly #view: Overview
  readonly #placed: Placed
  readonly #sizes: Sizes
  readonly #x: Across
  readonly #wires: Shape[] = []
  /** Over the wires. */
  readonly #shapes: Shape[] = []
  readonly #around: Shape[] = []

  constructor(graph: MachineGraph, view: Overview, placed: Placed, sizes: Sizes) {
    this.#graph = graph
    this.#view = view
    this.#placed = placed
    this.#sizes = sizes
    this.#x = across(view, placed, sizes)
  }

  draw(): Drawing {
    this.#headings()
    this.#devices()
    this.#tables()
    this.#leftWires()
    this.#rightWires()
    this.#underWires()
    const under = this.#view.devices.length === 0 ? BODY_TOP : BODY_TOP + this.#placed.height + LEGEND_GAP
    const key = legend(this.#view, MARGIN, under, this.#x.width - 2 * MARGIN)
    this.#around.push(...key.shapes)
    const bottom = this.#notes(key.bottom)
    return {
      width: this.#x.width,
      height: bottom + MARGIN - 20,
      title: this.#view.title,
      description: describeMachine(this.#graph),
      body: [...this.#wires, ...this.#shapes],
      around: this.#around,
    }
  }

  #headings(): void {
    const { device, deviceEnd, table, spaces, under, width } = this.#x
    const { title, machine, deviceTable, words, devices, blocks } = this.#view
    const room = width - 2 * MARGIN
    const where = deviceTable === '' ? '' : `, ${words.deviceTable} at ${deviceTable}`
    this.#around.push(
      ...label(title, sans(21, true), INK, { x: MARGIN, middle: 38, room }),
      ...label(`${machine}${where}`, sans(13), FAINT, { x: MARGIN, middle: 62, room }),
    )
    const head = (x: number, end: number, heading: string, manual: string) => {
      this.#around.push(
        ...label(heading, sans(11.5, true), INK, { x, middle: 92, room: end - x }),
        ...label(manual, sans(11.5), FAINT, { x, middle: 108, room: end - x }),
      )
    }
    if (devices.length === 0) {
      this.#around.push(
        ...label('No device has an entry: there is nothing to draw.', sans(13), INK, { x: MARGIN, middle: 92, room }),
      )
      return
    }
    const hasTables = blocks.some((block) => block.kind === 'table')
    head(device, (hasTables ? table : Math.max(deviceEnd, spaces.x)) - APART, 'DEVICES', words.deviceTable)
    if (hasTables) head(table, spaces.x - APART, 'PASID TABLES', pasidTablesHeading(words))
    if (blocks.length === 0) return
    if (spaces.w > 0) head(spaces.x, (under?.x ?? width) - APART, 'ADDRESS SPACES', 'page tables')
    if (under !== null) head(under.x, width - APART, 'STAGE 2', 'under the others')
  }

  #devices(): void {
    const { device, deviceEnd } = this.#x
    const { deviceOrder, deviceRow, runs } = this.#placed
    const { deviceHead, deviceFoot, devicePitch } = this.#sizes.metrics
    for (const run of runs) {
      const y = (at: number) => BODY_TOP + deviceRow[deviceOrder[at]!]!
      const top = y(run.first) - deviceHead
      const h = y(run.last) + deviceFoot - top
      this.#shapes.push({
        kind: 'box',
        x: device,
        y: top,
        w: deviceEnd - device,
        h,
        radius: 6,
        fill: PAPER,
        stroke: EDGE,
        dashed: false,
      })
      for (let at = run.first; at <= run.last; at++) {
        const view = this.#view.devices[deviceOrder[at]!]!
        if (at > run.first) {
          const follows = this.#view.devices[deviceOrder[at - 1]!]!.id + 1 === view.id
          this.#rule(device, deviceEnd, y(at) - devicePitch / 2, !follows)
        }
        this.#device(view, y(at))
      }
    }
  }

  #rule(x: number, end: number, y: number, dashed: boolean): void {
    this.#shapes.push({ kind: 'rule', x: x + 0.6, y, w: end - x - 1.2, dashed })
  }

  #device(view: DeviceView, middle: number): void {
    const { device, deviceEnd } = this.#x
    const { name, detail, smallMono } = this.#sizes
    const x = device + PAD
    const end = deviceEnd - PAD
    const wrong = view.state === 'bad'
    this.#shapes.push(...label(view.idText, smallMono, FAINT, { x: device - APART, middle, room: device - APART, end: true }))
    if (view.name === '') {
      this.#shapes.push(...label(view.says, name, wrong ? RED.line : INK, { x, middle, room: end - x }))
      return
    }
    const line = view.detail === '' ? middle : middle - detail.size * 0.72
    const says = label(view.says, detail, wrong ? RED.line : FAINT, { x: end, middle: line, room: (end - x) * 0.6, end: true })
    const taken = says[0] === undefined ? 0 : textWidth(says[0].text, detail) + APART
    this.#shapes.push(
      ...label(view.name, name, INK, { x, middle: line, room: end - x - taken }),
      ...says,
      ...label(view.detail, detail, FAINT, { x, middle: middle + name.size * 0.62, room: end - x }),
    )
  }

  #tables(): void {
    this.#view.blocks.forEach((block, index) => {
      if (block.kind === 'table') this.#table(block, index)
    })
  }

  #table(block: BlockView & { kind: 'table' }, index: number): void {
    const { table, tableEnd } = this.#x
    const { titleBar, name, smallMono, metrics } = this.#sizes
    const y = BODY_TOP + this.#placed.blockTop[index]!
    const w = tableEnd - table
    const rows = this.#placed.rows[index]!
    const h = BODY_TOP + rows.at(-1)! + metrics.foot - y
    this.#shapes.push(
      { kind: 'box', x: table, y, w, h, radius: 6, fill: PAPER, stroke: EDGE, dashed: false },
      { kind: 'fill', x: table + 0.6, y: y + 0.6, w: w - 1.2, h: titleBar - 0.6, radius: 5.4, fill: SLATE.tint },
    )
    const middle = y + titleBar / 2
    const room = w - 2 * PAD
    const address = { x: tableEnd - PAD, middle, room, end: true }
    if (block.title === '') this.#shapes.push(...label(block.address, smallMono, INK, { ...address, x: table + PAD, end: false }))
    else {
      const left = room - textWidth(block.address, smallMono) - APART
      const beside = left >= Math.min(60, textWidth(block.title, name))
      this.#shapes.push(...label(block.title, name, INK, { x: table + PAD, middle, room: beside ? left : room }))
      if (beside) this.#shapes.push(...label(block.address, smallMono, FAINT, address))
    }
    block.rows.forEach((row, at) => {
      this.#rule(
        table,
        tableEnd,
        BODY_TOP + rows[at]! - (at === 0 ? metrics.head - titleBar : metrics.pitch / 2),
        row.gap || row.kind === 'more',
      )
      this.#row(row, BODY_TOP + rows[at]!)
    })
  }

  #row(row: RowView, middle: number): void {
    const { table, tableEnd, digits, spaces } = this.#x
    const { mono, small } = this.#sizes
    const x = table + PAD
    const room = tableEnd - PAD - x
    const isNumber = row.kind === 'entry' || row.kind === 'unused'
    if (!isNumber) this.#shapes.push(...label(row.text, small, FAINT, { x, middle, room }))
    else {
      const ink = row.kind === 'entry' ? INK : FAINT
      this.#shapes.push(
        ...label(row.text, mono, ink, { x: x + digits, middle, room: Math.max(digits, textWidth(row.text, mono)), end: true }),
        ...label(row.tags, small, row.state === 'bad' ? RED.line : FAINT, {
          x: x + digits + PAD,
          middle,
          room: room - digits - PAD,
        }),
      )
    }
    if (row.space !== null || row.note === '') return
    const colour = row.state === 'bad' ? RED : SLATE
    this.#wire(
      [
        [
          [tableEnd, middle],
          [spaces.x, middle],
        ],
      ],
      colour.line,
      true,
    )
    this.#textBox(spaces, middle, row.note, colour)
  }

  /** A box of one line in a column of spaces. */
  #textBox(column: SpaceColumn, middle: number, text: string, colour: Colour): void {
    const { spaceHeight, small } = this.#sizes
    const w = Math.min(column.w, textWidth(text, small) + 2 * PAD)
    const h = Math.min(spaceHeight, 26)
    this.#shapes.push(
      { kind: 'box', x: column.x, y: middle - h / 2, w, h, radius: 4, fill: colour.tint, stroke: colour.line, dashed: false },
      ...label(text, small, colour.text, { x: column.x + PAD, middle, room: w - 2 * PAD }),
    )
  }

  #wire(paths: readonly (readonly (readonly [number, number])[])[], stroke: string, dashed: boolean): void {
    if (paths.length > 0) this.#wires.push({ kind: 'wire', paths, stroke, width: 1.8, dashed })
  }

  /** One path for each pin: along its row, through the lane, along the port's row. */
  #paths(net: Net, from: (row: number) => number, lane: number, to: number): Map<number, [number, number][]> {
    const paths = new Map<number, [number, number][]>()
    const port = BODY_TOP + net.port
    for (const row of net.pins) {
      const y = BODY_TOP + row
      if (row === net.port)
        paths.set(row, [
          [from(row), y],
          [to, y],
        ])
      else if (net.lane !== null) {
        const x = lane + net.lane * this.#sizes.laneStep
        paths.set(row, [
          [from(row), y],
          [x, y],
          [x, port],
          [to, port],
        ])
      }
    }
    return paths
  }

  #leftWires(): void {
    const { deviceEnd, leftLane, table, tableEnd } = this.#x
    for (const net of inDrawingOrder(this.#placed.left.nets)) {
      const block = this.#view.blocks[Number(net.key)]!
      const passes = block.kind === 'pass'
      const stroke = passes ? this.#view.spaces.get(block.space)!.colour.line : WIRE
      // What passes goes on from where the tables end; a line to a table ends in the arrow.
      const paths = this.#paths(net, () => deviceEnd, leftLane, passes ? tableEnd : table - 6)
      this.#wire([...paths.values()], stroke, false)
      if (!passes) this.#wires.push({ kind: 'arrow', x: table - 0.6, y: BODY_TOP + net.port, fill: stroke })
    }
  }

  #rightWires(): void {
    const { tableEnd, rightLane, spaces } = this.#x
    const dashed = this.#dashedRows()
    for (const net of inDrawingOrder(this.#placed.right.nets)) {
      const space = this.#view.spaces.get(String(net.key))!
      const paths = this.#paths(net, (row) => this.#start(row), rightLane, spaces.x)
      this.#wire(
        [...paths].filter(([row]) => !dashed.has(row)).map(([, path]) => path),
        space.colour.line,
        false,
      )
      this.#wire(
        [...paths].filter(([row]) => dashed.has(row)).map(([, path]) => path),
        space.colour.line,
        true,
      )
      this.#space(space, spaces, BODY_TOP + net.port)
      for (const row of net.pins) {
        if (this.#isEntry(row))
          this.#shapes.push({ kind: 'dot', x: tableEnd, y: BODY_TOP + row, radius: 3, fill: space.colour.line })
        if (net.broken && row !== net.port) this.#reference(space, spaces, tableEnd, BODY_TOP + row)
      }
    }
  }

  #underWires(): void {
    const { spaces, underLane, under } = this.#x
    if (under === null) return
    for (const net of inDrawingOrder(this.#placed.under.nets)) {
      const space = this.#view.spaces.get(String(net.key))!
      const from = (row: number) => (this.#hasSpaceAt(row) ? spaces.x + spaces.w : this.#start(row))
      this.#wire([...this.#paths(net, from, underLane, under.x).values()], space.colour.line, false)
      this.#space(space, under, BODY_TOP + net.port)
      for (const row of net.pins) if (net.broken && row !== net.port) this.#reference(space, under, from(row), BODY_TOP + row)
    }
  }

  /** Where a line begins: at a table, or a little before its end where it goes on from a device. */
  #start(row: number): number {
    return this.#isEntry(row) ? this.#x.tableEnd : this.#x.tableEnd - JOINT
  }

  /** Whether a box of the column of spaces is at this row. */
  #hasSpaceAt(row: number): boolean {
    for (const [id, at] of this.#placed.spaceRow) if (at === row && !this.#view.spaces.get(id)!.under) return true
    return false
  }

  #reference(space: SpaceView, column: SpaceColumn, from: number, y: number): void {
    this.#wire(
      [
        [
          [from, y],
          [column.x, y],
        ],
      ],
      space.colour.line,
      false,
    )
    this.#textBox(column, y, `${space.name.replace(/^io_mm → /, '')} ${space.about} (as above)`.replace('  ', ' '), space.colour)
  }

  #isEntry(row: number): boolean {
    return this.#view.blocks.some((block, index) => block.kind === 'table' && this.#placed.rows[index]!.includes(row))
  }

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

  #space(space: SpaceView, column: SpaceColumn, middle: number): void {
    const { spaceHeight: h, twoLines, name, small, smallMono } = this.#sizes
    const { colour } = space
    const { x, w } = column
    const end = x + w - PAD
    const from = x + PAD + 4
    const inset = twoLines ? 6 : 3
    this.#shapes.push(
      { kind: 'box', x, y: middle - h / 2, w, h, radius: 5, fill: colour.tint, stroke: colour.line, dashed: space.isPrivate },
      { kind: 'fill', x: x + 5, y: middle - h / 2 + inset, w: 3.5, h: h - 2 * inset, radius: 1.7, fill: colour.line },
    )
    const first = twoLines ? middle - 8.5 : middle
    const headEnd = twoLines || space.root === '' ? end : x + column.rootAt - APART
    const named = label(space.name, name, colour.text, { x: from, middle: first, room: headEnd - from })
    const about = from + (named[0] === undefined ? 0 : textWidth(named[0].text, name) + APART)
    const second = twoLines ? middle + 9 : middle
    this.#shapes.push(
      ...named,
      ...label(space.about, small, colour.text, { x: about, middle: first, room: headEnd - about }),
      ...label(space.root, smallMono, colour.text, { x: x + column.rootAt, middle: second, room: end - x - column.rootAt }),
      ...label(space.maps, small, colour.text, { x: x + column.mapsAt, middle: second, room: end - x - column.mapsAt }),
    )
  }

  /** What is not drawn and what is wrong, below the legend. */
  #notes(top: number): number {
    let y = top
    const room = this.#x.width - 2 * MARGIN
    for (const note of this.#view.notes) {
      const ink = note.severity === 'error' ? RED.line : note.severity === 'note' ? FAINT : INK
      noteLines(note.text, room).forEach((line, at) => {
        const indent = at === 0 ? 0 : NOTE_INDENT
        this.#around.push(...label(line, NOTE_FONT, ink, { x: MARGIN + indent, middle: y, room: room - indent }))
        y += NOTE_LINE
      })
    }
    return y
  }
}

const NOTE_FONT = sans(12)
/** Of the lines of a note but the first. */
const NOTE_INDENT = 14

function noteLines(text: string, room: number): string[] {
  return wrap(text, (line) => textWidth(line, NOTE_FONT) <= room - NOTE_INDENT)
}

/** What is drawn later passes over: straight lines stay whole, so that none looks dashed behind many lanes. */
function inDrawingOrder(nets: readonly Net[]): Net[] {
  const laneOf = (net: Net) => net.lane ?? Number.MAX_SAFE_INTEGER
  return [...nets].sort((a, b) => laneOf(a) - laneOf(b))
}
