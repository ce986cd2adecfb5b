/** The ways in which a request ends badly. AMD IOMMU specification (48882), 2.5.2 to 2.5.9. */
import { rightsText } from '../../base/types.ts'
import { u64 } from '../../base/u64.ts'
import { DTE_RULES } from '../../format/amdvi/check.ts'
import {
  DEV_TAB_HARDWARE_ERROR,
  EVENT1_PE,
  EVENT1_PR,
  EVENT1_RZ,
  ILLEGAL_DEV_TABLE_ENTRY,
  INVALID_DEVICE_REQUEST,
  IO_PAGE_FAULT,
  PAGE_TAB_HARDWARE_ERROR,
  REQUEST_ATS_INVALID_RANGE,
  REQUEST_TYPES,
} from '../../format/amdvi/events.ts'
import { BEYOND_TABLE, CORRUPT, HOST_REFUSED } from '../../format/amdvi/lookup.ts'
import { levelOf, type PtSpace } from '../../format/pt/format.ts'
import {
  WALK_DIRTY,
  WALK_NOT_PRESENT,
  WALK_PERMISSION,
  WALK_POISONED,
  WALK_STAGE2_OUTPUT,
  WALK_STAGE2_TABLE,
  WALK_TABLE_ABORT,
  type Walker,
} from '../../format/pt/walker.ts'
import { ATS_REQUEST } from '../common/request.ts'
import type { Context, Device } from './config.ts'
import { hardwareType, type Refusal } from './faults.ts'
import type { Translator } from './translate.ts'
import { walkText } from './why.ts'

/** No device table entry, or an illegal one. @param interrupt the request is an interrupt. */
export function refusalOf(device: Device, pasid: number, interrupt = false): Refusal {
  const { code, why, status, address } = device
  const common = { code, why, guest: pasid >= 0, interrupt, entryAddress: address }
  if (code === DEV_TAB_HARDWARE_ERROR)
    return { ...common, guest: false, type: hardwareType(status === CORRUPT), address: BigInt(address) }
  if (code !== ILLEGAL_DEV_TABLE_ENTRY) return common
  return { ...common, flags: DTE_RULES[device.rule]!.reserved ? EVENT1_RZ : 0, entry: entryOf(device).entry }
}

export function refuseDevice(t: Translator, device: Device): number {
  // 2.5.9: a translation request of a device that has no entry is no page fault.
  if (device.status === BEYOND_TABLE && (t.flags & ATS_REQUEST) !== 0) {
    const guest = t.pasid >= 0
    return t.refuse({ code: INVALID_DEVICE_REQUEST, type: REQUEST_ATS_INVALID_RANGE, why: device.why, guest })
  }
  return t.refuse(refusalOf(device, t.pasid))
}

/** A special address that this device may not reach so. @param type INVALID_DEVICE_REQUEST.Type. */
export function refuseSpecial(t: Translator, device: Device, type: number): number {
  const ats = (t.flags & ATS_REQUEST) !== 0
  const why = `${REQUEST_TYPES[ats ? 1 : 0][type]} (2.1.2, 2.5.9)`
  return t.refuse({ code: INVALID_DEVICE_REQUEST, type, why, guest: t.pasid >= 0, device })
}

/** A write with PASID to the interrupt range. */
export function refuseInterruptWithPasid(t: Translator, device: Device): number {
  const why = 'an interrupt has no PASID (2.5.3)'
  return t.refuse({ code: IO_PAGE_FAULT, why, guest: true, interrupt: true, device })
}

/** TV is 0. */
export function refuseTranslation(t: Translator, device: Device): number {
  const why = 'DTE.TV is 0: what needs a translation is aborted (2.2.2.1)'
  return t.refuse({ code: IO_PAGE_FAULT, why, guest: t.pasid >= 0, device, ...entryOf(device) })
}

function entryOf(device: Device): { entryAddress: number; entry: bigint } {
  return { entryAddress: device.address, entry: u64(device.words[1]!, device.words[0]!) }
}

/** No guest tables behind this PASID. */
export function refuseContext(t: Translator, context: Context): number {
  const { code, why, status, address, device, guestAddress, entry } = context
  if (code === PAGE_TAB_HARDWARE_ERROR)
    return t.refuse({
      code,
      why,
      type: hardwareType(status === CORRUPT),
      guest: true,
      device,
      address: BigInt(address),
      entryAddress: address,
    })
  if (status === HOST_REFUSED) return refuseHost(t, context, t.walker.stage2, device.host!, BigInt(guestAddress), why)
  return t.refuse({ code, why, guest: true, device, entryAddress: address, entry })
}

/** IR or IW of the device table entry. */
export function refuseRights(t: Translator, context: Context): number {
  const { device, guest } = context
  const why = `DTE.IR and IW allow ${rightsText(device.allowed)} (2.2.2.1)`
  return t.refuse({ code: IO_PAGE_FAULT, flags: EVENT1_PR | EVENT1_PE, why, guest, device, ...entryOf(device) })
}

/** The tables. @param remembered a translation that was remembered as absent (NpCache). */
export function refuseWalk(t: Translator, context: Context, space: PtSpace, remembered: boolean): number {
  const { device, guest } = context
  const stage = guest ? 1 : 2
  if (remembered) {
    const why = 'remembered as not present (capability header, NpCache): software has not invalidated it'
    return t.refuse({ code: IO_PAGE_FAULT, why, guest, device, stage })
  }
  const { walker } = t
  const { status } = walker
  if (status === WALK_STAGE2_OUTPUT) {
    const address = u64(walker.outHi, walker.outLo)
    return refuseHost(t, context, walker.stage2, space.stage2!, address, `host tables: ${walkText(walker.stage2, space.stage2!)}`)
  }
  if (status === WALK_STAGE2_TABLE) {
    const address = u64(walker.ipaHi, walker.ipaLo)
    const why = `host tables, for a guest table: ${walkText(walker.stage2, space.stage2!)}`
    return refuseHost(t, context, walker.stage2, space.stage2!, address, why)
  }
  const why = `${guest ? 'guest' : 'host'} tables: ${walkText(walker, space)}`
  return t.refuse({ why, guest, device, stage, ...howFailed(walker, space) })
}

// 2.5.3: GN is 0 when the address is a guest physical one, which the host tables refused.
function refuseHost(t: Translator, context: Context, walker: Walker, space: PtSpace, address: bigint, why: string): number {
  return t.refuse({ why, guest: false, address, ipa: address, device: context.device, stage: 2, ...howFailed(walker, space) })
}

/** Event, flags and place of a walk that ended badly in its own tables. */
function howFailed(walker: Walker, space: PtSpace) {
  const { status } = walker
  const level = levelOf(space.format, walker.depth)
  if (status === WALK_TABLE_ABORT || status === WALK_POISONED)
    return {
      code: PAGE_TAB_HARDWARE_ERROR,
      type: hardwareType(status === WALK_POISONED),
      address: BigInt(walker.entryAddress),
      level,
      entryAddress: walker.entryAddress,
    }
  if (!walker.readAny) return { code: IO_PAGE_FAULT }
  return {
    code: IO_PAGE_FAULT,
    flags: pageFaultFlags(walker, space),
    level,
    entryAddress: walker.entryAddress,
    entry: u64(walker.hi, walker.lo),
  }
}

function pageFaultFlags(walker: Walker, space: PtSpace): number {
  const { status, lo } = walker
  if (status === WALK_PERMISSION || status === WALK_DIRTY) return EVENT1_PR | EVENT1_PE
  // A present entry that skips levels of which the address has bits is not a translation of it, and its level is illegal.
  if (status === WALK_NOT_PRESENT) return (lo & space.format.present) === 0 ? 0 : EVENT1_PR
  return EVENT1_PR | (reservedBits(walker, space) ? EVENT1_RZ : 0)
}

/** Whether reserved bits are set in the last entry; else its level or size is illegal. */
function reservedBits(walker: Walker, space: PtSpace): boolean {
  const { format } = space
  const { depth, hi, lo } = walker
  const leafLo = format.reservedLeafLo[depth]!
  const leafHi = format.reservedLeafHi[depth]!
  const table = (lo & format.reservedTableLo[depth]!) | (hi & format.reservedTableHi[depth]!)
  return ((lo & leafLo) | (hi & leafHi) | table) !== 0
}
