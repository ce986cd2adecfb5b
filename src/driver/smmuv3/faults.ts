/** Records of the event queue and the PRI queue in the core's words. Arm IHI 0070, 7.3, 8.1. */

import { hex } from '../../base/hex.ts'
import { decode, wordsToU64 } from '../../base/layout.ts'
import type { FaultReport, PageRequest } from '../../core/driver.ts'
import { eventName, eventOf } from '../../format/smmuv3/events.ts'
import { PRI } from '../../format/smmuv3/pri.ts'
import type { Event } from '../common/fault-queues.ts'

/** Decodes an event record. Numbers that the manual does not define give a report too. */
export function decodeEvent(words: Uint32Array): Event {
  const number = words[0]! & 0xff
  const record = eventOf(words)
  const fields: Readonly<Record<string, number | bigint>> = record === null ? {} : decode(record.layout, words)
  const field = (name: string) => Number(fields[name] ?? 0)
  const device = fields.StreamID === undefined ? null : Number(fields.StreamID)
  const hasPasid = fields.SSV === undefined ? fields.SubstreamID !== undefined : field('SSV') === 1
  const pasid = hasPasid ? field('SubstreamID') : null
  const address = fields.InputAddr === undefined ? null : BigInt(fields.InputAddr)
  const read = field('RnW') === 1
  const execute = read && field('InD') === 1
  const name = eventName(number)
  const who = device === null ? '' : `, stream ${hex(device)}${pasid === null ? '' : `, substream ${hex(pasid)}`}`
  const how = fields.RnW === undefined ? '' : execute ? ', execute' : read ? ', read' : ', write'
  const where = address === null ? '' : ` at ${hex(address)}`
  const report: FaultReport = {
    device,
    pasid,
    address,
    code: number,
    name,
    record: wordsToU64(words),
    text: `${name}: ${record?.meaning ?? 'not defined'}${who}${how}${where}`,
  }
  if (field('Stall') === 0 || device === null || address === null) return { kind: 'fault', report }
  const stallTag = field('STAG')
  return {
    kind: 'stall',
    stage2: field('S2') === 1,
    report,
    request: {
      device,
      pasid,
      address,
      group: stallTag,
      last: true,
      read: read && !execute,
      write: !read,
      execute,
      privileged: field('PnU') === 1,
      stallTag,
    },
  }
}

/** Decodes a PRI queue entry. Stop markers (last, neither read nor write) are passed on as they are. */
export function decodePageRequest(words: Uint32Array): PageRequest {
  const entry = decode(PRI, words)
  return {
    device: Number(entry.StreamID),
    pasid: entry.SSV === 1 ? Number(entry.SubstreamID) : null,
    address: BigInt(entry.Address),
    group: Number(entry.PRGIndex),
    last: entry.Last === 1,
    read: entry.R === 1,
    write: entry.W === 1,
    execute: entry.X === 1,
    privileged: entry.Priv === 1,
    stallTag: null,
  }
}
