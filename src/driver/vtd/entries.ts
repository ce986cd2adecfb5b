/**
 * What the driver writes into the tables: context entries and PASID table entries of each kind. Intel VT-d 4.1, sections 9.3, 9.4, 9.6.
 * CPUs store 128 bits at once (CMPXCHG16B), and the IOMMU may read an entry in parts of 128 bits: so such a part is never seen half, and an
 * entry of several parts may be. An entry that goes is made not present first, and cleared when nothing of it is cached (6.5.3.3).
 */
import { encode, getNumber, setField, type Values } from '../../base/layout.ts'
import { IommError } from '../../core/error.ts'
import type { PtSpace } from '../../format/pt/format.ts'
import { checkPasid } from '../../format/vtd/check.ts'
import { CONTEXT_ENTRY, SM_CONTEXT_ENTRY, TT_DEVICE_TLB, TT_PASS_THROUGH, TT_UNTRANSLATED } from '../../format/vtd/contexts.ts'
import type { VtdFeatures } from '../../format/vtd/features.ts'
import {
  FSPM_4_LEVEL,
  FSPM_5_LEVEL,
  PASID_ENTRY,
  PASID_FPD,
  PASID_P,
  PGTT_FIRST_STAGE,
  PGTT_NESTED,
  PGTT_PASS_THROUGH,
  PGTT_SECOND_STAGE,
  pgttOf,
} from '../../format/vtd/pasid.ts'
import { type EntryKind, maskOf } from '../common/hitless.ts'
import { largestAw } from './spaces.ts'
import type { PasidDirectory } from './tables.ts'

type PasidValues = Partial<Values<typeof PASID_ENTRY.fields>>

const DEPTH_OF_AW = 1

// Context entries of legacy mode

/** Nothing passes, and nothing is recorded: "FPD is evaluated irrespective of P". */
export const blockedContext = () => encode(CONTEXT_ENTRY, { FPD: 1 })

export const secondStageContext = (space: PtSpace, did: number, ats: boolean) =>
  encode(CONTEXT_ENTRY, {
    P: 1,
    TT: ats ? TT_DEVICE_TLB : TT_UNTRANSLATED,
    SSPTPTR: BigInt(space.root),
    AW: space.topDepth - DEPTH_OF_AW,
    DID: did,
  })

/** Addresses pass as they are. Translation requests are refused in that mode (TT = 10b). */
export const passThroughContext = (features: VtdFeatures, did: number) =>
  encode(CONTEXT_ENTRY, { P: 1, TT: TT_PASS_THROUGH, AW: largestAw(features), DID: did })

// Context entries of scalable mode

export const blockedSmContext = () => encode(SM_CONTEXT_ENTRY, { FPD: 1 })

/** What one device's entry has beside its domain's. */
export interface DeviceChoices {
  readonly ats: boolean
  readonly pri: boolean
  readonly pasids: boolean
}

/** Requests without PASID use entry 0. */
export const directoryContext = (directory: PasidDirectory, { ats, pri, pasids }: DeviceChoices) =>
  encode(SM_CONTEXT_ENTRY, {
    P: 1,
    DTE: ats ? 1 : 0,
    PASIDE: pasids ? 1 : 0,
    PRE: pri ? 1 : 0,
    PDTS: directory.pdts,
    PASIDDIRPTR: BigInt(directory.base),
  })

// PASID table entries

/** No address space, and nothing is recorded. */
export const quietPasid = () => encode(PASID_ENTRY, { FPD: 1 })
export const noPasid = () => encode(PASID_ENTRY, {})

/** Walks are coherent with the CPUs' caches. */
const snoops = (features: VtdFeatures): PasidValues => (features.coherentWalks ? { PWSNP: 1 } : {})

function firstStage(space: PtSpace, features: VtdFeatures, privileged: boolean): PasidValues {
  return {
    // The manual's SRE: privileged requests are allowed.
    SRE: privileged && features.privilegedRequests ? 1 : 0,
    WPE: 1,
    ...(features.executeRequests ? { ERE: 1, NXE: 1 } : {}),
    FSPM: space.topDepth === 3 ? FSPM_4_LEVEL : FSPM_5_LEVEL,
    FSPTPTR: BigInt(space.root),
  }
}

const secondStage = ({ root, topDepth }: PtSpace): PasidValues => ({ AW: topDepth - DEPTH_OF_AW, SSPTPTR: BigInt(root) })

/** A first-stage table of ours: its pages are user pages, which privileged requests may use too. */
export const privatePasid = (space: PtSpace, features: VtdFeatures, did: number) =>
  encode(PASID_ENTRY, { P: 1, PGTT: PGTT_FIRST_STAGE, DID: did, ...snoops(features), ...firstStage(space, features, true) })

export const secondStagePasid = (space: PtSpace, features: VtdFeatures, did: number) =>
  encode(PASID_ENTRY, { P: 1, PGTT: PGTT_SECOND_STAGE, DID: did, ...snoops(features), ...secondStage(space) })

/** Requests pass as they are. AW is a width that the IOMMU has, though no table is walked. */
export const passThroughPasid = (features: VtdFeatures, did: number) =>
  encode(PASID_ENTRY, { P: 1, PGTT: PGTT_PASS_THROUGH, AW: largestAw(features), DID: did, ...snoops(features) })

/**
 * A process. No privileged requests (SRE = 0): the CPU's table holds the kernel's pages too.
 * @param exited address of a table of zeros, when the process is gone: the entry leads nowhere, and its faults are not recorded. It stays
 * present, so that a translation request is answered with no access.
 */
export const sharedPasid = (space: PtSpace, features: VtdFeatures, did: number, exited: number | null) =>
  encode(PASID_ENTRY, {
    P: 1,
    FPD: exited === null ? 0 : 1,
    PGTT: PGTT_FIRST_STAGE,
    DID: did,
    ...snoops(features),
    ...firstStage(space, features, false),
    ...(exited === null ? {} : { FSPTPTR: BigInt(exited) }),
  })

/** The fields of a guest's PASID table entry that it may choose; the rest is ours. */
const GUEST_FIELDS = ['P', 'FPD', 'PGTT', 'DID', 'PWSNP', 'SRE', 'ERE', 'FSPM', 'WPE', 'NXE', 'SMEP', 'EAFE', 'FSPTPTR'] as const
/** Those of its first stage that ours has as they are. */
const GUEST_FIRST_STAGE = ['SRE', 'ERE', 'FSPM', 'WPE', 'NXE', 'SMEP', 'EAFE'] as const

/**
 * What a guest's PASID table entry becomes over our second stage: its first stage is nested, its pass-through is our second stage alone.
 * Anything else is not an address space: the guest sees an IOMMU without second stage.
 */
export function guestPasid(guest: Uint32Array, stage2: PtSpace, features: VtdFeatures, did: number): Uint32Array {
  if ((guest[0]! & PASID_P) === 0) return (guest[0]! & PASID_FPD) !== 0 ? quietPasid() : noPasid()
  const quiet: PasidValues = { FPD: (guest[0]! & PASID_FPD) === 0 ? 0 : 1 }
  const other = guest.slice()
  const pgtt = pgttOf(guest[0]!)
  if (pgtt === PGTT_PASS_THROUGH) {
    setField(other, PASID_ENTRY.fields.AW, 0)
    for (const name of GUEST_FIELDS) setField(other, PASID_ENTRY.fields[name], 0)
    if (other.some((word) => word !== 0)) return noPasid()
    return encode(PASID_ENTRY, { P: 1, ...quiet, PGTT: PGTT_SECOND_STAGE, DID: did, ...snoops(features), ...secondStage(stage2) })
  }
  for (const name of GUEST_FIELDS) setField(other, PASID_ENTRY.fields[name], 0)
  if (pgtt !== PGTT_FIRST_STAGE || !features.nested || other.some((word) => word !== 0)) return noPasid()
  const nested = encode(PASID_ENTRY, { P: 1, ...quiet, PGTT: PGTT_NESTED, DID: did, ...snoops(features), ...secondStage(stage2) })
  for (const name of GUEST_FIRST_STAGE) setField(nested, PASID_ENTRY.fields[name], getNumber(guest, PASID_ENTRY.fields[name]))
  // 52 bits of address, as they are.
  const pointer = PASID_ENTRY.fields.FSPTPTR.lsb >>> 5
  nested[pointer]! |= guest[pointer]! & ~0xfff
  nested[pointer + 1] = guest[pointer + 1]!
  // What the IOMMU would refuse for its form, reserved bits among it, would be our mistake.
  return checkPasid(nested, 0, features) === 0 ? nested : noPasid()
}

/** The fields of a guest's context entry that it may choose. */
const GUEST_CONTEXT = ['P', 'FPD', 'DTE', 'PASIDE', 'PRE', 'PDTS', 'PASIDDIRPTR'] as const

/**
 * A guest's context entry over our copy of its PASID directory; not present: nothing passes.
 * @throws IommError BadArgument for fields that a guest has no say in.
 */
export function guestContext(guest: Uint32Array, copy: PasidDirectory | null, device: DeviceChoices): Uint32Array {
  const field = (name: (typeof GUEST_CONTEXT)[number]) => getNumber(guest, SM_CONTEXT_ENTRY.fields[name])
  const other = guest.slice()
  for (const name of GUEST_CONTEXT) setField(other, SM_CONTEXT_ENTRY.fields[name], 0)
  const stray = other.findIndex((word) => word !== 0)
  if (stray >= 0)
    throw new IommError(
      'BadArgument',
      `the guest's context entry sets 0x${other[stray]!.toString(16)} in word ${stray}; it may set only ${GUEST_CONTEXT.join(', ')}`,
    )
  if (copy === null || field('P') === 0) return encode(SM_CONTEXT_ENTRY, { FPD: field('FPD') })
  const ats = device.ats && field('DTE') === 1
  const choices = { ats, pri: device.pri && ats && field('PRE') === 1, pasids: device.pasids && field('PASIDE') === 1 }
  const entry = directoryContext(copy, choices)
  setField(entry, SM_CONTEXT_ENTRY.fields.FPD, field('FPD'))
  return entry
}

// Which bits the hardware looks at

const P_AND_FPD = PASID_P | PASID_FPD

function wholeWhenPresent(entry: Uint32Array): Uint32Array {
  const mask = new Uint32Array(entry.length)
  if ((entry[0]! & PASID_P) === 1) mask.fill(0xffffffff)
  else mask[0] = P_AND_FPD
  return mask
}

const QUIET = (words: number) => Uint32Array.from({ length: words }, (_, word) => (word === 0 ? PASID_FPD : 0))

/** Both forms of context entries. Everything that counts lies in the first part, so every change is hitless. */
export const contextKind = (words: number): EntryKind => ({
  validBit: 0,
  atomWords: 4,
  quiet: QUIET(words),
  used: wholeWhenPresent,
})

const OF_FIRST_STAGE = maskOf(PASID_ENTRY, ['SRE', 'ERE', 'FSPM', 'WPE', 'NXE', 'SMEP', 'EAFE', 'FSPTPTR'])
const OF_SECOND_STAGE = maskOf(PASID_ENTRY, ['SSEE', 'SSADE', 'SSPTPTR'])
const OF_WIDTH = maskOf(PASID_ENTRY, ['AW'])

/** Section 9.6: fields of a stage are ignored where PGTT says that there is none. */
export function pasidUsed(entry: Uint32Array): Uint32Array {
  const mask = wholeWhenPresent(entry)
  if ((entry[0]! & PASID_P) === 0) return mask
  const pgtt = pgttOf(entry[0]!)
  const ignore = (fields: Uint32Array) => {
    for (let word = 0; word < mask.length; word++) mask[word]! &= ~fields[word]!
  }
  if (pgtt === PGTT_SECOND_STAGE || pgtt === PGTT_PASS_THROUGH) ignore(OF_FIRST_STAGE)
  if (pgtt === PGTT_FIRST_STAGE || pgtt === PGTT_PASS_THROUGH) ignore(OF_SECOND_STAGE)
  if (pgtt === PGTT_FIRST_STAGE) ignore(OF_WIDTH)
  return mask
}

export const PASID_KIND: EntryKind = { validBit: 0, atomWords: 4, quiet: QUIET(PASID_ENTRY.bits / 32), used: pasidUsed }
