/** What an inspector reads: memory, registers, and names that neither holds. Ours or a real machine's, it cannot tell. */
import { describe, type Layout, type Words, wordsToU64 } from '../base/layout.ts'
import type { WordMemory } from '../base/memory.ts'
import type { EntryView, Finding, MachineGraph, Names } from './graph.ts'
import type { Budget } from './space.ts'

export interface MachineSource {
  /** `two-domains.yaml`, `arm64-smmuv3-s1`. */
  readonly title: string
  readonly memory: WordMemory
  /** Value of the register at this offset; null when it is not known. */
  register(offset: number, bytes: 4 | 8): bigint | null
  readonly names?: Names
  /** Limits the work; `defaultBudget()` when absent. It is used up. */
  readonly budget?: Budget
}

/** Reads a machine. Never throws for what tables hold, however broken. */
export type Inspector = (source: MachineSource) => MachineGraph

/** Findings without repetition: hostile tables say the same a million times. */
export class Findings {
  readonly list: Finding[] = []
  readonly #counts = new Map<string, number>()
  #dropped = 0

  /** @param kind findings of one kind are listed a few times, then counted. */
  add(severity: Finding['severity'], place: string, text: string, kind: string): void {
    const count = (this.#counts.get(kind) ?? 0) + 1
    this.#counts.set(kind, count)
    if (count <= PER_KIND) this.list.push({ severity, place, text })
    else this.#dropped++
  }

  /** All, the worst first, with a last line that says how many more there were. */
  done(): Finding[] {
    const sorted = worstFirst(this.list)
    if (this.#dropped > 0) sorted.push({ severity: 'note', place: 'findings', text: `${this.#dropped} more like these` })
    return sorted
  }
}

const PER_KIND = 8

export function worstFirst(findings: readonly Finding[]): Finding[] {
  const order = { error: 0, warning: 1, note: 2 }
  return [...findings].sort((a, b) => order[a.severity] - order[b.severity])
}

/** A device's name: as given, else its id. */
export function deviceName(names: Names | undefined, id: number): string {
  return names?.devices?.get(id)?.name ?? `0x${id.toString(16)}`
}

/**
 * An entry for the graph. Fields are decoded when they are looked at: most never are, and a machine may have many entries.
 * @param entry the structure's 32-bit words, a copy.
 */
export function entryView(layout: Layout, address: number, entry: Words): EntryView {
  return {
    structure: layout.name,
    address: BigInt(address),
    words: wordsToU64(entry),
    get fields() {
      return describe(layout, entry)
    },
  }
}
