/**
 * x86-64 page tables of 4 and 5 levels, by whom they are walked: CPUs (Intel SDM volume 3A, 4.5 "4-level paging and 5-level paging"; AMD64
 * APM volume 2, 5.3 "Long-mode page translation"), VT-d's first stage (VT-d specification, 3.6 "First-Stage Translation" and 9.7
 * "First-Stage Paging Entries"), AMD's guest tables (AMD I/O virtualization 48882, 2.2.6 "Guest Page Tables").
 */
import { PR, PW, PX, UR, UW, UX } from '../../base/types.ts'
import { AD_SET, LARGE_NONE, LEAF_BY_SIZE_BIT, NO_FIX, type PtFormat, type RightsField, rightsTable, TOP_SIGN } from './format.ts'

export const X86_P = 1 << 0
export const X86_RW = 1 << 1
export const X86_US = 1 << 2
export const X86_A = 1 << 5
export const X86_D = 1 << 6
/** In entries above the lowest level; PAT at the lowest. */
export const X86_PS = 1 << 7
export const X86_G = 1 << 8
/** VT-d's extended accessed flag. */
export const X86_EA = 1 << 10
/** Bit 63, in the high word. */
export const X86_XD_HI = 1 << 31

/** What bit 63 does: takes execution away, must be zero, or nothing. */
export type NoExecute = 'honoured' | 'reserved' | 'ignored'

export interface X86Options {
  /** Who walks: the name that people read. */
  readonly walker?: 'cpu' | 'vtd' | 'amd'
  /** Width of a physical address (Intel MAXPHYADDR, VT-d's host address width, AMD's PASize); bits 51 down to it are reserved. Default 52. */
  readonly physicalBits?: number
  /** Default 'honoured'. */
  readonly noExecute?: NoExecute
  /** Whether 1 GiB leaves are supported; else their PS bit is reserved. Default true. */
  readonly gigapages?: boolean
  /** VT-d PASID-table entry EAFE: the extended accessed flag (bit 10) is set along with A. Default false. */
  readonly extendedAccessed?: boolean
}

/** A table of so many levels: what a `PtSpace` says beside the format. */
export interface X86Scheme {
  readonly format: PtFormat
  readonly topDepth: number
  readonly inputBits: number
  /** Addresses are canonical: bits above the width repeat the top one. */
  readonly top: number
}

/** R/W, U/S (bits 2:1) as index bits 1:0; XD as index bit 2. */
function field(noExecute: NoExecute, rights: (writable: boolean, user: boolean, execute: boolean) => number): RightsField {
  const execute = noExecute === 'honoured'
  return {
    loShift: 1,
    loMask: 3,
    hiShift: 31,
    hiMask: execute ? 1 : 0,
    hiPlace: 2,
    rights: rightsTable(execute ? 8 : 4, (index) => rights((index & 1) !== 0, (index & 2) !== 0, (index & 4) === 0)),
  }
}

// Supervisor code reads and writes user pages, and executes them; `x86Fix` has the rules that may take that away.
const leafOf = (writable: boolean, user: boolean, execute: boolean) =>
  PR | (writable ? PW : 0) | (execute ? PX : 0) | (user ? UR | (writable ? UW : 0) | (execute ? UX : 0) : 0)
const tableOf = (writable: boolean, user: boolean, execute: boolean) =>
  PR | (writable ? PW : 0) | (execute ? PX : 0) | (user ? UR | (writable ? UW : 0) | (execute ? UX : 0) : 0)

const NAMES = { cpu: 'x86-64', vtd: 'VT-d first stage', amd: 'AMD v2' }
const SOURCES = {
  cpu: 'Intel SDM volume 3A, 4.5',
  vtd: 'VT-d specification, 9.7',
  amd: 'AMD I/O virtualization (48882), 2.2.6',
}

const cache = new Map<string, PtFormat>()

/** The format with these choices: the same object each time. */
export function x86Format(options: X86Options = {}): PtFormat {
  const { walker = 'cpu', physicalBits = 52, noExecute = 'honoured', gigapages = true, extendedAccessed = false } = options
  const key = `${walker}/${physicalBits}/${noExecute}/${gigapages}/${extendedAccessed}`
  const known = cache.get(key)
  if (known !== undefined) return known
  const reservedHi = addressAbove(physicalBits) | (noExecute === 'reserved' ? X86_XD_HI : 0)
  const accessed = X86_A | (extendedAccessed ? X86_EA : 0)
  const format: PtFormat = {
    name: NAMES[walker],
    source: SOURCES[walker],
    granuleLog2: 12,
    indexBits: 9,
    entryLog2: 3,
    levelOfLeaf: 1,
    levelStep: 1,
    present: X86_P,
    leafRule: LEAF_BY_SIZE_BIT,
    leafMask: X86_PS,
    // PS is reserved in PML4 and PML5 entries.
    leafDepths: gigapages ? 0b111 : 0b011,
    large: LARGE_NONE,
    addressLo: ~0xfff,
    addressHi: 0xfffff,
    addressShift: 0,
    extraMask: 0,
    extraShift: 0,
    leafRights: field(noExecute, leafOf),
    userLo: 0,
    tableRights: field(noExecute, tableOf),
    settle: NO_FIX,
    // Bit 12 of a large leaf is PAT; those from 13 up to its size are reserved.
    reservedLeafLo: Int32Array.of(0, 0x1fe000, 0x3fffe000, 0, 0),
    reservedLeafHi: new Int32Array(5).fill(reservedHi),
    // AMD64 APM, 5.3.3: bit 8 of PML4 and PML5 entries must be zero; Intel ignores it.
    reservedTableLo: Int32Array.of(0, 0, 0, walker === 'amd' ? X86_G : 0, walker === 'amd' ? X86_G : 0),
    reservedTableHi: new Int32Array(5).fill(reservedHi),
    misalignedFaults: false,
    accessed,
    accessedInTables: true,
    dirty: X86_D,
    dirtyManagedHi: 0,
    dirtySets: true,
    contiguousHi: 0,
    contiguousLog2: [],
    newLeafLo: X86_P | accessed | X86_D,
    newLeafHi: 0,
    newLargeLo: X86_P | accessed | X86_D | X86_PS,
    newLargeHi: 0,
    newTableLo: X86_P | X86_RW | X86_US | accessed,
    newTableHi: 0,
  }
  cache.set(key, format)
  return format
}

/** The high word's address bits from 2^bits up, below bit 52. */
export function addressAbove(bits: number): number {
  return bits >= 52 ? 0 : bits <= 32 ? 0xfffff : 0xfffff & (-1 << (bits - 32))
}

/** A table of 4 or 5 levels. */
export function x86Scheme(levels: 4 | 5, options: X86Options = {}): X86Scheme {
  return { format: x86Format(options), topDepth: levels - 1, inputBits: levels === 5 ? 57 : 48, top: TOP_SIGN }
}

/** VT-d first-stage tables (FSPM: 4 or 5 levels). */
export function vtdFirst(levels: 4 | 5, options: Omit<X86Options, 'walker'> = {}): X86Scheme {
  return x86Scheme(levels, { ...options, walker: 'vtd' })
}

/** AMD guest (v2) tables (DTE.GuestPagingMode: 4 or 5 levels). */
export function amdV2(levels: 4 | 5, options: Omit<X86Options, 'walker' | 'extendedAccessed'> = {}): X86Scheme {
  return x86Scheme(levels, { ...options, walker: 'amd' })
}

export interface X86Rules {
  /** Supervisor code writes only where R/W says so (CR0.WP, VT-d WPE). Default true. */
  readonly writeProtect?: boolean
  /** Supervisor code does not execute user pages (CR4.SMEP, VT-d SMEP …). Default false. */
  readonly smep?: boolean
  /** Supervisor code does not reach user pages for data (CR4.SMAP with AC clear). Default false. */
  readonly smap?: boolean
  /** U/S says nothing: user code gets what supervisor code gets (AMD without USSup). Default false. */
  readonly oneSide?: boolean
}

const fixes = new Map<string, Uint8Array>()

/** `PtSpace.fix` of these rules. A page is a user page when U/S is set on all levels: then user code may read it. */
export function x86Fix(rules: X86Rules = {}): Uint8Array {
  const { writeProtect = true, smep = false, smap = false, oneSide = false } = rules
  const key = `${writeProtect}/${smep}/${smap}/${oneSide}`
  let fix = fixes.get(key)
  if (fix === undefined) {
    fix = rightsTable(64, (rights) => {
      if (oneSide) return (rights & (PR | PW | PX)) | (rights >>> 3)
      const user = (rights & UR) !== 0
      if (!writeProtect && (rights & PR) !== 0) rights |= PW
      if (smep && user) rights &= ~PX
      if (smap && user) rights &= ~(PR | PW)
      return rights
    })
    fixes.set(key, fix)
  }
  return fix
}

export interface X86CpuOptions extends Omit<X86Options, 'walker' | 'extendedAccessed'>, X86Rules {}

/**
 * What a description of x86-64 CPUs says of address spaces (`CpuDescription` of mm/, less `asidBits` and `cpus`): CPUs set A and D by
 * hardware, and the kernel does not execute user pages (SMEP) unless the options say otherwise.
 */
export function x86Cpu(levels: 4 | 5, options: X86CpuOptions = {}) {
  const { physicalBits = 52 } = options
  return {
    ...x86Scheme(levels, { physicalBits, noExecute: options.noExecute ?? 'honoured', gigapages: options.gigapages ?? true }),
    outputLimit: 2 ** physicalBits,
    accessed: AD_SET,
    dirty: AD_SET,
    fix: x86Fix({ smep: true, ...options }),
  }
}
