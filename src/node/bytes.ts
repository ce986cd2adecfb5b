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
  let descriptor: number
  try {
    descriptor = openSync(path, 'r')
  } catch (error) {
    throw new InputError(path, null, systemReason(error))
  }
  const { size } = fstatSync(descriptor)
  return {
    name: path,
    size,
    read(offset, target) {
      checkRange(path, size, offset, target.length)
      for (let done = 0; done < target.length; ) {
        const got = readSync(descriptor, target, done, target.length - done, offset + done)
        if (got === 0) throw new InputError(path, offset + done, 'the file became shorter while it was read')
        done += got
      }
    },
    close() {
      closeSync(descriptor)
    },
  }
}

/** The system's reason in words that help. */
export function systemReason(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  if (code === 'ENOENT') return 'no such file or folder'
  if (code === 'EACCES') return 'not permitted to read it'
  if (code === 'EISDIR') return 'is a folder, a file was expected'
  if (code === 'ENOTDIR') return 'a part of the path is a file, not a folder'
  return message
}
