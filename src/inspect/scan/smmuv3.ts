/**
 * Stream tables of Arm SMMUv3: pages of level 1 descriptors whose second levels hold legal STEs, or pages in a row of legal STEs. Arm IHI
 * 0070, 3.3.1, 5.1, 5.2. Neither says how many streams there are (STRTAB_BASE_CFG.LOG2SIZE).
 */

import { hex } from '../../base/hex.ts'
import { uncovered } from '../../base/layout.ts'
import type { WordMemory } from '../../base/memory.ts'
import { toDouble } from '../../base/u64.ts'
import { checkSte } from '../../format/smmuv3/check.ts'
import { featuresFromIdr, GENEROUS_IDR } from '../../format/smmuv3/features.ts'
import { registerNamed, STRTAB_2LVL, STRTAB_LINEAR } from '../../format/smmuv3/registers.ts'
import { STE, STE_BYTES, STE_WORDS } from '../../format/smmuv3/ste.ts'
import { allZero, PageList, type Proposal, runsOf, type Scanner } from './contract.ts'

const FEATURES = featuresFromIdr((name) => GENEROUS_IDR[name as keyof typeof GENEROUS_IDR] ?? 0)
/** Span of a full second level, for each value of SPLIT. */
const SPANS = new Map([
  [7, 6],
  [9, 8],
  [11, 10],
])
/** Level 1 descriptors for 2^16 streams with SPLIT = 8, which is what PCI needs: half a page. */
const PCI_L1 = 256
/** Config, in place: bit 2 traffic passes, bits 1:0 stage 2 and stage 1 translate. */
const STE_PASSES = 0b1000
const STE_TRANSLATES = 0b0110
const STE_ZERO = uncovered(STE)
/** Word of an STE with SHCFG, which some write into entries that let nothing pass. */
const STE_SHCFG = 3

/** SPLIT of the level 1 descriptors from words[at] on, the others zero; 0 when they are none. */
function splitOf(words: Int32Array, at: number, count: number): number {
  let split = 0
  for (let word = at; word < at + count * 2; word += 2) {
    const low = words[word]!
    const high = words[word + 1]!
    if ((low | high) === 0) continue
    const own = SPANS.get(low & 0x3f) ?? 0
    if (own === 0 || (split !== 0 && split !== own) || high >>> 20 !== 0) return 0
    split = own
    const address = toDouble(high, low & ~0x3f)
    if (address === 0 || address % (2 ** split * STE_BYTES) !== 0) return 0
  }
  return split
}

/** STEs of a page that translate; -1 when something on it is no legal STE. Entries that are not valid are all zeros, where drivers write them. */
function translating(words: Int32Array, at: number): number {
  let found = 0
  let valid = 0
  for (let entry = at; entry < at + 1024; entry += STE_WORDS) {
    const low = words[entry]!
    if ((low & 1) === 0) {
      if (!allZero(words, entry, STE_WORDS)) return -1
      continue
    }
    if (!legal(words, entry)) return -1
    valid++
    if ((low & STE_PASSES) !== 0 && (low & STE_TRANSLATES) !== 0) found++
  }
  return valid === 0 ? -1 : found
}

function legal(words: Int32Array, entry: number): boolean {
  if ((words[entry]! & STE_PASSES) === 0) {
    // Anything may stand in an entry that lets nothing pass; drivers write nothing.
    for (let word = 1; word < STE_WORDS; word++) if (word !== STE_SHCFG && words[entry + word] !== 0) return false
    return true
  }
  for (let word = 0; word < STE_WORDS; word++) if ((words[entry + word]! & STE_ZERO[word]!) !== 0) return false
  return checkSte(words, entry, FEATURES) === null
}

/** The second levels of a level 1 table: their addresses; null when one is absent or holds something else. */
function secondLevels(memory: WordMemory, table: number, count: number, split: number, absentIsZero: boolean): number[] | null {
  const pages = Math.max(1, (2 ** split * STE_BYTES) / 4096)
  const start = memory.index(table, 4096)
  if (start < 0) return null
  const found: number[] = []
  for (let slot = 0; slot < count; slot++) {
    const low = memory.words[start + slot * 2]!
    if (low !== 0) found.push(toDouble(memory.words[start + slot * 2 + 1]!, low & ~0x3f))
  }
  for (const address of found) {
    for (let page = 0; page < pages; page++) {
      const at = memory.index(address + page * 4096, 4096)
      if (at < 0 && !absentIsZero) return null
      if (at >= 0 && !allZero(memory.words, at, 1024) && translating(memory.words, at) < 0) return null
    }
  }
  return found.length === 0 ? null : found.flatMap((address) => Array.from({ length: pages }, (_, page) => address + page * 4096))
}

export function smmuScanner(): Scanner {
  const tops = new PageList()
  const splits = new Map<number, { split: number; count: number }>()
  const linear = new PageList()
  const leading = new PageList()
  return {
    kind: 'smmuv3',
    what: 'stream tables',
    machines: [183, 40],
    page(pa, words, at) {
      const whole = splitOf(words, at, 512)
      const split = whole !== 0 ? whole : splitOf(words, at, PCI_L1)
      if (split !== 0) {
        tops.add(pa)
        const half = whole === 0 || allZero(words, at + PCI_L1 * 2, 1024 - PCI_L1 * 2)
        splits.set(pa, { split, count: half ? PCI_L1 : 512 })
        return
      }
      const found = translating(words, at)
      if (found < 0) return
      linear.add(pa)
      if (found > 0) leading.add(pa)
    },
    *proposals(fresh, absentIsZero) {
      const taken = new Set<number>()
      for (const top of tops.addresses) {
        const { split, count } = splits.get(top)!
        const levels = secondLevels(fresh(), top, count, split, absentIsZero)
        if (levels === null) continue
        for (const page of levels) taken.add(page)
        yield twoLevel(top, split, count)
      }
      for (const [first, count] of runsOf(linear.addresses.filter((pa) => !taken.has(pa)))) {
        const leads = Array.from({ length: count }, (_, page) => first + page * 4096).some((pa) => leading.has(pa))
        if (leads) yield oneLevel(first, count)
      }
    },
  }
}

const STRTAB_BASE = registerNamed('STRTAB_BASE')
const STRTAB_BASE_CFG = registerNamed('STRTAB_BASE_CFG')

function proposal(address: number, config: number, rest: Pick<Proposal, 'what' | 'assumed' | 'unsure'>): Proposal {
  return {
    kind: 'smmuv3',
    address,
    registers: [
      { name: 'STRTAB_BASE', offset: STRTAB_BASE.offset, size: 8, value: BigInt(address) },
      { name: 'STRTAB_BASE_CFG', offset: STRTAB_BASE_CFG.offset, size: 4, value: BigInt(config) },
    ],
    ...rest,
  }
}

function twoLevel(address: number, split: number, count: number): Proposal {
  const log2 = Math.log2(count) + split
  return proposal(address, (STRTAB_2LVL << 16) | (split << 6) | log2, {
    what: `stream table of 2 levels, 2^${split} STEs per leaf`,
    assumed: [
      `the stream table is taken to start at ${hex(address)} and to be for 2^${log2} streams: nothing in memory says how many there are`,
    ],
    unsure: false,
  })
}

function oneLevel(first: number, count: number): Proposal {
  const log2 = Math.ceil(Math.log2(count * 64))
  const unsure = first % (2 ** log2 * STE_BYTES) !== 0
  const address = Math.floor(first / (2 ** log2 * STE_BYTES)) * 2 ** log2 * STE_BYTES
  return proposal(address, (STRTAB_LINEAR << 16) | log2, {
    what: 'linear stream table',
    assumed: [`the stream table is taken to be for 2^${log2} streams: nothing in memory says how many there are`],
    unsure,
  })
}
