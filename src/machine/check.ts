/** Compares what a step expected with what came out of it. */
import { hex } from '../base/hex.ts'
import type { FaultReport } from '../core/driver.ts'
import type { Outcome } from './actions.ts'
import type { StaleHit } from './device.ts'
import { namesOf } from './impossible.ts'
import { type Expectation, expectationOn } from './language/expect.ts'
import type { Step } from './language/steps.ts'
import { bytesText, dataBytes } from './language/value.ts'
import { type CacheName, FAULT_KINDS } from './language/words.ts'
import type { Machine } from './machine.ts'

/** One expectation, and whether it held. */
export interface Verdict {
  readonly held: boolean
  /** `PASID 1`; where it did not hold: `expected PASID 1, it is 2`. */
  readonly text: string
}

/** What the whole machine did during a step. */
export interface Facts {
  readonly events: readonly FaultReport[]
  readonly pageRequests: number
  readonly stalls: number
  readonly stale: readonly StaleHit[]
  /** Caches that were invalidated, in order, repetitions left out. */
  readonly invalidations: readonly CacheName[]
  readonly response: Outcome['response']
}

/** The result in the words of an expectation. */
function matches(machine: Machine, word: string, outcome: Outcome): boolean {
  if (word === outcome.result) return true
  if (word === 'refused') return outcome.result === 'fault' || outcome.result === 'silent'
  if (outcome.error !== undefined) return outcome.error.code === word
  const { fault } = outcome
  if (fault === undefined || fault === null || outcome.result === 'ok') return false
  return (FAULT_KINDS as readonly string[]).includes(word)
    ? (machine.architecture.faultKinds(fault) as readonly string[]).includes(word)
    : fault.name === word
}

function actualResult(machine: Machine, outcome: Outcome): string {
  if (outcome.error !== undefined) return `${outcome.error.code} (${outcome.error.message})`
  const { fault } = outcome
  if (fault === undefined || fault === null || outcome.result === 'ok') return `${outcome.result} (${outcome.text})`
  const kinds = machine.architecture.faultKinds(fault)
  return `${outcome.result}: ${fault.name}${kinds.length === 0 ? '' : ` (${kinds.join(' or ')})`}, ${fault.why}`
}

class Checker {
  readonly verdicts: Verdict[] = []

  /** `what` reads as in `expected WHAT`. */
  that(held: boolean, what: string, actual: string): void {
    this.verdicts.push({ held, text: held ? what : `expected ${what}; it is ${actual}` })
  }

  same<T>(expected: T | undefined, actual: T | undefined, what: (value: T) => string): void {
    if (expected === undefined) return
    this.that(expected === actual, what(expected), actual === undefined ? 'not known' : what(actual))
  }
}

function sharing(machine: Machine, outcome: Outcome, name: string): { held: boolean; actual: string } {
  const process = machine.processes.get(name)
  const reached = outcome.reached ?? []
  if (reached.length === 0) return { held: false, actual: 'nothing reached' }
  if (process === undefined) return { held: false, actual: `no process ${name}` }
  for (const { iova, pa } of reached) {
    const own = process.mm.alive ? process.mm.translate(iova) : null
    if (own !== pa) return { held: false, actual: `${hex(pa)}, where ${name} has ${own === null ? 'nothing' : hex(own)}` }
  }
  return { held: true, actual: reached.map(({ pa }) => hex(pa)).join(', ') }
}

function checkMemory(check: Checker, machine: Machine, expected: Expectation, outcome: Outcome): void {
  if (expected.reads !== undefined) {
    const data = outcome.data ?? new Uint8Array()
    const wanted = dataBytes(expected.reads, data.length)
    const held = outcome.result === 'ok' && data.length > 0 && wanted.every((byte, index) => byte === data[index])
    const shown = expected.reads.kind === 'text' ? `'${expected.reads.text}'` : hex(expected.reads.value)
    check.that(held, `reads ${shown}`, outcome.result === 'ok' ? bytesText(data) : outcome.result)
  }
  if (expected.sharedWith !== undefined) {
    const { held, actual } = sharing(machine, outcome, expected.sharedWith)
    check.that(held, `the memory of process ${expected.sharedWith}`, actual)
  }
  if (expected.notSharedWith !== undefined) {
    const { held, actual } = sharing(machine, outcome, expected.notSharedWith)
    const reached = (outcome.reached ?? []).length > 0
    check.that(reached && !held, `not the memory of process ${expected.notSharedWith}`, actual)
  }
  if (expected.buffer !== undefined) {
    const { pa, bytes } = machine.buffers.get(expected.buffer)!
    const reached = outcome.reached ?? []
    const inside = (at: bigint) => at >= BigInt(pa) && at < BigInt(pa + bytes)
    const actual = reached.length === 0 ? 'nothing reached' : reached.map((piece) => hex(piece.pa)).join(', ')
    check.that(reached.length > 0 && reached.every((piece) => inside(piece.pa)), `buffer ${expected.buffer}`, actual)
  }
}

function checkFacts(check: Checker, machine: Machine, expected: Expectation, facts: Facts): void {
  if (expected.events !== undefined) {
    const { architecture } = machine
    const fits = (word: string, event: FaultReport) =>
      word === event.name || (architecture.faultKinds(event) as readonly string[]).includes(word)
    const held =
      expected.events.length === facts.events.length && expected.events.every((word, index) => fits(word, facts.events[index]!))
    const list = (words: readonly string[]) => (words.length === 0 ? 'no event' : `events ${words.join(', ')}`)
    check.that(held, list(expected.events), list(facts.events.map(({ name }) => name)))
  }
  check.same(expected.pageRequests, facts.pageRequests, (count) => `${count} page ${count === 1 ? 'request' : 'requests'}`)
  check.same(expected.stalls, facts.stalls, (count) => `${count} ${count === 1 ? 'stall' : 'stalls'}`)
  if (expected.invalidations !== undefined) {
    const list = (caches: readonly string[]) =>
      caches.length === 0 ? 'no invalidation' : `invalidation of ${caches.join(', then ')}`
    const held = expected.invalidations.join() === facts.invalidations.join()
    check.that(held, list(expected.invalidations), list(facts.invalidations))
  }
  if (expected.response !== undefined)
    check.that(facts.response === expected.response, `response ${expected.response}`, facts.response ?? 'no response')
  if (expected.stale !== undefined && expected.stale !== 'none') {
    const found = facts.stale.map(({ cache }) => cache)
    check.that(
      found.includes(expected.stale),
      `a stale answer of ${expected.stale}`,
      found.length === 0 ? 'none' : found.join(', '),
    )
  }
}

/**
 * Checks a step. Besides what it says, every step expects that no cache answers what the tables no longer say, and that the OS side
 * does not refuse it.
 */
export function checkStep(machine: Machine, step: Step, outcome: Outcome, facts: Facts): Verdict[] {
  const check = new Checker()
  const expected = step.expect === null ? null : expectationOn(namesOf(machine), step.expect)
  const stale = expected?.stale
  if ((stale === undefined || stale === 'none') && facts.stale.length > 0)
    check.that(false, 'no stale answer of any cache', `${facts.stale.length}`)
  else if (stale === 'none') check.that(true, 'no stale answer of any cache', '')
  if (expected?.result === undefined) {
    if (outcome.error !== undefined) check.that(false, 'that the step is possible', actualResult(machine, outcome))
  } else check.that(matches(machine, expected.result, outcome), expected.result, actualResult(machine, outcome))
  if (expected === null) return check.verdicts
  check.same(expected.pasid, outcome.pasid, (pasid) => (pasid === null ? 'no PASID' : `PASID ${pasid}`))
  checkMemory(check, machine, expected, outcome)
  checkFacts(check, machine, expected, facts)
  check.same(expected.bytes, outcome.bytes, (bytes) => `${bytes} bytes`)
  check.same(expected.bonds, outcome.bonds, (bonds) => (bonds === 1 ? '1 bond' : `${bonds} bonds`))
  check.same(expected.domain, outcome.domain, (domain) => (domain === null ? 'no domain' : `domain ${domain}`))
  check.same(expected.alive, outcome.alive, (alive) => (alive ? 'alive' : 'gone'))
  return check.verdicts
}
