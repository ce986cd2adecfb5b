/** Memory for queues. */
import type { PageAllocator } from '../../base/memory.ts'
import { blockSize } from './words.ts'

/** A queue's place: 2^log2 entries, aligned to their size. @param most log2 of what the hardware takes. By default a page. */
export function allocateQueue(
  pages: PageAllocator,
  entryBytes: number,
  most: number,
  wanted: number | undefined,
): { readonly base: number; readonly log2: number } {
  const log2 = Math.min(wanted ?? Math.log2(4096 / entryBytes), most)
  return { log2, base: pages.allocate(blockSize(2 ** log2 * entryBytes)) }
}
