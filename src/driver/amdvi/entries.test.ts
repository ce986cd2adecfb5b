import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decode, encode } from '../../base/layout.ts'
import { checkDte } from '../../format/amdvi/check.ts'
import { DTE, gcr3Root } from '../../format/amdvi/dte.ts'
import { GCR3_ENTRY } from '../../format/amdvi/gcr3.ts'
import type { PtSpace } from '../../format/pt/format.ts'
import { PhysicalMemory } from '../../memory/physical.ts'
import { planUpdate } from '../common/hitless.ts'
import {
  blockedDte,
  DTE_KIND,
  dteUsed,
  GCR3_KIND,
  gcr3Dte,
  gcr3Entry,
  hostDte,
  nestedDte,
  passThroughDte,
  readGuestDte,
} from './entries.ts'
import { System } from './system.suite.ts'
import { Gcr3Table } from './tables.ts'

const { features } = new System().driver
const memory = new PhysicalMemory([{ start: 0x1_2345_0000_0000, end: 0x1_2345_0100_0000 }])
const tables = ([0, 1, 2] as const).map((glx) => new Gcr3Table(memory, memory, glx))
const hosts = [3, 4, 6].map((mode): PtSpace => ({ ...features.host[mode]!, root: 0x5000_0000 + mode * 4096 }))

const device = fc.record({ ats: fc.boolean(), pri: fc.boolean(), responsePasid: fc.boolean(), pasids: fc.constant(true) })
const domain = fc.integer({ min: 1, max: 0xffff })
const levels = fc.constantFrom(4 as const, 5 as const)
const table = fc.constantFrom(...tables)
const gcr3 = fc.tuple(table, levels, fc.boolean(), domain, device).map((given) => gcr3Dte(...given))
const host = fc.constantFrom(...hosts)
const nested = fc
  .tuple(gcr3, host, domain, device)
  .map(([words, space, id, choices]) => nestedDte(readGuestDte(words, features)!, space, id, choices))
const entry = fc.oneof(
  fc.constant(blockedDte()),
  fc.tuple(domain, device).map((given) => passThroughDte(...given)),
  fc.tuple(host, domain, device).map((given) => hostDte(...given)),
  gcr3,
  nested,
)

/** What the hardware makes of an entry: the bits that it looks at, but for which faults are recorded. */
const meaning = (words: Uint32Array) => {
  const used = dteUsed(words)
  const sa = encode(DTE, { SA: 1 })
  return words.map((word, index) => word & used[index]! & ~sa[index]!).join()
}

describe('device table entries', () => {
  it('are legal, and set only bits that the hardware looks at', () => {
    fc.assert(
      fc.property(entry, (words) => {
        expect(checkDte(Int32Array.from(words), 0, features)).toBe(0)
        const used = dteUsed(words)
        words.forEach((word, index) => {
          expect(word & ~used[index]!).toBe(0)
        })
      }),
    )
  })
  it('change hitlessly, unless the levels of guest tables change; then what stands between lets nothing pass', () => {
    let between = 0
    fc.assert(
      fc.property(entry, entry, fc.infiniteStream(fc.nat()), (from, to, order) => {
        const plan = planUpdate(from, to, DTE_KIND)
        const now = from.slice()
        const allowed = new Set([from, to].map(meaning))
        if (!plan.hitless) {
          between++
          const guest = (words: Uint32Array) => [decode(DTE, words).GV, decode(DTE, words).GuestPagingMode]
          expect([guest(from)[0], guest(to)[0]]).toEqual([1, 1])
          expect(guest(from)[1]).not.toBe(guest(to)[1])
          allowed.add(meaning(blockedDte()))
        }
        for (const step of plan.steps) {
          const stores = [...step]
          while (stores.length > 0) {
            const [{ at, words }] = stores.splice(order.next().value! % stores.length, 1) as [(typeof stores)[0]]
            now.set(words, at)
            expect(allowed).toContain(meaning(now))
          }
        }
        expect(now).toEqual(to)
      }),
      { numRuns: 300 },
    )
    expect(between).toBeGreaterThan(0)
  })
  it('hold the whole address of a GCR3 table', () => {
    for (const each of tables) {
      const words = gcr3Dte(each, 4, true, 1, { ats: false, pri: false, responsePasid: false, pasids: true })
      expect([gcr3Root(words), decode(DTE, words).GLX]).toEqual([each.base, each.glx])
      expect(each.base).toBeGreaterThan(2 ** 40)
    }
  })
})

describe('GCR3 entries', () => {
  it('change with one store of 64 bits', () => {
    const [a, b] = [gcr3Entry(0x1_0000_5000), gcr3Entry(0x2_0000_6000)]
    expect(decode(GCR3_ENTRY, a)).toEqual({ V: 1, GCR3: 0x1_0000_5000n })
    for (const [from, to] of [
      [a, b],
      [a, new Uint32Array(2)],
      [new Uint32Array(2), b],
    ] as const)
      expect(planUpdate(from, to, GCR3_KIND).steps).toHaveLength(1)
  })
})
