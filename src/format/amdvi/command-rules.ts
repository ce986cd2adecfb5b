/** Which commands are illegal: "an illegal type code or a non-zero reserved field". AMD IOMMU specification (48882), 2.5.6 "ILLEGAL_COMMAND_ERROR". */
import { uncovered, type Words } from '../../base/layout.ts'
import {
  COMMAND_WORDS,
  COMMANDS,
  OP_COMPLETE_PPR_REQUEST,
  OP_INSERT_GUEST_EVENT,
  OP_INVALIDATE_IOMMU_ALL,
  OP_INVALIDATE_IOMMU_PAGES,
  OP_INVALIDATE_IOTLB_PAGES,
  OP_PREFETCH_IOMMU_PAGES,
  OP_RESET_VMMIO,
  opcodeOf,
} from './commands.ts'
import type { AmdFeatures } from './features.ts'
import { EFR_HI_INV_IOTLB_TYPE_SUP, EFR_HI_VIOMMU_SUP, EFR_IA_SUP, EFR_PREF_SUP } from './registers.ts'

const RESERVED = new Map([...COMMANDS].map(([opcode, { layout }]) => [opcode, uncovered(layout)]))

/** GN and Type, in the third word. */
const GN = 1 << 2
const TYPE = 3 << 4

/** Why a command is illegal, in words; null when it is legal. */
export function illegalCommand(words: Words, at: number, features: AmdFeatures): string | null {
  const opcode = opcodeOf(words, at)
  const reserved = RESERVED.get(opcode)
  if (reserved === undefined) return `opcode ${opcode} is reserved`
  for (let word = 0; word < COMMAND_WORDS; word++) {
    if ((words[at + word]! & reserved[word]!) !== 0) return 'reserved bits are set'
  }
  const lacking = lacks(opcode, features)
  if (lacking !== null) return `EXT_FEATURE.${lacking} is 0: the IOMMU does not have this command`
  const options = words[at + 2]!
  const addresses = opcode === OP_INVALIDATE_IOMMU_PAGES || opcode === OP_INVALIDATE_IOTLB_PAGES
  if (addresses && (options & GN) !== 0 && !features.guestSupported) return 'EXT_FEATURE.GTSup is 0 and GN is 1'
  if (opcode === OP_INVALIDATE_IOTLB_PAGES && (options & TYPE) !== 0 && (features.efrHi & EFR_HI_INV_IOTLB_TYPE_SUP) === 0)
    return 'EXT_FEATURE.InvIotlbTypeSup is 0 and Type is not'
  return null
}

/** The feature bit without which there is no such command, where it is 0. */
function lacks(opcode: number, { efrLo, efrHi, ppr }: AmdFeatures): string | null {
  switch (opcode) {
    case OP_PREFETCH_IOMMU_PAGES:
      return (efrLo & EFR_PREF_SUP) === 0 ? 'PreFSup' : null
    case OP_COMPLETE_PPR_REQUEST:
      return ppr ? null : 'PPRSup'
    case OP_INVALIDATE_IOMMU_ALL:
      return (efrLo & EFR_IA_SUP) === 0 ? 'IASup' : null
    case OP_INSERT_GUEST_EVENT:
    case OP_RESET_VMMIO:
      return (efrHi & EFR_HI_VIOMMU_SUP) === 0 ? 'VIommuSup' : null
    default:
      return null
  }
}
