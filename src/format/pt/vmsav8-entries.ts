/**
 * VMSAv8-64 table entries field by field, for people: what a walk reads them for is in `vmsav8.ts`. Arm ARM (DDI 0487) D8.3
 * "Translation table descriptor formats", D8.4 for the permissions.
 */
import { addr, flag, type Layout, layout, oneOf, uint } from '../../base/layout.ts'
import type { PtFormat } from './format.ts'
import { vmsav8 } from './vmsav8.ts'

const SHARES = { 0: 'non-shareable', 2: 'outer shareable', 3: 'inner shareable' }
const valid = flag(0, 'entry is valid')
const contiguous = flag(52, 'contiguous: one of a run that maps in a row')
const dbm = flag(51, 'hardware manages the dirty state')
const af = flag(10, 'access flag')

/** Output address bits of a granule, and where a 52-bit output has the bits that do not fit. */
function output(granuleLog2: number, wide: boolean) {
  if (!wide) return { OA: addr(47, granuleLog2, 'output address') }
  if (granuleLog2 === 16)
    return { OA: addr(47, 16, 'output address, bits 47 up'), OA_51_48: uint(15, 12, 'output address, bits 51:48') }
  return { OA: addr(49, granuleLog2, 'output address, bits 49 up'), OA_51_50: uint(9, 8, 'output address, bits 51:50') }
}

function tableLayout(granuleLog2: number, wide: boolean, stage: 1 | 2): Layout {
  const limits = {
    PXNTable: flag(59, 'no privileged execution below'),
    UXNTable: flag(60, 'no unprivileged execution below'),
    APTable: oneOf(
      62,
      61,
      { 0: 'no limit', 1: 'nothing unprivileged below', 2: 'nothing writable below', 3: 'privileged read-only at most below' },
      'permissions below',
    ),
    NSTable: flag(63, 'non-secure below'),
  }
  return layout('table', 64, {
    Valid: valid,
    Type: oneOf(1, 1, { 1: 'table' }, 'kind of entry'),
    AF: af,
    ...output(granuleLog2, wide),
    ...(stage === 1 ? limits : {}),
  })
}

/** Blocks and pages. With 52-bit outputs of 4 and 16 KiB granules, shareability is the context's, and its bits hold the address. */
function leafLayout(granuleLog2: number, wide: boolean, stage: 1 | 2): Layout {
  const type = { Valid: valid, Type: oneOf(1, 1, { 0: 'block', 1: 'page' }, 'kind of entry') }
  const shareable = wide && granuleLog2 !== 16 ? {} : { SH: oneOf(9, 8, SHARES, 'shareability') }
  const rest = { AF: af, ...output(granuleLog2, wide), DBM: dbm, Contiguous: contiguous }
  if (stage === 2)
    return layout('leaf', 64, {
      ...type,
      MemAttr: uint(5, 2, 'memory type'),
      S2AP: oneOf(7, 6, { 0: 'no access', 1: 'read', 2: 'write', 3: 'read and write' }, 'permissions'),
      ...shareable,
      FnXS: flag(11, 'no XS attribute'),
      ...rest,
      XN: uint(54, 53, 'no execution: bit 1, or by privilege'),
      Software: uint(58, 55, "software's own bits"),
    })
  return layout('leaf', 64, {
    ...type,
    AttrIndx: uint(4, 2, 'memory type, as MAIR has it'),
    NS: flag(5, 'non-secure'),
    AP: oneOf(
      7,
      6,
      { 0: 'privileged read and write', 1: 'read and write', 2: 'privileged read-only', 3: 'read-only' },
      'permissions',
    ),
    ...shareable,
    nG: flag(11, 'not global: of one ASID'),
    ...rest,
    GP: flag(50, 'guarded page'),
    PXN: flag(53, 'no privileged execution'),
    UXN: flag(54, 'no unprivileged execution'),
    Software: uint(58, 55, "software's own bits"),
    PBHA: uint(62, 59, "page-based hardware attributes, or software's"),
  })
}

const layouts = new Map<PtFormat, { readonly table: Layout; readonly leaf: Layout }>()
for (const granule of [12, 14, 16] as const) {
  for (const wide of [false, true]) {
    for (const regime of ['el1', 'el2', 'stage2', 'stage2-xnx'] as const) {
      const stage = regime.startsWith('stage2') ? 2 : 1
      layouts.set(vmsav8(granule, regime, wide), {
        table: tableLayout(granule, wide, stage),
        leaf: leafLayout(granule, wide, stage),
      })
    }
  }
}

/** The layout of an entry of this format; null for formats that are not VMSAv8-64. */
export function vmsav8Entry(format: PtFormat, kind: 'table' | 'leaf'): Layout | null {
  return layouts.get(format)?.[kind] ?? null
}
