/**
 * The invalidation queue. Intel VT-d, section 6.5.2. Descriptors are done in order; a wait descriptor holds the queue until device-TLB
 * invalidations before it are answered, and one of these until an ITag is free.
 */
import { getBits, getNumber, type Layout, setBits, uncovered } from '../../base/layout.ts'
import { indexForWrite4, NO_ANSWER, type WordMemory } from '../../base/memory.ts'
import { toDouble, u64 } from '../../base/u64.ts'
import * as dsc from '../../format/vtd/descriptors.ts'
import {
  FSTS_ICE,
  FSTS_IQE,
  FSTS_ITE,
  ICS_IWC,
  IQA,
  IQEI_ALIGNMENT,
  IQEI_FETCH,
  IQEI_RESERVED,
  IQEI_TAIL,
  IQEI_TTM,
  IQEI_TYPE,
  IQEI_WIDTH,
  IQERCD,
  REG,
  TTM_ABORT_DMA,
  TTM_LEGACY,
  TTM_SCALABLE,
} from '../../format/vtd/registers.ts'
import { Invalidations, invalidationRange } from '../common/invalidations.ts'
import type { DeviceMessage } from '../iommu.ts'
import type { Caches } from './caches.ts'
import type { Events } from './events.ts'
import type { FaultLog } from './fault-log.ts'
import type { InterruptRemapping } from './interrupts.ts'
import { firstPage } from './register-commands.ts'
import type { Registers } from './registers.ts'

export interface QueueParts {
  readonly registers: Registers
  readonly memory: WordMemory
  readonly events: Events
  readonly faults: FaultLog
  readonly caches: Caches
  readonly interrupts: InterruptRemapping
  readonly send: (message: DeviceMessage) => void
}

/** What a descriptor leads to, beside errors (IQEI_…). */
const DONE = 0
/** It cannot go on until a device answers. */
const WAITS = -1

const WORDS = 8
/** Bits that must be zero, for descriptors of 256 bits. */
const RESERVED: Readonly<Record<number, Uint32Array>> = Object.fromEntries(
  Object.entries(dsc.DESCRIPTORS).map(([type, layout]) => {
    const words = new Uint32Array(WORDS).fill(0xffffffff)
    words.set(uncovered(layout))
    return [type, words]
  }),
)

export class InvalidationQueue {
  readonly #parts: QueueParts
  readonly #tags: Invalidations
  readonly #descriptor = new Int32Array(WORDS)

  /** @param tags ITags: device-TLB invalidations that can be under way. */
  constructor(parts: QueueParts, tags: number) {
    this.#parts = parts
    this.#tags = new Invalidations(tags)
  }

  /** Does one descriptor. @returns false when there is none, or the queue is stopped or waits. */
  step(): boolean {
    const { registers } = this.#parts
    if (!registers.queueing || (registers.at(REG.FSTS) & (FSTS_IQE | FSTS_ITE)) !== 0) return false
    const head = registers.at(REG.IQH)
    const tail = registers.at(REG.IQT)
    if (head === tail) return false
    const outcome = this.#process(head, tail)
    if (outcome === WAITS) return false
    if (outcome !== DONE) {
      registers.putQueueError(outcome)
      this.#parts.faults.queueError(FSTS_IQE)
      return true
    }
    const next = head + this.#bytes
    registers.put(REG.IQH, next >= this.#size ? 0 : next)
    return true
  }

  /** Bytes of a descriptor, and of the queue. */
  get #bytes(): number {
    return getNumber(this.#parts.registers.words, IQA.fields.DW, REG.IQA / 4) === 1 ? 32 : 16
  }
  get #size(): number {
    return 4096 << getNumber(this.#parts.registers.words, IQA.fields.QS, REG.IQA / 4)
  }

  #process(head: number, tail: number): number {
    const { registers } = this.#parts
    const { ttm } = registers
    const { scalable, abortDma } = registers.features
    const wide = this.#bytes === 32
    const legal = ttm === TTM_LEGACY || (ttm === TTM_SCALABLE && scalable) || (ttm === TTM_ABORT_DMA && abortDma)
    if (!legal) return IQEI_TTM
    if (wide ? !scalable && !abortDma : ttm !== TTM_LEGACY) return IQEI_WIDTH
    if (wide && (tail & 16) !== 0) return IQEI_ALIGNMENT
    if (tail >= this.#size) return IQEI_TAIL
    if (!this.#fetch(head, wide)) return IQEI_FETCH
    const type = dsc.descriptorType(this.#descriptor[0]!)
    if (!this.#exists(type, ttm)) return IQEI_TYPE
    if (this.#reservedSet(type)) return IQEI_RESERVED
    return this.#execute(type)
  }

  #fetch(head: number, wide: boolean): boolean {
    const { registers, memory } = this.#parts
    const pa = toDouble(registers.at(REG.IQA + 4), registers.at(REG.IQA) & ~0xfff) + head
    const count = wide ? 8 : 4
    const index = pa >= registers.features.hostLimit ? NO_ANSWER : memory.index(pa, count * 4)
    if (index < 0) return false
    const { words } = memory
    for (let word = 0; word < WORDS; word++) this.#descriptor[word] = word < count ? words[index + word]! : 0
    return true
  }

  /** Whether there is such a descriptor, in this mode (table 26) and with these capabilities. */
  #exists(type: number, ttm: number): boolean {
    const { deviceTlb, pageRequests, interruptRemapping } = this.#parts.registers.features
    switch (type) {
      case dsc.TYPE_CONTEXT_CACHE:
      case dsc.TYPE_IOTLB:
      case dsc.TYPE_WAIT:
        return true
      case dsc.TYPE_DEVICE_TLB:
        return deviceTlb
      case dsc.TYPE_INTERRUPT_ENTRY:
        return interruptRemapping
      case dsc.TYPE_PASID_IOTLB:
      case dsc.TYPE_PASID_CACHE:
        return ttm !== TTM_LEGACY
      case dsc.TYPE_PASID_DEVICE_TLB:
        return ttm !== TTM_LEGACY && deviceTlb
      case dsc.TYPE_PAGE_GROUP_RESPONSE:
        return ttm !== TTM_LEGACY && pageRequests
      default:
        return false
    }
  }

  #reservedSet(type: number): boolean {
    const { registers } = this.#parts
    const zero = RESERVED[type]!
    for (let word = 0; word < WORDS; word++) if ((this.#descriptor[word]! & zero[word]!) !== 0) return true
    if (type === dsc.TYPE_WAIT) return registers.ecap('PDS') === 0 && this.#field(dsc.INV_WAIT_DSC, 'PD') === 1
    const throttled = type === dsc.TYPE_DEVICE_TLB || type === dsc.TYPE_PASID_DEVICE_TLB
    if (!throttled || registers.ecap('DIT') === 1) return false
    const form = type === dsc.TYPE_DEVICE_TLB ? dsc.DEV_TLB_INV_DSC : dsc.P_DEV_TLB_INV_DSC
    return (this.#field(form, 'PFSID_LOW') | this.#field(form, 'PFSID_HIGH')) !== 0
  }

  #field<L extends Layout>(layout: L, name: keyof L['fields'] & string): number {
    const { msb, lsb } = layout.fields[name]!
    return getBits(this.#descriptor, msb, lsb)
  }

  #execute(type: number): number {
    switch (type) {
      case dsc.TYPE_CONTEXT_CACHE:
        return this.#contextCache()
      case dsc.TYPE_PASID_CACHE:
        return this.#pasidCache()
      case dsc.TYPE_IOTLB:
        return this.#iotlb()
      case dsc.TYPE_PASID_IOTLB:
        return this.#pasidIotlb()
      case dsc.TYPE_DEVICE_TLB:
        return this.#deviceTlb(this.#field(dsc.DEV_TLB_INV_DSC, 'SID'), null, this.#field(dsc.DEV_TLB_INV_DSC, 'S') === 1)
      case dsc.TYPE_PASID_DEVICE_TLB: {
        const form = dsc.P_DEV_TLB_INV_DSC
        const pasid = this.#field(form, 'G') === 1 ? null : this.#field(form, 'PASID')
        return this.#deviceTlb(this.#field(form, 'SID'), pasid, this.#field(form, 'S') === 1)
      }
      case dsc.TYPE_INTERRUPT_ENTRY:
        return this.#interruptEntries()
      case dsc.TYPE_WAIT:
        return this.#wait()
      default:
        return this.#pageGroupResponse()
    }
  }

  #contextCache(): number {
    const { caches } = this.#parts
    const field = (name: 'G' | 'DID' | 'SID' | 'FM') => this.#field(dsc.CC_INV_DSC, name)
    switch (field('G')) {
      case dsc.G_GLOBAL:
        caches.allContexts()
        return DONE
      case dsc.G_DOMAIN:
        caches.contextsOfDomain(field('DID'))
        return DONE
      case dsc.G_DEVICE:
        caches.contextsOfDevice(field('DID'), field('SID'), field('FM'))
        return DONE
      default:
        return IQEI_RESERVED
    }
  }

  #pasidCache(): number {
    const { caches } = this.#parts
    const field = (name: 'G' | 'DID' | 'PASID') => this.#field(dsc.PC_INV_DSC, name)
    switch (field('G')) {
      case dsc.PC_G_DOMAIN:
        caches.pasidsOfDomain(field('DID'), -1)
        return DONE
      case dsc.PC_G_PASID:
        caches.pasidsOfDomain(field('DID'), field('PASID'))
        return DONE
      case dsc.PC_G_GLOBAL:
        caches.allPasids()
        return DONE
      default:
        return IQEI_RESERVED
    }
  }

  #iotlb(): number {
    const { caches, registers } = this.#parts
    const did = this.#field(dsc.IOTLB_INV_DSC, 'DID')
    switch (this.#field(dsc.IOTLB_INV_DSC, 'G')) {
      case dsc.G_GLOBAL:
        caches.allTranslations()
        return DONE
      case dsc.G_DOMAIN:
        caches.translationsOfDomain(did)
        return DONE
      case dsc.G_PAGE: {
        const log2 = this.#field(dsc.IOTLB_INV_DSC, 'AM')
        if (registers.cap('PSI') === 0 || log2 > registers.cap('MAMV')) return IQEI_RESERVED
        caches.pagesOfDomain(did, this.#page(log2), log2)
        return DONE
      }
      default:
        return IQEI_RESERVED
    }
  }

  #pasidIotlb(): number {
    const { caches, registers } = this.#parts
    const field = (name: 'G' | 'DID' | 'PASID' | 'AM') => this.#field(dsc.P_IOTLB_INV_DSC, name)
    switch (field('G')) {
      case dsc.G_PASID:
        caches.translationsOfPasid(field('DID'), field('PASID'))
        return DONE
      case dsc.G_PASID_PAGE: {
        const log2 = field('AM')
        if (log2 > registers.cap('MAMV')) return IQEI_RESERVED
        caches.pagesOfPasid(field('DID'), field('PASID'), this.#page(log2), log2)
        return DONE
      }
      default:
        return IQEI_RESERVED
    }
  }

  /** First page of ADDR (bits 127:76) under an address mask. */
  #page(log2: number): number {
    return firstPage(this.#descriptor[3]!, this.#descriptor[2]!, log2)
  }

  #deviceTlb(source: number, pasid: number | null, sized: boolean): number {
    const tag = this.#tags.allocate({ rid: source, segment: null })
    if (tag < 0) return WAITS
    const address = u64(this.#descriptor[3]!, this.#descriptor[2]! & ~0xfff)
    this.#parts.send({ kind: 'invalidate', device: source, pasid, ...invalidationRange(address, sized), tag })
    return DONE
  }

  #interruptEntries(): number {
    const { interrupts, registers } = this.#parts
    if (this.#field(dsc.IEC_INV_DSC, 'G') === 0) {
      interrupts.clear()
      return DONE
    }
    const log2 = this.#field(dsc.IEC_INV_DSC, 'IM')
    if (log2 > registers.ecap('MHMV')) return IQEI_RESERVED
    interrupts.invalidate(this.#field(dsc.IEC_INV_DSC, 'IIDX'), log2)
    return DONE
  }

  #wait(): number {
    const { registers, events } = this.#parts
    if (this.#tags.pending) return WAITS
    if (this.#field(dsc.INV_WAIT_DSC, 'SW') === 1) this.#writeStatus(this.#descriptor[3]!, this.#descriptor[2]! & ~3)
    if (this.#field(dsc.INV_WAIT_DSC, 'IF') === 1 && (registers.at(REG.ICS) & ICS_IWC) === 0) {
      registers.put(REG.ICS, ICS_IWC)
      events.raise(REG.IECTL)
    }
    return DONE
  }

  /** "Hardware ignores bits [127:HAW+64] of the Status Address." What happens where no memory answers is undefined: nothing. */
  #writeStatus(high: number, low: number): void {
    const { registers, memory } = this.#parts
    const bits = registers.features.hostAddressBits - 32
    const index = indexForWrite4(memory, bits >= 32 ? high : high & ((1 << bits) - 1), low)
    if (index >= 0) memory.words[index] = this.#descriptor[1]!
  }

  #pageGroupResponse(): number {
    const field = (name: 'PP' | 'RC' | 'RID' | 'PASID' | 'PRGI') => this.#field(dsc.PAGE_GRP_RESP_DSC, name)
    const code = field('RC')
    this.#parts.send({
      kind: 'page-response',
      device: field('RID'),
      pasid: field('PP') === 1 ? field('PASID') : null,
      group: field('PRGI'),
      code: code === 0 ? 'success' : code === 1 ? 'invalid' : 'failure',
    })
    return DONE
  }

  /** ICS or FSTS was cleared. */
  statusCleared(): void {
    const { registers, events } = this.#parts
    if ((registers.at(REG.ICS) & ICS_IWC) === 0) events.served(REG.IECTL)
  }

  /** A device has done the invalidation with this ITag. */
  completed(tag: number): void {
    const target = this.#tags.target(tag)
    if (target !== null) this.#tags.complete(target, 2 ** tag, 1)
    else this.#deviceError(FSTS_ICE, IQERCD.fields.ICESID, 0)
  }

  /** A device did not answer in time. */
  timedOut(tag: number): void {
    const target = this.#tags.target(tag)
    if (target === null) return
    this.#tags.expire(2 ** tag)
    this.#deviceError(FSTS_ITE, IQERCD.fields.ITESID, target.rid)
  }

  #deviceError(bit: number, field: { readonly msb: number; readonly lsb: number }, source: number): void {
    const { registers, faults } = this.#parts
    if (!registers.features.deviceTlb) return
    if ((registers.at(REG.FSTS) & bit) === 0) setBits(registers.words, field.msb, field.lsb, source, REG.IQERCD / 4)
    faults.queueError(bit)
  }
}
