/** Steps that an architecture cannot do, whatever the scenario is: they are left out, and said to be. */
import type { PlainStep } from './language/steps.ts'
import type { Machine } from './machine.ts'

/**
 * Why this step makes no sense on this machine's architecture; null when it does. A device that cannot share a process here is never
 * bound to one, and sends no PASIDs of processes.
 */
export function impossible(machine: Machine, step: PlainStep): string | null {
  const given = step.given as { device?: string; process?: string; pasid?: number } | string
  if (typeof given === 'string' || given.device === undefined) return null
  const device = machine.devices.get(given.device)
  if (device === undefined || (given.process === undefined && (given.pasid ?? 0) === 0)) return null
  return machine.architecture.lacks(device.core.capabilities)
}
