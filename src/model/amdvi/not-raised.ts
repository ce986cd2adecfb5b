/** Events of the specification that this model never logs, and why. AMD IOMMU specification (48882), 2.5. */
import type { NotRaised } from '../common/not-raised.ts'

export const NOT_RAISED: readonly NotRaised[] = [
  { code: 10, why: 'there are no performance counters (EXT_FEATURE.PCSup is 0)' },
  { code: 11, why: 'there are no virtual IOMMUs, so there is no guest event log (EXT_FEATURE.VIommuSup is 0)' },
  { code: 12, why: 'there are no virtual IOMMUs (EXT_FEATURE.VIommuSup is 0)' },
  { code: 13, why: 'there is no reverse map table (EXT_FEATURE.SNPSup is 0)' },
  { code: 14, why: 'there is no reverse map table (EXT_FEATURE.SNPSup is 0)' },
]
