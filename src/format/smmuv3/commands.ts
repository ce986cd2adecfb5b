/**
 * Commands, 16 bytes each, in the command queue. Arm IHI 0070, chapter 4. The two commands of device permission tables (4.6) are not
 * here: no table of theirs is.
 */
import { addr, type Fields, flag, getBits, type Layout, layout, oneOf, uint, type Words } from '../../base/layout.ts'
import { SHAREABILITY } from './ste.ts'

export const CMD_BYTES = 16
export const CMD_WORDS = 4

/** Opcodes, bits 7:0 (4.1.1). */
export const CMD_PREFETCH_CONFIG = 0x01
export const CMD_PREFETCH_ADDR = 0x02
export const CMD_CFGI_STE = 0x03
/** Also CMD_CFGI_ALL: with Range = 31. */
export const CMD_CFGI_STE_RANGE = 0x04
export const CMD_CFGI_CD = 0x05
export const CMD_CFGI_CD_ALL = 0x06
export const CMD_CFGI_VMS_PIDM = 0x07
export const CMD_TLBI_NH_ALL = 0x10
export const CMD_TLBI_NH_ASID = 0x11
export const CMD_TLBI_NH_VA = 0x12
export const CMD_TLBI_NH_VAA = 0x13
export const CMD_TLBI_EL3_ALL = 0x18
export const CMD_TLBI_EL3_VA = 0x1a
export const CMD_TLBI_EL2_ALL = 0x20
export const CMD_TLBI_EL2_ASID = 0x21
export const CMD_TLBI_EL2_VA = 0x22
export const CMD_TLBI_EL2_VAA = 0x23
export const CMD_TLBI_S12_VMALL = 0x28
export const CMD_TLBI_S2_IPA = 0x2a
export const CMD_TLBI_NSNH_ALL = 0x30
export const CMD_ATC_INV = 0x40
export const CMD_PRI_RESP = 0x41
export const CMD_RESUME = 0x44
export const CMD_STALL_TERM = 0x45
export const CMD_SYNC = 0x46
export const CMD_TLBI_S_EL2_ALL = 0x50
export const CMD_TLBI_S_EL2_ASID = 0x51
export const CMD_TLBI_S_EL2_VA = 0x52
export const CMD_TLBI_S_EL2_VAA = 0x53
export const CMD_TLBI_S_S12_VMALL = 0x58
export const CMD_TLBI_S_S2_IPA = 0x5a
export const CMD_TLBI_SNH_ALL = 0x60

/** CMDQ_CONS.ERR (7.1). */
export const CERROR_NONE = 0
export const CERROR_ILL = 1
export const CERROR_ABT = 2
export const CERROR_ATC_INV_SYNC = 3

/** CMD_CFGI_STE_RANGE.Range that means all streams. */
export const RANGE_ALL = 31
/** CMD_ATC_INV.Size that means all addresses (4.5.1). */
export const ATC_INV_SIZE_ALL = 52

/** CMD_PRI_RESP.Resp (4.5.2). Not the response codes that PCIe sends: see 8.3. */
export const PRI_RESP_FAILURE = 0
export const PRI_RESP_INVALID = 1
export const PRI_RESP_SUCCESS = 2

/** CMD_SYNC.CS (4.7.3). */
export const SYNC_NONE = 0
export const SYNC_IRQ = 1
export const SYNC_SEV = 2

const opcode = uint(7, 0, 'opcode')
const SSec = flag(10, 'StreamID is secure')
const SSV = flag(11, 'SubstreamID is given')
const SubstreamID = uint(31, 12, 'SubstreamID')
const StreamID = uint(63, 32, 'StreamID')
const Leaf64 = flag(64, 'last level only')
const VMID = uint(47, 32, 'VMID')
const ASID = uint(63, 48, 'ASID')
/** Range and level hint (4.4.1.1): (NUM + 1) × 2^SCALE granules from the address on, when TG is not 0. */
const range = {
  NUM: uint(16, 12, 'range: NUM + 1 times'),
  SCALE: uint(25, 20, 'range: 2^SCALE granules'),
}
const hint = {
  Leaf: Leaf64,
  TTL128: flag(71, 'TTL is of 128-bit descriptors'),
  TTL: oneOf(73, 72, { 0: 'any', 1: 'level 1', 2: 'level 2', 3: 'level 3' }, 'level of the leaf, a hint'),
  TG: oneOf(75, 74, { 0: 'no range', 1: '4 KiB', 2: '16 KiB', 3: '64 KiB' }, 'granule of the range'),
}
const Address = addr(127, 76, 'address')
const IPA = addr(119, 76, 'intermediate address')

export interface Command {
  readonly opcode: number
  readonly name: string
  readonly layout: Layout
  /** Where the manual describes it. */
  readonly section: string
}

const commands: Command[] = []

function command<const F extends Fields>(
  code: number,
  name: string,
  section: string,
  fields: F,
): Layout<{ opcode: typeof opcode } & F> {
  const declared = layout(name, 128, { opcode, ...fields })
  commands.push({ opcode: code, name, layout: declared, section })
  return declared
}

export const PREFETCH_CONFIG = command(CMD_PREFETCH_CONFIG, 'CMD_PREFETCH_CONFIG', '4.2.1', { SSec, SSV, SubstreamID, StreamID })
export const PREFETCH_ADDR = command(CMD_PREFETCH_ADDR, 'CMD_PREFETCH_ADDR', '4.2.2', {
  SSec,
  SSV,
  SubstreamID,
  StreamID,
  Size: uint(68, 64, 'prefetch 2^Size strides'),
  Stride: uint(73, 69, 'stride is 2^(12 + Stride) bytes'),
  NS: flag(74, 'address is non-secure'),
  Address,
})
export const CFGI_STE = command(CMD_CFGI_STE, 'CMD_CFGI_STE', '4.3.1', { SSec, StreamID, Leaf: Leaf64 })
export const CFGI_STE_RANGE = command(CMD_CFGI_STE_RANGE, 'CMD_CFGI_STE_RANGE', '4.3.2', {
  SSec,
  StreamID,
  Range: uint(68, 64, '2^(Range + 1) streams; 31: all (CMD_CFGI_ALL)'),
})
export const CFGI_CD = command(CMD_CFGI_CD, 'CMD_CFGI_CD', '4.3.3', { SSec, SubstreamID, StreamID, Leaf: Leaf64 })
export const CFGI_CD_ALL = command(CMD_CFGI_CD_ALL, 'CMD_CFGI_CD_ALL', '4.3.4', { SSec, StreamID })
export const CFGI_VMS_PIDM = command(CMD_CFGI_VMS_PIDM, 'CMD_CFGI_VMS_PIDM', '4.3.5', { SSec, VMID })

export const TLBI_NH_ALL = command(CMD_TLBI_NH_ALL, 'CMD_TLBI_NH_ALL', '4.4.2.1', { VMID })
export const TLBI_NH_ASID = command(CMD_TLBI_NH_ASID, 'CMD_TLBI_NH_ASID', '4.4.2.2', { VMID, ASID })
export const TLBI_NH_VAA = command(CMD_TLBI_NH_VAA, 'CMD_TLBI_NH_VAA', '4.4.2.3', { ...range, VMID, ...hint, Address })
export const TLBI_NH_VA = command(CMD_TLBI_NH_VA, 'CMD_TLBI_NH_VA', '4.4.2.4', { ...range, VMID, ASID, ...hint, Address })
export const TLBI_EL3_ALL = command(CMD_TLBI_EL3_ALL, 'CMD_TLBI_EL3_ALL', '4.4.2.5', {})
export const TLBI_EL3_VA = command(CMD_TLBI_EL3_VA, 'CMD_TLBI_EL3_VA', '4.4.2.6', { ...range, ...hint, Address })
export const TLBI_EL2_ALL = command(CMD_TLBI_EL2_ALL, 'CMD_TLBI_EL2_ALL', '4.4.2.7', {})
export const TLBI_EL2_VA = command(CMD_TLBI_EL2_VA, 'CMD_TLBI_EL2_VA', '4.4.2.8', { ...range, ASID, ...hint, Address })
export const TLBI_EL2_VAA = command(CMD_TLBI_EL2_VAA, 'CMD_TLBI_EL2_VAA', '4.4.2.9', { ...range, ...hint, Address })
export const TLBI_EL2_ASID = command(CMD_TLBI_EL2_ASID, 'CMD_TLBI_EL2_ASID', '4.4.2.10', { ASID })
export const TLBI_S_EL2_ALL = command(CMD_TLBI_S_EL2_ALL, 'CMD_TLBI_S_EL2_ALL', '4.4.2.11', {})
export const TLBI_S_EL2_VA = command(CMD_TLBI_S_EL2_VA, 'CMD_TLBI_S_EL2_VA', '4.4.2.12', { ...range, ASID, ...hint, Address })
export const TLBI_S_EL2_VAA = command(CMD_TLBI_S_EL2_VAA, 'CMD_TLBI_S_EL2_VAA', '4.4.2.13', { ...range, ...hint, Address })
export const TLBI_S_EL2_ASID = command(CMD_TLBI_S_EL2_ASID, 'CMD_TLBI_S_EL2_ASID', '4.4.2.14', { ASID })
export const TLBI_S2_IPA = command(CMD_TLBI_S2_IPA, 'CMD_TLBI_S2_IPA', '4.4.3.1', { ...range, VMID, ...hint, Address: IPA })
export const TLBI_S12_VMALL = command(CMD_TLBI_S12_VMALL, 'CMD_TLBI_S12_VMALL', '4.4.3.2', { VMID })
export const TLBI_S_S2_IPA = command(CMD_TLBI_S_S2_IPA, 'CMD_TLBI_S_S2_IPA', '4.4.3.3', {
  ...range,
  VMID,
  ...hint,
  Address: IPA,
  NS: flag(127, 'non-secure IPA space'),
})
export const TLBI_S_S12_VMALL = command(CMD_TLBI_S_S12_VMALL, 'CMD_TLBI_S_S12_VMALL', '4.4.3.4', { VMID })
export const TLBI_NSNH_ALL = command(CMD_TLBI_NSNH_ALL, 'CMD_TLBI_NSNH_ALL', '4.4.4.1', {})
export const TLBI_SNH_ALL = command(CMD_TLBI_SNH_ALL, 'CMD_TLBI_SNH_ALL', '4.4.4.2', {})

export const ATC_INV = command(CMD_ATC_INV, 'CMD_ATC_INV', '4.5.1', {
  Global: flag(9, 'global invalidate, with SSV'),
  SSec,
  SSV,
  SubstreamID,
  StreamID,
  Size: uint(69, 64, '4096 × 2^Size bytes; 52: everything'),
  Address,
})
export const PRI_RESP = command(CMD_PRI_RESP, 'CMD_PRI_RESP', '4.5.2', {
  SSec,
  SSV,
  SubstreamID,
  StreamID,
  PRGIndex: uint(72, 64, 'page request group'),
  Resp: oneOf(77, 76, { 0: 'failure', 1: 'invalid request', 2: 'success' }, 'response'),
})
export const RESUME = command(CMD_RESUME, 'CMD_RESUME', '4.7.1', {
  SSec,
  Ac: oneOf(12, 12, { 0: 'terminate', 1: 'retry' }, 'action'),
  Ab: flag(13, 'terminate with an abort (else RAZ/WI)'),
  StreamID,
  STAG: uint(79, 64, 'tag of the stalled transaction'),
})
export const STALL_TERM = command(CMD_STALL_TERM, 'CMD_STALL_TERM', '4.7.2', { SSec, StreamID })
export const SYNC = command(CMD_SYNC, 'CMD_SYNC', '4.7.3', {
  CS: oneOf(13, 12, { 0: 'none', 1: 'interrupt', 2: 'event (SEV)' }, 'completion signal'),
  MSH: oneOf(23, 22, SHAREABILITY, 'shareability of the MSI write'),
  MSIAttr: uint(27, 24, 'memory attributes of the MSI write'),
  MSIData: uint(63, 32, 'data of the MSI write'),
  MSIAddress: addr(119, 66, 'address of the MSI write; 0: the interrupt line'),
})

/** By opcode. */
export const COMMANDS: ReadonlyMap<number, Command> = new Map(commands.map((entry) => [entry.opcode, entry]))

/** The command that starts at word `at`; null for a reserved opcode. */
export function commandOf(words: Words, at = 0): Command | null {
  return COMMANDS.get(getBits(words, 7, 0, at)) ?? null
}
