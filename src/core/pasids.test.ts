import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PASID_LIMIT } from '../base/types.ts'
import { PasidAllocator } from './pasids.ts'

describe('PASIDs', () => {
  it('are given out from 1, lowest free first; 0 never', () => {
    const pasids = new PasidAllocator('lowest')
    expect([pasids.allocate(256), pasids.allocate(256), pasids.allocate(256)]).toEqual([1, 2, 3])
    pasids.free(2)
    expect([pasids.allocate(256), pasids.allocate(256)]).toEqual([2, 4])
    expect(pasids.isFree(0)).toBe(false)
    expect(() => pasids.free(0)).toThrow('PASID 0 was not given out')
    expect(() => pasids.free(77)).toThrow('PASID 77 was not given out')
  })
  it('cyclic: reuse comes late', () => {
    const pasids = new PasidAllocator('cyclic')
    expect([1, 2, 3].map(() => pasids.allocate(5))).toEqual([1, 2, 3])
    pasids.free(1)
    pasids.free(2)
    expect([1, 2, 3, 4].map(() => pasids.allocate(5))).toEqual([4, 1, 2, null])
  })
  it('the limit is exclusive: 20 bits give 1,048,575 of them', () => {
    const pasids = new PasidAllocator('lowest')
    let last: number | null = null
    for (let count = 1; count < PASID_LIMIT; count++) last = pasids.allocate(PASID_LIMIT)
    expect(last).toBe(PASID_LIMIT - 1)
    expect(pasids.allocate(PASID_LIMIT)).toBeNull()
    pasids.free(700_000)
    expect(pasids.allocate(700_000)).toBeNull()
    expect(pasids.allocate(700_001)).toBe(700_000)
    expect(pasids.used).toBe(PASID_LIMIT - 1)
  })
  it('agree with a plain search, whatever is given out and back', () => {
    const operation = fc.record({
      free: fc.boolean(),
      number: fc.nat(2200),
      limit: fc.constantFrom(2, 33, 1025, 2048, PASID_LIMIT),
    })
    fc.assert(
      fc.property(
        fc.constantFrom('lowest' as const, 'cyclic' as const),
        fc.array(operation, { maxLength: 300 }),
        (policy, steps) => {
          const pasids = new PasidAllocator(policy)
          const used = new Set([0])
          let last = 0
          // Fill most of the low ones, so that words become full.
          for (let pasid = 1; pasid < 2100; pasid++) if (pasid % 97 !== 0) pasids.take(pasid)
          for (let pasid = 1; pasid < 2100; pasid++) if (pasid % 97 !== 0) used.add(pasid)
          last = 2099
          for (const { free, number, limit } of steps) {
            if (free) {
              if (number > 0 && used.delete(number)) pasids.free(number)
              continue
            }
            const from = (first: number) => {
              let pasid = first
              while (used.has(pasid)) pasid++
              return pasid
            }
            let wanted = from(policy === 'cyclic' ? last + 1 : 1)
            if (policy === 'cyclic' && wanted >= limit) wanted = from(1)
            expect(pasids.allocate(limit)).toBe(wanted < limit ? wanted : null)
            if (wanted >= limit) continue
            used.add(wanted)
            last = wanted
          }
        },
      ),
      { numRuns: 60 },
    )
  })
})
