/** Address spaces with tables of our own, and stages 2: their tags, their lives. Processes are the architecture's own business. */
import type { PageAllocator, WordMemory } from '../../base/memory.ts'
import { type Op, step } from '../../base/op.ts'
import type { DriverDomain, DriverIoMm } from '../../core/driver.ts'
import type { PtSpace } from '../../format/pt/format.ts'
import type { Invalidation } from './invalidation.ts'
import { DriverPgtable, type Shape } from './pgtable.ts'
import type { AddressSpace, DeviceState, DomainState, Stage2 } from './state.ts'
import type { TagAllocator } from './tags.ts'

/** What an architecture knows of address spaces. */
export interface SpaceFormats {
  /** @throws IommError Unsupported, BadArgument */
  stage1(): Shape
  stage2(): Shape
  /** Of a domain's own space, where it differs from those that are private. @throws IommError Unsupported, BadArgument */
  own?(): Shape
  /** The PASID table entry of a space of ours. */
  entry(space: PtSpace, tag: number, domain: DomainState): Uint32Array
  readonly tags: Pick<TagAllocator<AddressSpace>, 'allocate' | 'free'>
  readonly guestTags: Pick<TagAllocator<DriverDomain>, 'allocate' | 'free'>
}

export class AddressSpaces {
  readonly #memory: WordMemory & PageAllocator
  readonly #formats: SpaceFormats
  readonly #invalidation: Invalidation

  constructor(memory: WordMemory & PageAllocator, formats: SpaceFormats, invalidation: Invalidation) {
    this.#memory = memory
    this.#formats = formats
    this.#invalidation = invalidation
  }

  /** A domain's own, for entry 0. @throws IommError AsidExhausted */
  newOwn(domain: DriverDomain): AddressSpace {
    return this.#new(`domain ${domain.name}`, (this.#formats.own ?? this.#formats.stage1)())
  }

  /** With a page table of ours. @throws IommError AsidExhausted */
  newPrivate(name: string): AddressSpace {
    return this.#new(name, this.#formats.stage1())
  }

  #new(name: string, shape: Shape): AddressSpace {
    const formats = this.#formats
    const pgtable: DriverPgtable = new DriverPgtable(name, this.#memory, this.#memory, shape, {
      tlb: (start, end, leaf) => this.#invalidation.space(space, start, end, leaf),
      atc: (start, end) => this.#forgetAtc(space, start, end),
    })
    const space: AddressSpace = {
      name,
      tag: 0,
      oldTag: null,
      shared: false,
      exited: false,
      pgtable,
      granuleLog2: shape.format.granuleLog2,
      entry: (domain) => formats.entry(pgtable.space, space.tag, domain),
      places: new Map(),
    }
    try {
      space.tag = formats.tags.allocate(space)
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
    yield* this.#invalidation.space(space, null, null, false)
    space.pgtable?.free()
    this.#formats.tags.free(space.tag)
  }

  /** @throws IommError AsidExhausted when there is no tag. */
  newStage2(domain: DriverDomain, devices: ReadonlySet<DeviceState>): Stage2 {
    const withGuest = (has: boolean) => [...devices].filter(({ guest }) => (guest !== null) === has)
    const invalidation = this.#invalidation
    const shape = this.#formats.stage2()
    const stage2: Stage2 = {
      tag: this.#formats.guestTags.allocate(domain),
      pgtable: new DriverPgtable(`domain ${domain.name}`, this.#memory, this.#memory, shape, {
        tlb: (start, end, leaf) => invalidation.stage2(stage2, start, end, leaf, withGuest(true)),
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
    yield* this.#invalidation.stage2(stage2, null, null, false, [])
    stage2.pgtable.free()
    this.#formats.guestTags.free(stage2.tag)
  }
}

/**
 * A process whose tag is not the CPU's, but one of ours.
 * @param entry its PASID table entry; the space says its tag, and whether the process has exited. @throws IommError AsidExhausted
 */
export function* newProcess(
  { name, space: { format } }: NonNullable<DriverIoMm['mm']>,
  tags: Pick<TagAllocator<AddressSpace>, 'allocate'>,
  entry: (space: AddressSpace) => Uint32Array,
): Op<AddressSpace> {
  const space: AddressSpace = {
    name,
    tag: 0,
    oldTag: null,
    shared: true,
    exited: false,
    pgtable: null,
    granuleLog2: format.granuleLog2,
    entry: () => entry(space),
    places: new Map(),
  }
  space.tag = tags.allocate(space)
  yield* step('tag given')
  return space
}
