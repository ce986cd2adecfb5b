/** The tables and address sequences that all rows share. */
import { random } from '../src/base/op.ts'
import { UR, UW } from '../src/base/types.ts'
import { AD_FAULT, type PtFormat, type PtSpace, ptSpace } from '../src/format/pt/format.ts'
import { newRoot, PageTable } from '../src/format/pt/mapper.ts'
import { PhysicalMemory } from '../src/memory/physical.ts'

export const RAM_START = 0x4000_0000

/**
 * A space of `pages` pages from input 0 on, mapped one by one to scattered frames, so that nothing coalesces.
 * @param outputHi bits 63:32 of where the frames start.
 */
export function scattered(
  memory: PhysicalMemory,
  format: PtFormat,
  topDepth: number,
  inputBits: number,
  pages: number,
  outputHi = 0,
): PtSpace {
  const root = newRoot(memory, { format, topDepth, inputBits })
  const space = ptSpace({ format, root, topDepth, inputBits, outputLimit: 2 ** 48, accessed: AD_FAULT })
  const table = new PageTable(memory, memory, space)
  for (let first = 0; first < pages; first += 512) {
    // The mapper makes the tables; their other entries are written directly, which is quicker.
    table.map(first * 4096, 0, 4096, UR | UW)
    const { pa, hi, lo } = table.leaf(first * 4096)!
    const index = memory.indexForWrite(pa)
    for (let slot = 0; slot < Math.min(512, pages); slot++) {
      const output = scatter(first + slot, pages)
      memory.words[index + slot * 2] = lo | (output << 12)
      memory.words[index + slot * 2 + 1] = hi | (outputHi + (output >>> 20))
    }
  }
  return space
}

/** A permutation of 0 … pages-1 (a power of two). */
export function scatter(page: number, pages: number): number {
  return (Math.imul(page, 0x9e3779b1) >>> 0) & (pages - 1)
}

/** `count` random page numbers below `pages`. */
export function sequence(count: number, pages: number): Uint32Array {
  const next = random(1)
  return Uint32Array.from({ length: count }, () => next(pages))
}

/** Memory with room for the tables of a million pages. */
export function newMemory(): PhysicalMemory {
  return new PhysicalMemory([{ start: RAM_START, end: RAM_START + 0x1000_0000 }])
}

/** The end of what the tables use: they are allocated upwards. */
export function tablesEnd(memory: PhysicalMemory): number {
  let end = RAM_START
  memory.forEachFrame((pa) => {
    end = Math.max(end, pa + 4096)
  })
  return end
}
