/**
 * IOTLB: translations that stay until they are evicted or invalidated. Arm IHI 0070, 3.17 (tags), 4.4 (invalidation).
 * One typed array, four ways, a probe for each leaf size that is present. A hit reads only this array: no allocation, no BigInt.
 */

/** Translation regimes (StreamWorld, 3.3.3), and stage 2 alone, whose inputs are intermediate addresses. */
export const REGIME_EL1 = 0
export const REGIME_EL2 = 1
export const REGIME_EL2_E2H = 2
export const REGIME_STAGE2 = 3

/** Words of an entry: input page and key, high input, tag, output page (2), leaf (see `packLeaf`). */
const STRIDE = 8
const WAYS = 4
/** Bits of the key, below the page: valid 0, regime 2:1, global 3, address space set of a global entry 4, log2 of the size 10:5. */
const VALID = 1
const REGIME_SHIFT = 1
const GLOBAL = 1 << 3
const ASET_SHIFT = 4
const SIZE_SHIFT = 5
const PAGE = -4096
/** Bits of word 5: rights 5:0, clean 6, global 7, log2 of the leaf 13:8, its level 16:14, its granule 18:17 (as TG of a command). */
const LEAF_CLEAN = 1 << 6
const LEAF_GLOBAL = 1 << 7
const LEAF_SHIFT = 8
const LEVEL_SHIFT = 14
const GRANULE_SHIFT = 17

/**
 * What a translation carries besides addresses.
 * @param rights of all stages.
 * @param clean a write must first mark the page dirty (hardware update of dirty state).
 * @param global the leaf serves all ASIDs (nG = 0).
 * @param leafLog2 size of the leaf that an invalidation must hit: larger than the entry where stage 2 splits it.
 * @param granuleLog2 12, 14 or 16.
 */
export function packLeaf(
  rights: number,
  clean: boolean,
  global: boolean,
  leafLog2: number,
  level: number,
  granuleLog2: number,
): number {
  const flags = (clean ? LEAF_CLEAN : 0) | (global ? LEAF_GLOBAL : 0)
  const place = (leafLog2 << LEAF_SHIFT) | ((level & 7) << LEVEL_SHIFT) | (((granuleLog2 - 10) >>> 1) << GRANULE_SHIFT)
  return rights | flags | place
}

/** What a command invalidates. Every field narrows; -1 stands for all. */
export interface TlbScope {
  /** Mask of 1 << regime. */
  readonly regimes: number
  readonly vmid: number
  /** Low bits of the VMID that do not count (CR0.VMW). */
  readonly vmidIgnored?: number
  readonly asid: number
  /** Entries of all ASIDs stay (by ASID) or go with the address (by VA): 4.4.2.2, 4.4.2.4. */
  readonly globals: boolean
  /** Addresses, as 4 KiB page numbers; pages 0: all. */
  readonly page: number
  readonly pages: number
  /** TG of the command: 0 any, 1 4 KiB, 2 16 KiB, 3 64 KiB. */
  readonly granule: number
  /** TTL of the command: 0 any. */
  readonly level: number
}

/** What an entry says of an input. */
export interface TlbResult {
  paHi: number
  paLo: number
  rights: number
  /** log2 of the bytes that translate alike. */
  sizeLog2: number
}

/** One entry, for people. */
export interface TlbEntry {
  readonly regime: number
  readonly vmid: number
  /** Null: global. */
  readonly asid: number | null
  readonly input: bigint
  readonly output: bigint
  readonly sizeLog2: number
  readonly rights: number
}

export class Tlb {
  /** Entries that fit; 0: off. */
  readonly capacity: number
  /** Valid entries. */
  used = 0
  readonly #words: Int32Array
  readonly #setMask: number
  /** Leaf sizes present, ascending: as bits of the key, masks of the input's page, how many entries. */
  readonly #keys = new Int32Array(64)
  readonly #maskLo = new Int32Array(64)
  readonly #maskHi = new Int32Array(64)
  readonly #countOfSize = new Int32Array(64)
  #sizeCount = 0
  #globals = 0
  /** The smallest of them, with the valid bit; and whether there is nothing else, no global entry either. */
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
    this.#words = new Int32Array(sets * WAYS * STRIDE)
  }

  /**
   * Looks an input up.
   * @param tag VMID << 16 | ASID; both 0 where the regime has none.
   * @param aset CD.ASET: global entries serve only their own set (3.17.1).
   * @returns the entry, for `rights`, `clean` and `read`; -1: a miss.
   */
  find(regime: number, tag: number, aset: number, hi: number, lo: number): number {
    // The smallest size that is present, by hand: this is the way of nearly all hits.
    const words = this.#words
    const pageLo = lo & this.#firstMaskLo
    const pageHi = hi & this.#firstMaskHi
    const wanted = pageLo | this.#firstKey | (regime << REGIME_SHIFT)
    let mixed = Math.imul((pageLo >>> 12) ^ (pageHi << 20), 0x9e3779b1) ^ Math.imul(tag, 0x85ebca6b)
    mixed ^= mixed >>> 15
    const set = (mixed & this.#setMask) * (WAYS * STRIDE)
    for (let at = set; at < set + WAYS * STRIDE; at += STRIDE)
      if (words[at] === wanted && words[at + 2] === tag && words[at + 1] === pageHi) return at
    return this.#single ? -1 : this.#findOther(regime, tag, aset, hi, lo)
  }

  /** Entries of other sizes, and global ones. */
  #findOther(regime: number, tag: number, aset: number, hi: number, lo: number): number {
    const key = VALID | (regime << REGIME_SHIFT)
    const own = this.#probe(key, tag, hi, lo)
    if (own >= 0 || this.#globals === 0) return own
    return this.#probe(key | GLOBAL | (aset << ASET_SHIFT), tag & -65536, hi, lo)
  }

  #probe(key: number, tag: number, hi: number, lo: number): number {
    const words = this.#words
    for (let each = 0; each < this.#sizeCount; each++) {
      const pageLo = lo & this.#maskLo[each]!
      const pageHi = hi & this.#maskHi[each]!
      const wanted = pageLo | key | this.#keys[each]!
      let at = this.#set(pageHi, pageLo, tag)
      const end = at + WAYS * STRIDE
      for (; at < end; at += STRIDE) if (words[at] === wanted && words[at + 2] === tag && words[at + 1] === pageHi) return at
    }
    return -1
  }

  /** What the entry allows. */
  rights(at: number): number {
    return this.#words[at + 5]! & 63
  }

  /** Whether a write must first mark the page dirty. */
  clean(at: number): boolean {
    return (this.#words[at + 5]! & LEAF_CLEAN) !== 0
  }

  /** Where an input in this entry leads, and the rest that the entry says. */
  read(at: number, hi: number, lo: number, into: TlbResult): void {
    const words = this.#words
    const sizeLog2 = (words[at]! >>> SIZE_SHIFT) & 63
    if (sizeLog2 < 32) {
      into.paLo = words[at + 3]! | (lo & ((1 << sizeLog2) - 1))
      into.paHi = words[at + 4]!
    } else {
      into.paLo = lo
      into.paHi = words[at + 4]! | (hi & ((1 << (sizeLog2 - 32)) - 1))
    }
    into.rights = words[at + 5]! & 63
    into.sizeLog2 = sizeLog2
  }

  /** Index of the first word of the set. */
  #set(pageHi: number, pageLo: number, tag: number): number {
    let mixed = Math.imul((pageLo >>> 12) ^ (pageHi << 20), 0x9e3779b1) ^ Math.imul(tag, 0x85ebca6b)
    mixed ^= mixed >>> 15
    return (mixed & this.#setMask) * (WAYS * STRIDE)
  }

  /** Remembers a translation of the 2^sizeLog2 bytes around hi:lo. `leaf` is what `packLeaf` gives. */
  insert(
    regime: number,
    tag: number,
    aset: number,
    hi: number,
    lo: number,
    paHi: number,
    paLo: number,
    sizeLog2: number,
    leaf: number,
  ): void {
    if (this.capacity === 0) return
    const words = this.#words
    const global = (leaf & LEAF_GLOBAL) !== 0
    const maskLo = sizeLog2 >= 32 ? 0 : -1 << sizeLog2
    const maskHi = sizeLog2 <= 32 ? -1 : -1 << (sizeLog2 - 32)
    const key = VALID | (regime << REGIME_SHIFT) | (sizeLog2 << SIZE_SHIFT) | (global ? GLOBAL | (aset << ASET_SHIFT) : 0)
    const first = (lo & maskLo) | key
    const ownTag = global ? tag & -65536 : tag
    const set = this.#set(hi & maskHi, lo & maskLo, ownTag)
    let at = -1
    for (let way = set; way < set + WAYS * STRIDE; way += STRIDE) {
      if (words[way] === first && words[way + 1] === (hi & maskHi) && words[way + 2] === ownTag) {
        at = way
        break
      }
      if (words[way] === 0 && at < 0) at = way
    }
    if (at < 0) {
      at = set + (this.#victim & (WAYS - 1)) * STRIDE
      this.#victim++
    }
    this.#drop(at)
    words[at] = first
    words[at + 1] = hi & maskHi
    words[at + 2] = ownTag
    words[at + 3] = paLo & maskLo
    words[at + 4] = paHi & maskHi
    words[at + 5] = leaf
    this.used++
    if (global && this.#globals++ === 0) this.#single = false
    if (this.#countOfSize[sizeLog2]!++ === 0) this.#listSizes()
  }

  /** Removes what the scope covers. @returns how many entries went. */
  invalidate(scope: TlbScope): number {
    if (this.used === 0) return 0
    const words = this.#words
    const vmidMask = 0xffff & ~(scope.vmidIgnored ?? 0)
    let gone = 0
    for (let at = 0; at < words.length; at += STRIDE) {
      const key = words[at]!
      if (key === 0 || ((scope.regimes >>> ((key >>> REGIME_SHIFT) & 3)) & 1) === 0) continue
      const tag = words[at + 2]!
      if (scope.vmid >= 0 && (((tag >>> 16) ^ scope.vmid) & vmidMask) !== 0) continue
      if ((key & GLOBAL) !== 0) {
        if (!scope.globals) continue
      } else if (scope.asid >= 0 && (tag & 0xffff) !== scope.asid) continue
      if (scope.pages > 0 && !this.#covers(scope, at)) continue
      this.#drop(at)
      gone++
    }
    return gone
  }

  /** Whether the leaf of this entry meets the scope's addresses, granule and level. */
  #covers(scope: TlbScope, at: number): boolean {
    const words = this.#words
    const rest = words[at + 5]!
    if (scope.granule !== 0 && ((rest >>> GRANULE_SHIFT) & 3) !== scope.granule) return false
    if (scope.level !== 0 && ((rest >>> LEVEL_SHIFT) & 7) !== scope.level) return false
    const leafPages = 2 ** (((rest >>> LEAF_SHIFT) & 63) - 12)
    const page = (words[at + 1]! >>> 0) * 1048576 + (words[at]! >>> 12)
    const first = Math.floor(page / leafPages) * leafPages
    return first < scope.page + scope.pages && scope.page < first + leafPages
  }

  #drop(at: number): void {
    const words = this.#words
    const key = words[at]!
    if (key === 0) return
    words[at] = 0
    this.used--
    if ((key & GLOBAL) !== 0 && --this.#globals === 0) this.#single = this.#sizeCount <= 1
    const sizeLog2 = (key >>> SIZE_SHIFT) & 63
    if (--this.#countOfSize[sizeLog2]! === 0) this.#listSizes()
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
    this.#single = this.#sizeCount <= 1 && this.#globals === 0
  }

  /** All entries, for people. */
  list(): TlbEntry[] {
    const words = this.#words
    const out: TlbEntry[] = []
    const wide = (hi: number, lo: number) => (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)
    for (let at = 0; at < words.length; at += STRIDE) {
      const key = words[at]!
      if (key === 0) continue
      out.push({
        regime: (key >>> REGIME_SHIFT) & 3,
        vmid: words[at + 2]! >>> 16,
        asid: (key & GLOBAL) !== 0 ? null : words[at + 2]! & 0xffff,
        input: wide(words[at + 1]!, key & PAGE),
        output: wide(words[at + 4]!, words[at + 3]!),
        sizeLog2: (key >>> SIZE_SHIFT) & 63,
        rights: this.rights(at),
      })
    }
    return out
  }
}
