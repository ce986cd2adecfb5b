/** Machines and scenarios: the parts that others use. */
import { ARCHITECTURES } from './architectures.ts'
import { type Loaded, loadWith } from './language/load.ts'
import { scenarioSchema as schemaOf } from './language/schema.ts'
import type { JsonSchema } from './language/shape.ts'
import { targetOf } from './target.ts'

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

/** Kinds of IOMMU that machines can have: words for `iommu:`. */
export const ARCHITECTURE_KINDS: readonly string[] = [...ARCHITECTURES.options.keys()]

/**
 * Reads a scenario as if its `iommu:` said another kind. Options that this kind does not have are left out: `scenario.iommu.dropped`.
 * @param target the kind, with options if need be: `vtd`, `vtd:mode=legacy`.
 * @throws RangeError when there is no such kind, or it has no such option.
 */
export function loadScenarioOn(target: string, text: string, file: string): Loaded {
  const { kind, options } = targetOf(target)
  const loaded = loadWith({ ...ARCHITECTURES, instead: kind }, text, file)
  if (!loaded.ok) return loaded
  const { iommu } = loaded.scenario
  return { ok: true, scenario: { ...loaded.scenario, iommu: { ...iommu, kind, options: { ...iommu?.options, ...options } } } }
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
export { targetOf } from './target.ts'
