/** The global space of PASIDs: 20 bits at most (PCI Express), 0 never given out. Three levels of bitmaps, so that each call costs a few words. */
import { PASID_LIMIT, type Pasid } from '../base/types.ts'

const ALL = -1

export class PasidAllocator {
  readonly #cyclic: boolean
  /** Bit set: used. One level up, bit set: that word is full. */
  readonly #levels = [new Int32Array(PASID_LIMIT / 32), new Int32Array(PASID_LIMIT / 1024), new Int32Array(PASID_LIMIT / 32768)]
  #last = 0
  #used = 0

  constructor(policy: 'lowest' | 'cyclic') {
    this.#cyclic = policy === 'cyclic'
    this.#mark(0)
  }

  /** How many are given out. */
  get used(): number {
    return this.#used
  }

  /** A free PASID below the limit; null when there is none. */
  allocate(limit: number): Pasid | null {
    let pasid = this.#nextFree(0, this.#cyclic ? this.#last + 1 : 1)
    if (this.#cyclic && (pasid < 0 || pasid >= limit)) pasid = this.#nextFree(0, 1)
    if (pasid < 0 || pasid >= limit) return null
    this.take(pasid)
    return pasid
  }

  isFree(pasid: number): boolean {
    return (this.#levels[0]![pasid >>> 5]! & (1 << (pasid & 31))) === 0
  }

  /** Gives out this one, which is free. */
  take(pasid: Pasid): void {
    this.#mark(pasid)
    this.#last = pasid
    this.#used++
  }

  free(pasid: Pasid): void {
    if (pasid === 0 || this.isFree(pasid)) throw new RangeError(`PASID ${pasid} was not given out`)
    this.#used--
    let index = pasid
    for (const level of this.#levels) {
      level[index >>> 5]! &= ~(1 << (index & 31))
      index >>>= 5
    }
  }

  #mark(pasid: number): void {
    let index = pasid
    for (const level of this.#levels) {
      const word = index >>> 5
      level[word]! |= 1 << (index & 31)
      if (level[word] !== ALL) return
      index = word
    }
  }

  /** The lowest clear bit at or above `from`; -1 when there is none. */
  #nextFree(depth: number, from: number): number {
    const level = this.#levels[depth]!
    let word = from >>> 5
    if (word >= level.length) return -1
    const bits = level[word]! | ((1 << (from & 31)) - 1)
    if (bits !== ALL) return word * 32 + lowest(~bits)
    if (depth + 1 < this.#levels.length) word = this.#nextFree(depth + 1, word + 1)
    else {
      do word++
      while (word < level.length && level[word] === ALL)
      if (word === level.length) word = -1
    }
    return word < 0 ? -1 : word * 32 + lowest(~level[word]!)
  }
}

/** Number of the lowest set bit. */
function lowest(bits: number): number {
  return 31 - Math.clz32(bits & -bits)
}
