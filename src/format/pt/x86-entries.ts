/**
 * Entries of x86-64, VT-d and AMD tables field by field, for people; what a walk reads them for is in `x86.ts`, `vtd-second.ts` and
 * `amd-v1.ts`. Intel SDM volume 3A, 4.5; VT-d specification, 9.7 and 9.8; AMD I/O virtualization (48882), 2.2.3.
 */
import { addr, type Fields, flag, type Layout, layout, oneOf, uint } from '../../base/layout.ts'
import { AMD_V1 } from './amd-v1.ts'
import { coverLog2, type PtFormat } from './format.ts'
import { vtdSecondFormat } from './vtd-second.ts'
import { x86Format } from './x86.ts'

type Kind = 'table' | 'leaf'
type Of = (kind: Kind, depth: number, format: PtFormat) => Layout

const memoryType = { PWT: flag(3, 'write-through'), PCD: flag(4, 'not cached') }

function x86(vtd: boolean): Of {
  const common = {
    P: flag(0, 'entry is present'),
    RW: flag(1, 'may be written'),
    US: flag(2, 'may be used by user code'),
    ...memoryType,
    A: flag(5, 'was used'),
    ...(vtd ? { EA: flag(10, 'was used by the IOMMU') } : {}),
  }
  const XD = flag(63, 'no execution')
  return (kind, depth, format) => {
    if (kind === 'table') return layout(kind, 64, { ...common, PS: flag(7, 'leaf'), ADDR: addr(51, 12, 'table'), XD })
    const page: Fields =
      depth === 0
        ? { PAT: flag(7, 'memory type, with PCD and PWT'), ADDR: addr(51, 12, 'page') }
        : {
            PS: flag(7, 'leaf'),
            PAT: flag(12, 'memory type, with PCD and PWT'),
            ADDR: addr(51, coverLog2(format, depth), 'block'),
          }
    const own: Fields = vtd ? {} : { G: flag(8, 'global: of every PCID'), PK: uint(62, 59, 'protection key') }
    return layout(kind, 64, { ...common, D: flag(6, 'was written'), ...page, ...own, XD })
  }
}

const vtdSecond: Of = (kind, depth, format) => {
  const rights = { R: flag(0, 'may be read'), W: flag(1, 'may be written'), X: flag(2, 'may be executed') }
  const A = flag(8, 'was used')
  const size: Fields = kind === 'leaf' && depth === 0 ? {} : { PS: flag(7, 'leaf') }
  if (kind === 'table') return layout(kind, 64, { ...rights, ...size, A, ADDR: addr(51, 12, 'table') })
  return layout(kind, 64, {
    ...rights,
    EMT: uint(5, 3, 'memory type'),
    IPAT: flag(6, 'the first stage has no say in the memory type'),
    ...size,
    A,
    D: flag(9, 'was written'),
    SNP: flag(11, 'snooped'),
    ADDR: addr(51, coverLog2(format, depth), 'page'),
    TM: flag(62, 'transient mapping'),
  })
}

const amdV1: Of = (kind) => {
  const rights = { IR: flag(61, 'may be read'), IW: flag(62, 'may be written') }
  const common = { PR: flag(0, 'entry is present'), A: flag(5, 'was used') }
  if (kind === 'table')
    return layout(kind, 64, {
      ...common,
      NextLevel: uint(11, 9, 'level of the table'),
      Address: addr(51, 12, 'table'),
      ...rights,
    })
  return layout(kind, 64, {
    ...common,
    D: flag(6, 'was written'),
    NextLevel: oneOf(11, 9, { 0: "leaf of the level's size", 7: 'leaf whose address says its size' }, 'kind of entry'),
    Address: addr(51, 12, 'page; with next level 7, its lowest zero says the size'),
    U: flag(59, 'devices must not use translations of it that they cached'),
    FC: flag(60, 'accesses are coherent'),
    ...rights,
  })
}

/** By the name that all variants of a format share. */
const LAYOUTS: Readonly<Record<string, Of>> = {
  [x86Format({ walker: 'cpu' }).name]: x86(false),
  [x86Format({ walker: 'vtd' }).name]: x86(true),
  [x86Format({ walker: 'amd' }).name]: x86(false),
  [vtdSecondFormat().name]: vtdSecond,
  [AMD_V1.name]: amdV1,
}

const cache = new Map<string, Layout>()

/** The layout of an entry of this format at this depth; null for formats that are none of these. */
export function x86Entry(format: PtFormat, kind: Kind, depth: number): Layout | null {
  const of = LAYOUTS[format.name]
  if (of === undefined) return null
  const key = `${format.name}/${kind}/${depth}`
  let known = cache.get(key)
  if (known === undefined) {
    known = of(kind, depth, format)
    cache.set(key, known)
  }
  return known
}
