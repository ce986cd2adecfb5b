/** A process address space as IOMMU code sees it: the part of `Mm` that the core and the drivers rely on. */
import type { Op } from '../base/op.ts'
import type { Access } from '../base/types.ts'
import type { PtSpace } from '../format/pt/format.ts'

/** The CPU changed translations of [start, end): end exclusive, any alignment; both null means everything. Called after the tables changed. */
export interface MmNotifier {
  invalidate(start: bigint | null, end: bigint | null): Op<void>
  /** The process is gone. Runs once, before the page tables are freed. */
  release(): Op<void>
}

export interface CpuSpace {
  readonly name: string
  /** Distinguishes address spaces; never reused. */
  readonly id: number
  readonly alive: boolean
  /** The CPU's page table: format, root, sizes. The IOMMU walks the same memory. */
  readonly space: PtSpace
  /** Width of the CPU's address-space tags, where it has any: an IOMMU that shares them needs as many. */
  readonly asidBits?: number
  /** Address-space tag of the CPU, pinned so that it stays for as long as devices use it; null when none can be pinned. Counted. */
  pinAsid(): number | null
  unpinAsid(): void
  addNotifier(notifier: MmNotifier): void
  removeNotifier(notifier: MmNotifier): void
  /** Parts of [start, end) that the process has memory areas in, ascending. For reporting areas that devices cannot reach. */
  areasIn(start: bigint, end: bigint): readonly { readonly start: bigint; readonly end: bigint }[]
  /** A fault at this address, from a device: brings the page in as the CPU would. `invalid`: no VMA, or it does not permit the access. */
  handleFault(address: bigint, access: Access, privileged: boolean): Op<'success' | 'invalid' | 'failure'>
}
