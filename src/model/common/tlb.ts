/**
 * Storage of an IOTLB: translations of 2^n bytes that stay until they are evicted or removed. What a translation is tagged with, and what
 * an invalidation command covers, is the architecture's business; this holds and finds. One typed array, four ways, a probe for each leaf
 * size that is present. A hit reads only this array: no allocation, no BigInt.
 */

/** Words of an entry: input page and key, high input, tag, output page (2), data, owner. */
export const TLB_STRIDE = 8
export const TLB_KEY = 0
export const TLB_INPUT_HI = 1
export const TLB_TAG = 2
export const TLB_OUTPUT_LO = 3
export const TLB_OUTPUT_HI = 4
export const TLB_DATA = 5
export const TLB_OWNER = 6
/** Bits of the key, below the page: valid 0, log2 of the size 6:1, and from 7 to 11 what else an architecture tags entries with. */
const VALID = 1
const SIZE_SHIFT = 1
export const TLB_KIND_SHIFT = 7
/** The page number within the first word. */
export const TLB_PAGE = -4096

const WAYS = 4

/** What an entry says of an input. */
export interface TlbOutput {
  paHi: number
  paLo: number
  /** log2 of the bytes that translate alike. */
  sizeLog2: number
}

export class TlbStore {
  /** Entries that fit; 0: off. */
  readonly capacity: number
  /** Valid entries. */
  used = 0
  readonly words: Int32Array
  readonly #setMask: number
  /** Leaf sizes present, ascending: as bits of the key, masks of the input's page, how many entries. */
  readonly #keys = new Int32Array(64)
  readonly #maskLo = new Int32Array(64)
  readonly #maskHi = new Int32Array(64)
  readonly #countOfSize = new Int32Array(64)
  #sizeCount = 0
  /** The smallest of them, with the valid bit; and whether there is no other. */
  #firstKey = VALID
  #firstMaskLo = 0
  #firstMaskHi = 0
  #single = true
  #victim = 0

  /** @param entries rounded up to a power of two, at least 4; 0 switches the cache off. */
  constructor(entries: number) {
    let sets = 1
    while (sets * WAYS < entries) sets *= 2
    this.capacity = entries > 0 ? sets * WAYS : 0
    this.#setMask = sets - 1
    // One empty set even when off, so that a look-up needs no question.
    this.words = new Int32Array(sets * WAYS * TLB_STRIDE)
  }

  /**
   * Looks an input up.
   * @param kind the architecture's bits of the key, shifted by TLB_KIND_SHIFT.
   * @param tag the architecture's tag, 32 bits.
   * @returns the entry: index of its first word in `words`; -1: a miss.
   */
  find(kind: number, tag: number, hi: number, lo: number): number {
    // The smallest size that is present, by hand: this is the way of nearly all hits.
    const words = this.words
    const pageLo = lo & this.#firstMaskLo
    const pageHi = hi & this.#firstMaskHi
    const wanted = pageLo | this.#firstKey | kind
    let mixed = Math.imul((pageLo >>> 12) ^ (pageHi << 20), 0x9e3779b1) ^ Math.imul(tag, 0x85ebca6b)
    mixed ^= mixed >>> 15
    const set = (mixed & this.#setMask) * (WAYS * TLB_STRIDE)
    for (let at = set; at < set + WAYS * TLB_STRIDE; at += TLB_STRIDE)
      if (words[at] === wanted && words[at + TLB_TAG] === tag && words[at + TLB_INPUT_HI] === pageHi) return at
    return this.#single ? -1 : this.#findOther(kind, tag, hi, lo)
  }

  /** Entries of other sizes. */
  #findOther(kind: number, tag: number, hi: number, lo: number): number {
    const words = this.words
    for (let each = 1; each < this.#sizeCount; each++) {
      const pageLo = lo & this.#maskLo[each]!
      const pageHi = hi & this.#maskHi[each]!
      const wanted = pageLo | kind | VALID | this.#keys[each]!
      let at = this.#set(pageHi, pageLo, tag)
      const end = at + WAYS * TLB_STRIDE
      for (; at < end; at += TLB_STRIDE)
        if (words[at] === wanted && words[at + TLB_TAG] === tag && words[at + TLB_INPUT_HI] === pageHi) return at
    }
    return -1
  }

  /** Where an input in this entry leads. */
  read(at: number, hi: number, lo: number, into: TlbOutput): void {
    const words = this.words
    const sizeLog2 = (words[at]! >>> SIZE_SHIFT) & 63
    if (sizeLog2 < 32) {
      into.paLo = words[at + TLB_OUTPUT_LO]! | (lo & ((1 << sizeLog2) - 1))
      into.paHi = words[at + TLB_OUTPUT_HI]!
    } else {
      into.paLo = lo
      into.paHi = words[at + TLB_OUTPUT_HI]! | (hi & ((1 << (sizeLog2 - 32)) - 1))
    }
    into.sizeLog2 = sizeLog2
  }

  /** log2 of the bytes that an entry covers. */
  sizeLog2(at: number): number {
    return (this.words[at]! >>> SIZE_SHIFT) & 63
  }

  /** Index of the first word of the set. */
  #set(pageHi: number, pageLo: number, tag: number): number {
    let mixed = Math.imul((pageLo >>> 12) ^ (pageHi << 20), 0x9e3779b1) ^ Math.imul(tag, 0x85ebca6b)
    mixed ^= mixed >>> 15
    return (mixed & this.#setMask) * (WAYS * TLB_STRIDE)
  }

  /**
   * Remembers a translation of the 2^sizeLog2 bytes around hi:lo, in place of an older one of the same input or of the set.
   * @param data and `owner`: words of the architecture's own.
   * @returns the entry.
   */
  insert(
    kind: number,
    tag: number,
    hi: number,
    lo: number,
    paHi: number,
    paLo: number,
    sizeLog2: number,
    data: number,
    owner: number,
  ): number {
    const words = this.words
    const maskLo = sizeLog2 >= 32 ? 0 : -1 << sizeLog2
    const maskHi = sizeLog2 <= 32 ? -1 : -1 << (sizeLog2 - 32)
    const first = (lo & maskLo) | VALID | (sizeLog2 << SIZE_SHIFT) | kind
    const set = this.#set(hi & maskHi, lo & maskLo, tag)
    let at = -1
    for (let way = set; way < set + WAYS * TLB_STRIDE; way += TLB_STRIDE) {
      if (words[way] === first && words[way + TLB_INPUT_HI] === (hi & maskHi) && words[way + TLB_TAG] === tag) {
        at = way
        break
      }
      if (words[way] === 0 && at < 0) at = way
    }
    if (at < 0) {
      at = set + (this.#victim & (WAYS - 1)) * TLB_STRIDE
      this.#victim++
    }
    this.remove(at)
    words[at] = first
    words[at + TLB_INPUT_HI] = hi & maskHi
    words[at + TLB_TAG] = tag
    words[at + TLB_OUTPUT_LO] = paLo & maskLo
    words[at + TLB_OUTPUT_HI] = paHi & maskHi
    words[at + TLB_DATA] = data
    words[at + TLB_OWNER] = owner
    this.used++
    if (this.#countOfSize[sizeLog2]!++ === 0) this.#listSizes()
    return at
  }

  /** Frees an entry, if it is one. */
  remove(at: number): void {
    const key = this.words[at]!
    if (key === 0) return
    this.words[at] = 0
    this.used--
    const sizeLog2 = (key >>> SIZE_SHIFT) & 63
    if (--this.#countOfSize[sizeLog2]! === 0) this.#listSizes()
  }

  /** Removes the entries that a command covers. @returns how many went. */
  removeWhere(covered: (words: Int32Array, at: number) => boolean): number {
    if (this.used === 0) return 0
    const words = this.words
    let gone = 0
    for (let at = 0; at < words.length; at += TLB_STRIDE) {
      if (words[at] === 0 || !covered(words, at)) continue
      this.remove(at)
      gone++
    }
    return gone
  }

  clear(): void {
    if (this.used === 0) return
    this.words.fill(0)
    this.#countOfSize.fill(0)
    this.used = 0
    this.#listSizes()
  }

  #listSizes(): void {
    this.#sizeCount = 0
    for (let log2 = 0; log2 < 64; log2++) {
      if (this.#countOfSize[log2] === 0) continue
      this.#keys[this.#sizeCount] = log2 << SIZE_SHIFT
      this.#maskLo[this.#sizeCount] = log2 >= 32 ? 0 : -1 << log2
      this.#maskHi[this.#sizeCount] = log2 <= 32 ? -1 : -1 << (log2 - 32)
      this.#sizeCount++
    }
    this.#firstKey = VALID | this.#keys[0]!
    this.#firstMaskLo = this.#maskLo[0]!
    this.#firstMaskHi = this.#maskHi[0]!
    this.#single = this.#sizeCount <= 1
  }
}

/** Whether a block of 2^log2 bytes around the entry's input meets `pages` pages of 4 KiB from number `page`. */
export function tlbMeets(words: Int32Array, at: number, log2: number, page: number, pages: number): boolean {
  const blockPages = 2 ** Math.max(0, log2 - 12)
  const own = (words[at + TLB_INPUT_HI]! >>> 0) * 1048576 + (words[at]! >>> 12)
  const first = Math.floor(own / blockPages) * blockPages
  return first < page + pages && page < first + blockPages
}
