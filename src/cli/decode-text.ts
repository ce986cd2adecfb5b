/** What `iomm decode` prints for people. */
import { hexPad } from '../base/hex.ts'
import type { DescribedField, Field } from '../base/layout.ts'
import type { Found, Structure, StructureSet } from '../format/structure.ts'
import type { Decoded } from './decode.ts'
import { type Painter, wrapped } from './paint.ts'

const bitsText = (msb: number, lsb: number) => (msb === lsb ? `${lsb}` : `${msb}:${lsb}`)
const sectionText = (set: StructureSet, section: string | null) => (section === null ? '' : ` (${set.manual}, ${section})`)

/** Rows with columns of equal width; the last one runs free. `faint` rows are dimmed. */
function table(rows: readonly { readonly cells: readonly string[]; readonly faint: boolean }[], paint: Painter): string[] {
  const widths: number[] = []
  for (const { cells } of rows) {
    cells.slice(0, -1).forEach((cell, index) => {
      widths[index] = Math.max(widths[index] ?? 0, cell.length)
    })
  }
  return rows.map(({ cells, faint }) => {
    const line = cells
      .map((cell, index) => (index === 0 ? cell.padStart(widths[0]!) : cell.padEnd(widths[index] ?? 0)))
      .join('  ')
    return `  ${faint ? paint.dim(line.trimEnd()) : line.trimEnd()}`
  })
}

function valueText(field: DescribedField, kind: Field['kind']): string {
  if (kind === 'addr') return `0x${field.value.toString(16)}`
  if (kind === 'oneOf') return `0b${field.value.toString(2).padStart(field.msb - field.lsb + 1, '0')}`
  if (field.value < 10) return `${field.value}`
  return field.msb - field.lsb > 20 ? `0x${field.value.toString(16)}` : `0x${field.value.toString(16)} (${field.value})`
}

function meaningText({ means, doc }: DescribedField): string {
  if (means === null) return doc
  return doc === '' ? means : `${means}   [${doc}]`
}

function title({ set, structure }: Found, paint: Painter): string {
  const { name, what, section } = structure
  return `${paint.bold(name)}  ${what}  ${paint.dim(`${set.name}; ${set.manual}, ${section}`)}`
}

/** One decoded structure: raw words, fields, and what is wrong. */
export function resultText(decoded: Decoded, paint: Painter): string {
  const { found, words, fields, reserved, verdicts } = decoded
  const { layout, refusal } = found.structure
  const lines = [title(found, paint)]
  words.forEach((word, index) => {
    const range = layout.bits === 32 ? '31:0' : `${index * 64 + 63}:${index * 64}`
    lines.push(`  ${paint.dim(range.padStart(7))}  ${hexPad(word, layout.bits === 32 ? 8 : 16)}`)
  })
  lines.push('')
  const rows = fields.map((field) => ({
    cells: [bitsText(field.msb, field.lsb), field.name, valueText(field, layout.fields[field.name]!.kind), meaningText(field)],
    faint: BigInt(field.value) === 0n,
  }))
  lines.push(...table(rows, paint))
  if (reserved.length > 0) {
    const bits = reserved.map(([msb, lsb]) => bitsText(msb, lsb)).join(', ')
    lines.push('', ...wrapped(`reserved bits are set: ${bits}`, 2, paint.bad))
  }
  for (const { kind, text, section } of verdicts) {
    const refused = refusal === undefined ? '' : `, ${refusal}`
    const line = `${kind === 'illegal' ? `illegal${refused}: ` : ''}${text}${sectionText(found.set, section)}`
    lines.push('', ...wrapped(line, 2, kind === 'illegal' ? paint.bad : paint.result))
  }
  return `${lines.join('\n')}\n`
}

/** The layout alone: where each field is, and what its values mean. */
export function layoutText(found: Found, paint: Painter): string {
  const { layout } = found.structure
  const fields = Object.entries(layout.fields).sort(([, a], [, b]) => a.lsb - b.lsb)
  const rows = fields.flatMap(([name, field]) => {
    const first = { cells: [bitsText(field.msb, field.lsb), name, field.doc], faint: false }
    if (field.kind !== 'oneOf') return [first]
    const width = field.msb - field.lsb + 1
    const values = Object.entries(field.names).map(([value, means]) => ({
      cells: ['', '', `  0b${Number(value).toString(2).padStart(width, '0')} ${means}`],
      faint: true,
    }))
    return [first, ...values]
  })
  return [`${title(found, paint)}  ${layout.bits} bits`, '', ...table(rows, paint)].join('\n')
}

const KINDS: readonly { readonly kind: Structure['kind']; readonly title: string }[] = [
  { kind: 'table entry', title: 'table entries' },
  { kind: 'command', title: 'commands' },
  { kind: 'event', title: 'event records' },
  { kind: 'page request', title: 'page requests' },
  { kind: 'register', title: 'registers' },
]

/** All structures, by architecture and kind. */
export function listText(sets: readonly StructureSet[], paint: Painter): string {
  const lines: string[] = []
  for (const set of sets) {
    lines.push(`${paint.bold(set.name)}  ${paint.dim(set.manual)}`)
    for (const { kind, title } of KINDS) {
      const members = set.structures.filter((structure) => structure.kind === kind)
      if (members.length === 0) continue
      lines.push('', `  ${title}`)
      const rows = members.map(({ name, layout, section, what }) => ({
        cells: [`${layout.bits} bits`, name, section, what === kind ? '' : what],
        faint: false,
      }))
      lines.push(...table(rows, paint))
    }
    lines.push('')
  }
  return lines.join('\n').trimEnd()
}
