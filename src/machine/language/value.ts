/** Bytes as a scenario writes them: a number (little-endian, as long as the access) or a text in quotes (UTF-8). */
import { isScalar } from 'yaml'
import { hex } from '../../base/hex.ts'
import { BAD, kindOf, numberOf, type Shape } from './shape.ts'

export type Data = { readonly kind: 'number'; readonly value: bigint } | { readonly kind: 'text'; readonly text: string }

export const data: Shape<Data> = {
  takes: "a number such as 0x1234, or a text such as 'hello'",
  schema: () => ({ type: ['integer', 'string'] }),
  read(given, reader) {
    const node = reader.open(given)
    if (isScalar(node) && typeof node.value === 'string' && node.type !== 'PLAIN') return { kind: 'text', text: node.value }
    const value = numberOf(node)
    if (value !== null && value < 1n << 64n) return { kind: 'number', value }
    if (isScalar(node) && typeof node.value === 'string' && value === null) return { kind: 'text', text: node.value }
    reader.problem(reader.place(given), `expected ${this.takes}, found ${kindOf(node)}`)
    return BAD
  },
}

/** How many bytes a value needs when the access does not say. */
export function naturalLength(given: Data): number {
  return given.kind === 'number' ? 8 : new TextEncoder().encode(given.text).length
}

/** The value as `length` bytes: what is missing is zero, what is too much is cut. */
export function dataBytes(given: Data, length: number): Uint8Array {
  const out = new Uint8Array(length)
  if (given.kind === 'text') out.set(new TextEncoder().encode(given.text).subarray(0, length))
  else for (let at = 0, rest = given.value; at < length && rest > 0n; at++, rest >>= 8n) out[at] = Number(rest & 0xffn)
  return out
}

/** Bytes for people: text where all of it is printable, else the little-endian number, or the first bytes. */
export function bytesText(bytes: Uint8Array): string {
  const last = bytes.findLastIndex((byte) => byte !== 0)
  if (last < 0) return '0'
  const used = bytes.subarray(0, last + 1)
  if (used.length > 2 && used.every((byte) => byte >= 0x20 && byte < 0x7f))
    return `'${new TextDecoder().decode(used).slice(0, 60)}'`
  if (bytes.length <= 8) return hex(bytes.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n))
  return `${[...bytes.subarray(0, 16)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ')}${bytes.length > 16 ? ' …' : ''}`
}
