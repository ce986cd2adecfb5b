/** The device table, and the GCR3 tables of domains. AMD IOMMU specification (48882), 2.2.2, 2.2.6.3. */
import { encode } from '../../base/layout.ts'
import type { PageAllocator, WordMemory } from '../../base/memory.ts'
import { IommError } from '../../core/error.ts'
import { DTE_BYTES } from '../../format/amdvi/dte.ts'
import { GCR3_BYTES, GCR3_POINTER, gcr3Bits } from '../../format/amdvi/gcr3.ts'
import { RadixTable } from '../common/radix-table.ts'
import { blockSize, storeWords } from '../common/words.ts'

/** DeviceIDs have 16 bits: bus, device, function. */
const DEVICE_LIMIT = 0x10000

export class DeviceTable {
  readonly base: number
  readonly bytes: number

  /**
   * A table that blocks every device: of entries with V = 0 everything would pass.
   * @param largest DeviceID.
   */
  constructor(memory: WordMemory, pages: PageAllocator, largest: number, blocked: Uint32Array) {
    if (largest >= DEVICE_LIMIT || largest < 0)
      throw new IommError(
        'BadArgument',
        `device 0x${largest.toString(16)} is not a DeviceID: bus, device and function have 16 bits, and a segment has IOMMUs of its own`,
      )
    this.bytes = blockSize((largest + 1) * DTE_BYTES)
    this.base = pages.allocate(this.bytes)
    for (let at = 0; at < this.bytes; at += DTE_BYTES) storeWords(memory, this.base + at, blocked)
  }

  entry(device: number): number {
    if (device < 0 || (device + 1) * DTE_BYTES > this.bytes)
      throw new IommError(
        'BadArgument',
        `device 0x${device.toString(16)} is beyond the device table, which ends with 0x${(this.bytes / DTE_BYTES - 1).toString(16)}; tell the driver the largestDevice`,
      )
    return this.base + device * DTE_BYTES
  }
}

/** Bits of a PASID that index each level, from the top one down; PASIDs have 20. */
const LEVELS = [[9], [9, 9], [2, 9, 9]] as const

/** A domain's GCR3 table. */
export class Gcr3Table extends RadixTable {
  /** DTE.GLX: levels, less one. */
  readonly glx: 0 | 1 | 2

  constructor(memory: WordMemory, pages: PageAllocator, glx: 0 | 1 | 2) {
    super(memory, pages, {
      bits: LEVELS[glx],
      entryBytes: GCR3_BYTES,
      pointer: (table) => encode(GCR3_POINTER, { V: 1, NextTable: BigInt(table) }),
    })
    this.glx = glx
  }
}

/** The GLX of a table for PASIDs of so many bits. */
export function glxFor(bits: number): 0 | 1 | 2 {
  return bits <= gcr3Bits(0) ? 0 : bits <= gcr3Bits(1) ? 1 : 2
}
