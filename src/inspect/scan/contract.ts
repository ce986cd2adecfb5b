/**
 * Finding an IOMMU's tables in memory of which nothing else is known. A scanner sees each page once and keeps those that could be its device
 * table; then it follows their pointers and proposes registers. What a proposal is worth is measured by the inspector that reads it
 * (`score.ts`): so a scanner needs no more than the shape of the uppermost tables.
 */
import type { WordMemory } from '../../base/memory.ts'
import type { RamRange } from '../../memory/physical.ts'

/** The pages of a dump. */
export interface HeldFrames {
  /** Addresses that it holds, in order. */
  ranges(): Iterable<RamRange>
  /** Copies frame `frame` into words[at …]; false when it is not held. */
  load(frame: number, words: Int32Array, at: number): boolean
}

/** A register's value, as a register file has it. */
export interface ProposedRegister {
  readonly name: string
  readonly offset: number
  readonly size: 4 | 8
  readonly value: bigint
}

/** Where the device table could be. */
export interface Proposal {
  /** As captures call it: `smmuv3`. */
  readonly kind: string
  /** What it is: `root table, scalable mode`. */
  readonly what: string
  /** Address of the device table. */
  readonly address: number
  readonly registers: readonly ProposedRegister[]
  /** What the tables do not tell, and was taken so. */
  readonly assumed: readonly string[]
  /** The address of the table may be another: what comes before was not recognised. */
  readonly unsure: boolean
}

/** Looks for the tables of one architecture. Holds what it saw. */
export interface Scanner {
  readonly kind: string
  /** What it looks for: `root and context tables`. */
  readonly what: string
  /** e_machine of the CPUs that machines with such an IOMMU have. */
  readonly machines: readonly number[]
  /** Sees a page that is not all zeros. Its 1024 words start at words[at]. */
  page(pa: number, words: Int32Array, at: number): void
  /**
   * What it proposes, after all pages.
   * @param fresh memory of the dump; each call gives one that holds no pages yet.
   * @param absentIsZero pages of zeros were left out of the dump.
   */
  proposals(fresh: () => WordMemory, absentIsZero: boolean): Iterable<Proposal>
}

/** Pages that one scanner keeps; hostile memory has no more. */
export const MOST_PAGES = 1 << 18

/** Page addresses, in order, as they were seen. */
export class PageList {
  readonly addresses: number[] = []
  readonly #set = new Set<number>()

  add(pa: number): void {
    if (this.addresses.length >= MOST_PAGES) return
    this.addresses.push(pa)
    this.#set.add(pa)
  }

  has(pa: number): boolean {
    return this.#set.has(pa)
  }
}

/** Runs of consecutive pages, as [first, number of pages]. */
export function runsOf(addresses: readonly number[]): [number, number][] {
  const runs: [number, number][] = []
  for (const pa of addresses) {
    const last = runs.at(-1)
    if (last !== undefined && last[0] + last[1] * 4096 === pa) last[1]++
    else runs.push([pa, 1])
  }
  return runs
}

/** Whether words[at … at + count) are all zero. */
export function allZero(words: Int32Array, at: number, count: number): boolean {
  for (let word = at; word < at + count; word++) if (words[word] !== 0) return false
  return true
}
