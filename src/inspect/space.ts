/** One address space read out: its leaves as ranges that map alike, with what a walk would fault on. Cost is bounded by a budget. */
import { hex } from '../base/hex.ts'
import type { WordMemory } from '../base/memory.ts'
import { u64 } from '../base/u64.ts'
import { leafLog2 } from '../format/pt/entry.ts'
import { baseOf, enumerate, type LeafView, type LeafVisitor } from '../format/pt/enumerate.ts'
import { LARGE_NONE, levelOf, type PtSpace, TOP_SIGN } from '../format/pt/format.ts'
import type { RangeView } from './graph.ts'

/** What reading a machine may cost. Shared by all its spaces; hostile tables end it early, and the graph says so. */
export interface Budget {
  /** Page-table pages still to be read. */
  tables: number
  /** Ranges still to be kept. */
  ranges: number
  /** Entries of device and PASID tables still to be looked at. */
  entries: number
  /** Entries of PASID tables still to be listed. */
  listed: number
}

/** 1 GiB of page tables, 262,144 ranges, 4 million descriptors, 16,384 of them in use: more than any machine that was seen, and seconds of work. */
export function defaultBudget(): Budget {
  return { tables: 1 << 18, ranges: 1 << 18, entries: 1 << 22, listed: 1 << 14 }
}

/** No single space takes more than this part of what is left, so that one bad table does not hide the others. */
const SHARE = 2
/** So many broken entries of a space are described; the others are counted. */
const DESCRIBED = 3
/** So often one space may come to a table that it has read before. Real ones hardly do; hostile ones do nothing else. */
const REPEATS = 4096

export interface SpaceReading {
  readonly ranges: readonly RangeView[]
  readonly leafCount: number
  readonly tableCount: number
  readonly mappedBytes: bigint
  readonly complete: boolean
  /** What a walk would fault on, the first few in words. */
  readonly broken: readonly string[]
  readonly brokenCount: number
  /** Tables where nothing answers: the dump does not hold them. */
  readonly missing: readonly string[]
  readonly missingCount: number
  /** Tables of the kernel in the upper half of a process, where nothing answers: a dump of user memory. Not in the counts above. */
  readonly missingAbove: number
}

/** Ends an enumeration: a visitor has no other way to say that it has seen enough. */
class Enough extends Error {}

/** Collects leaves into ranges. */
class Collector implements LeafVisitor {
  readonly ranges: RangeView[] = []
  readonly brokenTexts: string[] = []
  readonly missing: string[] = []
  brokenCount = 0
  missingCount = 0
  missingAbove = 0
  leafCount = 0
  tableCount = 0
  mapped = 0
  readonly #space: PtSpace
  readonly #limit: number
  readonly #kernel: boolean
  /** With sign extension the two halves lie far apart, although their inputs follow each other. */
  readonly #seam: number
  /** The range that grows: from `start` to `end`, which is equal when there is none. */
  #start = 0
  #end = 0
  #output = 0
  #rights = 0
  #leaves = new Map<number, number>()
  /** Leaves in a row of one size, not yet in `#leaves`. */
  #alike = 0
  #log2 = 0
  /** The last leaf that stands in several entries: where it begins. It counts once. */
  #spread = -1
  readonly #seen = new Set<number>()
  #repeats = 0

  /** @param kernel the upper half is a kernel's, and tables of it may be missing. */
  constructor(space: PtSpace, limit: number, kernel: boolean) {
    this.#space = space
    this.#kernel = kernel && space.top === TOP_SIGN
    this.#limit = limit
    this.#seam = space.top === TOP_SIGN ? 2 ** (space.inputBits - 1) : -1
  }

  table(pa: number): void {
    this.tableCount++
    if (!this.#seen.has(pa)) this.#seen.add(pa)
    else if (this.#repeats++ >= REPEATS) throw new Enough()
  }

  leaf(at: LeafView): void {
    const { input, output, log2, rights } = at
    const { format } = this.#space
    const bytes = 2 ** log2
    const follows = this.#end === input && this.#output + (input - this.#start) === output && input !== this.#seam
    if (!follows || this.#rights !== rights || this.#end === this.#start) {
      this.close()
      if (this.ranges.length >= this.#limit) throw new Enough()
      this.#start = input
      this.#output = output
      this.#rights = rights
      this.#leaves = new Map()
    }
    this.mapped += bytes
    this.#end = input + bytes
    const whole = format.large === LARGE_NONE ? log2 : leafLog2(format, at.depth, at.hi, at.lo)
    if (whole > log2) {
      const begins = Math.floor(input / 2 ** whole) * 2 ** whole
      if (begins === this.#spread && input !== this.#start) return
      this.#spread = begins
    }
    this.leafCount++
    if (whole !== this.#log2) {
      this.#countAlike()
      this.#log2 = whole
    }
    this.#alike++
  }

  #countAlike(): void {
    if (this.#alike > 0) this.#leaves.set(this.#log2, (this.#leaves.get(this.#log2) ?? 0) + this.#alike)
    this.#alike = 0
  }

  broken(input: number, depth: number, pa: number, hi: number, lo: number, why: string): void {
    const absent = why.startsWith('nothing answers')
    if (absent && this.#kernel && input >= this.#seam) {
      this.missingAbove++
      return
    }
    if (absent ? this.missingCount++ >= DESCRIBED : this.brokenCount++ >= DESCRIBED) return
    const address = hex(baseOf(this.#space, input) + BigInt(input))
    const level = levelOf(this.#space.format, depth)
    if (absent) this.missing.push(`the level ${level} table at ${hex(pa)}, for addresses from ${address}`)
    else this.brokenTexts.push(`level ${level} entry at ${hex(pa)} for ${address} is ${hex(u64(hi, lo))}: ${why}`)
  }

  /** Keeps the range that grew. */
  close(): void {
    if (this.#end === this.#start) return
    this.#countAlike()
    const base = baseOf(this.#space, this.#start)
    this.ranges.push({
      start: base + BigInt(this.#start),
      end: base + BigInt(this.#end),
      output: BigInt(this.#output),
      rights: this.#rights,
      leaves: this.#leaves,
    })
    this.#end = this.#start
  }
}

/**
 * Reads a space. What it cost is taken from the budget.
 * @param kernel the space is a process: a dump may leave out the tables of the kernel in its upper half.
 */
export function readSpace(memory: WordMemory, space: PtSpace, budget: Budget, kernel = false): SpaceReading {
  const found = new Collector(space, Math.ceil(budget.ranges / SHARE), kernel)
  let complete = false
  try {
    complete = enumerate(memory, space, found, Math.ceil(budget.tables / SHARE)).complete
  } catch (error) {
    if (!(error instanceof Enough)) throw error
  }
  found.close()
  budget.tables -= found.tableCount
  budget.ranges -= found.ranges.length
  const { ranges, leafCount, brokenCount, missing, missingCount, missingAbove } = found
  return {
    ranges,
    leafCount,
    tableCount: found.tableCount - missingCount - missingAbove,
    mappedBytes: BigInt(found.mapped),
    complete,
    broken: found.brokenTexts,
    brokenCount,
    missing,
    missingCount,
    missingAbove,
  }
}
