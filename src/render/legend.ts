/** The line beneath the drawing that says what its signs mean: only those that it has. */
import type { Shape } from './drawing.ts'
import { label } from './drawing.ts'
import { textWidth } from './font.ts'
import type { Overview, SpaceView } from './overview.ts'
import { FAINT, SLATE, WIRE } from './palette.ts'
import { LEGEND_LINE, sans } from './sizes.ts'

const FONT = sans(12)
const SIGN = 30

interface Item {
  readonly text: string
  /** The sign, 30 pixels wide, around `y`. */
  readonly sign: (x: number, y: number) => Shape[]
}

/** Shapes of the legend in rows of at most `width`, and where the next thing may begin. */
export function legend(view: Overview, x: number, top: number, width: number): { shapes: Shape[]; bottom: number } {
  const shapes: Shape[] = []
  let at = x
  let y = top
  const all = items(view)
  for (const item of all) {
    const w = SIGN + 8 + textWidth(item.text, FONT)
    if (at > x && at + w > x + width) {
      at = x
      y += LEGEND_LINE
    }
    shapes.push(...item.sign(at, y), ...label(item.text, FONT, FAINT, { x: at + SIGN + 8, middle: y, room: width - SIGN - 8 }))
    at += w + 26
  }
  return { shapes, bottom: all.length === 0 ? top : y + LEGEND_LINE + 6 }
}

function items(view: Overview): Item[] {
  const out: Item[] = []
  const spaces = [...view.spaces.values()]
  const rows = view.blocks.flatMap((block) => (block.kind === 'table' ? block.rows : []))
  const line =
    (stroke: string, dashed = false) =>
    (x: number, y: number): Shape[] => [
      {
        kind: 'wire',
        paths: [
          [
            [x, y],
            [x + SIGN, y],
          ],
        ],
        stroke,
        width: 1.8,
        dashed,
      },
    ]
  if (view.blocks.some((block) => block.kind === 'table'))
    out.push({
      text: 'device to its PASID table',
      sign: (x, y) => [...line(WIRE)(x, y).map((shape) => shape), { kind: 'arrow', x: x + SIGN, y, fill: WIRE }],
    })
  const slate = spaces.filter((space) => space.colour === SLATE && !space.isPrivate)
  const domains = slate.every((space) => space.name === 'io_pgtable')
  if (slate.length > 0)
    out.push({ text: domains ? "a domain's own page table" : 'address space that nothing shares', sign: swatch(slate[0]!) })
  const hued = spaces.filter((space) => space.colour !== SLATE)
  const shared = hued.find((space) => space.uses > 1 || space.under)
  if (shared !== undefined) out.push({ text: 'shared: lines of one colour meet in one space', sign: meeting(shared.colour.line) })
  const own = spaces.find((space) => space.isPrivate)
  if (own !== undefined) out.push({ text: 'dashed edge: private, no process behind it', sign: swatch(own) })
  if (rows.some((row) => row.state !== 'valid')) out.push({ text: 'entry that translates nothing', sign: line(WIRE, true) })
  return out
}

function swatch(space: SpaceView): Item['sign'] {
  return (x, y) => [
    {
      kind: 'box',
      x,
      y: y - 7,
      w: SIGN,
      h: 14,
      radius: 4,
      fill: space.colour.tint,
      stroke: space.colour.line,
      dashed: space.isPrivate,
    },
  ]
}

function meeting(stroke: string): Item['sign'] {
  return (x, y) => [
    {
      kind: 'wire',
      paths: [
        [
          [x, y - 6],
          [x + 14, y - 6],
          [x + 14, y],
          [x + SIGN, y],
        ],
        [
          [x, y + 6],
          [x + 14, y + 6],
          [x + 14, y],
          [x + SIGN, y],
        ],
      ],
      stroke,
      width: 1.8,
      dashed: false,
    },
  ]
}
