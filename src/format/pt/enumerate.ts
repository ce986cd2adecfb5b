/** Every leaf of a space, in input order, by the same `classify` that the walker uses. Hostile tables cost at most the budget. */
import type { WordMemory } from '../../base/memory.ts'
import { ALL_RIGHTS } from '../../base/types.ts'
import {
  aligned,
  classify,
  ENTRY_LEAF,
  ENTRY_RESERVED,
  ENTRY_TABLE,
  leafLog2,
  leafRights,
  outputHi,
  outputLo,
  outputOf,
  swap32,
  tableRights,
} from './entry.ts'
import { coverLog2, LEAF_BY_NEXT_LEVEL, type PtSpace, TOP_ONES, TOP_SIGN } from './format.ts'
import { WALK_OK, Walker } from './walker.ts'

/** The leaf that an enumeration is at. The same object each time: copy what must last. */
export interface LeafView {
  /** Input address below 2^inputBits: add `baseOf(space, input)` for the address that a device uses. */
  readonly input: number
  /** Output address, intermediate under a stage 2. */
  readonly output: number
  /** log2 of the bytes that this entry maps. */
  readonly log2: number
  /** What all levels allow. */
  readonly rights: number
  readonly depth: number
  /** Where the entry lies, and its words. */
  readonly pa: number
  readonly hi: number
  readonly lo: number
}

/** Whom an enumeration tells. */
export interface LeafVisitor {
  leaf(at: LeafView): void
  /** A table was entered: where it lies, its depth, and the first input that it covers. */
  table?(pa: number, depth: number, input: number): void
  /** Something that a walk would fault on: a reserved encoding, an address out of range, a table where nothing answers. */
  broken?(input: number, depth: number, pa: number, hi: number, lo: number, why: string): void
}

/** How an enumeration ended. */
export interface EnumerateResult {
  readonly tables: number
  readonly leaves: number
  /** False when the budget ran out: there may be more. */
  readonly complete: boolean
}

/** At most so many tables are read by default: 1 GiB of tables. */
export const DEFAULT_TABLE_BUDGET = 1 << 18

/** What to add to an input below 2^inputBits to get the 64-bit address that a device uses. */
export function baseOf(space: PtSpace, input: number): bigint {
  const ones = (1n << 64n) - (1n << BigInt(space.inputBits))
  if (space.top === TOP_ONES) return ones
  return space.top === TOP_SIGN && input >= 2 ** (space.inputBits - 1) ? ones : 0n
}

/** Visits every leaf of a space. */
export function enumerate(
  memory: WordMemory,
  space: PtSpace,
  visitor: LeafVisitor,
  tableBudget = DEFAULT_TABLE_BUDGET,
): EnumerateResult {
  const walk = new Enumeration(memory, space, visitor, tableBudget)
  if (space.root < space.outputLimit) walk.table(space.root, space.topDepth, 0, ALL_RIGHTS)
  else visitor.broken?.(0, space.topDepth, space.root, 0, 0, 'the root is beyond the output size')
  return { tables: walk.tables, leaves: walk.leaves, complete: walk.complete }
}

/** Places in `Enumeration.#numbers`. Doubles that are passed on in arguments would be allocated one by one. */
const INPUT = 0
const OUTPUT = 1
const PA = 2

class Enumeration implements LeafView {
  tables = 0
  leaves = 0
  complete = true
  log2 = 0
  rights = 0
  depth = 0
  hi = 0
  lo = 0
  readonly #numbers = new Float64Array(3)
  readonly #memory: WordMemory
  readonly #space: PtSpace
  readonly #visitor: LeafVisitor
  #budget: number
  readonly #outer: Walker | null

  constructor(memory: WordMemory, space: PtSpace, visitor: LeafVisitor, budget: number) {
    this.#memory = memory
    this.#space = space
    this.#visitor = visitor
    this.#budget = budget
    this.#outer = space.stage2 === null ? null : new Walker(memory, 2)
  }

  /** Reads one table, a page at a time (a concatenated top table has several). */
  table(table: number, depth: number, input: number, limit: number): void {
    const space = this.#space
    const format = space.format
    if (--this.#budget < 0) {
      this.complete = false
      return
    }
    this.tables++
    this.#visitor.table?.(table, depth, input)
    const shift = coverLog2(format, depth)
    // A context may take fewer input bits than its top level covers (RISC-V tc.SXL over Sv48x4): one entry then.
    const bits = depth === space.topDepth ? Math.max(0, space.inputBits - shift) : format.indexBits
    const step = POWERS[shift]!
    const entries = POWERS[bits]!
    const perPage = 4096 >> format.entryLog2
    for (let first = 0; first < entries; first += perPage) {
      const address = table + (first << format.entryLog2)
      const pa = this.#physical(address)
      const start = pa < 0 ? -1 : this.#memory.index(pa)
      if (start < 0) {
        this.#visitor.broken?.(input + first * step, depth, pa < 0 ? address : pa, 0, 0, 'nothing answers at this table')
        continue
      }
      this.#page(start, Math.min(perPage, entries - first), pa, depth, shift, input + first * step, step, limit)
      if (!this.complete) return
    }
  }

  /** The entries of one page of a table. */
  #page(
    start: number,
    count: number,
    pa: number,
    depth: number,
    shift: number,
    input: number,
    step: number,
    limit: number,
  ): void {
    const space = this.#space
    const format = space.format
    const swapped = space.bigEndian
    const entryLog2 = format.entryLog2
    const whole = entryLog2 === 3
    for (let slot = 0; slot < count; slot++) {
      // Loads of other tables may have moved the storage: read through the memory each time.
      const words = this.#memory.words
      const at = start + (slot << (entryLog2 - 2))
      let lo = words[at]!
      let hi = whole ? words[at + 1]! : 0
      if ((lo | hi) === 0) continue
      if (swapped) {
        const first = lo
        lo = swap32(whole ? hi : first)
        hi = whole ? swap32(first) : 0
      }
      const kind = classify(format, depth, hi, lo)
      if (kind === ENTRY_LEAF) {
        this.#numbers[INPUT] = input + slot * step
        this.#numbers[PA] = pa + (slot << entryLog2)
        this.#leaf(depth, limit, hi, lo, shift)
      } else if (kind === ENTRY_TABLE) this.#child(depth, input + slot * step, limit, pa + (slot << entryLog2), hi, lo)
      else if (kind === ENTRY_RESERVED)
        this.#visitor.broken?.(input + slot * step, depth, pa + (slot << entryLog2), hi, lo, 'reserved encoding')
      if (!this.complete) return
    }
  }

  #child(depth: number, input: number, limit: number, pa: number, hi: number, lo: number): void {
    const space = this.#space
    const format = space.format
    if (outputHi(format, hi, lo) >= space.limitHi) {
      this.#visitor.broken?.(input, depth, pa, hi, lo, 'address beyond the output size')
      return
    }
    const next = format.leafRule === LEAF_BY_NEXT_LEVEL ? ((lo >>> 9) & 7) - 1 : depth - 1
    this.table(outputOf(format, hi, lo), next, input, limit & tableRights(space, hi, lo))
  }

  /** The leaf whose input and place `#numbers` holds. */
  #leaf(depth: number, limit: number, hi: number, lo: number, shift: number): void {
    const space = this.#space
    const format = space.format
    const outHi = outputHi(format, hi, lo)
    const outLo = outputLo(format, lo)
    const log2 = format.large === 0 ? shift : leafLog2(format, depth, hi, lo)
    this.depth = depth
    this.hi = hi
    this.lo = lo
    let why = ''
    if (outHi >= space.limitHi) why = 'address beyond the output size'
    else if (log2 < 0) why = 'reserved size'
    else if (format.misalignedFaults && log2 === shift && !aligned(outHi, outLo, log2)) why = 'output not aligned to its size'
    if (why !== '') {
      this.#visitor.broken?.(this.input, depth, this.pa, hi, lo, why)
      return
    }
    this.leaves++
    this.rights = space.fix[format.settle[leafRights(space, hi, lo) & limit]!]!
    this.log2 = log2
    this.#numbers[OUTPUT] = cut(outHi, outLo, log2)
    if (log2 !== shift) {
      // A leaf larger than its depth is repeated in each entry that it covers: each entry maps its own part.
      this.#numbers[OUTPUT] += this.input % POWERS[log2]!
      this.log2 = Math.min(shift, log2)
    }
    this.#visitor.leaf(this)
  }

  get input(): number {
    return this.#numbers[INPUT]!
  }
  get output(): number {
    return this.#numbers[OUTPUT]!
  }
  get pa(): number {
    return this.#numbers[PA]!
  }

  #physical(address: number): number {
    const outer = this.#outer
    if (outer === null) return address
    const status = outer.walk(this.#space.stage2!, (address / 4294967296) | 0, address | 0, this.#space.fetchNeed, false)
    return status === WALK_OK ? (outer.outHi >>> 0) * 4294967296 + (outer.outLo >>> 0) : -1
  }
}

const POWERS = Float64Array.from({ length: 65 }, (_, log2) => 2 ** log2)

/** hi:lo as a double, without the bits below 2^log2. */
function cut(hi: number, lo: number, log2: number): number {
  return log2 < 32
    ? (hi >>> 0) * 4294967296 + ((lo & (-1 << log2)) >>> 0)
    : ((log2 < 64 ? hi & (-1 << (log2 - 32)) : 0) >>> 0) * 4294967296
}
