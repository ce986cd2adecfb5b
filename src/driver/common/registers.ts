/** Registers by name, as drivers use them. Offsets and fields come from the format. */
import { decode, encode, type Fields, type Layout, type Values } from '../../base/layout.ts'
import type { Mmio } from '../../core/driver.ts'

/** Where a register lies. */
export interface RegisterPlace {
  readonly offset: number
  readonly bytes: 4 | 8
}

/** A field of a 32-bit register's value, for what is read often. */
export function fieldOf(value: number, { msb, lsb }: { readonly msb: number; readonly lsb: number }): number {
  return (value >>> lsb) % 2 ** (msb - lsb + 1)
}

export class NamedRegisters {
  readonly #mmio: Mmio
  readonly #find: (name: string) => RegisterPlace
  readonly #known = new Map<string, RegisterPlace>()

  /** @param find throws for a name that no register has. */
  constructor(mmio: Mmio, find: (name: string) => RegisterPlace) {
    this.#mmio = mmio
    this.#find = find
  }

  /** A 32-bit register's value. */
  read(name: string): number {
    return Number(this.#mmio.read(this.#place(name).offset, 4) & 0xffffffffn)
  }

  /** A 64-bit register's value. */
  readWide(name: string): bigint {
    return this.#mmio.read(this.#place(name).offset, 8)
  }

  /** All fields of a 32-bit register. */
  fields<F extends Fields>(layout: Layout<F>): Values<F> {
    return decode(layout, Uint32Array.of(this.read(layout.name)))
  }

  write(name: string, value: number): void {
    this.#mmio.write(this.#place(name).offset, 4, BigInt(value >>> 0))
  }

  /** Writes a register of 4 or 8 bytes by its fields; those not given are 0. */
  set<F extends Fields>(layout: Layout<F>, values: Partial<Values<F>>): void {
    const { offset, bytes } = this.#place(layout.name)
    const words = encode(layout, values)
    this.#mmio.write(offset, bytes, BigInt(words[0]!) | (BigInt(words[1] ?? 0) << 32n))
  }

  #place(name: string): RegisterPlace {
    let place = this.#known.get(name)
    if (place === undefined) {
      place = this.#find(name)
      this.#known.set(name, place)
    }
    return place
  }
}
