/** What a guest of a RISC-V IOMMU writes: it sees an IOMMU without second stage. RISC-V IOMMU 1.0, "Device-context fields". */
import type { Op } from '../base/op.ts'
import { IommError } from '../core/error.ts'
import { atsInvalidate, HOST, iotinvalVma } from '../driver/riscv/commands.ts'
import { modeFor, ProcessDirectory } from '../driver/riscv/directories.ts'
import type { RiscvDriver } from '../driver/riscv/driver.ts'
import { directoryDc, privatePc } from '../driver/riscv/entries.ts'
import { firstStage, shapeOf } from '../driver/riscv/spaces.ts'
import type { Guest, GuestWanted } from './guest.ts'
import { startTableGuest } from './table-guest.ts'

/** Starts the guest. @throws IommError Unsupported when the IOMMU has no process directories or no first stage. */
export function startGuest(driver: RiscvDriver, wanted: GuestWanted): Op<Guest> {
  const { features } = driver
  const form = modeFor(features, wanted.pasidBits, undefined)
  if (form === null) throw new IommError('Unsupported', 'the IOMMU has no process directories for guests (capabilities)')
  const table = new ProcessDirectory(wanted.memory, wanted.memory, form)
  const mode = firstStage(features, undefined)
  return startTableGuest(driver, wanted, {
    table,
    shape: shapeOf(features, mode, 1, undefined),
    deviceEntry: ({ capabilities: { ats } }) =>
      directoryDc(
        features,
        { base: table.base, mode: table.mode, entry0: true, quiet: false },
        { ats: ats && features.ats, pri: false, prpr: false, updates: false },
      ),
    pasidEntry: (space, pscid) => privatePc(space, mode!, pscid),
    forgetSpace: (pscid) => iotinvalVma({ ...HOST, pscid }),
    forgetAtc: (device, pasid) => atsInvalidate(device, pasid, null),
    // What was not valid is never cached.
    forgetPasid: () => null,
  })
}
