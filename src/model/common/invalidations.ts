/** Invalidation requests that were sent to devices and not answered yet. PCI Express, "Address Translation Services", invalidation. */

/** The function that a message comes from or goes to. */
export interface PciFunction {
  readonly rid: number
  /** Segment; null when the message has none. */
  readonly segment: number | null
}

interface Outstanding extends PciFunction {
  received: number
}

export class Invalidations {
  /** By ITag; null: free. */
  readonly #tags: (Outstanding | null)[]
  #timedOut = false

  constructor(tags: number) {
    this.#tags = new Array<Outstanding | null>(tags).fill(null)
  }

  /** Whether any request is not answered. */
  get pending(): boolean {
    return this.#tags.some((tag) => tag !== null)
  }

  /** The lowest free ITag, taken for a request to this function; -1 when none is free. */
  allocate({ rid, segment }: PciFunction): number {
    const tag = this.#tags.indexOf(null)
    if (tag >= 0) this.#tags[tag] = { rid, segment, received: 0 }
    return tag
  }

  /** The function that a request went to, null when the tag is free. */
  target(tag: number): PciFunction | null {
    return this.#tags[tag] ?? null
  }

  /**
   * A completion message: ITags as a mask, and how many completions the device sends for each request (3 bits, 0 means 8).
   * @returns whether it was expected. One that is not expected changes nothing from that tag on.
   */
  complete(from: PciFunction, mask: number, count: number): boolean {
    for (const [tag, request] of this.#tags.entries()) {
      if (((mask >>> tag) & 1) === 0) continue
      if (request === null || request.rid !== from.rid) return false
      if (request.segment !== null && request.segment !== from.segment) return false
      request.received = (request.received + 1) & 7
      if (request.received === (count & 7)) this.#tags[tag] = null
    }
    return true
  }

  /** The device did not answer in time. */
  expire(mask: number): void {
    for (const tag of this.#tags.keys()) if ((mask >>> tag) & 1) this.#tags[tag] = null
    this.#timedOut = true
  }

  /** Whether a request timed out since this was asked last. */
  takeTimeout(): boolean {
    const timedOut = this.#timedOut
    this.#timedOut = false
    return timedOut
  }
}

/** The addresses of an invalidation request. @param sized the S bit: the lowest clear address bit from bit 12 up gives the size. */
export function invalidationRange(address: bigint, sized: boolean): { address: bigint; bytes: bigint | null } {
  if (!sized) return { address, bytes: 4096n }
  const pages = address >> 12n
  const bytes = (pages ^ (pages + 1n)) + 1n
  // All ones, or all but the top bit: everything.
  if (bytes >= 1n << 52n) return { address: 0n, bytes: null }
  return { address: (pages & ~(bytes - 1n)) << 12n, bytes: bytes << 12n }
}
