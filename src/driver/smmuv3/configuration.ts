/** Stream table entries and context descriptors for the common part of the driver. Arm IHI 0070, 3.21.3, 4.3, 5.2, 5.4. */
import type { PageAllocator, WordMemory } from '../../base/memory.ts'
import { CD_WORDS } from '../../format/smmuv3/cd.ts'
import type { SmmuFeatures } from '../../format/smmuv3/features.ts'
import { S1DSS_BYPASS, S1DSS_SSID0, S1DSS_TERMINATE, STE_WORDS } from '../../format/smmuv3/ste.ts'
import type { EntryFormats } from '../common/configuration.ts'
import type { DeviceState, DomainState } from '../common/state.ts'
import { CdTable, type CdTableForm } from './cd-table.ts'
import { cfgiCd, cfgiCdAll, cfgiSte } from './commands.ts'
import { abortSte, bypassSte, cdTableSte, nestedSte, type StreamChoices, stage2Ste } from './entries.ts'
import { CD_ENTRY, STE_ENTRY } from './used-bits.ts'

/** @param form of CD tables; `auto`: linear up to 1024 PASIDs. */
export function entryFormats(
  memory: WordMemory & PageAllocator,
  features: SmmuFeatures,
  form: CdTableForm | 'auto',
): EntryFormats {
  const formFor = (bits: number): CdTableForm => (form !== 'auto' ? form : features.cd2l && bits > 10 ? '2lvl-64k' : 'linear')
  return {
    device: STE_ENTRY,
    deviceWords: STE_WORDS,
    pasid: CD_ENTRY,
    pasidWords: CD_WORDS,
    deviceEntry: (state, domain, guest) => steFor(features, state, domain, guest),
    blocked: abortSte(),
    newTable: (bits) => new CdTable(memory, memory, bits, formFor(bits)),
    // Whatever an entry was before, also not valid, may be cached (3.21.3).
    forgetDevice: ({ device }) => [cfgiSte(device.id)],
    // A leaf that was missing may be cached as such for any of the PASIDs that it covers.
    forgetPasid: (sids, pasid, before) => sids.map((sid) => (before === null ? cfgiCdAll(sid) : cfgiCd(sid, pasid))),
  }
}

function steFor(features: SmmuFeatures, state: DeviceState, domain: DomainState, guest: Uint32Array | null): Uint32Array {
  const { ats, pri, responseNeedsPasid } = state.device.capabilities
  const stream: StreamChoices = { ats: ats && features.ats, stall: domain.stall, ppar: pri && responseNeedsPasid }
  const { stage2 } = domain
  const table = domain.table as CdTable | null
  if (stage2 !== null) {
    const { space } = stage2.pgtable
    return guest === null ? stage2Ste(space, stage2.tag, stream, features) : nestedSte(guest, space, stage2.tag, stream, features)
  }
  if (table !== null && domain.own !== null) return cdTableSte(table, S1DSS_SSID0, stream, features)
  const identity = domain.domain.kind === 'identity'
  // Without PASIDs in use, a plain entry says the same, and refuses all PASIDs.
  if (table === null || domain.entries.size === 0) return identity ? bypassSte(features) : abortSte()
  return cdTableSte(table, identity ? S1DSS_BYPASS : S1DSS_TERMINATE, stream, features)
}
