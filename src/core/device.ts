/** Devices and groups: requesters, and those of them that cannot be told apart and are attached together. */
import type { Op } from '../base/op.ts'
import type { DeviceId, Pasid } from '../base/types.ts'
import type { Bond } from './bond.ts'
import type { Domain } from './domain.ts'
import type { DeviceCapabilities, DriverDevice } from './driver.ts'
import type { IoMm } from './io-mm.ts'

/** What a device's own driver is asked to do. A hook may take its time, and must not bind or unbind itself: that waits for the hook. */
export interface DeviceHooks {
  /** Before the last unbind: the device issues nothing more with this PASID, and what it issued is done. If it throws, the bond stays. */
  stopPasid?(pasid: Pasid): Op<void>
  /** The process exited: the device should stop, and may keep running until it is unbound. */
  mmExit?(pasid: Pasid): Op<void>
}

/** A range that firmware uses for this device: mapped 1:1 in every `dma` domain before the device is attached to it. */
export interface FirmwareRegion {
  readonly start: bigint
  /** Exclusive. */
  readonly end: bigint
  /** Mask of UR … PX. */
  readonly rights: number
  readonly why: string
}

export interface DeviceDescription {
  readonly id: DeviceId
  readonly name: string
  readonly capabilities: DeviceCapabilities
  readonly firmware?: readonly FirmwareRegion[]
  readonly hooks?: DeviceHooks
}

export class Device implements DriverDevice {
  readonly id: DeviceId
  readonly name: string
  readonly capabilities: DeviceCapabilities
  readonly firmware: readonly FirmwareRegion[]
  /** The device driver's hooks; may be set at any time. */
  hooks: DeviceHooks
  group: Group
  /** Bonds of this device. */
  readonly bonds = new Map<IoMm, Bond>()

  constructor(given: DeviceDescription) {
    this.id = given.id
    this.name = given.name
    this.capabilities = given.capabilities
    this.firmware = given.firmware ?? []
    this.hooks = given.hooks ?? {}
    this.group = new Group(given.name, [this])
  }

  /** The group's domain; null: blocked. */
  get domain(): Domain | null {
    return this.group.domain
  }
}

export class Group {
  readonly name: string
  readonly devices: readonly Device[]
  domain: Domain | null = null

  constructor(name: string, devices: readonly Device[]) {
    this.name = name
    this.devices = devices
  }
}
