/** What a guest of an SMMUv3 writes. Arm IHI 0070, 3.3.2, 5.2 (Config = 0b111). */
import type { Op } from '../base/op.ts'
import { CdTable } from '../driver/smmuv3/cd-table.ts'
import { atcInvalidate, cfgiCd, tlbiAsid } from '../driver/smmuv3/commands.ts'
import type { SmmuV3Driver } from '../driver/smmuv3/driver.ts'
import { cdTableSte, privateCd } from '../driver/smmuv3/entries.ts'
import { chooseGranule, stage1Shape } from '../driver/smmuv3/spaces.ts'
import { S1DSS_SSID0 } from '../format/smmuv3/ste.ts'
import type { Guest, GuestWanted } from './guest.ts'
import { startTableGuest } from './table-guest.ts'

/** Starts the guest. */
export function startGuest(driver: SmmuV3Driver, wanted: GuestWanted): Op<Guest> {
  const { features } = driver
  const table = new CdTable(wanted.memory, wanted.memory, wanted.pasidBits, 'linear')
  return startTableGuest(driver, wanted, {
    table,
    shape: stage1Shape(features, chooseGranule(features, undefined)),
    deviceEntry: ({ capabilities: { ats, stall } }) =>
      cdTableSte(table, S1DSS_SSID0, { ats: ats && features.ats, stall, ppar: false }, features),
    pasidEntry: (space, asid) => privateCd(space, asid, false),
    forgetSpace: tlbiAsid,
    forgetAtc: (sid, pasid) => atcInvalidate(sid, pasid, null),
    forgetPasid: cfgiCd,
  })
}
