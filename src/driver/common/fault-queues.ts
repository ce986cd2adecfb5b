/** The interrupt handler's part: events, page requests, errors of the hardware and of commands, into the core's sink. */
import { wordsToU64 } from '../../base/layout.ts'
import { type Op, step } from '../../base/op.ts'
import type { FaultReport, FaultSink, PageRequest } from '../../core/driver.ts'
import type { CommandError, CommandRing } from './command-ring.ts'
import type { Records } from './record-queue.ts'

/** What an event is: a report, or a transaction that waits for an answer. */
export type Event =
  | { readonly kind: 'fault'; readonly report: FaultReport }
  | {
      readonly kind: 'stall'
      readonly request: PageRequest & { readonly stallTag: number }
      /** The wait is at stage 2. */
      readonly stage2: boolean
      readonly report: FaultReport
    }

/** How an architecture's queues are read. */
export interface FaultDecoding {
  /** `PRI`, and `stream 0x…, which no device has`: for requests of unknown devices. */
  readonly pageRequests: string
  readonly idName: string
  /** What is reported when events were lost. */
  readonly lost: { readonly name: string; readonly text: string }
  event(words: Uint32Array): Event
  pageRequest(words: Uint32Array): PageRequest
  /** Errors of the hardware that are not about commands: acknowledges and reports them. */
  errors(): FaultReport[]
  /** The command that ends a transaction that nobody will answer. Null where nothing ever waits. */
  refuseStall(request: PageRequest & { readonly stallTag: number }): Uint32Array | null
  /** The command that answers a page request group of an unknown device. */
  refusePages(request: PageRequest): Uint32Array
}

export class FaultQueues {
  readonly #commands: CommandRing
  readonly #events: Records
  readonly #pri: Records | null
  readonly #knows: (device: number) => boolean
  readonly #decoding: FaultDecoding
  /** Noticed outside the interrupt handler, to be reported by it. */
  readonly #pending: FaultReport[] = []

  /** @param knows whether a device id is one of the driver's. */
  constructor(
    commands: CommandRing,
    events: Records,
    pri: Records | null,
    knows: (device: number) => boolean,
    decoding: FaultDecoding,
  ) {
    this.#commands = commands
    this.#events = events
    this.#pri = pri
    this.#knows = knows
    this.#decoding = decoding
  }

  commandError({ code, name, command, text }: CommandError): void {
    this.#pending.push(report(name, code, text, wordsToU64(command)))
  }

  /** Until everything is read out. */
  *handle(sink: FaultSink): Op<void> {
    for (let moved = true; moved; ) {
      moved = this.#errors(sink)
      for (let words = this.#events.next(); words !== null; words = this.#events.next()) {
        moved = true
        yield* this.#event(words, sink)
      }
      const { lost } = this.#decoding
      if (this.#events.acknowledgeLoss()) sink.fault(report(lost.name, 0, lost.text, []))
      if (this.#pri === null) continue
      for (let words = this.#pri.next(); words !== null; words = this.#pri.next()) {
        moved = true
        yield* this.#pageRequest(words, sink)
      }
      if (this.#pri.acknowledgeLoss()) sink.pageRequestOverflow()
    }
    yield* step('queues are empty')
  }

  *#event(words: Uint32Array, sink: FaultSink): Op<void> {
    const event = this.#decoding.event(words)
    if (event.kind === 'fault') sink.fault(event.report)
    else if (event.stage2 || !this.#knows(event.request.device)) {
      // Nobody else will answer: stage 2 is mapped in advance or not at all, and an unknown device has no driver.
      sink.fault(event.report)
      const refusal = this.#decoding.refuseStall(event.request)
      if (refusal !== null) yield* this.#commands.issue([refusal])
    } else sink.pageRequest(event.request)
    yield* step('event handled')
  }

  *#pageRequest(words: Uint32Array, sink: FaultSink): Op<void> {
    const { pageRequests, idName } = this.#decoding
    const request = this.#decoding.pageRequest(words)
    const { device, last, read, write } = request
    if (this.#knows(device)) sink.pageRequest(request)
    else {
      const text = `a page request of ${idName} 0x${device.toString(16)}, which no device has`
      sink.fault(report(pageRequests, 0, text, wordsToU64(words)))
      // A stop marker (last, neither read nor write) gets no response.
      if (last && (read || write)) yield* this.#commands.issue([this.#decoding.refusePages(request)])
    }
    yield* step('page request handled')
  }

  /** @returns whether there was any. */
  #errors(sink: FaultSink): boolean {
    this.#commands.poll()
    this.#pending.push(...this.#decoding.errors())
    const reports = this.#pending.splice(0)
    for (const each of reports) sink.fault(each)
    return reports.length > 0
  }
}

/** A report that no event record is behind. */
export function report(name: string, code: number, text: string, record: readonly bigint[]): FaultReport {
  return { device: null, pasid: null, address: null, code, name, record, text: `${name}: ${text}` }
}
