/**
 * Address spaces: guest tables behind GCR3 entries, and host tables. What is cached of them carries a DomainID and a PASID, both known from
 * where they are used. IOMMUs do not hear of INVLPG, so each change of a process's tables must be told by INVALIDATE_IOMMU_PAGES.
 */
import type { Op } from '../../base/op.ts'
import type { DriverIoMm } from '../../core/driver.ts'
import { newProcess, type SpaceFormats } from '../common/address-spaces.ts'
import type { Shape } from '../common/pgtable.ts'
import type { AddressSpace } from '../common/state.ts'
import type { DomainIds } from './domain-ids.ts'
import { gcr3Entry } from './entries.ts'

/** The domain has it. */
const NO_TAGS = { allocate: () => 0, free() {} }

type CpuSpace = NonNullable<DriverIoMm['mm']>

export function spaceFormats(stage1: () => Shape, stage2: () => Shape, ids: DomainIds): SpaceFormats {
  return {
    stage1,
    stage2,
    entry: ({ root }) => gcr3Entry(root),
    tags: NO_TAGS,
    guestTags: { allocate: (domain) => ids.of(domain), free() {} },
  }
}

/**
 * A process.
 * @param empty a page of zeros: where its entries lead when it has exited. They stay valid, so that translation requests are answered with
 * no access; nothing tells the IOMMU to be quiet about one PASID, so a request that did not ask beforehand is still recorded.
 */
export const newShared = (mm: CpuSpace, empty: number): Op<AddressSpace> =>
  newProcess(mm, NO_TAGS, ({ exited }) => gcr3Entry(exited ? empty : mm.space.root))
