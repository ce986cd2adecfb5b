/** Invalidation requests that were sent to devices and not answered yet. PCI Express, "Address Translation Services", invalidation. */
import type { PciFunction } from './messages.ts'

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
