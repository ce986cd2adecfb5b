/** What reading the tables of one IOMMU needs, whatever the architecture. */
import type { WordMemory } from '../base/memory.ts'
import type { Names } from './graph.ts'
import type { Findings, MachineSource } from './source.ts'
import { type Budget, defaultBudget } from './space.ts'
import { Spaces } from './spaces.ts'

export interface Reading<Features = unknown> {
  readonly memory: WordMemory
  readonly features: Features
  readonly names: Names | undefined
  readonly spaces: Spaces
  readonly budget: Budget
  readonly findings: Findings
}

export function readingOf<Features>(source: MachineSource, features: Features, findings: Findings): Reading<Features> {
  const { memory, names, budget = defaultBudget() } = source
  return { memory, features, names, budget, findings, spaces: new Spaces(memory, names, budget, findings) }
}
