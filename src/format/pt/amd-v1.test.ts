import { describe, expect, it } from 'vitest'
import { PR, PW, PX, UR, UW, UX } from '../../base/types.ts'
import { PhysicalMemory } from '../../memory/physical.ts'
import { AMD_FC_HI, AMD_IR_HI, AMD_IW_HI, AMD_PR, AMD_U_HI, AMD_V1, amdV1 } from './amd-v1.ts'
import { enumerate } from './enumerate.ts'
import { ptSpace } from './format.ts'
import { runsAt } from './leaf-words.ts'
import { runPtSuite, type SuiteConfiguration } from './pt.suite.ts'
import { WALK_INPUT_RANGE, WALK_NOT_PRESENT, WALK_OK, WALK_RESERVED, Walker } from './walker.ts'

const LEVELS = [1, 2, 3, 4, 5, 6] as const
runPtSuite(
  LEVELS.flatMap((levels) =>
    [false, true].map((runs): SuiteConfiguration => {
      const { format, topDepth, inputBits } = amdV1(levels)
      const name = `${format.name}, mode ${levels}${runs ? ', sizes of next level 7' : ''}`
      return { name, format, topDepth, inputBits, outputLimit: 2 ** 52, runs }
    }),
  ),
)

const RIGHTS = (BigInt(AMD_IR_HI | AMD_IW_HI) << 32n) | BigInt(AMD_PR)
const next = (level: number) => BigInt(level << 9)

/** Tables by level: table n at n × 0x1000, with these first entries. */
function build(levels: 1 | 2 | 3 | 4 | 5 | 6, entries: Record<number, bigint>) {
  const memory = new PhysicalMemory([{ start: 0, end: 0x10000 }])
  for (const [level, entry] of Object.entries(entries)) memory.write64(Number(level) * 0x1000, entry)
  return { memory, walker: new Walker(memory), space: ptSpace({ ...amdV1(levels), root: levels * 0x1000 }) }
}

describe('AMD host tables', () => {
  it('have leaves of every size from 4 KiB to 2^52 bytes, said by the level or by the lowest zero of the address', () => {
    for (const levels of [1, 2, 3, 4, 5] as const) {
      const own = 12 + 9 * (levels - 1)
      for (let log2 = 13; log2 <= 52; log2++) {
        // Ones from bit 12 up to below the size's upper half.
        const ones = (1n << BigInt(log2 - 1)) - 0x1000n
        const { walker, space } = build(levels, { [levels]: RIGHTS | next(7) | ones })
        const legal = log2 > own && log2 < own + 9
        expect([levels, log2, walker.walk(space, 0, 0x234, UR, false)]).toEqual([levels, log2, legal ? WALK_OK : WALK_RESERVED])
        if (legal) expect([walker.sizeLog2, walker.outHi, walker.outLo]).toEqual([log2, 0, 0x234])
      }
      const { walker, space } = build(levels, { [levels]: RIGHTS | next(0) })
      expect([walker.walk(space, 0, 0x123, UR, false), walker.sizeLog2]).toEqual([WALK_OK, own])
    }
    const all = [0, 1, 2, 3, 4].flatMap((depth) => [12 + 9 * depth, ...runsAt(AMD_V1, depth)])
    expect(all.sort((a, b) => a - b)).toEqual(Array.from({ length: 41 }, (_, index) => 12 + index))
  })

  it('have no leaf at level 6, and none of a size that is all ones', () => {
    for (const level of [0, 7]) {
      const { walker, space } = build(6, { 6: RIGHTS | next(level) })
      expect(walker.walk(space, 0, 0, 0, false)).toBe(WALK_RESERVED)
    }
    const { walker, space } = build(5, { 5: RIGHTS | next(7) | 0xf_ffff_ffff_f000n })
    expect(walker.walk(space, 0, 0, 0, false)).toBe(WALK_RESERVED)
  })

  it('skip levels, whose address bits must be zero then', () => {
    for (const levels of [3, 4, 5, 6] as const) {
      for (let below = 1; below < levels - 1; below++) {
        const leaf = RIGHTS | (1n << 50n)
        const { memory, walker, space } = build(levels, {
          [levels]: RIGHTS | next(below) | BigInt(below * 0x1000),
          [below]: leaf,
        })
        expect(walker.walk(space, 0, 0x345, UR, false)).toBe(WALK_OK)
        const size = 12 + 9 * (below - 1)
        expect([walker.outHi, walker.outLo, walker.sizeLog2, walker.depth]).toEqual([1 << 18, 0x345, size, below - 1])
        // The lowest and the highest of the skipped bits.
        for (const bit of [size + 9, 11 + 9 * (levels - 1)]) {
          const hi = bit >= 32 ? 1 << (bit - 32) : 0
          const lo = bit >= 32 ? 0 : 1 << bit
          expect(walker.walk(space, hi, lo, UR, false)).toBe(WALK_NOT_PRESENT)
          expect(walker.depth).toBe(levels - 1)
        }
        const leaves: number[] = []
        enumerate(memory, space, { leaf: ({ input, log2 }) => void leaves.push(input, log2) })
        expect(leaves).toEqual([0, size])
      }
    }
  })

  it('never lead up or to the same level', () => {
    for (const levels of LEVELS) {
      for (let level = levels; level <= 6; level++) {
        const { walker, space } = build(levels, { [levels]: RIGHTS | next(level) | BigInt(levels * 0x1000) })
        expect(walker.walk(space, 0, 0, 0, false)).toBe(WALK_RESERVED)
      }
    }
  })

  it('permit what all levels permit', () => {
    const rights = (above: number, leaf: number) => {
      const entry = (bits: number) => (BigInt(bits) << 32n) | 1n
      const { walker, space } = build(2, { 2: entry(above) | next(1) | 0x1000n, 1: entry(leaf) })
      expect(walker.walk(space, 0, 0, 0, false)).toBe(WALK_OK)
      return walker.rights
    }
    const both = AMD_IR_HI | AMD_IW_HI
    expect(rights(both, both)).toBe(UR | UW | UX | PR | PW | PX)
    expect(rights(AMD_IR_HI, both)).toBe(UR | UX | PR | PX)
    expect(rights(both, AMD_IW_HI | AMD_FC_HI | AMD_U_HI)).toBe(UW | PW)
    expect(rights(AMD_IW_HI, AMD_IR_HI)).toBe(0)
  })

  it('reserve bits 58:52, and U and FC in tables', () => {
    for (let bit = 52; bit < 64; bit++) {
      const leaf = build(1, { 1: RIGHTS | (1n << BigInt(bit)) })
      expect([bit, leaf.walker.walk(leaf.space, 0, 0, 0, false)]).toEqual([bit, bit < 59 ? WALK_RESERVED : WALK_OK])
      const table = build(2, { 2: RIGHTS | next(1) | 0x1000n | (1n << BigInt(bit)), 1: RIGHTS })
      expect([bit, table.walker.walk(table.space, 0, 0, 0, false)]).toEqual([bit, bit < 61 ? WALK_RESERVED : WALK_OK])
    }
  })

  it('translate 21 to 57 bits, and all 64 with 6 levels', () => {
    for (const levels of LEVELS) {
      const { walker, space } = build(levels, {})
      const bits = Math.min(64, 12 + 9 * levels)
      expect(space.inputBits).toBe(bits)
      const hi = bits > 32 ? (bits === 64 ? -1 : 2 ** (bits - 32) - 1) : 0
      const lo = bits >= 32 ? -1 : 2 ** bits - 1
      expect(walker.walk(space, hi, lo, 0, false)).toBe(WALK_NOT_PRESENT)
      if (bits < 32) expect(walker.walk(space, 0, lo + 1, 0, false)).toBe(WALK_INPUT_RANGE)
      else if (bits < 64) expect(walker.walk(space, hi + 1, 0, 0, false)).toBe(WALK_INPUT_RANGE)
    }
  })
})
