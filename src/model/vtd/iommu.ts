/**
 * An Intel VT-d remapping unit: registers for software, translation, interrupts and messages for devices. Intel VT-d, chapters 3 to 7, 11.
 * It knows nothing of the software that drives it: tables and queues in memory, registers, and what devices send are all it sees.
 *
 * @example
 * const iommu = new VtdIommu(memory)
 * iommu.write(REG.RTADDR, 8, BigInt(root))
 * iommu.write(REG.GCMD, 4, BigInt(GS_RTP))
 * iommu.write(REG.GCMD, 4, BigInt(GS_TE >>> 0))
 * const outcome = iommu.translate({ device: 0x30, iova: 0x1000n, access: 'read' })
 */
import type { TranslationStep } from '../../base/explain.ts'
import type { WordMemory } from '../../base/memory.ts'
import type { Fault, Outcome, Transaction } from '../../base/types.ts'
import { hi32, lo32 } from '../../base/u64.ts'
import type { VtdFeatures } from '../../format/vtd/features.ts'
import { EntryCache } from '../common/entry-cache.ts'
import { checkTransaction, flagsOf } from '../common/request.ts'
import { settle } from '../common/settle.ts'
import { TlbStore } from '../common/tlb.ts'
import type { DeviceMessage, Interrupt, InterruptMessage, IommuModel, PageRequestMessage } from '../iommu.ts'
import { Caches } from './caches.ts'
import { CONTEXT_SLOT, PASID_SLOT } from './contexts.ts'
import { type EventControl, Events } from './events.ts'
import { explain } from './explain.ts'
import { FaultLog } from './fault-log.ts'
import { InterruptRemapping } from './interrupts.ts'
import { InvalidationQueue } from './invalidation-queue.ts'
import { capOf, DEFAULT_CACHES, ecapOf, type VtdOptions } from './options.ts'
import { outcomeOf } from './outcome.ts'
import { PageRequests } from './page-requests.ts'
import { contextCommand, iotlbCommand } from './register-commands.ts'
import { Registers } from './registers.ts'
import type { VtdResult } from './request.ts'
import { Translator, type TranslatorParts } from './translate.ts'

/** The segment stands above the 16 bits of a source-id. */
const NAMES = { device: 'source-id', last: 0xffffff, pasid: 'PASID' }

export class VtdIommu implements IommuModel {
  readonly name = 'Intel VT-d'
  onMessage: ((message: DeviceMessage) => void) | null = null
  readonly memory: WordMemory
  readonly #registers: Registers
  readonly #events: Events
  readonly #faults: FaultLog
  readonly #parts: TranslatorParts
  readonly #caches: Caches
  readonly #translator: Translator
  readonly #queue: InvalidationQueue
  readonly #pages: PageRequests
  readonly #interrupts: InterruptRemapping
  readonly #deferred: boolean
  readonly #messages: DeviceMessage[] = []
  #explaining: Translator | null = null

  /** @throws RangeError when a size of a cache of entries is neither 0 nor a power of two. */
  constructor(memory: WordMemory, options: VtdOptions = {}) {
    this.memory = memory
    this.#deferred = options.deferred ?? false
    const sizes = { ...DEFAULT_CACHES, ...options.caches }
    const registers = new Registers(capOf(options), ecapOf(options), options.hostAddressBits ?? 52)
    this.#registers = registers
    this.#events = new Events(registers)
    this.#faults = new FaultLog(registers, this.#events, options.collapseFaults ?? false)
    const contexts = new EntryCache(sizes.contexts, CONTEXT_SLOT, registers.epoch)
    const pasids = new EntryCache(sizes.pasids, PASID_SLOT, registers.epoch)
    const translations = new TlbStore(sizes.translations)
    this.#parts = { registers, memory, contexts, pasids, translations, faults: this.#faults }
    this.#translator = new Translator(this.#parts)
    this.#interrupts = new InterruptRemapping(registers, memory, this.#faults, sizes.interrupts)
    this.#caches = new Caches(registers, contexts, pasids, translations)
    const send = (message: DeviceMessage) => this.#messages.push(message)
    this.#queue = new InvalidationQueue(
      { registers, memory, events: this.#events, faults: this.#faults, caches: this.#caches, interrupts: this.#interrupts, send },
      options.invalidationTags ?? 32,
    )
    this.#pages = new PageRequests(
      { registers, memory, events: this.#events, faults: this.#faults, caches: this.#caches, send },
      this.#parts,
    )
    registers.effects = {
      rootTable: () => {
        if (registers.cap('ESRTPS') === 1) this.#caches.clear()
      },
      translation: (on) => {
        if (!on && registers.features.scalable) this.#caches.clear()
        this.#faults.enablesChanged()
      },
      interruptTable: () => {
        if (registers.cap('ESIRTPS') === 1) this.#interrupts.clear()
      },
      interruptRemapping: (on) => {
        if (!on && registers.cap('ESIRTPS') === 1) this.#interrupts.clear()
        this.#faults.enablesChanged()
      },
      contextCommand: () => contextCommand(registers, this.#caches),
      iotlbCommand: () => iotlbCommand(registers, this.#caches),
      statusCleared: () => {
        this.#faults.cleared()
        this.#queue.statusCleared()
        this.#pages.statusCleared()
      },
      unmasked: (control) => this.#events.unmasked(control as EventControl),
    }
  }

  get features(): VtdFeatures {
    return this.#registers.features
  }

  get onInterrupt(): ((source: string) => void) | null {
    return this.#events.onSignal
  }

  set onInterrupt(handler: ((source: string) => void) | null) {
    this.#events.onSignal = handler
  }

  // Registers

  read(offset: number, bytes: 4 | 8): bigint {
    return this.#registers.read(offset, bytes)
  }

  write(offset: number, bytes: 4 | 8, value: bigint): void {
    this.#registers.write(offset, bytes, value)
    this.#settle()
  }

  /**
   * Takes over the registers of a real machine, as captured: enabled at once, without what a write would set off. Names are the manual's,
   * with or without `_REG`; CAP and ECAP say what the machine can do; unknown ones are ignored. Caches are empty then.
   */
  loadRegisters(values: Readonly<Record<string, bigint | number>>): void {
    this.#registers.load(values)
    this.#caches.clear()
    this.#interrupts.clear()
    this.#faults.loaded()
    this.#translator.reset()
    this.#explaining = null
  }

  // Devices

  /**
   * Translates without allocation.
   * @param pasid -1: none.
   * @param flags READ, WRITE or EXECUTE; PRIVILEGED; ATS_REQUEST or TRANSLATED (common/request.ts).
   * @returns 0: the address is in `result`; 1: it did not get through, and `result` says why.
   */
  translateFast(device: number, pasid: number, iovaHi: number, iovaLo: number, flags: number): number {
    const refused = this.#translator.translate(device, pasid, iovaHi, iovaLo, flags)
    if (refused !== 0) this.#settle()
    return refused
  }

  /** What came of the last translation, with all details. Reused by the next one. */
  get result(): VtdResult {
    return this.#translator.result
  }

  translate(transaction: Transaction): Outcome {
    const { device, pasid = -1, iova } = transaction
    checkTransaction(transaction, NAMES)
    this.#translator.translate(device, pasid, hi32(iova), lo32(iova), flagsOf(transaction))
    const outcome = outcomeOf(this.#translator, transaction)
    if (!outcome.ok) this.#settle()
    return outcome
  }

  explain(transaction: Transaction): { outcome: Outcome; steps: TranslationStep[] } {
    const { device, pasid = -1, iova } = transaction
    checkTransaction(transaction, NAMES)
    this.#explaining ??= this.#uncached()
    const steps = explain(this.#registers, this.#explaining, device, pasid, iova, flagsOf(transaction))
    return { outcome: outcomeOf(this.#explaining, transaction), steps }
  }

  /** A translator that asks no caches: it tells what the tables say, whatever is remembered of them. */
  #uncached(): Translator {
    const epoch = new Int32Array(1)
    const contexts = new EntryCache(0, CONTEXT_SLOT, epoch)
    const pasids = new EntryCache(0, PASID_SLOT, epoch)
    return new Translator({ ...this.#parts, contexts, pasids, translations: new TlbStore(0) }, true)
  }

  interrupt(message: InterruptMessage): Interrupt | Fault {
    const outcome = this.#interrupts.remap(message)
    this.#settle()
    return outcome
  }

  pageRequest(message: PageRequestMessage): void {
    this.#pages.receive(message)
    this.#settle()
  }

  invalidationComplete(tag: number): void {
    this.#queue.completed(tag)
    this.#settle()
  }

  /** A device did not complete an invalidation in time (6.5.2.11). */
  invalidationTimeout(tag: number): void {
    this.#queue.timedOut(tag)
    this.#settle()
  }

  // Work

  step(): boolean {
    const moved = this.#queue.step()
    this.#settle()
    return moved
  }

  #settle(): void {
    settle(this.#deferred ? null : this.#queue, this.#events, this.#messages, this.#tell)
  }

  readonly #tell = (message: DeviceMessage) => {
    if (this.onMessage !== null) this.onMessage(message)
    // Nobody is there to answer.
    else if (message.kind === 'invalidate') this.#queue.completed(message.tag)
  }
}
