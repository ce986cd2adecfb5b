import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PhysicalMemory } from '../../memory/physical.ts'
import { RadixTable } from './radix-table.ts'

const memory = () => new PhysicalMemory([{ start: 0x4000_0000, end: 0x4400_0000 }])
const shape = (bits: readonly number[], entryBytes: number) => ({
  bits,
  entryBytes,
  pointer: (table: number) => Uint32Array.of(table | 1, 0),
})

/** Where an entry lies by the pointers in memory alone: null when there is none. */
function walk(ram: PhysicalMemory, base: number, bits: readonly number[], entryBytes: number, number: number): number | null {
  let table = base
  let below = bits.reduce((sum, one) => sum + one, 0)
  for (const [level, width] of bits.entries()) {
    below -= width
    const slot = Math.floor(number / 2 ** below) % 2 ** width
    if (level === bits.length - 1) return table + slot * entryBytes
    const pointer = Number(ram.read64(table + slot * 8))
    if (pointer === 0) return null
    table = pointer - 1
  }
  return null
}

describe('a table in levels', () => {
  const forms = fc.constantFrom([5], [3, 4], [9, 8], [3, 9, 8], [9, 9, 6])
  it('has an entry for each number where its pointers lead to, and no two share one', () => {
    fc.assert(
      fc.property(
        forms,
        fc.constantFrom(16, 64),
        fc.array(fc.nat(), { minLength: 1, maxLength: 20 }),
        (bits, entryBytes, raw) => {
          const ram = memory()
          const table = new RadixTable(ram, ram, shape(bits, entryBytes))
          const numbers = [...new Set(raw.map((number) => number % 2 ** table.bits))]
          const places = new Map<number, number>()
          for (const number of numbers) {
            const before = walk(ram, table.base, bits, entryBytes, number)
            expect(table.find(number)).toBe(before)
            const { entry, grew } = table.make(number)
            expect(grew).toBe(before === null)
            expect(walk(ram, table.base, bits, entryBytes, number)).toBe(entry)
            places.set(number, entry)
          }
          expect(new Set(places.values()).size).toBe(numbers.length)
          for (const [number, place] of places) expect(table.find(number)).toBe(place)
        },
      ),
      { numRuns: 60 },
    )
  })
  it('takes room for what is used only, and gives all of it back', () => {
    const ram = memory()
    const first = ram.allocate(4096)
    const table = new RadixTable(ram, ram, shape([9, 9, 6], 64))
    table.make(0)
    table.make(2 ** 24 - 1)
    expect(table.find(2 ** 15)).toBeNull()
    table.free()
    ram.free(first, 4096)
    // The lowest page is given out again.
    expect(ram.allocate(4096)).toBe(first)
    expect(ram.allocate(4096)).toBe(table.base)
  })
})
