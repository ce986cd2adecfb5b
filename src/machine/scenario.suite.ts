/** Helpers of tests: scenarios as text, run to their end. */
import { expect } from 'vitest'
import {
  loadScenario,
  loadScenarioOn,
  problemText,
  type Report,
  type RunOptions,
  runScenario,
  type Scenario,
  type StepReport,
} from './index.ts'

/** A scenario that must be right. @param kind read it as if its `iommu:` said this. */
export function scenarioOf(text: string, file = 'test.yaml', kind?: string): Scenario {
  const loaded = kind === undefined ? loadScenario(text, file) : loadScenarioOn(kind, text, file)
  if (!loaded.ok) throw new Error(loaded.problems.map(problemText).join('\n'))
  return loaded.scenario
}

/** Runs it. @throws when its machine cannot be built. */
export function reportOf(scenario: Scenario, options: RunOptions = {}): Report {
  const report = runScenario(scenario, options)
  if ('problem' in report) throw new Error(report.problem)
  return report
}

/** What did not hold: `test.yaml:12: bind …: expected PASID 1; it is 2`. */
export function failuresOf({ file, steps }: Pick<Report, 'file' | 'steps'>): string[] {
  const of = (step: StepReport): string[] => [
    ...step.verdicts.filter(({ held }) => !held).map(({ text }) => `${file}:${step.place.line}: ${step.title}: ${text}`),
    ...step.inner.flatMap(of),
  ]
  return steps.flatMap(of)
}

/** Every expectation of the scenario holds, and there are some. */
export function holds(text: string, options: RunOptions = {}): Report {
  const report = reportOf(scenarioOf(text), options)
  expect(failuresOf(report)).toEqual([])
  expect(report.passed).toBeGreaterThan(0)
  return report
}
