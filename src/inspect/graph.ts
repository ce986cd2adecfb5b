/**
 * What was found in a machine, ours or a real one: device table → PASID tables → address spaces. The same for every architecture;
 * `render/` draws it and knows nothing else.
 */
import type { DescribedField } from '../base/layout.ts'
import type { PtSpace } from '../format/pt/format.ts'

/** A table entry as read. */
export interface EntryView {
  /** The structure's name in the manual: `STE`, `CD`, `DC`. */
  readonly structure: string
  readonly address: bigint
  /** Raw 64-bit words. */
  readonly words: readonly bigint[]
  readonly fields: readonly DescribedField[]
}

/** Pages in a row that map alike: consecutive inputs to consecutive outputs with the same rights. End exclusive. */
export interface RangeView {
  readonly start: bigint
  readonly end: bigint
  /** Output of `start`: intermediate where the space says so, else physical. */
  readonly output: bigint
  /** Mask of UR … PX (base/types.ts). */
  readonly rights: number
  /** log2 of leaf sizes used → how many. */
  readonly leaves: ReadonlyMap<number, number>
}

/** An address space: one page table. */
export interface SpaceNode {
  readonly id: string
  /** Address of the top table; null for a space without tables (identity). */
  readonly root: bigint | null
  /** `VMSAv8-64 stage 1, 4 KiB`. */
  readonly format: string
  readonly inputBits: number
  readonly levels: number
  readonly stage: 1 | 2
  /** `io_pgtable`: entry 0 of a domain (or stage 2). `io_mm`: a process. `private`: an io_mm without process. `unknown`: cannot be told. */
  readonly role: 'io_pgtable' | 'io_mm' | 'private' | 'unknown'
  /** `mm Y`, `DMA domain of 0000:00:06.0`. */
  readonly label: string
  /** Tags: `ASID 3`, `VMID 1`. */
  readonly tags: readonly string[]
  readonly ranges: readonly RangeView[]
  readonly leafCount: number
  readonly tableCount: number
  readonly mappedBytes: bigint
  /** False when the budget ran out before all tables were read. */
  readonly complete: boolean
  /** Id of the stage 2 that this stage 1 runs over. */
  readonly over: string | null
  /** The tables themselves, for those who read on (`find.ts`). */
  readonly tables?: PtSpace
}

/** One entry of a PASID table that is in use. */
export interface PasidNode {
  readonly pasid: number
  /** `valid`; `quiet`: valid but walks nothing (process exited); `bad`: the hardware would refuse it. */
  readonly state: 'valid' | 'quiet' | 'bad'
  readonly space: string | null
  /** Space of the upper half of the addresses, where the entry has one for each half (Arm TTB1). */
  readonly upper?: string | null
  /** Why, for `bad` and `quiet`. */
  readonly note: string | null
  /** Tags of translations through this entry, where the device entry gives them (AMD DomainID): the space has those of all. */
  readonly tags?: readonly string[]
  readonly entry: EntryView
}

export interface PasidTableNode {
  readonly id: string
  readonly address: bigint
  /** `linear`, `2 levels, 4 KiB leaves`. */
  readonly layout: string
  /** Entries that the table can hold (2^PASID bits). */
  readonly capacity: number
  /** What transactions without PASID do, in words: `entry 0`, `bypass`, `abort`. */
  readonly withoutPasid: string
  /** Id of the stage 2 that all of it runs over: where `bypass` leads. */
  readonly over?: string | null
  readonly entries: readonly PasidNode[]
  /** Domain's name where it is known: `domain A`. */
  readonly label: string | null
}

export interface DeviceNode {
  readonly id: number
  /** `0000:00:06.0` or `0x30`. */
  readonly name: string
  /** What it is: `iommulab, 1b36:0005`. */
  readonly detail: string | null
  readonly domain: string | null
  /** What the device table entry says: `tables` (a PASID table or a page table), `bypass`, `abort`, `bad`, `none` (no valid entry). */
  readonly state: 'tables' | 'bypass' | 'abort' | 'bad' | 'none'
  readonly pasidTable: string | null
  /** Space reached without any PASID table (stage 2 only, legacy tables). */
  readonly space: string | null
  readonly note: string | null
  readonly entry: EntryView | null
  /** Which field says that its translated requests (ATS) are believed without a look at the tables: `EATS = 1`. */
  readonly ats?: string | null
}

/** Something in the tables that is wrong or cannot be read. */
export interface Finding {
  readonly severity: 'error' | 'warning' | 'note'
  readonly place: string
  readonly text: string
}

/** A fault (or page request) that the hardware recorded and that its queue still holds. */
export interface EventView {
  /** The record's name in the manual: `F_TRANSLATION`. */
  readonly name: string
  readonly address: bigint
  readonly words: readonly bigint[]
  readonly fields: readonly DescribedField[]
  readonly device: number | null
  readonly pasid: number | null
  /** Software has not read it yet. */
  readonly pending: boolean
  /** In words: `0000:00:06.0 write 0x7700000000: no valid entry for the address`. */
  readonly text: string
}

export interface RegisterView {
  readonly name: string
  readonly offset: number
  readonly value: bigint
  readonly fields: readonly DescribedField[]
}

export interface MachineGraph {
  /** `two-domains.yaml`, `arm64-smmuv3-s1`. */
  readonly title: string
  /** `Arm SMMUv3`. */
  readonly iommu: string
  /** The manual's names of the three kinds of table: [`Stream table`, `CD table`, `SubstreamID`]. */
  readonly words: {
    readonly deviceTable: string
    readonly deviceEntry: string
    readonly pasidTable: string
    readonly pasidEntry: string
    readonly pasid: string
  }
  readonly enabled: boolean
  /** Address of the device table, and its form. */
  readonly deviceTable: { readonly address: bigint; readonly layout: string; readonly entries: number } | null
  readonly registers: readonly RegisterView[]
  readonly devices: readonly DeviceNode[]
  readonly pasidTables: readonly PasidTableNode[]
  readonly spaces: readonly SpaceNode[]
  readonly findings: readonly Finding[]
  /** Newest first, the last few of many; queues keep records that software has read until they are overwritten. */
  readonly events?: readonly EventView[]
  /** Device table entries with the same meaning that are not listed one by one: `757 entries: abort`. */
  readonly rest: readonly string[]
}

/** What lies in physical memory, end exclusive. */
export interface MemoryRegion {
  readonly start: bigint
  readonly end: bigint
  /** As `/proc/iomem` calls it: `System RAM`, `Kernel code`. */
  readonly name: string
}

export interface DeviceName {
  readonly name: string
  /** For people: `nvme, 1b36:0010, group 3`. */
  readonly detail?: string
  readonly domain?: string
  /** What is known of a PCI device, as captures call it. */
  readonly pci?: {
    readonly vendor?: number
    readonly device?: number
    readonly driver?: string | null
    readonly iommu_group?: number | null
  }
}

/** Names that the tables do not hold. */
export interface Names {
  /** By device id. */
  readonly devices?: ReadonlyMap<number, DeviceName>
  /** By root address of a page table. */
  readonly spaces?: ReadonlyMap<bigint, { readonly label: string; readonly role: SpaceNode['role'] }>
  /** Larger regions before those inside them. */
  readonly memory?: readonly MemoryRegion[]
}
