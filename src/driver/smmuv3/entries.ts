/** What the driver writes into the tables: STEs and CDs of each kind. Arm IHI 0070, 5.2, 5.4. */
import { encode, getAddress, getNumber, setField, type Values } from '../../base/layout.ts'
import { IommError } from '../../core/error.ts'
import { AD_IGNORE, AD_SET, type PtSpace } from '../../format/pt/format.ts'
import { CD } from '../../format/smmuv3/cd.ts'
import { type SmmuFeatures, STALL_AND_TERMINATE, STALL_FORCED } from '../../format/smmuv3/features.ts'
import {
  CONFIG_ABORT,
  CONFIG_BYPASS,
  CONFIG_NESTED,
  CONFIG_S1,
  CONFIG_S2,
  EATS_FULL,
  S1DSS_BYPASS,
  STE,
  STRW_EL1,
} from '../../format/smmuv3/ste.ts'
import type { CdTable } from './cd-table.ts'
import { cdUsed } from './used-bits.ts'

type SteValues = Partial<Values<typeof STE.fields>>
type CdValues = Partial<Values<typeof CD.fields>>

/** Table walks: write-back, read and write allocate, inner shareable. */
const WBWA = 1
const INNER = 3
/** STE.SHCFG: as incoming. */
const SHCFG_INCOMING = 1
/** MAIR: 0 write-back, 1 non-cacheable, 2 Device-nGnRE, 3 Device-nGnRnE. */
const MAIR0 = 0x00_04_44_ff

/** CD.IPS and STE.S2PS of so many address bits. */
function sizeCode(outputLimit: number): number {
  const bits = Math.log2(outputLimit)
  return [32, 36, 40, 42, 44, 48, 52].findIndex((size) => size >= bits)
}

/** CD.TG0 and STE.S2TG. */
function granuleCode(granuleLog2: number): number {
  return granuleLog2 === 12 ? 0 : granuleLog2 === 16 ? 1 : 2
}

export function abortSte(): Uint32Array {
  return encode(STE, { V: 1, Config: CONFIG_ABORT })
}

export function bypassSte(features: SmmuFeatures): Uint32Array {
  return encode(STE, { V: 1, Config: CONFIG_BYPASS, ...incoming(features) })
}

/** SHCFG is there only where the SMMU can replace attributes (6.3.2 ATTR_TYPES_OVR). */
function incoming(features: SmmuFeatures): SteValues {
  return features.attrTypesOverride ? { SHCFG: SHCFG_INCOMING } : {}
}

/** What one device's STE has beside its domain's. */
export interface StreamChoices {
  readonly ats: boolean
  readonly stall: boolean
  /** Automatic page responses carry the PASID. */
  readonly ppar: boolean
}

/** Where the SMMU puts the PASID into automatic responses by itself, the field has no meaning (6.3.4 PPS). */
function ppar(stream: StreamChoices, features: SmmuFeatures): number {
  return stream.ppar && !features.pps ? 1 : 0
}

function stage1Values(table: CdTable, s1dss: number, stream: StreamChoices, features: SmmuFeatures): SteValues {
  return {
    S1Fmt: table.format,
    S1ContextPtr: BigInt(table.base),
    S1CDMax: table.bits,
    S1DSS: s1dss,
    S1CIR: WBWA,
    S1COR: WBWA,
    S1CSH: INNER,
    // A device that cannot wait must not be made to (5.2 S1STALLD; the field exists only where stalls are a choice).
    S1STALLD: features.stallModel === STALL_AND_TERMINATE && !stream.stall ? 1 : 0,
    STRW: STRW_EL1,
    EATS: stream.ats ? EATS_FULL : 0,
    PPAR: ppar(stream, features),
    ...(s1dss === S1DSS_BYPASS ? incoming(features) : {}),
  }
}

/** Stage 1 through a PASID table. VMID 0 is that of streams without a stage 2 of ours. */
export function cdTableSte(table: CdTable, s1dss: number, stream: StreamChoices, features: SmmuFeatures): Uint32Array {
  return encode(STE, { V: 1, Config: CONFIG_S1, ...stage1Values(table, s1dss, stream, features) })
}

function stage2Values(space: PtSpace, vmid: number, stream: StreamChoices, features: SmmuFeatures): SteValues {
  const { granuleLog2 } = space.format
  return {
    S2VMID: vmid,
    S2T0SZ: 64 - space.inputBits,
    // 5.2 S2SL0: with 4 KiB granules the code of the start level is one lower.
    S2SL0: granuleLog2 === 12 ? (space.topDepth + 3) % 4 : space.topDepth,
    S2IR0: WBWA,
    S2OR0: WBWA,
    S2SH0: INNER,
    S2TG: granuleCode(granuleLog2),
    S2PS: sizeCode(space.outputLimit),
    S2AA64: 1,
    S2PTW: 1,
    // Stage 2 stalls only where the hardware knows nothing else: nobody could answer but this driver, which has mapped what there is.
    S2S: features.stallModel === STALL_FORCED ? 1 : 0,
    S2R: 1,
    S2TTB: BigInt(space.root),
    // ATS and stage 2 stalls exclude each other (5.2 EATS).
    EATS: stream.ats && features.stallModel !== STALL_FORCED ? EATS_FULL : 0,
  }
}

export function stage2Ste(space: PtSpace, vmid: number, stream: StreamChoices, features: SmmuFeatures): Uint32Array {
  return encode(STE, { V: 1, Config: CONFIG_S2, ...stage2Values(space, vmid, stream, features), ...incoming(features) })
}

/** The fields of a guest's STE that it may choose; the rest is ours. */
const GUEST_FIELDS = [
  'V',
  'Config',
  'S1Fmt',
  'S1ContextPtr',
  'S1CDMax',
  'S1DSS',
  'S1CIR',
  'S1COR',
  'S1CSH',
  'S1STALLD',
  'EATS',
] as const

/**
 * A guest's STE over our stage 2. Not valid or aborting: abort. Bypassing: stage 2 alone. Stage 1: both, its table behind our stage 2.
 * @throws IommError BadArgument for anything else, and for fields that a guest has no say in.
 */
export function nestedSte(
  guest: Uint32Array,
  space: PtSpace,
  vmid: number,
  stream: StreamChoices,
  features: SmmuFeatures,
): Uint32Array {
  const field = (name: (typeof GUEST_FIELDS)[number]) => getNumber(guest, STE.fields[name])
  if (field('V') === 0) return abortSte()
  const other = encode(STE, {})
  other.set(guest)
  for (const name of GUEST_FIELDS) setField(other, STE.fields[name], 0)
  const allowed = encode(STE, incoming(features))
  const stray = other.findIndex((word, index) => (word & ~allowed[index]!) !== 0)
  if (stray >= 0)
    throw new IommError(
      'BadArgument',
      `the guest's STE sets 0x${other[stray]!.toString(16)} in word ${stray}; it may set only ${GUEST_FIELDS.join(', ')}`,
    )
  const config = field('Config')
  if (config === CONFIG_ABORT) return abortSte()
  if (config === CONFIG_BYPASS) return stage2Ste(space, vmid, stream, features)
  if (config !== CONFIG_S1)
    throw new IommError(
      'BadArgument',
      `the guest's STE.Config is ${config}; stage 2 is ours: a guest has abort, bypass and stage 1`,
    )
  const s1dss = field('S1DSS')
  const nested = encode(STE, {
    V: 1,
    Config: CONFIG_NESTED,
    ...stage2Values(space, vmid, { ...stream, ats: stream.ats && field('EATS') === EATS_FULL }, features),
    ...(s1dss === S1DSS_BYPASS ? incoming(features) : {}),
    PPAR: ppar(stream, features),
    S1DSS: s1dss,
    S1ContextPtr: BigInt(getAddress(guest, STE.fields.S1ContextPtr)),
  })
  for (const name of ['S1Fmt', 'S1CDMax', 'S1CIR', 'S1COR', 'S1CSH', 'S1STALLD'] as const)
    setField(nested, STE.fields[name], field(name))
  return nested
}

/** What all our CDs say alike. TTB1 is off: devices use the lower half. Faults abort and are recorded. */
function cdValues(space: PtSpace, asid: number, stall: boolean): CdValues {
  const { granuleLog2, extraMask } = space.format
  return {
    V: 1,
    T0SZ: 64 - space.inputBits,
    TG0: granuleCode(granuleLog2),
    IR0: WBWA,
    OR0: WBWA,
    SH0: INNER,
    EPD1: 1,
    ENDI: space.bigEndian ? 1 : 0,
    IPS: sizeCode(space.outputLimit),
    AA64: 1,
    S: stall ? 1 : 0,
    R: 1,
    A: 1,
    ASID: asid,
    TTB0: BigInt(space.root),
    DS: extraMask !== 0 && granuleLog2 !== 16 ? 1 : 0,
    MAIR0,
  }
}

/** A page table of ours. ASET = 1: broadcast invalidation of the CPU's ASIDs does not concern it. */
export function privateCd(space: PtSpace, asid: number, stall: boolean): Uint32Array {
  return encode(CD, { ...cdValues(space, asid, stall), ASET: 1 })
}

/**
 * The CPU's page table, under the CPU's ASID. Tagged addresses are not translated (TBI0 = 0): ATC invalidations could not match them.
 * Hardware sets access flags and dirty state only where the CPU's own walker does.
 */
export function sharedCd(space: PtSpace, asid: number, stall: boolean, httu: number): Uint32Array {
  const cpu = space.accessed !== AD_SET ? 0 : space.dirty === AD_SET ? 2 : 1
  return encode(CD, {
    ...cdValues(space, asid, stall),
    AFFD: space.accessed === AD_IGNORE ? 1 : 0,
    HA: Math.min(cpu, httu) >= 1 ? 1 : 0,
    HD: Math.min(cpu, httu) >= 2 ? 1 : 0,
  })
}

/** The same address space after its process exited: still valid, but walks nothing, stalls nothing, records nothing. */
export function quietCd(cd: Uint32Array, features: SmmuFeatures): Uint32Array {
  const quiet = cd.slice()
  setField(quiet, CD.fields.EPD0, 1)
  setField(quiet, CD.fields.S, features.stallModel === STALL_FORCED ? 1 : 0)
  setField(quiet, CD.fields.R, 0)
  const used = cdUsed(quiet)
  return quiet.map((word, index) => word & used[index]!)
}
