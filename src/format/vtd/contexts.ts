/** Context entries: what a function's requests go through. Intel VT-d 4.1, sections 9.3 and 9.4. */
import { addr, flag, layout, oneOf, uint } from '../../base/layout.ts'

/** CONTEXT_ENTRY.TT. */
export const TT_UNTRANSLATED = 0
export const TT_DEVICE_TLB = 1
export const TT_PASS_THROUGH = 2

/** Context entry of legacy mode. */
export const CONTEXT_ENTRY = layout('context entry', 128, {
  P: flag(0, 'entry is present'),
  FPD: flag(1, 'qualified faults are not recorded'),
  TT: oneOf(
    3,
    2,
    { 0: 'second stage, no device-TLB', 1: 'second stage, with device-TLB', 2: 'pass-through' },
    'what requests go through',
  ),
  SSPTPTR: addr(63, 12, 'root of the second stage'),
  AW: oneOf(
    66,
    64,
    { 1: '39-bit, 3-level', 2: '48-bit, 4-level', 3: '57-bit, 5-level' },
    'width and levels of the second stage; where TT is pass-through, the largest that is supported',
  ),
  AVAIL: uint(70, 67, "software's own"),
  DID: uint(87, 72, 'domain id, tag of cached entries'),
})

/** Context entry of scalable mode. */
export const SM_CONTEXT_ENTRY = layout('scalable-mode context entry', 256, {
  P: flag(0, 'entry is present'),
  FPD: flag(1, 'qualified faults are not recorded'),
  DTE: flag(2, 'translation requests and translated requests are allowed (device-TLB)'),
  PASIDE: flag(3, 'requests with PASID are allowed'),
  PRE: flag(4, 'page requests are allowed'),
  PDTS: uint(11, 9, 'size of the PASID directory: 2^(PDTS + 7) entries'),
  PASIDDIRPTR: addr(63, 12, 'PASID directory'),
  RID_PASID: uint(83, 64, 'PASID of requests without PASID'),
  RID_PRIV: flag(84, 'requests without PASID are privileged'),
})

export const CONTEXT_ENTRY_BYTES = 16
export const SM_CONTEXT_ENTRY_BYTES = 32
/** 32-bit words. */
export const CONTEXT_WORDS = 4
export const SM_CONTEXT_WORDS = 8

/** Bits of the first word, the same in both forms. */
export const CONTEXT_P = 1 << 0
export const CONTEXT_FPD = 1 << 1
/** Bits of the first word of a scalable-mode context entry. */
export const SM_CONTEXT_DTE = 1 << 2
export const SM_CONTEXT_PASIDE = 1 << 3
export const SM_CONTEXT_PRE = 1 << 4
/** Word 2 of a scalable-mode context entry. */
export const SM_CONTEXT_RID_PASID = 0xfffff
export const SM_CONTEXT_RID_PRIV = 1 << 20

/** PASIDs are below this by PDTS: 64 in each of the directory's entries. At most 2^20: PASIDs have no more bits. */
export function pasidLimit(pdts: number): number {
  return 1 << Math.min(pdts + 13, 20)
}
