/** Registers of pages 0 and 1 that software of the non-secure state uses. Arm IHI 0070, 6.2 and 6.3. */
import { addr, type Fields, flag, type Layout, layout, oneOf, uint } from '../../base/layout.ts'
import { ADDRESS_SIZES, INSTCFG, MEM_ATTR, PRIVCFG, SHAREABILITY, SHCFG } from './ste.ts'

export interface Register {
  /** Without the manual's prefix `SMMU_`. */
  readonly name: string
  /** From the start of page 0; page 1 starts at 0x10000. */
  readonly offset: number
  readonly bytes: 4 | 8
  readonly access: 'RO' | 'RW'
  readonly section: string
  readonly layout: Layout
}

export const PAGE_1 = 0x10000

const registers: Register[] = []

function register<const F extends Fields>(
  name: string,
  offset: number,
  bytes: 4 | 8,
  access: 'RO' | 'RW',
  section: string,
  fields: F,
): Layout<F> {
  const declared = layout(name, bytes * 8, fields)
  registers.push({ name, offset, bytes, access, section, layout: declared })
  return declared
}

export const IDR0 = register('IDR0', 0x0, 4, 'RO', '6.3.1', {
  S2P: flag(0, 'stage 2 supported'),
  S1P: flag(1, 'stage 1 supported'),
  TTF: oneOf(3, 2, { 1: 'AArch32', 2: 'AArch64', 3: 'AArch32 and AArch64' }, 'table formats'),
  COHACC: flag(4, 'coherent access to tables and queues'),
  BTM: flag(5, 'broadcast TLB maintenance'),
  HTTU: oneOf(
    7,
    6,
    { 0: 'none', 1: 'access flag', 2: 'access flag and dirty state', 3: 'also in table entries' },
    'hardware table updates',
  ),
  DORMHINT: flag(8, 'dormant hint'),
  Hyp: flag(9, 'EL2 contexts'),
  ATS: flag(10, 'PCIe ATS'),
  NS1ATS: flag(11, 'no split-stage ATS'),
  ASID16: flag(12, '16-bit ASIDs'),
  MSI: flag(13, 'message signalled interrupts'),
  SEV: flag(14, 'wake-up events'),
  ATOS: flag(15, 'address translation registers'),
  PRI: flag(16, 'PCIe page requests'),
  VMW: flag(17, 'VMID wildcards'),
  VMID16: flag(18, '16-bit VMIDs'),
  CD2L: flag(19, 'two-level CD tables'),
  VATOS: flag(20, 'virtual address translation registers'),
  TTENDIAN: oneOf(22, 21, { 0: 'mixed', 2: 'little', 3: 'big' }, 'endianness of tables'),
  ATSRECERR: flag(23, 'configuration errors of ATS can be recorded'),
  STALL_MODEL: oneOf(25, 24, { 0: 'stall and terminate', 1: 'terminate only', 2: 'stall forced' }, 'stall model'),
  TERM_MODEL: oneOf(26, 26, { 0: 'abort or RAZ/WI', 1: 'always abort' }, 'how faults terminate'),
  ST_LEVEL: oneOf(28, 27, { 0: 'linear', 1: 'linear and two-level' }, 'stream table forms'),
  RME_IMPL: flag(30, 'realm management extension'),
})

export const IDR1 = register('IDR1', 0x4, 4, 'RO', '6.3.2', {
  SIDSIZE: uint(5, 0, 'StreamID bits'),
  SSIDSIZE: uint(10, 6, 'SubstreamID bits'),
  PRIQS: uint(15, 11, 'log2 of the largest PRI queue'),
  EVENTQS: uint(20, 16, 'log2 of the largest event queue'),
  CMDQS: uint(25, 21, 'log2 of the largest command queue'),
  ATTR_PERMS_OVR: flag(26, 'incoming permission attributes can be replaced'),
  ATTR_TYPES_OVR: flag(27, 'incoming memory types can be replaced'),
  REL: flag(28, 'preset bases are relative'),
  QUEUES_PRESET: flag(29, 'queue bases are fixed'),
  TABLES_PRESET: flag(30, 'table bases are fixed'),
  ECMDQ: flag(31, 'enhanced command queues'),
})

export const IDR2 = register('IDR2', 0x8, 4, 'RO', '6.3.3', { BA_VATOS: uint(9, 0, 'page of the VATOS registers') })

export const IDR3 = register('IDR3', 0xc, 4, 'RO', '6.3.4', {
  HAD: flag(2, 'hierarchical attributes can be disabled'),
  PBHA: flag(3, 'page-based hardware attributes'),
  XNX: flag(4, 'execute control by privilege at stage 2'),
  PPS: flag(5, 'automatic page responses carry the PASID'),
  MPAM: flag(7, 'memory partitioning'),
  FWB: flag(8, 'stage 2 can force write-back'),
  STT: flag(9, 'small tables'),
  RIL: flag(10, 'range invalidation and level hint'),
  BBML: uint(12, 11, 'break-before-make level'),
  E0PD: flag(13, 'E0PD'),
  PTWNNC: flag(14, 'table walks of Device memory as Normal non-cacheable'),
  DPT: flag(15, 'device permission table'),
  PASIDTT: flag(16, 'PASID on translated transactions'),
  EPAN: flag(17, 'EPAN'),
  S1PI: flag(18, 'stage 1 permission indirection'),
  S2PI: flag(19, 'stage 2 permission indirection'),
  S2PO: flag(20, 'stage 2 permission overlay'),
  THE: flag(21, 'translation hardening'),
  MTEPERM: flag(22, 'tag access permission'),
  AIE: flag(23, 'memory attribute index extension'),
})

export const IDR4 = register('IDR4', 0x10, 4, 'RO', '6.3.5', { ImpDef: uint(31, 0, 'implementation defined') })

export const IDR5 = register('IDR5', 0x14, 4, 'RO', '6.3.6', {
  OAS: oneOf(2, 0, ADDRESS_SIZES, 'output address size'),
  GRAN4K: flag(4, '4 KiB granule'),
  GRAN16K: flag(5, '16 KiB granule'),
  GRAN64K: flag(6, '64 KiB granule'),
  DS: flag(7, '52-bit addresses with 4 and 16 KiB granules'),
  D128: flag(8, 'VMSAv9-128 tables'),
  VAX: oneOf(11, 10, { 0: '48 bits', 1: '52 bits', 2: '56 bits' }, 'virtual address size'),
  STALL_MAX: uint(31, 16, 'transactions that can stall'),
})

export const IIDR = register('IIDR', 0x18, 4, 'RO', '6.3.7', {
  Implementer: uint(11, 0, 'implementer, JEP106'),
  Revision: uint(15, 12, 'revision'),
  Variant: uint(19, 16, 'variant'),
  ProductID: uint(31, 20, 'product'),
})

export const AIDR = register('AIDR', 0x1c, 4, 'RO', '6.3.8', {
  ArchMinorRev: uint(3, 0, 'SMMUv3.x'),
  ArchMajorRev: uint(7, 4, '0: SMMUv3'),
})

const cr0 = {
  SMMUEN: flag(0, 'translation enabled'),
  PRIQEN: flag(1, 'PRI queue enabled'),
  EVENTQEN: flag(2, 'event queue enabled'),
  CMDQEN: flag(3, 'command queue enabled'),
  ATSCHK: flag(4, 'translated transactions are checked'),
  VMW: uint(8, 6, 'VMID wildcard'),
  DPT_WALK_EN: flag(10, 'device permission table walks enabled'),
}
export const CR0 = register('CR0', 0x20, 4, 'RW', '6.3.9', cr0)
export const CR0ACK = register('CR0ACK', 0x24, 4, 'RO', '6.3.10', cr0)

/** Not encoded as the cacheability of table walks. */
const crCacheability = { 0: 'non-cacheable', 1: 'write-back', 2: 'write-through' }
export const CR1 = register('CR1', 0x28, 4, 'RW', '6.3.11', {
  QUEUE_IC: oneOf(1, 0, crCacheability, 'queues, inner cacheability'),
  QUEUE_OC: oneOf(3, 2, crCacheability, 'queues, outer cacheability'),
  QUEUE_SH: oneOf(5, 4, SHAREABILITY, 'queues, shareability'),
  TABLE_IC: oneOf(7, 6, crCacheability, 'tables, inner cacheability'),
  TABLE_OC: oneOf(9, 8, crCacheability, 'tables, outer cacheability'),
  TABLE_SH: oneOf(11, 10, SHAREABILITY, 'tables, shareability'),
})

export const CR2 = register('CR2', 0x2c, 4, 'RW', '6.3.12', {
  E2H: flag(0, 'EL2 streams are EL2-E2H'),
  RECINVSID: flag(1, 'C_BAD_STREAMID is recorded'),
  PTM: flag(2, 'no part in broadcast TLB maintenance'),
  REC_CFG_ATS: flag(3, 'configuration errors of ATS are recorded'),
})

export const STATUSR = register('STATUSR', 0x40, 4, 'RO', '6.3.13', { DORMANT: flag(0, 'dormant') })

export const GBPA = register('GBPA', 0x44, 4, 'RW', '6.3.14', {
  MemAttr: oneOf(3, 0, MEM_ATTR, 'memory type'),
  MTCFG: oneOf(4, 4, { 0: 'as incoming', 1: 'from MemAttr' }, 'memory type'),
  ALLOCCFG: uint(11, 8, 'allocation hints: 0b0xxx as incoming, 0b1RWT'),
  SHCFG: oneOf(13, 12, SHCFG, 'shareability'),
  PRIVCFG: oneOf(17, 16, PRIVCFG, 'privilege'),
  INSTCFG: oneOf(19, 18, INSTCFG, 'instruction or data'),
  ABORT: flag(20, 'abort (else bypass) while SMMUEN is 0'),
  Update: flag(31, 'update in progress'),
})

const irqCtrl = {
  GERROR_IRQEN: flag(0, 'global error interrupt enabled'),
  PRIQ_IRQEN: flag(1, 'PRI queue interrupt enabled'),
  EVENTQ_IRQEN: flag(2, 'event queue interrupt enabled'),
}
export const IRQ_CTRL = register('IRQ_CTRL', 0x50, 4, 'RW', '6.3.16', irqCtrl)
export const IRQ_CTRLACK = register('IRQ_CTRLACK', 0x54, 4, 'RO', '6.3.18', irqCtrl)

/** An error is active while its bits in GERROR and GERRORN differ. */
const gerror = {
  CMDQ_ERR: flag(0, 'command error: see CMDQ_CONS.ERR'),
  EVENTQ_ABT_ERR: flag(2, 'event queue write aborted'),
  PRIQ_ABT_ERR: flag(3, 'PRI queue write aborted'),
  MSI_CMDQ_ABT_ERR: flag(4, 'MSI of CMD_SYNC aborted'),
  MSI_EVENTQ_ABT_ERR: flag(5, 'MSI of the event queue aborted'),
  MSI_PRIQ_ABT_ERR: flag(6, 'MSI of the PRI queue aborted'),
  MSI_GERROR_ABT_ERR: flag(7, 'MSI of GERROR aborted'),
  SFM_ERR: flag(8, 'service failure mode'),
  CMDQP_ERR: flag(9, 'enhanced command queue error'),
  DPT_ERR: flag(10, 'device permission table error'),
}
export const GERROR = register('GERROR', 0x60, 4, 'RO', '6.3.19', gerror)
export const GERRORN = register('GERRORN', 0x64, 4, 'RW', '6.3.20', gerror)

const irqAddress = { ADDR: addr(55, 2, 'address of the MSI; 0: the interrupt line') }
const irqData = { DATA: uint(31, 0, 'data of the MSI') }
const irqAttributes = {
  MemAttr: oneOf(3, 0, MEM_ATTR, 'memory type of the MSI'),
  SH: oneOf(5, 4, SHAREABILITY, 'shareability of the MSI'),
}
export const GERROR_IRQ_CFG0 = register('GERROR_IRQ_CFG0', 0x68, 8, 'RW', '6.3.21', irqAddress)
export const GERROR_IRQ_CFG1 = register('GERROR_IRQ_CFG1', 0x70, 4, 'RW', '6.3.22', irqData)
export const GERROR_IRQ_CFG2 = register('GERROR_IRQ_CFG2', 0x74, 4, 'RW', '6.3.23', irqAttributes)

export const STRTAB_BASE = register('STRTAB_BASE', 0x80, 8, 'RW', '6.3.24', {
  ADDR: addr(55, 6, 'stream table'),
  RA: flag(62, 'read-allocate hint'),
})

/** STRTAB_BASE_CFG.FMT. */
export const STRTAB_LINEAR = 0
export const STRTAB_2LVL = 1
export const STRTAB_BASE_CFG = register('STRTAB_BASE_CFG', 0x88, 4, 'RW', '6.3.25', {
  LOG2SIZE: uint(5, 0, 'log2 of the number of streams'),
  SPLIT: uint(10, 6, 'StreamID bits that index the second level: 6, 8 or 10'),
  FMT: oneOf(17, 16, { 0: 'linear', 1: '2 levels' }, 'form of the stream table'),
})

export const CMDQ_BASE = register('CMDQ_BASE', 0x90, 8, 'RW', '6.3.26', {
  LOG2SIZE: uint(4, 0, 'log2 of the number of entries'),
  ADDR: addr(55, 5, 'command queue'),
  RA: flag(62, 'read-allocate hint'),
})
export const CMDQ_PROD = register('CMDQ_PROD', 0x98, 4, 'RW', '6.3.27', { WR: uint(19, 0, 'write index and wrap bit') })
export const CMDQ_CONS = register('CMDQ_CONS', 0x9c, 4, 'RW', '6.3.28', {
  RD: uint(19, 0, 'read index and wrap bit'),
  ERR: oneOf(30, 24, { 0: 'CERROR_NONE', 1: 'CERROR_ILL', 2: 'CERROR_ABT', 3: 'CERROR_ATC_INV_SYNC' }, 'command error'),
})

export const EVENTQ_BASE = register('EVENTQ_BASE', 0xa0, 8, 'RW', '6.3.29', {
  LOG2SIZE: uint(4, 0, 'log2 of the number of entries'),
  ADDR: addr(55, 5, 'event queue'),
  WA: flag(62, 'write-allocate hint'),
})
export const EVENTQ_IRQ_CFG0 = register('EVENTQ_IRQ_CFG0', 0xb0, 8, 'RW', '6.3.30', irqAddress)
export const EVENTQ_IRQ_CFG1 = register('EVENTQ_IRQ_CFG1', 0xb8, 4, 'RW', '6.3.31', irqData)
export const EVENTQ_IRQ_CFG2 = register('EVENTQ_IRQ_CFG2', 0xbc, 4, 'RW', '6.3.32', irqAttributes)

export const PRIQ_BASE = register('PRIQ_BASE', 0xc0, 8, 'RW', '6.3.33', {
  LOG2SIZE: uint(4, 0, 'log2 of the number of entries'),
  ADDR: addr(55, 5, 'PRI queue'),
  WA: flag(62, 'write-allocate hint'),
})
export const PRIQ_IRQ_CFG0 = register('PRIQ_IRQ_CFG0', 0xd0, 8, 'RW', '6.3.34', irqAddress)
export const PRIQ_IRQ_CFG1 = register('PRIQ_IRQ_CFG1', 0xd8, 4, 'RW', '6.3.35', irqData)
export const PRIQ_IRQ_CFG2 = register('PRIQ_IRQ_CFG2', 0xdc, 4, 'RW', '6.3.36', {
  ...irqAttributes,
  LO: oneOf(31, 31, { 0: 'queue not empty', 1: 'Last only' }, 'when to interrupt'),
})

const prod = { WR: uint(19, 0, 'write index and wrap bit'), OVFLG: flag(31, 'toggles on overflow') }
const cons = { RD: uint(19, 0, 'read index and wrap bit'), OVACKFLG: flag(31, 'overflow acknowledged when equal to OVFLG') }
export const EVENTQ_PROD = register('EVENTQ_PROD', PAGE_1 + 0xa8, 4, 'RW', '6.3.95', prod)
export const EVENTQ_CONS = register('EVENTQ_CONS', PAGE_1 + 0xac, 4, 'RW', '6.3.96', cons)
export const PRIQ_PROD = register('PRIQ_PROD', PAGE_1 + 0xc8, 4, 'RW', '6.3.97', prod)
export const PRIQ_CONS = register('PRIQ_CONS', PAGE_1 + 0xcc, 4, 'RW', '6.3.98', cons)

/** All, by offset. */
export const REGISTERS: readonly Register[] = registers.sort((a, b) => a.offset - b.offset)

const byName = new Map(registers.map((entry) => [entry.name, entry]))

/** The register of this name, without `SMMU_`. @throws RangeError when there is none. */
export function registerNamed(name: string): Register {
  const found = byName.get(name)
  if (found === undefined) throw new RangeError(`no SMMUv3 register ${name}; there are ${[...byName.keys()].join(', ')}`)
  return found
}
