/** Page frames with their reference counts, and the swap area. Frames are named by physical address; sizes are in pages of the CPU. */
import type { PageAllocator } from '../base/memory.ts'
import type { PhysicalMemory } from '../memory/physical.ts'
import { MmError } from './vma.ts'

/** Allocations for tables and frames: exhaustion becomes an MmError, which a fault can answer. */
export class TableMemory implements PageAllocator {
  readonly #memory: PhysicalMemory

  constructor(memory: PhysicalMemory) {
    this.#memory = memory
  }

  allocate(bytes: number): number {
    return allocateOrThrow(this.#memory, bytes)
  }

  free(pa: number, bytes: number): void {
    this.#memory.free(pa, bytes)
  }
}

function allocateOrThrow(memory: PhysicalMemory, bytes: number): number {
  try {
    return memory.allocate(bytes)
  } catch (cause) {
    throw new MmError('memory', cause instanceof Error ? cause.message : String(cause))
  }
}

export class Frames {
  readonly pageBytes: number
  readonly #memory: PhysicalMemory
  /** Frame → how many page tables and shared memories refer to it. */
  readonly #references = new Map<number, number>()
  /** Frames that were written to, though no table entry says so any more. */
  readonly #dirty = new Set<number>()

  constructor(memory: PhysicalMemory, pageBytes: number) {
    this.#memory = memory
    this.pageBytes = pageBytes
  }

  get inUse(): number {
    return this.#references.size
  }

  /** A zeroed block of frames, each referred to once. @throws MmError when memory is exhausted. */
  allocate(pages = 1): number {
    const frame = allocateOrThrow(this.#memory, pages * this.pageBytes)
    for (let page = 0; page < pages; page++) this.#references.set(frame + page * this.pageBytes, 1)
    return frame
  }

  references(frame: number): number {
    return this.#references.get(frame) ?? 0
  }

  /** Whether nobody else refers to any of these frames. */
  exclusive(frame: number, pages = 1): boolean {
    for (let page = 0; page < pages; page++) if (this.references(frame + page * this.pageBytes) !== 1) return false
    return true
  }

  /** One more reference to each. */
  get(frame: number, pages = 1): void {
    for (let page = 0; page < pages; page++) this.#change(frame + page * this.pageBytes, 1)
  }

  /** One reference fewer to each; those without any are freed. Only when no cache of the hardware can lead to them. */
  put(frame: number, pages = 1): void {
    // A block that nobody else uses goes back as a block: it can become a large page again.
    const whole = pages > 1 && this.exclusive(frame, pages)
    for (let page = 0; page < pages; page++) {
      const one = frame + page * this.pageBytes
      if (this.#change(one, -1) > 0) continue
      this.#dirty.delete(one)
      if (!whole) this.#memory.free(one, this.pageBytes)
    }
    if (whole) this.#memory.free(frame, pages * this.pageBytes)
  }

  /** Copies into fresh frames: where the source is zero, nothing needs to be written. */
  copy(from: number, to: number, pages = 1): void {
    for (let done = 0; done < pages * this.pageBytes; done += 4096) {
      const source = this.#memory.index(from + done)
      if (isZero(this.#memory.words, source, 1024)) continue
      const target = this.#memory.indexForWrite(to + done)
      this.#memory.words.copyWithin(target, source, source + 1024)
    }
  }

  isDirty(frame: number): boolean {
    return this.#dirty.has(frame)
  }
  markDirty(frame: number, pages = 1): void {
    for (let page = 0; page < pages; page++) this.#dirty.add(frame + page * this.pageBytes)
  }
  markClean(frame: number, pages = 1): void {
    for (let page = 0; page < pages; page++) this.#dirty.delete(frame + page * this.pageBytes)
  }

  /** @returns references that there are now. */
  #change(frame: number, by: number): number {
    const count = this.#references.get(frame)
    if (count === undefined) throw new RangeError(`frame 0x${frame.toString(16)} is not in use: its references are not balanced`)
    if (count + by > 0) this.#references.set(frame, count + by)
    else this.#references.delete(frame)
    return count + by
  }
}

function isZero(words: Int32Array, at: number, count: number): boolean {
  for (let index = at; index < at + count; index++) if (words[index] !== 0) return false
  return true
}

const NOTHING = new Uint8Array(0)

/** Contents of pages that are not in memory. A slot never changes, so that parent and child may share it. */
export class Swap {
  readonly #slots = new Map<number, { readonly data: Uint8Array; references: number }>()
  #next = 1

  get inUse(): number {
    return this.#slots.size
  }

  /** @param data a page, in a buffer of its own. @returns the slot's number, referred to once. Zeroes take no room. */
  write(data: Uint8Array): number {
    const slot = this.#next++
    this.#slots.set(slot, { data: isZero(new Int32Array(data.buffer), 0, data.length / 4) ? NOTHING : data, references: 1 })
    return slot
  }

  /** Contents for a zeroed frame. */
  read(slot: number): Uint8Array {
    return this.#slot(slot).data
  }

  get(slot: number): void {
    this.#slot(slot).references++
  }

  put(slot: number): void {
    if (--this.#slot(slot).references === 0) this.#slots.delete(slot)
  }

  #slot(slot: number): { readonly data: Uint8Array; references: number } {
    const found = this.#slots.get(slot)
    if (found === undefined) throw new RangeError(`swap slot ${slot} is not in use: its references are not balanced`)
    return found
  }
}
