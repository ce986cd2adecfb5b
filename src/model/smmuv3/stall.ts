/**
 * Stalled transactions: the SMMU holds them until software answers. Arm IHI 0070, 3.12.2.
 * The device sees a ticket; software sees the STAG of the event record. A transaction gets no STAG while all are taken (then it waits, as
 * behind an interconnect that pushes back), and no event while the event queue is not writable: both are tried again later (7.2.1).
 */
import type { DeviceId, Pasid } from '../../base/types.ts'

export interface Stalled {
  /** What the device knows it by: the STAG, or a number above 0xffff when it had to wait for one. */
  readonly ticket: number
  /** -1: none yet. */
  stag: number
  readonly device: DeviceId
  readonly pasid: Pasid | null
  readonly iovaHi: number
  readonly iovaLo: number
  readonly flags: number
  /** Whether its event is in the queue. */
  recorded: boolean
}

export class Stalls {
  /** How many can stall (IDR5.STALL_MAX). */
  limit = 1
  readonly #held: Stalled[] = []
  readonly #tags = new Set<number>()
  #nextTag = 0
  #nextTicket = 0x10000

  get count(): number {
    return this.#held.length
  }

  /** A free STAG, or -1. A tag that was just answered is not the first to be used again. */
  #takeTag(): number {
    const limit = Math.min(Math.max(this.limit, 1), 0x10000)
    if (this.#tags.size >= limit) return -1
    while (this.#tags.has(this.#nextTag % limit)) this.#nextTag++
    const tag = this.#nextTag++ % limit
    this.#tags.add(tag)
    return tag
  }

  /** Holds a transaction. */
  hold(device: DeviceId, pasid: Pasid | null, iovaHi: number, iovaLo: number, flags: number): Stalled {
    const stag = this.#takeTag()
    const ticket = stag >= 0 ? stag : this.#nextTicket++
    const stalled: Stalled = { ticket, stag, device, pasid, iovaHi, iovaLo, flags, recorded: false }
    this.#held.push(stalled)
    return stalled
  }

  /** Gives a waiting transaction its STAG. @returns whether it has one now. */
  tag(stalled: Stalled): boolean {
    if (stalled.stag < 0) stalled.stag = this.#takeTag()
    return stalled.stag >= 0
  }

  /** The transaction that software means: only one whose event it has seen, and of this stream (4.7.1). */
  find(device: DeviceId, stag: number): Stalled | null {
    return this.#held.find((each) => each.recorded && each.stag === stag && each.device === device) ?? null
  }

  release(stalled: Stalled): void {
    const place = this.#held.indexOf(stalled)
    if (place < 0) return
    this.#held.splice(place, 1)
    if (stalled.stag >= 0) this.#tags.delete(stalled.stag)
  }

  /** Those of a stream; of all streams with null. In order of arrival. */
  of(device: DeviceId | null): Stalled[] {
    return this.#held.filter((each) => device === null || each.device === device)
  }

  /** Those whose event is not in the queue yet. */
  unrecorded(): Stalled[] {
    return this.#held.filter((each) => !each.recorded)
  }
}
