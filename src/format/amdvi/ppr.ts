/** Entries of the peripheral page request log, 16 bytes each. AMD IOMMU specification (48882), 2.6 "Peripheral Page Request (PPR) Logging". */
import { addr, flag, getBits, layout, oneOf, setBits, uint, type Words } from '../../base/layout.ts'

export const PPR_BYTES = 16

/** PPRCode: the only one there is. 0: software has cleared the entry. */
export const PPR_PAGE_SERVICE_REQUEST = 1

/** Bits as masks of the second word, which holds the flags from bit 48 on. */
export const PPR1_EXEC = 1 << 17
export const PPR1_READ = 1 << 18
export const PPR1_WRITE = 1 << 21
export const PPR1_US = 1 << 22
export const PPR1_GN = 1 << 24

export const PPR_ENTRY = layout('PAGE_SERVICE_REQUEST', 128, {
  DeviceID: uint(15, 0, 'device'),
  'PASID[15:0]': uint(31, 16, 'PASID, where GN is 1'),
  PPRTag: uint(41, 32, 'bits 8:0: page request group index; bit 9: last of its group'),
  'PASID[19:16]': uint(45, 42, 'PASID'),
  EX: flag(49, 'execute requested'),
  RD: flag(50, 'read requested'),
  WR: flag(53, 'write requested'),
  US: flag(54, 'user'),
  RZ: flag(55, 'a reserved bit of the request was not zero'),
  GN: flag(56, 'guest or nested: PASID is valid'),
  PPRCode: oneOf(63, 60, { 1: 'PAGE_SERVICE_REQUEST' }, 'kind of entry'),
  Address: addr(127, 76, 'page', 12),
})

/** The PASID of an entry, gathered from its two fields. */
export function pprPasid(words: Words, at = 0): number {
  return (getBits(words, 45, 42, at) << 16) | (words[at]! >>> 16)
}

/** Spreads a PASID over the two fields of an entry. */
export function setPprPasid(words: Words, pasid: number, at = 0): void {
  setBits(words, 31, 16, pasid, at)
  setBits(words, 45, 42, pasid >>> 16, at)
}
