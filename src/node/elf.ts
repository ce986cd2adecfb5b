/**
 * ELF core files, of 64-bit and 32-bit machines: physical memory as dumps hold it. System V gABI, chapters 4 and 5; a dump's PT_LOAD has
 * the physical address in p_paddr. Program headers may lie anywhere, segments need not be aligned in the file nor in memory, and may overlap (a dump by
 * virtual address lists a page once for each mapping): the first one in address order wins.
 */
import { about, hex } from '../base/hex.ts'
import type { RamRange } from '../memory/physical.ts'
import { type ByteSource, cachedSource } from './bytes.ts'
import { ADDRESS_LIMIT, type Dump, frameBytes } from './dump/contract.ts'
import { type ElfNote, readNotes, vmcoreInfoOf } from './dump/notes.ts'
import { InputError } from './errors.ts'

/** Where the fields lie that differ between the classes of ELF. */
interface ElfClass {
  readonly bits: 32 | 64
  readonly ehdrBytes: number
  readonly phoff: number
  readonly shoff: number
  readonly phentsize: number
  readonly phnum: number
  readonly phdrBytes: number
  readonly offset: number
  readonly vaddr: number
  readonly paddr: number
  readonly filesz: number
  readonly memsz: number
  readonly shdrBytes: number
  readonly shInfo: number
}
const ELF64: ElfClass = {
  ...{ bits: 64, ehdrBytes: 64, phoff: 32, shoff: 40, phentsize: 54, phnum: 56 },
  ...{ phdrBytes: 56, offset: 8, vaddr: 16, paddr: 24, filesz: 32, memsz: 40 },
  ...{ shdrBytes: 64, shInfo: 44 },
}
const ELF32: ElfClass = {
  ...{ bits: 32, ehdrBytes: 52, phoff: 28, shoff: 32, phentsize: 42, phnum: 44 },
  ...{ phdrBytes: 32, offset: 4, vaddr: 8, paddr: 12, filesz: 16, memsz: 20 },
  ...{ shdrBytes: 40, shInfo: 28 },
}
const IDENT_BYTES = 20
/** Program headers may be longer, one day; much longer is nonsense. */
const PHDR_LIMIT = 256
const ET_CORE = 4
const PT_LOAD = 1
const PT_NOTE = 4
/** e_phnum when there are more: section header 0 has the number. */
const PN_XNUM = 0xffff
/** A dump with more segments than this is not a dump. */
const SEGMENT_LIMIT = 1 << 20
/** One for each CPU at most. */
const NOTE_SEGMENT_LIMIT = 1 << 13
/** p_paddr of memory that has a virtual address only. */
const NO_ADDRESS = (1n << 64n) - 1n

/** Bytes of memory that the file holds. Sorted by address, never overlapping. */
export interface CoreSegment {
  readonly pa: number
  readonly bytes: number
  readonly fileOffset: number
}

export interface ElfCore extends Dump {
  readonly machine: number
  readonly segments: readonly CoreSegment[]
}

interface ElfHeader {
  readonly layout: ElfClass
  readonly machine: number
  /** Offset of the program headers, bytes of each, how many. */
  readonly table: number
  readonly entryBytes: number
  readonly count: number
}

/**
 * Opens a core: reads its headers; pages are read when memory asks for them.
 * @throws InputError naming the file and the offset of the header that is wrong.
 */
export function openElfCore(file: ByteSource): ElfCore {
  const source = cachedSource(file)
  const header = readHeader(source)
  const { layout, machine, table, entryBytes, count } = header
  if (table + count * entryBytes > source.size)
    throw new InputError(
      source.name,
      layout.phoff,
      `${count} program headers at ${hex(table)} reach beyond the end of the file (${hex(source.size)}): it is cut off`,
    )
  const found: CoreSegment[] = []
  const notes: ElfNote[] = []
  const virtual = new Set<bigint>()
  let left = 0
  let noteSegments = 0
  for (let index = 0; index < count; index++) {
    const segment = readSegment(source, layout, table + index * entryBytes, index)
    if (segment === null) continue
    if (segment.type === PT_NOTE) {
      if (noteSegments++ < NOTE_SEGMENT_LIMIT) readNotes(source, segment.fileOffset, segment.bytes, notes)
      continue
    }
    left += segment.memory - segment.bytes
    if (segment.pa === 0 && virtual.size < 2) virtual.add(segment.va)
    if (segment.bytes > 0) found.push(segment)
  }
  if (virtual.size > 1 && found.every(({ pa }) => pa === 0))
    throw new InputError(
      source.name,
      table,
      'every segment has physical address 0: this is the core of a process; the memory of a whole machine is needed',
      'unsupported',
    )
  const segments = withoutOverlap(found)
  return {
    ...segmentsOf(file, 'ELF core', segments),
    machine,
    segments,
    notes,
    vmcoreinfo: vmcoreInfoOf(file, notes),
    remarks: left > 0 ? [`the dump leaves out ${about(BigInt(left))} of the memory that it lists`] : [],
  }
}

/** A dump of segments, of which nothing else is known. */
export function segmentsOf(file: ByteSource, format: string, segments: readonly CoreSegment[]): Dump {
  return {
    name: file.name,
    format,
    machine: null,
    vmcoreinfo: null,
    notes: [],
    remarks: [],
    leavesOutZeros: false,
    ranges: () => segments.map(rangeOf),
    load: (frame, words, at) => loadFrame(file, segments, frame, words, at),
    close: () => file.close(),
  }
}

/**
 * Where the last segment of a core ends, by its first bytes; null when they do not tell. What is behind is not needed.
 * @throws InputError when a header is wrong.
 */
export function elfExtent(head: ByteSource): number | null {
  if (head.size < ELF64.ehdrBytes) return null
  const ident = headerAt(head, 0, ELF64.ehdrBytes, 'an ELF header')
  const { phnum, shoff, shdrBytes } = ident.getUint8(4) === 1 ? ELF32 : ELF64
  const sections = ident.getUint8(4) === 1 ? BigInt(ident.getUint32(shoff, true)) : ident.getBigUint64(shoff, true)
  if (ident.getUint16(phnum, true) === PN_XNUM && sections + BigInt(shdrBytes) > BigInt(head.size)) return null
  const { layout, table, entryBytes, count } = readHeader(head)
  if (table + count * entryBytes > head.size) return null
  let end = table + count * entryBytes
  for (let index = 0; index < count; index++) {
    const at = table + index * entryBytes
    const view = headerAt(head, at, layout.phdrBytes, `program header ${index}`)
    end = Math.max(end, Number(field(view, layout, layout.offset)) + Number(field(view, layout, layout.filesz)))
  }
  return end
}

function readHeader(source: ByteSource): ElfHeader {
  const ident = headerAt(source, 0, IDENT_BYTES, 'an ELF header')
  const fail = (at: number, text: string, kind: 'unreadable' | 'unsupported' = 'unreadable'): never => {
    throw new InputError(source.name, at, text, kind)
  }
  if (ident.getUint32(0) !== 0x7f454c46) fail(0, 'this is not an ELF file (it does not start with 7f 45 4c 46)')
  const elfClass = ident.getUint8(4)
  if (elfClass !== 1 && elfClass !== 2) fail(4, `EI_CLASS is ${elfClass}; an ELF file has 1 (32 bits) or 2 (64 bits)`)
  if (ident.getUint8(5) !== 1) fail(5, 'this is a big-endian ELF file; little-endian ones are supported', 'unsupported')
  const type = ident.getUint16(16, true)
  if (type !== ET_CORE) fail(16, `e_type is ${type}; a core file has 4 (ET_CORE)`)
  const layout = elfClass === 1 ? ELF32 : ELF64
  const header = headerAt(source, 0, layout.ehdrBytes, 'an ELF header')
  const table = exactField(source, header, layout, 0, layout.phoff, 'e_phoff')
  const entryBytes = header.getUint16(layout.phentsize, true)
  const count = segmentCount(source, header, layout)
  if (count > 0 && (entryBytes < layout.phdrBytes || entryBytes > PHDR_LIMIT))
    fail(layout.phentsize, `e_phentsize is ${entryBytes}; a program header has ${layout.phdrBytes} bytes`)
  if (count > SEGMENT_LIMIT) fail(layout.phnum, `${count} program headers; at most ${SEGMENT_LIMIT} are read`)
  return { layout, machine: ident.getUint16(18, true), table, entryBytes, count }
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

/** An address or offset: as wide as the class says. */
function field(view: DataView, { bits }: ElfClass, at: number): bigint {
  return bits === 64 ? view.getBigUint64(at, true) : BigInt(view.getUint32(at, true))
}

/** The same as an exact number. `base` is where the view starts in the file. */
function exactField(source: ByteSource, view: DataView, layout: ElfClass, base: number, at: number, name: string): number {
  const value = field(view, layout, at)
  if (value > BigInt(ADDRESS_LIMIT)) throw new InputError(source.name, base + at, `${name} is ${hex(value)}, beyond 2^52`)
  return Number(value)
}

function segmentCount(source: ByteSource, header: DataView, layout: ElfClass): number {
  const count = header.getUint16(layout.phnum, true)
  if (count !== PN_XNUM) return count
  const sections = exactField(source, header, layout, 0, layout.shoff, 'e_shoff')
  if (sections === 0) return count
  const section = headerAt(source, sections, layout.shdrBytes, 'section header 0 (it has the number of segments)')
  return section.getUint32(layout.shInfo, true)
}

type Segment = CoreSegment & { readonly type: number; readonly memory: number; readonly va: bigint }

function readSegment(source: ByteSource, layout: ElfClass, at: number, index: number): Segment | null {
  const view = headerAt(source, at, layout.phdrBytes, `program header ${index}`)
  const type = view.getUint32(0, true)
  if (type !== PT_LOAD && type !== PT_NOTE) return null
  const note = type === PT_NOTE
  // Such as the kernel's own virtual mappings in /proc/kcore: physical memory is listed elsewhere.
  if (!note && layout.bits === 64 && field(view, layout, layout.paddr) === NO_ADDRESS) return null
  const number = (place: number, name: string) => exactField(source, view, layout, at, place, `segment ${index}: ${name}`)
  const fileOffset = number(layout.offset, 'p_offset')
  // Bytes beyond p_filesz, up to p_memsz, are pages that the dump leaves out: they are absent, not zero.
  const bytes = number(layout.filesz, 'p_filesz')
  const pa = note ? 0 : number(layout.paddr, 'p_paddr')
  const memory = note ? bytes : Math.max(bytes, number(layout.memsz, 'p_memsz'))
  if (pa + memory > ADDRESS_LIMIT)
    throw new InputError(source.name, at + layout.paddr, `segment ${index}: ${hex(memory)} bytes at ${hex(pa)} reach beyond 2^52`)
  if (bytes > 0 && fileOffset + bytes > source.size)
    throw new InputError(
      source.name,
      at + layout.offset,
      `segment ${index} (${note ? 'notes' : `memory from ${hex(pa)}`}) lies at ${hex(fileOffset)}–${hex(fileOffset + bytes)} of a file ` +
        `of ${hex(source.size)} bytes: it is cut off`,
    )
  return { type, pa, va: field(view, layout, layout.vaddr), bytes, memory, fileOffset }
}

/** Sorted by address; what an earlier segment holds already is cut away. */
export function withoutOverlap(found: readonly CoreSegment[]): CoreSegment[] {
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

function rangeOf({ pa, bytes }: CoreSegment): RamRange {
  return { start: pa, end: pa + bytes }
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
    source.read(segment.fileOffset + (from - segment.pa), frameBytes(words, at, from - start, to - start))
    any = true
  }
  return any
}
