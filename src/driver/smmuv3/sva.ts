/** Whether a device may share a process's address space. SYSTEM.md section 7; Arm IHI 0070, 6.3.1 to 6.3.6 (what the SMMU has). */
import type { DriverDevice, DriverIoMm } from '../../core/driver.ts'
import { type Granule, vmsav8 } from '../../format/pt/vmsav8.ts'
import { granuleSupported, type SmmuFeatures, STALL_NEVER } from '../../format/smmuv3/features.ts'
import type { DomainState } from '../common/state.ts'
import { pasidObstacle } from '../common/sva.ts'

type CpuSpace = NonNullable<DriverIoMm['mm']>

/**
 * The first condition that does not hold, in words; null when all do.
 * @param mm null: a private address space with a PASID, which needs neither the CPU's format nor page faults.
 * @param domain the device's, null when it is attached to none yet.
 */
export function svaObstacle(
  features: SmmuFeatures,
  device: DriverDevice,
  domain: DomainState | null,
  mm: CpuSpace | null,
): string | null {
  const { ats, pri, stall } = device.capabilities
  const obstacle = pasidObstacle(device, domain)
  if (obstacle !== null) return obstacle
  if (features.ssidBits === 0) return 'the SMMU has no SubstreamIDs (SMMU_IDR1.SSIDSIZE is 0)'
  if (!features.s1) return 'the SMMU has no stage 1 (SMMU_IDR0.S1P)'
  if (!features.aarch64) return 'the SMMU does not walk AArch64 tables (SMMU_IDR0.TTF)'
  if (mm === null) return null
  return tablesObstacle(features, mm) ?? faultsObstacle(features, device.name, ats && pri, stall)
}

/** Whether the SMMU can walk the CPU's tables as the CPU does. */
function tablesObstacle(features: SmmuFeatures, mm: CpuSpace): string | null {
  const { format, inputBits, outputLimit } = mm.space
  if (!features.coherent) return "the SMMU's table walks are not coherent with the CPU's caches (SMMU_IDR0.COHACC)"
  const granule = format.granuleLog2
  const wide = format === vmsav8(granule as Granule, 'el1', true)
  if (!wide && format !== vmsav8(granule as Granule, 'el1'))
    return `the CPU's tables are ${format.name}, which the SMMU does not walk at stage 1`
  if (!granuleSupported(features, granule))
    return `the SMMU has no ${2 ** (granule - 10)} KiB granule, the CPU's page size (SMMU_IDR5)`
  if (wide && granule !== 16 && !features.ds)
    return "the CPU's tables hold 52-bit addresses, which the SMMU does not take (SMMU_IDR5.DS)"
  if (inputBits > features.vaBits)
    return `the CPU's virtual addresses have ${inputBits} bits, the SMMU's ${features.vaBits} (SMMU_IDR5.VAX)`
  const bits = Math.log2(outputLimit)
  if (bits > features.oas) return `the CPU's physical addresses have ${bits} bits, the SMMU's ${features.oas} (SMMU_IDR5.OAS)`
  const asidBits = features.asid16 ? 16 : 8
  if (mm.asidBits !== undefined && mm.asidBits > asidBits)
    return `the CPU's ASIDs have ${mm.asidBits} bits, the SMMU's ${asidBits} (SMMU_IDR0.ASID16)`
  return null
}

/** Whether page faults of the device can be answered. */
function faultsObstacle(features: SmmuFeatures, name: string, pri: boolean, stall: boolean): string | null {
  if (stall && features.stallModel !== STALL_NEVER) return null
  if (pri && features.pri && features.ats) return null
  if (stall) return `${name} can stall, but the SMMU cannot (SMMU_IDR0.STALL_MODEL)`
  if (pri) return `${name} has page requests, but the SMMU has not (SMMU_IDR0.ATS and PRI)`
  return `${name} has no recoverable faults: neither ATS with PRI, nor stall`
}
