/** Conditions for PASIDs that are the same for every architecture. SYSTEM.md section 7. */
import type { DriverDevice } from '../../core/driver.ts'
import type { DomainState } from './state.ts'

/** Why this device cannot use PASIDs in its domain at all; null when it can. @param domain null when it is attached to none yet. */
export function pasidObstacle(device: DriverDevice, domain: DomainState | null): string | null {
  if (device.capabilities.pasidBits === 0) return `${device.name} cannot send PASIDs`
  if (domain?.stage2 != null)
    return `domain ${domain.domain.name} is translated by stage 2; address spaces with PASIDs need a stage 1 domain`
  return null
}

/** Why a device cannot wait for a page where the IOMMU holds no transactions; null when it can ask for it. @param iommu `a RISC-V IOMMU`. */
export function waitingObstacle({ name, capabilities: { ats, pri, stall } }: DriverDevice, iommu: string): string | null {
  if (ats && pri) return null
  if (stall) return `${name} stalls on faults, and ${iommu} cannot hold a transaction: it needs ATS with PRI`
  return `${name} has no recoverable faults: it needs ATS with PRI`
}
