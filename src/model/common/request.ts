/** Requests of devices as numbers, and what came of them in the words that all models share. */
import { type Words, wordsToU64 } from '../../base/layout.ts'
import { type Fault, type Outcome, PASID_LIMIT, type Transaction, type Translation } from '../../base/types.ts'
import { u64 } from '../../base/u64.ts'

/** Flags of `translateFast`. The first three bits are as wide as `need` tables are indexed by. */
export const READ = 0
export const WRITE = 1
/** Counts as a read where the request has no place to say it (without PASID). */
export const EXECUTE = 2
export const ACCESS_MASK = 3
/** As EXECUTE, counts only where the request can say it. */
export const PRIVILEGED = 4
export const ATS_REQUEST = 8
export const TRANSLATED = 16

/** What `translateFast` returns. */
export const DONE = 0
export const REFUSED = 1

/** A request as `translateFast` gets it. */
export interface Request {
  readonly device: number
  /** -1: none. */
  readonly pasid: number
  readonly hi: number
  readonly lo: number
  readonly flags: number
}

/** What came of a request that got through. */
export interface FastTranslation {
  readonly paHi: number
  readonly paLo: number
  readonly sizeLog2: number
  readonly rights: number
  readonly cached: boolean
}

/** What came of a request. Reused by the next one. */
export interface FastResult extends FastTranslation {
  /** Why it did not get through. */
  readonly fault: Fault | null
}

/** What an architecture calls who asks. */
export interface RequesterNames {
  /** `StreamID` and its largest value; `SubstreamID`. */
  readonly device: string
  readonly last: number
  readonly pasid: string
}

/** @throws RangeError for a device or PASID that does not fit into a request: it never reaches an IOMMU. */
export function checkTransaction({ device, pasid = 0 }: Transaction, names: RequesterNames): void {
  if (!Number.isInteger(device) || device < 0 || device > names.last)
    throw new RangeError(`${names.device} ${device}: an integer from 0 to 0x${names.last.toString(16)}`)
  if (!Number.isInteger(pasid) || pasid < 0 || pasid >= PASID_LIMIT)
    throw new RangeError(`${names.pasid} ${pasid}: an integer from 0 to 0xfffff; leave it out for a request without one`)
}

export function flagsOf({ access, privileged, kind }: Transaction): number {
  const what = access === 'write' ? WRITE : access === 'execute' ? EXECUTE : READ
  const type = kind === 'ats-request' ? ATS_REQUEST : kind === 'translated' ? TRANSLATED : 0
  return what | type | (privileged === true ? PRIVILEGED : 0)
}

export function translationOf({ paHi, paLo, sizeLog2, rights, cached }: FastTranslation): Translation {
  return { ok: true, pa: u64(paHi, paLo), sizeLog2, rights, cached }
}

export function outcomeOf(result: FastResult, status: number): Outcome {
  return status === DONE ? translationOf(result) : result.fault!
}

/** The part of a fault that says what was asked. */
type Asked = Pick<Fault, 'device' | 'pasid' | 'iova' | 'access' | 'privileged'>

export function askedBy({ device, pasid, iova, access, privileged = false }: Transaction): Asked {
  return { device, pasid: pasid ?? null, iova, access, privileged }
}

/** Why a request was refused, as far as that is the same everywhere. */
export interface Refused {
  /** 0: it is aborted, and there is no record of it ever. */
  readonly code: number
  readonly why: string
  readonly stage?: 1 | 2
  readonly level?: number
  readonly ipa?: bigint | null
  /** -1: none was read. */
  readonly entryAddress?: number
  readonly entry?: bigint | null
}

/** @param name of the code. */
export function faultOf(
  { device, pasid, hi, lo, flags }: Request,
  { code, why, stage, level, ipa, entryAddress = -1, entry }: Refused,
  name: string,
  record: Words | null,
  response: Fault['response'],
): Fault {
  const access = flags & ACCESS_MASK
  return {
    ok: false,
    code,
    name: code === 0 ? 'abort' : name,
    device,
    pasid: pasid < 0 ? null : pasid,
    iova: u64(hi, lo),
    access: access === WRITE ? 'write' : access === EXECUTE ? 'execute' : 'read',
    privileged: (flags & PRIVILEGED) !== 0,
    stage: stage ?? null,
    level: level ?? null,
    ipa: ipa ?? null,
    entryAddress: entryAddress < 0 ? null : BigInt(entryAddress),
    entry: entry ?? null,
    why,
    record: record === null ? null : wordsToU64(record),
    response,
  }
}
