/** A bench for tests: memory, an SMMUv3, and the software that drives it as real software does, through tables, queues and registers. */
import { decode, encode, type Fields, type Layout, type Values } from '../../base/layout.ts'
import { ALL_RIGHTS, type Outcome, type Transaction } from '../../base/types.ts'
import { ptSpace } from '../../format/pt/format.ts'
import { newRoot, PageTable } from '../../format/pt/mapper.ts'
import { type Granule, type Regime, vmsav8 } from '../../format/pt/vmsav8.ts'
import { CD } from '../../format/smmuv3/cd.ts'
import * as cmd from '../../format/smmuv3/commands.ts'
import { type EventRecord, eventOf } from '../../format/smmuv3/events.ts'
import { PRI } from '../../format/smmuv3/pri.ts'
import { registerNamed } from '../../format/smmuv3/registers.ts'
import { CONFIG_NESTED, CONFIG_S1, CONFIG_S2, STE } from '../../format/smmuv3/ste.ts'
import { PhysicalMemory } from '../../memory/physical.ts'
import type { DeviceMessage } from '../iommu.ts'
import { type SmmuOptions, SmmuV3 } from './smmu.ts'

export type SteValues = Partial<Values<typeof STE.fields>>
export type CdValues = Partial<Values<typeof CD.fields>>

export interface RigOptions extends SmmuOptions {
  readonly cmdqLog2?: number
  readonly eventqLog2?: number
  readonly priqLog2?: number
  /** CR2 to enable with; by default C_BAD_STREAMID is recorded. */
  readonly cr2?: number
  /** CR0 to enable with; by default everything but ATSCHK. */
  readonly cr0?: number
  readonly start?: boolean
}

/** One page table, and what a CD or STE says of it. */
export interface Space {
  readonly table: PageTable
  readonly cd: CdValues
  readonly ste: SteValues
}

export const RAM = { start: 0x4000_0000, end: 0x8000_0000 }
/** Nothing answers here. */
export const HOLE = 0x9000_0000
export const SID_BITS = 8
export const SMMUEN = 1
export const PRIQEN = 2
export const EVENTQEN = 4
export const CMDQEN = 8
export const ATSCHK = 16

export class Rig {
  readonly memory = new PhysicalMemory([RAM])
  readonly smmu: SmmuV3
  readonly messages: DeviceMessage[] = []
  readonly interrupts: string[] = []
  readonly strtab: number
  readonly cmdq: number
  readonly eventq: number
  readonly priq: number
  readonly #logs: { cmdq: number; eventq: number; priq: number }

  constructor(options: RigOptions = {}) {
    this.smmu = new SmmuV3(this.memory, options)
    this.smmu.onMessage = (message) => this.messages.push(message)
    this.smmu.onInterrupt = (source) => this.interrupts.push(source)
    this.strtab = this.memory.allocate(64 << SID_BITS)
    this.#logs = { cmdq: options.cmdqLog2 ?? 8, eventq: options.eventqLog2 ?? 7, priq: options.priqLog2 ?? 7 }
    this.cmdq = this.memory.allocate(Math.max(4096, 16 << this.#logs.cmdq))
    this.eventq = this.memory.allocate(Math.max(4096, 32 << this.#logs.eventq))
    this.priq = this.memory.allocate(Math.max(4096, 16 << this.#logs.priq))
    this.set('STRTAB_BASE', BigInt(this.strtab))
    this.set('STRTAB_BASE_CFG', SID_BITS)
    this.set('CMDQ_BASE', BigInt(this.cmdq) | BigInt(this.#logs.cmdq))
    this.set('EVENTQ_BASE', BigInt(this.eventq) | BigInt(this.#logs.eventq))
    this.set('PRIQ_BASE', BigInt(this.priq) | BigInt(this.#logs.priq))
    this.set('CR2', options.cr2 ?? 2)
    this.set('IRQ_CTRL', 7)
    if (options.start !== false) this.set('CR0', options.cr0 ?? SMMUEN | PRIQEN | EVENTQEN | CMDQEN)
  }

  // Registers

  get(name: string): bigint {
    const { offset, bytes } = registerNamed(name)
    return this.smmu.read(offset, bytes)
  }

  set(name: string, value: bigint | number): void {
    const { offset, bytes } = registerNamed(name)
    this.smmu.write(offset, bytes, BigInt(value))
  }

  field<F extends Fields>(layout: Layout<F>, name: keyof F & string): number {
    const value = this.get(layout.name)
    return decode(layout, Uint32Array.of(Number(value & 0xffffffffn), Number(value >> 32n)))[name] as number
  }

  // Structures

  writeWords(pa: number, words: Uint32Array): void {
    words.forEach((word, index) => {
      this.memory.write32(pa + index * 4, word)
    })
  }

  /** Writes an STE, valid unless it says otherwise. No command is sent. */
  ste(sid: number, values: SteValues): number {
    const pa = this.strtab + sid * 64
    this.writeWords(pa, encode(STE, { V: 1, ...values }))
    return pa
  }

  /** Writes a CD: valid, private, faults are recorded and abort, TTB1 off, unless it says otherwise. No command is sent. */
  cd(pa: number, values: CdValues): number {
    this.writeWords(pa, encode(CD, { V: 1, AA64: 1, R: 1, A: 1, ASET: 1, EPD1: 1, IPS: 5, ...values }))
    return pa
  }

  /** An empty page table, stage 1 (of the lower half) or stage 2. */
  space(
    stage: 1 | 2,
    given: { granule?: Granule; inputBits?: number; regime?: Regime; top?: number; wide?: boolean } = {},
  ): Space {
    const { granule = 12, inputBits = stage === 1 ? 48 : 40, wide = false } = given
    const format = vmsav8(granule, given.regime ?? (stage === 1 ? 'el1' : 'stage2-xnx'), wide)
    const topDepth = given.top ?? Math.ceil((inputBits - granule) / (granule - 3)) - 1
    const root = newRoot(this.memory, { format, topDepth, inputBits })
    // Attribute 0, not global; inner shareable, where bits 9:8 are not address bits 51:50.
    const attributesLo = (stage === 1 ? 1 << 11 : 15 << 2) | (wide && granule !== 16 ? 0 : 3 << 8)
    const table = new PageTable(this.memory, this.memory, ptSpace({ format, root, topDepth, inputBits, attributesLo }))
    const tg = { 12: 0, 14: 2, 16: 1 }[granule]
    const sl0 = granule === 12 ? { 0: 3, 1: 0, 2: 1, 3: 2, 4: 0 }[topDepth]! : topDepth
    return {
      table,
      cd: { T0SZ: 64 - inputBits, TG0: tg, TTB0: BigInt(root) },
      ste: { S2T0SZ: 64 - inputBits, S2TG: tg, S2SL0: sl0, S2TTB: BigInt(root), S2AA64: 1, S2PS: 5, S2R: 1 },
    }
  }

  /** A stream with one CD. @returns where the CD lies. */
  stage1(sid: number, space: Space, cd: CdValues = {}, ste: SteValues = {}): number {
    const pa = this.memory.allocate(4096)
    this.cd(pa, { ASID: sid, ...space.cd, ...cd })
    this.ste(sid, { Config: CONFIG_S1, S1ContextPtr: BigInt(pa), ...ste })
    return pa
  }

  stage2(sid: number, space: Space, ste: SteValues = {}): void {
    this.ste(sid, { Config: CONFIG_S2, S2VMID: sid, ...space.ste, ...ste })
  }

  /**
   * A stream with both stages. The guest's page table lies in memory that `outer` maps one to one where it is used: map it yourself.
   * @returns where the CD lies.
   */
  nested(sid: number, inner: Space, outer: Space, cd: CdValues = {}, ste: SteValues = {}): number {
    const pa = this.memory.allocate(4096)
    this.cd(pa, { ASID: sid, ...inner.cd, ...cd })
    this.ste(sid, { Config: CONFIG_NESTED, S2VMID: sid, ...outer.ste, S1ContextPtr: BigInt(pa), ...ste })
    return pa
  }

  /** A CD table with room for 2^log2 CDs. */
  cdTable(log2: number): number {
    return this.memory.allocate(Math.max(4096, 64 << log2))
  }

  // Commands

  /** Puts a command into the queue, and tells the SMMU. */
  send<F extends Fields>(layout: Layout<F>, values: Partial<Values<F>> = {}): void {
    const opcode = [...cmd.COMMANDS.values()].find((each) => each.layout.name === layout.name)!.opcode
    this.sendRaw(encode(layout, { ...values, opcode } as Partial<Values<F>>))
  }

  sendRaw(words: Uint32Array): void {
    const mask = (2 << this.#logs.cmdq) - 1
    const prod = Number(this.get('CMDQ_PROD'))
    this.writeWords(this.cmdq + (prod & (mask >> 1)) * 16, words)
    this.set('CMDQ_PROD', (prod + 1) & mask)
  }

  sync(): void {
    this.send(cmd.SYNC)
  }

  /** Error code of the command queue, 0 while no error is active. */
  get cmdqError(): number {
    const active = (this.get('GERROR') ^ this.get('GERRORN')) & 1n
    return active === 0n ? 0 : Number((this.get('CMDQ_CONS') >> 24n) & 0x7fn)
  }

  acknowledge(): void {
    this.set('GERRORN', this.get('GERROR'))
  }

  // Output queues

  /** Reads out the event queue. */
  events(): { record: EventRecord; fields: Record<string, number | bigint>; words: bigint[] }[] {
    return this.#drain('EVENTQ', this.eventq, this.#logs.eventq, 32).map((words) => {
      const record = eventOf(words)!
      return { record, fields: decode(record.layout, words), words: big(words) }
    })
  }

  /** Names of the events in the queue, which is read out. */
  eventNames(): string[] {
    return this.events().map((event) => event.record.name)
  }

  pageRequests(): Values<typeof PRI.fields>[] {
    return this.#drain('PRIQ', this.priq, this.#logs.priq, 16).map((words) => decode(PRI, words))
  }

  #drain(queue: string, base: number, log2: number, bytes: number): Uint32Array[] {
    const out: Uint32Array[] = []
    const mask = (2 << log2) - 1
    const prod = Number(this.get(`${queue}_PROD`))
    let cons = Number(this.get(`${queue}_CONS`))
    for (; ((prod ^ cons) & mask) !== 0; cons = ((cons + 1) & mask) | (cons & 0x80000000)) {
      const pa = base + (cons & (mask >> 1)) * bytes
      out.push(Uint32Array.from({ length: bytes / 4 }, (_, index) => this.memory.read32(pa + index * 4)))
    }
    this.set(`${queue}_CONS`, ((cons & 0x7fffffff) | (prod & 0x80000000)) >>> 0)
    return out
  }

  // Devices

  dma(device: number, iova: bigint | number, given: Partial<Transaction> = {}): Outcome {
    return this.smmu.translate({ device, iova: BigInt(iova), access: 'read', ...given })
  }

  /** The physical address that a transaction reaches, or the name of its fault. */
  reach(device: number, iova: bigint | number, given: Partial<Transaction> = {}): bigint | string {
    const outcome = this.dma(device, iova, given)
    return outcome.ok ? outcome.pa : outcome.name
  }
}

function big(words: Uint32Array): bigint[] {
  const out: bigint[] = []
  for (let word = 0; word < words.length; word += 2) out.push((BigInt(words[word + 1]!) << 32n) | BigInt(words[word]!))
  return out
}

export const RW = ALL_RIGHTS & ~0b100100
