/** What the terminal picture says in each column, cut to what the width allows, and where the columns begin. */
import { columns, type Say } from './clean.ts'
import type { Placed } from './layout.ts'
import type { BlockView, Overview, SpaceView } from './overview.ts'
import { pasidTablesHeading } from './words.ts'

/** The longest texts of each part. The first plan that fits is taken; the last one is taken in any case. */
interface Plan {
  readonly name: number
  readonly detail: number
  readonly says: number
  readonly title: number
  readonly tags: number
  /** Columns that a space's name must get, if it is so long; more where there is room. */
  readonly label: number
  readonly root: boolean
  readonly maps: 'all' | 'size' | 'none'
}

const PLANS: readonly Plan[] = [
  { name: 24, detail: 30, says: 24, title: 34, tags: 16, label: 60, root: true, maps: 'all' },
  { name: 20, detail: 24, says: 16, title: 30, tags: 12, label: 34, root: true, maps: 'all' },
  { name: 20, detail: 0, says: 16, title: 30, tags: 12, label: 34, root: true, maps: 'all' },
  { name: 20, detail: 0, says: 16, title: 18, tags: 12, label: 34, root: true, maps: 'all' },
  { name: 16, detail: 0, says: 12, title: 16, tags: 9, label: 30, root: true, maps: 'size' },
  { name: 16, detail: 0, says: 12, title: 16, tags: 9, label: 24, root: true, maps: 'none' },
  { name: 14, detail: 0, says: 10, title: 12, tags: 9, label: 18, root: true, maps: 'none' },
  { name: 12, detail: 0, says: 8, title: 10, tags: 7, label: 18, root: false, maps: 'none' },
  { name: 12, detail: 0, says: 8, title: 10, tags: 0, label: 14, root: false, maps: 'none' },
  { name: 8, detail: 0, says: 6, title: 10, tags: 0, label: 10, root: false, maps: 'none' },
]

interface DeviceText {
  readonly name: string
  readonly detailAt: number
  readonly detail: string
  readonly saysAt: number
  readonly says: string
}
interface TableText {
  readonly title: string
  readonly rows: readonly { readonly text: string; readonly tagsAt: number; readonly tags: string }[]
}
interface LabelText {
  readonly name: string
  readonly aboutAt: number
  readonly about: string
  readonly rootAt: number
  readonly root: string
  readonly mapsAt: number
  readonly maps: string
  readonly width: number
}

export interface Sheet {
  readonly width: number
  /** Into the characters that may be used. */
  readonly say: Say
  readonly devices: readonly DeviceText[]
  /** By block; empty for passing ones. */
  readonly tables: readonly TableText[]
  readonly labels: ReadonlyMap<string, LabelText>
  readonly x: Columns
}

/** Where things begin and end, across. */
interface Columns {
  readonly device: number
  readonly deviceEnd: number
  readonly leftLane: number
  readonly table: number
  readonly tableEnd: number
  readonly rightLane: number
  readonly label: number
  readonly labelEnd: number
  readonly underLane: number
  readonly under: number
  readonly hasUnder: boolean
}

/** What the manual calls the things in the first two columns. */
export function manualNames(view: Overview): [string, string] {
  return [view.words.deviceTable, pasidTablesHeading(view.words)]
}

/** The texts and columns for a width. */
export function sheet(view: Overview, placed: Placed, width: number, say: Say): Sheet {
  for (const plan of PLANS) {
    const made = compose(view, placed, plan, width, say)
    if (made !== null) return made
  }
  throw new Error('the last plan always gives a sheet')
}

function widest(texts: Iterable<string>): number {
  let most = 0
  for (const text of texts) most = Math.max(most, columns(text))
  return most
}

/** The sheet under a plan; null when it does not fit and there is another plan. */
function compose(view: Overview, placed: Placed, plan: Plan, width: number, say: Say): Sheet | null {
  const { left, right, under } = placed
  const devices = deviceTexts(view, plan, say)
  const tables = view.blocks.map((block) => tableText(block, plan, say))
  const hasTables = view.blocks.some((block) => block.kind === 'table')
  const shown = [...view.spaces.values()]
  const deviceInner = devices.reduce((all, text) => Math.max(all, deviceWidth(text)), 6)
  const tableInners = tables.reduce((all, text) => Math.max(all, tableInner(text)), 8)
  const device = 2 + widest(view.devices.map((each) => say(each.idText)))
  const deviceEnd = device + deviceInner + 3
  const tableWidth = hasTables ? tableInners + 3 : 3
  const hasUnder = shown.some((space) => space.under)
  const gutter = (lanes: number) => (lanes === 0 ? 6 : 6 + lanes * 2)
  const gutters = [gutter(left.lanes), gutter(right.lanes), hasUnder ? gutter(under.lanes) : 0]
  // The names of spaces share what the rest leaves.
  const rest = deviceEnd + gutters[0]! + tableWidth + gutters[1]! + gutters[2]!
  const label = fitLabels(shown, plan, say, width - rest)
  if (label === null && plan !== PLANS.at(-1)) return null
  const spaces = labelTexts(
    shown.filter((space) => !space.under),
    plan,
    say,
    label ?? plan.label,
  )
  const beneath = labelTexts(
    shown.filter((space) => space.under),
    plan,
    say,
    label ?? plan.label,
  )
  const notes = view.blocks.flatMap((block) => (block.kind === 'table' ? block.rows.filter((row) => row.space === null) : []))
  const labelWidth = Math.max(
    mostWidth(spaces),
    Math.min(widest(notes.map((row) => say(row.note))), width - rest - mostWidth(beneath)),
  )
  // What is left of the width goes to the gutters: first so that the headings fit, then for air.
  let spare = width - rest - labelWidth - mostWidth(beneath)
  const spend = (at: number, wish: number) => {
    const spent = Math.max(0, Math.min(spare, wish))
    spare -= spent
    gutters[at]! += spent
  }
  const headings = manualNames(view).map((text) => columns(say(text)))
  if (hasTables) spend(1, headings[1]! + 2 - tableWidth - gutters[1]!)
  spend(0, headings[0]! + 2 - (deviceEnd - device) - gutters[0]!)
  spend(0, Math.min(6, spare >> 1))
  spend(1, Math.min(4, spare >> 1))
  const table = deviceEnd + gutters[0]!
  const tableEnd = table + tableWidth
  const labelAt = tableEnd + gutters[1]!
  const labelEnd = labelAt + labelWidth
  const x = {
    device,
    deviceEnd,
    // Lanes lie in the middle of the left gutter, and next to the tables in the others.
    leftLane: deviceEnd + 1 + ((gutters[0]! - left.lanes * 2) >> 1),
    table,
    tableEnd,
    rightLane: tableEnd + 3,
    label: labelAt,
    labelEnd,
    underLane: labelEnd + 3,
    under: labelEnd + gutters[2]!,
    hasUnder,
  }
  return { width, say, devices, tables, labels: new Map([...spaces, ...beneath]), x }
}

function deviceWidth(text: DeviceText): number {
  if (text.says !== '') return text.saysAt + columns(text.says)
  return text.detail !== '' ? text.detailAt + columns(text.detail) : columns(text.name)
}

function mostWidth(texts: ReadonlyMap<string, LabelText>): number {
  return [...texts.values()].reduce((all, text) => Math.max(all, text.width), 0)
}

/** The columns for each space's name such that all columns of spaces fit into `room`; null when that is less than the plan wants. */
function fitLabels(shown: readonly SpaceView[], plan: Plan, say: Say, room: number): number | null {
  const widthAt = (limit: number) => {
    const width = (under: boolean) =>
      mostWidth(
        labelTexts(
          shown.filter((space) => space.under === under),
          plan,
          say,
          limit,
        ),
      )
    return width(false) + width(true)
  }
  for (let limit = 60; limit >= plan.label; limit -= 2) if (widthAt(limit) <= room) return limit
  return null
}

function deviceTexts(view: Overview, plan: Plan, say: Say): DeviceText[] {
  const parts = view.devices.map((device) => ({
    name: say(device.name, plan.name),
    detail: say(device.detail, plan.detail),
    says: say(columns(device.says) > plan.says ? device.says.replace(/^domain /, '') : device.says, plan.says),
  }))
  const after = (from: number, texts: readonly string[]) => (widest(texts) === 0 ? from : from + widest(texts) + 2)
  const detailAt = after(
    0,
    parts.map(({ name }) => name),
  )
  const saysAt = after(
    detailAt,
    parts.map(({ detail }) => detail),
  )
  return parts.map((part) => ({ ...part, detailAt, saysAt }))
}

function tableText(block: BlockView, plan: Plan, say: Say): TableText {
  if (block.kind === 'pass') return { title: '', rows: [] }
  const both = say(block.title === '' ? block.address : `${block.title}  ${block.address}`)
  const title = columns(both) <= plan.title ? both : block.title === '' ? say(block.address) : say(block.title, plan.title)
  const digits = block.rows.reduce((most, row) => Math.max(most, row.kind === 'entry' ? row.text.length : 0), 0)
  const rows = block.rows.map((row) => ({
    text: row.kind === 'entry' || row.kind === 'unused' ? row.text.padStart(digits) : say(row.text, Math.max(16, plan.title)),
    tagsAt: digits + 2,
    tags: tagText(row.tags, plan.tags, say),
  }))
  return { title, rows }
}

/** `Domain… 12`: where a tag is too long its word is cut, not its number. */
function tagText(tag: string, limit: number, say: Say): string {
  const [, word, number] = /^(\D{4,}) (\d+)$/.exec(tag) ?? []
  const left = limit - columns(number ?? '') - 1
  return word === undefined || columns(say(tag)) <= limit || left < 3 ? say(tag, limit) : `${say(word, left)} ${number}`
}

/** Columns between a table box's edges, less a blank on each side. */
function tableInner(text: TableText): number {
  const rows = text.rows.map((row) => Math.max(columns(row.text), row.tags === '' ? 0 : row.tagsAt + columns(row.tags)))
  return Math.max(0, ...rows, text.title === '' ? 0 : columns(text.title) + 2)
}

/** Labels of one column of spaces, their parts below each other. */
function labelTexts(spaces: readonly SpaceView[], plan: Plan, say: Say, limit: number): Map<string, LabelText> {
  const parts = spaces.map((space) => {
    const name = say(space.name, limit)
    const left = limit - columns(name) - 2
    return { space, name, about: left < 6 ? '' : say(space.about, left) }
  })
  const headOf = (name: string, about: string) => columns(name) + (about === '' ? 0 : columns(about) + 2)
  const rootAt = parts.reduce((most, { name, about }) => Math.max(most, headOf(name, about)), 0) + 2
  const roots = parts.map(({ space }) => (plan.root ? space.root : ''))
  const mapsAt = rootAt + (widest(roots) === 0 ? 0 : widest(roots) + 2)
  return new Map(
    parts.map(({ space, name, about }, at) => {
      const maps = plan.maps === 'none' ? '' : say(plan.maps === 'all' ? space.maps : space.maps.replace(/ in .*/, ''))
      const root = roots[at]!
      const width = maps !== '' ? mapsAt + columns(maps) : root !== '' ? rootAt + columns(root) : headOf(name, about)
      return [space.id, { name, aboutAt: columns(name) + 2, about, rootAt, root, mapsAt, maps, width }]
    }),
  )
}
