/** The words with which a scenario says what it expects, the same for every architecture. */

/** How a DMA or an access of the CPU ended. */
export const RESULTS = ['ok', 'refused', 'fault', 'silent', 'segv'] as const

/** Why hardware refused: each stands for the architecture's own events (machine/architectures.ts). */
export const FAULT_KINDS = [
  'no-device',
  'blocked',
  'no-pasid',
  'not-mapped',
  'no-permission',
  'no-access-flag',
  'out-of-range',
  'bad-table',
] as const
export type FaultKind = (typeof FAULT_KINDS)[number]

export const WORD_DOCS: Readonly<Record<string, string>> = {
  ok: 'it got through',
  refused: 'it did not get through, however',
  fault: 'refused, and the hardware recorded an event',
  silent: 'refused, and nothing was recorded',
  segv: 'the process may not do that (CPU only)',
  'no-device': 'the device table has no usable entry for the device',
  blocked: 'transactions without PASID are blocked',
  'no-pasid': 'the PASID table has no usable entry for this PASID, or the device may not send it',
  'not-mapped': 'the page table maps nothing there',
  'no-permission': 'the page table does not allow this access',
  'no-access-flag': 'the access flag is clear, and hardware does not set it',
  'out-of-range': 'an address beyond what the tables translate',
  'bad-table': 'a table is broken, or cannot be read',
}

/** What sets several architectures apart from the others: expectations may differ by it (`on:`), as they may by a single one. */
export const TRAITS = {
  'no-stall': 'it cannot hold a transaction, so devices that stall cannot share processes',
  'no-pasids': 'it has no PASIDs at all',
  'valid-only': 'it never caches an entry that is not valid',
  'sets-flags': 'its CPUs set accessed and dirty flags by themselves, always',
} as const
export type Trait = keyof typeof TRAITS

/** The caches whose invalidation can be watched and lost. */
export const CACHES = ['config', 'iotlb', 'atc'] as const
export type CacheName = (typeof CACHES)[number]

/** The words of expectations: ours, and those of the architectures. */
export interface Vocabulary {
  readonly results: readonly string[]
  readonly faultKinds: readonly string[]
  /** Error codes of the OS side. */
  readonly errors: readonly string[]
  /** Events as the specifications name them. */
  readonly faultNames: readonly string[]
  /** Kinds of IOMMU. */
  readonly architectures: readonly string[]
}
