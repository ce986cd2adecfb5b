/**
 * IOTLB: what the tables say of an address, without what the device table entry limits. AMD IOMMU specification (48882), 2.4.3
 * "INVALIDATE_IOMMU_PAGES": translations are tagged with the domain, those of guest tables also with the PASID; so all devices of a domain
 * share them, and software gives devices with other tables another domain.
 */
import { TLB_DATA, TLB_KIND_SHIFT, TLB_TAG, TlbStore, tlbMeets } from '../common/tlb.ts'

/** Kinds of entries: bits of the key, with PASID bits 19:16 above. */
export const KIND_HOST = 0
export const KIND_GUEST = 1 << TLB_KIND_SHIFT
export const PASID_HIGH_SHIFT = TLB_KIND_SHIFT + 1

/** The data word: rights 5:0, then these, then log2 of the leaf that an invalidation must meet (13:8). */
const DATA_CLEAN = 1 << 6
const DATA_ABSENT = 1 << 7
const DATA_LEAF_SHIFT = 8
/** A guest translation through host tables. */
const DATA_NESTED = 1 << 14

/**
 * @param clean a write must first mark the page dirty.
 * @param leafLog2 of the leaf of the tables that an invalidation names by address.
 */
export function tlbData(rights: number, clean: boolean, leafLog2: number, nested: boolean): number {
  return rights | (clean ? DATA_CLEAN : 0) | (leafLog2 << DATA_LEAF_SHIFT) | (nested ? DATA_NESTED : 0)
}

/** What an entry holds of an address that is not present (NpCache). */
export const TLB_ABSENT = DATA_ABSENT | (12 << DATA_LEAF_SHIFT)

export class Tlb extends TlbStore {
  /** What the tables allow. */
  rights(at: number): number {
    return this.words[at + TLB_DATA]! & 63
  }

  clean(at: number): boolean {
    return (this.words[at + TLB_DATA]! & DATA_CLEAN) !== 0
  }

  absent(at: number): boolean {
    return (this.words[at + TLB_DATA]! & DATA_ABSENT) !== 0
  }

  /**
   * INVALIDATE_IOMMU_PAGES with GN = 0: host translations of a domain. Guest translations that went through its host tables do not know
   * their guest physical address: they go whatever the address.
   * @param page number of the first 4 KiB page, of `pages`.
   */
  invalidateHost(domain: number, page: number, pages: number): void {
    this.removeWhere((words, at) => {
      if (words[at + TLB_TAG]! >>> 16 !== domain) return false
      const data = words[at + TLB_DATA]!
      if ((words[at]! & KIND_GUEST) !== 0) return (data & DATA_NESTED) !== 0
      return meets(words, at, page, pages)
    })
  }

  /** INVALIDATE_IOMMU_PAGES with GN = 1: guest translations of a domain and a PASID. */
  invalidateGuest(domain: number, pasid: number, page: number, pages: number): void {
    this.removeWhere((words, at) => {
      const tag = words[at + TLB_TAG]!
      if ((words[at]! & KIND_GUEST) === 0 || tag >>> 16 !== domain) return false
      if ((tag & 0xffff) !== (pasid & 0xffff) || ((words[at]! >>> PASID_HIGH_SHIFT) & 15) !== pasid >>> 16) return false
      return meets(words, at, page, pages)
    })
  }
}

function meets(words: Int32Array, at: number, page: number, pages: number): boolean {
  return tlbMeets(words, at, (words[at + TLB_DATA]! >>> DATA_LEAF_SHIFT) & 63, page, pages)
}
