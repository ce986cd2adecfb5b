import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { tlbiCover } from './tlbi.ts'

const address = fc.bigInt({ min: 0n, max: 1n << 48n })

describe('TLB invalidation ranges', () => {
  it('cover the whole range and no page beyond it, with fields that fit', () => {
    fc.assert(
      fc.property(address, fc.bigInt({ min: 0n, max: 1n << 44n }), fc.constantFrom(12, 14, 16), (start, size, granule) => {
        const end = start + size
        const page = 1n << BigInt(granule)
        let at = start - (start % page)
        for (const { address, tg, num, scale } of tlbiCover(start, end, granule, true, 99)!) {
          expect(address).toBe(at)
          expect(num <= 31 && scale <= 39).toBe(true)
          expect(tg === 0).toBe(num === 0 && scale === 0)
          at += (BigInt(num + 1) << BigInt(scale)) * page
        }
        if (size > 0n) expect(at >= end && at - end < page).toBe(true)
      }),
      { numRuns: 400 },
    )
  })
  it('name every page where the hardware takes no ranges', () => {
    expect(tlbiCover(0x1fffn, 0x4001n, 12, false, 9)!.map(({ address }) => address)).toEqual([0x1000n, 0x2000n, 0x3000n, 0x4000n])
    expect(tlbiCover(0x1_0000n, 0x2_0000n, 16, false, 9)).toEqual([{ address: 0x1_0000n, tg: 0, num: 0, scale: 0 }])
  })
  it('give up above the limit of commands', () => {
    expect(tlbiCover(0n, 0x8000n, 12, false, 8)).toHaveLength(8)
    expect(tlbiCover(0n, 0x8001n, 12, false, 8)).toBeNull()
    expect(tlbiCover(0n, 1n << 40n, 12, false, 512)).toBeNull()
    expect(tlbiCover(0n, 1n << 40n, 12, true, 8)).toHaveLength(1)
  })
  it('are none for an empty range', () => {
    expect(tlbiCover(0x1000n, 0x1000n, 12, true, 9)).toEqual([])
    expect(tlbiCover(0x1000n, 0x1000n, 12, false, 9)).toEqual([])
  })
  it('take 33 pages in two commands: 1, then 32', () => {
    expect(tlbiCover(0n, 33n * 4096n, 12, true, 9)).toEqual([
      { address: 0n, tg: 0, num: 0, scale: 0 },
      { address: 0x1000n, tg: 1, num: 0, scale: 5 },
    ])
  })
})
