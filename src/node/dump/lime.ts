/**
 * LiME, format `lime`: before each range of memory a header of 32 bytes: magic, version, first and last address, 8 reserved bytes. LiME,
 * doc/README.md "Spec". Its other formats are raw images: `padded` begins at address 0, `raw` has lost its addresses.
 */
import { hex } from '../../base/hex.ts'
import { type ByteSource, cachedSource } from '../bytes.ts'
import { type CoreSegment, segmentsOf, withoutOverlap } from '../elf.ts'
import { InputError } from '../errors.ts'
import { ADDRESS_LIMIT, type Dump } from './contract.ts'

/** `EMiL` in the file. */
export const LIME_MAGIC = 0x4c694d45
const HEADER_BYTES = 32
/** Machines have tens of ranges. */
const RANGE_LIMIT = 1 << 16

/** @throws InputError naming the offset of the range that is wrong. */
export function openLime(file: ByteSource): Dump {
  const source = cachedSource(file)
  const view = new DataView(new ArrayBuffer(HEADER_BYTES))
  const found: CoreSegment[] = []
  for (let at = 0; at < file.size; ) {
    const fail = (text: string, kind: 'unreadable' | 'unsupported' = 'unreadable'): never => {
      throw new InputError(file.name, at, `range ${found.length}: ${text}`, kind)
    }
    if (at + HEADER_BYTES > file.size) fail(`a header has 32 bytes, and the file ends at ${hex(file.size)}: it is cut off`)
    source.read(at, new Uint8Array(view.buffer))
    const magic = view.getUint32(0, true)
    if (magic !== LIME_MAGIC) fail(`a header starts with 45 4d 69 4c, here is ${hex(magic)}: it is damaged`)
    const version = view.getUint32(4, true)
    if (version !== 1) fail(`LiME version ${version}; version 1 is known`, 'unsupported')
    const first = view.getBigUint64(8, true)
    const last = view.getBigUint64(16, true)
    if (last < first || last >= BigInt(ADDRESS_LIMIT)) fail(`addresses ${hex(first)} to ${hex(last)}: it is damaged`)
    const bytes = Number(last - first) + 1
    const data = at + HEADER_BYTES
    if (data + bytes > file.size) fail(`${hex(bytes)} bytes are announced, and the file ends at ${hex(file.size)}: it is cut off`)
    if (found.length === RANGE_LIMIT) fail(`more than ${RANGE_LIMIT} ranges`, 'unsupported')
    found.push({ pa: Number(first), bytes, fileOffset: data })
    at = data + bytes
  }
  return segmentsOf(file, 'LiME', withoutOverlap(found))
}
