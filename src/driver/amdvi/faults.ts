/** Events and page requests in the core's words. AMD IOMMU specification (48882), 2.5 "Event Logging", 2.6 "PPR Logging". Nothing stalls here. */
import { hex } from '../../base/hex.ts'
import { decode, wordsToU64 } from '../../base/layout.ts'
import type { FaultReport, PageRequest } from '../../core/driver.ts'
import { EVENTS, eventCodeOf, eventName, eventPasid, INVALID_PPR_REQUEST } from '../../format/amdvi/events.ts'
import { PPR_ENTRY, pprPasid } from '../../format/amdvi/ppr.ts'
import { STATUS_EVENT_LOG_INT, STATUS_PPR_INT } from '../../format/amdvi/registers.ts'
import type { FaultDecoding } from '../common/fault-queues.ts'
import { completePpr } from './commands.ts'
import type { Registers } from './registers.ts'

/** Decodes an event. Codes that the specification does not define give a report too. */
export function decodeEvent(words: Uint32Array): FaultReport {
  const code = eventCodeOf(words)
  const name = eventName(code)
  const event = EVENTS.get(code)
  const record = wordsToU64(words)
  if (event === undefined) return { device: null, pasid: null, address: null, code, name, record, text: `${name}: not defined` }
  const fields: Readonly<Record<string, number | bigint | undefined>> = decode(event.layout, words)
  const device = fields.DeviceID === undefined ? null : Number(fields.DeviceID)
  // Requests without PASID use entry 0 (DTE.GIOV), and events say so.
  const named = fields.GN !== 1 ? 0 : code === INVALID_PPR_REQUEST ? pprPasid(words) : eventPasid(words)
  const pasid = named === 0 ? null : named
  const address = fields.Address === undefined ? null : BigInt(fields.Address)
  const parts = [
    ...(device === null ? [] : [`DeviceID ${hex(device)}${pasid === null ? '' : `, PASID ${hex(pasid)}`}`]),
    ...(address === null ? [] : [`${howOf(fields)} at ${hex(address)}`]),
    ...(fields.PE === 1 ? ['not permitted'] : fields.RZ === 1 ? ['reserved bits'] : []),
  ]
  return { device, pasid, address, code, name, record, text: `${name}: ${event.what}; ${parts.join(', ')}` }
}

function howOf(fields: Readonly<Record<string, number | bigint | undefined>>): string {
  if (fields.I === 1) return 'interrupt'
  if (fields.TR === 1) return 'translation request'
  return fields.NX === 1 ? 'execute' : fields.RW === 1 ? 'write' : fields.RW === 0 ? 'read' : 'address'
}

/** PPRTag: bit 9 says that the request is the last of its group. */
const TAG_LAST = 1 << 9

/** Decodes a page request. Stop markers (last, neither read nor write) are passed on as they are. */
export function decodePageRequest(words: Uint32Array): PageRequest {
  const entry = decode(PPR_ENTRY, words)
  const tag = Number(entry.PPRTag)
  return {
    device: Number(entry.DeviceID),
    pasid: entry.GN === 1 ? pprPasid(words) : null,
    address: BigInt(entry.Address),
    group: tag & (TAG_LAST - 1),
    last: (tag & TAG_LAST) !== 0,
    read: entry.RD === 1,
    write: entry.WR === 1,
    execute: entry.EX === 1,
    privileged: entry.US === 0,
    stallTag: null,
  }
}

export function faultDecoding(registers: Registers): FaultDecoding {
  return {
    pageRequests: 'page request',
    idName: 'DeviceID',
    lost: { name: 'EventOverflow', text: 'the event log was full: events were lost' },
    event: (words) => ({ kind: 'fault', report: decodeEvent(words) }),
    pageRequest: decodePageRequest,
    errors() {
      // Before the logs are looked at, so that whatever comes later interrupts again.
      const pending = registers.read('STATUS') & (STATUS_EVENT_LOG_INT | STATUS_PPR_INT)
      if (pending !== 0) registers.write('STATUS', pending)
      return []
    },
    refuseStall: () => null,
    refusePages: ({ device, pasid, group }) => completePpr(device, pasid, group, 'failure'),
  }
}
