/**
 * From a physical page back to the devices that reach it: with which PASID, at which address, with which rights. The tables are read
 * again, leaf by leaf, by the same `enumerate` that drew the machine; nothing is kept for it beforehand.
 */
import type { WordMemory } from '../base/memory.ts'
import { u64 } from '../base/u64.ts'
import { baseOf, enumerate, type LeafView } from '../format/pt/enumerate.ts'
import type { PtSpace } from '../format/pt/format.ts'
import type { DeviceNode, MachineGraph, SpaceNode } from './graph.ts'
import { waysOf } from './ways.ts'

/** Addresses of a space that lead to what was asked for. */
export interface Mapping {
  /** Address that the device uses. End exclusive. */
  readonly start: bigint
  readonly end: bigint
  /** Physical address behind `start`. */
  readonly pa: bigint
  /** Mask of UR … PX (base/types.ts), of both stages. */
  readonly rights: number
  /** log2 of the bytes of the leaf; null where nothing is translated. */
  readonly log2: number | null
  /** Where the leaf lies (that of stage 1, where there are two), and its word; null where nothing is translated. */
  readonly entryAddress: bigint | null
  readonly entry: bigint | null
}

/** One way of one device to it. */
export interface Reach {
  readonly device: DeviceNode
  /** Null: requests without PASID. */
  readonly pasid: number | null
  /** Null: nothing is translated, every address is reached. */
  readonly space: SpaceNode | null
  readonly mappings: readonly Mapping[]
}

export interface Found {
  readonly reaches: readonly Reach[]
  /** False when there was more than what is kept: hostile tables map one page a million times. */
  readonly complete: boolean
}

/** Addresses that are looked for in the outputs of a space, with what a later stage makes of them. */
interface Target {
  readonly start: number
  readonly end: number
  readonly pa: number
  readonly rights: number
  readonly log2: number
}

/** So many mappings of one space are kept. */
const MAPPINGS = 1 << 14
/** So many page-table pages of one space are read. */
const TABLES = 1 << 20
const ALL = 63

/**
 * Who reaches a physical range.
 * @param graph what an inspector found in this memory.
 * @param start first byte. @param end first byte behind; both below 2^52.
 */
export function findReaches(graph: MachineGraph, memory: WordMemory, start: number, end: number): Found {
  if (!(start >= 0 && start < end && end <= 2 ** 52))
    throw new RangeError(`the range 0x${start.toString(16)} to 0x${end.toString(16)} is empty or above 2^52`)
  const search = new Search(graph, memory, { start, end, pa: start, rights: ALL, log2: 64 })
  const reaches: Reach[] = []
  for (const { device, pasid, space } of waysOf(graph)) {
    const mappings = space === null ? [search.same] : search.space(space)
    if (mappings.length > 0) reaches.push({ device, pasid, space: space === null ? null : search.node(space), mappings })
  }
  return { reaches, complete: search.complete }
}

class Search {
  complete = true
  /** The range itself, where nothing is translated. */
  readonly same: Mapping
  readonly #memory: WordMemory
  readonly #wanted: Target
  readonly #nodes: ReadonlyMap<string, SpaceNode>
  readonly #found = new Map<string, readonly Mapping[]>()
  /** What leads to it in the outputs of stage 1, by stage 2. */
  readonly #through = new Map<PtSpace, readonly Target[]>()

  constructor(graph: MachineGraph, memory: WordMemory, wanted: Target) {
    this.#memory = memory
    this.#wanted = wanted
    this.#nodes = new Map(graph.spaces.map((space) => [space.id, space]))
    const { start, end } = wanted
    const bounds = { start: BigInt(start), end: BigInt(end), pa: BigInt(start) }
    this.same = { ...bounds, rights: ALL, log2: null, entryAddress: null, entry: null }
  }

  node(id: string): SpaceNode | null {
    return this.#nodes.get(id) ?? null
  }

  /** Addresses of a space that lead there. Read once, however many devices use it. */
  space(id: string): readonly Mapping[] {
    const known = this.#found.get(id)
    if (known !== undefined) return known
    const node = this.#nodes.get(id)
    const found =
      node === undefined ? [] : node.tables === undefined ? (node.root === null ? [this.same] : []) : this.#read(node.tables)
    this.#found.set(id, found)
    return found
  }

  #read(space: PtSpace): Mapping[] {
    const mappings: Mapping[] = []
    this.#scan(space, (at, { start, end, pa, rights, log2 }) => {
      const from = Math.max(at.output, start)
      const input = at.input + (from - at.output)
      const bytes = Math.min(at.output + 2 ** at.log2, end) - from
      mappings.push({
        start: baseOf(space, input) + BigInt(input),
        end: baseOf(space, input) + BigInt(input + bytes),
        pa: BigInt(pa + (from - start)),
        rights: at.rights & rights,
        log2: Math.min(at.log2, log2),
        entryAddress: BigInt(at.pa),
        entry: u64(at.hi, at.lo),
      })
    })
    return joined(mappings)
  }

  /** Intermediate addresses that lead there. */
  #targets(stage2: PtSpace): readonly Target[] {
    const known = this.#through.get(stage2)
    if (known !== undefined) return known
    const found: Target[] = []
    this.#scan(stage2, (at, { start, end }) => {
      const from = Math.max(at.output, start)
      const input = at.input + (from - at.output)
      const bytes = Math.min(at.output + 2 ** at.log2, end) - from
      found.push({ start: input, end: input + bytes, pa: from, rights: at.rights, log2: at.log2 })
    })
    this.#through.set(stage2, found)
    return found
  }

  /** Visits the leaves of a space whose output meets a target and that allow something. */
  #scan(space: PtSpace, visit: (at: LeafView, target: Target) => void): void {
    // In input order, and so in address order: enumeration goes upwards.
    const targets = space.stage2 === null ? [this.#wanted] : this.#targets(space.stage2)
    let left = MAPPINGS
    const visitor = {
      leaf: (at: LeafView) => {
        const end = at.output + 2 ** at.log2
        for (let index = firstEndingAfter(targets, at.output); index < targets.length; index++) {
          const target = targets[index]!
          if (target.start >= end) break
          if ((at.rights & target.rights) === 0) continue
          if (--left < 0) {
            this.complete = false
            return
          }
          visit(at, target)
        }
      },
    }
    if (targets.length > 0 && !enumerate(this.#memory, space, visitor, TABLES).complete) this.complete = false
  }
}

/** Targets are in order and apart. */
function firstEndingAfter(targets: readonly Target[], address: number): number {
  let low = 0
  let high = targets.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (targets[middle]!.end <= address) low = middle + 1
    else high = middle
  }
  return low
}

/** Mappings in a row that go on where the one before ended, as one. */
function joined(mappings: readonly Mapping[]): Mapping[] {
  const out: Mapping[] = []
  for (const mapping of mappings) {
    const last = out.at(-1)
    const follows = last !== undefined && last.end === mapping.start && last.pa + (last.end - last.start) === mapping.pa
    if (follows && last.rights === mapping.rights && last.log2 === mapping.log2)
      out[out.length - 1] = { ...last, end: mapping.end }
    else out.push(mapping)
  }
  return out
}
