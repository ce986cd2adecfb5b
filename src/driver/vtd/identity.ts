/**
 * How `identity` domains pass addresses as they are: by pass-through entries, or by a second-stage table that maps each address to itself
 * (without the interrupt range, which nothing may lead into: Intel VT-d 4.1, section 3.14). All of them share one domain id, and one table.
 */
import type { PageAllocator, WordMemory } from '../../base/memory.ts'
import { ALL_RIGHTS } from '../../base/types.ts'
import { type PtSpace, ptSpace } from '../../format/pt/format.ts'
import { newRoot, PageTable } from '../../format/pt/mapper.ts'
import type { VtdFeatures } from '../../format/vtd/features.ts'
import type { Shape } from '../common/pgtable.ts'
import type { VtdDriverOptions } from './options.ts'

/** The window of interrupt messages, end exclusive. */
export const INTERRUPT_RANGE = { start: 0xfee00000, end: 0xfef00000 }

const GIB = 2 ** 30

export interface Identity {
  /** The domain id of such entries, and the table; null: none, the entry says pass-through. @param translates whether it must be a table. */
  of(translates: boolean): { readonly did: number; readonly space: PtSpace | null }
}

/** @param shape of the table. @param newId gives a domain id. */
export function identityOf(
  memory: WordMemory & PageAllocator,
  features: VtdFeatures,
  options: VtdDriverOptions,
  shape: () => Shape,
  newId: () => number,
): Identity {
  const mapped = options.identity === 'mapped' || !features.passThrough
  let passing: number | null = null
  let table: { did: number; space: PtSpace } | null = null
  return {
    of(translates) {
      if (!translates && !mapped) {
        passing ??= newId()
        return { did: passing, space: null }
      }
      table ??= { did: newId(), space: identityTable(memory, features, shape(), options.identityLimit) }
      return table
    },
  }
}

/** @param wanted addresses below this; by default 2^39. */
function identityTable(memory: WordMemory & PageAllocator, features: VtdFeatures, shape: Shape, wanted = 2 ** 39): PtSpace {
  const { format, topDepth, inputBits, outputLimit, attributesLo } = shape
  const space = ptSpace({ format, topDepth, inputBits, outputLimit, attributesLo, root: newRoot(memory, shape) })
  const limit = Math.min(Math.ceil(wanted / GIB) * GIB, 2 ** inputBits, features.hostLimit)
  const table = new PageTable(memory, memory, space)
  table.map(0, 0, INTERRUPT_RANGE.start, ALL_RIGHTS)
  if (limit > INTERRUPT_RANGE.end) table.map(INTERRUPT_RANGE.end, INTERRUPT_RANGE.end, limit - INTERRUPT_RANGE.end, ALL_RIGHTS)
  return space
}
