/** An address space known to IOMMUs, with one PASID out of the global space: a process, or a private one with its own map and unmap. */
import type { Op } from '../base/op.ts'
import type { Pasid } from '../base/types.ts'
import type { CpuSpace } from '../mm/contract.ts'
import type { Bond } from './bond.ts'
import type { Attachment, Domain } from './domain.ts'
import type { DriverIoMm } from './driver.ts'
import { IommError } from './error.ts'

export class IoMm implements DriverIoMm {
  readonly name: string
  readonly pasid: Pasid
  readonly mm: CpuSpace | null
  /** `live`; `exiting`: devices are being told; `exited`: entries are quiet; `freed`: the PASID is free again. */
  state: 'live' | 'exiting' | 'exited' | 'freed' = 'live'
  readonly attachments = new Map<Domain, Attachment>()
  readonly bonds = new Set<Bond>()

  constructor(name: string, pasid: Pasid, mm: CpuSpace | null) {
    this.name = name
    this.pasid = pasid
    this.mm = mm
  }

  /** Private spaces only. */
  map(_iova: bigint, _pa: bigint, _size: bigint, _rights: number): Op<void> {
    throw new IommError('Unsupported', 'map')
  }
  unmap(_iova: bigint, _size: bigint): Op<bigint> {
    throw new IommError('Unsupported', 'unmap')
  }
  iovaToPhys(_iova: bigint): bigint | null {
    throw new IommError('Unsupported', 'iovaToPhys')
  }
}
