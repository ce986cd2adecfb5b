/**
 * From a source-id to its context entry, and from a PASID to its entry of a PASID table. Intel VT-d 4.1, section 3.4 "DMA Remapping",
 * section 6.2 (what is read), section 7.1.3 (what is reported). Nothing here allocates; results are in a `TableWalk`.
 */
import { NO_ANSWER, type WordMemory } from '../../base/memory.ts'
import { toDouble } from '../../base/u64.ts'
import { checkContext, checkPasid, checkPasidDir, checkRoot, checkSmContext, checkSmRoot, RULE_RESERVED } from './check.ts'
import {
  CONTEXT_ENTRY_BYTES,
  CONTEXT_FPD,
  CONTEXT_P,
  CONTEXT_WORDS,
  pasidLimit,
  SM_CONTEXT_ENTRY_BYTES,
  SM_CONTEXT_RID_PASID,
  SM_CONTEXT_WORDS,
} from './contexts.ts'
import {
  FR_CONTEXT_ACCESS,
  FR_CONTEXT_INVALID,
  FR_CONTEXT_NOT_PRESENT,
  FR_CONTEXT_RESERVED,
  FR_PASID_ACCESS,
  FR_PASID_DIR_ACCESS,
  FR_PASID_DIR_NOT_PRESENT,
  FR_PASID_DIR_RESERVED,
  FR_PASID_INVALID,
  FR_PASID_NOT_PRESENT,
  FR_PASID_RESERVED,
  FR_ROOT_ACCESS,
  FR_ROOT_NOT_PRESENT,
  FR_ROOT_RESERVED,
  FR_SM_CONTEXT_ACCESS,
  FR_SM_CONTEXT_INVALID,
  FR_SM_CONTEXT_NOT_PRESENT,
  FR_SM_CONTEXT_RESERVED,
  FR_SM_PASID_TOO_LARGE,
  FR_SM_ROOT_ACCESS,
  FR_SM_ROOT_NOT_PRESENT,
  FR_SM_ROOT_RESERVED,
} from './faults.ts'
import type { VtdFeatures } from './features.ts'
import { PASID_DIR_ENTRY_BYTES, PASID_ENTRY_BYTES, PASID_FPD, PASID_P, PASID_WORDS } from './pasid.ts'
import { ROOT_ENTRY_BYTES, ROOT_P } from './root.ts'

/** What is read, in order. Their addresses and words are in the walk. */
export type TableStep = 'root' | 'context' | 'directory' | 'pasid'

/** Sees each entry that is read. Null on the fast way. */
export interface TableObserver {
  /** `status` 0 when the words are in the walk, NO_ANSWER or POISONED when nothing was read. `fault`: the reason, 0 when it is good. */
  entry(step: TableStep, pa: number, status: number, fault: number): void
}

/** How tables were walked. Reused: copy what must last. */
export class TableWalk {
  observer: TableObserver | null = null
  /** Words of the root entry: in scalable mode those of the half that counts, then zeros. */
  readonly root = new Int32Array(4)
  /** Words of the context entry; zeros above one of legacy mode. */
  readonly context = new Int32Array(SM_CONTEXT_WORDS)
  readonly directory = new Int32Array(2)
  /** Words of the PASID table entry. */
  readonly pasid = new Int32Array(PASID_WORDS)
  /** Where they lie: root, context, PASID directory and PASID table entry. */
  readonly address = new Float64Array(4)
  /** Entries read (or tried) so far, counted from the root entry on. */
  reads = 0
  /** Which rule an entry breaks, an index of ENTRY_RULES; 0 when none. */
  rule = 0
  /** FPD is 1 in an entry on the way: qualified faults are not recorded. It counts in entries that are not present, too. */
  quiet = false
}

const ROOT = 0
const CONTEXT = 1
const DIRECTORY = 2
const PASID = 3

/** Reads an entry into `into`. @returns 0, NO_ANSWER or POISONED. */
function read(
  memory: WordMemory,
  features: VtdFeatures,
  walk: TableWalk,
  step: number,
  pa: number,
  into: Int32Array,
  count: number,
): number {
  walk.address[step] = pa
  walk.reads = step + 1
  const index = pa >= features.hostLimit ? NO_ANSWER : memory.index(pa, count * 4)
  if (index < 0) return index
  const { words } = memory
  for (let word = 0; word < count; word++) into[word] = words[index + word]!
  return 0
}

/** The fault of a present entry that breaks a rule; 0 when it breaks none. */
function broken(walk: TableWalk, rule: number, reserved: number, invalid = reserved): number {
  walk.rule = rule
  return rule === 0 ? 0 : rule === RULE_RESERVED ? reserved : invalid
}

/** The page that a pointer at bits 63:12 names. */
function pageOf(high: number, low: number): number {
  return toDouble(high, low & ~0xfff)
}

/**
 * Finds a context entry of legacy mode.
 * @param root physical address of the root table.
 * @param source source-id; what is above 16 bits (the segment) does not count.
 * @returns 0 when found, else the fault reason.
 */
export function findContext(memory: WordMemory, features: VtdFeatures, root: number, source: number, walk: TableWalk): number {
  walk.quiet = false
  walk.rule = 0
  // The bus picks the root entry.
  const rootAt = root + ((source >>> 8) & 0xff) * ROOT_ENTRY_BYTES
  let status = read(memory, features, walk, ROOT, rootAt, walk.root, 4)
  let fault = 0
  if (status !== 0) fault = FR_ROOT_ACCESS
  else if ((walk.root[0]! & ROOT_P) === 0) fault = FR_ROOT_NOT_PRESENT
  else fault = broken(walk, checkRoot(walk.root, 0, features), FR_ROOT_RESERVED)
  walk.observer?.entry('root', rootAt, status, fault)
  if (fault !== 0) return fault
  // Device and function pick the context entry.
  const at = pageOf(walk.root[1]!, walk.root[0]!) + (source & 0xff) * CONTEXT_ENTRY_BYTES
  status = read(memory, features, walk, CONTEXT, at, walk.context, CONTEXT_WORDS)
  walk.context.fill(0, CONTEXT_WORDS)
  if (status !== 0) fault = FR_CONTEXT_ACCESS
  else {
    walk.quiet = (walk.context[0]! & CONTEXT_FPD) !== 0
    if ((walk.context[0]! & CONTEXT_P) === 0) fault = FR_CONTEXT_NOT_PRESENT
    else fault = broken(walk, checkContext(walk.context, 0, features), FR_CONTEXT_RESERVED, FR_CONTEXT_INVALID)
  }
  walk.observer?.entry('context', at, status, fault)
  return fault
}

/**
 * Finds a context entry of scalable mode.
 * @returns 0 when found, else the fault reason.
 */
export function findSmContext(memory: WordMemory, features: VtdFeatures, root: number, source: number, walk: TableWalk): number {
  walk.quiet = false
  walk.rule = 0
  // The bus picks the root entry; bit 7 of the source-id (device 16 and up) its half.
  const half = root + ((source >>> 8) & 0xff) * ROOT_ENTRY_BYTES + ((source >>> 7) & 1) * 8
  let status = read(memory, features, walk, ROOT, half, walk.root, 2)
  walk.root.fill(0, 2)
  let fault = 0
  if (status !== 0) fault = FR_SM_ROOT_ACCESS
  else if ((walk.root[0]! & ROOT_P) === 0) fault = FR_SM_ROOT_NOT_PRESENT
  else fault = broken(walk, checkSmRoot(walk.root, 0, features), FR_SM_ROOT_RESERVED)
  walk.observer?.entry('root', half, status, fault)
  if (fault !== 0) return fault
  const at = pageOf(walk.root[1]!, walk.root[0]!) + (source & 0x7f) * SM_CONTEXT_ENTRY_BYTES
  status = read(memory, features, walk, CONTEXT, at, walk.context, SM_CONTEXT_WORDS)
  if (status !== 0) fault = FR_SM_CONTEXT_ACCESS
  else {
    walk.quiet = (walk.context[0]! & CONTEXT_FPD) !== 0
    if ((walk.context[0]! & CONTEXT_P) === 0) fault = FR_SM_CONTEXT_NOT_PRESENT
    else fault = broken(walk, checkSmContext(walk.context, 0, features), FR_SM_CONTEXT_RESERVED, FR_SM_CONTEXT_INVALID)
  }
  walk.observer?.entry('context', at, status, fault)
  return fault
}

/** Size of the PASID directory of a scalable-mode context entry: PASIDs are below this. */
export function pasidsOf(context: Int32Array, at = 0): number {
  return pasidLimit((context[at]! >>> 9) & 7)
}

/** PASID of requests without PASID. */
export function ridPasidOf(context: Int32Array, features: VtdFeatures, at = 0): number {
  return features.ridPasid ? context[at + 2]! & SM_CONTEXT_RID_PASID : 0
}

/**
 * Finds an entry of a PASID table.
 * @param context words of the scalable-mode context entry, its first at `contextAt`. `walk.quiet` is left as it is, but for FPD of what is read.
 * @returns 0 when found, else the fault reason.
 */
export function findPasid(
  memory: WordMemory,
  features: VtdFeatures,
  context: Int32Array,
  contextAt: number,
  pasid: number,
  walk: TableWalk,
): number {
  walk.rule = 0
  walk.reads = DIRECTORY
  if (pasid >= pasidsOf(context, contextAt)) return FR_SM_PASID_TOO_LARGE
  // Bits 19:6 of the PASID pick the entry of the directory.
  const dirAt = pageOf(context[contextAt + 1]!, context[contextAt]!) + (pasid >>> 6) * PASID_DIR_ENTRY_BYTES
  let status = read(memory, features, walk, DIRECTORY, dirAt, walk.directory, 2)
  let fault = 0
  if (status !== 0) fault = FR_PASID_DIR_ACCESS
  else {
    if ((walk.directory[0]! & PASID_FPD) !== 0) walk.quiet = true
    if ((walk.directory[0]! & PASID_P) === 0) fault = FR_PASID_DIR_NOT_PRESENT
    else fault = broken(walk, checkPasidDir(walk.directory, 0, features), FR_PASID_DIR_RESERVED)
  }
  walk.observer?.entry('directory', dirAt, status, fault)
  if (fault !== 0) return fault
  // Bits 5:0 pick the entry of the table.
  const at = pageOf(walk.directory[1]!, walk.directory[0]!) + (pasid & 63) * PASID_ENTRY_BYTES
  status = read(memory, features, walk, PASID, at, walk.pasid, PASID_WORDS)
  if (status !== 0) fault = FR_PASID_ACCESS
  else {
    if ((walk.pasid[0]! & PASID_FPD) !== 0) walk.quiet = true
    if ((walk.pasid[0]! & PASID_P) === 0) fault = FR_PASID_NOT_PRESENT
    else fault = broken(walk, checkPasid(walk.pasid, 0, features), FR_PASID_RESERVED, FR_PASID_INVALID)
  }
  walk.observer?.entry('pasid', at, status, fault)
  return fault
}
