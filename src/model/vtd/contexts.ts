/**
 * Which context entry and which PASID table entry serve a request, and what follows from them before any page table is read. Intel VT-d,
 * sections 3.4, 6.2.2, 6.2.3 and the conditions RTA, LRT, LCT, SRT, SCT, SPD and SPT of section 7.1.3. Nothing here allocates.
 */
import type { WordMemory } from '../../base/memory.ts'
import { toDouble } from '../../base/u64.ts'
import {
  CONTEXT_FPD,
  SM_CONTEXT_DTE,
  SM_CONTEXT_PASIDE,
  SM_CONTEXT_RID_PRIV,
  SM_CONTEXT_WORDS,
  TT_DEVICE_TLB,
  TT_PASS_THROUGH,
} from '../../format/vtd/contexts.ts'
import * as fr from '../../format/vtd/faults.ts'
import type { VtdFeatures } from '../../format/vtd/features.ts'
import { findContext, findPasid, findSmContext, pasidsOf, ridPasidOf, type TableWalk } from '../../format/vtd/lookup.ts'
import {
  PASID_ERE,
  PASID_SRE,
  PASID_WORDS,
  PGTT_FIRST_STAGE,
  PGTT_NESTED,
  PGTT_PASS_THROUGH,
  pgttOf,
} from '../../format/vtd/pasid.ts'
import { TTM_ABORT_DMA, TTM_LEGACY, TTM_SCALABLE } from '../../format/vtd/registers.ts'
import type { EntryCache } from '../common/entry-cache.ts'
import { ATS_REQUEST, EXECUTE, PRIVILEGED, TRANSLATED, WRITE } from '../common/request.ts'
import { TLB_KIND_SHIFT } from '../common/tlb.ts'
import type { Registers } from './registers.ts'

/** What is done with the address. */
export const MODE_UNCHANGED = 0
export const MODE_TRANSLATED = 1
export const MODE_PASS_THROUGH = 2
export const MODE_LEGACY = 3
export const MODE_FIRST = 4
export const MODE_SECOND = 5
export const MODE_NESTED = 6

/** A cached context entry: its words, then the reason why it is no good (0: it is), the rule that it breaks, its domain id. */
const CONTEXT_REASON = SM_CONTEXT_WORDS
const CONTEXT_RULE = SM_CONTEXT_WORDS + 1
const CONTEXT_DID = SM_CONTEXT_WORDS + 2
export const CONTEXT_SLOT = SM_CONTEXT_WORDS + 3
/** A cached PASID table entry: its words, reason, rule, domain id, and whether FPD is 1 in it or in its directory entry. */
const PASID_REASON = PASID_WORDS
const PASID_RULE = PASID_WORDS + 1
const PASID_DID = PASID_WORDS + 2
const PASID_QUIET = PASID_WORDS + 3
export const PASID_SLOT = PASID_WORDS + 4

/** The domain id of a cached context entry, or PASID table entry, whose slot starts at `at`; 0 for those that are no good. */
export function domainOfContext(words: Int32Array, at: number): number {
  return words[at + CONTEXT_DID]!
}
export function domainOfPasid(words: Int32Array, at: number): number {
  return words[at + PASID_DID]!
}

/** Flags on which it depends which entries serve a request, and how. */
const KIND = ATS_REQUEST | TRANSLATED | PRIVILEGED | EXECUTE

/** The request has no number for its failure: ATS protocol errors. */
export const REFUSED = -1

export interface ContextParts {
  readonly registers: Registers
  readonly memory: WordMemory
  readonly contexts: EntryCache
  readonly pasids: EntryCache
}

/**
 * The entries that serve a request. While nothing changed (`epoch`), the next request of the same device, PASID and kind goes on with
 * them.
 */
export class ServingContext {
  device = -1
  pasid = -1
  kind = -1
  /** -1: something of it is not remembered, so it holds for one request. */
  epoch = -1
  mode = MODE_UNCHANGED
  /** FPD is 1 in an entry on the way. */
  quiet = false
  /** The rule that an entry breaks: an index of ENTRY_RULES. */
  rule = 0
  /** Which rule refused, in words: where the reason is REFUSED. */
  refusal = ''
  /** Index of the first word of the entry with the page-table root, in `contexts.words` (legacy) or `pasids.words`. */
  at = 0
  /** PASID that the entry was found by; 0 in legacy mode. */
  pasidUsed = 0
  did = 0
  /** Tag of the IOTLB. */
  tag = 0
  key = 0
  privileged = false
  readonly walk: TableWalk
  readonly #parts: ContextParts
  readonly #dry: boolean
  /** Words of an entry with what is kept beside them. */
  readonly #contextSlot = new Int32Array(CONTEXT_SLOT)
  readonly #pasidSlot = new Int32Array(PASID_SLOT)

  constructor(parts: ContextParts, walk: TableWalk, dry: boolean) {
    this.#parts = parts
    this.walk = walk
    this.#dry = dry
  }

  /** Whether this serves the request. */
  serves(device: number, pasid: number, flags: number): boolean {
    return (
      device === this.device &&
      pasid === this.pasid &&
      (flags & KIND) === this.kind &&
      this.#parts.registers.epoch[0] === this.epoch
    )
  }

  /** Finds the entries. @returns 0, the fault reason, or REFUSED. */
  resolve(device: number, pasid: number, flags: number): number {
    const { registers, contexts, pasids } = this.#parts
    this.epoch = -1
    this.quiet = false
    this.rule = 0
    this.walk.reads = 0
    this.device = device
    this.pasid = pasid
    this.kind = flags & KIND
    this.privileged = (flags & PRIVILEGED) !== 0
    const reason = this.#find(device, pasid, flags)
    if (reason !== 0) return reason
    this.tag = (device << 16) | (this.pasidUsed & 0xffff)
    this.key = ((this.pasidUsed >>> 16) | (pasid >= 0 ? 16 : 0)) << TLB_KIND_SHIFT
    if (!this.#dry && contexts.size > 0 && pasids.size > 0) this.epoch = registers.epoch[0]!
    return 0
  }

  #find(device: number, pasid: number, flags: number): number {
    const { registers } = this.#parts
    const special = flags & (ATS_REQUEST | TRANSLATED)
    // 4.2.1: while remapping is disabled, only untranslated requests get through
    if (!registers.translating) {
      this.mode = MODE_UNCHANGED
      return special === 0 ? 0 : this.#refuse('GSTS.TES is 0: only untranslated requests pass (4.2.1)')
    }
    if ((flags & TRANSLATED) !== 0 && pasid >= 0) return this.#refuse('a translated request has no PASID (4.2.1)')
    const { ttm } = registers
    const { features } = registers
    // RTA.1 to RTA.4
    if (ttm === TTM_ABORT_DMA) return features.abortDma ? fr.FR_ABORT_DMA : fr.FR_RTADDR_INVALID
    if (ttm === TTM_SCALABLE) return features.scalable ? this.#scalable(device, pasid, flags) : fr.FR_RTADDR_INVALID
    if (ttm !== TTM_LEGACY) return fr.FR_RTADDR_INVALID
    return pasid >= 0 ? fr.FR_LEGACY_PASID : this.#legacy(device, special)
  }

  #refuse(refusal: string): number {
    this.refusal = refusal
    return REFUSED
  }

  #legacy(device: number, special: number): number {
    const { contexts } = this.#parts
    const reason = this.findContext(device)
    if (reason !== 0) return reason
    const { words } = contexts
    const { at } = this
    this.pasidUsed = 0
    this.did = words[at + CONTEXT_DID]!
    const tt = (words[at]! >>> 2) & 3
    // LCT.5
    if (special !== 0 && tt !== TT_DEVICE_TLB) return fr.FR_TRANSLATION_BLOCKED
    this.mode = (special & TRANSLATED) !== 0 ? MODE_TRANSLATED : tt === TT_PASS_THROUGH ? MODE_PASS_THROUGH : MODE_LEGACY
    return 0
  }

  #scalable(device: number, pasid: number, flags: number): number {
    const { contexts, registers, pasids } = this.#parts
    const { features } = registers
    let reason = this.findContext(device)
    if (reason !== 0) return reason
    const context = contexts.words
    const contextAt = this.at
    const low = context[contextAt]!
    // SCT.5
    if ((flags & (ATS_REQUEST | TRANSLATED)) !== 0 && (low & SM_CONTEXT_DTE) === 0) return fr.FR_SM_NO_DTE
    // 4.2.5: a translated request needs nothing more
    if ((flags & TRANSLATED) !== 0) {
      this.mode = MODE_TRANSLATED
      return 0
    }
    reason = this.pasidReason(context, contextAt, pasid)
    if (reason !== 0) return reason
    this.pasidUsed = pasid >= 0 ? pasid : ridPasidOf(context, features, contextAt)
    if (pasid < 0) this.privileged = features.ridPriv && (context[contextAt + 2]! & SM_CONTEXT_RID_PRIV) !== 0
    reason = this.findPasid(device, this.pasidUsed, contextAt)
    if (reason !== 0) return reason
    const words = pasids.words
    const { at } = this
    const rights = words[at + 4]!
    // SPT.5: execution is asked for with a PASID only
    if ((flags & (EXECUTE | WRITE)) === EXECUTE && (!features.executeRequests || (rights & PASID_ERE) === 0)) return fr.FR_NO_ERE
    // SPT.6
    if (this.privileged && (!features.privilegedRequests || (rights & PASID_SRE) === 0)) return fr.FR_NO_SRE
    this.did = words[at + PASID_DID]!
    const pgtt = pgttOf(words[at]!)
    this.mode =
      pgtt === PGTT_FIRST_STAGE
        ? MODE_FIRST
        : pgtt === PGTT_NESTED
          ? MODE_NESTED
          : pgtt === PGTT_PASS_THROUGH
            ? MODE_PASS_THROUGH
            : MODE_SECOND
    return 0
  }

  /** SCT.6, SCT.7, SCT.9, SGN.10: whether a device may use this PASID. @param pasid -1: none. */
  pasidReason(context: Int32Array, at: number, pasid: number): number {
    if (pasid < 0) return 0
    const { features } = this.#parts.registers
    if ((context[at]! & SM_CONTEXT_PASIDE) === 0) return fr.FR_SM_NO_PASIDE
    if (pasid >= pasidsOf(context, at)) return fr.FR_SM_PASID_TOO_LARGE
    if (pasid === ridPasidOf(context, features, at)) return fr.FR_SM_RID_PASID
    return pasid >>> features.pasidBits !== 0 ? fr.FR_SM_PASID_UNSUPPORTED : 0
  }

  /** The context entry of a device, by the mode that RTADDR says. @returns 0: it is at `at` in `contexts.words`; or the reason. */
  findContext(device: number): number {
    const { registers, memory, contexts } = this.#parts
    const { features } = registers
    let at = contexts.find(device, 0)
    if (at < 0) {
      const legacy = registers.ttm === TTM_LEGACY
      const root = toDouble(registers.rootHi, registers.rootLo & ~0xfff)
      const { walk } = this
      const find = legacy ? findContext : findSmContext
      const reason = find(memory, features, root, device, walk)
      const slot = this.#contextSlot
      slot.set(walk.context)
      slot[CONTEXT_REASON] = reason
      slot[CONTEXT_RULE] = walk.rule
      slot[CONTEXT_DID] = legacy && reason === 0 ? (slot[2]! >>> 8) & 0xffff : 0
      if (!keeps(features, reason)) {
        this.quiet = walk.quiet
        this.rule = walk.rule
        return reason
      }
      at = this.#dry ? contexts.scratch(slot) : contexts.insert(device, 0, slot)
    }
    this.at = at
    this.quiet = (contexts.words[at]! & CONTEXT_FPD) !== 0
    this.rule = contexts.words[at + CONTEXT_RULE]!
    return contexts.words[at + CONTEXT_REASON]!
  }

  /** The PASID table entry of a device and PASID. @returns 0: it is at `at` in `pasids.words`; or the reason. */
  findPasid(device: number, pasid: number, contextAt: number): number {
    const { registers, memory, contexts, pasids } = this.#parts
    const { features } = registers
    let at = pasids.find(device, pasid)
    if (at < 0) {
      const { walk } = this
      walk.quiet = false
      const reason = findPasid(memory, features, contexts.words, contextAt, pasid, walk)
      const slot = this.#pasidSlot
      slot.set(walk.pasid)
      slot[PASID_REASON] = reason
      slot[PASID_RULE] = walk.rule
      slot[PASID_DID] = reason === 0 ? slot[2]! & 0xffff : 0
      slot[PASID_QUIET] = walk.quiet ? 1 : 0
      if (!keeps(features, reason)) {
        if (walk.quiet) this.quiet = true
        this.rule = walk.rule
        return reason
      }
      at = this.#dry ? pasids.scratch(slot) : pasids.insert(device, pasid, slot)
    }
    this.at = at
    if (pasids.words[at + PASID_QUIET] === 1) this.quiet = true
    this.rule = pasids.words[at + PASID_RULE]!
    return pasids.words[at + PASID_REASON]!
  }
}

/** Whether an entry that led to this reason may be cached: good ones always, bad ones in caching mode (6.2.2, 6.2.3). */
function keeps(features: VtdFeatures, reason: number): boolean {
  if (reason === 0) return true
  if (!features.cachingMode) return false
  switch (reason) {
    case fr.FR_CONTEXT_NOT_PRESENT:
    case fr.FR_CONTEXT_RESERVED:
    case fr.FR_CONTEXT_INVALID:
    case fr.FR_SM_CONTEXT_NOT_PRESENT:
    case fr.FR_SM_CONTEXT_RESERVED:
    case fr.FR_SM_CONTEXT_INVALID:
    case fr.FR_PASID_NOT_PRESENT:
    case fr.FR_PASID_RESERVED:
    case fr.FR_PASID_INVALID:
      return true
    default:
      return false
  }
}
