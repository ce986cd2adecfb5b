/** A grid of characters with lines that know where they meet and where they only cross. */
import { charColumns } from './clean.ts'
import { paint, type Style } from './palette.ts'

const UP = 1
const RIGHT = 2
const DOWN = 4
const LEFT = 8

/** Characters by the directions that lines leave a cell in. Corners of lines are round, those of boxes square. */
const UNICODE = {
  line: ' │─╰││╭├─╯─┴╮┤┬┼',
  box: ' │─└││┌├─┘─┴┐┤┬┼',
  dashes: '╌╎',
  arrow: '▶',
}
const ASCII = {
  line: " |-'||.+-'-+.+++",
  box: ' |-+||++-+-+++++',
  dashes: '.:',
  arrow: '>',
}

interface Cell {
  char: string
  /** Directions of lines; 0 for text. */
  arms: number
  net: string
  box: boolean
  dashed: boolean
  style: Style
}

const PLAIN: Style = {}

export class Canvas {
  readonly width: number
  readonly #glyphs: typeof UNICODE
  readonly #rows: (Cell | undefined)[][] = []

  constructor(width: number, ascii: boolean) {
    this.width = width
    this.#glyphs = ascii ? ASCII : UNICODE
  }

  get height(): number {
    return this.#rows.length
  }

  #row(y: number): (Cell | undefined)[] {
    while (this.#rows.length <= y) this.#rows.push([])
    return this.#rows[y]!
  }

  /** Writes text over whatever is there. What does not fit is lost: callers cut before. */
  text(x: number, y: number, text: string, style: Style = PLAIN): void {
    const row = this.#row(y)
    for (const char of text) {
      const wide = charColumns(char)
      if (x < 0 || x + wide > this.width) return
      row[x] = { char, arms: 0, net: '', box: false, dashed: false, style }
      if (wide === 2) row[x + 1] = { char: '', arms: 0, net: '', box: false, dashed: false, style }
      x += wide
    }
  }

  arrow(x: number, y: number, style: Style): void {
    this.text(x, y, this.#glyphs.arrow, style)
  }

  #arm(x: number, y: number, arms: number, net: string, style: Style, box: boolean, dashed: boolean): void {
    if (x < 0 || x >= this.width || y < 0) return
    const row = this.#row(y)
    const cell = row[x]
    if (cell === undefined || cell.arms === 0) {
      row[x] = { char: '', arms, net, box, dashed, style }
      return
    }
    if (cell.net === net || cell.box || box) {
      cell.arms |= arms
      return
    }
    // Two lines that do not meet: the one that goes down stays whole, the other passes beneath.
    const vertical = (arms & (UP | DOWN)) !== 0
    if (vertical) row[x] = { char: '', arms, net, box, dashed, style }
  }

  /** A line from one cell to another on the same row or column. Lines of one net join where they touch; others cross. */
  line(x0: number, y0: number, x1: number, y1: number, net: string, style: Style, dashed = false): void {
    if (y0 === y1) {
      const [low, high] = x0 < x1 ? [x0, x1] : [x1, x0]
      for (let x = low; x <= high; x++) this.#arm(x, y0, (x > low ? LEFT : 0) | (x < high ? RIGHT : 0), net, style, false, dashed)
      return
    }
    const [low, high] = y0 < y1 ? [y0, y1] : [y1, y0]
    for (let y = low; y <= high; y++) this.#arm(x0, y, (y > low ? UP : 0) | (y < high ? DOWN : 0), net, style, false, dashed)
  }

  /** A box's outline; corners included. */
  box(x0: number, y0: number, x1: number, y1: number, style: Style): void {
    this.#edge(x0, x1, y0, style, false)
    this.#edge(x0, x1, y1, style, false)
    for (let y = y0; y <= y1; y++) {
      const arms = (y > y0 ? UP : 0) | (y < y1 ? DOWN : 0)
      this.#arm(x0, y, arms, '', style, true, false)
      this.#arm(x1, y, arms, '', style, true, false)
    }
  }

  #edge(x0: number, x1: number, y: number, style: Style, dashed: boolean): void {
    for (let x = x0; x <= x1; x++) this.#arm(x, y, (x > x0 ? LEFT : 0) | (x < x1 ? RIGHT : 0), '', style, true, dashed)
  }

  /** A line across a box between two rows; dashed where rows are left out there. */
  divider(x0: number, x1: number, y: number, style: Style, dashed: boolean): void {
    this.#edge(x0, x1, y, style, dashed)
  }

  /** All lines, without trailing blanks. */
  toString(colour: boolean): string {
    return this.#rows.map((row) => this.#line(row, colour)).join('\n')
  }

  #line(row: readonly (Cell | undefined)[], colour: boolean): string {
    const glyphs = this.#glyphs
    let last = row.length - 1
    while (last >= 0 && (row[last] === undefined || (row[last]!.arms === 0 && row[last]!.char === ' '))) last--
    let out = ''
    let piece = ''
    let style: Style = PLAIN
    for (let x = 0; x <= last; x++) {
      const cell = row[x]
      const char = cell === undefined ? ' ' : cell.arms === 0 ? cell.char : this.#glyph(cell, glyphs)
      const next = cell?.style ?? PLAIN
      // Blanks look alike in every style: no change for them.
      if (next !== style && char !== ' ') {
        out += colour ? paint(piece, style) : piece
        piece = ''
        style = next
      }
      piece += char
    }
    return out + (colour ? paint(piece, style) : piece)
  }

  #glyph(cell: Cell, glyphs: typeof UNICODE): string {
    if (cell.dashed && (cell.arms & (UP | DOWN)) === 0) return glyphs.dashes[0]!
    if (cell.dashed && (cell.arms & (LEFT | RIGHT)) === 0) return glyphs.dashes[1]!
    return (cell.box ? glyphs.box : glyphs.line)[cell.arms]!
  }
}
