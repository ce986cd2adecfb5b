/** What the commands know about each kind of IOMMU. A further architecture is one more entry. */
import { INSPECTORS } from '../inspect/registry.ts'
import type { Inspector } from '../inspect/source.ts'
import { AMDVI } from './architectures/amdvi.ts'
import type { Readable } from './architectures/contract.ts'
import { RISCV } from './architectures/riscv.ts'
import { SMMUV3 } from './architectures/smmuv3.ts'
import { VTD } from './architectures/vtd.ts'
import { CliError, EXIT_UNSUPPORTED } from './common.ts'
import type { RegisterTable } from './register-tables.ts'

/** In the order in which help lists them. */
const LIST = [SMMUV3, VTD, AMDVI, RISCV] as const

/** Names of the options that give registers. */
export type RegisterFlag = (typeof LIST)[number]['registers']['flag']

export const ARCHITECTURES: readonly Readable[] = LIST

export const REGISTER_TABLES: readonly RegisterTable<RegisterFlag>[] = LIST.map(({ registers }) => registers)

export interface Architecture extends Readable {
  /** As captures and scenarios call it. */
  readonly kind: string
  readonly inspect: Inspector
}

/** @throws CliError when nothing here reads this kind. */
export function architectureOf(kind: string, where: string): Architecture {
  const inspect = INSPECTORS.get(kind)
  const rest = ARCHITECTURES.find(({ registers }) => registers.kind === kind)
  if (inspect !== undefined && rest !== undefined) return { ...rest, kind, inspect }
  const known = REGISTER_TABLES.map((table) => table.kind).join(', ')
  throw new CliError(EXIT_UNSUPPORTED, `${where}: the IOMMU is '${kind}'; so far ${known} can be read.`)
}
