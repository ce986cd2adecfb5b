import { describe, expect, it } from 'vitest'
import { loadScenarioOn } from './index.ts'
import { targetOf } from './target.ts'

describe('what a scenario is to run on', () => {
  it('is a kind, with options as a file would have them', () => {
    expect(targetOf('vtd')).toEqual({ kind: 'vtd', options: {} })
    expect(targetOf('vtd:mode=legacy:levels=3')).toEqual({ kind: 'vtd', options: { mode: 'legacy', levels: '3' } })
    expect(targetOf('smmuv3:pasidBits=0x8:ats=false')).toEqual({ kind: 'smmuv3', options: { pasidBits: 8, ats: false } })
  })
  it('goes over what the file says, and leaves the rest', () => {
    const on = (target: string, text: string) => {
      const loaded = loadScenarioOn(target, text, 'x.yaml')
      return loaded.ok ? loaded.scenario.iommu : loaded.problems
    }
    expect(on('vtd:mode=legacy', 'title: x')).toEqual({ kind: 'vtd', options: { mode: 'legacy' } })
    expect(on('vtd:pasidBits=4', 'iommu: { kind: smmuv3, pasidBits: 8, stall: no, granule: 4K }')).toEqual({
      kind: 'vtd',
      options: { pasidBits: 4, stall: 'no' },
      dropped: ['granule'],
    })
  })
  it.each([
    ['three', /no IOMMU is called 'three'; there are smmuv3,/],
    ['', /no IOMMU is called ''/],
    ['vtd:mode', /'mode' gives no value: write vtd:mode=…/],
    ['vtd:mood=legacy', /vtd has no option 'mood'; it has mode,/],
    ['vtd:__proto__=1', /vtd has no option '__proto__'/],
    ['vtd:mode=old', /vtd:mode=old: mode takes one of scalable, legacy/],
    ['vtd:pasidBits=', /pasidBits takes/],
    ['vtd:pasidBits=*a', /pasidBits takes/],
    ['vtd:pasidBits=[', /pasidBits takes/],
    ['vtd:caches=4', /caches takes a mapping/],
  ])('is refused with a reason: %s', (text, why) => {
    expect(() => targetOf(text)).toThrow(RangeError)
    expect(() => targetOf(text)).toThrow(why)
  })
})
