/**
 * Making hardware forget translations: IOTLB entries by tag and address, then what devices cache. The ATC comes last, or it would be
 * filled again from stale IOTLB entries (SYSTEM.md section 5).
 */
import type { Op } from '../../base/op.ts'
import type { CommandRing } from './command-ring.ts'
import { type PowerRange, powerOfTwoCover } from './power-of-two.ts'
import type { AddressSpace, DeviceState, Stage2 } from './state.ts'

/** An architecture's commands that make caches forget. */
export interface InvalidationCommands {
  readonly ats: boolean
  /** IOTLB entries of an address space in [start, end), or all (null). @param leaf only leaves changed, no table was taken out. */
  space(space: AddressSpace, start: bigint | null, end: bigint | null, leaf: boolean): Uint32Array[]
  /** IOTLB entries behind a stage 2, by intermediate address, or all (null). @param guests devices with a guest's stage 1 over it. */
  stage2(stage2: Stage2, start: bigint | null, end: bigint | null, leaf: boolean, guests: readonly DeviceState[]): Uint32Array[]
  /** What a device caches. @param pasid null: no PASID, which takes all PASIDs with it. @param range null: all addresses. */
  atc(device: number, pasid: number | null, range: PowerRange | null): Uint32Array
}

export class Invalidation {
  readonly #ring: CommandRing
  readonly #commands: InvalidationCommands
  readonly #atcLimit: number

  /** @param atcLimit most commands per device and range. */
  constructor(ring: CommandRing, commands: InvalidationCommands, atcLimit: number) {
    this.#ring = ring
    this.#commands = commands
    this.#atcLimit = atcLimit
  }

  /** IOTLB entries of an address space in [start, end), or all (null). */
  *space(space: AddressSpace, start: bigint | null, end: bigint | null, leaf: boolean): Op<void> {
    if (start !== null && end !== null && end <= start) return
    // Tags are read here, after the tables changed and with no pause before the commands are queued.
    yield* this.#ring.issueAndSync(this.#commands.space(space, start, end, leaf))
  }

  /** IOTLB entries behind a stage 2. */
  *stage2(stage2: Stage2, start: bigint | null, end: bigint | null, leaf: boolean, guests: readonly DeviceState[]): Op<void> {
    yield* this.#ring.issueAndSync(this.#commands.stage2(stage2, start, end, leaf, guests))
  }

  /** What devices cache of [start, end), or all (null). @param pasid null: without PASID, which takes all PASIDs with it. */
  *atc(devices: Iterable<DeviceState>, pasid: number | null, start: bigint | null, end: bigint | null): Op<void> {
    const cover = start === null || end === null ? null : powerOfTwoCover(start, end, this.#atcLimit)
    const commands: Uint32Array[] = []
    for (const { device } of devices) {
      if (!device.capabilities.ats || !this.#commands.ats) continue
      if (cover === null) commands.push(this.#commands.atc(device.id, pasid, null))
      else for (const range of cover) commands.push(this.#commands.atc(device.id, pasid, range))
    }
    if (commands.length > 0) yield* this.#ring.issueAndSync(commands)
  }
}
