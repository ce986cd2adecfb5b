/** Every device or process context that memory holds, by the lookups that the hardware model uses. RISC-V IOMMU 1.0, "Data Structures". */
import { hex } from '../../base/hex.ts'
import type { WordMemory } from '../../base/memory.ts'
import type { PtSpace } from '../../format/pt/format.ts'
import { Walker } from '../../format/pt/walker.ts'
import { CONTEXT_RULES } from '../../format/riscv/check.ts'
import { DC_FSC, modeOf } from '../../format/riscv/contexts.ts'
import { leafIndexBits, type RiscvFeatures } from '../../format/riscv/features.ts'
import { DirectoryWalk, findDc, findPc, GUEST_PAGE_FAULT, pdtBits, pdtLevels } from '../../format/riscv/lookup.ts'
import {
  CAUSE_DDT_CORRUPT,
  CAUSE_DDT_INVALID,
  CAUSE_DDT_LOAD,
  CAUSE_PDT_CORRUPT,
  CAUSE_PDT_INVALID,
  CAUSE_PDT_LOAD,
  CAUSES,
} from '../../format/riscv/records.ts'
import type { Reading } from '../reading.ts'
import type { Findings } from '../source.ts'
import { type Listing, Missing } from '../tables.ts'

/** A device directory. */
export interface DeviceDirectory {
  readonly root: number
  /** 1 to 3. */
  readonly levels: number
}

/** A directory as this loop sees it. */
interface Directory {
  /** `device directory`, `process directory of domain A`; `device_id`. */
  readonly name: string
  readonly idName: string
  /** An id as this project writes it. */
  readonly show: (id: number) => string
  readonly levels: number
  /** Bits of an id that index a leaf table, and of the whole id. */
  readonly leafBits: number
  readonly idBits: number
  find(id: number): number
  /** Entries at which the hardware could not look, and those that say that there is nothing. */
  readonly unreadable: readonly number[]
  readonly absent: number
}

/** Width of the device_ids that a directory takes. */
export function deviceBits(features: RiscvFeatures, levels: number): number {
  return Math.min(24, leafIndexBits(features) + 9 * (levels - 1))
}

/**
 * Visits contexts with V = 1 in order of ids; `rule` is what a misconfigured one breaks, null for a good one.
 * @param mayRead asked before each lookup.
 * @returns whether all ids were looked up.
 */
function eachContext(
  directory: Directory,
  walk: DirectoryWalk,
  mayRead: (id: number) => boolean,
  findings: Findings | null,
  visit: (id: number, address: number, words: Int32Array, rule: string | null) => void,
): boolean {
  const { levels, leafBits, idBits, idName, show } = directory
  const missing = new Missing(directory.name, findings)
  const end = 2 ** idBits
  for (let id = 0; id < end; ) {
    if (!mayRead(id)) return false
    const status = directory.find(id)
    const depth = levels - walk.reads
    const address = walk.address[walk.reads - 1] ?? 0
    if (depth === 0 && (status === 0 || walk.rule !== 0)) {
      visit(id++, address, walk.words, status === 0 ? null : CONTEXT_RULES[walk.rule]!)
      continue
    }
    // An entry covers all ids below it; where nothing answers, the rest of its page cannot be read either.
    const from = id
    const unreadable = directory.unreadable.includes(status)
    const covers = depth === 0 ? 1 : 2 ** (leafBits + 9 * (depth - 1))
    const step = unreadable ? (depth === 0 ? 2 ** leafBits : covers * 512) : covers
    id += step - (id % step)
    if (status === directory.absent) continue
    const ids = `${idName}s ${show(from)}–${show(Math.min(id, end) - 1)}`
    const why = `${CAUSES[status] ?? 'the second stage refuses its address'} (cause ${status})`
    if (unreadable) missing.add(ids, address, why)
    else findings?.add('error', `${directory.name}, entry at ${hex(address)}`, `${ids}: ${why}`, 'directory entry')
  }
  missing.done()
  return true
}

/** Visits device contexts with V = 1. */
export function eachDeviceContext(
  memory: WordMemory,
  features: RiscvFeatures,
  { root, levels }: DeviceDirectory,
  limit: number,
  findings: Findings | null,
  visit: (device: number, address: number, words: Int32Array, rule: string | null) => void,
): { complete: boolean; lookups: number } {
  const walk = new DirectoryWalk()
  const directory: Directory = {
    name: 'device directory',
    idName: 'device_id',
    show: hex,
    levels,
    leafBits: leafIndexBits(features),
    idBits: deviceBits(features, levels),
    find: (id) => findDc(memory, features, root, levels, id, walk),
    unreadable: [CAUSE_DDT_LOAD, CAUSE_DDT_CORRUPT],
    absent: CAUSE_DDT_INVALID,
  }
  let lookups = 0
  const complete = eachContext(directory, walk, () => lookups++ < limit, findings, visit)
  return { complete, lookups }
}

/** Visits process contexts with V = 1 of a device context's directory. */
export function eachProcessContext(
  { memory, features }: Reading<RiscvFeatures>,
  dc: Int32Array,
  stage2: PtSpace | null,
  listing: Listing,
  visit: (process: number, address: number, words: Int32Array, rule: string | null) => void,
): void {
  const walk = new DirectoryWalk()
  const walker = new Walker(memory, 2)
  walker.rehearse = true
  const mode = modeOf(dc[DC_FSC + 1]!)
  const directory: Directory = {
    name: listing.place,
    idName: 'process_id',
    show: String,
    levels: pdtLevels(mode),
    leafBits: 8,
    idBits: pdtBits(mode),
    find(id) {
      walk.guest[0] = -1
      const status = findPc(memory, features, dc, 0, stage2, walker, id, true, walk)
      // The second stage refused before the entry was read: its guest physical address is what can be told.
      if (walk.guest[0] !== -1) walk.address[walk.reads++] = walk.guest[0]!
      return status
    },
    unreadable: [CAUSE_PDT_LOAD, CAUSE_PDT_CORRUPT, GUEST_PAGE_FAULT],
    absent: CAUSE_PDT_INVALID,
  }
  eachContext(directory, walk, (id) => listing.mayRead(id), listing.findings, visit)
}
