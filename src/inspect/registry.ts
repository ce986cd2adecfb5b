/** Who reads which kind of IOMMU. A further architecture is one more line. */
import { inspectSmmuV3 } from './smmuv3.ts'
import type { Inspector } from './source.ts'

/** By the name that captures use. */
export const INSPECTORS: ReadonlyMap<string, Inspector> = new Map<string, Inspector>([['smmuv3', inspectSmmuV3]])
