import { describe, expect, it } from 'vitest'
import { PhysicalMemory } from '../../memory/physical.ts'
import { amdScanner } from './amdvi.ts'
import type { Scanner } from './contract.ts'
import { riscvScanner } from './riscv.ts'
import { smmuScanner } from './smmuv3.ts'
import { vtdScanner } from './vtd.ts'

/** Memory of a few pages: 64-bit words by their addresses. */
type Words = Readonly<Record<number, bigint>>

function proposalsOf(scanner: Scanner, words: Words, absentIsZero = false) {
  const pages = new Map<number, Int32Array>()
  for (const [address, value] of Object.entries(words)) {
    const pa = Math.floor(Number(address) / 4096) * 4096
    const page = pages.get(pa) ?? new Int32Array(1024)
    pages.set(pa, page)
    new BigInt64Array(page.buffer)[(Number(address) % 4096) / 8] = value
  }
  for (const pa of [...pages.keys()].sort((a, b) => a - b)) scanner.page(pa, pages.get(pa)!, 0)
  const source = {
    load(frame: number, into: Int32Array, at: number) {
      const page = pages.get(frame * 4096)
      if (page !== undefined) into.set(page, at)
      return page !== undefined
    },
  }
  return [...scanner.proposals(() => new PhysicalMemory([], source), absentIsZero)]
}

const registers = (proposals: ReturnType<typeof proposalsOf>) =>
  proposals.map((one) => one.registers.filter(({ name }) => name !== 'capabilities').map(({ value }) => value))

/** The same words in each of the entries of `bytes` from an address on. */
function repeated(start: number, bytes: number, count: number, words: readonly bigint[]): Words {
  return Object.fromEntries(
    Array.from({ length: count }, (_, entry) => words.map((word, at) => [start + entry * bytes + at * 8, word])).flat(),
  )
}

describe('device tables of AMD', () => {
  /** Host tables of 3 levels at 0x9000, reads and writes; a device that is blocked. */
  const mapped = [0x6000_0000_0000_9603n, 2n]
  const blocked = [3n, 0n, 1n, 0n]
  const page = (pa: number) => repeated(pa, 32, 128, blocked)
  const withTables = (pa: number): Words => ({ ...page(pa), [pa + 0x200]: mapped[0]!, [pa + 0x208]: mapped[1]! })

  it('are pages in a row of entries, one with tables', () => {
    const table = { ...withTables(0x100000), ...page(0x101000), ...page(0x102000) }
    expect(registers(proposalsOf(amdScanner(), table))).toEqual([[0x100002n]])
    expect(proposalsOf(amdScanner(), table)[0]!.unsure).toBe(false)
    expect(proposalsOf(amdScanner(), { ...page(0x100000), ...page(0x101000) })).toEqual([])
  })

  it('of which nothing tells where they start may start where their size aligns them', () => {
    const found = proposalsOf(amdScanner(), { ...withTables(0x103000), ...page(0x104000) })
    expect(registers(found)).toEqual([[0x103001n], [0x100004n]])
    expect(found.every(({ unsure }) => unsure)).toBe(true)
  })

  it('may have pages of zeros', () => {
    const found = proposalsOf(amdScanner(), { ...withTables(0x200000), ...withTables(0x280000) })
    expect(registers(found)).toEqual([[0x200080n]])
    // Beyond 2 MiB it is another one.
    expect(registers(proposalsOf(amdScanner(), { ...withTables(0x200000), ...withTables(0x400000) }))).toEqual([
      [0x200000n],
      [0x400000n],
    ])
  })

  it('hold no illegal entry', () => {
    for (const word of [0x6000_0000_0000_9e03n, 0x6000_0000_0000_967fn])
      expect(proposalsOf(amdScanner(), { ...withTables(0x100000), 1049600: word })).toEqual([])
    expect(proposalsOf(amdScanner(), { ...withTables(0x100000), 1048600: 1n })).toEqual([])
  })
})

describe('root tables of Intel', () => {
  const legacy: Words = { 20480: 0x6001n, 24832: 0x9001n, 24840: 0x102n }

  it('lead to context tables with entries that are legal in one mode, or in both', () => {
    expect(registers(proposalsOf(vtdScanner(), legacy))).toEqual([[0x5400n], [0x5000n]])
    // An entry at an odd place has the width where scalable mode has reserved bits.
    const odd = { 20480: 0x6001n, 24848: 0x9001n, 24856: 0x102n }
    expect(registers(proposalsOf(vtdScanner(), odd))).toEqual([[0x5000n]])
    // The upper half of a root entry is scalable mode's.
    expect(proposalsOf(vtdScanner(), { ...odd, 20488: 0x7001n, 28944: 0x9001n, 28952: 0x102n })).toEqual([])
    expect(registers(proposalsOf(vtdScanner(), { 20480: 0x6001n, 24832: 0x9001n, 24840: 0n }))).toEqual([[0x5400n]])
  })

  it('lead nowhere else', () => {
    // Reserved bits of a root entry; of a context entry; a context table that is absent; the same one twice; none with an entry.
    expect(proposalsOf(vtdScanner(), { ...legacy, 20480: 0x6003n })).toEqual([])
    expect(proposalsOf(vtdScanner(), { ...legacy, 25088: 0x9ff1n, 25096: 0x102n })).toEqual([])
    expect(proposalsOf(vtdScanner(), { ...legacy, 20496: 0x7001n })).toEqual([])
    expect(proposalsOf(vtdScanner(), { ...legacy, 20496: 0x6001n })).toEqual([])
    expect(proposalsOf(vtdScanner(), { 20480: 0x6001n, 24576: 0n })).toEqual([])
  })

  it('may lead to pages of zeros that a dump leaves out', () => {
    expect(registers(proposalsOf(vtdScanner(), { ...legacy, 20496: 0x7001n }, true))).toEqual([[0x5400n], [0x5000n]])
  })
})

describe('stream tables of Arm', () => {
  /** Stage 1 with CDs at 0x9000; an entry that lets nothing pass. */
  const stage1 = 0x900bn
  const second = (pa: number): Words => ({ ...repeated(pa, 64, 256, [1n]), [pa + 64]: stage1 })

  it('of two levels lead to STEs, or nowhere', () => {
    const table = { 32768: 0x40009n, ...second(0x40000) }
    expect(registers(proposalsOf(smmuScanner(), table))).toEqual([[0x8000n, 0x10210n]])
    expect(registers(proposalsOf(smmuScanner(), { ...table, 32776: 0x80009n }))[0]?.[1]).not.toBe(0x10210n)
    // With a span that is not full; with an address that is not aligned to it, whatever lies there.
    expect(registers(proposalsOf(smmuScanner(), { ...table, 32768: 0x40008n }))).toEqual([[0x40000n, 8n]])
    const shifted = { ...table, 32768: 0x41009n, ...repeated(0x44000, 64, 64, [1n]) }
    expect(registers(proposalsOf(smmuScanner(), shifted))).toEqual([[0x40000n, 9n]])
  })

  it('of more streams than half a page is for are larger', () => {
    const table = { 32768: 0x40009n, 36856: 0x80009n, ...second(0x40000), ...second(0x80000) }
    expect(registers(proposalsOf(smmuScanner(), table))).toEqual([[0x8000n, 0x10211n]])
  })

  it('of one level are pages of STEs', () => {
    const found = proposalsOf(smmuScanner(), { ...repeated(0x8000, 64, 128, [1n]), 32832: stage1 })
    expect(registers(found)).toEqual([[0x8000n, 7n]])
    expect(found[0]!.unsure).toBe(false)
    expect(proposalsOf(smmuScanner(), { ...repeated(0x9000, 64, 128, [1n]), 36928: stage1 })[0]!.unsure).toBe(true)
    expect(proposalsOf(smmuScanner(), repeated(0x8000, 64, 128, [1n]))).toEqual([])
    expect(proposalsOf(smmuScanner(), { 32832: stage1, 32896: 2n })).toEqual([])
  })
})

describe('device directories of RISC-V', () => {
  const entry = (pa: number) => (BigInt(pa) >> 2n) | 1n
  /** A context with an Sv39 first stage. */
  const leaf = (pa: number): Words => ({ [pa + 0x40]: 1n, [pa + 0x58]: (8n << 60n) | 0x99n })
  const extended = (found: ReturnType<typeof proposalsOf>) => found.filter(({ what }) => /64 bytes/.test(what))

  it('are found with as many levels as there are', () => {
    const one = leaf(0x8000)
    const two = { ...one, 36864: entry(0x8000) }
    const three = { ...two, 40984: entry(0x9000) }
    const root = (pa: number, mode: number) => [[(BigInt(pa) >> 2n) | BigInt(mode)]]
    expect(registers(extended(proposalsOf(riscvScanner(), one)))).toEqual(root(0x8000, 2))
    expect(registers(extended(proposalsOf(riscvScanner(), two)))).toEqual(root(0x9000, 3))
    expect(registers(extended(proposalsOf(riscvScanner(), three)))).toEqual(root(0xa000, 4))
  })

  it('lead to contexts only, but where a dump leaves pages out', () => {
    const table = { ...leaf(0x8000), 36864: entry(0x8000), 36872: entry(0xb000) }
    expect(registers(extended(proposalsOf(riscvScanner(), table)))).toEqual([[0x2002n]])
    expect(registers(extended(proposalsOf(riscvScanner(), table, true)))).toEqual([[0x2403n]])
  })

  it('hold no illegal context', () => {
    expect(proposalsOf(riscvScanner(), { ...leaf(0x8000), 32896: 0x1000n })).toEqual([])
    expect(extended(proposalsOf(riscvScanner(), { ...leaf(0x8000), 32856: 7n << 60n }))).toEqual([])
  })
})
