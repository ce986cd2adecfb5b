/**
 * The command queue: commands in, CMD_SYNC, errors. Arm IHI 0070, 3.5 "Command and Event queues", 4.1 "Commands overview", 7.1 "Command
 * queue errors". PROD and CONS hold an index and a wrap bit; here both count on without end.
 */
import { encode } from '../../base/layout.ts'
import type { WordMemory } from '../../base/memory.ts'
import { type Op, step, waitFor } from '../../base/op.ts'
import { IommError } from '../../core/error.ts'
import {
  CERROR_ABT,
  CERROR_ATC_INV_SYNC,
  CERROR_ILL,
  CMD_ATC_INV,
  CMD_BYTES,
  CMD_CFGI_STE,
  CMD_CFGI_VMS_PIDM,
  CMD_SYNC,
  CMD_TLBI_NH_ALL,
  CMD_TLBI_NSNH_ALL,
  CMD_WORDS,
  commandOf,
  SYNC,
  SYNC_NONE,
} from '../../format/smmuv3/commands.ts'
import { CMDQ_CONS, GERROR, GERRORN } from '../../format/smmuv3/registers.ts'
import { fieldOf, type Registers } from './registers.ts'
import { loadWords, storeWords } from './words.ts'

/** Kinds of commands that the driver can be made to forget, to show what then goes wrong. */
export type Forgettable = 'cfgi' | 'tlbi' | 'atc' | 'sync'

/** A command that the hardware refused, or could not finish. */
export interface CommandError {
  /** CMDQ_CONS.ERR. */
  readonly code: number
  readonly name: string
  /** The command's words; for a time-out those of the CMD_SYNC. */
  readonly command: Uint32Array
  readonly text: string
}

/** So often may one CMD_SYNC time out before the hardware counts as broken. */
const PATIENCE = 16

const SYNC_COMMAND = encode(SYNC, { opcode: CMD_SYNC, CS: SYNC_NONE })

export class CommandQueue {
  /** Commands of these kinds are dropped instead of sent. */
  readonly forget = new Set<Forgettable>()
  /** Sees each command that is sent, and those that are forgotten (`lost`). */
  onCommand: ((words: Uint32Array, lost: boolean) => void) | null = null
  readonly base: number
  readonly log2: number
  readonly #memory: WordMemory
  readonly #registers: Registers
  readonly #report: (error: CommandError) => void
  /** Commands written, published in CMDQ_PROD, and known to be consumed, since the start. */
  #written = 0
  #published = 0
  #consumed = 0
  #timeouts = 0
  #timedOutAt = -1

  /** @param base address of 2^log2 entries, aligned to their size. */
  constructor(memory: WordMemory, registers: Registers, base: number, log2: number, report: (error: CommandError) => void) {
    this.#memory = memory
    this.#registers = registers
    this.#report = report
    this.base = base
    this.log2 = log2
  }

  /** Sends commands, and does not wait for them. @returns how many commands have been sent since the start, these included. */
  *issue(commands: readonly Uint32Array[]): Op<number> {
    for (const command of commands) {
      if (this.forget.has(kindOf(command) as Forgettable)) {
        this.onCommand?.(command, true)
        continue
      }
      if (this.#full()) {
        this.#publish()
        yield* waitFor('space in the command queue', () => !this.#full())
      }
      this.#write(command)
    }
    this.#publish()
    const end = this.#written
    yield* step('commands sent')
    return end
  }

  /** Sends commands and a CMD_SYNC, and waits until all are complete (4.7.3). */
  *issueAndSync(commands: readonly Uint32Array[]): Op<void> {
    const end = yield* this.issue([...commands, SYNC_COMMAND])
    if (!this.forget.has('sync')) yield* waitFor('CMD_SYNC', () => this.#poll() >= end)
  }

  /** Reads CONS, and deals with a command error. Also part of the interrupt handler. @returns commands consumed since the start. */
  poll(): number {
    return this.#poll()
  }

  #write(command: Uint32Array): void {
    storeWords(this.#memory, this.#address(this.#written), command)
    this.#written++
    this.onCommand?.(command, false)
  }

  #publish(): void {
    if (this.#published === this.#written) return
    this.#published = this.#written
    this.#registers.write('CMDQ_PROD', this.#published % 2 ** (this.log2 + 1))
  }

  #address(count: number): number {
    return this.base + (count % 2 ** this.log2) * CMD_BYTES
  }

  #full(): boolean {
    return this.#written - this.#consumed >= 2 ** this.log2 && this.#written - this.#poll() >= 2 ** this.log2
  }

  #poll(): number {
    const registers = this.#registers
    // The error first: CONS is then at least as new, and says which command it was.
    const failed = fieldOf(registers.read('GERROR') ^ registers.read('GERRORN'), GERROR.fields.CMDQ_ERR) !== 0
    const cons = registers.read('CMDQ_CONS')
    const wrap = 2 ** (this.log2 + 1)
    this.#consumed += (fieldOf(cons, CMDQ_CONS.fields.RD) - (this.#consumed % wrap) + wrap) % wrap
    if (failed) this.#fail(fieldOf(cons, CMDQ_CONS.fields.ERR))
    return this.#consumed
  }

  /** Processing has stopped at the command that CONS points to. Acknowledging the error lets it go on there. */
  #fail(code: number): void {
    const at = this.#address(this.#consumed)
    const command = loadWords(this.#memory, at, CMD_WORDS)
    const name = commandOf(command)?.name ?? 'no command'
    if (code === CERROR_ILL) {
      this.#report({ code, name: 'CERROR_ILL', command, text: `the SMMU refused ${name} (${hexWords(command)}); it is skipped` })
      storeWords(this.#memory, at, SYNC_COMMAND)
    } else if (code === CERROR_ATC_INV_SYNC) {
      this.#report({ code, name: 'CERROR_ATC_INV_SYNC', command, text: 'a device did not complete an ATC invalidation in time' })
      this.#timeouts = this.#timedOutAt === this.#consumed ? this.#timeouts + 1 : 1
      this.#timedOutAt = this.#consumed
      if (this.#timeouts > PATIENCE)
        throw new IommError('Hardware', `an ATC invalidation still fails after ${PATIENCE} time-outs; reset the device`)
    } else if (code === CERROR_ABT) {
      throw new IommError('Hardware', `the SMMU cannot read its command queue at 0x${at.toString(16)}; is that memory?`)
    }
    this.#registers.write('GERRORN', this.#registers.read('GERRORN') ^ (1 << GERRORN.fields.CMDQ_ERR.lsb))
  }
}

/** Which kind of forgettable command this is; null for others. */
export function kindOf(command: Uint32Array): Forgettable | null {
  const opcode = command[0]! & 0xff
  if (opcode >= CMD_CFGI_STE && opcode <= CMD_CFGI_VMS_PIDM) return 'cfgi'
  if (opcode >= CMD_TLBI_NH_ALL && opcode <= CMD_TLBI_NSNH_ALL) return 'tlbi'
  if (opcode === CMD_ATC_INV) return 'atc'
  return opcode === CMD_SYNC ? 'sync' : null
}

function hexWords(words: Uint32Array): string {
  return [...words].map((word) => word.toString(16).padStart(8, '0')).join(' ')
}
