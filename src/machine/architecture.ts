/** What a machine needs of an architecture: how to build its hardware and its driver, and its words. */
import type { Op } from '../base/op.ts'
import type { DeviceCapabilities, IommuDriver } from '../core/driver.ts'
import type { CpuDescription } from '../mm/system.ts'
import type { IommuModel } from '../model/iommu.ts'
import type { Guest, GuestWanted } from './guest.ts'
import type { Keys } from './language/object.ts'
import type { CacheName, FaultKind, Trait } from './language/words.ts'
import type { MachineMemory } from './memory.ts'

/** What the CPUs of a scenario are. */
export interface CpuChoice {
  readonly pageSize?: '4K' | '16K' | '64K'
  readonly addressBits?: number
  readonly asidBits?: number
  readonly cpus?: number
  readonly asidsTaken?: number
  readonly kpti?: boolean
  readonly hardwareUpdates?: 'none' | 'access' | 'dirty'
}

/** A command on its way from the driver to the hardware. */
export interface SeenCommand {
  /** The specification's name: `CMD_TLBI_NH_ASID`. */
  readonly name: string
  /** Its fields that say something, in words: `sid 2, ssid 1`. */
  readonly text: string
  /** The cache that it invalidates; null for all else. */
  readonly cache: CacheName | null
}

/** Sees each command that the driver sends, and those that it was made to forget (`lost`). */
export type CommandWatch = (command: SeenCommand, lost: boolean) => void

export interface Wanted {
  readonly memory: MachineMemory
  readonly cpu: CpuDescription
  /** The options of `iommu:`, checked against `keys`. */
  readonly options: Readonly<Record<string, unknown>>
  /** Largest device id that will be used. */
  readonly largestDevice: number
  /** Null: nobody watches, and nothing is put into words. */
  readonly watch: CommandWatch | null
}

export interface Hardware {
  readonly model: IommuModel
  readonly driver: IommuDriver
  /** From now on invalidations of this cache get lost on their way to the hardware, or no longer. */
  forget(cache: CacheName, lost: boolean): void
  /** Starts a guest in a `nested` domain; null where the architecture has none. */
  readonly startGuest: ((wanted: GuestWanted) => Op<Guest>) | null
}

export interface Architecture {
  /** The word in `iommu:`. */
  readonly kind: string
  readonly title: string
  readonly doc: string
  /** Options of `iommu:` beside `kind`. */
  readonly keys: Keys
  /** Events, as the specification names them. */
  readonly faultNames: readonly string[]
  /** Our words for an event: all that it may be, where the specification has one number for several; empty when none fits. */
  faultKinds(event: {
    readonly code: number
    readonly name: string
    readonly pasid: number | null
    /** Its 64-bit words; absent or null: nothing was recorded. */
    readonly record?: readonly bigint[] | null
  }): readonly FaultKind[]
  /** What a device with these capabilities cannot do here, whatever a scenario does: share a process. In words; null: nothing. */
  lacks(device: DeviceCapabilities): string | null
  /** What sets it apart together with others; `no-stall` and `no-pasids` follow from what it lacks. */
  readonly traits: readonly Trait[]
  /** Why there are no PASIDs at all, with these options of `iommu:`; null: there are. Absent: there always are. */
  lacksPasids?(options: Readonly<Record<string, unknown>>): string | null
  cpu(choice: CpuChoice): CpuDescription
  build(wanted: Wanted): Hardware
}
