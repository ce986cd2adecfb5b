/** Every device table entry and GCR3 entry that memory holds, by the lookups that the hardware model uses. AMD IOMMU specification (48882), 2.2.2, 2.2.6.3. */
import { hex } from '../../base/hex.ts'
import type { WordMemory } from '../../base/memory.ts'
import { DTE_BYTES } from '../../format/amdvi/dte.ts'
import type { AmdFeatures } from '../../format/amdvi/features.ts'
import {
  BEYOND_TABLE,
  CORRUPT,
  type DeviceTable,
  FOUND,
  findDte,
  findGcr3,
  HOST_REFUSED,
  NOT_VALID,
  pasidBits,
  TableWalk,
  UNREADABLE,
} from '../../format/amdvi/lookup.ts'
import type { PtSpace } from '../../format/pt/format.ts'
import { Walker } from '../../format/pt/walker.ts'
import type { Reading } from '../reading.ts'
import type { Findings } from '../source.ts'
import { type Listing, Missing } from '../tables.ts'

/** Device table entries per page of memory: what is skipped at once where a page is missing. */
const PER_PAGE = 4096 / DTE_BYTES

/** A look-up's result in words. */
export const LOOKUP_TEXT: Readonly<Record<number, string>> = {
  [BEYOND_TABLE]: 'it is outside the table',
  [UNREADABLE]: 'nothing answers there',
  [CORRUPT]: 'the data there is corrupt',
  [NOT_VALID]: 'the entry is not valid',
  [HOST_REFUSED]: 'the host tables refuse its address',
}

/** Visits every entry, valid or not, in order of DeviceIDs. @returns whether all were looked up, and how many lookups that took. */
export function eachDte(
  memory: WordMemory,
  features: AmdFeatures,
  table: DeviceTable,
  limit: number,
  findings: Findings | null,
  visit: (device: number, address: number, words: Int32Array) => void,
): { complete: boolean; lookups: number } {
  const walk = new TableWalk()
  const missing = new Missing('device table', findings)
  const segment = 2 ** table.indexBits
  let lookups = 0
  for (let device = 0; device < 65536; ) {
    if (lookups++ >= limit) return { complete: false, lookups }
    const status = findDte(memory, features, table, device, walk)
    if (status === UNREADABLE || status === CORRUPT) {
      const from = device
      device += PER_PAGE - (device % PER_PAGE)
      missing.add(`DeviceIDs ${hex(from)}–${hex(device - 1)}`, walk.address[0]!, LOOKUP_TEXT[status]!)
    } else if (status === BEYOND_TABLE) device += segment - (device % segment)
    else visit(device++, walk.address[0]!, walk.dte)
  }
  missing.done()
  return { complete: true, lookups }
}

/** Visits valid GCR3 entries of a device table entry's table, in order of PASIDs. */
export function eachGcr3(
  { memory, features }: Reading<AmdFeatures>,
  dte: Int32Array,
  host: PtSpace | null,
  listing: Listing,
  visit: (pasid: number, address: number, high: number, low: number) => void,
): void {
  const walk = new TableWalk()
  const walker = new Walker(memory, 2)
  const missing = new Missing(listing.place, listing.findings)
  const end = 2 ** pasidBits(features, dte)
  for (let pasid = 0; pasid < end && listing.mayRead(pasid); ) {
    const status = findGcr3(memory, features, dte, 0, host, walker, pasid, false, walk)
    if (status === FOUND) {
      visit(pasid++, walk.address[0]!, walk.entry[1]!, walk.entry[0]!)
      continue
    }
    // An entry covers all PASIDs below it; where nothing answers, the rest of its page cannot be read either.
    const from = pasid
    const covers = 2 ** (9 * (walk.level - 1))
    const step = status === NOT_VALID ? covers : covers * 512
    pasid = Math.min(end, pasid + step - (pasid % step))
    if (status === NOT_VALID) continue
    const where = status === HOST_REFUSED ? walk.guest[0]! : walk.address[0]!
    missing.add(`PASIDs ${from}–${pasid - 1}`, where, LOOKUP_TEXT[status]!)
  }
  missing.done()
}
