/** What an instance of the model is made of: what CAP and ECAP say, and the choices that the specification leaves to implementations. */
import { encode, type Values, wordsToU64 } from '../../base/layout.ts'
import { CAP, ECAP } from '../../format/vtd/registers.ts'

export interface VtdCaches {
  /** Context entries. Each of these sizes is 0 (none) or a power of two. */
  readonly contexts: number
  /** PASID table entries. */
  readonly pasids: number
  /** Interrupt remapping table entries. */
  readonly interrupts: number
  /** IOTLB: rounded up to a power of two, at least 4; 0: none. */
  readonly translations: number
}

export interface VtdOptions {
  /** Fields of CAP and ECAP that differ from the defaults, which have everything but what is obsolete. */
  readonly cap?: Partial<Values<typeof CAP.fields>>
  readonly ecap?: Partial<Values<typeof ECAP.fields>>
  /** Host address width, which firmware tells software in the DMAR table. Default 52. */
  readonly hostAddressBits?: number
  /** Faults of a source-id of which one is pending are not recorded (7.2.1). Default: each is. */
  readonly collapseFaults?: boolean
  /** Descriptors are processed by `step` only. Default: at once. */
  readonly deferred?: boolean
  /** Device-TLB invalidations that can be under way (ITags). Default 32. */
  readonly invalidationTags?: number
  readonly caches?: Partial<VtdCaches>
}

/** Major version 5: the last with register-based invalidation. */
export const VERSION = 0x50

const DEFAULT_CAP: Partial<Values<typeof CAP.fields>> = {
  ND: 6,
  PLMR: 1,
  PHMR: 1,
  SAGAW: 0b01110,
  MGAW: 56,
  ZLR: 1,
  FRO: 0x22,
  SSLPS: 3,
  PSI: 1,
  NFR: 7,
  MAMV: 18,
  DWD: 1,
  DRD: 1,
  FS1GP: 1,
  PI: 1,
  FS5LP: 1,
  ESIRTPS: 1,
  ESRTPS: 1,
}

const DEFAULT_ECAP: Partial<Values<typeof ECAP.fields>> = {
  C: 1,
  QI: 1,
  DT: 1,
  IR: 1,
  EIM: 1,
  PT: 1,
  SC: 1,
  IRO: 0x0f,
  MHMV: 15,
  NEST: 1,
  PRS: 1,
  SRS: 1,
  NWFS: 1,
  EAFS: 1,
  PSS: 19,
  PASID: 1,
  DIT: 1,
  PDS: 1,
  SMTS: 1,
  SSADS: 1,
  SSTS: 1,
  FSTS: 1,
  SMPWCS: 1,
  RPS: 1,
  ADMS: 1,
  RPRIVS: 1,
}

export const DEFAULT_CACHES: VtdCaches = { contexts: 256, pasids: 1024, interrupts: 256, translations: 4096 }

/** The CAP register of these options. */
export function capOf(options: VtdOptions): bigint {
  return wordsToU64(encode(CAP, { ...DEFAULT_CAP, ...options.cap }))[0]!
}

/** The ECAP register of these options. */
export function ecapOf(options: VtdOptions): bigint {
  return wordsToU64(encode(ECAP, { ...DEFAULT_ECAP, ...options.ecap }))[0]!
}
