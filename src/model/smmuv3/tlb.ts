/** IOTLB: translations that stay until they are evicted or invalidated. Arm IHI 0070, 3.17 (tags), 4.4 (invalidation). */
import {
  TLB_DATA,
  TLB_INPUT_HI,
  TLB_KIND_SHIFT,
  TLB_OUTPUT_HI,
  TLB_OUTPUT_LO,
  TLB_PAGE,
  TLB_STRIDE,
  TLB_TAG,
  type TlbOutput,
  TlbStore,
  tlbMeets,
} from '../common/tlb.ts'

/** Translation regimes (StreamWorld, 3.3.3), and stage 2 alone, whose inputs are intermediate addresses. */
export const REGIME_EL1 = 0
export const REGIME_EL2 = 1
export const REGIME_EL2_E2H = 2
export const REGIME_STAGE2 = 3

/** Bits of an entry's key: regime, then whether it is global, then the address space set of a global entry. */
const REGIME_SHIFT = TLB_KIND_SHIFT
const GLOBAL = 1 << (TLB_KIND_SHIFT + 2)
const ASET_SHIFT = TLB_KIND_SHIFT + 3
/** Bits of the data word: rights 5:0, clean 6, global 7, log2 of the leaf 13:8, its level 16:14, its granule 18:17 (as TG of a command). */
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
export interface TlbResult extends TlbOutput {
  rights: number
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
  readonly #store: TlbStore
  readonly #words: Int32Array
  /** Whether any global entry was ever inserted: only then is there a second probe. */
  #globals = false

  /** @param entries rounded up to a power of two, at least 4; 0 switches the cache off. */
  constructor(entries: number) {
    this.#store = new TlbStore(entries)
    this.#words = this.#store.words
  }

  /** Entries that fit; 0: off. */
  get capacity(): number {
    return this.#store.capacity
  }

  /** Valid entries. */
  get used(): number {
    return this.#store.used
  }

  /**
   * Looks an input up.
   * @param tag VMID << 16 | ASID; both 0 where the regime has none.
   * @param aset CD.ASET: global entries serve only their own set (3.17.1).
   * @returns the entry, for `rights`, `clean` and `read`; -1: a miss.
   */
  find(regime: number, tag: number, aset: number, hi: number, lo: number): number {
    const kind = regime << REGIME_SHIFT
    const own = this.#store.find(kind, tag, hi, lo)
    if (own >= 0 || !this.#globals) return own
    return this.#store.find(kind | GLOBAL | (aset << ASET_SHIFT), tag & -65536, hi, lo)
  }

  /** What the entry allows. */
  rights(at: number): number {
    return this.#words[at + TLB_DATA]! & 63
  }

  /** Whether a write must first mark the page dirty. */
  clean(at: number): boolean {
    return (this.#words[at + TLB_DATA]! & LEAF_CLEAN) !== 0
  }

  /** Where an input in this entry leads, and the rest that the entry says. */
  read(at: number, hi: number, lo: number, into: TlbResult): void {
    this.#store.read(at, hi, lo, into)
    into.rights = this.#words[at + TLB_DATA]! & 63
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
    const global = (leaf & LEAF_GLOBAL) !== 0
    const kind = (regime << REGIME_SHIFT) | (global ? GLOBAL | (aset << ASET_SHIFT) : 0)
    this.#store.insert(kind, global ? tag & -65536 : tag, hi, lo, paHi, paLo, sizeLog2, leaf, 0)
    if (global) this.#globals = true
  }

  /** Removes what the scope covers. @returns how many entries went. */
  invalidate(scope: TlbScope): number {
    const vmidMask = 0xffff & ~(scope.vmidIgnored ?? 0)
    return this.#store.removeWhere((words, at) => {
      const key = words[at]!
      if (((scope.regimes >>> ((key >>> REGIME_SHIFT) & 3)) & 1) === 0) return false
      const tag = words[at + TLB_TAG]!
      if (scope.vmid >= 0 && (((tag >>> 16) ^ scope.vmid) & vmidMask) !== 0) return false
      if ((key & GLOBAL) !== 0) {
        if (!scope.globals) return false
      } else if (scope.asid >= 0 && (tag & 0xffff) !== scope.asid) return false
      return scope.pages === 0 || covers(scope, words, at)
    })
  }

  /** All entries, for people. */
  list(): TlbEntry[] {
    const words = this.#words
    const out: TlbEntry[] = []
    const wide = (hi: number, lo: number) => (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)
    for (let at = 0; at < words.length; at += TLB_STRIDE) {
      const key = words[at]!
      if (key === 0) continue
      out.push({
        regime: (key >>> REGIME_SHIFT) & 3,
        vmid: words[at + TLB_TAG]! >>> 16,
        asid: (key & GLOBAL) !== 0 ? null : words[at + TLB_TAG]! & 0xffff,
        input: wide(words[at + TLB_INPUT_HI]!, key & TLB_PAGE),
        output: wide(words[at + TLB_OUTPUT_HI]!, words[at + TLB_OUTPUT_LO]!),
        sizeLog2: this.#store.sizeLog2(at),
        rights: this.rights(at),
      })
    }
    return out
  }
}

/** Whether the leaf of this entry meets the scope's addresses, granule and level. */
function covers(scope: TlbScope, words: Int32Array, at: number): boolean {
  const rest = words[at + TLB_DATA]!
  if (scope.granule !== 0 && ((rest >>> GRANULE_SHIFT) & 3) !== scope.granule) return false
  if (scope.level !== 0 && ((rest >>> LEVEL_SHIFT) & 7) !== scope.level) return false
  return tlbMeets(words, at, (rest >>> LEAF_SHIFT) & 63, scope.page, scope.pages)
}
