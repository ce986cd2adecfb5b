/**
 * Context entries and PASID table entries for the common part of the driver. Intel VT-d 4.1, section 6.5.3.3 "Guidance to software for
 * invalidations": which caches hold what of an entry that was present. What was not present is not cached, except in caching mode.
 */
import { getNumber } from '../../base/layout.ts'
import type { PageAllocator, WordMemory } from '../../base/memory.ts'
import { IommError } from '../../core/error.ts'
import { CONTEXT_ENTRY, CONTEXT_P, CONTEXT_WORDS, SM_CONTEXT_WORDS } from '../../format/vtd/contexts.ts'
import type { VtdFeatures } from '../../format/vtd/features.ts'
import { PASID_ENTRY, PASID_P, PASID_WORDS } from '../../format/vtd/pasid.ts'
import type { EntryFormats } from '../common/configuration.ts'
import type { DeviceState, DomainState } from '../common/state.ts'
import { contextCacheDevice, iotlbDomain, pasidCache, pasidCacheDomain } from './commands.ts'
import {
  blockedContext,
  blockedSmContext,
  contextKind,
  type DeviceChoices,
  directoryContext,
  guestContext,
  noPasid,
  PASID_KIND,
  passThroughContext,
  passThroughPasid,
  quietPasid,
  secondStageContext,
  secondStagePasid,
} from './entries.ts'
import type { Identity } from './identity.ts'
import { drainingOf } from './invalidation.ts'
import { PasidDirectory } from './tables.ts'

/** What the driver's parts know of each other here. */
export interface Surroundings {
  readonly features: VtdFeatures
  readonly identity: Identity
  /** Our copy of the PASID directory of a guest's device. */
  copyOf(device: number): PasidDirectory | null
}

function choicesOf(features: VtdFeatures, { device }: DeviceState): DeviceChoices {
  const { ats, pri, pasidBits } = device.capabilities
  const answers = ats && features.deviceTlb
  return { ats: answers, pri: answers && pri && features.pageRequests, pasids: pasidBits > 0 && features.pasidBits > 0 }
}

/** Tables of legacy mode. They have no PASIDs. */
export function legacyFormats({ features, identity }: Surroundings): EntryFormats {
  const kind = contextKind(CONTEXT_WORDS)
  const blocked = blockedContext()
  const draining = drainingOf(features)
  return {
    device: kind,
    deviceWords: CONTEXT_WORDS,
    pasid: PASID_KIND,
    pasidWords: PASID_WORDS,
    blocked,
    deviceEntry(state, { domain, stage2 }, guest) {
      const { ats } = choicesOf(features, state)
      if (guest !== null) throw new IommError('Unsupported', 'legacy mode has one stage only: a guest cannot have the first')
      if (stage2 !== null) return secondStageContext(stage2.pgtable.space, stage2.tag, ats)
      if (domain.kind !== 'identity') return blocked
      // Pass-through refuses translation requests: a device that sends them gets a table that maps each address to itself.
      const { did, space } = identity.of(ats)
      return space === null ? passThroughContext(features, did) : secondStageContext(space, did, ats)
    },
    newTable: () => null,
    forgetDevice({ device }, before) {
      if ((before[0]! & CONTEXT_P) === 0) return []
      const did = getNumber(before, CONTEXT_ENTRY.fields.DID)
      return [contextCacheDevice(device.id, did), iotlbDomain(did, draining)]
    },
    forgetPasid: () => [],
  }
}

export function scalableFormats(memory: WordMemory & PageAllocator, around: Surroundings): EntryFormats {
  const { features, identity } = around
  const blocked = blockedSmContext()
  const draining = drainingOf(features)
  return {
    device: contextKind(SM_CONTEXT_WORDS),
    deviceWords: SM_CONTEXT_WORDS,
    pasid: PASID_KIND,
    pasidWords: PASID_WORDS,
    blocked,
    deviceEntry(state, domain, guest) {
      const choices = choicesOf(features, state)
      if (guest !== null) return guestContext(guest, around.copyOf(state.device.id), choices)
      return directoryContext(domain.table as PasidDirectory, choices)
    },
    newTable: (bits) => new PasidDirectory(memory, memory, bits),
    entry0(domain) {
      const { own, stage2 } = domain
      if (own !== null) return own.entry(domain)
      if (stage2 !== null) return secondStagePasid(stage2.pgtable.space, features, stage2.tag)
      // While nothing is bound to a blocked domain, nobody wants to hear of what it refuses.
      if (domain.domain.kind !== 'identity') return domain.entries.size === 0 ? quietPasid() : noPasid()
      const { did, space } = identity.of(false)
      return space === null ? passThroughPasid(features, did) : secondStagePasid(space, features, did)
    },
    // A device that leads to another directory: what it fetched through the old one has that domain's ids.
    forgetDevice(state, before) {
      if ((before[0]! & CONTEXT_P) === 0) return []
      const dids = [...new Set(domainIds(state.domain, identity))]
      return [
        contextCacheDevice(state.device.id, 0),
        ...dids.map((did) => pasidCacheDomain(did)),
        ...dids.map((did) => iotlbDomain(did, draining)),
      ]
    },
    // The IOTLB follows when the address space is forgotten.
    forgetPasid(devices, pasid, before) {
      if (devices.length === 0 || before === null || (before[0]! & PASID_P) === 0) return []
      return [pasidCache(getNumber(before, PASID_ENTRY.fields.DID), pasid)]
    },
  }
}

/** Domain ids of everything that the PASID table of this domain leads to. */
function domainIds(domain: DomainState | null, identity: Identity): number[] {
  if (domain === null) return []
  const { own, stage2, entries } = domain
  const first = own?.tag ?? stage2?.tag ?? (domain.domain.kind === 'identity' ? identity.of(false).did : null)
  return [...(first === null ? [] : [first]), ...[...entries.values()].map(({ tag }) => tag)]
}
