/**
 * Addresses that are not memory. AMD IOMMU specification (48882), 2.1.2 "Address Ranges": 0xFEE00000 to 0xFEEFFFFF is the interrupt range;
 * 0xFD_00000000 to 0xFF_FFFFFFFF is HyperTransport's (unless EXT_FEATURE2.HTRangeIgnore): interrupts, system management messages, port I/O
 * and configuration have their places there, and DTE fields say what becomes of them.
 */
import { getNumber } from '../../base/layout.ts'
import { WAY_ABORT } from '../../format/amdvi/context.ts'
import { DTE, IOCTL_ABORT, IOCTL_FORWARD, SYSMGT_FORWARD_WRITES, SYSMGT_TRANSLATE } from '../../format/amdvi/dte.ts'
import {
  REQUEST_INTERRUPT_RESERVED,
  REQUEST_PORT_IO,
  REQUEST_READ_IN_INTERRUPT_RANGE,
  REQUEST_SYSMGT_READ,
  REQUEST_SYSMGT_TRANSLATE,
  REQUEST_SYSMGT_WRITE,
} from '../../format/amdvi/events.ts'
import type { Device } from './config.ts'

/** What an address is. */
export const MEMORY = 0
/** An interrupt message. */
export const INTERRUPT = 1
export const SYSTEM_MANAGEMENT = 2
export const PORT_IO = 3
/** Interrupts that are reserved, configuration space, and what has no use. */
export const RESERVED = 4

const INTERRUPT_LO = 0xfee00000 | 0
const HT_FIRST_HI = 0xfd
const HT_LAST_HI = 0xff

/** What the address hi:lo is. @param ht whether HyperTransport's range counts. */
export function kindOf(hi: number, lo: number, ht: boolean): number {
  if (hi === 0) return lo >>> 20 === 0xfee ? INTERRUPT : MEMORY
  if (!ht || hi < HT_FIRST_HI || hi > HT_LAST_HI) return MEMORY
  if (hi !== HT_FIRST_HI) return RESERVED
  if (lo >>> 24 === 0xf8) return INTERRUPT
  if (lo >>> 20 === 0xf91) return SYSTEM_MANAGEMENT
  return lo >>> 24 === 0xfc || lo >>> 24 === 0xfd ? PORT_IO : RESERVED
}

/**
 * log2 of the largest block around hi:lo, at most 2^log2 bytes, that has no special address; hi:lo is none. A block has both of two
 * addresses when it is as large as the highest bit in which they differ.
 */
export function withoutSpecial(hi: number, lo: number, log2: number, ht: boolean): number {
  let size = Math.min(log2, hi !== 0 ? 63 - Math.clz32(hi) : 31 - Math.clz32(lo ^ INTERRUPT_LO))
  if (ht) for (let other = HT_FIRST_HI; other <= HT_LAST_HI; other++) size = Math.min(size, 63 - Math.clz32(hi ^ other))
  return size
}

/** What becomes of a request to a special address. */
export const PASS = -1
export const TRANSLATE = -2

/**
 * PASS, TRANSLATE, or the INVALID_DEVICE_REQUEST.Type of a request that may not go there.
 * @param device whose V is 1.
 */
export function fate(kind: number, device: Device, write: boolean): number {
  switch (kind) {
    case INTERRUPT:
      return write ? PASS : REQUEST_READ_IN_INTERRUPT_RANGE
    case SYSTEM_MANAGEMENT:
      return systemManagement(device, write)
    case PORT_IO: {
      const control = getNumber(device.words, DTE.fields.IoCtl)
      if (control === IOCTL_ABORT) return REQUEST_PORT_IO
      return control === IOCTL_FORWARD ? PASS : TRANSLATE
    }
    default:
      return write ? REQUEST_INTERRUPT_RESERVED : REQUEST_READ_IN_INTERRUPT_RANGE
  }
}

function systemManagement(device: Device, write: boolean): number {
  switch (getNumber(device.words, DTE.fields.SysMgt)) {
    case SYSMGT_FORWARD_WRITES:
      return write ? PASS : REQUEST_SYSMGT_READ
    case SYSMGT_TRANSLATE:
      return device.way === WAY_ABORT ? REQUEST_SYSMGT_TRANSLATE : TRANSLATE
    default:
      // Where only INTx messages are let through (2), transactions are not.
      return write ? REQUEST_SYSMGT_WRITE : REQUEST_SYSMGT_READ
  }
}
