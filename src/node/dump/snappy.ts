/**
 * Unpacks Snappy's raw format. google/snappy, format_description.txt: the unpacked length as a varint, then literals and copies of earlier
 * output. Every read and every copy is checked: input may hold anything.
 */

/**
 * Unpacks all of `input`.
 * @returns the number of bytes written, or null when the input is damaged or longer than `output`.
 */
export function unpackSnappy(input: Uint8Array, output: Uint8Array): number | null {
  let from = 0
  let to = 0
  /** A little-endian number; NaN where the input ends. */
  const number = (bytes: number): number => {
    let value = 0
    for (let index = 0; index < bytes; index++) value += input[from + index]! * 2 ** (8 * index)
    from += bytes
    return value
  }
  let size = 0
  for (let shift = 0; ; shift += 7) {
    if (from >= input.length || shift > 28) return null
    const byte = input[from++]!
    size += (byte & 0x7f) * 2 ** shift
    if (byte < 0x80) break
  }
  if (size > output.length) return null
  while (from < input.length) {
    const tag = input[from++]!
    const high = tag >> 2
    const kind = tag & 3
    if (kind === 0) {
      const length = (high < 60 ? high : number(high - 59)) + 1
      if (!(from + length <= input.length) || to + length > size) return null
      output.set(input.subarray(from, from + length), to)
      from += length
      to += length
      continue
    }
    const length = kind === 1 ? 4 + (high & 7) : high + 1
    const distance = kind === 1 ? (high >> 3) * 256 + number(1) : number(kind === 2 ? 2 : 4)
    if (!(distance >= 1 && distance <= to) || to + length > size) return null
    // Byte by byte: what is copied may be what this copy writes.
    for (const end = to + length; to < end; to++) output[to] = output[to - distance]!
  }
  return to === size ? to : null
}
