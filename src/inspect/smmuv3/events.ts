/** What the event queue still holds, read or not: hardware leaves records where they are. Arm IHI 0070, 3.5 and 7. */

import { hex } from '../../base/hex.ts'
import { describe, getBits, getField, type Layout, wordsToU64 } from '../../base/layout.ts'
import { EVENT_BYTES, EVENT_WORDS, eventName, eventOf } from '../../format/smmuv3/events.ts'
import { PRI, PRI_BYTES } from '../../format/smmuv3/pri.ts'
import { EVENTQ_BASE, EVENTQ_CONS, EVENTQ_PROD, PRIQ_BASE, PRIQ_CONS, PRIQ_PROD } from '../../format/smmuv3/registers.ts'
import type { EventView, Names } from '../graph.ts'
import type { Reading } from '../reading.ts'
import { type RecordReader, type RecordRing, readRecords, reportPageRequests } from '../records.ts'
import type { RegisterFile } from '../registers.ts'
import { deviceName } from '../source.ts'

function queue(registers: RegisterFile, base: Layout, prod: Layout, cons: Layout, entryBytes: number): RecordRing {
  const log2Size = Math.min(19, registers.field(base, 'LOG2SIZE'))
  // 6.3.29: the base is aligned to the queue's size, at least 32 bytes.
  const bytes = Math.max(32, 2 ** log2Size * entryBytes)
  const address = Number(registers.field(base, 'ADDR'))
  const wrapped = 2 ** (log2Size + 1) - 1
  const produced = registers.field(prod, 'WR') & wrapped
  const pending = (produced - registers.field(cons, 'RD')) & wrapped
  return {
    base: address - (address % bytes),
    log2Size,
    entryBytes,
    next: produced,
    // More than the queue holds: the indexes contradict each other.
    pending: Math.min(pending, 2 ** log2Size),
  }
}

/** Records of the event queue, newest first. */
export function readEvents(reading: Reading, registers: RegisterFile): EventView[] {
  const ring = queue(registers, EVENTQ_BASE, EVENTQ_PROD, EVENTQ_CONS, EVENT_BYTES)
  return readRecords(reading, ring, 'event queue', EVENTS)
}

const EVENTS: RecordReader = {
  name(words, at) {
    const number = getBits(words, 7, 0, at)
    return number === 0 ? null : eventName(number)
  },
  view: eventView,
}

function eventView(words: Int32Array, at: number, address: number, pending: boolean, names: Names | undefined): EventView {
  const number = getBits(words, 7, 0, at)
  const record = eventOf(words, at)
  const get = (field: string) => {
    const declared = record?.layout.fields[field]
    return declared === undefined ? null : getField(words, declared, at)
  }
  const stream = get('StreamID')
  const device = stream === null ? null : Number(stream)
  // C_BAD_SUBSTREAMID always has one; other records say by SSV whether it is valid.
  const pasid = get('SubstreamID') === null || get('SSV') === 0 ? null : Number(get('SubstreamID'))
  const input = get('InputAddr')
  const parts = [
    device === null ? null : deviceName(names, device),
    pasid === null ? null : `SubstreamID ${pasid}`,
    get('PnU') === 1 ? 'privileged' : null,
    get('InD') === 1 ? 'instruction' : null,
    get('RnW') === null ? null : get('RnW') === 1 ? 'read' : 'write',
    input === null ? null : hex(input),
  ].filter((part) => part !== null)
  const stage = get('S2') === 1 ? ' (stage 2)' : ''
  const meaning = record?.meaning ?? 'not defined by the manual'
  return {
    name: eventName(number),
    address: BigInt(address),
    words: wordsToU64(words, at, EVENT_WORDS),
    fields: record === null ? [] : describe(record.layout, words, at),
    device,
    pasid,
    pending,
    text: `${parts.join(' ')}${parts.length > 0 ? ': ' : ''}${meaning}${stage}`,
  }
}

/** Page requests that wait for software. */
export function readPageRequests(reading: Reading, registers: RegisterFile): void {
  const ring = queue(registers, PRIQ_BASE, PRIQ_PROD, PRIQ_CONS, PRI_BYTES)
  const first = (get: (field: keyof typeof PRI.fields) => number | bigint) =>
    `${deviceName(reading.names, Number(get('StreamID')))} for ${hex(get('Address'))}, group ${get('PRGIndex')}`
  reportPageRequests(reading, ring, 'PRI queue', PRI, first)
}
