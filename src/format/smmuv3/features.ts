/** What an SMMU can do, out of its identification registers. Arm IHI 0070, 6.3.1 to 6.3.8. */
import { encode, getNumber } from '../../base/layout.ts'
import { AIDR, IDR0, IDR1, IDR3, IDR5 } from './registers.ts'

/** IDR0.STALL_MODEL. */
export const STALL_AND_TERMINATE = 0
export const STALL_NEVER = 1
export const STALL_FORCED = 2

/** IDR0.TTENDIAN. */
export const ENDIAN_MIXED = 0
export const ENDIAN_LITTLE = 2
export const ENDIAN_BIG = 3

export interface SmmuFeatures {
  /** SMMUv3.x (AIDR.ArchMinorRev). */
  readonly minor: number
  readonly s1: boolean
  readonly s2: boolean
  readonly aarch32: boolean
  readonly aarch64: boolean
  readonly coherent: boolean
  readonly btm: boolean
  /** Hardware table updates: 0 none, 1 access flag, 2 also dirty state, 3 also access flags of table entries. */
  readonly httu: number
  /** EL2 streams. */
  readonly hyp: boolean
  readonly ats: boolean
  /** Split-stage ATS is not supported. */
  readonly ns1ats: boolean
  readonly asid16: boolean
  readonly vmid16: boolean
  readonly msi: boolean
  readonly sev: boolean
  readonly pri: boolean
  readonly vmw: boolean
  /** Two-level CD tables. */
  readonly cd2l: boolean
  /** Two-level stream tables. */
  readonly stream2l: boolean
  /** ENDIAN_…. */
  readonly endian: number
  /** STALL_…. */
  readonly stallModel: number
  /** Faults can only terminate with an abort (CD.A must be 1). */
  readonly abortOnly: boolean
  readonly sidBits: number
  readonly ssidBits: number
  readonly cmdqLog2: number
  readonly eventqLog2: number
  readonly priqLog2: number
  readonly attrPermsOverride: boolean
  readonly attrTypesOverride: boolean
  readonly had: boolean
  readonly pbha: boolean
  readonly xnx: boolean
  readonly pps: boolean
  readonly mpam: boolean
  readonly fwb: boolean
  readonly stt: boolean
  readonly ril: boolean
  readonly bbml: number
  readonly e0pd: boolean
  readonly dpt: boolean
  readonly epan: boolean
  readonly s1pi: boolean
  readonly s2pi: boolean
  readonly s2po: boolean
  /** Output address bits: 32 … 56. */
  readonly oas: number
  /** Bits of each half of the virtual addresses: 48, 52 or 56 (6.3.6 VAX). */
  readonly vaBits: number
  readonly gran4k: boolean
  readonly gran16k: boolean
  readonly gran64k: boolean
  /** 52-bit addresses with 4 and 16 KiB granules. */
  readonly ds: boolean
  readonly d128: boolean
  readonly stallMax: number
  /** CR2.E2H, which is not an identification register: the EL2 streams are EL2-E2H. */
  readonly e2h: boolean
}

const SIZES = [32, 36, 40, 42, 44, 48, 52, 56] as const

/** The bits that an address-size code means (OAS, CD.IPS, STE.S2PS): what the revision does not have yet is its largest (5.4 IPS). */
export function addressBits(code: number, minor: number): number {
  const largest = minor === 0 ? 5 : minor < 4 ? 6 : 7
  return SIZES[Math.min(code, largest)]!
}

/** @param read a register's value by its name: IDR0, IDR1, IDR3, IDR5, AIDR. */
export function featuresFromIdr(read: (name: string) => number, e2h = false): SmmuFeatures {
  const words = Uint32Array.of(read('IDR0'), read('IDR1'), read('IDR3'), read('IDR5'), read('AIDR'))
  const idr0 = (field: keyof typeof IDR0.fields) => getNumber(words, IDR0.fields[field], 0)
  const idr1 = (field: keyof typeof IDR1.fields) => getNumber(words, IDR1.fields[field], 1)
  const idr3 = (field: keyof typeof IDR3.fields) => getNumber(words, IDR3.fields[field], 2)
  const idr5 = (field: keyof typeof IDR5.fields) => getNumber(words, IDR5.fields[field], 3)
  const minor = getNumber(words, AIDR.fields.ArchMinorRev, 4)
  return {
    minor,
    s1: idr0('S1P') === 1,
    s2: idr0('S2P') === 1,
    aarch32: (idr0('TTF') & 1) !== 0,
    aarch64: (idr0('TTF') & 2) !== 0,
    coherent: idr0('COHACC') === 1,
    btm: idr0('BTM') === 1,
    httu: idr0('HTTU'),
    hyp: idr0('Hyp') === 1,
    ats: idr0('ATS') === 1,
    ns1ats: idr0('NS1ATS') === 1,
    asid16: idr0('ASID16') === 1,
    vmid16: idr0('VMID16') === 1,
    msi: idr0('MSI') === 1,
    sev: idr0('SEV') === 1,
    pri: idr0('PRI') === 1,
    vmw: idr0('VMW') === 1,
    cd2l: idr0('CD2L') === 1,
    stream2l: idr0('ST_LEVEL') === 1,
    endian: idr0('TTENDIAN'),
    stallModel: idr0('STALL_MODEL'),
    abortOnly: idr0('TERM_MODEL') === 1,
    sidBits: Math.min(idr1('SIDSIZE'), 32),
    ssidBits: Math.min(idr1('SSIDSIZE'), 20),
    cmdqLog2: idr1('CMDQS'),
    eventqLog2: idr1('EVENTQS'),
    priqLog2: idr1('PRIQS'),
    attrPermsOverride: idr1('ATTR_PERMS_OVR') === 1,
    attrTypesOverride: idr1('ATTR_TYPES_OVR') === 1,
    had: idr3('HAD') === 1,
    pbha: idr3('PBHA') === 1,
    xnx: idr3('XNX') === 1,
    pps: idr3('PPS') === 1,
    mpam: idr3('MPAM') === 1,
    fwb: idr3('FWB') === 1,
    stt: idr3('STT') === 1,
    ril: idr3('RIL') === 1,
    bbml: idr3('BBML'),
    e0pd: idr3('E0PD') === 1,
    dpt: idr3('DPT') === 1,
    epan: idr3('EPAN') === 1,
    s1pi: idr3('S1PI') === 1,
    s2pi: idr3('S2PI') === 1,
    s2po: idr3('S2PO') === 1,
    oas: addressBits(idr5('OAS'), 4),
    vaBits: [48, 52, 56, 48][idr5('VAX')]!,
    gran4k: idr5('GRAN4K') === 1,
    gran16k: idr5('GRAN16K') === 1,
    gran64k: idr5('GRAN64K') === 1,
    ds: idr5('DS') === 1,
    d128: idr5('D128') === 1,
    stallMax: idr5('STALL_MAX'),
    e2h,
  }
}

/** Identification registers of an SMMU with everything that the formats here know: for entries whose SMMU is not known. */
export const GENEROUS_IDR: Readonly<Record<'IDR0' | 'IDR1' | 'IDR2' | 'IDR3' | 'IDR4' | 'IDR5' | 'AIDR', number>> = {
  IDR0: encode(IDR0, {
    S2P: 1,
    S1P: 1,
    TTF: 2,
    COHACC: 1,
    BTM: 1,
    HTTU: 2,
    Hyp: 1,
    ATS: 1,
    ASID16: 1,
    MSI: 1,
    SEV: 1,
    PRI: 1,
    VMID16: 1,
    CD2L: 1,
    ST_LEVEL: 1,
  })[0]!,
  IDR1: encode(IDR1, {
    SIDSIZE: 32,
    SSIDSIZE: 20,
    PRIQS: 19,
    EVENTQS: 19,
    CMDQS: 19,
    ATTR_PERMS_OVR: 1,
    ATTR_TYPES_OVR: 1,
  })[0]!,
  IDR2: 0,
  IDR3: encode(IDR3, { HAD: 1, XNX: 1, PPS: 1, FWB: 1, STT: 1, RIL: 1, BBML: 2, E0PD: 1 })[0]!,
  IDR4: 0,
  IDR5: encode(IDR5, { OAS: 6, GRAN4K: 1, GRAN16K: 1, GRAN64K: 1, DS: 1, VAX: 1, STALL_MAX: 256 })[0]!,
  AIDR: encode(AIDR, { ArchMinorRev: 2 })[0]!,
}

/** Intermediate address size (3.4). */
export function intermediateBits(features: SmmuFeatures): number {
  return Math.max(features.aarch32 ? 40 : 0, features.aarch64 ? features.oas : 0)
}

/** Whether a granule is one that the SMMU has; null is a reserved encoding. */
export function granuleSupported(features: SmmuFeatures, granuleLog2: number | null): boolean {
  if (granuleLog2 === 12) return features.gran4k
  if (granuleLog2 === 14) return features.gran16k
  return granuleLog2 === 16 && features.gran64k
}
