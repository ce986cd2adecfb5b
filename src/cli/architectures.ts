/** What the commands know about each kind of IOMMU. A further architecture is one more entry. */
import type { DescribedField } from '../base/layout.ts'
import { INSPECTORS } from '../inspect/registry.ts'
import type { Inspector } from '../inspect/source.ts'
import { PhysicalMemory, type RamRange } from '../memory/physical.ts'
import type { IommuModel } from '../model/iommu.ts'
import type { Capture } from '../node/index.ts'
import { CliError, EXIT_UNSUPPORTED } from './common.ts'
import { AMDVI } from './restore-amdvi.ts'
import { RISCV } from './restore-riscv.ts'
import { SMMUV3 } from './restore-smmuv3.ts'
import { VTD } from './restore-vtd.ts'

/** What is known of an architecture beside how its tables are drawn. */
export interface Readable {
  readonly name: string
  /** The hardware model in the state that registers describe. Nothing is done: no command runs, no record is written. */
  restore(memory: PhysicalMemory, register: Capture['register']): IommuModel
  /** Where a dump may leave out pages that are all zero: tables and queues that registers point to. */
  zeros?(register: Capture['register']): readonly RamRange[]
  /** The fields of a fault record. */
  describeRecord(words: readonly bigint[]): { name: string; fields: DescribedField[] } | null
  /** Permissions that captures of it tell. */
  readonly letters: string
}

export interface Architecture extends Readable {
  /** As captures and scenarios call it. */
  readonly kind: string
  readonly inspect: Inspector
}

/** The memory of a capture, with zeros where its dump leaves out what the architecture says may be left out. */
export function memoryOf({ memory, core, register }: Capture, { zeros }: Readable): PhysicalMemory {
  const ranges = zeros?.(register) ?? []
  return ranges.length === 0 ? memory : new PhysicalMemory(ranges, core)
}

/** By the name that captures and scenarios use. */
const ARCHITECTURES: Readonly<Record<string, Readable>> = { smmuv3: SMMUV3, riscv: RISCV, vtd: VTD, amdvi: AMDVI }

/** @throws CliError when nothing here reads this kind. */
export function architectureOf(kind: string, where: string): Architecture {
  const inspect = INSPECTORS.get(kind)
  const rest = ARCHITECTURES[kind]
  if (inspect !== undefined && rest !== undefined) return { ...rest, kind, inspect }
  const known = Object.keys(ARCHITECTURES).join(', ')
  throw new CliError(EXIT_UNSUPPORTED, `${where}: the IOMMU is '${kind}'; so far ${known} can be read.`)
}
