/** PASID directory and PASID table entries of scalable mode. Intel VT-d 4.1, sections 9.5 and 9.6. */
import { addr, flag, layout, oneOf, uint } from '../../base/layout.ts'

/** PASID_ENTRY.PGTT. */
export const PGTT_FIRST_STAGE = 1
export const PGTT_SECOND_STAGE = 2
export const PGTT_NESTED = 3
export const PGTT_PASS_THROUGH = 4
/** PASID_ENTRY.FSPM. */
export const FSPM_4_LEVEL = 0
export const FSPM_5_LEVEL = 1

/** Entry of a PASID directory: a table of 64 PASIDs. */
export const PASID_DIR_ENTRY = layout('PASID directory entry', 64, {
  P: flag(0, 'entry is present'),
  FPD: flag(1, 'qualified faults are not recorded'),
  SMPTBLPTR: addr(63, 12, 'PASID table'),
})

/** Entry of a PASID table: one address space. Bits that an IOMMU lacks (ECAP) are reserved in it. */
export const PASID_ENTRY = layout('PASID table entry', 512, {
  P: flag(0, 'entry is present'),
  FPD: flag(1, 'qualified faults are not recorded'),
  AW: oneOf(4, 2, { 1: '39-bit, 3-level', 2: '48-bit, 4-level', 3: '57-bit, 5-level' }, 'width and levels of the second stage'),
  SSEE: flag(5, 'the second stage has execute rights (ECAP.ERS; reserved since revision 4)'),
  PGTT: oneOf(
    8,
    6,
    { 1: 'first stage', 2: 'second stage', 3: 'nested', 4: 'pass-through' },
    'what requests with this PASID go through',
  ),
  SSADE: flag(9, 'hardware sets A and D in the second stage (ECAP.SSADS)'),
  SSPTPTR: addr(63, 12, 'root of the second stage'),
  DID: uint(79, 64, 'domain id, tag of cached entries'),
  PWSNP: flag(87, 'page walks snoop the caches of the CPUs (ECAP.SMPWCS)'),
  PGSNP: flag(88, 'accesses to the pages snoop the caches of the CPUs (ECAP.SC)'),
  CD: flag(89, 'memory types are not cached (ECAP.MTS)'),
  EMTE: flag(90, 'second-stage memory types count (ECAP.MTS)'),
  EMT: uint(93, 91, 'memory type of second-stage tables (ECAP.MTS)'),
  PWT: flag(94, 'memory type of the first-stage root: write-through (ECAP.MTS)'),
  PCD: flag(95, 'memory type of the first-stage root: not cached (ECAP.MTS)'),
  PAT: uint(127, 96, 'page attribute table of the first stage (ECAP.MTS)'),
  SRE: flag(128, 'privileged requests are allowed (ECAP.SRS)'),
  ERE: flag(129, 'execute requests are allowed (ECAP.ERS; reserved since revision 4)'),
  FSPM: oneOf(131, 130, { 0: '4-level', 1: '5-level' }, 'levels of the first stage'),
  WPE: flag(132, 'privileged writes need a writable page, as CR0.WP'),
  NXE: flag(133, 'first-stage entries have execute-disable bits (ECAP.ERS; reserved since revision 4)'),
  SMEP: flag(134, 'privileged execution of user pages is refused (ECAP.ERS; reserved since revision 4)'),
  EAFE: flag(135, 'hardware sets EA in the first stage (ECAP.EAFS)'),
  FSPTPTR: addr(191, 140, 'root of the first stage'),
})

export const PASID_DIR_ENTRY_BYTES = 8
export const PASID_ENTRY_BYTES = 64
/** 32-bit words. */
export const PASID_WORDS = 16

/** Bits of the first word of both. */
export const PASID_P = 1 << 0
export const PASID_FPD = 1 << 1
/** Further bits of the first word of a PASID table entry. */
export const PASID_SSEE = 1 << 5
export const PASID_SSADE = 1 << 9
/** Bits of the third word of a PASID table entry (bits 95:64). */
export const PASID_PWSNP = 1 << 23
/** Bits of its fifth word (bits 159:128). */
export const PASID_SRE = 1 << 0
export const PASID_ERE = 1 << 1
export const PASID_WPE = 1 << 4
export const PASID_NXE = 1 << 5
export const PASID_SMEP = 1 << 6
export const PASID_EAFE = 1 << 7

/** The low words' fields, of an entry whose first word is `low`. */
export function pgttOf(low: number): number {
  return (low >>> 6) & 7
}
export function awOf(low: number): number {
  return (low >>> 2) & 7
}
