/**
 * What becomes of a request that is refused: the event, whether it is logged, and what the device sees. AMD IOMMU specification (48882),
 * 2.5 "Event Logging", 2.1.3.2 "I/O Page Faults".
 */
import type { Fault } from '../../base/types.ts'
import {
  DEV_TAB_HARDWARE_ERROR,
  EVENT1_GN,
  EVENT1_I,
  EVENT1_NX,
  EVENT1_RW,
  EVENT1_TR,
  EVENT1_TYPE_SHIFT,
  EVENT1_US,
  eventName,
  HARDWARE_DATA_ERROR,
  HARDWARE_MASTER_ABORT,
  ILLEGAL_DEV_TABLE_ENTRY,
  INVALID_DEVICE_REQUEST,
  IO_PAGE_FAULT,
  PAGE_TAB_HARDWARE_ERROR,
} from '../../format/amdvi/events.ts'
import { ACCESS_MASK, ATS_REQUEST, EXECUTE, faultOf, PRIVILEGED, type Refused, type Request, WRITE } from '../common/request.ts'
import type { Device } from './config.ts'
import type { Log } from './log.ts'
import type { RegisterFile } from './registers.ts'

/** Why: `code` is the event. */
export interface Refusal extends Refused {
  /** PR, PE, RZ (IO_PAGE_FAULT, ILLEGAL_DEV_TABLE_ENTRY). */
  readonly flags?: number
  /** INVALID_DEVICE_REQUEST.Type, or Type of a hardware error. */
  readonly type?: number
  /** Whether the event has the PASID and a guest virtual address. */
  readonly guest?: boolean
  /** An interrupt. */
  readonly interrupt?: boolean
  /** The address that the event holds, where that is not the request's. */
  readonly address?: bigint
  /** The event is suppressed. */
  readonly quiet?: boolean
  readonly device?: Device | null
}

/** Type of a hardware error: corrupt data, or nothing that answers. */
export function hardwareType(corrupt: boolean): number {
  return corrupt ? HARDWARE_DATA_ERROR : HARDWARE_MASTER_ABORT
}

export class FaultUnit {
  readonly #log: Log
  readonly #registers: RegisterFile
  /** DTE.SE: devices of which a page fault was logged since their entry was fetched, a bit each. */
  readonly #logged = new Int32Array(0x10000 / 32)

  constructor(log: Log, registers: RegisterFile) {
    this.#log = log
    this.#registers = registers
  }

  /** A device's entry is forgotten (null: all of them): its next page fault is logged again. */
  forget(device: number | null): void {
    if (device === null) this.#logged.fill(0)
    else this.#logged[device >>> 5]! &= ~(1 << (device & 31))
  }

  /** @param live false: nothing is logged. */
  refuse(request: Request, refusal: Refusal, live: boolean): Fault {
    const recorded = refusal.code !== 0 && !this.#suppressed(request, refusal)
    const record = recorded ? eventRecord(request, refusal) : null
    if (record !== null && live) {
      if (refusal.code === DEV_TAB_HARDWARE_ERROR || refusal.code === PAGE_TAB_HARDWARE_ERROR)
        this.#registers.hardwareError(record)
      if (refusal.code === IO_PAGE_FAULT) this.#logged[request.device >>> 5]! |= 1 << (request.device & 31)
      this.#log.push(record)
    }
    return faultOf(request, refusal, eventName(refusal.code), record, responseTo(refusal.code, request.flags))
  }

  // 2.1.3.2: a translation request makes no IO_PAGE_FAULT, the device learns that it has no access.
  #suppressed(request: Request, refusal: Refusal): boolean {
    if (refusal.quiet === true) return true
    if (refusal.code !== IO_PAGE_FAULT) return false
    if ((request.flags & ATS_REQUEST) !== 0) return true
    const device = refusal.device ?? null
    if (device === null || refusal.interrupt === true) return false
    return (
      device.suppressAll || (device.suppressMore && ((this.#logged[request.device >>> 5]! >>> (request.device & 31)) & 1) === 1)
    )
  }
}

function responseTo(code: number, flags: number): Fault['response'] {
  if ((flags & ATS_REQUEST) === 0) return 'abort'
  if (code === IO_PAGE_FAULT) return 'no-access'
  return code === 0 || code === INVALID_DEVICE_REQUEST ? 'unsupported-request' : 'completer-abort'
}

/** The event as it lies in the log. */
export function eventRecord(request: Request, refusal: Refusal): Int32Array {
  const { code, flags = 0, type = 0, guest = false, interrupt = false, device = null } = refusal
  const access = request.flags & ACCESS_MASK
  const ats = (request.flags & ATS_REQUEST) !== 0
  let word0 = request.device
  let word1 = (code << 28) | flags
  if (guest) {
    const pasid = Math.max(request.pasid, 0)
    word0 |= (pasid >>> 16) << 16
    word1 |= EVENT1_GN | (pasid & 0xffff)
  } else if (code === IO_PAGE_FAULT || code === PAGE_TAB_HARDWARE_ERROR) word1 |= device?.domain ?? 0
  if (ats && code !== IO_PAGE_FAULT) word1 |= EVENT1_TR
  if (interrupt && code !== INVALID_DEVICE_REQUEST) word1 |= EVENT1_I
  if (access === WRITE && !interrupt && code !== INVALID_DEVICE_REQUEST) word1 |= EVENT1_RW
  const user = guest && (request.flags & PRIVILEGED) === 0
  if (code === IO_PAGE_FAULT) {
    if (user) word1 |= EVENT1_US
    if (guest && access === EXECUTE) word1 |= EVENT1_NX
  } else if (code === INVALID_DEVICE_REQUEST) word1 |= (user ? EVENT1_US : 0) | (type << EVENT1_TYPE_SHIFT)
  else if (code !== ILLEGAL_DEV_TABLE_ENTRY) word1 |= type << EVENT1_TYPE_SHIFT
  let { hi, lo } = request
  if (refusal.address !== undefined) {
    hi = Number(BigInt.asIntN(32, refusal.address >> 32n))
    lo = Number(BigInt.asIntN(32, refusal.address))
  }
  if (code === ILLEGAL_DEV_TABLE_ENTRY) lo &= ~3
  else if (code !== IO_PAGE_FAULT && code !== INVALID_DEVICE_REQUEST) lo &= ~15
  return Int32Array.of(word0, word1, lo, hi)
}
