/**
 * An SMMUv3 that does nothing but acknowledge, consume commands and keep what it was told: enough to test what the driver sends, and in
 * which order. Not a model of the hardware.
 */
import { decode, encode, wordsFromU64 } from '../../base/layout.ts'
import { type Op, run } from '../../base/op.ts'
import type { Mmio } from '../../core/driver.ts'
import { CERROR_NONE, commandOf } from '../../format/smmuv3/commands.ts'
import { GENEROUS_IDR } from '../../format/smmuv3/features.ts'
import { CMDQ_BASE, CMDQ_CONS, EVENTQ_BASE, PRIQ_BASE, REGISTERS, registerNamed } from '../../format/smmuv3/registers.ts'
import { PhysicalMemory } from '../../memory/physical.ts'

const WORDS_OF = { EVENTQ: 8, PRIQ: 4 }
const offset = (name: string) => registerNamed(name).offset

export class FakeSmmu implements Mmio {
  readonly memory = new PhysicalMemory([{ start: 0x4000_0000, end: 0x8000_0000 }])
  /** Commands consumed, as `CMD_CFGI_CD StreamID=1 SubstreamID=2 Leaf=1`, fields that are 0 left out. */
  readonly log: string[] = []
  /** Called for each command before it counts as consumed: fails with this CERROR. */
  fail: (text: string) => number = () => CERROR_NONE
  readonly #registers = new Map<number, bigint>()
  readonly #names = new Map(REGISTERS.map(({ offset, name }) => [offset, name]))

  /** @param idr identification registers that differ from those of an SMMU that has everything. */
  constructor(idr: Partial<typeof GENEROUS_IDR> = {}) {
    for (const [name, value] of Object.entries({ ...GENEROUS_IDR, ...idr })) this.#set(name, BigInt(value))
  }

  read(at: number, _bytes: 4 | 8): bigint {
    return this.#registers.get(at) ?? 0n
  }

  write(at: number, _bytes: 4 | 8, value: bigint): void {
    const name = this.#names.get(at)
    if (name === undefined) throw new Error(`no register at 0x${at.toString(16)}`)
    this.#registers.set(at, value)
    if (name === 'CR0' || name === 'IRQ_CTRL') this.#set(`${name}ACK`, value)
    if (name === 'GBPA') this.#set(name, value & 0x7fff_ffffn)
  }

  /** Consumes one command. */
  step(): boolean {
    const base = decode(CMDQ_BASE, wordsFromU64([this.#get('CMDQ_BASE')]))
    const wrap = 2 ** (Number(base.LOG2SIZE) + 1)
    const cons = decode(CMDQ_CONS, Uint32Array.of(Number(this.#get('CMDQ_CONS'))))
    const stopped = (this.#get('GERROR') ^ this.#get('GERRORN')) & 1n
    if ((Number(this.#get('CR0')) & 8) === 0 || stopped !== 0n || Number(cons.RD) === Number(this.#get('CMDQ_PROD'))) return false
    const text = this.#describe(Number(base.ADDR) + (Number(cons.RD) % (wrap / 2)) * 16)
    const error = this.fail(text)
    if (error === CERROR_NONE) this.log.push(text)
    else this.#set('GERROR', this.#get('GERROR') ^ 1n)
    const rd = error === CERROR_NONE ? (Number(cons.RD) + 1) % wrap : Number(cons.RD)
    this.#set('CMDQ_CONS', BigInt(encode(CMDQ_CONS, { RD: rd, ERR: error })[0]!))
    return true
  }

  /** Runs a driver's operation, and gives what it sent meanwhile. */
  sent(op: Op<unknown>): string[] {
    const from = this.log.length
    run(op, () => this.step())
    while (this.step());
    return this.log.slice(from)
  }

  /** Puts an entry into an output queue. When it is full, the entry is lost and the overflow flag toggles. */
  push(queue: 'EVENTQ' | 'PRIQ', entry: Uint32Array): void {
    const base = decode(queue === 'EVENTQ' ? EVENTQ_BASE : PRIQ_BASE, wordsFromU64([this.#get(`${queue}_BASE`)]))
    const size = 2 ** Number(base.LOG2SIZE)
    const prod = Number(this.#get(`${queue}_PROD`))
    const cons = Number(this.#get(`${queue}_CONS`))
    const overflow = prod - (prod % 0x8000_0000)
    if ((((prod - cons) % (2 * size)) + 2 * size) % (2 * size) === size) {
      const acknowledged = cons - (cons % 0x8000_0000)
      if (overflow === acknowledged) this.#set(`${queue}_PROD`, BigInt((prod ^ 0x8000_0000) >>> 0))
      return
    }
    entry.forEach((word, index) => {
      this.memory.write32(Number(base.ADDR) + (prod % size) * WORDS_OF[queue] * 4 + index * 4, word)
    })
    this.#set(`${queue}_PROD`, BigInt((((prod % 0x8000_0000) + 1) % (2 * size)) + overflow))
  }

  /** Reports a global error. */
  raise(bit: number): void {
    this.#set('GERROR', this.#get('GERROR') ^ (1n << BigInt(bit)))
  }

  /** A register's value. */
  register(name: string): bigint {
    return this.#get(name)
  }

  #get(name: string): bigint {
    return this.#registers.get(offset(name)) ?? 0n
  }

  #set(name: string, value: bigint): void {
    this.#registers.set(offset(name), value)
  }

  #describe(at: number): string {
    const words = Uint32Array.from({ length: 4 }, (_, index) => this.memory.read32(at + index * 4))
    const command = commandOf(words)
    if (command === null) return `opcode ${words[0]! & 0xff}`
    const fields = Object.entries(decode(command.layout, words)).filter(
      ([name, value]) => name !== 'opcode' && Number(value) !== 0,
    )
    const text = fields.map(([name, value]) => `${name}=${typeof value === 'bigint' ? `0x${value.toString(16)}` : value}`)
    return [command.name.replace('CMD_', ''), ...text].join(' ')
  }
}
