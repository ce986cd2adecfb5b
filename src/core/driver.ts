/**
 * The contract between the core and an architecture's driver. The core decides what is bound to what; the driver writes tables and
 * commands. The core calls the driver with its locks held, in the order that SYSTEM.md section 3 asks for.
 */
import type { Op } from '../base/op.ts'
import type { DeviceId, Pasid } from '../base/types.ts'
import type { CpuSpace } from '../mm/contract.ts'

/** Registers as software sees them. */
export interface Mmio {
  read(offset: number, bytes: 4 | 8): bigint
  write(offset: number, bytes: 4 | 8, value: bigint): void
}

export interface DeviceCapabilities {
  /** Width of the PASIDs that the device can send; 0: none. */
  readonly pasidBits: number
  readonly ats: boolean
  /** PCIe page requests. */
  readonly pri: boolean
  /** Transactions may stall (Arm). Not together with `pri`. */
  readonly stall: boolean
  /** Whether it issues transactions without PASID. */
  readonly plain: boolean
  /** Whether a page response must carry the PASID. */
  readonly responseNeedsPasid: boolean
}

/** What drivers see of a device. */
export interface DriverDevice {
  readonly id: DeviceId
  readonly name: string
  readonly capabilities: DeviceCapabilities
}

/** `dma`: translated. `identity`: no translation without PASID. `blocked`: nothing without PASID. `nested`: a guest's stage 1 over our stage 2. */
export type DomainKind = 'dma' | 'identity' | 'blocked' | 'nested'

/** What drivers see of a domain: the devices that see the same address spaces. */
export interface DriverDomain {
  readonly name: string
  readonly kind: DomainKind
  readonly devices: ReadonlySet<DriverDevice>
}

/** What drivers see of an io_mm: an address space known to IOMMUs. `mm` null: a private one, with a page table of the driver's. */
export interface DriverIoMm {
  readonly pasid: Pasid
  readonly mm: CpuSpace | null
}

/** An unrecoverable fault that the hardware reported. */
export interface FaultReport {
  readonly device: DeviceId | null
  readonly pasid: Pasid | null
  readonly address: bigint | null
  readonly code: number
  readonly name: string
  /** The record's 64-bit words. */
  readonly record: readonly bigint[]
  readonly text: string
}

/** A recoverable fault: PRI, or a stalled transaction (`stallTag` set, a group of its own). */
export interface PageRequest {
  readonly device: DeviceId
  readonly pasid: Pasid | null
  readonly address: bigint
  readonly group: number
  readonly last: boolean
  readonly read: boolean
  readonly write: boolean
  readonly execute: boolean
  readonly privileged: boolean
  readonly stallTag: number | null
}

export type ResponseCode = 'success' | 'invalid' | 'failure'

export interface PageResponse {
  readonly device: DriverDevice
  /** PASID of the request; the driver puts it into the response where the device needs it. */
  readonly pasid: Pasid | null
  readonly group: number
  readonly stallTag: number | null
  readonly code: ResponseCode
}

/** Where a driver delivers what the hardware queues hold. */
export interface FaultSink {
  fault(report: FaultReport): void
  pageRequest(request: PageRequest): void
  /** The page request queue overflowed: partial groups are to be dropped. */
  pageRequestOverflow(): void
}

/** What a domain's entry 0, or a private io_mm, offers. Addresses in bytes, page-aligned; rights as a mask of UR … PX. */
export interface IoPgtable {
  map(iova: bigint, pa: bigint, size: bigint, rights: number): Op<void>
  /** @returns bytes that were mapped. */
  unmap(iova: bigint, size: bigint): Op<bigint>
  iovaToPhys(iova: bigint): bigint | null
  /** Where its top table lies, for who draws the machine; absent where there is none. */
  readonly space?: { readonly root: number }
}

export interface IommuDriver {
  readonly name: string
  /** Width of PASIDs that the IOMMU supports; 0: none. */
  readonly pasidBits: number
  /** Ranges that devices cannot use for memory, in every address space (SYSTEM.md section 8). End exclusive. */
  readonly reserved: readonly { readonly start: bigint; readonly end: bigint; readonly why: string }[]
  /** Resets and enables the hardware. */
  init(): Op<void>
  /** Why this device cannot share process address spaces, or null when it can (SYSTEM.md section 7). `mm` null asks for private spaces with PASID. */
  svaObstacle(device: DriverDevice, mm: CpuSpace | null): string | null
  /** The device exists from now on. Until attached, its transactions are blocked. */
  addDevice(device: DriverDevice): Op<void>

  domainAlloc(domain: DriverDomain): Op<void>
  domainFree(domain: DriverDomain): Op<void>
  /**
   * The device sees this domain from now on. When it is in another domain, this replaces it in one go, without `detachDevice`; when
   * it throws, the device must still be where it was. `domain.devices` holds the device already (and the old domain's still does).
   */
  attachDevice(domain: DriverDomain, device: DriverDevice): Op<void>
  /** Blocked from now on. `domain.devices` holds the device until this returns. */
  detachDevice(domain: DriverDomain, device: DriverDevice): Op<void>
  /** Entry 0 of a `dma` domain, stage 2 of a `nested` one; null for the others. */
  pgtable(domain: DriverDomain): IoPgtable | null

  /** Creates what the hardware needs once for an io_mm: the descriptor's contents; on Arm it pins the CPU's ASID. @throws IommError */
  ioMmAlloc(ioMm: DriverIoMm): Op<void>
  ioMmFree(ioMm: DriverIoMm): Op<void>
  /** First bond of the domain: writes the domain's PASID table entry, and returns when the hardware uses it. */
  ioMmAttach(domain: DriverDomain, ioMm: DriverIoMm): Op<void>
  /** Last bond of the domain: clears the entry and invalidates (descriptor, IOTLB, then ATC). */
  ioMmDetach(domain: DriverDomain, ioMm: DriverIoMm): Op<void>
  /** The process is gone, devices may still run: the entry stays valid and quiet. */
  ioMmExit(domain: DriverDomain, ioMm: DriverIoMm): Op<void>
  /**
   * The CPU changed [start, end); null: everything. `domains` are those with an entry for this io_mm, one that is just being written or
   * cleared included. Runs beside other operations, without the core's lock: never waits for one of them.
   */
  ioMmInvalidate(ioMm: DriverIoMm, domains: readonly DriverDomain[], start: bigint | null, end: bigint | null): Op<void>
  /** Page table of a private io_mm. */
  ioMmPgtable(ioMm: DriverIoMm): IoPgtable

  pageResponse(response: PageResponse): Op<void>
  /** Page requests that reached the IOMMU are in its queue when this returns. Absent: they always are. The first part of a drain. */
  drainPageRequests?(): Op<void>
  /**
   * Reads out the hardware's queues into the sink; returns when they are empty. The interrupt thread's body, and the second part of a
   * drain. May run twice at a time: when it returns, also what the other took out of a queue is in the sink.
   */
  handleQueues(sink: FaultSink): Op<void>
}
