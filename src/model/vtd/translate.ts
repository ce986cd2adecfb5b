/**
 * Translation of a request: which entries serve it (contexts.ts), the IOTLB, the stages. Intel VT-d, sections 3.6 to 3.9, 3.15, 4.2, 6.2.4
 * and 7.1.3. Nothing here allocates; the outcome is in `result`.
 */
import type { WordMemory } from '../../base/memory.ts'
import { ALL_RIGHTS, PR, PW, PX, UR, UW, UX } from '../../base/types.ts'
import type { MutableSpace } from '../../format/pt/fill.ts'
import { AD_IGNORE, coverLog2, NEED_IF_ALLOWED, type PtSpace } from '../../format/pt/format.ts'
import { WALK_ACCESS_FLAG, WALK_DIRTY, WALK_OK, WALK_PERMISSION, Walker } from '../../format/pt/walker.ts'
import { blankSpace, setFirstStage, setLegacySpace, setSecondStage, usableRights } from '../../format/vtd/context.ts'
import * as fr from '../../format/vtd/faults.ts'
import { TableWalk } from '../../format/vtd/lookup.ts'
import { PMEN_PRS, REG } from '../../format/vtd/registers.ts'
import { ATS_REQUEST, EXECUTE, PRIVILEGED, TRANSLATED, WRITE } from '../common/request.ts'
import { TLB_DATA, type TlbStore } from '../common/tlb.ts'
import { answerTo, isReported } from './answers.ts'
import {
  type ContextParts,
  MODE_FIRST,
  MODE_LEGACY,
  MODE_NESTED,
  MODE_PASS_THROUGH,
  MODE_SECOND,
  MODE_TRANSLATED,
  MODE_UNCHANGED,
  REFUSED,
  ServingContext,
} from './contexts.ts'
import type { FaultLog } from './fault-log.ts'
import { isProtected } from './protected.ts'
import { lacking, Reasons, secondStageReason } from './reasons.ts'
import { ANSWER_BLOCKED, ANSWER_NO_ACCESS, ANSWER_UNSUPPORTED, VtdResult } from './request.ts'

/** Data word of an IOTLB entry: rights 5:0, clean 6, negative 7, log2 of the leaf 13:8, first stage 14; negative ones: status 19:16, root 20. */
const TLB_CLEAN = 1 << 6
const TLB_NEGATIVE = 1 << 7
const TLB_LEAF_SHIFT = 8
const TLB_FIRST = 1 << 14
const TLB_STATUS_SHIFT = 16
const TLB_ROOT = 1 << 20

/** log2 of the leaf that an entry of the IOTLB came from, and whether a first stage has part in it. */
export function leafLog2(data: number): number {
  return (data >>> TLB_LEAF_SHIFT) & 63
}
export function hasFirstStage(data: number): boolean {
  return (data & TLB_FIRST) !== 0
}

/** The rights that a request needs, by bits 2:0 of its flags (WRITE, EXECUTE, PRIVILEGED). A write never asks to execute. */
const NEED = Uint8Array.of(UR, UW, UX, UW, PR, PW, PX, PW)
const WRITES = UW | PW

export interface TranslatorParts extends ContextParts {
  readonly memory: WordMemory
  readonly translations: TlbStore
  readonly faults: FaultLog
}

export class Translator {
  readonly result = new VtdResult()
  readonly walker: Walker
  readonly tables = new TableWalk()
  readonly context: ServingContext
  /** For explanations: nothing is remembered, recorded or updated. */
  readonly dry: boolean
  readonly #parts: TranslatorParts
  readonly #reasons: Reasons
  #stage1: MutableSpace
  #stage2: MutableSpace
  /** Whether the spaces are those of the context. */
  #filled = false

  constructor(parts: TranslatorParts, dry = false) {
    this.#parts = parts
    this.dry = dry
    this.walker = new Walker(parts.memory)
    this.walker.rehearse = dry
    this.context = new ServingContext(parts, this.tables, dry)
    this.#reasons = new Reasons(parts.memory, this.walker, this.result)
    this.#stage1 = blankSpace(parts.registers.features)
    this.#stage2 = blankSpace(parts.registers.features)
  }

  /** The spaces of the last request that was walked for. */
  get firstSpace(): PtSpace {
    return this.#stage1
  }
  get secondSpace(): PtSpace {
    return this.#stage2
  }
  /** Whether it went through both stages. */
  get nested(): boolean {
    return this.context.mode === MODE_NESTED
  }

  /** CAP or ECAP changed. */
  reset(): void {
    const { features } = this.#parts.registers
    this.#stage1 = blankSpace(features)
    this.#stage2 = blankSpace(features)
    this.#filled = false
  }

  /**
   * Translates hi:lo.
   * @param pasid -1: none.
   * @param flags of request.ts.
   * @returns 0, or 1: it did not get through, and `result` says why.
   */
  translate(device: number, pasid: number, hi: number, lo: number, flags: number): number {
    const { context } = this
    // Without a PASID a request cannot ask for privilege or execution.
    if (pasid < 0) {
      flags &= ~(EXECUTE | PRIVILEGED)
      if ((lo & -1048576) === (0xfee00000 | 0) && hi === 0 && (flags & TRANSLATED) === 0) {
        const done = this.#interruptRange(device, lo, flags)
        if (done >= 0) return done
      }
    }
    if (!context.serves(device, pasid, flags)) {
      const reason = context.resolve(device, pasid, flags)
      this.#filled = false
      if (reason !== 0) return reason === REFUSED ? this.#refuse(context.refusal) : this.#fault(reason, hi, lo, flags, 0)
    }
    if (context.mode >= MODE_LEGACY) return this.#through(hi, lo, flags)
    return this.#untranslated(hi, lo, flags)
  }

  /**
   * Requests without PASID to the interrupt address range (3.15).
   * @returns 0 or 1 when all is done, -1 when it goes on as any other.
   */
  #interruptRange(device: number, lo: number, flags: number): number {
    const { registers } = this.#parts
    const { context } = this
    if ((flags & ATS_REQUEST) !== 0) {
      // S.1, S.2: once the entries allow translation requests at all
      const reason = context.resolve(device, -1, flags)
      this.#filled = false
      if (reason !== 0) return -1
      if ((flags & WRITE) === 0 && registers.noWriteFlag)
        return this.#noAccess('a read-only translation request for the interrupt address range (7.1.3, S.2)')
      return this.#ok(0, lo, UW, 12)
    }
    // "Single-DWORD length write requests without PASID to this range are treated as interrupt requests."
    if ((flags & WRITE) !== 0) return this.#ok(0, lo, UW | PW, 20)
    if (!registers.translating && !registers.remapping) return -1
    this.tables.reads = 0
    context.quiet = false
    context.rule = 0
    context.device = device
    context.pasid = -1
    context.epoch = -1
    return this.#fault(fr.FR_INT_REQUEST, 0, lo, flags, 0)
  }

  /** Requests whose address stays as it is. */
  #untranslated(hi: number, lo: number, flags: number): number {
    const { registers } = this.#parts
    const { mode } = this.context
    const bits = registers.features.hostAddressBits
    if (mode === MODE_UNCHANGED) return this.#reaches(hi, lo, ALL_RIGHTS, bits, flags)
    const legacy = registers.ttm === 0
    // LGN.1.2, LGN.1.3, SGN.4
    if (hi >>> (bits - 32) !== 0) return this.#fault(legacy ? fr.FR_ADDRESS_TOO_WIDE : fr.FR_SM_HOST_TOO_WIDE, hi, lo, flags, 0)
    // LGN.4, SGN.8.1, SGN.8.3
    if (hi === 0 && lo >>> 20 === 0xfee)
      return this.#fault(legacy ? fr.FR_INTERRUPT_RANGE : fr.FR_SM_INTERRUPT_RANGE, hi, lo, flags, 0)
    if ((flags & ATS_REQUEST) !== 0) return this.#grant(hi, lo, ALL_RIGHTS, registers.largestPageLog2, flags)
    return this.#reaches(hi, lo, ALL_RIGHTS, mode === MODE_TRANSLATED ? 12 : bits, flags)
  }

  /** What of the rights of the last translation a request can make use of. Not asked for on the fast way. */
  get usableRights(): number {
    const { mode, at } = this.context
    if (mode !== MODE_FIRST && mode !== MODE_NESTED) return ALL_RIGHTS
    return usableRights(this.#parts.registers.features, this.#parts.pasids.words[at + 4]!)
  }

  /** Requests that go through page tables. */
  #through(hi: number, lo: number, flags: number): number {
    const { context, result } = this
    const { translations } = this.#parts
    const ats = (flags & ATS_REQUEST) !== 0
    const need = NEED[(flags & 3) | (context.privileged ? 4 : 0)]!
    const at = translations.find(context.key, context.tag, hi, lo)
    if (at >= 0) {
      const data = translations.words[at + TLB_DATA]!
      result.walked = false
      if ((data & TLB_NEGATIVE) !== 0) return this.#negative(data, hi, lo, flags)
      const writes = ats ? this.#mayWrite(flags) : (flags & WRITE) !== 0
      // A write through a page that is clean has to make it dirty first.
      if (!writes || (data & TLB_CLEAN) === 0 || (data & WRITES) === 0) {
        translations.read(at, hi, lo, result)
        const rights = data & ALL_RIGHTS
        if (!ats && (need & ~rights) !== 0) return this.#forbidden(need, rights, hi, lo, flags)
        if (result.paHi === 0 && result.paLo >>> 20 === 0xfee) return this.#intoInterrupts(hi, lo, flags)
        const done = ats
          ? this.#grant(result.paHi, result.paLo, rights, result.sizeLog2, flags, hi, lo)
          : this.#reaches(result.paHi, result.paLo, rights, result.sizeLog2, flags)
        if (done === 0) result.cached = true
        return done
      }
    }
    return this.#walk(need, hi, lo, flags)
  }

  /** Whether a translation request asks for writing: always, where the no-write flag does not count (4.2.3). */
  #mayWrite(flags: number): boolean {
    return (flags & WRITE) !== 0 || !this.#parts.registers.noWriteFlag
  }

  #fill(): void {
    const { registers, contexts, pasids } = this.#parts
    const { features } = registers
    const { mode, at } = this.context
    this.#filled = true
    if (mode === MODE_LEGACY) {
      setLegacySpace(this.#stage2, features, contexts.words, at)
      return
    }
    if (mode !== MODE_FIRST) setSecondStage(this.#stage2, features, pasids.words, at)
    if (mode === MODE_SECOND) return
    setFirstStage(this.#stage1, features, pasids.words, at)
    this.#stage1.stage2 = mode === MODE_NESTED ? this.#stage2 : null
    // 3.8.1: with A and D in the second stage, reads of first-stage tables need to be writable there
    this.#stage1.fetchNeed = this.#stage2.accessed === AD_IGNORE ? UR : UR | UW
  }

  #walk(need: number, hi: number, lo: number, flags: number): number {
    const { context } = this
    const { mode } = context
    if (!this.#filled) this.#fill()
    const second = mode === MODE_LEGACY || mode === MODE_SECOND
    const space = second ? this.#stage2 : this.#stage1
    const walker = second ? this.walker.stage2 : this.walker
    this.result.walked = true
    // A translation request is told what there is: a lack of rights is no fault.
    const asked =
      (flags & ATS_REQUEST) === 0
        ? need
        : ((context.privileged ? PR : UR) | (this.#mayWrite(flags) ? (context.privileged ? PW : UW) : 0)) << NEED_IF_ALLOWED
    const status = walker.walk(space, hi, lo, asked, true)
    if (status !== WALK_OK) {
      const reason = second
        ? this.#reasons.second(walker, space, status, need, mode === MODE_LEGACY)
        : this.#reasons.first(this.#stage1, this.#stage2, status, need)
      if (second && !this.dry) this.#rememberAbsent(walker, space, status, hi, lo)
      return this.#fault(reason, hi, lo, flags, this.result.stage)
    }
    const { outHi, outLo, rights, sizeLog2 } = walker
    if (outHi === 0 && outLo >>> 20 === 0xfee) return this.#intoInterrupts(hi, lo, flags)
    if (!this.dry && this.#parts.translations.capacity > 0) {
      const data =
        rights |
        (isClean(walker, space) || (mode === MODE_NESTED && isClean(walker.stage2, this.#stage2)) ? TLB_CLEAN : 0) |
        (coverLog2(space.format, walker.depth) << TLB_LEAF_SHIFT) |
        (second ? 0 : TLB_FIRST)
      this.#parts.translations.insert(context.key, context.tag, hi, lo, outHi, outLo, sizeLog2, data, context.did)
    }
    this.result.cached = false
    if ((flags & ATS_REQUEST) !== 0) return this.#grant(outHi, outLo, rights, sizeLog2, flags, hi, lo)
    return this.#reaches(outHi, outLo, rights, sizeLog2, flags)
  }

  /** 6.1: in caching mode, second-stage entries that are not present or not legal are cached, too. */
  #rememberAbsent(walker: Walker, space: PtSpace, status: number, hi: number, lo: number): void {
    const { registers, translations } = this.#parts
    const { context } = this
    if (!registers.features.cachingMode || translations.capacity === 0 || !walker.readAny) return
    if (status === WALK_PERMISSION || status === WALK_DIRTY || status === WALK_ACCESS_FLAG) return
    const size = coverLog2(space.format, walker.depth)
    const root = walker.depth === space.topDepth ? TLB_ROOT : 0
    const data = TLB_NEGATIVE | (status << TLB_STATUS_SHIFT) | root | (size << TLB_LEAF_SHIFT)
    translations.insert(context.key, context.tag, hi, lo, 0, 0, size, data, context.did)
  }

  #negative(data: number, hi: number, lo: number, flags: number): number {
    const status = (data >>> TLB_STATUS_SHIFT) & 15
    const legacy = this.context.mode === MODE_LEGACY
    const reason = secondStageReason(status, legacy, (data & TLB_ROOT) !== 0, (flags & WRITE) !== 0, false)
    return this.#fault(reason, hi, lo, flags, 2)
  }

  /** The IOTLB's entry does not allow it: that is enough, whatever the tables say by now. */
  #forbidden(need: number, rights: number, hi: number, lo: number, flags: number): number {
    const second = this.context.mode === MODE_LEGACY || this.context.mode === MODE_SECOND
    this.result.stage = second ? 2 : 1
    return this.#fault(
      lacking(need, rights, this.result.stage, this.context.mode === MODE_LEGACY),
      hi,
      lo,
      flags,
      this.result.stage,
    )
  }

  /** LGN.4, SGN.8: page tables must not lead into the interrupt address range. */
  #intoInterrupts(hi: number, lo: number, flags: number): number {
    const reason = this.context.mode === MODE_LEGACY ? fr.FR_INTERRUPT_RANGE : fr.FR_SM_INTERRUPT_RANGE
    return this.#fault(reason, hi, lo, flags, 0)
  }

  /** The answer to a translation request (4.2.3). */
  #grant(paHi: number, paLo: number, rights: number, sizeLog2: number, flags: number, hi = paHi, lo = paLo): number {
    const { privileged } = this.context
    // SGN.8.2: nor may any part of the page that is told
    if (sizeLog2 > 20 && this.context.mode !== MODE_PASS_THROUGH && overInterrupts(paHi, paLo, sizeLog2))
      return this.#intoInterrupts(hi, lo, flags)
    const granted = rights & ((privileged ? PR : UR) | (this.#mayWrite(flags) ? (privileged ? PW : UW) : 0))
    if (granted === 0) return this.#forbidden(privileged ? PR : UR, rights, hi, lo, flags)
    // By RID_PRIV a device gets the supervisor's rights, and does not know that they are.
    return this.#ok(paHi, paLo, privileged && this.context.pasid < 0 ? granted >>> 3 : granted, sizeLog2)
  }

  /** The request reaches memory, if that is not protected from devices (11.4.8). */
  #reaches(paHi: number, paLo: number, rights: number, sizeLog2: number, flags: number): number {
    const { registers } = this.#parts
    if ((registers.at(REG.PMEN) & PMEN_PRS) !== 0 && (flags & ATS_REQUEST) === 0 && isProtected(registers, paHi, paLo))
      return this.#refuse('the address lies in a protected memory region (PMEN, 11.4.8)')
    return this.#ok(paHi, paLo, rights, sizeLog2)
  }

  #ok(paHi: number, paLo: number, rights: number, sizeLog2: number): number {
    const { result } = this
    result.paHi = paHi
    result.paLo = paLo
    result.rights = rights
    result.sizeLog2 = sizeLog2
    result.refused = false
    result.cached = false
    return 0
  }

  /** It does not get through, and no fault is recorded. */
  #refuse(rule: string): number {
    const { result, context } = this
    result.reason = 0
    result.rule = rule
    result.refused = true
    result.recorded = false
    result.stage = 0
    result.cached = false
    result.answer = (context.kind & (ATS_REQUEST | TRANSLATED)) !== 0 ? ANSWER_UNSUPPORTED : ANSWER_BLOCKED
    return 1
  }

  #noAccess(rule: string): number {
    this.#refuse(rule)
    this.result.answer = ANSWER_NO_ACCESS
    return 1
  }

  #fault(reason: number, hi: number, lo: number, flags: number, stage: number): number {
    const { result, context } = this
    const { faults } = this.#parts
    result.reason = reason
    result.refused = true
    result.stage = stage
    result.rule = ''
    result.cached = false
    result.answer = answerTo(reason, flags)
    result.recorded = isReported(reason, result.answer) && faults.reported(reason, context.quiet)
    if (result.recorded) {
      faults.fill(reason, context.device, context.pasid, hi, lo, flags)
      result.record.set(faults.record)
      if (!this.dry) faults.push()
    }
    return 1
  }
}

/** Whether hardware still has to mark the leaf dirty before a write, or would have to and cannot. */
function isClean(walker: Walker, space: PtSpace): boolean {
  return space.dirty !== AD_IGNORE && (walker.lo & space.format.dirty) === 0
}

/** Whether a block of 2^log2 bytes around hi:lo contains interrupt addresses. */
function overInterrupts(hi: number, lo: number, log2: number): boolean {
  const above = log2 >= 32 ? hi >>> (log2 - 32) : hi
  if (above !== 0) return false
  return log2 >= 32 || (lo ^ 0xfee00000) >>> log2 === 0
}
