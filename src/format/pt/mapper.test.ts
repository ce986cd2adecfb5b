import { describe, expect, it } from 'vitest'
import type { PageAllocator } from '../../base/memory.ts'
import { PR, PW } from '../../base/types.ts'
import { PhysicalMemory } from '../../memory/physical.ts'
import { enumerate } from './enumerate.ts'
import { ptSpace } from './format.ts'
import { newRoot, PageTable } from './mapper.ts'
import { vmsav8 } from './vmsav8.ts'

describe('a map that runs out of memory for tables', () => {
  it.each([0, 1, 2, 3])('keeps no table that nothing points to: %i tables to have', (tables) => {
    let left = 1
    let next = 0x1000
    const held = new Set<number>()
    const pages: PageAllocator = {
      allocate(bytes) {
        if (left-- <= 0) throw new RangeError('no memory')
        held.add(next)
        next += bytes
        return next - bytes
      },
      free: (pa) => void held.delete(pa),
    }
    const memory = new PhysicalMemory([{ start: 0, end: 0x100000 }])
    const shape = { format: vmsav8(12, 'el1'), topDepth: 3, inputBits: 48 }
    const space = ptSpace({ ...shape, root: newRoot(pages, shape) })
    const table = new PageTable(memory, pages, space)
    left = tables
    // The last page of one table and the first of the next: four tables below the top one.
    expect(() => table.map(0x1ff000, 0x5000, 0x2000, PR | PW)).toThrow('no memory')
    const reached: number[] = []
    enumerate(memory, space, { leaf: () => {}, table: (pa) => void reached.push(pa) })
    expect([...held].sort()).toEqual(reached.sort())
    expect(table.tables).toBe(reached.length - 1)
  })
})
