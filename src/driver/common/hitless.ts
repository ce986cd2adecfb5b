/**
 * Updates of a live table entry (STE, CD; DC, PC; context and PASID table entries) that never let the hardware see a mix of old and new. Arm
 * IHI 0070, 3.21.3 "Configuration structures and configuration invalidation completion"; RISC-V IOMMU 1.0, "Guidelines for invalidations":
 * one aligned 64-bit word is read and written as a whole, an entry is not; and fields that a configuration ignores may hold anything. x86
 * CPUs store 128 bits at once, and Intel VT-d reads its entries in such parts.
 *
 * So: give the bits that the present entry ignores their new values, switch with one such part, then clear what the new entry ignores.
 * Where the used bits of more than one part differ there is no such part, and the entry is made invalid first.
 */
import { type Fields, getBits, type Layout, maskIn } from '../../base/layout.ts'

/** What the algorithm must know of a structure. */
export interface EntryKind {
  /** Bit of V, within the first part. */
  readonly validBit: number
  /** 32-bit words that are read and written as a whole; 2 by default. */
  readonly atomWords?: 2 | 4 | 8
  /** Bits that may be set for as long as the old or the new entry has them: they say only what is recorded. None by default. */
  readonly quiet?: Uint32Array
  /** What stands in between where no single part can switch, of which the first part says it all. By default it is not valid: zeros. */
  readonly between?: Uint32Array
  /** Which bits of an entry the hardware looks at, as a mask of the same length. May depend only on bits that the mask contains. */
  used(entry: Uint32Array): Uint32Array
}

/** A part to store as a whole: where it begins in the entry, in 32-bit words, and what it becomes. */
export interface AtomStore {
  readonly at: number
  readonly words: Uint32Array
}

/** Parts that may be stored in any order, after which the entry's cached copies are invalidated and a sync is awaited. */
export type UpdateStep = readonly AtomStore[]

export interface UpdatePlan {
  /** Whether translation goes on undisturbed: at no instant is the entry anything but the old or the new one. */
  readonly hitless: boolean
  readonly steps: readonly UpdateStep[]
}

/**
 * The stores that turn `current` into `target`. Both have the same length, a multiple of a part.
 * @throws RangeError when `target` sets a bit that it does not use itself: such a bit would be stale rubbish later.
 */
export function planUpdate(current: Uint32Array, target: Uint32Array, kind: EntryKind): UpdatePlan {
  const targetUsed = kind.used(target)
  target.forEach((word, index) => {
    if ((word & ~targetUsed[index]!) !== 0)
      throw new RangeError(
        `word ${index} of the new entry is 0x${word.toString(16)}, of which it uses only 0x${targetUsed[index]!.toString(16)}`,
      )
  })
  const { atomWords = 2 } = kind
  const plan = new Steps(current, atomWords)
  // Of two entries that are both in use, what is not to be recorded is set first and cleared last.
  const quiet = bothValid(current, target, kind) ? kind.quiet : undefined
  const first = current.map((word, index) => word | (target[index]! & (quiet?.[index] ?? 0)))
  const last = target.map((word, index) => word | (current[index]! & (quiet?.[index] ?? 0)))
  plan.write(first, () => true)
  const hitless = change(plan, first, last, kind, atomWords)
  plan.write(target, () => true)
  return { hitless, steps: plan.steps }
}

function bothValid(current: Uint32Array, target: Uint32Array, { validBit }: EntryKind): boolean {
  return getBits(current, validBit, validBit) === 1 && getBits(target, validBit, validBit) === 1
}

/** @returns whether that is hitless. */
function change(plan: Steps, current: Uint32Array, target: Uint32Array, kind: EntryKind, atomWords: number): boolean {
  const currentUsed = kind.used(current)
  const targetUsed = kind.used(target)
  // What the entry may hold at once, unseen: new values in the bits that it ignores now.
  const prepared = current.map((word, index) => (word & currentUsed[index]!) | (target[index]! & ~currentUsed[index]!))
  const differing = new Set<number>()
  target.forEach((word, index) => {
    if (((prepared[index]! ^ word) & targetUsed[index]!) !== 0) differing.add(Math.floor(index / atomWords))
  })
  const [critical] = differing
  if (critical === undefined) {
    plan.write(target, () => true)
    return true
  }
  if (differing.size === 1) {
    // The critical part is written next anyway: preparing it too could only cost a sync more.
    plan.write(prepared, (atom) => atom !== critical)
    plan.write(target, (atom) => atom === critical)
    plan.write(target, () => true)
    // Between valid and invalid nothing can be undisturbed, but the same three steps do.
    return bothValid(current, target, kind)
  }
  // Not valid, and no louder than both.
  plan.write(
    kind.between ?? target.map((word, index) => word & current[index]! & (kind.quiet?.[index] ?? 0)),
    (atom) => atom === 0,
  )
  plan.write(target, (atom) => atom !== 0)
  plan.write(target, (atom) => atom === 0)
  return false
}

/** Collects steps, and leaves out stores and whole steps that would change nothing. */
class Steps {
  readonly steps: UpdateStep[] = []
  readonly #entry: Uint32Array
  readonly #atomWords: number

  constructor(entry: Uint32Array, atomWords: number) {
    this.#entry = entry.slice()
    this.#atomWords = atomWords
  }

  write(values: Uint32Array, which: (atom: number) => boolean): void {
    const step: AtomStore[] = []
    const size = this.#atomWords
    for (let at = 0; at < values.length; at += size) {
      const words = values.slice(at, at + size)
      if (!which(at / size) || words.every((word, index) => word === this.#entry[at + index])) continue
      step.push({ at, words })
      this.#entry.set(words, at)
    }
    if (step.length > 0) this.steps.push(step)
  }
}

/** The mask of some fields of a layout. */
export function maskOf<F extends Fields>(layout: Layout<F>, names: readonly (keyof F & string)[]): Uint32Array {
  const mask = new Uint32Array(layout.bits / 32)
  for (const name of names) for (let word = 0; word < mask.length; word++) mask[word]! |= maskIn(layout.fields[name]!, word)
  return mask
}
