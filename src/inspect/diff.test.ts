import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PR, PW, UR, UW } from '../base/types.ts'
import { diffMachines, isEmptyDiff, rangeChanges } from './diff.ts'
import type { MachineGraph, RangeView } from './graph.ts'
import { PLAIN_CD, TestMachine } from './smmuv3.suite.ts'
import { inspectSmmuV3 } from './smmuv3.ts'

const RW = UR | UW | PR | PW
const RO = UR | PR
const PAGE = 0x9000_0000

function machineWithTables() {
  const machine = new TestMachine()
  machine.streamTable(4)
  const own = machine.stage1()
  const cds = machine.cdTable(4)
  cds.cd(0, own.values)
  machine.ste(1, cds.ste)
  machine.ste(2, cds.ste)
  return { machine, own, cds }
}

const graphOf = (machine: TestMachine): MachineGraph => inspectSmmuV3(machine.source())

describe('what differs between two machines', () => {
  it('is nothing between a machine and itself', () => {
    const { machine, own } = machineWithTables()
    own.table.map(0x10000, PAGE, 0x3000, RW)
    expect(isEmptyDiff(diffMachines(graphOf(machine), graphOf(machine)))).toBe(true)
  })

  it('tells what was mapped, unmapped, moved and given other rights, once for all that share the space', () => {
    const { machine, own } = machineWithTables()
    own.table.map(0x10000, PAGE, 0x4000, RW)
    const before = graphOf(machine)
    own.table.unmap(0x10000, 0x1000)
    own.table.unmap(0x12000, 0x2000)
    own.table.map(0x12000, PAGE + 0x9_0000, 0x1000, RW)
    own.table.map(0x13000, PAGE + 0x3000, 0x1000, RO)
    own.table.map(0x20000, PAGE, 0x2000, RO)
    const { spaces, devices } = diffMachines(before, graphOf(machine))
    expect(devices).toEqual([])
    expect(spaces).toHaveLength(1)
    // Entry 0 of the CD table, for both devices.
    expect(spaces[0]!.users).toEqual([
      { device: '0x1', pasid: 0 },
      { device: '0x2', pasid: 0 },
    ])
    expect(spaces[0]!.changes.map(({ kind, start, end }) => [kind, start, end])).toEqual([
      ['unmapped', 0x10000n, 0x11000n],
      ['moved', 0x12000n, 0x13000n],
      ['rights', 0x13000n, 0x14000n],
      ['mapped', 0x20000n, 0x22000n],
    ])
  })

  it('tells new and lost PASIDs, devices, registers, and tables that were rebuilt elsewhere', () => {
    const { machine, own, cds } = machineWithTables()
    own.table.map(0x10000, PAGE, 0x1000, RW)
    const before = graphOf(machine)
    const other = machine.stage1({ ...PLAIN_CD, ASID: 7 })
    other.table.map(0x10000, PAGE, 0x1000, RW)
    cds.cd(0, other.values)
    cds.cd(3, own.values)
    machine.ste(4, { V: 1, Config: 0b100 })
    machine.ste(2, { V: 0 })
    const after = graphOf(machine)
    const diff = diffMachines(before, after)
    expect(
      diff.pasids.map((change) => [change.device, change.pasid, change.before?.state ?? null, change.after?.state ?? null]),
    ).toEqual([
      ['0x1', 0, 'valid', 'valid'],
      ['0x2', 0, 'valid', null],
      ['0x1', 3, null, 'valid'],
    ])
    expect(diff.devices.map((change) => [(change.after ?? change.before)!.id, change.what[0]])).toContainEqual([4, 'new'])
    const moved = diff.spaces.find((change) => change.users.some(({ device, pasid }) => device === '0x1' && pasid === 0))
    expect(moved).toMatchObject({ changes: [], before: { root: BigInt(own.root) }, after: { root: BigInt(other.root) } })
    machine.set('STRTAB_BASE_CFG', 5n)
    expect(diffMachines(after, graphOf(machine)).registers).toMatchObject([{ name: 'STRTAB_BASE_CFG', after: 5n }])
  })
})

describe('changes between two lists of ranges', () => {
  const ranges = fc
    .array(fc.record({ gap: fc.nat(3), pages: fc.integer({ min: 1, max: 4 }), to: fc.nat(3), rights: fc.constantFrom(RO, RW) }), {
      maxLength: 12,
    })
    .map((list) => {
      let at = 0
      return list.map(({ gap, pages, to, rights }): RangeView => {
        const start = at + gap
        at = start + pages
        return { start: BigInt(start), end: BigInt(at), output: BigInt(start + to * 100), rights, leaves: new Map() }
      })
    })
  const pages = (list: readonly RangeView[]) => {
    const out = new Map<bigint, string>()
    for (const { start, end, output, rights } of list)
      for (let page = start; page < end; page++) out.set(page, `${output + page - start} ${rights}`)
    return out
  }

  it('turn the one into the other, page by page, and touch nothing else', () => {
    fc.assert(
      fc.property(ranges, ranges, (a, b) => {
        const result = pages(a)
        for (const { kind, start, end, before, after } of rangeChanges(a, b).changes) {
          expect(end).toBeGreaterThan(start)
          for (let page = start; page < end; page++) {
            const text = (side: typeof before) => (side === null ? undefined : `${side.output + page - start} ${side.rights}`)
            expect(result.get(page)).toBe(text(before))
            expect(kind === 'mapped').toBe(before === null)
            if (after === null) result.delete(page)
            else result.set(page, text(after)!)
          }
        }
        expect(result).toEqual(pages(b))
      }),
    )
  })
})
