/**
 * A guest's invalidation commands, made safe to send: its DomainIDs become the ones that we have for them, and its devices must be its own.
 * AMD IOMMU specification (48882), 2.4. It sees an IOMMU without host tables.
 */
import { getNumber, setField } from '../../base/layout.ts'
import { IommError } from '../../core/error.ts'
import { illegalCommand } from '../../format/amdvi/command-rules.ts'
import {
  INVALIDATE_DEVTAB_ENTRY,
  INVALIDATE_IOMMU_PAGES,
  OP_INVALIDATE_DEVTAB_ENTRY,
  OP_INVALIDATE_IOMMU_PAGES,
  OP_INVALIDATE_IOTLB_PAGES,
  opcodeOf,
} from '../../format/amdvi/commands.ts'
import type { AmdFeatures } from '../../format/amdvi/features.ts'
import { commandName } from './command-buffer.ts'
import type { DomainIds } from './domain-ids.ts'

/**
 * The command that does for this guest what it asked for.
 * @param domain the DomainID of its host tables.
 * @param owns whether a DeviceID is one of the guest's.
 * @throws IommError BadArgument: the guest's event log should have ILLEGAL_COMMAND_ERROR.
 */
export function guestCommand(
  command: Uint32Array,
  domain: number,
  ids: DomainIds,
  features: AmdFeatures,
  owns: (device: number) => boolean,
): Uint32Array {
  const illegal = illegalCommand(command, 0, features)
  if (illegal !== null) throw new IommError('BadArgument', `the guest's ${commandName(command)} is illegal: ${illegal}`)
  const safe = command.slice()
  switch (opcodeOf(command)) {
    case OP_INVALIDATE_DEVTAB_ENTRY:
    case OP_INVALIDATE_IOTLB_PAGES: {
      const device = getNumber(command, INVALIDATE_DEVTAB_ENTRY.fields.DeviceID)
      if (!owns(device)) throw new IommError('BadArgument', `DeviceID 0x${device.toString(16)} is not one of the guest's`)
      return safe
    }
    case OP_INVALIDATE_IOMMU_PAGES: {
      const { DomainID } = INVALIDATE_IOMMU_PAGES.fields
      // What it calls a domain that none of its devices has been in, nothing is cached of.
      setField(safe, DomainID, ids.knownToGuest(domain, getNumber(command, DomainID)) ?? domain)
      return safe
    }
    default:
      throw new IommError('BadArgument', `a guest may not send ${commandName(command)}`)
  }
}
