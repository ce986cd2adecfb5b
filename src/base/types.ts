/** The words that all parts share: who asks for which address, and what comes back. See docs/architecture.md. */

declare const brand: unique symbol
type Branded<T, Name> = T & { readonly [brand]?: Name }

/** A requester: StreamID (Arm), source-id (Intel), DeviceID (AMD), device_id (RISC-V). */
export type DeviceId = Branded<number, 'DeviceId'>
/** Process address space id: SubstreamID (Arm), PASID, process_id (RISC-V). 20 bits at most (PCIe). */
export type Pasid = Branded<number, 'Pasid'>
/** The address that a device uses. */
export type Iova = Branded<bigint, 'Iova'>
/** Intermediate physical address: output of stage 1 where there is a stage 2. */
export type Ipa = Branded<bigint, 'Ipa'>
/** System physical address. */
export type PhysAddr = Branded<bigint, 'PhysAddr'>

/** The largest PASID, by PCI Express (20 bits). */
export const PASID_LIMIT = 1 << 20

export type Access = 'read' | 'write' | 'execute'

/** What a device puts on the bus. */
export interface Transaction {
  readonly device: DeviceId
  /** Absent: a transaction without PASID, which is not the same as PASID 0. */
  readonly pasid?: Pasid
  readonly iova: Iova
  readonly access: Access
  readonly privileged?: boolean
  /**
   * `untranslated` (default): an ordinary access. `ats-request`: the device asks for a translation to cache. `translated`: the
   * device uses a translation that it got before; `iova` is the translated address.
   */
  readonly kind?: 'untranslated' | 'ats-request' | 'translated'
}

/** Rights by privilege, as a mask. */
export const UR = 1
export const UW = 2
export const UX = 4
export const PR = 8
export const PW = 16
export const PX = 32
export const ALL_RIGHTS = 63

/** The one right that an access needs. */
export function neededRight(access: Access, privileged: boolean): number {
  const right = access === 'read' ? UR : access === 'write' ? UW : UX
  return privileged ? right << 3 : right
}

/** `rw-`, or `rw-/r--` (unprivileged/privileged) where they differ. */
export function rightsText(rights: number): string {
  const three = (bits: number) => `${bits & 1 ? 'r' : '-'}${bits & 2 ? 'w' : '-'}${bits & 4 ? 'x' : '-'}`
  const user = three(rights & 7)
  const privileged = three(rights >>> 3)
  return user === privileged ? user : `${user}/${privileged}`
}

/** A transaction that reached memory (or would have). */
export interface Translation {
  readonly ok: true
  readonly pa: PhysAddr
  /** log2 of the bytes around `pa` that translate alike. */
  readonly sizeLog2: number
  /** What the tables allow there, as a mask of UR … PX. */
  readonly rights: number
  /** Whether a cache of the IOMMU answered. */
  readonly cached: boolean
}

/** A transaction that did not. What the hardware records about it is in `record`. */
export interface Fault {
  readonly ok: false
  /** The specification's number: SMMUv3 event type, RISC-V cause, VT-d fault reason, AMD event code. */
  readonly code: number
  /** The specification's name, as printed: `F_TRANSLATION`. */
  readonly name: string
  readonly device: DeviceId
  readonly pasid: Pasid | null
  readonly iova: Iova
  readonly access: Access
  readonly privileged: boolean
  /** Stage that refused; null when no stage was reached. */
  readonly stage: 1 | 2 | null
  /** Level of the entry that decided, numbered as the format does; null when no page-table entry decided. */
  readonly level: number | null
  /** Intermediate address at stage 2. */
  readonly ipa: Ipa | null
  /** Where the entry that decided lies; null when none was read. */
  readonly entryAddress: PhysAddr | null
  /** That entry's (first) 64-bit word. */
  readonly entry: bigint | null
  /** The rule that decided, in words with the specification's section. */
  readonly why: string
  /** The record as the hardware writes it, 64-bit words; null when it records nothing (silent abort, or faults suppressed). */
  readonly record: readonly bigint[] | null
  /** What the device sees. `stalled`: nothing yet, the IOMMU holds the transaction under `stallTag`. */
  readonly response: 'abort' | 'read-zero' | 'stalled' | 'unsupported-request' | 'completer-abort' | 'no-access'
  readonly stallTag?: number
}

export type Outcome = Translation | Fault
