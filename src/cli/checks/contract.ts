/** What `iomm verify` runs: lists of expectations, each item checked on its own. */

/** An expectation that does not hold. */
export interface Failure {
  /** What kind of difference: `wrong address`, `faults`. Counted by kind. */
  readonly kind: string
  /** The item, as a person would look it up: `kernel_mappings[12] (0000:00:06.0, 0xfff20000)`. */
  readonly item: string
  readonly expected: string
  readonly actual: string
  /** Why the answer is what it is: the walk, in words. Made when it is asked for. */
  explain(): string
}

export interface CheckList {
  /** As the file calls it: `guest_dma`. */
  readonly name: string
  readonly count: number
  /** Null: the item holds. */
  check(index: number): Failure | null
  /** What a reader should know about the result, after all has run. */
  remarks?(): readonly string[]
}

/** One file or folder, opened. */
export interface Verification {
  readonly title: string
  readonly lists: readonly CheckList[]
  /** What a reader should know about the result, after all has run: how something was counted, what was not compared. */
  remarks(): readonly string[]
}

/** A kind of file that can be verified by itself. */
export interface FileVerifier {
  /** For messages: `a capture (a folder with side.json.gz)`. */
  readonly what: string
  accepts(path: string): Promise<boolean>
  open(path: string): Promise<Verification>
}

/** Result of one list. */
export interface ListResult {
  readonly name: string
  readonly passed: number
  readonly failed: number
  /** Failures by kind. */
  readonly kinds: ReadonlyMap<string, number>
  readonly first: readonly Failure[]
}

/** So many failures of a list are kept for explanation. */
const KEPT = 3

/** Runs one list. @param stopAtFirst ends it with the first failure. @param progress called now and then. */
export function runList(list: CheckList, stopAtFirst: boolean, progress: (done: number) => void = () => {}): ListResult {
  const kinds = new Map<string, number>()
  const first: Failure[] = []
  let passed = 0
  let failed = 0
  for (let index = 0; index < list.count; index++) {
    const failure = list.check(index)
    if (failure === null) passed++
    else {
      failed++
      kinds.set(failure.kind, (kinds.get(failure.kind) ?? 0) + 1)
      if (first.length < KEPT) first.push(failure)
      if (stopAtFirst) break
    }
    if (index % 64 === 63) progress(index + 1)
  }
  return { name: list.name, passed, failed, kinds, first }
}
