import { describe, expect, it } from 'vitest'
import { type Op, run } from '../../base/op.ts'
import { PR, PW, UR, UW } from '../../base/types.ts'
import { amdV1 } from '../../format/pt/amd-v1.ts'
import { enumerate } from '../../format/pt/enumerate.ts'
import { PhysicalMemory } from '../../memory/physical.ts'
import { DriverPgtable, type Shape } from './pgtable.ts'

const RW = UR | UW | PR | PW

function build(runs: boolean) {
  const memory = new PhysicalMemory([{ start: 0, end: 0x100_0000 }])
  const told: [bigint, bigint][] = []
  // biome-ignore lint/correctness/useYield: nothing to wait for
  const forget = function* (start: bigint, end: bigint): Op<void> {
    told.push([start, end])
  }
  const shape: Shape = { ...amdV1(3), outputLimit: 2 ** 52, attributesLo: 0, splitsAtOnce: true, runs }
  const table = new DriverPgtable('test', memory, memory, shape, { tlb: forget, atc: forget })
  /** Next levels of the leaves, in input order. */
  const levels = () => {
    const seen: number[] = []
    enumerate(memory, table.space, { leaf: ({ lo }) => void seen.push((lo >>> 9) & 7) })
    return seen
  }
  return { table, told, levels }
}

describe('a page table of a driver', () => {
  it.each([false, true])('uses leaves of several entries only where it should: %s', (runs) => {
    const { table, told, levels } = build(runs)
    run(table.map(0x1_0000n, 0x5_0000n, 0x1_0000n, RW))
    expect(levels()).toEqual(Array.from({ length: 16 }, () => (runs ? 7 : 0)))
    expect(run(table.unmap(0x1_4000n, 0x1000n))).toBe(0x1000n)
    expect(levels()).toEqual(Array.from({ length: 15 }, () => 0))
    expect(told).toEqual([
      [0x1_4000n, 0x1_5000n],
      [0x1_4000n, 0x1_5000n],
    ])
    expect([table.iovaToPhys(0x1_4000n), table.iovaToPhys(0x1_5123n)]).toEqual([null, 0x5_5123n])
  })
})
