/** GCR3 tables: each is read once, whichever device table entries lead to it. AMD IOMMU specification (48882), 2.2.6.3. */
import { guestSpace, WAY_GCR3, WAY_HOST, wayWithoutPasid } from '../../format/amdvi/context.ts'
import { dteDomain, dteGlx, dteGuestPagingMode, gcr3Root } from '../../format/amdvi/dte.ts'
import type { AmdFeatures } from '../../format/amdvi/features.ts'
import { GCR3_ENTRY } from '../../format/amdvi/gcr3.ts'
import { pasidBits } from '../../format/amdvi/lookup.ts'
import type { PasidNode, PasidTableNode } from '../graph.ts'
import { hasKernelHalf } from '../process.ts'
import type { Reading } from '../reading.ts'
import { entryView } from '../source.ts'
import { Listing, type Owner, PasidTables, pasidSpaceUse, type Under } from '../tables.ts'
import { eachGcr3 } from './table.ts'

export class Gcr3Tables {
  readonly #reading: Reading<AmdFeatures>
  readonly #tables: PasidTables

  constructor(reading: Reading<AmdFeatures>) {
    this.#reading = reading
    this.#tables = new PasidTables(reading.spaces)
  }

  nodes(): PasidTableNode[] {
    return this.#tables.nodes()
  }

  /** The id of the GCR3 table of this device table entry (a copy of its words). @param under its host tables. */
  add(dte: Int32Array, owner: Owner, under: Under | null): string {
    const root = gcr3Root(dte)
    const levels = dteGlx(dte) + 1
    const way = wayWithoutPasid(this.#reading.features, dte)
    const withoutPasid = way === WAY_GCR3 ? 'entry 0' : way === WAY_HOST ? 'host tables' : 'bypass'
    // What decides how the same bytes are read, and whose translations are tagged how.
    const key = [root, levels, dteGuestPagingMode(dte), dteDomain(dte), under?.id ?? '', withoutPasid].join('|')
    return this.#tables.add(key, owner, (id) => ({
      id,
      address: BigInt(root),
      layout: levels === 1 ? '1 level' : `${levels} levels`,
      capacity: 2 ** pasidBits(this.#reading.features, dte),
      withoutPasid,
      over: under?.id ?? null,
      entries: this.#entries(dte, way === WAY_GCR3, owner, under),
      label: owner.domain,
    }))
  }

  #entries(dte: Int32Array, own: boolean, owner: Owner, under: Under | null): PasidNode[] {
    const listing = new Listing(this.#reading, `GCR3 table of ${owner.domain ?? owner.user}`, {
      pasid: 'PASID',
      entries: 'entries',
    })
    eachGcr3(this.#reading, dte, under?.space ?? null, listing, (pasid, address, high, low) =>
      listing.add(`${high}:${low}`, () => this.#entry(pasid, address, high, low, dte, own, owner, under)),
    )
    return listing.done()
  }

  #entry(
    pasid: number,
    address: number,
    high: number,
    low: number,
    dte: Int32Array,
    own: boolean,
    owner: Owner,
    under: Under | null,
  ): PasidNode {
    const entry = entryView(GCR3_ENTRY, address, Int32Array.of(low, high))
    const space = guestSpace(this.#reading.features, dte, 0, high, low, under?.space ?? null)!
    const tag = `DomainID ${dteDomain(dte)}`
    const process = under === null && hasKernelHalf(this.#reading.memory, space)
    const role = process ? ('io_mm' as const) : ('unknown' as const)
    const use = { pasid, own: own && pasid === 0, pasidName: 'PASID', role, tag, nested: under !== null }
    const id = this.#reading.spaces.add(space, pasidSpaceUse(use, owner), under?.id ?? null)
    return { pasid, state: 'valid', space: id, note: null, tags: [tag], entry }
  }
}
