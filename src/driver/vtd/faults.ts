/** Fault records, page requests and errors of the IOMMU in the core's words. Intel VT-d 4.1, section 7. Nothing stalls here. */
import { hex } from '../../base/hex.ts'
import { decode, wordsToU64 } from '../../base/layout.ts'
import type { FaultReport, PageRequest } from '../../core/driver.ts'
import { faultReason } from '../../format/vtd/faults.ts'
import { FAULT_RECORD, FAULT_RECORD_BYTES, PAGE_REQUEST, RECORD_F } from '../../format/vtd/records.ts'
import { FSTS_ICE, FSTS_PFO, FSTS_PPF, faultOffset, faultRegisters, PRS_PPR, PRS_PRO, REG } from '../../format/vtd/registers.ts'
import { type FaultDecoding, report } from '../common/fault-queues.ts'
import type { Records } from '../common/record-queue.ts'
import { pageResponse } from './commands.ts'
import type { Registers } from './registers.ts'

/** T1 and T2 of a record. */
const TYPES = ['write', 'page request', 'read', 'AtomicOp']

/** Decodes a fault record. Reasons that the specification does not define give a report too. */
export function decodeFault(words: Uint32Array): FaultReport {
  const record = decode(FAULT_RECORD, words)
  const code = Number(record.FR)
  const reason = faultReason(code)
  const name = reason?.name ?? `fault reason ${hex(code)}`
  const device = Number(record.SID)
  const pasid = record.PP === 1 ? Number(record.PV) : null
  const interrupt = reason?.group === 'interrupt'
  const address = interrupt ? null : BigInt(record.FI)
  const who = `source-id ${hex(device)}${pasid === null ? '' : `, PASID ${hex(pasid)}`}`
  const how = FAULT_RECORD.fields.AT.names[Number(record.AT) as 0] ?? 'reserved address type'
  const what = interrupt
    ? `interrupt index ${Number(BigInt(record.FI) >> 48n)}`
    : `${how} ${TYPES[Number(record.T1) * 2 + Number(record.T2)]}${record.EXE === 1 ? ' (execute)' : ''} at ${hex(address!)}`
  const text = `${name} (fault reason ${hex(code)}): ${reason?.condition ?? 'not defined'}; ${who}, ${what}`
  return { device, pasid, address, code, name, record: wordsToU64(words), text }
}

/** Decodes a page request. Stop markers (last, neither read nor write) are passed on as they are. */
export function decodePageRequest(words: Uint32Array): PageRequest {
  const entry = decode(PAGE_REQUEST, words)
  return {
    device: Number(entry.RID),
    pasid: entry.PP === 1 ? Number(entry.PASID) : null,
    address: BigInt(entry.ADDR),
    group: Number(entry.PRGI),
    last: entry.LPIG === 1,
    read: entry.RD === 1,
    write: entry.WR === 1,
    execute: entry.EXE === 1,
    privileged: entry.PRIV === 1,
    stallTag: null,
  }
}

/** The fault recording registers: a ring of a few records inside the IOMMU, each free again when its F is cleared. Section 7.2.1. */
export function faultRecords(registers: Registers, cap: bigint): Records {
  const { mmio } = registers
  const first = faultOffset(cap)
  const count = faultRegisters(cap)
  const offsetOf = (index: number) => first + index * FAULT_RECORD_BYTES
  const read = (index: number, word: number) => Number(mmio.read(offsetOf(index) + word * 4, 4))
  const isPending = (index: number) => (read(index, 3) & RECORD_F) !== 0
  let next = 0
  return {
    next() {
      const status = registers.read('FSTS')
      if ((status & FSTS_PPF) === 0) return null
      // Records are written one after the other; where the hardware began anew, FRI says.
      if (!isPending(next)) next = ((status >>> 8) & 0xff) % count
      if (!isPending(next)) return null
      const words = Uint32Array.from({ length: FAULT_RECORD_BYTES / 4 }, (_, word) => read(next, word))
      mmio.write(offsetOf(next) + 12, 4, BigInt(RECORD_F >>> 0))
      next = (next + 1) % count
      return words
    },
    acknowledgeLoss() {
      if ((registers.read('FSTS') & FSTS_PFO) === 0) return false
      registers.write('FSTS', FSTS_PFO)
      return true
    },
  }
}

/** @param pages whether there are page requests. */
export function faultDecoding(registers: Registers, pages: boolean): FaultDecoding {
  return {
    pageRequests: 'page request',
    idName: 'source-id',
    lost: { name: 'PFO', text: 'all fault recording registers were in use: faults were lost' },
    event: (words) => ({ kind: 'fault', report: decodeFault(words) }),
    pageRequest: decodePageRequest,
    errors: () => acknowledge(registers, pages),
    refuseStall: () => null,
    refusePages: ({ device, pasid, group }) => pageResponse(device, pasid, group, 'failure'),
  }
}

/**
 * Acknowledges, before the queue is looked at, that page requests came, so that whatever comes later interrupts again. Errors of completions
 * are told; those that stop the invalidation queue are its own to deal with.
 */
function acknowledge(registers: Registers, pages: boolean): FaultReport[] {
  if (pages && (registers.read('PRS') & PRS_PPR) !== 0) registers.write('PRS', PRS_PPR)
  if ((registers.read('FSTS') & FSTS_ICE) === 0) return []
  const source = (registers.mmio.read(REG.IQERCD, 8) >> 48n) & 0xffffn
  registers.write('FSTS', FSTS_ICE)
  return [report('ICE', 0, `source-id ${hex(source)} completed a device-TLB invalidation that it was not asked for`, [])]
}

/** Page requests were lost; the hardware answered them. */
export function acknowledgeOverflow(registers: Registers): boolean {
  if ((registers.read('PRS') & PRS_PRO) === 0) return false
  registers.write('PRS', PRS_PRO)
  return true
}
