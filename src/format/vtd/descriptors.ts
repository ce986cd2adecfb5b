/**
 * Descriptors of the invalidation queue. Intel VT-d 4.1, sections 6.5.2 and 7.7. A queue holds descriptors of 128 bits (IQA.DW = 0) or
 * of 256 (IQA.DW = 1): then those that are declared here with 128 bits have 128 reserved ones above. Those with 256 bits exist in
 * queues of that width only.
 */
import { addr, flag, type Layout, layout, oneOf, uint } from '../../base/layout.ts'

export const TYPE_CONTEXT_CACHE = 1
export const TYPE_IOTLB = 2
export const TYPE_DEVICE_TLB = 3
export const TYPE_INTERRUPT_ENTRY = 4
export const TYPE_WAIT = 5
export const TYPE_PASID_IOTLB = 6
export const TYPE_PASID_CACHE = 7
export const TYPE_PASID_DEVICE_TLB = 8
export const TYPE_PAGE_GROUP_RESPONSE = 9

/** As the manual prints them. */
export const DESCRIPTOR_NAMES = {
  [TYPE_CONTEXT_CACHE]: 'cc_inv_dsc',
  [TYPE_IOTLB]: 'iotlb_inv_dsc',
  [TYPE_DEVICE_TLB]: 'dev_tlb_inv_dsc',
  [TYPE_INTERRUPT_ENTRY]: 'iec_inv_dsc',
  [TYPE_WAIT]: 'inv_wait_dsc',
  [TYPE_PASID_IOTLB]: 'p_iotlb_inv_dsc',
  [TYPE_PASID_CACHE]: 'pc_inv_dsc',
  [TYPE_PASID_DEVICE_TLB]: 'p_dev_tlb_inv_dsc',
  [TYPE_PAGE_GROUP_RESPONSE]: 'page_grp_resp_dsc',
}

const type = {
  TYPE: oneOf(3, 0, DESCRIPTOR_NAMES, 'type, bits 3:0'),
  TYPE_HIGH: uint(11, 9, 'type, bits 6:4: 0 in all that exist'),
}
/** Granularities. `cc_inv_dsc` and `iotlb_inv_dsc`. */
export const G_GLOBAL = 1
export const G_DOMAIN = 2
/** `cc_inv_dsc`: one device (SID, FM). */
export const G_DEVICE = 3
/** `iotlb_inv_dsc`: pages of one domain. */
export const G_PAGE = 3
/** `p_iotlb_inv_dsc`. */
export const G_PASID = 2
export const G_PASID_PAGE = 3
/** `pc_inv_dsc`. */
export const PC_G_DOMAIN = 0
export const PC_G_PASID = 1
export const PC_G_GLOBAL = 3

/** Context-cache invalidate. Section 6.5.2.1. */
export const CC_INV_DSC = layout('cc_inv_dsc', 128, {
  ...type,
  G: oneOf(5, 4, { 1: 'global', 2: 'domain', 3: 'device' }, 'granularity'),
  DID: uint(31, 16, 'domain id'),
  SID: uint(47, 32, 'source-id'),
  FM: oneOf(49, 48, { 0: 'none', 1: 'bit 2', 2: 'bits 2:1', 3: 'bits 2:0' }, 'bits of the function number that are not compared'),
})

/** PASID-cache invalidate. Section 6.5.2.2. */
export const PC_INV_DSC = layout('pc_inv_dsc', 256, {
  ...type,
  G: oneOf(5, 4, { 0: 'domain', 1: 'PASID', 3: 'global' }, 'granularity'),
  DID: uint(31, 16, 'domain id'),
  PASID: uint(51, 32, 'PASID'),
})

/** IOTLB invalidate. Section 6.5.2.3. */
export const IOTLB_INV_DSC = layout('iotlb_inv_dsc', 128, {
  ...type,
  G: oneOf(5, 4, { 1: 'global', 2: 'domain', 3: 'page' }, 'granularity'),
  DW: flag(6, 'drain writes'),
  DR: flag(7, 'drain reads'),
  DID: uint(31, 16, 'domain id'),
  AM: uint(69, 64, 'address mask: 2^AM pages'),
  IH: flag(70, 'hint: only leaf entries changed'),
  ADDR: addr(127, 76, 'page', 12),
})

/** PASID-based IOTLB invalidate. Section 6.5.2.4. */
export const P_IOTLB_INV_DSC = layout('p_iotlb_inv_dsc', 256, {
  ...type,
  G: oneOf(5, 4, { 2: 'PASID', 3: 'page' }, 'granularity'),
  DID: uint(31, 16, 'domain id'),
  PASID: uint(51, 32, 'PASID'),
  AM: uint(69, 64, 'address mask: 2^AM pages'),
  IH: flag(70, 'hint: only leaf entries changed'),
  ADDR: addr(127, 76, 'page', 12),
})

/** Device-TLB invalidate. Section 6.5.2.5. */
export const DEV_TLB_INV_DSC = layout('dev_tlb_inv_dsc', 128, {
  ...type,
  PFSID_LOW: uint(15, 12, 'source-id of the physical function, bits 3:0'),
  MIP: uint(20, 16, 'invalidations that the device takes at once (0: 32)'),
  SID: uint(47, 32, 'source-id'),
  PFSID_HIGH: uint(63, 52, 'source-id of the physical function, bits 15:4'),
  S: flag(64, 'more than a page: the lowest clear address bit gives the size'),
  ADDR: addr(127, 76, 'page', 12),
})

/** PASID-based device-TLB invalidate. Section 6.5.2.6. */
export const P_DEV_TLB_INV_DSC = layout('p_dev_tlb_inv_dsc', 256, {
  ...type,
  MIP: uint(8, 4, 'invalidations that the device takes at once (0: 32)'),
  PFSID_LOW: uint(15, 12, 'source-id of the physical function, bits 3:0'),
  SID: uint(31, 16, 'source-id'),
  PASID: uint(51, 32, 'PASID'),
  PFSID_HIGH: uint(63, 52, 'source-id of the physical function, bits 15:4'),
  G: flag(64, 'for all PASIDs'),
  S: flag(75, 'more than a page: the lowest clear address bit gives the size'),
  ADDR: addr(127, 76, 'page', 12),
})

/** Interrupt entry cache invalidate. Section 6.5.2.7. */
export const IEC_INV_DSC = layout('iec_inv_dsc', 128, {
  ...type,
  G: oneOf(4, 4, { 0: 'global', 1: 'index' }, 'granularity'),
  IM: uint(31, 27, 'index mask: 2^IM entries'),
  IIDX: uint(47, 32, 'first interrupt index'),
})

/** Invalidation wait. Section 6.5.2.8. */
export const INV_WAIT_DSC = layout('inv_wait_dsc', 128, {
  ...type,
  IF: flag(4, 'raises the invalidation completion event'),
  SW: flag(5, 'writes STDATA to STADDR'),
  FN: flag(6, 'fence: later descriptors wait for this one'),
  PD: flag(7, 'drains page requests (ECAP.PDS)'),
  STDATA: uint(63, 32, 'what is written'),
  STADDR: addr(127, 66, 'where it is written', 2),
})

/** Page group response. Section 7.7.1. */
export const PAGE_GRP_RESP_DSC = layout('page_grp_resp_dsc', 256, {
  ...type,
  PP: flag(4, 'PASID is valid'),
  RC: oneOf(15, 12, { 0: 'Success', 1: 'Invalid Request', 15: 'Response Failure' }, 'answer'),
  RID: uint(31, 16, 'source-id of the requester'),
  PASID: uint(51, 32, 'PASID'),
  LPIG: flag(66, 'the request was the last of its group'),
  PRGI: uint(75, 67, 'page request group index'),
})

/** By type. */
export const DESCRIPTORS: Readonly<Record<number, Layout>> = {
  [TYPE_CONTEXT_CACHE]: CC_INV_DSC,
  [TYPE_IOTLB]: IOTLB_INV_DSC,
  [TYPE_DEVICE_TLB]: DEV_TLB_INV_DSC,
  [TYPE_INTERRUPT_ENTRY]: IEC_INV_DSC,
  [TYPE_WAIT]: INV_WAIT_DSC,
  [TYPE_PASID_IOTLB]: P_IOTLB_INV_DSC,
  [TYPE_PASID_CACHE]: PC_INV_DSC,
  [TYPE_PASID_DEVICE_TLB]: P_DEV_TLB_INV_DSC,
  [TYPE_PAGE_GROUP_RESPONSE]: PAGE_GRP_RESP_DSC,
}

/** The type of the descriptor whose first word this is: seven bits in two places. */
export function descriptorType(word: number): number {
  return (word & 15) | ((word >>> 5) & 0x70)
}
