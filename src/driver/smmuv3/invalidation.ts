/** Commands that make the IOTLB and devices forget translations. Arm IHI 0070, 4.4, 4.5.1. */
import type { SmmuFeatures } from '../../format/smmuv3/features.ts'
import type { InvalidationCommands } from '../common/invalidation.ts'
import { atcInvalidate, tlbiAsid, tlbiIpa, tlbiNhAll, tlbiVa, tlbiVmid } from './commands.ts'
import { tlbiCover } from './tlbi.ts'

/** @param limit most CMD_TLBI per range; above that, the whole ASID or VMID. */
export function invalidationCommands(features: SmmuFeatures, limit: number): InvalidationCommands {
  const coverOf = (granuleLog2: number, start: bigint | null, end: bigint | null) =>
    start === null || end === null ? null : tlbiCover(start, end, granuleLog2, features.ril, limit)
  return {
    ats: features.ats,
    space({ tag, oldTag, granuleLog2 }, start, end, leaf) {
      const cover = coverOf(granuleLog2, start, end)
      return (oldTag === null ? [tag] : [tag, oldTag]).flatMap((asid) =>
        cover === null ? [tlbiAsid(asid)] : cover.map((range) => tlbiVa(asid, range, leaf)),
      )
    },
    stage2({ tag, pgtable }, start, end, leaf, guests) {
      const cover = coverOf(pgtable.space.format.granuleLog2, start, end)
      if (cover === null) return [tlbiVmid(tag)]
      const commands = cover.map((range) => tlbiIpa(tag, range, leaf))
      // 4.4.3.1: by intermediate address only stage 2 entries go; what combines both stages has only the guest's address.
      return guests.length === 0 ? commands : [...commands, tlbiNhAll(tag)]
    },
    atc: atcInvalidate,
  }
}
