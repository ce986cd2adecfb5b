/** A bitmap in a file, of pages: which are there, and how many before a page. Read a block at a time, as far as it is asked for. */
import type { ByteSource } from '../bytes.ts'

/** Bytes that are counted together: a page frame's number among the set ones takes one such read. */
const CHUNK_BYTES = 4096
const CHUNK_BITS = CHUNK_BYTES * 8

export class FileBitmap {
  readonly #source: ByteSource
  readonly #at: number
  /** Bits that count; the rest of the last chunk is not looked at. */
  readonly bits: number
  /** Set bits before each chunk, as far as counted. */
  readonly #before: Float64Array
  #counted = 0
  readonly #chunk = new Uint8Array(CHUNK_BYTES)
  #loaded = -1

  /** @param source one that keeps blocks. */
  constructor(source: ByteSource, at: number, bits: number) {
    this.#source = source
    this.#at = at
    this.bits = bits
    this.#before = new Float64Array(Math.ceil(bits / CHUNK_BITS) + 1)
  }

  has(bit: number): boolean {
    if (bit >= this.bits) return false
    this.#load(Math.floor(bit / CHUNK_BITS))
    const inside = bit % CHUNK_BITS
    return (this.#chunk[inside >> 3]! & (1 << (inside & 7))) !== 0
  }

  /** How many set bits come before this one. */
  rank(bit: number): number {
    const chunk = Math.floor(bit / CHUNK_BITS)
    while (this.#counted < chunk) {
      this.#load(this.#counted)
      this.#before[this.#counted + 1] = this.#before[this.#counted]! + countBits(this.#chunk, CHUNK_BITS)
      this.#counted++
    }
    this.#load(chunk)
    return this.#before[chunk]! + countBits(this.#chunk, bit % CHUNK_BITS)
  }

  /** Runs of set bits, end exclusive. */
  *runs(): Iterable<{ start: number; end: number }> {
    let start = -1
    for (let bit = 0; bit < this.bits; ) {
      this.#load(Math.floor(bit / CHUNK_BITS))
      const byte = this.#chunk[(bit % CHUNK_BITS) >> 3]!
      // Whole bytes that change nothing are stepped over.
      if ((bit & 7) === 0 && byte === (start < 0 ? 0 : 0xff)) {
        bit += 8
        continue
      }
      const set = (byte & (1 << (bit & 7))) !== 0
      if (set && start < 0) start = bit
      else if (!set && start >= 0) {
        yield { start, end: bit }
        start = -1
      }
      bit++
    }
    if (start >= 0) yield { start, end: this.bits }
  }

  /** Whether another one of as many bits has the same set. */
  equals(other: FileBitmap): boolean {
    if (other.#at === this.#at) return true
    for (let chunk = 0; chunk * CHUNK_BITS < this.bits; chunk++) {
      this.#load(chunk)
      other.#load(chunk)
      if (Buffer.compare(this.#chunk, other.#chunk) !== 0) return false
    }
    return true
  }

  #load(chunk: number): void {
    if (chunk === this.#loaded) return
    this.#loaded = -1
    const left = Math.ceil(this.bits / 8) - chunk * CHUNK_BYTES
    this.#source.read(this.#at + chunk * CHUNK_BYTES, this.#chunk.subarray(0, Math.min(CHUNK_BYTES, left)))
    this.#loaded = chunk
  }
}

const COUNTS = new Uint8Array(256).map((_, byte) => byte.toString(2).replaceAll('0', '').length)

/** Set bits among the first `bits`. */
function countBits(bytes: Uint8Array, bits: number): number {
  const whole = bits >> 3
  let count = 0
  for (let index = 0; index < whole; index++) count += COUNTS[bytes[index]!]!
  return bits % 8 === 0 ? count : count + COUNTS[bytes[whole]! & ((1 << (bits & 7)) - 1)]!
}
