/** Descriptors that make the IOTLB and devices forget translations. Intel VT-d 4.1, sections 6.5.2 and 6.5.3. */
import type { VtdFeatures } from '../../format/vtd/features.ts'
import type { InvalidationCommands } from '../common/invalidation.ts'
import { type PowerRange, powerOfTwoCover } from '../common/power-of-two.ts'
import { type Draining, deviceTlb, iotlbDomain, iotlbPages, pasidIotlb, pasidIotlbPages } from './commands.ts'
import { capField } from './registers.ts'
import { isSecondStage } from './spaces.ts'

export function drainingOf(features: VtdFeatures): Draining {
  return { DR: capField(features, 'DRD') === 1 ? 1 : 0, DW: capField(features, 'DWD') === 1 ? 1 : 0 }
}

/** @param limit most descriptors per range; above that, the whole domain id or PASID. */
export function invalidationCommands(features: VtdFeatures, limit: number): InvalidationCommands {
  const draining = drainingOf(features)
  const selective = capField(features, 'PSI') === 1
  const largest = capField(features, 'MAMV')

  const cover = (start: bigint | null, end: bigint | null): readonly PowerRange[] | null => {
    if (start === null || end === null || !selective) return null
    const ranges = powerOfTwoCover(start, end, limit)
    // 2^MAMV pages at most in one descriptor.
    return ranges === null || ranges.some(({ size }) => size > largest) ? null : ranges
  }
  const ofDomain = (did: number, start: bigint | null, end: bigint | null, leaf: boolean) =>
    cover(start, end)?.map((range) => iotlbPages(did, range, leaf, draining)) ?? [iotlbDomain(did, draining)]

  return {
    ats: features.deviceTlb,
    space({ tag, pgtable, places }, start, end, leaf) {
      if (pgtable !== null && isSecondStage(pgtable.space, features)) return ofDomain(tag, start, end, leaf)
      const ranges = cover(start, end)
      return [...new Set(places.values())].flatMap(
        (pasid) => ranges?.map((range) => pasidIotlbPages(tag, pasid, range, leaf)) ?? [pasidIotlb(tag, pasid)],
      )
    },
    // What is cached of a guest's first stage over it is found by the guest's addresses only: all of it goes.
    stage2: ({ tag }, start, end, leaf, guests) =>
      guests.length === 0 ? ofDomain(tag, start, end, leaf) : [iotlbDomain(tag, draining)],
    atc: deviceTlb,
  }
}
