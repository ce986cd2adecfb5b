/** What is wrong with a scenario file, and where: file, line, column, words, and what was probably meant. */

/** A place in the file, both from 1. */
export interface Place {
  readonly line: number
  readonly column: number
}

export interface Problem extends Place {
  readonly file: string
  readonly message: string
  /** `did you mean 'process'?`, or which values are allowed; null when there is nothing to suggest. */
  readonly hint: string | null
  /** The line of the file, for the caret under it. */
  readonly source: string
}

const WIDEST = 120

/** `two-domains.yaml:12:7: unknown key 'prcess'; did you mean 'process'?`, then the line with a caret. */
export function problemText(problem: Problem): string {
  const { file, line, column, message, hint, source } = problem
  // A long line is cut around the place, so that the caret stays under it.
  const start = column > WIDEST - 20 ? column - 60 : 0
  const shown = source.slice(start, start + WIDEST).replaceAll('\t', ' ')
  const text = `${file}:${line}:${column}: ${message}${hint === null ? '' : `; ${hint}`}`
  return shown.trim() === '' ? text : `${text}\n  ${shown}\n  ${' '.repeat(Math.max(0, column - 1 - start))}^`
}

/** The edit distance of two words (insert, delete, replace, swap neighbours), or `limit + 1` when it is larger than that. */
export function distance(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) > limit) return limit + 1
  let before: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1]
      let cost = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + (same ? 0 : 1))
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) cost = Math.min(cost, before[j - 2]! + 1)
      row.push(cost)
    }
    before = last
    last = row
  }
  return Math.min(last[b.length]!, limit + 1)
}

/** The known word that was probably meant, or null. Case and hyphens do not count. */
export function nearest(word: string, known: Iterable<string>): string | null {
  const plain = (text: string) => text.toLowerCase().replaceAll(/[-_\s]/g, '')
  const given = plain(word.slice(0, 64))
  const limit = given.length <= 2 ? 0 : given.length === 3 ? 1 : given.length <= 7 ? 2 : 3
  let best: string | null = null
  let bestCost = limit + 1
  for (const candidate of known) {
    const other = plain(candidate)
    // What somebody writes half is a beginning of the word: `priv` for `privileged`.
    const cost = given.length >= 3 && other.startsWith(given) ? 1 : distance(given, other, limit)
    if (cost < bestCost) {
      best = candidate
      bestCost = cost
    }
  }
  return best
}

/** `did you mean 'x'?`, else the list of what is allowed. */
export function suggest(word: string, known: readonly string[], what = 'allowed'): string {
  const meant = nearest(word, known)
  if (meant !== null) return `did you mean '${meant}'?`
  if (known.length === 0) return `there are none`
  const shown = known.slice(0, 30).join(', ')
  return `${what}: ${shown}${known.length > 30 ? `, … (${known.length} in all)` : ''}`
}
