/**
 * Physical memory: a table of 4 KiB frames, frame number → place in one array of words, so that a read costs no search.
 * RAM that was never written takes no storage and reads as zero. Dumps load frames on demand through a `FrameSource`.
 *
 * The frame table lies in the same array as the frames, in chunks of 2^13 frames (32 MiB of addresses), because one array is
 * faster to read than three: words[0 …] is the directory of chunks, then comes a chunk without frames, then the zero page.
 */
import type { PageAllocator, WordMemory } from '../base/memory.ts'
import { hi32, lo32, u64 } from '../base/u64.ts'
import { FrameAllocator } from './allocator.ts'

const WORDS_PER_FRAME = 1024
const CHUNK_BITS = 13
const CHUNK = 1 << CHUNK_BITS
const CHUNK_MASK = CHUNK - 1
/** Addresses below 2^38 find their chunk in the directory, others in a map. */
const DIRECT_HI = 64
const DIRECTORY = 1 << (38 - 12 - CHUNK_BITS)
/** The chunk that knows no frame: what the directory points to at first. */
const EMPTY_CHUNK = DIRECTORY
/** The page that all RAM that was never written shares. */
const ZERO_PAGE = EMPTY_CHUNK + CHUNK
const FIRST_FRAME = ZERO_PAGE + WORDS_PER_FRAME
/** In a chunk: 0 says that nothing is known of a frame yet, else it is the index of the frame's first word. */
const UNKNOWN = 0
/** Storage is at most so many words: a frame table entry is a 32-bit number. */
const MAX_WORDS = 2 ** 31 - WORDS_PER_FRAME

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
  /** Chunks of addresses from 2^38 up: chunk number → its index. */
  readonly #far = new Map<number, number>()
  #used = FIRST_FRAME
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
    this.words = new Int32Array(FIRST_FRAME + CHUNK + 16 * WORDS_PER_FRAME)
    this.words.fill(EMPTY_CHUNK, 0, DIRECTORY)
  }

  index(pa: number): number {
    return this.indexAt((pa / 4294967296) | 0, pa | 0)
  }

  indexAt(hi: number, lo: number): number {
    if (hi >>> 0 < DIRECT_HI) {
      const words = this.words
      const first = words[words[(hi << (32 - CHUNK_BITS - 12)) | (lo >>> (CHUNK_BITS + 12))]! + ((lo >>> 12) & CHUNK_MASK)]!
      if (first > UNKNOWN) return first + ((lo & 4095) >>> 2)
    }
    const first = this.#find((hi >>> 0) * 1048576 + (lo >>> 12))
    return first < 0 ? -1 : first + ((lo & 4095) >>> 2)
  }

  indexForWrite(pa: number): number {
    const index = this.index(pa)
    if (index < 0 || index >= FIRST_FRAME) return index
    const first = this.#take(WORDS_PER_FRAME)
    this.#set(Math.floor(pa / 4096), first)
    return first + ((pa & 4095) >>> 2)
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
    if (index >= FIRST_FRAME) this.words.fill(0, index, index + WORDS_PER_FRAME)
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
    return this.#used * 4
  }

  /** Calls back for each frame that has storage of its own, in address order. */
  forEachFrame(visit: (pa: number, words: Int32Array, at: number) => void): void {
    const each = (chunk: number, number: number) => {
      for (let slot = 0; slot < CHUNK; slot++) {
        const first = this.words[chunk + slot]!
        if (first >= FIRST_FRAME) visit((number * CHUNK + slot) * 4096, this.words, first)
      }
    }
    for (let number = 0; number < DIRECTORY; number++) if (this.words[number] !== EMPTY_CHUNK) each(this.words[number]!, number)
    for (const number of [...this.#far.keys()].sort((a, b) => a - b)) each(this.#far.get(number)!, number)
  }

  #chunk(number: number): number {
    return number < DIRECTORY ? this.words[number]! : (this.#far.get(number) ?? EMPTY_CHUNK)
  }

  /** A frame's first word, the slow way: far addresses, and the first use of a frame (from the source, else zero if it is RAM, else -1). */
  #find(frame: number): number {
    const known = this.words[this.#chunk(Math.floor(frame / CHUNK)) + (frame & CHUNK_MASK)]!
    if (known !== UNKNOWN) return known
    if (frame >= 2 ** 40) return -1
    let first = -1
    if (this.#source !== null) {
      const spare = this.#take(WORDS_PER_FRAME)
      if (this.#source.load(frame, this.words, spare)) first = spare
      else this.#giveBack(spare)
    }
    if (first < 0) {
      const pa = frame * 4096
      // What is absent is not remembered: hostile pointers must not make the table grow.
      if (!this.ram.some(({ start, end }) => pa >= start && pa < end)) return -1
      first = ZERO_PAGE
    }
    this.#set(frame, first)
    return first
  }

  #set(frame: number, first: number): void {
    const number = Math.floor(frame / CHUNK)
    let chunk = this.#chunk(number)
    if (chunk === EMPTY_CHUNK) {
      chunk = this.#take(CHUNK)
      if (number < DIRECTORY) this.words[number] = chunk
      else this.#far.set(number, chunk)
    }
    this.words[chunk + (frame & CHUNK_MASK)] = first
  }

  #take(count: number): number {
    const first = this.#used
    const needed = first + count
    if (needed > MAX_WORDS) throw new RangeError(`more than ${MAX_WORDS * 4} bytes of physical memory are in use`)
    if (needed > this.words.length) {
      const grown = new Int32Array(Math.min(MAX_WORDS, Math.max(needed, this.words.length * 2)))
      grown.set(this.words)
      this.words = grown
    }
    this.#used = needed
    return first
  }

  #giveBack(first: number): void {
    this.words.fill(0, first, first + WORDS_PER_FRAME)
    this.#used = first
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
