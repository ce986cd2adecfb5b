/**
 * A RISC-V IOMMU, version 1.0 of the specification: registers for software, translation and messages for devices.
 *
 * @example
 * const iommu = new RiscvIommu(memory)
 * iommu.write(REG.ddtp, 8, (root >> 2n) | 4n)
 * const outcome = iommu.translate({ device: 0x30, pasid: 2, iova: 0x1000n, access: 'read' })
 */
import type { TranslationStep } from '../../base/explain.ts'
import type { WordMemory } from '../../base/memory.ts'
import type { Outcome, Transaction } from '../../base/types.ts'
import { hi32, lo32 } from '../../base/u64.ts'
import { DC_WORDS, PC_WORDS } from '../../format/riscv/contexts.ts'
import { CAUSE_MSI_WRITE, TTYP_NONE } from '../../format/riscv/records.ts'
import { EntryCache } from '../common/entry-cache.ts'
import type { PciFunction } from '../common/invalidations.ts'
import { checkTransaction } from '../common/request.ts'
import type { DeviceMessage, IommuModel, PageRequestMessage } from '../iommu.ts'
import { CommandQueue } from './commands.ts'
import { debugTranslation } from './debug.ts'
import { explain } from './explain.ts'
import { Interrupts } from './interrupts.ts'
import { TranslationCache } from './iotlb.ts'
import { type RiscvMessage, type RiscvPageRequest, toDeviceMessage } from './messages.ts'
import { Monitor } from './monitor.ts'
import { DEFAULT_OPTIONS, type RiscvOptions } from './options.ts'
import { outcomeOf } from './outcome.ts'
import { handlePageRequest } from './pri.ts'
import { FaultQueue, PageRequestQueue } from './queues.ts'
import { Registers } from './registers.ts'
import type { RiscvResult } from './request.ts'
import {
  REQUEST_ATS,
  REQUEST_EXECUTE,
  REQUEST_NO_WRITE,
  REQUEST_PRIVILEGED,
  REQUEST_TRANSLATED,
  REQUEST_WRITE,
} from './request.ts'
import { Translator, type TranslatorParts } from './translate.ts'

/** A device_id is segment, bus, device and function. */
const NAMES = { device: 'device_id', last: 0xffffff, pasid: 'process_id' }

export class RiscvIommu implements IommuModel {
  readonly name = 'RISC-V IOMMU 1.0'
  readonly options: RiscvOptions
  onMessage: ((message: DeviceMessage) => void) | null = null
  /** As `onMessage`, with every bit of the PCIe message. */
  onRawMessage: ((message: RiscvMessage) => void) | null = null
  onInterrupt: ((source: string) => void) | null = null
  /** IOFENCE.C with PR or PW: earlier reads or writes of devices are to be visible everywhere. */
  onOrder: ((reads: boolean, writes: boolean) => void) | null = null
  readonly #registers: Registers
  readonly #parts: TranslatorParts
  readonly #translator: Translator
  readonly #commands: CommandQueue
  readonly #pages: PageRequestQueue
  #explaining: Translator | null = null

  /** @throws RangeError when a cache size is neither 0 nor a power of two. */
  constructor(memory: WordMemory, options: Partial<RiscvOptions> = {}) {
    this.options = { ...DEFAULT_OPTIONS, ...options }
    const { caches } = this.options
    const registers = new Registers(this.options)
    const interrupts = new Interrupts(registers, memory)
    const faults = new FaultQueue(registers, memory, interrupts)
    const monitor = new Monitor(registers, interrupts)
    const devices = new EntryCache(caches.devices, DC_WORDS, registers.epoch)
    const processes = new EntryCache(caches.processes, PC_WORDS, registers.epoch)
    const translations = new TranslationCache(caches.translations)
    this.#registers = registers
    this.#parts = { registers, memory, devices, processes, translations, monitor, faults }
    this.#translator = new Translator(this.#parts)
    this.#pages = new PageRequestQueue(registers, memory, interrupts)
    this.#commands = new CommandQueue({ registers, memory, interrupts, devices, processes, translations })
    this.#commands.onMessage = (message) => this.#send(message)
    this.#commands.onOrder = (reads, writes) => this.onOrder?.(reads, writes)
    interrupts.onSignal = (source) => this.onInterrupt?.(source)
    // "If an access fault is detected on a MSI write": cause 273, with the address in iotval.
    interrupts.onWriteFault = (hi, lo) => {
      faults.fill(CAUSE_MSI_WRITE, TTYP_NONE, false, 0, -1, false, hi, lo, 0, 0)
      faults.push()
    }
    registers.effects = {
      features: () => {
        this.#translator.reset()
        this.#explaining = null
      },
      counters: () => monitor.update(),
      cleared: (source) => interrupts.again(source),
      unmasked: (vector) => interrupts.unmask(vector),
      translationRequest: () => debugTranslation(registers, this.#translator),
      commandsOff: () => this.#commands.off(),
    }
  }

  read(offset: number, bytes: 4 | 8): bigint {
    return this.#registers.read(offset, bytes)
  }

  write(offset: number, bytes: 4 | 8, value: bigint): void {
    this.#registers.write(offset, bytes, value)
  }

  /** The register file as 32-bit words, for tools that compare states. iocountovf is computed when read and not in it. */
  get registerWords(): Int32Array {
    return this.#registers.words
  }

  /** What came of the last translation, with all details. Reused by the next one. */
  get result(): RiscvResult {
    return this.#translator.result
  }

  /** Words of the MSI page table entry that the last translation used. */
  get msiEntry(): Int32Array {
    return this.#translator.stages.msiTarget.entry
  }

  /**
   * Translates without allocation.
   * @param process process_id, -1 without.
   * @param iovaHi bits 63:32 of the IOVA, and `iovaLo` bits 31:0, as signed 32-bit numbers.
   * @param flags REQUEST_… (request.ts); 0 is an untranslated, unprivileged read.
   * @returns the response: RESPONSE_SUCCESS, RESPONSE_UNSUPPORTED or RESPONSE_ABORT; the rest is in `result`.
   */
  translateFast(device: number, process: number, iovaHi: number, iovaLo: number, flags: number): number {
    return this.#translator.translate(device, process, iovaHi, iovaLo, flags)
  }

  translate(transaction: Transaction): Outcome {
    checkTransaction(transaction, NAMES)
    const { device, pasid = -1, iova } = transaction
    const translator = this.#translator
    translator.translate(device, pasid, hi32(iova), lo32(iova), flagsOf(transaction))
    return outcomeOf(translator, transaction)
  }

  explain(transaction: Transaction): { outcome: Outcome; steps: TranslationStep[] } {
    checkTransaction(transaction, NAMES)
    this.#explaining ??= this.#uncached()
    const { device, pasid = -1, iova } = transaction
    const steps = explain(this.#registers, this.#explaining, device, pasid, iova, flagsOf(transaction))
    return { outcome: outcomeOf(this.#explaining, transaction), steps }
  }

  /** A translator that asks no caches: it tells what the tables say, whatever is remembered of them. */
  #uncached(): Translator {
    const { epoch } = this.#registers
    const devices = new EntryCache(0, DC_WORDS, epoch)
    const processes = new EntryCache(0, PC_WORDS, epoch)
    return new Translator({ ...this.#parts, devices, processes, translations: new TranslationCache(0) }, true)
  }

  pageRequest(message: PageRequestMessage): void {
    const { device, pasid, address, group, last, read, write, execute, privileged } = message
    const bits = (read ? 1 : 0) | (write ? 2 : 0) | (last ? 4 : 0) | ((group & 0x1ff) << 3)
    const segment = device > 0xffff ? device >>> 16 : null
    const payload = (address & ~0xfffn) | BigInt(bits)
    this.rawPageRequest({ rid: device & 0xffff, segment, process: pasid ?? -1, privileged, execute, payload })
  }

  /** As `pageRequest`, with the PCIe message's own fields. */
  rawPageRequest(request: RiscvPageRequest): void {
    const answer = handlePageRequest(this.#parts, this.#translator, this.#pages, request)
    if (answer !== null) this.#send(answer)
  }

  invalidationComplete(tag: number): void {
    const target = this.#commands.invalidations.target(tag)
    if (target !== null) this.invalidationCompletion(target, 1 << tag, 1)
  }

  /**
   * An Invalidation Completion message.
   * @param mask ITags that it completes; `count` how many such messages the device sends for each of them.
   * @returns whether it was expected.
   */
  invalidationCompletion(from: PciFunction, mask: number, count: number): boolean {
    return this.#commands.invalidations.complete(from, mask, count)
  }

  /** The time to answer these invalidation requests (a mask of ITags) is over. The next IOFENCE.C tells software. */
  invalidationTimeout(mask: number): void {
    this.#commands.invalidations.expire(mask)
  }

  step(): boolean {
    return this.#commands.step()
  }

  #send(message: RiscvMessage): void {
    this.onRawMessage?.(message)
    this.onMessage?.(toDeviceMessage(message))
  }
}

function flagsOf({ access, privileged, kind }: Transaction): number {
  let flags = privileged === true ? REQUEST_PRIVILEGED : 0
  if (access === 'execute') flags |= REQUEST_EXECUTE
  // An ATS request reads; what it asks for beside that is write permission.
  if (kind === 'ats-request') return flags | REQUEST_ATS | (access === 'write' ? 0 : REQUEST_NO_WRITE)
  if (access === 'write') flags |= REQUEST_WRITE
  return kind === 'translated' ? flags | REQUEST_TRANSLATED : flags
}
