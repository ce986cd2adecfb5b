/** Sizes, counts and address spaces in words: the same in every output. */
import { about } from '../base/hex.ts'
import type { DeviceNode, MachineGraph, SpaceNode } from '../inspect/graph.ts'
import { clean } from './clean.ts'

/** `CD tables`, `process directories`. */
export function plural(one: string): string {
  return /[^aeiou]y$/.test(one) ? `${one.slice(0, -1)}ies` : `${one}s`
}

/** `1 device`, `1,000 devices`. */
export function count(number: number | bigint, one: string, many = plural(one)): string {
  return `${grouped(number)} ${number === 1 || number === 1n ? one : many}`
}

/** `12,345`. */
export function grouped(number: number | bigint): string {
  return number.toString().replace(/\B(?=(\d{3})+$)/g, ',')
}

/** What kind of space it is: `io_pgtable`, `io_mm → mm X`, `io_mm → private`, `page table`. */
export function spaceName(space: SpaceNode): string {
  const label = clean(space.label)
  if (space.role === 'io_mm') return label === '' ? 'io_mm' : `io_mm → ${label}`
  if (space.role === 'private') return 'io_mm → private'
  return space.role === 'io_pgtable' ? 'io_pgtable' : 'page table'
}

/** What else is known of it: the label where `spaceName` does not hold it, and the stage where it is the second and that is not said already. */
export function spaceAbout(space: SpaceNode, sayStage = true): string {
  const label = clean(space.label)
  const said = space.role === 'io_mm' || label === 'private' || label === 'io_pgtable' ? '' : label
  return [sayStage && space.stage === 2 ? 'stage 2' : '', said].filter((part) => part !== '').join(', ')
}

/** What it maps: `3 ranges, 48 KiB`, `empty`. */
export function spaceMaps(space: SpaceNode): string {
  if (space.root === null && space.ranges.length === 0) return 'not translated'
  const more = space.complete ? '' : '≥ '
  if (space.ranges.length === 0) return space.complete ? 'empty' : 'not read to the end'
  return `${more}${about(space.mappedBytes)} in ${more}${count(space.ranges.length, 'range')}`
}

/** What is said of a device: its domain; what it does, where no tables decide that. */
export function deviceSays(device: DeviceNode): string {
  if (device.state !== 'none' && device.state !== 'tables') return device.state
  const domain = clean(device.domain ?? '', 60)
  return domain === '' || /domain/i.test(domain) ? domain : `domain ${domain}`
}

/** `CD tables, by SubstreamID`. */
export function pasidTablesHeading(words: MachineGraph['words']): string {
  return `${plural(words.pasidTable)}, by ${words.pasid}`
}

/** Text in lines that a test accepts; a word that is too long for a line gets one of its own. */
export function wrap(text: string, fits: (line: string) => boolean): string[] {
  const lines: string[] = []
  for (const word of text.split(' ')) {
    const longer = lines.length === 0 ? word : `${lines.at(-1)} ${word}`
    if (lines.length > 0 && fits(longer)) lines[lines.length - 1] = longer
    else lines.push(word)
  }
  return lines
}
