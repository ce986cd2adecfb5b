import { describe, expect, it } from 'vitest'
import { everythingAtOnce } from '../common/races.suite.ts'
import { System } from './system.suite.ts'

describe('whatever order operations, DMA and the hardware run in', () => {
  for (const [name, options] of [
    ['by pages', {}],
    ['by pages, with GCR3 tables of three levels', { gcr3Levels: 3 }],
    ['above the thresholds', { iotlbThreshold: 0, atcInvalidateThreshold: 0 }],
  ] as const)
    it(`memory is out of reach once the operation that took it away has returned: invalidation ${name}`, () => {
      let reached = 0
      for (let seed = 1; seed <= 20; seed++) reached += everythingAtOnce(seed, new System(options, { deferred: true }))
      // DMA did get through meanwhile, or this would say nothing.
      expect(reached).toBeGreaterThan(500)
    })
  it('is seen by this test when the driver forgets an invalidation', () => {
    for (const forget of ['iotlb', 'atc'] as const)
      expect(() => {
        for (let seed = 1; seed <= 20; seed++) everythingAtOnce(seed, new System({ forget: [forget] }, { deferred: true }))
      }).toThrow('freed')
  })
})
