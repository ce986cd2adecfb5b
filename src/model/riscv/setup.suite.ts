/** A machine for tests: memory, an IOMMU, and helpers that write its tables as software would. */
import { encode, wordsToU64 } from '../../base/layout.ts'
import { ptSpace } from '../../format/pt/format.ts'
import { PageTable } from '../../format/pt/mapper.ts'
import { type RiscvMode, riscvScheme } from '../../format/pt/riscv.ts'
import { ATS, IODIR, IOFENCE, IOTINVAL } from '../../format/riscv/commands.ts'
import { DC, PC } from '../../format/riscv/contexts.ts'
import { CAPABILITIES, REG } from '../../format/riscv/registers.ts'
import { PhysicalMemory } from '../../memory/physical.ts'
import { RiscvIommu } from './iommu.ts'
import type { RiscvMessage } from './messages.ts'
import { DEFAULT_OPTIONS, FULL_CAPABILITIES, type RiscvOptions } from './options.ts'

type Given<L extends { fields: object }> = Partial<Record<keyof L['fields'], number | bigint>>

const RAM = { start: 0x8000_0000, end: 0x8800_0000 }
export const MODE = { Bare: 0, Sv39: 8, Sv48: 9, Sv57: 10, Sv39x4: 8, Sv48x4: 9, Sv57x4: 10 } as const

/** The capabilities of everything, changed. */
export function capabilities(changes: Given<typeof CAPABILITIES>): bigint {
  const words = encode(CAPABILITIES, { ...(CAPS as object), ...changes } as never)
  return wordsToU64(words)[0]!
}
const CAPS = Object.fromEntries(
  Object.entries(CAPABILITIES.fields).map(([name, { msb, lsb }]) => [
    name,
    Number((FULL_CAPABILITIES >> BigInt(lsb)) & ((1n << BigInt(msb - lsb + 1)) - 1n)),
  ]),
)

export class Machine {
  readonly memory = new PhysicalMemory([RAM])
  readonly iommu: RiscvIommu
  readonly ddt = this.page()
  readonly messages: RiscvMessage[] = []
  readonly interrupts: string[] = []
  readonly orders: boolean[][] = []
  #cq = 0
  #tail = 0

  constructor(options: Partial<RiscvOptions> = {}) {
    this.iommu = new RiscvIommu(this.memory, { ...DEFAULT_OPTIONS, ...options })
    this.iommu.onRawMessage = (message) => this.messages.push(message)
    this.iommu.onInterrupt = (source) => this.interrupts.push(source)
    this.iommu.onOrder = (reads, writes) => this.orders.push([reads, writes])
  }

  options(): RiscvOptions {
    return this.iommu.options
  }

  page(): number {
    return this.memory.allocate(4096)
  }

  reg(offset: number): number {
    return Number(this.iommu.read(offset, 4))
  }

  set(offset: number, value: number | bigint): void {
    this.iommu.write(offset, 4, BigInt(value))
  }

  /** One level of device directory, fault queue of 16 records, command queue of 16. */
  start(interrupts = 0): this {
    this.queue(REG.fqb, REG.fqcsr, 3, interrupts)
    this.#cq = this.queue(REG.cqb, REG.cqcsr, 3, interrupts)
    this.iommu.write(REG.ddtp, 8, (BigInt(this.ddt) >> 2n) | 2n)
    return this
  }

  /** Switches a queue on. @returns where it lies. */
  queue(base: number, csr: number, log2minus1: number, interrupts = 0): number {
    const at = this.page()
    this.iommu.write(base, 8, (BigInt(at) >> 2n) | BigInt(log2minus1))
    this.set(csr, 1 | (interrupts << 1))
    return at
  }

  dc(device: number, values: Given<typeof DC>): number {
    const at = this.ddt + device * 64
    wordsToU64(encode(DC, { 'tc.V': 1, ...values } as never)).forEach((word, index) => {
      this.memory.write64(at + index * 8, word)
    })
    return at
  }

  /** A process directory of one level. */
  pdt(contexts: Readonly<Record<number, Given<typeof PC>>>): number {
    const at = this.page()
    for (const [process, values] of Object.entries(contexts))
      wordsToU64(encode(PC, { 'ta.V': 1, ...values } as never)).forEach((word, index) => {
        this.memory.write64(at + Number(process) * 16 + index * 8, word)
      })
    return at
  }

  /** A page table. */
  table(mode: RiscvMode): PageTable {
    const { format, topDepth, inputBits } = riscvScheme(mode, { svpbmt: true, svrsw60t59b: true })
    const root = this.memory.allocate(16384)
    return new PageTable(this.memory, this.memory, ptSpace({ format, root, topDepth, inputBits, outputLimit: 2 ** 56 }))
  }

  /** A second stage that maps all of memory 1:1, and MSI pages apart from it nothing. */
  identity(mode: 'Sv39x4' | 'Sv48x4' = 'Sv39x4'): PageTable {
    const table = this.table(mode)
    table.map(RAM.start, RAM.start, RAM.end - RAM.start, 63)
    return table
  }

  /** Sends commands and runs them. */
  command(...commands: readonly (readonly bigint[])[]): void {
    for (const words of commands) {
      words.forEach((word, index) => {
        this.memory.write64(this.#cq + this.#tail * 16 + index * 8, word)
      })
      this.#tail = (this.#tail + 1) % 16
    }
    this.set(REG.cqt, this.#tail)
    this.run()
  }

  run(): void {
    while (this.iommu.step());
  }

  iotinval(values: Given<typeof IOTINVAL>): void {
    this.command(wordsToU64(encode(IOTINVAL, { opcode: 1, ...values } as never)))
  }

  iodir(values: Given<typeof IODIR>): void {
    this.command(wordsToU64(encode(IODIR, { opcode: 3, ...values } as never)))
  }

  fence(values: Given<typeof IOFENCE> = {}): void {
    this.command(wordsToU64(encode(IOFENCE, { opcode: 2, ...values } as never)))
  }

  ats(values: Given<typeof ATS>): void {
    this.command(wordsToU64(encode(ATS, { opcode: 4, ...values } as never)))
  }

  /** Physical address, or the cause. */
  dma(device: number, iova: bigint, given: { pasid?: number; access?: 'read' | 'write' | 'execute'; privileged?: boolean } = {}) {
    const { access = 'read', ...rest } = given
    const outcome = this.iommu.translate({ device, iova, access, ...rest })
    return outcome.ok ? outcome.pa : outcome.code
  }

  /** Fault records in the queue. */
  faults(): bigint[][] {
    const at = Number((this.iommu.read(REG.fqb, 8) >> 10n) << 12n)
    return Array.from({ length: this.reg(REG.fqt) }, (_, index) =>
      [0, 8, 16, 24].map((offset) => this.memory.read64(at + index * 32 + offset)),
    )
  }
}
