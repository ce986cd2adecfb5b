import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { EVERYTHING, powerOfTwoCover } from './power-of-two.ts'

const address = fc.oneof(
  fc.bigInt({ min: 0n, max: 1n << 64n }),
  fc.bigInt({ min: 0n, max: 1n << 20n }),
  fc.bigInt({ min: (1n << 64n) - (1n << 16n), max: 1n << 64n }),
)
const bytes = ({ size }: { size: number }) => 4096n << BigInt(size)

describe('blocks of 2^n pages', () => {
  it('cover the whole range and no page beyond it, with aligned powers of two', () => {
    fc.assert(
      fc.property(address, address, (a, b) => {
        const [start, end] = a < b ? [a, b] : [b, a]
        const ranges = powerOfTwoCover(start, end, 200)!
        let at = start - (start % 4096n)
        for (const range of ranges) {
          expect(range.address).toBe(at)
          expect(range.address % bytes(range)).toBe(0n)
          at += bytes(range)
        }
        if (end > start) {
          expect(at >= end).toBe(true)
          expect(at - end < 4096n).toBe(true)
        } else expect(ranges).toEqual([])
      }),
      { numRuns: 500 },
    )
  })
  it('are the fewest', () => {
    // The least number of aligned blocks that cover pages [first, end) exactly, by trying all.
    const fewest = (first: number, end: number, known = new Map<number, number>()): number => {
      if (first === end) return 0
      const before = known.get(first)
      if (before !== undefined) return before
      let best = Infinity
      for (let size = 1; first % size === 0 && first + size <= end; size *= 2)
        best = Math.min(best, 1 + fewest(first + size, end, known))
      known.set(first, best)
      return best
    }
    for (let first = 0; first < 40; first++)
      for (let end = first; end < 64; end++)
        expect(powerOfTwoCover(BigInt(first) * 4096n, BigInt(end) * 4096n, 99)!.length, `${first}..${end}`).toBe(
          fewest(first, end),
        )
  })
  it('take the pages that an unaligned range touches', () => {
    expect(powerOfTwoCover(0x1fffn, 0x2001n, 9)).toEqual([
      { address: 0x1000n, size: 0 },
      { address: 0x2000n, size: 0 },
    ])
    expect(powerOfTwoCover(0x2345n, 0x2346n, 9)).toEqual([{ address: 0x2000n, size: 0 }])
  })
  it('end before the end address', () => {
    expect(powerOfTwoCover(0x1000n, 0x2000n, 9)).toEqual([{ address: 0x1000n, size: 0 }])
  })
  it('are none for an empty or reversed range', () => {
    expect(powerOfTwoCover(0x1000n, 0x1000n, 9)).toEqual([])
    expect(powerOfTwoCover(0x2000n, 0x1000n, 9)).toEqual([])
  })
  it('cover pages 7 to 10 with three commands, where one would span sixteen pages', () => {
    expect(powerOfTwoCover(0x7000n, 0xb000n, 9)).toEqual([
      { address: 0x7000n, size: 0 },
      { address: 0x8000n, size: 1 },
      { address: 0xa000n, size: 0 },
    ])
  })
  it('give up above the limit', () => {
    expect(powerOfTwoCover(0x7000n, 0xb000n, 3)).toHaveLength(3)
    expect(powerOfTwoCover(0x7000n, 0xb000n, 2)).toBeNull()
  })
  it('say everything in one command', () => {
    expect(powerOfTwoCover(0n, 1n << 64n, 1)).toEqual([{ address: 0n, size: EVERYTHING }])
  })
})
