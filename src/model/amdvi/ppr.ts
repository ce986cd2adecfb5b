/**
 * Page requests. AMD IOMMU specification (48882), 2.6 "Peripheral Page Request (PPR) Logging", 2.5.10 "INVALID_PPR_REQUEST". What cannot be
 * logged is lost, unless the IOMMU answers it itself (CONTROL.PprAutoRspEn); requests of devices that may not send any are refused.
 */
import { getNumber } from '../../base/layout.ts'
import { hi32, lo32 } from '../../base/u64.ts'
import { PPR_INVALID, PPR_SUCCESS } from '../../format/amdvi/commands.ts'
import { WAY_ABORT, WAY_BYPASS } from '../../format/amdvi/context.ts'
import { DTE1_GPRP, DTE1_PPR } from '../../format/amdvi/dte.ts'
import { EVENT1_GN, EVENT1_RW, EVENT1_US, INVALID_PPR_REQUEST } from '../../format/amdvi/events.ts'
import { PPR_PAGE_SERVICE_REQUEST, PPR1_EXEC, PPR1_GN, PPR1_READ, PPR1_US, PPR1_WRITE } from '../../format/amdvi/ppr.ts'
import {
  CONTROL_HI_BLK_STOP_MRK_EN,
  CONTROL_HI_EPH_EN,
  CONTROL_HI_PPR_AUTO_RSP_AON,
  CONTROL_HI_PPR_AUTO_RSP_EN,
  CONTROL_PPR_EN,
  PPR_LOG_AUTO_RSP,
  REG,
} from '../../format/amdvi/registers.ts'
import { PRIVILEGED, READ, WRITE } from '../common/request.ts'
import type { DeviceMessage, PageRequestMessage } from '../iommu.ts'
import type { Configuration, Device } from './config.ts'
import type { FaultUnit } from './faults.ts'
import { LOGGED, type Log } from './log.ts'
import { refusalOf } from './refusals.ts'
import type { RegisterFile } from './registers.ts'

type Code = 'success' | 'invalid' | 'failure'

export interface PprParts {
  readonly registers: RegisterFile
  readonly config: Configuration
  readonly faults: FaultUnit
  readonly events: Log
  readonly log: Log
  send(message: DeviceMessage): void
}

export class PageRequests {
  readonly #parts: PprParts

  constructor(parts: PprParts) {
    this.#parts = parts
  }

  receive(message: PageRequestMessage): void {
    const { registers, config, log } = this.#parts
    // A stop marker ends a PASID: it asks for nothing and is not answered.
    const stopMarker = message.last && !message.read && !message.write
    if ((registers.control & CONTROL_PPR_EN) === 0 || !registers.enabled) {
      this.#answer(message, null, 'failure', stopMarker)
      return
    }
    const device = config.device(message.device)
    const refused = this.#refused(device, message)
    if (refused !== null) {
      this.#refuse(device, message)
      this.#answer(message, device, refused, stopMarker)
      return
    }
    const { controlHi } = registers
    if (stopMarker && (controlHi & CONTROL_HI_BLK_STOP_MRK_EN) !== 0) return
    const always = (controlHi & CONTROL_HI_PPR_AUTO_RSP_AON) !== 0
    if (!always && log.push(entryOf(message)) === LOGGED) return
    if (always || (controlHi & CONTROL_HI_PPR_AUTO_RSP_EN) !== 0) this.#automatic(message, device, stopMarker)
  }

  /** The answer to a device that may not ask for pages (2.5.10); null: it may. */
  #refused(device: Device, message: PageRequestMessage): Code | null {
    if (device.code !== 0) return 'failure'
    // V, TV and I must be 1. With enhanced handling, DTE.PPR says which devices may ask.
    if (device.way === WAY_BYPASS || device.way === WAY_ABORT || !device.ats) return 'failure'
    const enhanced = (this.#parts.registers.controlHi & CONTROL_HI_EPH_EN) !== 0
    if (enhanced && (device.words[1]! & DTE1_PPR) === 0) return 'failure'
    // With a PASID, guest tables must be there.
    return message.pasid !== null && !device.guest ? 'invalid' : null
  }

  #refuse(device: Device, message: PageRequestMessage): void {
    const { faults, events } = this.#parts
    if (device.code !== 0) {
      // As for any other request of a device without a legal entry.
      refuseEntry(faults, device, message)
      return
    }
    // The event has the request's words, with flags of its own.
    const event = entryOf(message)
    const { pasid, privileged, write } = message
    const flags = (pasid === null ? 0 : EVENT1_GN) | (privileged ? 0 : EVENT1_US) | (write ? EVENT1_RW : 0)
    event[1] = (event[1]! & 0xffff) | flags | (INVALID_PPR_REQUEST << 28)
    events.push(event)
  }

  /** Answered with PprAutoRspCode; PprAutoRspMaskGn keeps the PASID out of the answer. */
  #automatic(message: PageRequestMessage, device: Device, stopMarker: boolean): void {
    const words = Int32Array.of(this.#parts.registers.get(REG.PPR_LOG_AUTO_RSP), 0)
    const code = getNumber(words, PPR_LOG_AUTO_RSP.fields.PprAutoRspCode)
    const masked = getNumber(words, PPR_LOG_AUTO_RSP.fields.PprAutoRspMaskGn) === 1
    const answer = code === PPR_SUCCESS ? 'success' : code === PPR_INVALID ? 'invalid' : 'failure'
    this.#answer(masked ? { ...message, pasid: null } : message, device, answer, stopMarker)
  }

  /** The response of the IOMMU itself: to the last request of a group only. */
  #answer(message: PageRequestMessage, device: Device | null, code: Code, stopMarker: boolean): void {
    if (!message.last || stopMarker) return
    const carries = device !== null && device.code === 0 && (device.words[1]! & DTE1_GPRP) !== 0
    const { pasid, group } = message
    this.#parts.send({ kind: 'page-response', device: message.device, pasid: carries ? pasid : null, group: group & 0x1ff, code })
  }
}

function refuseEntry(faults: FaultUnit, device: Device, message: PageRequestMessage): void {
  const { address, write, privileged } = message
  const pasid = message.pasid ?? -1
  const flags = (write ? WRITE : READ) | (privileged ? PRIVILEGED : 0)
  const request = { device: message.device, pasid, hi: hi32(address), lo: lo32(address), flags }
  faults.refuse(request, refusalOf(device, pasid), true)
}

/** PAGE_SERVICE_REQUEST as it lies in the log: PPRTag bit 9 says that the request is the last of its group. */
function entryOf(message: PageRequestMessage): Int32Array {
  const { device, pasid, address, group, last, read, write, execute, privileged } = message
  const number = pasid ?? 0
  let word1 = (PPR_PAGE_SERVICE_REQUEST << 28) | (group & 0x1ff) | (last ? 1 << 9 : 0) | ((number >>> 16) << 10)
  if (pasid !== null) word1 |= PPR1_GN
  if (execute) word1 |= PPR1_EXEC
  if (read) word1 |= PPR1_READ
  if (write) word1 |= PPR1_WRITE
  if (!privileged) word1 |= PPR1_US
  return Int32Array.of(device | ((number & 0xffff) << 16), word1, lo32(address) & ~0xfff, hi32(address))
}
