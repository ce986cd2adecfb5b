/** Looks through memory for tables of IOMMUs that hold together. */
import type { WordMemory } from '../../base/memory.ts'
import { PhysicalMemory } from '../../memory/physical.ts'
import type { MachineGraph } from '../graph.ts'
import type { HeldFrames, Proposal, Scanner } from './contract.ts'
import { compare, plausible, type Score, scoreOf } from './score.ts'

/** Proposals of one scanner that are looked at. Real machines have a handful. */
const MOST_PROPOSALS = 1024
/** A memory is thrown away when the pages that it has read take more than this. */
const MOST_STORAGE = 256 << 20
/** How often the clock is looked at. */
const PAGES_PER_LOOK = 1024

export interface ScanInput {
  readonly frames: HeldFrames
  readonly scanners: readonly Scanner[]
  /** Pages of zeros were left out. */
  readonly absentIsZero: boolean
  /** The machine as it is with these registers, with `scoreBudget()`. */
  look(proposal: Proposal, memory: WordMemory): MachineGraph
  /** Is told now and then how many bytes were looked at; false ends the search. */
  proceed?(bytes: number): boolean
}

export interface Found extends Proposal {
  readonly score: Score
}

export interface ScanResult {
  /** The best first. */
  readonly found: readonly Found[]
  /** Bytes that were looked at, and whether that is all of it. */
  readonly bytes: number
  readonly complete: boolean
}

export function scan({ frames, scanners, absentIsZero, look, proceed = () => true }: ScanInput): ScanResult {
  const { bytes, complete } = seePages(frames, scanners, proceed)
  let memory = new PhysicalMemory([], frames)
  const fresh = () => {
    if (memory.storageBytes > MOST_STORAGE) memory = new PhysicalMemory([], frames)
    return memory
  }
  const found: Found[] = []
  let ended = false
  for (const scanner of scanners) {
    let left = MOST_PROPOSALS
    for (const proposal of scanner.proposals(fresh, absentIsZero)) {
      const score = scoreOf(look(proposal, fresh()))
      if (plausible(score)) found.push({ ...proposal, score })
      ended = left-- === 0 || !proceed(bytes)
      if (ended) break
    }
    if (ended) break
  }
  return { found: withoutDoubles(found), bytes, complete: complete && !ended }
}

function seePages(frames: HeldFrames, scanners: readonly Scanner[], proceed: (bytes: number) => boolean) {
  const words = new Int32Array(1024)
  let pages = 0
  for (const { start, end } of frames.ranges()) {
    for (let pa = Math.floor(start / 4096) * 4096; pa < end; pa += 4096) {
      if (pages++ % PAGES_PER_LOOK === 0 && !proceed(pages * 4096)) return { bytes: pages * 4096, complete: false }
      words.fill(0)
      if (!frames.load(pa / 4096, words, 0) || isEmpty(words)) continue
      for (const scanner of scanners) scanner.page(pa, words, 0)
    }
  }
  return { bytes: pages * 4096, complete: true }
}

/** Whether a page is all zeros: most of a sparse image is. */
function isEmpty(words: Int32Array): boolean {
  for (let word = 0; word < 1024; word += 8) {
    const low = words[word]! | words[word + 1]! | words[word + 2]! | words[word + 3]!
    const high = words[word + 4]! | words[word + 5]! | words[word + 6]! | words[word + 7]!
    if ((low | high) !== 0) return false
  }
  return true
}

/** Of proposals for the same table (its mode, its size) the best, unsure where another is nearly as good; the best table first. */
function withoutDoubles(found: readonly Found[]): Found[] {
  const best = new Map<string, Found>()
  for (const one of [...found].sort((a, b) => compare(a.score, b.score) || a.address - b.address)) {
    const key = `${one.kind} ${one.address}`
    const better = best.get(key)
    if (better === undefined) best.set(key, one)
    else if (one.score.devices * 2 >= better.score.devices) {
      const assumed = [...better.assumed, `it could also be a ${one.what}, with ${one.score.devices} devices of other ids`]
      best.set(key, { ...better, assumed, unsure: true })
    }
  }
  return [...best.values()]
}
