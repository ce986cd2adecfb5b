import { describe, expect, it } from 'vitest'
import type { PageAllocator } from '../../base/memory.ts'
import { PR, PW } from '../../base/types.ts'
import { PhysicalMemory } from '../../memory/physical.ts'
import { enumerate } from './enumerate.ts'
import { ptSpace } from './format.ts'
import { newRoot, PageTable } from './mapper.ts'
import { vmsav8 } from './vmsav8.ts'

const MEMORY = 0x100000

/** An allocator whose tables run out, and that knows which are held. */
class Scarce implements PageAllocator {
  left = 1
  readonly held = new Set<number>()
  #next = 0x1000
  allocate(bytes: number): number {
    if (this.left-- <= 0) throw new RangeError('no memory')
    this.held.add(this.#next)
    this.#next += bytes
    return this.#next - bytes
  }
  free(pa: number): void {
    if (!this.held.delete(pa)) throw new RangeError(`0x${pa.toString(16)} is not held`)
  }
}

function build() {
  const pages = new Scarce()
  const memory = new PhysicalMemory([{ start: 0, end: MEMORY }])
  const shape = { format: vmsav8(12, 'el1'), topDepth: 3, inputBits: 48 }
  const table = new PageTable(memory, pages, ptSpace({ ...shape, root: newRoot(pages, shape) }))
  const seen = () => {
    const leaves: string[] = []
    const tables: number[] = []
    enumerate(memory, table.space, {
      leaf: ({ input, output, log2 }) => void leaves.push(`${input.toString(16)}+${log2}:${output.toString(16)}`),
      table: (pa) => void tables.push(pa),
    })
    return { leaves, tables: tables.sort((a, b) => a - b) }
  }
  return { pages, memory, table, seen }
}

describe('a map that runs out of memory for tables', () => {
  it.each([0, 1, 2, 3])('changes nothing in an empty table: %i tables to have', (tables) => {
    const { pages, memory, table, seen } = build()
    pages.left = tables
    // The last page of one table and the first of the next: four tables below the top one.
    expect(() => table.map(0x1ff000, 0x5000, 0x2000, PR | PW)).toThrow('no memory')
    expect(seen()).toEqual({ leaves: [], tables: [table.space.root] })
    expect([...pages.held]).toEqual([table.space.root])
    expect(table.tables).toBe(0)
    expect(memory.read(table.space.root, 4096).every((byte) => byte === 0)).toBe(true)
  })

  it.each([0, 1])('leaves what was there before as it was, with its tables: %i tables to have', (tables) => {
    const { pages, memory, table, seen } = build()
    pages.left = 100
    table.map(0x1fe000, 0x5000, 0x1000, PR | PW)
    table.map(0x20_0000, 0x7000, 0x1000, PR | PW)
    // A table without leaves, as its owner left it: hardware may know it.
    table.replaceLeaf(table.leaf(0x20_0000)!.pa, 0, 0)
    const state = () => ({ ...seen(), held: [...pages.held], made: table.tables, bytes: memory.read(0x1000, 0x10000) })
    const was = state()
    pages.left = tables
    // A page, a table of pages, 510 blocks; then a gigabyte that needs two tables.
    const map = () => table.map(0x1ff000, 0x10_0000_0000 + 0x1ff000, 0x4000_1000 - 0x1ff000, PR | PW)
    expect(map).toThrow('no memory')
    expect(state()).toEqual(was)
    pages.left = 2
    map()
    expect(seen().leaves.length).toBe(1 + 1 + 512 + 510 + 1)
  })
})
