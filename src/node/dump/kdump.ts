/**
 * kdump-compressed dumps, as makedumpfile and QEMU write them (kdump-header.ts). A page is found by its place among the set bits of the
 * second bitmap: that is the number of its descriptor. Pages may be packed with zlib, LZO, Snappy or zstd, each by itself.
 */
import { inflateSync } from 'node:zlib'
import { hex } from '../../base/hex.ts'
import type { RamRange } from '../../memory/physical.ts'
import { type ByteSource, cachedSource } from '../bytes.ts'
import { InputError } from '../errors.ts'
import { FileBitmap } from './bitmap.ts'
import { ADDRESS_LIMIT, type Dump, frameBytes } from './contract.ts'
import {
  LEVEL_ZERO,
  PACKED_LZO,
  PACKED_SNAPPY,
  PACKED_ZLIB,
  PACKED_ZSTD,
  readKdumpHeader,
  STATUS_INCOMPLETE,
} from './kdump-header.ts'
import { unpackLzo } from './lzo.ts'
import { type ElfNote, machineOf, readNotes, readVmcoreInfo, vmcoreInfoOf } from './notes.ts'
import { unpackSnappy } from './snappy.ts'
import { VMCOREINFO_LIMIT } from './vmcoreinfo.ts'
import { type Unpack, zstdPages } from './zstd.ts'

const DESCRIPTOR_BYTES = 24
/** e_machine by utsname's machine. */
const MACHINES: Readonly<Record<string, number>> = { x86_64: 62, aarch64: 183, riscv64: 243, i686: 3, armv7l: 40 }
const NAMES: Readonly<Record<number, string>> = {
  [PACKED_ZLIB]: 'zlib',
  [PACKED_LZO]: 'LZO',
  [PACKED_SNAPPY]: 'Snappy',
  [PACKED_ZSTD]: 'zstd',
}
const PACKED = PACKED_ZLIB | PACKED_LZO | PACKED_SNAPPY | PACKED_ZSTD

/**
 * Opens a dump: reads its headers; bitmaps, descriptors and pages are read when memory asks for them.
 * @param flattened the name of the flattened file that `file` is out of; null when it is the dump itself.
 * @throws InputError naming the file and the offset of what is wrong.
 */
export async function openKdump(file: ByteSource, flattened: string | null): Promise<Dump> {
  const source = cachedSource(file)
  const header = readKdumpHeader(source)
  const { blockSize, pages, descriptorsAt } = header
  if (pages * blockSize > ADDRESS_LIMIT)
    throw new InputError(file.name, null, `${pages} pages of ${blockSize} bytes reach beyond address 2^52`)
  const held = new FileBitmap(source, header.held, pages)
  const existing = new FileBitmap(source, header.existing, pages)
  let equal: boolean | null = null
  /** Nothing was left out. QEMU says dump level 1, and keeps pages of zeros. */
  const whole = () => {
    equal ??= existing.equals(held)
    return equal
  }
  const incomplete = (header.status & STATUS_INCOMPLETE) !== 0
  const unpackers: Record<number, Unpack> = {
    [PACKED_ZLIB]: unpackZlib,
    [PACKED_LZO]: unpackLzo,
    [PACKED_SNAPPY]: unpackSnappy,
  }
  // Its decompressor takes a while to start, so it is for dumps that say they need it.
  if (header.status & PACKED_ZSTD) unpackers[PACKED_ZSTD] = await zstdPages()
  const descriptor = new DataView(new ArrayBuffer(DESCRIPTOR_BYTES))
  const packed = new Uint8Array(blockSize)
  const page = new Uint8Array(blockSize)
  let unpacked = -1

  /** Reads page `number` into `page`; false when an incomplete dump ends before it. */
  const load = (number: number): boolean => {
    if (number === unpacked) return true
    unpacked = -1
    const at = descriptorsAt + held.rank(number) * DESCRIPTOR_BYTES
    const cut = (end: number) => end > source.size && incomplete
    if (cut(at + DESCRIPTOR_BYTES)) return false
    source.read(at, new Uint8Array(descriptor.buffer))
    const offset = descriptor.getBigUint64(0, true)
    const bytes = descriptor.getUint32(8, true)
    const flags = descriptor.getUint32(12, true) & PACKED
    const what = `page ${hex(number * blockSize)}`
    // An incomplete dump has descriptors that were never written.
    if (incomplete && offset === 0n) return false
    if (offset > BigInt(ADDRESS_LIMIT) || bytes === 0 || bytes > blockSize)
      throw new InputError(file.name, at, `descriptor of ${what}: ${bytes} bytes at ${hex(offset)}: it is damaged`)
    if (cut(Number(offset) + bytes)) return false
    const data = flags === 0 ? page : packed
    if (flags === 0 && bytes !== blockSize)
      throw new InputError(file.name, at + 8, `descriptor of ${what}: ${bytes} bytes, not packed; expected ${blockSize}`)
    if (Number(offset) + bytes > source.size)
      throw new InputError(
        file.name,
        at,
        `${what} lies at ${hex(offset)}–${hex(Number(offset) + bytes)} of a file of ${hex(source.size)} bytes: it is cut off`,
      )
    file.read(Number(offset), data.subarray(0, bytes))
    if (flags !== 0) {
      const unpack = unpackers[flags]
      if (unpack === undefined)
        throw new InputError(
          file.name,
          at + 12,
          `descriptor of ${what}: flags ${hex(flags)} name no way of packing that the header announces`,
        )
      if (unpack(packed.subarray(0, bytes), page) !== blockSize)
        throw new InputError(
          file.name,
          Number(offset),
          `${what}: its ${bytes} bytes do not unpack to a page with ${NAMES[flags]}: they are damaged`,
        )
    }
    unpacked = number
    return true
  }

  const notes: ElfNote[] = []
  readNotes(source, header.notes.offset, header.notes.bytes, notes)
  const { offset, bytes } = header.vmcoreinfo
  const known = bytes > 0 && bytes <= VMCOREINFO_LIMIT && offset + bytes <= file.size
  return {
    name: flattened ?? file.name,
    format: `kdump-compressed${flattened === null ? '' : ', flattened'}`,
    machine: MACHINES[header.machine] ?? machineOf(notes),
    vmcoreinfo: known ? readVmcoreInfo(file, offset, bytes) : vmcoreInfoOf(source, notes),
    notes,
    get remarks() {
      return remarksOf(header.level, incomplete, whole())
    },
    get leavesOutZeros() {
      return (header.level & LEVEL_ZERO) !== 0 && !whole()
    },
    *ranges(): Iterable<RamRange> {
      for (const { start, end } of held.runs()) yield { start: start * blockSize, end: end * blockSize }
    },
    load(frame, words, at) {
      const pa = frame * 4096
      const number = Math.floor(pa / blockSize)
      if (!held.has(number) || !load(number)) return false
      const from = pa - number * blockSize
      frameBytes(words, at).set(page.subarray(from, from + 4096))
      return true
    },
    close: () => file.close(),
  }
}

function remarksOf(level: number, incomplete: boolean, whole: boolean): string[] {
  const remarks: string[] = []
  if (incomplete) remarks.push('the dump is incomplete: what wrote it ran out of room; pages after that are absent')
  if (whole) return remarks
  if (level & LEVEL_ZERO)
    remarks.push(`pages of zeros were left out (dump level ${level}): a table that is absent may be one without any valid entry`)
  else remarks.push(`pages were left out (dump level ${level}: caches, user data, free pages)`)
  return remarks
}

function unpackZlib(input: Uint8Array, output: Uint8Array): number | null {
  try {
    const unpacked = inflateSync(input, { maxOutputLength: output.length })
    output.set(unpacked)
    return unpacked.length
  } catch {
    return null
  }
}
