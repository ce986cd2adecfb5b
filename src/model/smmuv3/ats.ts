/**
 * PCIe ATS: translation requests, and transactions whose address a device translated before. Arm IHI 0070, 3.9.1, 13.6, 13.7.
 * Faults of translation are no events here: the device learns that it has no access.
 */

import { getNumber } from '../../base/layout.ts'
import { neededRight } from '../../base/types.ts'
import { NEED_INTERMEDIATE, type PtSpace } from '../../format/pt/format.ts'
import { WALK_OK, WALK_STAGE2_OUTPUT } from '../../format/pt/walker.ts'
import * as events from '../../format/smmuv3/events.ts'
import { intermediateBits } from '../../format/smmuv3/features.ts'
import { CD_BYPASS, LOOKUP_OK } from '../../format/smmuv3/lookup.ts'
import { EATS_DPT, EATS_SPLIT, STE } from '../../format/smmuv3/ste.ts'
import { ACCESS_MASK, DONE, EXECUTE, PRIVILEGED, WRITE } from '../common/request.ts'
import { effectivePrivilege, type Stream } from './config.ts'
import {
  refuseContext,
  refuseE0pd,
  refuseHalf,
  refuseSize,
  refuseStage2,
  refuseStream,
  refuseSubstream,
  refuseWalk,
} from './refusals.ts'
import { REGIME_STAGE2 } from './tlb.ts'
import { type Translator, upperHalf, withoutTag, writableClean } from './translate.ts'

/** What a request asks for (13.7.1). */
interface Wish {
  readonly write: boolean
  readonly execute: boolean
  readonly privileged: boolean
  /** The rights that count: of the request's privilege after STE.PRIVCFG. */
  readonly read: number
  readonly writeRight: number
  readonly executeRight: number
}

/** STE.EATS as it counts (5.2 EATS, 3.9.2); 0: no ATS. */
function effectiveEats(t: Translator, stream: Stream): number {
  if (!t.config.features.ats || (stream.config & 3) === 0) return 0
  const eats = getNumber(stream.words, STE.fields.EATS)
  // Split-stage ATS needs the check of translated transactions; device permission tables are not there.
  return eats === EATS_DPT || (eats === EATS_SPLIT && !t.atsCheck) ? 0 : eats
}

function wishOf(t: Translator, stream: Stream): Wish {
  const asked = t.flags & ACCESS_MASK
  const privileged = (t.flags & PRIVILEGED) !== 0
  const counts = effectivePrivilege(privileged, stream.privcfg)
  return {
    write: asked === WRITE,
    execute: asked === EXECUTE,
    privileged,
    read: neededRight('read', counts),
    writeRight: neededRight('write', counts),
    executeRight: neededRight('execute', counts),
  }
}

/** Rights that the completion grants (13.7.1), of the privilege that the request came with. */
function granted(stream: Stream, wish: Wish, rights: number, clean: boolean): number {
  const reads = (rights & wish.read) !== 0
  const executes = (rights & wish.executeRight) !== 0
  // 13.7: a clean page is made dirty for a request to write, and only then is writing granted.
  const writes = (rights & wish.writeRight) !== 0 && (wish.write || !clean)
  const instruction = stream.instcfg === 3
  const read = instruction ? executes : reads
  const execute = wish.execute && (instruction ? executes : stream.instcfg === 2 ? reads : reads && executes)
  const { privileged } = wish
  return (
    (read ? neededRight('read', privileged) : 0) |
    (writes ? neededRight('write', privileged) : 0) |
    (execute ? neededRight('execute', privileged) : 0)
  )
}

/** A translation request of a stream whose STE lets traffic pass. */
export function atsRequest(t: Translator, stream: Stream): number {
  const eats = effectiveEats(t, stream)
  if (eats === 0) return t.refuse({ code: events.F_BAD_ATS_TREQ, why: 'STE.EATS does not allow ATS (3.9.1.2)', stream })
  const index = t.config.select(stream, t.pasid)
  if (index < CD_BYPASS) return refuseSubstream(t, stream, -index)
  const wish = wishOf(t, stream)
  if (index >= 0) return throughStage1(t, stream, index, wish, eats === EATS_SPLIT)
  const bits = intermediateBits(t.config.features)
  if (!t.within(bits)) return refuseSize(t, stream, bits)
  // 13.6.4: where no stage is left, the device may read and write there.
  if (stream.stage2 === null) return t.identity(neededRight('read', false) | neededRight('write', false))
  return throughStage2(t, stream, wish, eats === EATS_SPLIT)
}

function throughStage1(t: Translator, stream: Stream, index: number, wish: Wish, split: boolean): number {
  const context = t.context(stream, index)
  if (context.status !== LOOKUP_OK) return refuseContext(t, stream, context)
  const va = withoutTag(context, t.hi)
  const half = upperHalf(stream, va) ? 1 : 0
  if (t.blockedUnprivileged(context, half)) return refuseE0pd(t, stream, context, half)
  const at = t.live && !split ? t.tlb.find(stream.regime, context.tag, context.aset, va, t.lo) : -1
  if (at >= 0 && dirtyEnough(t, at, wish)) {
    t.fromTlb(at, va, t.lo)
    return grant(t, stream, wish, t.tlb.clean(at), 1)
  }
  const space = half === 1 ? context.high : context.low
  if (space === null) return refuseHalf(t, stream, context, half)
  const { walker } = t
  if (walker.walk(space, va, t.lo, 0, false) !== WALK_OK) {
    // 3.9.1.2: what stage 1 grants nothing of is not looked up at stage 2.
    const stage1Only = walker.status === WALK_STAGE2_OUTPUT && granted(stream, wish, walker.rights, false) === 0
    return stage1Only ? noAccess(t, stream, walker.rights, 1) : refuseWalk(t, stream, context, space)
  }
  const update = t.live && granted(stream, wish, walker.rights, false) !== 0
  // 13.7: whatever is granted counts as accessed; what is asked for writing, and writable, as dirty.
  const need = wish.write ? walker.rights & wish.writeRight : 0
  if (update && walker.walk(space, va, t.lo, need, true) !== WALK_OK) return refuseWalk(t, stream, context, space)
  const clean = leafClean(t, space)
  if (!split) t.fromStage1(stream, context, space, va)
  else {
    const { rights, sizeLog2 } = walker
    walker.walk(space, va, t.lo, NEED_INTERMEDIATE, false)
    t.result(walker.outHi, walker.outLo, rights, sizeLog2)
  }
  return grant(t, stream, wish, clean, 1)
}

function throughStage2(t: Translator, stream: Stream, wish: Wish, split: boolean): number {
  const space = stream.stage2!
  const at = t.live && !split ? t.tlb.find(REGIME_STAGE2, stream.vmidTag, 0, t.hi, t.lo) : -1
  if (at >= 0 && dirtyEnough(t, at, wish)) {
    t.fromTlb(at, t.hi, t.lo)
    return grant(t, stream, wish, t.tlb.clean(at), 2)
  }
  const walker = t.walker.stage2
  const refused = () => refuseStage2(t, stream, null, events.CLASS_IN, t.hi, t.lo, false)
  if (walker.walk(space, t.hi, t.lo, 0, false) !== WALK_OK) return refused()
  const update = t.live && granted(stream, wish, walker.rights, false) !== 0
  const need = wish.write ? walker.rights & wish.writeRight : 0
  if (update && walker.walk(space, t.hi, t.lo, need, true) !== WALK_OK) return refused()
  const clean = writableClean(walker, space)
  // 13.6.5: in split-stage mode the device goes on using the intermediate address.
  if (split) t.result(t.hi, t.lo, walker.rights, walker.sizeLog2)
  else t.fromStage2(stream, space)
  return grant(t, stream, wish, clean, 2)
}

/** Whether the TLB's entry can answer: a clean page must first be made dirty for a request to write. */
function dirtyEnough(t: Translator, at: number, wish: Wish): boolean {
  return !(t.tlb.clean(at) && wish.write && (t.tlb.rights(at) & wish.writeRight) !== 0)
}

function leafClean(t: Translator, space: PtSpace): boolean {
  return writableClean(t.walker, space) || (space.stage2 !== null && writableClean(t.walker.stage2, space.stage2))
}

/** Cuts the result to what is granted. When explaining, a page that would be made dirty counts as dirty. */
function grant(t: Translator, stream: Stream, wish: Wish, clean: boolean, stage: 1 | 2): number {
  const rights = granted(stream, wish, t.rights, clean)
  if (rights === 0) return noAccess(t, stream, t.rights, stage)
  t.rights = rights
  return DONE
}

function noAccess(t: Translator, stream: Stream, rights: number, stage: 1 | 2): number {
  const why = `the tables grant nothing of what is asked (mask of rights 0x${rights.toString(16)}; 13.7.1)`
  return t.refuse({ code: events.F_PERMISSION, why, stage, stream })
}

/** A transaction whose address the device translated (3.9.1.3). */
export function translatedTransaction(t: Translator): number {
  if (!t.atsCheck) return passThrough(t)
  const stream = t.stream()
  if (stream.status !== LOOKUP_OK) return refuseStream(t, stream)
  if ((stream.config & 4) === 0) return t.refuse({ code: 0, why: 'STE.Config is abort: it ends silently (3.9.1.3)', stream })
  const eats = effectiveEats(t, stream)
  if (eats === 0)
    return t.refuse({ code: events.F_TRANSL_FORBIDDEN, why: 'STE.EATS does not allow translated transactions (3.9.1.3)', stream })
  if (eats !== EATS_SPLIT) return passThrough(t)
  const bits = intermediateBits(t.config.features)
  return t.within(bits) ? t.throughStage2(stream) : refuseSize(t, stream, bits)
}

// 3.9.1.1: an address beyond the output size is aborted, and nothing is recorded.
function passThrough(t: Translator): number {
  return t.within(t.config.features.oas)
    ? t.identity()
    : t.refuse({ code: 0, why: 'a translated address beyond the output address size (3.9.1.1)' })
}
