/** What the commands know about each kind of IOMMU. A further architecture is one more entry. */
import { type DescribedField, describe, wordsFromU64 } from '../base/layout.ts'
import { eventOf } from '../format/smmuv3/events.ts'
import { REGISTERS } from '../format/smmuv3/registers.ts'
import { INSPECTORS } from '../inspect/registry.ts'
import type { Inspector } from '../inspect/source.ts'
import type { PhysicalMemory } from '../memory/physical.ts'
import type { IommuModel } from '../model/iommu.ts'
import { SmmuV3 } from '../model/smmuv3/smmu.ts'
import type { Capture } from '../node/index.ts'
import { CliError, EXIT_UNSUPPORTED } from './common.ts'

export interface Architecture {
  readonly name: string
  readonly inspect: Inspector
  /** The hardware model in the state that registers describe. Nothing is done: no command runs, no record is written. */
  restore(memory: PhysicalMemory, register: Capture['register']): IommuModel
  /** The fields of a fault record. */
  describeRecord(words: readonly bigint[]): { name: string; fields: DescribedField[] } | null
  /** Permissions that captures of it tell. */
  readonly letters: string
}

const ARCHITECTURES: Record<string, Omit<Architecture, 'inspect'>> = {
  smmuv3: {
    name: 'Arm SMMUv3',
    restore(memory, register) {
      const values: Record<string, bigint> = {}
      for (const { name, offset, bytes } of REGISTERS) {
        const value = register(offset, bytes)
        if (value !== null) values[name] = value
      }
      const model = new SmmuV3(memory)
      model.loadRegisters(values)
      return model
    },
    describeRecord(record) {
      const words = wordsFromU64(record)
      const event = eventOf(words)
      return event === null ? null : { name: event.name, fields: describe(event.layout, words) }
    },
    letters: 'rw',
  },
}

/** @throws CliError when nothing here reads this kind. */
export function architectureOf(kind: string, where: string): Architecture {
  const inspect = INSPECTORS.get(kind)
  const rest = ARCHITECTURES[kind]
  if (inspect !== undefined && rest !== undefined) return { ...rest, inspect }
  const known = Object.keys(ARCHITECTURES).join(', ')
  throw new CliError(EXIT_UNSUPPORTED, `${where}: the IOMMU is '${kind}'; so far ${known} can be read.`)
}
