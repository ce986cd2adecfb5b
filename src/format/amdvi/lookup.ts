/**
 * From a DeviceID to its device table entry, from a PASID to its GCR3 entry, and from an interrupt to its remapping entry. AMD IOMMU
 * specification (48882), 2.2.2 "Device Table", 2.2.6.3 "GCR3 Tables", 2.2.5 "Interrupt Remapping Tables". Nothing here allocates but
 * `deviceTable`; results are in a `TableWalk`.
 */
import { POISONED, type WordMemory } from '../../base/memory.ts'
import { doubleHi, doubleLo, hi32, lo32, toDouble } from '../../base/u64.ts'
import type { PtSpace } from '../pt/format.ts'
import { WALK_OK, type Walker } from '../pt/walker.ts'
import { checkDte } from './check.ts'
import { DTE_BYTES, DTE_WORDS, DTE0_V, dteGlx, gcr3Root, interruptEntries, interruptRoot } from './dte.ts'
import type { AmdFeatures } from './features.ts'
import { GCR3_BYTES, GCR3_V, gcr3Address, gcr3Bits } from './gcr3.ts'
import { baseAddress, REG } from './registers.ts'

/** How a look-up ended. */
export const FOUND = 0
/** The id (DeviceID, PASID, interrupt) is outside the table. */
export const BEYOND_TABLE = 1
/** Nothing answers at the entry's address; or what answers says that its data is corrupt. */
export const UNREADABLE = 2
export const CORRUPT = 3
/** The entry is illegal: `rule` says why. */
export const ILLEGAL = 4
/** The GCR3 entry is not valid (V = 0). */
export const NOT_VALID = 5
/** The host table refuses the address of a GCR3 entry: `guest` has it, and the walker how. */
export const HOST_REFUSED = 6

/** What reading a GCR3 entry needs of the host table: a read. */
export const GCR3_NEED = 1

/** A device table: segment by segment. */
export interface DeviceTable {
  /** Where each segment lies, and its bytes. */
  readonly base: Float64Array
  readonly bytes: Float64Array
  /** DeviceID bits that index a segment. */
  readonly indexBits: number
}

/** The device table that registers describe; they are asked for by offset. */
export function deviceTable(features: AmdFeatures, register: (offset: number) => bigint): DeviceTable {
  const count = 1 << features.segmentsLog2
  const base = new Float64Array(count)
  const bytes = new Float64Array(count)
  for (let segment = 0; segment < count; segment++) {
    const value = register(segment === 0 ? REG.DEV_TAB_BASE : REG.DEV_TAB_SEG1 + 8 * (segment - 1))
    base[segment] = baseAddress(hi32(value), lo32(value))
    // Segments have a bit less of size than the whole table.
    bytes[segment] = ((lo32(value) & (segment === 0 ? 0x1ff : 0xff)) + 1) * 4096
  }
  return { base, bytes, indexBits: 16 - features.segmentsLog2 }
}

/** Entries that the table can hold, over all segments: DeviceIDs above it have none. */
export function deviceTableEntries({ base, bytes, indexBits }: DeviceTable): number {
  const last = base.length - 1
  return last * 2 ** indexBits + Math.min(2 ** indexBits, bytes[last]! / DTE_BYTES)
}

/** Where the entry of a DeviceID lies; -1 when it is outside the table. */
export function dteAddress({ base, bytes, indexBits }: DeviceTable, device: number): number {
  const segment = device >>> indexBits
  if (segment >= base.length) return -1
  const offset = (device & ((1 << indexBits) - 1)) * DTE_BYTES
  return offset + DTE_BYTES <= bytes[segment]! ? base[segment]! + offset : -1
}

/** Sees each entry of a GCR3 table that is read. Null on the fast way. */
export interface TableObserver {
  /** `level` counts down to 1, the lowest. The words are in `walk.entry`; `status` FOUND, or why nothing was read. */
  gcr3(level: number, pa: number, status: number): void
}

/** How tables were walked. Reused: copy what must last. */
export class TableWalk {
  observer: TableObserver | null = null
  /** The device table entry. */
  readonly dte = new Int32Array(DTE_WORDS)
  /** The interrupt remapping entry, 1 or 4 words. */
  readonly irte = new Int32Array(4)
  /** Where the last entry that was looked for lies (physical), and its low and high word (GCR3). */
  readonly address = new Float64Array(1)
  readonly entry = new Int32Array(2)
  /** Level of the last GCR3 entry: 1 is the lowest. */
  level = 0
  /** GCR3 entries read. */
  reads = 0
  /** Guest physical address of the GCR3 entry that the host table refused. */
  readonly guest = new Float64Array(1)
  /** Which rule an illegal entry breaks: an index of DTE_RULES. */
  rule = 0
}

/** Finds a device table entry and checks its bits 127:1. A V = 0 entry is found, and says nothing. */
export function findDte(memory: WordMemory, features: AmdFeatures, table: DeviceTable, device: number, walk: TableWalk): number {
  walk.rule = 0
  const pa = dteAddress(table, device)
  walk.address[0] = pa
  if (pa < 0) return BEYOND_TABLE
  const index = memory.index(pa, DTE_BYTES)
  if (index < 0) return index === POISONED ? CORRUPT : UNREADABLE
  const { words } = memory
  for (let word = 0; word < DTE_WORDS; word++) walk.dte[word] = words[index + word]!
  if ((walk.dte[0]! & DTE0_V) === 0) return FOUND
  walk.rule = checkDte(walk.dte, 0, features)
  return walk.rule === 0 ? FOUND : ILLEGAL
}

/** Width of the PASIDs that the GCR3 table of a device table entry takes, on this IOMMU. */
export function pasidBits(features: AmdFeatures, dte: Int32Array, at = 0): number {
  return Math.min(features.pasidBits, gcr3Bits(dteGlx(dte, at)))
}

/**
 * Finds a GCR3 entry. With FOUND its words are in `walk.entry`.
 * @param dte words of the device table entry, its first at `at`; legal, and GV counts.
 * @param host the host tables, null where DTE.Mode is 0; `walker` walks them. Addresses in entries are then guest physical; that of the
 *   table itself only with CONTROL.GCR3TRPMode.
 * @param update whether hardware may set A in host entries.
 */
export function findGcr3(
  memory: WordMemory,
  features: AmdFeatures,
  dte: Int32Array,
  at: number,
  host: PtSpace | null,
  walker: Walker,
  pasid: number,
  update: boolean,
  walk: TableWalk,
): number {
  walk.reads = 0
  walk.level = dteGlx(dte, at) + 1
  walk.address[0] = -1
  if (pasid >>> pasidBits(features, dte, at) !== 0) return BEYOND_TABLE
  let table = gcr3Root(dte, at)
  let guest = host !== null && features.gcr3RootGuest
  for (; ; walk.level--) {
    const { level } = walk
    let pa = table + ((pasid >>> (9 * (level - 1))) & 511) * GCR3_BYTES
    if (guest) {
      if (walker.walk(host!, doubleHi(pa), doubleLo(pa), GCR3_NEED, update) !== WALK_OK) {
        walk.guest[0] = pa
        walk.observer?.gcr3(level, pa, HOST_REFUSED)
        return HOST_REFUSED
      }
      pa = toDouble(walker.outHi, walker.outLo)
    }
    walk.address[0] = pa
    const index = memory.index(pa, GCR3_BYTES)
    if (index < 0) {
      const status = index === POISONED ? CORRUPT : UNREADABLE
      walk.observer?.gcr3(level, pa, status)
      return status
    }
    walk.reads++
    const low = memory.words[index]!
    const high = memory.words[index + 1]!
    walk.entry[0] = low
    walk.entry[1] = high
    const status = (low & GCR3_V) === 0 ? NOT_VALID : FOUND
    walk.observer?.gcr3(level, pa, status)
    if (status !== FOUND || level === 1) return status
    table = gcr3Address(high, low)
    guest = host !== null
  }
}

/**
 * Finds an interrupt remapping entry: with FOUND it is in `walk.irte`, one word or four.
 * @param dte words of the device table entry; IV is 1, and its interrupt fields are legal.
 * @param index the number of the interrupt: the low bits of the message's data.
 */
export function findIrte(
  memory: WordMemory,
  features: AmdFeatures,
  dte: Int32Array,
  at: number,
  index: number,
  walk: TableWalk,
): number {
  walk.address[0] = -1
  if (index >= interruptEntries(dte, at)) return BEYOND_TABLE
  const bytes = features.irteBytes
  const pa = interruptRoot(dte, at) + index * bytes
  walk.address[0] = pa
  // The table is aligned to 64 bytes only: entries never cross a page, the table may.
  const place = memory.index(pa, bytes)
  if (place < 0) return place === POISONED ? CORRUPT : UNREADABLE
  for (let word = 0; word < 4; word++) walk.irte[word] = word < bytes / 4 ? memory.words[place + word]! : 0
  return FOUND
}
