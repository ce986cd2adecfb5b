/**
 * The colours of all drawings. A hue stands for one address space, so that what is shared is seen; red is kept for what is wrong. The
 * terminal has the nearest colours of the 256-colour cube that can be read on black and on white.
 */

/** One colour, for every back end. */
export interface Colour {
  readonly name: string
  /** Lines and edges: at least 3:1 on white (WCAG 2.2, 1.4.11). */
  readonly line: string
  /** Behind text. */
  readonly tint: string
  /** Text: at least 4.5:1 on the tint (WCAG 2.2, 1.4.3). */
  readonly text: string
  /** Index in xterm's 256 colours. */
  readonly ansi: number
}

/** For address spaces, in the order in which they are given out. Neighbours are far apart, also for the colour-blind. */
export const HUES: readonly Colour[] = [
  { name: 'blue', line: '#1f75c4', tint: '#e5f1fc', text: '#123f6e', ansi: 33 },
  { name: 'orange', line: '#cc5f12', tint: '#fdeede', text: '#78350a', ansi: 166 },
  { name: 'green', line: '#1f8a55', tint: '#e2f5ea', text: '#125033', ansi: 29 },
  { name: 'magenta', line: '#be2f86', tint: '#fce8f3', text: '#731a50', ansi: 162 },
  { name: 'gold', line: '#977300', tint: '#faf2d3', text: '#594300', ansi: 136 },
  { name: 'violet', line: '#7650c8', tint: '#efe9fb', text: '#452b86', ansi: 98 },
  { name: 'teal', line: '#0f8791', tint: '#dff4f5', text: '#0a4d53', ansi: 30 },
  { name: 'brown', line: '#9a5b50', tint: '#f6ebe8', text: '#61342c', ansi: 131 },
]

/** Spaces that nothing else shares, tables and their connectors. */
export const SLATE: Colour = { name: 'slate', line: '#64748b', tint: '#eef2f7', text: '#27364a', ansi: 245 }

/** What is wrong. */
export const RED: Colour = { name: 'red', line: '#cf222e', tint: '#fdecec', text: '#8f1119', ansi: 196 }

/** Paper and ink of the drawings. */
export const INK = '#0f1b2d'
export const FAINT = '#5a6a80'
export const PAPER = '#ffffff'
export const EDGE = '#8595ab'
/** Lines from devices to tables, and between the rows of a box. */
export const WIRE = '#475569'
export const RULE = '#cbd5e1'

/** How a piece of terminal text looks. */
export interface Style {
  readonly colour?: Colour
  readonly bold?: boolean
  readonly faint?: boolean
}

/** Text between the control sequences of a style (ECMA-48 SGR; 38;5;n is xterm's 256 colours). Faint and plain text keep the terminal's colour. */
export function paint(text: string, style: Style): string {
  const codes: string[] = []
  if (style.bold === true) codes.push('1')
  if (style.faint === true) codes.push('2')
  if (style.colour !== undefined) codes.push(`38;5;${style.colour.ansi}`)
  return codes.length === 0 ? text : `\u001b[${codes.join(';')}m${text}\u001b[0m`
}
