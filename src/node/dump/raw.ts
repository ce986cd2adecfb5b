/** A raw image: the bytes of memory in a row, from an address that nothing in the file tells. */
import { hex } from '../../base/hex.ts'
import type { ByteSource } from '../bytes.ts'
import { segmentsOf } from '../elf.ts'
import { InputError } from '../errors.ts'
import { ADDRESS_LIMIT, type Dump } from './contract.ts'

/** @throws InputError when the image reaches beyond the addresses that exist. */
export function openRaw(file: ByteSource, base: number): Dump {
  if (base + file.size > ADDRESS_LIMIT)
    throw new InputError(file.name, null, `${hex(file.size)} bytes from ${hex(base)} on reach beyond address 2^52`)
  const segments = file.size === 0 ? [] : [{ pa: base, bytes: file.size, fileOffset: 0 }]
  return segmentsOf(file, `raw image from ${hex(base)}`, segments)
}
