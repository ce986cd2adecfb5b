/**
 * Unpacks LZO1X, the form that `lzo1x_1_compress` writes. The format as Linux describes it: Documentation/staging/lzo.rst. Each instruction
 * copies earlier output, then up to three literals; `state` is how many literals the last one copied, 4 after a long run. Every read
 * and every copy is checked: input may hold anything.
 */

/**
 * Unpacks all of `input`.
 * @returns the number of bytes written, or null when the input is damaged or longer than `output`.
 */
export function unpackLzo(input: Uint8Array, output: Uint8Array): number | null {
  let from = 0
  let to = 0
  let state = 0
  /** A length that does not fit its bits: zero bytes count 255 each, the next one ends it. Negative where the input ends. */
  const longer = (base: number): number => {
    let length = base
    while (from < input.length && input[from] === 0) {
      length += 255
      from++
    }
    return from < input.length ? length + input[from++]! : -1
  }
  const literals = (count: number): boolean => {
    if (count < 0 || from + count > input.length || to + count > output.length) return false
    output.set(input.subarray(from, from + count), to)
    from += count
    to += count
    return true
  }
  const copy = (distance: number, count: number): boolean => {
    if (count < 0 || distance > to || to + count > output.length) return false
    // Byte by byte: what is copied may be what this copy writes.
    for (const end = to + count; to < end; to++) output[to] = output[to - distance]!
    return true
  }
  if (input.length > 0 && input[0]! > 17) {
    const count = input[from++]! - 17
    if (!literals(count)) return null
    state = Math.min(count, 4)
  }
  while (from < input.length) {
    const code = input[from++]!
    let distance: number
    let length: number
    let after: number
    if (code >= 64) {
      if (from >= input.length) return null
      length = code >= 128 ? 5 + ((code >> 5) & 3) : 3 + ((code >> 5) & 1)
      distance = (input[from++]! << 3) + ((code >> 2) & 7) + 1
      after = code & 3
    } else if (code >= 16) {
      const far = code < 32
      const mask = far ? 7 : 31
      length = 2 + ((code & mask) === 0 ? longer(mask) : code & mask)
      if (from + 2 > input.length || length < 2) return null
      const word = input[from]! | (input[from + 1]! << 8)
      from += 2
      distance = (word >> 2) + 1
      if (far) {
        distance += 16383 + ((code & 8) << 11)
        // The end: nothing may follow.
        if (distance === 16384) return from === input.length ? to : null
      }
      after = word & 3
    } else if (state === 0) {
      if (!literals(3 + (code === 0 ? longer(15) : code))) return null
      state = 4
      continue
    } else {
      if (from >= input.length) return null
      length = state === 4 ? 3 : 2
      distance = (input[from++]! << 2) + (code >> 2) + (state === 4 ? 2049 : 1)
      after = code & 3
    }
    if (!copy(distance, length) || !literals(after)) return null
    state = after
  }
  return null
}
