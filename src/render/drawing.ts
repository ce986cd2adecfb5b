/** The shapes of a drawing: what `svg.ts` writes down. Plain data, so that tests can ask whether anything overlaps. */
import { type Font, fitText, textWidth } from './font.ts'

export interface Rect {
  readonly x: number
  readonly y: number
  readonly w: number
  readonly h: number
}

export interface Box extends Rect {
  readonly kind: 'box'
  readonly radius: number
  readonly fill: string
  readonly stroke: string
  readonly dashed: boolean
}

/** A part of a box: a title bar, a strip of colour. Nothing ends at it. */
export interface Fill extends Rect {
  readonly kind: 'fill'
  readonly radius: number
  readonly fill: string
}

export interface Label {
  readonly kind: 'label'
  /** Left end, or right end where `anchor` says so. */
  readonly x: number
  readonly baseline: number
  readonly text: string
  readonly font: Font
  readonly fill: string
  readonly anchor: 'start' | 'end'
}

/** Lines that belong together. Each consists of horizontal and vertical pieces through its points; corners become round. */
export interface Wire {
  readonly kind: 'wire'
  readonly paths: readonly (readonly (readonly [number, number])[])[]
  readonly stroke: string
  readonly width: number
  readonly dashed: boolean
}

/** A thin line inside a box, between its rows. */
export interface Rule {
  readonly kind: 'rule'
  readonly x: number
  readonly y: number
  readonly w: number
  readonly dashed: boolean
}

export interface Arrow {
  readonly kind: 'arrow'
  /** The tip; it points to the right. */
  readonly x: number
  readonly y: number
  readonly fill: string
}

export interface Dot {
  readonly kind: 'dot'
  readonly x: number
  readonly y: number
  readonly radius: number
  readonly fill: string
}

export type Shape = Box | Fill | Label | Wire | Rule | Arrow | Dot

export interface Drawing {
  readonly width: number
  readonly height: number
  readonly title: string
  readonly description: string
  /** Boxes and lines of the machine, from back to front. */
  readonly body: readonly Shape[]
  /** Title, headings, legend, notes. */
  readonly around: readonly Shape[]
}

/** A label whose text is cut to `room`, vertically centred on `middle`. Null when nothing is left of it. */
export function label(
  text: string,
  font: Font,
  fill: string,
  at: { readonly x: number; readonly middle: number; readonly room: number; readonly end?: boolean },
): Label[] {
  const fitted = fitText(text, font, at.room)
  if (fitted === '') return []
  const anchor = at.end === true ? 'end' : 'start'
  // Capitals and digits are about 0.72 of the size high: half of that below the middle.
  return [{ kind: 'label', x: at.x, baseline: at.middle + font.size * 0.36, text: fitted, font, fill, anchor }]
}

/** Where a label's ink is, at most. */
export function labelRect(it: Label): Rect {
  const w = textWidth(it.text, it.font)
  return { x: it.anchor === 'end' ? it.x - w : it.x, y: it.baseline - it.font.size * 0.8, w, h: it.font.size }
}
