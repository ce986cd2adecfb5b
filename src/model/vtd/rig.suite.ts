/** A bench for tests: memory, a VT-d unit, and the software that drives it as real software does, through tables, queues and registers. */
import { decode, encode, type Layout, type Values } from '../../base/layout.ts'
import { ALL_RIGHTS, type Outcome, type Transaction } from '../../base/types.ts'
import { ptSpace } from '../../format/pt/format.ts'
import { newRoot, PageTable } from '../../format/pt/mapper.ts'
import { vtdSecond } from '../../format/pt/vtd-second.ts'
import { vtdFirst } from '../../format/pt/x86.ts'
import { CONTEXT_ENTRY, SM_CONTEXT_ENTRY } from '../../format/vtd/contexts.ts'
import * as dsc from '../../format/vtd/descriptors.ts'
import { IRTE_POSTED, IRTE_REMAPPED } from '../../format/vtd/irte.ts'
import { PASID_DIR_ENTRY, PASID_ENTRY } from '../../format/vtd/pasid.ts'
import { FAULT_RECORD, PAGE_REQUEST } from '../../format/vtd/records.ts'
import { GS_IRE, GS_IRTP, GS_QIE, GS_RTP, GS_TE, IQERCD, REG } from '../../format/vtd/registers.ts'
import { ROOT_ENTRY, SM_ROOT_ENTRY } from '../../format/vtd/root.ts'
import { PhysicalMemory } from '../../memory/physical.ts'
import type { DeviceMessage } from '../iommu.ts'
import { VtdIommu } from './iommu.ts'
import type { VtdOptions } from './options.ts'

type ValuesOf<L extends Layout> = Partial<Values<L['fields']>>
export type PasidValues = ValuesOf<typeof PASID_ENTRY>
export type ContextValues = ValuesOf<typeof CONTEXT_ENTRY>
export type SmContextValues = ValuesOf<typeof SM_CONTEXT_ENTRY>

export const RAM = { start: 0x4000_0000, end: 0x8000_0000 }
/** Nothing answers here. */
export const HOLE = 0x9000_0000
export const DEVICE = 0x30

export interface RigOptions extends VtdOptions {
  readonly mode?: 'legacy' | 'scalable'
  /** Translation is on. Default true. */
  readonly start?: boolean
  /** The queue of invalidations is on. Default true. */
  readonly queue?: boolean
}

export class Rig {
  readonly memory = new PhysicalMemory([RAM])
  readonly iommu: VtdIommu
  readonly scalable: boolean
  readonly messages: DeviceMessage[] = []
  readonly interrupts: string[] = []
  readonly root: number
  readonly queue: number
  readonly pages: number
  readonly irt: number
  #commands = 0
  #contexts = new Map<number, number>()

  constructor(options: RigOptions = {}) {
    this.scalable = options.mode !== 'legacy'
    this.iommu = new VtdIommu(this.memory, options)
    this.iommu.onMessage = (message) => this.messages.push(message)
    this.iommu.onInterrupt = (source) => this.interrupts.push(source)
    this.root = this.memory.allocate(4096)
    this.queue = this.memory.allocate(8192)
    this.pages = this.memory.allocate(4096)
    this.irt = this.memory.allocate(4096)
    for (const control of [REG.FECTL, REG.IECTL, REG.PECTL]) this.set(control, 0)
    this.set8(REG.RTADDR, BigInt(this.root) | (this.scalable ? 1n << 10n : 0n))
    this.command(GS_RTP)
    this.set8(REG.IQA, BigInt(this.queue) | (this.scalable ? (1n << 11n) | 1n : 0n))
    if (options.queue !== false) this.command(GS_QIE)
    this.set8(REG.PQA, BigInt(this.pages))
    if (options.start !== false) this.command(GS_TE)
  }

  // Registers

  get(offset: number): number {
    return Number(this.iommu.read(offset, 4))
  }
  get8(offset: number): bigint {
    return this.iommu.read(offset, 8)
  }
  set(offset: number, value: number): void {
    this.iommu.write(offset, 4, BigInt(value >>> 0))
  }
  set8(offset: number, value: bigint): void {
    this.iommu.write(offset, 8, value)
  }

  /** Sets bits of GCMD, those that are on stay on. */
  command(bits: number): void {
    this.#commands |= bits & ~GS_RTP & ~GS_IRTP
    this.set(REG.GCMD, this.#commands | bits)
  }
  uncommand(bits: number): void {
    this.#commands &= ~bits
    this.set(REG.GCMD, this.#commands)
  }

  // Structures

  put<L extends Layout>(pa: number, layout: L, values: ValuesOf<L>): number {
    encode(layout, values as never).forEach((word, index) => {
      this.memory.write32(pa + index * 4, word)
    })
    return pa
  }

  /** Where the context entry of a device lies; its table is made and its root entry written. */
  contextAt(device: number): number {
    const bus = device >>> 8
    const half = this.scalable ? (device >>> 7) & 1 : 0
    let table = this.#contexts.get(bus * 2 + half)
    if (table === undefined) {
      table = this.memory.allocate(4096)
      this.#contexts.set(bus * 2 + half, table)
      const other = this.#contexts.get(bus * 2 + 1 - half)
      const rootAt = this.root + bus * 16
      if (!this.scalable) this.put(rootAt, ROOT_ENTRY, { P: 1, CTP: BigInt(table) })
      else {
        const lower = half === 0 ? table : other
        const upper = half === 1 ? table : other
        this.put(rootAt, SM_ROOT_ENTRY, {
          ...(lower === undefined ? {} : { LP: 1, LCTP: BigInt(lower) }),
          ...(upper === undefined ? {} : { UP: 1, UCTP: BigInt(upper) }),
        })
      }
    }
    return table + (this.scalable ? (device & 0x7f) * 32 : (device & 0xff) * 16)
  }

  /** A legacy context entry: present, domain 1, 48 bits. */
  context(device: number, values: ContextValues): number {
    return this.put(this.contextAt(device), CONTEXT_ENTRY, { P: 1, AW: 2, DID: 1, ...values })
  }

  /** A scalable-mode context entry that allows everything, with a PASID directory of its own. @returns the directory. */
  smContext(device: number, values: SmContextValues = {}): number {
    const directory = this.memory.allocate(4096)
    const given = { P: 1, DTE: 1, PASIDE: 1, PRE: 1, PASIDDIRPTR: BigInt(directory), ...values }
    this.put(this.contextAt(device), SM_CONTEXT_ENTRY, given)
    return directory
  }

  /** A PASID table entry: present, domain 1, snooping. @returns where it lies. */
  pasid(directory: number, pasid: number, values: PasidValues): number {
    const dirAt = directory + (pasid >>> 6) * 8
    if (this.memory.read64(dirAt) === 0n)
      this.put(dirAt, PASID_DIR_ENTRY, { P: 1, SMPTBLPTR: BigInt(this.memory.allocate(4096)) })
    const table = Number(this.memory.read64(dirAt) & ~0xfffn)
    return this.put(table + (pasid & 63) * 64, PASID_ENTRY, { P: 1, DID: 1, PWSNP: 1, ...values })
  }

  /** A device with one PASID table entry, for requests without PASID. @returns directory and entry. */
  plain(device: number, values: PasidValues, context: SmContextValues = {}): { directory: number; entry: number } {
    const directory = this.smContext(device, context)
    return { directory, entry: this.pasid(directory, 0, values) }
  }

  /** An empty second stage, and what entries say of it. */
  second(levels: 3 | 4 | 5 = 4): { table: PageTable; legacy: ContextValues; pasid: PasidValues; root: number } {
    const scheme = vtdSecond(levels)
    const root = newRoot(this.memory, scheme)
    const table = new PageTable(this.memory, this.memory, ptSpace({ ...scheme, root }))
    const SSPTPTR = BigInt(root)
    return { table, root, legacy: { SSPTPTR, AW: levels - 2 }, pasid: { PGTT: 2, SSPTPTR, AW: levels - 2 } }
  }

  /** An empty first stage, and what a PASID table entry says of it. */
  first(levels: 4 | 5 = 4): { table: PageTable; pasid: PasidValues; root: number } {
    const scheme = vtdFirst(levels, { noExecute: 'ignored' })
    const root = newRoot(this.memory, scheme)
    const table = new PageTable(this.memory, this.memory, ptSpace({ ...scheme, root }))
    return { table, root, pasid: { PGTT: 1, FSPTPTR: BigInt(root), FSPM: levels - 4 } }
  }

  /** A second stage that maps RAM to itself, and a first stage within it. */
  nested(levels: 4 | 5 = 4) {
    const outer = this.second(4)
    outer.table.map(RAM.start, RAM.start, RAM.end - RAM.start, ALL_RIGHTS, { maxLeafDepth: 1 })
    const inner = this.first(levels)
    return { outer, inner, pasid: { ...outer.pasid, ...inner.pasid, PGTT: 3 } satisfies PasidValues }
  }

  irte(index: number, values: ValuesOf<typeof IRTE_REMAPPED>): number {
    return this.put(this.irt + index * 16, IRTE_REMAPPED, { P: 1, ...values })
  }
  irtePosted(index: number, values: ValuesOf<typeof IRTE_POSTED>): number {
    return this.put(this.irt + index * 16, IRTE_POSTED, { P: 1, IM: 1, ...values })
  }
  /** Interrupt remapping on, with a table of 256 entries. */
  remapInterrupts(extended = false): void {
    this.set8(REG.IRTA, BigInt(this.irt) | 7n | (extended ? 1n << 11n : 0n))
    this.command(GS_IRTP)
    this.command(GS_IRE)
  }

  // The invalidation queue

  /** Puts a descriptor into the queue. */
  send<L extends Layout>(layout: L, values: ValuesOf<L> = {}): void {
    const type = Object.entries(dsc.DESCRIPTORS).find(([, each]) => each === layout)![0]
    this.sendWords(encode(layout, { TYPE: Number(type), ...values } as never))
  }

  sendWords(words: Uint32Array): void {
    const bytes = this.scalable ? 32 : 16
    const tail = this.get(REG.IQT)
    for (let word = 0; word < bytes / 4; word++) this.memory.write32(this.queue + tail + word * 4, words[word] ?? 0)
    const size = this.scalable ? 8192 : 4096
    this.set(REG.IQT, (tail + bytes) % size)
  }

  get queueError(): number {
    return decode(IQERCD, Uint32Array.of(this.get(REG.IQERCD), this.get(REG.IQERCD + 4))).IQEI
  }

  // What was recorded

  /** Fault recording register `index`. */
  fault(index = 0): Values<typeof FAULT_RECORD.fields> {
    const at = 0x220 + index * 16
    return decode(
      FAULT_RECORD,
      Uint32Array.from([0, 4, 8, 12], (offset) => this.get(at + offset)),
    )
  }

  /** Reasons of the pending faults; clears them. */
  faults(): number[] {
    const out: number[] = []
    for (let index = 0; index < 8; index++) {
      const record = this.fault(index)
      if (record.F === 0) continue
      out.push(record.FR)
      this.set(0x220 + index * 16 + 12, 0x80000000)
    }
    return out
  }

  /** Descriptors in the page request queue; takes them. */
  pageRequests(): Values<typeof PAGE_REQUEST.fields>[] {
    const out: Values<typeof PAGE_REQUEST.fields>[] = []
    const tail = this.get(REG.PQT)
    for (let at = this.get(REG.PQH); at !== tail; at = (at + 32) % 4096) {
      const words = Uint32Array.from({ length: 8 }, (_, index) => this.memory.read32(this.pages + at + index * 4))
      out.push(decode(PAGE_REQUEST, words))
    }
    this.set(REG.PQH, tail)
    return out
  }

  // Devices

  dma(iova: bigint | number, given: Partial<Transaction> = {}): Outcome {
    return this.iommu.translate({ device: DEVICE, iova: BigInt(iova), access: 'read', ...given })
  }

  /** The physical address that a request reaches, or the fault reason. */
  reach(iova: bigint | number, given: Partial<Transaction> = {}): bigint | string {
    const outcome = this.dma(iova, given)
    return outcome.ok ? outcome.pa : `${outcome.code.toString(16)}h ${outcome.name}`
  }
}

/** Rights without execution. */
export const RW = ALL_RIGHTS & ~0b100100
