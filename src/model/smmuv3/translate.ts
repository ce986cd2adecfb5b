/**
 * Translation of a transaction. Arm IHI 0070, 3.3 (lookup), 3.4 (address sizes), 7.3.22 (the order in which things fail), 15.
 * The live translator uses the caches and leaves traces; the one that explains uses none of the caches and leaves nothing.
 */
import type { WordMemory } from '../../base/memory.ts'
import { ALL_RIGHTS, type Fault } from '../../base/types.ts'
import { hi32, lo32 } from '../../base/u64.ts'
import { AD_SET, coverLog2, levelOf, type PtSpace } from '../../format/pt/format.ts'
import { WALK_OK, Walker, type WalkObserver } from '../../format/pt/walker.ts'
import * as events from '../../format/smmuv3/events.ts'
import { intermediateBits } from '../../format/smmuv3/features.ts'
import { CD_BYPASS, LOOKUP_OK } from '../../format/smmuv3/lookup.ts'
import {
  ACCESS_MASK,
  ATS_REQUEST,
  DONE,
  type FastResult,
  READ,
  REFUSED,
  type Request,
  TRANSLATED,
  WRITE,
} from '../common/request.ts'
import { atsRequest, translatedTransaction } from './ats.ts'
import type { ConfigObserver, Configuration, Context, Stream } from './config.ts'
import { effective, type FaultUnit, type Refusal } from './faults.ts'
import {
  refuseCached,
  refuseContext,
  refuseE0pd,
  refuseHalf,
  refuseSize,
  refuseStage2,
  refuseStream,
  refuseSubstream,
  refuseWalk,
} from './refusals.ts'
import type { Stalled } from './stall.ts'
import { packLeaf, REGIME_EL2, REGIME_STAGE2, type Tlb, type TlbResult } from './tlb.ts'

/** nG, bit 11 of a stage 1 leaf: the translation belongs to one ASID. */
const NOT_GLOBAL = 1 << 11
/** Bit 55 of an address, in its high word: which half it lies in. */
const UPPER = 1 << 23

/** What a translator sees of the rest. */
export interface TranslatorParts {
  readonly memory: WordMemory
  readonly config: Configuration
  readonly tlb: Tlb
  readonly faults: FaultUnit
}

/** Its fields are the request that it works on, and the result of the last one. */
export class Translator implements Request, FastResult, TlbResult {
  device = 0
  pasid = -1
  hi = 0
  lo = 0
  flags = 0
  /** CR0ACK.SMMUEN, GBPA.ABORT, CR0ACK.ATSCHK. */
  enabled = false
  globalAbort = false
  atsCheck = false
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
  /** Whether cached CDs may be used without a look at the STE: STEs are cached, too. */
  readonly #short: boolean
  readonly #faults: FaultUnit
  readonly #observer: ConfigObserver | null
  #held: Stalled | null = null

  /** @param observer given: it explains. */
  constructor(parts: TranslatorParts, observer: (ConfigObserver & WalkObserver) | null = null) {
    this.config = parts.config
    this.tlb = parts.tlb
    this.#faults = parts.faults
    this.live = observer === null
    this.#short = this.live && parts.config.streams.capacity > 0
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
    if (this.#short && this.enabled && flags < ATS_REQUEST) {
      const context = this.config.contexts.find(device, Math.max(pasid, 0))
      if (context !== null && context.halves < 4 && (pasid < 0 ? context.plain : context.numbered)) {
        // Both caches hit and the access is allowed: numbers only.
        const va = withoutTag(context, hi)
        const at = this.tlb.find(context.regime, context.tag, context.aset, va, lo)
        if (at >= 0 && this.#allows(at, context.need[flags]!, flags)) return this.fromTlb(at, va, lo)
        this.#take(device, pasid, hi, lo, flags, null)
        return this.#inContext(context, va, at)
      }
    }
    return this.#resolve(device, pasid, hi, lo, flags, null)
  }

  /** Whether the TLB's entry can answer this access: it has the rights, and the page need not be made dirty first. */
  #allows(at: number, need: number, flags: number): boolean {
    return (need & ~this.tlb.rights(at)) === 0 && ((flags & ACCESS_MASK) !== WRITE || !this.tlb.clean(at))
  }

  /** A stalled transaction, tried again before software answered. */
  retry(held: Stalled): number {
    return this.#resolve(held.device, held.pasid ?? -1, held.iovaHi, held.iovaLo, held.flags, held)
  }

  #take(device: number, pasid: number, hi: number, lo: number, flags: number, held: Stalled | null): void {
    this.device = device
    this.pasid = pasid
    this.hi = hi
    this.lo = lo
    this.flags = flags
    this.#held = held
  }

  #resolve(device: number, pasid: number, hi: number, lo: number, flags: number, held: Stalled | null): number {
    this.#take(device, pasid, hi, lo, flags, held)
    // 13.7: without PASID, a translation request says nothing of execution and privilege.
    if ((flags & ATS_REQUEST) !== 0 && pasid < 0) this.flags = ATS_REQUEST | ((flags & ACCESS_MASK) === WRITE ? WRITE : READ)
    if (!this.enabled) return this.#disabled()
    if ((flags & TRANSLATED) !== 0) return translatedTransaction(this)
    const stream = this.stream()
    if (stream.status !== LOOKUP_OK) return refuseStream(this, stream)
    if ((stream.config & 4) === 0) return this.refuse({ code: 0, why: 'STE.Config is abort: it ends silently (5.2)', stream })
    if ((flags & ATS_REQUEST) !== 0) return atsRequest(this, stream)
    const index = this.config.select(stream, pasid)
    if (index < CD_BYPASS) return refuseSubstream(this, stream, -index)
    return index === CD_BYPASS ? this.#withoutStage1(stream) : this.#throughStage1(stream, index)
  }

  // 6.3.9.6, 3.4, 3.9.1: while SMMUEN is 0, GBPA decides, and there is no ATS.
  #disabled(): number {
    if ((this.flags & ATS_REQUEST) !== 0)
      return this.refuse({ code: events.F_BAD_ATS_TREQ, why: 'CR0.SMMUEN is 0: no ATS (3.9.1.2)' })
    if ((this.flags & TRANSLATED) !== 0)
      return this.refuse({ code: events.F_TRANSL_FORBIDDEN, why: 'CR0.SMMUEN is 0: no translated transactions (3.9.1.3)' })
    if (this.globalAbort) return this.refuse({ code: 0, why: 'CR0.SMMUEN is 0 and GBPA.ABORT is 1 (6.3.14)' })
    if (!this.within(this.config.features.oas))
      return this.refuse({ code: 0, why: 'CR0.SMMUEN is 0, and the address is beyond the output address size (3.4)' })
    return this.identity()
  }

  /** The stream's configuration. */
  stream(): Stream {
    return this.live ? this.config.stream(this.device) : this.config.fetchStream(this.device, this.#observer)
  }

  /** The CD at an index of the stream's table. */
  context(stream: Stream, index: number): Context {
    if (this.live) return this.config.context(stream, index, this.walker)
    return this.config.fetchContext(stream, index, this.walker, false, this.#observer)
  }

  /** Bypass of both stages, or of stage 1 (Config, S1DSS). */
  #withoutStage1(stream: Stream): number {
    // 3.4: with no stage at all, the address is checked against the output size; else against the intermediate size.
    const bits = (stream.config & 3) === 0 ? this.config.features.oas : intermediateBits(this.config.features)
    if (!this.within(bits)) return refuseSize(this, stream, bits)
    return stream.stage2 === null ? this.identity() : this.throughStage2(stream)
  }

  #throughStage1(stream: Stream, index: number): number {
    const context = this.context(stream, index)
    if (context.status !== LOOKUP_OK) return refuseContext(this, stream, context)
    const va = withoutTag(context, this.hi)
    const half = upperHalf(stream, va) ? 1 : 0
    if (this.blockedUnprivileged(context, half)) return refuseE0pd(this, stream, context, half)
    const at = this.live ? this.tlb.find(stream.regime, context.tag, context.aset, va, this.lo) : -1
    return this.#inContext(context, va, at)
  }

  /** From a valid CD on. @param at the TLB's entry for the address, -1: none. */
  #inContext(context: Context, va: number, at: number): number {
    const { stream } = context
    const need = context.need[this.flags & 7]!
    if (at >= 0) {
      if (this.#allows(at, need, this.flags)) return this.fromTlb(at, va, this.lo)
      // With two stages, the walk says which one refuses.
      const refused = (need & ~this.tlb.rights(at)) !== 0
      if (refused && stream.stage2 === null) return refuseCached(this, stream, context, 1, this.tlb.rights(at))
    }
    const half = upperHalf(stream, va) ? 1 : 0
    const space = half === 1 ? context.high : context.low
    if (space === null) return refuseHalf(this, stream, context, half)
    if (this.walker.walk(space, va, this.lo, need, this.live) !== WALK_OK) return refuseWalk(this, stream, context, space)
    return this.fromStage1(stream, context, space, va)
  }

  /** Stage 2 alone, of the request's address. */
  throughStage2(stream: Stream): number {
    const space = stream.stage2!
    // 3.9.1.3: translated transactions count as unprivileged data.
    const write = (this.flags & ACCESS_MASK) === WRITE
    const need = stream.need[(this.flags & TRANSLATED) === 0 ? this.flags & 7 : write ? WRITE : READ]!
    if (this.live) {
      const at = this.tlb.find(REGIME_STAGE2, stream.vmidTag, 0, this.hi, this.lo)
      if (at >= 0 && this.#allows(at, need, this.flags)) return this.fromTlb(at, this.hi, this.lo)
      const refused = at >= 0 && (need & ~this.tlb.rights(at)) !== 0
      if (refused) return refuseCached(this, stream, null, 2, this.tlb.rights(at))
    }
    const { stage2 } = this.walker
    if (stage2.walk(space, this.hi, this.lo, need, this.live) !== WALK_OK)
      return refuseStage2(this, stream, null, events.CLASS_IN, this.hi, this.lo, false)
    this.fromStage2(stream, space)
    return DONE
  }

  /** CMD_PREFETCH_CONFIG, CMD_PREFETCH_ADDR (4.2): fills the caches where everything is in order, and else does nothing. */
  prefetch(device: number, pasid: number, address: bigint | null): void {
    this.device = device
    const stream = this.stream()
    if (stream.status !== LOOKUP_OK || (stream.config & 3) === 0) return
    const index = this.config.select(stream, pasid)
    const context = index >= 0 ? this.context(stream, index) : null
    if (address === null || index < CD_BYPASS || (context !== null && context.status !== LOOKUP_OK)) return
    this.hi = hi32(address)
    this.lo = lo32(address)
    if (context === null) {
      const space = stream.stage2
      const { stage2 } = this.walker
      if (space !== null && stage2.walk(space, this.hi, this.lo, 0, false) === WALK_OK && accessed(stage2, space))
        this.fromStage2(stream, space)
      return
    }
    const va = withoutTag(context, this.hi)
    const space = upperHalf(stream, va) ? context.high : context.low
    if (space === null || this.walker.walk(space, va, this.lo, 0, false) !== WALK_OK || !accessed(this.walker, space)) return
    if (space.stage2 === null || accessed(this.walker.stage2, space.stage2)) this.fromStage1(stream, context, space, va)
  }

  /** Result of a hit. */
  fromTlb(at: number, hi: number, lo: number): number {
    this.tlb.read(at, hi, lo, this)
    this.cached = true
    return DONE
  }

  /** Result of a walk through stage 1 (and 2), which goes into the TLB. */
  fromStage1(stream: Stream, context: Context, space: PtSpace, va: number): number {
    const { walker } = this
    this.#fromWalker(walker)
    if (!this.live || this.tlb.capacity === 0) return DONE
    const format = space.format
    const clean = writableClean(walker, space) || (space.stage2 !== null && writableClean(walker.stage2, space.stage2))
    const global = stream.regime !== REGIME_EL2 && (walker.lo & NOT_GLOBAL) === 0
    const level = levelOf(format, walker.depth)
    const leaf = packLeaf(walker.rights, clean, global, coverLog2(format, walker.depth), level, format.granuleLog2)
    const { tlb, lo } = this
    tlb.insert(stream.regime, context.tag, context.aset, va, lo, walker.outHi, walker.outLo, walker.sizeLog2, leaf)
    return DONE
  }

  /** Result of a walk through stage 2 alone. */
  fromStage2(stream: Stream, space: PtSpace): void {
    const walker = this.walker.stage2
    this.#fromWalker(walker)
    if (!this.live || this.tlb.capacity === 0) return
    const { format } = space
    const level = levelOf(format, walker.depth)
    const clean = writableClean(walker, space)
    const leaf = packLeaf(walker.rights, clean, false, coverLog2(format, walker.depth), level, format.granuleLog2)
    const { tlb, hi, lo } = this
    tlb.insert(REGIME_STAGE2, stream.vmidTag, 0, hi, lo, walker.outHi, walker.outLo, walker.sizeLog2, leaf)
  }

  #fromWalker(walker: Walker): void {
    this.result(walker.outHi, walker.outLo, walker.rights, walker.sizeLog2)
  }

  /** A result that no cache gave. */
  result(paHi: number, paLo: number, rights: number, sizeLog2: number): number {
    this.paHi = paHi
    this.paLo = paLo
    this.rights = rights
    this.sizeLog2 = sizeLog2
    this.cached = false
    return DONE
  }

  /** The address goes through as it is. */
  identity(rights = ALL_RIGHTS): number {
    return this.result(this.hi, this.lo, rights, this.config.features.oas)
  }

  /** Whether the request's address fits in so many bits (32 or more). */
  within(bits: number): boolean {
    return this.hi >>> (bits - 32) === 0
  }

  /** E0PD: whether this half is closed to this access. */
  blockedUnprivileged(context: Context, half: 0 | 1): boolean {
    return ((context.halves >>> 2) & (1 << half)) !== 0 && !effective(this, context.stream).privileged
  }

  refuse(refusal: Refusal): number {
    this.fault = this.#faults.refuse(this, refusal, this.live, this.#held)
    return REFUSED
  }
}

/** The address with its top byte as TBI wants it: a copy of bit 55. */
export function withoutTag(context: Context, hi: number): number {
  if (context.halves === 0) return hi
  const half = (hi & UPPER) !== 0 && context.stream.regime !== REGIME_EL2 ? 2 : 1
  return (context.halves & half) !== 0 ? (hi << 8) >> 8 : hi
}

/** Whether an address goes through TTB1. */
export function upperHalf(stream: Stream, hi: number): boolean {
  return stream.regime !== REGIME_EL2 && (hi & UPPER) !== 0
}

/** Whether hardware still has to mark the leaf dirty before a write (3.13.3): writable, but so far only by DBM. */
export function writableClean(walker: Walker, space: PtSpace): boolean {
  const { format } = space
  if (space.dirty !== AD_SET || (walker.hi & format.dirtyManagedHi) === 0) return false
  return ((walker.lo & format.dirty) !== 0) !== format.dirtySets
}

/** Whether the leaf may be cached: one whose access flag hardware has yet to set may not (3.13.1). */
function accessed(walker: Walker, space: PtSpace): boolean {
  return space.accessed !== AD_SET || (walker.lo & space.format.accessed) !== 0
}
