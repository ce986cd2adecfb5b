/**
 * Bind, unbind and exit: which device shares which address space, the PASIDs, and the order of what is done (SYSTEM.md sections 2
 * and 3). Bonds belong to devices, PASID table entries to domains, PASIDs to address spaces.
 */
import { type Op, step, waitFor } from '../base/op.ts'
import { PASID_LIMIT, type Pasid } from '../base/types.ts'
import type { CpuSpace } from '../mm/contract.ts'
import { Bond, type Unreachable } from './bond.ts'
import type { Core } from './context.ts'
import type { Device } from './device.ts'
import type { Domain } from './domain.ts'
import { IommError } from './error.ts'
import { IoMm } from './io-mm.ts'
import { PasidAllocator } from './pasids.ts'

/** A private space to make. */
export interface PrivateSpace {
  readonly name?: string
  /** This PASID and no other. */
  readonly pasid?: Pasid
}

export class Binding {
  readonly #core: Core
  readonly #pasids: PasidAllocator
  readonly #byMm = new Map<CpuSpace, IoMm>()
  /** Waits until no page request of these devices with this PASID is left. */
  readonly #drain: (devices: readonly Device[], pasid: Pasid) => Op<void>

  constructor(core: Core, policy: 'lowest' | 'cyclic', drain: (devices: readonly Device[], pasid: Pasid) => Op<void>) {
    this.#core = core
    this.#pasids = new PasidAllocator(policy)
    this.#drain = drain
  }

  find(mm: CpuSpace): IoMm | null {
    return this.#byMm.get(mm) ?? null
  }

  *bind(device: Device, mm: CpuSpace): Op<Bond> {
    return yield* this.#whenSettled(device, function* (this: Binding): Op<Bond | IoMm> {
      const domain = this.#usableDomain(device, mm)
      const known = this.#byMm.get(mm)
      if (!mm.alive || (known !== undefined && known.state !== 'live'))
        throw new IommError('MmDead', `cannot bind ${device.name} to ${mm.name}: the process has exited`)
      if (known !== undefined) return yield* this.#bindTo(device, domain, known)
      const ioMm = yield* this.#create(device, mm.name, mm, null)
      return yield* this.#join(device, domain, ioMm)
    })
  }

  *bindPrivate(device: Device, space: PrivateSpace | IoMm): Op<Bond> {
    return yield* this.#whenSettled(device, function* (this: Binding): Op<Bond | IoMm> {
      const domain = this.#usableDomain(device, null)
      if (space instanceof IoMm) {
        if (space.mm !== null)
          throw new IommError(
            'BadArgument',
            `${space.name} is a process, not a private space: bind ${device.name} to the process`,
          )
        if (this.#core.ioMms.get(space.pasid) !== space)
          throw new IommError('NotBound', `${space.name} was freed with its last unbind: bind a new private space`)
        return yield* this.#bindTo(device, domain, space)
      }
      const name = space.name ?? `private space of ${device.name}`
      const ioMm = yield* this.#create(device, name, null, space.pasid ?? null)
      return yield* this.#join(device, domain, ioMm)
    })
  }

  *unbind(bond: Bond): Op<void> {
    yield* step(`before unbind of ${bond.device.name}`)
    // One that exits is told to its device first; the exit ends by itself.
    yield* waitFor(`exit of ${bond.ioMm.name} on ${bond.device.name}`, () => bond.state !== 'exiting' || bond.users !== 1)
    if (bond.users === 0)
      throw new IommError(
        'NotBound',
        `${bond.device.name} is not bound to ${bond.ioMm.name} any more: one unbind for each bind, and no more`,
      )
    bond.users--
    if (bond.users > 0) {
      this.#core.log({ kind: 'unbound', bond, users: bond.users })
      return
    }
    bond.state = 'unbinding'
    try {
      yield* this.#stop(bond)
      // The last of its domain takes the entry with it: nobody in the domain may have requests left.
      const last = bond.domain.attachments.get(bond.pasid)!.bonds === 1
      yield* this.#drain(last ? [...bond.domain.devices] : [bond.device], bond.pasid)
      yield* this.#core.lock.hold(() => this.#leave(bond))
    } finally {
      // Something failed: the device still has the entry, so the bond stays what it was.
      if (bond.state === 'unbinding') {
        bond.users++
        bond.state = bond.ioMm.state === 'live' ? 'bound' : 'exited'
      }
    }
  }

  /** Runs the body with the lock held; again, when the bond that it needs is just being undone (it returns the IoMm then). */
  *#whenSettled(device: Device, body: (this: Binding) => Op<Bond | IoMm>): Op<Bond> {
    for (;;) {
      const result = yield* this.#core.lock.hold(() => body.call(this))
      if (result instanceof Bond) return result
      const bond = device.bonds.get(result)
      yield* waitFor(`unbind of ${device.name} from ${result.name}`, () => bond?.state !== 'unbinding')
    }
  }

  /** The domain through which this device can be bound. @throws IommError that names the condition which is not met. */
  #usableDomain(device: Device, mm: CpuSpace | null): Domain {
    const { driver, devices } = this.#core
    const what = mm === null ? 'a private space' : mm.name
    if (devices.get(device.id) !== device)
      throw new IommError('Foreign', `${device.name} is not a device of this IOMMU: add it first`)
    if (device.capabilities.pasidBits === 0)
      throw new IommError('NoPasid', `cannot bind ${device.name} to ${what}: the device has no PASIDs`)
    if (driver.pasidBits === 0)
      throw new IommError('NoPasid', `cannot bind ${device.name} to ${what}: ${driver.name} has no PASIDs`)
    const { domain } = device
    if (domain === null)
      throw new IommError('NoDomain', `cannot bind ${device.name} to ${what}: it is in no domain; attach it to one first`)
    if (domain.kind === 'nested')
      throw new IommError(
        'Unsupported',
        `cannot bind ${device.name} to ${what}: domain ${domain.name} is nested, its first stage and PASID table are the guest's`,
      )
    const obstacle = driver.svaObstacle(device, mm)
    if (obstacle !== null) throw new IommError('Unsupported', `cannot bind ${device.name} to ${what}: ${obstacle}`)
    return domain
  }

  /** PASIDs of this device end here, exclusive. */
  #limit(device: Device): number {
    return Math.min(2 ** device.capabilities.pasidBits, 2 ** this.#core.driver.pasidBits, PASID_LIMIT)
  }

  /** @returns the IoMm itself when the device's bond to it is just being undone. */
  *#bindTo(device: Device, domain: Domain, ioMm: IoMm): Op<Bond | IoMm> {
    const bond = device.bonds.get(ioMm)
    if (bond?.state === 'unbinding') return ioMm
    if (bond !== undefined) {
      bond.users++
      this.#core.log({ kind: 'bound', bond, users: bond.users })
      return bond
    }
    const limit = this.#limit(device)
    if (ioMm.pasid >= limit)
      throw new IommError(
        'PasidOutOfRange',
        `cannot bind ${device.name} to ${ioMm.name}: it has PASID ${ioMm.pasid} already, and the device can send 1 to ${limit - 1}; ` +
          'bind the narrower device first',
      )
    return yield* this.#join(device, domain, ioMm)
  }

  /** A new IoMm, without any bond yet. */
  *#create(device: Device, name: string, mm: CpuSpace | null, wanted: Pasid | null): Op<IoMm> {
    const core = this.#core
    const pasid = wanted === null ? this.#choose(device) : this.#claim(device, wanted)
    const ioMm = new IoMm(name, pasid, mm, core, (exiting) => this.#exit(exiting))
    try {
      // From here on the process cannot end, nor change a range, without telling us.
      if (ioMm.notifier !== null) mm!.addNotifier(ioMm.notifier)
      yield* core.driver.ioMmAlloc(ioMm)
    } catch (error) {
      if (ioMm.notifier !== null) mm!.removeNotifier(ioMm.notifier)
      ioMm.state = 'freed'
      this.#pasids.free(pasid)
      throw error
    }
    if (mm !== null) this.#byMm.set(mm, ioMm)
    core.ioMms.set(pasid, ioMm)
    core.log({ kind: 'pasid-allocated', ioMm })
    return ioMm
  }

  #choose(device: Device): Pasid {
    const limit = this.#limit(device)
    const pasid = this.#pasids.allocate(limit)
    if (pasid === null)
      throw new IommError(
        'PasidExhausted',
        `no PASID is free for ${device.name}, which can send 1 to ${limit - 1}; unbind something that has one`,
      )
    return pasid
  }

  #claim(device: Device, pasid: Pasid): Pasid {
    if (pasid === 0)
      throw new IommError('BadArgument', "PASID 0 is the domain's own page table, and never given out: use Domain.map for it")
    const limit = this.#limit(device)
    if (!Number.isInteger(pasid) || pasid < 0 || pasid >= limit)
      throw new IommError('PasidOutOfRange', `PASID ${pasid} is out of range: ${device.name} can send 1 to ${limit - 1}`)
    if (!this.#pasids.isFree(pasid))
      throw new IommError('Busy', `PASID ${pasid} is taken by ${this.#core.ioMms.get(pasid)?.name ?? 'another address space'}`)
    this.#pasids.take(pasid)
    return pasid
  }

  /** A new bond; the first of the domain writes the domain's entry. */
  *#join(device: Device, domain: Domain, ioMm: IoMm): Op<Bond> {
    const core = this.#core
    let attachment = domain.attachments.get(ioMm.pasid)
    if (attachment === undefined) {
      attachment = { domain, ioMm, bonds: 0 }
      // Before the entry is valid: what the CPU changes from then on must reach this domain too.
      domain.attachments.set(ioMm.pasid, attachment)
      ioMm.attachments.set(domain, attachment)
      try {
        yield* core.driver.ioMmAttach(domain, ioMm)
      } catch (error) {
        domain.attachments.delete(ioMm.pasid)
        ioMm.attachments.delete(domain)
        if (ioMm.bonds.size === 0) yield* this.#free(ioMm)
        throw error
      }
      core.log({ kind: 'entry-written', domain, ioMm })
    }
    attachment.bonds++
    const unreachable = this.#unreachable(ioMm)
    const bond = new Bond(device, domain, ioMm, unreachable, (one) => this.unbind(one))
    device.bonds.set(ioMm, bond)
    ioMm.bonds.add(bond)
    core.bonds.add(bond)
    core.log({ kind: 'bound', bond, users: 1 })
    for (const { start, end, why } of unreachable) core.log({ kind: 'unreachable', bond, start, end, why })
    return bond
  }

  /** What of the process lies in windows that devices cannot use. */
  #unreachable({ mm }: IoMm): Unreachable[] {
    if (mm === null) return []
    return this.#core.driver.reserved.flatMap(({ start, end, why }) =>
      mm.areasIn(start, end).map((area) => ({ start: area.start, end: area.end, why })),
    )
  }

  /** The device issues nothing more with this PASID, or the error says that it may. */
  *#stop(bond: Bond): Op<void> {
    const { stopPasid } = bond.device.hooks
    if (stopPasid === undefined) return
    try {
      yield* stopPasid(bond.pasid)
    } catch (error) {
      this.#core.log({ kind: 'hook-failed', bond, hook: 'stopPasid', error })
      throw error
    }
  }

  /** The bond is no more; the last of the domain clears the domain's entry, the last of all frees the PASID. */
  *#leave(bond: Bond): Op<void> {
    const core = this.#core
    const { device, domain, ioMm } = bond
    const attachment = domain.attachments.get(ioMm.pasid)!
    if (attachment.bonds === 1) {
      yield* core.driver.ioMmDetach(domain, ioMm)
      domain.attachments.delete(ioMm.pasid)
      ioMm.attachments.delete(domain)
      core.log({ kind: 'entry-cleared', domain, ioMm })
    }
    attachment.bonds--
    device.bonds.delete(ioMm)
    ioMm.bonds.delete(bond)
    core.bonds.delete(bond)
    bond.state = 'unbound'
    core.log({ kind: 'unbound', bond, users: 0 })
    if (ioMm.bonds.size === 0) yield* this.#free(ioMm)
  }

  /** No bond is left anywhere. */
  *#free(ioMm: IoMm): Op<void> {
    const core = this.#core
    const { mm, pasid } = ioMm
    if (ioMm.notifier !== null) mm!.removeNotifier(ioMm.notifier)
    yield* waitFor(`invalidations of ${ioMm.name}`, () => ioMm.invalidating === 0)
    yield* core.driver.ioMmFree(ioMm)
    ioMm.state = 'freed'
    if (mm !== null) this.#byMm.delete(mm)
    core.ioMms.delete(pasid)
    this.#pasids.free(pasid)
    core.log({ kind: 'pasid-freed', ioMm })
  }

  /** The process exits: every bond once, whatever else goes on with it. The PASID stays taken until the last unbind. */
  *#exit(ioMm: IoMm): Op<void> {
    const core = this.#core
    const told = yield* core.lock.hold(function* (): Op<Bond[] | null> {
      if (ioMm.state !== 'live') return null
      ioMm.state = 'exiting'
      const bonds = [...ioMm.bonds].filter((bond) => bond.state === 'bound')
      for (const bond of bonds) bond.state = 'exiting'
      return bonds
    })
    if (told === null) {
      yield* waitFor(`exit of ${ioMm.name}`, () => ioMm.state !== 'exiting')
      return
    }
    // Without the lock: a device's driver may wait here for its device as long as it likes.
    for (const bond of told) {
      try {
        yield* bond.device.hooks.mmExit?.(bond.pasid) ?? step(`${bond.device.name} has no exit hook`)
      } catch (error) {
        core.log({ kind: 'hook-failed', bond, hook: 'mmExit', error })
      }
    }
    yield* core.lock.hold(function* (): Op<void> {
      if (ioMm.state !== 'exiting') return
      for (const domain of ioMm.attachments.keys()) {
        yield* core.driver.ioMmExit(domain, ioMm)
        core.log({ kind: 'entry-quieted', domain, ioMm })
      }
      ioMm.state = 'exited'
      for (const bond of told) {
        bond.state = 'exited'
        core.log({ kind: 'exited', bond })
      }
    })
  }
}
