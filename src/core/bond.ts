/** One device bound to one IoMm, counted. */
import type { Op } from '../base/op.ts'
import type { Pasid } from '../base/types.ts'
import type { Device } from './device.ts'
import type { Domain } from './domain.ts'
import type { Phase } from './events.ts'
import type { IoMm } from './io-mm.ts'

/** The three phases (SYSTEM.md section 3), and the ways from one to the next, while device hooks and drains run. */
export type BondState = 'bound' | 'exiting' | 'exited' | 'unbinding' | 'unbound'

/** A range of addresses of the process that the device cannot reach. End exclusive. */
export interface Unreachable {
  readonly start: bigint
  readonly end: bigint
  readonly why: string
}

export class Bond {
  readonly device: Device
  readonly domain: Domain
  readonly ioMm: IoMm
  /** What of the process lay in reserved windows at the bind. */
  readonly unreachable: readonly Unreachable[]
  state: BondState = 'bound'
  /** Binds that were not unbound yet. */
  users = 1
  readonly #unbind: (bond: Bond) => Op<void>

  /** Made by `Iommu.bind`. */
  constructor(device: Device, domain: Domain, ioMm: IoMm, unreachable: readonly Unreachable[], unbind: (bond: Bond) => Op<void>) {
    this.device = device
    this.domain = domain
    this.ioMm = ioMm
    this.unreachable = unreachable
    this.#unbind = unbind
  }

  get pasid(): Pasid {
    return this.ioMm.pasid
  }

  get phase(): Phase {
    if (this.state === 'unbound') return 'unbound'
    return this.ioMm.state === 'live' ? 'bound' : 'exited'
  }

  /** Undoes one bind. The device stops using the PASID first (its hooks), its page requests are answered. @throws IommError NotBound when all were undone. */
  unbind(): Op<void> {
    return this.#unbind(this)
  }
}
