/** Stream table entry: what one stream may do, and where its tables are. Arm IHI 0070, 5.2. */
import { addr, flag, layout, oneOf, uint } from '../../base/layout.ts'

export const STE_BYTES = 64
export const STE_WORDS = 16

/** STE.Config. Bit 2: traffic passes, bit 0: stage 1 translates, bit 1: stage 2 translates. */
export const CONFIG_ABORT = 0b000
export const CONFIG_BYPASS = 0b100
export const CONFIG_S1 = 0b101
export const CONFIG_S2 = 0b110
export const CONFIG_NESTED = 0b111

/** STE.S1Fmt. */
export const S1FMT_LINEAR = 0
export const S1FMT_4K_L2 = 1
export const S1FMT_64K_L2 = 2

/** STE.S1DSS: what a transaction without SubstreamID does when there are substreams. */
export const S1DSS_TERMINATE = 0
export const S1DSS_BYPASS = 1
export const S1DSS_SSID0 = 2

/** STE.EATS. */
export const EATS_ABORT = 0
export const EATS_FULL = 1
export const EATS_SPLIT = 2
export const EATS_DPT = 3

/** STE.STRW of a non-secure stream (5.2, table under STRW). */
export const STRW_EL1 = 0
export const STRW_EL2 = 2

/** Cacheability of table accesses, inner or outer (5.2 S1CIR, 5.4 IR0). */
export const CACHEABILITY = {
  0: 'non-cacheable',
  1: 'write-back, read and write allocate',
  2: 'write-through, read allocate',
  3: 'write-back, read allocate',
}

/** Shareability of table accesses (5.2 S1CSH, 5.4 SH0). */
export const SHAREABILITY = { 0: 'non-shareable', 2: 'outer shareable', 3: 'inner shareable' }

/** STE.S2TG and CD.TG0. CD.TG1 is encoded otherwise. */
export const GRANULES_0 = { 0: '4 KiB', 1: '64 KiB', 2: '16 KiB' }

/** CD.IPS and STE.S2PS. */
export const ADDRESS_SIZES = {
  0: '32 bits',
  1: '36 bits',
  2: '40 bits',
  3: '42 bits',
  4: '44 bits',
  5: '48 bits',
  6: '52 bits',
  7: '56 bits',
}

/** VMSAv8-64 stage 2 MemAttr, which STE.MemAttr and GBPA.MemAttr use. */
export const MEM_ATTR = {
  0: 'Device-nGnRnE',
  1: 'Device-nGnRE',
  2: 'Device-nGRE',
  3: 'Device-GRE',
  5: 'Normal, inner NC, outer NC',
  6: 'Normal, inner WT, outer NC',
  7: 'Normal, inner WB, outer NC',
  9: 'Normal, inner NC, outer WT',
  10: 'Normal, inner WT, outer WT',
  11: 'Normal, inner WB, outer WT',
  13: 'Normal, inner NC, outer WB',
  14: 'Normal, inner WT, outer WB',
  15: 'Normal, inner WB, outer WB',
}

/** STE.SHCFG and GBPA.SHCFG. */
export const SHCFG = { 0: 'non-shareable', 1: 'as incoming', 2: 'outer shareable', 3: 'inner shareable' }
/** STE.PRIVCFG and GBPA.PRIVCFG. */
export const PRIVCFG = { 0: 'as incoming', 1: 'reserved, as incoming', 2: 'unprivileged', 3: 'privileged' }
/** STE.INSTCFG and GBPA.INSTCFG. */
export const INSTCFG = { 0: 'as incoming', 1: 'reserved, as incoming', 2: 'data', 3: 'instruction' }

export const STE = layout('STE', 512, {
  V: flag(0, 'entry is valid'),
  Config: oneOf(
    3,
    1,
    {
      0: 'abort',
      1: 'reserved, aborts',
      2: 'reserved, aborts',
      3: 'reserved, aborts',
      4: 'bypass',
      5: 'stage 1',
      6: 'stage 2',
      7: 'stage 1 and stage 2',
    },
    'what happens to traffic',
  ),
  S1Fmt: oneOf(5, 4, { 0: 'linear', 1: '2 levels, 4 KiB leaves', 2: '2 levels, 64 KiB leaves' }, 'form of the CD table'),
  S1ContextPtr: addr(55, 6, 'CD table; intermediate under a stage 2'),
  S1CDMax: uint(63, 59, 'log2 of the number of CDs'),
  S1DSS: oneOf(65, 64, { 0: 'terminate', 1: 'bypass stage 1', 2: 'use CD 0' }, 'traffic without SubstreamID'),
  S1CIR: oneOf(67, 66, CACHEABILITY, 'inner cacheability of CD fetches'),
  S1COR: oneOf(69, 68, CACHEABILITY, 'outer cacheability of CD fetches'),
  S1CSH: oneOf(71, 70, SHAREABILITY, 'shareability of CD fetches'),
  S2HWU59: flag(72, 'hardware may use bit 59 of stage 2 leaves'),
  S2HWU60: flag(73, 'hardware may use bit 60 of stage 2 leaves'),
  S2HWU61: flag(74, 'hardware may use bit 61 of stage 2 leaves'),
  S2HWU62: flag(75, 'hardware may use bit 62 of stage 2 leaves'),
  DRE: flag(76, 'destructive reads enabled'),
  CONT: uint(80, 77, 'log2 of the number of identical neighbours'),
  DCP: flag(81, 'directed cache prefetch enabled'),
  PPAR: flag(82, 'automatic page responses carry the PASID'),
  MEV: flag(83, 'similar events may be merged'),
  SW: uint(87, 84, "software's own bits"),
  S1PIE: flag(88, 'stage 1 permission indirection'),
  S2FWB: flag(89, 'stage 2 forces write-back'),
  S1MPAM: flag(90, 'MPAM from the CD'),
  S1STALLD: flag(91, 'stage 1 stalls disabled'),
  EATS: oneOf(
    93,
    92,
    { 0: 'refused', 1: 'full ATS', 2: 'split-stage ATS', 3: 'ATS with DPT' },
    'ATS requests and translated traffic',
  ),
  STRW: oneOf(95, 94, { 0: 'EL1', 1: 'EL3 (secure)', 2: 'EL2' }, 'translation regime of stage 1'),
  MemAttr: oneOf(99, 96, MEM_ATTR, 'memory type that replaces the incoming one'),
  MTCFG: oneOf(100, 100, { 0: 'as incoming', 1: 'from MemAttr' }, 'memory type'),
  ALLOCCFG: uint(104, 101, 'allocation hints: 0b0xxx as incoming, 0b1RWT'),
  SHCFG: oneOf(109, 108, SHCFG, 'shareability'),
  NSCFG: oneOf(111, 110, { 0: 'as incoming', 1: 'reserved, as incoming', 2: 'secure', 3: 'non-secure' }, 'NS of a secure stream'),
  PRIVCFG: oneOf(113, 112, PRIVCFG, 'privilege'),
  INSTCFG: oneOf(115, 114, INSTCFG, 'instruction or data'),
  ImpDef127: uint(127, 116, 'implementation defined'),
  S2VMID: uint(143, 128, 'VMID'),
  ImpDef159: uint(159, 144, 'implementation defined'),
  S2T0SZ: uint(165, 160, 'stage 2 input is 64 − S2T0SZ bits'),
  S2SL0: uint(167, 166, 'stage 2 start level'),
  S2IR0: oneOf(169, 168, CACHEABILITY, 'inner cacheability of stage 2 walks'),
  S2OR0: oneOf(171, 170, CACHEABILITY, 'outer cacheability of stage 2 walks'),
  S2SH0: oneOf(173, 172, SHAREABILITY, 'shareability of stage 2 walks'),
  S2TG: oneOf(175, 174, GRANULES_0, 'stage 2 granule'),
  S2PS: oneOf(178, 176, ADDRESS_SIZES, 'physical address size'),
  S2AA64: oneOf(179, 179, { 0: 'VMSAv8-32 LPAE', 1: 'VMSAv8-64' }, 'stage 2 format'),
  S2ENDI: oneOf(180, 180, { 0: 'little', 1: 'big' }, 'endianness of stage 2 tables'),
  S2AFFD: flag(181, 'stage 2 access flag faults disabled'),
  S2PTW: flag(182, 'table fetches through Device memory fault'),
  S2HD: flag(183, 'hardware manages stage 2 dirty state'),
  S2HA: flag(184, 'hardware sets the stage 2 access flag'),
  S2S: flag(185, 'stage 2 faults stall'),
  S2R: flag(186, 'stage 2 faults are recorded'),
  S2HAFT: flag(187, 'hardware sets the access flag in stage 2 table entries'),
  S2PIE: flag(188, 'stage 2 permission indirection'),
  S2POE: flag(189, 'stage 2 permission overlay'),
  DPT_VMATCH: uint(191, 190, 'VMID match of device permission checks'),
  S2NSW: flag(192, 'walks of non-secure IPA space go to non-secure memory'),
  S2NSA: flag(193, 'output of non-secure IPA space is non-secure'),
  S2SL0_2: flag(194, 'bit 2 of the stage 2 start level, with S2DS and 4 KiB'),
  S2DS: flag(195, '52-bit stage 2 with 4 and 16 KiB granules'),
  S2TTB: addr(247, 196, 'stage 2 table'),
  S2SKL: uint(254, 253, 'stage 2 skip level, VMSAv9-128'),
  ImpDef271: uint(271, 256, 'implementation defined'),
  PARTID: uint(287, 272, 'MPAM partition'),
  S_S2T0SZ: uint(293, 288, 'as S2T0SZ, for secure IPA space'),
  S_S2SL0: uint(295, 294, 'as S2SL0, for secure IPA space'),
  S_S2TG: oneOf(303, 302, GRANULES_0, 'as S2TG, for secure IPA space'),
  MECID: uint(319, 304, 'memory encryption context'),
  PMG: uint(327, 320, 'MPAM performance monitoring group'),
  MPAM_NS: flag(328, 'MPAM partition is non-secure'),
  AssuredOnly: flag(329, 'stage 2 AssuredOnly checks'),
  TL0: flag(330, 'assured translation of TTB0'),
  TL1: flag(331, 'assured translation of TTB1'),
  VMSPtr: addr(375, 332, 'virtual machine structure'),
  S2SW: flag(384, 'walks of secure IPA space go to non-secure memory'),
  S2SA: flag(385, 'output of secure IPA space is non-secure'),
  S_S2SL0_2: flag(386, 'as S2SL0_2, for secure IPA space'),
  S_S2TTB: addr(439, 388, 'as S2TTB, for secure IPA space'),
  S_S2SKL: uint(446, 445, 'as S2SKL, for secure IPA space'),
  S2POI: uint(511, 448, 'stage 2 overlay permissions, 16 × 4 bits'),
})
