/** How captures of an Intel IOMMU name what they tell about its tables, and the faults that QEMU's model of it reported. */
import * as v from 'valibot'
import { hex } from '../../base/hex.ts'
import { getNumber, wordsFromU64 } from '../../base/layout.ts'
import type { Transaction } from '../../base/types.ts'
import {
  FR_ADDRESS_TOO_WIDE,
  FR_NO_READ,
  FR_NO_WRITE,
  FR_SM_NO_READ,
  FR_SM_NO_WRITE,
  FR_SS_ADDRESS_TOO_WIDE,
  FR_SS_NOT_PRESENT,
  faultReason,
} from '../../format/vtd/faults.ts'
import { FAULT_RECORD } from '../../format/vtd/records.ts'
import { REG, RTADDR, TTM_SCALABLE } from '../../format/vtd/registers.ts'
import type { SpaceNode } from '../../inspect/graph.ts'
import type { IommuModel } from '../../model/iommu.ts'
import type { Capture } from '../../node/index.ts'
import type { CheckList } from './contract.ts'
import type { FactNames } from './tables.ts'

const stage = (name: string) => (space: SpaceNode) => space.format === name

export const VTD_FACTS: FactNames = {
  deviceWords: 'ce',
  pasidWords: 'pe',
  deviceFields: {
    pdts: 'PDTS',
    pasid_dir: 'PASIDDIRPTR',
    rid_pasid: 'RID_PASID',
    dte: 'DTE',
    paside: 'PASIDE',
    pre: 'PRE',
  },
  pasidFields: { pgtt: 'PGTT', did: 'DID' },
  spaceFields: { tt: 'TT', did: 'DID' },
  space: { root: ({ root }) => root, levels: ({ levels }) => BigInt(levels) },
  formats: { 'vtd-fs': stage('VT-d first stage'), 'vtd-ss': stage('VT-d second stage') },
  structural: [],
}

const Traced = v.looseObject({
  sid: v.number(),
  reason: v.number(),
  iova: v.pipe(v.string(), v.regex(/^0x[0-9a-f]{1,16}$/i)),
  write: v.number(),
})

interface TracedFault {
  readonly sid: number
  readonly reason: number
  readonly iova: string
  readonly write: number
}

/** What the specification reports in scalable mode, where QEMU's second stage reports a reason of legacy mode. */
const SCALABLE: Readonly<Record<number, readonly number[]>> = {
  [FR_ADDRESS_TOO_WIDE]: [FR_SS_ADDRESS_TOO_WIDE],
  [FR_NO_WRITE]: [FR_SS_NOT_PRESENT, FR_SM_NO_WRITE],
  [FR_NO_READ]: [FR_SS_NOT_PRESENT, FR_SM_NO_READ],
}

/**
 * `faults_traced`: the fault reason that QEMU reported for an access without PASID. In scalable mode its second stage reports the reasons of
 * legacy mode: there the model must report what the specification has in their place.
 * @param model as the registers of the capture describe it.
 */
export function tracedFaultList(capture: Capture, model: IommuModel, explain: (transaction: Transaction) => string): CheckList {
  const given: unknown = capture.side.faults_traced
  const parsed = Array.isArray(given) ? given.map((item) => v.safeParse(Traced, item)) : []
  const items = parsed.flatMap((result): TracedFault[] => (result.success ? [result.output] : []))
  const rtaddr = wordsFromU64([capture.register(REG.RTADDR, 8) ?? 0n])
  const scalable = getNumber(rtaddr, RTADDR.fields.TTM) === TTM_SCALABLE
  const wanted = (reason: number) => (scalable && SCALABLE[reason]) || [reason]
  const renamed = items.filter(({ reason }) => !wanted(reason).includes(reason)).length
  return {
    name: 'faults_traced',
    count: items.length,
    check(at) {
      const { sid, reason, iova, write } = items[at]!
      const transaction: Transaction = { device: sid, iova: BigInt(iova), access: write === 1 ? 'write' : 'read' }
      const { outcome } = model.explain(transaction)
      const code = outcome.ok ? null : outcome.record === null ? outcome.code : recorded(outcome.record)
      if (code !== null && wanted(reason).includes(code)) return null
      const text = (number: number | null) =>
        number === null ? 'no fault' : `${faultReason(number)?.name ?? '?'} (${hex(number)})`
      return {
        kind: code === null ? 'does not fault' : 'another fault reason',
        item: `faults_traced[${at}] (device ${hex(sid)}, ${transaction.access} ${iova})`,
        expected: wanted(reason).map(text).join(' or '),
        actual: text(code),
        explain: () => explain(transaction),
      }
    },
    remarks: () =>
      renamed === 0
        ? []
        : [
            `faults_traced: ${renamed} of ${items.length} have reasons of legacy mode, which QEMU's second stage reports in scalable mode too: ` +
              'checked that the reason is the one that scalable mode has for it',
          ],
  }
}

/** The fault reason of a record. */
function recorded(record: readonly bigint[]): number {
  return getNumber(wordsFromU64(record), FAULT_RECORD.fields.FR)
}
