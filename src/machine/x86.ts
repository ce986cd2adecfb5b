/** CPUs of x86 machines: what VT-d and AMD-Vi have in common. */
import { IommError } from '../core/error.ts'
import { x86Cpu } from '../format/pt/x86.ts'
import type { CpuDescription } from '../mm/system.ts'
import type { CpuChoice } from './architecture.ts'

/** @throws IommError Unsupported for what x86 CPUs have not. */
export function x86Cpus(choice: CpuChoice): CpuDescription {
  const { pageSize = '4K', hardwareUpdates = 'dirty', addressBits = 48 } = choice
  if (pageSize !== '4K') throw new IommError('Unsupported', `x86 CPUs have pages of 4K, not of ${pageSize}`)
  if (hardwareUpdates !== 'dirty')
    throw new IommError('Unsupported', 'x86 CPUs always set accessed and dirty flags by themselves (hardwareUpdates: dirty)')
  return {
    ...x86Cpu(addressBits > 48 ? 5 : 4),
    // PCIDs; an IOMMU knows nothing of them.
    asidBits: choice.asidBits ?? 12,
    cpus: choice.cpus ?? 4,
    kpti: choice.kpti ?? false,
  }
}

/** What sizes of caches are rounded up to. */
export const powerOfTwo = (size: number) => (size === 0 ? 0 : 2 ** Math.ceil(Math.log2(size)))
