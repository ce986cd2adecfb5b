/**
 * Page requests (PRI) and stalls: collected into groups by device and group index, handled in arrival order, answered once. SYSTEM.md
 * section 4; PCI Express 10.4 "Page Request Services".
 */
import { type Op, step, waitFor } from '../base/op.ts'
import type { Access, DeviceId } from '../base/types.ts'
import { type Core, reservedWindow } from './context.ts'
import type { Device } from './device.ts'
import type { DriverDevice, FaultSink, PageRequest, ResponseCode } from './driver.ts'
import { IommError } from './error.ts'

/** Requests of one group that has its `last`, until the response is out. */
interface Group {
  readonly device: Device | null
  /** What the response goes to: also a device that nobody added gets one, so that it does not wait for ever. */
  readonly target: DriverDevice
  readonly index: number
  readonly stallTag: number | null
  readonly pasid: number | null
  readonly requests: readonly PageRequest[]
  /** More came than are kept. */
  readonly overfull: boolean
  state: 'waiting' | 'handled' | 'later' | 'answered'
}

interface DeviceQueue {
  /** Group index → requests without their `last`. */
  readonly partials: Map<number, PageRequest[]>
  readonly outstanding: Set<Group>
}

/** Of one group no more requests are kept: devices that are made so have at most a few hundred outstanding. */
export const GROUP_LIMIT = 4096

/** What became of one request. */
interface Verdict {
  readonly code: ResponseCode | 'later'
  readonly why: string | null
  readonly logged: boolean
}
const OK: Verdict = { code: 'success', why: null, logged: false }

export class PageRequests {
  readonly #core: Core
  readonly #queues = new Map<DeviceId, DeviceQueue>()
  /** Complete groups in arrival order; those before `#head` were taken. */
  #ready: Group[] = []
  #head = 0

  constructor(core: Core) {
    this.#core = core
  }

  /** One request out of the hardware's queue. */
  arrive(request: PageRequest): void {
    const device = this.#core.devices.get(request.device) ?? null
    this.#core.log({ kind: 'page-request', request, device })
    if (request.stallTag !== null) {
      this.#complete(device, request, [request])
      return
    }
    const queue = this.#queue(request.device, device !== null)
    if (request.last && !request.read && !request.write) {
      this.#core.log({ kind: 'stop-marker', request, device })
      this.#drop(queue, (partial) => partial.pasid === request.pasid, 'the device stopped using the PASID')
      return
    }
    const requests = queue.partials.get(request.group) ?? []
    requests.push(request)
    if (request.last) {
      queue.partials.delete(request.group)
      this.#complete(device, request, requests)
    } else if (requests.length > GROUP_LIMIT) requests.pop()
    else queue.partials.set(request.group, requests)
  }

  /** The hardware's queue overflowed, and answered by its own rules what it lost: what is left of those groups means nothing. */
  overflow(): void {
    for (const queue of this.#queues.values()) this.#drop(queue, () => true, 'the page request queue overflowed')
  }

  /** The devices are elsewhere from now on. */
  forget(devices: Iterable<Device>): void {
    for (const { id } of devices) {
      const queue = this.#queues.get(id)
      if (queue !== undefined) this.#drop(queue, () => true, 'the device changed its domain')
    }
  }

  /** Handles and answers what is complete. @returns whether there was anything. */
  *work(): Op<boolean> {
    let any = false
    for (let group = this.#next(); group !== null; group = this.#next()) {
      any = true
      yield* step('page request group taken')
      yield* this.#handle(group)
    }
    return any
  }

  /** After this, no request of these devices with this PASID is in any queue, and every response is out. The devices sent their last before. */
  *drain(sink: FaultSink, devices: readonly Device[], pasid: number): Op<void> {
    const { driver } = this.#core
    if (driver.drainPageRequests !== undefined) yield* driver.drainPageRequests()
    yield* driver.handleQueues(sink)
    // Other PASIDs' requests are in the same queue, before ours and between them: they get their answers too.
    yield* this.work()
    for (const { id } of devices) {
      const queue = this.#queues.get(id)
      if (queue === undefined) continue
      const ours = () => [...queue.outstanding].filter((group) => group.pasid === pasid)
      while (ours().length > 0) {
        const kept = ours().find((group) => group.state === 'later')
        if (kept !== undefined) yield* this.#answer(kept, 'invalid')
        const settled = () => ours().every((group) => group.state === 'later')
        yield* waitFor(`responses to page requests with PASID ${pasid}`, settled)
      }
      this.#drop(queue, (partial) => partial.pasid === pasid, 'the device was unbound')
    }
  }

  /** A handler's late answer. */
  *respond(device: Device, given: { group: number } | { stallTag: number }, code: ResponseCode): Op<void> {
    for (const group of this.#queues.get(device.id)?.outstanding ?? []) {
      if (group.state !== 'later') continue
      const same = 'group' in given ? group.stallTag === null && group.index === given.group : group.stallTag === given.stallTag
      if (same) return yield* this.#answer(group, code)
    }
    const what = 'group' in given ? `group ${given.group}` : `stall ${given.stallTag}`
    throw new IommError(
      'UnknownGroup',
      `${device.name} waits for no response to ${what}: each group is answered once, and only those that a handler kept for later`,
    )
  }

  #complete(device: Device | null, last: PageRequest, requests: PageRequest[]): void {
    const target = device ?? stranger(last)
    const overfull = requests.length > GROUP_LIMIT
    const { group: index, stallTag, pasid } = last
    const group: Group = { device, target, index, stallTag, pasid, requests, overfull, state: 'waiting' }
    if (device !== null) this.#queue(device.id, true).outstanding.add(group)
    this.#ready.push(group)
  }

  #next(): Group | null {
    if (this.#head === this.#ready.length) {
      this.#ready = []
      this.#head = 0
      return null
    }
    return this.#ready[this.#head++]!
  }

  *#handle(group: Group): Op<void> {
    let code: ResponseCode = group.overfull ? 'failure' : 'success'
    for (const request of group.requests) {
      // The first failure decides, and the rest is not brought in for nothing.
      if (code !== 'success') break
      const verdict = yield* this.#judge(group.device, request)
      if (verdict.code === 'later') {
        group.state = 'later'
        return
      }
      code = verdict.code
      this.#core.log({ kind: 'page-handled', request, device: group.device, code, why: verdict.why, logged: verdict.logged })
    }
    group.state = 'handled'
    yield* this.#answer(group, code)
  }

  /** The one response: who calls this found the group unanswered, and nobody ran since. */
  *#answer(group: Group, code: ResponseCode): Op<void> {
    group.state = 'answered'
    const { target: device, device: known, pasid, index, stallTag, requests } = group
    yield* step('before a page response')
    try {
      yield* this.#core.driver.pageResponse({ device, pasid, group: index, stallTag, code })
    } finally {
      this.#queues.get(device.id)?.outstanding.delete(group)
    }
    this.#core.log({ kind: 'page-response', device: known, group: index, stallTag, pasid, code, requests: requests.length })
  }

  *#judge(device: Device | null, request: PageRequest): Op<Verdict> {
    if (device === null) return { code: 'failure', why: `no device has the number ${request.device}`, logged: true }
    const { domain } = device
    if (domain === null) return { code: 'invalid', why: `${device.name} is attached to no domain`, logged: true }
    const handler = () => {
      const code = domain.onPageRequest!(request, device)
      return { code, why: null, logged: false }
    }
    if (request.pasid === null) {
      if (domain.onPageRequest !== null) return handler()
      return { code: 'failure', why: `domain ${domain.name} has no handler for requests without PASID`, logged: true }
    }
    const ioMm = domain.attachments.get(request.pasid)?.ioMm
    if (ioMm === undefined)
      return {
        code: 'invalid',
        why: `PASID ${request.pasid} is not bound to domain ${domain.name}: the device was not stopped`,
        logged: true,
      }
    if (ioMm.mm === null) {
      if (domain.onPageRequest !== null) return handler()
      return { code: 'invalid', why: `nothing brings pages into the private space ${ioMm.name}`, logged: true }
    }
    if (ioMm.state !== 'live' || !ioMm.mm.alive) return { code: 'invalid', why: `${ioMm.name} has exited`, logged: false }
    const window = reservedWindow(this.#core.driver, request.address, request.address + 1n)
    if (window !== null) return { code: 'invalid', why: `the address lies in a reserved window: ${window}`, logged: false }
    return yield* this.#fault(ioMm.mm, request)
  }

  /** Every access that the request asks for must be permitted. */
  *#fault(
    mm: { handleFault(address: bigint, access: Access, privileged: boolean): Op<ResponseCode> },
    request: PageRequest,
  ): Op<Verdict> {
    // A write first: it brings the page in as it is needed, and the others find it there.
    const accesses: Access[] = []
    if (request.write) accesses.push('write')
    if (request.execute) accesses.push('execute')
    if (request.read) accesses.push('read')
    if (accesses.length === 0) return { code: 'invalid', why: 'the request asks for no access', logged: false }
    for (const access of accesses) {
      const code = yield* mm.handleFault(request.address, access, request.privileged)
      if (code === 'invalid') return { code, why: `the process may not ${access} there`, logged: false }
      if (code === 'failure') return { code, why: 'the page could not be brought in', logged: true }
    }
    return OK
  }

  #queue(id: DeviceId, keep: boolean): DeviceQueue {
    let queue = this.#queues.get(id)
    if (queue === undefined) {
      queue = { partials: new Map(), outstanding: new Set() }
      // Numbers of devices that nobody added must not fill memory.
      if (keep) this.#queues.set(id, queue)
    }
    return queue
  }

  #drop(queue: DeviceQueue, which: (request: PageRequest) => boolean, why: string): void {
    let requests = 0
    for (const [index, partial] of queue.partials) {
      if (!which(partial[0]!)) continue
      requests += partial.length
      queue.partials.delete(index)
    }
    if (requests > 0) this.#core.log({ kind: 'partials-dropped', requests, why })
  }
}

/** A device that nobody added. */
function stranger(request: PageRequest): DriverDevice {
  return {
    id: request.device,
    name: `unknown device 0x${request.device.toString(16)}`,
    capabilities: {
      pasidBits: 0,
      ats: false,
      pri: request.stallTag === null,
      stall: request.stallTag !== null,
      plain: true,
      responseNeedsPasid: request.pasid !== null,
    },
  }
}
