/**
 * `npm run bench`: each row in ns per operation, as a ratio to the C twin of the bare work (twin.c) in the same run.
 * A row's checksum must equal the twin's: both did the same work.
 */
import { UR, UW } from '../src/base/types.ts'
import { enumerate } from '../src/format/pt/enumerate.ts'
import { type PtSpace, ptSpace } from '../src/format/pt/format.ts'
import { PageTable } from '../src/format/pt/mapper.ts'
import { vmsav8 } from '../src/format/pt/vmsav8.ts'
import { Walker } from '../src/format/pt/walker.ts'
import type { PhysicalMemory } from '../src/memory/physical.ts'
import { newMemory, RAM_START, scattered, sequence, tablesEnd } from './tables.ts'
import { Twin, type TwinResult } from './twin.ts'

const COUNT = 1 << 20
const ROUNDS = 7

/** Best of some rounds: [ns per operation, result of the last round]. */
function best(operations: number, work: () => number): { ns: number; sum: number } {
  let ns = Number.POSITIVE_INFINITY
  let sum = 0
  for (let round = 0; round < ROUNDS; round++) {
    const start = process.hrtime.bigint()
    sum = work()
    ns = Math.min(ns, Number(process.hrtime.bigint() - start) / operations)
  }
  return { ns, sum }
}

const twin = Twin.compile()

function row(name: string, ours: { ns: number; sum: number }, theirs: TwinResult | null, aim: string): void {
  if (theirs !== null && BigInt(ours.sum) !== theirs.sum)
    throw new Error(`${name}: checksum ${ours.sum} is not the twin's ${theirs.sum}`)
  const ratio = theirs === null ? '' : `${theirs.ns.toFixed(1).padStart(9)}  ${(ours.ns / theirs.ns).toFixed(2).padStart(7)}`
  console.log(`${name.padEnd(44)}${ours.ns.toFixed(1).padStart(9)}  ${ratio}  ${aim}`)
}

function walks(memory: PhysicalMemory, space: PtSpace, order: Uint32Array): () => number {
  const walker = new Walker(memory)
  return () => {
    let sum = 0
    for (let index = 0; index < order.length; index++) {
      const page = order[index]!
      walker.walk(space, page >>> 20, (page << 12) | 0x123, index & 1 ? UW : UR, false)
      sum += (walker.outHi >>> 0) * 4294967296 + (walker.outLo >>> 0)
    }
    return sum
  }
}

console.log(`${'row'.padEnd(44)}${'ns'.padStart(9)}  ${'C ns'.padStart(9)}  ${'ratio'.padStart(7)}  aim`)
{
  const memory = newMemory()
  const pages = 1 << 20
  const space = ptSpace({ ...scattered(memory, vmsav8(12, 'el1'), 3, 48, pages), accessed: 1 })
  const end = tablesEnd(memory)
  for (const [name, among, aim] of [
    ['4-level walk, cold (1,048,576 pages at random)', pages, '≤ 3'],
    ['4-level walk, warm (64 pages)', 64, ''],
  ] as const) {
    const order = sequence(COUNT, among)
    row(
      name,
      best(COUNT, walks(memory, space, order)),
      twin?.run(memory, RAM_START, end, order, 'walk', [space.root, 0, 0, ROUNDS]) ?? null,
      aim,
    )
  }
  const sum = new Float64Array(1)
  const visitor = {
    leaf(input: number, output: number) {
      sum[0]! += (input ^ output) >>> 0
    },
  }
  const ours = best(pages, () => {
    sum[0] = 0
    enumerate(memory, space, visitor)
    return sum[0]!
  })
  row(
    'enumeration of 1,048,576 entries',
    ours,
    twin?.run(memory, RAM_START, end, sequence(1, 1), 'enumerate', [space.root, 0, 0, ROUNDS]) ?? null,
    '≤ 8',
  )
}
{
  const memory = newMemory()
  const pages = 1 << 16
  const stage1 = scattered(memory, vmsav8(12, 'el1'), 3, 48, pages)
  // Stage 2 maps all intermediate addresses that stage 1 gives, and its tables, page by page.
  const stage2 = identityStage2(memory, pages)
  const space = ptSpace({ ...stage1, accessed: 1, stage2 })
  const order = sequence(COUNT, pages)
  row(
    'nested walk, 4 + 3 levels (65,536 pages)',
    best(COUNT, walks(memory, space, order)),
    twin?.run(memory, RAM_START, tablesEnd(memory), order, 'nested', [space.root, stage2.root, 0, ROUNDS]) ?? null,
    '',
  )
}
twin?.remove()

function identityStage2(memory: PhysicalMemory, pages: number): PtSpace {
  const own = scattered(memory, vmsav8(12, 'stage2'), 2, 39, pages)
  // The stage 1 tables lie above RAM_START: map that part of the intermediate space to itself.
  const end = tablesEnd(memory)
  const table = new PageTable(memory, memory, own)
  for (let pa = RAM_START; pa < end; pa += 4096) table.map(pa, pa, 4096, UR | UW)
  return ptSpace({ ...own, accessed: 1 })
}
