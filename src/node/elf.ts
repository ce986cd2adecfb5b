/**
 * ELF64 core files: physical memory as dumps hold it. System V gABI, chapters 4 and 5; a dump's PT_LOAD has the physical address in
 * p_paddr. Program headers may lie anywhere, segments need not be aligned in the file nor in memory, and may overlap (a dump by
 * virtual address lists a page once for each mapping): the first one in address order wins.
 */
import { hex } from '../base/hex.ts'
import type { FrameSource } from '../memory/physical.ts'
import type { ByteSource } from './bytes.ts'
import { InputError } from './errors.ts'

const EHDR_BYTES = 64
const PHDR_BYTES = 56
const SHDR_BYTES = 64
const ET_CORE = 4
const PT_LOAD = 1
/** e_phnum when there are more: section header 0 has the number. */
const PN_XNUM = 0xffff
/** A dump with more segments than this is not a dump. */
const SEGMENT_LIMIT = 1 << 20
const ADDRESS_LIMIT = 2 ** 52

/** Bytes of memory that the file holds. Sorted by address, never overlapping. */
export interface CoreSegment {
  readonly pa: number
  readonly bytes: number
  readonly fileOffset: number
}

export interface ElfCore extends FrameSource {
  /** e_machine: 62 x86-64, 183 AArch64, 243 RISC-V. */
  readonly machine: number
  readonly segments: readonly CoreSegment[]
}

/**
 * Opens a core: reads its headers; pages are read when memory asks for them.
 * @throws InputError naming the file and the offset of the header that is wrong.
 */
export function openElfCore(source: ByteSource): ElfCore {
  const header = headerAt(source, 0, EHDR_BYTES, 'an ELF header')
  const fail = (at: number, text: string, kind: 'unreadable' | 'unsupported' = 'unreadable'): never => {
    throw new InputError(source.name, at, text, kind)
  }
  if (header.getUint32(0) !== 0x7f454c46) fail(0, 'this is not an ELF file (it does not start with 7f 45 4c 46)')
  if (header.getUint8(4) !== 2) fail(4, 'this is a 32-bit ELF file; 64-bit ones are supported', 'unsupported')
  if (header.getUint8(5) !== 1) fail(5, 'this is a big-endian ELF file; little-endian ones are supported', 'unsupported')
  const type = header.getUint16(16, true)
  if (type !== ET_CORE) fail(16, `e_type is ${type}; a core file has 4 (ET_CORE)`)
  const table = number64(source, header, 0, 32, 'e_phoff')
  const entryBytes = header.getUint16(54, true)
  const count = segmentCount(source, header)
  if (count > 0 && entryBytes < PHDR_BYTES) fail(54, `e_phentsize is ${entryBytes}; a program header has ${PHDR_BYTES} bytes`)
  if (count > SEGMENT_LIMIT) fail(56, `${count} program headers; at most ${SEGMENT_LIMIT} are read`)
  if (table + count * entryBytes > source.size)
    fail(32, `${count} program headers at ${hex(table)} reach beyond the end of the file (${hex(source.size)}): it is cut off`)
  const found: CoreSegment[] = []
  for (let index = 0; index < count; index++) {
    const segment = readSegment(source, table + index * entryBytes, index)
    if (segment !== null) found.push(segment)
  }
  const segments = withoutOverlap(found)
  return {
    machine: header.getUint16(18, true),
    segments,
    load: (frame, words, at) => loadFrame(source, segments, frame, words, at),
  }
}

function headerAt(source: ByteSource, offset: number, bytes: number, what: string): DataView {
  if (offset + bytes > source.size)
    throw new InputError(
      source.name,
      offset,
      `${what} needs ${bytes} bytes, and the file ends at ${hex(source.size)}: it is cut off or no ELF file`,
    )
  const buffer = new Uint8Array(bytes)
  source.read(offset, buffer)
  return new DataView(buffer.buffer)
}

/** A 64-bit field as an exact number. `base` is where the view starts in the file. */
function number64(source: ByteSource, view: DataView, base: number, at: number, field: string): number {
  const value = view.getBigUint64(at, true)
  if (value > BigInt(ADDRESS_LIMIT)) throw new InputError(source.name, base + at, `${field} is ${hex(value)}, beyond 2^52`)
  return Number(value)
}

function segmentCount(source: ByteSource, header: DataView): number {
  const count = header.getUint16(56, true)
  if (count !== PN_XNUM) return count
  const sections = number64(source, header, 0, 40, 'e_shoff')
  if (sections === 0) return count
  return headerAt(source, sections, SHDR_BYTES, 'section header 0 (it has the number of segments)').getUint32(44, true)
}

function readSegment(source: ByteSource, at: number, index: number): CoreSegment | null {
  const view = headerAt(source, at, PHDR_BYTES, `program header ${index}`)
  if (view.getUint32(0, true) !== PT_LOAD) return null
  const fileOffset = number64(source, view, at, 8, `segment ${index}: p_offset`)
  const pa = number64(source, view, at, 24, `segment ${index}: p_paddr`)
  // Bytes beyond p_filesz, up to p_memsz, are pages that the dump leaves out: they are absent, not zero.
  const bytes = number64(source, view, at, 32, `segment ${index}: p_filesz`)
  if (bytes === 0) return null
  if (pa + bytes > ADDRESS_LIMIT)
    throw new InputError(source.name, at + 24, `segment ${index}: ${hex(bytes)} bytes at ${hex(pa)} reach beyond 2^52`)
  if (fileOffset + bytes > source.size)
    throw new InputError(
      source.name,
      at + 8,
      `segment ${index} (memory from ${hex(pa)}) lies at ${hex(fileOffset)}–${hex(fileOffset + bytes)} of a file of ` +
        `${hex(source.size)} bytes: it is cut off`,
    )
  return { pa, bytes, fileOffset }
}

/** Sorted by address; what an earlier segment holds already is cut away. */
function withoutOverlap(found: readonly CoreSegment[]): CoreSegment[] {
  const out: CoreSegment[] = []
  let covered = 0
  for (const { pa, bytes, fileOffset } of [...found].sort((a, b) => a.pa - b.pa)) {
    const skip = Math.max(0, covered - pa)
    if (skip >= bytes) continue
    out.push({ pa: pa + skip, bytes: bytes - skip, fileOffset: fileOffset + skip })
    covered = pa + bytes
  }
  return out
}

/** Index of the first segment that ends after `pa`. */
function firstReaching(segments: readonly CoreSegment[], pa: number): number {
  let low = 0
  let high = segments.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const { pa: start, bytes } = segments[middle]!
    if (start + bytes <= pa) low = middle + 1
    else high = middle
  }
  return low
}

/** One frame may be put together from several segments; bytes of it that none holds are zero. */
function loadFrame(source: ByteSource, segments: readonly CoreSegment[], frame: number, words: Int32Array, at: number): boolean {
  const start = frame * 4096
  let any = false
  for (let index = firstReaching(segments, start); index < segments.length; index++) {
    const segment = segments[index]!
    if (segment.pa >= start + 4096) break
    const from = Math.max(start, segment.pa)
    const to = Math.min(start + 4096, segment.pa + segment.bytes)
    const target = new Uint8Array(words.buffer, words.byteOffset + at * 4 + (from - start), to - from)
    source.read(segment.fileOffset + (from - segment.pa), target)
    any = true
  }
  return any
}
