/** Transactions and outcomes between the public types and the numbers that the translator works with. */
import { type Outcome, PASID_LIMIT, type Transaction } from '../../base/types.ts'
import { u64 } from '../../base/u64.ts'
import { ATS_REQUEST, EXECUTE, PRIVILEGED, READ, TRANSLATED, WRITE } from './config.ts'
import { DONE, type Translator } from './translate.ts'

/** StreamIDs have 32 bits, SubstreamIDs 20: what does not fit never reaches an SMMU. */
export function checkTransaction({ device, pasid = 0 }: Transaction): void {
  if (!Number.isInteger(device) || device < 0 || device > 0xffffffff)
    throw new RangeError(`device ${device}: a StreamID is an integer from 0 to 0xffffffff`)
  if (!Number.isInteger(pasid) || pasid < 0 || pasid >= PASID_LIMIT)
    throw new RangeError(`PASID ${pasid}: an integer from 0 to 0xfffff; leave it out for a transaction without one`)
}

/** The flags of `translateFast`. */
export function flagsOf(transaction: Transaction): number {
  const access = transaction.access === 'write' ? WRITE : transaction.access === 'execute' ? EXECUTE : READ
  const kind = transaction.kind === 'ats-request' ? ATS_REQUEST : transaction.kind === 'translated' ? TRANSLATED : 0
  return access | (transaction.privileged === true ? PRIVILEGED : 0) | kind
}

/** What a translator found, as the public type. */
export function outcomeOf(translator: Translator, status: number): Outcome {
  if (status !== DONE) return translator.fault!
  const { paHi, paLo, sizeLog2, rights, cached } = translator
  return { ok: true, pa: u64(paHi, paLo), sizeLog2, rights, cached }
}
