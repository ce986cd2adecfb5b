/**
 * Making the hardware forget translations: IOTLB entries by tag and address, then what devices cache. Arm IHI 0070, 4.4, 4.5.1; the
 * order is SYSTEM.md's: the ATC last, or it would be filled again from stale IOTLB entries.
 */
import type { Op } from '../../base/op.ts'
import type { SmmuFeatures } from '../../format/smmuv3/features.ts'
import { atcCover } from './atc.ts'
import type { CommandQueue } from './command-queue.ts'
import { atcInvalidate, tlbiAsid, tlbiIpa, tlbiNhAll, tlbiVa, tlbiVmid } from './commands.ts'
import type { AddressSpace, DeviceState, Stage2 } from './state.ts'
import { tlbiCover } from './tlbi.ts'

export class Invalidation {
  readonly #commands: CommandQueue
  readonly #features: SmmuFeatures
  readonly #tlbiLimit: number
  readonly #atcLimit: number

  constructor(commands: CommandQueue, features: SmmuFeatures, limits: { readonly tlbi: number; readonly atc: number }) {
    this.#commands = commands
    this.#features = features
    this.#tlbiLimit = limits.tlbi
    this.#atcLimit = limits.atc
  }

  /** IOTLB entries of an address space in [start, end), or all (null). @param leaf only leaves changed, no table was taken out. */
  *tlb(space: AddressSpace, granuleLog2: number, start: bigint | null, end: bigint | null, leaf: boolean): Op<void> {
    const cover = this.#tlbiCover(granuleLog2, start, end)
    if (cover?.length === 0) return
    const commands: Uint32Array[] = []
    // Tags are read here, after the tables changed and with no pause before the commands are queued: see `moveAsid`.
    for (const asid of space.oldAsid === null ? [space.asid] : [space.asid, space.oldAsid]) {
      if (cover === null) commands.push(tlbiAsid(asid))
      else for (const range of cover) commands.push(tlbiVa(asid, range, leaf))
    }
    yield* this.#commands.issueAndSync(commands)
  }

  /** All IOTLB entries of an ASID. */
  asid(asid: number): Op<void> {
    return this.#commands.issueAndSync([tlbiAsid(asid)])
  }

  /** Both stages of a VMID. */
  vmid(vmid: number): Op<void> {
    return this.#commands.issueAndSync([tlbiVmid(vmid)])
  }

  /** IOTLB entries behind a stage 2, by intermediate address. @param under a guest has a stage 1 over it: its entries go too, all of them. */
  *ipa({ vmid, pgtable }: Stage2, start: bigint, end: bigint, leaf: boolean, under: boolean): Op<void> {
    const cover = this.#tlbiCover(pgtable.space.format.granuleLog2, start, end)
    const commands = cover === null ? [tlbiVmid(vmid)] : cover.map((range) => tlbiIpa(vmid, range, leaf))
    // 4.4.3.1: by intermediate address only stage 2 entries go; what combines both stages has only the guest's address.
    if (under && cover !== null) commands.push(tlbiNhAll(vmid))
    yield* this.#commands.issueAndSync(commands)
  }

  /** What devices cache of [start, end), or all (null). @param pasid null: without PASID, which takes all PASIDs with it. */
  *atc(devices: Iterable<DeviceState>, pasid: number | null, start: bigint | null, end: bigint | null): Op<void> {
    const cover = start === null || end === null ? null : atcCover(start, end, this.#atcLimit)
    const commands: Uint32Array[] = []
    for (const { device } of devices) {
      if (!device.capabilities.ats || !this.#features.ats) continue
      if (cover === null) commands.push(atcInvalidate(device.id, pasid, null))
      else for (const range of cover) commands.push(atcInvalidate(device.id, pasid, range))
    }
    if (commands.length > 0) yield* this.#commands.issueAndSync(commands)
  }

  #tlbiCover(granuleLog2: number, start: bigint | null, end: bigint | null) {
    return start === null || end === null ? null : tlbiCover(start, end, granuleLog2, this.#features.ril, this.#tlbiLimit)
  }
}
