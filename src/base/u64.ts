/** 64-bit values as two 32-bit halves, as exact doubles (addresses), and as bigint (public API). The only place that converts. */

const big = new BigUint64Array(1)
const half = new Int32Array(big.buffer)

/** The low 32 bits of a bigint, as a signed 32-bit number. */
export function lo32(value: bigint): number {
  big[0] = value
  return half[0]!
}

/** Bits 63:32 of a bigint, as a signed 32-bit number. */
export function hi32(value: bigint): number {
  big[0] = value
  return half[1]!
}

/** The unsigned 64-bit value of two halves, whatever their sign. */
export function u64(hi: number, lo: number): bigint {
  half[0] = lo
  half[1] = hi
  return big[0]!
}

/** hi:lo as a double. Exact when the value is below 2^53, or a multiple of 2^(bits above 53). */
export function toDouble(hi: number, lo: number): number {
  return (hi >>> 0) * 4294967296 + (lo >>> 0)
}

/** The low 32 bits of a non-negative integer double, signed. */
export function doubleLo(value: number): number {
  return value | 0
}

/** Bits 63:32 of a non-negative integer double, signed. */
export function doubleHi(value: number): number {
  return (value / 4294967296) | 0
}
