/** One device bound to one IoMm, counted. */
import type { Op } from '../base/op.ts'
import type { Pasid } from '../base/types.ts'
import type { Device } from './device.ts'
import type { Domain } from './domain.ts'
import type { IoMm } from './io-mm.ts'

/** `exiting` and `unbinding` are the ways from one phase to the next, while device hooks and drains run. */
export type BondState = 'bound' | 'exiting' | 'exited' | 'unbinding' | 'unbound'

export class Bond {
  readonly device: Device
  readonly domain: Domain
  readonly ioMm: IoMm
  state: BondState = 'bound'
  /** Binds that were not unbound yet. */
  users = 1
  readonly #unbind: (bond: Bond) => Op<void>

  constructor(device: Device, domain: Domain, ioMm: IoMm, unbind: (bond: Bond) => Op<void>) {
    this.device = device
    this.domain = domain
    this.ioMm = ioMm
    this.#unbind = unbind
  }

  get pasid(): Pasid {
    return this.ioMm.pasid
  }

  /** Undoes one bind. @throws IommError NotBound when all were undone. */
  unbind(): Op<void> {
    return this.#unbind(this)
  }
}
