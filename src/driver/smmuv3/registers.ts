/** The registers by name, as the driver uses them. Offsets and fields: `format/smmuv3/registers.ts`. */
import { decode, encode, type Fields, type Layout, type Values } from '../../base/layout.ts'
import { type Op, waitFor } from '../../base/op.ts'
import type { Mmio } from '../../core/driver.ts'
import { type Register, registerNamed } from '../../format/smmuv3/registers.ts'

/** A field of a 32-bit register's value, for what is read often. */
export function fieldOf(value: number, { msb, lsb }: { readonly msb: number; readonly lsb: number }): number {
  return (value >>> lsb) % 2 ** (msb - lsb + 1)
}

export class Registers {
  readonly #mmio: Mmio
  readonly #known = new Map<string, Register>()

  constructor(mmio: Mmio) {
    this.#mmio = mmio
  }

  /** A 32-bit register's value. */
  read(name: string): number {
    const { offset } = this.#register(name)
    return Number(this.#mmio.read(offset, 4) & 0xffffffffn)
  }

  /** All fields of a 32-bit register. */
  fields<F extends Fields>(layout: Layout<F>): Values<F> {
    return decode(layout, Uint32Array.of(this.read(layout.name)))
  }

  write(name: string, value: number): void {
    this.#mmio.write(this.#register(name).offset, 4, BigInt(value >>> 0))
  }

  /** Writes a register of 4 or 8 bytes by its fields; those not given are 0. */
  set<F extends Fields>(layout: Layout<F>, values: Partial<Values<F>>): void {
    const { offset, bytes } = this.#register(layout.name)
    const words = encode(layout, values)
    this.#mmio.write(offset, bytes, BigInt(words[0]!) | (BigInt(words[1] ?? 0) << 32n))
  }

  /** Writes a register that the hardware acknowledges in another, and waits for it (6.3.9 CR0, 6.3.16 IRQ_CTRL). */
  *setAcknowledged(name: 'CR0' | 'IRQ_CTRL', value: number): Op<void> {
    const acknowledge = name === 'CR0' ? 'CR0ACK' : 'IRQ_CTRLACK'
    this.write(name, value)
    yield* waitFor(`SMMU_${acknowledge}`, () => this.read(acknowledge) === value)
  }

  #register(name: string): Register {
    let register = this.#known.get(name)
    if (register === undefined) {
      register = registerNamed(name)
      this.#known.set(name, register)
    }
    return register
  }
}
