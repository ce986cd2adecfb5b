/** What the driver writes into the directories: device contexts and process contexts of each kind. RISC-V IOMMU 1.0, "Data Structures". */
import { encode, getNumber, setField, type Values } from '../../base/layout.ts'
import { IommError } from '../../core/error.ts'
import type { PtSpace } from '../../format/pt/format.ts'
import { DC, DC_BASE, PC } from '../../format/riscv/contexts.ts'
import type { RiscvFeatures } from '../../format/riscv/features.ts'
import type { EntryKind } from '../common/hitless.ts'
import type { Mode } from './spaces.ts'

type DcValues = Partial<Values<typeof DC_BASE.fields>>

/** 32-bit words of a device context. */
export function dcWords(features: RiscvFeatures): number {
  return (features.extended ? DC : DC_BASE).bits / 32
}

/** The fields that base format and extended format share; of the latter, MSI translation stays off. */
function dc(features: RiscvFeatures, values: DcValues): Uint32Array {
  const words = new Uint32Array(dcWords(features))
  words.set(encode(DC_BASE, values))
  return words
}

/** What one device's context has beside its domain's. */
export interface DeviceChoices {
  readonly ats: boolean
  readonly pri: boolean
  /** Responses that the IOMMU makes itself carry the PASID. */
  readonly prpr: boolean
  /** Hardware sets A and D in first stages. */
  readonly updates: boolean
}

function choicesOf({ ats, pri, prpr, updates }: DeviceChoices): DcValues {
  return { 'tc.EN_ATS': ats ? 1 : 0, 'tc.EN_PRI': pri ? 1 : 0, 'tc.PRPR': prpr ? 1 : 0, 'tc.SADE': updates ? 1 : 0 }
}

/**
 * Nothing passes, and nothing is recorded: the table is empty, and tc.DTF keeps its faults quiet. V = 0 would be recorded each time (cause
 * 258 is reported whatever DTF says). Without a first stage there is nothing but that.
 */
export function blockedDc(features: RiscvFeatures, mode: Mode | null, empty: number): Uint32Array {
  if (mode === null) return dc(features, {})
  return dc(features, { 'tc.V': 1, 'tc.DTF': 1, 'fsc.MODE': mode.number, 'fsc.PPN': BigInt(empty) })
}

/** Everything passes as it is; process_ids are refused. */
export function identityDc(features: RiscvFeatures, device: DeviceChoices): Uint32Array {
  return dc(features, { 'tc.V': 1, ...choicesOf(device) })
}

/** Through a process directory. */
export interface DirectoryChoices {
  readonly base: number
  readonly mode: number
  /** Requests without process_id use entry 0; else they have no first stage. */
  readonly entry0: boolean
  /** Faults are not reported. */
  readonly quiet: boolean
}

export function directoryDc(features: RiscvFeatures, directory: DirectoryChoices, device: DeviceChoices): Uint32Array {
  return dc(features, {
    'tc.V': 1,
    'tc.PDTV': 1,
    'tc.DPE': directory.entry0 ? 1 : 0,
    'tc.DTF': directory.quiet ? 1 : 0,
    ...choicesOf(device),
    'fsc.MODE': directory.mode,
    'fsc.PPN': BigInt(directory.base),
  })
}

/** Without process directory: the IOMMU has none. */
export function firstStageDc(
  features: RiscvFeatures,
  space: PtSpace,
  mode: Mode,
  pscid: number,
  device: DeviceChoices,
): Uint32Array {
  return dc(features, {
    'tc.V': 1,
    ...choicesOf(device),
    'ta.PSCID': pscid,
    'fsc.MODE': mode.number,
    'fsc.PPN': BigInt(space.root),
  })
}

function stage2Values(space: PtSpace, mode: Mode, gscid: number): DcValues {
  return { 'iohgatp.MODE': mode.number, 'iohgatp.GSCID': gscid, 'iohgatp.PPN': BigInt(space.root) }
}

export function secondStageDc(
  features: RiscvFeatures,
  space: PtSpace,
  mode: Mode,
  gscid: number,
  device: DeviceChoices,
): Uint32Array {
  return dc(features, { 'tc.V': 1, ...choicesOf({ ...device, updates: false }), ...stage2Values(space, mode, gscid) })
}

/** The fields of a guest's DC that it may choose; the rest is ours. */
const GUEST_FIELDS = ['tc.V', 'tc.EN_ATS', 'tc.DTF', 'tc.PDTV', 'tc.DPE', 'tc.SADE', 'ta.PSCID', 'fsc.MODE', 'fsc.PPN'] as const

/**
 * A guest's DC over our second stage; its process directory and tables lie behind it. Not valid: nothing passes.
 * @throws IommError BadArgument for fields that a guest has no say in.
 */
export function nestedDc(
  features: RiscvFeatures,
  guest: Uint32Array,
  space: PtSpace,
  mode: Mode,
  gscid: number,
  device: DeviceChoices,
): Uint32Array | null {
  const field = (name: (typeof GUEST_FIELDS)[number]) => getNumber(guest, DC.fields[name])
  if (field('tc.V') === 0) return null
  const other = guest.slice()
  for (const name of GUEST_FIELDS) setField(other, DC.fields[name], 0)
  const stray = other.findIndex((word) => word !== 0)
  if (stray >= 0)
    throw new IommError(
      'BadArgument',
      `the guest's DC sets 0x${other[stray]!.toString(16)} in word ${stray}; it may set only ${GUEST_FIELDS.join(', ')}`,
    )
  const ats = device.ats && field('tc.EN_ATS') === 1
  const nested = dc(features, {
    'tc.V': 1,
    ...choicesOf({ ats, pri: device.pri && ats, prpr: device.prpr && ats, updates: field('tc.SADE') === 1 && features.hwad }),
    ...stage2Values(space, mode, gscid),
  })
  for (const name of ['tc.DTF', 'tc.PDTV', 'tc.DPE', 'ta.PSCID', 'fsc.MODE'] as const)
    setField(nested, DC.fields[name], field(name))
  // 44 bits of page number, as they are.
  const fsc = DC.fields['fsc.PPN'].lsb / 32
  nested[fsc] = guest[fsc]!
  nested[fsc + 1]! |= guest[fsc + 1]! & 0xfff
  return nested
}

/** A page table of ours: supervisor requests are allowed, and use its pages, which are all user pages. */
export function privatePc(space: PtSpace, mode: Mode, pscid: number): Uint32Array {
  return encode(PC, {
    'ta.V': 1,
    'ta.ENS': 1,
    'ta.SUM': 1,
    'ta.PSCID': pscid,
    'fsc.MODE': mode.number,
    'fsc.PPN': BigInt(space.root),
  })
}

/** A process. No supervisor requests (ENS = 0): the CPU's table holds the kernel's pages too. */
export function sharedPc(root: number, mode: number, pscid: number): Uint32Array {
  return encode(PC, { 'ta.V': 1, 'ta.PSCID': pscid, 'fsc.MODE': mode, 'fsc.PPN': BigInt(root) })
}

/** Which bits the hardware looks at: all of a valid context, else V alone. */
function wholeWhenValid(entry: Uint32Array): Uint32Array {
  const mask = new Uint32Array(entry.length)
  if ((entry[0]! & 1) === 1) mask.fill(0xffffffff)
  else mask[0] = 1
  return mask
}

/** Both kinds of context have V in bit 0. */
export const CONTEXT: EntryKind = { validBit: DC.fields['tc.V'].lsb, used: wholeWhenValid }
