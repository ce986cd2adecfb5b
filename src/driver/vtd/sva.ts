/** Whether a device may share a process's address space. SYSTEM.md section 7; Intel VT-d 4.1, sections 11.4.2 and 11.4.3 (CAP, ECAP). */
import type { DriverDevice, DriverIoMm } from '../../core/driver.ts'
import { x86Scheme } from '../../format/pt/x86.ts'
import type { VtdFeatures } from '../../format/vtd/features.ts'
import { pasidObstacle, waitingObstacle } from '../common/sva.ts'

type CpuSpace = NonNullable<DriverIoMm['mm']>

/** The name of the formats that the first stage walks as the CPU does. */
const CPU_TABLES = x86Scheme(4).format.name

/** The first condition that does not hold, in words; null when all do. @param mm null: a private address space with a PASID. */
export function svaObstacle(features: VtdFeatures, scalable: boolean, device: DriverDevice, mm: CpuSpace | null): string | null {
  // Whatever stage translates the domain: entries choose theirs one by one.
  const obstacle = pasidObstacle(device, null)
  if (obstacle !== null) return obstacle
  if (!scalable)
    return features.scalable
      ? 'legacy mode has no PASIDs: choose scalable mode'
      : 'the IOMMU has legacy mode only, which has no PASIDs (ECAP.SMTS)'
  if (features.pasidBits === 0) return 'the IOMMU takes no requests with PASID (ECAP.PASID)'
  return mm === null ? null : (tablesObstacle(features, mm) ?? faultsObstacle(features, device))
}

/** Whether the IOMMU walks the CPU's tables as the CPU does. */
function tablesObstacle(features: VtdFeatures, { space }: CpuSpace): string | null {
  const { format, topDepth, outputLimit } = space
  if (!features.firstStage) return 'the IOMMU has no first stage (ECAP.FSTS)'
  if (format.name !== CPU_TABLES) return `the CPU's tables are ${format.name}, which the IOMMU does not walk`
  if (topDepth === 4 && !features.fiveLevel) return "the CPU's tables have 5 levels, the IOMMU's first stage 4 (CAP.FS5LP)"
  // A 1 GiB leaf of the CPU would be an entry with reserved bits.
  const gigapages = 1 << 2
  if ((format.leafDepths & gigapages) !== 0 && (features.first[0]![0].format.leafDepths & gigapages) === 0)
    return "the CPU's tables may have 1 GiB pages, the IOMMU's first stage has none (CAP.FS1GP)"
  if (!features.coherentWalks)
    return "the IOMMU's walks are not coherent with the CPU's caches, and it could not set A and D (ECAP.SMPWCS)"
  if (outputLimit > features.hostLimit)
    return `the CPU's physical addresses have ${Math.log2(outputLimit)} bits, the IOMMU's ${features.hostAddressBits} (host address width)`
  return null
}

/** Whether page faults of the device can be answered. Transactions never wait here: there is only ATS with PRI. */
function faultsObstacle(features: VtdFeatures, device: DriverDevice): string | null {
  const obstacle = waitingObstacle(device, 'a VT-d IOMMU')
  if (obstacle !== null) return obstacle
  if (!features.deviceTlb) return `${device.name} asks for translations, but the IOMMU does not answer (ECAP.DT)`
  return features.pageRequests ? null : `${device.name} has page requests, but the IOMMU has not (ECAP.PRS)`
}
