/** What reading device tables and PASID tables has in common: whose they are, what is listed, what is missing. */
import { hex } from '../base/hex.ts'
import type { PtSpace } from '../format/pt/format.ts'
import type { Names, PasidNode, PasidTableNode } from './graph.ts'
import type { Reading } from './reading.ts'
import { deviceName, type Findings } from './source.ts'
import type { Budget } from './space.ts'
import type { Spaces, SpaceUse } from './spaces.ts'

/** So many entries of a PASID table with the very same words, or refused by the same rule, are listed. */
const ALIKE = 16

/** No single PASID table takes more than this part of the lookups that are left. */
const SHARE = 4

/** The stage 2 under a nested device. */
export interface Under {
  readonly id: string
  readonly space: PtSpace
}

/** Whose table it is. */
export interface Owner {
  /** A device. */
  readonly user: string
  /** `domain A`, where it is known. */
  readonly domain: string | null
}

/** Whose table a device's entry leads to. */
export function ownerOf(names: Names | undefined, device: number): Owner {
  const domain = names?.devices?.get(device)?.domain
  return { user: deviceName(names, device), domain: domain === undefined ? null : domainLabel(domain) }
}

/** `domain A`, whether it is called `A` or `domain A`. */
function domainLabel(domain: string): string {
  return /domain/i.test(domain) ? domain : `domain ${domain}`
}

/** How a domain's own tables at stage 2 are labelled. @param what they are where the domain is not known: `stage 2`. */
export function stage2Use(what: string, tag: string, { user, domain }: Owner): SpaceUse {
  const label = domain === null ? { what: `${what} of`, user } : { what: domain, user: null }
  return { stage: 2, role: 'io_pgtable', ...label, tag }
}

/** What is known of the space behind an entry of a PASID table. */
export interface PasidSpace {
  readonly pasid: number
  /** The entry is the domain's own, for requests without PASID; absent: entry 0 is. */
  readonly own?: boolean
  /** The manual's word: `SubstreamID`. */
  readonly pasidName: string
  /** `io_mm` where the entry says that it is a process. */
  readonly role: 'io_mm' | 'unknown'
  /** `ASID 3`. */
  readonly tag: string
  /** Stage 1 is a guest's own: which of its spaces are processes cannot be told. */
  readonly nested: boolean
}

/** How such a space is labelled until its name is known. */
export function pasidSpaceUse(
  { pasid, own = pasid === 0, pasidName, role, tag, nested }: PasidSpace,
  { user, domain }: Owner,
): SpaceUse {
  const of = (what: string) => (domain === null ? { what: `${what} of`, user } : { what: `${what} of ${domain}`, user: null })
  if (nested) return { stage: 1, role: 'unknown', ...of(own ? "guest's stage 1" : `guest's ${pasidName} ${pasid}`), tag }
  if (own) return { stage: 1, role: 'io_pgtable', ...(domain === null ? of('DMA domain') : { what: domain, user: null }), tag }
  return { stage: 1, role, ...of(`${pasidName} ${pasid}`), tag }
}

/** The PASID tables of a machine: each is read once, whichever devices lead to it. */
export class PasidTables {
  readonly #spaces: Spaces
  readonly #nodes = new Map<string, PasidTableNode>()

  constructor(spaces: Spaces) {
    this.#spaces = spaces
  }

  nodes(): PasidTableNode[] {
    return [...this.#nodes.values()]
  }

  /**
   * The id of a table.
   * @param key what decides how the same bytes are read.
   * @param read reads it when it is met for the first time.
   */
  add(key: string, { user }: Owner, read: (id: string) => PasidTableNode): string {
    const known = this.#nodes.get(key)
    if (known === undefined) {
      const node = read(`table${this.#nodes.size}`)
      this.#nodes.set(key, node)
      return node.id
    }
    for (const { space, upper } of known.entries) {
      if (space !== null) this.#spaces.alsoUsedBy(space, user)
      if (upper !== undefined && upper !== null) this.#spaces.alsoUsedBy(upper, user)
    }
    return known.id
  }
}

/** The entries of one PASID table, while it is read. */
export class Listing {
  /** The table's name, for findings. */
  readonly place: string
  readonly findings: Findings
  readonly #budget: Budget
  readonly #pasidName: string
  readonly #entriesName: string
  readonly #limit: number
  readonly #entries: PasidNode[] = []
  readonly #counts = new Map<string, number>()
  #lookups = 0
  #left = 0

  /** @param names the manual's words for a PASID and for entries: `SubstreamID`, `CDs`. */
  constructor({ budget, findings }: Reading, place: string, names: { readonly pasid: string; readonly entries: string }) {
    this.place = place
    this.findings = findings
    this.#budget = budget
    this.#pasidName = names.pasid
    this.#entriesName = names.entries
    this.#limit = Math.ceil(budget.entries / SHARE)
  }

  /** Counts a lookup. @returns false when there were too many, which it says. */
  mayRead(pasid: number): boolean {
    if (this.#lookups++ < this.#limit && this.#budget.listed > 0) return true
    const text = `entries from ${this.#pasidName} ${pasid} on were not read: too many`
    this.findings.add('warning', this.place, text, 'incomplete')
    return false
  }

  /** Lists an entry, unless there are many of its kind. */
  add(kind: string, entry: () => PasidNode): void {
    const count = (this.#counts.get(kind) ?? 0) + 1
    this.#counts.set(kind, count)
    if (count > ALIKE) {
      this.#left++
      return
    }
    this.#entries.push(entry())
    this.#budget.listed--
  }

  done(): PasidNode[] {
    this.#budget.entries -= this.#lookups
    const text = `${this.#left} more ${this.#entriesName} that say the same as others are not listed`
    if (this.#left > 0) this.findings.add('note', this.place, text, 'alike')
    return this.#entries
  }
}

/** Pages of a table where nothing answers: the first is described, the others are counted. */
export class Missing {
  readonly #table: string
  readonly #findings: Findings | null
  #count = 0

  constructor(table: string, findings: Findings | null) {
    this.#table = table
    this.#findings = findings
  }

  /** @param what ids that cannot be reached; `why` what was wrong with the entry at `address`. */
  add(what: string, address: number, why: string): void {
    this.#count++
    if (this.#count === 1)
      this.#findings?.add('error', `${this.#table} at ${hex(address)}`, `${what} cannot be read: ${why}`, 'missing table')
  }

  done(): void {
    if (this.#count > 1)
      this.#findings?.add('error', this.#table, `${this.#count - 1} more of its pages cannot be read`, 'missing table')
  }
}
