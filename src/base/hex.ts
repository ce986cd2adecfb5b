/** Numbers as the manuals print them, and back. */

/** `0x1f`, lower case, no leading zeros. */
export function hex(value: bigint | number): string {
  return value < 0 ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`
}

/** `0x` and exactly `digits` digits or more. */
export function hexPad(value: bigint | number, digits: number): string {
  return `0x${value.toString(16).padStart(digits, '0')}`
}

/** A size in bytes as people say it: `4 KiB`, `2 MiB`, `12 B`. */
export function size(bytes: bigint | number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB']
  let value = BigInt(bytes)
  let unit = 0
  while (value >= 1024n && value % 1024n === 0n && unit < units.length - 1) {
    value /= 1024n
    unit++
  }
  return `${value} ${units[unit]}`
}

/** A size for people: `4 KiB` where that is exact and short, else three digits: `1.50 MiB`. */
export function about(bytes: bigint): string {
  const exact = size(bytes)
  if (exact.length <= 8) return exact
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB']
  let unit = 0
  let value = Number(bytes)
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit++
  }
  return `${value >= 100 ? Math.round(value) : value.toPrecision(3)} ${units[unit]}`
}

/** Reads `0x…`, `0b…`, decimal, with `_` between digits and an optional K, M, G, T or KiB-style suffix. Null when it is none of these. */
export function parseNumber(text: string): bigint | null {
  const match = /^(0x[0-9a-f_]+|0b[01_]+|[0-9][0-9_]*)\s*(?:([kmgt])(?:ib|b)?)?$/i.exec(text.trim())
  if (match === null) return null
  const digits = match[1]!.replaceAll('_', '')
  if (/^0[xb]$/i.test(digits)) return null
  const shift = match[2] === undefined ? 0 : 'kmgt'.indexOf(match[2].toLowerCase()) * 10 + 10
  return BigInt(digits) << BigInt(shift)
}
