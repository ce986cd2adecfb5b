import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { MachineGraph } from '../graph.ts'
import { scannersFor } from '../registry.ts'
import type { HeldFrames, Scanner } from './contract.ts'
import { scan } from './scan.ts'
import { compare, plausible, scoreOf } from './score.ts'

const BASE = 0x8000_0000

/** Memory with these pages from BASE on. */
function framesOf(pages: readonly Int32Array[]): HeldFrames {
  return {
    ranges: () => [{ start: BASE, end: BASE + pages.length * 4096 }],
    load(frame, words, at) {
      const page = pages[frame - BASE / 4096]
      if (page !== undefined) words.set(page, at)
      return page !== undefined
    },
  }
}

const look = () => {
  throw new Error('something was proposed')
}

function search(pages: readonly Int32Array[], given: Partial<Parameters<typeof scan>[0]> = {}) {
  return scan({ frames: framesOf(pages), scanners: scannersFor(null), absentIsZero: false, look, ...given })
}

describe('a scan', () => {
  it('proposes nothing in random memory', () => {
    const page = fc.array(fc.integer(), { minLength: 16, maxLength: 64 }).map((few) => {
      // Long runs of the same few words: pages as they are, neither all alike nor all different.
      return Int32Array.from({ length: 1024 }, (_, word) => few[(word * 7 + (word >> 5)) % few.length]!)
    })
    fc.assert(
      fc.property(fc.array(page, { minLength: 1, maxLength: 16 }), (pages) => {
        expect(search(pages)).toEqual({ found: [], bytes: pages.length * 4096, complete: true })
      }),
      { numRuns: 100 },
    )
  })

  it('ends when it is told to, and says so', () => {
    const pages = Array.from({ length: 3000 }, () => new Int32Array(1024).fill(3))
    const seen: number[] = []
    const result = search(pages, { proceed: (bytes) => seen.push(bytes) < 2 })
    expect(result).toMatchObject({ complete: false, found: [] })
    expect(result.bytes).toBeLessThan(3000 * 4096)
  })

  it('takes the better of two readings of one table, and is unsure when the other is nearly as good', () => {
    const reading = (devices: number) =>
      ({
        devices: Array.from({ length: devices }, (_, id) => ({ id, state: 'tables', space: 'space0', pasidTable: null })),
        spaces: [{ id: 'space0', leafCount: 1 }],
        pasidTables: [],
        findings: [],
      }) as unknown as MachineGraph
    const proposal = (what: string, address: number) => ({
      kind: 'vtd',
      what,
      address,
      registers: [],
      assumed: [],
      unsure: false,
    })
    const scanner: Scanner = {
      ...{ kind: 'vtd', what: 'tables', machines: [], page() {} },
      *proposals() {
        for (const [what, address] of [
          ['2', 0x1000],
          ['5', 0x1000],
          ['3', 0x2000],
          ['4', 0x2000],
          ['0', 0x3000],
        ] as const)
          yield proposal(what, address)
      },
    }
    const { found } = search([], { scanners: [scanner], look: ({ what }) => reading(Number(what)) })
    expect(found.map(({ address, what, unsure }) => [address, what, unsure])).toEqual([
      [0x1000, '5', false],
      [0x2000, '4', true],
    ])
  })

  it('looks only for what fits the CPU', () => {
    expect(scannersFor(62).map(({ kind }) => kind)).toEqual(['vtd', 'amdvi'])
    expect(scannersFor(183).map(({ kind }) => kind)).toEqual(['smmuv3'])
    expect(scannersFor(243).map(({ kind }) => kind)).toEqual(['riscv'])
    expect(scannersFor(21)).toEqual([])
    expect(scannersFor(null)).toHaveLength(4)
  })
})

describe('what a proposal is worth', () => {
  const graph = (mapped: number, empty: number, errors: number, unknown = 0) =>
    ({
      devices: Array.from({ length: mapped + empty }, (_, id) => ({
        id,
        state: 'tables',
        space: `space${id}`,
        pasidTable: null,
      })),
      spaces: Array.from({ length: mapped + empty }, (_, id) => ({ id: `space${id}`, leafCount: id < mapped ? 5 : 0 })),
      pasidTables: [],
      findings: [
        ...Array(errors).fill({ severity: 'error', text: 'reserved bits are set' }),
        ...Array(unknown).fill({ severity: 'error', text: 'its value is not known: what follows from it is read as zero' }),
      ],
    }) as unknown as MachineGraph

  it('counts devices in whose tables something is mapped, and what contradicts', () => {
    expect(scoreOf(graph(3, 2, 1, 4))).toEqual({ devices: 3, spaces: 3, contradictions: 1 })
  })

  it('counts what a PASID table leads to', () => {
    const { spaces } = graph(1, 0, 0)
    const devices = [{ id: 8, state: 'tables', space: null, pasidTable: 'table0' }]
    const with1 = (entries: unknown[]) =>
      scoreOf({ devices, spaces, pasidTables: [{ id: 'table0', entries }], findings: [] } as unknown as MachineGraph).devices
    expect(with1([{ space: null, upper: 'space0' }])).toBe(1)
    expect(with1([{ space: 'space9' }])).toBe(0)
  })

  it('is nothing without devices, or with about as many mistakes as devices', () => {
    expect(plausible(scoreOf(graph(0, 9, 0)))).toBe(false)
    expect(plausible(scoreOf(graph(3, 0, 1)))).toBe(false)
    expect(plausible(scoreOf(graph(8, 0, 1)))).toBe(true)
    expect(compare(scoreOf(graph(8, 0, 1)), scoreOf(graph(7, 0, 0)))).toBeGreaterThan(0)
    expect(compare(scoreOf(graph(8, 0, 0)), scoreOf(graph(7, 0, 0)))).toBeLessThan(0)
  })
})
