/** Files that may be packed with gzip (RFC 1952). */
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { size } from '../base/hex.ts'
import { systemReason } from './bytes.ts'
import { InputError } from './errors.ts'

/** More than this is never unpacked into memory: a file of a few kilobytes can hold gigabytes. */
export const UNPACK_LIMIT = 1 << 30

const unpack = promisify(gunzip)

/**
 * The contents of a file, unpacked when it starts as gzip does.
 * @param limit largest size in bytes that is accepted after unpacking.
 * @throws InputError when it cannot be read, is corrupt or too large.
 */
export async function readUnpacked(path: string, limit = UNPACK_LIMIT): Promise<Uint8Array> {
  let bytes: Uint8Array
  try {
    bytes = await readFile(path)
  } catch (error) {
    throw new InputError(path, null, systemReason(error))
  }
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes
  try {
    return await unpack(bytes, { maxOutputLength: limit })
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'ERR_BUFFER_TOO_LARGE')
      throw new InputError(path, null, `unpacks to more than ${size(limit)}; unpack it with gunzip and give the plain file`)
    throw new InputError(path, null, `is damaged: gzip says '${message}'`)
  }
}
