/** Device and process directories: entries, device contexts, process contexts. RISC-V IOMMU 1.0, "Data Structures". */
import { addr, flag, layout, oneOf, uint } from '../../base/layout.ts'

/** iosatp.MODE, PC.fsc.MODE. With tc.SXL = 1, 8 means Sv32. */
export const IOSATP_BARE = 0
export const IOSATP_SV39 = 8
export const IOSATP_SV48 = 9
export const IOSATP_SV57 = 10
/** iohgatp.MODE. With fctl.GXL = 1, 8 means Sv32x4. */
export const IOHGATP_BARE = 0
export const IOHGATP_SV39X4 = 8
export const IOHGATP_SV48X4 = 9
export const IOHGATP_SV57X4 = 10
export const PDTP_BARE = 0
export const PDTP_PD8 = 1
export const PDTP_PD17 = 2
export const PDTP_PD20 = 3
export const MSIPTP_OFF = 0
export const MSIPTP_FLAT = 1

const STAGE1_MODES = { 0: 'Bare', 8: 'Sv39', 9: 'Sv48', 10: 'Sv57' }
const STAGE2_MODES = { 0: 'Bare', 8: 'Sv39x4', 9: 'Sv48x4', 10: 'Sv57x4' }

/** Non-leaf device-directory-table entry. */
export const DDTE = layout('DDTE', 64, {
  V: flag(0, 'entry is valid'),
  PPN: addr(53, 10, 'next device directory table', 12),
})

/** Non-leaf process-directory-table entry. */
export const PDTE = layout('PDTE', 64, {
  V: flag(0, 'entry is valid'),
  PPN: addr(53, 10, 'next process directory table', 12),
})

/** Base-format device context: 32 bytes, where capabilities.MSI_FLAT is 0. */
export const DC_BASE = layout('DC', 256, {
  'tc.V': flag(0, 'context is valid'),
  'tc.EN_ATS': flag(1, 'ATS requests and translated requests are allowed'),
  'tc.EN_PRI': flag(2, 'page requests are allowed'),
  'tc.T2GPA': flag(3, 'ATS answers with guest physical addresses'),
  'tc.DTF': flag(4, 'translation faults are not reported'),
  'tc.PDTV': flag(5, 'fsc points to a process directory'),
  'tc.PRPR': flag(6, 'responses of the IOMMU carry the PASID'),
  'tc.GADE': flag(7, 'hardware sets A and D in the second stage'),
  'tc.SADE': flag(8, 'hardware sets A and D in the first stage'),
  'tc.DPE': flag(9, 'requests without process_id use process_id 0'),
  'tc.SBE': flag(10, 'process directory and first stage are big-endian'),
  'tc.SXL': flag(11, '32-bit first stage'),
  'tc.custom': uint(31, 24, 'custom'),
  'iohgatp.PPN': addr(107, 64, 'root of the second stage', 12),
  'iohgatp.GSCID': uint(123, 108, 'tag of the virtual machine'),
  'iohgatp.MODE': oneOf(127, 124, STAGE2_MODES, 'second stage (8 is Sv32x4 where fctl.GXL = 1)'),
  'ta.PSCID': uint(159, 140, 'tag of the address space'),
  'ta.RCID': uint(179, 168, 'resource control ID'),
  'ta.MCID': uint(191, 180, 'monitoring counter ID'),
  'fsc.PPN': addr(235, 192, 'root of the first stage, or of the process directory', 12),
  'fsc.MODE': oneOf(
    255,
    252,
    { ...STAGE1_MODES, 1: 'PD8', 2: 'PD17', 3: 'PD20' },
    'first stage (8 is Sv32 where tc.SXL = 1); with tc.PDTV the process directory: PD8, PD17, PD20',
  ),
})

/** Extended-format device context: 64 bytes, where capabilities.MSI_FLAT is 1. */
export const DC = layout('DC', 512, {
  ...DC_BASE.fields,
  'msiptp.PPN': addr(299, 256, 'MSI page table', 12),
  'msiptp.MODE': oneOf(319, 316, { 0: 'Off', 1: 'Flat' }, 'MSI translation'),
  'msi_addr_mask.mask': uint(371, 320, 'page number bits that select the interrupt file'),
  'msi_addr_pattern.pattern': uint(435, 384, 'page number bits that say it is an interrupt file'),
})

/** Index of the first 32-bit word of each doubleword of a device context. */
export const DC_TC = 0
export const DC_IOHGATP = 2
export const DC_TA = 4
export const DC_FSC = 6
export const DC_MSIPTP = 8
export const DC_MSI_MASK = 10
export const DC_MSI_PATTERN = 12
export const DC_RESERVED = 14
/** 32-bit words of a device context as code keeps it; a base-format context has zeros above its eighth word. */
export const DC_WORDS = 16

/** Process context: 16 bytes. */
export const PC = layout('PC', 128, {
  'ta.V': flag(0, 'context is valid'),
  'ta.ENS': flag(1, 'supervisor requests are allowed'),
  'ta.SUM': flag(2, 'supervisor requests may access user pages'),
  'ta.PSCID': uint(31, 12, 'tag of the address space'),
  'fsc.PPN': addr(107, 64, 'root of the first stage', 12),
  'fsc.MODE': oneOf(127, 124, STAGE1_MODES, 'first stage (8 is Sv32 where tc.SXL = 1)'),
})

export const PC_TA = 0
export const PC_FSC = 2
export const PC_WORDS = 4

/** tc bits as masks of the first word. */
export const TC_V = 1 << 0
export const TC_EN_ATS = 1 << 1
export const TC_EN_PRI = 1 << 2
export const TC_T2GPA = 1 << 3
export const TC_DTF = 1 << 4
export const TC_PDTV = 1 << 5
export const TC_PRPR = 1 << 6
export const TC_GADE = 1 << 7
export const TC_SADE = 1 << 8
export const TC_DPE = 1 << 9
export const TC_SBE = 1 << 10
export const TC_SXL = 1 << 11
/** PC.ta bits as masks of the first word. */
export const PC_V = 1 << 0
export const PC_ENS = 1 << 1
export const PC_SUM = 1 << 2

/** MODE of iohgatp, fsc or msiptp, from the high word of the doubleword. */
export function modeOf(high: number): number {
  return high >>> 28
}

/** The address in a PPN field at bits 43:0 of a doubleword (iohgatp, fsc, msiptp): a double, exact. */
export function ppnAddress(high: number, low: number): number {
  return ((high & 0xfff) * 4294967296 + (low >>> 0)) * 4096
}

/** The address in a PPN field at bits 53:10 (DDTE, PDTE, registers). */
export function ppnAddressAt10(high: number, low: number): number {
  return ((high & 0x3fffff) * 4294967296 + ((low & 0xfffffc00) >>> 0)) * 4
}

/** iohgatp.GSCID, from the high word. */
export function gscidOf(high: number): number {
  return (high >>> 12) & 0xffff
}
