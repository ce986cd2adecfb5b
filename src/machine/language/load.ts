/** From the text of a scenario file to a scenario, or to what is wrong with it. Nothing of a hostile file can hang or crash this. */
import { type Alias, type Document, isAlias, isScalar, LineCounter, type Node, parseDocument, visit } from 'yaml'
import type { Place, Problem } from './problem.ts'
import { type Architectures, type Scenario, scenarioShape } from './scenario.ts'
import { BAD, type Reader } from './shape.ts'

/** Largest file. */
export const MOST_BYTES = 1 << 20
/** Most values that are looked at, aliases followed: an alias bomb ends here. */
const MOST_VISITS = 500_000
const MOST_DEPTH = 64
const MOST_PROBLEMS = 20

export type Loaded =
  | { readonly ok: true; readonly scenario: Scenario }
  | { readonly ok: false; readonly problems: readonly Problem[] }

/** Ends reading at once; the problem is reported. */
class Stop extends Error {}

class FileReader implements Reader {
  readonly problems: Problem[] = []
  readonly #file: string
  readonly #lines: readonly string[]
  readonly #counter: LineCounter
  readonly #aliases: Map<Alias, Node>
  readonly #names = new Map<string, Set<string>>()
  #visits = 0

  constructor(file: string, text: string, counter: LineCounter, aliases: Map<Alias, Node>) {
    this.#file = file
    this.#lines = text.split(/\r?\n/)
    this.#counter = counter
    this.#aliases = aliases
  }

  place(node: unknown): Place {
    const range = (node as { range?: readonly number[] | null } | null)?.range
    if (range === undefined || range === null) return { line: 1, column: 1 }
    const { line, col } = this.#counter.linePos(range[0]!)
    return { line: Math.max(line, 1), column: Math.max(col, 1) }
  }

  problem(at: Place, message: string, hint: string | null = null): void {
    this.problems.push({ file: this.#file, ...at, message, hint, source: this.#lines[at.line - 1] ?? '' })
    if (this.problems.length >= MOST_PROBLEMS) throw new Stop()
  }

  open(node: unknown): Node | null {
    let open = node as Node | null
    for (let depth = 0; isAlias(open); depth++) {
      const target = this.#aliases.get(open)
      if (target === undefined || depth > MOST_DEPTH) {
        this.problem(
          this.place(node),
          `*${open.source} stands for nothing`,
          'an alias needs an anchor (&name) before it, not around it',
        )
        throw new Stop()
      }
      open = target
    }
    if (++this.#visits > MOST_VISITS) {
      this.problem(this.place(node), `more than ${MOST_VISITS} values`, 'aliases (*name) multiply what they stand for')
      throw new Stop()
    }
    return open
  }

  names(what: string): Set<string> {
    let names = this.#names.get(what)
    if (names === undefined) {
      names = new Set()
      this.#names.set(what, names)
    }
    return names
  }
}

/** What each alias stands for: the last anchor of its name before it. An alias inside its own anchor stands for nothing. */
function resolveAliases(doc: Document.Parsed): Map<Alias, Node> {
  const anchors = new Map<string, Node>()
  const aliases = new Map<Alias, Node>()
  visit(doc, {
    Node(_, node, path) {
      if (path.length > MOST_DEPTH * 2) throw new RangeError('too deep')
      if (isAlias(node)) {
        const target = anchors.get(node.source)
        if (target !== undefined && !path.includes(target)) aliases.set(node, target)
      } else if (node.anchor !== undefined) anchors.set(node.anchor, node)
    },
  })
  return aliases
}

/**
 * Reads a scenario.
 * @param text the file's contents. @param file its name, for messages.
 */
export function loadWith(known: Architectures, text: string, file: string): Loaded {
  const only = (message: string, line = 1, column = 1): Loaded => ({
    ok: false,
    problems: [{ file, line, column, message, hint: null, source: text.slice(0, 4096).split('\n')[line - 1] ?? '' }],
  })
  if (text.length > MOST_BYTES) return only(`the file has ${text.length} characters; a scenario has ${MOST_BYTES} at most`)
  const counter = new LineCounter()
  let doc: Document.Parsed
  let aliases: Map<Alias, Node>
  try {
    // Keys that stand twice are ours to find: the parser takes quadratic time for that.
    doc = parseDocument(text, { lineCounter: counter, prettyErrors: false, strict: true, uniqueKeys: false })
    aliases = resolveAliases(doc)
  } catch (error) {
    // The parser is recursive: what is nested too deeply ends its stack, or our limit.
    if (error instanceof RangeError) return only('the file is nested too deeply')
    throw error
  }
  const reader = new FileReader(file, text, counter, aliases)
  try {
    for (const { code, message, pos } of doc.errors) {
      const what =
        code === 'MULTIPLE_DOCS' ? 'a second document begins; a scenario file holds one' : `not YAML: ${firstSentence(message)}`
      reader.problem(reader.place({ range: pos }), what)
    }
    if (reader.problems.length > 0) return { ok: false, problems: reader.problems }
    if (doc.contents === null || (isScalar(doc.contents) && doc.contents.value === null)) return only('the file is empty')
    const value = scenarioShape(known).read(doc.contents, reader)
    if (value !== BAD && reader.problems.length === 0) return { ok: true, scenario: { ...value, file } }
  } catch (error) {
    if (!(error instanceof Stop)) throw error
  }
  return { ok: false, problems: reader.problems }
}

function firstSentence(message: string): string {
  return message.split('\n')[0]!.slice(0, 200)
}
