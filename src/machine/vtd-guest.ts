/**
 * What a guest of a VT-d IOMMU writes: it sees an IOMMU of scalable mode with a first stage, and no second one. Its PASID tables are copied by
 * the driver whenever it says that they changed. Intel VT-d 4.1, section 3.8.
 */
import type { Op } from '../base/op.ts'
import { IommError } from '../core/error.ts'
import { deviceTlb, pasidCache, pasidIotlb } from '../driver/vtd/commands.ts'
import type { VtdDriver } from '../driver/vtd/driver.ts'
import { directoryContext, privatePasid } from '../driver/vtd/entries.ts'
import { firstShape } from '../driver/vtd/spaces.ts'
import { PasidDirectory } from '../driver/vtd/tables.ts'
import type { Guest, GuestWanted } from './guest.ts'
import { startTableGuest } from './table-guest.ts'

/** Starts the guest. @throws IommError Unsupported in legacy mode, or without a first stage. */
export function startGuest(driver: VtdDriver, wanted: GuestWanted): Op<Guest> {
  const { features } = driver
  if (driver.mode === 'legacy')
    throw new IommError('Unsupported', 'legacy mode has one stage only, which is ours: a guest cannot have a first stage over it')
  const table = new PasidDirectory(wanted.memory, wanted.memory, wanted.pasidBits)
  return startTableGuest(driver, wanted, {
    table,
    shape: firstShape(features, 4),
    deviceEntry: ({ capabilities: { ats, pasidBits } }) =>
      directoryContext(table, { ats: ats && features.deviceTlb, pri: false, pasids: pasidBits > 0 }),
    pasidEntry: (space, did) => privatePasid(space, features, did),
    forgetSpace: (did, pasid) => pasidIotlb(did, pasid),
    forgetAtc: (device, pasid) => deviceTlb(device, pasid, null),
    forgetPasid: (_device, pasid) => pasidCache(0, pasid),
  })
}
