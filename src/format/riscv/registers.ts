/** Memory-mapped registers. RISC-V IOMMU 1.0, "Memory-mapped register interface". */
import { addr, encode, flag, type Layout, layout, oneOf, uint, wordsToU64 } from '../../base/layout.ts'

export const CAPABILITIES = layout('capabilities', 64, {
  version: uint(7, 0, 'version of the specification: 0x10 is 1.0'),
  Sv32: flag(8, 'first stage: 32-bit virtual addresses'),
  Sv39: flag(9, 'first stage: 39-bit'),
  Sv48: flag(10, 'first stage: 48-bit'),
  Sv57: flag(11, 'first stage: 57-bit'),
  Svrsw60t59b: flag(14, 'PTE bits 60:59 are for software'),
  Svpbmt: flag(15, 'page-based memory types'),
  Sv32x4: flag(16, 'second stage: 34-bit guest physical addresses'),
  Sv39x4: flag(17, 'second stage: 41-bit'),
  Sv48x4: flag(18, 'second stage: 50-bit'),
  Sv57x4: flag(19, 'second stage: 59-bit'),
  AMO_MRIF: flag(21, 'atomic updates of memory-resident interrupt files'),
  MSI_FLAT: flag(22, 'MSI page tables; extended device contexts'),
  MSI_MRIF: flag(23, 'memory-resident interrupt files'),
  AMO_HWAD: flag(24, 'hardware updates of A and D'),
  ATS: flag(25, 'PCIe ATS and page requests'),
  T2GPA: flag(26, 'ATS can answer with guest physical addresses'),
  END: flag(27, 'both endiannesses'),
  IGS: oneOf(29, 28, { 0: 'MSI', 1: 'WSI', 2: 'BOTH' }, 'how interrupts are signalled'),
  HPM: flag(30, 'performance monitor'),
  DBG: flag(31, 'translation-request interface'),
  PAS: uint(37, 32, 'physical address size'),
  PD8: flag(38, 'process directory of one level'),
  PD17: flag(39, 'of two levels'),
  PD20: flag(40, 'of three levels'),
  QOSID: flag(41, 'QoS identifiers'),
  NL: flag(42, 'non-leaf invalidation'),
  S: flag(43, 'address range invalidation'),
  custom: uint(63, 56, 'custom'),
})

/** Everything that specification 1.0 has, 56-bit addresses, little-endian. */
export const FULL_CAPABILITIES = wordsToU64(
  encode(CAPABILITIES, {
    version: 0x10,
    Sv32: 1,
    Sv39: 1,
    Sv48: 1,
    Sv57: 1,
    Svrsw60t59b: 1,
    Svpbmt: 1,
    Sv32x4: 1,
    Sv39x4: 1,
    Sv48x4: 1,
    Sv57x4: 1,
    MSI_FLAT: 1,
    MSI_MRIF: 1,
    AMO_HWAD: 1,
    ATS: 1,
    T2GPA: 1,
    END: 1,
    IGS: 2,
    HPM: 1,
    DBG: 1,
    PAS: 56,
    PD8: 1,
    PD17: 1,
    PD20: 1,
    QOSID: 1,
    NL: 1,
    S: 1,
  }),
)[0]!

/** capabilities bits as masks of the low and high words. */
export const CAP_SVRSW60T59B = 1 << 14
export const CAP_SVPBMT = 1 << 15
export const CAP_MSI_FLAT = 1 << 22
export const CAP_MSI_MRIF = 1 << 23
export const CAP_AMO_HWAD = 1 << 24
export const CAP_ATS = 1 << 25
export const CAP_T2GPA = 1 << 26
export const CAP_END = 1 << 27
export const CAP_HPM = 1 << 30
export const CAP_DBG = 1 << 31
export const CAP_HI_PD8 = 1 << 6
export const CAP_HI_PD17 = 1 << 7
export const CAP_HI_PD20 = 1 << 8
export const CAP_HI_QOSID = 1 << 9
export const CAP_HI_NL = 1 << 10
export const CAP_HI_S = 1 << 11
/** capabilities.IGS. */
export const IGS_MSI = 0
export const IGS_WSI = 1
export const IGS_BOTH = 2

export const FCTL = layout('fctl', 32, {
  BE: flag(0, 'structures are big-endian'),
  WSI: flag(1, 'interrupts are wires, not messages'),
  GXL: flag(2, '32-bit guest physical addressing'),
  custom: uint(31, 16, 'custom'),
})
export const FCTL_BE = 1
export const FCTL_WSI = 2
export const FCTL_GXL = 4

export const DDTP = layout('ddtp', 64, {
  iommu_mode: oneOf(3, 0, { 0: 'Off', 1: 'Bare', 2: '1LVL', 3: '2LVL', 4: '3LVL' }, 'device directory'),
  busy: flag(4, 'a change is under way'),
  PPN: addr(53, 10, 'root of the device directory', 12),
})
export const DDTP_OFF = 0
export const DDTP_BARE = 1
export const DDTP_1LVL = 2
export const DDTP_2LVL = 3
export const DDTP_3LVL = 4

const queueBase = (name: string, what: string) =>
  layout(name, 64, {
    'LOG2SZ-1': uint(4, 0, 'log2 of the number of entries, minus 1'),
    PPN: addr(53, 10, what, 12),
  })
export const CQB = queueBase('cqb', 'command queue')
export const FQB = queueBase('fqb', 'fault queue')
export const PQB = queueBase('pqb', 'page-request queue')

const index = (name: string) => layout(name, 32, { index: uint(31, 0, 'place in the queue') })

export const CQCSR = layout('cqcsr', 32, {
  cqen: flag(0, 'enable'),
  cie: flag(1, 'interrupt enable'),
  cqmf: flag(8, 'memory fault'),
  cmd_to: flag(9, 'a command timed out'),
  cmd_ill: flag(10, 'illegal or unsupported command'),
  fence_w_ip: flag(11, 'IOFENCE.C completed'),
  cqon: flag(16, 'active'),
  busy: flag(17, 'a change is under way'),
})
export const FQCSR = layout('fqcsr', 32, {
  fqen: flag(0, 'enable'),
  fie: flag(1, 'interrupt enable'),
  fqmf: flag(8, 'memory fault'),
  fqof: flag(9, 'overflow'),
  fqon: flag(16, 'active'),
  busy: flag(17, 'a change is under way'),
})
export const PQCSR = layout('pqcsr', 32, {
  pqen: flag(0, 'enable'),
  pie: flag(1, 'interrupt enable'),
  pqmf: flag(8, 'memory fault'),
  pqof: flag(9, 'overflow'),
  pqon: flag(16, 'active'),
  busy: flag(17, 'a change is under way'),
})
/** Bits that the three queue CSRs have in the same place. */
export const CSR_ENABLE = 1 << 0
export const CSR_INTERRUPT = 1 << 1
export const CSR_MEMORY_FAULT = 1 << 8
/** fqof, pqof. */
export const CSR_OVERFLOW = 1 << 9
export const CSR_ON = 1 << 16
export const CQCSR_TIMEOUT = 1 << 9
export const CQCSR_ILLEGAL = 1 << 10
export const CQCSR_FENCE = 1 << 11

export const IPSR = layout('ipsr', 32, {
  cip: flag(0, 'command queue'),
  fip: flag(1, 'fault queue'),
  pmip: flag(2, 'performance monitor'),
  pip: flag(3, 'page-request queue'),
})
/** Interrupt sources: bit numbers of ipsr, and places of their four bits in icvec. */
export const SOURCE_COMMAND = 0
export const SOURCE_FAULT = 1
export const SOURCE_MONITOR = 2
export const SOURCE_PAGE = 3

export const IOHPMCYCLES = layout('iohpmcycles', 64, { counter: uint(62, 0, 'cycles'), OF: flag(63, 'overflow') })
export const IOHPMEVT = layout('iohpmevt', 64, {
  eventID: oneOf(
    14,
    0,
    {
      0: 'none',
      1: 'untranslated requests',
      2: 'translated requests',
      3: 'ATS translation requests',
      4: 'TLB misses',
      5: 'device directory walks',
      6: 'process directory walks',
      7: 'first-stage page table walks',
      8: 'second-stage page table walks',
    },
    'what is counted',
  ),
  DMASK: flag(15, 'DID_GSCID matches partially'),
  PID_PSCID: uint(35, 16, 'process_id, or PSCID'),
  DID_GSCID: uint(59, 36, 'device_id, or GSCID'),
  PV_PSCV: flag(60, 'filter by PID_PSCID'),
  DV_GSCV: flag(61, 'filter by DID_GSCID'),
  IDT: flag(62, 'IDs are GSCID and PSCID'),
  OF: flag(63, 'overflow'),
})

export const TR_REQ_IOVA = layout('tr_req_iova', 64, { vpn: addr(63, 12, 'page', 12) })
export const TR_REQ_CTL = layout('tr_req_ctl', 64, {
  'Go/Busy': flag(0, 'translate'),
  Priv: flag(1, 'privileged'),
  Exe: flag(2, 'execute'),
  NW: flag(3, 'read only'),
  PID: uint(31, 12, 'process_id'),
  PV: flag(32, 'PID is valid'),
  custom: uint(39, 36, 'custom'),
  DID: uint(63, 40, 'device_id'),
})
export const TR_RESPONSE = layout('tr_response', 64, {
  fault: flag(0, 'the translation faulted'),
  PBMT: oneOf(8, 7, { 0: 'PMA', 1: 'NC', 2: 'IO' }, 'memory type'),
  S: flag(9, 'larger than 4 KiB, NAPOT-coded in PPN'),
  PPN: addr(53, 10, 'page', 12),
  custom: uint(63, 60, 'custom'),
})

export const IOMMU_QOSID = layout('iommu_qosid', 32, {
  RCID: uint(11, 0, 'resource control ID'),
  MCID: uint(27, 16, 'monitoring counter ID'),
})
export const ICVEC = layout('icvec', 64, {
  civ: uint(3, 0, 'vector of the command queue'),
  fiv: uint(7, 4, 'of the fault queue'),
  pmiv: uint(11, 8, 'of the performance monitor'),
  piv: uint(15, 12, 'of the page-request queue'),
  custom: uint(63, 32, 'custom'),
})
export const MSI_ADDR = layout('msi_addr', 64, { ADDR: addr(55, 2, 'address of the message', 2) })
export const MSI_DATA = layout('msi_data', 32, { data: uint(31, 0, 'data of the message') })
export const MSI_VEC_CTL = layout('msi_vec_ctl', 32, { M: flag(0, 'masked') })

/** Offsets of the registers that code names. */
export const REG = {
  capabilities: 0,
  fctl: 8,
  ddtp: 16,
  cqb: 24,
  cqh: 32,
  cqt: 36,
  fqb: 40,
  fqh: 48,
  fqt: 52,
  pqb: 56,
  pqh: 64,
  pqt: 68,
  cqcsr: 72,
  fqcsr: 76,
  pqcsr: 80,
  ipsr: 84,
  iocountovf: 88,
  iocountinh: 92,
  iohpmcycles: 96,
  iohpmctr1: 104,
  iohpmevt1: 352,
  tr_req_iova: 600,
  tr_req_ctl: 608,
  tr_response: 616,
  iommu_qosid: 624,
  icvec: 760,
  msi_cfg_tbl: 768,
} as const

/** Bytes of registers; above it all is reserved. */
export const REGISTER_BYTES = 1024

export interface RegisterLayout {
  readonly name: string
  readonly offset: number
  readonly layout: Layout
}

const counters = layout('iocount', 32, { CY: flag(0, 'iohpmcycles'), HPM: uint(31, 1, 'iohpmctr1 to 31') })
const counter = layout('iohpmctr', 64, { counter: uint(63, 0, 'events') })

/** Every register, by offset. */
export const REGISTERS: readonly RegisterLayout[] = [
  { name: 'capabilities', offset: REG.capabilities, layout: CAPABILITIES },
  { name: 'fctl', offset: REG.fctl, layout: FCTL },
  { name: 'ddtp', offset: REG.ddtp, layout: DDTP },
  { name: 'cqb', offset: REG.cqb, layout: CQB },
  { name: 'cqh', offset: REG.cqh, layout: index('cqh') },
  { name: 'cqt', offset: REG.cqt, layout: index('cqt') },
  { name: 'fqb', offset: REG.fqb, layout: FQB },
  { name: 'fqh', offset: REG.fqh, layout: index('fqh') },
  { name: 'fqt', offset: REG.fqt, layout: index('fqt') },
  { name: 'pqb', offset: REG.pqb, layout: PQB },
  { name: 'pqh', offset: REG.pqh, layout: index('pqh') },
  { name: 'pqt', offset: REG.pqt, layout: index('pqt') },
  { name: 'cqcsr', offset: REG.cqcsr, layout: CQCSR },
  { name: 'fqcsr', offset: REG.fqcsr, layout: FQCSR },
  { name: 'pqcsr', offset: REG.pqcsr, layout: PQCSR },
  { name: 'ipsr', offset: REG.ipsr, layout: IPSR },
  { name: 'iocountovf', offset: REG.iocountovf, layout: counters },
  { name: 'iocountinh', offset: REG.iocountinh, layout: counters },
  { name: 'iohpmcycles', offset: REG.iohpmcycles, layout: IOHPMCYCLES },
  ...Array.from({ length: 31 }, (_, at) => ({ name: `iohpmctr${at + 1}`, offset: REG.iohpmctr1 + at * 8, layout: counter })),
  ...Array.from({ length: 31 }, (_, at) => ({ name: `iohpmevt${at + 1}`, offset: REG.iohpmevt1 + at * 8, layout: IOHPMEVT })),
  { name: 'tr_req_iova', offset: REG.tr_req_iova, layout: TR_REQ_IOVA },
  { name: 'tr_req_ctl', offset: REG.tr_req_ctl, layout: TR_REQ_CTL },
  { name: 'tr_response', offset: REG.tr_response, layout: TR_RESPONSE },
  { name: 'iommu_qosid', offset: REG.iommu_qosid, layout: IOMMU_QOSID },
  { name: 'icvec', offset: REG.icvec, layout: ICVEC },
  ...Array.from({ length: 16 }, (_, at) => [
    { name: `msi_addr_${at}`, offset: REG.msi_cfg_tbl + at * 16, layout: MSI_ADDR },
    { name: `msi_data_${at}`, offset: REG.msi_cfg_tbl + at * 16 + 8, layout: MSI_DATA },
    { name: `msi_vec_ctl_${at}`, offset: REG.msi_cfg_tbl + at * 16 + 12, layout: MSI_VEC_CTL },
  ]).flat(),
]
