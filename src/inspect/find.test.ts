import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PR, PW, UR, UW } from '../base/types.ts'
import { MapError } from '../format/pt/mapper.ts'
import { findReaches } from './find.ts'
import type { MachineGraph } from './graph.ts'
import { PLAIN_CD, TestMachine } from './smmuv3.suite.ts'
import { inspectSmmuV3 } from './smmuv3.ts'

const RW = UR | UW | PR | PW
const RO = UR | PR
const PAGE = 0x8000_0000

function graphOf(machine: TestMachine): MachineGraph {
  return inspectSmmuV3(machine.source())
}

/** Two devices with one CD table: entry 0 and PASID 3 map; a third bypasses; a fourth aborts. */
function machineWithTables() {
  const machine = new TestMachine()
  machine.streamTable(4)
  const own = machine.stage1()
  const other = machine.stage1({ ...PLAIN_CD, ASID: 9 })
  const cds = machine.cdTable(4)
  cds.cd(0, own.values)
  cds.cd(3, other.values)
  machine.ste(1, cds.ste)
  machine.ste(2, cds.ste)
  machine.ste(5, { V: 1, Config: 0b100 })
  machine.ste(6, { V: 1, Config: 0 })
  return { machine, own, other, cds }
}

const ways = (machine: TestMachine, start: number, bytes = 4096) =>
  findReaches(graphOf(machine), machine.memory, start, start + bytes).reaches.map(({ device, pasid, mappings }) => [
    device.id,
    pasid,
    mappings.map(({ start: from, end, pa, rights }) => [from, end, pa, rights]),
  ])

describe('which devices reach a physical page', () => {
  it('names device, PASID, address and rights of each way, and those that are not translated', () => {
    const { machine, own, other } = machineWithTables()
    own.table.map(0x10000, PAGE, 0x2000, RW)
    other.table.map(0x7000_0000, PAGE + 0x1000, 0x1000, RO)
    const page = BigInt(PAGE + 0x1000)
    const first = [0x11000n, 0x12000n, page, RW]
    const second = [0x7000_0000n, 0x7000_1000n, page, RO]
    expect(ways(machine, PAGE + 0x1000)).toEqual([
      [1, null, [first]],
      [1, 3, [second]],
      [2, null, [first]],
      [2, 3, [second]],
      [5, null, [[page, page + 0x1000n, page, 63]]],
    ])
    // The page behind it: only the device that is not translated.
    expect(ways(machine, PAGE + 0x2000).map(([id]) => id)).toEqual([5])
  })

  it('finds the part of a large leaf, says how large it is, and where its entry lies', () => {
    const { machine, own } = machineWithTables()
    own.table.map(0x20_0000, PAGE, 0x20_0000, RW)
    const { reaches } = findReaches(graphOf(machine), machine.memory, PAGE + 0x5000, PAGE + 0x7000)
    const [mapping] = reaches[0]!.mappings
    expect(mapping).toMatchObject({ start: 0x20_5000n, end: 0x20_7000n, pa: BigInt(PAGE + 0x5000), log2: 21 })
    expect(machine.memory.read64(Number(mapping!.entryAddress))).toBe(mapping!.entry)
  })

  it('goes back through both stages, with the rights of both', () => {
    const machine = new TestMachine()
    machine.streamTable(4)
    const stage2 = machine.stage2()
    const own = machine.stage1()
    const cds = machine.cdTable(4)
    // The guest's tables lie where they lie: stage 2 maps the machine's memory to itself, and one page elsewhere.
    stage2.table.map(0x4000_0000, 0x4000_0000, 0x400_0000, RW)
    stage2.table.map(0x50_0000, PAGE, 0x4000, RO)
    own.table.map(0x10000, 0x50_1000, 0x2000, RW)
    cds.cd(0, own.values)
    machine.ste(1, { ...cds.ste, ...stage2.ste, Config: 0b111 })
    machine.ste(2, { ...cds.ste, ...stage2.ste, Config: 0b111, S1DSS: 1 })
    expect(ways(machine, PAGE, 0x2000)).toEqual([
      [1, null, [[0x10000n, 0x11000n, BigInt(PAGE + 0x1000), RO]]],
      // Past stage 1 means through stage 2, not past both.
      [2, null, [[0x50_0000n, 0x50_2000n, BigInt(PAGE), RO]]],
      [2, 0, [[0x10000n, 0x11000n, BigInt(PAGE + 0x1000), RO]]],
    ])
  })

  it('agrees with a search through the ranges of the graph, over random tables', () => {
    const mapping = fc.record({ at: fc.nat(63), to: fc.nat(31), pages: fc.integer({ min: 1, max: 8 }), write: fc.boolean() })
    fc.assert(
      fc.property(fc.array(mapping, { maxLength: 24 }), fc.nat(31), fc.integer({ min: 1, max: 4 }), (mappings, page, pages) => {
        const { machine, own } = machineWithTables()
        for (const { at, to, pages: count, write } of mappings) {
          try {
            own.table.map(at * 4096, PAGE + to * 4096, count * 4096, write ? RW : RO)
          } catch (error) {
            if (!(error instanceof MapError)) throw error
          }
        }
        const graph = graphOf(machine)
        const start = PAGE + page * 4096
        const end = start + pages * 4096
        const pageSet = (list: readonly (readonly [bigint, bigint, bigint, number])[]) =>
          list.flatMap(([from, to, pa, rights]) =>
            Array.from(
              { length: Number(to - from) / 4096 },
              (_, index) => `${from + BigInt(index * 4096)} ${pa + BigInt(index * 4096)} ${rights}`,
            ),
          )
        const expected = graph.spaces[0]!.ranges.flatMap((range) =>
          pageSet([[range.start, range.end, range.output, range.rights]]),
        ).filter((text) => Number(text.split(' ')[1]) >= start && Number(text.split(' ')[1]) < end)
        const found = findReaches(graph, machine.memory, start, end).reaches.find(({ device }) => device.id === 1)
        const got = pageSet((found?.mappings ?? []).map((one) => [one.start, one.end, one.pa, one.rights] as const))
        expect(got.sort()).toEqual(expected.sort())
      }),
      { numRuns: 60 },
    )
  })

  it('reads a million pages that never follow each other, and says when ways are left out', () => {
    const machine = new TestMachine(0x200_0000)
    machine.streamTable(4)
    const own = machine.stage1()
    const cds = machine.cdTable(0)
    cds.cd(0, own.values)
    machine.ste(1, cds.ste)
    // 2,048 tables of 512 pages, the outputs downwards: a range each.
    for (let table = 0; table < 2048; table++) {
      own.table.map(table * 0x20_0000, PAGE, 4096, RW)
      const leaf = findLeafTable(machine, own.table, table * 0x20_0000)
      for (let slot = 0; slot < 512; slot++) {
        const page = (2 ** 20 - table * 512 - slot) % 2 ** 19
        machine.memory.words[machine.memory.indexForWrite(leaf + slot * 8)] = (PAGE + page * 4096) | 0x743
      }
    }
    const graph = graphOf(machine)
    const rare = findReaches(graph, machine.memory, PAGE + 0x5000, PAGE + 0x6000)
    expect(rare.complete).toBe(true)
    expect(rare.reaches[0]!.mappings.length).toBe(2)
    const all = findReaches(graph, machine.memory, PAGE, PAGE + 2 ** 31)
    expect(all.complete).toBe(false)
    expect(all.reaches[0]!.mappings.length).toBe(1 << 14)
  })

  it('refuses a range that is empty or above 2^52', () => {
    const { machine } = machineWithTables()
    expect(() => findReaches(graphOf(machine), machine.memory, 4096, 4096)).toThrow(/empty/)
    expect(() => findReaches(graphOf(machine), machine.memory, 0, 2 ** 53)).toThrow(/2\^52/)
  })
})

/** Where the last-level table for this address lies. */
function findLeafTable(machine: TestMachine, table: { space: { root: number; topDepth: number } }, iova: number): number {
  let at = table.space.root
  for (let depth = table.space.topDepth; depth > 0; depth--) {
    const entry = machine.memory.read64(at + (Math.floor(iova / 2 ** (12 + 9 * depth)) % 512) * 8)
    at = Number(entry & 0xfffffffff000n)
  }
  return at
}
