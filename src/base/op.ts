/**
 * Operations as coroutines: they `yield` wherever another CPU, a device or the IOMMU could run in between. `run` takes one to its end;
 * a `Scheduler` interleaves many, deterministically, from a seed. Nothing here reads a clock or Math.random.
 */

/**
 * Why an operation pauses. `step`: others may run now. `wait`: it cannot go on until something else happens (a lock is free, a command
 * is complete, a page is answered).
 */
export type Pause = { readonly kind: 'step' | 'wait'; readonly what: string }

/** An operation that gives a T. */
export type Op<T> = Generator<Pause, T, void>

/** Others may run here. `what` names the place, for traces and tests. */
export function* step(what: string): Op<void> {
  yield { kind: 'step', what }
}

/** Waits until the condition holds. */
export function* waitFor(what: string, condition: () => boolean): Op<void> {
  while (!condition()) yield { kind: 'wait', what }
}

/**
 * Runs one operation to its end.
 * @param background called at each pause: lets hardware and other tasks move. Returns whether anything moved.
 * @throws Error when the operation waits and nothing else moves: a deadlock, named by what it waits for.
 */
export function run<T>(op: Op<T>, background: () => boolean = () => false): T {
  for (;;) {
    const next = op.next()
    if (next.done === true) return next.value
    const moved = background()
    if (!moved && next.value.kind === 'wait') throw new Error(`stuck: waits for ${next.value.what}, and nothing else can run`)
  }
}

/** A lock between operations. First come, first served. */
export class Lock {
  readonly name: string
  readonly #waiting: object[] = []
  #held = false

  constructor(name: string) {
    this.name = name
  }

  get held(): boolean {
    return this.#held
  }

  /** Runs `body` with the lock held, and releases it however the body ends. */
  *hold<T>(body: () => Op<T>): Op<T> {
    yield { kind: 'step', what: `before lock ${this.name}` }
    const me = {}
    this.#waiting.push(me)
    try {
      yield* waitFor(`lock ${this.name}`, () => !this.#held && this.#waiting[0] === me)
      this.#waiting.shift()
      this.#held = true
      try {
        return yield* body()
      } finally {
        this.#held = false
      }
    } finally {
      const place = this.#waiting.indexOf(me)
      if (place >= 0) this.#waiting.splice(place, 1)
    }
  }
}

/** A small deterministic generator of numbers (mulberry32). */
export function random(seed: number): (below: number) => number {
  let state = seed >>> 0
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296) * below)
  }
}

/** One operation that a scheduler runs. */
export interface Task<T = unknown> {
  readonly name: string
  readonly done: boolean
  /** Result, once done. @throws what the operation threw. */
  result(): T
}

class Running<T> implements Task<T> {
  readonly name: string
  readonly op: Op<T>
  /** Services never end by themselves (interrupt threads): waiting for them is not a deadlock. */
  readonly service: boolean
  done = false
  last: Pause | null = null
  #value: T | undefined
  #error: { thrown: unknown } | null = null

  constructor(name: string, op: Op<T>, service: boolean) {
    this.name = name
    this.op = op
    this.service = service
  }

  advance(): void {
    try {
      const next = this.op.next()
      if (next.done === true) {
        this.done = true
        this.#value = next.value
      } else this.last = next.value
    } catch (thrown) {
      this.done = true
      this.#error = { thrown }
    }
  }

  result(): T {
    if (this.#error !== null) throw this.#error.thrown
    if (!this.done) throw new Error(`${this.name} has not ended`)
    return this.#value as T
  }
}

/** Interleaves operations. With a seed the order is random but repeatable; without, round robin. */
export class Scheduler {
  readonly #tasks: Running<unknown>[] = []
  readonly #pick: ((below: number) => number) | null
  #turn = 0

  constructor(seed: number | null = null) {
    this.#pick = seed === null ? null : random(seed)
  }

  /** Adds an operation. It runs in `run` and `runUntil`. */
  spawn<T>(name: string, op: Op<T>, options: { service?: boolean } = {}): Task<T> {
    const task = new Running(name, op, options.service ?? false)
    this.#tasks.push(task as Running<unknown>)
    return task
  }

  /** Runs all tasks until every one that is not a service has ended. @throws Error on a deadlock or after `maxSteps`. */
  run(maxSteps = 10_000_000): void {
    this.runUntil(() => this.#tasks.every((task) => task.done || task.service), maxSteps)
  }

  /** Runs until the condition holds. @throws Error when everything waits and nothing changes, or after `maxSteps`. */
  runUntil(condition: () => boolean, maxSteps = 10_000_000): void {
    let idle = 0
    for (let count = 0; !condition(); count++) {
      const live = this.#tasks.filter((task) => !task.done)
      if (count >= maxSteps || live.length === 0 || idle > live.length * 64 + 256) throw new Error(this.#stuck(live))
      const task = live[this.#pick === null ? this.#turn++ % live.length : this.#pick(live.length)]!
      task.advance()
      idle = !task.done && task.last?.kind === 'wait' ? idle + 1 : 0
      if (task.done) this.#tasks.splice(this.#tasks.indexOf(task), 1)
    }
  }

  #stuck(live: readonly Running<unknown>[]): string {
    const waits = live.filter((task) => !task.service).map((task) => `${task.name} (${task.last?.what ?? 'not started'})`)
    return `stuck: ${waits.length === 0 ? 'no task is left, and the condition does not hold' : `nothing moves; waiting: ${waits.join(', ')}`}`
  }
}
