/**
 * The process to translate an IOVA. RISC-V IOMMU 1.0, "Process to translate an IOVA", whose steps the comments name. Nothing here
 * allocates; the outcome is in `result`.
 */
import type { WordMemory } from '../../base/memory.ts'
import { ALL_RIGHTS, PW, PX, UW, UX } from '../../base/types.ts'
import { doubleHi, doubleLo } from '../../base/u64.ts'
import { NEED_IF_ALLOWED, NEED_INTERMEDIATE, NEED_SUPERVISOR, NEED_USER } from '../../format/pt/format.ts'
import { PTE_D, PTE_G, PTE_U } from '../../format/pt/riscv.ts'
import { readsOf, WALK_OK, WALK_POISONED, WALK_STAGE2_TABLE, WALK_TABLE_ABORT, Walker } from '../../format/pt/walker.ts'
import { blankSpace, type MutableSpace, setStage1, setStage2 } from '../../format/riscv/context.ts'
import {
  DC_FSC,
  DC_IOHGATP,
  DC_TA,
  DC_TC,
  gscidOf,
  IOHGATP_BARE,
  IOSATP_BARE,
  modeOf,
  PC_ENS,
  PC_FSC,
  PC_SUM,
  PC_TA,
  PDTP_BARE,
  ppnAddressAt10,
  TC_DPE,
  TC_DTF,
  TC_EN_ATS,
  TC_PDTV,
  TC_T2GPA,
} from '../../format/riscv/contexts.ts'
import { DirectoryWalk, deviceTooWide, findDc, findPc, GUEST_PAGE_FAULT, pdtBits } from '../../format/riscv/lookup.ts'
import { CAUSE_ALL_DISALLOWED, CAUSE_PT_CORRUPT, CAUSE_TYPE_DISALLOWED } from '../../format/riscv/records.ts'
import { DDTP_BARE, DDTP_OFF, REG } from '../../format/riscv/registers.ts'
import { responseTo } from './ats.ts'
import type { ContextCache } from './directory-cache.ts'
import {
  IS_DIRTY,
  IS_GLOBAL,
  IS_MSI,
  IS_USER,
  PBMT_SHIFT,
  SIZE_MASK,
  STAGE1_SIZE_SHIFT,
  STAGE2_SIZE_SHIFT,
  type TranslationCache,
  tagHigh,
  tagSpace,
} from './iotlb.ts'
import {
  EVENT_ATS_REQUEST,
  EVENT_DDT_WALK,
  EVENT_PDT_WALK,
  EVENT_STAGE1_WALK,
  EVENT_STAGE2_WALK,
  EVENT_TLB_MISS,
  EVENT_TRANSLATED,
  EVENT_UNTRANSLATED,
  type Monitor,
} from './monitor.ts'
import { isInterruptFile, MsiTarget, translateMsi, withoutInterruptFiles } from './msi.ts'
import type { FaultQueue } from './queues.ts'
import type { Registers } from './registers.ts'
import {
  accessOf,
  byAccess,
  REQUEST_ATS,
  REQUEST_DEBUG,
  REQUEST_PRIVILEGED,
  REQUEST_TRANSLATED,
  RESPONSE_SUCCESS,
  RiscvResult,
  transactionType,
} from './request.ts'

/** What the parts of the model share. */
export interface TranslatorParts {
  readonly registers: Registers
  readonly memory: WordMemory
  readonly devices: ContextCache
  readonly processes: ContextCache
  readonly translations: TranslationCache
  readonly monitor: Monitor
  readonly faults: FaultQueue
}

const WRITES = UW | PW
const NOT_EXECUTE = ALL_RIGHTS & ~(UX | PX)

/** A NAPOT leaf counts as one page: the size that is reported. */
function reported(log2: number): number {
  return log2 === 16 ? 12 : log2
}

export class Translator {
  readonly result = new RiscvResult()
  readonly walker: Walker
  readonly directory = new DirectoryWalk()
  readonly msiTarget = new MsiTarget()
  /** For explanations: nothing is counted, remembered, recorded or updated. */
  readonly dry: boolean
  readonly #parts: TranslatorParts
  #stage1: MutableSpace
  #stage2: MutableSpace

  constructor(parts: TranslatorParts, dry = false) {
    this.#parts = parts
    this.dry = dry
    this.walker = new Walker(parts.memory)
    this.walker.rehearse = dry
    this.#stage1 = blankSpace(parts.registers.features)
    this.#stage2 = blankSpace(parts.registers.features)
  }

  /** fctl changed. */
  reset(): void {
    this.#stage1 = blankSpace(this.#parts.registers.features)
    this.#stage2 = blankSpace(this.#parts.registers.features)
  }

  /**
   * Translates IOVA hi:lo.
   * @param process process_id, -1 without.
   * @param flags REQUEST_….
   * @returns the response, RESPONSE_…; everything else is in `result`.
   */
  translate(device: number, process: number, hi: number, lo: number, flags: number): number {
    const { monitor } = this.#parts
    if (monitor.active && !this.dry) {
      const type = flags & REQUEST_ATS ? EVENT_ATS_REQUEST : flags & REQUEST_TRANSLATED ? EVENT_TRANSLATED : EVENT_UNTRANSLATED
      monitor.count(type, 1, device, process, -1, -1)
    }
    const result = this.result
    result.cause = 0
    result.cached = false
    result.mrif = false
    const cause = this.#process(device, process, hi, lo, flags)
    if (cause === 0) {
      result.response = RESPONSE_SUCCESS
      return RESPONSE_SUCCESS
    }
    return this.#fault(cause, device, process, hi, lo, flags)
  }

  #fault(cause: number, device: number, process: number, hi: number, lo: number, flags: number): number {
    const result = this.result
    result.cause = cause
    result.msi = false
    result.global = false
    result.rights = 0
    result.pbmt = 0
    result.sizeLog2 = 12
    if (cause !== 20 && cause !== 21 && cause !== 23) {
      result.iotval2Hi = 0
      result.iotval2Lo = 0
    }
    result.response = responseTo(cause, (flags & REQUEST_ATS) !== 0)
    result.recorded = false
    if (result.response !== RESPONSE_SUCCESS && !this.dry) {
      const type = transactionType(flags, process)
      const privileged = (flags & REQUEST_PRIVILEGED) !== 0
      const { iotval2Hi, iotval2Lo } = result
      // "If a fault condition prevents locating a valid device context then the DTF value assumed is 0."
      const dtf = (result.tc & TC_DTF) !== 0
      result.recorded = this.#parts.faults.report(cause, type, dtf, device, process, privileged, hi, lo, iotval2Hi, iotval2Lo)
    }
    return result.response
  }

  /** @returns 0, or the cause. */
  #process(device: number, process: number, hi: number, lo: number, flags: number): number {
    const { registers } = this.#parts
    const result = this.result
    const mode = registers.mode
    result.tc = 0
    result.stage = 0
    // step 1: if ddtp.iommu_mode == Off, "All inbound transactions disallowed" (256)
    if (mode === DDTP_OFF) return CAUSE_ALL_DISALLOWED
    // step 2: if Bare, translated and ATS requests are "Transaction type disallowed" (260), all others pass as they are
    if (mode === DDTP_BARE)
      return (flags & (REQUEST_TRANSLATED | REQUEST_ATS)) !== 0 ? CAUSE_TYPE_DISALLOWED : this.#unchanged(hi, lo, 12)
    // steps 3 to 6: locate the device context
    const dcAt = this.device(device, process)
    if (dcAt < 0) return -dcAt
    const dc = this.#parts.devices.words
    const tc = dc[dcAt + DC_TC]!
    const fscHigh = dc[dcAt + DC_FSC + 1]!
    result.tc = tc
    // step 7: transaction types that the context does not allow: 260
    if ((flags & (REQUEST_TRANSLATED | REQUEST_ATS)) !== 0 && (tc & TC_EN_ATS) === 0) return CAUSE_TYPE_DISALLOWED
    const pdtv = (tc & TC_PDTV) !== 0
    if (process >= 0) {
      if (!pdtv) return CAUSE_TYPE_DISALLOWED
      const pdtp = modeOf(fscHigh)
      if (pdtp !== PDTP_BARE && process >= 1 << pdtBits(pdtp)) return CAUSE_TYPE_DISALLOWED
    }
    const access = accessOf(flags, process)
    if ((flags & REQUEST_TRANSLATED) !== 0) {
      // step 8: a translated request with T2GPA = 0 is complete
      if ((tc & TC_T2GPA) === 0) return this.#unchanged(hi, lo, 12)
      // step 9: with T2GPA = 1 the IOVA is a GPA
      return this.#stages(dcAt, device, process, hi, lo, flags, access, 0, 0, -1, false)
    }
    // step 10: with PDTV = 0 the first stage is that of the device context
    if (!pdtv) {
      const pscid = dc[dcAt + DC_TA]! >>> 12
      return this.#stages(dcAt, device, process, hi, lo, flags, access, fscHigh, dc[dcAt + DC_FSC]!, pscid, false)
    }
    // step 11: with DPE = 1, process_id 0 is the default; step 12: with DPE = 0 there is no first stage without process_id
    const used = process < 0 && (tc & TC_DPE) !== 0 ? 0 : process
    // step 13: nor is there one where pdtp.MODE is Bare
    if (used < 0 || modeOf(fscHigh) === PDTP_BARE) return this.#stages(dcAt, device, used, hi, lo, flags, access, 0, 0, -1, false)
    // step 14: locate the process context
    const pcAt = this.#processContext(dcAt, device, used, access)
    if (pcAt < 0) return -pcAt
    const pc = this.#parts.processes.words
    const ta = pc[pcAt + PC_TA]!
    // step 15: supervisor requests need ENS: 260
    if (process >= 0 && (flags & REQUEST_PRIVILEGED) !== 0 && (ta & PC_ENS) === 0) return CAUSE_TYPE_DISALLOWED
    // step 16: the first stage is that of the process context
    const sum = (ta & PC_SUM) !== 0
    return this.#stages(dcAt, device, used, hi, lo, flags, access, pc[pcAt + PC_FSC + 1]!, pc[pcAt + PC_FSC]!, ta >>> 12, sum)
  }

  /** A translation that changes nothing. */
  #unchanged(hi: number, lo: number, log2: number): number {
    const result = this.result
    result.hi = hi
    result.lo = lo
    result.sizeLog2 = log2
    result.pbmt = 0
    result.rights = ALL_RIGHTS
    result.dirty = true
    result.global = false
    result.msi = false
    return 0
  }

  /** Locates the device context (steps 3 to 6). @returns where it is in `devices.words`, or the negative of the cause. */
  device(device: number, process: number): number {
    const { registers, memory, devices, monitor } = this.#parts
    const { features } = registers
    const levels = registers.mode - DDTP_BARE
    // step 5: a device_id wider than the mode supports: 260
    if (deviceTooWide(features, levels, device)) return -CAUSE_TYPE_DISALLOWED
    const known = devices.find(device, 0)
    if (known >= 0) return known
    const root = ppnAddressAt10(registers.at(REG.ddtp + 4), registers.at(REG.ddtp))
    const cause = findDc(memory, features, root, levels, device, this.directory)
    if (this.dry) return cause === 0 ? devices.scratch(this.directory.words) : -cause
    if (monitor.active) monitor.count(EVENT_DDT_WALK, this.directory.reads, device, process, -1, -1)
    return cause === 0 ? devices.insert(device, 0, this.directory.words) : -cause
  }

  #processContext(dcAt: number, device: number, process: number, access: number): number {
    const { registers, memory, devices, processes, monitor } = this.#parts
    const { features } = registers
    const known = processes.find(device, process)
    if (known >= 0) return known
    const dc = devices.words
    const stage2 = setStage2(this.#stage2, features, dc, dcAt) ? this.#stage2 : null
    const { directory } = this
    const cause = findPc(memory, features, dc, dcAt, stage2, this.walker.stage2, process, true, directory)
    if (monitor.active && !this.dry) {
      const gscid = stage2 === null ? -1 : gscidOf(dc[dcAt + DC_IOHGATP + 1]!)
      monitor.count(EVENT_PDT_WALK, directory.reads, device, process, -1, -1)
      monitor.count(EVENT_STAGE2_WALK, directory.stage2Reads, device, process, gscid, -1)
    }
    if (cause === 0) return this.dry ? processes.scratch(directory.words) : processes.insert(device, process, directory.words)
    if (cause !== GUEST_PAGE_FAULT) return -cause
    // "Any guest-page fault is always reported using the original access type"; bit 0 of iotval2: an implicit access.
    const guest = directory.guest[0]!
    return -this.#guestPageFault(access, doubleHi(guest), doubleLo(guest), 1)
  }

  #guestPageFault(access: number, hi: number, lo: number, implicit: number): number {
    this.result.iotval2Hi = hi
    this.result.iotval2Lo = (lo & ~3) | implicit
    this.result.stage = 2
    return byAccess(access, 20, 21, 23)
  }

  /**
   * Steps 17 to 20: both stages. fsc (high:low) is the first stage's iosatp, 0 for Bare; `tag` its PSCID.
   * @param process the process_id that is used (with DPE, 0), for counting; -1 without.
   */
  #stages(
    dcAt: number,
    device: number,
    process: number,
    hi: number,
    lo: number,
    flags: number,
    access: number,
    fscHigh: number,
    fscLow: number,
    tag: number,
    sum: boolean,
  ): number {
    const { devices, translations, monitor } = this.#parts
    const dc = devices.words
    const hgatpHigh = dc[dcAt + DC_IOHGATP + 1]!
    const gscid = modeOf(hgatpHigh) === IOHGATP_BARE ? -1 : gscidOf(hgatpHigh)
    const pscid = modeOf(fscHigh) === IOSATP_BARE ? -1 : tag
    const ats = (flags & REQUEST_ATS) !== 0
    const supervisor = process >= 0 && (flags & REQUEST_PRIVILEGED) !== 0
    const side = pscid < 0 ? 0 : !supervisor ? NEED_USER : (access & 4) !== 0 || !sum ? NEED_SUPERVISOR : 0
    const rights = supervisor ? access << 3 : access
    const page = (hi << 20) | (lo >>> 12)
    const high = tagHigh(hi, gscid)
    const space = tagSpace(gscid, pscid)
    // An answer with a GPA (T2GPA) is not what the IOATC holds.
    const useCache = gscid >= 0 || pscid >= 0
    const toGpa = ats && (this.result.tc & TC_T2GPA) !== 0
    if (useCache && !toGpa) {
      const at = translations.find(page, high, space)
      if (at >= 0 && this.#hit(translations.words, at, lo, rights, side, ats)) return 0
    }
    if (monitor.active && !this.dry) monitor.count(EVENT_TLB_MISS, 1, device, process, gscid, pscid)
    this.walker.fetchReads = 0
    const cause = this.#walk(dcAt, hi, lo, flags, access, rights, side, fscHigh, fscLow, sum)
    if (monitor.active && !this.dry) this.#countWalks(device, process, gscid, pscid)
    if (cause !== 0) return cause
    const { result } = this
    if (toGpa) {
      result.hi = this.#gpaHi
      result.lo = this.#gpaLo
    } else if (useCache && !result.mrif && !this.dry) {
      const details =
        (result.hi & ~0xfff) |
        result.sizeLog2 |
        (result.pbmt << PBMT_SHIFT) |
        (result.msi ? IS_MSI : 0) |
        (result.global ? IS_GLOBAL : 0) |
        (result.dirty ? IS_DIRTY : 0) |
        (this.#user ? IS_USER : 0)
      const sizes = (this.#leaf1 << STAGE1_SIZE_SHIFT) | (this.#leaf2 << STAGE2_SIZE_SHIFT)
      translations.insert(page, high, space, (result.hi << 20) | (result.lo >>> 12), details, result.rights | sizes)
    }
    return 0
  }

  /** Whether an entry of the IOATC answers this request: then `result` is complete. What it forbids is walked again, to tell why. */
  #hit(words: Int32Array, at: number, lo: number, rights: number, side: number, ats: boolean): boolean {
    const details = words[at + 1]!
    const allowed = words[at + 2]! & ALL_RIGHTS
    if (side !== 0 && ((details & IS_USER) !== 0) !== (side === NEED_USER)) return false
    // ATS: what is not allowed is told, not refused.
    if (!ats && (rights & ~allowed) !== 0) return false
    // A stage may still have to set D.
    if ((rights & WRITES) !== 0 && (details & IS_DIRTY) === 0) return false
    const result = this.result
    const page = words[at]!
    result.hi = (details & ~0xfff) | (page >>> 20)
    result.lo = (page << 12) | (lo & 0xfff)
    result.sizeLog2 = details & SIZE_MASK
    result.pbmt = (details >>> PBMT_SHIFT) & 3
    result.rights = allowed
    result.dirty = (details & IS_DIRTY) !== 0
    result.global = (details & IS_GLOBAL) !== 0
    result.msi = (details & IS_MSI) !== 0
    result.cached = true
    return true
  }

  /** GPA of the last walk, the leaves' sizes (0: Bare), and whether the first stage's leaf is a user page. */
  #gpaHi = 0
  #gpaLo = 0
  #leaf1 = 0
  #leaf2 = 0
  #user = false
  /** Reads of the last walk that the monitor counts: of the first stage's entries, of the second's for the GPA. */
  #reads1 = 0
  #reads2 = 0

  #countWalks(device: number, process: number, gscid: number, pscid: number): void {
    const { monitor } = this.#parts
    monitor.count(EVENT_STAGE1_WALK, this.#reads1, device, process, gscid, pscid)
    monitor.count(EVENT_STAGE2_WALK, this.#reads2 + this.walker.fetchReads, device, process, gscid, pscid)
  }

  /** Steps 17 to 19 through the tables. */
  #walk(
    dcAt: number,
    hi: number,
    lo: number,
    flags: number,
    access: number,
    rights: number,
    side: number,
    fscHigh: number,
    fscLow: number,
    sum: boolean,
  ): number {
    const { registers, devices } = this.#parts
    const { features, options } = registers
    const { walker, result } = this
    const dc = devices.words
    const ats = (flags & REQUEST_ATS) !== 0
    const has2 = setStage2(this.#stage2, features, dc, dcAt)
    this.#reads1 = 0
    this.#reads2 = 0
    // step 17: the first stage gives the GPA
    let gpaHi = hi
    let gpaLo = lo
    let log2 = options.stage1BareLog2
    let allowed = ALL_RIGHTS
    let dirty = true
    let pbmt = 0
    this.#leaf1 = 0
    this.#user = true
    result.global = false
    if (setStage1(this.#stage1, features, result.tc, fscHigh, fscLow, sum)) {
      this.#stage1.stage2 = has2 ? this.#stage2 : null
      // ATS: rights are told, not enforced; a write that is asked for sets D where it is allowed.
      const need = side | NEED_INTERMEDIATE | (ats ? (rights & WRITES) << NEED_IF_ALLOWED : rights)
      const status = walker.walk(this.#stage1, hi, lo, need, true)
      this.#reads1 = readsOf(this.#stage1, walker)
      if (status !== WALK_OK) return this.#stage1Fault(status, access)
      gpaHi = walker.outHi
      gpaLo = walker.outLo
      log2 = reported(walker.sizeLog2)
      allowed = walker.rights
      dirty = (walker.lo & PTE_D) !== 0
      pbmt = (walker.hi >>> 29) & 3
      this.#leaf1 = walker.sizeLog2
      this.#user = (walker.lo & PTE_U) !== 0
      result.global = ((walker.tablesLo | walker.lo) & PTE_G) !== 0
    }
    this.#gpaHi = gpaHi
    this.#gpaLo = gpaLo
    // step 18: is the GPA that of a virtual interrupt file?
    result.msi = isInterruptFile(features, dc, dcAt, gpaHi, gpaLo)
    result.dirty = dirty
    result.pbmt = pbmt
    if (result.msi) return this.#interruptFile(dcAt, gpaHi, gpaLo, flags, access, allowed)
    // step 19: the second stage gives the SPA
    this.#leaf2 = 0
    let log2Second = options.stage2BareLog2
    result.hi = gpaHi
    result.lo = gpaLo
    if (has2) {
      const outer = walker.stage2
      const asUser = NEED_USER | (ats ? (access & 2) << NEED_IF_ALLOWED : access)
      const status = outer.walk(this.#stage2, gpaHi, gpaLo, asUser, true)
      this.#reads2 = readsOf(this.#stage2, outer)
      if (status !== WALK_OK) return this.#stage2Fault(status, access, gpaHi, gpaLo)
      result.hi = outer.outHi
      result.lo = outer.outLo
      allowed &= outer.rights
      result.dirty = dirty && (outer.lo & PTE_D) !== 0
      // The first stage's memory type counts unless it is PMA.
      if (pbmt === 0) result.pbmt = (outer.hi >>> 29) & 3
      this.#leaf2 = outer.sizeLog2
      log2Second = withoutInterruptFiles(features, dc, dcAt, gpaHi, gpaLo, reported(outer.sizeLog2))
    }
    result.rights = allowed
    result.sizeLog2 = Math.min(log2, log2Second)
    // step 20: translation is complete
    return 0
  }

  /** The end of step 18: the MSI page table. */
  #interruptFile(dcAt: number, hi: number, lo: number, flags: number, access: number, allowed: number): number {
    const { registers, memory, devices } = this.#parts
    const { msiTarget, result } = this
    const cause = translateMsi(memory, registers.features, devices.words, dcAt, hi, lo, msiTarget)
    if (cause !== 0) return cause
    // "Equivalent to a second-stage PTE with R = W = U = 1 and X = 0": read for execute is "Instruction access fault" (1)
    if ((flags & REQUEST_ATS) === 0 && (access & 4) !== 0) return 1
    if (msiTarget.mrif && (flags & REQUEST_DEBUG) !== 0) return CAUSE_TYPE_DISALLOWED
    result.mrif = msiTarget.mrif
    result.hi = (msiTarget.pageHi << 12) | (msiTarget.pageLo >>> 20)
    result.lo = (msiTarget.pageLo << 12) | (lo & 0xfff)
    result.global = false
    result.rights = allowed & NOT_EXECUTE
    result.sizeLog2 = 12
    this.#leaf2 = 12
    return 0
  }

  #stage1Fault(status: number, access: number): number {
    const { walker, result } = this
    result.stage = 1
    switch (status) {
      case WALK_TABLE_ABORT:
        return byAccess(access, 1, 5, 7)
      case WALK_POISONED:
        return CAUSE_PT_CORRUPT
      case WALK_STAGE2_TABLE: {
        // The page of the table is reported: bit 0 says that the access was implicit, bit 1 that it was to set A or D.
        const outer = walker.stage2
        return this.#stage2Fault(outer.status, access, walker.ipaHi, walker.ipaLo & ~0xfff, walker.updateRefused ? 3 : 1)
      }
      default:
        return byAccess(access, 12, 13, 15)
    }
  }

  #stage2Fault(status: number, access: number, hi: number, lo: number, implicit = 0): number {
    this.result.stage = 2
    if (status === WALK_TABLE_ABORT) return byAccess(access, 1, 5, 7)
    if (status === WALK_POISONED) return CAUSE_PT_CORRUPT
    return this.#guestPageFault(access, hi, lo, implicit)
  }
}
