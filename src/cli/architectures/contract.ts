/** What the commands know of an architecture: each file of this folder has it of one, `../architectures.ts` lists them. */
import type { DescribedField } from '../../base/layout.ts'
import { PhysicalMemory, type RamRange } from '../../memory/physical.ts'
import type { IommuModel } from '../../model/iommu.ts'
import type { Capture } from '../../node/index.ts'
import type { FileVerifier } from '../checks/contract.ts'
import type { ArchitectureFacts } from '../checks/facts.ts'
import type { RegisterTable } from '../register-tables.ts'

/** What is known of an architecture beside how its tables are drawn. */
export interface Readable<Flag extends string = string> {
  readonly name: string
  /** What options and files may say of its registers; the kind, too. */
  readonly registers: RegisterTable<Flag>
  /** The hardware model in the state that registers describe. Nothing is done: no command runs, no record is written. */
  restore(memory: PhysicalMemory, register: Capture['register']): IommuModel
  /** Where a dump may leave out pages that are all zero: tables and queues that registers point to. */
  zeros?(register: Capture['register']): readonly RamRange[]
  /** The fields of a fault record. */
  describeRecord(words: readonly bigint[]): { name: string; fields: DescribedField[] } | null
  /** Permissions that captures of it tell. */
  readonly letters: string
  /** What captures of it tell about tables. */
  readonly facts: ArchitectureFacts
  /** Files of its own that `iomm verify` runs. */
  readonly files?: readonly FileVerifier[]
}

/** The memory of a capture, with zeros where its dump leaves out what the architecture says may be left out. */
export function memoryOf({ memory, core, register }: Capture, { zeros }: Pick<Readable, 'zeros'>): PhysicalMemory {
  const ranges = zeros?.(register) ?? []
  return ranges.length === 0 ? memory : new PhysicalMemory(ranges, core)
}
