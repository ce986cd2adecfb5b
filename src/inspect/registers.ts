/** Registers by name, as inspectors read them and as the graph shows them. */
import { describe, getField, type Layout, wordsFromU64 } from '../base/layout.ts'
import type { RegisterView } from './graph.ts'
import type { Findings, MachineSource } from './source.ts'

/** Where a register lies. */
export interface RegisterPlace {
  readonly name: string
  readonly offset: number
  readonly bytes: 4 | 8
  readonly layout: Layout
}

/** A machine's registers, zero where the source does not know them. */
export class RegisterFile {
  readonly #source: MachineSource
  readonly #registers: readonly RegisterPlace[]
  readonly #places: ReadonlyMap<string, RegisterPlace>

  constructor(source: MachineSource, registers: readonly RegisterPlace[]) {
    this.#source = source
    this.#registers = registers
    this.#places = new Map(registers.map((register) => [register.name, register]))
  }

  /** Whether the value is known. */
  known(name: string): boolean {
    return this.#read(name) !== null
  }

  /** Says which of these are not known. @param prefix of their names in the manual. */
  reportUnknown(names: readonly string[], findings: Findings, prefix = ''): void {
    for (const name of names.filter((each) => !this.known(each)))
      findings.add(
        'error',
        `${prefix}${name}`,
        'its value is not known: what follows from it is read as zero',
        'unknown register',
      )
  }

  value(name: string): bigint {
    return this.#read(name) ?? 0n
  }

  number(name: string): number {
    return Number(this.value(name))
  }

  /** One field, as a number. */
  field<L extends Layout>(layout: L, field: keyof L['fields'] & string): number {
    return Number(getField(wordsFromU64([this.value(layout.name)]), layout.fields[field]!))
  }

  views(): RegisterView[] {
    const out: RegisterView[] = []
    for (const { name, offset, bytes, layout } of this.#registers) {
      const value = this.#source.register(offset, bytes)
      if (value !== null) out.push({ name, offset, value, fields: describe(layout, wordsFromU64([value])) })
    }
    return out
  }

  #read(name: string): bigint | null {
    const place = this.#places.get(name)
    if (place === undefined) throw new RangeError(`no register is called ${name}`)
    return this.#source.register(place.offset, place.bytes)
  }
}
