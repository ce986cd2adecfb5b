/** What the driver knows of devices, domains and address spaces. */
import type { DriverDevice, DriverDomain } from '../../core/driver.ts'
import type { CdTable } from './cd-table.ts'
import type { DriverPgtable } from './pgtable.ts'

/** An address space that CDs describe: a domain's own (entry 0), a private one, or a process. */
export interface AddressSpace {
  readonly name: string
  /** Tag of its cached translations. */
  asid: number
  /** While it moves from one ASID to another, both may be in use. */
  oldAsid: number | null
  /** The CPU's ASID and tables. */
  readonly shared: boolean
  /** The process is gone. */
  exited: boolean
  /** Null when the CPU has it. */
  readonly pgtable: DriverPgtable | null
  /** The CD of this address space, in a domain whose devices stall or do not. */
  cd(stall: boolean): Uint32Array
  /** Domains with an entry for it, and the PASID of the entry. */
  readonly places: Map<DomainState, number>
}

/** Stage 2 of a domain. */
export interface Stage2 {
  readonly vmid: number
  readonly pgtable: DriverPgtable
}

export interface DomainState {
  readonly domain: DriverDomain
  readonly devices: Set<DeviceState>
  /** Whether its devices' faults stall: one CD.S for all. */
  stall: boolean
  /** PASID table; null until something needs it. */
  table: CdTable | null
  /** Entry 0: stage 1 of a `dma` domain. */
  readonly own: AddressSpace | null
  readonly stage2: Stage2 | null
  /** By PASID, entry 0 not counted. */
  readonly entries: Map<number, AddressSpace>
}

export interface DeviceState {
  readonly device: DriverDevice
  /** Where its STE lies. */
  readonly ste: number
  domain: DomainState | null
  /** A guest's STE, in a `nested` domain; null: the guest has not set one up. */
  guest: Uint32Array | null
}
