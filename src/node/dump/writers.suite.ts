/** Writers of dumps in every form that is read, out of pages: for tests. Each writes as little as the format needs. */
import { deflateSync } from 'node:zlib'

/** Address → 4096 bytes. */
export type Pages = ReadonlyMap<number, Uint8Array>

const sorted = (pages: Pages) => [...pages].sort(([a], [b]) => a - b)

/** Runs of pages in a row: [address, bytes]. */
export function runsOf(pages: Pages): [number, Uint8Array][] {
  const runs: [number, Uint8Array[]][] = []
  let next = -1
  for (const [pa, page] of sorted(pages)) {
    if (pa === next) runs.at(-1)![1].push(page)
    else runs.push([pa, [page]])
    next = pa + 4096
  }
  return runs.map(([pa, parts]) => [pa, Buffer.concat(parts)])
}

export interface ElfForm {
  /** Where the program headers stand: QEMU has them at 192. */
  readonly phoff?: number
  /** Bytes between headers and data, so that segments are not aligned. */
  readonly gap?: number
  readonly machine?: number
  readonly bits?: 32 | 64
  /** Text of VMCOREINFO; none without. */
  readonly vmcoreinfo?: string
  /** The number of program headers stands in section header 0. */
  readonly xnum?: boolean
  /** Bytes that each segment announces beyond those that it holds. */
  readonly left?: number
}

export function writeElf(pages: Pages, form: ElfForm = {}): Uint8Array {
  const { bits = 64, phoff = 64, gap = 0, machine = 183, vmcoreinfo, xnum = false, left = 0 } = form
  const [phentsize, shentsize] = bits === 64 ? [56, 64] : [32, 40]
  const parts: { type: number; pa: number; data: Uint8Array }[] = runsOf(pages).map(([pa, data]) => ({ type: 1, pa, data }))
  if (vmcoreinfo !== undefined)
    parts.unshift({ type: 4, pa: 0, data: writeNote('VMCOREINFO', 0, new TextEncoder().encode(vmcoreinfo)) })
  const tableEnd = phoff + parts.length * phentsize
  let offset = tableEnd + (xnum ? shentsize : 0) + gap
  const bytes = new Uint8Array(offset + parts.reduce((sum, { data }) => sum + data.length, 0))
  const view = new DataView(bytes.buffer)
  const put = (at: number, value: number) =>
    bits === 64 ? view.setBigUint64(at, BigInt(value), true) : view.setUint32(at, value, true)
  bytes.set([0x7f, 0x45, 0x4c, 0x46, bits === 64 ? 2 : 1, 1, 1])
  view.setUint16(16, 4, true)
  view.setUint16(18, machine, true)
  put(bits === 64 ? 32 : 28, phoff)
  put(bits === 64 ? 40 : 32, xnum ? tableEnd : 0)
  view.setUint16(bits === 64 ? 54 : 42, phentsize, true)
  view.setUint16(bits === 64 ? 56 : 44, xnum ? 0xffff : parts.length, true)
  if (xnum) view.setUint32(tableEnd + (bits === 64 ? 44 : 28), parts.length, true)
  const places = bits === 64 ? [8, 24, 32, 40] : [4, 12, 16, 20]
  parts.forEach(({ type, pa, data }, index) => {
    const at = phoff + index * phentsize
    view.setUint32(at, type, true)
    for (const [field, value] of [offset, pa, data.length, data.length + (type === 1 ? left : 0)].entries())
      put(at + places[field]!, value)
    bytes.set(data, offset)
    offset += data.length
  })
  return bytes
}

function writeNote(name: string, type: number, description: Uint8Array): Uint8Array {
  const nameBytes = new TextEncoder().encode(`${name}\0`)
  const at = 12 + Math.ceil(nameBytes.length / 4) * 4
  const bytes = new Uint8Array(at + Math.ceil(description.length / 4) * 4)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, nameBytes.length, true)
  view.setUint32(4, description.length, true)
  view.setUint32(8, type, true)
  bytes.set(nameBytes, 12)
  bytes.set(description, at)
  return bytes
}

export type Packing = 'none' | 'zlib' | 'lzo' | 'snappy' | 'zstd'
const FLAGS: Record<Packing, number> = { none: 0, zlib: 1, lzo: 2, snappy: 4, zstd: 0x20 }
const PACKERS: Record<Packing, (page: Uint8Array) => Uint8Array> = {
  none: (page) => page,
  zlib: (page) => deflateSync(page),
  lzo: packLzo,
  snappy: packSnappy,
  zstd: packZstd,
}

export interface KdumpForm {
  readonly packing?: Packing
  readonly version?: number
  readonly blockSize?: number
  /** dump_level; with bit 0, pages of zeros are left out. */
  readonly level?: number
  readonly oneBitmap?: boolean
  readonly incomplete?: boolean
  readonly split?: boolean
  readonly machine?: string
  readonly vmcoreinfo?: string
}

export function writeKdump(pages: Pages, form: KdumpForm = {}): Uint8Array {
  const {
    packing = 'zlib',
    version = 6,
    blockSize = 4096,
    level = 0,
    oneBitmap = false,
    machine = 'aarch64',
    vmcoreinfo = '',
  } = form
  const blocks = new Map<number, Uint8Array>()
  for (const [pa, page] of sorted(pages)) {
    const number = Math.floor(pa / blockSize)
    if (!blocks.has(number)) blocks.set(number, new Uint8Array(blockSize))
    blocks.get(number)!.set(page, pa - number * blockSize)
  }
  const held = new Map([...blocks].filter(([, data]) => (level & 1) === 0 || data.some((byte) => byte !== 0)))
  const pageCount = Math.max(0, ...blocks.keys()) + 1
  const mapBlocks = Math.ceil(Math.ceil(pageCount / 8) / blockSize)
  const bitmap = (numbers: Iterable<number>) => {
    const bytes = new Uint8Array(mapBlocks * blockSize)
    for (const number of numbers) bytes[number >> 3]! |= 1 << (number & 7)
    return bytes
  }
  const header = new Uint8Array(blockSize)
  const view = new DataView(header.buffer)
  header.set(new TextEncoder().encode('KDUMP   '))
  view.setInt32(8, version, true)
  header.set(new TextEncoder().encode(machine), 12 + 4 * 65)
  view.setUint32(424, FLAGS[packing] | (form.incomplete ? 8 : 0), true)
  view.setInt32(428, blockSize, true)
  view.setInt32(432, 1, true)
  view.setUint32(436, oneBitmap ? mapBlocks : mapBlocks * 2, true)
  view.setUint32(440, Math.min(pageCount, 0xffffffff), true)
  const sub = new Uint8Array(blockSize)
  const subView = new DataView(sub.buffer)
  subView.setInt32(8, level, true)
  if (version >= 2) subView.setInt32(12, form.split ? 1 : 0, true)
  if (version >= 3 && vmcoreinfo !== '') {
    sub.set(new TextEncoder().encode(vmcoreinfo), 256)
    subView.setBigUint64(32, BigInt(blockSize + 256), true)
    subView.setBigUint64(40, BigInt(vmcoreinfo.length), true)
  }
  if (version >= 6) subView.setBigUint64(96, BigInt(pageCount), true)
  const maps = oneBitmap ? [bitmap(held.keys())] : [bitmap(blocks.keys()), bitmap(held.keys())]
  const descriptors = new Uint8Array(held.size * 24)
  const descriptorView = new DataView(descriptors.buffer)
  const data: Uint8Array[] = []
  let offset = blockSize * 2 + maps.length * mapBlocks * blockSize + descriptors.length
  let index = 0
  for (const page of held.values()) {
    const small = PACKERS[packing](page)
    const packed = small.length < blockSize && packing !== 'none'
    const bytes = packed ? small : page
    descriptorView.setBigUint64(index * 24, BigInt(offset), true)
    descriptorView.setUint32(index * 24 + 8, bytes.length, true)
    descriptorView.setUint32(index * 24 + 12, packed ? FLAGS[packing] : 0, true)
    data.push(bytes)
    offset += bytes.length
    index++
  }
  return Buffer.concat([header, sub, ...maps, descriptors, ...data])
}

/** Cuts a file into records of the flattened form. @param order the records' numbers in the order of the file; some may come twice. */
export function writeFlattened(bytes: Uint8Array, recordBytes = 1000, order?: (count: number) => number[]): Uint8Array {
  const header = new Uint8Array(4096)
  header.set(new TextEncoder().encode('makedumpfile'))
  const view = new DataView(header.buffer)
  view.setBigInt64(16, 1n)
  view.setBigInt64(24, 1n)
  const count = Math.ceil(bytes.length / recordBytes)
  const record = (offset: number, data: Uint8Array | null) => {
    const head = new DataView(new ArrayBuffer(16))
    head.setBigInt64(0, BigInt(offset))
    head.setBigInt64(8, BigInt(data?.length ?? -1))
    return data === null ? new Uint8Array(head.buffer) : Buffer.concat([new Uint8Array(head.buffer), data])
  }
  const numbers = order?.(count) ?? Array.from({ length: count }, (_, index) => index)
  const records = numbers.map((number) =>
    record(number * recordBytes, bytes.subarray(number * recordBytes, (number + 1) * recordBytes)),
  )
  return Buffer.concat([header, ...records, record(-1, null)])
}

export function writeLime(pages: Pages): Uint8Array {
  return Buffer.concat(
    runsOf(pages).flatMap(([pa, data]) => {
      const header = new DataView(new ArrayBuffer(32))
      header.setUint32(0, 0x4c694d45, true)
      header.setUint32(4, 1, true)
      header.setBigUint64(8, BigInt(pa), true)
      header.setBigUint64(16, BigInt(pa + data.length - 1), true)
      return [new Uint8Array(header.buffer), data]
    }),
  )
}

/** From the first page to the last; what is between is zero. */
export function writeRaw(pages: Pages): { base: number; bytes: Uint8Array } {
  const all = sorted(pages)
  const base = all[0]![0]
  const bytes = new Uint8Array(all.at(-1)![0] + 4096 - base)
  for (const [pa, page] of all) bytes.set(page, pa - base)
  return { base, bytes }
}

/** The longest earlier bytes that are the same, by a table of the last place of each three bytes. */
function* pieces(page: Uint8Array, farthest: number): Iterable<{ literals: Uint8Array; distance: number; length: number }> {
  const last = new Map<number, number>()
  let from = 0
  let at = 0
  while (at + 3 <= page.length) {
    const key = page[at]! | (page[at + 1]! << 8) | (page[at + 2]! << 16)
    const before = last.get(key)
    last.set(key, at)
    let length = 0
    if (before !== undefined && at - before <= farthest)
      while (at + length < page.length && page[before + length] === page[at + length]) length++
    if (length < 6) {
      at++
      continue
    }
    yield { literals: page.subarray(from, at), distance: at - before!, length }
    at += length
    from = at
  }
  yield { literals: page.subarray(from), distance: 0, length: 0 }
}

/** LZO1X with long runs of literals and matches of the forms for distances up to 16 KiB and 48 KiB. */
export function packLzo(page: Uint8Array): Uint8Array {
  const out: number[] = []
  const longer = (value: number) => {
    let rest = value
    for (; rest > 255; rest -= 255) out.push(0)
    out.push(rest)
  }
  let first = true
  for (const { literals, distance, length } of pieces(page, 49151)) {
    const count = literals.length
    // Up to three literals go with the match before them: in the low bits of its last but one byte.
    if (first && count > 0 && count < 239) out.push(17 + count)
    else if (!first && count < 4) out[out.length - 2]! |= count
    else if (count >= 4 && count <= 18) out.push(count - 3)
    else if (count > 18) {
      out.push(0)
      longer(count - 18)
    }
    out.push(...literals)
    first = false
    if (length === 0) break
    if (distance <= 16384) {
      if (length <= 33) out.push(32 | (length - 2))
      else {
        out.push(32)
        longer(length - 33)
      }
      out.push(((distance - 1) << 2) & 255, (distance - 1) >> 6)
    } else {
      const code = 16 | (distance >= 32768 ? 8 : 0)
      const low = distance - (distance >= 32768 ? 32768 : 16384)
      if (length <= 9) out.push(code | (length - 2))
      else {
        out.push(code)
        longer(length - 9)
      }
      out.push((low << 2) & 255, low >> 6)
    }
  }
  out.push(17, 0, 0)
  return Uint8Array.from(out)
}

export function packSnappy(page: Uint8Array): Uint8Array {
  const out: number[] = []
  let size = page.length
  for (; size >= 128; size = Math.floor(size / 128)) out.push((size & 127) | 128)
  out.push(size)
  for (const { literals, distance, length } of pieces(page, 65535)) {
    const count = literals.length - 1
    if (count >= 0)
      out.push(...(count < 60 ? [count << 2] : count < 256 ? [60 << 2, count] : [61 << 2, count & 255, count >> 8]), ...literals)
    for (let left = length; left > 0; left -= 64) out.push(((Math.min(left, 64) - 1) << 2) | 2, distance & 255, distance >> 8)
  }
  return Uint8Array.from(out)
}

/** A zstd frame of raw blocks, and of repeated bytes where a page has only one. */
export function packZstd(bytes: Uint8Array): Uint8Array {
  const BLOCK = 1 << 17
  const size = new DataView(new ArrayBuffer(4))
  size.setUint32(0, bytes.length, true)
  // Single segment, size of the content in 4 bytes.
  const out: Uint8Array[] = [Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0xa0), new Uint8Array(size.buffer)]
  for (let at = 0; at === 0 || at < bytes.length; at += BLOCK) {
    const block = bytes.subarray(at, at + BLOCK)
    const repeated = block.length > 0 && block.every((byte) => byte === block[0])
    const head = (at + BLOCK >= bytes.length ? 1 : 0) | (repeated ? 2 : 0) | (block.length << 3)
    out.push(Uint8Array.of(head & 255, (head >> 8) & 255, head >> 16), repeated ? block.subarray(0, 1) : block)
  }
  return Buffer.concat(out)
}
