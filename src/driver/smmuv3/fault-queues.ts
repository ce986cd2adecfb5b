/** The interrupt handler's part: event queue, PRI queue, global errors, command errors. Arm IHI 0070, 3.5.4, 6.3.19, 7, 8. */
import { wordsToU64 } from '../../base/layout.ts'
import { type Op, step } from '../../base/op.ts'
import type { FaultReport, FaultSink } from '../../core/driver.ts'
import { GERROR, GERRORN } from '../../format/smmuv3/registers.ts'
import type { CommandError, CommandQueue } from './command-queue.ts'
import { pageResponse, resume } from './commands.ts'
import { decodeEvent, decodePageRequest } from './faults.ts'
import type { OutputQueue } from './output-queue.ts'
import type { Registers } from './registers.ts'

export class FaultQueues {
  readonly #registers: Registers
  readonly #commands: CommandQueue
  readonly #events: OutputQueue
  readonly #pri: OutputQueue | null
  readonly #knows: (sid: number) => boolean
  /** Noticed outside the interrupt handler, to be reported by it. */
  readonly #pending: FaultReport[] = []

  constructor(
    registers: Registers,
    commands: CommandQueue,
    events: OutputQueue,
    pri: OutputQueue | null,
    knows: (sid: number) => boolean,
  ) {
    this.#registers = registers
    this.#commands = commands
    this.#events = events
    this.#pri = pri
    this.#knows = knows
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
      if (this.#events.acknowledgeOverflow())
        sink.fault(report('EVENTQ_OVERFLOW', 0, 'the event queue overflowed: events were lost', []))
      if (this.#pri === null) continue
      for (let words = this.#pri.next(); words !== null; words = this.#pri.next()) {
        moved = true
        yield* this.#pageRequest(words, sink)
      }
      if (this.#pri.acknowledgeOverflow()) sink.pageRequestOverflow()
    }
    yield* step('queues are empty')
  }

  *#event(words: Uint32Array, sink: FaultSink): Op<void> {
    const event = decodeEvent(words)
    if (event.kind === 'fault') sink.fault(event.report)
    else if (event.stage2 || !this.#knows(event.request.device)) {
      // Nobody else will answer: stage 2 is mapped in advance or not at all, and an unknown device has no driver.
      sink.fault(event.report)
      yield* this.#commands.issue([resume(event.request.device, event.request.stallTag, 'invalid')])
    } else sink.pageRequest(event.request)
    yield* step('event handled')
  }

  *#pageRequest(words: Uint32Array, sink: FaultSink): Op<void> {
    const request = decodePageRequest(words)
    const { device, pasid, group, last, read, write } = request
    if (this.#knows(device)) sink.pageRequest(request)
    else {
      sink.fault(report('PRI', 0, `a page request of stream 0x${device.toString(16)}, which no device has`, wordsToU64(words)))
      // A stop marker (last, neither read nor write) gets no response.
      if (last && (read || write)) yield* this.#commands.issue([pageResponse(device, pasid, group, 'failure')])
    }
    yield* step('page request handled')
  }

  /** Global errors (6.3.19): an error is active while GERROR and GERRORN differ. @returns whether there was any. */
  #errors(sink: FaultSink): boolean {
    this.#commands.poll()
    const gerror = this.#registers.fields(GERROR)
    const acknowledged = this.#registers.fields(GERRORN)
    for (const name of Object.keys(GERROR.fields) as (keyof typeof GERROR.fields)[]) {
      if (gerror[name] === acknowledged[name] || name === 'CMDQ_ERR') continue
      this.#pending.push(report(`GERROR.${name}`, 0, GERROR.fields[name].doc, []))
      this.#registers.write('GERRORN', this.#registers.read('GERRORN') ^ (1 << GERROR.fields[name].lsb))
    }
    const reports = this.#pending.splice(0)
    for (const each of reports) sink.fault(each)
    return reports.length > 0
  }
}

/** A report that no event record is behind. */
function report(name: string, code: number, text: string, record: readonly bigint[]): FaultReport {
  return { device: null, pasid: null, address: null, code, name, record, text: `${name}: ${text}` }
}
