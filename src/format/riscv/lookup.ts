/**
 * From a device_id to its device context, and from a process_id to its process context. RISC-V IOMMU 1.0, "Process to locate the
 * Device-context", "Process to locate the Process-context". Nothing here allocates; results are in a `DirectoryWalk`.
 */

import { uncovered } from '../../base/layout.ts'
import { NO_ANSWER, POISONED, type WordMemory } from '../../base/memory.ts'
import { toDouble } from '../../base/u64.ts'
import { swap32 } from '../pt/entry.ts'
import type { PtSpace } from '../pt/format.ts'
import { readsOf, WALK_OK, WALK_POISONED, WALK_TABLE_ABORT, type Walker } from '../pt/walker.ts'
import { checkDc, checkPc } from './check.ts'
import { DIRECTORY_NEED } from './context.ts'
import {
  DC_FSC,
  DC_TC,
  DC_WORDS,
  DDTE,
  modeOf,
  PC_TA,
  PC_V,
  PC_WORDS,
  PDTP_PD8,
  PDTP_PD17,
  ppnAddress,
  ppnAddressAt10,
  TC_SBE,
  TC_V,
} from './contexts.ts'
import { leafIndexBits, type RiscvFeatures } from './features.ts'
import {
  CAUSE_DDT_CORRUPT,
  CAUSE_DDT_INVALID,
  CAUSE_DDT_LOAD,
  CAUSE_DDT_MISCONFIGURED,
  CAUSE_PDT_CORRUPT,
  CAUSE_PDT_INVALID,
  CAUSE_PDT_LOAD,
  CAUSE_PDT_MISCONFIGURED,
} from './records.ts'

/** `findPc`: the second stage refused the address of an entry: a guest page fault of the original access. */
export const GUEST_PAGE_FAULT = -1

/** DDTE and PDTE have the same reserved bits. */
const ENTRY_ZERO = uncovered(DDTE)
const ENTRY_V = 1

/** Sees each entry of a directory that is read. Null on the fast way. */
export interface DirectoryObserver {
  /** `words` of them are in `walk.entry` (non-leaf) or `walk.words` (a context); `status` 0, or why nothing was read. */
  entry(structure: 'DDTE' | 'DC' | 'PDTE' | 'PC', pa: number, status: number): void
}

/** How a directory was walked. Reused: copy what must last. */
export class DirectoryWalk {
  observer: DirectoryObserver | null = null
  /** The context, doublewords in the machine's order; above a base-format device context there are zeros. */
  readonly words = new Int32Array(DC_WORDS)
  /** Entries read, non-leaf ones and the context. */
  reads = 0
  /** Reads of second-stage entries on the way. */
  stage2Reads = 0
  /** Where each entry lies (physical), from the root on; the last one may not have answered. */
  readonly address = new Float64Array(3)
  /** Low and high word of each non-leaf entry. */
  readonly entry = new Int32Array(6)
  /** Guest physical address of the entry that the second stage refused. */
  readonly guest = new Float64Array(1)
  /** Which rule a misconfigured context breaks, an index of CONTEXT_RULES; 0 when it is none, or a non-leaf entry. */
  rule = 0
}

/** Whether a device_id has bits that a directory of so many levels does not use. */
export function deviceTooWide(features: RiscvFeatures, levels: number, device: number): boolean {
  // Three levels take all 24 bits; the top index is a bit or two narrower than the others.
  return device >>> (levels === 3 ? 24 : leafIndexBits(features) + 9 * (levels - 1)) !== 0
}

/** Reads a non-leaf entry. @returns 0, NO_ANSWER or POISONED. */
function readEntry(memory: WordMemory, limit: number, bigEndian: boolean, walk: DirectoryWalk, pa: number): number {
  const at = walk.reads++
  walk.address[at] = pa
  const index = pa >= limit ? NO_ANSWER : memory.index(pa, 8)
  if (index < 0) return index
  const low = memory.words[index]!
  const high = memory.words[index + 1]!
  walk.entry[at * 2] = bigEndian ? swap32(high) : low
  walk.entry[at * 2 + 1] = bigEndian ? swap32(low) : high
  return 0
}

/** Reads a context of so many 32-bit words. @returns 0, NO_ANSWER or POISONED. */
function readContext(
  memory: WordMemory,
  limit: number,
  bigEndian: boolean,
  walk: DirectoryWalk,
  pa: number,
  count: number,
): number {
  walk.address[walk.reads++] = pa
  const index = pa >= limit ? NO_ANSWER : memory.index(pa, count * 4)
  if (index < 0) return index
  const words = memory.words
  for (let word = 0; word < count; word += 2) {
    const low = words[index + word]!
    const high = words[index + word + 1]!
    walk.words[word] = bigEndian ? swap32(high) : low
    walk.words[word + 1] = bigEndian ? swap32(low) : high
  }
  return 0
}

/**
 * Finds a device context.
 * @param root physical address of the directory's root.
 * @param levels 1 to 3. The device_id is not wider than that (`deviceTooWide`).
 * @returns 0 when found, else the cause of the fault.
 */
export function findDc(
  memory: WordMemory,
  features: RiscvFeatures,
  root: number,
  levels: number,
  device: number,
  walk: DirectoryWalk,
): number {
  const leafBits = leafIndexBits(features)
  walk.reads = 0
  walk.rule = 0
  // step 1: let a be ddtp.PPN x 2^12, and i = LEVELS - 1
  let a = root
  // step 2: if i == 0 go to step 8
  for (let i = levels - 1; i > 0; i--) {
    // step 3, 4: ddte is the eight bytes at a + DDI[i] x 8; access violation: 257, corrupt data: 268
    const ddi = (device >>> (leafBits + 9 * (i - 1))) & 511
    const status = readEntry(memory, features.addressLimit, features.be, walk, a + ddi * 8)
    walk.observer?.entry('DDTE', a + ddi * 8, status)
    if (status !== 0) return status === POISONED ? CAUSE_DDT_CORRUPT : CAUSE_DDT_LOAD
    const at = walk.reads * 2 - 2
    const low = walk.entry[at]!
    const high = walk.entry[at + 1]!
    // step 5: if ddte.V == 0, "DDT entry not valid" (258)
    if ((low & ENTRY_V) === 0) return CAUSE_DDT_INVALID
    // step 6: if reserved bits are set, "DDT entry misconfigured" (259)
    if (((low & ENTRY_ZERO[0]!) | (high & ENTRY_ZERO[1]!)) !== 0) return CAUSE_DDT_MISCONFIGURED
    // step 7: let i = i - 1 and a = ddte.PPN x 2^12
    a = ppnAddressAt10(high, low)
  }
  // step 8: DC is the DC_SIZE bytes at a + DDI[0] * DC_SIZE; access violation: 257, corrupt data: 268
  const count = features.extended ? 16 : 8
  const pa = a + (device & ((1 << leafBits) - 1)) * count * 4
  const status = readContext(memory, features.addressLimit, features.be, walk, pa, count)
  if (!features.extended) walk.words.fill(0, 8)
  walk.observer?.entry('DC', pa, status)
  if (status !== 0) return status === POISONED ? CAUSE_DDT_CORRUPT : CAUSE_DDT_LOAD
  // step 9: if DC.tc.V == 0, 258
  if ((walk.words[DC_TC]! & TC_V) === 0) return CAUSE_DDT_INVALID
  // step 10: if the DC is misconfigured, 259
  walk.rule = checkDc(walk.words, 0, features)
  // step 11: the device-context has been located
  return walk.rule === 0 ? 0 : CAUSE_DDT_MISCONFIGURED
}

/** Levels of a process directory by pdtp.MODE (PD8, PD17, PD20). */
export function pdtLevels(mode: number): number {
  return mode === PDTP_PD8 ? 1 : mode === PDTP_PD17 ? 2 : 3
}

/** Width of the process_ids that a pdtp.MODE takes. */
export function pdtBits(mode: number): number {
  return mode === PDTP_PD8 ? 8 : mode === PDTP_PD17 ? 17 : 20
}

/**
 * Finds a process context.
 * @param dc words of the device context, its first at `at`; tc.PDTV is 1 and pdtp.MODE not Bare.
 * @param stage2 the second stage, null when Bare; `walker` walks it.
 * @param update whether hardware may set A in second-stage entries.
 * @returns 0 when found, the cause of the fault, or GUEST_PAGE_FAULT (`walk.guest` says where).
 */
export function findPc(
  memory: WordMemory,
  features: RiscvFeatures,
  dc: Int32Array,
  at: number,
  stage2: PtSpace | null,
  walker: Walker,
  process: number,
  update: boolean,
  walk: DirectoryWalk,
): number {
  const high = dc[at + DC_FSC + 1]!
  const tc = dc[at + DC_TC]!
  const bigEndian = (tc & TC_SBE) !== 0
  walk.reads = 0
  walk.stage2Reads = 0
  walk.rule = 0
  // step 1: let a be pdtp.PPN x 2^12, and i = LEVELS - 1
  let a = ppnAddress(high, dc[at + DC_FSC]!)
  for (let i = pdtLevels(modeOf(high)) - 1; ; i--) {
    // step 2: a = a + PDI[i] x 8, or a + PDI[0] x 16
    a += i === 0 ? (process & 255) * 16 : ((process >>> (9 * i - 1)) & 511) * 8
    // step 3: if iohgatp.mode is not Bare, a is a GPA: translate it as an implicit read
    if (stage2 !== null) {
      const status = walker.walk(stage2, (a / 4294967296) | 0, a | 0, DIRECTORY_NEED, update)
      walk.stage2Reads += readsOf(stage2, walker)
      if (status !== WALK_OK) {
        walk.guest[0] = a
        if (status === WALK_TABLE_ABORT) return CAUSE_PDT_LOAD
        return status === WALK_POISONED ? CAUSE_PDT_CORRUPT : GUEST_PAGE_FAULT
      }
      a = toDouble(walker.outHi, walker.outLo)
    }
    // step 4: if i == 0 go to step 10
    if (i === 0) break
    // step 5, 6: pdte is the eight bytes at a; access violation: 265, corrupt data: 269
    const status = readEntry(memory, features.addressLimit, bigEndian, walk, a)
    walk.observer?.entry('PDTE', a, status)
    if (status !== 0) return status === POISONED ? CAUSE_PDT_CORRUPT : CAUSE_PDT_LOAD
    const entry = walk.reads * 2 - 2
    const entryLow = walk.entry[entry]!
    const entryHigh = walk.entry[entry + 1]!
    // step 7: if pdte.V == 0, "PDT entry not valid" (266)
    if ((entryLow & ENTRY_V) === 0) return CAUSE_PDT_INVALID
    // step 8: if reserved bits are set, "PDT entry misconfigured" (267)
    if (((entryLow & ENTRY_ZERO[0]!) | (entryHigh & ENTRY_ZERO[1]!)) !== 0) return CAUSE_PDT_MISCONFIGURED
    // step 9: let i = i - 1 and a = pdte.PPN x 2^12
    a = ppnAddressAt10(entryHigh, entryLow)
  }
  // step 10: PC is the 16 bytes at a; access violation: 265, corrupt data: 269
  const status = readContext(memory, features.addressLimit, bigEndian, walk, a, PC_WORDS)
  walk.observer?.entry('PC', a, status)
  if (status !== 0) return status === POISONED ? CAUSE_PDT_CORRUPT : CAUSE_PDT_LOAD
  // step 11: if PC.ta.V == 0, 266
  if ((walk.words[PC_TA]! & PC_V) === 0) return CAUSE_PDT_INVALID
  // step 12: if the PC is misconfigured, 267
  walk.rule = checkPc(walk.words, 0, tc, features)
  // step 13: the process-context has been located
  return walk.rule === 0 ? 0 : CAUSE_PDT_MISCONFIGURED
}
