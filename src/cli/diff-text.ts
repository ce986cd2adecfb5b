/** What changed between two machines, for people: also what `watch` prints. */
import { about, hex } from '../base/hex.ts'
import { rightsText } from '../base/types.ts'
import type { MachineDiff, MappingChange, SpaceChange } from '../inspect/diff.ts'
import { harmless } from './common.ts'
import { type Painter, wrapped } from './paint.ts'

/** So many mappings of one space are listed. */
const LISTED = 20

/** One block for each kind of thing that changed; empty when nothing did. */
export function diffText(diff: MachineDiff, paint: Painter): string {
  const lines: string[] = []
  const block = (title: string, texts: readonly string[]) => {
    if (texts.length === 0) return
    lines.push(paint.bold(title))
    for (const text of texts) lines.push(...wrapped(harmless(text), 2))
    lines.push('')
  }
  block(
    'Registers',
    diff.registers.map(({ name, before, after }) => `${name}: ${value(before)} → ${value(after)}`),
  )
  block(
    'Devices',
    diff.devices.map(({ before, after, what }) => `${(after ?? before)!.name}: ${what.join('; ')}`),
  )
  block(
    'PASID entries',
    diff.pasids.map(({ device, pasid, before, after }) => {
      const how =
        before === null
          ? `new, ${after!.state}`
          : after === null
            ? 'gone'
            : before.state === after.state
              ? 'rewritten'
              : `${before.state} → ${after.state}`
      return `${device} PASID ${pasid}: ${how}${after?.note ? ` (${after.note})` : ''}`
    }),
  )
  for (const change of diff.spaces) lines.push(...spaceLines(change, paint))
  block('Findings that are gone', diff.findings.gone)
  block('New findings', diff.findings.come)
  block('New records', diff.events)
  return lines.join('\n')
}

const value = (word: bigint | null) => (word === null ? 'not known' : hex(word))

function spaceLines({ users, before, after, changes, more }: SpaceChange, paint: Painter): string[] {
  const who = users.slice(0, 4).map(({ device, pasid }) => (pasid === null ? device : `${device}:${pasid}`))
  const others = users.length > who.length ? ` and ${users.length - who.length} more` : ''
  const roots = before !== null && after !== null && before.root !== after.root
  const note = before === null ? ' (new)' : after === null ? ' (gone)' : roots ? ' (its tables are others now)' : ''
  const lines = [paint.bold(harmless(`Address space of ${who.join(', ')}${others}${note}`))]
  for (const change of changes.slice(0, LISTED)) lines.push(`  ${mappingText(change, paint)}`)
  const left = changes.length - LISTED + more
  if (left > 0) lines.push(`  and ${left} more: see --json`)
  if (changes.length === 0) lines.push(before === null || after === null ? '  nothing is mapped' : '  the same mappings')
  lines.push('')
  return lines
}

function mappingText({ kind, start, end, before, after }: MappingChange, paint: Painter): string {
  const range = `${hex(start)} to ${hex(end - 1n)} (${about(end - start)})`
  const to = (what: MappingChange['before']) => `${hex(what!.output)} ${rightsText(what!.rights)}`
  if (kind === 'mapped') return paint.good(`+ ${range} → ${to(after)}`)
  if (kind === 'unmapped') return paint.bad(`- ${range} → ${to(before)}`)
  return `${kind === 'moved' ? '~' : '±'} ${range}: ${to(before)} → ${to(after)}`
}
