/**
 * What is dangerous or probably a mistake in a machine's tables: rules over the graph, each with a severity and a place. A rule looks at
 * what the tables say, not at how they came to say it; what it cannot know (whether a device is trusted) it says.
 */
import type { WordMemory } from '../base/memory.ts'
import { audited, type Remark, type Rule, SEVERITIES } from './audit/contract.ts'
import { DEVICE_RULES } from './audit/devices.ts'
import { MEMORY_RULES } from './audit/memory.ts'
import { PASID_RULES } from './audit/pasids.ts'
import type { MachineGraph, Names } from './graph.ts'

export type { Remark, Rule, Severity } from './audit/contract.ts'
export { SEVERITIES } from './audit/contract.ts'

export const RULES: readonly Rule[] = [...DEVICE_RULES, ...PASID_RULES, ...MEMORY_RULES]

/** So many remarks of one rule are kept. */
const KEPT = 64

/** All remarks, the worst first. @param names what is known beside the tables; `memory` tells where the kernel lies. */
export function audit(graph: MachineGraph, memory: WordMemory, names: Names = {}): Remark[] {
  const machine = audited(graph, memory, names)
  const remarks: Remark[] = []
  for (const rule of RULES) {
    let count = 0
    for (const remark of rule.look(machine)) if (count++ < KEPT) remarks.push({ rule: rule.name, ...remark })
    if (count > KEPT)
      remarks.push({ rule: rule.name, severity: 'note', place: rule.name, text: `${count - KEPT} more like these` })
  }
  return remarks.sort((a, b) => SEVERITIES.indexOf(a.severity) - SEVERITIES.indexOf(b.severity))
}
