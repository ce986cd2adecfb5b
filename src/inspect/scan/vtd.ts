/** Root tables of Intel IOMMUs: pages of root entries whose context tables hold nothing illegal. Intel VT-d 4.1, sections 9.1 to 9.4. */
import type { WordMemory } from '../../base/memory.ts'
import { toDouble } from '../../base/u64.ts'
import { checkContext, checkSmContext } from '../../format/vtd/check.ts'
import { CONTEXT_P, CONTEXT_WORDS, SM_CONTEXT_WORDS } from '../../format/vtd/contexts.ts'
import { featuresOf } from '../../format/vtd/features.ts'
import { FULL_CAP, FULL_ECAP, REG, TTM_LEGACY, TTM_SCALABLE } from '../../format/vtd/registers.ts'
import { allZero, PageList, type Proposal, type Scanner } from './contract.ts'

const FEATURES = featuresOf(FULL_CAP, FULL_ECAP)
/** Bits 11:1 of a root entry, which are reserved; addresses have 52 bits. */
const RESERVED_LO = 0xffe
const RESERVED_HI = -1 << 20

/** An entry with P = 1 and nothing but an address; null when it is none. 0: not present, all zeros. */
function pointer(low: number, high: number): number | null {
  if ((low | high) === 0) return 0
  if ((low & (RESERVED_LO | 1)) !== 1 || (high & RESERVED_HI) !== 0) return null
  const address = toDouble(high, low & ~0xfff)
  return address === 0 ? null : address
}

/** Whether a page can be a root table: as many doublewords as there are, all zero or pointers, and no pointer twice. */
function looksLikeRoot(pa: number, words: Int32Array, at: number): boolean {
  const seen = new Set<number>()
  for (let word = at; word < at + 1024; word += 2) {
    const address = pointer(words[word]!, words[word + 1]!)
    if (address === null) return false
    if (address === 0) continue
    if (address === pa || seen.has(address)) return false
    seen.add(address)
  }
  return seen.size > 0
}

/** Whether a page can be a context table: entries are legal, or all zeros (but for FPD). @returns its present entries; -1 when it is none. */
function contexts(words: Int32Array, at: number, scalable: boolean): number {
  const size = scalable ? SM_CONTEXT_WORDS : CONTEXT_WORDS
  const check = scalable ? checkSmContext : checkContext
  let present = 0
  for (let entry = at; entry < at + 1024; entry += size) {
    const low = words[entry]!
    if ((low & CONTEXT_P) === 0) {
      if ((low & ~2) !== 0 || !allZero(words, entry + 1, size - 1)) return -1
    } else if (check(words, entry, FEATURES) !== 0) return -1
    else present++
  }
  return present
}

/** Whether all context tables that a root table leads to are there and legal, one with an entry. */
function holdsTogether(memory: WordMemory, root: number, scalable: boolean, absentIsZero: boolean): boolean {
  const at = memory.index(root, 4096)
  if (at < 0) return false
  const tables: number[] = []
  for (let half = 0; half < 512; half++) {
    const address = pointer(memory.words[at + half * 2]!, memory.words[at + half * 2 + 1]!)
    if (address === null) return false
    // The upper half of an entry is of scalable mode only.
    if (address !== 0 && half % 2 === 1 && !scalable) return false
    if (address !== 0) tables.push(address)
  }
  let present = 0
  for (const table of tables) {
    const index = memory.index(table, 4096)
    if (index < 0) {
      if (absentIsZero) continue
      return false
    }
    const count = contexts(memory.words, index, scalable)
    if (count < 0) return false
    present += count
  }
  return present > 0
}

export function vtdScanner(): Scanner {
  const roots = new PageList()
  return {
    kind: 'vtd',
    what: 'root and context tables',
    machines: [62, 3],
    page(pa, words, at) {
      if (looksLikeRoot(pa, words, at)) roots.add(pa)
    },
    *proposals(fresh, absentIsZero) {
      for (const root of roots.addresses) {
        const memory = fresh()
        for (const mode of [TTM_SCALABLE, TTM_LEGACY]) {
          const scalable = mode === TTM_SCALABLE
          if (holdsTogether(memory, root, scalable, absentIsZero)) yield proposal(root, scalable)
        }
      }
    },
  }
}

function proposal(root: number, scalable: boolean): Proposal {
  const mode = scalable ? TTM_SCALABLE : TTM_LEGACY
  return {
    kind: 'vtd',
    what: `root table, ${scalable ? 'scalable' : 'legacy'} mode`,
    address: root,
    registers: [{ name: 'RTADDR', offset: REG.RTADDR, size: 8, value: BigInt(root) | BigInt(mode << 10) }],
    assumed: [],
    unsure: false,
  }
}
