/**
 * An SMMUv3. Arm IHI 0070: registers (6), command queue (4, 7.1), event queue (7), PRI queue (8), translation (3, 5), ATS (3.9).
 * It knows nothing of the software that drives it: tables and queues in memory, registers, and what devices send are all it sees.
 */
import type { TranslationStep } from '../../base/explain.ts'
import { getNumber, maskIn } from '../../base/layout.ts'
import { type DeviceId, type Outcome, type Pasid, PR, PW, PX, type Transaction, UR, UW, UX } from '../../base/types.ts'
import { hi32, lo32 } from '../../base/u64.ts'
import { E_PAGE_REQUEST } from '../../format/smmuv3/events.ts'
import type { SmmuFeatures } from '../../format/smmuv3/features.ts'
import { LOOKUP_OK } from '../../format/smmuv3/lookup.ts'
import { CR0, GBPA, IDR0, REGISTERS, registerNamed } from '../../format/smmuv3/registers.ts'
import { STE } from '../../format/smmuv3/ste.ts'
import type { PhysicalMemory } from '../../memory/physical.ts'
import { checkTransaction, DONE, type FastResult, flagsOf, outcomeOf, TRANSLATED } from '../common/request.ts'
import { settle } from '../common/settle.ts'
import type { DeviceMessage, IommuModel, PageRequestMessage } from '../iommu.ts'
import { CommandQueue } from './commandq.ts'
import { Commands, type CommandTarget } from './commands.ts'
import { Configuration } from './config.ts'
import { EventQueue } from './eventq.ts'
import { Explainer } from './explain.ts'
import { FaultUnit } from './faults.ts'
import { type IdrOptions, idrValues } from './idr.ts'
import { Interrupts, type MsiTarget } from './interrupts.ts'
import { PriQueue } from './priq.ts'
import { eventRecord } from './record.ts'
import { AT, ATSCHK, RegisterFile, SMMUEN } from './registers.ts'
import { type Stalled, Stalls } from './stall.ts'
import { Tlb } from './tlb.ts'
import { Translator } from './translate.ts'

/** Sizes of the caches, in entries; 0: off. */
export interface CacheOptions {
  /** STEs and CDs. A number is for both. */
  readonly config?: number | { readonly ste?: number; readonly cd?: number }
  /** IOTLB. */
  readonly tlb?: number
}

export interface SmmuOptions {
  /** Identification register fields that differ from the defaults. */
  readonly idr?: IdrOptions
  readonly caches?: CacheOptions
  /** Invalid STEs and CDs are cached too, so that a forgotten CMD_CFGI_* shows. Default: no. */
  readonly negativeCaching?: boolean
  /** Commands are consumed by `step` only. Default: at once. */
  readonly deferred?: boolean
  /** Takes MSIs that go to an interrupt controller; others are written to memory. */
  readonly msi?: MsiTarget
}

const REGISTER_NAMES = new Map(REGISTERS.map((register) => [register.name, register]))
const NAMES = { device: 'StreamID', last: 0xffffffff, pasid: 'SubstreamID' }
const IDR0_AT = registerNamed('IDR0').offset
const IDR0_ATSRECERR = maskIn(IDR0.fields.ATSRECERR, 0)
const GBPA_ABORT = maskIn(GBPA.fields.ABORT, 0)
const VMW_SHIFT = CR0.fields.VMW.lsb
const DEFAULT_STES = 256
const DEFAULT_CDS = 1024
const DEFAULT_TLB = 8192

/** A hint that pages will be used (E_PAGE_REQUEST). */
export interface PageHint {
  readonly device: DeviceId
  readonly pasid: Pasid | null
  readonly address: bigint
  /** Pages of 4096 bytes, at most 255. */
  readonly pages: number
  /** Mask of UR … PX. */
  readonly rights: number
}

export class SmmuV3 implements IommuModel {
  readonly name = 'Arm SMMUv3'
  onMessage: ((message: DeviceMessage) => void) | null = null
  readonly memory: PhysicalMemory
  /** The caches, for people and tests. */
  readonly config: Configuration
  readonly tlb: Tlb
  readonly stalls = new Stalls()
  readonly #registers = new RegisterFile()
  readonly #interrupts: Interrupts
  readonly #events: EventQueue
  readonly #faults: FaultUnit
  readonly #pri: PriQueue
  readonly #commands: CommandQueue
  readonly #translator: Translator
  readonly #explainer: Explainer
  readonly #explaining: Translator
  readonly #deferred: boolean
  readonly #messages: DeviceMessage[] = []

  constructor(memory: PhysicalMemory, options: SmmuOptions = {}) {
    this.memory = memory
    this.#deferred = options.deferred ?? false
    for (const [name, value] of idrValues(options.idr)) this.#registers.set(registerNamed(name).offset, value)
    const { config = {}, tlb = DEFAULT_TLB } = options.caches ?? {}
    const entries: { readonly ste?: number; readonly cd?: number } =
      typeof config === 'number' ? { ste: config, cd: config } : config
    const { ste = DEFAULT_STES, cd = DEFAULT_CDS } = entries
    const sizes = { streams: ste, contexts: cd, negative: options.negativeCaching ?? false }
    this.config = new Configuration(memory, this.#registers, sizes)
    this.tlb = new Tlb(tlb)
    this.#interrupts = new Interrupts(memory, this.#registers, options.msi ?? null)
    this.#events = new EventQueue(memory, this.#registers, this.#interrupts)
    this.#faults = new FaultUnit(this.config, this.#events, this.stalls, () => this.#registers.get(AT.CR2))
    const parts = { memory, config: this.config, tlb: this.tlb, faults: this.#faults }
    this.#translator = new Translator(parts)
    this.#explainer = new Explainer(memory, this.config)
    this.#explaining = new Translator(parts, this.#explainer)
    this.#explainer.walker = this.#explaining.walker
    this.#pri = new PriQueue(memory, this.#registers, this.#interrupts, (message) => this.#messages.push(message))
    this.#commands = new CommandQueue(memory, this.#registers, this.#interrupts, new Commands(this.#commandTarget()))
    this.#featuresChanged()
  }

  get features(): SmmuFeatures {
    return this.config.features
  }

  get onInterrupt(): ((source: string) => void) | null {
    return this.#interrupts.wire
  }

  set onInterrupt(handler: ((source: string) => void) | null) {
    this.#interrupts.wire = handler
  }

  // Registers

  read(offset: number, bytes: 4 | 8): bigint {
    return this.#registers.read(offset, bytes)
  }

  write(offset: number, bytes: 4 | 8, value: bigint): void {
    this.#writeWord(offset, lo32(value) >>> 0)
    if (bytes === 8) this.#writeWord(offset + 4, hi32(value) >>> 0)
    this.#settle()
  }

  /**
   * Takes over the registers of a real machine, as captured: enabled at once, without what a write would set off. Names are the manual's,
   * with or without `SMMU_`; unknown ones are ignored. Caches are empty then.
   */
  loadRegisters(values: Readonly<Record<string, bigint | number>>): void {
    for (const [name, value] of Object.entries(values)) {
      const plain = name.replace(/^SMMU_/, '')
      const register = REGISTER_NAMES.get(plain)
      if (register === undefined) continue
      this.#registers.set(register.offset, Number(BigInt.asUintN(32, BigInt(value))))
      if (register.bytes === 8) this.#registers.set(register.offset + 4, Number(BigInt.asUintN(64, BigInt(value)) >> 32n))
    }
    // What is enabled is acknowledged.
    this.#registers.set(AT.CR0ACK, this.#registers.get(AT.CR0))
    this.#registers.set(AT.IRQ_CTRLACK, this.#registers.get(AT.IRQ_CTRL))
    this.config.invalidateStreams(0, 0xffffffff, false)
    this.tlb.invalidate({ regimes: 15, vmid: -1, asid: -1, globals: true, page: 0, pages: 0, granule: 0, level: 0 })
    this.#featuresChanged()
    this.#controlsChanged()
  }

  #writeWord(offset: number, value: number): void {
    if (!this.#registers.write(offset, value)) return
    switch (offset) {
      case AT.CR0: {
        const wasEnabled = this.#translator.enabled
        // 6.3.9: updates complete at once.
        this.#registers.set(AT.CR0ACK, this.#registers.get(AT.CR0))
        this.#controlsChanged()
        if (wasEnabled && !this.#translator.enabled) this.#abandonStalls()
        break
      }
      case AT.IRQ_CTRL:
        this.#registers.set(AT.IRQ_CTRLACK, this.#registers.get(AT.IRQ_CTRL))
        break
      case AT.GBPA:
        this.#controlsChanged()
        break
      case AT.CR2:
      case AT.STRTAB_BASE:
      case AT.STRTAB_BASE + 4:
      case AT.STRTAB_BASE_CFG:
        this.config.registersChanged()
        break
    }
  }

  /** What the identification registers say, where it is kept. */
  #featuresChanged(): void {
    this.config.registersChanged()
    const { features } = this.config
    this.#registers.configure({ ...features, recordConfigAts: (this.#registers.get(IDR0_AT) & IDR0_ATSRECERR) !== 0 })
    this.#interrupts.oas = features.oas
    this.#events.queue.limit = features.eventqLog2
    this.#pri.queue.limit = features.priqLog2
    this.#commands.limit = features.cmdqLog2
    this.#commands.sev = features.sev
    this.stalls.limit = features.stallMax
    this.#pri.policy = { pasids: features.ssidBits > 0, carriesPasid: (device) => this.#responseCarriesPasid(device) }
  }

  /** What CR0 and GBPA say, where it is kept. */
  #controlsChanged(): void {
    const cr0 = this.#registers.get(AT.CR0ACK)
    for (const translator of [this.#translator, this.#explaining]) {
      translator.enabled = (cr0 & SMMUEN) !== 0
      translator.atsCheck = (cr0 & ATSCHK) !== 0
      translator.globalAbort = (this.#registers.get(AT.GBPA) & GBPA_ABORT) !== 0
    }
  }

  // Devices

  translate(transaction: Transaction): Outcome {
    checkTransaction(transaction, NAMES)
    const { device, pasid = -1, iova } = transaction
    return outcomeOf(this.#translator, this.translateFast(device, pasid, hi32(iova), lo32(iova), flagsOf(transaction)))
  }

  /**
   * As `translate`, in numbers.
   * @param pasid -1: none.
   * @param flags READ, WRITE or EXECUTE; PRIVILEGED; ATS_REQUEST or TRANSLATED (common/request.ts).
   * @returns 0: it got through; `result` has the address, or the fault.
   */
  translateFast(device: number, pasid: number, iovaHi: number, iovaLo: number, flags: number): number {
    const translator = this.#translator
    const status = translator.translate(device, pasid, iovaHi, iovaLo, flags)
    if (status === DONE) return status
    // Interrupt handlers and devices may translate, too: the result is this transaction's all the same.
    const { fault } = translator
    this.#settle()
    translator.fault = fault
    return status
  }

  /** What came of the last translation. Reused by the next one. */
  get result(): FastResult {
    return this.#translator
  }

  explain(transaction: Transaction): { outcome: Outcome; steps: TranslationStep[] } {
    checkTransaction(transaction, NAMES)
    const { device, pasid = -1, iova } = transaction
    const steps: TranslationStep[] = []
    this.#explainer.steps = steps
    this.#explainer.registers(this.#registers)
    const status = this.#explaining.translate(device, pasid, hi32(iova), lo32(iova), flagsOf(transaction))
    return { outcome: outcomeOf(this.#explaining, status), steps }
  }

  pageRequest(message: PageRequestMessage): void {
    this.#pri.receive(message)
    this.#settle()
  }

  /** A device hints at pages that it will use (3.12.4.1): an event, and no answer. While SMMUEN is 0 there are no events of devices. */
  pageHint(hint: PageHint): void {
    if (!this.#translator.enabled) return
    const { device, pasid, address, pages, rights } = hint
    const bit = (mask: number) => ((rights & mask) === 0 ? 0 : 1)
    const record = eventRecord(E_PAGE_REQUEST, {
      StreamID: device,
      substream: pasid,
      InputAddr: BigInt.asUintN(64, address),
      Span: Math.min(pages, 255),
      uR: bit(UR),
      uW: bit(UW),
      uX: bit(UX),
      pR: bit(PR),
      pW: bit(PW),
      pX: bit(PX),
    })
    this.#events.record(record)
    this.#settle()
  }

  invalidationComplete(tag: number): void {
    this.#commands.invalidationComplete(tag)
    this.#settle()
  }

  /** A device did not complete an invalidation in time: the CMD_SYNC that waits for it fails (3.9.1.4). */
  invalidationTimeout(tag: number): void {
    this.#commands.invalidationTimeout(tag)
    this.#settle()
  }

  // Work

  step(): boolean {
    const moved = this.#commands.step()
    this.#settle()
    return moved
  }

  #settle(): void {
    settle(this.#deferred ? null : this.#commands, this.#interrupts, this.#messages, this.#tell, this.#retryUnrecorded)
  }

  readonly #tell = (message: DeviceMessage) => this.onMessage?.(message)

  /** 7.2.1: stalled transactions whose event is not in the queue yet are tried as if they had just arrived. */
  readonly #retryUnrecorded = () => {
    if (this.stalls.count === 0 || !this.#events.writable) return
    for (const stalled of this.stalls.unrecorded()) {
      const done = this.#translator.retry(stalled) === DONE
      const response = done ? 'retry' : this.#translator.fault!.response
      if (response === 'stalled') {
        if (!stalled.recorded) return
        continue
      }
      this.stalls.release(stalled)
      this.#resume(stalled, response === 'retry' ? 'retry' : response === 'read-zero' ? 'terminate' : 'abort')
    }
  }

  #resume(stalled: Stalled, action: 'retry' | 'abort' | 'terminate'): void {
    this.#messages.push({ kind: 'resume', device: stalled.device, stallTag: stalled.ticket, action })
  }

  /** 6.3.9.6: when translation is switched off, what stalls ends with an abort. */
  #abandonStalls(): void {
    for (const stalled of this.stalls.of(null)) {
      this.stalls.release(stalled)
      this.#resume(stalled, 'abort')
    }
  }

  // 8.1: STE.PPAR, where IDR3.PPS does not settle it.
  #responseCarriesPasid(device: number): boolean | null {
    if (this.config.features.pps) return true
    const stream = this.config.stream(device)
    if (stream.status === LOOKUP_OK) return getNumber(stream.words, STE.fields.PPAR) === 1
    const request = { device, pasid: -1, hi: 0, lo: 0, flags: TRANSLATED }
    this.#faults.refuse(request, { code: stream.status, why: stream.why, stream, fetch: stream.address }, true, null)
    return null
  }

  #commandTarget(): CommandTarget {
    const smmu = this
    return {
      config: this.config,
      tlb: this.tlb,
      stalls: this.stalls,
      get enabled() {
        return smmu.#translator.enabled
      },
      get vmidWildcard() {
        return (smmu.#registers.get(AT.CR0ACK) >>> VMW_SHIFT) & 7
      },
      get devices() {
        return smmu.onMessage !== null
      },
      send: (message) => this.#messages.push(message),
      newInvalidation: () => this.#commands.newInvalidation(),
      prefetch: (device, pasid, address) => this.#translator.prefetch(device, pasid, address),
    }
  }
}
