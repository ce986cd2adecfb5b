/**
 * Layouts: a structure's bit fields, declared once as the manual prints them (MSB:LSB). Decode, encode, `--json`, the bit picture,
 * the documentation and the property tests all come from the declaration.
 */
import { u64 } from './u64.ts'

interface FieldBase<Kind extends string> {
  readonly kind: Kind
  /** Most significant bit, counted from bit 0 of the structure. */
  readonly msb: number
  readonly lsb: number
  /** What the field means, in a few words. */
  readonly doc: string
}
/** One bit, read as 0 or 1. */
export type FlagField = FieldBase<'flag'>
/** An unsigned number. */
export type UintField = FieldBase<'uint'>
/** A number with named values. Values without a name are legal to decode; whether the hardware takes them is a rule of the format. */
export interface OneOfField extends FieldBase<'oneOf'> {
  readonly names: Readonly<Record<number, string>>
}
/** Bits MSB:LSB of an address; decoded in place (bit 6 of the address is bit 6 of the structure's word, shifted by `shift`). */
export interface AddrField extends FieldBase<'addr'> {
  /** The address bit that the field's lowest bit holds. */
  readonly shift: number
}
export type Field = FlagField | UintField | OneOfField | AddrField
export type Fields = Readonly<Record<string, Field>>

/** Addresses and fields of more than 32 bits decode to bigint, all others to number. */
export type FieldValue<F extends Field> = F extends AddrField ? bigint : F extends UintField ? number | bigint : number
export type Values<F extends Fields> = { [K in keyof F]: FieldValue<F[K]> }

export interface Layout<F extends Fields = Fields> {
  readonly name: string
  /** Width in bits, a multiple of 32. */
  readonly bits: number
  readonly fields: F
}

/** One bit. */
export function flag(bit: number, doc: string): FlagField {
  return { kind: 'flag', msb: bit, lsb: bit, doc }
}

/** An unsigned number of any width up to 64 bits. */
export function uint(msb: number, lsb: number, doc: string): UintField {
  return { kind: 'uint', msb, lsb, doc }
}

/** A number with named values. */
export function oneOf(msb: number, lsb: number, names: Readonly<Record<number, string>>, doc = ''): OneOfField {
  return { kind: 'oneOf', msb, lsb, names, doc }
}

/** Address bits. `shift` is the address bit of the field's lowest bit; by default that bit's place in its 64-bit word. */
export function addr(msb: number, lsb: number, doc: string, shift: number = lsb % 64): AddrField {
  return { kind: 'addr', msb, lsb, doc, shift }
}

/**
 * Declares a structure.
 * @throws RangeError when a field is outside the structure, wider than 64 bits or overlaps another: a mistake in the declaration.
 */
export function layout<const F extends Fields>(name: string, bits: number, fields: F): Layout<F> {
  if (bits % 32 !== 0) throw new RangeError(`${name}: ${bits} bits is not a multiple of 32`)
  const owner = new Array<string | undefined>(bits)
  for (const [key, field] of Object.entries(fields)) {
    if (field.lsb < 0 || field.msb >= bits || field.msb < field.lsb || field.msb - field.lsb >= 64)
      throw new RangeError(`${name}.${key}: bits ${field.msb}:${field.lsb} do not fit in ${bits} bits`)
    for (let bit = field.lsb; bit <= field.msb; bit++) {
      if (owner[bit] !== undefined) throw new RangeError(`${name}.${key} and ${name}.${owner[bit]} both have bit ${bit}`)
      owner[bit] = key
    }
  }
  return { name, bits, fields }
}

/** A structure's words, 32 bits each, least significant first. A sub-array of memory or an array of its own. */
export type Words = Int32Array | Uint32Array

/** Reads bits msb:lsb (at most 32) as an unsigned number. */
export function getBits(words: Words, msb: number, lsb: number, at = 0): number {
  const width = msb - lsb + 1
  const index = at + (lsb >>> 5)
  const shift = lsb & 31
  let value = words[index]! >>> shift
  if (shift + width > 32) value |= words[index + 1]! << (32 - shift)
  return width === 32 ? value >>> 0 : value & (2 ** width - 1)
}

/** Writes bits msb:lsb (at most 32); higher bits of `value` are dropped. */
export function setBits(words: Words, msb: number, lsb: number, value: number, at = 0): void {
  for (let bit = lsb; bit <= msb; ) {
    const index = at + (bit >>> 5)
    const shift = bit & 31
    const width = Math.min(32 - shift, msb - bit + 1)
    const mask = (width === 32 ? -1 : (1 << width) - 1) << shift
    words[index] = (words[index]! & ~mask) | (((value >>> (bit - lsb)) << shift) & mask)
    bit += width
  }
}

/** A field of at most 32 bits, for hot paths. */
export function getNumber(words: Words, field: Field, at = 0): number {
  return getBits(words, field.msb, field.lsb, at)
}

/** An address field as a double, for hot paths; exact, as its low bits are zero. */
export function getAddress(words: Words, field: Field, at = 0): number {
  const low = getBits(words, Math.min(field.msb, field.lsb + 31), field.lsb, at)
  const high = field.msb - field.lsb < 32 ? 0 : getBits(words, field.msb, field.lsb + 32, at)
  return (high * 4294967296 + low) * 2 ** (field.kind === 'addr' ? field.shift : 0)
}

function getWide(words: Words, msb: number, lsb: number, at: number): bigint {
  const low = getBits(words, Math.min(msb, lsb + 31), lsb, at)
  return msb - lsb < 32 ? BigInt(low) : u64(getBits(words, msb, lsb + 32, at), low)
}

/** One field's value: bigint for addresses and fields over 32 bits, else number. `at` is the index of the structure's first word. */
export function getField(words: Words, field: Field, at = 0): number | bigint {
  if (field.kind === 'addr') return getWide(words, field.msb, field.lsb, at) << BigInt(field.shift)
  return field.msb - field.lsb < 32 ? getBits(words, field.msb, field.lsb, at) : getWide(words, field.msb, field.lsb, at)
}

/**
 * Writes one field.
 * @throws RangeError when the value does not fit: too wide, negative, or an address with bits outside the field.
 */
export function setField(words: Words, field: Field, value: number | bigint, at = 0, name = 'value'): void {
  const width = field.msb - field.lsb + 1
  let bits = BigInt(value)
  if (field.kind === 'addr') {
    if (bits & ((1n << BigInt(field.shift)) - 1n))
      throw new RangeError(`${name}: address 0x${bits.toString(16)} is not aligned to ${2 ** field.shift} bytes`)
    bits >>= BigInt(field.shift)
  }
  if (bits < 0n || bits >> BigInt(width) !== 0n)
    throw new RangeError(`${name}: 0x${bits.toString(16)} does not fit in ${width} bits`)
  setBits(words, Math.min(field.msb, field.lsb + 31), field.lsb, Number(bits & 0xffffffffn), at)
  if (width > 32) setBits(words, field.msb, field.lsb + 32, Number(bits >> 32n), at)
}

/** All fields of a structure that starts at word `at`. */
export function decode<F extends Fields>(layout: Layout<F>, words: Words, at = 0): Values<F> {
  const out: Record<string, number | bigint> = {}
  for (const key in layout.fields) out[key] = getField(words, layout.fields[key]!, at)
  return out as Values<F>
}

/** The words of a structure; fields not given are 0. */
export function encode<F extends Fields>(layout: Layout<F>, values: Partial<Values<F>>): Uint32Array {
  const words = new Uint32Array(layout.bits / 32)
  for (const key in values) {
    const value = values[key]
    if (value === undefined) continue
    const field = layout.fields[key]
    if (field === undefined)
      throw new RangeError(`${layout.name} has no field ${key}; it has ${Object.keys(layout.fields).join(', ')}`)
    setField(words, field, value as number | bigint, 0, `${layout.name}.${key}`)
  }
  return words
}

/** One field as people and machines read it. */
export interface DescribedField {
  readonly name: string
  readonly msb: number
  readonly lsb: number
  readonly value: number | bigint
  /** The value's name, for fields with named values. */
  readonly means: string | null
  readonly doc: string
}

/** Every field with value, name and meaning, from the lowest bit up. */
export function describe(layout: Layout, words: Words, at = 0): DescribedField[] {
  const rows = Object.entries(layout.fields).map(([name, field]) => {
    const value = getField(words, field, at)
    const means = field.kind === 'oneOf' ? (field.names[value as number] ?? 'reserved') : null
    return { name, msb: field.msb, lsb: field.lsb, value, means, doc: field.doc }
  })
  return rows.sort((a, b) => a.lsb - b.lsb)
}

/** The bits of a structure that no field covers, as words with a 1 for each: reserved (or software's) bits. */
export function uncovered(layout: Layout): Uint32Array {
  const words = new Uint32Array(layout.bits / 32).fill(0xffffffff)
  for (const field of Object.values(layout.fields)) {
    for (let bit = field.lsb; bit <= field.msb; bit++) setBits(words, bit, bit, 0)
  }
  return words
}

/** The mask of a field within one 32-bit word (`word` counted from the structure's start), for hot paths. */
export function maskIn(field: Field, word: number): number {
  let mask = 0
  for (let bit = field.lsb; bit <= field.msb; bit++) if (bit >>> 5 === word) mask |= 1 << (bit & 31)
  return mask
}

/** 64-bit words (bigint) to 32-bit words. */
export function wordsFromU64(values: readonly bigint[]): Uint32Array {
  const words = new Uint32Array(values.length * 2)
  values.forEach((value, index) => {
    words[index * 2] = Number(value & 0xffffffffn)
    words[index * 2 + 1] = Number((value >> 32n) & 0xffffffffn)
  })
  return words
}

/** 32-bit words to 64-bit words (bigint); a last single word is zero-extended. */
export function wordsToU64(words: Words, at = 0, count = words.length - at): bigint[] {
  const out: bigint[] = []
  for (let index = 0; index < count; index += 2) out.push(u64(index + 1 < count ? words[at + index + 1]! : 0, words[at + index]!))
  return out
}
