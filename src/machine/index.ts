/** Machines and scenarios: the parts that others use. */
import { ARCHITECTURES } from './architectures.ts'
import { type Loaded, loadWith } from './language/load.ts'
import { scenarioSchema as schemaOf } from './language/schema.ts'
import type { JsonSchema } from './language/shape.ts'

/**
 * Reads a scenario, a YAML text. Never throws, whatever the text is.
 * @param file its name, for messages.
 * @returns the scenario, or what is wrong with it, each with line, column and a suggestion.
 * @example
 * const loaded = loadScenario('devices: { nic: { id: 1 } }', 'small.yaml')
 * if (!loaded.ok) for (const problem of loaded.problems) console.error(problemText(problem))
 */
export function loadScenario(text: string, file: string): Loaded {
  return loadWith(ARCHITECTURES, text, file)
}

/** The JSON schema of scenario files, for editors. */
export function scenarioSchema(): JsonSchema {
  return schemaOf(ARCHITECTURES)
}

export { type BuildProblem, buildMachine } from './build.ts'
export type { Verdict } from './check.ts'
export { type DmaRequest, type DmaResult, Requester, type StaleHit } from './device.ts'
export type { Loaded } from './language/load.ts'
export { type Problem, problemText } from './language/problem.ts'
export type { Scenario } from './language/scenario.ts'
export { Machine, type MachineDevice, type MachineEvent, type MachineOptions, type Process } from './machine.ts'
export type { Line } from './narrate.ts'
export { type Report, type RunOptions, runScenario, type StepReport } from './run.ts'
