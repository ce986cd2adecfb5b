/**
 * How wide text is, without a browser: advance widths in thousandths of the font size. Of each character the wider one of Arial's (and
 * Helvetica's, Liberation Sans's) and DejaVu Sans's, so that text stays in its box with any of the usual sans-serif fonts.
 */
import { charColumns } from './clean.ts'

export const SANS = "'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
export const MONO = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace"

// From U+0020 to U+007E.
// biome-ignore format: a table
const REGULAR = [
  318, 401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361, 318, 337, 636, 636, 636, 636, 636, 636, 636, 636, 636, 636, 337,
  337, 838, 838, 838, 556, 1015, 684, 686, 722, 770, 667, 611, 778, 752, 295, 500, 667, 557, 863, 748, 787, 667, 787, 722, 667, 611, 732,
  684, 989, 685, 667, 685, 390, 337, 390, 838, 556, 500, 613, 635, 550, 635, 615, 352, 635, 634, 278, 278, 579, 278, 974, 634, 612, 635,
  635, 411, 521, 392, 634, 592, 818, 592, 592, 525, 636, 337, 636, 838,
]
// biome-ignore format: a table
const BOLD = [
  348, 456, 521, 838, 696, 1002, 872, 306, 457, 457, 523, 838, 380, 415, 380, 365, 696, 696, 696, 696, 696, 696, 696, 696, 696, 696, 400,
  400, 838, 838, 838, 611, 1000, 774, 762, 734, 830, 683, 683, 821, 837, 372, 556, 775, 637, 995, 837, 850, 733, 850, 770, 720, 682, 812,
  774, 1103, 771, 724, 725, 457, 365, 457, 838, 556, 500, 675, 716, 593, 716, 678, 435, 716, 712, 343, 343, 665, 343, 1042, 712, 687, 716,
  716, 493, 595, 478, 712, 652, 924, 645, 652, 582, 712, 365, 712, 838,
]
/** Menlo and DejaVu Sans Mono; the other monospace fonts are narrower. */
const MONO_ADVANCE = 603
/** Any other letter; East Asian ones, emoji and arrows are as wide as high. */
const OTHER = 1000

export interface Font {
  readonly mono: boolean
  readonly bold: boolean
  /** In pixels. */
  readonly size: number
}

/** Width of cleaned text in pixels: at least what common fonts need. */
export function textWidth(text: string, font: Font): number {
  const table = font.bold ? BOLD : REGULAR
  let sum = 0
  for (const char of text) {
    const at = char.charCodeAt(0) - 32
    if (font.mono) sum += MONO_ADVANCE * charColumns(char)
    else sum += at < table.length && char.length === 1 ? table[at]! : OTHER
  }
  return (sum * font.size) / 1000
}

/** As much of the text as fits into `given` pixels; where something is left out, it ends in `…`. */
export function fitText(text: string, font: Font, given: number): string {
  // Room that was made for exactly this text may be a rounding error short of it.
  const room = given + 0.01
  if (textWidth(text, font) <= room) return text
  const chars = [...text]
  let low = 0
  let high = chars.length
  while (low < high) {
    const middle = (low + high + 1) >> 1
    if (textWidth(`${chars.slice(0, middle).join('')}…`, font) <= room) low = middle
    else high = middle - 1
  }
  return low === 0 ? '' : `${chars.slice(0, low).join('').trimEnd()}…`
}
