/** Entries of the event log, 16 bytes each. AMD IOMMU specification (48882), 2.5 "Event Logging". */
import { addr, type Fields, flag, getBits, type Layout, layout, oneOf, setBits, uint, type Words } from '../../base/layout.ts'

export const EVENT_BYTES = 16
export const EVENT_WORDS = 4

/** EventCode, bits 63:60. 0: software has cleared the entry. */
export const ILLEGAL_DEV_TABLE_ENTRY = 1
export const IO_PAGE_FAULT = 2
export const DEV_TAB_HARDWARE_ERROR = 3
export const PAGE_TAB_HARDWARE_ERROR = 4
export const ILLEGAL_COMMAND_ERROR = 5
export const COMMAND_HARDWARE_ERROR = 6
export const IOTLB_INV_TIMEOUT = 7
export const INVALID_DEVICE_REQUEST = 8
export const INVALID_PPR_REQUEST = 9
export const EVENT_COUNTER_ZERO = 10
export const GUEST_EVENT_FAULT = 11
export const VIOMMU_HARDWARE_ERROR = 12
export const RMP_PAGE_FAULT = 13
export const RMP_HARDWARE_ERROR = 14

/** Flags of events as masks of the second word, which holds them from bit 48 on (bit 16 of the word). */
export const EVENT1_GN = 1 << 16
export const EVENT1_NX = 1 << 17
export const EVENT1_US = 1 << 18
export const EVENT1_I = 1 << 19
export const EVENT1_PR = 1 << 20
export const EVENT1_RW = 1 << 21
export const EVENT1_PE = 1 << 22
export const EVENT1_RZ = 1 << 23
export const EVENT1_TR = 1 << 24
/** Lowest bit of Type within the second word: hardware errors (2 bits), INVALID_DEVICE_REQUEST (3 bits). */
export const EVENT1_TYPE_SHIFT = 25

/** Type of hardware errors. */
export const HARDWARE_MASTER_ABORT = 1
export const HARDWARE_TARGET_ABORT = 2
export const HARDWARE_DATA_ERROR = 3

/** INVALID_DEVICE_REQUEST.Type where TR is 0. */
export const REQUEST_READ_IN_INTERRUPT_RANGE = 0
export const REQUEST_PRETRANSLATED = 1
export const REQUEST_PORT_IO = 2
export const REQUEST_SYSMGT_WRITE = 3
export const REQUEST_SYSMGT_READ = 4
export const REQUEST_INTERRUPT_BLOCKED = 5
export const REQUEST_INTERRUPT_RESERVED = 6
export const REQUEST_SYSMGT_TRANSLATE = 7
/** INVALID_DEVICE_REQUEST.Type where TR is 1. */
export const REQUEST_ATS_DISABLED = 0
export const REQUEST_ATS_INVALID_RANGE = 1

/** What INVALID_DEVICE_REQUEST.Type says, by TR and Type. */
export const REQUEST_TYPES: readonly [Readonly<Record<number, string>>, Readonly<Record<number, string>>] = [
  {
    0: 'a read in the interrupt address range',
    1: 'a translated request, and DTE.I or DTE.V is 0',
    2: 'port I/O, and DTE.IoCtl aborts it',
    3: 'a system management message, and DTE.SysMgt aborts it',
    4: 'a read in the system management address range',
    5: 'an interrupt, and DTE.IntCtl aborts it',
    6: 'a write in a reserved interrupt address range',
    7: 'a system management message that cannot be translated',
  },
  { 0: 'a translation request, and DTE.I, DTE.V or DTE.TV is 0', 1: 'a translation request for an address range that has none' },
]

const CODES = {
  1: 'ILLEGAL_DEV_TABLE_ENTRY',
  2: 'IO_PAGE_FAULT',
  3: 'DEV_TAB_HARDWARE_ERROR',
  4: 'PAGE_TAB_HARDWARE_ERROR',
  5: 'ILLEGAL_COMMAND_ERROR',
  6: 'COMMAND_HARDWARE_ERROR',
  7: 'IOTLB_INV_TIMEOUT',
  8: 'INVALID_DEVICE_REQUEST',
  9: 'INVALID_PPR_REQUEST',
  10: 'EVENT_COUNTER_ZERO',
  11: 'GUEST_EVENT_FAULT',
  12: 'VIOMMU_HARDWARE_ERROR',
  13: 'RMP_PAGE_FAULT',
  14: 'RMP_HARDWARE_ERROR',
}
export const EventCode = oneOf(63, 60, CODES, 'kind of event')

export interface EventRecord {
  readonly code: number
  readonly name: string
  readonly section: string
  /** What happened, in words. */
  readonly what: string
  readonly layout: Layout
}

const events: EventRecord[] = []
function event<const F extends Fields>(
  code: keyof typeof CODES,
  section: string,
  what: string,
  fields: F,
): Layout<F & { EventCode: typeof EventCode }> {
  const form = layout(CODES[code], 128, { ...fields, EventCode })
  events.push({ code, name: CODES[code], section, what, layout: form })
  return form
}

const DeviceID = uint(15, 0, 'device')
const PasidHigh = uint(19, 16, 'PASID, bits 19:16, where GN is 1')
const DomainOrPasid = uint(47, 32, 'DomainID; where GN is 1: PASID, bits 15:0')
const PasidLow = uint(47, 32, 'PASID, bits 15:0, where GN is 1')
const GN = flag(48, 'guest or nested: the address is a guest virtual one, the PASID is valid')
const NX = flag(49, 'an execute was asked for (with ExeReq)')
const US = flag(50, 'user privileges')
const I = flag(51, 'an interrupt, not a memory access')
const PR = flag(52, 'the translation was present')
const RW = oneOf(53, 53, { 0: 'read', 1: 'write' }, 'what was tried, where PR is 1 and TR is 0')
const PE = flag(54, 'the tables lack the permission')
const RZ = oneOf(55, 55, { 0: 'level encoding', 1: 'reserved bit' }, 'what is illegal in the entry')
const TR = oneOf(56, 56, { 0: 'transaction', 1: 'translation request' }, 'what the device sent')
const HardwareType = oneOf(58, 57, { 1: 'master abort', 2: 'target abort', 3: 'data error' }, 'kind of hardware error')
const guest = {
  VNR: flag(27, 'virtual IOMMU: the fault was not in a table of the guest'),
  vEvent: flag(29, 'virtual IOMMU: the event log'),
  vPtr: flag(30, 'virtual IOMMU: a pointer'),
  vCmd: flag(31, 'virtual IOMMU: the command buffer'),
}
const Address = uint(127, 64, 'address')
const Address16 = addr(127, 68, 'physical address', 4)

export const EVENT_ILLEGAL_DEV_TABLE_ENTRY = event(ILLEGAL_DEV_TABLE_ENTRY, '2.5.2', 'the device table entry is illegal', {
  DeviceID,
  'PASID[19:16]': PasidHigh,
  ...guest,
  'PASID[15:0]': PasidLow,
  GN,
  I,
  RW,
  RZ,
  TR,
  Address: addr(127, 66, 'address that the device used', 2),
})

export const EVENT_IO_PAGE_FAULT = event(IO_PAGE_FAULT, '2.5.3', 'the tables refuse the access, or have no entry for it', {
  DeviceID,
  'PASID[19:16]': PasidHigh,
  ...guest,
  'DomainID/PASID[15:0]': DomainOrPasid,
  GN,
  NX,
  US,
  I,
  PR,
  RW,
  PE,
  RZ,
  TR,
  Address,
})

export const EVENT_DEV_TAB_HARDWARE_ERROR = event(DEV_TAB_HARDWARE_ERROR, '2.5.4', 'the device table could not be read', {
  DeviceID,
  I,
  RW,
  TR,
  Type: HardwareType,
  Address: Address16,
})

export const EVENT_PAGE_TAB_HARDWARE_ERROR = event(PAGE_TAB_HARDWARE_ERROR, '2.5.5', 'a page table could not be read', {
  DeviceID,
  'PASID[19:16]': PasidHigh,
  'DomainID/PASID[15:0]': DomainOrPasid,
  GN,
  I,
  RW,
  TR,
  Type: HardwareType,
  Address: Address16,
})

export const EVENT_ILLEGAL_COMMAND_ERROR = event(
  ILLEGAL_COMMAND_ERROR,
  '2.5.6',
  'a command is illegal; the command buffer has stopped',
  { Address: Address16 },
)

export const EVENT_COMMAND_HARDWARE_ERROR = event(
  COMMAND_HARDWARE_ERROR,
  '2.5.7',
  'the command buffer could not be read; it has stopped',
  { Type: HardwareType, Address: Address16 },
)

export const EVENT_IOTLB_INV_TIMEOUT = event(IOTLB_INV_TIMEOUT, '2.5.8', 'a device did not answer an invalidation request', {
  DeviceID,
  Address: Address16,
})

export const EVENT_INVALID_DEVICE_REQUEST = event(INVALID_DEVICE_REQUEST, '2.5.9', 'a device sent what it may not send', {
  DeviceID,
  'PASID[19:16]': PasidHigh,
  'PASID[15:0]': PasidLow,
  GN,
  US,
  TR,
  Type: uint(59, 57, 'what was wrong'),
  Address,
})

export const EVENT_INVALID_PPR_REQUEST = event(INVALID_PPR_REQUEST, '2.5.10', 'a page request that may not be sent', {
  DeviceID,
  'PASID[15:0]': uint(31, 16, 'PASID, where GN is 1'),
  PPRTag: uint(41, 32, 'tag of the request'),
  'PASID[19:16]': uint(45, 42, 'PASID'),
  GN,
  US,
  RW,
  RZ,
  TR,
  Address: addr(127, 76, 'page', 12),
})

export const EVENT_EVENT_COUNTER_ZERO = event(EVENT_COUNTER_ZERO, '2.5.11', 'a performance counter wrapped', {
  'CounterNote[51:32]': uint(83, 64, 'counter'),
  'CounterNote[31:0]': uint(127, 96, 'counter'),
})

export const EVENT_GUEST_EVENT_FAULT = event(GUEST_EVENT_FAULT, '2.5.12', 'a guest event log could not be written', {
  GuestID: uint(47, 32, 'guest'),
  Address,
})

export const EVENT_VIOMMU_HARDWARE_ERROR = event(VIOMMU_HARDWARE_ERROR, '2.5.13', 'memory of a virtual IOMMU failed', {
  GuestID: uint(47, 32, 'guest'),
  Type: HardwareType,
  Address: Address16,
})

export const EVENT_RMP_PAGE_FAULT = event(RMP_PAGE_FAULT, '2.5.14', 'the reverse map table refuses the access', {
  DeviceID,
  FlagsRMP: uint(27, 16, 'what the reverse map table says'),
  VMGTag: uint(47, 32, 'virtual machine'),
  Flags: uint(59, 48, 'as of IO_PAGE_FAULT'),
  Address,
})

export const EVENT_RMP_HARDWARE_ERROR = event(RMP_HARDWARE_ERROR, '2.5.15', 'the reverse map table could not be read', {
  DeviceID,
  VMGTag: uint(47, 32, 'virtual machine'),
  Flags: uint(59, 48, 'as of PAGE_TAB_HARDWARE_ERROR'),
  Address: addr(127, 67, 'physical address', 3),
})

/** All of them, by EventCode. */
export const EVENTS: ReadonlyMap<number, EventRecord> = new Map(events.map((entry) => [entry.code, entry]))

/** The EventCode of an entry. */
export function eventCodeOf(words: Words, at = 0): number {
  return words[at + 1]! >>> 28
}

/** The event that an entry is; null when the manual defines none. */
export function eventOf(words: Words, at = 0): EventRecord | null {
  return EVENTS.get(eventCodeOf(words, at)) ?? null
}

/** The manual's name of an EventCode. */
export function eventName(code: number): string {
  return EVENTS.get(code)?.name ?? `event code ${code}`
}

/** The PASID of an event whose GN is 1: bits 19:16 and 47:32 (INVALID_PPR_REQUEST holds it elsewhere: `pprPasid`). */
export function eventPasid(words: Words, at = 0): number {
  return (getBits(words, 19, 16, at) << 16) | getBits(words, 47, 32, at)
}

/** Spreads a PASID over the two fields of an event. */
export function setEventPasid(words: Words, pasid: number, at = 0): void {
  setBits(words, 19, 16, pasid >>> 16, at)
  setBits(words, 47, 32, pasid, at)
}
