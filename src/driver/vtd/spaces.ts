/** Shapes of the page tables that the driver writes. Intel VT-d 4.1, sections 3.6 and 3.7. */
import { IommError } from '../../core/error.ts'
import type { PtSpace } from '../../format/pt/format.ts'
import type { VtdFeatures } from '../../format/vtd/features.ts'
import type { Shape } from '../common/pgtable.ts'
import type { VtdDriverOptions } from './options.ts'

/** AW of so many levels: 1 is 3 levels. */
const awOf = (levels: number) => levels - 2

/** Where tables of several depths would do, 4 levels are what CPUs have; then what needs fewer reads. */
const PREFERRED = [4, 3, 5] as const

/** Levels of our second stages; null when the IOMMU has none. @throws IommError Unsupported */
export function secondLevels(features: VtdFeatures, wanted: VtdDriverOptions['secondLevels']): 3 | 4 | 5 | null {
  const has = (levels: number) => ((features.sagaw >>> awOf(levels)) & 1) === 1
  if (wanted !== undefined && !has(wanted))
    throw new IommError('Unsupported', `the IOMMU has no second stage of ${wanted} levels (CAP.SAGAW); leave that option out`)
  return wanted ?? PREFERRED.find(has) ?? null
}

/** The largest AW: what pass-through entries of legacy mode must say (section 9.3). */
export function largestAw(features: VtdFeatures): number {
  return 31 - Math.clz32(features.sagaw)
}

const shapeOf = ({ format, topDepth, inputBits, top }: PtSpace, features: VtdFeatures): Shape => ({
  format,
  topDepth,
  inputBits,
  top,
  outputLimit: features.hostLimit,
  attributesLo: 0,
  // An entry may change its page size at once, as long as both say the same until what is cached is invalidated (Intel SDM 3A, 4.10.4.3).
  splitsAtOnce: true,
})

/** @throws IommError Unsupported */
export function secondShape(features: VtdFeatures, levels: 3 | 4 | 5 | null): Shape {
  if (levels === null) throw new IommError('Unsupported', 'the IOMMU has no second stage (CAP.SAGAW)')
  return shapeOf(features.second[0][awOf(levels)]!, features)
}

/** @throws IommError Unsupported */
export function firstShape(features: VtdFeatures, levels: 4 | 5): Shape {
  if (!features.firstStage) throw new IommError('Unsupported', 'the IOMMU has no first stage (ECAP.FSTS)')
  if (levels === 5 && !features.fiveLevel) throw new IommError('Unsupported', 'the IOMMU has no 5-level first stage (CAP.FS5LP)')
  // NXE is set wherever there is such a bit.
  return shapeOf(features.first[features.executeRequests ? 1 : 0]![levels - 4]!, features)
}

/** Whether these are tables of the second stage. */
export function isSecondStage({ format }: Pick<PtSpace, 'format'>, features: VtdFeatures): boolean {
  return features.second[0].some((space) => space?.format === format)
}
