/** Where the drawing's columns begin and end, from how wide their texts are. */
import { type Font, textWidth } from './font.ts'
import type { Placed } from './layout.ts'
import type { BlockView, DeviceView, Overview, SpaceView } from './overview.ts'
import { MARGIN, PAGE_WIDTH, type Sizes, sans } from './sizes.ts'
import { pasidTablesHeading } from './words.ts'

/** Blank between text and the edge of its box. */
export const PAD = 12
/** Between two texts on one line. */
export const APART = 10

/** A column of spaces: the parts of their texts begin below each other where they go on one line. */
export interface SpaceColumn {
  readonly x: number
  readonly w: number
  /** Offsets in the box of the address and of what is mapped; only for one line. */
  readonly rootAt: number
  readonly mapsAt: number
}

export interface Across {
  readonly device: number
  readonly deviceEnd: number
  readonly leftLane: number
  readonly table: number
  readonly tableEnd: number
  /** Width of the longest PASID. */
  readonly digits: number
  readonly rightLane: number
  readonly spaces: SpaceColumn
  readonly underLane: number
  readonly under: SpaceColumn | null
  readonly width: number
}

/** No drawing is narrower: title, legend and notes need room. */
export const MIN_WIDTH = 660

export function across(view: Overview, placed: Placed, sizes: Sizes): Across {
  const device = MARGIN + most(view.devices, (each) => textWidth(each.idText, sizes.smallMono)) + APART
  const deviceW = within(most(view.devices, (each) => deviceWidth(each, sizes)) + 2 * PAD, 76, 270)
  const tables = view.blocks.filter((block) => block.kind === 'table')
  const rows = tables.flatMap((block) => block.rows)
  const digits = most(rows, (row) => (row.kind === 'entry' ? textWidth(row.text, sizes.mono) : 0))
  const tableW = tables.length === 0 ? 0 : within(most(tables, (block) => tableWidth(block, digits, sizes)) + 2 * PAD, 110, 290)
  const shown = [...view.spaces.values()]
  const notes = most(rows, (row) => (row.space === null ? textWidth(row.note, sizes.small) + 2 * PAD : 0))
  const plain = shown.filter((space) => !space.under)
  const beneath = shown.filter((space) => space.under)
  const heading = (text: string) => textWidth(text, sans(11.5)) + APART
  const left = Math.max(sizes.gutter + placed.left.lanes * sizes.laneStep, heading(view.words.deviceTable) - deviceW)
  const lanes = sizes.gutter + placed.right.lanes * sizes.laneStep
  const right = tables.length === 0 ? lanes : Math.max(lanes, heading(pasidTablesHeading(view.words)) - tableW)
  const between = beneath.length === 0 ? 0 : sizes.gutter + placed.under.lanes * sizes.laneStep
  const fixed = device + deviceW + left + tableW + right + between + MARGIN
  const room = PAGE_WIDTH - fixed
  const wish = spaceColumn(plain, sizes)
  const wishUnder = spaceColumn(beneath, sizes)
  const wanted = plain.length === 0 && notes === 0 ? 0 : Math.max(wish.w, notes)
  const underW = beneath.length === 0 ? 0 : Math.min(wishUnder.w, Math.max(room - wanted, wanted === 0 ? room : room / 2))
  const spacesW = Math.min(wanted, room - underW)
  // A small machine is spread over the least width, so that title and legend have room.
  const spread = Math.max(0, MIN_WIDTH - fixed - spacesW - underW) / (beneath.length === 0 ? 2 : 3)
  const deviceEnd = device + deviceW
  const table = deviceEnd + left + spread
  const tableEnd = table + tableW
  const x = tableEnd + right + spread
  const spacesEnd = x + spacesW
  const underX = spacesEnd + between + (beneath.length === 0 ? 0 : spread)
  const leftLanes = placed.left.lanes * sizes.laneStep
  return {
    device,
    deviceEnd,
    leftLane: deviceEnd + (left + spread - leftLanes + sizes.laneStep) / 2 - 4,
    table,
    tableEnd,
    digits,
    rightLane: tableEnd + 26,
    spaces: { ...fitColumn(wish, spacesW), x },
    underLane: spacesEnd + 26,
    under: beneath.length === 0 ? null : { ...fitColumn(wishUnder, underW), x: underX },
    width: Math.max(MIN_WIDTH, underX + underW + MARGIN),
  }
}

function most<T>(items: readonly T[], width: (item: T) => number): number {
  return items.reduce((widest, item) => Math.max(widest, width(item)), 0)
}

function within(value: number, low: number, high: number): number {
  return Math.max(low, Math.min(high, value))
}

function deviceWidth(device: DeviceView, sizes: Sizes): number {
  if (device.name === '') return textWidth(device.says, sizes.name)
  const first = textWidth(device.name, sizes.name) + (device.says === '' ? 0 : 2 * APART + textWidth(device.says, sizes.detail))
  return Math.max(first, textWidth(device.detail, sizes.detail))
}

function tableWidth(block: BlockView & { kind: 'table' }, digits: number, sizes: Sizes): number {
  const address = textWidth(block.address, sizes.smallMono)
  const title = block.title === '' ? address : textWidth(block.title, sizes.name) + 2 * APART + address
  const rows = most(block.rows, (row) =>
    row.kind === 'entry' ? digits + PAD + textWidth(row.tags, sizes.small) : textWidth(row.text, sizes.small),
  )
  return Math.max(title, rows)
}

/** Width of a space's name and what follows it. */
export function headWidth(space: SpaceView, name: Font, small: Font): number {
  return textWidth(space.name, name) + (space.about === '' ? 0 : APART + textWidth(space.about, small))
}

function spaceColumn(spaces: readonly SpaceView[], sizes: Sizes): { w: number; rootAt: number; mapsAt: number } {
  const head = most(spaces, (space) => headWidth(space, sizes.name, sizes.small))
  const root = most(spaces, (space) => textWidth(space.root, sizes.smallMono))
  const maps = most(spaces, (space) => textWidth(space.maps, sizes.small))
  // The strip of colour at the left edge takes a little more.
  const from = PAD + 4
  if (sizes.twoLines)
    return { w: from + Math.max(head, root + 2 * APART + maps) + PAD, rootAt: from, mapsAt: from + root + 2 * APART }
  const rootAt = from + head + APART
  const mapsAt = rootAt + root + APART
  return { w: mapsAt + maps + PAD, rootAt, mapsAt }
}

/** The column in less width: what is mapped goes first, then names are cut. */
function fitColumn(
  wish: { w: number; rootAt: number; mapsAt: number },
  w: number,
): { w: number; rootAt: number; mapsAt: number } {
  const less = Math.max(0, wish.w - w)
  const maps = wish.w - wish.mapsAt
  if (less === 0 || less < maps / 2) return { ...wish, w }
  // Without what is mapped; and the address further left if need be.
  return { w, rootAt: Math.max(PAD, wish.rootAt - Math.max(0, less - maps)), mapsAt: w }
}
