/**
 * Address spaces and their tags: page tables of ours under ASIDs of ours, processes under the CPU's ASIDs, stages 2 under VMIDs.
 * SYSTEM.md section 6; Arm IHI 0070, 3.17 "TLB tagging, VMIDs, ASIDs and participation in broadcast TLB maintenance".
 */
import type { PageAllocator, WordMemory } from '../../base/memory.ts'
import type { Op } from '../../base/op.ts'
import type { DriverDomain, DriverIoMm } from '../../core/driver.ts'
import { IommError } from '../../core/error.ts'
import type { Granule } from '../../format/pt/vmsav8.ts'
import type { SmmuFeatures } from '../../format/smmuv3/features.ts'
import { TagAllocator } from './asid.ts'
import type { Configuration } from './configuration.ts'
import { privateCd, sharedCd } from './entries.ts'
import type { Invalidation } from './invalidation.ts'
import type { SmmuV3DriverOptions } from './options.ts'
import { DriverPgtable } from './pgtable.ts'
import { chooseGranule, stage1Shape, stage2Shape } from './spaces.ts'
import type { AddressSpace, DeviceState, Stage2 } from './state.ts'

type CpuSpace = NonNullable<DriverIoMm['mm']>

export class AddressSpaces {
  /** log2 of the page size of our own tables. */
  readonly granule: Granule
  readonly #features: SmmuFeatures
  readonly #memory: WordMemory & PageAllocator
  readonly #options: SmmuV3DriverOptions
  readonly #configuration: Configuration
  readonly #invalidation: Invalidation
  readonly #asids: TagAllocator<AddressSpace>
  readonly #vmids: TagAllocator<DriverDomain>

  constructor(
    features: SmmuFeatures,
    memory: WordMemory & PageAllocator,
    options: SmmuV3DriverOptions,
    configuration: Configuration,
    invalidation: Invalidation,
  ) {
    this.#features = features
    this.#memory = memory
    this.#options = options
    this.#configuration = configuration
    this.#invalidation = invalidation
    this.granule = chooseGranule(features, options.granule)
    this.#asids = new TagAllocator('ASID', features.asid16 ? 16 : 8)
    this.#vmids = new TagAllocator('VMID', features.vmid16 ? 16 : 8)
  }

  /** With a page table of ours. @throws IommError AsidExhausted */
  newPrivate(name: string): AddressSpace {
    const shape = stage1Shape(this.#features, this.granule, this.#options.ioasInputBits)
    const pgtable: DriverPgtable = new DriverPgtable(name, this.#memory, this.#memory, shape, {
      tlb: (start, end, leaf) => this.#invalidation.tlb(space, this.granule, start, end, leaf),
      atc: (start, end) => this.#forgetAtc(space, start, end),
    })
    const space: AddressSpace = {
      name,
      asid: 0,
      oldAsid: null,
      shared: false,
      exited: false,
      pgtable,
      cd: (stall) => privateCd(pgtable.space, space.asid, stall),
      places: new Map(),
    }
    try {
      space.asid = this.#asids.allocate(space)
    } catch (error) {
      pgtable.free()
      throw error
    }
    return space
  }

  *#forgetAtc(space: AddressSpace, start: bigint, end: bigint): Op<void> {
    for (const [domain, pasid] of space.places)
      yield* this.#invalidation.atc(domain.devices, pasid === 0 ? null : pasid, start, end)
  }

  *freePrivate(space: AddressSpace): Op<void> {
    yield* this.#invalidation.asid(space.asid)
    space.pgtable?.free()
    this.#asids.free(space.asid)
  }

  /** A process: its table is the CPU's, and so is its ASID, pinned. @throws IommError AsidExhausted, Unsupported */
  *newShared(mm: CpuSpace): Op<AddressSpace> {
    const asid = mm.pinAsid()
    if (asid === null)
      throw new IommError('AsidExhausted', `no more ASIDs can be pinned for ${mm.name}; unbind another process first`)
    const httu = this.#options.httu === false ? 0 : this.#features.httu
    const space: AddressSpace = {
      name: mm.name,
      asid,
      oldAsid: null,
      shared: true,
      exited: false,
      pgtable: null,
      cd: (stall) => sharedCd(mm.space, asid, stall, httu),
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
    const old = space.asid
    const fresh = this.#asids.allocate(space)
    this.#asids.take(old, forWhom)
    space.oldAsid = old
    space.asid = fresh
    for (const [domain, pasid] of space.places)
      if (domain.table !== null) yield* this.#configuration.writeCd(domain, pasid, space.cd(domain.stall))
    yield* this.#invalidation.asid(old)
    space.oldAsid = null
  }

  /** Its entries are cleared: each clearing invalidated the ASID, and the CPU will broadcast nothing for it when it is used again. */
  freeShared(space: AddressSpace, mm: CpuSpace): void {
    this.#asids.free(space.asid)
    mm.unpinAsid()
  }

  /** @throws IommError AsidExhausted when there is no VMID */
  newStage2(domain: DriverDomain, devices: () => Iterable<DeviceState>): Stage2 {
    const shape = stage2Shape(this.#features, this.granule, this.#options.ioasInputBits)
    const withGuest = (has: boolean) => [...devices()].filter(({ guest }) => (guest !== null) === has)
    const invalidation = this.#invalidation
    const stage2: Stage2 = {
      vmid: this.#vmids.allocate(domain),
      pgtable: new DriverPgtable(`domain ${domain.name}`, this.#memory, this.#memory, shape, {
        tlb: (start, end, leaf) => invalidation.ipa(stage2, start, end, leaf, withGuest(true).length > 0),
        *atc(start, end) {
          // Behind a guest's stage 1 a device caches by addresses that only the guest knows.
          yield* invalidation.atc(withGuest(true), null, null, null)
          yield* invalidation.atc(withGuest(false), null, start, end)
        },
      }),
    }
    return stage2
  }

  *freeStage2(stage2: Stage2): Op<void> {
    yield* this.#invalidation.vmid(stage2.vmid)
    stage2.pgtable.free()
    this.#vmids.free(stage2.vmid)
  }
}
