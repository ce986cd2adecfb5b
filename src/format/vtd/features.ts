/** What an Intel IOMMU can do, out of CAP and ECAP, and which bits are reserved in it. Intel VT-d 4.1, sections 11.4.2, 11.4.3 and 9. */
import { type Field, getField, type Layout, setBits, uncovered, wordsFromU64 } from '../../base/layout.ts'
import { coverLog2, type PtSpace, ptSpace } from '../pt/format.ts'
import { vtdSecond } from '../pt/vtd-second.ts'
import { vtdFirst } from '../pt/x86.ts'
import { CONTEXT_ENTRY, SM_CONTEXT_ENTRY } from './contexts.ts'
import { PASID_DIR_ENTRY, PASID_ENTRY } from './pasid.ts'
import { CAP, ECAP } from './registers.ts'
import { ROOT_ENTRY, SM_ROOT_ENTRY } from './root.ts'

/** What no register tells. */
export interface VtdChoices {
  /** Host address width, which firmware tells in the DMAR table: address bits from there up are reserved in every table. 32 to 52. */
  readonly hostAddressBits: number
}

/** What a register dump must be assumed to allow. */
export const UNKNOWN_CHOICES: VtdChoices = { hostAddressBits: 52 }

export interface VtdFeatures {
  readonly cap: bigint
  readonly ecap: bigint
  /** Host address width, and 2^that: structures at or above it cannot be reached. */
  readonly hostAddressBits: number
  readonly hostLimit: number
  /** Maximum guest address width (CAP.MGAW + 1). */
  readonly guestAddressBits: number
  /** Widths of second stages, as a mask of 1 << AW (CAP.SAGAW). */
  readonly sagaw: number
  /** Width of domain ids. */
  readonly domainBits: number
  /** Width of PASIDs; 0 without ECAP.PASID. */
  readonly pasidBits: number
  readonly cachingMode: boolean
  readonly deviceTlb: boolean
  readonly passThrough: boolean
  readonly snoopControl: boolean
  readonly nested: boolean
  readonly pageRequests: boolean
  readonly executeRequests: boolean
  readonly privilegedRequests: boolean
  readonly extendedAccessed: boolean
  /** The no-write flag of translation requests counts. */
  readonly noWrite: boolean
  readonly scalable: boolean
  readonly secondStage: boolean
  readonly firstStage: boolean
  readonly secondStageAccessed: boolean
  readonly coherentWalks: boolean
  readonly ridPasid: boolean
  readonly ridPriv: boolean
  readonly abortDma: boolean
  readonly fiveLevel: boolean
  readonly interruptRemapping: boolean
  readonly extendedInterrupts: boolean
  readonly postedInterrupts: boolean
  /** Bits that must be zero, word by word. */
  readonly rootReserved: Uint32Array
  readonly smRootReserved: Uint32Array
  readonly contextReserved: Uint32Array
  /** Where TT is pass-through SSPTPTR is ignored. */
  readonly passThroughReserved: Uint32Array
  readonly smContextReserved: Uint32Array
  readonly pasidDirReserved: Uint32Array
  readonly pasidReserved: Uint32Array
  /** Second stages without a root, by AW, null where the AW is reserved: without and with execute rights (PASID_ENTRY.SSEE). */
  readonly second: readonly [readonly (PtSpace | null)[], readonly (PtSpace | null)[]]
  /** First stages without a root, by FSPM: index 1 × NXE + 2 × EAFE + 4 × nested. Nested ones hold addresses of the guest. */
  readonly first: readonly (readonly [PtSpace, PtSpace])[]
}

/** Reserved bits of a structure: those of no field, those of fields that this IOMMU lacks, and address bits above the host's width. */
function reservedOf(form: Layout, lacks: readonly (false | string)[], hostAddressBits: number): Uint32Array {
  const words = uncovered(form)
  const fill = (msb: number, lsb: number) => {
    for (let bit = lsb; bit <= msb; bit++) setBits(words, bit, bit, 1)
  }
  for (const name of lacks) if (name !== false) fill(form.fields[name]!.msb, form.fields[name]!.lsb)
  for (const field of Object.values<Field>(form.fields)) {
    const first = field.lsb - (field.lsb % 64) + hostAddressBits
    if (field.kind === 'addr') fill(field.msb, Math.max(field.lsb, first))
  }
  return words
}

export function featuresOf(cap: bigint, ecap: bigint, choices: VtdChoices = UNKNOWN_CHOICES): VtdFeatures {
  const capWords = wordsFromU64([cap])
  const ecapWords = wordsFromU64([ecap])
  const c = (field: keyof typeof CAP.fields) => Number(getField(capWords, CAP.fields[field]))
  const e = (field: keyof typeof ECAP.fields) => e1(field) === 1
  const e1 = (field: keyof typeof ECAP.fields) => Number(getField(ecapWords, ECAP.fields[field]))
  const hostAddressBits = Math.min(52, Math.max(32, choices.hostAddressBits))
  const reserved = (form: Layout, lacks: readonly (false | string)[] = []) => reservedOf(form, lacks, hostAddressBits)
  const domainBits = Math.min(16, 4 + 2 * c('ND'))
  const domain = (words: Uint32Array, lsb: number) => {
    for (let bit = lsb + domainBits; bit < lsb + 16; bit++) setBits(words, bit, bit, 1)
    return words
  }
  const contextReserved = domain(reserved(CONTEXT_ENTRY), 72)
  const passThroughReserved = contextReserved.slice()
  const pointer = CONTEXT_ENTRY.fields.SSPTPTR
  for (let bit = pointer.lsb; bit <= pointer.msb; bit++) setBits(passThroughReserved, bit, bit, 0)
  const secondOptions = {
    physicalBits: hostAddressBits,
    largePages: c('SSLPS') & 3,
    snoopControl: e('SC'),
    deviceTlb: e('DT'),
  }
  const physicalLimit = 2 ** hostAddressBits
  const guestAddressBits = c('MGAW') + 1
  const secondBy = (execute: boolean) =>
    Array.from({ length: 8 }, (_, aw) => {
      if (aw < 1 || aw > 3) return null
      const scheme = vtdSecond((aw + 2) as 3 | 4 | 5, { ...secondOptions, execute })
      // Addresses are legal up to the narrower of AW and MGAW; the root table is there whatever MGAW says.
      const inputBits = Math.max(Math.min(scheme.inputBits, guestAddressBits), coverLog2(scheme.format, scheme.topDepth))
      return ptSpace({ ...scheme, inputBits, root: 0, physicalLimit })
    })
  const firstBy = (choice: number): readonly [PtSpace, PtSpace] => {
    const nested = (choice & 4) !== 0
    const options = {
      physicalBits: nested ? 52 : hostAddressBits,
      gigapages: c('FS1GP') === 1,
      noExecute: (choice & 1) !== 0 ? ('honoured' as const) : ('ignored' as const),
      extendedAccessed: (choice & 2) !== 0,
    }
    const of = (levels: 4 | 5) => ptSpace({ ...vtdFirst(levels, options), root: 0, physicalLimit })
    return [of(4), of(5)]
  }
  return {
    cap,
    ecap,
    hostAddressBits,
    hostLimit: physicalLimit,
    guestAddressBits,
    sagaw: c('SAGAW') & 0b1110,
    domainBits,
    pasidBits: e('PASID') ? Math.min(20, e1('PSS') + 1) : 0,
    cachingMode: c('CM') === 1,
    deviceTlb: e('DT'),
    passThrough: e('PT'),
    snoopControl: e('SC'),
    nested: e('NEST'),
    pageRequests: e('PRS'),
    executeRequests: e('ERS'),
    privilegedRequests: e('SRS'),
    extendedAccessed: e('EAFS'),
    noWrite: e('NWFS'),
    scalable: e('SMTS'),
    secondStage: e('SSTS'),
    firstStage: e('FSTS'),
    secondStageAccessed: e('SSADS'),
    coherentWalks: e('SMPWCS'),
    ridPasid: e('RPS'),
    ridPriv: e('RPRIVS'),
    abortDma: e('ADMS'),
    fiveLevel: c('FS5LP') === 1,
    interruptRemapping: e('IR'),
    extendedInterrupts: e('EIM'),
    postedInterrupts: c('PI') === 1,
    rootReserved: reserved(ROOT_ENTRY),
    smRootReserved: reserved(SM_ROOT_ENTRY),
    contextReserved,
    passThroughReserved,
    smContextReserved: reserved(SM_CONTEXT_ENTRY, [
      !e('DT') && 'DTE',
      !e('PASID') && 'PASIDE',
      !e('PRS') && 'PRE',
      !e('RPS') && 'RID_PASID',
      !e('RPRIVS') && 'RID_PRIV',
    ]),
    pasidDirReserved: reserved(PASID_DIR_ENTRY),
    pasidReserved: domain(
      reserved(PASID_ENTRY, [
        ...(['SSEE', 'ERE', 'NXE', 'SMEP'] as const).map((name) => !e('ERS') && name),
        ...(['CD', 'EMTE', 'EMT', 'PWT', 'PCD', 'PAT'] as const).map((name) => !e('MTS') && name),
        !e('SSADS') && 'SSADE',
        !e('SMPWCS') && 'PWSNP',
        !e('SC') && 'PGSNP',
        !e('SRS') && 'SRE',
        !e('EAFS') && 'EAFE',
      ]),
      64,
    ),
    second: [secondBy(false), secondBy(true)],
    first: Array.from({ length: 8 }, (_, choice) => firstBy(choice)),
  }
}
