/** The bare walk: cold, warm, nested, and enumeration. */
import { UR, UW } from '../src/base/types.ts'
import { enumerate, type LeafView } from '../src/format/pt/enumerate.ts'
import { type PtSpace, ptSpace } from '../src/format/pt/format.ts'
import { PageTable } from '../src/format/pt/mapper.ts'
import { vmsav8 } from '../src/format/pt/vmsav8.ts'
import { Walker } from '../src/format/pt/walker.ts'
import type { PhysicalMemory } from '../src/memory/physical.ts'
import { imageOf, ROUNDS, row } from './row.ts'
import { newMemory, RAM_START, scattered, sequence, tablesEnd } from './tables.ts'

const COUNT = 1 << 20

/** The work of a row: a walk for each page of the sequence, reads and writes in turn. */
function walks(memory: PhysicalMemory, space: PtSpace, order: Uint32Array): () => number {
  const walker = new Walker(memory)
  return () => {
    let sum = 0
    for (let index = 0; index < order.length; index++) {
      const page = order[index]!
      walker.walk(space, page >>> 20, (page << 12) | 0x123, index & 1 ? UW : UR, false)
      sum += (walker.outLo >>> 0) + walker.outHi
    }
    return sum
  }
}

export function walkRows(): void {
  const memory = newMemory()
  const pages = 1 << 23
  const space = scattered(memory, vmsav8(12, 'el1'), 3, 48, pages)
  const image = imageOf(memory)
  for (const [name, among, aim] of [
    ['4-level walk, cold: 8 Mi pages at random, 64 MiB of tables', pages, '≤ 3'],
    ['4-level walk, 64 Ki pages, 512 KiB of tables', 1 << 16, ''],
    ['4-level walk, warm: 64 pages', 64, ''],
  ] as const) {
    const order = sequence(COUNT, among)
    const theirs = image && { image, sequence: order, command: 'walk', args: [space.root, 0, ROUNDS] }
    row({ name, operations: COUNT, ours: walks(memory, space, order), theirs, aim })
  }
}

export function enumerationRow(): void {
  const memory = newMemory()
  const pages = 1 << 20
  const space = scattered(memory, vmsav8(12, 'el1'), 3, 48, pages)
  const image = imageOf(memory)
  const sum = new Float64Array(1)
  const visitor = {
    leaf(at: LeafView) {
      sum[0]! += (at.input ^ at.output) >>> 0
    },
  }
  const ours = () => {
    sum[0] = 0
    enumerate(memory, space, visitor)
    return sum[0]!
  }
  const theirs = image && { image, sequence: sequence(1, 1), command: 'enumerate', args: [space.root, 0, ROUNDS] }
  row({ name: 'enumeration of 1 Mi entries', operations: pages, ours, theirs, aim: '≤ 8' })
}

export function nestedRow(): void {
  const memory = newMemory()
  const pages = 1 << 16
  const stage1 = scattered(memory, vmsav8(12, 'el1'), 3, 48, pages)
  const stage2 = identityStage2(memory, pages)
  const space = ptSpace({ ...stage1, stage2 })
  const order = sequence(COUNT, pages)
  const image = imageOf(memory)
  const theirs = image && { image, sequence: order, command: 'nested', args: [space.root, stage2.root, ROUNDS] }
  row({ name: 'nested walk, 4 + 3 levels, 64 Ki pages', operations: COUNT, ours: walks(memory, space, order), theirs, aim: '' })
}

/** Maps all intermediate addresses that stage 1 gives (scattered), and the stage 1 tables themselves (1:1), page by page. */
function identityStage2(memory: PhysicalMemory, pages: number): PtSpace {
  const own = scattered(memory, vmsav8(12, 'stage2'), 2, 39, pages)
  const end = tablesEnd(memory)
  const table = new PageTable(memory, memory, own)
  for (let pa = RAM_START; pa < end; pa += 4096) table.map(pa, pa, 4096, UR | UW)
  return own
}
