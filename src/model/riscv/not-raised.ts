/** Causes that the model never reports, and why. Every other entry of CAUSES has a test that raises it. RISC-V IOMMU 1.0, table of causes. */
import type { NotRaised } from '../common/not-raised.ts'

export const NOT_RAISED: readonly NotRaised[] = [
  { code: 4, why: 'reads may have any alignment: the model leaves misaligned ones to the bus' },
  { code: 6, why: 'writes may have any alignment: the model leaves misaligned ones to the bus' },
  { code: 264, why: 'the model says where a memory-resident interrupt file is; who stores the interrupt reads and writes it' },
  { code: 271, why: 'the model says where a memory-resident interrupt file is; who stores the interrupt reads and writes it' },
  { code: 272, why: 'the model has no internal data path that could fail' },
]
