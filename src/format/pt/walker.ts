/**
 * The walker: from an input address through the tables of a space (and of its stage 2) to an output or a reason. It is the only one:
 * translation, explanation (with an observer) and enumeration (`enumerate.ts`) use the same `classify`. Nothing here allocates.
 */
import { indexForWrite4, NO_ANSWER, POISONED, type WordMemory } from '../../base/memory.ts'
import { ALL_RIGHTS, PW, UR, UW } from '../../base/types.ts'
import { toDouble } from '../../base/u64.ts'
import {
  aligned,
  classify,
  ENTRY_ABSENT,
  ENTRY_LEAF,
  ENTRY_RESERVED,
  ENTRY_TABLE,
  indexBits,
  inputInRange,
  leafLog2,
  leafRights,
  onSide,
  outputHi,
  outputLo,
  swap32,
  tableRights,
} from './entry.ts'
import {
  AD_FAULT,
  AD_IGNORE,
  AD_SET,
  LEAF_BY_NEXT_LEVEL,
  NEED_DIRTY_ALONG,
  NEED_IF_ALLOWED,
  NEED_INTERMEDIATE,
  type PtSpace,
} from './format.ts'

/** How a walk ended. */
export const WALK_OK = 0
/** The entry is not present. */
export const WALK_NOT_PRESENT = 1
/** The input is outside the range that the space translates. */
export const WALK_INPUT_RANGE = 2
/** A table or leaf address is beyond the output size. */
export const WALK_OUTPUT_SIZE = 3
/** The access flag is clear and hardware does not set it. */
export const WALK_ACCESS_FLAG = 4
/** The tables do not allow this access. */
export const WALK_PERMISSION = 5
/** Nothing answers at the entry's address. */
export const WALK_TABLE_ABORT = 6
/** Reserved bits are set, or the encoding is not legal. */
export const WALK_RESERVED = 7
/** Stage 2 refused the fetch of a stage 1 entry: see `outer`. */
export const WALK_STAGE2_TABLE = 8
/** Stage 2 refused the output of stage 1: see `outer`. */
export const WALK_STAGE2_OUTPUT = 9
/** The dirty bit is clear, a write needs it, and hardware does not set it. */
export const WALK_DIRTY = 10
/** The entry's data is corrupt. */
export const WALK_POISONED = 11

export const WALK_NAMES = [
  'ok',
  'entry not present',
  'input out of range',
  'address beyond the output size',
  'access flag clear',
  'access not permitted',
  'nothing answers at the entry',
  'reserved encoding',
  'stage 2 refused the table fetch',
  'stage 2 refused the output',
  'dirty bit clear',
  'corrupt data at the entry',
] as const

/** Sees each step of a walk. Null on the fast way. */
export interface WalkObserver {
  /**
   * An entry was read. `stage` 1 or 2; `pa` where it lies; `hi`, `lo` its words; `kind` one of ENTRY_…; `status` WALK_OK when the
   * walk goes on (or ends well) here, else why it ended.
   */
  entry(stage: number, space: PtSpace, depth: number, pa: number, hi: number, lo: number, kind: number, status: number): void
}

const WRITE_RIGHTS = UW | PW

/** State of the last walk. Reused: copy what must last. */
export class Walker {
  /** How the walk ended, WALK_…. */
  status = WALK_OK
  /** Depth of the last entry read; the top depth when none was. */
  depth = 0
  /** log2 of what the leaf (of both stages) covers. */
  sizeLog2 = 0
  /** What the tables (of both stages) allow. */
  rights = 0
  /** Whether an entry was read: `entryAddress`, `lo` and `hi` say which. */
  readAny = false
  /** Output, valid when the status is WALK_OK (and the intermediate address when stage 2 refused the output). */
  outLo = 0
  outHi = 0
  /** The last entry's words, and where it lies (physical). */
  lo = 0
  hi = 0
  addressLo = 0
  addressHi = 0
  /** Under a stage 2: the intermediate address of the last stage 1 entry. */
  ipaLo = 0
  ipaHi = 0
  /** Whether stage 2 refused to let hardware update a stage 1 entry (not to fetch it). */
  updateRefused = false
  /** Whether a leaf with the contiguous hint ended the walk. */
  contiguous = false
  /** Whether this walk changed an entry (access flag, dirty state). */
  updated = false
  /** Low words of the table entries on the way, or'ed. */
  tablesLo = 0
  /** Reads and updates of stage 2 entries for fetches of this stage's entries. Counts on: the caller clears it. */
  fetchReads = 0
  /** Updates of entries are checked but not done: for explanations. */
  rehearse = false
  /** Stage 2's walker: state of its last walk. */
  outer: Walker | null = null
  observer: WalkObserver | null = null
  readonly memory: WordMemory
  readonly #stage: number

  constructor(memory: WordMemory, stage = 1) {
    this.memory = memory
    this.#stage = stage
  }

  /** Where the last entry lies (physical). */
  get entryAddress(): number {
    return toDouble(this.addressHi, this.addressLo)
  }

  /** The walker of stage 2, made on first use. */
  get stage2(): Walker {
    this.outer ??= new Walker(this.memory, 2)
    this.outer.observer = this.observer
    this.outer.rehearse = this.rehearse
    return this.outer
  }

  /**
   * Translates hi:lo.
   * @param need rights that the access needs (mask; 0 asks what there is, without access), and NEED_… bits.
   * @param update whether hardware may set access and dirty bits (where the space says so).
   * @returns the status, also kept in `status`.
   */
  walk(space: PtSpace, hi: number, lo: number, need: number, update: boolean): number {
    const format = space.format
    const stage2 = space.stage2
    const limitHi = space.limitHi
    let depth = space.topDepth
    this.readAny = false
    this.updated = false
    this.depth = depth
    if (!inputInRange(space, hi, lo)) return this.#end(WALK_INPUT_RANGE)
    let tableHi = space.rootHi
    let tableLo = space.rootLo
    if (tableHi >= limitHi) return this.#end(WALK_OUTPUT_SIZE)
    let limit = ALL_RIGHTS
    let tablesLo = 0
    const bits = format.indexBits
    const entryLog2 = format.entryLog2
    // What the loop needs of the format, once: fields cost more than locals.
    const { physicalHi, bigEndian, tableMaskHi, tableMaskLo, tableFreeHi, tableFreeLo } = space
    const { addressHi: maskHi, addressLo: maskLo } = format
    const plain = format.addressShift === 0 && format.extraMask === 0
    const skips = format.leafRule === LEAF_BY_NEXT_LEVEL
    const watched = this.observer !== null
    // Access bits that a table entry lacks are seen to; those that are set cost nothing.
    const wanted = format.accessedInTables && space.accessed !== AD_IGNORE ? format.accessed : 0
    const { memory } = this
    let shift = (format.granuleLog2 + Math.imul(depth, bits)) | 0
    let slot = indexBits(hi, lo, shift, (space.inputBits - shift) | 0)
    // The input below the top level, moved up: the next index is always on top.
    let restHi = shift <= 32 ? (shift === 0 ? 0 : lo << (32 - shift)) : (hi << (64 - shift)) | (lo >>> (shift - 32))
    let restLo = shift <= 32 ? 0 : lo << (64 - shift)
    for (;;) {
      let addressLo = (tableLo + (slot << entryLog2)) | 0
      let addressHi = addressLo >>> 0 < tableLo >>> 0 ? (tableHi + 1) | 0 : tableHi
      if (stage2 !== null) {
        if (!this.#tableThrough(stage2, space.fetchNeed, depth, addressHi, addressLo, update)) return this.status
        addressHi = this.addressHi
        addressLo = this.addressLo
      }
      const index = addressHi >= physicalHi ? NO_ANSWER : memory.indexAt(addressHi, addressLo, 1 << entryLog2)
      if (index < 0) return this.#abort(depth, addressHi, addressLo, index)
      const words = memory.words
      let entryLo = words[index]!
      let entryHi = entryLog2 === 3 ? words[index + 1]! : 0
      if (bigEndian) {
        const first = entryLo
        entryLo = swap32(entryLog2 === 3 ? entryHi : first)
        entryHi = entryLog2 === 3 ? swap32(first) : 0
      }
      const kind = classify(format, depth, entryHi, entryLo)
      if (kind !== ENTRY_TABLE) {
        this.depth = depth
        this.addressHi = addressHi
        this.addressLo = addressLo
        this.hi = entryHi
        this.lo = entryLo
        this.readAny = true
        this.tablesLo = tablesLo
        if (kind !== ENTRY_LEAF) return this.#see(space, kind, kind === ENTRY_ABSENT ? WALK_NOT_PRESENT : WALK_RESERVED)
        return this.#leaf(space, shift, limit, hi, lo, need, update)
      }
      tableHi = plain ? entryHi & maskHi : outputHi(format, entryHi, entryLo)
      tableLo = plain ? entryLo & maskLo : outputLo(format, entryLo)
      tablesLo |= entryLo
      if ((entryHi & tableMaskHi) !== tableFreeHi || (entryLo & tableMaskLo) !== tableFreeLo)
        limit &= tableRights(space, entryHi, entryLo)
      if (watched || tableHi >= limitHi || (entryLo & wanted) !== wanted) {
        if (this.#table(space, depth, addressHi, addressLo, entryHi, entryLo, update) !== WALK_OK) return this.status
      }
      if (skips) {
        // A skipped level must have zero input bits (AMD 48882, 2.2.3 "page translation").
        const level = (entryLo >>> 9) & 7
        for (const from = depth; depth > level; depth--) {
          if (restHi >>> (32 - bits) !== 0) {
            this.#at(from, addressHi, addressLo, entryHi, entryLo)
            return this.#see(space, ENTRY_RESERVED, WALK_NOT_PRESENT)
          }
          restHi = (restHi << bits) | (restLo >>> (32 - bits))
          restLo <<= bits
          shift = (shift - bits) | 0
        }
      }
      depth--
      shift = (shift - bits) | 0
      slot = restHi >>> (32 - bits)
      restHi = (restHi << bits) | (restLo >>> (32 - bits))
      restLo <<= bits
    }
  }

  /** The end of a walk at a leaf, which `#at` describes. */
  #leaf(space: PtSpace, shift: number, limit: number, hi: number, lo: number, need: number, update: boolean): number {
    const format = space.format
    const entryHi = this.hi
    const entryLo = this.lo
    const outHi = outputHi(format, entryHi, entryLo)
    const outLo = outputLo(format, entryLo)
    if (outHi >= space.limitHi) return this.#see(space, ENTRY_LEAF, WALK_OUTPUT_SIZE)
    const log2 = format.large === 0 ? shift : leafLog2(format, this.depth, entryHi, entryLo)
    if (log2 < 0) return this.#see(space, ENTRY_LEAF, WALK_RESERVED)
    if (format.misalignedFaults && log2 === shift && !aligned(outHi, outLo, log2))
      return this.#see(space, ENTRY_LEAF, WALK_RESERVED)
    if (space.accessed === AD_FAULT && (entryLo & format.accessed) !== format.accessed)
      return this.#see(space, ENTRY_LEAF, WALK_ACCESS_FLAG)
    const rights = space.fix[format.settle[leafRights(space, entryHi, entryLo) & limit]!]!
    this.rights = rights
    this.sizeLog2 = log2
    if ((need & ALL_RIGHTS & ~rights) !== 0 || (need > ALL_RIGHTS && !onSide(format, entryLo, need)))
      return this.#see(space, ENTRY_LEAF, WALK_PERMISSION)
    if (space.accessed === AD_SET || space.dirty !== AD_IGNORE) {
      if (this.#accessLeaf(space, need, update) !== WALK_OK) return this.#see(space, ENTRY_LEAF, this.status)
    }
    this.contiguous = (entryHi & format.contiguousHi) !== 0
    if (this.observer !== null) this.#see(space, ENTRY_LEAF, WALK_OK)
    // Output: the leaf's address above its size, the input below.
    if (log2 >= 32) {
      const mask = log2 >= 64 ? -1 : (1 << (log2 - 32)) - 1
      this.outLo = lo
      this.outHi = (outHi & ~mask) | (hi & mask)
    } else {
      const mask = (1 << log2) - 1
      this.outLo = (outLo & ~mask) | (lo & mask)
      this.outHi = outHi
    }
    if (space.stage2 !== null && (need & NEED_INTERMEDIATE) === 0) return this.#through(space.stage2, need, update)
    this.status = WALK_OK
    return WALK_OK
  }

  /** Access and dirty state of the leaf. */
  #accessLeaf(space: PtSpace, need: number, update: boolean): number {
    const write = ((need | ((need >>> NEED_IF_ALLOWED) & this.rights)) & WRITE_RIGHTS) !== 0
    if (space.dirty === AD_FAULT && write && (this.lo & space.format.dirty) === 0) return this.#end(WALK_DIRTY)
    if (!update || (space.accessed !== AD_SET && space.dirty !== AD_SET)) return WALK_OK
    const along =
      (need & NEED_DIRTY_ALONG) !== 0 &&
      (this.lo & space.format.accessed) !== space.format.accessed &&
      (this.rights & WRITE_RIGHTS) !== 0
    const wanted = this.#withAccess(space, this.hi, this.lo, write || along)
    return wanted === this.lo || this.#store(space, this.hi, wanted) ? WALK_OK : this.status
  }

  /** Stage 2 for the address of a stage 1 entry, which it leaves in addressHi:addressLo. */
  #tableThrough(stage2: PtSpace, need: number, depth: number, hi: number, lo: number, update: boolean): boolean {
    const outer = this.stage2
    this.depth = depth
    this.ipaHi = hi
    this.ipaLo = lo
    const status = outer.walk(stage2, hi, lo, need, update)
    this.fetchReads += readsOf(stage2, outer)
    if (status !== WALK_OK) {
      this.updateRefused = false
      this.status = WALK_STAGE2_TABLE
      return false
    }
    this.addressHi = outer.outHi
    this.addressLo = outer.outLo
    return true
  }

  #abort(depth: number, addressHi: number, addressLo: number, index: number): number {
    this.depth = depth
    this.addressHi = addressHi
    this.addressLo = addressLo
    return this.#end(index === POISONED ? WALK_POISONED : WALK_TABLE_ABORT)
  }

  /** What a table entry needs besides being followed: its address in range, its access bit, the observer. */
  #table(space: PtSpace, depth: number, addressHi: number, addressLo: number, hi: number, lo: number, update: boolean): number {
    this.#at(depth, addressHi, addressLo, hi, lo)
    if (outputHi(space.format, hi, lo) >= space.limitHi) return this.#see(space, ENTRY_TABLE, WALK_OUTPUT_SIZE)
    return this.#see(space, ENTRY_TABLE, this.#accessTable(space, update))
  }

  /** Remembers the entry that was read last. */
  #at(depth: number, addressHi: number, addressLo: number, hi: number, lo: number): void {
    this.depth = depth
    this.addressHi = addressHi
    this.addressLo = addressLo
    this.hi = hi
    this.lo = lo
    this.readAny = true
  }

  /** Access bits of table entries, for the formats that have them. */
  #accessTable(space: PtSpace, update: boolean): number {
    const { format } = space
    if (!format.accessedInTables || (this.lo & format.accessed) === format.accessed || space.accessed === AD_IGNORE)
      return WALK_OK
    if (space.accessed === AD_FAULT) return WALK_ACCESS_FLAG
    return update && !this.#store(space, this.hi, this.lo | format.accessed) ? this.status : WALK_OK
  }

  /** Stage 2 for the output of stage 1: rights and size become those of both. */
  #through(stage2: PtSpace, need: number, update: boolean): number {
    const outer = this.stage2
    if (outer.walk(stage2, this.outHi, this.outLo, need, update) !== WALK_OK) return this.#end(WALK_STAGE2_OUTPUT)
    this.outLo = outer.outLo
    this.outHi = outer.outHi
    this.rights &= outer.rights
    if (outer.sizeLog2 < this.sizeLog2) this.sizeLog2 = outer.sizeLog2
    this.status = WALK_OK
    return WALK_OK
  }

  #withAccess(space: PtSpace, hi: number, lo: number, write: boolean): number {
    const { format } = space
    let wanted = lo
    if (space.accessed === AD_SET) wanted |= format.accessed
    if (write && space.dirty === AD_SET) {
      if (format.dirtyManagedHi === 0) wanted |= format.dirty
      else if ((hi & format.dirtyManagedHi) !== 0) wanted = format.dirtySets ? wanted | format.dirty : wanted & ~format.dirty
    }
    return wanted
  }

  /** Writes the entry back. Under a stage 2, that is a write to the table's page: it must be writable there, and becomes dirty. */
  #store(space: PtSpace, hi: number, lo: number): boolean {
    if (space.stage2 !== null && this.outer!.walk(space.stage2, this.ipaHi, this.ipaLo, UR | UW, true) !== WALK_OK) {
      this.updateRefused = true
      this.status = WALK_STAGE2_TABLE
      return false
    }
    const whole = space.format.entryLog2 === 3
    const index = whole
      ? this.memory.indexForWrite(this.entryAddress, 8)
      : indexForWrite4(this.memory, this.addressHi, this.addressLo)
    if (index < 0) {
      this.status = WALK_TABLE_ABORT
      return false
    }
    if (this.rehearse) return true
    const words = this.memory.words
    words[index] = space.bigEndian ? swap32(whole ? hi : lo) : lo
    if (whole) words[index + 1] = space.bigEndian ? swap32(lo) : hi
    this.lo = lo
    this.updated = true
    return true
  }

  #end(status: number): number {
    this.status = status
    return status
  }

  #see(space: PtSpace, kind: number, status: number): number {
    this.status = status
    this.observer?.entry(this.#stage, space, this.depth, this.entryAddress, this.hi, this.lo, kind, status)
    return status
  }
}

/** Entries that the walker's last walk through this space read, and updates of entries, counted together. */
export function readsOf(space: PtSpace, walker: Walker): number {
  if (walker.status === WALK_INPUT_RANGE) return 0
  const last = walker.status === WALK_STAGE2_TABLE && !walker.updateRefused ? 0 : 1
  return space.topDepth - walker.depth + last + (walker.updated ? 1 : 0)
}
