/** A machine for tests: memory, an IOMMU, and helpers that write its tables and commands as software would. */
import { encode, setField, type Values, wordsFromU64, wordsToU64 } from '../../base/layout.ts'
import { ALL_RIGHTS, type Fault, type Outcome, type Transaction } from '../../base/types.ts'
import { COMMANDS, setIotlbPasid } from '../../format/amdvi/commands.ts'
import { DTE, setGcr3Root } from '../../format/amdvi/dte.ts'
import { EVENTS } from '../../format/amdvi/events.ts'
import { CONTROL, EXT_FEATURE, FULL_EXT_FEATURE, REG } from '../../format/amdvi/registers.ts'
import { amdV1 } from '../../format/pt/amd-v1.ts'
import { type PtSpace, ptSpace } from '../../format/pt/format.ts'
import { newRoot, PageTable } from '../../format/pt/mapper.ts'
import { amdV2 } from '../../format/pt/x86.ts'
import { PhysicalMemory } from '../../memory/physical.ts'
import type { DeviceMessage } from '../iommu.ts'
import { AmdIommu } from './iommu.ts'
import type { AmdChoices } from './options.ts'

export const RAM = { start: 0x1_0000, end: 0x1000_0000 }
/** Where nothing answers. */
export const NOWHERE = 0x80_0000_0000
/** The device of the tests, its domain, and its PASID. */
export const DEVICE = 0x30
export const DOMAIN = 7
export const PASID = 5
/** Everything that tests use, on. */
export const ON = {
  IommuEn: 1,
  EventLogEn: 1,
  EventIntEn: 1,
  ComWaitIntEn: 1,
  CmdBufEn: 1,
  PPRLogEn: 1,
  PPRIntEn: 1,
  PPREn: 1,
  GTEn: 1,
  InvTimeOut: 4,
}

type Given<L extends { fields: object }> = Partial<Record<keyof L['fields'], number | bigint>>

/** EXT_FEATURE of everything, changed. */
export function efr(changes: Given<typeof EXT_FEATURE>): bigint {
  const words = wordsFromU64([FULL_EXT_FEATURE])
  for (const [name, value] of Object.entries(changes)) setField(words, EXT_FEATURE.fields[name as 'PPRSup'], value, 0, name)
  return wordsToU64(words)[0]!
}

export class Rig {
  readonly memory = new PhysicalMemory([RAM])
  readonly iommu: AmdIommu
  readonly messages: DeviceMessage[] = []
  readonly interrupts: string[] = []
  readonly devices = this.memory.allocate(0x1000 * 4)
  readonly commands = this.memory.allocate(0x1000)
  readonly events = this.memory.allocate(0x1000)
  readonly pages = this.memory.allocate(0x1000)
  #tail = 0

  /** An IOMMU with 512 device table entries and rings of 256 entries, all of it on. */
  constructor(choices: AmdChoices = {}, control: Given<typeof CONTROL> = {}) {
    this.iommu = new AmdIommu(this.memory, choices)
    this.iommu.onMessage = (message) => this.messages.push(message)
    this.iommu.onInterrupt = (source) => this.interrupts.push(source)
    this.set(REG.DEV_TAB_BASE, this.devices + 3)
    for (const [register, at] of [
      [REG.CMD_BUF_BASE, this.commands],
      [REG.EVT_LOG_BASE, this.events],
      [REG.PPR_LOG_BASE, this.pages],
    ] as const)
      this.iommu.write(register, 8, BigInt(at) | (8n << 56n))
    this.control(control)
  }

  set(offset: number, value: number | bigint): void {
    this.iommu.write(offset, 8, BigInt(value))
  }

  get(offset: number): number {
    return Number(this.iommu.read(offset, 8))
  }

  control(changes: Given<typeof CONTROL> = {}): void {
    this.set(REG.CONTROL, wordsToU64(encode(CONTROL, { ...ON, ...changes } as never))[0]!)
  }

  page(): number {
    return this.memory.allocate(4096)
  }

  /** Writes a device table entry: valid, with rights, in the domain of the tests. `gcr3` is the address of a GCR3 table. */
  dte(values: Given<typeof DTE> & { gcr3?: number } = {}, device = DEVICE): number {
    const { gcr3, ...fields } = values
    const words = encode(DTE, { V: 1, TV: 1, IR: 1, IW: 1, DomainID: DOMAIN, ...fields } as never)
    if (gcr3 !== undefined) setGcr3Root(words, gcr3)
    const at = this.devices + device * 32
    wordsToU64(words).forEach((word, index) => {
      this.memory.write64(at + index * 8, word)
    })
    return at
  }

  /** Empty host tables, and the fields of a device table entry that lead to them. */
  host(levels: 1 | 2 | 3 | 4 | 5 | 6 = 4): { table: PageTable; fields: Given<typeof DTE> } {
    const scheme = amdV1(levels)
    const root = newRoot(this.memory, scheme)
    const table = new PageTable(this.memory, this.memory, ptSpace({ ...scheme, root }))
    return { table, fields: { Mode: levels, HostPageTableRootPtr: BigInt(root) } }
  }

  /** Empty guest tables. */
  guest(levels: 4 | 5 = 4): PageTable {
    const scheme = amdV2(levels)
    return new PageTable(this.memory, this.memory, ptSpace({ ...scheme, root: newRoot(this.memory, scheme) }))
  }

  /** Host tables that map all of memory 1:1. */
  identity(): { table: PageTable; fields: Given<typeof DTE> } {
    const host = this.host()
    host.table.map(0, 0, RAM.end, ALL_RIGHTS)
    return host
  }

  /** A GCR3 table of one level. */
  gcr3(spaces: Readonly<Record<number, PtSpace>>): number {
    const at = this.page()
    for (const [pasid, space] of Object.entries(spaces)) this.memory.write64(at + Number(pasid) * 8, BigInt(space.root) | 1n)
    return at
  }

  /** A device with the page at 0x40000000 of its PASID mapped to a page. @returns where, the tables, and the GCR3 table. */
  withPasid(fields: Given<typeof DTE> = {}): { pa: number; table: PageTable; gcr3: number } {
    const table = this.guest()
    const pa = this.page()
    table.map(0x4000_0000, pa, 0x1000, ALL_RIGHTS)
    const gcr3 = this.gcr3({ [PASID]: table.space })
    this.dte({ GV: 1, gcr3, I: 1, ...fields })
    return { pa, table, gcr3 }
  }

  /** A device with the page at 0x40000000 of its host tables mapped to a page. */
  withHost(fields: Given<typeof DTE> = {}, rights = ALL_RIGHTS): { pa: number; table: PageTable } {
    const { table, fields: mode } = this.host()
    const pa = this.page()
    table.map(0x4000_0000, pa, 0x1000, rights)
    this.dte({ ...mode, ...fields })
    return { pa, table }
  }

  /** Puts a command of this name into the buffer, and lets it run. @returns where it lies. */
  command(name: string, values: Readonly<Record<string, number | bigint>> = {}): number {
    const { layout, opcode } = [...COMMANDS.values()].find((one) => one.name === name)!
    const { PASID: pasid, ...rest } = values
    const words = encode(layout, { OpCode: opcode, ...(name === 'INVALIDATE_IOTLB_PAGES' ? rest : values) } as never)
    if (name === 'INVALIDATE_IOTLB_PAGES' && pasid !== undefined) setIotlbPasid(words, Number(pasid))
    return this.raw(wordsToU64(words))
  }

  raw(words: readonly bigint[]): number {
    const at = this.commands + this.#tail
    words.forEach((word, index) => {
      this.memory.write64(at + index * 8, word)
    })
    this.#tail = (this.#tail + 16) % 4096
    this.set(REG.CMD_TAIL, this.#tail)
    return at
  }

  /** Events in the log, from the head on, decoded; the head goes to the tail. */
  logged(): Logged[] {
    const tail = this.get(REG.EVT_TAIL)
    const out: Logged[] = []
    for (let at = this.get(REG.EVT_HEAD); at !== tail; at = (at + 16) % 4096)
      out.push(decodeEvent([this.memory.read64(this.events + at), this.memory.read64(this.events + at + 8)]))
    this.set(REG.EVT_HEAD, tail)
    return out
  }

  /** Page requests in the log: their words. */
  requests(): bigint[][] {
    const tail = this.get(REG.PPR_TAIL)
    const out: bigint[][] = []
    for (let at = this.get(REG.PPR_HEAD); at !== tail; at = (at + 16) % 4096)
      out.push([this.memory.read64(this.pages + at), this.memory.read64(this.pages + at + 8)])
    this.set(REG.PPR_HEAD, tail)
    return out
  }

  translate(given: Partial<Transaction> & { iova?: bigint } = {}): Outcome {
    return this.iommu.translate({ device: DEVICE, iova: 0x4000_0000n, access: 'read', ...given })
  }

  /** Physical address, or the name of the event. */
  dma(given: Partial<Transaction> = {}): bigint | string {
    const outcome = this.translate(given)
    return outcome.ok ? outcome.pa : outcome.name
  }

  /** @throws Error when it translates. */
  fault(given: Partial<Transaction> = {}): Fault {
    const outcome = this.translate(given)
    if (outcome.ok) throw new Error(`translated to 0x${outcome.pa.toString(16)}`)
    return outcome
  }
}

/** An event: its name, and the fields that are not 0. */
export type Logged = Readonly<Record<string, number | bigint | string>>

export function decodeEvent(words: readonly bigint[]): Logged {
  const form = EVENTS.get(Number(words[0]! >> 60n))!
  const raw = wordsFromU64(words)
  const fields: Record<string, number | bigint | string> = { event: form.name }
  const all: [string, number | bigint][] = Object.entries(
    Object.fromEntries(
      Object.entries(form.layout.fields).map(([name, field]) => [
        name,
        (wordsToU64(raw)[field.lsb >= 64 ? 1 : 0]! >> BigInt(field.lsb % 64)) & ((1n << BigInt(field.msb - field.lsb + 1)) - 1n),
      ]),
    ),
  )
  for (const [name, value] of all) {
    const field = form.layout.fields[name]!
    if (value === 0n || name === 'EventCode') continue
    fields[name] = field.kind === 'addr' ? (value as bigint) << BigInt(field.shift) : Number(value)
  }
  return fields
}

export type DteValues = Partial<Values<(typeof DTE)['fields']>>
