/** A command's fields in a few words, for narration. Which fields matter, the architecture says. */
import { hex } from '../base/hex.ts'
import type { DescribedField } from '../base/layout.ts'

export interface FieldWords {
  /** Short names. */
  readonly short: Readonly<Record<string, string>>
  /** Fields that say nothing to people, or go into the words of others. */
  readonly silent: ReadonlySet<string>
  /** Fields that are told even when they are 0. */
  readonly told: ReadonlySet<string>
  /** Fields that are told in hexadecimal. */
  readonly hex: ReadonlySet<string>
  /** The order in which people name the first ones. */
  readonly order: readonly string[]
}

/** `sid 0x10 ssid 2 asid 5`. */
export function commandText(fields: readonly DescribedField[], words: FieldWords): string {
  const place = ({ name }: DescribedField) => {
    const index = words.order.indexOf(name)
    return index < 0 ? words.order.length : index
  }
  return fields
    .filter(({ name, value }) => !words.silent.has(name) && (words.told.has(name) || BigInt(value) !== 0n))
    .sort((a, b) => place(a) - place(b))
    .map(({ name, value, means }) => `${words.short[name] ?? name} ${means ?? (words.hex.has(name) ? hex(value) : value)}`)
    .join(' ')
}
