/**
 * Headers of kdump-compressed dumps ("diskdump") of little-endian machines, of 64-bit and 32-bit kernels. makedumpfile,
 * `diskdump_mod.h` and IMPLEMENTATION; QEMU, include/sysemu/dump.h.
 *
 * The file: header (block 0), sub-header with VMCOREINFO and notes, a bitmap of the pages that exist, a bitmap of the pages that the dump
 * holds, a descriptor of 24 bytes for each of these, the pages.
 */
import { hex } from '../../base/hex.ts'
import type { ByteSource } from '../bytes.ts'
import { InputError } from '../errors.ts'

export const KDUMP_MAGIC = 'KDUMP   '
const HEADER_BYTES = 464
/** Where `status` lies, and the fields behind it: after a time stamp that is shorter in headers of 32-bit kernels. */
const STATUS_AT = 424
const STATUS_AT_32 = 412
const MACHINE_AT = 12 + 4 * 65
const LAST_VERSION = 6
/** Pages that a bitmap can speak of: 32 TiB of 4 KiB pages. */
const PAGE_LIMIT = 2 ** 33

/** `status`: the run that wrote the dump could not finish it. */
export const STATUS_INCOMPLETE = 0x8
/** `dump_level`: pages of zeros are left out. */
export const LEVEL_ZERO = 1

/** How a page is packed: flags of its descriptor. */
export const PACKED_ZLIB = 0x1
export const PACKED_LZO = 0x2
export const PACKED_SNAPPY = 0x4
export const PACKED_ZSTD = 0x20

export interface KdumpHeader {
  readonly version: number
  /** utsname: `x86_64`, `aarch64`, `riscv64`; and the kernel's release. */
  readonly machine: string
  readonly release: string
  readonly status: number
  readonly blockSize: number
  /** The bitmap of the pages that exist. */
  readonly existing: number
  /** The bitmap of the pages that the dump holds: the second one; the first where there is only one. */
  readonly held: number
  readonly descriptorsAt: number
  /** Page frames from 0 that the bitmaps speak of. */
  readonly pages: number
  /** What was left out on purpose: makedumpfile's -d. */
  readonly level: number
  readonly vmcoreinfo: Part
  readonly notes: Part
}

interface Part {
  readonly offset: number
  readonly bytes: number
}

const NOWHERE: Part = { offset: 0, bytes: 0 }

interface SubHeader {
  readonly level: number
  readonly vmcoreinfo: Part
  readonly notes: Part
  /** Null where the header says it. */
  readonly pages: number | null
}

/** @throws InputError naming the offset of what is wrong. */
export function readKdumpHeader(source: ByteSource): KdumpHeader {
  const bytes = part(source, 0, HEADER_BYTES, 'the header')
  const view = new DataView(bytes.buffer)
  const fail = (at: number, text: string, kind: 'unreadable' | 'unsupported' = 'unreadable'): never => {
    throw new InputError(source.name, at, text, kind)
  }
  const version = view.getInt32(8, true)
  if (version < 1 || version > LAST_VERSION) {
    const other = view.getInt32(8, false)
    if (other >= 1 && other <= LAST_VERSION)
      fail(8, 'the dump of a big-endian machine; little-endian ones are supported', 'unsupported')
    fail(8, `header version ${version}; 1 to ${LAST_VERSION} are known`, 'unsupported')
  }
  const plausible = (at: number) =>
    isBlockSize(view.getInt32(at + 4, true)) && isSubSize(view.getInt32(at + 8, true)) && view.getUint32(at + 12, true) > 0
  const wide = plausible(STATUS_AT) || !plausible(STATUS_AT_32)
  const at = wide ? STATUS_AT : STATUS_AT_32
  const blockSize = view.getInt32(at + 4, true)
  const subBlocks = view.getInt32(at + 8, true)
  const bitmapBlocks = view.getUint32(at + 12, true)
  if (!isBlockSize(blockSize)) fail(at + 4, `block_size is ${blockSize}; expected a page size from 4096 to 262144`)
  if (!isSubSize(subBlocks)) fail(at + 8, `sub_hdr_size is ${subBlocks} blocks; expected 1 to 65536`)
  const sub = wide ? readSubHeader(source, blockSize, version) : readSubHeader32(source, blockSize, version)
  const pages = sub.pages ?? view.getUint32(at + 16, true)
  if (pages > PAGE_LIMIT)
    fail(version >= 6 ? blockSize + 96 : at + 16, `max_mapnr is ${pages} pages; at most ${PAGE_LIMIT} are read`, 'unsupported')
  const bitmapAt = (1 + subBlocks) * blockSize
  const one = Math.ceil(Math.ceil(pages / 8) / blockSize)
  if (bitmapBlocks < one)
    fail(at + 12, `${bitmapBlocks} blocks of bitmaps are too few for ${pages} pages: ${one} are needed for one`)
  const two = bitmapBlocks >= 2 * one
  const descriptorsAt = bitmapAt + bitmapBlocks * blockSize
  if (descriptorsAt > source.size)
    fail(bitmapAt, `${bitmapBlocks} blocks of bitmaps reach beyond the end of the file (${hex(source.size)}): it is cut off`)
  return {
    version,
    machine: word(bytes, MACHINE_AT),
    release: word(bytes, 12 + 2 * 65),
    status: view.getUint32(at, true),
    blockSize,
    existing: bitmapAt,
    held: two ? bitmapAt + Math.floor(bitmapBlocks / 2) * blockSize : bitmapAt,
    descriptorsAt,
    pages,
    level: sub.level,
    vmcoreinfo: sub.vmcoreinfo,
    notes: sub.notes,
  }
}

/** Fields were added over time; a version has those of the versions before it. */
function readSubHeader(source: ByteSource, at: number, version: number): SubHeader {
  const view = new DataView(part(source, at, 104, 'the sub-header').buffer)
  const number = (offset: number, name: string): number => {
    const value = view.getBigUint64(offset, true)
    if (value > 1n << 52n) throw new InputError(source.name, at + offset, `${name} is ${hex(value)}, beyond 2^52`)
    return Number(value)
  }
  if (version >= 2 && view.getInt32(12, true) !== 0) {
    const [first, last] =
      version >= 6 ? [number(80, 'start_pfn'), number(88, 'end_pfn')] : [number(16, 'start_pfn'), number(24, 'end_pfn')]
    throw splitPart(source, at + 12, first, last)
  }
  const place = (since: number, offset: number, name: string): Part =>
    version < since ? NOWHERE : { offset: number(offset, `offset_${name}`), bytes: number(offset + 8, `size_${name}`) }
  return {
    level: view.getInt32(8, true),
    vmcoreinfo: place(3, 32, 'vmcoreinfo'),
    notes: place(4, 48, 'note'),
    pages: version >= 6 ? number(96, 'max_mapnr_64') : null,
  }
}

/**
 * As above, of a 32-bit kernel. Here 64-bit fields are aligned to 4 bytes (x86, QEMU) or to 8 (Arm): of the two places that
 * `offset_vmcoreinfo` can have, the one that lies in the file is meant. The header itself has room for all page frames.
 */
function readSubHeader32(source: ByteSource, at: number, version: number): SubHeader {
  const view = new DataView(part(source, at, 96, 'the sub-header').buffer)
  if (version >= 2 && view.getInt32(8, true) !== 0)
    throw splitPart(source, at + 8, view.getUint32(12, true), view.getUint32(16, true))
  const place = (since: number, ...offsets: number[]): Part => {
    for (const offset of version < since ? [] : offsets) {
      const start = view.getBigUint64(offset, true)
      const bytes = view.getUint32(offset + 8, true)
      if (start >= BigInt(at) && bytes > 0 && start + BigInt(bytes) <= BigInt(source.size))
        return { offset: Number(start), bytes }
    }
    return NOWHERE
  }
  return { level: view.getInt32(4, true), vmcoreinfo: place(3, 20, 24), notes: place(4, 32, 40), pages: null }
}

function splitPart(source: ByteSource, at: number, first: number, last: number): InputError {
  return new InputError(
    source.name,
    at,
    `one part of a dump that was split (page frames ${hex(first)} to ${hex(last)}); join the parts with 'makedumpfile --reassemble PART… NEW'`,
    'unsupported',
  )
}

function part(source: ByteSource, offset: number, bytes: number, what: string): Uint8Array<ArrayBuffer> {
  if (offset + bytes > source.size)
    throw new InputError(
      source.name,
      offset,
      `${what} needs ${bytes} bytes, and the file ends at ${hex(source.size)}: it is cut off`,
    )
  const out = new Uint8Array(bytes)
  source.read(offset, out)
  return out
}

function isSubSize(blocks: number): boolean {
  return blocks >= 1 && blocks <= 1 << 16
}

function isBlockSize(bytes: number): boolean {
  return bytes >= 4096 && bytes <= 1 << 18 && (bytes & (bytes - 1)) === 0
}

function word(bytes: Uint8Array, at: number): string {
  const field = bytes.subarray(at, at + 65)
  const end = field.indexOf(0)
  return new TextDecoder('latin1').decode(end < 0 ? field : field.subarray(0, end))
}
