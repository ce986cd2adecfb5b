/** One address space read out: its leaves as ranges that map alike, with what a walk would fault on. Cost is bounded by a budget. */
import { hex } from '../base/hex.ts'
import type { WordMemory } from '../base/memory.ts'
import { baseOf, enumerate } from '../format/pt/enumerate.ts'
import { levelOf, type PtSpace, TOP_SIGN } from '../format/pt/format.ts'
import type { RangeView } from './graph.ts'

/** What reading a machine may cost. Shared by all its spaces; hostile tables end it early, and the graph says so. */
export interface Budget {
  /** Page-table pages still to be read. */
  tables: number
  /** Ranges still to be kept. */
  ranges: number
  /** Entries of device and PASID tables still to be looked at. */
  entries: number
}

/** 1 GiB of page tables, 262,144 ranges, 16 million descriptors: more than any machine that was seen, and seconds of work. */
export function defaultBudget(): Budget {
  return { tables: 1 << 18, ranges: 1 << 18, entries: 1 << 24 }
}

/** No single space takes more than this part of what is left, so that one bad table does not hide the others. */
const SHARE = 2
/** So many broken entries of a space are described; the others are counted. */
const DESCRIBED = 3

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
}

interface OpenRange {
  start: number
  end: number
  output: number
  rights: number
  leaves: Map<number, number>
}

/** Reads a space. What it cost is taken from the budget. */
export function readSpace(memory: WordMemory, space: PtSpace, budget: Budget): SpaceReading {
  const ranges: RangeView[] = []
  const rangeLimit = Math.ceil(budget.ranges / SHARE)
  const broken: string[] = []
  const missing: string[] = []
  let brokenCount = 0
  let missingCount = 0
  let mapped = 0
  let kept = true
  let open: OpenRange | null = null
  // With sign extension the two halves lie far apart, although their inputs follow each other.
  const seam = space.top === TOP_SIGN ? 2 ** (space.inputBits - 1) : -1
  const close = () => {
    if (open === null) return
    if (ranges.length < rangeLimit) ranges.push(rangeView(space, open))
    else kept = false
    open = null
  }
  const result = enumerate(
    memory,
    space,
    {
      leaf(input, output, log2, rights) {
        const bytes = 2 ** log2
        mapped += bytes
        const follows = open !== null && open.end === input && input !== seam
        if (open !== null && follows && open.output + (input - open.start) === output && open.rights === rights) {
          open.end = input + bytes
          open.leaves.set(log2, (open.leaves.get(log2) ?? 0) + 1)
          return
        }
        close()
        open = { start: input, end: input + bytes, output, rights, leaves: new Map([[log2, 1]]) }
      },
      broken(input, depth, pa, hi, lo, why) {
        const absent = why.startsWith('nothing answers')
        if (absent ? missingCount++ < DESCRIBED : brokenCount++ < DESCRIBED) {
          const address = hex(baseOf(space, input) + BigInt(input))
          const level = levelOf(space.format, depth)
          if (absent) missing.push(`the level ${level} table at ${hex(pa)}, for addresses from ${address}`)
          else {
            const raw = (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)
            broken.push(`level ${level} entry at ${hex(pa)} for ${address} is ${hex(raw)}: ${why}`)
          }
        }
      },
    },
    Math.ceil(budget.tables / SHARE),
  )
  close()
  budget.tables -= result.tables
  budget.ranges -= ranges.length
  return {
    ranges,
    leafCount: result.leaves,
    tableCount: result.tables - missingCount,
    mappedBytes: BigInt(mapped),
    complete: result.complete && kept,
    broken,
    brokenCount,
    missing,
    missingCount,
  }
}

function rangeView(space: PtSpace, range: OpenRange): RangeView {
  return {
    start: baseOf(space, range.start) + BigInt(range.start),
    end: baseOf(space, range.start) + BigInt(range.end),
    output: BigInt(range.output),
    rights: range.rights,
    leaves: range.leaves,
  }
}
