/**
 * A device's address translation cache (PCIe ATS): what translation requests gave, by PASID, until an invalidation request takes it
 * away or it is displaced.
 */

export interface AtcEntry {
  readonly pasid: number | null
  readonly privileged: boolean
  /** First input address, a multiple of 2^sizeLog2. */
  readonly iova: bigint
  readonly sizeLog2: number
  /** Output of `iova`. */
  readonly pa: bigint
  /** Mask of UR … PX. */
  readonly rights: number
  /** How often the frame had been given out when the entry was made. */
  readonly generation: number
}

export class Atc {
  readonly capacity: number
  /** In order of arrival; the oldest is displaced first. */
  readonly #entries = new Map<string, AtcEntry>()
  /** Sizes present, and how many entries have them. */
  readonly #sizes = new Map<number, number>()

  constructor(capacity: number) {
    this.capacity = capacity
  }

  get size(): number {
    return this.#entries.size
  }

  get entries(): Iterable<AtcEntry> {
    return this.#entries.values()
  }

  find(pasid: number | null, privileged: boolean, iova: bigint): AtcEntry | null {
    for (const log2 of this.#sizes.keys()) {
      const entry = this.#entries.get(key(pasid, privileged, iova >> BigInt(log2), log2))
      if (entry !== undefined) return entry
    }
    return null
  }

  insert(entry: AtcEntry): void {
    const name = key(entry.pasid, entry.privileged, entry.iova >> BigInt(entry.sizeLog2), entry.sizeLog2)
    this.#remove(name)
    if (this.#entries.size >= this.capacity) this.#remove(this.#entries.keys().next().value!)
    this.#entries.set(name, entry)
    this.#sizes.set(entry.sizeLog2, (this.#sizes.get(entry.sizeLog2) ?? 0) + 1)
  }

  /**
   * Removes what overlaps [address, address + bytes); `bytes` null: everything; `pasid` null: of all PASIDs, and without one.
   * @returns how many entries went.
   */
  invalidate(pasid: number | null, address: bigint, bytes: bigint | null): number {
    let gone = 0
    for (const [name, entry] of this.#entries) {
      if (pasid !== null && entry.pasid !== pasid) continue
      const end = entry.iova + (1n << BigInt(entry.sizeLog2))
      if (bytes !== null && (end <= address || entry.iova >= address + bytes)) continue
      this.#remove(name)
      gone++
    }
    return gone
  }

  #remove(name: string): void {
    const entry = this.#entries.get(name)
    if (entry === undefined) return
    this.#entries.delete(name)
    const left = this.#sizes.get(entry.sizeLog2)! - 1
    if (left === 0) this.#sizes.delete(entry.sizeLog2)
    else this.#sizes.set(entry.sizeLog2, left)
  }
}

function key(pasid: number | null, privileged: boolean, page: bigint, log2: number): string {
  return `${pasid ?? '-'}${privileged ? 'p' : 'u'}${log2}:${page}`
}
