/**
 * The process to translate an IOVA, steps 17 to 20: the IOATC, both stages, interrupt files. RISC-V IOMMU 1.0, "Process to translate an
 * IOVA"; RISC-V privileged architecture, "Two-Stage Address Translation". Nothing here allocates.
 */
import { ALL_RIGHTS, PW, PX, UW, UX } from '../../base/types.ts'
import type { MutableSpace } from '../../format/pt/fill.ts'
import { NEED_IF_ALLOWED, NEED_INTERMEDIATE, NEED_SUPERVISOR, NEED_USER } from '../../format/pt/format.ts'
import { PTE_D, PTE_G, PTE_U } from '../../format/pt/riscv.ts'
import { readsOf, WALK_OK, WALK_POISONED, WALK_STAGE2_TABLE, WALK_TABLE_ABORT, type Walker } from '../../format/pt/walker.ts'
import { blankSpace, setStage1, setStage2 } from '../../format/riscv/context.ts'
import { DC_IOHGATP, gscidOf, IOHGATP_BARE, IOSATP_BARE, modeOf, TC_T2GPA } from '../../format/riscv/contexts.ts'
import { CAUSE_PT_CORRUPT, CAUSE_TYPE_DISALLOWED } from '../../format/riscv/records.ts'
import {
  IS_DIRTY,
  IS_GLOBAL,
  IS_MSI,
  IS_USER,
  PBMT_SHIFT,
  STAGE1_SIZE_SHIFT,
  STAGE2_SIZE_SHIFT,
  tagHigh,
  tagSpace,
} from './iotlb.ts'
import { EVENT_STAGE1_WALK, EVENT_STAGE2_WALK, EVENT_TLB_MISS } from './monitor.ts'
import { isInterruptFile, MsiTarget, translateMsi, withoutInterruptFiles } from './msi.ts'
import { accessOf, byAccess, REQUEST_ATS, REQUEST_DEBUG, REQUEST_PRIVILEGED, type RiscvResult } from './request.ts'
import type { ResolvedContext, TranslatorParts } from './translate.ts'

const WRITES = UW | PW
const NOT_EXECUTE = ALL_RIGHTS & ~(UX | PX)
/** IOATC tag of a context without any tables. */
const NO_TABLES = -1

/** The size that is reported of a leaf: `napot` for one of 64 KiB. */
function reported(log2: number, napot: number): number {
  return log2 === 16 ? napot : log2
}

export class Stages {
  readonly msiTarget = new MsiTarget()
  readonly #parts: TranslatorParts
  readonly #walker: Walker
  readonly #result: RiscvResult
  readonly #dry: boolean
  #stage1: MutableSpace
  #stage2: MutableSpace
  /** Derived from the context: tags (-1: Bare), and the IOATC's. */
  #tagged = false
  #gscid = -1
  #pscid = -1
  #space = NO_TABLES
  /** Derived from the context when tables are walked: whether the spaces are filled, and which there are. */
  #filled = false
  #has1 = false
  #has2 = false
  /** GPA of the last walk. */
  #gpaHi = 0
  #gpaLo = 0
  /** Reads of the last walk that the monitor counts: of the first stage's entries, of the second's for the GPA. */
  #reads1 = 0
  #reads2 = 0

  constructor(parts: TranslatorParts, walker: Walker, result: RiscvResult, dry: boolean) {
    this.#parts = parts
    this.#walker = walker
    this.#result = result
    this.#dry = dry
    this.#stage1 = blankSpace(parts.registers.features)
    this.#stage2 = blankSpace(parts.registers.features)
  }

  /** fctl changed. */
  reset(): void {
    this.#stage1 = blankSpace(this.#parts.registers.features)
    this.#stage2 = blankSpace(this.#parts.registers.features)
    this.newContext()
  }

  /** The next request has another context. */
  newContext(): void {
    this.#tagged = false
    this.#filled = false
  }

  #tag(context: ResolvedContext): void {
    const hgatpHigh = this.#parts.devices.words[context.dcAt + DC_IOHGATP + 1]!
    this.#gscid = modeOf(hgatpHigh) === IOHGATP_BARE ? -1 : gscidOf(hgatpHigh)
    this.#pscid = modeOf(context.fscHigh) === IOSATP_BARE ? -1 : context.pscid
    this.#space = this.#gscid < 0 && this.#pscid < 0 ? NO_TABLES : tagSpace(this.#gscid, this.#pscid)
    this.#tagged = true
  }

  #fill(context: ResolvedContext): void {
    const { registers, devices } = this.#parts
    const { features } = registers
    this.#has1 = setStage1(this.#stage1, features, context.tc, context.fscHigh, context.fscLow, context.sum)
    this.#has2 = setStage2(this.#stage2, features, devices.words, context.dcAt)
    this.#stage1.stage2 = this.#has2 ? this.#stage2 : null
    this.#filled = true
  }

  /** Steps 17 to 20. @returns 0, or the cause. */
  translate(context: ResolvedContext, hi: number, lo: number, flags: number): number {
    if (!this.#tagged) this.#tag(context)
    const { translations, monitor } = this.#parts
    const result = this.#result
    const access = accessOf(flags, context.process)
    const supervisor = (flags & REQUEST_PRIVILEGED) !== 0
    const rights = supervisor ? access << 3 : access
    // Supervisors may read and write user pages with SUM, and never execute them.
    const side = this.#pscid < 0 ? 0 : !supervisor ? NEED_USER : (access & 4) !== 0 || !context.sum ? NEED_SUPERVISOR : 0
    const space = this.#space
    const page = (hi << 20) | (lo >>> 12)
    const high = tagHigh(hi, this.#gscid)
    // An answer with a GPA (T2GPA) is not what the IOATC holds.
    const toGpa = (flags & REQUEST_ATS) !== 0 && (context.tc & TC_T2GPA) !== 0
    if (space !== NO_TABLES && !toGpa) {
      const at = translations.find(page, high, space)
      if (at >= 0) {
        const words = translations.words
        const details = words[at + 1]!
        const allowed = words[at + 2]!
        if (answers(details, allowed, rights, side, flags)) {
          const found = words[at]!
          result.hi = (details & ~0xfff) | (found >>> 20)
          result.lo = (found << 12) | (lo & 0xfff)
          result.details = details
          result.allowed = allowed
          result.cached = true
          return 0
        }
      }
    }
    const counts = monitor.active && !this.#dry
    if (counts) monitor.count(EVENT_TLB_MISS, 1, context.device, context.used, this.#gscid, this.#pscid)
    this.#walker.fetchReads = 0
    const cause = this.#walk(context, hi, lo, flags, access, rights, side)
    if (counts) this.#countWalks(context)
    if (cause !== 0) return cause
    if (toGpa) {
      result.hi = this.#gpaHi
      result.lo = this.#gpaLo
    } else if (space !== NO_TABLES && !result.mrif && !this.#dry) {
      const details = (result.hi & ~0xfff) | (result.details & 0xfff)
      translations.insert(page, high, space, (result.hi << 20) | (result.lo >>> 12), details, result.allowed)
    }
    return 0
  }

  #countWalks({ device, used }: ResolvedContext): void {
    const { monitor } = this.#parts
    monitor.count(EVENT_STAGE1_WALK, this.#reads1, device, used, this.#gscid, this.#pscid)
    monitor.count(EVENT_STAGE2_WALK, this.#reads2 + this.#walker.fetchReads, device, used, this.#gscid, this.#pscid)
  }

  /** Steps 17 to 19 through the tables. `result` has no more than what they give. */
  #walk(context: ResolvedContext, hi: number, lo: number, flags: number, access: number, rights: number, side: number): number {
    const { registers, devices } = this.#parts
    const { features, options } = registers
    const walker = this.#walker
    const result = this.#result
    const ats = (flags & REQUEST_ATS) !== 0
    if (!this.#filled) this.#fill(context)
    this.#reads1 = 0
    this.#reads2 = 0
    // step 17: the first stage gives the GPA
    let gpaHi = hi
    let gpaLo = lo
    let log2 = options.stage1BareLog2
    let allowed = ALL_RIGHTS
    let leaf1 = 0
    let pbmt = 0
    let details = IS_DIRTY | IS_USER
    if (this.#has1) {
      // ATS: rights are told, not enforced; a write that is asked for sets D where it is allowed.
      const need = side | NEED_INTERMEDIATE | (ats ? (rights & WRITES) << NEED_IF_ALLOWED : rights)
      const status = walker.walk(this.#stage1, hi, lo, need, true)
      this.#reads1 = readsOf(this.#stage1, walker)
      if (status !== WALK_OK) return this.#stage1Fault(status, access)
      gpaHi = walker.outHi
      gpaLo = walker.outLo
      leaf1 = walker.sizeLog2
      log2 = reported(leaf1, options.napotLog2)
      allowed = walker.rights
      pbmt = (walker.hi >>> 29) & 3
      details = (walker.lo & PTE_D) !== 0 ? IS_DIRTY : 0
      if ((walker.lo & PTE_U) !== 0) details |= IS_USER
      if (((walker.tablesLo | walker.lo) & PTE_G) !== 0) details |= IS_GLOBAL
    }
    this.#gpaHi = gpaHi
    this.#gpaLo = gpaLo
    // step 18: is the GPA that of a virtual interrupt file?
    if (isInterruptFile(features, devices.words, context.dcAt, gpaHi, gpaLo)) {
      result.details = 12 | (pbmt << PBMT_SHIFT) | IS_MSI | (details & ~IS_GLOBAL)
      result.allowed = (allowed & NOT_EXECUTE) | (leaf1 << STAGE1_SIZE_SHIFT) | (12 << STAGE2_SIZE_SHIFT)
      return this.#interruptFile(context, gpaHi, gpaLo, flags, access)
    }
    // step 19: the second stage gives the SPA
    let leaf2 = 0
    let log2Second = options.stage2BareLog2
    result.hi = gpaHi
    result.lo = gpaLo
    if (this.#has2) {
      const outer = walker.stage2
      const status = outer.walk(this.#stage2, gpaHi, gpaLo, NEED_USER | (ats ? (access & 2) << NEED_IF_ALLOWED : access), true)
      this.#reads2 = readsOf(this.#stage2, outer)
      if (status !== WALK_OK) return this.#stage2Fault(status, access, gpaHi, gpaLo, 0)
      result.hi = outer.outHi
      result.lo = outer.outLo
      allowed &= outer.rights
      if ((outer.lo & PTE_D) === 0) details &= ~IS_DIRTY
      // The first stage's memory type counts unless it is PMA.
      if (pbmt === 0) pbmt = (outer.hi >>> 29) & 3
      leaf2 = outer.sizeLog2
      log2Second = withoutInterruptFiles(features, devices.words, context.dcAt, gpaHi, gpaLo, reported(leaf2, options.napotLog2))
    }
    result.allowed = allowed | (leaf1 << STAGE1_SIZE_SHIFT) | (leaf2 << STAGE2_SIZE_SHIFT)
    result.details = details | (pbmt << PBMT_SHIFT) | Math.min(log2, log2Second)
    // step 20: translation is complete
    return 0
  }

  /** The end of step 18: the MSI page table. */
  #interruptFile(context: ResolvedContext, hi: number, lo: number, flags: number, access: number): number {
    const { registers, memory, devices } = this.#parts
    const { msiTarget } = this
    const result = this.#result
    const cause = translateMsi(memory, registers.features, devices.words, context.dcAt, hi, lo, msiTarget)
    if (cause !== 0) return cause
    // "Equivalent to a second-stage PTE with R = W = U = 1 and X = 0": read for execute is "Instruction access fault" (1)
    if ((flags & REQUEST_ATS) === 0 && (access & 4) !== 0) return 1
    // "Debug support": an interrupt file in memory has no address to tell
    if (msiTarget.mrif && (flags & REQUEST_DEBUG) !== 0) {
      result.rule = 'the address is that of a memory-resident interrupt file ("Debug support")'
      return CAUSE_TYPE_DISALLOWED
    }
    result.mrif = msiTarget.mrif
    result.hi = (msiTarget.pageHi << 12) | (msiTarget.pageLo >>> 20)
    result.lo = (msiTarget.pageLo << 12) | (lo & 0xfff)
    return 0
  }

  #stage1Fault(status: number, access: number): number {
    const walker = this.#walker
    this.#result.stage = 1
    switch (status) {
      case WALK_TABLE_ABORT:
        return byAccess(access, 1, 5, 7)
      case WALK_POISONED:
        return CAUSE_PT_CORRUPT
      case WALK_STAGE2_TABLE: {
        // The page of the table is reported: bit 0 says that the access was implicit, bit 1 that it was to set A or D.
        const implicit = walker.updateRefused ? 3 : 1
        return this.#stage2Fault(walker.stage2.status, access, walker.ipaHi, walker.ipaLo & ~0xfff, implicit)
      }
      default:
        return byAccess(access, 12, 13, 15)
    }
  }

  #stage2Fault(status: number, access: number, hi: number, lo: number, implicit: number): number {
    this.#result.stage = 2
    if (status === WALK_TABLE_ABORT) return byAccess(access, 1, 5, 7)
    if (status === WALK_POISONED) return CAUSE_PT_CORRUPT
    this.guestPageFault(hi, lo, implicit)
    return byAccess(access, 20, 21, 23)
  }

  /** iotval2 of a guest page fault: the GPA, bit 0 for an implicit access, bit 1 for an implicit write. */
  guestPageFault(hi: number, lo: number, implicit: number): void {
    this.#result.iotval2Hi = hi
    this.#result.iotval2Lo = (lo & ~3) | implicit
    this.#result.stage = 2
  }
}

/** Whether an entry of the IOATC answers this request. What it forbids is walked again, to tell why. */
function answers(details: number, allowed: number, rights: number, side: number, flags: number): boolean {
  if (side !== 0 && ((details & IS_USER) !== 0) !== (side === NEED_USER)) return false
  // ATS: what is not allowed is told, not refused.
  if ((rights & ~allowed) !== 0 && (flags & REQUEST_ATS) === 0) return false
  // A stage may still have to set D.
  return (rights & WRITES) === 0 || (details & IS_DIRTY) !== 0
}
