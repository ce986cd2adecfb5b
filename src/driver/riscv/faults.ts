/** Records of the fault queue and the page-request queue in the core's words. RISC-V IOMMU 1.0. Nothing stalls here. */
import { hex } from '../../base/hex.ts'
import { decode, wordsToU64 } from '../../base/layout.ts'
import type { FaultReport, PageRequest } from '../../core/driver.ts'
import { CAUSES, FAULT_RECORD, isGuestPageFault, PAGE_REQUEST, TTYP_MESSAGE, TTYP_NONE } from '../../format/riscv/records.ts'
import { CSR_ENABLE, CSR_INTERRUPT, CSR_MEMORY_FAULT } from '../../format/riscv/registers.ts'
import { type FaultDecoding, report } from '../common/fault-queues.ts'
import { pageResponse } from './commands.ts'
import type { Registers } from './registers.ts'

/** Decodes a fault record. Causes that the specification does not define give a report too. */
export function decodeFault(words: Uint32Array): FaultReport {
  const record = decode(FAULT_RECORD, words)
  const code = Number(record.CAUSE)
  const type = Number(record.TTYP)
  // "If TTYP is no transaction or a message, the IOVA field is not an address."
  const device = type === TTYP_NONE ? null : Number(record.DID)
  const pasid = record.PV === 1 ? Number(record.PID) : null
  const address = type === TTYP_NONE || type === TTYP_MESSAGE ? null : BigInt(record.iotval)
  const name = CAUSES[code] ?? `cause ${code}`
  const who = device === null ? '' : `, device_id ${hex(device)}${pasid === null ? '' : `, process_id ${hex(pasid)}`}`
  const how = FAULT_RECORD.fields.TTYP.names[type as 0] ?? `transaction type ${type}`
  const where = address === null ? '' : ` at ${hex(address)}`
  const guest = isGuestPageFault(code) ? `, guest address ${hex(BigInt(record.iotval2) & ~3n)}` : ''
  const text = `${name} (cause ${code})${who}, ${how}${where}${guest}`
  return { device, pasid, address, code, name, record: wordsToU64(words), text }
}

/** Decodes a page request. Stop markers (last, neither read nor write) are passed on as they are. */
export function decodePageRequest(words: Uint32Array): PageRequest {
  const entry = decode(PAGE_REQUEST, words)
  return {
    device: Number(entry.DID),
    pasid: entry.PV === 1 ? Number(entry.PID) : null,
    address: BigInt(entry.PageAddress),
    group: Number(entry.PRGI),
    last: entry.L === 1,
    read: entry.R === 1,
    write: entry.W === 1,
    execute: entry.EXEC === 1,
    privileged: entry.PRIV === 1,
    stallTag: null,
  }
}

export function faultDecoding(registers: Registers): FaultDecoding {
  return {
    pageRequests: 'page request',
    idName: 'device_id',
    lost: { name: 'fqof', text: 'the fault queue overflowed: faults were lost' },
    event: (words) => ({ kind: 'fault', report: decodeFault(words) }),
    pageRequest: decodePageRequest,
    errors: () => acknowledge(registers),
    refuseStall: () => null,
    refusePages: ({ device, pasid, group }) => pageResponse(device, pasid, group, 'failure'),
  }
}

/**
 * "Guidelines for handling interrupts": what is pending is acknowledged before the queues are looked at, so that whatever comes later
 * interrupts again. Memory faults of the output queues are told and cleared; those of the command queue are its own to deal with.
 */
function acknowledge(registers: Registers): FaultReport[] {
  const pending = registers.read('ipsr')
  if (pending !== 0) registers.write('ipsr', pending)
  const reports: FaultReport[] = []
  for (const [name, what] of [
    ['fq', 'fault queue'],
    ['pq', 'page-request queue'],
  ] as const) {
    if ((registers.read(`${name}csr`) & CSR_MEMORY_FAULT) === 0) continue
    registers.write(`${name}csr`, CSR_ENABLE | CSR_INTERRUPT | CSR_MEMORY_FAULT)
    reports.push(report(`${name}mf`, 0, `a record could not be written to the ${what}; is that memory?`, []))
  }
  return reports
}
