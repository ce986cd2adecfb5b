/** An address space known to IOMMUs, with one PASID out of the global space: a process, or a private one with its own map and unmap. */
import type { Op } from '../base/op.ts'
import type { Pasid } from '../base/types.ts'
import type { CpuSpace, MmNotifier } from '../mm/contract.ts'
import type { Bond } from './bond.ts'
import { type Core, refuseReserved } from './context.ts'
import type { Attachment, Domain } from './domain.ts'
import type { DriverIoMm, IoPgtable } from './driver.ts'
import { IommError } from './error.ts'

export class IoMm implements DriverIoMm {
  readonly name: string
  readonly pasid: Pasid
  readonly mm: CpuSpace | null
  /** `live`; `exiting`: devices are being told; `exited`: entries are quiet; `freed`: the PASID is free again. */
  state: 'live' | 'exiting' | 'exited' | 'freed' = 'live'
  readonly attachments = new Map<Domain, Attachment>()
  readonly bonds = new Set<Bond>()
  /** What the process tells us through; null for private spaces. */
  readonly notifier: MmNotifier | null
  /** Invalidations under way. The driver's part is not freed before they end. */
  invalidating = 0
  readonly #core: Pick<Core, 'driver' | 'log'>

  /** Made by `Iommu.bind` and `bindPrivate`. @param release what to do when the process exits. */
  constructor(
    name: string,
    pasid: Pasid,
    mm: CpuSpace | null,
    core: Pick<Core, 'driver' | 'log'>,
    release: (ioMm: IoMm) => Op<void>,
  ) {
    this.name = name
    this.pasid = pasid
    this.mm = mm
    this.#core = core
    this.notifier =
      mm === null ? null : { invalidate: (start, end) => this.#invalidate(start, end), release: () => release(this) }
  }

  /** Private spaces only. @throws IommError Unsupported for a process, NotBound after the last unbind, Reserved. */
  *map(iova: bigint, pa: bigint, size: bigint, rights: number): Op<void> {
    const table = this.#table()
    refuseReserved(this.#core.driver, iova, size)
    yield* table.map(iova, pa, size, rights)
    this.#core.log({ kind: 'mapped', space: this, iova, pa, size, rights })
  }

  /** Private spaces only. @returns bytes that were mapped. */
  *unmap(iova: bigint, size: bigint): Op<bigint> {
    const bytes = yield* this.#table().unmap(iova, size)
    this.#core.log({ kind: 'unmapped', space: this, iova, size, bytes })
    return bytes
  }

  /** Private spaces only. */
  iovaToPhys(iova: bigint): bigint | null {
    return this.#table().iovaToPhys(iova)
  }

  /** The CPU changed [start, end). No lock of ours: the process holds its own, and a domain joins `attachments` before its entry is written. */
  *#invalidate(start: bigint | null, end: bigint | null): Op<void> {
    if (this.state === 'exited' || this.state === 'freed' || this.attachments.size === 0) return
    if (start !== null && end !== null && start >= end) return
    const domains = [...this.attachments.keys()]
    this.invalidating++
    try {
      yield* this.#core.driver.ioMmInvalidate(this, domains, start, end)
    } finally {
      this.invalidating--
    }
    this.#core.log({ kind: 'invalidated', ioMm: this, start, end, domains })
  }

  #table(): IoPgtable {
    if (this.mm !== null)
      throw new IommError('Unsupported', `${this.name} is a process: it maps and unmaps its own memory, with mmap and munmap`)
    if (this.state === 'freed')
      throw new IommError('NotBound', `${this.name} was freed with its last unbind: bind a new private space`)
    return this.#core.driver.ioMmPgtable(this)
  }
}
