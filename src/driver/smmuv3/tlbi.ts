/**
 * Which addresses a TLB invalidation has to name. Arm IHI 0070, 4.4.1.1 "Range-based invalidation and level hint": with IDR3.RIL one
 * command covers (NUM + 1) × 2^SCALE granules, without it one granule.
 */

/** One command's address fields. `scale` and `num` as the command encodes them; `tg` 0 when it is no range. */
export interface TlbiRange {
  readonly address: bigint
  readonly tg: number
  readonly num: number
  readonly scale: number
}

/** CMD_TLBI_….TG of a granule (log2). */
export function tgOf(granuleLog2: number): number {
  return (granuleLog2 - 10) / 2
}

/**
 * The commands' addresses for [start, end), end exclusive, any alignment.
 * @param ranges whether the hardware takes ranges.
 * @param limit most commands that are worth it; above that, null: invalidate the whole address space instead.
 */
export function tlbiCover(start: bigint, end: bigint, granuleLog2: number, ranges: boolean, limit: number): TlbiRange[] | null {
  const shift = BigInt(granuleLog2)
  const cover: TlbiRange[] = []
  if (end <= start) return cover
  let page = start >> shift
  let pages = ((end - 1n) >> shift) - page + 1n
  if (!ranges && pages > BigInt(limit)) return null
  while (pages > 0n) {
    let count = 1n
    let scale = 0
    if (ranges) {
      // NUM has 5 bits: each command takes the lowest five bits of what is left.
      while ((pages >> BigInt(scale)) % 2n === 0n) scale++
      count = (pages >> BigInt(scale)) & 31n
    }
    const covered = count << BigInt(scale)
    // A range of one granule without a level hint is reserved: such a command is a plain one.
    const tg = covered === 1n ? 0 : tgOf(granuleLog2)
    cover.push({ address: page << shift, tg, num: Number(count) - 1, scale })
    if (cover.length > limit) return null
    page += covered
    pages -= covered
  }
  return cover
}
