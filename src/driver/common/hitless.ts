/**
 * Updates of a live table entry (STE, CD; DC, PC) that never let the hardware see a mix of old and new. Arm IHI 0070, 3.21.3
 * "Configuration structures and configuration invalidation completion"; RISC-V IOMMU 1.0, "Guidelines for invalidations": one aligned
 * 64-bit word is read and written as a whole, an entry is not; and fields that a configuration ignores may hold anything.
 *
 * So: give the bits that the present entry ignores their new values, switch with one 64-bit word, then clear what the new entry ignores.
 * Where the used bits of more than one word differ there is no such word, and the entry is made invalid first.
 */
import { getBits } from '../../base/layout.ts'

/** What the algorithm must know of a structure. */
export interface EntryKind {
  /** Bit of V, within the first 64-bit word. */
  readonly validBit: number
  /** Which bits of an entry the hardware looks at, as a mask of the same length. May depend only on bits that the mask contains. */
  used(entry: Uint32Array): Uint32Array
}

/** A 64-bit word to store: its index in the entry, its halves. */
export interface WordStore {
  readonly word: number
  readonly lo: number
  readonly hi: number
}

/** Words that may be stored in any order, after which the entry's cached copies are invalidated and a sync is awaited. */
export type UpdateStep = readonly WordStore[]

export interface UpdatePlan {
  /** Whether translation goes on undisturbed: at no instant is the entry anything but the old or the new one. */
  readonly hitless: boolean
  readonly steps: readonly UpdateStep[]
}

/**
 * The stores that turn `current` into `target`. Both have the same length, a multiple of two words.
 * @throws RangeError when `target` sets a bit that it does not use itself: such a bit would be stale rubbish later.
 */
export function planUpdate(current: Uint32Array, target: Uint32Array, kind: EntryKind): UpdatePlan {
  const currentUsed = kind.used(current)
  const targetUsed = kind.used(target)
  target.forEach((word, index) => {
    if ((word & ~targetUsed[index]!) !== 0)
      throw new RangeError(
        `word ${index} of the new entry is 0x${word.toString(16)}, of which it uses only 0x${targetUsed[index]!.toString(16)}`,
      )
  })
  // What the entry may hold at once, unseen: new values in the bits that it ignores now.
  const prepared = current.map((word, index) => (word & currentUsed[index]!) | (target[index]! & ~currentUsed[index]!))
  const differing: number[] = []
  for (let word = 0; word < target.length / 2; word++) {
    const differs = (half: number) => (((prepared[half]! ^ target[half]!) & targetUsed[half]!) | 0) !== 0
    if (differs(word * 2) || differs(word * 2 + 1)) differing.push(word)
  }
  const plan = new Steps(current)
  const [critical] = differing
  if (critical !== undefined && differing.length === 1) {
    // The critical word is written next anyway: preparing it too could only cost a sync more.
    plan.write(prepared, (word) => word !== critical)
    plan.write(target, (word) => word === critical)
    plan.write(target, () => true)
    // Between valid and invalid nothing can be undisturbed, but the same three steps do.
    const bothValid = getBits(current, kind.validBit, kind.validBit) === 1 && getBits(target, kind.validBit, kind.validBit) === 1
    return { hitless: bothValid, steps: plan.steps }
  }
  if (critical === undefined) {
    plan.write(target, () => true)
    return { hitless: true, steps: plan.steps }
  }
  plan.write(new Uint32Array(target.length), (word) => word === 0)
  plan.write(target, (word) => word !== 0)
  plan.write(target, (word) => word === 0)
  return { hitless: false, steps: plan.steps }
}

/** Collects steps, and leaves out stores and whole steps that would change nothing. */
class Steps {
  readonly steps: UpdateStep[] = []
  readonly #entry: Uint32Array

  constructor(entry: Uint32Array) {
    this.#entry = entry.slice()
  }

  write(values: Uint32Array, which: (word: number) => boolean): void {
    const step: WordStore[] = []
    for (let word = 0; word < values.length / 2; word++) {
      const lo = values[word * 2]!
      const hi = values[word * 2 + 1]!
      if (!which(word) || (this.#entry[word * 2] === lo && this.#entry[word * 2 + 1] === hi)) continue
      step.push({ word, lo, hi })
      this.#entry[word * 2] = lo
      this.#entry[word * 2 + 1] = hi
    }
    if (step.length > 0) this.steps.push(step)
  }
}
