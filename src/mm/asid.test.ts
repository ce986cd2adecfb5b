import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { AsidAllocator, type AsidContext } from './asid.ts'

/** Takes new tags until the generation changes. */
function exhaust(asids: AsidAllocator, cpu = 0): void {
  const { generation } = asids
  while (asids.generation === generation) asids.switchTo(cpu, asids.newContext())
}

describe('ASIDs', () => {
  it('never gives out 0', () => {
    const asids = new AsidAllocator(4, 1)
    for (let count = 0; count < 100; count++) expect(asids.switchTo(0, asids.newContext())).not.toBe(0)
  })
  it('ASID exhaustion: pins at most available - CPUs - 2, and says so with null', () => {
    const asids = new AsidAllocator(4, 2)
    expect(asids.pinLimit).toBe(16 - 2 - 2)
    const contexts = Array.from({ length: 12 }, () => asids.newContext())
    const tags = contexts.map((context) => asids.pin(context))
    expect(new Set(tags).size).toBe(12)
    expect(tags).not.toContain(null)
    expect(asids.pin(asids.newContext())).toBeNull()
    // One that is pinned already can be pinned again, and a place that is given back can be used.
    expect(asids.pin(contexts[0]!)).toBe(tags[0])
    asids.unpin(contexts[0]!)
    expect(asids.pin(asids.newContext())).toBeNull()
    asids.unpin(contexts[0]!)
    expect(asids.pin(asids.newContext())).not.toBeNull()
  })
  it('ASID rollover: keeps pinned ones, and those that run on a CPU; others lose theirs', () => {
    const asids = new AsidAllocator(4, 2)
    const [pinned, running, other] = [asids.newContext(), asids.newContext(), asids.newContext()]
    const tag = asids.pin(pinned)
    const runs = asids.switchTo(1, running)
    asids.switchTo(0, other)
    exhaust(asids)
    expect(asids.tag(pinned)).toBe(0)
    // The tag stays reserved in the new generation, and nobody else gets it, also when it is used again much later.
    for (let turn = 0; turn < 5; turn++) {
      const taken = new Set<number>()
      const { generation } = asids
      while (asids.generation === generation) {
        const fresh = asids.newContext()
        taken.add(asids.switchTo(0, fresh))
      }
      taken.delete(runs)
      expect(taken).not.toContain(tag)
      expect(asids.switchTo(1, running)).toBe(runs)
    }
    expect(asids.switchTo(0, pinned)).toBe(tag)
  })
  it('gives a tag of its own after a rollover to one that was not running', () => {
    const asids = new AsidAllocator(3, 1)
    const first = asids.newContext()
    asids.switchTo(0, first)
    exhaust(asids)
    for (let count = 0; count < 3; count++) asids.switchTo(0, asids.newContext())
    const generation = asids.generation
    expect(asids.switchTo(0, first)).not.toBe(0)
    expect(first.generation).toBe(asids.generation)
    expect(asids.generation).toBe(generation)
  })
  it('KPTI: half as many, and the one of the user is odd', () => {
    const asids = new AsidAllocator(4, 1, true)
    expect(asids.available).toBe(8)
    expect(asids.pinLimit).toBe(8 - 1 - 2)
    for (let count = 0; count < 20; count++) expect(asids.switchTo(0, asids.newContext()) & 1).toBe(1)
  })
  it('has none to give without ASID bits', () => {
    const asids = new AsidAllocator(0, 4)
    expect(asids.pin(asids.newContext())).toBeNull()
    expect(asids.switchTo(3, asids.newContext())).toBe(0)
  })
  it('refuses an unpin without a pin', () => {
    const asids = new AsidAllocator(4, 1)
    expect(() => asids.unpin(asids.newContext())).toThrow('not pinned')
  })
  it('never has two address spaces with one tag where either is pinned or runs', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ what: fc.constantFrom('run', 'run', 'pin', 'unpin'), who: fc.nat(29), cpu: fc.nat(2) }), {
          maxLength: 200,
        }),
        (steps) => {
          const asids = new AsidAllocator(4, 3)
          const contexts = Array.from({ length: 30 }, () => asids.newContext())
          const running: (AsidContext | null)[] = [null, null, null]
          const tags: number[] = [0, 0, 0]
          const pinned = new Map<AsidContext, number>()
          for (const { what, who, cpu } of steps) {
            const context = contexts[who]!
            if (what === 'run') {
              tags[cpu] = asids.switchTo(cpu, context)
              running[cpu] = context
            } else if (what === 'pin') {
              const tag = asids.pin(context)
              if (tag === null) expect(pinned.size).toBe(asids.pinLimit)
              else {
                expect(pinned.get(context) ?? tag).toBe(tag)
                pinned.set(context, tag)
              }
            } else if (context.pins > 0) {
              asids.unpin(context)
              if (context.pins === 0) pinned.delete(context)
            }
            // A CPU keeps using the tag that it switched to, rollover or not: no other CPU's process and no pinned one may have it.
            running.forEach((mine, index) => {
              running.forEach((other, second) => {
                if (mine !== null && other !== null && mine !== other) expect(tags[index]).not.toBe(tags[second])
              })
              for (const [other, tag] of pinned) if (mine !== null && mine !== other) expect(tag).not.toBe(tags[index])
            })
            expect(new Set(pinned.values()).size).toBe(pinned.size)
          }
        },
      ),
      { numRuns: 200 },
    )
  })
})
