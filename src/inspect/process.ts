/** Page tables that look like those of a process: what an entry does not say, the table may. */
import type { WordMemory } from '../base/memory.ts'
import { type PtSpace, TOP_SIGN } from '../format/pt/format.ts'

const ENTRIES = 512

/**
 * Whether the upper half of the addresses of an x86-64 table is in use. Operating systems have their kernel there, in the table of every
 * process; a domain's own addresses are never negative.
 */
export function hasKernelHalf(memory: WordMemory, { format, root, top }: PtSpace): boolean {
  if (top !== TOP_SIGN || format.entryLog2 !== 3 || format.indexBits !== 9) return false
  const at = memory.index(root, 4096)
  if (at < 0) return false
  for (let entry = ENTRIES / 2; entry < ENTRIES; entry++) if ((memory.words[at + entry * 2]! & format.present) !== 0) return true
  return false
}
