/**
 * An AMD IOMMU. AMD IOMMU specification (48882): registers (3.4), command buffer (2.4), event log (2.5), PPR log (2.6), translation (2.1 to
 * 2.3), ATS (2.1.3), interrupt remapping (2.2.5). It knows nothing of the software that drives it: tables and rings in memory, registers,
 * and what devices send are all it sees.
 */
import type { TranslationStep } from '../../base/explain.ts'
import { maskIn } from '../../base/layout.ts'
import type { WordMemory } from '../../base/memory.ts'
import type { Fault, Outcome, Transaction } from '../../base/types.ts'
import { hi32, lo32 } from '../../base/u64.ts'
import type { AmdFeatures } from '../../format/amdvi/features.ts'
import {
  baseAddress,
  EXT_FEATURE2,
  REG,
  REGISTERS,
  STATUS_EVENT_LOG_INT,
  STATUS_EVENT_OVERFLOW,
  STATUS_PPR_INT,
  STATUS_PPR_OVERFLOW,
} from '../../format/amdvi/registers.ts'
import { checkTransaction, DONE, type FastResult, flagsOf, outcomeOf } from '../common/request.ts'
import { settle } from '../common/settle.ts'
import type { DeviceMessage, Interrupt, InterruptMessage, IommuModel, PageRequestMessage } from '../iommu.ts'
import { CommandBuffer } from './commands.ts'
import { Configuration } from './config.ts'
import { Explainer } from './explain.ts'
import { FaultUnit } from './faults.ts'
import { Interrupts } from './interrupts.ts'
import { Log } from './log.ts'
import { type AmdChoices, type AmdOptions, optionsOf } from './options.ts'
import { PageRequests } from './ppr.ts'
import { EVENT_LOG, PPR_LOG, RegisterFile } from './registers.ts'
import { RemapUnit } from './remap.ts'
import { Tlb } from './tlb.ts'
import { Translator } from './translate.ts'

const REGISTER_NAMES = new Map(REGISTERS.map((register) => [register.name, register.offset]))
const HT_RANGE_IGNORE = maskIn(EXT_FEATURE2.fields.HTRangeIgnore, 0)
/** An IOMMU serves one PCI segment: bus, device, function. */
const NAMES = { device: 'DeviceID', last: 0xffff, pasid: 'PASID' }
const EX_EN = 1
const EX_ALLOW = 2

export class AmdIommu implements IommuModel {
  readonly name = 'AMD-Vi'
  readonly options: AmdOptions
  onMessage: ((message: DeviceMessage) => void) | null = null
  readonly memory: WordMemory
  /** The caches, for people and tests. */
  readonly config: Configuration
  readonly tlb: Tlb
  readonly #registers: RegisterFile
  readonly #interrupts: Interrupts
  readonly #faults: FaultUnit
  readonly #translator: Translator
  readonly #explainer = new Explainer()
  readonly #explaining: Translator
  readonly #commands: CommandBuffer
  readonly #pages: PageRequests
  readonly #remap: RemapUnit
  readonly #messages: DeviceMessage[] = []

  constructor(memory: WordMemory, choices: AmdChoices = {}) {
    this.memory = memory
    this.options = optionsOf(choices)
    const registers = new RegisterFile(this.options)
    this.#registers = registers
    this.#interrupts = new Interrupts(registers)
    const events = new Log(memory, registers, this.#interrupts, EVENT_LOG, STATUS_EVENT_OVERFLOW, STATUS_EVENT_LOG_INT)
    this.config = new Configuration(memory, registers, this.options)
    this.tlb = new Tlb(this.options.caches.translations)
    this.#faults = new FaultUnit(events, registers)
    const parts = { memory, config: this.config, tlb: this.tlb, faults: this.#faults, npCache: this.options.npCache }
    this.#translator = new Translator(parts)
    this.#explaining = new Translator(parts, this.#explainer)
    this.#explainer.walker = this.#explaining.walker
    const { config, tlb } = this
    const faults = this.#faults
    const interrupts = this.#interrupts
    this.#remap = new RemapUnit({ memory, registers, config, faults, capacity: this.options.caches.interrupts })
    const log = new Log(memory, registers, interrupts, PPR_LOG, STATUS_PPR_OVERFLOW, STATUS_PPR_INT)
    const send = (message: DeviceMessage) => {
      this.#messages.push(message)
    }
    this.#pages = new PageRequests({ registers, config, faults, events, log, send })
    const iommu = this
    this.#commands = new CommandBuffer({
      ...{ memory, registers, interrupts, events, config, tlb, faults, remap: this.#remap, send },
      prefetch: (device, pasid, page) => this.#translator.prefetch(device, pasid, page),
      get devices() {
        return iommu.onMessage !== null
      },
    })
    this.#registersChanged()
  }

  get features(): AmdFeatures {
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
    this.#registers.write(offset, bytes, value)
    // Pointers, which software writes most, change nothing else.
    if (offset < REG.CMD_HEAD) this.#registersChanged()
    else if (offset === REG.STATUS) this.#interrupts.update()
    this.#settle()
  }

  /**
   * Takes over the registers of a real machine, as captured, without what a write would set off. Names are those of format/amdvi/registers.ts;
   * unknown ones are ignored. Caches are empty then.
   */
  loadRegisters(values: Readonly<Record<string, bigint | number>>): void {
    for (const [name, value] of Object.entries(values)) {
      const offset = REGISTER_NAMES.get(name)
      if (offset !== undefined) this.#registers.load(offset, BigInt.asUintN(64, BigInt(value)))
    }
    this.#registers.configure()
    this.config.clear()
    this.tlb.clear()
    this.#remap.clear()
    this.#faults.forget(null)
    this.#registersChanged()
  }

  #registersChanged(): void {
    const registers = this.#registers
    this.config.registersChanged()
    const base = registers.get(REG.EXCL_BASE)
    const on = (base & EX_EN) !== 0
    const exclusion = {
      first: on ? baseAddress(registers.get(REG.EXCL_BASE + 4), base) / 4096 : 0,
      last: on ? registers.address(REG.EXCL_LIMIT) / 4096 : -1,
      all: (base & EX_ALLOW) !== 0,
    }
    for (const translator of [this.#translator, this.#explaining]) {
      translator.enabled = registers.enabled
      translator.hyperTransport = (registers.get(REG.EXT_FEATURE2) & HT_RANGE_IGNORE) === 0
      translator.exclusion = exclusion
    }
    this.#interrupts.update()
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
    // Interrupt handlers may translate, too: the result is this transaction's all the same.
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
    this.#pages.receive(message)
    this.#settle()
  }

  interrupt(message: InterruptMessage): Interrupt | Fault {
    const { device, address, data } = message
    checkTransaction({ device, iova: address, access: 'write' }, NAMES)
    if (!Number.isInteger(data) || data < 0 || data > 0xffffffff)
      throw new RangeError(`data ${data} of an interrupt message: an integer from 0 to 0xffffffff`)
    const result = this.#remap.deliver(message)
    this.#settle()
    return result
  }

  invalidationComplete(tag: number): void {
    this.#commands.invalidationComplete(tag)
    this.#settle()
  }

  /** A device did not complete an invalidation in time: IOTLB_INV_TIMEOUT (2.5.8). */
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
    settle(this.options.deferred ? null : this.#commands, this.#interrupts, this.#messages, this.#tell)
  }

  readonly #tell = (message: DeviceMessage) => this.onMessage?.(message)
}
