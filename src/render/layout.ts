/**
 * Where everything goes: one computation for the terminal and for the drawing. Columns from left to right: devices, PASID tables, address
 * spaces, and stage 2 where spaces run over one; between them channels in which the lines run down in lanes. Heights are in units of the
 * back end (lines, pixels); what is across is its own matter.
 */
import type { Overview } from './overview.ts'

/** Measures of the back end, along y. */
export interface Metrics {
  /** From a device box's top edge to its first row, from row to row, and from the last row to the bottom edge. */
  readonly deviceHead: number
  readonly devicePitch: number
  readonly deviceFoot: number
  /** The least distance between a box's bottom edge and the next one's top edge. */
  readonly gap: number
  /** From a table's top edge to where the line from the devices enters, and to the first entry; then as for devices. */
  readonly port: number
  readonly head: number
  readonly pitch: number
  readonly foot: number
  /** Height that a line passing the tables takes there. */
  readonly pass: number
  /** Lines of different nets on one level keep so far apart. */
  readonly clear: number
  /** Lanes that a channel may have. */
  readonly lanes: number
}

/** Lines that meet: from rows on the left into one lane, and to one row on the right. */
export interface Net {
  /** Block index, or space id. */
  readonly key: number | string
  readonly pins: readonly number[]
  readonly port: number
  /** Null: one straight line, or (`broken`) no lane was free. */
  readonly lane: number | null
  /** The other pins get a reference instead of a line. */
  readonly broken: boolean
}

export interface Channel {
  readonly nets: readonly Net[]
  readonly lanes: number
}

/** A box of devices in a row: indices into `deviceOrder`. */
export interface Run {
  readonly first: number
  readonly last: number
}

export interface Placed {
  /** Indices of devices from top to bottom. By id, unless that would need more lanes than there are. */
  readonly deviceOrder: readonly number[]
  /** Row of each device, by index. */
  readonly deviceRow: readonly number[]
  readonly runs: readonly Run[]
  readonly blockTop: readonly number[]
  /** Rows of a block's entries; a passing block has one. */
  readonly rows: readonly (readonly number[])[]
  /** Row of the text of each space, in its column. */
  readonly spaceRow: ReadonlyMap<string, number>
  /** Devices → tables. */
  readonly left: Channel
  /** Tables → spaces. */
  readonly right: Channel
  /** Spaces → stage 2. */
  readonly under: Channel
  readonly height: number
}

/** Lanes on the left that are still easy to follow; beyond, devices move next to what they lead to. */
const EASY_LANES = 4

/** Places everything. */
export function place(view: Overview, metrics: Metrics): Placed {
  const byId = view.devices.map((_, index) => index)
  const byBlock = [...byId].sort((a, b) => rankOf(view, a) - rankOf(view, b) || a - b)
  const attempts: [number[], boolean][] = [
    [byId, true],
    [byId, false],
    [byBlock, false],
  ]
  let stacked: Stacked | null = null
  for (const [order, together] of attempts) {
    stacked = stack(view, metrics, order, together)
    if (stacked.left.lanes <= Math.min(EASY_LANES, metrics.lanes)) break
  }
  return { ...stacked!, ...spacesOf(view, stacked!, metrics) }
}

/** Devices that lead nowhere keep their place at the end. */
function rankOf(view: Overview, device: number): number {
  return view.devices[device]!.block ?? view.blocks.length
}

type Stacked = Pick<Placed, 'deviceOrder' | 'deviceRow' | 'runs' | 'blockTop' | 'rows' | 'left' | 'height'>

/** Height of a block from its top to its bottom edge. */
function blockHeight(view: Overview, block: number, metrics: Metrics): number {
  const it = view.blocks[block]!
  return it.kind === 'pass' ? metrics.pass : metrics.head + (it.rows.length - 1) * metrics.pitch + metrics.foot
}

function portOffset(view: Overview, block: number, metrics: Metrics): number {
  return view.blocks[block]!.kind === 'pass' ? metrics.pass / 2 : metrics.port
}

/**
 * Stacks devices and blocks downwards, so that lines are straight where they can be. `together`: devices with consecutive ids stay in one
 * regular box; otherwise each may move to the height of its table.
 */
function stack(view: Overview, metrics: Metrics, order: readonly number[], together: boolean): Stacked {
  const deviceRow = new Array<number>(view.devices.length).fill(0)
  const blockTop = new Array<number>(view.blocks.length).fill(0)
  const placedBlocks = new Set<number>()
  const groups: number[][] = []
  for (const device of order) {
    const last = groups.at(-1)
    const before = last === undefined ? undefined : view.devices[last.at(-1)!]
    if (last !== undefined && together && before!.id + 1 === view.devices[device]!.id) last.push(device)
    else groups.push([device])
  }
  const breakMin = metrics.deviceFoot + metrics.gap + metrics.deviceHead
  let lastRow: number | null = null
  let blocksEnd: number | null = null
  const linked: { row: number; block: number }[] = []
  for (const group of groups) {
    const fresh = [...new Set(group.map((device) => view.devices[device]!.block))].filter(
      (block): block is number => block !== null && !placedBlocks.has(block),
    )
    const best = placeGroup(view, metrics, group, fresh, {
      attach: lastRow === null ? metrics.deviceHead : lastRow + metrics.devicePitch,
      apart: lastRow === null ? metrics.deviceHead : lastRow + breakMin,
      blocks: blocksEnd === null ? 0 : blocksEnd + metrics.gap,
      linked,
      ports: [...placedBlocks].map((block) => ({ block, row: blockTop[block]! + portOffset(view, block, metrics) })),
    })
    group.forEach((device, at) => {
      deviceRow[device] = best.row + at * metrics.devicePitch
      const block = view.devices[device]!.block
      if (block !== null) linked.push({ row: deviceRow[device]!, block })
    })
    fresh.forEach((block, at) => {
      blockTop[block] = best.tops[at]!
      placedBlocks.add(block)
      blocksEnd = best.tops[at]! + blockHeight(view, block, metrics)
    })
    lastRow = deviceRow[group.at(-1)!]!
  }
  const runs: { first: number; last: number }[] = []
  order.forEach((device, at) => {
    const run = runs.at(-1)
    if (run !== undefined && deviceRow[device]! - deviceRow[order[at - 1]!]! === metrics.devicePitch) run.last = at
    else runs.push({ first: at, last: at })
  })
  const rows = view.blocks.map((block, at) =>
    block.kind === 'pass'
      ? [blockTop[at]! + portOffset(view, at, metrics)]
      : block.rows.map((_, row) => blockTop[at]! + metrics.head + row * metrics.pitch),
  )
  const nets = view.blocks.map((_, block) => ({
    key: block,
    pins: linked.filter((each) => each.block === block).map(({ row }) => row),
    port: blockTop[block]! + portOffset(view, block, metrics),
  }))
  const height = Math.max(lastRow === null ? 0 : lastRow + metrics.deviceFoot, blocksEnd ?? 0)
  return { deviceOrder: order, deviceRow, runs, blockTop, rows, left: route(nets, Number.POSITIVE_INFINITY), height }
}

interface Room {
  /** First row right below the last box, and below a gap. */
  readonly attach: number
  readonly apart: number
  /** Where the next block may begin. */
  readonly blocks: number
  readonly linked: readonly { row: number; block: number }[]
  readonly ports: readonly { row: number; block: number }[]
}

/** The first row of a group of devices and the tops of the blocks that it is the first to lead to, with the straightest lines. */
function placeGroup(view: Overview, metrics: Metrics, group: readonly number[], fresh: readonly number[], room: Room) {
  const blockOf = group.map((device) => view.devices[device]!.block)
  // Where the blocks would be if the devices did not matter: each device may want to be level with its own.
  const wishes = [room.attach, room.apart]
  let top = room.blocks
  for (const block of fresh) {
    const at = blockOf.indexOf(block)
    wishes.push(top + portOffset(view, block, metrics) - at * metrics.devicePitch)
    top += blockHeight(view, block, metrics) + metrics.gap
  }
  let best: { row: number; tops: number[]; cost: number } | null = null
  for (const wish of wishes) {
    if (wish !== room.attach && wish < room.apart) continue
    let row = wish
    // A device level with another block's port would draw its line into that one.
    const meets = () =>
      group.some((_, at) =>
        room.ports.some(
          (port) =>
            blockOf[at] !== null &&
            port.block !== blockOf[at] &&
            Math.abs(port.row - row - at * metrics.devicePitch) < metrics.clear,
        ),
      )
    while (meets()) row = Math.max(row + metrics.clear, room.apart)
    const lines = [...room.linked]
    group.forEach((_, at) => {
      const block = blockOf[at]
      if (block !== null && block !== undefined) lines.push({ row: row + at * metrics.devicePitch, block })
    })
    const tops = stackBlocks(view, metrics, fresh, room.blocks, lines)
    let cost = (row - room.attach) / 4
    fresh.forEach((block, at) => {
      const port = tops[at]! + portOffset(view, block, metrics)
      for (const line of lines)
        if (line.block === block) cost += Math.abs(line.row - port) + Number(line.row !== port) * metrics.clear
      cost += (tops[at]! - room.blocks) / 4
    })
    if (best === null || cost < best.cost) best = { row, tops, cost }
  }
  return best!
}

/** Tops of blocks from `top` downwards: level with their first device where there is room, and never level with another's. */
function stackBlocks(view: Overview, metrics: Metrics, fresh: readonly number[], from: number, lines: Room['linked']): number[] {
  let top = from
  return fresh.map((block) => {
    const offset = portOffset(view, block, metrics)
    const first = lines.find((line) => line.block === block)!.row
    let mine = Math.max(top, first - offset)
    while (lines.some((line) => line.block !== block && Math.abs(line.row - mine - offset) < metrics.clear)) mine += metrics.clear
    top = mine + blockHeight(view, block, metrics) + metrics.gap
    return mine
  })
}

/** Rows of the spaces and the channels to them. A space stands level with the first line that leads to it. */
function spacesOf(view: Overview, stacked: Stacked, metrics: Metrics): Pick<Placed, 'spaceRow' | 'right' | 'under'> {
  const pins = new Map<string, number[]>()
  const pin = (map: Map<string, number[]>, id: string, row: number) => {
    const rows = map.get(id)
    if (rows === undefined) map.set(id, [row])
    else rows.push(row)
  }
  const underPins = new Map<string, number[]>()
  const lead = (id: string, row: number) => pin(view.spaces.get(id)!.under ? underPins : pins, id, row)
  view.blocks.forEach((block, at) => {
    if (block.kind === 'pass') lead(block.space, stacked.rows[at]![0]!)
    else
      block.rows.forEach((row, index) => {
        if (row.space !== null) lead(row.space, stacked.rows[at]![index]!)
      })
  })
  const netsOf = (map: ReadonlyMap<string, number[]>) => [...map].map(([key, rows]) => ({ key, pins: rows, port: rows[0]! }))
  const right = route(netsOf(pins), metrics.lanes)
  const spaceRow = new Map<string, number>()
  for (const net of right.nets) spaceRow.set(String(net.key), net.port)
  for (const [id, row] of spaceRow) {
    const over = view.spaces.get(id)!.over
    if (over !== null) pin(underPins, over, row)
  }
  for (const rows of underPins.values()) rows.sort((a, b) => a - b)
  const under = route(netsOf(underPins), metrics.lanes)
  for (const net of under.nets) spaceRow.set(String(net.key), net.port)
  return { spaceRow, right, under }
}

type Wire = Pick<Net, 'key' | 'pins' | 'port'>

/** Gives out lanes from left to right, with few crossings. Nets beyond the limit stay without. */
export function route(wires: readonly Wire[], limit: number): Channel {
  const spans = wires.map((wire) => ({ low: Math.min(wire.port, ...wire.pins), high: Math.max(wire.port, ...wire.pins) }))
  const bent = wires.map((_, at) => at).filter((at) => spans[at]!.low !== spans[at]!.high)
  const order = fewCrossings(bent, wires, spans)
  const lane = new Map<number, number>()
  for (const net of order) {
    let mine = 0
    for (const [other, taken] of lane) {
      const apart = spans[other]!.high < spans[net]!.low || spans[other]!.low > spans[net]!.high
      if (!apart && taken >= mine) mine = taken + 1
    }
    lane.set(net, mine)
  }
  const nets = wires.map((wire, at) => {
    const taken = lane.get(at)
    const broken = taken !== undefined && taken >= limit
    return { ...wire, lane: taken === undefined || broken ? null : taken, broken }
  })
  return { nets, lanes: nets.reduce((most, net) => Math.max(most, net.lane === null ? 0 : net.lane + 1), 0) }
}

/** Sorts nets by exchanging neighbours while that removes crossings. */
function fewCrossings(
  bent: readonly number[],
  wires: readonly Wire[],
  spans: readonly { low: number; high: number }[],
): number[] {
  /** Crossings when `a` has the lane left of `b`: pins of b cross a's lane, a's line to its port crosses b's. */
  const crossings = (a: number, b: number) =>
    wires[b]!.pins.filter((row) => row > spans[a]!.low && row < spans[a]!.high).length +
    Number(wires[a]!.port > spans[b]!.low && wires[a]!.port < spans[b]!.high)
  const order = [...bent]
  for (let pass = 0, moved = true; moved && pass < order.length; pass++) {
    moved = false
    for (let at = 1; at < order.length; at++) {
      const [a, b] = [order[at - 1]!, order[at]!]
      if (crossings(b, a) >= crossings(a, b)) continue
      order[at - 1] = b
      order[at] = a
      moved = true
    }
  }
  return order
}
