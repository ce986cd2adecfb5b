/** Memory-mapped registers. Intel VT-d 4.1, section 11.4. */
import { addr, encode, flag, getBits, type Layout, layout, oneOf, uint, wordsToU64 } from '../../base/layout.ts'
import { hi32, lo32 } from '../../base/u64.ts'
import { FAULT_RECORD, FAULT_RECORD_BYTES } from './records.ts'

export const VER = layout('VER', 32, {
  MIN: uint(3, 0, 'minor version'),
  MAX: uint(7, 4, 'major version'),
})

export const CAP = layout('CAP', 64, {
  ND: uint(2, 0, 'domain ids have 4 + 2 × ND bits'),
  AFL: flag(3, 'advanced fault logging'),
  RWBF: flag(4, 'write buffers must be flushed by software'),
  PLMR: flag(5, 'protected low memory region'),
  PHMR: flag(6, 'protected high memory region'),
  CM: flag(7, 'caching mode: entries that are not present may be cached'),
  SAGAW: uint(12, 8, 'widths of second stages: bit 1 39 (3 levels), bit 2 48 (4 levels), bit 3 57 (5 levels)'),
  MGAW: uint(21, 16, 'maximum guest address width, minus 1'),
  ZLR: flag(22, 'zero-length reads of write-only pages'),
  FRO: uint(33, 24, 'offset of the fault recording registers, in 16 bytes'),
  SSLPS: uint(37, 34, 'large pages of the second stage: bit 0 2 MiB, bit 1 1 GiB'),
  PSI: flag(39, 'page-selective invalidation'),
  NFR: uint(47, 40, 'fault recording registers, minus 1'),
  MAMV: uint(53, 48, 'largest address mask of an invalidation'),
  DWD: flag(54, 'writes can be drained'),
  DRD: flag(55, 'reads can be drained'),
  FS1GP: flag(56, '1 GiB pages of the first stage'),
  PI: flag(59, 'posted interrupts'),
  FS5LP: flag(60, '5-level first stage'),
  ECMDS: flag(61, 'enhanced commands'),
  ESIRTPS: flag(62, 'setting IRTA invalidates the interrupt entry cache'),
  ESRTPS: flag(63, 'setting RTADDR invalidates all caches'),
})

export const ECAP = layout('ECAP', 64, {
  C: flag(0, 'page walks are coherent (legacy mode)'),
  QI: flag(1, 'invalidation queue'),
  DT: flag(2, 'device-TLBs'),
  IR: flag(3, 'interrupt remapping'),
  EIM: flag(4, 'extended interrupt mode: 32-bit APIC ids'),
  PT: flag(6, 'pass-through'),
  SC: flag(7, 'snoop control'),
  IRO: uint(17, 8, 'offset of IVA and IOTLB, in 16 bytes'),
  MHMV: uint(23, 20, 'largest index mask of an interrupt entry invalidation'),
  MTS: flag(25, 'memory types'),
  NEST: flag(26, 'nested translation'),
  PRS: flag(29, 'page requests'),
  ERS: flag(30, 'execute requests (reserved since revision 4)'),
  SRS: flag(31, 'privileged requests'),
  NWFS: flag(33, 'the no-write flag of translation requests counts'),
  EAFS: flag(34, 'extended accessed flag'),
  PSS: uint(39, 35, 'PASIDs have PSS + 1 bits'),
  PASID: flag(40, 'requests with PASID'),
  DIT: flag(41, 'device-TLB invalidations are throttled by hardware'),
  PDS: flag(42, 'page requests can be drained'),
  SMTS: flag(43, 'scalable mode'),
  VCS: flag(44, 'virtual commands'),
  SSADS: flag(45, 'A and D in the second stage'),
  SSTS: flag(46, 'second stage in scalable mode'),
  FSTS: flag(47, 'first stage in scalable mode'),
  SMPWCS: flag(48, 'page walks are coherent, where PWSNP asks for it (scalable mode)'),
  RPS: flag(49, 'RID_PASID other than 0'),
  PMS: flag(51, 'performance monitor'),
  ADMS: flag(52, 'abort-DMA mode'),
  RPRIVS: flag(53, 'RID_PRIV'),
})

/** Everything that there is, obsolete things too: for tools that know no better. */
export const FULL_CAP = wordsToU64(
  encode(CAP, {
    ...{ ND: 6, AFL: 1, PLMR: 1, PHMR: 1, SAGAW: 0b1110, MGAW: 56, ZLR: 1, FRO: 0x22, SSLPS: 3, PSI: 1, NFR: 7, MAMV: 18 },
    ...{ DWD: 1, DRD: 1, FS1GP: 1, PI: 1, FS5LP: 1, ESIRTPS: 1, ESRTPS: 1 },
  }),
)[0]!
export const FULL_ECAP = wordsToU64(
  encode(ECAP, {
    ...{ C: 1, QI: 1, DT: 1, IR: 1, EIM: 1, PT: 1, SC: 1, IRO: 0xf, MHMV: 15, MTS: 1, NEST: 1, PRS: 1, ERS: 1, SRS: 1, NWFS: 1 },
    ...{ EAFS: 1, PSS: 19, PASID: 1, DIT: 1, PDS: 1, SMTS: 1, SSADS: 1, SSTS: 1, FSTS: 1, SMPWCS: 1, RPS: 1, ADMS: 1, RPRIVS: 1 },
  }),
)[0]!

const command = (status: '' | 'S', what: string, name: string) =>
  layout(name, 32, {
    [`CFI${status}`]: flag(23, 'compatibility format interrupts'),
    [`${status === '' ? 'SIRTP' : 'IRTPS'}`]: flag(24, `interrupt remapping table pointer ${what}`),
    [`IRE${status}`]: flag(25, 'interrupt remapping'),
    [`QIE${status}`]: flag(26, 'invalidation queue'),
    [`WBF${status}`]: flag(27, 'write buffer flush'),
    [`${status === '' ? 'EAFL' : 'AFLS'}`]: flag(28, 'advanced fault logging'),
    [`${status === '' ? 'SFL' : 'FLS'}`]: flag(29, `fault log pointer ${what}`),
    [`${status === '' ? 'SRTP' : 'RTPS'}`]: flag(30, `root table pointer ${what}`),
    [`${status === '' ? 'TE' : 'TES'}`]: flag(31, 'translation'),
  })
export const GCMD = command('', 'is to be taken over', 'GCMD')
export const GSTS = command('S', 'has been taken over', 'GSTS')
/** Bits of GCMD and, with the same meaning, of GSTS. */
export const GS_CFI = 1 << 23
export const GS_IRTP = 1 << 24
export const GS_IRE = 1 << 25
export const GS_QIE = 1 << 26
export const GS_WBF = 1 << 27
export const GS_RTP = 1 << 30
export const GS_TE = 1 << 31

export const RTADDR = layout('RTADDR', 64, {
  TTM: oneOf(11, 10, { 0: 'legacy', 1: 'scalable', 3: 'abort-DMA' }, 'translation table mode'),
  RTA: addr(63, 12, 'root table'),
})
export const TTM_LEGACY = 0
export const TTM_SCALABLE = 1
export const TTM_ABORT_DMA = 3

export const CCMD = layout('CCMD', 64, {
  DID: uint(15, 0, 'domain id'),
  SID: uint(31, 16, 'source-id'),
  FM: uint(33, 32, 'function mask'),
  CAIG: oneOf(60, 59, { 1: 'global', 2: 'domain', 3: 'device' }, 'granularity of what was done'),
  CIRG: oneOf(62, 61, { 1: 'global', 2: 'domain', 3: 'device' }, 'granularity that is asked for'),
  ICC: flag(63, 'invalidate; 0 when done'),
})

export const FSTS = layout('FSTS', 32, {
  PFO: flag(0, 'fault recording registers overflowed'),
  PPF: flag(1, 'a fault recording register is in use'),
  AFO: flag(2, 'the advanced fault log overflowed'),
  APF: flag(3, 'the advanced fault log has faults'),
  IQE: flag(4, 'invalidation queue error'),
  ICE: flag(5, 'invalidation completion error'),
  ITE: flag(6, 'invalidation time-out'),
  FRI: uint(15, 8, 'index of the first pending fault, where PPF is 1'),
})
export const FSTS_PFO = 1 << 0
export const FSTS_PPF = 1 << 1
export const FSTS_AFO = 1 << 2
export const FSTS_APF = 1 << 3
export const FSTS_IQE = 1 << 4
export const FSTS_ICE = 1 << 5
export const FSTS_ITE = 1 << 6

const eventControl = (name: string) => layout(name, 32, { IP: flag(30, 'interrupt pending'), IM: flag(31, 'interrupt masked') })
const eventData = (name: string) => layout(name, 32, { IMD: uint(15, 0, 'data of the message') })
const eventAddress = (name: string) => layout(name, 32, { MA: addr(31, 2, 'address of the message', 2) })
const eventUpper = (name: string) => layout(name, 32, { MUA: uint(31, 0, 'address of the message, bits 63:32') })
/** FECTL, IECTL, PECTL. */
export const EVENT_IP = 1 << 30
export const EVENT_IM = 1 << 31

export const AFLOG = layout('AFLOG', 64, {
  FLS: uint(11, 9, 'size of the fault log: 2^FLS × 4 KiB'),
  FLA: addr(63, 12, 'fault log'),
})
export const PMEN = layout('PMEN', 32, {
  PRS: flag(0, 'protected memory regions are enabled'),
  EPM: flag(31, 'enable protected memory regions'),
})
export const PMEN_PRS = 1 << 0
export const PMEN_EPM = 1 << 31
const region32 = (name: string, what: string) => layout(name, 32, { [name]: uint(31, 0, what) })
const region64 = (name: string, what: string) => layout(name, 64, { [name]: uint(63, 0, what) })

const queuePlace = (name: string, field: string, lsb: number, what: string) =>
  layout(name, 64, { [field]: addr(18, lsb, what, lsb) })
export const IQA = layout('IQA', 64, {
  QS: uint(2, 0, 'size: 2^QS × 4 KiB'),
  DW: oneOf(11, 11, { 0: '128-bit', 1: '256-bit' }, 'width of descriptors'),
  IQA: addr(63, 12, 'invalidation queue'),
})
export const ICS = layout('ICS', 32, { IWC: flag(0, 'a wait descriptor with IF completed') })
export const ICS_IWC = 1 << 0
export const IQERCD = layout('IQERCD', 64, {
  IQEI: oneOf(
    3,
    0,
    {
      0: 'not available',
      1: 'invalid tail pointer',
      2: 'descriptor cannot be fetched',
      3: 'invalid descriptor type',
      4: 'reserved field in a descriptor',
      5: 'invalid descriptor width',
      6: 'tail is not aligned to a descriptor',
      7: 'invalid translation table mode',
    },
    'why the invalidation queue stopped (FSTS.IQE)',
  ),
  ITESID: uint(47, 32, 'source-id of the invalidation that timed out (FSTS.ITE)'),
  ICESID: uint(63, 48, 'source-id of the wrong completion (FSTS.ICE)'),
})
/** IQERCD.IQEI. */
export const IQEI_NONE = 0
export const IQEI_TAIL = 1
export const IQEI_FETCH = 2
export const IQEI_TYPE = 3
export const IQEI_RESERVED = 4
export const IQEI_WIDTH = 5
export const IQEI_ALIGNMENT = 6
export const IQEI_TTM = 7

export const IRTA = layout('IRTA', 64, {
  S: uint(3, 0, 'size: 2^(S + 1) entries'),
  EIME: flag(11, 'extended interrupt mode: 32-bit APIC ids, no compatibility format'),
  IRTA: addr(63, 12, 'interrupt remapping table'),
})
export const PQA = layout('PQA', 64, {
  PQS: uint(2, 0, 'size: 2^PQS × 4 KiB'),
  PQA: addr(63, 12, 'page request queue'),
})
export const PRS = layout('PRS', 32, {
  PPR: flag(0, 'page requests are pending'),
  PRO: flag(1, 'page request queue overflowed'),
})
export const PRS_PPR = 1 << 0
export const PRS_PRO = 1 << 1

const MEMORY_TYPES = { 0: 'UC', 1: 'WC', 4: 'WT', 5: 'WP', 6: 'WB' }
export const MTRRCAP = layout('MTRRCAP', 64, {
  VCNT: uint(7, 0, 'variable ranges'),
  FIX: flag(8, 'fixed ranges'),
  WC: flag(10, 'write combining'),
})
export const MTRRDEF = layout('MTRRDEF', 64, {
  TYPE: oneOf(7, 0, MEMORY_TYPES, 'memory type elsewhere'),
  FE: flag(10, 'fixed ranges are enabled'),
  E: flag(11, 'MTRRs are enabled'),
})
const fixedRange = (name: string) =>
  layout(
    name,
    64,
    Object.fromEntries(Array.from({ length: 8 }, (_, at) => [`R${at}`, oneOf(at * 8 + 7, at * 8, MEMORY_TYPES, `part ${at}`)])),
  )
const physBase = (name: string) =>
  layout(name, 64, { TYPE: oneOf(7, 0, MEMORY_TYPES, 'memory type'), PHYSBASE: addr(63, 12, 'base') })
const physMask = (name: string) => layout(name, 64, { V: flag(11, 'range is valid'), PHYSMASK: addr(63, 12, 'mask') })

export const VCMD = layout('VCMD', 64, {
  CMD: oneOf(7, 0, { 0: 'none', 1: 'allocate PASID', 2: 'free PASID' }, 'command'),
  OP: uint(63, 8, 'operand'),
})
export const VCRSP = layout('VCRSP', 64, {
  IP: flag(0, 'in progress'),
  SC: oneOf(2, 1, { 0: 'success', 1: 'no PASID left', 2: 'invalid PASID' }, 'status'),
  RSLT: uint(63, 8, 'result'),
})
export const VCCAP = layout('VCCAP', 64, { PAS: flag(0, 'PASIDs are allocated by virtual commands') })

export const IVA = layout('IVA', 64, {
  AM: uint(5, 0, 'address mask: 2^AM pages'),
  IH: flag(6, 'hint: only leaf entries changed'),
  ADDR: addr(63, 12, 'page'),
})
export const IOTLB = layout('IOTLB', 64, {
  DID: uint(47, 32, 'domain id'),
  DW: flag(48, 'drain writes'),
  DR: flag(49, 'drain reads'),
  IAIG: oneOf(58, 57, { 1: 'global', 2: 'domain', 3: 'page' }, 'granularity of what was done'),
  IIRG: oneOf(61, 60, { 1: 'global', 2: 'domain', 3: 'page' }, 'granularity that is asked for'),
  IVT: flag(63, 'invalidate; 0 when done'),
})

/** Offsets of the registers that code names. IVA, IOTLB and FRCD move: `invalidationOffset`, `faultOffset`. */
export const REG = {
  VER: 0x000,
  CAP: 0x008,
  ECAP: 0x010,
  GCMD: 0x018,
  GSTS: 0x01c,
  RTADDR: 0x020,
  CCMD: 0x028,
  FSTS: 0x034,
  FECTL: 0x038,
  FEDATA: 0x03c,
  FEADDR: 0x040,
  FEUADDR: 0x044,
  AFLOG: 0x058,
  PMEN: 0x064,
  PLMBASE: 0x068,
  PLMLIMIT: 0x06c,
  PHMBASE: 0x070,
  PHMLIMIT: 0x078,
  IQH: 0x080,
  IQT: 0x088,
  IQA: 0x090,
  ICS: 0x09c,
  IECTL: 0x0a0,
  IEDATA: 0x0a4,
  IEADDR: 0x0a8,
  IEUADDR: 0x0ac,
  IQERCD: 0x0b0,
  IRTA: 0x0b8,
  PQH: 0x0c0,
  PQT: 0x0c8,
  PQA: 0x0d0,
  PRS: 0x0dc,
  PECTL: 0x0e0,
  PEDATA: 0x0e4,
  PEADDR: 0x0e8,
  PEUADDR: 0x0ec,
  MTRRCAP: 0x100,
  MTRRDEF: 0x108,
  MTRR_FIX64K_00000: 0x120,
  MTRR_PHYSBASE0: 0x180,
  VCMD: 0xe00,
  VCRSP: 0xe10,
  VCCAP: 0xe30,
} as const

export interface RegisterLayout {
  readonly name: string
  readonly offset: number
  readonly layout: Layout
}

const FIXED = ['64K_00000', '16K_80000', '16K_A0000', ...['C', 'D', 'E', 'F'].flatMap((at) => [`4K_${at}0000`, `4K_${at}8000`])]

const named = (name: keyof typeof REG, form: Layout): RegisterLayout => ({ name, offset: REG[name], layout: form })

/** Every register whose place does not depend on others, by offset. */
export const REGISTERS: readonly RegisterLayout[] = [
  named('VER', VER),
  named('CAP', CAP),
  named('ECAP', ECAP),
  named('GCMD', GCMD),
  named('GSTS', GSTS),
  named('RTADDR', RTADDR),
  named('CCMD', CCMD),
  named('FSTS', FSTS),
  named('FECTL', eventControl('FECTL')),
  named('FEDATA', eventData('FEDATA')),
  named('FEADDR', eventAddress('FEADDR')),
  named('FEUADDR', eventUpper('FEUADDR')),
  named('AFLOG', AFLOG),
  named('PMEN', PMEN),
  named('PLMBASE', region32('PLMBASE', 'base of the protected low memory')),
  named('PLMLIMIT', region32('PLMLIMIT', 'last address of the protected low memory')),
  named('PHMBASE', region64('PHMBASE', 'base of the protected high memory')),
  named('PHMLIMIT', region64('PHMLIMIT', 'last address of the protected high memory')),
  named('IQH', queuePlace('IQH', 'QH', 4, 'place of the next descriptor to fetch')),
  named('IQT', queuePlace('IQT', 'QT', 4, 'place of the next descriptor to write')),
  named('IQA', IQA),
  named('ICS', ICS),
  named('IECTL', eventControl('IECTL')),
  named('IEDATA', eventData('IEDATA')),
  named('IEADDR', eventAddress('IEADDR')),
  named('IEUADDR', eventUpper('IEUADDR')),
  named('IQERCD', IQERCD),
  named('IRTA', IRTA),
  named('PQH', queuePlace('PQH', 'PQH', 5, 'place of the next page request to handle')),
  named('PQT', queuePlace('PQT', 'PQT', 5, 'place of the next page request to write')),
  named('PQA', PQA),
  named('PRS', PRS),
  named('PECTL', eventControl('PECTL')),
  named('PEDATA', eventData('PEDATA')),
  named('PEADDR', eventAddress('PEADDR')),
  named('PEUADDR', eventUpper('PEUADDR')),
  named('MTRRCAP', MTRRCAP),
  named('MTRRDEF', MTRRDEF),
  ...FIXED.map((range, at) => ({
    name: `MTRR_FIX${range}`,
    offset: REG.MTRR_FIX64K_00000 + at * 8,
    layout: fixedRange(`MTRR_FIX${range}`),
  })),
  ...Array.from({ length: 10 }, (_, at) => [
    { name: `MTRR_PHYSBASE${at}`, offset: REG.MTRR_PHYSBASE0 + at * 16, layout: physBase(`MTRR_PHYSBASE${at}`) },
    { name: `MTRR_PHYSMASK${at}`, offset: REG.MTRR_PHYSBASE0 + at * 16 + 8, layout: physMask(`MTRR_PHYSMASK${at}`) },
  ]).flat(),
  named('VCMD', VCMD),
  named('VCRSP', VCRSP),
  named('VCCAP', VCCAP),
]

const pair = (value: bigint) => Uint32Array.of(lo32(value), hi32(value))

/** Offset of IVA, by ECAP; IOTLB follows 8 bytes later. */
export function invalidationOffset(ecap: bigint): number {
  return getBits(pair(ecap), ECAP.fields.IRO.msb, ECAP.fields.IRO.lsb) * 16
}

/** Offset of the first fault recording register, by CAP. */
export function faultOffset(cap: bigint): number {
  return getBits(pair(cap), CAP.fields.FRO.msb, CAP.fields.FRO.lsb) * 16
}

/** Number of fault recording registers, by CAP. */
export function faultRegisters(cap: bigint): number {
  return getBits(pair(cap), CAP.fields.NFR.msb, CAP.fields.NFR.lsb) + 1
}

/** Every register of an IOMMU with these capabilities. `FRCD0` and its like are 128 bits wide. */
export function registersOf(cap: bigint, ecap: bigint): readonly RegisterLayout[] {
  const iva = invalidationOffset(ecap)
  const frcd = faultOffset(cap)
  return [
    ...REGISTERS,
    { name: 'IVA', offset: iva, layout: IVA },
    { name: 'IOTLB', offset: iva + 8, layout: IOTLB },
    ...Array.from({ length: faultRegisters(cap) }, (_, at) => ({
      name: `FRCD${at}`,
      offset: frcd + at * FAULT_RECORD_BYTES,
      layout: FAULT_RECORD,
    })),
  ]
}
