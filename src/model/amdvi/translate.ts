/**
 * Translation of a transaction. AMD IOMMU specification (48882), 2.1 (what happens to a request), 2.2.2 (device table), 2.2.3 (host
 * tables), 2.2.6 (guest tables). The live translator uses the caches and leaves traces; the one that explains uses none of them and leaves
 * nothing.
 */
import type { WordMemory } from '../../base/memory.ts'
import { ALL_RIGHTS, type Fault } from '../../base/types.ts'
import { doubleHi, doubleLo } from '../../base/u64.ts'
import { WAY_ABORT, WAY_BYPASS } from '../../format/amdvi/context.ts'
import { AD_SET, coverLog2, type PtSpace } from '../../format/pt/format.ts'
import { WALK_NOT_PRESENT, WALK_OK, Walker, type WalkObserver } from '../../format/pt/walker.ts'
import { ACCESS_MASK, ATS_REQUEST, DONE, type FastResult, REFUSED, type Request, TRANSLATED, WRITE } from '../common/request.ts'
import type { TlbOutput } from '../common/tlb.ts'
import { atsRequest, translatedRequest } from './ats.ts'
import { type ConfigObserver, type Configuration, type Context, type Device, NO_PASID } from './config.ts'
import type { FaultUnit, Refusal } from './faults.ts'
import {
  refuseContext,
  refuseDevice,
  refuseInterruptWithPasid,
  refuseRights,
  refuseSpecial,
  refuseTranslation,
  refuseWalk,
} from './refusals.ts'
import { fate, INTERRUPT, kindOf, MEMORY, PASS, TRANSLATE, withoutSpecial } from './special.ts'
import { TLB_ABSENT, type Tlb, tlbData } from './tlb.ts'

/** Inputs that pass as they are do so in blocks of up to all 52 bits. */
const IDENTITY_LOG2 = 52

/** What a translator sees of the rest. */
export interface TranslatorParts {
  readonly memory: WordMemory
  readonly config: Configuration
  readonly tlb: Tlb
  readonly faults: FaultUnit
  readonly npCache: boolean
}

/** The exclusion range, by page number; `last` below `first`: off. */
export interface Exclusion {
  first: number
  last: number
  /** For all devices, or only for those with DTE.EX. */
  all: boolean
}

/** Its fields are the request that it works on, and the result of the last one. */
export class Translator implements Request, FastResult, TlbOutput {
  device = 0
  pasid = -1
  hi = 0
  lo = 0
  flags = 0
  /** CONTROL.IommuEn; whether HyperTransport's range counts; the exclusion range. */
  enabled = false
  hyperTransport = true
  exclusion: Exclusion = { first: 0, last: -1, all: false }
  /** Result when DONE. */
  paHi = 0
  paLo = 0
  rights = 0
  sizeLog2 = 0
  cached = false
  /** Result when REFUSED. */
  fault: Fault | null = null
  readonly config: Configuration
  readonly tlb: Tlb
  readonly walker: Walker
  /** Whether it leaves traces. */
  readonly live: boolean
  /** Whether cached contexts may be used without a look at the device: those are cached, too. */
  readonly #short: boolean
  readonly #npCache: boolean
  readonly #faults: FaultUnit
  readonly #observer: ConfigObserver | null

  /** @param observer given: it explains. */
  constructor(parts: TranslatorParts, observer: (ConfigObserver & WalkObserver) | null = null) {
    this.config = parts.config
    this.tlb = parts.tlb
    this.#faults = parts.faults
    this.live = observer === null
    this.#short = this.live && parts.config.devices.capacity > 0
    this.#npCache = parts.npCache
    this.#observer = observer
    this.walker = new Walker(parts.memory)
    this.walker.observer = observer
  }

  /**
   * Translates one transaction.
   * @param pasid -1: none.
   * @param flags READ, WRITE or EXECUTE; PRIVILEGED; ATS_REQUEST or TRANSLATED.
   */
  translate(device: number, pasid: number, hi: number, lo: number, flags: number): number {
    if (this.#short && this.enabled && flags < ATS_REQUEST && this.exclusion.last < 0) {
      const context = this.config.contexts.find(device, pasid < 0 ? NO_PASID : pasid)
      if (context !== null && context.code === 0) {
        // Both caches hit and the access is allowed: numbers only. No entry covers a special address.
        const at = this.tlb.find(context.kind, context.tag, hi, lo)
        if (at >= 0 && this.#allows(at, context, flags)) return this.#fromTlb(at, context, hi, lo)
        this.#take(device, pasid, hi, lo, flags)
        if (kindOf(hi, lo, this.hyperTransport) === MEMORY) return this.#inContext(context, at)
      }
    }
    this.#take(device, pasid, hi, lo, flags)
    return this.#resolve()
  }

  #take(device: number, pasid: number, hi: number, lo: number, flags: number): void {
    this.device = device
    this.pasid = pasid
    this.hi = hi
    this.lo = lo
    this.flags = flags
  }

  /** Whether the IOTLB's entry can answer this access: it has the rights, and the page need not be made dirty first. */
  #allows(at: number, context: Context, flags: number): boolean {
    const need = context.need[flags & 7]!
    if ((need & ~(this.tlb.rights(at) & context.allowed)) !== 0) return false
    return (flags & ACCESS_MASK) !== WRITE || !this.tlb.clean(at)
  }

  #resolve(): number {
    const { flags } = this
    const ats = (flags & ATS_REQUEST) !== 0
    if (!this.enabled)
      return ats ? this.refuse({ code: 0, why: 'CONTROL.IommuEn is 0: no ATS (3.4.2)' }) : this.identity(IDENTITY_LOG2)
    const device = this.lookUp()
    if (device.code !== 0) return refuseDevice(this, device)
    if ((flags & TRANSLATED) !== 0) return translatedRequest(this, device)
    if (ats) return atsRequest(this, device)
    // 2.2.2.1: V = 0 lets everything pass.
    if (device.way === WAY_BYPASS) return this.identity(IDENTITY_LOG2)
    const kind = kindOf(this.hi, this.lo, this.hyperTransport)
    if (kind !== MEMORY) {
      const next = this.#special(kind, device)
      if (next !== TRANSLATE) return next
    }
    if (this.excluded(device)) return this.identity(12)
    return this.#translated(device)
  }

  /** @returns TRANSLATE when the address is translated like any other. */
  #special(kind: number, device: Device): number {
    const write = (this.flags & ACCESS_MASK) === WRITE
    if (kind === INTERRUPT && write && this.pasid >= 0) return refuseInterruptWithPasid(this, device)
    const next = fate(kind, device, write)
    if (next === TRANSLATE) return TRANSLATE
    return next === PASS ? this.identity(12) : refuseSpecial(this, device, next)
  }

  #translated(device: Device): number {
    if (device.way === WAY_ABORT) return refuseTranslation(this, device)
    const context = this.context(device)
    if (context.code !== 0) return refuseContext(this, context)
    const cached = this.live && context.space !== null
    return this.#inContext(context, cached ? this.tlb.find(context.kind, context.tag, this.hi, this.lo) : -1)
  }

  /** From a context on. @param at the IOTLB's entry for the address, -1: none. */
  #inContext(context: Context, at: number): number {
    const { space } = context
    const need = context.need[this.flags & 7]!
    if ((need & ~context.allowed) !== 0) return refuseRights(this, context)
    if (space === null) {
      this.identity(IDENTITY_LOG2)
      this.rights = context.allowed
      return DONE
    }
    if (at >= 0) {
      if (this.#allows(at, context, this.flags)) return this.#fromTlb(at, context, this.hi, this.lo)
      if (this.tlb.absent(at)) return refuseWalk(this, context, space, true)
    }
    if (this.walker.walk(space, this.hi, this.lo, need, this.live) !== WALK_OK) return this.#walkFailed(context)
    return this.fromWalk(context)
  }

  #walkFailed(context: Context): number {
    if (this.#npCache && this.live && this.walker.status === WALK_NOT_PRESENT && this.tlb.capacity > 0) {
      const { tlb, hi, lo } = this
      tlb.insert(context.kind, context.tag, hi, lo, 0, 0, 12, TLB_ABSENT, 0)
    }
    return refuseWalk(this, context, context.space!, false)
  }

  /** The device table entry of the request's device. */
  lookUp(): Device {
    return this.live ? this.config.device(this.device) : this.config.fetchDevice(this.device, this.#observer)
  }

  /** The address space of the request. */
  context(device: Device): Context {
    const { config, pasid, walker } = this
    return this.live
      ? config.context(device, pasid, walker.stage2)
      : config.fetchContext(device, pasid, walker.stage2, false, this.#observer)
  }

  /** Whether the request passes because of the exclusion range (3.4.4): only addresses without PASID. */
  excluded(device: Device): boolean {
    const { first, last, all } = this.exclusion
    if (last < first || this.pasid >= 0) return false
    const page = (this.hi >>> 0) * 1048576 + (this.lo >>> 12)
    return page >= first && page <= last && (all || device.excluded)
  }

  /** Result of a hit. */
  #fromTlb(at: number, context: Context, hi: number, lo: number): number {
    this.tlb.read(at, hi, lo, this)
    this.rights = this.tlb.rights(at) & context.allowed
    this.cached = true
    return DONE
  }

  /** A hit of a translation request that may be answered so; `null`: the tables must be asked. */
  cachedRights(context: Context): number | null {
    const at = this.live ? this.tlb.find(context.kind, context.tag, this.hi, this.lo) : -1
    if (at < 0 || this.tlb.absent(at)) return null
    const rights = this.tlb.rights(at) & context.allowed
    if ((this.flags & ACCESS_MASK) === WRITE && this.tlb.clean(at)) return null
    this.#fromTlb(at, context, this.hi, this.lo)
    return rights
  }

  /** Whether the last walk's page must be made dirty before a write. */
  clean(space: PtSpace): boolean {
    const { walker } = this
    return leafClean(walker, space) || (space.stage2 !== null && leafClean(walker.stage2, space.stage2))
  }

  /** Result of a walk, which goes into the IOTLB. */
  fromWalk(context: Context): number {
    const { walker, hi, lo } = this
    const space = context.space!
    const sizeLog2 = walker.sizeLog2 <= 20 ? walker.sizeLog2 : withoutSpecial(hi, lo, walker.sizeLog2, this.hyperTransport)
    this.paHi = walker.outHi
    this.paLo = walker.outLo
    this.rights = walker.rights & context.allowed
    this.sizeLog2 = sizeLog2
    this.cached = false
    const { tlb } = this
    if (!this.live || tlb.capacity === 0) return DONE
    const leafLog2 = Math.max(coverLog2(space.format, walker.depth), walker.sizeLog2)
    const data = tlbData(walker.rights, this.clean(space), Math.min(63, leafLog2), space.stage2 !== null)
    tlb.insert(context.kind, context.tag, hi, lo, walker.outHi, walker.outLo, sizeLog2, data, 0)
    return DONE
  }

  /** PREFETCH_IOMMU_PAGES (2.4.6): fills the caches where everything is in order, and else does nothing. */
  prefetch(device: number, pasid: number, page: number): void {
    this.device = device
    this.pasid = pasid
    this.hi = doubleHi(page * 4096)
    this.lo = doubleLo(page * 4096)
    this.flags = 0
    const found = this.lookUp()
    if (!this.enabled || found.code !== 0 || found.way === WAY_BYPASS || found.way === WAY_ABORT) return
    if (kindOf(this.hi, this.lo, this.hyperTransport) !== MEMORY) return
    const context = this.context(found)
    if (context.code !== 0 || context.space === null) return
    if (this.walker.walk(context.space, this.hi, this.lo, 0, false) === WALK_OK) this.fromWalk(context)
  }

  /** The address goes through as it is. */
  identity(log2: number): number {
    this.paHi = this.hi
    this.paLo = this.lo
    this.rights = ALL_RIGHTS
    this.sizeLog2 = withoutSpecial(this.hi, this.lo, log2, this.hyperTransport)
    this.cached = false
    return DONE
  }

  refuse(refusal: Refusal): number {
    this.fault = this.#faults.refuse(this, refusal, this.live)
    return REFUSED
  }
}

/** Whether hardware still has to set the dirty bit of a leaf. */
function leafClean(walker: Walker, space: PtSpace): boolean {
  return space.dirty === AD_SET && (walker.lo & space.format.dirty) === 0
}
