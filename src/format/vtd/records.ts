/** What the hardware reports: fault records and page requests. Intel VT-d 4.1, sections 9.9, 11.4.7.6 and 7.5. */
import { addr, flag, layout, oneOf, uint } from '../../base/layout.ts'
import { FAULT_NAMES } from './faults.ts'

/** Fault recording register; an advanced fault log has the same records. For interrupts FI 63:48 is the index, in place of an address. */
export const FAULT_RECORD = layout('fault record', 128, {
  FI: addr(63, 12, 'page of the address; for an interrupt its index is in bits 63:48', 12),
  SID: uint(79, 64, 'source-id'),
  T2: flag(92, 'type: T1 T2 00 write, 01 page request, 10 read, 11 AtomicOp'),
  PRIV: flag(93, 'privileged, where PP is 1'),
  EXE: flag(94, 'execute, where PP is 1'),
  PP: flag(95, 'the request had a PASID'),
  FR: oneOf(103, 96, FAULT_NAMES, 'fault reason'),
  PV: uint(123, 104, 'PASID, where PP is 1'),
  AT: oneOf(125, 124, { 0: 'untranslated', 1: 'translation request', 2: 'translated' }, 'address type of the request'),
  T1: flag(126, 'type, see T2'),
  F: flag(127, 'a fault is recorded; written with 1 to clear'),
})

/** Masks of the fourth word (bits 127:96) and the third (95:64). */
export const RECORD_F = 1 << 31
export const RECORD_T1 = 1 << 30
export const RECORD_PP = 1 << 31
export const RECORD_EXE = 1 << 30
export const RECORD_PRIV = 1 << 29
export const RECORD_T2 = 1 << 28
/** FAULT_RECORD.AT. */
export const AT_UNTRANSLATED = 0
export const AT_TRANSLATION_REQUEST = 1
export const AT_TRANSLATED = 2

export const FAULT_RECORD_BYTES = 16

/** Descriptor of the page request queue. */
export const PAGE_REQUEST = layout('page request', 256, {
  TYPE: oneOf(7, 0, { 1: 'page_req_dsc' }, 'type'),
  PP: flag(8, 'PASID is valid'),
  RID: uint(31, 16, 'source-id'),
  PASID: uint(51, 32, 'PASID'),
  EXE: flag(52, 'execute access requested'),
  PRIV: flag(53, 'privileged mode requested'),
  RD: flag(64, 'read access requested'),
  WR: flag(65, 'write access requested'),
  LPIG: flag(66, 'last request of its group'),
  PRGI: uint(75, 67, 'page request group index'),
  ADDR: addr(127, 76, 'page', 12),
})

export const PAGE_REQUEST_BYTES = 32
export const PAGE_REQUEST_TYPE = 1
