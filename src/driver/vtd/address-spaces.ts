/**
 * Address spaces and their domain ids. What is cached carries a domain id, and PASIDs where there is a first stage; each address space has a
 * domain id of its own, which is software's to choose, so that no other needs to be forgotten with it. A domain id has nothing to do with
 * the CPU: IOMMUs do not hear of INVLPG, so each change of a process's tables must be told by p_iotlb_inv_dsc. Intel VT-d 4.1, section 6.2.
 */
import type { Op } from '../../base/op.ts'
import type { DriverDomain, DriverIoMm } from '../../core/driver.ts'
import type { VtdFeatures } from '../../format/vtd/features.ts'
import { newProcess, type SpaceFormats } from '../common/address-spaces.ts'
import type { Shape } from '../common/pgtable.ts'
import type { AddressSpace } from '../common/state.ts'
import type { TagAllocator } from '../common/tags.ts'
import { privatePasid, secondStagePasid, sharedPasid } from './entries.ts'
import { isSecondStage } from './spaces.ts'

type CpuSpace = NonNullable<DriverIoMm['mm']>
/** Whoever a domain id is for: first and second stages draw from the same ones. */
export type DomainIds = TagAllocator<AddressSpace | DriverDomain | 'identity'>

/** The shapes of our tables. */
export interface Shapes {
  /** Of private spaces with PASIDs: a first stage where there is one. */
  stage1(): Shape
  stage2(): Shape
  /** Of a domain's entry 0, in scalable mode. */
  own(): Shape
}

export function spaceFormats(features: VtdFeatures, shapes: Shapes, ids: DomainIds): SpaceFormats {
  return {
    ...shapes,
    entry: (space, did) =>
      isSecondStage(space, features) ? secondStagePasid(space, features, did) : privatePasid(space, features, did),
    tags: ids,
    guestTags: ids,
  }
}

/** A process under a domain id of its own. @param empty a page of zeros: where its entries lead when it has exited. */
export const newShared = (features: VtdFeatures, ids: DomainIds, mm: CpuSpace, empty: number): Op<AddressSpace> =>
  newProcess(mm, ids, ({ tag, exited }) => sharedPasid(mm.space, features, tag, exited ? empty : null))
