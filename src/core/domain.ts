/** A domain: the devices that see the same address spaces. It owns one PASID table; entry 0 is its own `io_pgtable`. */
import type { Op } from '../base/op.ts'
import type { Device } from './device.ts'
import type { DomainKind, DriverDomain, FaultReport, PageRequest, ResponseCode } from './driver.ts'
import { IommError } from './error.ts'
import type { IoMm } from './io-mm.ts'

/** One PASID table entry: an address space that a domain's devices can use. */
export interface Attachment {
  readonly domain: Domain
  readonly ioMm: IoMm
  /** Bonds of the domain's devices to it. */
  bonds: number
}

export class Domain implements DriverDomain {
  readonly name: string
  readonly kind: DomainKind
  readonly devices = new Set<Device>()
  /** PASID table entries in use, by PASID. */
  readonly attachments = new Map<number, Attachment>()
  /** Sees unrecoverable faults of the domain's devices. Returns whether it dealt with it: then nothing is logged. */
  onFault: ((report: FaultReport, device: Device) => boolean) | null = null
  /**
   * Sees page requests that no process answers: without PASID, or for a private space. `later`: `Iommu.respond` follows. Without
   * a handler they fail.
   */
  onPageRequest: ((request: PageRequest, device: Device) => ResponseCode | 'later') | null = null

  constructor(name: string, kind: DomainKind) {
    this.name = name
    this.kind = kind
  }

  /** Maps [iova, iova + size) to [pa, …) in entry 0 (`dma`) or stage 2 (`nested`). `rights`: mask of UR … PX. */
  map(_iova: bigint, _pa: bigint, _size: bigint, _rights: number): Op<void> {
    throw new IommError('Unsupported', 'map')
  }
  /** @returns bytes that were mapped. */
  unmap(_iova: bigint, _size: bigint): Op<bigint> {
    throw new IommError('Unsupported', 'unmap')
  }
  iovaToPhys(_iova: bigint): bigint | null {
    throw new IommError('Unsupported', 'iovaToPhys')
  }
}
