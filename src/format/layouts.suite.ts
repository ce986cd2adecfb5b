/** What every layout must hold, for the tests of each architecture's layouts. */
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { decode, encode, type Field, type Layout, setField, uncovered } from '../base/layout.ts'

/** Any value that fits in a field. */
function anyValue(field: Field): fc.Arbitrary<number | bigint> {
  const bits = field.msb - field.lsb + 1
  const value = fc.bigInt({ min: 0n, max: (1n << BigInt(bits)) - 1n })
  if (field.kind === 'addr') return value.map((number) => number << BigInt(field.shift))
  return bits <= 32 ? value.map(Number) : value
}

/** Declares a test for each layout: every field of every value comes back, and bits of no field stay as they are. */
export function testLayouts(layouts: readonly Layout[]): void {
  it.each(layouts.map((layout) => [layout.name, layout] as const))(
    '%s: every field of every value comes back, and other bits stay',
    (_, layout) => {
      const values = fc.record(Object.fromEntries(Object.entries(layout.fields).map(([name, field]) => [name, anyValue(field)])))
      const words = fc.uint32Array({ minLength: layout.bits / 32, maxLength: layout.bits / 32 })
      const reserved = uncovered(layout)
      fc.assert(
        fc.property(values, words, (given, before) => {
          expect(decode(layout, encode(layout, given as never))).toEqual(given)
          const over = before.slice()
          for (const [name, field] of Object.entries(layout.fields)) setField(over, field, given[name]!)
          expect(decode(layout, over)).toEqual(given)
          const rest = (all: Uint32Array) => Array.from(all, (word, index) => (word & reserved[index]!) >>> 0)
          expect(rest(over)).toEqual(rest(before))
        }),
        { numRuns: 20 },
      )
    },
  )
}
