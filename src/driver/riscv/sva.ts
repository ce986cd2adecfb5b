/** Whether a device may share a process's address space. SYSTEM.md section 7; RISC-V IOMMU 1.0, "IOMMU capabilities". */
import type { DriverDevice, DriverIoMm } from '../../core/driver.ts'
import type { RiscvFeatures } from '../../format/riscv/features.ts'
import type { DomainState } from '../common/state.ts'
import { pasidObstacle, waitingObstacle } from '../common/sva.ts'

type CpuSpace = NonNullable<DriverIoMm['mm']>

/** The first condition that does not hold, in words; null when all do. @param mm null: a private address space with a PASID. */
export function svaObstacle(
  features: RiscvFeatures,
  processBits: number,
  device: DriverDevice,
  domain: DomainState | null,
  mm: CpuSpace | null,
): string | null {
  const obstacle = pasidObstacle(device, domain)
  if (obstacle !== null) return obstacle
  if (processBits === 0) return 'the IOMMU has no process directories (capabilities.PD8, PD17, PD20)'
  if (features.stage1.every((table) => table.every((scheme) => scheme === null)))
    return 'the IOMMU has no first stage (capabilities.Sv39, Sv48, Sv57)'
  return mm === null ? null : (tablesObstacle(features, mm) ?? faultsObstacle(features, device))
}

/** fsc.MODE of a process's tables; null when the IOMMU has no such mode. satp.MODE has the same numbers. */
export function cpuMode(features: RiscvFeatures, { space }: CpuSpace): number | null {
  const mode = features.stage1[0]!.findIndex((scheme) => scheme?.format.name === space.format.name)
  return mode < 0 ? null : mode
}

/** Whether the IOMMU walks the CPU's tables as the CPU does. */
function tablesObstacle(features: RiscvFeatures, mm: CpuSpace): string | null {
  const { format, outputLimit } = mm.space
  const mode = cpuMode(features, mm)
  if (mode === null) return `the CPU's tables are ${format.name}, which the IOMMU does not walk (capabilities)`
  const ours = features.stage1[0]![mode]!.format
  // Bits that the CPU uses for memory types or software must not be reserved for the IOMMU.
  if (ours.reservedLeafHi.some((bits, depth) => (bits & ~format.reservedLeafHi[depth]!) !== 0))
    return "the CPU's tables use bits that are reserved for the IOMMU (capabilities.Svpbmt, Svrsw60t59b)"
  if (outputLimit > features.addressLimit)
    return `the CPU's physical addresses have ${Math.log2(outputLimit)} bits, the IOMMU's ${features.addressBits} (capabilities.PAS)`
  return null
}

/** Whether page faults of the device can be answered. Transactions never wait here: there is only ATS with PRI. */
function faultsObstacle(features: RiscvFeatures, device: DriverDevice): string | null {
  const obstacle = waitingObstacle(device, 'a RISC-V IOMMU')
  if (obstacle !== null || features.ats) return obstacle
  return `${device.name} has page requests, but the IOMMU has not (capabilities.ATS)`
}
