/**
 * The queue that software fills with commands: room, publication, completion, refused commands, time-outs. How an index is told, and what
 * an error is, the architecture knows. Here indices count on without end.
 */
import type { WordMemory } from '../../base/memory.ts'
import { type Op, step, waitFor } from '../../base/op.ts'
import { IommError } from '../../core/error.ts'
import { loadWords, storeWords } from './words.ts'

/** Kinds of commands that a driver can be made to forget, to show what then goes wrong: those that empty a cache, and fences. */
export type Forgettable = 'config' | 'iotlb' | 'atc' | 'sync'

/** A command that the hardware refused, or could not finish. */
export interface CommandError {
  readonly code: number
  readonly name: string
  /** The command's words; for a time-out those of the fence. */
  readonly command: Uint32Array
  readonly text: string
}

/**
 * What an error that stopped the queue means. `skip`: the command is illegal. `retry`: a device was too slow, and the command is tried again.
 * `repeat`: a device was too slow, and which commands that concerns nobody knows: who waits sends all of its own again. `broken`: no hope.
 */
export interface CommandFailure {
  readonly name: string
  readonly text: string
  readonly remedy: 'skip' | 'retry' | 'repeat' | 'broken'
}

/** An architecture's command queue. */
export interface CommandHardware {
  /** What a command takes in the queue; what is shorter is followed by zeros. */
  readonly commandBytes: number
  /** Indices are told modulo this: with a wrap bit, twice the entries. */
  readonly modulus: number
  /** Commands that fit. */
  readonly capacity: number
  /** A command that completes when all before it are complete. `end`: how many commands have been sent since the start, it included. */
  fence(end: number): Uint32Array
  /** Whether the fence with this `end` is complete, where to be consumed is not to be complete. */
  complete?(end: number): boolean
  kindOf(command: Uint32Array): Forgettable | null
  /** Tells the hardware where the commands end. */
  publish(index: number): void
  /** The error that has stopped the queue; -1 when none has. Read before `consumed`. */
  error(): number
  /** Where the hardware is. */
  consumed(): number
  failure(error: number, command: Uint32Array, at: number): CommandFailure
  /** The error is dealt with: go on. */
  acknowledge(error: number): void
}

/** So often may one fence time out before the hardware counts as broken. */
const PATIENCE = 16

export class CommandRing {
  /** Commands of these kinds are dropped instead of sent. */
  readonly forget = new Set<Forgettable>()
  /** Sees each command that is sent, and those that are forgotten (`lost`). */
  onCommand: ((words: Uint32Array, lost: boolean) => void) | null = null
  readonly base: number
  readonly log2: number
  readonly #memory: WordMemory
  readonly #hardware: CommandHardware
  readonly #report: (error: CommandError) => void
  /** Commands written, published, and known to be consumed, since the start. */
  #written = 0
  #published = 0
  #consumed = 0
  #timeouts = 0
  #timedOutAt = -1
  /** Who waits for a fence up to this command sends all of it again. */
  #abandoned = 0

  /** @param base address of 2^log2 entries, aligned to their size. */
  constructor(memory: WordMemory, base: number, log2: number, hardware: CommandHardware, report: (error: CommandError) => void) {
    this.#memory = memory
    this.#hardware = hardware
    this.#report = report
    this.base = base
    this.log2 = log2
  }

  /** Sends commands, and does not wait for them. @returns how many commands have been sent since the start, these included. */
  *issue(commands: readonly Uint32Array[]): Op<number> {
    for (const command of commands) yield* this.#append(() => command)
    return yield* this.#sent()
  }

  /** Sends commands and a fence, and waits until all are complete. */
  *issueAndSync(commands: readonly Uint32Array[]): Op<void> {
    for (let turn = 1; ; turn++) {
      for (const command of commands) yield* this.#append(() => command)
      yield* this.#append((end) => this.#hardware.fence(end))
      const end = yield* this.#sent()
      if (this.forget.has('sync')) return
      yield* waitFor('the fence', () => this.#abandoned >= end || this.#complete(end))
      if (this.#abandoned < end) return
      if (turn >= PATIENCE) throw tooSlow()
    }
  }

  /** Puts a command into the queue, as soon as there is room. It is made when its place is known. */
  *#append(make: (end: number) => Uint32Array): Op<void> {
    const kind = this.#hardware.kindOf(make(0))
    if (kind !== null && this.forget.has(kind)) {
      this.onCommand?.(make(0), true)
      return
    }
    if (this.#full()) {
      this.#publish()
      yield* waitFor('space in the command queue', () => !this.#full())
    }
    this.#write(make(this.#written + 1))
  }

  *#sent(): Op<number> {
    this.#publish()
    const end = this.#written
    yield* step('commands sent')
    return end
  }

  #complete(end: number): boolean {
    const consumed = this.poll()
    return this.#hardware.complete?.(end) ?? consumed >= end
  }

  /** Looks where the hardware is, and deals with an error. Also part of the interrupt handler. @returns commands consumed since the start. */
  poll(): number {
    const hardware = this.#hardware
    // The error first: the index is then at least as new, and says which command it was.
    const error = hardware.error()
    const { modulus } = hardware
    this.#consumed += (hardware.consumed() - (this.#consumed % modulus) + modulus) % modulus
    if (error >= 0) this.#fail(error)
    return this.#consumed
  }

  #write(command: Uint32Array): void {
    const words = new Uint32Array(this.#hardware.commandBytes / 4)
    words.set(command)
    storeWords(this.#memory, this.#address(this.#written), words)
    this.#written++
    this.onCommand?.(command, false)
  }

  #publish(): void {
    if (this.#published === this.#written) return
    this.#published = this.#written
    this.#hardware.publish(this.#published % this.#hardware.modulus)
  }

  #address(count: number): number {
    return this.base + (count % 2 ** this.log2) * this.#hardware.commandBytes
  }

  #full(): boolean {
    const { capacity } = this.#hardware
    return this.#written - this.#consumed >= capacity && this.#written - this.poll() >= capacity
  }

  /** Processing has stopped at the command that is next. Acknowledging the error lets it go on there. */
  #fail(error: number): void {
    const hardware = this.#hardware
    const at = this.#address(this.#consumed)
    const command = loadWords(this.#memory, at, hardware.commandBytes / 4)
    const { name, text, remedy } = hardware.failure(error, command, at)
    if (remedy === 'broken') throw new IommError('Hardware', text)
    this.#report({ code: error, name, command, text })
    if (remedy === 'skip') {
      const words = new Uint32Array(hardware.commandBytes / 4)
      words.set(hardware.fence(this.#consumed + 1))
      storeWords(this.#memory, at, words)
    } else if (remedy === 'repeat') this.#abandoned = this.#written
    else {
      this.#timeouts = this.#timedOutAt === this.#consumed ? this.#timeouts + 1 : 1
      this.#timedOutAt = this.#consumed
      if (this.#timeouts > PATIENCE) throw tooSlow()
    }
    hardware.acknowledge(error)
  }
}

function tooSlow(): IommError {
  return new IommError('Hardware', `an ATC invalidation still fails after ${PATIENCE} time-outs; reset the device`)
}
