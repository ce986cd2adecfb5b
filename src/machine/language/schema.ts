/** The JSON schema of scenario files, from the same declarations that read them. */
import { type Architectures, scenarioShape } from './scenario.ts'
import type { JsonSchema } from './shape.ts'

export function scenarioSchema(known: Architectures): JsonSchema {
  const defs = new Map<string, JsonSchema>()
  const whole = scenarioShape(known).schema(defs)
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'iomm scenario',
    description: 'A computer with an IOMMU, and what happens in it. Run it with: iomm run FILE',
    ...whole,
    $defs: Object.fromEntries(defs),
  }
}
