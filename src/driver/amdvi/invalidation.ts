/** Commands that make the IOTLB and devices forget translations. AMD IOMMU specification (48882), 2.4.3, 2.4.4. */
import type { InvalidationCommands } from '../common/invalidation.ts'
import { type PowerRange, powerOfTwoCover } from '../common/power-of-two.ts'
import { invalidateAtc, invalidatePages } from './commands.ts'
import type { DomainIds } from './domain-ids.ts'

/** @param limit most commands per range; above that, all of the PASID or domain. */
export function invalidationCommands(ids: DomainIds, limit: number): InvalidationCommands {
  const cover = (start: bigint | null, end: bigint | null): readonly (PowerRange | null)[] =>
    (start === null || end === null ? null : powerOfTwoCover(start, end, limit)) ?? [null]
  return {
    // Every AMD IOMMU may answer translation requests; which devices send any is their DTE's affair.
    ats: true,
    // Everything of a PASID goes with its GCR3 entry: whoever asks for that changed the entry, or may have taken tables out.
    space: ({ places }, start, end, leaf) =>
      [...places].flatMap(([{ domain }, pasid]) =>
        cover(start, end).map((range) => invalidatePages(ids.of(domain), pasid, range, !leaf || range === null)),
      ),
    // What is cached of guest tables through host tables does not know its guest physical address: it goes whatever the range.
    stage2: ({ tag }, start, end, leaf, guests) =>
      ids
        .throughHost(tag)
        .flatMap((id) =>
          cover(start, end).map((range) => invalidatePages(id, null, range, !leaf || range === null || guests.length > 0)),
        ),
    atc: invalidateAtc,
  }
}
