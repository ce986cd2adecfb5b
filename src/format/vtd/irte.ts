/** Interrupt remapping: table entries, posted-interrupt descriptors, and interrupt messages. Intel VT-d 4.1, sections 5.1, 9.10 to 9.12. */
import { addr, flag, layout, oneOf, uint } from '../../base/layout.ts'

const DELIVERY = { 0: 'fixed', 1: 'lowest priority', 2: 'SMI', 4: 'NMI', 5: 'INIT', 7: 'ExtINT' }
const SVT_NAMES = { 0: 'not checked', 1: 'SID and SQ', 2: 'bus range' }
const SQ_NAMES = { 0: 'all bits', 1: 'all but bit 2', 2: 'all but bits 2:1', 3: 'all but bits 2:0' }

/** IRTE.SVT: how the source-id of a request is checked. */
export const SVT_NONE = 0
export const SVT_SID = 1
export const SVT_BUS_RANGE = 2
/** Delivery modes. */
export const DLM_FIXED = 0
export const DLM_LOWEST = 1
export const DLM_SMI = 2
export const DLM_NMI = 4
export const DLM_INIT = 5
export const DLM_EXTINT = 7

const source = {
  SID: uint(79, 64, 'source-id that may ask for it; with bus range: first bus 15:8, last bus 7:0'),
  SQ: oneOf(81, 80, SQ_NAMES, 'which bits of the source-id are compared'),
  SVT: oneOf(83, 82, SVT_NAMES, 'how the source-id is checked'),
}

/** Interrupt remapping table entry of a remapped interrupt (IM = 0). */
export const IRTE_REMAPPED = layout('IRTE', 128, {
  P: flag(0, 'entry is present'),
  FPD: flag(1, 'qualified faults are not recorded'),
  DM: oneOf(2, 2, { 0: 'physical', 1: 'logical' }, 'destination mode'),
  RH: flag(3, 'redirection hint'),
  TM: oneOf(4, 4, { 0: 'edge', 1: 'level' }, 'trigger mode'),
  DLM: oneOf(7, 5, DELIVERY, 'delivery mode'),
  AVAIL: uint(11, 8, "software's own"),
  IM: oneOf(15, 15, { 0: 'remapped', 1: 'posted' }, 'form of the entry'),
  V: uint(23, 16, 'vector'),
  DST: uint(63, 32, 'destination APIC id; where IRTA.EIME is 0 it is bits 47:40 and the others are reserved'),
  ...source,
})

/** Interrupt remapping table entry of a posted interrupt (IM = 1). */
export const IRTE_POSTED = layout('IRTE, posted', 128, {
  P: flag(0, 'entry is present'),
  FPD: flag(1, 'qualified faults are not recorded'),
  AVAIL: uint(11, 8, "software's own"),
  URG: flag(14, 'urgent: notifies although the descriptor suppresses it'),
  IM: oneOf(15, 15, { 0: 'remapped', 1: 'posted' }, 'form of the entry'),
  V: uint(23, 16, 'virtual vector: which bit of PIR is set'),
  PDAL: addr(63, 38, 'posted-interrupt descriptor, address bits 31:6', 6),
  ...source,
  PDAH: addr(127, 96, 'posted-interrupt descriptor, address bits 63:32', 32),
})

/** Posted-interrupt descriptor: 64 bytes, one for each virtual CPU. */
export const PI_DESCRIPTOR = layout('posted-interrupt descriptor', 512, {
  PIR0: uint(63, 0, 'requested vectors 0 to 63'),
  PIR1: uint(127, 64, 'requested vectors 64 to 127'),
  PIR2: uint(191, 128, 'requested vectors 128 to 191'),
  PIR3: uint(255, 192, 'requested vectors 192 to 255'),
  ON: flag(256, 'a notification is under way'),
  SN: flag(257, 'no notifications but urgent ones'),
  NV: uint(279, 272, 'vector of the notification'),
  NDST: uint(319, 288, 'destination of the notification; where IRTA.EIME is 0 it is bits 15:8'),
})

export const IRTE_BYTES = 16
export const IRTE_P = 1 << 0
export const IRTE_FPD = 1 << 1
export const IRTE_IM = 1 << 15

/** Address of an interrupt message in remappable format (bit 4 is 1). Section 5.1.2.2. */
export const REMAPPABLE_ADDRESS = layout('interrupt address, remappable', 32, {
  HANDLE_HIGH: uint(2, 2, 'handle bit 15'),
  SHV: flag(3, 'the subhandle (data 15:0) is added to the handle'),
  FORMAT: oneOf(4, 4, { 0: 'compatibility', 1: 'remappable' }, 'interrupt format'),
  HANDLE: uint(19, 5, 'handle bits 14:0'),
  FEE: uint(31, 20, '0xfee'),
})

/** Address of an interrupt message in compatibility format (bit 4 is 0). Section 5.1.2.1. */
export const COMPATIBILITY_ADDRESS = layout('interrupt address, compatibility', 32, {
  DM: oneOf(2, 2, { 0: 'physical', 1: 'logical' }, 'destination mode'),
  RH: flag(3, 'redirection hint'),
  FORMAT: oneOf(4, 4, { 0: 'compatibility', 1: 'remappable' }, 'interrupt format'),
  DST: uint(19, 12, 'destination APIC id'),
  FEE: uint(31, 20, '0xfee'),
})

/** Data of an interrupt message in compatibility format. In remappable format bits 15:0 are the subhandle. */
export const INTERRUPT_DATA = layout('interrupt data', 32, {
  V: uint(7, 0, 'vector'),
  DLM: oneOf(10, 8, DELIVERY, 'delivery mode'),
  LEVEL: flag(14, 'level: assert'),
  TM: oneOf(15, 15, { 0: 'edge', 1: 'level' }, 'trigger mode'),
})
