/** What the fault queue still holds, what waits in the page-request queue, and errors that registers report. RISC-V IOMMU 1.0. */
import { hex } from '../../base/hex.ts'
import { decode, describe, getAddress, type Layout, wordsFromU64, wordsToU64 } from '../../base/layout.ts'
import {
  CAUSES,
  FAULT_RECORD,
  isGuestPageFault,
  MESSAGE_PAGE_REQUEST,
  PAGE_REQUEST,
  TTYP_MESSAGE,
  TTYP_NONE,
} from '../../format/riscv/records.ts'
import { CQCSR, DDTP, DDTP_BARE, DDTP_OFF, FQB, FQCSR, PQB, PQCSR } from '../../format/riscv/registers.ts'
import type { EventView, Names } from '../graph.ts'
import type { Reading } from '../reading.ts'
import { type RecordReader, type RecordRing, readRecords, reportPageRequests, ringBetween } from '../records.ts'
import type { RegisterFile } from '../registers.ts'
import { deviceName, type Findings } from '../source.ts'

/** More than that a queue can have; a dump has not. */
const MOST_LOG2 = 24

function ring(registers: RegisterFile, base: Layout, head: string, tail: string, entryBytes: number): RecordRing {
  const log2Size = Math.min(MOST_LOG2, registers.field(base, 'LOG2SZ-1') + 1)
  const address = getAddress(wordsFromU64([registers.value(base.name)]), base.fields.PPN!)
  return ringBetween(address, log2Size, entryBytes, registers.number(head), registers.number(tail))
}

/** Records of the fault queue, newest first. */
export function readFaults(reading: Reading, registers: RegisterFile): EventView[] {
  const queue = ring(registers, FQB, 'fqh', 'fqt', FAULT_RECORD.bits / 8)
  return readRecords(reading, queue, 'fault queue', FAULTS)
}

const FAULTS: RecordReader = {
  name(words, at) {
    const cause = words[at]! & 0xfff
    return cause === 0 ? null : (CAUSES[cause] ?? `cause ${cause}`)
  },
  view: faultView,
}

function faultView(words: Int32Array, at: number, address: number, pending: boolean, names: Names | undefined): EventView {
  const record = decode(FAULT_RECORD, words, at)
  const type = Number(record.TTYP)
  const device = type === TTYP_NONE ? null : Number(record.DID)
  const pasid = record.PV === 1 ? Number(record.PID) : null
  const message = type === TTYP_MESSAGE
  const parts = [
    device === null ? null : deviceName(names, device),
    pasid === null ? null : `process_id ${pasid}`,
    record.PRIV === 1 ? 'privileged' : null,
    FAULT_RECORD.fields.TTYP.names[type as 0] ?? `transaction type ${type}`,
    message ? (BigInt(record.iotval) === BigInt(MESSAGE_PAGE_REQUEST) ? '(page request)' : null) : hex(BigInt(record.iotval)),
  ].filter((part) => part !== null)
  const name = CAUSES[Number(record.CAUSE)] ?? `cause ${record.CAUSE}`
  const guest = isGuestPageFault(Number(record.CAUSE)) ? `, guest address ${hex(BigInt(record.iotval2) & ~3n)}` : ''
  return {
    name,
    address: BigInt(address),
    words: wordsToU64(words, at, FAULT_RECORD.bits / 32),
    fields: describe(FAULT_RECORD, words, at),
    device,
    pasid,
    pending,
    text: `${parts.join(' ')}, cause ${record.CAUSE}${guest}`,
  }
}

/** Page requests that wait for software. */
export function readPageRequests(reading: Reading, registers: RegisterFile): void {
  const queue = ring(registers, PQB, 'pqh', 'pqt', PAGE_REQUEST.bits / 8)
  reportPageRequests(
    reading,
    queue,
    'page-request queue',
    PAGE_REQUEST,
    (get) => `${deviceName(reading.names, Number(get('DID')))} for ${hex(get('PageAddress'))}, group ${get('PRGI')}`,
  )
}

/** Errors that stop a queue, by CSR. */
const ERRORS: readonly (readonly [Layout, string, readonly string[]])[] = [
  [CQCSR, 'command queue', ['cqmf', 'cmd_to', 'cmd_ill']],
  [FQCSR, 'fault queue', ['fqmf', 'fqof']],
  [PQCSR, 'page-request queue', ['pqmf', 'pqof']],
]

/** What the registers say that a reader should know. */
export function registerFindings(registers: RegisterFile, findings: Findings): void {
  registers.reportUnknown(['capabilities', 'fctl', 'ddtp'], findings)
  for (const [layout, queue, flags] of ERRORS) {
    for (const flag of flags) {
      if (registers.field(layout, flag) === 1)
        findings.add(
          'error',
          queue,
          `stopped: ${layout.name}.${flag} (${layout.fields[flag]!.doc}); records or commands wait`,
          'csr',
        )
    }
  }
  if (registers.number('cqh') !== registers.number('cqt'))
    findings.add('note', 'command queue', 'commands wait to be consumed', 'cmdq')
  const mode = registers.field(DDTP, 'iommu_mode')
  if (mode === DDTP_OFF) findings.add('warning', 'ddtp.iommu_mode', 'Off: all traffic is refused', 'off')
  if (mode === DDTP_BARE) findings.add('warning', 'ddtp.iommu_mode', 'Bare: all traffic passes as it is', 'off')
}
