/** Runs a scenario: builds its machine, takes its steps, compares what comes out with what was expected, and tells about it. */
import { type Outcome, perform } from './actions.ts'
import { type BuildProblem, buildMachine } from './build.ts'
import { checkStep, type Facts, type Verdict } from './check.ts'
import { impossible } from './impossible.ts'
import type { Place } from './language/problem.ts'
import type { Scenario } from './language/scenario.ts'
import type { PlainStep, Step } from './language/steps.ts'
import type { CacheName } from './language/words.ts'
import type { Machine, MachineEvent } from './machine.ts'
import { type Line, narrate, staleText, titleOf } from './narrate.ts'

/** What a step did. */
export interface StepReport {
  /** From 1; inner steps of an interleaving have their own numbers. */
  readonly number: number
  readonly action: Step['action']
  readonly place: Place
  /** `bind device 0 to process X`. */
  readonly title: string
  readonly why: string | null
  /** `skipped`: this architecture cannot do it; `text` says why. */
  readonly result: Outcome['result'] | 'skipped'
  /** What came out, in words. */
  readonly text: string
  readonly narration: readonly Line[]
  /** Commands that reached the hardware, and events that it recorded. Of an interleaving: all that happened meanwhile. */
  readonly commands: number
  readonly events: readonly string[]
  readonly verdicts: readonly Verdict[]
  /** Steps of an interleaving. */
  readonly inner: readonly StepReport[]
}

export interface Report {
  readonly title: string
  readonly file: string
  /** What happened before the first step. */
  readonly setup: readonly Line[]
  readonly steps: readonly StepReport[]
  /** Expectations that held, and that did not. */
  readonly passed: number
  readonly failed: number
  /** Steps that this architecture cannot do, those of interleavings included. */
  readonly skipped: number
  /** The machine as it is after the last step. */
  readonly machine: Machine
}

export interface RunOptions {
  /** Seed of every interleaving, instead of the scenario's. */
  readonly seed?: number
  /** Sees each step's report when it is done. */
  readonly onStep?: (step: StepReport) => void
}

/** Everything that happened in the machine, cut into steps. */
class Recorder {
  events: MachineEvent[] = []
  /** Whether a step was left out. */
  leftOut = false

  take(): MachineEvent[] {
    const { events } = this
    this.events = []
    return events
  }
}

/** What the events of a step say. */
function factsOf(events: readonly MachineEvent[], machine: Machine, before: { pageRequests: number; stalls: number }): Facts {
  const invalidations: CacheName[] = []
  const faults: Facts['events'][number][] = []
  const stale: Facts['stale'][number][] = []
  let response: Facts['response'] = null
  for (const event of events) {
    if (event.source === 'stale') stale.push(event.hit)
    else if (event.source === 'command') {
      const { cache } = event.command
      if (cache !== null && !event.lost && invalidations.at(-1) !== cache) invalidations.push(cache)
    } else if (event.source === 'core') {
      if (event.event.kind === 'fault') faults.push(event.event.report)
      else if (event.event.kind === 'page-response') response = event.event.code
    }
  }
  return {
    events: faults,
    pageRequests: machine.counts.pageRequests - before.pageRequests,
    stalls: machine.counts.stalls - before.stalls,
    stale,
    invalidations,
    response,
  }
}

/** A step that can never end: everything waits, and nothing moves (interrupts that nobody answers). Any other error is a defect of ours. */
function stuck(thrown: unknown): Outcome {
  if (!(thrown instanceof Error) || !thrown.message.startsWith('stuck')) throw thrown
  return { result: 'error', text: thrown.message, error: { code: 'stuck', message: thrown.message } }
}

function runPlain(machine: Machine, step: PlainStep): Outcome {
  try {
    const outcome = machine.run(perform(machine, step))
    machine.settle()
    return outcome
  } catch (thrown) {
    return stuck(thrown)
  }
}

function runTogether(machine: Machine, steps: readonly PlainStep[], seed: number): Outcome[] {
  const ops = steps.map((step) => ({ name: titleOf(step), op: perform(machine, step) }))
  try {
    const results = machine.interleave(ops, seed)
    machine.settle()
    return results.map((result) => ('value' in result ? result.value : stuck(result.thrown)))
  } catch (thrown) {
    return steps.map(() => stuck(thrown))
  }
}

/**
 * Runs a scenario from its beginning to its end. The same scenario and seed give the same report.
 * @returns the report, or why the machine cannot be built.
 */
export function runScenario(scenario: Scenario, options: RunOptions = {}): Report | BuildProblem {
  const recorder = new Recorder()
  const machine = buildMachine(scenario, (event) => recorder.events.push(event))
  if ('problem' in machine) return machine
  const setup = narrate(recorder.take())
  const steps: StepReport[] = []
  for (const [index, step] of (scenario.steps ?? []).entries()) {
    const report = runStep(machine, step, index + 1, recorder, options.seed)
    steps.push(report)
    options.onStep?.(report)
  }
  const verdicts = steps.flatMap(allVerdicts)
  return {
    title: scenario.title ?? scenario.file,
    file: scenario.file,
    setup,
    steps,
    passed: verdicts.filter(({ held }) => held).length,
    failed: verdicts.filter(({ held }) => !held).length,
    skipped: steps.flatMap(allSteps).filter(({ result }) => result === 'skipped').length,
    machine,
  }
}

function allSteps(step: StepReport): StepReport[] {
  return [step, ...step.inner.flatMap(allSteps)]
}

function allVerdicts(step: StepReport): Verdict[] {
  return [...step.verdicts, ...step.inner.flatMap(allVerdicts)]
}

function runStep(machine: Machine, given: Step, number: number, recorder: Recorder, seed: number | undefined): StepReport {
  const step: Step = given.action === 'interleave' && seed !== undefined ? { ...given, given: { ...given.given, seed } } : given
  const before = { ...machine.counts }
  for (const cache of step.forget) machine.forget(cache, true)
  const inner = step.action === 'interleave' ? runPossible(machine, step.given.steps, step.given.seed, recorder) : []
  const skip = step.action === 'interleave' ? null : impossible(machine, step, recorder.leftOut)
  if (skip !== null) recorder.leftOut = true
  const outcome = step.action === 'interleave' ? togetherOutcome(inner) : skip === null ? runPlain(machine, step) : null
  for (const cache of step.forget) machine.forget(cache, false)
  const events = recorder.take()
  const facts = factsOf(events, machine, before)
  if (outcome === null) return skipped(machine, step, number, skip!)
  return {
    number,
    action: step.action,
    place: step.place,
    title: titleOf(step),
    why: step.why,
    result: outcome.result,
    text: outcome.text,
    narration: narrate(events),
    commands: events.filter((event) => event.source === 'command' && !event.lost).length,
    events: facts.events.map(({ name }) => name),
    verdicts: checkStep(machine, step, outcome, facts),
    inner:
      step.action === 'interleave'
        ? step.given.steps.map((one, index) => innerReport(machine, one, inner[index]!, index + 1))
        : [],
  }
}

/** What came of a step that ran beside others; a text: why it did not run. */
type Inner = Outcome | string

/** Runs those steps at the same time that this architecture can do. */
function runPossible(machine: Machine, steps: readonly PlainStep[], seed: number, recorder: Recorder): Inner[] {
  recorder.leftOut ||= steps.some((step) => impossible(machine, step, false) !== null)
  const skips = steps.map((step) => impossible(machine, step, recorder.leftOut))
  const outcomes = runTogether(
    machine,
    steps.filter((_, index) => skips[index] === null),
    seed,
  )
  return skips.map((skip) => skip ?? outcomes.shift()!)
}

function togetherOutcome(inner: readonly Inner[]): Outcome {
  const ended = inner.filter((outcome) => typeof outcome !== 'string')
  return { result: ended.some(({ error }) => error?.code === 'stuck') ? 'error' : 'ok', text: `${ended.length} steps ended` }
}

function skipped(machine: Machine, step: Step, number: number, why: string): StepReport {
  return {
    number,
    action: step.action,
    place: step.place,
    title: titleOf(step),
    why: step.why,
    result: 'skipped',
    text: `not possible with ${machine.architecture.title}: ${why}`,
    narration: [],
    commands: 0,
    events: [],
    verdicts: [],
    inner: [],
  }
}

/** A step of an interleaving: what the whole machine did meanwhile is the interleaving's. */
function innerReport(machine: Machine, step: PlainStep, outcome: Inner, number: number): StepReport {
  if (typeof outcome === 'string') return skipped(machine, step, number, outcome)
  const facts: Facts = {
    events: [],
    pageRequests: 0,
    stalls: 0,
    stale: [],
    invalidations: [],
    response: outcome.response ?? null,
  }
  return {
    number,
    action: step.action,
    place: step.place,
    title: titleOf(step),
    why: step.why,
    result: outcome.result,
    text: outcome.text,
    narration: (outcome.stale ?? []).map((hit) => ({ who: 'watch' as const, text: staleText(hit) })),
    commands: 0,
    events: [],
    verdicts: checkStep(machine, step, outcome, facts),
    inner: [],
  }
}
