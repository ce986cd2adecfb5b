/**
 * makedumpfile's flattened form, for pipes that cannot seek: a header of 4096 bytes, then records of (offset, size, data), numbers
 * big-endian, that say where the data belongs; offset and size -1 end the file. makedumpfile, IMPLEMENTATION and `makedumpfile.h`
 * (struct makedumpfile_header, makedumpfile_data_header). Later records replace what earlier ones wrote; what none wrote is zero.
 * Nothing is copied: an index of the records makes a source that reads as the rearranged file.
 */
import { hex } from '../../base/hex.ts'
import type { ByteSource } from '../bytes.ts'
import { InputError } from '../errors.ts'

export const FLATTENED_MAGIC = 'makedumpfile\0\0\0\0'
const HEADER_BYTES = 4096
const RECORD_BYTES = 16
const TYPE_FLAT = 1n
const VERSION = 1n
/** The index takes 24 bytes each; writers use records of 16 KiB and more, so this is enough for hundreds of GB. */
const RECORD_LIMIT = 1 << 22

/** Parts of the rearranged file: sorted, never overlapping. */
interface Pieces {
  readonly count: number
  readonly start: Float64Array
  readonly end: Float64Array
  /** Where the part's first byte lies in the flattened file. */
  readonly from: Float64Array
}

interface Records {
  readonly count: number
  readonly offset: Float64Array
  readonly bytes: Float64Array
  readonly from: Float64Array
}

/**
 * The rearranged file as a source. Its offsets are not those of the file, so it has a name of its own.
 * @throws InputError naming the offset of the record that is wrong, or where the end mark is missing.
 */
export function flattenedSource(file: ByteSource): ByteSource {
  const records = readRecords(file)
  const pieces = piecesOf(records)
  const name = `${file.name} (rearranged)`
  const size = pieces.count === 0 ? 0 : pieces.end[pieces.count - 1]!
  return {
    name,
    size,
    read(offset, target) {
      if (offset + target.length > size)
        throw new InputError(name, offset, `${target.length} bytes are needed, and it ends at ${hex(size)}: it is cut off`)
      const end = offset + target.length
      let at = offset
      for (let index = firstEndingAfter(pieces, offset); at < end; index++) {
        const start = index < pieces.count ? Math.max(at, pieces.start[index]!) : end
        target.fill(0, at - offset, Math.min(start, end) - offset)
        if (start >= end) return
        at = Math.min(end, pieces.end[index]!)
        file.read(pieces.from[index]! + (start - pieces.start[index]!), target.subarray(start - offset, at - offset))
      }
    },
    close: () => file.close(),
  }
}

function readRecords(file: ByteSource): Records {
  const bytes = new Uint8Array(RECORD_BYTES)
  const view = new DataView(bytes.buffer)
  if (file.size < HEADER_BYTES) throw new InputError(file.name, file.size, 'the flattened header has 4096 bytes: it is cut off')
  file.read(16, bytes)
  if (view.getBigInt64(0) !== TYPE_FLAT || view.getBigInt64(8) !== VERSION)
    throw new InputError(
      file.name,
      16,
      `flattened type ${view.getBigInt64(0)}, version ${view.getBigInt64(8)}; type 1, version 1 are known`,
      'unsupported',
    )
  const offsets = new Growing()
  const sizes = new Growing()
  const froms = new Growing()
  for (let at = HEADER_BYTES; ; ) {
    if (at + RECORD_BYTES > file.size)
      throw new InputError(file.name, at, `the file ends at ${hex(file.size)} without the record that ends it: it is cut off`)
    file.read(at, bytes)
    const offset = view.getBigInt64(0)
    const length = view.getBigInt64(8)
    if (offset === -1n && length === -1n) return { count: offsets.count, offset: offsets.all, bytes: sizes.all, from: froms.all }
    if (offset < 0n || length <= 0n || offset + length > 1n << 52n)
      throw new InputError(file.name, at, `record of ${length} bytes at offset ${offset}: it is damaged`)
    at += RECORD_BYTES
    if (at + Number(length) > file.size)
      throw new InputError(file.name, at, `record of ${length} bytes; the file ends at ${hex(file.size)}: it is cut off`)
    if (offsets.count === RECORD_LIMIT)
      throw new InputError(
        file.name,
        at,
        `more than ${RECORD_LIMIT} records; rearrange it with 'makedumpfile -R NEW < ${file.name}' and give the new file`,
        'unsupported',
      )
    offsets.push(Number(offset))
    sizes.push(Number(length))
    froms.push(at)
    at += Number(length)
  }
}

/** Numbers in a row, of which nobody knows how many will come. */
class Growing {
  count = 0
  #values = new Float64Array(256)

  push(value: number): void {
    if (this.count === this.#values.length) {
      const more = new Float64Array(this.count * 2)
      more.set(this.#values)
      this.#values = more
    }
    this.#values[this.count++] = value
  }

  get all(): Float64Array {
    return this.#values.subarray(0, this.count)
  }
}

/**
 * What each record still holds when later ones lie over it. Goes through the records by offset with those that cover the place in a heap,
 * the latest on top.
 */
function piecesOf({ count, offset, bytes, from }: Records): Pieces {
  const order = new Uint32Array(count).map((_, index) => index).sort((a, b) => offset[a]! - offset[b]!)
  const start = new Growing()
  const end = new Growing()
  const source = new Growing()
  const open = new Latest()
  const emit = (record: number, low: number, high: number) => {
    const place = from[record]! + (low - offset[record]!)
    start.push(low)
    end.push(high)
    source.push(place)
  }
  let at = 0
  const closeUntil = (limit: number) => {
    while (open.size > 0 && at < limit) {
      const top = open.top
      const last = offset[top]! + bytes[top]!
      if (last > at) {
        const high = Math.min(last, limit)
        emit(top, at, high)
        at = high
      }
      if (last <= at) open.pop()
    }
  }
  for (const record of order) {
    closeUntil(offset[record]!)
    at = offset[record]!
    open.push(record)
  }
  closeUntil(Number.POSITIVE_INFINITY)
  return { count: start.count, start: start.all, end: end.all, from: source.all }
}

/** A heap of record numbers, the greatest on top. */
class Latest {
  readonly #items: number[] = []

  get size(): number {
    return this.#items.length
  }

  get top(): number {
    return this.#items[0]!
  }

  push(item: number): void {
    const items = this.#items
    let at = items.push(item) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (items[parent]! >= item) break
      items[at] = items[parent]!
      at = parent
    }
    items[at] = item
  }

  pop(): void {
    const items = this.#items
    const item = items.pop()!
    if (items.length === 0) return
    let at = 0
    for (;;) {
      let child = at * 2 + 1
      if (child >= items.length) break
      if (child + 1 < items.length && items[child + 1]! > items[child]!) child++
      if (items[child]! <= item) break
      items[at] = items[child]!
      at = child
    }
    items[at] = item
  }
}

function firstEndingAfter({ count, end }: Pieces, offset: number): number {
  let low = 0
  let high = count
  while (low < high) {
    const middle = (low + high) >>> 1
    if (end[middle]! <= offset) low = middle + 1
    else high = middle
  }
  return low
}
