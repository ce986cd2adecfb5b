/** What a scenario is to run on instead of what it says: `vtd`, or with options that are words or numbers `vtd:mode=legacy:levels=3`. */
import { isAlias, type Node, parseDocument } from 'yaml'
import { ARCHITECTURES, architecture } from './architectures.ts'
import { BAD, type Reader } from './language/shape.ts'

export interface Target {
  readonly kind: string
  /** Options of `iommu:`, over those of the file. */
  readonly options: Readonly<Record<string, unknown>>
}

/** @throws RangeError that says what is wrong, and what there is. */
export function targetOf(text: string): Target {
  const [kind = '', ...pairs] = text.trim().split(':')
  architecture(kind)
  const { keys } = ARCHITECTURES.options.get(kind)!
  const options: Record<string, unknown> = {}
  for (const pair of pairs) {
    const split = pair.indexOf('=')
    const name = split < 0 ? pair : pair.slice(0, split)
    if (split < 0) throw new RangeError(`'${pair}' gives no value: write ${kind}:${name}=…`)
    if (!Object.hasOwn(keys, name))
      throw new RangeError(`${kind} has no option '${name}'; it has ${Object.keys(keys).join(', ')}`)
    const { shape } = keys[name]!
    const read = shape.read(nodeOf(pair.slice(split + 1)), ALONE)
    if (read === BAD) throw new RangeError(`${kind}:${pair}: ${name} takes ${shape.takes}`)
    options[name] = read
  }
  return { kind, options }
}

/** A value as it would stand in a file; anchors have nothing to stand for. */
function nodeOf(text: string): Node | null {
  try {
    const node = parseDocument(text).contents
    return isAlias(node) ? null : (node as Node | null)
  } catch {
    return null
  }
}

/** Reads a value that stands in no file. What is wrong with it, who asks says. */
const ALONE: Reader = {
  place: () => ({ line: 1, column: 1 }),
  problem() {},
  open: (node) => (isAlias(node) ? null : (node as Node | null)),
  names: () => new Set(),
}
