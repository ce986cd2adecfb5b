/**
 * What makes an STE of a non-secure stream illegal (C_BAD_STE), by the manual's own rules and in its order: Arm IHI 0070, 5.2.2 "Validity of
 * STE". Where SMMUv3.0 leaves a choice, the entry is illegal, as in all later revisions. Fields that the configuration ignores break
 * no rule. VMSAv9-128 tables are not known here, nor are the rules of their start levels.
 */
import { getAddress, getBits, getNumber, type Words } from '../../base/layout.ts'
import type { Granule } from '../pt/vmsav8.ts'
import { granule0, stage2OutputBits, stage2StartDepth, startInconsistent, strwIgnored } from './context.ts'
import {
  ENDIAN_BIG,
  ENDIAN_LITTLE,
  granuleSupported,
  intermediateBits,
  type SmmuFeatures,
  STALL_AND_TERMINATE,
  STALL_FORCED,
  STALL_NEVER,
} from './features.ts'
import { CONFIG_BYPASS, CONFIG_NESTED, EATS_DPT, EATS_FULL, EATS_SPLIT, S1FMT_4K_L2, S1FMT_64K_L2, STE } from './ste.ts'

/** A rule that an entry breaks. */
export interface Broken {
  /** The rule, in words. */
  readonly rule: string
  /** Where Arm IHI 0070 has it. */
  readonly section: string
}

export interface SteRule extends Broken {
  broken(ste: Words, at: number, features: SmmuFeatures): boolean
}

function s(ste: Words, at: number, name: keyof typeof STE.fields): number {
  return getNumber(ste, STE.fields[name], at)
}

/** Stage 1 translates. */
function stage1(ste: Words, at: number): boolean {
  return (s(ste, at, 'Config') & 5) === 5
}

/** Stage 2 translates. */
export function stage2(ste: Words, at: number): boolean {
  return (s(ste, at, 'Config') & 6) === 6
}

/** Stage 2 has VMSAv8-32 LPAE tables. */
export function s2Aarch32(ste: Words, at: number, f: SmmuFeatures): boolean {
  return !f.d128 && s(ste, at, 'S2AA64') === 0
}

function s2Aarch64(ste: Words, at: number): boolean {
  return s(ste, at, 'S2AA64') === 1
}

/** EATS has this value, and counts: ATS is there, and something translates. */
function eatsIs(ste: Words, at: number, f: SmmuFeatures, value: number): boolean {
  return f.ats && s(ste, at, 'Config') !== CONFIG_BYPASS && s(ste, at, 'EATS') === value
}

/** S2VMID does not count (5.2.2 IgnoreSTES2VMID). */
function vmidIgnored(ste: Words, at: number, f: SmmuFeatures): boolean {
  if (!f.s2 || s(ste, at, 'Config') === CONFIG_BYPASS) return true
  return s(ste, at, 'STRW') !== 0 && !strwIgnored(ste, at, f)
}

/** The largest legal TxSZ (5.2 S2T0SZ, 5.4 T0SZ). */
export function largestTsz(f: SmmuFeatures, granule: Granule | null): number {
  return f.stt ? (granule === 16 ? 47 : 48) : 39
}

/** Whether a reserved or unsupported start level (DDI 0487, S2InvalidSL), or one that does not fit S2T0SZ and S2TG. */
function startLevelBroken(ste: Words, at: number, f: SmmuFeatures): boolean {
  const size = s(ste, at, 'S2T0SZ')
  const sl0 = s(ste, at, 'S2SL0')
  if (s2Aarch32(ste, at, f)) {
    // 4 bits, signed; level 2 takes up to 34 bits, level 1 at least 31.
    const signed = (size << 28) >> 28
    return sl0 > 1 || (sl0 === 0 ? signed < -2 : signed > 1)
  }
  const granule = granule0(s(ste, at, 'S2TG'))
  if (!s2Aarch64(ste, at) || granule === null) return false
  const depth = stage2StartDepth(ste, at, f, granule)
  if (depth === null || startInconsistent(64 - size, granule, depth)) return true
  if (granule === 12) return (depth === 4 && f.oas < 52) || (depth === 3 && f.oas < 44) || (depth === 0 && !f.stt)
  return granule === 14 ? depth === 2 && f.oas < 42 : depth === 2 && f.oas < 44
}

/** The table's address is beyond the output size, or beyond 48 bits where entries have no more (5.2 S2TTB, 5.4 TTB0). */
export function tableBeyond(table: number, outputBits: number, aarch64: boolean, ds: boolean, granule: Granule | null): boolean {
  return table >= 2 ** (aarch64 && !ds && granule !== 16 ? Math.min(outputBits, 48) : outputBits)
}

/** In the manual's order: the first broken one is what the SMMU reports. */
export const STE_RULES: readonly SteRule[] = [
  {
    rule: 'STE.V is 0: the entry is not valid',
    section: '5.2 V',
    broken: (ste, at) => s(ste, at, 'V') === 0,
  },
  {
    rule: 'STE.Config enables stage 1, which this SMMU does not have (IDR0.S1P is 0)',
    section: '5.2 Config',
    broken: (ste, at, f) => stage1(ste, at) && !f.s1,
  },
  {
    rule: 'STE.Config enables stage 2, which this SMMU does not have (IDR0.S2P is 0)',
    section: '5.2 Config',
    broken: (ste, at, f) => stage2(ste, at) && !f.s2,
  },
  {
    rule: 'STE.EATS asks for split-stage ATS, but STE.Config does not enable both stages',
    section: '5.2 EATS',
    broken: (ste, at, f) => eatsIs(ste, at, f, EATS_SPLIT) && s(ste, at, 'Config') !== CONFIG_NESTED,
  },
  {
    rule: 'STE.EATS asks for split-stage ATS, and STE.S2S lets stage 2 faults stall',
    section: '5.2 EATS',
    broken: (ste, at, f) => eatsIs(ste, at, f, EATS_SPLIT) && s(ste, at, 'S2S') === 1,
  },
  {
    rule: 'STE.EATS asks for split-stage ATS, which this SMMU does not have (IDR0.NS1ATS is 1)',
    section: '5.2 EATS',
    broken: (ste, at, f) => eatsIs(ste, at, f, EATS_SPLIT) && f.ns1ats,
  },
  {
    rule: 'STE.EATS asks for full ATS, and STE.S2S lets stage 2 faults stall',
    section: '5.2 EATS',
    broken: (ste, at, f) => eatsIs(ste, at, f, EATS_FULL) && stage2(ste, at) && s(ste, at, 'S2S') === 1,
  },
  {
    rule: 'STE.EATS asks for ATS with device permission checks, and the stream is not one of EL1',
    section: '5.2 EATS',
    broken: (ste, at, f) => eatsIs(ste, at, f, EATS_DPT) && f.dpt && !strwIgnored(ste, at, f) && s(ste, at, 'STRW') !== 0,
  },
  {
    rule: 'STE.EATS asks for ATS with device permission checks, and STE.S2S lets stage 2 faults stall',
    section: '5.2 EATS',
    broken: (ste, at, f) => eatsIs(ste, at, f, EATS_DPT) && f.dpt && stage2(ste, at) && s(ste, at, 'S2S') === 1,
  },
  {
    rule: 'STE.STRW is reserved for non-secure streams',
    section: '5.2 STRW',
    broken: (ste, at, f) => !strwIgnored(ste, at, f) && (s(ste, at, 'STRW') & 1) === 1,
  },
  {
    rule: 'STE.S1STALLD is 1, but stalls of this SMMU are not for software to configure (IDR0.STALL_MODEL is not 0)',
    section: '5.2 S1STALLD',
    broken: (ste, at, f) => stage1(ste, at) && s(ste, at, 'S1STALLD') === 1 && f.stallModel !== STALL_AND_TERMINATE,
  },
  {
    rule: 'STE.S1CDMax is larger than the SubstreamIDs of this SMMU (IDR1.SSIDSIZE)',
    section: '5.2 S1CDMax',
    broken: (ste, at, f) => stage1(ste, at) && f.ssidBits !== 0 && s(ste, at, 'S1CDMax') > f.ssidBits,
  },
  {
    rule: 'STE.S1Fmt asks for a two-level CD table, which this SMMU does not have (IDR0.CD2L is 0)',
    section: '5.2 S1Fmt',
    broken: (ste, at, f) => {
      const format = s(ste, at, 'S1Fmt')
      if (!stage1(ste, at) || f.cd2l || f.ssidBits === 0 || s(ste, at, 'S1CDMax') === 0) return false
      return format === S1FMT_4K_L2 || format === S1FMT_64K_L2
    },
  },
  {
    rule: 'STE.S1ContextPtr is beyond the address size: the OAS, or the intermediate size under a stage 2',
    section: '5.2 S1ContextPtr, 3.4.3',
    broken: (ste, at, f) => {
      const bits = stage2(ste, at) ? intermediateBits(f) : f.oas
      return stage1(ste, at) && getAddress(ste, STE.fields.S1ContextPtr, at) >= 2 ** bits
    },
  },
  {
    rule: 'STE.S2FWB is 1 with VMSAv8-32 LPAE tables',
    section: '5.2 S2FWB',
    broken: (ste, at, f) => stage2(ste, at) && s2Aarch32(ste, at, f) && f.fwb && s(ste, at, 'S2FWB') === 1,
  },
  {
    rule: 'STE.S2S lets stage 2 faults stall, but this SMMU never stalls (IDR0.STALL_MODEL is 0b01)',
    section: '5.5',
    broken: (ste, at, f) => stage2(ste, at) && s(ste, at, 'S2S') === 1 && f.stallModel === STALL_NEVER,
  },
  {
    rule: 'STE.S2S is 0, but this SMMU always stalls (IDR0.STALL_MODEL is 0b10)',
    section: '5.5',
    broken: (ste, at, f) => stage2(ste, at) && s(ste, at, 'S2S') === 0 && f.stallModel === STALL_FORCED,
  },
  {
    rule: 'STE.S2AA64 selects VMSAv8-32 LPAE tables, which this SMMU does not have (IDR0.TTF)',
    section: '5.2 S2AA64',
    broken: (ste, at, f) => stage2(ste, at) && s2Aarch32(ste, at, f) && !f.aarch32,
  },
  {
    rule: 'STE.S2AA64 selects VMSAv8-64 tables, which this SMMU does not have (IDR0.TTF)',
    section: '5.2 S2AA64',
    broken: (ste, at, f) => stage2(ste, at) && s2Aarch64(ste, at) && !f.aarch64,
  },
  {
    rule: 'STE.S2HA or S2HD is 1, but hardware updates are not possible (IDR0.HTTU is 0, or VMSAv8-32 LPAE tables)',
    section: '5.2 S2HA',
    broken: (ste, at, f) =>
      stage2(ste, at) && (s(ste, at, 'S2HA') | s(ste, at, 'S2HD')) === 1 && (f.httu === 0 || s2Aarch32(ste, at, f)),
  },
  {
    rule: 'STE.S2HD is 1, but this SMMU updates the access flag only (IDR0.HTTU is 0b01)',
    section: '5.2 S2HA',
    broken: (ste, at, f) => stage2(ste, at) && s(ste, at, 'S2HD') === 1 && f.httu === 1,
  },
  {
    rule: 'STE.S2HAFT is 1 without STE.S2HA',
    section: '5.2 S2HAFT',
    broken: (ste, at, f) => stage2(ste, at) && s(ste, at, 'S2HAFT') === 1 && s(ste, at, 'S2HA') === 0 && f.httu === 3,
  },
  {
    rule: 'STE.S2TG is reserved, or a granule that this SMMU does not have (IDR5)',
    section: '5.2 S2TG',
    broken: (ste, at, f) => stage2(ste, at) && !s2Aarch32(ste, at, f) && !granuleSupported(f, granule0(s(ste, at, 'S2TG'))),
  },
  {
    rule: 'STE.S2TTB is beyond the effective STE.S2PS, or beyond 48 bits where entries hold no more',
    section: '5.2 S2TTB',
    broken: (ste, at, f) => {
      const bits = s2Aarch32(ste, at, f) ? 40 : stage2OutputBits(ste, at, f)
      const ds = f.ds && s(ste, at, 'S2DS') === 1
      const table = getAddress(ste, STE.fields.S2TTB, at)
      return stage2(ste, at) && tableBeyond(table, bits, s2Aarch64(ste, at), ds, granule0(s(ste, at, 'S2TG')))
    },
  },
  {
    rule: 'STE.S2T0SZ is out of range for the granule and the intermediate address size',
    section: '5.2 S2T0SZ',
    broken: (ste, at, f) => {
      if (!stage2(ste, at) || s2Aarch32(ste, at, f)) return false
      const granule = granule0(s(ste, at, 'S2TG'))
      const size = s(ste, at, 'S2T0SZ')
      const ias = 64 - intermediateBits(f)
      const wide = granule === 16 || (f.ds && s(ste, at, 'S2DS') === 1)
      const smallest = f.minor === 0 ? ias : Math.max(s2Aarch64(ste, at) ? (wide ? 12 : 16) : 8, ias)
      return size < smallest || size > largestTsz(f, granule)
    },
  },
  {
    rule: 'STE.S2SL0 is not a start level for this STE.S2T0SZ and STE.S2TG',
    section: '5.2 S2SL0',
    broken: (ste, at, f) => stage2(ste, at) && startLevelBroken(ste, at, f),
  },
  {
    rule: 'STE.S2ENDI is an endianness that this SMMU does not have (IDR0.TTENDIAN)',
    section: '5.2 S2ENDI',
    broken: (ste, at, f) => stage2(ste, at) && f.endian === (s(ste, at, 'S2ENDI') === 1 ? ENDIAN_LITTLE : ENDIAN_BIG),
  },
  {
    rule: 'STE.S2PIE is 1 with VMSAv8-32 LPAE tables',
    section: '5.2 S2PIE',
    broken: (ste, at, f) => stage2(ste, at) && f.s2pi && s(ste, at, 'S2PIE') === 1 && s2Aarch32(ste, at, f),
  },
  {
    rule: 'STE.S2POE is 1 without STE.S2PIE',
    section: '5.2 S2POE',
    broken: (ste, at, f) => {
      if (!stage2(ste, at) || !f.s2po || s(ste, at, 'S2POE') === 0 || s(ste, at, 'S2PIE') === 1) return false
      return s2Aarch64(ste, at) || !f.d128
    },
  },
  {
    rule: 'STE.S2POE is 1 together with S2HWU bits',
    section: '5.2 S2POE',
    broken: (ste, at, f) => {
      const used = s(ste, at, 'S2HWU59') | s(ste, at, 'S2HWU60') | s(ste, at, 'S2HWU61') | s(ste, at, 'S2HWU62')
      return stage2(ste, at) && f.s2po && s(ste, at, 'S2POE') === 1 && f.pbha && used === 1
    },
  },
  {
    rule: 'STE.S2POE is 1, and STE.S2POI has a reserved encoding',
    section: '5.2 S2POI',
    broken: (ste, at, f) => {
      if (!stage2(ste, at) || !f.s2po || s(ste, at, 'S2POE') === 0) return false
      const { lsb } = STE.fields.S2POI
      for (let bit = lsb; bit < lsb + 64; bit += 4) if ((getBits(ste, bit + 3, bit, at) & 0b1011) === 1) return true
      return false
    },
  },
  {
    rule: 'STE.S2VMID has more than the 8 bits of this SMMU (IDR0.VMID16 is 0)',
    section: '5.2 S2VMID',
    broken: (ste, at, f) =>
      (s(ste, at, 'Config') & 4) !== 0 && !f.vmid16 && s(ste, at, 'S2VMID') > 255 && !vmidIgnored(ste, at, f),
  },
  {
    rule: 'STE.VMSPtr is beyond the output address size',
    section: '5.2 VMSPtr',
    broken: (ste, at, f) =>
      f.mpam &&
      s(ste, at, 'Config') === CONFIG_NESTED &&
      s(ste, at, 'S1MPAM') === 1 &&
      getAddress(ste, STE.fields.VMSPtr, at) >= 2 ** f.oas,
  },
]
