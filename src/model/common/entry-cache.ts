/**
 * Entries of device tables and process tables that an IOMMU remembers, by device and process: RISC-V device and process contexts, VT-d
 * context entries and PASID-table entries. They lie one after the other in one array; nothing allocates.
 */

const NO_KEY = -1

export class EntryCache {
  /** Entries, `wordsPer` 32-bit words each. */
  readonly words: Int32Array
  readonly #keys: Int32Array
  readonly #wordsPer: number
  readonly size: number
  readonly #epoch: Int32Array
  readonly #ways: number
  readonly #sets: number
  readonly #shift: number
  readonly #next: Uint8Array

  /**
   * @param size number of entries: 0 for none, or a power of two. Room for one more is kept, so that an entry that is not remembered
   *   has a place too.
   * @param epoch [0] counts up when an entry is remembered or forgotten.
   */
  constructor(size: number, wordsPer: number, epoch: Int32Array) {
    if (size !== 0 && (size & (size - 1)) !== 0) throw new RangeError(`directory cache: ${size} entries; use 0 or a power of two`)
    this.size = size
    this.#epoch = epoch
    this.#wordsPer = wordsPer
    this.words = new Int32Array((size + 1) * wordsPer)
    this.#keys = new Int32Array(size * 2).fill(NO_KEY)
    this.#ways = Math.min(4, size)
    this.#sets = size === 0 ? 0 : size / this.#ways
    this.#shift = 32 - Math.log2(Math.max(1, this.#sets))
    this.#next = new Uint8Array(Math.max(1, this.#sets))
  }

  #first(device: number, process: number): number {
    const mixed = Math.imul(device ^ Math.imul(process, 0x9e3779b1), 0x85ebca6b)
    return (this.#sets > 1 ? (mixed ^ (mixed >>> 15)) >>> this.#shift : 0) * this.#ways
  }

  /** Index of the entry's first word in `words`, -1 when it is not remembered. A device's own entry has process 0. */
  find(device: number, process: number): number {
    if (this.size === 0) return -1
    const keys = this.#keys
    const first = this.#first(device, process)
    for (let slot = first; slot < first + this.#ways; slot++)
      if (keys[slot * 2] === device && keys[slot * 2 + 1] === process) return slot * this.#wordsPer
    return -1
  }

  /** Remembers an entry (which is not remembered yet). @returns the index of its first word in `words`. */
  insert(device: number, process: number, entry: Int32Array): number {
    this.#epoch[0]!++
    const slot = this.size === 0 ? 0 : this.#victim(device, process)
    const at = slot * this.#wordsPer
    for (let word = 0; word < this.#wordsPer; word++) this.words[at + word] = entry[word]!
    return at
  }

  /** Where an entry can be put that is not to be remembered. */
  scratch(entry: Int32Array): number {
    const at = this.size * this.#wordsPer
    for (let word = 0; word < this.#wordsPer; word++) this.words[at + word] = entry[word]!
    return at
  }

  #victim(device: number, process: number): number {
    const keys = this.#keys
    const first = this.#first(device, process)
    let slot = first
    while (slot < first + this.#ways && keys[slot * 2] !== NO_KEY) slot++
    if (slot === first + this.#ways) {
      const set = first / this.#ways
      const way = this.#next[set]!
      this.#next[set] = (way + 1) % this.#ways
      slot = first + way
    }
    keys[slot * 2] = device
    keys[slot * 2 + 1] = process
    return slot
  }

  clear(): void {
    this.#epoch[0]!++
    this.#keys.fill(NO_KEY)
  }

  /** Forgets all entries of a device, or one of them. */
  invalidate(device: number, process: number | null): void {
    const keys = this.#keys
    this.#epoch[0]!++
    for (let at = 0; at < keys.length; at += 2) {
      if (keys[at] !== device || (process !== null && keys[at + 1] !== process)) continue
      keys[at] = NO_KEY
      keys[at + 1] = NO_KEY
    }
  }

  /** Forgets the entries that a command covers. @param covered of an entry: its device, its process, and where its words are. */
  invalidateWhere(covered: (device: number, process: number, words: Int32Array, at: number) => boolean): void {
    const keys = this.#keys
    this.#epoch[0]!++
    for (let slot = 0; slot < this.size; slot++) {
      const device = keys[slot * 2]!
      if (device === NO_KEY || !covered(device, keys[slot * 2 + 1]!, this.words, slot * this.#wordsPer)) continue
      keys[slot * 2] = NO_KEY
      keys[slot * 2 + 1] = NO_KEY
    }
  }
}
