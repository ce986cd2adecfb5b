/**
 * Files, pipes and standard input as bytes that can be read anywhere, packed with gzip (RFC 1952) or zstd (RFC 8878) or not. What is
 * packed or comes through a pipe is kept in memory while it is small, else in a temporary file that is gone when the program ends.
 */
import { fstatSync, ftruncateSync, mkdtempSync, openSync, readSync, rmSync, statfsSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pipeline, Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { size } from '../base/hex.ts'
import { type ByteSource, bufferSource, descriptorSource, openForReading, systemReason } from './bytes.ts'
import { HEAD_BYTES, recognise } from './dump/formats.ts'
import { zstdStream } from './dump/zstd.ts'
import { InputError } from './errors.ts'

/** More than this is never unpacked into memory by `readUnpacked`: a file of a few kilobytes can hold gigabytes. */
export const MEMORY_LIMIT = 256 << 20
/** More than this is never unpacked to a temporary file. */
export const FILE_LIMIT = 2 ** 36
/** Up to so much stays in memory. */
const IN_MEMORY = 32 << 20
/** Read and unpacked at once. */
const PIECE = 1 << 18
/** Of what is unpacked, so much is looked at before more is unpacked. */
const LOOK = 1 << 20

export interface OpenOptions {
  /** Largest size in bytes that is accepted after unpacking. */
  readonly limit?: number
  /**
   * Looks at the first MiB of what is unpacked or comes through a pipe, or all of it when it is shorter.
   * @returns how many bytes are needed in all; null when that cannot be told.
   * @throws InputError when it is nothing that can be used: the rest is not unpacked.
   */
  look?(head: ByteSource): number | null
}

/**
 * Opens a file by its path; `-` is standard input.
 * @throws InputError when it cannot be read, is damaged, or too large once unpacked.
 */
export async function openBytes(path: string, options: OpenOptions = {}): Promise<ByteSource> {
  const input = openInput(path)
  if (input.file) {
    const source = descriptorSource(input.name, input.descriptor)
    const head = new Uint8Array(Math.min(source.size, HEAD_BYTES))
    source.read(0, head)
    const kind = recognise(head)?.kind
    if (kind !== 'gzip' && kind !== 'zstd') return source
  }
  try {
    const pieces = await unpacked(input.name, piecesOf(input.name, input.descriptor))
    return await spool(input.name, pieces, options)
  } finally {
    if (path !== '-') descriptorSource(input.name, input.descriptor, 0).close()
  }
}

/**
 * The contents of a small file in memory, unpacked.
 * @param limit largest size in bytes that is accepted, packed or unpacked.
 */
export async function readUnpacked(path: string, limit = MEMORY_LIMIT): Promise<Uint8Array> {
  const source = await openBytes(path, { limit })
  try {
    if (source.size > limit) throw tooLarge(source.name, limit)
    const bytes = new Uint8Array(source.size)
    source.read(0, bytes)
    return bytes
  } finally {
    source.close()
  }
}

interface Input {
  readonly name: string
  readonly descriptor: number
  /** Whether any place of it can be read. */
  readonly file: boolean
}

function openInput(path: string): Input {
  const name = path === '-' ? 'standard input' : path
  const descriptor = path === '-' ? 0 : openForReading(path)
  const stat = fstatSync(descriptor)
  if (stat.isDirectory()) throw new InputError(name, null, 'is a folder, a file was expected')
  if (stat.isBlockDevice() || (stat.isCharacterDevice() && path !== '-'))
    throw new InputError(name, null, 'is a device, a file was expected')
  if (stat.isCharacterDevice()) throw new InputError(name, null, 'is a terminal or a device: send a file into it')
  // Files of /proc may say 0 bytes and have more.
  return { name, descriptor, file: stat.isFile() && (stat.size > 0 || !path.startsWith('/proc/')) }
}

/** The bytes in order, from the start. */
function* piecesOf(name: string, descriptor: number): Iterable<Uint8Array> {
  const positioned = fstatSync(descriptor).isFile()
  for (let at = 0; ; ) {
    const piece = new Uint8Array(PIECE)
    const got = readSome(name, descriptor, piece, positioned ? at : null)
    if (got === 0) return
    at += got
    yield piece.subarray(0, got)
  }
}

function readSome(name: string, descriptor: number, piece: Uint8Array, at: number | null): number {
  for (;;) {
    try {
      return readSync(descriptor, piece, 0, piece.length, at)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'EOF') return 0
      if (code !== 'EAGAIN') throw new InputError(name, at, `cannot be read: ${systemReason(error)}`)
      // A pipe that does not wait: its writer needs time.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5)
    }
  }
}

type Pieces = Iterable<Uint8Array> | AsyncIterable<Uint8Array>

/** The unpacked bytes, when the first ones say that they are packed. */
async function unpacked(name: string, packed: Iterable<Uint8Array>): Promise<Pieces> {
  const iterator = packed[Symbol.iterator]()
  const first = iterator.next()
  const kind = first.done === true ? undefined : recognise(first.value)?.kind
  let taken = 0
  const all = (function* () {
    for (let next = first; next.done !== true; next = iterator.next()) {
      yield next.value
      taken += next.value.length
    }
  })()
  if (kind === 'gzip') {
    const gunzip = createGunzip({ chunkSize: PIECE })
    // What goes wrong on either side is thrown where the pieces are taken.
    pipeline(Readable.from(all), gunzip, () => {})
    return named(name, 'gzip', gunzip, () => gunzip.bytesWritten)
  }
  if (kind === 'zstd') return named(name, 'zstd', await zstdStream(all), () => taken)
  return all
}

/** Errors with the file's name, and about where in the packed file they are. */
async function* named(name: string, what: string, pieces: Pieces, at: () => number): AsyncIterable<Uint8Array> {
  try {
    yield* pieces
  } catch (error) {
    if (error instanceof InputError) throw error
    throw new InputError(name, at(), `is damaged at or before this place: ${what} says '${(error as Error).message}'`)
  }
}

/** Takes up the pieces: in memory first, in a temporary file when they are many. */
async function spool(name: string, pieces: Pieces, { limit = FILE_LIMIT, look }: OpenOptions): Promise<ByteSource> {
  const kept: Uint8Array[] = []
  let file: TemporaryFile | null = null
  let total = 0
  let needed = Number.POSITIVE_INFINITY
  let looked = look === undefined
  const lookNow = () => {
    looked = true
    needed = look!(bufferSource(name, Buffer.concat(kept))) ?? Number.POSITIVE_INFINITY
    if (needed !== Number.POSITIVE_INFINITY && needed > limit) throw tooLarge(name, limit)
  }
  try {
    for await (const piece of pieces) {
      if (file === null) kept.push(piece)
      else file.write(piece, total)
      total += piece.length
      if (total > limit) throw tooLarge(name, limit)
      if (!looked && total >= LOOK) lookNow()
      if (total >= needed) break
      if (file !== null || total <= IN_MEMORY) continue
      file = new TemporaryFile(name, needed)
      let at = 0
      for (const early of kept) {
        file.write(early, at)
        at += early.length
      }
      kept.length = 0
    }
    if (!looked) lookNow()
    return file === null ? bufferSource(name, Buffer.concat(kept)) : file.source(total)
  } catch (error) {
    file?.close()
    throw error
  }
}

function tooLarge(name: string, limit: number): InputError {
  return new InputError(name, null, `unpacks to more than ${size(limit)}; unpack it yourself and give the plain file`)
}

/** Pages of zeros are not written: they are holes, and take no room. */
const HOLE = 4096

class TemporaryFile {
  readonly #name: string
  readonly #descriptor: number

  constructor(name: string, needed: number) {
    this.#name = name
    const folder = mkdtempSync(join(tmpdir(), 'iomm-'))
    const { bavail, bsize } = statfsSync(folder)
    try {
      if (needed !== Number.POSITIVE_INFINITY && needed > bavail * bsize)
        throw noRoom(name, `${size(Math.ceil(needed / 2 ** 20) * 2 ** 20)} are needed`)
      this.#descriptor = openSync(join(folder, 'unpacked'), 'wx+', 0o600)
    } finally {
      // Without a name, it is gone when nobody has it open any more. Where the system does not allow that, it is removed at the end.
      remove(folder)
    }
  }

  write(piece: Uint8Array, at: number): void {
    try {
      for (let from = 0; from < piece.length; ) {
        const to = Math.min(piece.length, from + HOLE)
        if (!isZero(piece, from, to)) writeSync(this.#descriptor, piece, from, to - from, at + from)
        from = to
      }
    } catch (error) {
      throw noRoom(this.#name, systemReason(error))
    }
  }

  source(bytes: number): ByteSource {
    ftruncateSync(this.#descriptor, bytes)
    return descriptorSource(this.#name, this.#descriptor, bytes)
  }

  close(): void {
    descriptorSource(this.#name, this.#descriptor, 0).close()
  }
}

function noRoom(name: string, why: string): InputError {
  return new InputError(
    name,
    null,
    `cannot be unpacked to ${tmpdir()}: ${why}. Set TMPDIR to a folder with room, or unpack it yourself.`,
  )
}

function remove(folder: string): void {
  const now = () => rmSync(folder, { recursive: true, force: true })
  try {
    now()
  } catch {
    process.once('exit', () => {
      try {
        now()
      } catch {
        // The system clears its folder of temporary files itself.
      }
    })
  }
}

function isZero(bytes: Uint8Array, from: number, to: number): boolean {
  for (let index = from; index < to; index++) if (bytes[index] !== 0) return false
  return true
}
