/** Steps that an architecture cannot do, whatever the scenario is: they are left out, and said to be. */
import type { DeviceCapabilities } from '../core/driver.ts'
import { expectationOn } from './language/expect.ts'
import type { PlainStep } from './language/steps.ts'
import type { Trait } from './language/words.ts'
import type { Machine } from './machine.ts'

/** Errors that say of themselves that something is not possible: a step that expects one of them shows just that. */
const SAYING_SO: readonly (string | undefined)[] = ['NoPasid', 'Unsupported']

/**
 * Why this step makes no sense on this machine's architecture; null when it does. A device that cannot share a process here is never
 * bound to one, and sends no PASIDs of processes. Where there are no PASIDs at all, what steps expect of processes may be the work of
 * devices in steps that were left out.
 * @param after whether a step before it was left out.
 */
export function impossible(machine: Machine, step: PlainStep, after: boolean): string | null {
  const { architecture } = machine
  const given = step.given as { device?: string; process?: string; space?: string; pasid?: number } | string
  if (typeof given === 'string') return null
  const { device, process, space, pasid = 0 } = given
  const none = architecture.lacksPasids?.(machine.iommuOptions) ?? null
  if (none !== null) {
    const expected = step.expect === null ? undefined : expectationOn(namesOf(machine), step.expect).result
    if (SAYING_SO.includes(expected)) return null
    const needsPasid = space !== undefined || (device !== undefined && (process !== undefined || pasid !== 0))
    return needsPasid || (after && process !== undefined) ? none : null
  }
  if (device === undefined || (process === undefined && pasid === 0)) return null
  const { core } = machine.devices.get(device) ?? {}
  return core === undefined ? null : architecture.lacks(core.capabilities)
}

const STALLS: DeviceCapabilities = {
  pasidBits: 20,
  ats: false,
  pri: false,
  stall: true,
  plain: true,
  responseNeedsPasid: true,
}

/** What this machine is called in `on:`: its traits, then its kind, then what its options take away. */
export function namesOf({ architecture, iommuOptions }: Pick<Machine, 'architecture' | 'iommuOptions'>): readonly string[] {
  const { traits, kind } = architecture
  const stalls: Trait[] = architecture.lacks(STALLS) === null ? [] : ['no-stall']
  const pasids: Trait[] = (architecture.lacksPasids?.(iommuOptions) ?? null) === null ? [] : ['no-pasids']
  return [...traits, ...stalls, kind, ...pasids]
}

/** `lacks` of an architecture that cannot hold a transaction. @param iommu `a RISC-V IOMMU`. */
export function lacksStalls(iommu: string): (device: DeviceCapabilities) => string | null {
  return ({ stall, pri }) =>
    stall && !pri
      ? `the device stalls on faults, and ${iommu} cannot hold a transaction: only ATS and PRI can share a process`
      : null
}
