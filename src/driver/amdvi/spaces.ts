/** Shapes of the page tables that the driver writes. AMD IOMMU specification (48882), 2.2.3 (host tables, v1), 2.2.6 (guest tables, v2). */
import { IommError } from '../../core/error.ts'
import type { AmdFeatures } from '../../format/amdvi/features.ts'
import type { PtSpace } from '../../format/pt/format.ts'
import type { Shape } from '../common/pgtable.ts'

const shapeOf = ({ format, topDepth, inputBits, top, outputLimit }: PtSpace): Shape => ({
  format,
  topDepth,
  inputBits,
  top,
  outputLimit,
  attributesLo: 0,
  // An entry may change its page size at once, as those of CPUs may, while what is cached says the same.
  splitsAtOnce: true,
})

/** @throws IommError Unsupported */
export function hostShape(features: AmdFeatures, levels: number): Shape {
  const space = features.host[levels] ?? null
  if (space === null) throw new IommError('Unsupported', `the IOMMU has no host tables of ${levels} levels (EXT_FEATURE.HATS)`)
  return shapeOf(space)
}

/** @throws IommError Unsupported */
export function guestShape(features: AmdFeatures, levels: 4 | 5): Shape {
  if (!features.guest) throw new IommError('Unsupported', 'the IOMMU has no guest tables (EXT_FEATURE.GTSup)')
  const space = features.guestTables[levels - 4] ?? null
  if (space === null) throw new IommError('Unsupported', `the IOMMU has no guest tables of ${levels} levels (EXT_FEATURE.GATS)`)
  return shapeOf(space)
}
