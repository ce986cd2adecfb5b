/** What an audit looks at, and what it says. */
import type { WordMemory } from '../../base/memory.ts'
import type { DeviceNode, MachineGraph, Names, SpaceNode } from '../graph.ts'
import { type Way, waysOf } from '../ways.ts'

/**
 * `high`: whoever controls the device controls the machine, or all its memory. `medium`: a boundary has a hole, or the hardware refuses an
 * entry. `low`: wider than needed, or left over. `note`: worth knowing.
 */
export type Severity = 'high' | 'medium' | 'low' | 'note'

export const SEVERITIES: readonly Severity[] = ['high', 'medium', 'low', 'note']

export interface Remark {
  /** Name of the rule: `untranslated`. The table in docs/audit.md has them all. */
  readonly rule: string
  readonly severity: Severity
  /** Devices, entry or space that it is about. */
  readonly place: string
  /** What was found. */
  readonly text: string
}

export interface Rule<S extends Severity = Severity> {
  readonly name: string
  /** Those that its remarks may have, the worst first. */
  readonly severities: readonly S[]
  /** What it looks for and why that matters, for the docs. */
  readonly about: string
  /** What to do about it. */
  readonly advice: string
  look(machine: Audited): Iterable<Omit<Remark, 'rule' | 'severity'> & { readonly severity: S }>
}

/** Who uses a space. */
export interface Use {
  readonly device: DeviceNode
  /** Null: requests without PASID. */
  readonly pasid: number | null
}

export interface Audited {
  readonly graph: MachineGraph
  readonly memory: WordMemory
  readonly names: Names
  readonly ways: readonly Way[]
  /** By space id; those of a stage 1 are those of the stage 2 under it, too. */
  readonly uses: ReadonlyMap<string, readonly Use[]>
  /** Spaces whose outputs are physical addresses and that some device uses. Those of guests (stage 1 over a stage 2) are not among them. */
  readonly physical: readonly SpaceNode[]
}

/** Put together once for all rules. */
export function audited(graph: MachineGraph, memory: WordMemory, names: Names): Audited {
  const uses = new Map<string, Use[]>()
  const nodes = new Map(graph.spaces.map((space) => [space.id, space]))
  const add = (id: string | null, use: Use): void => {
    for (let at: string | null | undefined = id; at; at = nodes.get(at)?.over) {
      const list = uses.get(at) ?? []
      if (list.length === 0) uses.set(at, list)
      if (!list.some(({ device, pasid }) => device === use.device && pasid === use.pasid)) list.push(use)
    }
  }
  const ways = [...waysOf(graph)]
  for (const { device, pasid, space } of ways) add(space, { device, pasid })
  const physical = graph.spaces.filter(({ id, over }) => over === null && uses.has(id))
  return { graph, memory, names, ways, uses, physical }
}

/** So many are named; the others are counted. */
const NAMED = 6

/** `a, b and 3 more`. */
export function listText(names: readonly string[]): string {
  if (names.length <= NAMED + 1) return names.length < 2 ? names.join('') : `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`
  return `${names.slice(0, NAMED).join(', ')} and ${names.length - NAMED} more`
}

/** Devices with their PASIDs: `0000:00:06.0 (no PASID; PASID 1, 2) and 0000:00:07.0`. */
export function usesText(uses: readonly Use[]): string {
  const devices = new Map<string, Set<number | null>>()
  for (const { device, pasid } of uses) devices.set(device.name, (devices.get(device.name) ?? new Set()).add(pasid))
  return listText(
    [...devices].map(([name, pasids]) => {
      const numbers = [...pasids].filter((pasid) => pasid !== null)
      if (numbers.length === 0) return name
      return `${name} (${pasids.has(null) ? 'no PASID; ' : ''}PASID ${listText(numbers.map(String))})`
    }),
  )
}
