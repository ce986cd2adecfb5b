/** Page-table entries field by field. A further format's layouts are one more line. */
import { type DescribedField, describe } from '../../base/layout.ts'
import { ENTRY_ABSENT, ENTRY_LEAF } from './entry.ts'
import type { PtFormat } from './format.ts'
import { vmsav8Entry } from './vmsav8-entries.ts'
import { x86Entry } from './x86-entries.ts'

const LAYOUTS = [vmsav8Entry, x86Entry]

/** The fields of an entry; none for an entry that is not valid, or where the format has no layout. `kind` is one of ENTRY_…. */
export function describeEntry(format: PtFormat, kind: number, depth: number, hi: number, lo: number): DescribedField[] {
  if (kind === ENTRY_ABSENT) return []
  for (const layoutOf of LAYOUTS) {
    const layout = layoutOf(format, kind === ENTRY_LEAF ? 'leaf' : 'table', depth)
    if (layout !== null) return describe(layout, Uint32Array.of(lo, hi))
  }
  return []
}
