/** Measures of the drawing: two sets, one for small machines and one for as much as goes on a page. In pixels. */
import type { Font } from './font.ts'
import type { Metrics } from './layout.ts'

/** A page: what a drawing takes at most. */
export const PAGE_WIDTH = 1200
export const PAGE_HEIGHT = 1700
/** From an edge of the page to the first thing. */
export const MARGIN = 32
/** Where the columns begin, below title and headings. */
export const BODY_TOP = 124
/** From the columns to the legend. */
export const LEGEND_GAP = 34
/** From line to line of the notes, and of the legend. */
export const NOTE_LINE = 19
export const LEGEND_LINE = 22

/** The most that the columns may take: the page less title, a legend of up to three lines, and the notes. */
export function bodyHeight(notes: number): number {
  return PAGE_HEIGHT - BODY_TOP - LEGEND_GAP - 3 * LEGEND_LINE - 6 - notes * NOTE_LINE - MARGIN
}

export interface Sizes {
  readonly metrics: Metrics
  readonly titleBar: number
  readonly spaceHeight: number
  /** What is said of a space goes on two lines. */
  readonly twoLines: boolean
  readonly name: Font
  readonly detail: Font
  readonly mono: Font
  readonly small: Font
  readonly smallMono: Font
  readonly laneStep: number
  /** Width of a channel besides its lanes. */
  readonly gutter: number
}

export const sans = (size: number, bold = false): Font => ({ mono: false, bold, size })
export const mono = (size: number, bold = false): Font => ({ mono: true, bold, size })

/** @param detailed devices say what they are on a second line. */
export function roomySizes(detailed: boolean): Sizes {
  const row = detailed ? 48 : 40
  const metrics = {
    deviceHead: row / 2,
    devicePitch: row,
    deviceFoot: row / 2,
    gap: 28,
    port: 16,
    head: 32 + 23,
    pitch: 46,
    foot: 23,
    pass: 38,
    clear: 12,
    lanes: 8,
  }
  return {
    metrics,
    titleBar: 32,
    spaceHeight: 38,
    twoLines: true,
    name: sans(14, true),
    detail: sans(12),
    mono: mono(13),
    small: sans(12),
    smallMono: mono(11.5),
    laneStep: 15,
    gutter: 76,
  }
}

/** @param detailed as above. */
export function tightSizes(detailed: boolean): Sizes {
  const row = detailed ? 32 : 22
  const metrics = {
    deviceHead: row / 2,
    devicePitch: row,
    deviceFoot: row / 2,
    gap: 6,
    port: 10,
    head: 20 + 10,
    pitch: 19,
    foot: 10,
    pass: 17,
    clear: 8,
    lanes: 10,
  }
  return {
    metrics,
    titleBar: 20,
    spaceHeight: 16,
    twoLines: false,
    name: sans(12, true),
    detail: sans(10),
    mono: mono(11),
    small: sans(10.5),
    smallMono: mono(10.5),
    laneStep: 12,
    gutter: 52,
  }
}
