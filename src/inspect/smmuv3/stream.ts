/** Every stream table entry that memory holds, by the lookup that the hardware model uses. Arm IHI 0070, 3.3.1, 5.1, 5.2. */
import { hex } from '../../base/hex.ts'
import { getNumber, wordsFromU64 } from '../../base/layout.ts'
import type { WordMemory } from '../../base/memory.ts'
import { F_STE_FETCH } from '../../format/smmuv3/events.ts'
import { featuresFromIdr, type SmmuFeatures } from '../../format/smmuv3/features.ts'
import { L1_BYTES } from '../../format/smmuv3/l1.ts'
import { Found, findSte, LOOKUP_OK, type StreamTable, streamTable } from '../../format/smmuv3/lookup.ts'
import { REGISTERS } from '../../format/smmuv3/registers.ts'
import { STE, STE_BYTES } from '../../format/smmuv3/ste.ts'
import { RegisterFile } from '../registers.ts'
import type { Findings, MachineSource } from '../source.ts'
import { defaultBudget } from '../space.ts'
import { Missing } from '../tables.ts'

/** STEs, and first-level descriptors, per 4 KiB page of memory: what is skipped at once where a page is missing. */
const STES_PER_PAGE = 4096 / STE_BYTES
const L1_PER_PAGE = 4096 / L1_BYTES

/**
 * Visits every STE, valid or not, in order of StreamIDs. `index` is the place of its words in the memory's storage.
 * @param limit StreamIDs are left out after so many lookups.
 * @returns whether all were looked up, and how many lookups that took.
 */
export function eachSte(
  memory: WordMemory,
  table: StreamTable,
  features: SmmuFeatures,
  limit: number,
  visit: (sid: number, address: number, index: number) => void,
  findings: Findings | null = null,
): { complete: boolean; lookups: number } {
  const found = new Found()
  const end = 2 ** table.log2size
  const block = 2 ** table.split
  const missing = new Missing('stream table', findings)
  let lookups = 0
  for (let sid = 0; sid < end; ) {
    if (lookups++ >= limit) return { complete: false, lookups }
    const status = findSte(memory, table, features, sid, found)
    if (status === LOOKUP_OK) {
      visit(sid, found.address, found.index)
      sid++
      continue
    }
    const from = sid
    const first = table.twoLevel && found.at[0] === found.at[1]
    if (!table.twoLevel) sid += STES_PER_PAGE - (sid % STES_PER_PAGE)
    else if (first && status === F_STE_FETCH) sid += block * L1_PER_PAGE - (sid % (block * L1_PER_PAGE))
    else if (status === F_STE_FETCH) sid += Math.min(block, STES_PER_PAGE) - (sid % Math.min(block, STES_PER_PAGE))
    else sid += block - (sid % block)
    if (status === F_STE_FETCH) missing.add(`StreamIDs ${hex(from)}–${hex(Math.min(sid, end) - 1)}`, found.address, found.why)
    else if (found.l1Index >= 0 && memory.words[found.l1Index] !== 0 && from % block === 0)
      findings?.add('error', `L1STD at ${hex(found.at[1]!)}`, found.why, 'l1std')
  }
  missing.done()
  return { complete: true, lookups }
}

/** Valid STEs by their Config. */
export function countConfigs(source: MachineSource): ReadonlyMap<number, number> {
  const registers = new RegisterFile(source, REGISTERS)
  const features = featuresFromIdr((name) => registers.number(name))
  const base = wordsFromU64([registers.value('STRTAB_BASE')])
  const table = streamTable(base, registers.number('STRTAB_BASE_CFG'), features)
  const counts = new Map<number, number>()
  eachSte(source.memory, table, features, (source.budget ?? defaultBudget()).entries, (_sid, _address, index) => {
    const { words } = source.memory
    if (getNumber(words, STE.fields.V, index) === 0) return
    const config = getNumber(words, STE.fields.Config, index)
    counts.set(config, (counts.get(config) ?? 0) + 1)
  })
  return counts
}
