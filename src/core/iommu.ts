/** The OS side of an IOMMU: devices, domains, PASIDs, bind and unbind, faults. The driver beneath writes tables and commands. */
import type { Op } from '../base/op.ts'
import type { Pasid } from '../base/types.ts'
import type { CpuSpace } from '../mm/contract.ts'
import type { Bond } from './bond.ts'
import type { Device, DeviceDescription, Group } from './device.ts'
import type { Domain } from './domain.ts'
import type { DomainKind, FaultSink, IommuDriver, ResponseCode } from './driver.ts'
import type { CoreEvent } from './events.ts'
import type { IoMm } from './io-mm.ts'

export interface IommuOptions {
  /** `lowest` (default): the lowest free PASID; `cyclic`: the next one after the last given, so that reuse comes late. */
  readonly pasidAllocation?: 'lowest' | 'cyclic'
  readonly log?: (event: CoreEvent) => void
}

const later = (): never => {
  throw new Error('the core cannot do this yet')
}

export class Iommu {
  readonly driver: IommuDriver
  /** By device id. */
  readonly devices = new Map<number, Device>()
  readonly domains = new Set<Domain>()
  /** By PASID. */
  readonly ioMms = new Map<number, IoMm>()
  readonly bonds = new Set<Bond>()
  /** Given to `driver.handleQueues`. */
  readonly sink: FaultSink = later()

  constructor(driver: IommuDriver, _options: IommuOptions = {}) {
    this.driver = driver
  }

  init(): Op<void> {
    return later()
  }
  addDevice(_given: DeviceDescription): Op<Device> {
    return later()
  }
  /** Before any of them is attached; otherwise each device is a group of its own. */
  addGroup(_name: string, _devices: readonly Device[]): Group {
    return later()
  }
  createDomain(_name: string, _kind: DomainKind): Op<Domain> {
    return later()
  }
  freeDomain(_domain: Domain): Op<void> {
    return later()
  }
  /** Attaches the device's whole group; replaces the present domain, and keeps it on failure. */
  attach(_domain: Domain, _device: Device): Op<void> {
    return later()
  }
  /** The whole group: blocked from now on. */
  detach(_device: Device): Op<void> {
    return later()
  }
  bind(_device: Device, _mm: CpuSpace): Op<Bond> {
    return later()
  }
  /** Undoes one bind. @throws IommError NotBound when this device has no bond to it. */
  unbind(_device: Device, _space: CpuSpace | IoMm): Op<void> {
    return later()
  }
  /** A new private address space, or joins one. `bond.ioMm` has map, unmap and iovaToPhys. */
  bindPrivate(_device: Device, _space?: string | IoMm): Op<Bond> {
    return later()
  }
  /** Answers a group that a domain's handler kept for later. @throws IommError UnknownGroup when none waits. */
  respond(_device: Device, _group: { group: number } | { stallTag: number }, _code: ResponseCode): Op<void> {
    return later()
  }
  /** Drains the hardware's queues, handles page requests, answers; until nothing is left. */
  serviceInterrupts(): Op<void> {
    return later()
  }
  /** The address space that has this PASID. */
  find(_pasid: Pasid): IoMm | null {
    return later()
  }
}
