/**
 * Physical memory: a table of 4 KiB frames, frame number → place in one array of words, so that a read costs no search.
 * RAM that was never written takes no storage and reads as zero. Dumps load frames on demand through a `FrameSource`.
 */
import type { PageAllocator, WordMemory } from '../base/memory.ts'
import { hi32, lo32, u64 } from '../base/u64.ts'
import { FrameAllocator } from './allocator.ts'

const WORDS_PER_FRAME = 1024
/** Frames per chunk of the frame table: 2^13 frames = 32 MiB of addresses. */
const CHUNK_BITS = 13
const CHUNK_MASK = (1 << CHUNK_BITS) - 1
/** Chunks reachable without a map: addresses below 2^38. */
const DIRECT_CHUNKS = 1 << 13
const DIRECT_FRAMES = DIRECT_CHUNKS << CHUNK_BITS
/** Entries of the frame table. Positive: index / WORDS_PER_FRAME of the frame. */
const UNKNOWN = 0
const ABSENT = -1
/** Frame 0 of the storage: the shared zero page of RAM that was never written (place 0 stands for UNKNOWN, so it is place 1). */
const ZERO_PLACE = 1

/** Where a dump's frames come from. */
export interface FrameSource {
  /** Copies frame `frame` (4096 bytes at frame × 4096) into words[at …]; false when the source does not hold it. */
  load(frame: number, words: Int32Array, at: number): boolean
}

/** A range of addresses that answer, end exclusive. */
export interface RamRange {
  readonly start: number
  readonly end: number
}

export class PhysicalMemory implements WordMemory, PageAllocator {
  words: Int32Array
  readonly ram: readonly RamRange[]
  readonly #source: FrameSource | null
  readonly #chunks = new Array<Int32Array | undefined>(DIRECT_CHUNKS)
  readonly #far = new Map<number, Int32Array>()
  #places = ZERO_PLACE + 1
  #allocator: FrameAllocator | null = null

  /**
   * @param ram ranges that answer as RAM (multiples of 4096); reads of untouched RAM give zero. May be empty for a dump.
   * @param source frames that exist beforehand.
   */
  constructor(ram: readonly RamRange[], source: FrameSource | null = null) {
    for (const { start, end } of ram) {
      if (start % 4096 !== 0 || end % 4096 !== 0 || end <= start || end > 2 ** 52)
        throw new RangeError(
          `RAM range 0x${start.toString(16)}..0x${end.toString(16)}: needs multiples of 0x1000 below 2^52, start before end`,
        )
    }
    this.ram = [...ram].sort((a, b) => a.start - b.start)
    this.#source = source
    this.words = new Int32Array(64 * WORDS_PER_FRAME)
  }

  index(pa: number): number {
    const frame = Math.floor(pa / 4096)
    const chunk = frame < DIRECT_FRAMES ? this.#chunks[frame >>> CHUNK_BITS] : this.#farChunk(frame)
    let place = chunk === undefined ? UNKNOWN : chunk[frame & CHUNK_MASK]!
    if (place === UNKNOWN) place = this.#find(frame)
    return place < 0 ? -1 : place * WORDS_PER_FRAME + ((pa & 4095) >>> 2)
  }

  indexForWrite(pa: number): number {
    const index = this.index(pa)
    if (index < 0 || index >= (ZERO_PLACE + 1) * WORDS_PER_FRAME) return index
    const frame = Math.floor(pa / 4096)
    const place = this.#take()
    this.#set(frame, place)
    return place * WORDS_PER_FRAME + ((pa & 4095) >>> 2)
  }

  /** Whether anything answers at this address. */
  answers(pa: number): boolean {
    return pa >= 0 && pa < 2 ** 52 && this.index(pa - (pa % 4)) >= 0
  }

  /** The 64-bit little-endian value at a multiple of 8. @throws RangeError where nothing answers. */
  read64(pa: number): bigint {
    const index = this.#indexOrThrow(pa, 8, false)
    return u64(this.words[index + 1]!, this.words[index]!)
  }

  /** Writes a 64-bit value. @throws RangeError where nothing answers. */
  write64(pa: number, value: bigint): void {
    const index = this.#indexOrThrow(pa, 8, true)
    this.words[index] = lo32(value)
    this.words[index + 1] = hi32(value)
  }

  /** The unsigned 32-bit value at a multiple of 4. @throws RangeError where nothing answers. */
  read32(pa: number): number {
    return this.words[this.#indexOrThrow(pa, 4, false)]! >>> 0
  }

  /** Writes a 32-bit value. @throws RangeError where nothing answers. */
  write32(pa: number, value: number): void {
    const index = this.#indexOrThrow(pa, 4, true)
    this.words[index] = value
  }

  /** Copies bytes out, any alignment. @throws RangeError where nothing answers. */
  read(pa: number, bytes: number): Uint8Array {
    const out = new Uint8Array(bytes)
    this.#eachPiece(pa, bytes, false, (view, from, length, done) => out.set(view.subarray(from, from + length), done))
    return out
  }

  /** Copies bytes in, any alignment. @throws RangeError where nothing answers. */
  write(pa: number, data: Uint8Array): void {
    this.#eachPiece(pa, data.length, true, (view, from, length, done) => view.set(data.subarray(done, done + length), from))
  }

  /** Frees the storage of a frame: it reads as zero again. */
  clear(pa: number): void {
    const index = this.index(pa - (pa % 4096))
    if (index >= (ZERO_PLACE + 1) * WORDS_PER_FRAME) this.words.fill(0, index, index + WORDS_PER_FRAME)
  }

  /** A zeroed, naturally aligned block out of the RAM ranges. */
  allocate(bytes: number): number {
    this.#allocator ??= new FrameAllocator(this.ram)
    const pa = this.#allocator.allocate(bytes)
    for (let at = pa; at < pa + bytes; at += 4096) this.clear(at)
    return pa
  }

  free(pa: number, bytes: number): void {
    this.#allocator?.free(pa, bytes)
  }

  /** Keeps the allocator away from a range that something else uses. */
  reserve(start: number, end: number): void {
    this.#allocator ??= new FrameAllocator(this.ram)
    this.#allocator.reserve(start, end)
  }

  /** Bytes of storage in use, the frame table included. */
  get storageBytes(): number {
    let tables = this.#far.size
    for (const chunk of this.#chunks) if (chunk !== undefined) tables++
    return this.#places * 4096 + tables * (4 << CHUNK_BITS)
  }

  /** Calls back for each frame that has storage of its own, in address order. */
  forEachFrame(visit: (pa: number, words: Int32Array, at: number) => void): void {
    const each = (chunk: Int32Array, number: number) => {
      for (let slot = 0; slot <= CHUNK_MASK; slot++) {
        const place = chunk[slot]!
        if (place > ZERO_PLACE) visit((number * (CHUNK_MASK + 1) + slot) * 4096, this.words, place * WORDS_PER_FRAME)
      }
    }
    this.#chunks.forEach((chunk, number) => {
      if (chunk !== undefined) each(chunk, number)
    })
    for (const number of [...this.#far.keys()].sort((a, b) => a - b)) each(this.#far.get(number)!, number)
  }

  #farChunk(frame: number): Int32Array | undefined {
    return this.#far.get(Math.floor(frame / (CHUNK_MASK + 1)))
  }

  /** First use of a frame: from the source, else zero if it is RAM, else absent. */
  #find(frame: number): number {
    const known = frame < 2 ** 40 && frame >= 0
    if (!known) return ABSENT
    let place = ABSENT
    if (this.#source !== null) {
      const spare = this.#take()
      if (this.#source.load(frame, this.words, spare * WORDS_PER_FRAME)) place = spare
      else this.#giveBack(spare)
    }
    if (place === ABSENT) {
      const pa = frame * 4096
      if (this.ram.some(({ start, end }) => pa >= start && pa < end)) place = ZERO_PLACE
      // Absent frames outside RAM are not remembered where the table has no chunk: hostile pointers must not make it grow.
      else return ABSENT
    }
    this.#set(frame, place)
    return place
  }

  #set(frame: number, place: number): void {
    const number = Math.floor(frame / (CHUNK_MASK + 1))
    let chunk = number < DIRECT_CHUNKS ? this.#chunks[number] : this.#far.get(number)
    if (chunk === undefined) {
      chunk = new Int32Array(CHUNK_MASK + 1)
      if (number < DIRECT_CHUNKS) this.#chunks[number] = chunk
      else this.#far.set(number, chunk)
    }
    chunk[frame & CHUNK_MASK] = place
  }

  #take(): number {
    const place = this.#places++
    const needed = this.#places * WORDS_PER_FRAME
    if (needed > this.words.length) {
      const grown = new Int32Array(Math.max(needed, this.words.length * 2))
      grown.set(this.words)
      this.words = grown
    }
    return place
  }

  #giveBack(place: number): void {
    if (place !== this.#places - 1) throw new Error('frame places are given back in order')
    this.words.fill(0, place * WORDS_PER_FRAME, (place + 1) * WORDS_PER_FRAME)
    this.#places--
  }

  #indexOrThrow(pa: number, bytes: number, write: boolean): number {
    if (pa % bytes !== 0) throw new RangeError(`address 0x${pa.toString(16)} is not a multiple of ${bytes}`)
    const index = write ? this.indexForWrite(pa) : this.index(pa)
    if (index < 0) throw new RangeError(`no memory answers at 0x${pa.toString(16)}`)
    return index
  }

  #eachPiece(
    pa: number,
    bytes: number,
    write: boolean,
    use: (view: Uint8Array, from: number, length: number, done: number) => void,
  ): void {
    for (let done = 0; done < bytes; ) {
      const at = pa + done
      const length = Math.min(bytes - done, 4096 - (at % 4096))
      const index = this.#indexOrThrow(at - (at % 4), 4, write)
      use(new Uint8Array(this.words.buffer), index * 4 + (at % 4), length, done)
      done += length
    }
  }
}
