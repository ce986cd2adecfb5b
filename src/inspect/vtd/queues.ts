/** Faults that the recording registers hold, page requests that wait, and errors that registers report. Intel VT-d 4.1, sections 7.2, 7.5, 11.4. */
import { hex } from '../../base/hex.ts'
import { decode, describe, getAddress, type Layout, wordsFromU64 } from '../../base/layout.ts'
import { faultReason } from '../../format/vtd/faults.ts'
import type { VtdFeatures } from '../../format/vtd/features.ts'
import { FAULT_RECORD, FAULT_RECORD_BYTES, PAGE_REQUEST } from '../../format/vtd/records.ts'
import {
  FSTS,
  faultOffset,
  faultRegisters,
  GSTS,
  ICS,
  IQERCD,
  PQA,
  PRS,
  RTADDR,
  TTM_ABORT_DMA,
  TTM_LEGACY,
  TTM_SCALABLE,
} from '../../format/vtd/registers.ts'
import type { EventView, Names } from '../graph.ts'
import type { Reading } from '../reading.ts'
import { reportPageRequests, ringBetween } from '../records.ts'
import type { RegisterFile } from '../registers.ts'
import { deviceName, type Findings, type MachineSource } from '../source.ts'

/** Faults of the recording registers, newest last as their numbers go. F says whether software has seen one; the rest stays. */
export function readFaults(source: MachineSource, cap: bigint, names: Names | undefined, findings: Findings): EventView[] {
  const events: EventView[] = []
  const base = faultOffset(cap)
  for (let at = 0; at < faultRegisters(cap); at++) {
    const offset = base + at * FAULT_RECORD_BYTES
    const low = source.register(offset, 8)
    const high = source.register(offset + 8, 8)
    if (low === null || high === null || (low | high) === 0n) continue
    events.push(faultView([low, high], offset, names))
  }
  const pending = events.filter((event) => event.pending).length
  if (events.length > 0) {
    const kinds = [...new Set(events.map(({ name }) => name))].join(', ')
    const which = pending === 0 ? 'cleared by software' : `${pending} not cleared yet`
    findings.add(
      pending > 0 ? 'warning' : 'note',
      'fault recording registers',
      `hold ${events.length} (${kinds}), ${which}`,
      'events',
    )
  }
  return events
}

const INTERRUPT_INDEX_SHIFT = 48n

function faultView(record: readonly [bigint, bigint], offset: number, names: Names | undefined): EventView {
  const words = wordsFromU64(record)
  const fields = decode(FAULT_RECORD, words)
  const reason = faultReason(Number(fields.FR))
  const device = Number(fields.SID)
  const pasid = fields.PP === 1 ? Number(fields.PV) : null
  const interrupt = reason?.group === 'interrupt'
  const address = fields.FI as bigint
  const parts = [
    deviceName(names, device),
    pasid === null ? null : `PASID ${pasid}`,
    fields.PP === 1 && fields.PRIV === 1 ? 'privileged' : null,
    interrupt ? 'interrupt' : typeText(Number(fields.T1), Number(fields.T2), fields.PP === 1 && fields.EXE === 1),
    interrupt ? hex(address >> INTERRUPT_INDEX_SHIFT) : hex(address),
  ].filter((part) => part !== null)
  const condition = reason?.condition ?? 'not defined by the manual'
  return {
    name: reason === null ? `fault reason ${hex(Number(fields.FR))}` : `${reason.name} (${hex(reason.code)})`,
    address: BigInt(offset),
    words: record,
    fields: describe(FAULT_RECORD, words),
    device,
    pasid,
    pending: fields.F === 1,
    text: `${parts.join(' ')}: ${condition}`,
  }
}

function typeText(t1: number, t2: number, execute: boolean): string {
  if (t1 === 0) return t2 === 0 ? 'write' : 'page request'
  return t2 === 1 ? 'AtomicOp' : execute ? 'execute' : 'read'
}

/** Page requests that wait for software. */
export function readPageRequests(reading: Reading, registers: RegisterFile): void {
  const log2Size = registers.field(PQA, 'PQS') + 7
  const index = (name: string) => (registers.number(name) % 2 ** 19) >>> 5
  const base = getAddress(wordsFromU64([registers.value('PQA')]), PQA.fields.PQA)
  reportPageRequests(
    reading,
    ringBetween(base, log2Size, PAGE_REQUEST.bits / 8, index('PQH'), index('PQT')),
    'page request queue',
    PAGE_REQUEST,
    (get) => `${deviceName(reading.names, Number(get('RID')))} for ${hex(get('ADDR'))}, group ${get('PRGI')}`,
  )
}

/** Bits that say that something is lost or stopped. */
const ERRORS: readonly (readonly [Layout, string, string])[] = [
  [FSTS, 'PFO', 'fault recording registers'],
  [FSTS, 'AFO', 'advanced fault log'],
  [FSTS, 'IQE', 'invalidation queue'],
  [FSTS, 'ICE', 'invalidation queue'],
  [FSTS, 'ITE', 'invalidation queue'],
  [PRS, 'PRO', 'page request queue'],
]

/** What the registers say that a reader should know. */
export function registerFindings(registers: RegisterFile, features: VtdFeatures, findings: Findings): void {
  registers.reportUnknown(['CAP', 'ECAP', 'GSTS', 'RTADDR'], findings)
  for (const [layout, flag, what] of ERRORS) {
    if (registers.field(layout, flag) === 0) continue
    const info =
      flag === 'IQE' ? `: ${IQERCD.fields.IQEI.names[registers.field(IQERCD, 'IQEI') as 0] ?? 'reserved'} (IQERCD.IQEI)` : ''
    const who = flag === 'ITE' ? `, of ${hex(registers.field(IQERCD, 'ITESID'))} (IQERCD.ITESID)` : ''
    findings.add('error', what, `${layout.name}.${flag} is 1: ${layout.fields[flag]!.doc}${info}${who}`, 'status')
  }
  if (registers.field(GSTS, 'QIES') === 1 && registers.value('IQH') !== registers.value('IQT'))
    findings.add('note', 'invalidation queue', 'descriptors wait to be consumed', 'queue')
  if (registers.field(ICS, 'IWC') === 1 && registers.known('ICS'))
    findings.add('note', 'invalidation queue', 'a wait descriptor completed, and software has not seen it (ICS.IWC)', 'queue')
  modeFindings(registers, features, findings)
}

function modeFindings(registers: RegisterFile, features: VtdFeatures, findings: Findings): void {
  if (registers.field(GSTS, 'TES') === 0) {
    findings.add('warning', 'GSTS.TES', 'translation is off: all traffic passes as it is', 'off')
    return
  }
  const mode = registers.field(RTADDR, 'TTM')
  if (mode === TTM_ABORT_DMA && features.abortDma)
    findings.add('warning', 'RTADDR.TTM', 'abort-DMA: all traffic is refused', 'off')
  else if (mode === TTM_SCALABLE && !features.scalable)
    findings.add('error', 'RTADDR.TTM', 'scalable mode, and ECAP.SMTS is 0: every request is refused (RTA.1)', 'mode')
  else if (mode !== TTM_LEGACY && mode !== TTM_SCALABLE)
    findings.add('error', 'RTADDR.TTM', `${mode} is not supported: every request is refused (RTA.1)`, 'mode')
}
