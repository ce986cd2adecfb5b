/**
 * Address spaces and their tags: page tables of ours under ASIDs of ours, processes under the CPU's ASIDs, stages 2 under VMIDs.
 * SYSTEM.md section 6; Arm IHI 0070, 3.17 "TLB tagging, VMIDs, ASIDs and participation in broadcast TLB maintenance".
 */
import type { Op } from '../../base/op.ts'
import type { DriverIoMm } from '../../core/driver.ts'
import { IommError } from '../../core/error.ts'
import type { SmmuFeatures } from '../../format/smmuv3/features.ts'
import type { SpaceFormats } from '../common/address-spaces.ts'
import type { Configuration } from '../common/configuration.ts'
import type { Invalidation } from '../common/invalidation.ts'
import type { AddressSpace } from '../common/state.ts'
import { TagAllocator } from '../common/tags.ts'
import { privateCd, quietCd, sharedCd } from './entries.ts'
import type { SmmuV3DriverOptions } from './options.ts'
import { chooseGranule, stage1Shape, stage2Shape } from './spaces.ts'

type CpuSpace = NonNullable<DriverIoMm['mm']>

export function spaceFormats(
  features: SmmuFeatures,
  options: SmmuV3DriverOptions,
): SpaceFormats & { readonly tags: TagAllocator<AddressSpace> } {
  const granule = chooseGranule(features, options.granule)
  return {
    stage1: () => stage1Shape(features, granule, options.ioasInputBits),
    stage2: () => stage2Shape(features, granule, options.ioasInputBits),
    entry: (space, asid, { stall }) => privateCd(space, asid, stall),
    tags: new TagAllocator('ASID', features.asid16 ? 16 : 8),
    guestTags: new TagAllocator('VMID', features.vmid16 ? 16 : 8),
  }
}

/** Processes, whose ASIDs are the CPU's and cannot be chosen. */
export class SharedAsids {
  readonly #features: SmmuFeatures
  readonly #asids: TagAllocator<AddressSpace>
  readonly #configuration: Configuration
  readonly #invalidation: Invalidation
  readonly #httu: number

  /** @param httu what hardware may update in process tables (IDR0.HTTU). */
  constructor(
    features: SmmuFeatures,
    asids: TagAllocator<AddressSpace>,
    configuration: Configuration,
    invalidation: Invalidation,
    httu: number,
  ) {
    this.#features = features
    this.#asids = asids
    this.#configuration = configuration
    this.#invalidation = invalidation
    this.#httu = httu
  }

  /** A process: its table is the CPU's, and so is its ASID, pinned. @throws IommError AsidExhausted, Unsupported */
  *newShared(mm: CpuSpace): Op<AddressSpace> {
    const asid = mm.pinAsid()
    if (asid === null)
      throw new IommError('AsidExhausted', `no more ASIDs can be pinned for ${mm.name}; unbind another process first`)
    const space: AddressSpace = {
      name: mm.name,
      tag: asid,
      oldTag: null,
      shared: true,
      exited: false,
      pgtable: null,
      granuleLog2: mm.space.format.granuleLog2,
      entry: ({ stall }) => {
        const cd = sharedCd(mm.space, asid, stall, this.#httu)
        return space.exited ? quietCd(cd, this.#features) : cd
      },
      places: new Map(),
    }
    try {
      const holder = this.#asids.owner(asid)
      if (asid > this.#asids.last)
        throw new IommError('Unsupported', `ASID ${asid} of ${mm.name} does not fit: the SMMU's largest is ${this.#asids.last}`)
      if (holder?.shared) throw new IommError('Unsupported', `ASID ${asid} of ${mm.name} is pinned for ${holder.name} too`)
      if (holder !== undefined) yield* this.#moveAway(holder, space)
      else this.#asids.take(asid, space)
    } catch (error) {
      mm.unpinAsid()
      throw error
    }
    return space
  }

  /**
   * A private address space makes room: its number is the CPU's. Until the new CD is everywhere both tag its translations, and whoever
   * unmaps meanwhile invalidates both.
   */
  *#moveAway(space: AddressSpace, forWhom: AddressSpace): Op<void> {
    const old = space.tag
    const fresh = this.#asids.allocate(space)
    this.#asids.take(old, forWhom)
    space.oldTag = old
    space.tag = fresh
    for (const [domain, pasid] of space.places)
      if (domain.table !== null) yield* this.#configuration.writePasid(domain, pasid, space.entry(domain))
    // The process has that tag, and nothing of its own is cached under it yet.
    yield* this.#invalidation.space(forWhom, null, null, false)
    space.oldTag = null
  }

  /** Its entries are cleared: each clearing invalidated the ASID, and the CPU will broadcast nothing for it when it is used again. */
  freeShared(space: AddressSpace, mm: CpuSpace): void {
    this.#asids.free(space.tag)
    mm.unpinAsid()
  }
}
