/** Device contexts and process contexts for the common part of the driver. RISC-V IOMMU 1.0, "Guidelines for invalidations". */
import { getNumber } from '../../base/layout.ts'
import type { PageAllocator, WordMemory } from '../../base/memory.ts'
import {
  DC,
  DC_FSC,
  DC_IOHGATP,
  DC_TC,
  gscidOf,
  IOHGATP_BARE,
  IOSATP_BARE,
  modeOf,
  PC_WORDS,
  TC_PDTV,
  TC_V,
} from '../../format/riscv/contexts.ts'
import type { RiscvFeatures } from '../../format/riscv/features.ts'
import type { EntryFormats } from '../common/configuration.ts'
import type { DeviceState, DomainState } from '../common/state.ts'
import { HOST, iodirDdt, iodirPdt, iotinvalGvma, iotinvalVma } from './commands.ts'
import { modeFor, ProcessDirectory } from './directories.ts'
import {
  blockedDc,
  CONTEXT,
  type DeviceChoices,
  dcWords,
  directoryDc,
  firstStageDc,
  identityDc,
  nestedDc,
  secondStageDc,
} from './entries.ts'
import type { RiscvDriverOptions } from './options.ts'
import type { Mode } from './spaces.ts'

/** The modes of our tables; null where the IOMMU has no such stage. */
export interface Modes {
  readonly stage1: Mode | null
  readonly stage2: Mode | null
}

/** @param empty a page of zeros: a first stage that leads nowhere. */
export function entryFormats(
  memory: WordMemory & PageAllocator,
  features: RiscvFeatures,
  options: RiscvDriverOptions,
  modes: Modes,
  empty: number,
): EntryFormats {
  const blocked = blockedDc(features, modes.stage1, empty)
  return {
    device: CONTEXT,
    deviceWords: dcWords(features),
    pasid: CONTEXT,
    pasidWords: PC_WORDS,
    blocked,
    deviceEntry: (state, domain, guest) => deviceEntry(features, options, modes, state, domain, guest, blocked),
    newTable(bits) {
      const mode = modeFor(features, bits, options.processDirectory)
      return mode === null ? null : new ProcessDirectory(memory, memory, mode)
    },
    forgetDevice: ({ device }, before) => forgetDevice(device.id, before),
    // "Caching invalid entries": what had V = 0 is never cached, and needs no command. The IOTINVAL.VMA that belongs to a changed
    // context follows when its address space is forgotten.
    forgetPasid: (devices, pasid, before) =>
      before !== null && (before[0]! & TC_V) !== 0 ? devices.map((device) => iodirPdt(device, pasid)) : [],
  }
}

function choicesOf(features: RiscvFeatures, options: RiscvDriverOptions, state: DeviceState): DeviceChoices {
  const { ats, pri, responseNeedsPasid } = state.device.capabilities
  const answers = ats && features.ats
  return {
    ats: answers,
    pri: answers && pri,
    prpr: answers && pri && responseNeedsPasid,
    updates: options.hardwareUpdates === true && features.hwad,
  }
}

function deviceEntry(
  features: RiscvFeatures,
  options: RiscvDriverOptions,
  modes: Modes,
  state: DeviceState,
  domain: DomainState,
  guest: Uint32Array | null,
  blocked: Uint32Array,
): Uint32Array {
  const device = choicesOf(features, options, state)
  const { stage2, own } = domain
  const table = domain.table as ProcessDirectory | null
  const { kind } = domain.domain
  if (stage2 !== null) {
    const { space } = stage2.pgtable
    const mode = modes.stage2!
    if (guest === null) return secondStageDc(features, space, mode, stage2.tag, device)
    return nestedDc(features, guest, space, mode, stage2.tag, device) ?? blocked
  }
  // A device without PASIDs has no use for the directory of a domain that translates nothing without one.
  if (table === null || (own === null && state.device.capabilities.pasidBits === 0)) {
    if (own !== null) return firstStageDc(features, own.pgtable!.space, modes.stage1!, own.tag, device)
    return kind === 'identity' ? identityDc(features, device) : blocked
  }
  // Entry 0 of a blocked domain is never valid: requests without process_id end there. While nothing is bound, nobody wants to hear of it.
  const quiet = kind === 'blocked' && domain.entries.size === 0
  return directoryDc(features, { base: table.base, mode: table.mode, entry0: kind !== 'identity', quiet }, device)
}

/** "Changing device directory table entry": what must follow, by the values before the change. */
function forgetDevice(device: number, before: Uint32Array): Uint32Array[] {
  const tc = before[DC_TC]!
  if ((tc & TC_V) === 0) return []
  const directory = iodirDdt(device)
  const stage2 = before[DC_IOHGATP + 1]!
  if (modeOf(stage2) !== IOHGATP_BARE) {
    const guest = { ...HOST, gscid: gscidOf(stage2) }
    return [directory, iotinvalVma(guest), iotinvalGvma(guest)]
  }
  if ((tc & TC_PDTV) !== 0) return [directory, iotinvalVma(HOST)]
  if (modeOf(before[DC_FSC + 1]!) === IOSATP_BARE) return [directory]
  return [directory, iotinvalVma({ ...HOST, pscid: getNumber(before, DC.fields['ta.PSCID']) })]
}
