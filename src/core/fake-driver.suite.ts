/**
 * A driver without hardware, for tests of the core: it records every call, pauses in each, fails on demand, and objects to every call that
 * a real driver could not carry out (an entry written twice, one cleared that is not there, a free while an entry leads there).
 */
import { type Op, step } from '../base/op.ts'
import type { CpuSpace } from '../mm/contract.ts'
import type {
  DriverDevice,
  DriverDomain,
  DriverIoMm,
  FaultReport,
  FaultSink,
  IommuDriver,
  IoPgtable,
  PageRequest,
  PageResponse,
} from './driver.ts'

/** What the hardware's queues can hold. */
export type Queued = { readonly request: PageRequest } | { readonly fault: FaultReport } | { readonly overflow: true }

export class FakeDriver implements IommuDriver {
  readonly name = 'fake'
  pasidBits = 20
  reserved: { start: bigint; end: bigint; why: string }[] = []
  obstacle: string | null = null
  /** Calls in order: `ioMmAttach A X#1`. */
  readonly calls: string[] = []
  readonly responses: PageResponse[] = []
  /** What only a mistake of the core can cause. Empty in every test. */
  readonly violations: string[] = []
  readonly queue: Queued[] = []
  /** Requests that were delivered and need a response which is not out yet. */
  readonly unanswered: PageRequest[] = []
  /** Device → the domain in its device table entry. */
  readonly stream = new Map<DriverDevice, DriverDomain>()
  /** Domain → PASID → its PASID table entry. */
  readonly entries = new Map<DriverDomain, Map<number, { readonly ioMm: DriverIoMm; quiet: boolean }>>()
  readonly spaces = new Map<DriverIoMm, FakeTable>()
  /** PASIDs and processes of the io_mm that are allocated. */
  readonly #taken = new Set<unknown>()
  /** How many entries lead to an io_mm. */
  readonly #leading = new Map<DriverIoMm, number>()
  readonly #tables = new Map<DriverDomain, FakeTable>()
  readonly #fail: { match: string; skip: number; error: Error }[] = []
  /** Called at each step of each call, with the call. */
  onStep: ((call: string) => void) | null = null

  /** The next call that starts with `match` throws, after `skip` more of them. */
  failOn(match: string, skip = 0, message = `${match} failed`): void {
    this.#fail.push({ match, skip, error: new Error(message) })
  }

  /** How many calls start with this. */
  count(match: string): number {
    return this.calls.filter((call) => call.startsWith(match)).length
  }

  /** The address space that a device reaches with a PASID, as the hardware would find it. */
  reach(device: DriverDevice, pasid: number): DriverIoMm | 'quiet' | null {
    const domain = this.stream.get(device)
    const entry = domain === undefined ? undefined : this.entries.get(domain)?.get(pasid)
    return entry === undefined ? null : entry.quiet ? 'quiet' : entry.ioMm
  }

  *init(): Op<void> {
    yield* this.#call('init')
  }

  svaObstacle(_device: DriverDevice, _mm: CpuSpace | null): string | null {
    return this.obstacle
  }

  *addDevice(device: DriverDevice): Op<void> {
    yield* this.#call(`addDevice ${device.name}`)
  }

  *domainAlloc(domain: DriverDomain): Op<void> {
    yield* this.#call(`domainAlloc ${domain.name}`)
    this.entries.set(domain, new Map())
    if (domain.kind === 'dma' || domain.kind === 'nested') this.#tables.set(domain, new FakeTable())
  }

  *domainFree(domain: DriverDomain): Op<void> {
    yield* this.#call(`domainFree ${domain.name}`)
    this.#expect(
      [...this.stream.values()].every((one) => one !== domain),
      `domain ${domain.name} freed with devices in it`,
    )
    this.#expect(this.entries.get(domain)?.size === 0, `domain ${domain.name} freed with entries in it`)
    this.entries.delete(domain)
    this.#tables.delete(domain)
  }

  *attachDevice(domain: DriverDomain, device: DriverDevice): Op<void> {
    this.#expect(domain.devices.has(device), `${device.name} is attached to ${domain.name}, whose devices do not hold it`)
    yield* this.#call(`attachDevice ${domain.name} ${device.name}`)
    this.stream.set(device, domain)
    yield* step('device table entry written')
  }

  *detachDevice(domain: DriverDomain, device: DriverDevice): Op<void> {
    yield* this.#call(`detachDevice ${domain.name} ${device.name}`)
    this.#expect(this.stream.get(device) === domain, `${device.name} is detached from ${domain.name}, where it is not`)
    this.stream.delete(device)
    yield* step('device table entry cleared')
  }

  pgtable(domain: DriverDomain): IoPgtable | null {
    return this.#tables.get(domain) ?? null
  }

  *ioMmAlloc(ioMm: DriverIoMm): Op<void> {
    yield* this.#call(`ioMmAlloc ${label(ioMm)}`)
    const same = this.#taken.has(ioMm.pasid) || (ioMm.mm !== null && this.#taken.has(ioMm.mm))
    this.#expect(!same, `${label(ioMm)} has the PASID or the process of another io_mm`)
    this.#taken.add(ioMm.pasid).add(ioMm.mm ?? ioMm.pasid)
    this.spaces.set(ioMm, new FakeTable())
  }

  *ioMmFree(ioMm: DriverIoMm): Op<void> {
    yield* this.#call(`ioMmFree ${label(ioMm)}`)
    this.#expect((this.#leading.get(ioMm) ?? 0) === 0, `${label(ioMm)} freed with an entry that leads to it`)
    this.#leading.delete(ioMm)
    this.#taken.delete(ioMm.pasid)
    if (ioMm.mm !== null) this.#taken.delete(ioMm.mm)
    this.#expect(this.spaces.delete(ioMm), `${label(ioMm)} freed, and was not allocated`)
  }

  *ioMmAttach(domain: DriverDomain, ioMm: DriverIoMm): Op<void> {
    yield* this.#call(`ioMmAttach ${domain.name} ${label(ioMm)}`)
    const entries = this.entries.get(domain)!
    this.#expect(this.spaces.has(ioMm), `${label(ioMm)} attached, and is not allocated`)
    this.#expect(!entries.has(ioMm.pasid), `entry ${ioMm.pasid} of ${domain.name} written twice`)
    this.#expect(ioMm.pasid !== 0, 'entry 0 is the domain itself')
    entries.set(ioMm.pasid, { ioMm, quiet: false })
    this.#leading.set(ioMm, (this.#leading.get(ioMm) ?? 0) + 1)
    yield* step('entry valid')
  }

  *ioMmDetach(domain: DriverDomain, ioMm: DriverIoMm): Op<void> {
    yield* this.#call(`ioMmDetach ${domain.name} ${label(ioMm)}`)
    const entries = this.entries.get(domain)!
    this.#expect(entries.get(ioMm.pasid)?.ioMm === ioMm, `entry ${ioMm.pasid} of ${domain.name} cleared, and is not there`)
    this.#expect(!this.#asked(ioMm, domain), `entry ${ioMm.pasid} of ${domain.name} cleared with page requests under way`)
    entries.delete(ioMm.pasid)
    this.#leading.set(ioMm, (this.#leading.get(ioMm) ?? 0) - 1)
    yield* step('entry cleared')
  }

  *ioMmExit(domain: DriverDomain, ioMm: DriverIoMm): Op<void> {
    yield* this.#call(`ioMmExit ${domain.name} ${label(ioMm)}`)
    const entry = this.entries.get(domain)!.get(ioMm.pasid)
    this.#expect(
      entry !== undefined && entry.ioMm === ioMm && !entry.quiet,
      `entry ${ioMm.pasid} of ${domain.name} made quiet twice, or gone`,
    )
    if (entry !== undefined) entry.quiet = true
    yield* step('entry quiet')
  }

  *ioMmInvalidate(ioMm: DriverIoMm, domains: readonly DriverDomain[], start: bigint | null, end: bigint | null): Op<void> {
    const range = start === null || end === null ? 'all' : `0x${start.toString(16)}..0x${end.toString(16)}`
    yield* this.#call(`ioMmInvalidate ${label(ioMm)} ${range} ${domains.map((domain) => domain.name).join(',')}`)
    yield* step('ATC invalidation under way')
    this.#expect(this.spaces.has(ioMm), `${label(ioMm)} freed while it is invalidated`)
  }

  ioMmPgtable(ioMm: DriverIoMm): IoPgtable {
    return this.spaces.get(ioMm)!
  }

  *pageResponse(response: PageResponse): Op<void> {
    const { device, group, stallTag, pasid, code } = response
    const what = stallTag === null ? `group ${group}` : `stall ${stallTag}`
    yield* this.#call(`pageResponse ${device.name} ${what} pasid ${pasid} ${code}`)
    this.responses.push(response)
    const place = this.unanswered.findIndex(
      (one) => one.device === device.id && one.stallTag === stallTag && (stallTag !== null || one.group === group),
    )
    this.#expect(place >= 0, `${device.name} gets a response to ${what} that nobody waits for`)
    this.unanswered.splice(place, 1)
  }

  *handleQueues(sink: FaultSink): Op<void> {
    yield* step('before the hardware queues are read')
    for (let item = this.queue.shift(); item !== undefined; item = this.queue.shift()) {
      if ('request' in item) {
        const { stallTag, last, read, write } = item.request
        if (stallTag !== null || (last && (read || write))) this.unanswered.push(item.request)
        sink.pageRequest(item.request)
      } else if ('fault' in item) sink.fault(item.fault)
      else sink.pageRequestOverflow()
      yield* step('hardware queue entry read')
    }
  }

  /** Whether a device of the domain has a request with this PASID in the hardware's queue, or waits for a response. */
  #asked(ioMm: DriverIoMm, domain: DriverDomain): boolean {
    const ids = new Set([...domain.devices].map((device) => device.id))
    const queued = this.queue.flatMap((item) => ('request' in item ? [item.request] : []))
    return [...queued, ...this.unanswered].some((request) => request.pasid === ioMm.pasid && ids.has(request.device))
  }

  *#call(call: string): Op<void> {
    this.calls.push(call)
    const place = this.#fail.findIndex(({ match, skip }) => call.startsWith(match) && skip === 0)
    for (const entry of this.#fail) if (call.startsWith(entry.match) && entry.skip > 0) entry.skip--
    this.onStep?.(call)
    yield* step(call)
    if (place < 0) return
    throw this.#fail.splice(place, 1)[0]!.error
  }

  #expect(holds: boolean, otherwise: string): void {
    if (!holds) this.violations.push(otherwise)
  }
}

/** A page table without pages: ranges. */
export class FakeTable implements IoPgtable {
  readonly ranges: { iova: bigint; pa: bigint; size: bigint; rights: number }[] = []

  iovaToPhys(iova: bigint): bigint | null {
    const range = this.ranges.find((one) => iova >= one.iova && iova < one.iova + one.size)
    return range === undefined ? null : range.pa + (iova - range.iova)
  }

  *map(iova: bigint, pa: bigint, size: bigint, rights: number): Op<void> {
    yield* step('map')
    this.ranges.push({ iova, pa, size, rights })
  }

  *unmap(iova: bigint, size: bigint): Op<bigint> {
    yield* step('unmap')
    const place = this.ranges.findIndex((range) => range.iova === iova && range.size === size)
    return place < 0 ? 0n : this.ranges.splice(place, 1)[0]!.size
  }
}

function label(ioMm: DriverIoMm): string {
  return `${ioMm.mm?.name ?? 'private'}#${ioMm.pasid}`
}
