/** What table code needs of memory: words by address, without allocation. `memory/` implements it. */
import { toDouble } from './u64.ts'

/** Nothing answers at an address. */
export const NO_ANSWER = -1
/** Something answers, and says that its data is corrupt (poison). */
export const POISONED = -2

/** Physical memory as table code reads it. */
export interface WordMemory {
  /** The storage. May be replaced by a larger one inside `index` and `indexForWrite`: read it after the call. */
  readonly words: Int32Array
  /**
   * Where the 32-bit word at physical address `pa` lies in `words`, or NO_ANSWER (a bus error, or a page that a dump does not hold), or
   * POISONED. `pa` is a multiple of 4. An aligned structure of up to 4 KiB is contiguous from there.
   * @param bytes how much is read in one access (4 when left out), for memories of which parts of a page may refuse.
   */
  index(pa: number, bytes?: number): number
  /** As `index`, with the address as two 32-bit halves (signed or not). The hot way. */
  indexAt(hi: number, lo: number, bytes?: number): number
  /** As `index`, for a write: memory that was never written gets storage of its own first. */
  indexForWrite(pa: number, bytes?: number): number
}

/**
 * As `indexForWrite` for 4 bytes, with the address as halves. Above 2^55 a double is exact for multiples of 8 only; there the 4 bytes are
 * reached through the 8 that hold them.
 */
export function indexForWrite4(memory: WordMemory, hi: number, lo: number): number {
  if ((lo & 4) === 0 || hi >>> 0 < 0x800000) return memory.indexForWrite(toDouble(hi, lo), 4)
  const index = memory.indexForWrite(toDouble(hi, lo & ~7), 8)
  return index < 0 ? index : index + 1
}

/** Memory in which the OS side can allocate pages for its tables. */
export interface PageAllocator {
  /** A zeroed, naturally aligned block of `bytes` (a power of two, at least 4096). @throws Error when memory is exhausted. */
  allocate(bytes: number): number
  /** Gives a block back. */
  free(pa: number, bytes: number): void
}
