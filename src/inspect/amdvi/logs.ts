/** What the event log still holds, what waits in the PPR log, and errors that registers report. AMD IOMMU specification (48882), 2.5, 2.6, 3.4. */
import { hex } from '../../base/hex.ts'
import { decode, describe, wordsFromU64, wordsToU64 } from '../../base/layout.ts'
import { hi32, lo32, u64 } from '../../base/u64.ts'
import {
  EVENT_BYTES,
  EVENT_INVALID_DEVICE_REQUEST,
  EVENT_IO_PAGE_FAULT,
  EVENT1_GN,
  EVENT1_I,
  EVENT1_PR,
  EVENT1_RW,
  EVENT1_TR,
  eventCodeOf,
  eventName,
  eventOf,
  eventPasid,
  INVALID_PPR_REQUEST,
  REQUEST_TYPES,
} from '../../format/amdvi/events.ts'
import { PPR_BYTES, PPR_ENTRY, pprPasid } from '../../format/amdvi/ppr.ts'
import {
  baseAddress,
  CONTROL,
  EVT_LOG_BASE,
  HW_EVT_STATUS,
  PPR_LOG_BASE,
  ringLog2,
  STATUS,
} from '../../format/amdvi/registers.ts'
import type { EventView, Names } from '../graph.ts'
import type { Reading } from '../reading.ts'
import { type RecordReader, type RecordRing, readRecords, reportPageRequests, ringBetween } from '../records.ts'
import type { RegisterFile } from '../registers.ts'
import { deviceName, type Findings } from '../source.ts'

const POINTER = 2 ** 19 - 16

function ring(registers: RegisterFile, base: string, head: string, tail: string, entryBytes: number): RecordRing {
  const value = registers.value(base)
  const log2Size = Math.max(8, ringLog2(hi32(value)) - Math.log2(entryBytes))
  const index = (name: string) => (registers.number(name) & POINTER) / entryBytes
  return ringBetween(baseAddress(hi32(value), lo32(value)), log2Size, entryBytes, index(head), index(tail))
}

/** Entries of the event log, newest first. */
export function readEvents(reading: Reading, registers: RegisterFile): EventView[] {
  if (registers.value(EVT_LOG_BASE.name) === 0n) return []
  const log = ring(registers, EVT_LOG_BASE.name, 'EVT_HEAD', 'EVT_TAIL', EVENT_BYTES)
  const events = readRecords(reading, log, 'event log', EVENTS)
  if (events.some(({ words }) => asQemuLogs(words)))
    reading.findings.add(
      'note',
      'event log',
      "page faults with I = 1, and without address and DomainID, are QEMU's: bit 48 stands for a read, bit 49 for a write, and the device lacks its bus number",
      'QEMU',
    )
  return events
}

const EVENTS: RecordReader = {
  name(words, at) {
    const code = eventCodeOf(words, at)
    return code === 0 ? null : eventName(code)
  },
  view: eventView,
}

/** Bits 63:60 IO_PAGE_FAULT, I; then the direction in bits 49:48 and the device and function in bits 7:0. */
const QEMU_FAULT = 0x2008_0000_0000_0000n
const QEMU_READ = 1n << 48n
const QEMU_WRITE = 2n << 48n

/** Whether an IO_PAGE_FAULT is one that QEMU wrote: no hardware says that an interrupt went to address 0. */
function asQemuLogs([first, address]: readonly bigint[]): boolean {
  const rest = first! & ~0xffn & ~QEMU_FAULT
  return address === 0n && (first! & QEMU_FAULT) === QEMU_FAULT && (rest === QEMU_READ || rest === QEMU_WRITE)
}

/** Devices with a name that have this device and function number, on any bus. */
function namedFunctions(names: Names | undefined, devfn: number): number[] {
  const known = [...(names?.devices?.keys() ?? [])].filter((id) => (id & 0xff) === devfn)
  return known.length === 0 ? [devfn] : known.sort((a, b) => a - b)
}

function eventView(words: Int32Array, at: number, address: number, pending: boolean, names: Names | undefined): EventView {
  const event = eventOf(words, at)
  const fields = event === null ? [] : describe(event.layout, words, at)
  const view = {
    name: eventName(eventCodeOf(words, at)),
    address: BigInt(address),
    words: wordsToU64(words, at, EVENT_BYTES / 4),
    fields,
    pending,
  }
  if (asQemuLogs(view.words)) {
    const functions = namedFunctions(names, words[at]! & 0xff)
    const who = functions.map((id) => deviceName(names, id)).join(' or ')
    const access = (view.words[0]! & QEMU_READ) !== 0n ? 'read' : 'write'
    const device = functions.length === 1 ? functions[0]! : null
    return { ...view, device, pasid: null, text: `${who} ${access}, the address is not recorded` }
  }
  const flags = words[at + 1]!
  const has = (name: string) => event !== null && name in event.layout.fields
  const device = has('DeviceID') ? words[at]! & 0xffff : null
  const guest = has('GN') && (flags & EVENT1_GN) !== 0
  const pasid = guest ? (eventCodeOf(words, at) === INVALID_PPR_REQUEST ? pprPasid(words, at) : eventPasid(words, at)) : null
  const where = has('Address') ? hex(u64(words[at + 3]!, words[at + 2]!)) : null
  const parts = [
    device === null ? null : deviceName(names, device),
    pasid === null ? null : `PASID ${pasid}`,
    event?.layout === EVENT_IO_PAGE_FAULT ? faultText(words, at) : null,
    where,
  ].filter((part) => part !== null)
  return { ...view, device, pasid, text: `${parts.join(' ')}${why(words, at)}` }
}

/** What was tried, as far as the entry tells: RW says something where PR is 1, and in translation requests nothing. */
function faultText(words: Int32Array, at: number): string {
  const flags = words[at + 1]!
  if ((flags & EVENT1_I) !== 0) return 'interrupt'
  if ((flags & EVENT1_TR) !== 0) return 'translation request'
  if ((flags & EVENT1_PR) === 0) return 'access to'
  return (flags & EVENT1_RW) === 0 ? 'read' : 'write'
}

/** Why, in words, with a colon before it. */
function why(words: Int32Array, at: number): string {
  const event = eventOf(words, at)
  if (event?.layout === EVENT_INVALID_DEVICE_REQUEST) {
    const { TR, Type } = decode(EVENT_INVALID_DEVICE_REQUEST, words, at)
    return `: ${REQUEST_TYPES[TR as 0 | 1][Number(Type)] ?? `type ${Type}`}`
  }
  if (event?.layout !== EVENT_IO_PAGE_FAULT) return event === null ? '' : `: ${event.what}`
  const { PR, PE, RZ, I } = decode(EVENT_IO_PAGE_FAULT, words, at)
  if (PR === 0) return I === 1 ? ': it is not remapped' : ': no entry for the address'
  if (RZ === 1) return ': reserved bits are set in an entry'
  return PE === 1 ? ': the tables do not allow this' : ': the entry is not legal'
}

/** Page requests that wait for software. */
export function readPageRequests(reading: Reading, registers: RegisterFile): void {
  if (registers.value(PPR_LOG_BASE.name) === 0n) return
  const log = ring(registers, PPR_LOG_BASE.name, 'PPR_HEAD', 'PPR_TAIL', PPR_BYTES)
  reportPageRequests(reading, log, 'PPR log', PPR_ENTRY, (get) => {
    const words = wordsFromU64([(BigInt(get('PASID[15:0]')) << 16n) | (BigInt(get('PASID[19:16]')) << 42n)])
    const pasid = get('GN') === 1 ? `, PASID ${pprPasid(words)}` : ''
    return `${deviceName(reading.names, Number(get('DeviceID')))}${pasid} for ${hex(get('Address'))}, tag ${get('PPRTag')}`
  })
}

/** Bits of STATUS that say that something was lost, and what should run. */
const LOST: readonly (readonly [flag: 'EventOverflow' | 'PPROverflow' | 'GALOverflow', what: string])[] = [
  ['EventOverflow', 'event log'],
  ['PPROverflow', 'PPR log'],
  ['GALOverflow', 'guest virtual APIC log'],
]
const RUNS: readonly (readonly [enable: keyof typeof CONTROL.fields, runs: keyof typeof STATUS.fields, what: string])[] = [
  ['CmdBufEn', 'CmdBufRun', 'command buffer'],
  ['EventLogEn', 'EventLogRun', 'event log'],
  ['PPRLogEn', 'PPRRun', 'PPR log'],
]

/** What the registers say that a reader should know. */
export function registerFindings(registers: RegisterFile, findings: Findings): void {
  registers.reportUnknown(['EXT_FEATURE', 'CONTROL', 'DEV_TAB_BASE'], findings)
  const known = registers.known('CONTROL')
  if (known && registers.field(CONTROL, 'IommuEn') === 0)
    findings.add('warning', 'CONTROL.IommuEn', '0: all traffic passes as it is', 'off')
  for (const [flag, what] of LOST) {
    if (registers.field(STATUS, flag) === 1)
      findings.add(
        'error',
        what,
        `overflow (STATUS.${flag}): ${flag === 'PPROverflow' ? 'page requests' : 'entries'} were lost`,
        'status',
      )
  }
  for (const [enable, runs, what] of RUNS) {
    if (registers.known('STATUS') && registers.field(CONTROL, enable) === 1 && registers.field(STATUS, runs) === 0)
      findings.add('warning', what, `enabled, and does not run (STATUS.${runs} is 0)`, 'status')
  }
  if (registers.field(CONTROL, 'IommuEn') === 1 && registers.number('CMD_HEAD') !== registers.number('CMD_TAIL'))
    findings.add('note', 'command buffer', 'commands wait to be consumed', 'commands')
  if (registers.field(HW_EVT_STATUS, 'HEV') === 1) hardwareEvent(registers, findings)
}

function hardwareEvent(registers: RegisterFile, findings: Findings): void {
  const words = wordsFromU64([registers.value('HW_EVT_HI'), registers.value('HW_EVT_LO')])
  const more = registers.field(HW_EVT_STATUS, 'HEO') === 1 ? '; at least one more was lost' : ''
  findings.add('error', 'hardware event registers', `hold a ${eventName(eventCodeOf(words))}${more}`, 'hardware event')
}
