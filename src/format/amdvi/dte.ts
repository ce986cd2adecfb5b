/** Device table entry, 32 bytes. AMD IOMMU specification (48882), 2.2.2.1 "Device Table Entry Format". */
import { addr, flag, getBits, layout, oneOf, setBits, uint, type Words } from '../../base/layout.ts'

export const DTE_BYTES = 32
export const DTE_WORDS = 8

/** DTE.Mode: levels of the host page table; 0: none, an address is a system physical address. 7 is reserved. */
export const MODE_NONE = 0
export const MODE_RESERVED = 7
/** DTE.HAD. */
export const HAD_NONE = 0
export const HAD_ACCESSED = 1
export const HAD_ACCESSED_DIRTY = 3
/** DTE.GuestPagingMode: levels of the guest page tables. */
export const GUEST_4_LEVELS = 0
export const GUEST_5_LEVELS = 1
/** DTE.IntCtl: what becomes of fixed and arbitrated interrupts. */
export const INTCTL_ABORT = 0
export const INTCTL_FORWARD = 1
export const INTCTL_REMAP = 2
/** DTE.IoCtl: what becomes of port I/O. */
export const IOCTL_ABORT = 0
export const IOCTL_FORWARD = 1
export const IOCTL_TRANSLATE = 2
/** DTE.SysMgt: what becomes of system management messages. */
export const SYSMGT_ABORT = 0
export const SYSMGT_FORWARD_WRITES = 1
export const SYSMGT_FORWARD_INT = 2
export const SYSMGT_TRANSLATE = 3
/** DTE.IntTabLen is log2 of the table's entries; above this it is reserved. */
export const MAX_INT_TAB_LEN = 11

export const DTE = layout('DTE', 256, {
  V: flag(0, 'bits 127:1 are valid; 0: addresses pass untranslated'),
  TV: flag(1, 'translation fields are valid; 0 with V = 1: what needs a translation is aborted'),
  HAD: oneOf(8, 7, { 0: 'none', 1: 'A', 3: 'A and D' }, 'hardware sets A and D in the host tables'),
  Mode: oneOf(
    11,
    9,
    { 0: 'no host tables', 1: '1 level', 2: '2 levels', 3: '3 levels', 4: '4 levels', 5: '5 levels', 6: '6 levels' },
    'host page table',
  ),
  HostPageTableRootPtr: addr(51, 12, 'root of the host page table'),
  PPR: flag(52, 'page requests are allowed'),
  GPRP: flag(53, 'responses to page requests carry the PASID'),
  GIOV: flag(54, 'requests without PASID use GCR3 entry 0'),
  GV: flag(55, 'guest translation: the GCR3 table is valid'),
  GLX: oneOf(57, 56, { 0: '1 level', 1: '2 levels', 2: '3 levels' }, 'levels of the GCR3 table'),
  'GCR3TableRootPtr[14:12]': uint(60, 58, 'GCR3 table, address bits 14:12'),
  IR: flag(61, 'the device may read'),
  IW: flag(62, 'the device may write'),
  DomainID: uint(79, 64, 'tag of cached translations'),
  'GCR3TableRootPtr[30:15]': uint(95, 80, 'GCR3 table, address bits 30:15'),
  I: flag(96, 'ATS: translation requests and translated requests are allowed'),
  SE: flag(97, 'only the first page fault of the device is logged'),
  SA: flag(98, 'no page fault of the device is logged'),
  IoCtl: oneOf(100, 99, { 0: 'abort', 1: 'forward', 2: 'translate' }, 'port I/O'),
  Cache: flag(101, 'do not cache translations of this device (hint)'),
  SD: flag(102, 'translated addresses are not snooped'),
  EX: flag(103, 'the exclusion range is let through'),
  SysMgt: oneOf(105, 104, { 0: 'abort', 1: 'forward writes', 2: 'forward INTx', 3: 'translate' }, 'system management messages'),
  SATS: flag(106, 'secure ATS'),
  'GCR3TableRootPtr[51:31]': uint(127, 107, 'GCR3 table, address bits 51:31'),
  IV: flag(128, 'interrupt fields are valid; 0: interrupts pass unmapped'),
  IntTabLen: uint(132, 129, 'log2 of the interrupt table entries'),
  IG: flag(133, 'unmapped interrupts are aborted without an event'),
  InterruptTableRootPtr: addr(179, 134, 'interrupt remapping table', 6),
  GuestPagingMode: oneOf(183, 182, { 0: '4 levels', 1: '5 levels' }, 'levels of guest page tables'),
  InitPass: flag(184, 'INIT passes'),
  EIntPass: flag(185, 'ExtInt passes'),
  NMIPass: flag(186, 'NMI passes'),
  HPTMode: flag(187, 'host page table mode, a hint'),
  IntCtl: oneOf(189, 188, { 0: 'abort', 1: 'forward', 2: 'remap' }, 'fixed and arbitrated interrupts'),
  Lint0Pass: flag(190, 'LINT0 passes'),
  Lint1Pass: flag(191, 'LINT1 passes'),
  vImuEn: flag(207, 'the device belongs to a virtual IOMMU'),
  GDeviceID: uint(223, 208, 'DeviceID in the guest'),
  GuestID: uint(239, 224, 'guest'),
  AttrV: flag(246, 'Mode0FC and SnoopAttribute are valid'),
  Mode0FC: flag(247, 'forced coherency where Mode is 0'),
  SnoopAttribute: uint(255, 248, 'snoop attributes by the guest tables'),
})

/** Bits as masks of the entry's 32-bit words. */
export const DTE0_V = 1 << 0
export const DTE0_TV = 1 << 1
export const DTE1_PPR = 1 << 20
export const DTE1_GPRP = 1 << 21
export const DTE1_GIOV = 1 << 22
export const DTE1_GV = 1 << 23
export const DTE1_IR = 1 << 29
export const DTE1_IW = 1 << 30
export const DTE3_I = 1 << 0
export const DTE3_SE = 1 << 1
export const DTE3_SA = 1 << 2
export const DTE3_EX = 1 << 7
export const DTE4_IV = 1 << 0
export const DTE4_IG = 1 << 5
export const DTE5_INIT_PASS = 1 << 24
export const DTE5_EINT_PASS = 1 << 25
export const DTE5_NMI_PASS = 1 << 26

/** DTE.Mode. */
export function dteMode(words: Words, at = 0): number {
  return (words[at]! >>> 9) & 7
}

/** Address of the host page table: a double, exact. */
export function hostRoot(words: Words, at = 0): number {
  return (words[at + 1]! & 0xfffff) * 4294967296 + ((words[at]! & 0xfffff000) >>> 0)
}

/** DTE.GLX. */
export function dteGlx(words: Words, at = 0): number {
  return (words[at + 1]! >>> 24) & 3
}

/** DTE.DomainID. */
export function dteDomain(words: Words, at = 0): number {
  return words[at + 2]! & 0xffff
}

/** DTE.GuestPagingMode. */
export function dteGuestPagingMode(words: Words, at = 0): number {
  return (words[at + 5]! >>> 22) & 3
}

/** Address of the GCR3 table, gathered from its three fields: a double, exact. A guest physical address where Mode is not 0. */
export function gcr3Root(words: Words, at = 0): number {
  const low = (words[at + 1]! >>> 26) & 7
  const middle = words[at + 2]! >>> 16
  const high = words[at + 3]! >>> 11
  return high * 2 ** 31 + middle * 2 ** 15 + low * 4096
}

/** Spreads the address of a GCR3 table over its three fields. @throws RangeError when it is not that of a 4 KiB page below 2^52. */
export function setGcr3Root(words: Words, address: number, at = 0): void {
  if (address % 4096 !== 0 || address < 0 || address >= 2 ** 52)
    throw new RangeError(`DTE.GCR3TableRootPtr: 0x${address.toString(16)} is not the address of a 4 KiB page below 2^52`)
  setBits(words, 60, 58, (address / 4096) % 8, at)
  setBits(words, 95, 80, Math.floor(address / 2 ** 15) % 65536, at)
  setBits(words, 127, 107, Math.floor(address / 2 ** 31), at)
}

/** Address of the interrupt remapping table: a double, exact. */
export function interruptRoot(words: Words, at = 0): number {
  return (words[at + 5]! & 0xfffff) * 4294967296 + ((words[at + 4]! & 0xffffffc0) >>> 0)
}

/** Entries of the interrupt remapping table. */
export function interruptEntries(words: Words, at = 0): number {
  return 1 << ((words[at + 4]! >>> 1) & 15)
}

/** DTE.IntCtl. */
export function dteIntCtl(words: Words, at = 0): number {
  return getBits(words, 189, 188, at)
}
