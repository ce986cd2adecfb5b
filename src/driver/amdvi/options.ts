/** What a machine can choose of the AMD driver. */
import type { Forgettable } from '../common/command-ring.ts'

export interface AmdDriverOptions {
  /** Largest DeviceID that there will be: the device table has an entry for each up to it. Default 0xffff, a table of 2 MiB. */
  readonly largestDevice?: number
  /**
   * Tables of `dma` domains. v2: guest tables behind GCR3 entry 0 (DTE.GIOV), beside which processes have their PASIDs. v1: host tables; guest
   * tables would be nested over them, so no process can be shared. Default v2 where the IOMMU has GIOV (EXT_FEATURE.GTSup, GIOSup), else v1.
   */
  readonly tables?: 'v1' | 'v2'
  /** Levels of our host tables (DTE.Mode). Default 4. */
  readonly hostLevels?: 1 | 2 | 3 | 4 | 5 | 6
  /** Levels of guest tables (DTE.GuestPagingMode): one number for all PASIDs of a device, so that of the CPU's tables. Default 4. */
  readonly guestLevels?: 4 | 5
  /** Levels of GCR3 tables (DTE.GLX + 1). Default: as few as the PASIDs of a domain's devices need. */
  readonly gcr3Levels?: 1 | 2 | 3
  /** Most INVALIDATE_IOMMU_PAGES per range; above that everything of the PASID or domain is invalidated. Default 512. */
  readonly iotlbThreshold?: number
  /** Most INVALIDATE_IOTLB_PAGES per device and range; above that the whole PASID is invalidated. Default 16. */
  readonly atcInvalidateThreshold?: number
  /** log2 of the entries of the rings, 8 to 15. Default 8: a page each. */
  readonly commandBufferLog2?: number
  readonly eventLogLog2?: number
  readonly pprLogLog2?: number
  /** Commands to leave out, as a driver with that bug would. May be changed later: `driver.commands.forget`. */
  readonly forget?: readonly Forgettable[]
}
