/** Whether a device may share a process's address space. SYSTEM.md section 7; AMD IOMMU specification (48882), 3.4.10 (EXT_FEATURE). */
import type { DriverDevice, DriverIoMm } from '../../core/driver.ts'
import type { AmdFeatures } from '../../format/amdvi/features.ts'
import { amdV2, x86Scheme } from '../../format/pt/x86.ts'
import type { DomainState } from '../common/state.ts'
import { waitingObstacle } from '../common/sva.ts'

type CpuSpace = NonNullable<DriverIoMm['mm']>

/** The name of the format that guest tables share with the CPU's. */
const CPU_TABLES = x86Scheme(4).format.name
/** Bits of a leaf that CPUs know and IOMMUs do not are ignored; those of 1 GiB pages are the same. */
const GUEST_TABLES = amdV2(4).format

/** The first condition that does not hold, in words; null when all do. @param mm null: a private address space with a PASID. */
export function svaObstacle(
  features: AmdFeatures,
  guestLevels: 4 | 5,
  device: DriverDevice,
  domain: DomainState | null,
  mm: CpuSpace | null,
): string | null {
  if (device.capabilities.pasidBits === 0) return `${device.name} cannot send PASIDs`
  if (!features.guest) return 'the IOMMU has no guest tables, so no PASIDs (EXT_FEATURE.GTSup)'
  const where = domain === null ? null : domainObstacle(features, domain)
  if (where !== null) return where
  return mm === null ? null : (tablesObstacle(features, guestLevels, mm) ?? faultsObstacle(features, device))
}

function domainObstacle(features: AmdFeatures, { domain, stage2 }: DomainState): string | null {
  if (stage2 !== null)
    return `domain ${domain.name} has host tables (v1), and guest tables of a PASID would be nested over them; it needs v2 tables`
  // Entry 0 that leads nowhere is what blocks requests without PASID.
  if (domain.kind === 'blocked' && !features.giov)
    return `domain ${domain.name} is blocked, and with PASIDs the IOMMU would let through what has none (EXT_FEATURE.GIOSup)`
  return null
}

/** Whether the IOMMU walks the CPU's tables as the CPU does. */
function tablesObstacle(features: AmdFeatures, guestLevels: 4 | 5, { space }: CpuSpace): string | null {
  const { format, topDepth, outputLimit } = space
  if (format.name !== CPU_TABLES) return `the CPU's tables are ${format.name}, which the IOMMU does not walk`
  const levels = topDepth + 1
  if (levels > features.guestLevels)
    return `the CPU's tables have ${levels} levels, the IOMMU's guest tables ${features.guestLevels} (EXT_FEATURE.GATS)`
  if (levels !== guestLevels)
    return `the CPU's tables have ${levels} levels and guest tables of ours ${guestLevels}: a device has one number for all PASIDs (DTE.GuestPagingMode)`
  if ((format.leafDepths & ~GUEST_TABLES.leafDepths) !== 0) return "the CPU's tables have larger pages than guest tables"
  // The CPU's tables hold the kernel's pages too, and only U/S keeps devices from them.
  if (!features.userSupervisor) return "the IOMMU does not look at U/S of the CPU's tables (EXT_FEATURE.USSup)"
  if (!features.noExecute) return "the IOMMU does not look at NX of the CPU's tables (EXT_FEATURE.NXSup)"
  if (outputLimit > 2 ** 52) return `the CPU's physical addresses have ${Math.log2(outputLimit)} bits, the IOMMU's 52`
  return null
}

/** Whether page faults of the device can be answered. Transactions never wait here: there is only ATS with PRI. */
function faultsObstacle(features: AmdFeatures, device: DriverDevice): string | null {
  const waiting = waitingObstacle(device, 'an AMD IOMMU')
  if (waiting !== null || features.ppr) return waiting
  return `${device.name} has page requests, but the IOMMU has not (EXT_FEATURE.PPRSup)`
}
