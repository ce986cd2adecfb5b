/** CD tables: each is read once, whichever STEs lead to it. Arm IHI 0070, 3.3.2, 5.2 (S1Fmt, S1CDMax, S1DSS), 5.3, 5.4. */
import { hex } from '../../base/hex.ts'
import { getNumber } from '../../base/layout.ts'
import { Walker } from '../../format/pt/walker.ts'
import { CD, CD_BYTES, CD_WORDS } from '../../format/smmuv3/cd.ts'
import { checkCd } from '../../format/smmuv3/check.ts'
import { noStage1, stage1Space, streamWorld, walksDisabled } from '../../format/smmuv3/context.ts'
import { F_CD_FETCH } from '../../format/smmuv3/events.ts'
import type { SmmuFeatures } from '../../format/smmuv3/features.ts'
import { L1_BYTES, L1CD } from '../../format/smmuv3/l1.ts'
import { type CdFetch, cdTableBase, cdTableLog2, cdTableSplit, Found, findCd, LOOKUP_OK } from '../../format/smmuv3/lookup.ts'
import { S1DSS_BYPASS, S1DSS_SSID0, STE } from '../../format/smmuv3/ste.ts'
import type { PasidNode, PasidTableNode } from '../graph.ts'
import type { Reading } from '../reading.ts'
import { entryView } from '../source.ts'
import type { SpaceUse } from '../spaces.ts'
import { Listing, Missing, type Owner, PasidTables, pasidSpaceUse, type Under } from '../tables.ts'

const CDS_PER_PAGE = 4096 / CD_BYTES
const L1_PER_PAGE = 4096 / L1_BYTES

export class ContextTables {
  readonly #reading: Reading<SmmuFeatures>
  readonly #tables: PasidTables

  constructor(reading: Reading<SmmuFeatures>) {
    this.#reading = reading
    this.#tables = new PasidTables(reading.spaces)
  }

  nodes(): PasidTableNode[] {
    return this.#tables.nodes()
  }

  /** The id of the CD table of this STE (16 words, a copy). */
  add(ste: Int32Array, owner: Owner, under: Under | null): string {
    const features = this.#reading.features
    const base = cdTableBase(ste, 0, features)
    const split = cdTableSplit(ste, 0, features)
    const log2 = cdTableLog2(ste, 0, features)
    const withoutPasid = dssText(ste, log2)
    // What decides how the same bytes are read: the shape, the stage 2, the regime, and what traffic without SubstreamID does.
    const world = streamWorld(ste, 0, features)
    const key = [base, split, log2, under?.id ?? '', world, withoutPasid].join('|')
    return this.#tables.add(key, owner, (id) => ({
      id,
      address: BigInt(base),
      layout: split === 0 ? 'linear' : `2 levels, ${split === 6 ? 4 : 64} KiB leaves`,
      capacity: 2 ** log2,
      withoutPasid,
      over: under?.id ?? null,
      entries: this.#entries(ste, log2, split, owner, under),
      label: owner.domain,
    }))
  }

  /** Every valid CD, by the lookup that the hardware model uses. */
  #entries(ste: Int32Array, log2: number, split: number, owner: Owner, under: Under | null): PasidNode[] {
    const { memory, features, findings } = this.#reading
    const fetch: CdFetch | null = under === null ? null : { space: under.space, walker: new Walker(memory, 2), update: false }
    const found = new Found()
    const place = `CD table of ${owner.domain ?? owner.user}`
    const missing = new Missing(place, findings)
    const listing = new Listing(this.#reading, place, { pasid: 'SubstreamID', entries: 'CDs' })
    const leaf = 2 ** split
    for (let pasid = 0; pasid < 2 ** log2 && listing.mayRead(pasid); ) {
      const status = findCd(memory, ste, 0, features, pasid, fetch, found)
      if (status === LOOKUP_OK) {
        if (getNumber(memory.words, CD.fields.V, found.index) === 1) {
          const cd = memory.words.slice(found.index, found.index + CD_WORDS)
          const node = this.#entry(pasid, cd, found.address, ste, owner, under)
          listing.add(node.state === 'bad' ? `${node.note}` : cd.join(), () => node)
        }
        pasid++
        continue
      }
      const from = pasid
      const inFirst = split > 0 && (found.l1Index < 0 || status !== F_CD_FETCH)
      const step = !inFirst ? CDS_PER_PAGE : status === F_CD_FETCH ? leaf * L1_PER_PAGE : leaf
      pasid += step - (pasid % step)
      // An L1CD that is not valid is no fault of the table: no CDs there yet.
      const unused = split > 0 && found.l1Index >= 0 && getNumber(memory.words, L1CD.fields.V, found.l1Index) === 0
      if (!unused) missing.add(`SubstreamIDs ${from}–${Math.min(pasid, 2 ** log2) - 1}`, found.address, found.why)
    }
    missing.done()
    return listing.done()
  }

  #entry(pasid: number, cd: Int32Array, address: number, ste: Int32Array, owner: Owner, under: Under | null): PasidNode {
    const features = this.#reading.features
    const entry = entryView(CD, address, cd)
    const bad = (note: string): PasidNode => {
      this.#reading.findings.add('error', `CD ${pasid} of ${owner.domain ?? owner.user} at ${hex(address)}`, note, 'bad CD')
      return { pasid, state: 'bad', space: null, note, entry }
    }
    const broken = checkCd(cd, 0, ste, 0, features)
    if (broken !== null) return bad(`C_BAD_CD: ${broken.rule} (${broken.section})`)
    const world = streamWorld(ste, 0, features)
    const halves = ([0, 1] as const).filter((half) => !walksDisabled(cd, 0, world, half))
    if (halves.length === 0)
      return { pasid, state: 'quiet', space: null, note: 'valid, but no walks: EPD0 and EPD1 are 1', entry }
    const ids: string[] = []
    for (const half of halves) {
      const space = stage1Space(cd, 0, ste, 0, features, half, under?.space ?? null)
      if (space === null) return bad(noStage1(cd, 0, ste, 0, features, half) ?? 'no space')
      ids.push(this.#reading.spaces.add(space, spaceUse(pasid, cd, owner, under !== null), under?.id ?? null))
    }
    const node = { pasid, state: 'valid' as const, space: ids[0]!, note: null, entry }
    return ids.length === 2 ? { ...node, upper: ids[1]! } : node
  }
}

function spaceUse(pasid: number, cd: Int32Array, owner: Owner, nested: boolean): SpaceUse {
  // A CD that shares the CPU's ASIDs is a process; one that does not may be either (Linux ≥ 6.9 gives processes ASIDs of their own).
  const role = getNumber(cd, CD.fields.ASET) === 0 ? 'io_mm' : 'unknown'
  return pasidSpaceUse({ pasid, pasidName: 'SubstreamID', role, tag: `ASID ${getNumber(cd, CD.fields.ASID)}`, nested }, owner)
}

/** What traffic without SubstreamID does (5.2 S1DSS), in words. */
function dssText(ste: Int32Array, log2: number): string {
  if (log2 === 0) return 'entry 0'
  const dss = getNumber(ste, STE.fields.S1DSS)
  return dss === S1DSS_SSID0 ? 'entry 0' : dss === S1DSS_BYPASS ? 'bypass' : 'abort'
}
