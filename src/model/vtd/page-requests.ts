/** Page requests of devices, and the page request queue. Intel VT-d, sections 6.5.3.1, 7.4 and 7.5. */
import { setBits } from '../../base/layout.ts'
import { NO_ANSWER, type WordMemory } from '../../base/memory.ts'
import { hi32, lo32, toDouble } from '../../base/u64.ts'
import { SM_CONTEXT_PRE } from '../../format/vtd/contexts.ts'
import * as fr from '../../format/vtd/faults.ts'
import { ridPasidOf, TableWalk } from '../../format/vtd/lookup.ts'
import { PGTT_FIRST_STAGE, PGTT_NESTED, pgttOf } from '../../format/vtd/pasid.ts'
import { PAGE_REQUEST as DESCRIPTOR, PAGE_REQUEST_BYTES, PAGE_REQUEST_TYPE } from '../../format/vtd/records.ts'
import { PRS_PPR, PRS_PRO, REG, TTM_ABORT_DMA, TTM_LEGACY, TTM_SCALABLE } from '../../format/vtd/registers.ts'
import { EXECUTE, PRIVILEGED } from '../common/request.ts'
import type { DeviceMessage, PageRequestMessage } from '../iommu.ts'
import type { Caches } from './caches.ts'
import { type ContextParts, domainOfPasid, ServingContext } from './contexts.ts'
import type { Events } from './events.ts'
import type { FaultLog } from './fault-log.ts'
import type { Registers } from './registers.ts'
import { PAGE_REQUEST } from './request.ts'

export interface PageRequestParts {
  readonly registers: Registers
  readonly memory: WordMemory
  readonly events: Events
  readonly faults: FaultLog
  readonly caches: Caches
  readonly send: (message: DeviceMessage) => void
}

export class PageRequests {
  readonly #parts: PageRequestParts
  readonly #tables: ContextParts
  readonly #context: ServingContext
  readonly #record = new Int32Array(PAGE_REQUEST_BYTES / 4)

  constructor(parts: PageRequestParts, tables: ContextParts) {
    this.#parts = parts
    this.#tables = tables
    this.#context = new ServingContext(tables, new TableWalk(), false)
  }

  /** Takes a page request or a stop marker. */
  receive(message: PageRequestMessage): void {
    const { registers, faults } = this.#parts
    // Messages other than untranslated requests are unsupported requests while nothing is enabled, or there are no page requests.
    if (!registers.translating || !registers.features.pageRequests) {
      this.#answer(message, 'failure')
      return
    }
    const reason = this.#locate(message)
    if (reason !== 0) {
      if (faults.reported(reason, this.#context.quiet)) {
        const { device, pasid, address, privileged, execute } = message
        const flags = PAGE_REQUEST | (privileged ? PRIVILEGED : 0) | (execute ? EXECUTE : 0)
        faults.fill(reason, device, pasid ?? -1, hi32(address), lo32(address), flags)
        faults.push()
      }
      this.#answer(message, 'invalid')
      return
    }
    const status = registers.at(REG.PRS)
    if ((status & PRS_PRO) !== 0) {
      this.#answer(message, 'success')
      return
    }
    const size = 4096 << (registers.at(REG.PQA) & 7)
    const tail = registers.at(REG.PQT)
    const next = tail + PAGE_REQUEST_BYTES >= size ? 0 : tail + PAGE_REQUEST_BYTES
    if (next === registers.at(REG.PQH) || !this.#write(message, tail)) {
      this.#set(PRS_PRO)
      this.#answer(message, 'success')
      return
    }
    registers.put(REG.PQT, next)
    this.#forget(message)
    this.#set(PRS_PPR)
  }

  /** PPR or PRO becomes 1, with an event unless one of them was. */
  #set(bit: number): void {
    const { registers, events } = this.#parts
    const status = registers.at(REG.PRS)
    registers.put(REG.PRS, status | bit)
    if ((status & (PRS_PPR | PRS_PRO)) === 0) events.raise(REG.PECTL)
  }

  /** Finds the context entry and the PASID table entry. @returns 0, or the reason. */
  #locate({ device, pasid }: PageRequestMessage): number {
    const { registers } = this.#parts
    const { features, ttm } = registers
    const context = this.#context
    context.quiet = false
    if (ttm === TTM_LEGACY) return fr.FR_LEGACY_PAGE_REQUEST
    if (ttm === TTM_ABORT_DMA) return features.abortDma ? fr.FR_ABORT_DMA : fr.FR_RTADDR_INVALID
    if (ttm !== TTM_SCALABLE || !features.scalable) return fr.FR_RTADDR_INVALID
    let reason = context.findContext(device)
    if (reason !== 0) return reason
    const { words } = this.#tables.contexts
    const { at } = context
    if ((words[at]! & SM_CONTEXT_PRE) === 0) return fr.FR_SM_NO_PRE
    reason = context.pasidReason(words, at, pasid ?? -1)
    if (reason !== 0) return reason
    context.pasidUsed = pasid ?? ridPasidOf(words, features, at)
    return context.findPasid(device, context.pasidUsed, at)
  }

  /** "To remove such stale mappings, remapping hardware performs a suitable implicit IOTLB invalidation" (table 27). */
  #forget({ address }: PageRequestMessage): void {
    const { caches } = this.#parts
    const { at, pasidUsed } = this.#context
    const { words } = this.#tables.pasids
    const did = domainOfPasid(words, at)
    const page = Number(BigInt.asUintN(64, address) >> 12n)
    const pgtt = pgttOf(words[at]!)
    if (pgtt === PGTT_FIRST_STAGE) caches.pagesOfPasid(did, pasidUsed, page, 0)
    else if (pgtt === PGTT_NESTED) caches.translationsOfDomain(did)
    else caches.pagesOfDomain(did, page, 0)
  }

  /** Writes a descriptor. @returns false when nothing answers there. */
  #write(message: PageRequestMessage, tail: number): boolean {
    const { registers, memory } = this.#parts
    const record = this.#record.fill(0)
    const f = DESCRIPTOR.fields
    const set = (field: { readonly msb: number; readonly lsb: number }, value: number) =>
      setBits(record, field.msb, field.lsb, value)
    set(f.TYPE, PAGE_REQUEST_TYPE)
    set(f.RID, message.device & 0xffff)
    if (message.pasid !== null) {
      set(f.PP, 1)
      set(f.PASID, message.pasid)
      set(f.PRIV, message.privileged ? 1 : 0)
      set(f.EXE, message.execute ? 1 : 0)
    }
    set(f.RD, message.read ? 1 : 0)
    set(f.WR, message.write ? 1 : 0)
    set(f.LPIG, message.last ? 1 : 0)
    set(f.PRGI, message.group & 0x1ff)
    record[2] = record[2]! | (lo32(message.address) & ~0xfff)
    record[3] = hi32(message.address)
    const base = toDouble(registers.at(REG.PQA + 4), registers.at(REG.PQA) & ~0xfff)
    const pa = base + tail
    const index = pa >= registers.features.hostLimit ? NO_ANSWER : memory.indexForWrite(pa, PAGE_REQUEST_BYTES)
    if (index < 0) return false
    memory.words.set(record, index)
    return true
  }

  /** The hardware's own answer: none to a request that is not the last of its group, nor to a stop marker (table 31). */
  #answer({ device, pasid, group, last, read, write }: PageRequestMessage, code: 'success' | 'invalid' | 'failure'): void {
    if (!last || (!read && !write)) return
    this.#parts.send({ kind: 'page-response', device, pasid, group, code })
  }

  /** PRS was cleared. */
  statusCleared(): void {
    const { registers, events } = this.#parts
    if ((registers.at(REG.PRS) & (PRS_PPR | PRS_PRO)) === 0) events.served(REG.PECTL)
  }
}
