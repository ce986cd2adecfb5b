/** Event records, 32 bytes each, in the event queue. Arm IHI 0070, 7.3. */
import { addr, type Fields, flag, getBits, type Layout, layout, oneOf, uint, type Words } from '../../base/layout.ts'

export const EVENT_BYTES = 32
export const EVENT_WORDS = 8

/** Event numbers, bits 7:0. */
export const F_UUT = 0x01
export const C_BAD_STREAMID = 0x02
export const F_STE_FETCH = 0x03
export const C_BAD_STE = 0x04
export const F_BAD_ATS_TREQ = 0x05
export const F_STREAM_DISABLED = 0x06
export const F_TRANSL_FORBIDDEN = 0x07
export const C_BAD_SUBSTREAMID = 0x08
export const F_CD_FETCH = 0x09
export const C_BAD_CD = 0x0a
export const F_WALK_EABT = 0x0b
export const F_TRANSLATION = 0x10
export const F_ADDR_SIZE = 0x11
export const F_ACCESS = 0x12
export const F_PERMISSION = 0x13
export const F_TLB_CONFLICT = 0x20
export const F_CFG_CONFLICT = 0x21
export const E_PAGE_REQUEST = 0x24
export const F_VMS_FETCH = 0x25

/** CLASS of a fault: what the SMMU was doing (7.3). */
export const CLASS_CD = 0
export const CLASS_TTD = 1
export const CLASS_IN = 2

export interface EventRecord {
  readonly number: number
  readonly name: string
  readonly layout: Layout
  readonly section: string
  /** What happened, in words. */
  readonly meaning: string
}

const type = uint(7, 0, 'event number')
const SSV = flag(11, 'SubstreamID is valid')
const SubstreamID = uint(31, 12, 'SubstreamID')
const StreamID = uint(63, 32, 'StreamID')
const PnU = oneOf(97, 97, { 0: 'unprivileged', 1: 'privileged' }, 'privilege, after STE.PRIVCFG')
const InD = oneOf(98, 98, { 0: 'data', 1: 'instruction' }, 'kind, after STE.INSTCFG')
const RnW = oneOf(99, 99, { 0: 'write', 1: 'read' }, 'direction')
const NSIPA = flag(102, 'non-secure IPA space, secure streams')
const S2 = oneOf(103, 103, { 0: 'stage 1', 1: 'stage 2' }, 'stage that faulted')
const CLASS = oneOf(105, 104, { 0: 'CD fetch', 1: 'stage 1 table fetch', 2: 'input address' }, 'what was being done')
const InputAddr = uint(191, 128, 'address that the device used')
const InputPage = addr(191, 140, 'address that the device used')
const IPA = addr(247, 204, 'intermediate address, of stage 2 faults')
const Reason16 = uint(79, 64, 'reason, implementation defined')
const Reason32 = uint(95, 64, 'reason, implementation defined')
const GPCF = flag(80, 'granule protection check fault')
const FetchAddr = addr(247, 195, 'address of the fetch')

const who = { SSV, SubstreamID, StreamID }
const access = { PnU, InD, RnW }
const fetch = { ...who, Reason: Reason16, GPCF, FetchAddr }
const fault = {
  ...who,
  STAG: uint(79, 64, 'tag of the stalled transaction'),
  Stall: flag(95, 'the transaction is stalled'),
  ...access,
  NSIPA,
  S2,
  CLASS,
}
const faultEnd = { ImpDef: uint(127, 112, 'implementation defined'), InputAddr, IPA }

const events: EventRecord[] = []

function event<const F extends Fields>(
  number: number,
  name: string,
  section: string,
  meaning: string,
  fields: F,
): Layout<{ type: typeof type } & F> {
  const declared = layout(name, 256, { type, ...fields })
  events.push({ number, name, layout: declared, section, meaning })
  return declared
}

export const EVENT_F_UUT = event(F_UUT, 'F_UUT', '7.3.2', 'the device sent a kind of transaction that is not supported', {
  ...who,
  Reason: Reason16,
  ...access,
  InputAddr,
})
export const EVENT_C_BAD_STREAMID = event(
  C_BAD_STREAMID,
  'C_BAD_STREAMID',
  '7.3.3',
  'the StreamID is outside the stream table',
  who,
)
export const EVENT_F_STE_FETCH = event(F_STE_FETCH, 'F_STE_FETCH', '7.3.4', 'the STE could not be fetched', fetch)
export const EVENT_C_BAD_STE = event(C_BAD_STE, 'C_BAD_STE', '7.3.5', 'the STE is not valid or illegal', who)
export const EVENT_F_BAD_ATS_TREQ = event(
  F_BAD_ATS_TREQ,
  'F_BAD_ATS_TREQ',
  '7.3.6',
  'an ATS translation request from a stream without ATS',
  {
    ...who,
    Span: uint(67, 64, 'number of STUs requested'),
    Priv: flag(92, 'privileged access requested'),
    X: flag(93, 'execute access requested'),
    W: flag(94, 'write access requested'),
    R: flag(95, 'read access requested'),
    InputAddr: InputPage,
  },
)
export const EVENT_F_STREAM_DISABLED = event(
  F_STREAM_DISABLED,
  'F_STREAM_DISABLED',
  '7.3.7',
  'S1DSS does not let this in: no SubstreamID where one is needed, or SubstreamID 0 where CD 0 is for traffic without one',
  { StreamID },
)
export const EVENT_F_TRANSL_FORBIDDEN = event(
  F_TRANSL_FORBIDDEN,
  'F_TRANSL_FORBIDDEN',
  '7.3.8',
  'a translated transaction from a stream that may not send any',
  { StreamID, RnW, InputAddr },
)
export const EVENT_C_BAD_SUBSTREAMID = event(
  C_BAD_SUBSTREAMID,
  'C_BAD_SUBSTREAMID',
  '7.3.9',
  'the SubstreamID is outside the CD table, or substreams are off',
  { SubstreamID, StreamID },
)
export const EVENT_F_CD_FETCH = event(F_CD_FETCH, 'F_CD_FETCH', '7.3.10', 'the CD could not be fetched', fetch)
export const EVENT_C_BAD_CD = event(C_BAD_CD, 'C_BAD_CD', '7.3.11', 'the CD is not valid or illegal', who)
export const EVENT_F_WALK_EABT = event(F_WALK_EABT, 'F_WALK_EABT', '7.3.12', 'a table entry could not be fetched or updated', {
  ...who,
  Reason: Reason16,
  GPCF,
  ...access,
  NSIPA,
  S2,
  CLASS,
  InputAddr,
  FetchAddr,
})
export const EVENT_F_TRANSLATION = event(F_TRANSLATION, 'F_TRANSLATION', '7.3.13', 'no valid entry for the address', {
  ...fault,
  ...faultEnd,
})
export const EVENT_F_ADDR_SIZE = event(F_ADDR_SIZE, 'F_ADDR_SIZE', '7.3.14', 'an output address is too large', {
  ...fault,
  ...faultEnd,
})
export const EVENT_F_ACCESS = event(F_ACCESS, 'F_ACCESS', '7.3.15', 'the access flag is clear', { ...fault, ...faultEnd })
export const EVENT_F_PERMISSION = event(F_PERMISSION, 'F_PERMISSION', '7.3.16', 'the tables do not allow this access', {
  ...fault,
  TTRnW: oneOf(108, 108, { 0: 'write', 1: 'read' }, 'direction of the table access, with CLASS of a stage 1 table fetch'),
  ...faultEnd,
})
export const EVENT_F_TLB_CONFLICT = event(F_TLB_CONFLICT, 'F_TLB_CONFLICT', '7.3.17', 'TLB entries conflict', {
  ...who,
  Reason: Reason32,
  ...access,
  NSIPA,
  S2,
  InputAddr,
  IPA,
})
export const EVENT_F_CFG_CONFLICT = event(F_CFG_CONFLICT, 'F_CFG_CONFLICT', '7.3.18', 'cached configurations conflict', {
  ...who,
  Reason: Reason32,
})
export const EVENT_E_PAGE_REQUEST = event(E_PAGE_REQUEST, 'E_PAGE_REQUEST', '7.3.19', 'a hint: the device will use these pages', {
  ...who,
  uX: flag(97, 'unprivileged execute'),
  uW: flag(98, 'unprivileged write'),
  uR: flag(99, 'unprivileged read'),
  pX: flag(101, 'privileged execute'),
  pW: flag(102, 'privileged write'),
  pR: flag(103, 'privileged read'),
  Span: uint(115, 108, 'pages of 4096 bytes'),
  InputAddr: InputPage,
})
export const EVENT_F_VMS_FETCH = event(
  F_VMS_FETCH,
  'F_VMS_FETCH',
  '7.3.20',
  'the virtual machine structure could not be fetched',
  fetch,
)

/** By event number. */
export const EVENTS: ReadonlyMap<number, EventRecord> = new Map(events.map((entry) => [entry.number, entry]))

/** The event record that starts at word `at`; null for a number that the manual does not define. */
export function eventOf(words: Words, at = 0): EventRecord | null {
  return EVENTS.get(getBits(words, 7, 0, at)) ?? null
}

/** The name of an event number, as the manual prints it. */
export function eventName(number: number): string {
  return (
    EVENTS.get(number)?.name ??
    (number >= 0xe0 && number <= 0xef ? `IMPDEF_EVENT${number - 0xe0}` : `event 0x${number.toString(16)}`)
  )
}
