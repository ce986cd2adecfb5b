/** Page tables that lead nowhere: how an OS makes a valid context that translates nothing, as RISC-V IOMMUs have no bit for that. */
import type { WordMemory } from '../../base/memory.ts'
import { type PtSpace, tableLog2 } from '../../format/pt/format.ts'

/** Whether the top table of a space without second stage is there, and all of its entries are zero. */
export function isEmpty(memory: WordMemory, space: PtSpace): boolean {
  const bytes = 2 ** tableLog2(space, space.topDepth)
  for (let done = 0; done < bytes; done += 4096) {
    const at = memory.index(space.root + done)
    if (at < 0) return false
    const end = at + Math.min(4096, bytes) / 4
    for (let word = at; word < end; word++) if (memory.words[word] !== 0) return false
  }
  return true
}
