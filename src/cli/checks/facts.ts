/** Which facts about tables a capture of each kind of IOMMU tells. A further architecture is one more entry. */
import type { Transaction } from '../../base/types.ts'
import type { Capture } from '../../node/index.ts'
import { AMDVI_FACTS, distrustCapture, passThroughList } from './amdvi.ts'
import type { CheckList } from './contract.ts'
import { debugList, RISCV_FACTS } from './riscv.ts'
import { configList, SMMUV3_FACTS } from './smmuv3.ts'
import type { FactNames } from './tables.ts'
import { tracedFaultList, VTD_FACTS } from './vtd.ts'

export interface ArchitectureFacts {
  readonly names: FactNames
  /** Lists that only this architecture has. */
  more(capture: Capture, explain: (transaction: Transaction) => string): readonly CheckList[]
  /** Why what a device did, or a translation that the machine made for it, says nothing about the tables; null: it does. */
  distrust?(capture: Capture): (device: number) => string | null
}

const FACTS: Record<string, ArchitectureFacts> = {
  smmuv3: { names: SMMUV3_FACTS, more: (capture) => [configList(capture)] },
  riscv: { names: RISCV_FACTS, more: (capture, explain) => [debugList(capture, explain)] },
  vtd: { names: VTD_FACTS, more: (capture, explain) => [tracedFaultList(capture, explain)] },
  amdvi: { names: AMDVI_FACTS, more: (capture) => [passThroughList(capture)], distrust: distrustCapture },
}

/** @throws RangeError for a kind that `architectures.ts` does not have either. */
export function factsOf(kind: string): ArchitectureFacts {
  const facts = FACTS[kind]
  if (facts === undefined) throw new RangeError(`no facts are known for ${kind}: add them to checks/facts.ts`)
  return facts
}
