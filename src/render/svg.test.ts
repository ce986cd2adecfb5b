import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { MachineGraph } from '../inspect/graph.ts'
import { draw } from './draw.ts'
import { type Box, type Drawing, type Label, labelRect, type Rect, type Shape, type Wire } from './drawing.ts'
import { empty, hostile, huge, nested, realMachine, stage2Only, tangled, twoDomains, withoutTables } from './fixtures.suite.ts'
import { anyMachine } from './random.suite.ts'
import { renderSvg } from './svg.ts'

const known: [string, () => MachineGraph][] = [
  ['two domains', twoDomains],
  ['a PCI machine', realMachine],
  ['stage 2 only', stage2Only],
  ['nested', nested],
  ['without tables', withoutTables],
  ['nothing', empty],
  ['lines everywhere', tangled],
  ['more lines than lanes', () => tangled(14)],
  ['hostile names', hostile],
]

const ofKind = <K extends Shape['kind']>(shapes: readonly Shape[], kind: K) =>
  shapes.filter((shape): shape is Shape & { kind: K } => shape.kind === kind)
const overlap = (a: Rect, b: Rect) => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h
/** A little smaller, so that touching is no overlap. */
const inner = ({ x, y, w, h }: Rect, by = 0.2): Rect => ({ x: x + by, y: y + by, w: w - 2 * by, h: h - 2 * by })
const contains = (a: Rect, b: Rect) =>
  b.x >= a.x - 0.1 && b.y >= a.y - 0.1 && b.x + b.w <= a.x + a.w + 0.1 && b.y + b.h <= a.y + a.h + 0.1
const words = (rect: Rect) => `${[rect.x, rect.y, rect.w, rect.h].map((value) => value.toFixed(1))}`

/** The straight pieces of a wire. */
function pieces(wire: Wire): Rect[] {
  return wire.paths.flatMap((points) =>
    points.slice(1).map(([x, y], at) => {
      const [px, py] = points[at]!
      return { x: Math.min(x, px), y: Math.min(y, py), w: Math.abs(x - px), h: Math.abs(y - py) }
    }),
  )
}

/** What is wrong with a drawing, in words. */
function faults(drawing: Drawing): string[] {
  const out: string[] = []
  const all = [...drawing.body, ...drawing.around]
  const boxes: Box[] = ofKind(all, 'box')
  const labels: Label[] = ofKind(all, 'label')
  const wires: Wire[] = ofKind(drawing.body, 'wire')
  const page = { x: 0, y: 0, w: drawing.width, h: drawing.height }
  if (drawing.width > 1200 || drawing.height > 1700) out.push(`${drawing.width} × ${drawing.height} is more than a page`)
  for (const box of boxes) if (!contains(page, box)) out.push(`box ${words(box)} leaves the page`)
  boxes.forEach((a, at) => {
    for (const b of boxes.slice(at + 1)) if (overlap(inner(a), inner(b))) out.push(`boxes ${words(a)} and ${words(b)} overlap`)
  })
  const rects = labels.map(labelRect)
  labels.forEach((label, at) => {
    const rect = rects[at]!
    if (!contains(page, rect)) out.push(`'${label.text}' leaves the page`)
    for (const box of boxes)
      if (overlap(inner(box), inner(rect)) && !contains(box, rect))
        out.push(`'${label.text}' ${words(rect)} leaves its box ${words(box)}`)
    for (let other = at + 1; other < labels.length; other++)
      if (overlap(inner(rect, 0.8), inner(rects[other]!, 0.8))) out.push(`'${label.text}' and '${labels[other]!.text}' overlap`)
    for (const wire of wires)
      for (const piece of pieces(wire))
        if (overlap(inner(rect), { ...piece, w: piece.w + 0.01, h: piece.h + 0.01 }))
          out.push(`a line runs through '${label.text}'`)
  })
  for (const wire of wires)
    for (const piece of pieces(wire))
      for (const box of boxes)
        if (overlap(inner(box, 0.7), { ...piece, w: piece.w + 0.01, h: piece.h + 0.01 }))
          out.push(`line ${words(piece)} crosses box ${words(box)}`)
  out.push(...looseEnds(drawing, boxes, wires), ...sameWay(wires))
  return out
}

/** Ends of lines that are at no box: neither at an edge, nor in an arrow whose tip is there, nor where another line goes on. */
function looseEnds(drawing: Drawing, boxes: readonly Box[], wires: readonly Wire[]): string[] {
  const arrows = ofKind(drawing.body, 'arrow')
  const atBox = (x: number, y: number) =>
    boxes.some((box) => y > box.y && y < box.y + box.h && (Math.abs(x - box.x) < 1 || Math.abs(x - box.x - box.w) < 1))
  const out: string[] = []
  for (const wire of wires)
    for (const path of wire.paths)
      for (const [x, y] of [path[0]!, path.at(-1)!]) {
        const tip = arrows.find((arrow) => arrow.y === y && arrow.x > x && arrow.x < x + 9)
        const joint = wires.some(
          (other) =>
            other !== wire &&
            other.stroke === wire.stroke &&
            pieces(other).some((piece) =>
              overlap({ x: x - 0.1, y: y - 0.1, w: 0.2, h: 0.2 }, { ...piece, w: piece.w + 0.01, h: piece.h + 0.01 }),
            ),
        )
        if (!atBox(x, y) && !(tip !== undefined && atBox(tip.x, tip.y)) && !joint)
          out.push(`a line ends at ${x.toFixed(1)},${y.toFixed(1)}, where no box is`)
      }
  return out
}

/** Pieces of different lines that run along each other: nobody could tell them apart. */
function sameWay(wires: readonly Wire[]): string[] {
  const out: string[] = []
  const pairs = wires.flatMap((wire, at) => wires.slice(at + 1).map((other) => [wire, other] as const))
  for (const [a, b] of pairs) {
    // Two lines of one colour are one net, solid and dashed, or what passes the tables and goes on.
    if (a.stroke === b.stroke && a.stroke !== '#475569' && a.stroke !== '#64748b') continue
    for (const p of pieces(a))
      for (const q of pieces(b)) {
        const along =
          p.h === 0 && q.h === 0
            ? Math.abs(p.y - q.y) < 3 && Math.min(p.x + p.w, q.x + q.w) - Math.max(p.x, q.x) > 3
            : p.w === 0 && q.w === 0 && Math.abs(p.x - q.x) < 3 && Math.min(p.y + p.h, q.y + q.h) - Math.max(p.y, q.y) > 3
        if (along) out.push(`lines ${words(p)} and ${words(q)} run along each other`)
      }
  }
  return out
}

/** Reads XML strictly enough to say that it is well-formed; gives text by element name. @throws Error where it is not. */
function parseXml(xml: string): Map<string, string[]> {
  const texts = new Map<string, string[]>()
  const open: { name: string; text: string }[] = []
  const token = /<(\/?)([a-z]+)((?:\s+[a-zA-Z-]+="[^"<&]*")*)\s*(\/?)>|([^<>&]+)|&(?:amp|lt|gt|quot|#39);/gy
  let at = 0
  for (let match = token.exec(xml); match !== null; match = token.exec(xml)) {
    at = token.lastIndex
    const [whole, slash, name, attributes, self] = match
    if (name === undefined) {
      const top = open.at(-1)
      if (top !== undefined) top.text += whole
      else if (whole.trim() !== '') throw new Error(`text outside: ${whole}`)
      continue
    }
    const names = [...attributes!.matchAll(/([a-zA-Z-]+)=/g)].map(([, key]) => key)
    if (new Set(names).size !== names.length) throw new Error(`an attribute twice: ${whole}`)
    if (slash === '/') {
      const top = open.pop()
      if (top?.name !== name) throw new Error(`</${name}> closes <${top?.name}>`)
      texts.set(name, [...(texts.get(name) ?? []), top.text])
    } else if (self !== '/') open.push({ name, text: '' })
  }
  if (at !== xml.length || open.length > 0) throw new Error(`not XML from ${at}: ${xml.slice(at, at + 60)}`)
  return texts
}

describe('the drawing', () => {
  it.each(known)('of %s: nothing overlaps, text is in its box, lines end at boxes', (_, graph) => {
    expect(faults(draw(graph()))).toEqual([])
  })

  it('is as tidy for any machine', () => {
    fc.assert(
      fc.property(anyMachine, (graph) => {
        expect(faults(draw(graph))).toEqual([])
      }),
      { numRuns: 40 },
    )
  })

  it('would notice an overlap, text outside and a loose end', () => {
    const box: Box = { kind: 'box', x: 10, y: 10, w: 50, h: 20, radius: 0, fill: '#fff', stroke: '#000', dashed: false }
    const text: Label = {
      kind: 'label',
      x: 20,
      baseline: 25,
      text: 'far too long for it',
      font: { mono: false, bold: false, size: 12 },
      fill: '#000',
      anchor: 'start',
    }
    const wire: Wire = {
      kind: 'wire',
      paths: [
        [
          [60, 20],
          [100, 20],
        ],
      ],
      stroke: '#000',
      width: 1,
      dashed: false,
    }
    const drawing = {
      width: 300,
      height: 100,
      title: '',
      description: '',
      body: [box, { ...box, x: 40 }, text, wire],
      around: [],
    }
    const said = faults(drawing).join('\n')
    for (const what of [/boxes .* overlap/, /leaves its box/, /crosses box/, /where no box is/]) expect(said).toMatch(what)
  })

  it('draws a shared space once, with a line from each entry', () => {
    const { body } = draw(twoDomains())
    const y = ofKind(body, 'label').filter(({ text }) => text === 'io_mm → mm Y')
    expect(y).toHaveLength(1)
    const line = ofKind(body, 'wire').filter(({ stroke }) => stroke === '#cc5f12')
    expect(line.flatMap(({ paths }) => paths)).toHaveLength(2)
  })

  it('summarises 1,000 devices and 10,000 spaces on one page, and says so', () => {
    const graph = huge()
    const drawing = draw(graph)
    expect(faults(drawing)).toEqual([])
    expect(
      ofKind(drawing.around, 'label')
        .map(({ text }) => text)
        .join('\n'),
    ).toMatch(/… and \d+ more devices, \d+ PASID tables, [\d,]+ address spaces, not drawn/)
  })

  it('has room for thirty devices with a table each', () => {
    const real = realMachine()
    const thirty = {
      ...real,
      devices: Array.from({ length: 30 }, (_, at) => ({
        ...real.devices[0]!,
        id: at * 8,
        name: `0000:00:${at}.0`,
        pasidTable: `t${at}`,
      })),
      pasidTables: Array.from({ length: 30 }, (_, at) => ({ ...real.pasidTables[0]!, id: `t${at}` })),
    }
    const texts = ofKind(draw(thirty).body, 'label').map(({ text }) => text)
    for (const { name } of thirty.devices) expect(texts).toContain(name)
  })
})

describe('renderSvg', () => {
  it.each(known)('of %s is well-formed XML with a title and a description', (_, graph) => {
    const texts = parseXml(renderSvg(graph()))
    expect(texts.get('title')).toHaveLength(1)
    expect(texts.get('desc')![0]).toContain('address space')
  })

  it('is well-formed whatever the names are', () => {
    fc.assert(
      fc.property(anyMachine, (graph) => {
        const svg = renderSvg(graph)
        expect(() => parseXml(svg)).not.toThrow()
        // XML 1.0, 2.2: the characters that a document may hold.
        expect(svg).toMatch(/^[\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]*$/u)
        expect(svg).not.toMatch(/NaN|undefined|Infinity/)
      }),
      { numRuns: 40 },
    )
  })

  it('refers to nothing outside, and brings no ids or styles that could meet others', () => {
    const svg = renderSvg(hostile())
    expect(svg.replace('xmlns="http://www.w3.org/2000/svg"', '')).not.toMatch(
      /https?:|url\(|<style|<script| id=| class=| on[a-z]+=/,
    )
  })

  it('says in its description where devices lead', () => {
    const description = parseXml(renderSvg(twoDomains())).get('desc')![0]!
    expect(description).toMatchInlineSnapshot(`
      "Arm SMMUv3: 5 devices, 2 PASID tables, 5 address spaces.
      Device 0 has the PASID table at 0x40010000: PASID 0 to io_pgtable, domain A; PASID 1 to io_mm → mm X; PASID 2 to io_mm → mm Y.
      Device 1: none.
      Device 2 has the PASID table at 0x40020000: PASID 0 to io_pgtable, domain B; PASID 2 to io_mm → mm Y; PASID 3 to io_mm → private.
      Device 3 has the PASID table at 0x40020000: PASID 0 to io_pgtable, domain B; PASID 2 to io_mm → mm Y; PASID 3 to io_mm → private.
      Device 4 has the PASID table at 0x40020000: PASID 0 to io_pgtable, domain B; PASID 2 to io_mm → mm Y; PASID 3 to io_mm → private."
    `)
  })
})
