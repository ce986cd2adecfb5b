/** Interrupt remapping table entries. AMD IOMMU specification (48882), 2.2.5 "Interrupt Remapping Tables". */
import { addr, flag, getBits, layout, oneOf, uint, type Words } from '../../base/layout.ts'

/** IntType: delivery modes as the APIC numbers them. */
export const INT_TYPES = { 0: 'Fixed', 1: 'Arbitrated' }

const RemapEn = flag(0, 'remap; 0: abort')
const SupIOPF = flag(1, 'an aborted interrupt makes no event')
const IntType = oneOf(4, 2, INT_TYPES, 'delivery mode')
const RqEoi = flag(5, 'the end of interrupt is broadcast')
const DM = oneOf(6, 6, { 0: 'physical', 1: 'logical' }, 'destination mode')
const GuestMode = flag(7, 'delivered to a virtual APIC')

/** The short form, 4 bytes, where CONTROL.GAEn is 0. */
export const IRTE32 = layout('IRTE (32 bit)', 32, {
  RemapEn,
  SupIOPF,
  IntType,
  RqEoi,
  DM,
  GuestMode,
  Destination: uint(15, 8, 'APIC ID'),
  Vector: uint(23, 16, 'vector'),
})

/** The long form, 16 bytes, where CONTROL.GAEn is 1, with GuestMode = 0. Destinations above 8 bits need CONTROL.XTEn. */
export const IRTE128 = layout('IRTE (128 bit)', 128, {
  RemapEn,
  SupIOPF,
  IntType,
  RqEoi,
  DM,
  GuestMode,
  'Destination[23:0]': uint(31, 8, 'APIC ID, bits 23:0 (7:0 without XTEn)'),
  Vector: uint(71, 64, 'vector'),
  'Destination[31:24]': uint(127, 120, 'APIC ID, bits 31:24'),
})

/** The long form with GuestMode = 1: the interrupt is posted to a virtual APIC. */
export const IRTE128_GUEST = layout('IRTE (128 bit, guest mode)', 128, {
  RemapEn,
  SupIOPF,
  GALogIntr: flag(2, 'an entry in the guest APIC log when the guest does not run'),
  GAPPIDis: flag(5, 'no interrupt to the host when the guest does not run'),
  IsRun: flag(6, 'the guest runs'),
  GuestMode,
  'Destination[23:0]': uint(31, 8, 'APIC ID of the doorbell, bits 23:0'),
  GATag: uint(63, 32, 'tag in the guest APIC log'),
  Vector: uint(71, 64, 'vector'),
  GuestAPICTableRootPtr: addr(115, 76, 'backing page of the virtual APIC', 12),
  'Destination[31:24]': uint(127, 120, 'APIC ID of the doorbell, bits 31:24'),
})

export const IRTE0_REMAP_EN = 1 << 0
export const IRTE0_SUP_IOPF = 1 << 1
export const IRTE0_DM = 1 << 6
export const IRTE0_GUEST_MODE = 1 << 7

/** The APIC ID of the long form, gathered from its two fields. */
export function irteDestination(words: Words, at = 0): number {
  return getBits(words, 127, 120, at) * 2 ** 24 + getBits(words, 31, 8, at)
}
