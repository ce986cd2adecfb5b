/**
 * Invalidation of the context cache, the PASID cache and the IOTLB. Intel VT-d, section 6.5 and tables 17, 23 and 24. Paging-structure
 * entries are not cached, so that invalidation hints change nothing.
 */
import { TTM_SCALABLE } from '../../format/vtd/registers.ts'
import type { EntryCache } from '../common/entry-cache.ts'
import { TLB_DATA, TLB_KIND_SHIFT, TLB_OWNER, TLB_TAG, type TlbStore, tlbMeets } from '../common/tlb.ts'
import { domainOfContext, domainOfPasid } from './contexts.ts'
import type { Registers } from './registers.ts'
import { hasFirstStage, leafLog2 } from './translate.ts'

/** Function numbers that FM leaves out: none, bit 2, bits 2:1, bits 2:0. */
const FUNCTION_MASKS = [0, 4, 6, 7]

export class Caches {
  readonly #registers: Registers
  readonly #contexts: EntryCache
  readonly #pasids: EntryCache
  readonly #translations: TlbStore

  constructor(registers: Registers, contexts: EntryCache, pasids: EntryCache, translations: TlbStore) {
    this.#registers = registers
    this.#contexts = contexts
    this.#pasids = pasids
    this.#translations = translations
  }

  /** Everything. */
  clear(): void {
    this.#contexts.clear()
    this.#pasids.clear()
    this.#translations.clear()
  }

  allContexts(): void {
    this.#contexts.clear()
  }

  /** In scalable mode context entries have no domain: then all go (6.5.2.1). */
  contextsOfDomain(did: number): void {
    if (this.#registers.ttm === TTM_SCALABLE) this.#contexts.clear()
    else this.#contexts.invalidateWhere((_device, _process, words, at) => domainOfContext(words, at) === this.#domain(did))
  }

  /** @param mask FM. */
  contextsOfDevice(did: number, source: number, mask: number): void {
    const ignored = FUNCTION_MASKS[mask]!
    const scalable = this.#registers.ttm === TTM_SCALABLE
    this.#contexts.invalidateWhere(
      (device, _process, words, at) =>
        (((device & 0xffff) ^ source) & ~ignored) === 0 && (scalable || domainOfContext(words, at) === this.#domain(did)),
    )
  }

  allPasids(): void {
    this.#pasids.clear()
  }

  /** @param pasid -1: all of the domain. */
  pasidsOfDomain(did: number, pasid: number): void {
    this.#pasids.invalidateWhere(
      (_device, process, words, at) => domainOfPasid(words, at) === this.#domain(did) && (pasid < 0 || process === pasid),
    )
  }

  allTranslations(): void {
    this.#translations.clear()
  }

  translationsOfDomain(did: number): void {
    const domain = this.#domain(did)
    this.#translations.removeWhere((words, at) => words[at + TLB_OWNER] === domain)
  }

  /**
   * 2^log2 pages from page number `page` on: those of second stages (and pass-through) by address, those that a first stage has part in
   * whatever their address.
   */
  pagesOfDomain(did: number, page: number, log2: number): void {
    const domain = this.#domain(did)
    this.#translations.removeWhere((words, at) => {
      if (words[at + TLB_OWNER] !== domain) return false
      const data = words[at + TLB_DATA]!
      return hasFirstStage(data) || tlbMeets(words, at, leafLog2(data), page, 2 ** log2)
    })
  }

  translationsOfPasid(did: number, pasid: number): void {
    const domain = this.#domain(did)
    this.#translations.removeWhere((words, at) => words[at + TLB_OWNER] === domain && pasidOf(words, at) === pasid)
  }

  /** Pages of a first stage; entries of second stages alone stay. */
  pagesOfPasid(did: number, pasid: number, page: number, log2: number): void {
    const domain = this.#domain(did)
    this.#translations.removeWhere((words, at) => {
      const data = words[at + TLB_DATA]!
      if (words[at + TLB_OWNER] !== domain || pasidOf(words, at) !== pasid || !hasFirstStage(data)) return false
      return tlbMeets(words, at, leafLog2(data), page, 2 ** log2)
    })
  }

  /** "Hardware ignores bits 31:(16+N), where N is the domain-id width." */
  #domain(did: number): number {
    return did & ((1 << this.#registers.features.domainBits) - 1)
  }
}

/** The PASID that a translation was found for: RID_PASID for those without. */
function pasidOf(words: Int32Array, at: number): number {
  return (((words[at]! >>> TLB_KIND_SHIFT) & 15) << 16) | (words[at + TLB_TAG]! & 0xffff)
}
