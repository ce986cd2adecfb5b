/** Which facts about tables a capture of one kind of IOMMU tells. */
import type { Transaction } from '../../base/types.ts'
import type { Capture } from '../../node/index.ts'
import type { CheckList } from './contract.ts'
import type { FactNames } from './tables.ts'

export interface ArchitectureFacts {
  readonly names: FactNames
  /** Lists that only this architecture has. */
  more(capture: Capture, explain: (transaction: Transaction) => string): readonly CheckList[]
  /** Why what a device did, or a translation that the machine made for it, says nothing about the tables; null: it does. */
  distrust?(capture: Capture): (device: number) => string | null
}
