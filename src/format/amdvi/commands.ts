/** Commands, 16 bytes each, in the command buffer. AMD IOMMU specification (48882), 2.4 "Commands". */
import { addr, type Fields, flag, getBits, type Layout, layout, oneOf, setBits, uint, type Words } from '../../base/layout.ts'

export const COMMAND_BYTES = 16
export const COMMAND_WORDS = 4

/** Opcodes, bits 63:60. */
export const OP_COMPLETION_WAIT = 1
export const OP_INVALIDATE_DEVTAB_ENTRY = 2
export const OP_INVALIDATE_IOMMU_PAGES = 3
export const OP_INVALIDATE_IOTLB_PAGES = 4
export const OP_INVALIDATE_INTERRUPT_TABLE = 5
export const OP_PREFETCH_IOMMU_PAGES = 6
export const OP_COMPLETE_PPR_REQUEST = 7
export const OP_INVALIDATE_IOMMU_ALL = 8
export const OP_INSERT_GUEST_EVENT = 9
export const OP_RESET_VMMIO = 10

/** COMPLETE_PPR_REQUEST.Response: response codes of PCIe PRI. */
export const PPR_SUCCESS = 0
export const PPR_INVALID = 1
export const PPR_FAILURE = 15

export interface Command {
  readonly opcode: number
  readonly name: string
  readonly section: string
  readonly what: string
  readonly layout: Layout
}

const OPCODES = {
  1: 'COMPLETION_WAIT',
  2: 'INVALIDATE_DEVTAB_ENTRY',
  3: 'INVALIDATE_IOMMU_PAGES',
  4: 'INVALIDATE_IOTLB_PAGES',
  5: 'INVALIDATE_INTERRUPT_TABLE',
  6: 'PREFETCH_IOMMU_PAGES',
  7: 'COMPLETE_PPR_REQUEST',
  8: 'INVALIDATE_IOMMU_ALL',
  9: 'INSERT_GUEST_EVENT',
  10: 'RESET_VMMIO',
}
export const OpCode = oneOf(63, 60, OPCODES, 'command')

const commands: Command[] = []
function command<const F extends Fields>(
  opcode: keyof typeof OPCODES,
  section: string,
  what: string,
  fields: F,
): Layout<F & { OpCode: typeof OpCode }> {
  const name = OPCODES[opcode]
  const form = layout(name, 128, { ...fields, OpCode })
  commands.push({ opcode, name, section, what, layout: form })
  return form
}

const DeviceID = uint(15, 0, 'device')
const S = flag(64, 'Address tells a range: its lowest clear bit is half of the size; 0: one page')
const GN = flag(66, 'guest or nested: Address is a guest virtual one, PASID is valid')
const Address = addr(127, 76, 'page, or range', 12)

export const COMPLETION_WAIT = command(OP_COMPLETION_WAIT, '2.4.1', 'waits for the commands before it', {
  S: flag(0, 'StoreData is written to StoreAddress'),
  I: flag(1, 'raises the completion wait interrupt'),
  F: flag(2, 'flush: commands after it wait for it'),
  StoreAddress: addr(51, 3, 'where it is written', 3),
  StoreData: uint(127, 64, 'what is written'),
})

export const INVALIDATE_DEVTAB_ENTRY = command(OP_INVALIDATE_DEVTAB_ENTRY, '2.4.2', 'drops a cached device table entry', {
  DeviceID,
})

export const INVALIDATE_IOMMU_PAGES = command(OP_INVALIDATE_IOMMU_PAGES, '2.4.3', 'drops cached translations of a domain', {
  PASID: uint(19, 0, 'PASID, where GN is 1'),
  DomainID: uint(47, 32, 'domain'),
  S,
  PDE: flag(65, 'cached entries above the leaf too'),
  GN,
  Address,
})

export const INVALIDATE_IOTLB_PAGES = command(OP_INVALIDATE_IOTLB_PAGES, '2.4.4', 'drops translations in a device (ATS)', {
  DeviceID,
  'PASID[15:8]': uint(23, 16, 'PASID, where GN is 1'),
  Maxpend: uint(31, 24, 'invalidations that may be on the way at once'),
  QueueID: uint(47, 32, 'queue of the device'),
  'PASID[7:0]': uint(55, 48, 'PASID'),
  'PASID[19:16]': uint(59, 56, 'PASID'),
  S,
  GN,
  Type: uint(69, 68, 'kind of invalidation (where InvIotlbTypeSup is 1)'),
  Address,
})

export const INVALIDATE_INTERRUPT_TABLE = command(
  OP_INVALIDATE_INTERRUPT_TABLE,
  '2.4.5',
  'drops cached interrupt remapping entries of a device',
  { DeviceID },
)

export const PREFETCH_IOMMU_PAGES = command(OP_PREFETCH_IOMMU_PAGES, '2.4.6', 'loads translations before they are needed', {
  DeviceID,
  PFCount: uint(31, 24, 'pages'),
  PASID: uint(51, 32, 'PASID, where GN is 1'),
  S,
  GN,
  Inval: flag(68, 'invalidate first'),
  Address,
})

export const COMPLETE_PPR_REQUEST = command(OP_COMPLETE_PPR_REQUEST, '2.4.7', 'answers a page request', {
  DeviceID,
  PASID: uint(51, 32, 'PASID, where GN is 1'),
  GN,
  CompletionTag: uint(105, 96, 'page request group index'),
  Response: oneOf(111, 108, { 0: 'Success', 1: 'Invalid Request', 15: 'Response Failure' }, 'answer'),
})

export const INVALIDATE_IOMMU_ALL = command(OP_INVALIDATE_IOMMU_ALL, '2.4.8', 'drops everything that is cached', {})

export const INSERT_GUEST_EVENT = command(OP_INSERT_GUEST_EVENT, '2.4.9', 'puts an event into a guest event log', {
  GuestID: uint(47, 32, 'guest'),
})

export const RESET_VMMIO = command(OP_RESET_VMMIO, '2.4.10', 'resets the virtual registers of a guest', {
  GuestID: uint(15, 0, 'guest'),
  ALL: flag(27, 'all registers'),
  VCMD: flag(31, 'the virtual command buffer'),
})

/** All of them, by opcode. */
export const COMMANDS: ReadonlyMap<number, Command> = new Map(commands.map((entry) => [entry.opcode, entry]))

/** The opcode of a command. */
export function opcodeOf(words: Words, at = 0): number {
  return words[at + 1]! >>> 28
}

/** The PASID of INVALIDATE_IOTLB_PAGES, gathered from its three fields. */
export function iotlbPasid(words: Words, at = 0): number {
  return (getBits(words, 59, 56, at) << 16) | (getBits(words, 23, 16, at) << 8) | getBits(words, 55, 48, at)
}

/** Spreads a PASID over the three fields of INVALIDATE_IOTLB_PAGES. */
export function setIotlbPasid(words: Words, pasid: number, at = 0): void {
  setBits(words, 59, 56, pasid >>> 16, at)
  setBits(words, 23, 16, pasid >>> 8, at)
  setBits(words, 55, 48, pasid, at)
}
