/**
 * From a StreamID to its STE, and from an STE and a SubstreamID to the CD. Arm IHI 0070, 3.3 "Data structures and translation
 * procedure", 5.1 to 5.4, 7.3. Nothing here allocates; results are written into a `Found`.
 */
import { getAddress, getNumber, type Words } from '../../base/layout.ts'
import type { WordMemory } from '../../base/memory.ts'
import { UR } from '../../base/types.ts'
import { doubleHi, doubleLo, toDouble } from '../../base/u64.ts'
import type { PtSpace } from '../pt/format.ts'
import { WALK_OK, type Walker } from '../pt/walker.ts'
import { CD_BYTES } from './cd.ts'
import { C_BAD_STREAMID, C_BAD_SUBSTREAMID, F_CD_FETCH, F_STE_FETCH, F_STREAM_DISABLED } from './events.ts'
import { intermediateBits, type SmmuFeatures } from './features.ts'
import { L1_BYTES, L1CD, L1STD } from './l1.ts'
import { STRTAB_2LVL, STRTAB_BASE, STRTAB_BASE_CFG } from './registers.ts'
import { S1DSS_BYPASS, S1DSS_SSID0, S1FMT_4K_L2, S1FMT_64K_L2, STE, STE_BYTES } from './ste.ts'

/** Found: the entry's words are at `index`. Any other status is an event number, or LOOKUP_STAGE2. */
export const LOOKUP_OK = 0
/** Stage 2 refused the fetch of a CD or L1CD: a stage 2 fault with CLASS = CD. The walker says why. */
export const LOOKUP_STAGE2 = 0x100

/** Where a lookup ended. Reused: copy what must last. */
export class Found {
  /** LOOKUP_OK, LOOKUP_STAGE2 or the number of the event to record. */
  status = LOOKUP_OK
  /** Index of the entry's first word in the memory's storage, when the status is LOOKUP_OK. */
  index = -1
  /** Why the status is not LOOKUP_OK, in words. */
  why = ''
  /**
   * [0] physical address of the entry; [1] of the level 1 descriptor, -1 without one; [2] the intermediate address of the last fetch,
   * -1 without stage 2. When a fetch failed, [0] is its address and -1 means that there was none.
   */
  readonly at = new Float64Array(3)
  /** Index of the level 1 descriptor's first word in the storage, -1 without one. */
  l1Index = -1

  /** Physical address of the entry. */
  get address(): number {
    return this.at[0]!
  }
}

/** A stream table, out of STRTAB_BASE and STRTAB_BASE_CFG. */
export interface StreamTable {
  readonly base: number
  readonly twoLevel: boolean
  /** Effective: not more than IDR1.SIDSIZE. */
  readonly log2size: number
  readonly split: number
}

/**
 * Reads the two registers (6.3.24, 6.3.25): alignment, reserved values and limits as the SMMU takes them.
 * @param base the 64-bit value of STRTAB_BASE, as two 32-bit words, least significant first.
 */
export function streamTable(base: Words, cfg: number, features: SmmuFeatures): StreamTable {
  const word = Uint32Array.of(cfg)
  const literal = getNumber(word, STRTAB_BASE_CFG.fields.LOG2SIZE)
  const twoLevel = features.stream2l && getNumber(word, STRTAB_BASE_CFG.fields.FMT) === STRTAB_2LVL
  const coded = getNumber(word, STRTAB_BASE_CFG.fields.SPLIT)
  const split = coded === 8 || coded === 10 ? coded : 6
  const address = getAddress(base, STRTAB_BASE.fields.ADDR)
  const align = 2 ** (twoLevel ? Math.max(6, literal - split + 3) : literal + 6)
  return { base: alignDown(address, align), twoLevel, log2size: Math.min(literal, features.sidBits), split }
}

/**
 * Finds the STE of a stream.
 * @returns the status, also in `out`: LOOKUP_OK, C_BAD_STREAMID or F_STE_FETCH.
 */
export function findSte(memory: WordMemory, table: StreamTable, features: SmmuFeatures, sid: number, out: Found): number {
  out.at[1] = -1
  out.at[2] = -1
  out.l1Index = -1
  if (sid >= 2 ** table.log2size) return noFetch(out, C_BAD_STREAMID, 'StreamID is beyond STRTAB_BASE_CFG.LOG2SIZE (7.3.3)')
  if (!table.twoLevel) return fetchSte(memory, features, table.base + sid * STE_BYTES, out)
  const low = sid & ((1 << table.split) - 1)
  const descriptor = table.base + (sid >>> table.split) * L1_BYTES
  out.at[1] = descriptor
  out.at[0] = descriptor
  const index = descriptor < 2 ** features.oas ? memory.index(descriptor) : -1
  if (index < 0) return failed(out, F_STE_FETCH, 'nothing answers at the level 1 descriptor of the stream table (7.3.4)')
  out.l1Index = index
  const span = getNumber(memory.words, L1STD.fields.Span, index)
  if (span === 0 || span > 11) return noFetch(out, C_BAD_STREAMID, 'L1STD.Span is 0 or reserved: no STEs here (5.1)')
  if (span > table.split + 1) return noFetch(out, C_BAD_STREAMID, 'L1STD.Span is larger than STRTAB_BASE_CFG.SPLIT + 1 (7.3.3)')
  if (low >= 2 ** (span - 1)) return noFetch(out, C_BAD_STREAMID, 'StreamID is beyond L1STD.Span (7.3.3)')
  const pointer = getAddress(memory.words, L1STD.fields.L2Ptr, index)
  return fetchSte(memory, features, alignDown(pointer, STE_BYTES * 2 ** (span - 1)) + low * STE_BYTES, out)
}

function fetchSte(memory: WordMemory, features: SmmuFeatures, address: number, out: Found): number {
  out.at[0] = address
  // 3.4.3: beyond the output size, an SMMU truncates or reports F_STE_FETCH; here it reports.
  if (address >= 2 ** features.oas) return failed(out, F_STE_FETCH, 'the STE is beyond the output address size (3.4.3)')
  const index = memory.index(address)
  if (index < 0) return failed(out, F_STE_FETCH, 'nothing answers at the STE (7.3.4)')
  out.index = index
  out.status = LOOKUP_OK
  return LOOKUP_OK
}

/** `selectCd`: stage 1 is bypassed, no CD is used. */
export const CD_BYPASS = -1

/**
 * Which CD a transaction uses (5.2 Config, S1CDMax, S1DSS). `ste` is valid and lets traffic pass.
 * @param ssid the SubstreamID, or -1 when the transaction has none.
 * @returns the index into the CD table; CD_BYPASS; or the negative of the event to record: -F_STREAM_DISABLED, -C_BAD_SUBSTREAMID.
 */
export function selectCd(ste: Words, at: number, features: SmmuFeatures, ssid: number): number {
  if ((getNumber(ste, STE.fields.Config, at) & 1) === 0) return ssid < 0 ? CD_BYPASS : -C_BAD_SUBSTREAMID
  const log2 = cdTableLog2(ste, at, features)
  if (log2 === 0) return ssid < 0 ? 0 : -C_BAD_SUBSTREAMID
  const dss = getNumber(ste, STE.fields.S1DSS, at)
  if (ssid < 0) {
    if (dss === S1DSS_SSID0) return 0
    return dss === S1DSS_BYPASS ? CD_BYPASS : -F_STREAM_DISABLED
  }
  if (ssid >= 2 ** log2) return -C_BAD_SUBSTREAMID
  // CD 0 belongs to traffic without SubstreamID.
  if (ssid === 0 && dss === S1DSS_SSID0) return -F_STREAM_DISABLED
  return ssid
}

/** log2 of the number of CDs that an STE points to; 0 where there are no substreams. */
export function cdTableLog2(ste: Words, at: number, features: SmmuFeatures): number {
  return features.ssidBits === 0 ? 0 : getNumber(ste, STE.fields.S1CDMax, at)
}

/** log2 of the CDs per second-level table: 6 or 10; 0 for a linear table. */
export function cdTableSplit(ste: Words, at: number, features: SmmuFeatures): number {
  if (cdTableLog2(ste, at, features) === 0) return 0
  const format = getNumber(ste, STE.fields.S1Fmt, at)
  return format === S1FMT_4K_L2 ? 6 : format === S1FMT_64K_L2 ? 10 : 0
}

/** Where the CD table of an STE starts, aligned as the SMMU does (5.2 S1Fmt). Intermediate under a stage 2. */
export function cdTableBase(ste: Words, at: number, features: SmmuFeatures): number {
  const log2 = cdTableLog2(ste, at, features)
  const split = cdTableSplit(ste, at, features)
  const bytes = split === 0 ? CD_BYTES * 2 ** log2 : Math.max(64, L1_BYTES * 2 ** Math.max(0, log2 - split))
  return alignDown(getAddress(ste, STE.fields.S1ContextPtr, at), bytes)
}

/** Stage 2 for fetches of CDs: the space and the walker to use; `update` lets hardware set access flags. */
export interface CdFetch {
  readonly space: PtSpace
  readonly walker: Walker
  readonly update: boolean
}

/**
 * Finds a CD by its index in the STE's table. With `stage2`, all addresses are intermediate and go through it first.
 * `ste` may lie in the memory's storage: it is not read after memory was.
 * @returns the status, also in `out`: LOOKUP_OK, LOOKUP_STAGE2, F_CD_FETCH or C_BAD_SUBSTREAMID.
 */
export function findCd(
  memory: WordMemory,
  ste: Words,
  at: number,
  features: SmmuFeatures,
  cdIndex: number,
  stage2: CdFetch | null,
  out: Found,
): number {
  out.at[1] = -1
  out.l1Index = -1
  const base = cdTableBase(ste, at, features)
  const split = cdTableSplit(ste, at, features)
  if (split === 0) return fetchCd(memory, features, base + cdIndex * CD_BYTES, stage2, out)
  const leaf = 1 << split
  const low = cdIndex & (leaf - 1)
  const status = fetchCd(memory, features, base + (cdIndex >>> split) * L1_BYTES, stage2, out)
  out.at[1] = out.at[0]!
  if (status !== LOOKUP_OK) return status
  const index = out.index
  out.l1Index = index
  if (getNumber(memory.words, L1CD.fields.V, index) === 0)
    return noFetch(out, C_BAD_SUBSTREAMID, 'L1CD.V is 0: no CDs here (5.3)')
  const pointer = getAddress(memory.words, L1CD.fields.L2Ptr, index)
  // 3.4.3, notes 3 and 4: an L2Ptr out of range is C_BAD_SUBSTREAMID.
  if (pointer >= 2 ** (stage2 === null ? features.oas : intermediateBits(features)))
    return noFetch(out, C_BAD_SUBSTREAMID, 'L1CD.L2Ptr is beyond the address size (3.4.3)')
  return fetchCd(memory, features, alignDown(pointer, CD_BYTES * leaf) + low * CD_BYTES, stage2, out)
}

function fetchCd(memory: WordMemory, features: SmmuFeatures, address: number, stage2: CdFetch | null, out: Found): number {
  let physical = address
  out.at[2] = -1
  if (stage2 !== null) {
    out.at[2] = address
    const { walker } = stage2
    if (walker.walk(stage2.space, doubleHi(address), doubleLo(address), UR, stage2.update) !== WALK_OK)
      return noFetch(out, LOOKUP_STAGE2, 'stage 2 refused the fetch of the CD')
    physical = toDouble(walker.outHi, walker.outLo)
  }
  out.at[0] = physical
  if (physical >= 2 ** features.oas) return failed(out, F_CD_FETCH, 'the CD is beyond the output address size (3.4.3)')
  const index = memory.index(physical)
  if (index < 0) return failed(out, F_CD_FETCH, 'nothing answers at the CD or its level 1 descriptor (7.3.10)')
  out.index = index
  out.status = LOOKUP_OK
  return LOOKUP_OK
}

/** `align` is a power of two. */
function alignDown(address: number, align: number): number {
  return Math.floor(address / align) * align
}

/** A failure without a fetch to report. */
function noFetch(out: Found, status: number, why: string): number {
  out.at[0] = -1
  return failed(out, status, why)
}

function failed(out: Found, status: number, why: string): number {
  out.index = -1
  out.status = status
  out.why = why
  return status
}
