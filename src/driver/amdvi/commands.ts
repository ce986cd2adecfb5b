/** The commands that the driver sends. AMD IOMMU specification (48882), 2.4 "Commands". */
import { encode } from '../../base/layout.ts'
import type { ResponseCode } from '../../core/driver.ts'
import {
  COMPLETE_PPR_REQUEST,
  COMPLETION_WAIT,
  INVALIDATE_DEVTAB_ENTRY,
  INVALIDATE_IOMMU_ALL,
  INVALIDATE_IOMMU_PAGES,
  INVALIDATE_IOTLB_PAGES,
  OP_COMPLETE_PPR_REQUEST,
  OP_COMPLETION_WAIT,
  OP_INVALIDATE_DEVTAB_ENTRY,
  OP_INVALIDATE_IOMMU_ALL,
  OP_INVALIDATE_IOMMU_PAGES,
  OP_INVALIDATE_IOTLB_PAGES,
  PPR_FAILURE,
  PPR_INVALID,
  PPR_SUCCESS,
  setIotlbPasid,
} from '../../format/amdvi/commands.ts'
import { EVERYTHING, napot, type PowerRange } from '../common/power-of-two.ts'

/** Invalidations that a device has room for: what PCI Express calls an invalidate queue depth of 0. */
const MAXPEND = 32

/** When all commands before it are complete, `data` is at `address`. */
export const completionWait = (address: number, data: number) =>
  encode(COMPLETION_WAIT, { OpCode: OP_COMPLETION_WAIT, S: 1, StoreAddress: BigInt(address), StoreData: BigInt(data) })

/** A device table entry, and all that was fetched through it but translations. */
export const invalidateDevice = (device: number) =>
  encode(INVALIDATE_DEVTAB_ENTRY, { OpCode: OP_INVALIDATE_DEVTAB_ENTRY, DeviceID: device })

export const invalidateAll = () => encode(INVALIDATE_IOMMU_ALL, { OpCode: OP_INVALIDATE_IOMMU_ALL })

/** @param range null: all addresses. */
const addressOf = (range: PowerRange | null) => {
  const { address, s } = napot(range ?? { address: 0n, size: EVERYTHING })
  return { Address: address, S: s }
}

/**
 * Translations of a domain, in guest tables of this PASID, or (null) in host tables.
 * @param above entries above the leaves too, which those of GCR3 tables count among.
 */
export const invalidatePages = (domain: number, pasid: number | null, range: PowerRange | null, above: boolean) =>
  encode(INVALIDATE_IOMMU_PAGES, {
    OpCode: OP_INVALIDATE_IOMMU_PAGES,
    DomainID: domain,
    PASID: pasid ?? 0,
    GN: pasid === null ? 0 : 1,
    PDE: above ? 1 : 0,
    ...addressOf(range),
  })

/** What a device caches. @param pasid null: no PASID, which takes the entries of all PASIDs with it. */
export function invalidateAtc(device: number, pasid: number | null, range: PowerRange | null): Uint32Array {
  const words = encode(INVALIDATE_IOTLB_PAGES, {
    OpCode: OP_INVALIDATE_IOTLB_PAGES,
    DeviceID: device,
    // The queue that hardware throttles invalidations by: the device's own.
    QueueID: device,
    Maxpend: MAXPEND,
    GN: pasid === null ? 0 : 1,
    ...addressOf(range),
  })
  setIotlbPasid(words, pasid ?? 0)
  return words
}

const RESPONSES: Record<ResponseCode, number> = { success: PPR_SUCCESS, invalid: PPR_INVALID, failure: PPR_FAILURE }

/** @param pasid null: the response carries none. */
export const completePpr = (device: number, pasid: number | null, group: number, code: ResponseCode) =>
  encode(COMPLETE_PPR_REQUEST, {
    OpCode: OP_COMPLETE_PPR_REQUEST,
    DeviceID: device,
    PASID: pasid ?? 0,
    GN: pasid === null ? 0 : 1,
    CompletionTag: group,
    Response: RESPONSES[code],
  })
