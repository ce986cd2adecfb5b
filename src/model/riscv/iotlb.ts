/**
 * Translations that the IOMMU remembers: IOVA → SPA, both stages together, one entry per 4 KiB page of the IOVA. RISC-V IOMMU 1.0,
 * "Caching in-memory data structures", "IOMMU Page-Table cache invalidation commands". All in one array; nothing allocates.
 *
 * An entry is three words of tag and three of data:
 *   tag   IOVA[43:12] · IOVA[63:44] and GSCID[11:0] · PSCID, GSCID[15:12], GV, PSCV, and a bit that says that it is in use
 *   data  SPA[43:12] · SPA[63:44] and the details below · rights, and the size of the leaf of each stage
 */

const WORDS = 8
const IN_USE = 4

/** Second word of a result: details beside SPA[63:44]. */
export const SIZE_MASK = 63
export const PBMT_SHIFT = 6
export const IS_MSI = 1 << 8
export const IS_GLOBAL = 1 << 9
/** Both stages have D set (or are Bare): a write needs no update. */
export const IS_DIRTY = 1 << 10
/** The first stage's leaf is a user page. */
export const IS_USER = 1 << 11

/** Third word of a result: rights (mask of UR … PX), then log2 of the leaf of the first stage and of the second (0: Bare). */
export const STAGE1_SIZE_SHIFT = 6
export const STAGE2_SIZE_SHIFT = 12

/** The addresses of an invalidation command: hi:lo is the IOVA or GPA without its low 12 bits. */
export interface InvalidationRange {
  readonly hi: number
  readonly lo: number
  /** log2 of the pages that the command covers. */
  readonly log2: number
}

export class TranslationCache {
  readonly size: number
  readonly words: Int32Array
  readonly #ways: number
  readonly #sets: number
  readonly #shift: number
  readonly #next: Uint8Array

  /** @param size number of entries: 0 for none, or a power of two. */
  constructor(size: number) {
    if (size !== 0 && (size & (size - 1)) !== 0) throw new RangeError(`IOATC: ${size} entries; use 0 or a power of two`)
    this.size = size
    this.words = new Int32Array(Math.max(1, size) * WORDS)
    this.#ways = Math.min(4, size)
    this.#sets = size === 0 ? 0 : size / this.#ways
    this.#shift = 32 - Math.log2(Math.max(1, this.#sets))
    this.#next = new Uint8Array(Math.max(1, this.#sets))
  }

  /** The set of an address in a space: index of its first word. */
  #set(lo: number, high: number, space: number): number {
    const mixed = Math.imul(lo ^ Math.imul(high ^ Math.imul(space, 0x9e3779b1), 0x85ebca6b), 0xc2b2ae35)
    // A shift by 32 is one by 0 in JavaScript: one set only.
    const set = this.#sets > 1 ? (mixed ^ (mixed >>> 15)) >>> this.#shift : 0
    return set * this.#ways * WORDS
  }

  /**
   * Finds the entry of a page.
   * @param high IOVA[63:44] at bits 31:12 with GSCID[11:0] below; `space` the third word of the tag.
   * @returns the index of its first data word in `words`, -1 when there is none.
   */
  find(lo: number, high: number, space: number): number {
    if (this.size === 0) return -1
    const words = this.words
    const first = this.#set(lo, high, space)
    const last = first + this.#ways * WORDS
    for (let at = first; at < last; at += WORDS)
      if (words[at] === lo && words[at + 1] === high && words[at + 2] === space) return at + 3
    return -1
  }

  /** Remembers a translation, in place of an older one of the same page or of the set. */
  insert(lo: number, high: number, space: number, page: number, details: number, rights: number): void {
    if (this.size === 0) return
    const words = this.words
    const first = this.#set(lo, high, space)
    let at = this.find(lo, high, space) - 3
    if (at < 0) {
      const last = first + this.#ways * WORDS
      at = first
      while (at < last && words[at + 2] !== 0) at += WORDS
      if (at === last) {
        const set = first / (this.#ways * WORDS)
        const way = this.#next[set]!
        this.#next[set] = (way + 1) % this.#ways
        at = first + way * WORDS
      }
    }
    words[at] = lo
    words[at + 1] = high
    words[at + 2] = space
    words[at + 3] = page
    words[at + 4] = details
    words[at + 5] = rights
  }

  clear(): void {
    this.words.fill(0)
  }

  /**
   * IOTINVAL.VMA.
   * @param gscid -1 where GV is 0: the host's entries.
   * @param pscid -1 where PSCV is 0: all address spaces, global entries too.
   */
  invalidateFirst(gscid: number, pscid: number, range: InvalidationRange | null): void {
    const words = this.words
    for (let at = 0; at < words.length; at += WORDS) {
      const space = words[at + 2]!
      if (space === 0 || gscidOf(words[at + 1]!, space) !== gscid) continue
      if (pscid >= 0 && (pscidOf(space) !== pscid || (words[at + 4]! & IS_GLOBAL) !== 0)) continue
      if (range !== null && !covers(range, words, at, (words[at + 5]! >>> STAGE1_SIZE_SHIFT) & 63)) continue
      words[at + 2] = 0
    }
  }

  /**
   * IOTINVAL.GVMA. Entries with a first stage do not know their GPA: they go whatever the address.
   * @param gscid -1 where GV is 0: all virtual machines.
   */
  invalidateSecond(gscid: number, range: InvalidationRange | null): void {
    const words = this.words
    for (let at = 0; at < words.length; at += WORDS) {
      const space = words[at + 2]!
      if (space === 0) continue
      const owner = gscidOf(words[at + 1]!, space)
      if (owner < 0 || (gscid >= 0 && owner !== gscid)) continue
      const bare = pscidOf(space) < 0
      if (gscid >= 0 && range !== null && bare && !covers(range, words, at, (words[at + 5]! >>> STAGE2_SIZE_SHIFT) & 63)) continue
      words[at + 2] = 0
    }
  }
}

/** The second word of a tag. */
export function tagHigh(hi: number, gscid: number): number {
  return (hi & ~0xfff) | (gscid & 0xfff)
}

/** The third word of a tag. `gscid` and `pscid` are -1 where the stage is Bare. */
export function tagSpace(gscid: number, pscid: number): number {
  const guest = gscid < 0 ? 0 : ((gscid >>> 12) << 8) | 1
  return (pscid < 0 ? 0 : (pscid << 12) | 2) | guest | IN_USE
}

function gscidOf(high: number, space: number): number {
  return (space & 1) === 0 ? -1 : (((space >>> 8) & 15) << 12) | (high & 0xfff)
}

function pscidOf(space: number): number {
  return (space & 2) === 0 ? -1 : space >>> 12
}

/** Whether the range meets the leaf that the entry came from. */
function covers(range: InvalidationRange, words: Int32Array, at: number, leafLog2: number): boolean {
  const log2 = Math.max(range.log2, leafLog2 - 12, 0)
  const lo = words[at]! ^ range.lo
  const hi = (words[at + 1]! >>> 12) ^ range.hi
  if (log2 >= 52) return true
  return log2 >= 32 ? hi >>> (log2 - 32) === 0 : hi === 0 && lo >>> log2 === 0
}
