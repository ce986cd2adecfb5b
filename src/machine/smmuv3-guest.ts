/**
 * A guest's side of an SMMUv3 with nested translation: CD table and page tables in the guest's memory, an STE that we check and complete
 * with our stage 2, invalidation commands that we pass on. Arm IHI 0070, 3.3.2, 5.2 (Config = 0b111).
 */
import type { Op } from '../base/op.ts'
import { CdTable } from '../driver/smmuv3/cd-table.ts'
import { atcInvalidate, cfgiCd, tlbiAsid } from '../driver/smmuv3/commands.ts'
import type { SmmuV3Driver } from '../driver/smmuv3/driver.ts'
import { cdTableSte, privateCd } from '../driver/smmuv3/entries.ts'
import { DriverPgtable } from '../driver/smmuv3/pgtable.ts'
import { chooseGranule, stage1Shape } from '../driver/smmuv3/spaces.ts'
import { storeWords } from '../driver/smmuv3/words.ts'
import { S1DSS_SSID0 } from '../format/smmuv3/ste.ts'
import type { Guest, GuestWanted } from './guest.ts'

/** Starts the guest: its CD table is there, and the STEs of its devices lead to it. */
export function* startGuest(driver: SmmuV3Driver, { domain, memory, pasidBits }: GuestWanted): Op<Guest> {
  const { features } = driver
  const table = new CdTable(memory, memory, pasidBits, 'linear')
  for (const device of domain.devices) {
    const stream = { ats: device.capabilities.ats && features.ats, stall: device.capabilities.stall, ppar: false }
    yield* driver.setGuestEntry(device, cdTableSte(table, S1DSS_SSID0, stream, features))
  }
  const shape = stage1Shape(features, chooseGranule(features, undefined))
  const spaces = new Map<number, DriverPgtable>()

  function* send(commands: (sid: number) => Uint32Array): Op<void> {
    yield* driver.guestInvalidate(
      domain,
      [...domain.devices].map(({ id }) => commands(id)),
    )
  }

  function* space(pasid: number): Op<DriverPgtable> {
    const known = spaces.get(pasid)
    if (known !== undefined) return known
    // The guest counts ASIDs for itself: its VMID keeps them apart from ours.
    const asid = pasid + 1
    const made = new DriverPgtable(`the guest, PASID ${pasid}`, memory, memory, shape, {
      tlb: () => driver.guestInvalidate(domain, [tlbiAsid(asid)]),
      *atc() {
        const cached = [...domain.devices].filter(({ capabilities }) => capabilities.ats)
        const commands = cached.map(({ id }) => atcInvalidate(id, pasid === 0 ? null : pasid, null))
        if (commands.length > 0) yield* driver.guestInvalidate(domain, commands)
      },
    })
    spaces.set(pasid, made)
    storeWords(memory, table.make(pasid).cd, privateCd(made.space, asid, false))
    yield* send((sid) => cfgiCd(sid, pasid, true))
    return made
  }

  return {
    *map(pasid, address, ipa, size, rights) {
      const target = yield* space(pasid)
      yield* target.map(address, ipa, size, rights)
    },
    *unmap(pasid, address, size) {
      const target = yield* space(pasid)
      return yield* target.unmap(address, size)
    },
  }
}
