/** Transactions as numbers: the flags of `translateFast`. */
import type { Transaction } from '../../base/types.ts'
import { PASID_LIMIT } from '../../base/types.ts'

export const READ = 0
export const WRITE = 1
/** Counts as a read without PASID, which has no place to say it. */
export const EXECUTE = 2
export const ACCESS_MASK = 3
/** Counts only with a PASID. */
export const PRIVILEGED = 4
export const ATS_REQUEST = 8
export const TRANSLATED = 16

/** DeviceIDs have 16 bits (an IOMMU serves one PCI segment), PASIDs 20: what does not fit never reaches an IOMMU. */
export function checkTransaction({ device, pasid = 0 }: Transaction): void {
  if (!Number.isInteger(device) || device < 0 || device > 0xffff)
    throw new RangeError(`device ${device}: a DeviceID is an integer from 0 to 0xffff (bus, device, function)`)
  if (!Number.isInteger(pasid) || pasid < 0 || pasid >= PASID_LIMIT)
    throw new RangeError(`PASID ${pasid}: an integer from 0 to 0xfffff; leave it out for a transaction without one`)
}

export function flagsOf({ access, privileged, kind }: Transaction): number {
  return (
    (access === 'write' ? WRITE : access === 'execute' ? EXECUTE : READ) |
    (privileged === true ? PRIVILEGED : 0) |
    (kind === 'ats-request' ? ATS_REQUEST : kind === 'translated' ? TRANSLATED : 0)
  )
}
