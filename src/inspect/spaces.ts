/** The address spaces of a machine: each page table is read once, whoever leads to it. */
import type { WordMemory } from '../base/memory.ts'
import { levelOf, type PtSpace } from '../format/pt/format.ts'
import type { Names, SpaceNode } from './graph.ts'
import type { Findings } from './source.ts'
import { type Budget, readSpace, type SpaceReading } from './space.ts'

/** What is known about a space from the entry that leads to it. */
export interface SpaceUse {
  readonly stage: 1 | 2
  readonly role: SpaceNode['role']
  /** `DMA domain of`, `PASID 5 of`: followed by who uses it. The whole label where `user` is null. */
  readonly what: string
  /** A device. */
  readonly user: string | null
  /** `ASID 3`. */
  readonly tag: string | null
}

interface Known {
  readonly id: string
  readonly space: PtSpace
  readonly first: SpaceUse
  readonly over: string | null
  readonly reading: SpaceReading
  role: SpaceNode['role']
  readonly users: Set<string>
  readonly tags: Set<string>
}

export class Spaces {
  readonly #memory: WordMemory
  readonly #names: Names | undefined
  readonly #budget: Budget
  readonly #findings: Findings
  readonly #known = new Map<string, Known>()
  readonly #byId = new Map<string, Known>()
  readonly #fixes = new Map<Uint8Array, number>()

  constructor(memory: WordMemory, names: Names | undefined, budget: Budget, findings: Findings) {
    this.#memory = memory
    this.#names = names
    this.#budget = budget
    this.#findings = findings
  }

  /** The id of this space. Reads it when it is met for the first time. @param over id of the stage 2 under it. */
  add(space: PtSpace, use: SpaceUse, over: string | null = null): string {
    const key = this.#key(space, over)
    let known = this.#known.get(key)
    if (known === undefined) {
      const reading = readSpace(this.#memory, space, this.#budget, use.role === 'io_mm')
      const id = `space${this.#known.size}`
      known = { id, space, first: use, over, reading, role: use.role, users: new Set(), tags: new Set() }
      this.#known.set(key, known)
      this.#byId.set(id, known)
      this.#report(space, use, reading)
    }
    // A process seen from a second table is still a process; what could not be told may now be.
    if (known.role === 'unknown') known.role = use.role
    if (use.user !== null) known.users.add(use.user)
    if (use.tag !== null) known.tags.add(use.tag)
    return known.id
  }

  /** One more user of a space that is known. */
  alsoUsedBy(id: string, user: string): void {
    this.#byId.get(id)?.users.add(user)
  }

  nodes(): SpaceNode[] {
    return [...this.#known.values()].map((known) => this.#node(known))
  }

  /** The same root, read in the same way, is the same space. */
  #key(space: PtSpace, over: string | null): string {
    const { fix } = space
    if (!this.#fixes.has(fix)) this.#fixes.set(fix, this.#fixes.size)
    const { format, root, topDepth, inputBits, top, outputLimit, hierarchical, bigEndian } = space
    return [format.name, format.leafRights.rights.join(), root, topDepth, inputBits, top, outputLimit, hierarchical, bigEndian]
      .concat([this.#fixes.get(fix)!, over ?? ''])
      .join('|')
  }

  #node({ id, space, first, over, reading, role, users, tags }: Known): SpaceNode {
    const root = BigInt(space.root)
    const named = this.#names?.spaces?.get(root)
    const [one] = users
    const who = users.size <= 2 ? [...users].join(' and ') : `${one} and ${users.size - 1} more`
    return {
      id,
      root,
      format: space.format.name,
      inputBits: space.inputBits,
      levels: space.topDepth + 1,
      stage: first.stage,
      role: named?.role ?? role,
      label: named?.label ?? (first.user === null ? first.what : `${first.what} ${who}`),
      tags: [...tags].sort(),
      ranges: reading.ranges,
      leafCount: reading.leafCount,
      tableCount: reading.tableCount,
      mappedBytes: reading.mappedBytes,
      complete: reading.complete,
      over,
      tables: space,
    }
  }

  #report(space: PtSpace, use: SpaceUse, reading: SpaceReading): void {
    const whose = use.user === null ? use.what : `${use.what} ${use.user}`
    const place = `page table at 0x${space.root.toString(16)} (${whose}, from level ${levelOf(space.format, space.topDepth)})`
    for (const text of reading.missing) this.#findings.add('error', place, `nothing answers at ${text}`, 'missing page table')
    if (reading.missingCount > reading.missing.length)
      this.#findings.add(
        'error',
        place,
        `${reading.missingCount - reading.missing.length} more tables are missing`,
        'missing page table',
      )
    if (reading.missingAbove > 0)
      this.#findings.add(
        'note',
        place,
        `the kernel's half is not there (tables missing: ${reading.missingAbove})`,
        'missing kernel half',
      )
    for (const text of reading.broken) this.#findings.add('error', place, text, 'broken entry')
    if (reading.brokenCount > reading.broken.length)
      this.#findings.add('error', place, `${reading.brokenCount - reading.broken.length} more broken entries`, 'broken entry')
    if (!reading.complete)
      this.#findings.add('warning', place, 'is larger than what is read of one machine: ranges are left out', 'incomplete')
  }
}
