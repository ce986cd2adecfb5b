/** Records that a queue in memory still holds, read by software or not: hardware leaves them where they are. */
import { getField, type Layout, type Words } from '../base/layout.ts'
import type { EventView, Names } from './graph.ts'
import type { Reading } from './reading.ts'

/** So many records are described, newest first. */
const DESCRIBED = 256
/** So many are counted. */
const COUNTED = 1 << 16

/** A queue that hardware fills. */
export interface RecordRing {
  readonly base: number
  readonly log2Size: number
  readonly entryBytes: number
  /** Index at which the next record will be written. */
  readonly next: number
  /** Records that software has not read. */
  readonly pending: number
}

/** A queue whose registers hold plain indexes, and which is full one entry before it would be empty. */
export function ringBetween(base: number, log2Size: number, entryBytes: number, head: number, tail: number): RecordRing {
  const size = 2 ** log2Size
  const next = tail % size
  return { base, log2Size, entryBytes, next, pending: (((next - head) % size) + size) % size }
}

/** How an architecture's records read. */
export interface RecordReader {
  /** The record's name in the manual; null for an entry that was never written. */
  name(words: Int32Array, at: number): string | null
  view(words: Int32Array, at: number, address: number, pending: boolean, names: Names | undefined): EventView
}

/** Address of the record that was written `back` records ago (1: the newest). */
export function recordAddress({ base, log2Size, entryBytes, next }: RecordRing, back: number): number {
  return base + ((((next - back) % 2 ** log2Size) + 2 ** log2Size) % 2 ** log2Size) * entryBytes
}

/** Records, newest first, and a finding that sums them up. @param place the queue's name. */
export function readRecords(
  { memory, names, findings }: Reading,
  ring: RecordRing,
  place: string,
  reader: RecordReader,
): EventView[] {
  const { log2Size, pending } = ring
  const events: EventView[] = []
  const counts = new Map<string, number>()
  let total = 0
  for (let back = 1; back <= Math.min(2 ** log2Size, COUNTED); back++) {
    const address = recordAddress(ring, back)
    const at = memory.index(address)
    // Never written: a queue page that the dump leaves out, or an entry that is still zero.
    const name = at < 0 ? null : reader.name(memory.words, at)
    if (name === null) break
    total++
    counts.set(name, (counts.get(name) ?? 0) + 1)
    if (events.length < DESCRIBED) events.push(reader.view(memory.words, at, address, back <= pending, names))
  }
  if (total > 0) {
    const kinds = [...counts].map(([name, count]) => `${count} ${name}`).join(', ')
    const read = Math.max(0, total - pending)
    const which = pending === 0 ? 'all read by software' : `${Math.min(pending, total)} not read yet, ${read} read before`
    findings.add(pending > 0 ? 'warning' : 'note', place, `holds ${kinds} (${which})`, 'events')
  }
  return events
}

/** Page requests that wait for software, as a finding. @param first tells of the oldest, whose fields `get` reads. */
export function reportPageRequests<L extends Layout>(
  { memory, findings }: Reading,
  ring: RecordRing,
  place: string,
  layout: L,
  first: (get: (field: keyof L['fields'] & string) => number | bigint) => string,
): void {
  const { pending } = ring
  if (pending === 0) return
  const at = memory.index(recordAddress(ring, pending))
  const words: Words = memory.words
  const text =
    at < 0 ? 'the dump does not hold them' : `the first: ${first((field) => getField(words, layout.fields[field]!, at))}`
  findings.add('warning', place, `${pending} page requests wait for software; ${text}`, 'pri')
}
