/**
 * Shapes: what a value of a scenario file may be, declared once. A declaration reads YAML nodes, so that every message names line and
 * column, and gives the JSON schema for editors; both say the same because they are the same.
 */
import { isAlias, isMap, isScalar, isSeq, type Node, type Scalar } from 'yaml'
import { parseNumber, size } from '../../base/hex.ts'
import { type Place, suggest } from './problem.ts'

/** Reading went wrong; the problem is reported. */
export const BAD: unique symbol = Symbol('bad')
export type Bad = typeof BAD

/** JSON schema, as far as it is used here. */
export interface JsonSchema {
  readonly [key: string]: unknown
}

/** What shapes see of the file. */
export interface Reader {
  place(node: unknown): Place
  problem(at: Place, message: string, hint?: string | null): void
  /** Follows an alias, counts the visit. @throws when the file says more than a scenario may (alias bombs). */
  open(node: unknown): Node | null
  /** Names declared so far, by what they name: `process`, `device` … */
  names(what: string): Set<string>
}

export interface Shape<T> {
  /** For messages: `an address such as 0x10000`. */
  readonly takes: string
  read(node: unknown, reader: Reader): T | Bad
  /** `defs` collects the shapes that have names. */
  schema(defs: Map<string, JsonSchema>): JsonSchema
}

export type Value<S> = S extends Shape<infer T> ? T : never

/** What stands there, for messages. */
export function kindOf(node: unknown): string {
  if (isMap(node)) return 'a mapping'
  if (isSeq(node)) return 'a list'
  if (isScalar(node)) return node.value === null ? 'nothing' : `'${String(node.source ?? node.value).slice(0, 40)}'`
  return 'nothing'
}

function scalarShape<T>(takes: string, schema: JsonSchema, read: (node: Scalar, text: string) => T | Bad): Shape<T> {
  return {
    takes,
    schema: () => schema,
    read(given, reader) {
      const node = reader.open(given)
      const result = isScalar(node) && node.value !== null ? read(node, String(node.source ?? node.value)) : BAD
      if (result !== BAD) return result
      reader.problem(reader.place(given), `expected ${takes}, found ${kindOf(node)}`)
      return BAD
    },
  }
}

/** A plain number of the file, in any of the forms that `parseNumber` reads; null for anything else. */
export function numberOf(node: unknown): bigint | null {
  if (!isScalar(node) || node.value === null || typeof node.value === 'boolean') return null
  return parseNumber(String(node.source ?? node.value))
}

const NUMBER_PATTERN = '^(0[xX][0-9a-fA-F_]+|0[bB][01_]+|[0-9][0-9_]*)\\s*([kKmMgGtT]([iI]?[bB])?)?$'

/** `range` says what is allowed, where `takes` does not. */
function numeric<T>(
  takes: string,
  least: bigint,
  most: bigint,
  convert: (value: bigint) => T,
  range: string | null = null,
): Shape<T> {
  return {
    takes,
    schema: () => ({
      anyOf: [
        { type: 'integer', minimum: Number(least) },
        { type: 'string', pattern: NUMBER_PATTERN },
      ],
    }),
    read(given, reader) {
      const node = reader.open(given)
      const value = numberOf(node)
      if (value !== null && value >= least && value <= most) return convert(value)
      const found = value === null ? `found ${kindOf(node)}` : `${value} is ${value < least ? 'too small' : 'too large'}`
      reader.problem(reader.place(given), `expected ${takes}, ${found}`, value === null ? null : range)
      return BAD
    },
  }
}

/** A small number. */
export function integer(least: number, most: number): Shape<number> {
  return numeric(`a number from ${least} to ${most}`, BigInt(least), BigInt(most), Number)
}

/** A 64-bit address. */
export const address: Shape<bigint> = numeric(
  'an address such as 0x10000',
  0n,
  (1n << 64n) - 1n,
  (value) => value,
  'addresses have 64 bits',
)

/** A number of bytes. */
export function bytesUpTo(most: bigint): Shape<bigint> {
  return numeric('a size such as 4K, 64K or 2M', 1n, most, (value) => value, `from 1 byte to ${size(most)}`)
}

/** A number of bytes of an address space. */
export const bytes: Shape<bigint> = bytesUpTo(1n << 48n)

export const flag: Shape<boolean> = scalarShape<boolean>('true or false', { type: 'boolean' }, (node) =>
  typeof node.value === 'boolean' ? node.value : BAD,
)

/** Free text. */
export const text: Shape<string> = scalarShape<string>('text', { type: ['string', 'number'] }, (node) =>
  typeof node.value === 'string' ? node.value : String(node.source ?? node.value),
)

/** Names are short and printable, so that pictures and reports can show them. */
const NAME = /^[\p{L}\p{N}_.:+-]{1,40}$/u

/** A new name. */
export const newName: Shape<string> = scalarShape<string>(
  'a name of letters, digits and _ . : + - (40 at most)',
  { type: ['string', 'integer'], pattern: '^[^\\s]{1,40}$' },
  (_, text) => (NAME.test(text) ? text : BAD),
)

/** The name of something that was declared before. */
export function nameOf(what: string): Shape<string> {
  return {
    takes: `the name of a ${what}`,
    schema: () => ({ type: ['string', 'integer'] }),
    read(given, reader) {
      const node = reader.open(given)
      if (!isScalar(node) || node.value === null) {
        reader.problem(reader.place(given), `expected the name of a ${what}, found ${kindOf(node)}`)
        return BAD
      }
      const name = String(node.source ?? node.value)
      const known = reader.names(what)
      if (known.has(name)) return name
      const hint = known.size === 0 ? `no ${what} is declared` : suggest(name, [...known], `declared`)
      reader.problem(reader.place(given), `no ${what} is called '${name.slice(0, 40)}'`, hint)
      return BAD
    },
  }
}

/** A name that this entry declares, from here on. */
export function declares(what: string): Shape<string> {
  return {
    takes: newName.takes,
    schema: newName.schema,
    read(given, reader) {
      const name = newName.read(given, reader)
      if (name === BAD) return BAD
      if (reader.names(what).has(name)) {
        reader.problem(reader.place(given), `there is a ${what} called '${name}' already`, 'choose another name')
        return BAD
      }
      reader.names(what).add(name)
      return name
    },
  }
}

/** One word out of several. */
export function oneOf<const W extends readonly string[]>(
  words: W,
  docs: Partial<Record<W[number], string>> = {},
): Shape<W[number]> {
  const described = words.filter((word) => docs[word as W[number]] !== undefined)
  const schema: JsonSchema = { enum: words }
  return {
    takes: `one of ${words.join(', ')}`,
    schema: () =>
      described.length === 0
        ? schema
        : { ...schema, description: described.map((word) => `${word}: ${docs[word as W[number]]}`).join('\n') },
    read(given, reader) {
      const node = reader.open(given)
      const word = isScalar(node) ? String(node.source ?? node.value) : null
      if (word !== null && words.includes(word)) return word as W[number]
      reader.problem(
        reader.place(given),
        `${kindOf(node)} is not one of ${words.join(', ')}`,
        word === null ? null : meant(word, words),
      )
      return BAD
    },
  }
}

function meant(word: string, words: readonly string[]): string | null {
  const hint = suggest(word, words)
  return hint.startsWith('did you mean') ? hint : null
}

/** Access rights as in `rw`, `r-x`, `rwx`. */
export interface Rights {
  readonly read: boolean
  readonly write: boolean
  readonly execute: boolean
}

export const rights: Shape<Rights> = scalarShape<Rights>(
  'rights such as r, rw, rx or rwx',
  { type: 'string', pattern: '^(r-?|-)?(w-?|-)?(x|-)?$', minLength: 1 },
  (_, text) =>
    /^[r-]?[w-]?[x-]?$/.test(text) && text !== ''
      ? { read: text.includes('r'), write: text.includes('w'), execute: text.includes('x') }
      : BAD,
)

/** A list. */
export function list<T>(of: Shape<T>, least = 0, most = 10_000): Shape<T[]> {
  return {
    takes: `a list (each item: ${of.takes})`,
    schema: (defs) => ({ type: 'array', items: of.schema(defs), minItems: least, maxItems: most }),
    read(given, reader) {
      const node = reader.open(given)
      if (!isSeq(node)) {
        reader.problem(reader.place(given), `expected a list, found ${kindOf(node)}`)
        return BAD
      }
      if (node.items.length < least || node.items.length > most) {
        reader.problem(reader.place(given), `a list of ${node.items.length} items; from ${least} to ${most} are allowed`)
        return BAD
      }
      return all(node.items.map((item) => of.read(item, reader)))
    },
  }
}

/** Null when any of them is bad. */
function all<T>(values: (T | Bad)[]): T[] | Bad {
  return values.includes(BAD) ? BAD : (values as T[])
}

/** A mapping from names that it declares to things. */
export function dictionary<T>(what: string, of: Shape<T>, most = 10_000): Shape<Map<string, T>> {
  return {
    takes: `a mapping from names to what each ${what} is`,
    schema: (defs) => ({ type: 'object', additionalProperties: of.schema(defs), maxProperties: most }),
    read(given, reader) {
      const node = reader.open(given)
      if (!isMap(node)) {
        reader.problem(reader.place(given), `expected a mapping (name: …), found ${kindOf(node)}`)
        return BAD
      }
      if (node.items.length > most) {
        reader.problem(reader.place(given), `a mapping of ${node.items.length} entries; at most ${most} are allowed`)
        return BAD
      }
      const out = new Map<string, T>()
      let bad = false
      const declare = declares(what)
      for (const { key, value } of node.items) {
        const name = declare.read(key, reader)
        const item = of.read(value ?? key, reader)
        if (name === BAD || item === BAD) bad = true
        else out.set(name, item)
      }
      return bad ? BAD : out
    },
  }
}

/** Reads by what stands there: a scalar, a mapping or a list. */
export function byKind<S = never, M = never, L = never>(shapes: {
  scalar?: Shape<S>
  map?: Shape<M>
  list?: Shape<L>
}): Shape<S | M | L> {
  const given = [shapes.scalar, shapes.map, shapes.list].filter((shape) => shape !== undefined)
  const takes = given.map((shape) => shape.takes).join(', or ')
  return {
    takes,
    schema: (defs) => ({ anyOf: given.map((shape) => shape.schema(defs)) }),
    read(at, reader) {
      const node = reader.open(at)
      const shape = isMap(node) ? shapes.map : isSeq(node) ? shapes.list : shapes.scalar
      if (shape !== undefined && !isAlias(node)) return (shape as Shape<S | M | L>).read(at, reader)
      reader.problem(reader.place(at), `expected ${takes}, found ${kindOf(node)}`)
      return BAD
    },
  }
}

/** A shape with a name of its own in the schema. May refer to itself. */
export function named<T>(name: string, takes: string, make: () => Shape<T>): Shape<T> {
  let made: Shape<T> | null = null
  const shape = () => {
    made ??= make()
    return made
  }
  return {
    takes,
    schema(defs) {
      if (!defs.has(name)) {
        defs.set(name, {})
        defs.set(name, shape().schema(defs))
      }
      return { $ref: `#/$defs/${name}` }
    },
    read: (node, reader) => shape().read(node, reader),
  }
}
