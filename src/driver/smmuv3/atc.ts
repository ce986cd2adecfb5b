/**
 * Which CMD_ATC_INV commands cover a range. PCI Express ATS, "Invalidate Request": the range is a power of two of 4 KiB pages, aligned
 * to its size. Arm IHI 0070, 4.5.1 CMD_ATC_INV: 2^Size × 4 KiB from Address; Size 52 covers everything.
 */
import { ATC_INV_SIZE_ALL } from '../../format/smmuv3/commands.ts'

/** One range: 2^size pages of 4 KiB from `address`. */
export interface AtcRange {
  readonly address: bigint
  readonly size: number
}

const PAGE = 4096n
const END = 1n << 64n

/**
 * The fewest ranges that cover exactly the pages that [start, end) touches. End exclusive; empty ranges need none.
 * @param limit most commands that are worth it; above that, null: invalidate everything of the PASID instead.
 */
export function atcCover(start: bigint, end: bigint, limit: number): AtcRange[] | null {
  const ranges: AtcRange[] = []
  if (end <= start) return ranges
  const first = start - (start % PAGE)
  const last = end > END ? END : end + ((PAGE - (end % PAGE)) % PAGE)
  for (let at = first; at < last; ) {
    // The largest block that starts here: bounded by the alignment of the address and by what is left.
    let size = 0
    while (size < ATC_INV_SIZE_ALL && at % (PAGE << BigInt(size + 1)) === 0n && at + (PAGE << BigInt(size + 1)) <= last) size++
    ranges.push({ address: at, size })
    if (ranges.length > limit) return null
    at += PAGE << BigInt(size)
  }
  return ranges
}
