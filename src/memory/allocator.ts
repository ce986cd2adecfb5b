/** A simple physical page allocator: lowest free address first, naturally aligned, deterministic. */
import type { RamRange } from './physical.ts'

/** No free block is large enough. */
export class MemoryExhausted extends RangeError {
  readonly code = 'memory'
  constructor(bytes: number) {
    super(`physical memory is exhausted: no free block of ${bytes} bytes; give the machine more memory`)
    this.name = 'MemoryExhausted'
  }
}

export class FrameAllocator {
  /** Never-allocated rest of each RAM range. */
  readonly #fresh: { next: number; readonly end: number }[]
  /** Freed or skipped blocks by size, used before fresh memory. */
  readonly #free = new Map<number, number[]>()

  constructor(ram: readonly RamRange[]) {
    this.#fresh = ram.map(({ start, end }) => ({ next: start, end }))
  }

  allocate(bytes: number): number {
    if (bytes < 4096 || !Number.isInteger(Math.log2(bytes)))
      throw new RangeError(`cannot allocate ${bytes} bytes: a power of two, at least 4096`)
    const freed = this.#free.get(bytes)?.pop()
    if (freed !== undefined) return freed
    for (const range of this.#fresh) {
      const start = Math.ceil(range.next / bytes) * bytes
      if (start + bytes > range.end) continue
      this.#keep(range.next, start)
      range.next = start + bytes
      return start
    }
    const split = this.#split(bytes)
    if (split === null) throw new MemoryExhausted(bytes)
    return split
  }

  free(pa: number, bytes: number): void {
    const list = this.#free.get(bytes)
    if (list === undefined) this.#free.set(bytes, [pa])
    else list.push(pa)
  }

  /** Takes a range out of what may be handed out. Only fresh memory can be reserved: call it before the first allocation. */
  reserve(start: number, end: number): void {
    for (const range of [...this.#fresh]) {
      if (end <= range.next || start >= range.end) continue
      this.#fresh.splice(this.#fresh.indexOf(range), 1)
      if (range.next < start) this.#fresh.push({ next: range.next, end: Math.floor(start / 4096) * 4096 })
      if (end < range.end) this.#fresh.push({ next: Math.ceil(end / 4096) * 4096, end: range.end })
    }
    this.#fresh.sort((a, b) => a.next - b.next)
  }

  /** Remembers the gap that an alignment left, as aligned blocks. */
  #keep(start: number, end: number): void {
    for (let at = start; at < end; ) {
      let bytes = 4096
      while (at % (bytes * 2) === 0 && at + bytes * 2 <= end) bytes *= 2
      this.free(at, bytes)
      at += bytes
    }
  }

  /** Halves the smallest free block that is large enough. */
  #split(bytes: number): number | null {
    for (let larger = bytes * 2; larger <= 2 ** 52; larger *= 2) {
      const block = this.#free.get(larger)?.pop()
      if (block === undefined) continue
      this.#keep(block + bytes, block + larger)
      return block
    }
    return null
  }
}
