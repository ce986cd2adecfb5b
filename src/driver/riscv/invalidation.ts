/** Commands that make the IOATC and devices forget translations. RISC-V IOMMU 1.0, "IOMMU Page-Table cache invalidation commands". */

import type { RiscvFeatures } from '../../format/riscv/features.ts'
import { CAP_HI_NL, CAP_HI_S } from '../../format/riscv/registers.ts'
import type { InvalidationCommands } from '../common/invalidation.ts'
import { type PowerRange, powerOfTwoCover } from '../common/power-of-two.ts'
import { atsInvalidate, HOST, iodirDdt, iotinvalGvma, iotinvalVma, type Subject } from './commands.ts'

/** @param limit most IOTINVAL per range; above that, the whole PSCID or GSCID. */
export function invalidationCommands(features: RiscvFeatures, limit: number): InvalidationCommands {
  const ranges = (features.capHi & CAP_HI_S) !== 0
  const nonLeaf = (features.capHi & CAP_HI_NL) !== 0

  /** Subjects that cover a range. With an address only leaves are forgotten, unless NL takes the entries above with them. */
  const subjects = (whole: Subject, start: bigint | null, end: bigint | null, leaf: boolean): Subject[] => {
    if (start === null || end === null || (!leaf && !nonLeaf)) return [whole]
    const cover = ranges ? powerOfTwoCover(start, end, limit) : pages(start, end, limit)
    return cover === null ? [whole] : cover.map((range) => ({ ...whole, range, nonLeaf: !leaf }))
  }
  return {
    ats: features.ats,
    space: ({ tag }, start, end, leaf) => subjects({ ...HOST, pscid: tag }, start, end, leaf).map(iotinvalVma),
    stage2({ tag }, start, end, leaf, guests) {
      const commands = subjects({ ...HOST, gscid: tag }, start, end, leaf).map(iotinvalGvma)
      // A guest's DC points to guest physical addresses: "an implementation may translate such fields as part of caching the DC".
      return [...commands, ...guests.map(({ device }) => iodirDdt(device.id))]
    },
    atc: atsInvalidate,
  }
}

/** Page by page, where the IOMMU takes no ranges. */
function pages(start: bigint, end: bigint, limit: number): PowerRange[] | null {
  const first = start & ~0xfffn
  const count = (end - first + 0xfffn) >> 12n
  if (count > BigInt(limit)) return null
  return Array.from({ length: Number(count) }, (_, page) => ({ address: first + (BigInt(page) << 12n), size: 0 }))
}
