import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encode } from '../../base/layout.ts'
import { ptSpace } from '../../format/pt/format.ts'
import { vtdSecond } from '../../format/pt/vtd-second.ts'
import { vtdFirst, x86Scheme } from '../../format/pt/x86.ts'
import { checkContext, checkPasid, checkSmContext } from '../../format/vtd/check.ts'
import { featuresOf } from '../../format/vtd/features.ts'
import { PASID_ENTRY, PASID_FPD } from '../../format/vtd/pasid.ts'
import { PhysicalMemory } from '../../memory/physical.ts'
import { capOf, ecapOf } from '../../model/vtd/options.ts'
import { planUpdate } from '../common/hitless.ts'
import {
  directoryContext,
  noPasid,
  PASID_KIND,
  pasidUsed,
  passThroughContext,
  passThroughPasid,
  privatePasid,
  quietPasid,
  secondStageContext,
  secondStagePasid,
  sharedPasid,
} from './entries.ts'
import { PasidDirectory } from './tables.ts'

const features = featuresOf(capOf({}), ecapOf({}))
const first = (root: number, levels: 4 | 5 = 4) => ptSpace({ ...vtdFirst(levels), root })
const second = (root: number, levels: 3 | 4 | 5 = 4) => ptSpace({ ...vtdSecond(levels), root })
const cpu = (root: number, levels: 4 | 5 = 4) => ptSpace({ ...x86Scheme(levels), root })

/** Every kind of entry that the driver writes, with few distinct values, so that pairs share some parts. */
const kinds: readonly [string, Uint32Array][] = [
  ['none', noPasid()],
  ['quiet', quietPasid()],
  ['first stage', privatePasid(first(0x10_0000), features, 3)],
  ['another first stage', privatePasid(first(0x20_0000), features, 4)],
  ['a 5-level first stage', privatePasid(first(0x10_0000, 5), features, 3)],
  ['second stage', secondStagePasid(second(0x30_0000), features, 5)],
  ['another second stage', secondStagePasid(second(0x40_0000, 3), features, 6)],
  ['pass-through', passThroughPasid(features, 7)],
  ['process', sharedPasid(cpu(0x50_0000), features, 8, null)],
  ['process of 5 levels', sharedPasid(cpu(0x50_0000, 5), features, 8, null)],
  ['exited process', sharedPasid(cpu(0x50_0000), features, 8, 0x60_0000)],
]

const counts = (entry: Uint32Array) => {
  const mask = pasidUsed(entry)
  return entry.map((word, index) => word & mask[index]!)
}
const loud = (entry: Uint32Array) => Uint32Array.from(counts(entry), (word, index) => (index === 0 ? word & ~PASID_FPD : word))
const isQuiet = (entry: Uint32Array) => (entry[0]! & PASID_FPD) !== 0
const isPresent = (entry: Uint32Array) => (entry[0]! & 1) === 1

describe('entries', () => {
  it('are legal, every one', () => {
    for (const [name, entry] of kinds)
      if (isPresent(entry)) expect([name, checkPasid(Int32Array.from(entry), 0, features)]).toEqual([name, 0])
    const memory = new PhysicalMemory([{ start: 0x4000_0000, end: 0x5000_0000 }])
    for (const bits of [1, 13, 20])
      for (const on of [false, true]) {
        const entry = directoryContext(new PasidDirectory(memory, memory, bits), { ats: on, pri: on, pasids: on })
        expect(checkSmContext(Int32Array.from(entry), 0, features)).toBe(0)
      }
    for (const levels of [3, 4, 5] as const)
      for (const ats of [false, true])
        expect(checkContext(Int32Array.from(secondStageContext(second(0x1000, levels), 9, ats)), 0, features)).toBe(0)
    expect(checkContext(Int32Array.from(passThroughContext(features, 9)), 0, features)).toBe(0)
  })
  it('turn into each other so that the IOMMU sees the old one or the new one, or where neither will do none, however it tears its reads', () => {
    const torn = new Set<string>()
    for (const [from, old] of kinds)
      for (const [to, target] of kinds) {
        const plan = planUpdate(old, target, PASID_KIND)
        const allowed = new Set([loud(old).join(), loud(target).join()])
        if (!plan.hitless) allowed.add(loud(noPasid()).join())
        if (!plan.hitless && isPresent(old) && isPresent(target)) torn.add(`${from} → ${to}`)
        const entry = old.slice()
        for (const step of plan.steps) {
          // 128 bits are stored and read at once; of several parts any may be seen before the others.
          for (let seen = 0; seen < 1 << step.length; seen++) {
            const mix = entry.slice()
            step.forEach(({ at, words }, index) => {
              if (((seen >>> index) & 1) === 1) mix.set(words, at)
            })
            expect(allowed, `${from} → ${to}`).toContain(loud(mix).join())
            // Never quieter than one of both, nor louder than both.
            if (isQuiet(mix)) expect(isQuiet(old) || isQuiet(target)).toBe(true)
            if (isQuiet(old) && isQuiet(target)) expect(isQuiet(mix)).toBe(true)
          }
          for (const { at, words } of step) entry.set(words, at)
        }
        expect(entry.join()).toBe(target.join())
      }
    // Only where both parts count in both and differ: another table for another domain id.
    for (const pair of torn) expect(pair).toMatch(/(first stage|process).* → .*(first stage|process)/)
    expect(torn).toContain('first stage → another first stage')
    expect(torn).not.toContain('process → exited process')
  })
  it('of an exiting process are quiet before they lead nowhere', () => {
    const [old, target] = [sharedPasid(cpu(0x50_0000), features, 8, null), sharedPasid(cpu(0x50_0000), features, 8, 0x60_0000)]
    const { hitless, steps } = planUpdate(old, target, PASID_KIND)
    expect(hitless).toBe(true)
    expect(steps.map((step) => step.map(({ at }) => at))).toEqual([[0], [4]])
  })
  it('ignore what belongs to a stage that they do not have', () => {
    const noise = fc.array(fc.integer(), { minLength: 16, maxLength: 16 })
    fc.assert(
      fc.property(fc.constantFrom(...kinds), noise, ([, entry], rubbish) => {
        const mask = pasidUsed(entry)
        const dirty = entry.map((word, index) => (word & mask[index]!) | (rubbish[index]! & ~mask[index]!))
        expect(pasidUsed(dirty).join()).toBe(mask.join())
      }),
      { numRuns: 300 },
    )
    // A second stage keeps nothing of a first one that was there, and the other way round.
    const stale = encode(PASID_ENTRY, {
      P: 1,
      PGTT: 2,
      AW: 2,
      DID: 5,
      SSPTPTR: 0x30_0000n,
      FSPTPTR: 0x10_0000n,
      WPE: 1,
      PWSNP: 1,
    })
    expect(counts(stale).join()).toBe(secondStagePasid(second(0x30_0000), features, 5).join())
  })
})
