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
