import { describe, expect, it } from 'vitest'
import { everythingAtOnce } from '../common/races.suite.ts'
import { System } from './system.suite.ts'

describe('whatever order operations, DMA and the hardware run in', () => {
  for (const [name, options, ril] of [
    ['by address', {}, 0],
    ['by ranges, with small leaves', { cdtab: '2lvl-4k' }, 1],
    ['above the thresholds, with a tiny queue', { tlbiThreshold: 0, atcInvalidateThreshold: 0, commandQueueLog2: 1 }, 0],
  ] as const)
    it(`memory is out of reach once the operation that took it away has returned: invalidation ${name}`, () => {
      let reached = 0
      for (let seed = 1; seed <= 20; seed++) reached += everythingAtOnce(seed, new System(options, { idr: { RIL: ril } }))
      // DMA did get through meanwhile, or this would say nothing.
      expect(reached).toBeGreaterThan(500)
    })
  it('is seen by this test when the driver forgets an invalidation', () => {
    for (const forget of ['iotlb', 'atc'] as const)
      expect(() => {
        for (let seed = 1; seed <= 20; seed++) everythingAtOnce(seed, new System({ forget: [forget] }, { idr: { RIL: 0 } }))
      }).toThrow('freed')
  })
})
