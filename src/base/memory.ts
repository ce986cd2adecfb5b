/** What table code needs of memory: words by address, without allocation. `memory/` implements it. */
export interface WordMemory {
  /** The storage. May be replaced by a larger one inside `index` and `indexForWrite`: read it after the call. */
  readonly words: Int32Array
  /**
   * Where the 32-bit word at physical address `pa` lies in `words`, or -1 when nothing answers there (a bus error, or a page
   * that a dump does not hold). `pa` is a multiple of 4. An aligned structure of up to 4 KiB is contiguous from there.
   */
  index(pa: number): number
  /** As `index`, with the address as two 32-bit halves (signed or not). The hot way. */
  indexAt(hi: number, lo: number): number
  /** As `index`, for a write: memory that was never written gets storage of its own first. */
  indexForWrite(pa: number): number
}

/** Memory in which the OS side can allocate pages for its tables. */
export interface PageAllocator {
  /** A zeroed, naturally aligned block of `bytes` (a power of two, at least 4096). @throws Error when memory is exhausted. */
  allocate(bytes: number): number
  /** Gives a block back. */
  free(pa: number, bytes: number): void
}
