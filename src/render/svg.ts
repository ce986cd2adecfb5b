/**
 * The picture as SVG (W3C SVG 1.1), to be put into documents: one piece, no fonts, styles or ids from outside, readable without colours.
 */
import type { MachineGraph } from '../inspect/graph.ts'
import { draw } from './draw.ts'
import type { Drawing, Shape, Wire } from './drawing.ts'
import { MONO, SANS } from './font.ts'
import { PAPER, RULE } from './palette.ts'

/**
 * The picture of a machine as an SVG document, at most 1200 × 1700 units. Machines of any size: what has no room is counted beneath.
 * @example writeFileSync('machine.svg', renderSvg(graph))
 */
export function renderSvg(graph: MachineGraph): string {
  return serialise(draw(graph))
}

/** A drawing as an SVG document. */
export function serialise(drawing: Drawing): string {
  const { width, height } = drawing
  const size = `${number(width)} ${number(height)}`
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size}" width="${number(width)}" height="${number(height)}" role="img" font-family="${SANS}">`,
    `<title>${xmlText(drawing.title)}</title>`,
    `<desc>${xmlText(drawing.description)}</desc>`,
    `<rect width="${number(width)}" height="${number(height)}" fill="${PAPER}"/>`,
    ...drawing.body.flatMap(element),
    ...drawing.around.flatMap(element),
    '</svg>',
    '',
  ].join('\n')
}

function element(shape: Shape): string[] {
  switch (shape.kind) {
    case 'box': {
      const dash = shape.dashed ? ' stroke-dasharray="4 3"' : ''
      return [
        `<rect ${rect(shape)} rx="${shape.radius}" fill="${shape.fill}" stroke="${shape.stroke}" stroke-width="1.2"${dash}/>`,
      ]
    }
    case 'fill':
      return [`<rect ${rect(shape)} rx="${shape.radius}" fill="${shape.fill}"/>`]
    case 'label': {
      const font = `${shape.font.mono ? ` font-family="${MONO}"` : ''} font-size="${shape.font.size}"${shape.font.bold ? ' font-weight="bold"' : ''}`
      const anchor = shape.anchor === 'end' ? ' text-anchor="end"' : ''
      return [
        `<text x="${number(shape.x)}" y="${number(shape.baseline)}"${font} fill="${shape.fill}"${anchor}>${xmlText(shape.text)}</text>`,
      ]
    }
    case 'wire': {
      // Paper around it first: where lines cross without meeting, one visibly passes over the other.
      const path = `<path d="${shape.paths.map(curve).join('')}" fill="none"`
      const dash = shape.dashed ? ' stroke-dasharray="5 4"' : ''
      return [
        `${path} stroke="${PAPER}" stroke-width="${shape.width + 5}"/>`,
        `${path} stroke="${shape.stroke}" stroke-width="${shape.width}"${dash}/>`,
      ]
    }
    case 'rule': {
      const dash = shape.dashed ? ' stroke-dasharray="3 3"' : ''
      return [`<path d="M${number(shape.x)} ${number(shape.y)}h${number(shape.w)}" stroke="${RULE}"${dash}/>`]
    }
    case 'arrow':
      return [`<path d="M${number(shape.x)} ${number(shape.y)}l-9 -4.5v9z" fill="${shape.fill}"/>`]
    case 'dot':
      return [`<circle cx="${number(shape.x)}" cy="${number(shape.y)}" r="${shape.radius}" fill="${shape.fill}"/>`]
  }
}

function rect(shape: { x: number; y: number; w: number; h: number }): string {
  return `x="${number(shape.x)}" y="${number(shape.y)}" width="${number(shape.w)}" height="${number(shape.h)}"`
}

const CORNER = 8

/** Pieces between the points, each corner rounded as far as its pieces are long. */
function curve(points: Wire['paths'][number]): string {
  let out = `M${number(points[0]![0])} ${number(points[0]![1])}`
  for (let at = 1; at < points.length; at++) {
    const [x, y] = points[at]!
    const next = points[at + 1]
    if (next === undefined) {
      out += `L${number(x)} ${number(y)}`
      break
    }
    const [px, py] = points[at - 1]!
    const [nx, ny] = next
    const radius = Math.min(CORNER, Math.hypot(x - px, y - py) / 2, Math.hypot(nx - x, ny - y) / 2)
    const toward = (fx: number, fy: number) => {
      const length = Math.hypot(fx - x, fy - y) || 1
      return `${number(x + ((fx - x) / length) * radius)} ${number(y + ((fy - y) / length) * radius)}`
    }
    out += `L${toward(px, py)}Q${number(x)} ${number(y)} ${toward(nx, ny)}`
  }
  return out
}

function number(value: number): string {
  return String(Math.round(value * 10) / 10)
}

const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }

/** Text for XML: cleaned text has no characters that XML forbids, only ones that it gives a meaning. */
function xmlText(text: string): string {
  return text.replace(/[&<>"']/g, (char) => ENTITIES[char]!)
}
