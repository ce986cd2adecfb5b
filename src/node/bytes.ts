/** Bytes of a file, read where they are needed: from memory, or from a file that may be larger than memory. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { InputError } from './errors.ts'

export interface ByteSource {
  /** The file's name, for messages. */
  readonly name: string
  readonly size: number
  /** Fills `target` from `offset`. @throws InputError where the source ends before. */
  read(offset: number, target: Uint8Array): void
  close(): void
}

function checkRange(name: string, size: number, offset: number, bytes: number): void {
  if (offset + bytes <= size) return
  throw new InputError(name, offset, `${bytes} bytes are needed, and the file ends at 0x${size.toString(16)}: it is cut off`)
}

/** Bytes that are in memory already. */
export function bufferSource(name: string, bytes: Uint8Array): ByteSource {
  return {
    name,
    size: bytes.length,
    read(offset, target) {
      checkRange(name, bytes.length, offset, target.length)
      target.set(bytes.subarray(offset, offset + target.length))
    },
    close() {},
  }
}

/** A file of any size; nothing is read before it is asked for. */
export function fileSource(path: string): ByteSource {
  return descriptorSource(path, openForReading(path))
}

/** @throws InputError that says why it cannot be read. */
export function openForReading(path: string): number {
  try {
    return openSync(path, 'r')
  } catch (error) {
    throw new InputError(path, null, systemReason(error))
  }
}

/** An open file of any size, read by position. @param size bytes of it; as the system says when left out. */
export function descriptorSource(name: string, descriptor: number, size = fstatSync(descriptor).size): ByteSource {
  return {
    name,
    size,
    read(offset, target) {
      checkRange(name, size, offset, target.length)
      for (let done = 0; done < target.length; ) {
        const got = readAt(name, descriptor, target, done, offset + done)
        if (got === 0) throw new InputError(name, offset + done, 'the file became shorter while it was read')
        done += got
      }
    },
    close() {
      closeSync(descriptor)
    },
  }
}

function readAt(name: string, descriptor: number, target: Uint8Array, at: number, offset: number): number {
  try {
    return readSync(descriptor, target, at, target.length - at, offset)
  } catch (error) {
    throw new InputError(name, offset, `cannot be read: ${systemReason(error)}`)
  }
}

/** So much is read at once by a cached source, and so many blocks are kept: 4 MiB in all. */
const BLOCK_BYTES = 65536
const BLOCKS = 64

/** For many small reads near each other (headers, descriptors): reads whole blocks and keeps the last few. */
export function cachedSource(source: ByteSource, blockBytes = BLOCK_BYTES, blocks = BLOCKS): ByteSource {
  // Kept in the order of use: a Map iterates in the order of insertion.
  const kept = new Map<number, Uint8Array>()
  const block = (number: number): Uint8Array => {
    let bytes = kept.get(number)
    if (bytes === undefined) {
      bytes = new Uint8Array(Math.min(blockBytes, source.size - number * blockBytes))
      source.read(number * blockBytes, bytes)
      if (kept.size >= blocks) kept.delete(kept.keys().next().value!)
    } else kept.delete(number)
    kept.set(number, bytes)
    return bytes
  }
  return {
    name: source.name,
    size: source.size,
    read(offset, target) {
      checkRange(source.name, source.size, offset, target.length)
      if (target.length >= blockBytes) return source.read(offset, target)
      for (let done = 0; done < target.length; ) {
        const at = offset + done
        const number = Math.floor(at / blockBytes)
        const from = at - number * blockBytes
        const piece = block(number).subarray(from, from + target.length - done)
        target.set(piece, done)
        done += piece.length
      }
    },
    close: () => source.close(),
  }
}

/** The system's reason in words that help. */
export function systemReason(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  if (code === 'ENOENT') return 'no such file or folder'
  if (code === 'EACCES' || code === 'EPERM') return 'not permitted to read it'
  if (code === 'EISDIR') return 'is a folder, a file was expected'
  if (code === 'ENOTDIR') return 'a part of the path is a file, not a folder'
  if (code === 'ENOSPC') return 'there is no room left on the disk'
  return message
}
