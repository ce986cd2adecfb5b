/**
 * The walker: from an input address through the tables of a space (and of its stage 2) to an output or a reason. It is the only one:
 * translation, explanation (with an observer) and enumeration (`enumerate.ts`) use the same `classify`. Nothing here allocates.
 */
import type { WordMemory } from '../../base/memory.ts'
import { ALL_RIGHTS, PR, PW, PX, UR, UW, UX } from '../../base/types.ts'
import {
  AD_FAULT,
  AD_IGNORE,
  AD_SET,
  LARGE_AMD,
  LARGE_NAPOT,
  LEAF_BY_MASK,
  LEAF_BY_NEXT_LEVEL,
  LEAF_BY_SIZE_BIT,
  LEAF_BY_TABLE_BIT,
  type PtFormat,
  type PtSpace,
  type RightsField,
  TOP_ONES,
  TOP_ZERO,
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
] as const

/** What an entry is. */
export const ENTRY_ABSENT = 0
export const ENTRY_TABLE = 1
export const ENTRY_LEAF = 2
export const ENTRY_RESERVED = 3

/** Sees each step of a walk. Null on the fast way. */
export interface WalkObserver {
  /**
   * An entry was read. `stage` 1 or 2; `pa` where it lies; `hi`, `lo` its words; `kind` one of ENTRY_…; `status` WALK_OK when the
   * walk goes on (or ends well) here, else why it ended.
   */
  entry(stage: number, space: PtSpace, depth: number, pa: number, hi: number, lo: number, kind: number, status: number): void
}

const WRITE_RIGHTS = UW | PW

function gather(field: RightsField, hi: number, lo: number): number {
  return field.rights[((lo >>> field.loShift) & field.loMask) | (((hi >>> field.hiShift) & field.hiMask) << field.hiPlace)]!
}

/** What kind of entry this is at this depth. */
export function classify(format: PtFormat, depth: number, hi: number, lo: number): number {
  if ((lo & format.present) === 0) return ENTRY_ABSENT
  let leaf: boolean
  switch (format.leafRule) {
    case LEAF_BY_TABLE_BIT:
      if (depth === 0) return (lo & 2) !== 0 ? ENTRY_LEAF : ENTRY_ABSENT
      if ((lo & 2) !== 0) return ENTRY_TABLE
      // Arm: an entry without the table bit where no block may stand is invalid, not reserved.
      return (format.leafDepths >>> depth) & 1 ? ENTRY_LEAF : ENTRY_ABSENT
    case LEAF_BY_MASK:
      leaf = (lo & format.leafMask) !== 0
      break
    case LEAF_BY_SIZE_BIT:
      leaf = depth === 0 || (lo & format.leafMask) !== 0
      break
    case LEAF_BY_NEXT_LEVEL: {
      const next = (lo >>> 9) & 7
      leaf = next === 0 || next === 7
      // The next level is one above our depth number, and must be lower than this entry's.
      if (!leaf && next > depth) return ENTRY_RESERVED
      break
    }
    default:
      return ENTRY_RESERVED
  }
  if (leaf) {
    if (((format.leafDepths >>> depth) & 1) === 0) return ENTRY_RESERVED
    return ((lo & format.reservedLeafLo[depth]!) | (hi & format.reservedLeafHi[depth]!)) !== 0 ? ENTRY_RESERVED : ENTRY_LEAF
  }
  if (depth === 0) return ENTRY_RESERVED
  return ((lo & format.reservedTableLo[depth]!) | (hi & format.reservedTableHi[depth]!)) !== 0 ? ENTRY_RESERVED : ENTRY_TABLE
}

/** The address bits of an entry, not yet cut to a leaf's size. */
export function outputOf(format: PtFormat, hi: number, lo: number): number {
  const low = (lo & format.addressLo) >>> 0
  const extra = format.extraMask === 0 ? 0 : (lo & format.extraMask) * format.extraScale
  return ((hi & format.addressHi) * 4294967296 + low) * format.addressScale + extra
}

/** log2 of what a leaf covers: its depth's size, or what its encoding says. -1 for an illegal encoding. */
export function leafLog2(format: PtFormat, depth: number, hi: number, lo: number): number {
  const natural = format.granuleLog2 + depth * format.indexBits
  if (format.large === LARGE_NAPOT && hi < 0) {
    // Svnapot: only 64 KiB is defined, PPN[3:0] = 1000 (PPN starts at bit 10).
    return depth === 0 && ((lo >>> 10) & 15) === 8 ? 16 : -1
  }
  if (format.large === LARGE_AMD && ((lo >>> 9) & 7) === 7) {
    // AMD I/O virtualization, "page size encoding": the lowest zero bit of the address from bit 12 up, plus one.
    let bit = 12
    while (bit < 32 && (lo >>> bit) & 1) bit++
    if (bit === 32) while (bit < 52 && (hi >>> (bit - 32)) & 1) bit++
    return bit >= 51 ? -1 : bit + 1
  }
  return natural
}

/** What a leaf allows, before limits of tables above it and the context's rules. */
export function leafRights(space: PtSpace, hi: number, lo: number): number {
  const { format } = space
  if (space.dirty === AD_SET && (hi & format.dirtyManagedHi) !== 0) lo = format.dirtySets ? lo | format.dirty : lo & ~format.dirty
  return gather(format.leafRights, hi, lo)
}

/** What a table entry leaves to those below it. */
export function tableRights(space: PtSpace, hi: number, lo: number): number {
  return space.hierarchical ? gather(space.format.tableRights, hi, lo) : ALL_RIGHTS
}

function swap32(value: number): number {
  return (value << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) | (value >>> 24)
}

/** Input bits from `shift` up, `bits` of them (at most 32). */
export function indexBits(hi: number, lo: number, shift: number, bits: number): number {
  const value = shift < 32 ? (lo >>> shift) | (shift === 0 ? 0 : hi << (32 - shift)) : hi >>> (shift - 32)
  return value & (bits >= 32 ? -1 : (1 << bits) - 1)
}

/** Whether the bits of an input above `inputBits` are as the space wants them. */
export function inputInRange(space: PtSpace, hi: number, lo: number): boolean {
  const { inputBits } = space
  if (inputBits >= 64) return true
  // Bits 55:inputBits only, when the top byte is ignored: bit 55 decides.
  const top = space.ignoreTopByte ? (hi << 8) >> 8 : hi
  let above: number
  if (inputBits >= 32) above = inputBits === 32 ? top : top >> (inputBits - 32)
  else above = top !== 0 && top !== -1 ? 1 : (lo >> inputBits) | (top & ~(-1 >>> inputBits))
  if (space.top === TOP_ZERO) return inputBits < 32 ? top === 0 && lo >>> inputBits === 0 : above === 0
  if (space.top === TOP_ONES) return inputBits < 32 ? top === -1 && lo >> inputBits === -1 : above === -1
  // Sign: all bits above equal the highest translated bit.
  const sign = inputBits - 1 < 32 ? (lo >> (inputBits - 1)) & 1 : (hi >> (inputBits - 33)) & 1
  return inputBits < 32
    ? sign
      ? top === -1 && lo >> inputBits === -1
      : top === 0 && lo >>> inputBits === 0
    : above === (sign ? -1 : 0)
}

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
  /** Whether an entry was read: `entry`, `lo` and `hi` say which. */
  readAny = false
  /** Output, valid when the status is WALK_OK (and the intermediate address when stage 2 refused the output). */
  outLo = 0
  outHi = 0
  /** The last entry's words. */
  lo = 0
  hi = 0
  /** Whether a leaf with the contiguous hint ended the walk. */
  contiguous = false
  /** Whether this walk changed an entry (access flag, dirty state). */
  updated = false
  /** Stage 2's walker: state of its last walk. */
  outer: Walker | null = null
  observer: WalkObserver | null = null
  /** [0] where the last entry lies. */
  readonly at = new Float64Array(1)
  readonly memory: WordMemory
  readonly #stage: number

  constructor(memory: WordMemory, stage = 1) {
    this.memory = memory
    this.#stage = stage
  }

  /** Where the last entry lies (physical). */
  get entryAddress(): number {
    return this.at[0]!
  }

  /** The walker of stage 2, made on first use. */
  get stage2(): Walker {
    this.outer ??= new Walker(this.memory, 2)
    this.outer.observer = this.observer
    return this.outer
  }

  /**
   * Translates hi:lo.
   * @param need rights that the access needs (mask; 0 asks what there is, without access).
   * @param update whether hardware may set access and dirty bits (where the space says so).
   * @returns the status, also kept in `status`.
   */
  walk(space: PtSpace, hi: number, lo: number, need: number, update: boolean): number {
    const format = space.format
    let depth = space.topDepth
    this.readAny = false
    this.updated = false
    this.contiguous = false
    this.depth = depth
    if (!inputInRange(space, hi, lo)) return this.#end(WALK_INPUT_RANGE)
    let table = space.root
    if (table >= space.outputLimit) return this.#end(WALK_OUTPUT_SIZE)
    let limit = ALL_RIGHTS
    let shift = format.granuleLog2 + depth * format.indexBits
    let bits = space.inputBits - shift
    const stage2 = space.stage2
    for (;;) {
      let address = table + indexBits(hi, lo, shift, bits) * 8
      this.depth = depth
      if (stage2 !== null) {
        const outer = this.stage2
        if (outer.walk(stage2, (address / 4294967296) | 0, address | 0, UR, update) !== WALK_OK)
          return this.#end(WALK_STAGE2_TABLE)
        address = (outer.outHi >>> 0) * 4294967296 + (outer.outLo >>> 0)
      }
      const index = this.memory.index(address)
      this.at[0] = address
      if (index < 0) return this.#end(WALK_TABLE_ABORT)
      const words = this.memory.words
      let entryLo = words[index]!
      let entryHi = words[index + 1]!
      if (space.bigEndian) {
        const first = entryLo
        entryLo = swap32(entryHi)
        entryHi = swap32(first)
      }
      this.readAny = true
      this.lo = entryLo
      this.hi = entryHi
      const kind = classify(format, depth, entryHi, entryLo)
      if (kind === ENTRY_TABLE) {
        table = outputOf(format, entryHi, entryLo)
        if (table >= space.outputLimit) return this.#see(space, kind, WALK_OUTPUT_SIZE)
        limit &= tableRights(space, entryHi, entryLo)
        if (format.accessedInTables && (entryLo & format.accessed) === 0 && space.accessed !== AD_IGNORE) {
          if (space.accessed === AD_FAULT) return this.#see(space, kind, WALK_ACCESS_FLAG)
          if (update && !this.#store(space, entryHi, entryLo | format.accessed)) return this.#see(space, kind, this.status)
        }
        if (this.observer !== null) this.#see(space, kind, WALK_OK)
        if (format.leafRule === LEAF_BY_NEXT_LEVEL) {
          // A skipped level must have zero input bits (AMD I/O virtualization, "page translation").
          const next = ((entryLo >>> 9) & 7) - 1
          if (next < depth - 1) {
            const skipped = coverShift(format, next + 1)
            if (indexBits(hi, lo, skipped, shift - skipped) !== 0) return this.#see(space, ENTRY_RESERVED, WALK_NOT_PRESENT)
          }
          depth = next
        } else depth--
        bits = format.indexBits
        shift = format.granuleLog2 + depth * bits
        continue
      }
      if (kind === ENTRY_ABSENT) return this.#see(space, kind, WALK_NOT_PRESENT)
      if (kind === ENTRY_RESERVED) return this.#see(space, kind, WALK_RESERVED)
      const log2 = format.large === 0 ? shift : leafLog2(format, depth, entryHi, entryLo)
      if (log2 < 0) return this.#see(space, kind, WALK_RESERVED)
      const output = outputOf(format, entryHi, entryLo)
      if (output >= space.outputLimit) return this.#see(space, kind, WALK_OUTPUT_SIZE)
      if (format.misalignedFaults && log2 === shift && !aligned(output, log2)) return this.#see(space, kind, WALK_RESERVED)
      if (space.accessed === AD_FAULT && (entryLo & format.accessed) === 0) return this.#see(space, kind, WALK_ACCESS_FLAG)
      const rights = space.fix[leafRights(space, entryHi, entryLo) & limit]!
      this.rights = rights
      this.sizeLog2 = log2
      if ((need & ~rights) !== 0) return this.#see(space, kind, WALK_PERMISSION)
      const write = (need & WRITE_RIGHTS) !== 0
      if (space.dirty === AD_FAULT && write && (entryLo & format.dirty) === 0) return this.#see(space, kind, WALK_DIRTY)
      if (space.accessed === AD_SET || space.dirty === AD_SET) {
        if (update) {
          const wanted = this.#withAccess(space, entryHi, entryLo, write)
          if (wanted !== entryLo && !this.#store(space, entryHi, wanted)) return this.#see(space, kind, this.status)
        }
      }
      this.contiguous = (entryHi & format.contiguousHi) !== 0
      if (this.observer !== null) this.#see(space, kind, WALK_OK)
      // Output: the leaf's address above its size, the input below.
      const outHi = (output / 4294967296) | 0
      if (log2 >= 32) {
        const mask = log2 >= 64 ? -1 : (1 << (log2 - 32)) - 1
        this.outLo = lo
        this.outHi = (outHi & ~mask) | (hi & mask)
      } else {
        const mask = (1 << log2) - 1
        this.outLo = ((output | 0) & ~mask) | (lo & mask)
        this.outHi = outHi
      }
      if (stage2 === null) {
        this.status = WALK_OK
        return WALK_OK
      }
      return this.#through(stage2, need, update)
    }
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

  /** Writes the entry back. Under a stage 2, the table's page must be writable there. */
  #store(space: PtSpace, hi: number, lo: number): boolean {
    const address = this.at[0]!
    if (space.stage2 !== null && (this.outer!.rights & UW) === 0) {
      this.outer!.status = WALK_PERMISSION
      this.status = WALK_STAGE2_TABLE
      return false
    }
    const index = this.memory.indexForWrite(address)
    if (index < 0) {
      this.status = WALK_TABLE_ABORT
      return false
    }
    const words = this.memory.words
    words[index] = space.bigEndian ? swap32(hi) : lo
    words[index + 1] = space.bigEndian ? swap32(lo) : hi
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
    this.observer?.entry(this.#stage, space, this.depth, this.at[0]!, this.hi, this.lo, kind, status)
    return status
  }
}

function coverShift(format: PtFormat, depth: number): number {
  return format.granuleLog2 + depth * format.indexBits
}

/** Whether a non-negative integer double is a multiple of 2^log2. */
function aligned(value: number, log2: number): boolean {
  if (log2 >= 32) return (value | 0) === 0 && (((value / 4294967296) | 0) & ((1 << (log2 - 32)) - 1)) === 0
  return ((value | 0) & ((1 << log2) - 1)) === 0
}

/** Rights of one privilege doubled to both, for regimes with a single privilege. */
export function bothPrivileges(rights: number): number {
  return (rights & (UR | UW | UX)) | ((rights & (UR | UW | UX)) << 3) | (rights & (PR | PW | PX))
}
