/** What a driver knows of devices, domains and address spaces. */
import type { DriverDevice, DriverDomain } from '../../core/driver.ts'
import type { DriverPgtable } from './pgtable.ts'

/** A domain's PASID table. */
export interface PasidTable {
  readonly base: number
  /** log2 of the entries that it can hold. */
  readonly bits: number
  /** Where the entry lies; null while its part of the table does not exist. */
  find(pasid: number): number | null
  /** As `find`, with the part if there was none (`grew`). */
  make(pasid: number): { entry: number; grew: boolean }
  /** Gives the memory back. Only when the hardware cannot reach it any more. */
  free(): void
}

/** An address space that PASID table entries describe: a domain's own (entry 0), a private one, or a process. */
export interface AddressSpace {
  readonly name: string
  /** Tag of its cached translations: ASID, PSCID. */
  tag: number
  /** While it moves from one tag to another, both may be in use. */
  oldTag: number | null
  /** The CPU's tables. */
  readonly shared: boolean
  /** The process is gone. */
  exited: boolean
  /** Null when the CPU has it. */
  readonly pgtable: DriverPgtable | null
  /** log2 of its page size. */
  readonly granuleLog2: number
  /** The PASID table entry of this address space, in this domain; once it has exited, the one that leads nowhere. */
  entry(domain: DomainState): Uint32Array
  /** Domains with an entry for it, and the PASID of the entry. */
  readonly places: Map<DomainState, number>
}

/** Stage 2 of a domain. */
export interface Stage2 {
  /** Tag of its cached translations: VMID, GSCID. */
  readonly tag: number
  readonly pgtable: DriverPgtable
}

export interface DomainState {
  readonly domain: DriverDomain
  readonly devices: Set<DeviceState>
  /** Whether its devices' faults stall: one answer for all. Always false where nothing stalls. */
  stall: boolean
  /** PASID table; null until something needs it. */
  table: PasidTable | null
  /** Entry 0: stage 1 of a `dma` domain. */
  readonly own: AddressSpace | null
  readonly stage2: Stage2 | null
  /** By PASID, entry 0 not counted. */
  readonly entries: Map<number, AddressSpace>
}

export interface DeviceState {
  readonly device: DriverDevice
  /** Where its device table entry lies. */
  readonly entry: number
  domain: DomainState | null
  /** A guest's device table entry, in a `nested` domain; null: the guest has not set one up. */
  guest: Uint32Array | null
}
