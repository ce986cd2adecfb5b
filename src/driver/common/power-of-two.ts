/**
 * Covering an address range with blocks of 2^n pages, each aligned to its size: what PCI Express ATS takes ("Invalidate Request"), and
 * other invalidation commands after it.
 */

/** One block: 2^size pages of 4 KiB from `address`. */
export interface PowerRange {
  readonly address: bigint
  readonly size: number
}

/** `size` of everything: 2^52 pages. */
export const EVERYTHING = 52

const PAGE = 4096n
const END = 1n << 64n

/**
 * The fewest blocks that cover exactly the pages that [start, end) touches. End exclusive; empty ranges need none.
 * @param limit most commands that are worth it; above that, null: invalidate everything instead.
 */
export function powerOfTwoCover(start: bigint, end: bigint, limit: number): PowerRange[] | null {
  const ranges: PowerRange[] = []
  if (end <= start) return ranges
  const first = start - (start % PAGE)
  const last = end > END ? END : end + ((PAGE - (end % PAGE)) % PAGE)
  for (let at = first; at < last; ) {
    // The largest block that starts here: bounded by the alignment of the address and by what is left.
    let size = 0
    while (size < EVERYTHING && at % (PAGE << BigInt(size + 1)) === 0n && at + (PAGE << BigInt(size + 1)) <= last) size++
    ranges.push({ address: at, size })
    if (ranges.length > limit) return null
    at += PAGE << BigInt(size)
  }
  return ranges
}

/**
 * A range as PCIe ATS codes it, and commands after it: bits below a zero are ones, and their number gives the size ("Invalidate Request",
 * S field). `s` 0: a single page.
 */
export function napot({ address, size }: PowerRange): { address: bigint; s: 0 | 1 } {
  const below = size === 0 ? 0n : (1n << BigInt(size - 1)) - 1n
  return { address: address | (below << 12n), s: size === 0 ? 0 : 1 }
}
