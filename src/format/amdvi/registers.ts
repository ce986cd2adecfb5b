/** Memory-mapped registers. AMD IOMMU specification (48882), 3.4 "IOMMU MMIO Registers". The manual gives no short names; these are ours. */
import { addr, encode, flag, type Layout, layout, oneOf, uint, wordsToU64 } from '../../base/layout.ts'

export const DEV_TAB_BASE = layout('DEV_TAB_BASE', 64, {
  Size: uint(8, 0, 'pages of 4 KiB, minus 1'),
  DevTabBase: addr(51, 12, 'device table'),
})

const ring = (name: string, what: string) =>
  layout(name, 64, {
    Base: addr(51, 12, what),
    Len: oneOf(
      59,
      56,
      Object.fromEntries(Array.from({ length: 8 }, (_, at) => [at + 8, `${256 << at} entries`])),
      'log2 of the number of entries',
    ),
  })
export const CMD_BUF_BASE = ring('CMD_BUF_BASE', 'command buffer')
export const EVT_LOG_BASE = ring('EVT_LOG_BASE', 'event log')
export const PPR_LOG_BASE = ring('PPR_LOG_BASE', 'PPR log')

const onOff = { 0: 'A', 1: 'B', 2: 'swap when full' }
export const CONTROL = layout('CONTROL', 64, {
  IommuEn: flag(0, 'the IOMMU is on'),
  HtTunEn: flag(1, 'traffic of HyperTransport tunnels is translated'),
  EventLogEn: flag(2, 'event log'),
  EventIntEn: flag(3, 'its interrupt'),
  ComWaitIntEn: flag(4, 'interrupt of COMPLETION_WAIT'),
  InvTimeOut: oneOf(
    7,
    5,
    { 0: 'none', 1: '1 ms', 2: '10 ms', 3: '100 ms', 4: '1 s', 5: '10 s', 6: '100 s' },
    'how long a device may take to answer an invalidation request',
  ),
  PassPW: flag(8, 'posted writes of upstream traffic may pass'),
  ResPassPW: flag(9, 'responses may pass posted writes'),
  Coherent: flag(10, 'table reads snoop caches'),
  Isoc: flag(11, 'table reads are isochronous'),
  CmdBufEn: flag(12, 'command buffer'),
  PPRLogEn: flag(13, 'PPR log'),
  PPRIntEn: flag(14, 'its interrupt'),
  PPREn: flag(15, 'page requests are processed'),
  GTEn: flag(16, 'guest translation; 0: DTE.GV counts as 0'),
  GAEn: flag(17, 'guest virtual APIC; interrupt remapping entries have 16 bytes'),
  CRW: uint(21, 18, 'reserved for hardware'),
  SmiFEn: flag(22, 'SMI filter'),
  SlfWBDis: flag(23, 'no self write-back'),
  SmiFLogEn: flag(24, 'SMI filter is logged'),
  GAMEn: oneOf(27, 25, { 0: 'no guest mode', 1: 'guest mode' }, 'guest virtual APIC mode'),
  GALogEn: flag(28, 'guest virtual APIC log'),
  GAIntEn: flag(29, 'its interrupt'),
  DualPprLogEn: oneOf(31, 30, onOff, 'two PPR logs'),
  DualEventLogEn: oneOf(33, 32, onOff, 'two event logs'),
  DevTblSegEn: oneOf(36, 34, { 0: '1', 1: '2', 2: '4', 3: '8' }, 'segments of the device table'),
  PrivAbrtEn: oneOf(38, 37, { 0: 'never', 1: 'always' }, 'requests with privileges are aborted'),
  PprAutoRspEn: flag(39, 'page requests are answered by hardware when the PPR log is full'),
  MarcEn: flag(40, 'memory access routing and control'),
  BlkStopMrkEn: flag(41, 'stop markers are not logged'),
  PprAutoRspAon: flag(42, 'page requests are always answered by hardware'),
  DomainIDPNE: flag(43, 'reserved for hardware'),
  EPHEn: flag(45, 'enhanced handling of page requests'),
  HADUpdate: oneOf(47, 46, { 0: 'none', 1: 'A', 3: 'A and D' }, 'hardware sets A and D in host tables (where DTE.HAD says so)'),
  GDUpdateDis: flag(48, 'hardware does not set D in guest tables'),
  XTEn: flag(50, 'x2APIC: 32-bit destinations'),
  IntCapXTEn: flag(51, 'interrupts of the IOMMU use the XT registers'),
  vCmdEn: flag(52, 'virtual command buffers'),
  vIommuEn: flag(53, 'virtual IOMMUs'),
  GAUpdateDis: flag(54, 'hardware does not set A in guest tables'),
  GAPPIEn: flag(55, 'interrupt to the host when a guest does not run'),
  TMPMEn: flag(56, 'tiered memory page migration'),
  GCR3TRPMode: flag(58, 'GCR3 table pointers are guest physical'),
  IRTCacheDis: flag(59, 'interrupt remapping entries are not cached'),
  GstBufferTRPMode: flag(60, 'guest buffer pointers are system physical'),
  SNPAVICEn: uint(63, 61, 'virtual APIC with SNP'),
})
/** CONTROL bits as masks of the low and high words. */
export const CONTROL_IOMMU_EN = 1 << 0
export const CONTROL_EVENT_LOG_EN = 1 << 2
export const CONTROL_EVENT_INT_EN = 1 << 3
export const CONTROL_COM_WAIT_INT_EN = 1 << 4
export const CONTROL_CMD_BUF_EN = 1 << 12
export const CONTROL_PPR_LOG_EN = 1 << 13
export const CONTROL_PPR_INT_EN = 1 << 14
export const CONTROL_PPR_EN = 1 << 15
export const CONTROL_GT_EN = 1 << 16
export const CONTROL_GA_EN = 1 << 17
export const CONTROL_HI_PPR_AUTO_RSP_EN = 1 << 7
export const CONTROL_HI_BLK_STOP_MRK_EN = 1 << 9
export const CONTROL_HI_PPR_AUTO_RSP_AON = 1 << 10
export const CONTROL_HI_EPH_EN = 1 << 13
export const CONTROL_HI_GD_UPDATE_DIS = 1 << 16
export const CONTROL_HI_XT_EN = 1 << 18
export const CONTROL_HI_GA_UPDATE_DIS = 1 << 22
export const CONTROL_HI_GCR3_TRP_MODE = 1 << 26
/** Lowest bits of fields within the high word of CONTROL. */
export const CONTROL_HI_DEV_TBL_SEG_SHIFT = 2
export const CONTROL_HI_HAD_UPDATE_SHIFT = 14

export const EXCL_BASE = layout('EXCL_BASE', 64, {
  ExEn: flag(0, 'exclusion range is on'),
  Allow: flag(1, 'for all devices; 0: for those with DTE.EX'),
  ExclusionBase: addr(51, 12, 'first page of the range'),
})
export const EXCL_LIMIT = layout('EXCL_LIMIT', 64, {
  ExclusionLimit: addr(51, 12, 'last page of the range'),
})

export const EXT_FEATURE = layout('EXT_FEATURE', 64, {
  PreFSup: flag(0, 'PREFETCH_IOMMU_PAGES'),
  PPRSup: flag(1, 'page requests'),
  XTSup: flag(2, 'x2APIC'),
  NXSup: flag(3, 'no-execute and privileges'),
  GTSup: flag(4, 'guest translation'),
  GAPPISup: flag(5, 'guest APIC physical processor interrupts'),
  IASup: flag(6, 'INVALIDATE_IOMMU_ALL'),
  GASup: flag(7, 'guest virtual APIC'),
  HESup: flag(8, 'hardware error registers'),
  PCSup: flag(9, 'performance counters'),
  HATS: oneOf(11, 10, { 0: '4 levels', 1: '5 levels', 2: '6 levels' }, 'host page tables'),
  GATS: oneOf(13, 12, { 0: '4 levels', 1: '5 levels', 2: '6 levels' }, 'guest page tables'),
  GLXSup: oneOf(15, 14, { 0: '1 level', 1: '2 levels', 2: '3 levels' }, 'GCR3 tables'),
  SmiFSup: uint(17, 16, 'SMI filter'),
  SmiFRC: uint(20, 18, 'SMI filter registers'),
  GAMSup: uint(23, 21, 'guest virtual APIC modes'),
  DualPprLogSup: uint(25, 24, 'two PPR logs'),
  DualEventLogSup: uint(29, 28, 'two event logs'),
  SATSSup: flag(31, 'secure ATS'),
  PASmax: uint(36, 32, 'width of PASIDs, minus 1'),
  USSup: flag(37, 'user and supervisor pages'),
  DevTblSegSup: oneOf(39, 38, { 0: '1', 1: '2', 2: '4', 3: '8' }, 'segments of the device table'),
  PprOvrflwEarlySup: flag(40, 'early warning of a full PPR log'),
  PprAutoRspSup: flag(41, 'page requests answered by hardware'),
  MarcSup: uint(43, 42, 'memory access routing and control'),
  BlkStopMrkSup: flag(44, 'stop markers can be kept from the log'),
  PerfOptSup: flag(45, 'performance optimization'),
  MsiCapMmioSup: flag(46, 'MSI capability in MMIO'),
  GIOSup: flag(48, 'DTE.GIOV'),
  HASup: flag(49, 'A in host tables'),
  EPHSup: flag(50, 'enhanced handling of page requests'),
  AttrFWSup: flag(51, 'attribute forwarding'),
  HDSup: flag(52, 'D in host tables'),
  InvIotlbTypeSup: flag(54, 'INVALIDATE_IOTLB_PAGES.Type'),
  VIommuSup: flag(55, 'virtual IOMMUs'),
  VMGuardIoSup: flag(56, 'I/O of guarded guests'),
  VMTableSize: uint(60, 57, 'table of guarded guests'),
  GAUpdateDisSup: flag(61, 'setting A in guest tables can be switched off'),
  ForcePhyDestSup: flag(62, 'physical destinations can be forced'),
  SNPSup: flag(63, 'SNP'),
})

/** EXT_FEATURE bits as masks of the low and high words. */
export const EFR_PREF_SUP = 1 << 0
export const EFR_PPR_SUP = 1 << 1
export const EFR_NX_SUP = 1 << 3
export const EFR_GT_SUP = 1 << 4
export const EFR_IA_SUP = 1 << 6
export const EFR_HI_US_SUP = 1 << 5
export const EFR_HI_PPR_AUTO_RSP_SUP = 1 << 9
export const EFR_HI_GIO_SUP = 1 << 16
export const EFR_HI_HA_SUP = 1 << 17
export const EFR_HI_EPH_SUP = 1 << 18
export const EFR_HI_HD_SUP = 1 << 20
export const EFR_HI_INV_IOTLB_TYPE_SUP = 1 << 22
export const EFR_HI_VIOMMU_SUP = 1 << 23
export const EFR_HI_GA_UPDATE_DIS_SUP = 1 << 29

/** What an IOMMU with everything that this project models says: 6 levels of host tables, 5 of guest tables, 20-bit PASIDs. */
export const FULL_EXT_FEATURE = wordsToU64(
  encode(EXT_FEATURE, {
    PreFSup: 1,
    PPRSup: 1,
    XTSup: 1,
    NXSup: 1,
    GTSup: 1,
    IASup: 1,
    GASup: 1,
    HESup: 1,
    HATS: 2,
    GATS: 1,
    GLXSup: 2,
    PASmax: 19,
    USSup: 1,
    DevTblSegSup: 3,
    PprAutoRspSup: 1,
    BlkStopMrkSup: 1,
    GIOSup: 1,
    HASup: 1,
    EPHSup: 1,
    AttrFWSup: 1,
    HDSup: 1,
    InvIotlbTypeSup: 1,
    GAUpdateDisSup: 1,
  }),
)[0]!

export const EXT_FEATURE2 = layout('EXT_FEATURE2', 64, {
  TMPMSup: flag(2, 'tiered memory page migration'),
  GCR3TRPMode: flag(3, 'CONTROL.GCR3TRPMode'),
  GAPPIDisSup: flag(4, 'IRTE.GAPPIDis'),
  SNPAVICSup: uint(7, 5, 'virtual APIC with SNP'),
  NumIntRemapSup: oneOf(9, 8, { 0: '512', 1: '2048' }, 'interrupts per device'),
  HTRangeIgnore: flag(11, 'addresses of the HyperTransport range are ordinary ones'),
})

export const EFR2_GCR3_TRP_MODE = 1 << 3
export const EFR2_HT_RANGE_IGNORE = 1 << 11

/** EXT_FEATURE2 of such an IOMMU: GCR3 table pointers may be guest physical, 2048 interrupts per device. */
export const FULL_EXT_FEATURE2 = wordsToU64(encode(EXT_FEATURE2, { GCR3TRPMode: 1, NumIntRemapSup: 1 }))[0]!

export const HW_EVT_HI = layout('HW_EVT_HI', 64, {
  FirstEventOperand: uint(59, 0, 'bits 59:0 of the event'),
  EventCode: uint(63, 60, 'kind of event'),
})
export const HW_EVT_LO = layout('HW_EVT_LO', 64, { SecondEventOperand: uint(63, 0, 'bits 127:64 of the event') })
export const HW_EVT_STATUS = layout('HW_EVT_STATUS', 64, {
  HEV: flag(0, 'an event is there'),
  HEO: flag(1, 'a further one was lost'),
})

const galog = ring('GA_LOG_BASE', 'guest virtual APIC log')
const galogTail = layout('GA_LOG_TAIL', 64, { GATAddr: addr(51, 3, 'where the tail is written', 3) })

/** Segments 1 to 7 of the device table. */
export const DEV_TAB_SEG = layout('DEV_TAB_SEG', 64, {
  Size: uint(7, 0, 'pages of 4 KiB, minus 1'),
  DevTabBase: addr(51, 12, 'segment of the device table'),
})

export const STATUS = layout('STATUS', 64, {
  EventOverflow: flag(0, 'event log overflow'),
  EventLogInt: flag(1, 'event log interrupt'),
  ComWaitInt: flag(2, 'interrupt of COMPLETION_WAIT'),
  EventLogRun: flag(3, 'event log runs'),
  CmdBufRun: flag(4, 'command buffer runs'),
  PPROverflow: flag(5, 'PPR log overflow'),
  PPRInt: flag(6, 'PPR log interrupt'),
  PPRRun: flag(7, 'PPR log runs'),
  GALogRun: flag(8, 'guest virtual APIC log runs'),
  GALOverflow: flag(9, 'its overflow'),
  GAInt: flag(10, 'its interrupt'),
  PPROverflowB: flag(11, 'PPR log B overflow'),
  PPRLogActive: flag(12, 'PPR log B is in use'),
  EventOverflowB: flag(15, 'event log B overflow'),
  EventLogActive: flag(16, 'event log B is in use'),
  PPROverflowEarlyB: flag(17, 'PPR log B will soon be full'),
  PPROverflowEarly: flag(18, 'PPR log will soon be full'),
})
export const STATUS_EVENT_OVERFLOW = 1 << 0
export const STATUS_EVENT_LOG_INT = 1 << 1
export const STATUS_COM_WAIT_INT = 1 << 2
export const STATUS_EVENT_LOG_RUN = 1 << 3
export const STATUS_CMD_BUF_RUN = 1 << 4
export const STATUS_PPR_OVERFLOW = 1 << 5
export const STATUS_PPR_INT = 1 << 6
export const STATUS_PPR_RUN = 1 << 7

const pointer = (name: string, what: string) => layout(name, 64, { Ptr: addr(18, 4, what, 4) })

export const XT_INT_CTRL = layout('XT_INT_CTRL', 64, {
  DestMode: oneOf(2, 2, { 0: 'physical', 1: 'logical' }, 'destination mode'),
  'Destination[23:0]': uint(31, 8, 'APIC ID'),
  Vector: uint(39, 32, 'vector'),
  DeliveryMode: oneOf(40, 40, { 0: 'fixed', 1: 'arbitrated' }, 'delivery mode'),
  'Destination[31:24]': uint(63, 56, 'APIC ID'),
})

export const PPR_LOG_AUTO_RSP = layout('PPR_LOG_AUTO_RSP', 64, {
  PprAutoRspCode: oneOf(3, 0, { 0: 'Success', 1: 'Invalid Request', 15: 'Response Failure' }, 'answer'),
  PprAutoRspMaskGn: flag(4, 'requests with PASID are answered too'),
})

/** Offsets of the registers that code names. */
export const REG = {
  DEV_TAB_BASE: 0x0000,
  CMD_BUF_BASE: 0x0008,
  EVT_LOG_BASE: 0x0010,
  CONTROL: 0x0018,
  EXCL_BASE: 0x0020,
  EXCL_LIMIT: 0x0028,
  EXT_FEATURE: 0x0030,
  PPR_LOG_BASE: 0x0038,
  HW_EVT_HI: 0x0040,
  HW_EVT_LO: 0x0048,
  HW_EVT_STATUS: 0x0050,
  GA_LOG_BASE: 0x00e0,
  GA_LOG_TAIL: 0x00e8,
  /** Segment n (1 to 7) is at DEV_TAB_SEG1 + 8 × (n - 1). */
  DEV_TAB_SEG1: 0x0100,
  XT_GEN_INT_CTRL: 0x0170,
  XT_PPR_INT_CTRL: 0x0178,
  XT_GA_INT_CTRL: 0x0180,
  EXT_FEATURE2: 0x01a0,
  CMD_HEAD: 0x2000,
  CMD_TAIL: 0x2008,
  EVT_HEAD: 0x2010,
  EVT_TAIL: 0x2018,
  STATUS: 0x2020,
  PPR_HEAD: 0x2030,
  PPR_TAIL: 0x2038,
  PPR_LOG_AUTO_RSP: 0x2080,
} as const

/** Bytes of registers, performance counters left out. */
export const REGISTER_BYTES = 0x4000

export interface RegisterLayout {
  readonly name: string
  readonly offset: number
  readonly layout: Layout
}

/** Every register here, by offset. All have 64 bits. */
export const REGISTERS: readonly RegisterLayout[] = [
  { name: 'DEV_TAB_BASE', offset: REG.DEV_TAB_BASE, layout: DEV_TAB_BASE },
  { name: 'CMD_BUF_BASE', offset: REG.CMD_BUF_BASE, layout: CMD_BUF_BASE },
  { name: 'EVT_LOG_BASE', offset: REG.EVT_LOG_BASE, layout: EVT_LOG_BASE },
  { name: 'CONTROL', offset: REG.CONTROL, layout: CONTROL },
  { name: 'EXCL_BASE', offset: REG.EXCL_BASE, layout: EXCL_BASE },
  { name: 'EXCL_LIMIT', offset: REG.EXCL_LIMIT, layout: EXCL_LIMIT },
  { name: 'EXT_FEATURE', offset: REG.EXT_FEATURE, layout: EXT_FEATURE },
  { name: 'PPR_LOG_BASE', offset: REG.PPR_LOG_BASE, layout: PPR_LOG_BASE },
  { name: 'HW_EVT_HI', offset: REG.HW_EVT_HI, layout: HW_EVT_HI },
  { name: 'HW_EVT_LO', offset: REG.HW_EVT_LO, layout: HW_EVT_LO },
  { name: 'HW_EVT_STATUS', offset: REG.HW_EVT_STATUS, layout: HW_EVT_STATUS },
  { name: 'GA_LOG_BASE', offset: REG.GA_LOG_BASE, layout: galog },
  { name: 'GA_LOG_TAIL', offset: REG.GA_LOG_TAIL, layout: galogTail },
  ...Array.from({ length: 7 }, (_, at) => ({
    name: `DEV_TAB_SEG${at + 1}`,
    offset: REG.DEV_TAB_SEG1 + at * 8,
    layout: DEV_TAB_SEG,
  })),
  { name: 'XT_GEN_INT_CTRL', offset: REG.XT_GEN_INT_CTRL, layout: XT_INT_CTRL },
  { name: 'XT_PPR_INT_CTRL', offset: REG.XT_PPR_INT_CTRL, layout: XT_INT_CTRL },
  { name: 'XT_GA_INT_CTRL', offset: REG.XT_GA_INT_CTRL, layout: XT_INT_CTRL },
  { name: 'EXT_FEATURE2', offset: REG.EXT_FEATURE2, layout: EXT_FEATURE2 },
  { name: 'CMD_HEAD', offset: REG.CMD_HEAD, layout: pointer('CMD_HEAD', 'next command that the IOMMU reads') },
  { name: 'CMD_TAIL', offset: REG.CMD_TAIL, layout: pointer('CMD_TAIL', 'next command that software writes') },
  { name: 'EVT_HEAD', offset: REG.EVT_HEAD, layout: pointer('EVT_HEAD', 'next event that software reads') },
  { name: 'EVT_TAIL', offset: REG.EVT_TAIL, layout: pointer('EVT_TAIL', 'next event that the IOMMU writes') },
  { name: 'STATUS', offset: REG.STATUS, layout: STATUS },
  { name: 'PPR_HEAD', offset: REG.PPR_HEAD, layout: pointer('PPR_HEAD', 'next page request that software reads') },
  { name: 'PPR_TAIL', offset: REG.PPR_TAIL, layout: pointer('PPR_TAIL', 'next page request that the IOMMU writes') },
  { name: 'PPR_LOG_AUTO_RSP', offset: REG.PPR_LOG_AUTO_RSP, layout: PPR_LOG_AUTO_RSP },
]

/** log2 of the bytes of a command buffer, event log or PPR log (entries of 16 bytes), from the high word of its base register. */
export function ringLog2(high: number): number {
  return ((high >>> 24) & 15) + 4
}

/** The address in a base register (bits 51:12): a double, exact. */
export function baseAddress(high: number, low: number): number {
  return (high & 0xfffff) * 4294967296 + ((low & 0xfffff000) >>> 0)
}
