/**
 * What the driver writes into the tables: device table entries and GCR3 entries of each kind. AMD IOMMU specification (48882), 2.2.2.1,
 * 2.2.6.3. CPUs store 128 bits at once (CMPXCHG16B), and the IOMMU reads entries in such parts; all but the levels of guest tables is in
 * the first one.
 */
import { encode, getNumber, setField, type Values } from '../../base/layout.ts'
import { IommError } from '../../core/error.ts'
import {
  DTE,
  DTE_WORDS,
  DTE0_TV,
  DTE0_V,
  DTE1_GV,
  dteGlx,
  dteGuestPagingMode,
  dteMode,
  gcr3Root,
  setGcr3Root,
} from '../../format/amdvi/dte.ts'
import type { AmdFeatures } from '../../format/amdvi/features.ts'
import { GCR3_ENTRY, GCR3_V } from '../../format/amdvi/gcr3.ts'
import type { PtSpace } from '../../format/pt/format.ts'
import { type EntryKind, maskOf } from '../common/hitless.ts'
import type { Gcr3Table } from './tables.ts'

type DteValues = Partial<Values<typeof DTE.fields>>

/** What one device's entry has beside its domain's. */
export interface DeviceChoices {
  readonly ats: boolean
  readonly pri: boolean
  /** Responses that the IOMMU makes itself carry the PASID. */
  readonly responsePasid: boolean
  readonly pasids: boolean
}

const ALLOWED = { IR: 1, IW: 1 } as const

const choicesOf = ({ ats, pri, responsePasid }: DeviceChoices): DteValues => ({
  I: ats ? 1 : 0,
  PPR: pri ? 1 : 0,
  GPRP: pri && responsePasid ? 1 : 0,
})

/**
 * Nothing passes, and page faults are not recorded (SA): no tables, and neither reads nor writes are allowed. No ATS either, since translated
 * requests are not looked at any more; that a device asks all the same is recorded, as INVALID_DEVICE_REQUEST, which SA has no say in.
 */
export const blockedDte = () => encode(DTE, { V: 1, TV: 1, SA: 1 })

/** Addresses pass as they are. */
export const passThroughDte = (domain: number, device: DeviceChoices) =>
  encode(DTE, { V: 1, TV: 1, DomainID: domain, ...choicesOf(device), ...ALLOWED })

export const hostDte = (space: PtSpace, domain: number, device: DeviceChoices) =>
  encode(DTE, { V: 1, TV: 1, DomainID: domain, ...hostTables(space), ...choicesOf(device), ...ALLOWED })

const hostTables = ({ root, topDepth }: PtSpace): DteValues => ({ Mode: topDepth + 1, HostPageTableRootPtr: BigInt(root) })

/** @param entry0 requests without PASID use entry 0; else they pass as they are. @param levels of the guest tables. */
export function gcr3Dte(table: Gcr3Table, levels: 4 | 5, entry0: boolean, domain: number, device: DeviceChoices): Uint32Array {
  const words = encode(DTE, {
    V: 1,
    TV: 1,
    DomainID: domain,
    GV: 1,
    GIOV: entry0 ? 1 : 0,
    GLX: table.glx,
    GuestPagingMode: levels - 4,
    ...choicesOf(device),
    ...ALLOWED,
  })
  setGcr3Root(words, table.base)
  return words
}

/** The top of a page table with guest tables. */
export const gcr3Entry = (root: number) => encode(GCR3_ENTRY, { V: 1, GCR3: BigInt(root) })

/** The fields of a guest's DTE that it may choose; the rest is ours. */
const GUEST_FIELDS = [
  ...(['V', 'TV', 'PPR', 'GPRP', 'GIOV', 'GV', 'GLX', 'IR', 'IW', 'DomainID', 'I', 'SE', 'SA', 'GuestPagingMode'] as const),
  ...(['GCR3TableRootPtr[14:12]', 'GCR3TableRootPtr[30:15]', 'GCR3TableRootPtr[51:31]'] as const),
] as const

/** What a guest asks of its device, where that is not as if it had asked for nothing. */
export interface GuestDte {
  readonly domain: number
  readonly words: Uint32Array
}

/**
 * A guest's DTE, checked; null: V = 0, its device sees guest physical addresses.
 * @throws IommError BadArgument for fields that a guest has no say in, and for levels that the IOMMU has not.
 */
export function readGuestDte(guest: Uint32Array, features: AmdFeatures): GuestDte | null {
  const field = (name: (typeof GUEST_FIELDS)[number]) => getNumber(guest, DTE.fields[name])
  const other = guest.slice()
  for (const name of GUEST_FIELDS) setField(other, DTE.fields[name], 0)
  const refuse = (why: string) => {
    throw new IommError('BadArgument', `the guest's DTE ${why}`)
  }
  const stray = other.findIndex((word) => word !== 0)
  if (stray >= 0) refuse(`sets 0x${other[stray]!.toString(16)} in word ${stray}; it may set only ${GUEST_FIELDS.join(', ')}`)
  if (field('V') === 0) return null
  if (field('TV') === 1 && field('GV') === 1) {
    if (dteGlx(guest) > Math.min(2, features.glxMax)) refuse('has GCR3 tables of more levels than the IOMMU (EXT_FEATURE.GLXSup)')
    const levels = features.guestTables[dteGuestPagingMode(guest)] ?? null
    if (levels === null) refuse('has guest tables of more levels than the IOMMU (EXT_FEATURE.GATS)')
  }
  return { domain: field('DomainID'), words: guest }
}

/** A guest's DTE over our host tables: its GCR3 table and its guest tables lie behind them. @param domain ours for its DomainID. */
export function nestedDte({ words }: GuestDte, space: PtSpace, domain: number, device: DeviceChoices): Uint32Array {
  const field = (name: (typeof GUEST_FIELDS)[number]) => getNumber(words, DTE.fields[name])
  if (field('TV') === 0) return blockedDte()
  const ats = device.ats && field('I') === 1
  const entry = encode(DTE, {
    V: 1,
    TV: 1,
    DomainID: domain,
    ...hostTables(space),
    ...choicesOf({ ...device, ats, pri: device.pri && ats && field('PPR') === 1, responsePasid: field('GPRP') === 1 }),
    IR: field('IR'),
    IW: field('IW'),
    SE: field('SE'),
    SA: field('SA'),
  })
  if (field('GV') === 0) return entry
  for (const name of ['GV', 'GIOV', 'GLX', 'GuestPagingMode'] as const) setField(entry, DTE.fields[name], field(name))
  setGcr3Root(entry, gcr3Root(words))
  return entry
}

// Which bits the hardware looks at

const V_ONLY = maskOf(DTE, ['V'])
const OF_HOST_TABLES = maskOf(DTE, ['HAD', 'HostPageTableRootPtr'])
const OF_GUEST_TABLES = maskOf(DTE, [
  ...(['GIOV', 'GLX', 'GuestPagingMode'] as const),
  ...(['GCR3TableRootPtr[14:12]', 'GCR3TableRootPtr[30:15]', 'GCR3TableRootPtr[51:31]'] as const),
])
const OF_TRANSLATION = maskOf(DTE, ['Mode', 'PPR', 'GPRP', 'GV', 'IR', 'IW', 'DomainID'])

/** Fields of tables are ignored where Mode, GV or TV says that there are none. */
export function dteUsed(entry: Uint32Array): Uint32Array {
  if ((entry[0]! & DTE0_V) === 0) return V_ONLY.slice()
  const mask = new Uint32Array(DTE_WORDS).fill(0xffffffff)
  const ignore = (fields: Uint32Array) => {
    for (let word = 0; word < DTE_WORDS; word++) mask[word]! &= ~fields[word]!
  }
  const translates = (entry[0]! & DTE0_TV) !== 0
  if (!translates) ignore(OF_TRANSLATION)
  if (!translates || dteMode(entry) === 0) ignore(OF_HOST_TABLES)
  if (!translates || (entry[1]! & DTE1_GV) === 0) ignore(OF_GUEST_TABLES)
  return mask
}

/** V = 0 would let everything pass: between two entries of which neither may be seen in part stands one that blocks. */
export const DTE_KIND: EntryKind = {
  validBit: DTE.fields.V.lsb,
  atomWords: 4,
  quiet: maskOf(DTE, ['SA']),
  between: blockedDte(),
  used: dteUsed,
}

export const GCR3_KIND: EntryKind = {
  validBit: GCR3_ENTRY.fields.V.lsb,
  used: (entry) => ((entry[0]! & GCR3_V) === 0 ? Uint32Array.of(GCR3_V, 0) : Uint32Array.of(0xffffffff, 0xffffffff)),
}
