/**
 * Device table entries and GCR3 entries for the common part of the driver. AMD IOMMU specification (48882), 2.2.2, 2.4.2, 2.4.3. What the
 * IOMMU keeps of a GCR3 entry goes with the translations of its PASID (INVALIDATE_IOMMU_PAGES with PDE), so there is no command for it alone;
 * and it keeps none that is not valid. (Where NpCache is set it does: those are virtual IOMMUs, and this driver is for hardware.)
 */
import type { PageAllocator, WordMemory } from '../../base/memory.ts'
import { DTE_WORDS } from '../../format/amdvi/dte.ts'
import type { AmdFeatures } from '../../format/amdvi/features.ts'
import { GCR3_BYTES } from '../../format/amdvi/gcr3.ts'
import type { EntryFormats } from '../common/configuration.ts'
import type { DeviceState, DomainState } from '../common/state.ts'
import { invalidateDevice } from './commands.ts'
import type { DomainIds } from './domain-ids.ts'
import {
  blockedDte,
  type DeviceChoices,
  DTE_KIND,
  GCR3_KIND,
  gcr3Dte,
  hostDte,
  nestedDte,
  passThroughDte,
  readGuestDte,
} from './entries.ts'
import { Gcr3Table, glxFor } from './tables.ts'

export interface TableChoices {
  readonly guestLevels: 4 | 5
  readonly gcr3Levels: 1 | 2 | 3 | undefined
  readonly pasidBits: number
}

export function entryFormats(
  memory: WordMemory & PageAllocator,
  features: AmdFeatures,
  ids: DomainIds,
  choices: TableChoices,
): EntryFormats {
  const blocked = blockedDte()
  return {
    device: DTE_KIND,
    deviceWords: DTE_WORDS,
    pasid: GCR3_KIND,
    pasidWords: GCR3_BYTES / 4,
    blocked,
    deviceEntry: (state, domain, guest) => deviceEntry(features, ids, choices, state, domain, guest) ?? blocked,
    newTable(bits) {
      if (!features.guest) return null
      const { gcr3Levels } = choices
      return new Gcr3Table(memory, memory, gcr3Levels === undefined ? glxFor(bits) : ((gcr3Levels - 1) as 0 | 1 | 2))
    },
    // Whatever an entry says, it is cached.
    forgetDevice: ({ device }) => [invalidateDevice(device.id)],
    forgetPasid: () => [],
  }
}

function choicesOf(features: AmdFeatures, { pasidBits }: TableChoices, { device }: DeviceState): DeviceChoices {
  const { ats, pri, responseNeedsPasid, pasidBits: bits } = device.capabilities
  return { ats, pri: ats && pri && features.ppr, responsePasid: responseNeedsPasid, pasids: bits > 0 && pasidBits > 0 }
}

/** Null: nothing passes. */
function deviceEntry(
  features: AmdFeatures,
  ids: DomainIds,
  tables: TableChoices,
  state: DeviceState,
  domain: DomainState,
  guest: Uint32Array | null,
): Uint32Array | null {
  const choices = choicesOf(features, tables, state)
  const { stage2, own, entries } = domain
  const id = ids.of(domain.domain)
  if (stage2 !== null) {
    const { space } = stage2.pgtable
    const wanted = guest === null ? null : readGuestDte(guest, features)
    return wanted === null
      ? hostDte(space, id, choices)
      : nestedDte(wanted, space, ids.forGuest(domain.domain, wanted.domain), choices)
  }
  const table = domain.table as Gcr3Table | null
  const identity = domain.domain.kind === 'identity'
  // A device without PASIDs has no use for the table of a domain that translates nothing without one; nor has any while nothing is bound.
  if (own === null && (table === null || entries.size === 0 || !choices.pasids))
    return identity ? passThroughDte(id, choices) : null
  // Entry 0 of a blocked domain is never valid: requests without PASID end there.
  return gcr3Dte(table!, tables.guestLevels, !identity, id, choices)
}
