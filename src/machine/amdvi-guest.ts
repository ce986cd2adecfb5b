/** What a guest of an AMD IOMMU writes: it sees an IOMMU with guest tables, and no host ones. AMD IOMMU specification (48882), 2.2.6. */
import type { Op } from '../base/op.ts'
import { invalidateAtc, invalidatePages } from '../driver/amdvi/commands.ts'
import type { AmdDriver } from '../driver/amdvi/driver.ts'
import { gcr3Dte, gcr3Entry } from '../driver/amdvi/entries.ts'
import { guestShape } from '../driver/amdvi/spaces.ts'
import { Gcr3Table, glxFor } from '../driver/amdvi/tables.ts'
import type { Guest, GuestWanted } from './guest.ts'
import { startTableGuest } from './table-guest.ts'

/** The guest's only domain. */
const DOMAIN_ID = 1

/** Starts the guest. @throws IommError Unsupported when the IOMMU has no guest tables. */
export function startGuest(driver: AmdDriver, wanted: GuestWanted): Op<Guest> {
  const { features } = driver
  const table = new Gcr3Table(wanted.memory, wanted.memory, glxFor(wanted.pasidBits))
  return startTableGuest(driver, wanted, {
    table,
    shape: guestShape(features, 4),
    deviceEntry: ({ capabilities: { ats, pasidBits } }) =>
      gcr3Dte(table, 4, true, DOMAIN_ID, { ats, pri: false, responsePasid: false, pasids: pasidBits > 0 }),
    pasidEntry: (space) => gcr3Entry(space.root),
    forgetSpace: (_tag, pasid) => invalidatePages(DOMAIN_ID, pasid, null, true),
    forgetAtc: (device, pasid) => invalidateAtc(device, pasid, null),
    // What was not valid is never cached.
    forgetPasid: () => null,
  })
}
