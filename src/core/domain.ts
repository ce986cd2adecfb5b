/** A domain: the devices that see the same address spaces. It owns one PASID table; entry 0 is its own `io_pgtable`. */
import type { Op } from '../base/op.ts'
import { type Core, refuseReserved } from './context.ts'
import type { Device } from './device.ts'
import type { DomainKind, DriverDomain, FaultReport, IoPgtable, PageRequest, ResponseCode } from './driver.ts'
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
  /** PASID table entries in use, by PASID; also one that is just being written or cleared. */
  readonly attachments = new Map<number, Attachment>()
  /** Sees unrecoverable faults of the domain's devices. Returns whether it dealt with it: then nothing is logged. */
  onFault: ((report: FaultReport, device: Device) => boolean) | null = null
  /**
   * Sees page requests that no process answers: without PASID, or for a private space. `later`: `Iommu.respond` follows. Without
   * a handler they fail.
   */
  onPageRequest: ((request: PageRequest, device: Device) => ResponseCode | 'later') | null = null
  readonly #core: Pick<Core, 'driver' | 'log'>
  #freed = false

  /** Made by `Iommu.createDomain`. */
  constructor(name: string, kind: DomainKind, core: Pick<Core, 'driver' | 'log'>) {
    this.name = name
    this.kind = kind
    this.#core = core
  }

  /**
   * Maps [iova, iova + size) to [pa, …) in entry 0 (`dma`) or stage 2 (`nested`). `rights`: mask of UR … PX.
   * @throws IommError Unsupported for the other kinds, Reserved in a window that devices cannot use.
   */
  *map(iova: bigint, pa: bigint, size: bigint, rights: number): Op<void> {
    const table = this.#table('map')
    refuseReserved(this.#core.driver, iova, size)
    yield* table.map(iova, pa, size, rights)
    this.#core.log({ kind: 'mapped', space: this, iova, pa, size, rights })
  }

  /** @returns bytes that were mapped. */
  *unmap(iova: bigint, size: bigint): Op<bigint> {
    const bytes = yield* this.#table('unmap').unmap(iova, size)
    this.#core.log({ kind: 'unmapped', space: this, iova, size, bytes })
    return bytes
  }

  /** Where a transaction without PASID goes; null: nowhere. */
  iovaToPhys(iova: bigint): bigint | null {
    if (this.kind === 'identity') return iova
    return this.kind === 'blocked' ? null : this.#table('look up addresses in').iovaToPhys(iova)
  }

  /** The domain is gone. Called by `Iommu.freeDomain`. */
  freed(): void {
    this.#freed = true
  }

  #table(what: string): IoPgtable {
    if (this.#freed) throw new IommError('Foreign', `cannot ${what} domain ${this.name}: it was freed`)
    const table = this.#core.driver.pgtable(this)
    if (table !== null) return table
    throw new IommError(
      'Unsupported',
      `cannot ${what} domain ${this.name}: it is ${this.kind}, and only dma and nested domains have a page table of their own`,
    )
  }
}
