/**
 * Device tables of AMD IOMMUs: pages in a row of legal device table entries. AMD IOMMU specification (48882), 2.2.2. A device table is
 * indexed by DeviceID alone, so a page of it does not say which one it is: the table is taken to start where its size aligns it.
 */

import { hi32, lo32 } from '../../base/u64.ts'
import { checkDte, checkDteInterrupts } from '../../format/amdvi/check.ts'
import { DTE_WORDS, DTE0_TV, DTE0_V, DTE1_GV, DTE1_IR, DTE1_IW, dteMode, gcr3Root, hostRoot } from '../../format/amdvi/dte.ts'
import { featuresOf } from '../../format/amdvi/features.ts'
import { CONTROL_GT_EN, CONTROL_IOMMU_EN, FULL_EXT_FEATURE, REG } from '../../format/amdvi/registers.ts'
import { allZero, PageList, type Proposal, runsOf, type Scanner } from './contract.ts'

const FEATURES = featuresOf(hi32(FULL_EXT_FEATURE), lo32(FULL_EXT_FEATURE), 0, CONTROL_IOMMU_EN | CONTROL_GT_EN)
/** A whole device table: 65536 entries. */
const MOST_TABLE_PAGES = 512
/** Entries on a page. Where a driver writes all entries at first, a page is full of them. */
const PER_PAGE = 128

/** Entries of a page that are in use, and those with tables; null when it can be no page of a device table. */
function entries(words: Int32Array, at: number): { used: number; tables: number } | null {
  let used = 0
  let tables = 0
  for (let entry = at; entry < at + 1024; entry += DTE_WORDS) {
    if (allZero(words, entry, DTE_WORDS)) continue
    // Bits 255:192 belong to software or are attributes of newer parts; Linux leaves them 0.
    if (words[entry + 6] !== 0 || words[entry + 7] !== 0) return null
    if (checkDte(words, entry, FEATURES) !== 0 || checkDteInterrupts(words, entry) !== 0) return null
    const low = words[entry]!
    const high = words[entry + 1]!
    if ((low & DTE0_V) === 0) {
      // Interrupts alone may be remapped; a word without its own valid bit says nothing.
      if ((low | high | words[entry + 2]! | words[entry + 3]!) !== 0) return null
      continue
    }
    used++
    const rights = (high & (DTE1_IR | DTE1_IW)) !== 0
    const host = dteMode(words, entry) !== 0 && hostRoot(words, entry) !== 0
    const guest = (high & DTE1_GV) !== 0 && gcr3Root(words, entry) !== 0
    if ((low & DTE0_TV) !== 0 && rights && (host || guest)) tables++
  }
  return used === 0 ? null : { used, tables }
}

export function amdScanner(): Scanner {
  const pages = new PageList()
  const leading = new PageList()
  return {
    kind: 'amdvi',
    what: 'device tables',
    machines: [62, 3],
    page(pa, words, at) {
      const found = entries(words, at)
      if (found === null || (found.tables === 0 && found.used < PER_PAGE)) return
      pages.add(pa)
      if (found.tables > 0) leading.add(pa)
    },
    *proposals() {
      const runs = runsOf(pages.addresses)
      for (const table of joined(runs, (pa) => leading.has(pa))) yield* proposalsOf(table)
    },
  }
}

/** Runs that have entries with tables; those in one naturally aligned 2 MiB block are of one table, which may have pages of zeros. */
function joined(runs: readonly [number, number][], leads: (pa: number) => boolean): [number, number][] {
  const tables: [number, number][] = []
  for (const [first, count] of runs) {
    if (!Array.from({ length: count }, (_, page) => first + page * 4096).some(leads)) continue
    const last = tables.at(-1)
    const block = (pa: number) => Math.floor(pa / (MOST_TABLE_PAGES * 4096))
    if (last !== undefined && block(last[0]) === block(first)) last[1] = (first - last[0]) / 4096 + count
    else tables.push([first, count])
  }
  return tables
}

function* proposalsOf([first, count]: [number, number]): Iterable<Proposal> {
  let pages = 1
  while (pages < count) pages *= 2
  // The smallest table that is aligned to its size and holds all of them.
  while (pages < MOST_TABLE_PAGES && Math.floor(first / (pages * 4096)) * pages * 4096 + pages * 4096 < first + count * 4096)
    pages *= 2
  const aligned = Math.floor(first / (pages * 4096)) * pages * 4096
  yield proposal(first, Math.min(count, MOST_TABLE_PAGES), aligned !== first)
  if (aligned !== first) yield proposal(aligned, Math.min(MOST_TABLE_PAGES, (first - aligned) / 4096 + count), true)
}

function proposal(address: number, pages: number, unsure: boolean): Proposal {
  return {
    kind: 'amdvi',
    what: 'device table',
    address,
    registers: [{ name: 'DEV_TAB_BASE', offset: REG.DEV_TAB_BASE, size: 8, value: BigInt(address) | BigInt(pages - 1) }],
    assumed: [
      unsure
        ? `the device table is taken to start at 0x${address.toString(16)}: if it starts before that, every DeviceID is higher by 128 for each page`
        : `the device table is taken to have ${pages} pages, as many as hold entries`,
    ],
    unsure,
  }
}
