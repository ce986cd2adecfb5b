/** What tools know about a structure besides its layout: its name and place in the manual, its family, and what can be wrong with it. */
import type { Layout, Words } from '../base/layout.ts'

/** What surrounds a structure: values of registers, and other structures, as far as they are known. */
export interface Surroundings {
  /** A register by the manual's name; null when it is not known. */
  register(name: string): bigint | null
  /** Another structure by name, as 32-bit words; null when it is not known. */
  structure(name: string): Words | null
}

/** Something about a structure's values. `illegal`: the hardware refuses it. `note`: legal, and perhaps not what was meant. */
export interface Verdict {
  readonly kind: 'illegal' | 'note'
  readonly text: string
  /** Section of the manual; null when there is none. */
  readonly section: string | null
}

export interface Structure {
  /** As the manual prints it: `STE`, `CMD_SYNC`, `IDR0`. */
  readonly name: string
  readonly kind: 'table entry' | 'command' | 'event' | 'page request' | 'register'
  /** What it is, in a few words. */
  readonly what: string
  readonly section: string
  readonly layout: Layout
  /** For a family (`CMD`, `EVENT`): the member that these words are; null when the manual defines none. */
  pick?(words: Words, at: number): Structure | null
  /** What is wrong with the values, or worth saying. */
  check?(words: Words, at: number, around: Surroundings): readonly Verdict[]
  /** What the hardware does about an illegal one: `C_BAD_STE`. */
  readonly refusal?: string
}

/** One architecture's structures. */
export interface StructureSet {
  /** For the command line: `smmuv3`. */
  readonly key: string
  /** `Arm SMMUv3`. */
  readonly name: string
  readonly manual: string
  /** In front of register names, in manuals: `SMMU_`. */
  readonly registerPrefix: string
  /** Registers and structures that decide whether another structure is legal: what a caller may want to give. `unless`: what counts else. */
  readonly surroundings: {
    readonly registers: readonly string[]
    readonly registersUnless: string
    readonly structures: readonly { readonly name: string; readonly what: string }[]
  }
  readonly structures: readonly Structure[]
}

/** A structure and whose it is. */
export interface Found {
  readonly set: StructureSet
  readonly structure: Structure
}

/** Bits that no field covers and that are set, as [msb, lsb] pairs from the lowest up. */
export function reservedBitsSet(reserved: Uint32Array, words: Words, at = 0): [number, number][] {
  const ranges: [number, number][] = []
  for (let bit = 0; bit < reserved.length * 32; bit++) {
    const word = bit >>> 5
    if (((reserved[word]! & words[at + word]!) >>> (bit & 31)) % 2 === 0) continue
    const last = ranges.at(-1)
    if (last !== undefined && last[0] === bit - 1) last[0] = bit
    else ranges.push([bit, bit])
  }
  return ranges
}
