/**
 * One case of the RISC-V IOMMU vectors: a machine state, operations, and what the C reference model answers to each. The README beside
 * the vectors describes the format; every field of `exp` is compared.
 */
import { getNumber } from '../base/layout.ts'
import { hi32, lo32, u64 } from '../base/u64.ts'
import { swap32 } from '../format/pt/entry.ts'
import { ppnAddressAt10 } from '../format/riscv/contexts.ts'
import { MSI_PTE_MRIF } from '../format/riscv/msi.ts'
import { FAULT_RECORD, PAGE_REQUEST } from '../format/riscv/records.ts'
import { CSR_ON, FCTL_BE, REG } from '../format/riscv/registers.ts'
import { completionOf } from '../model/riscv/ats.ts'
import { RiscvIommu } from '../model/riscv/iommu.ts'
import type { RiscvCaches } from '../model/riscv/options.ts'
import {
  REQUEST_ATS,
  REQUEST_CXL,
  REQUEST_EXECUTE,
  REQUEST_NO_WRITE,
  REQUEST_PRIVILEGED,
  REQUEST_TRANSLATED,
  REQUEST_WRITE,
  RESPONSE_SUCCESS,
} from '../model/riscv/request.ts'
import type { VectorMemory } from './vector-memory.ts'

export interface VectorCase {
  readonly id: string
  readonly grp: string
  readonly cap: string
  readonly impl: Readonly<Record<string, number>>
  readonly mem: readonly (readonly [string, readonly string[]])[]
  readonly flt: readonly (readonly [string, number, number])[]
  readonly regs: readonly (readonly [number, 4 | 8, string])[]
  readonly rg0: readonly (readonly [number, number])[]
  readonly ops: readonly VectorOp[]
}

/** An operation; which fields it has depends on `op`. Flags that are 0 are left out. */
export interface VectorOp {
  readonly op: 'tr' | 'pr' | 'ic' | 'to' | 'wr' | 'rd' | 'mem'
  readonly did?: number
  readonly pid?: number
  readonly at?: 'U' | 'T' | 'A'
  readonly rw?: 'R' | 'W'
  readonly x?: number
  readonly p?: number
  readonly nw?: number
  readonly cxl?: number
  readonly iova?: string
  readonly rid?: number
  readonly dsv?: number
  readonly dseg?: number
  readonly pl?: string
  readonly itags?: number
  readonly off?: number
  readonly n?: 4 | 8
  readonly val?: string
  readonly a?: string
  readonly w?: readonly string[]
  readonly exp?: Readonly<Record<string, unknown>>
}

/** A field in which an answer differs. */
export interface Mismatch {
  /** Index in `ops`; -1: the register writes before the first. */
  readonly op: number
  /** The field of `exp`: `st`, `c`, `pa`, `w`, … */
  readonly field: string
  readonly expected: string
  readonly actual: string
}

export interface CaseResult {
  readonly id: string
  readonly group: string
  readonly requests: number
  /** Answers that are those of `alt`: another choice that the specification leaves open. */
  readonly alternatives: number
  readonly mismatches: readonly Mismatch[]
}

type Actual = Record<string, unknown>

const hex = (value: bigint | number) => `0x${value.toString(16)}`

/** The model in the state that a case starts from. */
export function machineOf(vector: VectorCase, memory: VectorMemory, caches: RiscvCaches): RiscvIommu {
  memory.reset()
  for (const [address, words] of vector.mem) storeAll(memory, address, words)
  for (const [address, bytes, kind] of vector.flt) memory.addRange(BigInt(address), bytes, kind)
  const { impl } = vector
  const iommu = new RiscvIommu(memory, {
    capabilities: BigInt(vector.cap),
    fctl: impl.fctl!,
    resetMode: impl.reset_mode!,
    maxMode: impl.max_mode!,
    deviceIdMask: impl.devid_mask!,
    gxlWritable: impl.gxl_w === 1,
    beWritable: impl.be_w === 1,
    stage1BareLog2: impl.s1_bare!,
    stage2BareLog2: impl.s2_bare!,
    napotLog2: 12,
    counters: impl.hpm!,
    counterBits: impl.hpm_bits!,
    maxEvent: impl.ev_max!,
    vectorBits: impl.vec_bits!,
    qosMask: impl.qos_mask!,
    invalidationTags: 2,
    caches,
    // The reference model departs from the specification here, and the expected registers hold it.
    quirks: { pqcsrWithoutAts: true, icvecUpperHalf: true },
  })
  return iommu
}

function storeAll(memory: VectorMemory, address: string, words: readonly string[]): void {
  words.forEach((word, index) => {
    const value = BigInt(word)
    memory.store(Number(address) + index * 8, hi32(value), lo32(value))
  })
}

/** Runs a case. @param stopAtFirst ends it after the first operation that differs. */
export function runCase(vector: VectorCase, memory: VectorMemory, caches: RiscvCaches, stopAtFirst = false): CaseResult {
  const run = new CaseRun(vector, memory, caches)
  for (let at = -1; at < vector.ops.length; at++) {
    run.operation(at)
    if (stopAtFirst && run.mismatches.length > 0) break
  }
  return {
    id: vector.id,
    group: vector.grp,
    requests: run.requests,
    alternatives: run.alternatives,
    mismatches: run.mismatches,
  }
}

/** The model as it is before an operation of a case. */
export function machineBefore(vector: VectorCase, memory: VectorMemory, caches: RiscvCaches, at: number): RiscvIommu {
  const run = new CaseRun(vector, memory, caches)
  for (let before = -1; before < at; before++) run.operation(before)
  return run.iommu
}

class CaseRun {
  readonly mismatches: Mismatch[] = []
  requests = 0
  alternatives = 0
  readonly iommu: RiscvIommu
  readonly #vector: VectorCase
  readonly #memory: VectorMemory
  readonly #before: Int32Array
  #messages: object[] = []
  #orders: number[][] = []

  constructor(vector: VectorCase, memory: VectorMemory, caches: RiscvCaches) {
    this.#vector = vector
    this.#memory = memory
    this.iommu = machineOf(vector, memory, caches)
    this.#before = this.iommu.registerWords.slice()
    this.iommu.onRawMessage = ({ code, tag, rid, segment, process, payload }) => {
      const pid = Math.max(0, process)
      const dseg = segment ?? 0
      this.#messages.push({ code, tag, dsv: segment === null ? 0 : 1, dseg, rid, pv: process < 0 ? 0 : 1, pid, pl: hex(payload) })
    }
    this.iommu.onOrder = (reads, writes) => this.#orders.push([reads ? 1 : 0, writes ? 1 : 0])
  }

  /** One operation, -1 for the register writes of the start; then the command queue until it rests; then the comparison. */
  operation(at: number): void {
    const { iommu } = this
    if (at < 0) {
      for (const [offset, bytes, value] of this.#vector.regs) {
        iommu.write(offset, bytes, BigInt(value))
        this.#rest()
      }
      this.#memory.changes()
      const registers = this.#changedRegisters()
      this.#compare(at, { rg0: this.#vector.rg0 }, { rg0: registers ?? [] })
      return
    }
    const op = this.#vector.ops[at]!
    if (op.op === 'mem') {
      storeAll(this.#memory, op.a!, op.w!)
      return
    }
    this.#messages = []
    this.#orders = []
    const before = [REG.fqcsr, REG.fqt, REG.pqcsr, REG.pqt].map((offset) => this.#register(offset))
    const actual = this.#perform(op)
    this.#rest()
    const fq = this.#records(REG.fqb, this.#turnedOn(REG.fqcsr, before[0]!) ? 0 : before[1]!, 8, faultRecord)
    const pq = this.#records(REG.pqb, this.#turnedOn(REG.pqcsr, before[2]!) ? 0 : before[3]!, 4, pageRecord)
    if (fq.length > 0) actual.fq = fq
    if (pq.length > 0) actual.pq = pq
    if (this.#messages.length > 0) actual.msg = this.#messages
    if (this.#orders.length > 0) actual.go = this.#orders
    const words = this.#memory.changes().map(({ pa, hi, lo }) => [hex(pa), hex(u64(hi, lo))])
    if (words.length > 0) actual.w = words
    const registers = this.#changedRegisters()
    if (registers !== null) actual.r = registers
    this.#compare(at, op.exp ?? {}, actual)
  }

  #rest(): void {
    while (this.iommu.step());
  }

  #register(offset: number): number {
    return this.iommu.registerWords[offset / 4]!
  }

  #perform(op: VectorOp): Actual {
    const { iommu } = this
    const segment = op.dsv === 1 ? op.dseg! : null
    switch (op.op) {
      case 'tr':
        this.requests++
        return this.#translate(op)
      case 'pr': {
        const flags = { privileged: op.p === 1, execute: op.x === 1 }
        iommu.rawPageRequest({ rid: op.rid!, segment, process: op.pid ?? -1, ...flags, payload: BigInt(op.pl!) })
        return {}
      }
      case 'ic': {
        const payload = BigInt(op.pl!)
        return { ret: iommu.invalidationCompletion({ rid: op.rid!, segment }, lo32(payload), hi32(payload) & 7) ? 0 : 1 }
      }
      case 'to':
        iommu.invalidationTimeout(op.itags!)
        return {}
      case 'wr':
        iommu.write(op.off!, op.n!, BigInt(op.val!))
        return {}
      default:
        return { val: hex(iommu.read(op.off!, op.n!)) }
    }
  }

  #translate(op: VectorOp): Actual {
    const { iommu } = this
    const process = op.pid ?? -1
    const flags = requestFlags(op)
    const iova = BigInt(op.iova!)
    const response = iommu.translateFast(op.did!, process, hi32(iova), lo32(iova), flags)
    const { result } = iommu
    const actual: Actual = { st: response }
    if (result.cause !== 0) {
      actual.c = result.cause
      const iotval2 = u64(result.iotval2Hi, result.iotval2Lo)
      if (iotval2 !== 0n) actual.iv2 = hex(iotval2)
    }
    if (result.pbmt !== 0) actual.pbmt = result.pbmt
    if (result.msi) actual.msi = 1
    if (response !== RESPONSE_SUCCESS) return actual
    if (op.at === 'A') {
      const { read, write, execute, untranslatedOnly, global, privileged, cxlIo } = completionOf(result, process, flags)
      const bits = { r: read, w: write, x: execute, u: untranslatedOnly, g: global, priv: privileged, cxl: cxlIo }
      actual.ats = Object.fromEntries(Object.entries(bits).flatMap(([name, bit]) => (bit ? [[name, 1]] : [])))
    }
    if (result.cause !== 0) return actual
    if (!result.mrif) {
      actual.pa = hex(u64(result.hi, result.lo))
      actual.sz = result.sizeLog2
    } else if (op.at === 'A') actual.sz = result.sizeLog2
    else {
      const entry = iommu.msiEntry
      const field = MSI_PTE_MRIF.fields
      const nid = (getNumber(entry, field.N10) << 10) | getNumber(entry, field.N)
      const addr = u64(entry[1]! & 0x3fffff, entry[0]! & ~0x7f) << 2n
      actual.mrif = { addr: hex(addr), nid, ppn: hex(u64(result.hi, result.lo) >> 12n) }
    }
    return actual
  }

  /** Whether a queue was switched on, which clears its tail. */
  #turnedOn(csr: number, before: number): boolean {
    return (this.#register(csr) & ~before & CSR_ON) !== 0
  }

  /** Records that were appended to a queue. */
  #records(base: number, from: number, words: number, decode: (words: Int32Array) => object): object[] {
    const mask = 2 ** ((this.#register(base) & 31) + 1) - 1
    const root = ppnAddressAt10(this.#register(base + 4), this.#register(base))
    const records: object[] = []
    for (let at = from; at !== this.#register(base + 12); at = (at + 1) & mask) {
      const raw = this.#memory.peek(root + at * words * 4, words)
      const swapped = (this.#register(REG.fctl) & FCTL_BE) !== 0
      records.push(decode(swapped ? raw.map((_, word) => swap32(raw[word ^ 1]!)) : raw))
    }
    return records
  }

  /** Registers that changed, as [offset, value]; null when none did. */
  #changedRegisters(): number[][] | null {
    const now = this.iommu.registerWords
    const changed: number[][] = []
    for (let word = 0; word < now.length; word++) {
      if (now[word] === this.#before[word]) continue
      changed.push([word * 4, now[word]! >>> 0])
      this.#before[word] = now[word]!
    }
    return changed.length > 0 ? changed : null
  }

  #compare(at: number, expected: Readonly<Record<string, unknown>>, actual: Actual): void {
    const alt = expected.alt as Readonly<Record<string, unknown>> | undefined
    for (const field of new Set([...Object.keys(expected), ...Object.keys(actual)])) {
      if (field === 'alt') continue
      const wanted = canonical(field, expected[field])
      const got = canonical(field, actual[field])
      if (wanted === got) continue
      if (field === 'ats' && alt !== undefined && got === canonical(field, alternative(expected[field], alt))) this.alternatives++
      else this.mismatches.push({ op: at, field, expected: wanted, actual: got })
    }
  }
}

/** ATS completion bits with the other legal answer. */
function alternative(ats: unknown, alt: Readonly<Record<string, unknown>>): object {
  const bits: Record<string, unknown> = { ...(ats as object), ...alt }
  delete bits.iv2
  return Object.fromEntries(Object.entries(bits).filter(([, bit]) => bit !== 0))
}

export function requestFlags(op: VectorOp): number {
  return (
    (op.rw === 'W' ? REQUEST_WRITE : 0) |
    (op.x === 1 ? REQUEST_EXECUTE : 0) |
    (op.p === 1 ? REQUEST_PRIVILEGED : 0) |
    (op.at === 'T' ? REQUEST_TRANSLATED : 0) |
    (op.at === 'A' ? REQUEST_ATS : 0) |
    (op.nw === 1 ? REQUEST_NO_WRITE : 0) |
    (op.cxl === 1 ? REQUEST_CXL : 0)
  )
}

/** One text for equal values: keys and unordered lists sorted. */
function canonical(field: string, value: unknown): string {
  if (value === undefined) return 'nothing'
  if (field === 'w' || field === 'r' || field === 'rg0') return JSON.stringify([...(value as unknown[][])].sort(byFirst))
  return JSON.stringify(value, (_, item: unknown) =>
    item !== null && typeof item === 'object' && !Array.isArray(item)
      ? Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1)))
      : item,
  )
}

function byFirst([a]: unknown[], [b]: unknown[]): number {
  return String(a) < String(b) ? -1 : 1
}

function faultRecord(words: Int32Array): object {
  const f = FAULT_RECORD.fields
  const number = (field: typeof f.CAUSE | typeof f.PID | typeof f.PV) => getNumber(words, field)
  return {
    cause: number(f.CAUSE),
    ttyp: number(f.TTYP),
    did: number(f.DID),
    pv: number(f.PV),
    pid: number(f.PID),
    priv: number(f.PRIV),
    iotval: hex(u64(words[5]!, words[4]!)),
    iotval2: hex(u64(words[7]!, words[6]!)),
  }
}

function pageRecord(words: Int32Array): object {
  const f = PAGE_REQUEST.fields
  return {
    did: getNumber(words, f.DID),
    pv: getNumber(words, f.PV),
    pid: getNumber(words, f.PID),
    priv: getNumber(words, f.PRIV),
    x: getNumber(words, f.EXEC),
    pl: hex(u64(words[3]!, words[2]!)),
  }
}
