/** PASID directories and tables: each is read once, whichever context entries lead to it. Intel VT-d 4.1, sections 9.4 to 9.6. */
import { hex } from '../../base/hex.ts'
import { getNumber } from '../../base/layout.ts'
import { ALL_RIGHTS } from '../../base/types.ts'
import { toDouble } from '../../base/u64.ts'
import { ptSpace } from '../../format/pt/format.ts'
import { ENTRY_RULES } from '../../format/vtd/check.ts'
import { firstStageSpace, secondStageSpace, usableRights } from '../../format/vtd/context.ts'
import { faultText } from '../../format/vtd/faults.ts'
import type { VtdFeatures } from '../../format/vtd/features.ts'
import { findPasid, pasidsOf, ridPasidOf, TableWalk } from '../../format/vtd/lookup.ts'
import { PASID_ENTRY, PASID_FPD, PASID_P, PGTT_PASS_THROUGH, pgttOf } from '../../format/vtd/pasid.ts'
import type { PasidNode, PasidTableNode } from '../graph.ts'
import { hasKernelHalf } from '../process.ts'
import type { Reading } from '../reading.ts'
import { entryView } from '../source.ts'
import { Listing, Missing, type Owner, PasidTables, pasidSpaceUse, stage2Use } from '../tables.ts'

/** PASIDs of one entry of the directory, and of one page of it. */
const PER_TABLE = 64
const PER_PAGE = 512 * PER_TABLE

export class PasidDirectories {
  readonly #reading: Reading<VtdFeatures>
  readonly #tables: PasidTables

  constructor(reading: Reading<VtdFeatures>) {
    this.#reading = reading
    this.#tables = new PasidTables(reading.spaces)
  }

  nodes(): PasidTableNode[] {
    return this.#tables.nodes()
  }

  /** The id of the PASID table of this scalable-mode context entry (a copy of its words). */
  add(context: Int32Array, owner: Owner): string {
    const root = toDouble(context[1]!, context[0]! & ~0xfff)
    const capacity = pasidsOf(context)
    const rid = ridPasidOf(context, this.#reading.features)
    return this.#tables.add([root, capacity, rid].join('|'), owner, (id) => ({
      id,
      address: BigInt(root),
      layout: `directory of ${capacity / PER_TABLE} entries`,
      capacity,
      withoutPasid: `entry ${rid}`,
      entries: this.#entries(context, capacity, rid, owner),
      label: owner.domain,
    }))
  }

  /** Every entry in use, by the lookup that the hardware model uses. */
  #entries(context: Int32Array, capacity: number, rid: number, owner: Owner): PasidNode[] {
    const place = `PASID table of ${owner.domain ?? owner.user}`
    const { memory, features, findings } = this.#reading
    const missing = new Missing(place, findings)
    const listing = new Listing(this.#reading, place, { pasid: 'PASID', entries: 'entries' })
    const walk = new TableWalk()
    let unread = false
    walk.observer = { entry: (_step, _pa, status) => (unread = status < 0) }
    for (let pasid = 0; pasid < capacity && listing.mayRead(pasid); ) {
      const fault = findPasid(memory, features, context, 0, pasid, walk)
      const atTable = walk.reads === 4
      if (atTable && !unread) {
        const node = this.#entry(pasid, walk, fault, rid, owner)
        if (node !== null) listing.add(node.state === 'bad' ? `${node.note}` : node.entry.words.join(), () => node)
        pasid++
        continue
      }
      const from = pasid
      const step = atTable || !unread ? PER_TABLE : PER_PAGE
      pasid = Math.min(capacity, pasid + step - (pasid % step))
      const address = walk.address[atTable ? 3 : 2]!
      if (unread) missing.add(`PASIDs ${from}–${pasid - 1}`, address, faultText(fault))
      else if (walk.rule !== 0)
        findings.add(
          'error',
          `${place}, directory entry at ${hex(address)}`,
          `PASIDs ${from}–${pasid - 1}: ${faultText(fault)}`,
          'bad PASID directory entry',
        )
    }
    missing.done()
    return listing.done()
  }

  /** One entry; null when it is not in use. */
  #entry(pasid: number, walk: TableWalk, fault: number, rid: number, owner: Owner): PasidNode | null {
    const words = walk.pasid.slice()
    const entry = entryView(PASID_ENTRY, walk.address[3]!, words)
    if ((words[0]! & PASID_P) === 0) {
      if ((words[0]! & PASID_FPD) === 0) return null
      return { pasid, state: 'quiet', space: null, note: 'not present, and its faults are not recorded (FPD)', entry }
    }
    if (fault !== 0) {
      const note = `${faultText(fault)}: ${ENTRY_RULES[walk.rule]}`
      const place = `PASID table entry ${pasid} of ${owner.domain ?? owner.user} at ${hex(walk.address[3]!)}`
      this.#reading.findings.add('error', place, note, 'bad PASID table entry')
      return { pasid, state: 'bad', space: null, note, entry }
    }
    if (pgttOf(words[0]!) === PGTT_PASS_THROUGH)
      return { pasid, state: 'valid', space: null, note: 'pass-through: addresses pass as they are', entry }
    return { pasid, state: 'valid', space: this.#space(pasid, words, rid, owner), note: null, entry }
  }

  #space(pasid: number, words: Int32Array, rid: number, owner: Owner): string {
    const tag = `DID ${getNumber(words, PASID_ENTRY.fields.DID)}`
    const { memory, features, spaces } = this.#reading
    const second = secondStageSpace(features, words)
    const walked = firstStageSpace(features, words, second)
    const first = walked === null ? null : ptSpace({ ...walked, fix: atMost(walked.fix, usableRights(features, words[4]!)) })
    // Requests without PASID use this one: it is the domain's own.
    const process = first !== null && second === null && hasKernelHalf(memory, first)
    const role = process ? 'io_mm' : 'unknown'
    const use = (nested: boolean) => pasidSpaceUse({ pasid, own: pasid === rid, pasidName: 'PASID', role, tag, nested }, owner)
    if (first === null) return spaces.add(second!, { ...use(false), stage: 2 })
    if (second === null) return spaces.add(first, use(false))
    return spaces.add(first, use(true), spaces.add(second, stage2Use('second stage', tag, owner)))
  }
}

const FIXES = new Map<Uint8Array, Map<number, Uint8Array>>()

/** A last word on rights that leaves no others than these. The same one for the same arguments: spaces are told apart by it. */
function atMost(fix: Uint8Array, allowed: number): Uint8Array {
  if (allowed === ALL_RIGHTS) return fix
  const known = FIXES.get(fix) ?? new Map<number, Uint8Array>()
  FIXES.set(fix, known)
  const made = known.get(allowed) ?? fix.map((rights) => rights & allowed)
  known.set(allowed, made)
  return made
}
