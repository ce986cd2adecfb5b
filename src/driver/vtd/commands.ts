/** The descriptors that the driver puts into the invalidation queue. Intel VT-d 4.1, sections 6.5.2 and 7.7. */
import { encode } from '../../base/layout.ts'
import type { ResponseCode } from '../../core/driver.ts'
import {
  CC_INV_DSC,
  DEV_TLB_INV_DSC,
  G_DEVICE,
  G_DOMAIN,
  G_GLOBAL,
  G_PAGE,
  G_PASID,
  G_PASID_PAGE,
  INV_WAIT_DSC,
  IOTLB_INV_DSC,
  P_DEV_TLB_INV_DSC,
  P_IOTLB_INV_DSC,
  PAGE_GRP_RESP_DSC,
  PC_G_DOMAIN,
  PC_G_GLOBAL,
  PC_G_PASID,
  PC_INV_DSC,
  TYPE_CONTEXT_CACHE,
  TYPE_DEVICE_TLB,
  TYPE_IOTLB,
  TYPE_PAGE_GROUP_RESPONSE,
  TYPE_PASID_CACHE,
  TYPE_PASID_DEVICE_TLB,
  TYPE_PASID_IOTLB,
  TYPE_WAIT,
} from '../../format/vtd/descriptors.ts'
import { EVERYTHING, napot, type PowerRange } from '../common/power-of-two.ts'

export const contextCacheGlobal = () => encode(CC_INV_DSC, { TYPE: TYPE_CONTEXT_CACHE, G: G_GLOBAL })

/** One device's context entry. @param did the domain id that it had, in legacy mode. */
export const contextCacheDevice = (source: number, did: number) =>
  encode(CC_INV_DSC, { TYPE: TYPE_CONTEXT_CACHE, G: G_DEVICE, SID: source, DID: did })

export const pasidCacheGlobal = () => encode(PC_INV_DSC, { TYPE: TYPE_PASID_CACHE, G: PC_G_GLOBAL })

/** All PASID table entries with this domain id. */
export const pasidCacheDomain = (did: number) => encode(PC_INV_DSC, { TYPE: TYPE_PASID_CACHE, G: PC_G_DOMAIN, DID: did })

/** The entries of a PASID that had this domain id. */
export const pasidCache = (did: number, pasid: number) =>
  encode(PC_INV_DSC, { TYPE: TYPE_PASID_CACHE, G: PC_G_PASID, DID: did, PASID: pasid })

/** DR and DW: what devices read and wrote with the old translation is done when the invalidation is. */
export interface Draining {
  readonly DR: 0 | 1
  readonly DW: 0 | 1
}

export const iotlbGlobal = (draining: Draining) => encode(IOTLB_INV_DSC, { TYPE: TYPE_IOTLB, G: G_GLOBAL, ...draining })

/** Everything with this domain id, whichever stage it is of. */
export const iotlbDomain = (did: number, draining: Draining) =>
  encode(IOTLB_INV_DSC, { TYPE: TYPE_IOTLB, G: G_DOMAIN, DID: did, ...draining })

/** Second-stage translations of pages. @param leaf only leaves changed, no table was taken out. */
export const iotlbPages = (did: number, { address, size }: PowerRange, leaf: boolean, draining: Draining) =>
  encode(IOTLB_INV_DSC, { TYPE: TYPE_IOTLB, G: G_PAGE, DID: did, AM: size, IH: leaf ? 1 : 0, ADDR: address, ...draining })

/** First-stage, nested and pass-through translations of a PASID. */
export const pasidIotlb = (did: number, pasid: number) =>
  encode(P_IOTLB_INV_DSC, { TYPE: TYPE_PASID_IOTLB, G: G_PASID, DID: did, PASID: pasid })

export const pasidIotlbPages = (did: number, pasid: number, { address, size }: PowerRange, leaf: boolean) =>
  encode(P_IOTLB_INV_DSC, {
    TYPE: TYPE_PASID_IOTLB,
    G: G_PASID_PAGE,
    DID: did,
    PASID: pasid,
    AM: size,
    IH: leaf ? 1 : 0,
    ADDR: address,
  })

/**
 * What a device caches.
 * @param pasid null: no PASID, which takes the entries of all PASIDs with it. @param range null: all addresses.
 */
export function deviceTlb(source: number, pasid: number | null, range: PowerRange | null): Uint32Array {
  const { address, s } = napot(range ?? { address: 0n, size: EVERYTHING })
  // The physical function: hardware that throttles invalidations (ECAP.DIT) counts by it. Ours have no virtual functions.
  const device = { SID: source, PFSID_LOW: source & 15, PFSID_HIGH: (source >>> 4) & 0xfff }
  return pasid === null
    ? encode(DEV_TLB_INV_DSC, { TYPE: TYPE_DEVICE_TLB, ...device, S: s, ADDR: address })
    : encode(P_DEV_TLB_INV_DSC, { TYPE: TYPE_PASID_DEVICE_TLB, ...device, PASID: pasid, S: s, ADDR: address })
}

/** When all descriptors before it are complete, `data` is at `address`. */
export const waitStatus = (address: number, data: number) =>
  encode(INV_WAIT_DSC, { TYPE: TYPE_WAIT, SW: 1, STADDR: BigInt(address), STDATA: data })

/** Page requests that the IOMMU has received are in the page request queue when later wait descriptors complete (ECAP.PDS). */
export const drainPageRequests = () => encode(INV_WAIT_DSC, { TYPE: TYPE_WAIT, FN: 1, PD: 1 })

const RESPONSES: Record<ResponseCode, number> = { success: 0, invalid: 1, failure: 15 }

/** @param pasid null: the response carries none. */
export const pageResponse = (source: number, pasid: number | null, group: number, code: ResponseCode) =>
  encode(PAGE_GRP_RESP_DSC, {
    TYPE: TYPE_PAGE_GROUP_RESPONSE,
    PP: pasid === null ? 0 : 1,
    PASID: pasid ?? 0,
    RC: RESPONSES[code],
    RID: source,
    LPIG: 1,
    PRGI: group,
  })
