/** What a step may expect, and for which steps each expectation makes sense. */
import { isScalar } from 'yaml'
import { object, optional, type Read } from './object.ts'
import { nearest } from './problem.ts'
import { BAD, byKind, flag, integer, type JsonSchema, kindOf, list, named, nameOf, oneOf, type Shape } from './shape.ts'
import { data } from './value.ts'
import { CACHES, TRAITS, type Vocabulary, WORD_DOCS } from './words.ts'

/** A word, or the names that an architecture's specification gives its events. */
function wordShape(takes: string, groups: readonly (readonly string[])[]): Shape<string> {
  const known = groups.flat()
  const schema: JsonSchema = { anyOf: groups.map((words) => ({ enum: words })) }
  return {
    takes,
    schema: () => schema,
    read(given, reader) {
      const node = reader.open(given)
      const word = isScalar(node) && node.value !== null ? String(node.source ?? node.value) : null
      if (word !== null && known.includes(word)) return word
      const meant = word === null ? null : nearest(word, known)
      const hint = meant === null ? `words: ${groups[0]!.join(', ')}` : `did you mean '${meant}'?`
      reader.problem(reader.place(given), `${kindOf(node)} is not ${takes}`, hint)
      return BAD
    },
  }
}

/** `none`, or a list. */
function noneOr<T>(of: Shape<T>): Shape<T[]> {
  const none: Shape<T[]> = {
    takes: 'none',
    schema: () => ({ const: 'none' }),
    read(given, reader) {
      const node = reader.open(given)
      if (isScalar(node) && node.value === 'none') return []
      const one = of.read(given, reader)
      return one === BAD ? BAD : [one]
    },
  }
  const shape = byKind({ scalar: none, list: list(of) })
  return { ...shape, schema: (defs) => ({ anyOf: [none.schema(defs), of.schema(defs), list(of).schema(defs)] }) }
}

/** A number, or `none`. */
function numberOrNone(most: number): Shape<number | null> {
  const number = integer(0, most)
  return {
    takes: `${number.takes}, or none`,
    schema: (defs) => ({ anyOf: [{ const: 'none' }, number.schema(defs)] }),
    read(given, reader) {
      const node = reader.open(given)
      return isScalar(node) && node.value === 'none' ? null : number.read(given, reader)
    },
  }
}

function docs(words: readonly string[]): string {
  return words
    .filter((word) => WORD_DOCS[word] !== undefined)
    .map((word) => `${word}: ${WORD_DOCS[word]}`)
    .join('; ')
}

function keysOf(words: Vocabulary) {
  const events = [words.faultKinds, words.faultNames]
  const results = [words.results, words.faultKinds, words.errors, words.faultNames]
  return {
    result: optional(
      wordShape('a result, a kind of fault, an error or an event', results),
      `How the step ends. ${docs([...words.results, ...words.faultKinds])}; or an error of the OS side (Busy …), or an event as the specification names it.`,
    ),
    pasid: optional(numberOrNone(0xfffff), 'PASID that the process or private space has; none: it has none.'),
    reads: optional(data, 'What a read gives.'),
    sharedWith: optional(nameOf('process'), 'The memory reached is what this process sees at the same address.'),
    notSharedWith: optional(nameOf('process'), 'The memory reached is not what this process sees at the same address.'),
    buffer: optional(nameOf('buffer'), 'The memory reached lies in this buffer.'),
    events: optional(
      noneOr(wordShape('a kind of fault or an event', events)),
      'Events that the hardware recorded during the step, in order; none: not one.',
    ),
    pageRequests: optional(integer(0, 1_000_000), 'Page requests that devices made during the step.'),
    stalls: optional(integer(0, 1_000_000), 'Transactions that stalled during the step.'),
    response: optional(oneOf(['success', 'invalid', 'failure']), 'What the last page request was answered.'),
    stale: optional(
      oneOf(['none', 'iotlb', 'atc', 'config']),
      'A cache answered what the tables no longer say: which one. Without this, every step expects none.',
    ),
    invalidations: optional(
      noneOr(oneOf(CACHES)),
      'Which caches the OS side invalidated during the step, in order, repetitions left out; none: not one.',
    ),
    bytes: optional(integer(0, 2 ** 48), 'Bytes that were unmapped.'),
    bonds: optional(integer(0, 1_000_000), 'Bonds of the process, private space or device.'),
    domain: optional(byKind({ scalar: nameOrNone('domain') }), 'Domain that the device is in; none: it is in none.'),
    alive: optional(flag, 'Whether the process lives.'),
  }
}

function nameOrNone(what: string): Shape<string | null> {
  const name = nameOf(what)
  return {
    takes: `${name.takes}, or none`,
    schema: name.schema,
    read(given, reader) {
      const node = reader.open(given)
      return isScalar(node) && node.value === 'none' ? null : name.read(given, reader)
    },
  }
}

export type ExpectKeys = ReturnType<typeof keysOf>
type OneExpectation = Read<ExpectKeys>
export type Expectation = OneExpectation & {
  /** What is different on an architecture, by its kind, or by what it has in common with others. */
  readonly on?: Readonly<Partial<Record<string, OneExpectation>>>
}

/** What is expected of a machine. @param names what it is called in `on:`; what is said of a later one goes over what is said of those before. */
export function expectationOn(names: readonly string[], { on, ...common }: Expectation): OneExpectation {
  return Object.assign({}, common, ...names.map((name) => on?.[name]))
}
export type ExpectKey = keyof ExpectKeys

/** Expectations that make sense for some steps only; all others for every step. */
export const EXPECT_FOR: Partial<Record<ExpectKey, readonly string[]>> = {
  pasid: ['bind', 'bindPrivate', 'check'],
  reads: ['dma', 'cpu'],
  sharedWith: ['dma', 'cpu'],
  notSharedWith: ['dma', 'cpu'],
  buffer: ['dma'],
  stale: ['dma', 'interleave'],
  bytes: ['unmap'],
  bonds: ['check'],
  domain: ['check'],
  alive: ['check'],
}

/** What the whole machine did: of steps that run at the same time, only the interleaving as a whole can expect it. */
export const OF_THE_MACHINE: readonly ExpectKey[] = ['events', 'pageRequests', 'stalls', 'invalidations']

/** An expectation: a word, or a mapping. */
export function expectation(words: Vocabulary): Shape<Expectation> {
  return named('expect', 'what the step expects', () => {
    const synonyms = {
      error: 'result',
      fault: 'result',
      outcome: 'result',
      value: 'reads',
      shared: 'sharedWith',
      event: 'events',
    }
    const one = object('expect', keysOf(words), { synonyms })
    const kinds = words.architectures.map((kind) => [kind, optional(one, `What is different with iommu: ${kind}.`)] as const)
    const traits = Object.entries(TRAITS).map(
      ([trait, what]) => [trait, optional(one, `What is different where ${what}.`)] as const,
    )
    const on = object('on', Object.fromEntries([...traits, ...kinds])) as Shape<NonNullable<Expectation['on']>>
    const keys = { ...keysOf(words), on: optional(on, 'What is different on an architecture, where architectures differ.') }
    const full = object('expect', keys, { synonyms }) as Shape<Expectation>
    const results = wordShape('a result, a kind of fault, an error or an event', [
      words.results,
      words.faultKinds,
      words.errors,
      words.faultNames,
    ])
    const short: Shape<Expectation> = {
      takes: results.takes,
      schema: results.schema,
      read(given, reader) {
        const result = results.read(given, reader)
        return result === BAD ? BAD : { result, place: reader.place(given) }
      },
    }
    return byKind({ scalar: short, map: full })
  })
}
