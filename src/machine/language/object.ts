/** Mappings with known keys: what each means, which are needed, which exclude each other. */
import { isMap, isScalar, type Pair, Scalar } from 'yaml'
import { type Place, suggest } from './problem.ts'
import { BAD, type Bad, type JsonSchema, kindOf, type Reader, type Shape } from './shape.ts'

/** One key of a mapping. */
export interface Key<T, Needed extends boolean> {
  readonly shape: Shape<T>
  readonly doc: string
  readonly needed: Needed
}

/** A key that must be there. */
export function needed<T>(shape: Shape<T>, doc: string): Key<T, true> {
  return { shape, doc, needed: true }
}

/** A key that may be left out. */
export function optional<T>(shape: Shape<T>, doc: string): Key<T, false> {
  return { shape, doc, needed: false }
}

export type Keys = Readonly<Record<string, Key<unknown, boolean>>>
type Typed<K> = K extends Key<infer T, boolean> ? T : never
/** What reading a mapping gives: its keys, and where it stands. */
export type Read<K extends Keys> = { readonly [P in keyof K as K[P]['needed'] extends true ? P : never]: Typed<K[P]> } & {
  readonly [P in keyof K as K[P]['needed'] extends true ? never : P]?: Typed<K[P]>
} & { readonly place: Place }

export interface ObjectRules<K extends Keys> {
  /** Of each group exactly one key is needed. */
  readonly exactlyOne?: readonly (readonly (keyof K & string)[])[]
  /** Of each group one key at most. */
  readonly atMostOne?: readonly (readonly (keyof K & string)[])[]
  /** Keys that people write for others. */
  readonly synonyms?: Readonly<Record<string, string>>
  /** What a schema cannot say. Reports problems itself. */
  check?(value: Read<K>, reader: Reader, placeOf: (key: keyof K & string) => Place): void
}

/** A mapping with these keys. `what` is its name in messages: `device`. */
export function object<const K extends Keys>(what: string, keys: K, rules: ObjectRules<K> = {}): Shape<Read<K>> {
  const allowed = Object.keys(keys)
  const takes = `a mapping with ${allowed.slice(0, 8).join(', ')}${allowed.length > 8 ? ' …' : ''}`
  return {
    takes,
    schema: (defs) => objectSchema(keys, rules, defs),
    read(given, reader) {
      const node = reader.open(given)
      // `process: {}` and an empty value say the same where nothing is needed.
      if (node === null || (isScalar(node) && node.value === null)) {
        if (allowed.some((key) => keys[key]!.needed) || (rules.exactlyOne ?? []).length > 0) {
          reader.problem(reader.place(given), `${what}: expected ${takes}, found nothing`)
          return BAD
        }
        return { place: reader.place(given) } as Read<K>
      }
      if (!isMap(node)) {
        reader.problem(reader.place(given), `${what}: expected ${takes}, found ${kindOf(node)}`)
        return BAD
      }
      return readPairs(what, keys, rules, node.items as Pair[], reader, reader.place(given))
    },
  }
}

function readPairs<K extends Keys>(
  what: string,
  keys: K,
  rules: ObjectRules<K>,
  pairs: readonly Pair[],
  reader: Reader,
  at: Place,
): Read<K> | Bad {
  const allowed = Object.keys(keys)
  const found = new Map<string, Pair>()
  let bad = false
  for (const pair of pairs) {
    const key = isScalar(pair.key) ? String(pair.key.source ?? pair.key.value) : null
    const twice = key !== null && found.has(key)
    if (key !== null && !twice && Object.hasOwn(keys, key)) {
      found.set(key, pair)
      continue
    }
    bad = true
    if (twice) {
      reader.problem(reader.place(pair.key), `${what} has '${key}' twice`)
      continue
    }
    const shown = key === null ? kindOf(pair.key) : `'${key.slice(0, 40)}'`
    const synonym = key === null ? undefined : rules.synonyms?.[key]
    const hint = synonym === undefined ? suggest(key ?? '', allowed) : `write '${synonym}'`
    reader.problem(reader.place(pair.key), `${what} has no key ${shown}`, hint)
  }
  for (const key of allowed) {
    if (!keys[key]!.needed || found.has(key)) continue
    bad = true
    reader.problem(at, `${what} needs '${key}' (${keys[key]!.doc})`)
  }
  for (const group of rules.exactlyOne ?? []) {
    const given = inFileOrder(found, group)
    if (given.length === 1) continue
    bad = true
    const place = given.length === 0 ? at : reader.place(found.get(given[1]!)!.key)
    const choice = group.length > 8 ? `${group.slice(0, 8).join(', ')} …` : group.join(', ')
    reader.problem(
      place,
      given.length === 0 ? `${what} needs one of ${choice}` : `${what} has '${given[0]}' and '${given[1]}': one is allowed`,
    )
  }
  for (const group of rules.atMostOne ?? []) {
    const given = inFileOrder(found, group)
    if (given.length <= 1) continue
    bad = true
    reader.problem(reader.place(found.get(given[1]!)!.key), `${what} has '${given[0]}' and '${given[1]}': one at most is allowed`)
  }
  const out: Record<string, unknown> = { place: at }
  // In the order of the declaration: names are declared before they are used.
  for (const key of allowed) {
    const pair = found.get(key)
    if (pair === undefined) continue
    const value = keys[key]!.shape.read(pair.value ?? nothingAt(pair.key), reader)
    if (value === BAD) bad = true
    else out[key] = value
  }
  if (bad) return BAD
  const value = out as Read<K>
  rules.check?.(value, reader, (key) => {
    const pair = found.get(key)
    return pair === undefined ? at : reader.place(pair.value ?? pair.key)
  })
  return value
}

/** The keys of the group that are there. */
function inFileOrder(found: ReadonlyMap<string, unknown>, group: readonly string[]): string[] {
  return [...found.keys()].filter((key) => group.includes(key))
}

/** `{key}` has no value node: an empty one, at the place of the key. */
function nothingAt(key: unknown): Scalar {
  const empty = new Scalar(null)
  if (isScalar(key)) empty.range = key.range ?? null
  return empty
}

function objectSchema<K extends Keys>(keys: K, rules: ObjectRules<K>, defs: Map<string, JsonSchema>): JsonSchema {
  const properties: Record<string, JsonSchema> = {}
  for (const [key, { shape, doc }] of Object.entries(keys)) {
    const inner = shape.schema(defs)
    // Beside $ref other keywords count too (JSON schema 2020-12); a shape's own description (of its words) follows the key's.
    const own = typeof inner.description === 'string' ? `\n${inner.description}` : ''
    properties[key] = { ...inner, description: `${doc}${own}` }
  }
  const required = Object.keys(keys).filter((key) => keys[key]!.needed)
  const allOf: JsonSchema[] = []
  for (const group of rules.exactlyOne ?? []) allOf.push({ oneOf: group.map((key) => ({ required: [key] })) })
  for (const group of rules.atMostOne ?? []) {
    group.forEach((key, index) => {
      for (const other of group.slice(index + 1)) allOf.push({ not: { required: [key, other] } })
    })
  }
  return {
    type: required.length > 0 || (rules.exactlyOne ?? []).length > 0 ? 'object' : ['object', 'null'],
    properties,
    additionalProperties: false,
    ...(required.length > 0 ? { required } : {}),
    ...(allOf.length > 0 ? { allOf } : {}),
  }
}
