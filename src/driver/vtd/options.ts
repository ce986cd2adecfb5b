/** What a machine can choose of the VT-d driver. */
import type { Forgettable } from '../common/command-ring.ts'

export interface VtdDriverOptions {
  /** Form of the tables. Default: scalable where the IOMMU has it (ECAP.SMTS). */
  readonly mode?: 'legacy' | 'scalable'
  /** Host address width, which firmware tells in the DMAR table. Default 52. */
  readonly hostAddressBits?: number
  /** Which stage translates a `dma` domain in scalable mode. Default: the first where there is one. Legacy mode has the second only. */
  readonly domainStage?: 1 | 2
  /** Levels of our second stages. Default 4, or what is nearest to it in CAP.SAGAW. */
  readonly secondLevels?: 3 | 4 | 5
  /** Levels of our first stages. Default 4. */
  readonly firstLevels?: 4 | 5
  /** How an `identity` domain passes addresses as they are. Default: pass-through where the IOMMU has it (ECAP.PT), else a table that maps each to itself. */
  readonly identity?: 'pass-through' | 'mapped'
  /** Such a table maps addresses below this. Default 2^39. */
  readonly identityLimit?: number
  /** Bits of a descriptor of the invalidation queue. Scalable mode needs 256. Default: 256 in scalable mode, 128 in legacy mode. */
  readonly descriptorBits?: 128 | 256
  /** Most IOTLB invalidations per range; above that the whole domain id, or PASID, is invalidated. Default 512. */
  readonly iotlbThreshold?: number
  /** Most device-TLB invalidations per device and range; above that the whole PASID is invalidated. Default 16. */
  readonly atcInvalidateThreshold?: number
  /** log2 of the entries of the queues; rounded up to a page. Default: a page each. */
  readonly invalidationQueueLog2?: number
  readonly pageRequestQueueLog2?: number
  /** Where interrupts of the IOMMU itself go: address and data. Default: APIC 0, vector 0x30. */
  readonly msi?: { readonly address: bigint; readonly data: number }
  /** Commands to leave out, as a driver with that bug would. May be changed later: `driver.commands.forget`. */
  readonly forget?: readonly Forgettable[]
}
