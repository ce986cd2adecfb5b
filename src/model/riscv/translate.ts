/**
 * The process to translate an IOVA, steps 1 to 16: which device context, which process context. RISC-V IOMMU 1.0, "Process to translate
 * an IOVA", whose steps the comments name; `stages.ts` has the others. Nothing here allocates; the outcome is in `result`.
 */
import type { WordMemory } from '../../base/memory.ts'
import { ALL_RIGHTS } from '../../base/types.ts'
import { doubleHi, doubleLo } from '../../base/u64.ts'
import type { MutableSpace } from '../../format/pt/fill.ts'
import { Walker } from '../../format/pt/walker.ts'
import { blankSpace, setStage2 } from '../../format/riscv/context.ts'
import {
  DC_FSC,
  DC_IOHGATP,
  DC_TA,
  DC_TC,
  gscidOf,
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
import { CAUSE_ALL_DISALLOWED, CAUSE_TYPE_DISALLOWED } from '../../format/riscv/records.ts'
import { DDTP_BARE, DDTP_OFF, REG } from '../../format/riscv/registers.ts'
import type { EntryCache } from '../common/entry-cache.ts'
import { responseTo } from './ats.ts'
import { IS_DIRTY, type TranslationCache } from './iotlb.ts'
import {
  EVENT_ATS_REQUEST,
  EVENT_DDT_WALK,
  EVENT_PDT_WALK,
  EVENT_STAGE2_WALK,
  EVENT_TRANSLATED,
  EVENT_UNTRANSLATED,
  type Monitor,
} from './monitor.ts'
import type { FaultQueue } from './queues.ts'
import type { Registers } from './registers.ts'
import {
  accessOf,
  byAccess,
  REQUEST_ATS,
  REQUEST_PRIVILEGED,
  REQUEST_TRANSLATED,
  RESPONSE_SUCCESS,
  RiscvResult,
  transactionType,
} from './request.ts'
import { Stages } from './stages.ts'

/** What the parts of the model share. */
export interface TranslatorParts {
  readonly registers: Registers
  readonly memory: WordMemory
  readonly devices: EntryCache
  readonly processes: EntryCache
  readonly translations: TranslationCache
  readonly monitor: Monitor
  readonly faults: FaultQueue
}

/** `#resolve`: the request is complete as it is. */
const UNCHANGED = -1
/** Requests that may use the same contexts in different ways. */
const KIND = REQUEST_TRANSLATED | REQUEST_ATS | REQUEST_PRIVILEGED

/**
 * Contexts as steps 1 to 16 resolved them for the last request. While nothing changed (`epoch`), the next request of the same device,
 * process and kind starts at step 17.
 */
export class ResolvedContext {
  device = -1
  /** process_id of the request, -1 without; `used`: with DPE, 0. */
  process = -1
  used = -1
  kind = 0
  /** -1: something of it is not remembered, so it holds for one request. */
  epoch = -1
  tc = 0
  /** First word of the device context in `devices.words`. */
  dcAt = 0
  /** iosatp of the first stage, 0 for Bare, and its PSCID. */
  fscHigh = 0
  fscLow = 0
  pscid = -1
  sum = false
}

export class Translator {
  readonly result = new RiscvResult()
  readonly walker: Walker
  readonly directory = new DirectoryWalk()
  readonly stages: Stages
  /** For explanations: nothing is counted, remembered, recorded or updated. */
  readonly dry: boolean
  readonly #parts: TranslatorParts
  readonly #context = new ResolvedContext()
  #stage2: MutableSpace

  constructor(parts: TranslatorParts, dry = false) {
    this.#parts = parts
    this.dry = dry
    this.walker = new Walker(parts.memory)
    this.walker.rehearse = dry
    this.stages = new Stages(parts, this.walker, this.result, dry)
    this.#stage2 = blankSpace(parts.registers.features)
  }

  /** fctl changed. */
  reset(): void {
    this.#stage2 = blankSpace(this.#parts.registers.features)
    this.stages.reset()
  }

  /**
   * Translates IOVA hi:lo.
   * @param process process_id, -1 without.
   * @param flags REQUEST_….
   * @returns the response, RESPONSE_…; everything else is in `result`.
   */
  translate(device: number, process: number, hi: number, lo: number, flags: number): number {
    const { monitor, registers } = this.#parts
    const context = this.#context
    const result = this.result
    if (process < 0) flags &= ~REQUEST_PRIVILEGED
    if (monitor.active) this.#countRequest(device, process, flags)
    const kind = flags & KIND
    result.cause = 0
    result.mrif = false
    result.cached = false
    if (
      device !== context.device ||
      process !== context.process ||
      kind !== context.kind ||
      registers.epoch[0] !== context.epoch
    ) {
      const cause = this.#resolve(device, process, flags)
      if (cause === UNCHANGED) return this.#unchanged(hi, lo)
      if (cause !== 0) return this.#fault(cause, device, process, hi, lo, flags)
    }
    result.tc = context.tc
    result.stage = 0
    const cause = this.stages.translate(context, hi, lo, flags)
    if (cause !== 0) return this.#fault(cause, device, process, hi, lo, flags)
    result.response = RESPONSE_SUCCESS
    return RESPONSE_SUCCESS
  }

  #countRequest(device: number, process: number, flags: number): void {
    if (this.dry) return
    const type = flags & REQUEST_ATS ? EVENT_ATS_REQUEST : flags & REQUEST_TRANSLATED ? EVENT_TRANSLATED : EVENT_UNTRANSLATED
    this.#parts.monitor.count(type, 1, device, process, -1, -1)
  }

  #fault(cause: number, device: number, process: number, hi: number, lo: number, flags: number): number {
    const result = this.result
    result.cause = cause
    result.details = 12
    result.allowed = 0
    if (cause !== 20 && cause !== 21 && cause !== 23) {
      result.iotval2Hi = 0
      result.iotval2Lo = 0
    }
    result.response = responseTo(cause, (flags & REQUEST_ATS) !== 0)
    result.recorded = false
    // "When a Success response is generated for an ATS translation request, no fault records are reported."
    if (result.response !== RESPONSE_SUCCESS) {
      const { faults } = this.#parts
      const type = transactionType(flags, process)
      const privileged = (flags & REQUEST_PRIVILEGED) !== 0
      const { iotval2Hi, iotval2Lo } = result
      // "If a fault condition prevents locating a valid device context then the DTF value assumed is 0."
      const dtf = (result.tc & TC_DTF) !== 0
      result.recorded = faults.fill(cause, type, dtf, device, process, privileged, hi, lo, iotval2Hi, iotval2Lo)
      result.record.set(faults.record)
      if (result.recorded && !this.dry) faults.push()
    }
    return result.response
  }

  /** "Transaction type disallowed". */
  #disallowed(rule: string): number {
    this.result.rule = rule
    return CAUSE_TYPE_DISALLOWED
  }

  /** A translation that changes nothing. */
  #unchanged(hi: number, lo: number): number {
    const result = this.result
    result.hi = hi
    result.lo = lo
    result.details = 12 | IS_DIRTY
    result.allowed = ALL_RIGHTS
    result.response = RESPONSE_SUCCESS
    return RESPONSE_SUCCESS
  }

  /** Steps 1 to 16. @returns 0 when the context is resolved, UNCHANGED when all is done, else the cause. */
  #resolve(device: number, process: number, flags: number): number {
    const { registers, devices, processes } = this.#parts
    const context = this.#context
    const mode = registers.mode
    context.epoch = -1
    this.result.tc = 0
    this.result.stage = 0
    const special = (flags & (REQUEST_TRANSLATED | REQUEST_ATS)) !== 0
    // step 1: if ddtp.iommu_mode == Off, "All inbound transactions disallowed" (256)
    if (mode === DDTP_OFF) return CAUSE_ALL_DISALLOWED
    // step 2: if Bare, translated and ATS requests are "Transaction type disallowed" (260), all others pass as they are
    if (mode === DDTP_BARE)
      return special ? this.#disallowed('ddtp.iommu_mode is Bare: only untranslated requests pass (step 2)') : UNCHANGED
    // steps 3 to 6: locate the device context
    const dcAt = this.device(device, process)
    if (dcAt < 0) return -dcAt
    const dc = devices.words
    const tc = dc[dcAt + DC_TC]!
    const fscHigh = dc[dcAt + DC_FSC + 1]!
    const pdtv = (tc & TC_PDTV) !== 0
    this.result.tc = tc
    // step 7: transaction types that the context does not allow: 260
    if (special && (tc & TC_EN_ATS) === 0) return this.#disallowed('an ATS or translated request, and EN_ATS is 0 (step 7)')
    if (process >= 0) {
      if (!pdtv) return this.#disallowed('a request with process_id, and PDTV is 0 (step 7)')
      const pdtp = modeOf(fscHigh)
      if (pdtp !== PDTP_BARE && process >= 1 << pdtBits(pdtp))
        return this.#disallowed('the process_id is wider than pdtp.MODE takes (step 7)')
    }
    // step 8: a translated request with T2GPA = 0 is complete
    if ((flags & REQUEST_TRANSLATED) !== 0 && (tc & TC_T2GPA) === 0) return UNCHANGED
    context.device = device
    context.process = process
    context.used = process
    context.kind = flags & KIND
    context.tc = tc
    context.dcAt = dcAt
    context.fscHigh = 0
    context.fscLow = 0
    context.pscid = -1
    context.sum = false
    this.stages.newContext()
    if (devices.size > 0) context.epoch = registers.epoch[0]!
    // step 9: a translated request with T2GPA = 1 has a GPA: there is no first stage
    if ((flags & REQUEST_TRANSLATED) !== 0) return 0
    // step 10: with PDTV = 0 the first stage is that of the device context
    if (!pdtv) {
      context.fscHigh = fscHigh
      context.fscLow = dc[dcAt + DC_FSC]!
      context.pscid = dc[dcAt + DC_TA]! >>> 12
      return 0
    }
    // step 11: with DPE = 1, process_id 0 is the default; step 12: with DPE = 0 there is no first stage without process_id
    if (process < 0 && (tc & TC_DPE) !== 0) context.used = 0
    // step 13: nor is there one where pdtp.MODE is Bare
    if (context.used < 0 || modeOf(fscHigh) === PDTP_BARE) return 0
    // step 14: locate the process context
    context.epoch = -1
    const pcAt = this.#processContext(dcAt, device, context.used, accessOf(flags, process))
    if (pcAt < 0) return -pcAt
    const pc = processes.words
    const ta = pc[pcAt + PC_TA]!
    // step 15: supervisor requests need ENS: 260
    if ((flags & REQUEST_PRIVILEGED) !== 0 && (ta & PC_ENS) === 0)
      return this.#disallowed('a supervisor request, and PC.ta.ENS is 0 (step 15)')
    // step 16: the first stage is that of the process context
    context.fscHigh = pc[pcAt + PC_FSC + 1]!
    context.fscLow = pc[pcAt + PC_FSC]!
    context.pscid = ta >>> 12
    context.sum = (ta & PC_SUM) !== 0
    if (devices.size > 0 && processes.size > 0) context.epoch = registers.epoch[0]!
    return 0
  }

  /** Locates the device context (steps 3 to 6). @returns where it is in `devices.words`, or the negative of the cause. */
  device(device: number, process: number): number {
    const { registers, memory, devices, monitor } = this.#parts
    const { features } = registers
    const levels = registers.mode - DDTP_BARE
    // step 5: a device_id wider than the mode supports: 260
    if (deviceTooWide(features, levels, device))
      return -this.#disallowed('the device_id is wider than ddtp.iommu_mode takes (step 5)')
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
    this.stages.guestPageFault(doubleHi(guest), doubleLo(guest), 1)
    return -byAccess(access, 20, 21, 23)
  }
}
