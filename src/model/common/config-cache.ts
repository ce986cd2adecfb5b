/**
 * Configuration caches: entries of the device table by device, of PASID tables by device and PASID. What was fetched may be kept until the
 * invalidation command that covers it (Arm IHI 0070, 3.21.3, and likewise elsewhere).
 */

const WAYS = 4

/** A four-way cache of objects by two 32-bit numbers. A hit allocates nothing. */
export class ConfigCache<T extends object> {
  /** Entries that fit; 0: off. */
  readonly capacity: number
  used = 0
  readonly #keys: Int32Array
  readonly #values: (T | null)[]
  readonly #setMask: number
  #victim = 0
  /** What was found last; -1: nothing. */
  #lastFirst = -1
  #lastSecond = -1
  #last: T | null = null

  /** @param entries rounded up to a power of two, at least 4; 0 switches the cache off. */
  constructor(entries: number) {
    let sets = 0
    if (entries > 0) for (sets = 1; sets * WAYS < entries; ) sets *= 2
    this.capacity = sets * WAYS
    this.#setMask = sets - 1
    this.#keys = new Int32Array(this.capacity * 2)
    this.#values = new Array<T | null>(this.capacity).fill(null)
  }

  find(first: number, second: number): T | null {
    // The same as last time: a device goes on with what it does.
    if (first === this.#lastFirst && second === this.#lastSecond) return this.#last
    return this.#look(first, second)
  }

  #look(first: number, second: number): T | null {
    if (this.used === 0) return null
    const keys = this.#keys
    const slot = this.#slot(first, second)
    for (let at = slot; at < slot + WAYS; at++) {
      if (keys[at * 2] !== (first | 0) || keys[at * 2 + 1] !== (second | 0)) continue
      const value = this.#values[at]!
      if (value === null) continue
      this.#lastFirst = first
      this.#lastSecond = second
      this.#last = value
      return value
    }
    return null
  }

  #forgetLast(): void {
    this.#lastFirst = -1
    this.#last = null
  }

  insert(first: number, second: number, value: T): void {
    if (this.capacity === 0) return
    this.#forgetLast()
    const slot = this.#slot(first, second)
    let at = -1
    for (let way = slot; way < slot + WAYS; way++) {
      const free = this.#values[way] === null
      if (!free && this.#keys[way * 2] === (first | 0) && this.#keys[way * 2 + 1] === (second | 0)) {
        at = way
        break
      }
      if (free && at < 0) at = way
    }
    if (at < 0) {
      at = slot + (this.#victim & (WAYS - 1))
      this.#victim++
    }
    if (this.#values[at] === null) this.used++
    this.#keys[at * 2] = first
    this.#keys[at * 2 + 1] = second
    this.#values[at] = value
  }

  /**
   * Removes entries whose first number lies in [first, last] (unsigned) and whose second is this one; -1: any.
   * @param spared entries that stay all the same.
   */
  invalidate(first: number, last: number, second = -1, spared: (value: T) => boolean = () => false): void {
    if (this.used === 0) return
    this.#forgetLast()
    const one = first === last && second >= 0
    const from = one ? this.#slot(first, second) : 0
    for (let at = from; at < (one ? from + WAYS : this.capacity); at++) {
      const value = this.#values[at]
      if (value === null || value === undefined || spared(value)) continue
      const key = this.#keys[at * 2]! >>> 0
      if (key < first || key > last || (second >= 0 && this.#keys[at * 2 + 1] !== second)) continue
      this.#values[at] = null
      this.used--
    }
  }

  #slot(first: number, second: number): number {
    let mixed = Math.imul(first, 0x9e3779b1) ^ Math.imul(second, 0x85ebca6b)
    mixed ^= mixed >>> 15
    return (mixed & this.#setMask) * WAYS
  }
}
