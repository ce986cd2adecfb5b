/** The shared test suite of page-table formats: every format brings its configurations and runs all of it. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { doubleHi, doubleLo, toDouble } from '../../base/u64.ts'
import { PhysicalMemory } from '../../memory/physical.ts'
import { classify, ENTRY_LEAF, outputOf } from './entry.ts'
import { enumerate } from './enumerate.ts'
import { AD_FAULT, AD_IGNORE, AD_SET, coverLog2, type PtFormat, type PtSpace, ptSpace } from './format.ts'
import { rightsIndex, runsAt } from './leaf-words.ts'
import { MapError, newRoot, PageTable } from './mapper.ts'
import { WALK_ACCESS_FLAG, WALK_DIRTY, WALK_NOT_PRESENT, WALK_OK, WALK_PERMISSION, Walker } from './walker.ts'

export interface SuiteConfiguration {
  readonly name: string
  readonly format: PtFormat
  readonly topDepth: number
  readonly inputBits: number
  /** 2^(output address size). */
  readonly outputLimit: number
  /** Map with the sizes that take several entries. */
  readonly runs?: boolean
}

const RAM = { start: 0x4000_0000, end: 0x8000_0000 }

interface Built {
  memory: PhysicalMemory
  space: PtSpace
  table: PageTable
}

function build(config: SuiteConfiguration, given: Partial<PtSpace> = {}): Built {
  const memory = new PhysicalMemory([RAM])
  const { format, topDepth, inputBits, outputLimit } = config
  const root = newRoot(memory, { format, topDepth, inputBits })
  const space = ptSpace({ format, root, topDepth, inputBits, outputLimit, ...given })
  return { memory, space, table: new PageTable(memory, memory, space) }
}

/** The rights that the format really gives when `rights` are asked for. */
export function grantedRights(format: PtFormat, rights: number): number {
  return format.settle[format.leafRights.rights[rightsIndex(format, rights)]!]!
}

/** Whether a leaf without any rights is still a leaf. */
function saysNothing(format: PtFormat): boolean {
  const { loMask, loShift, hiMask, hiShift, hiPlace } = format.leafRights
  const index = rightsIndex(format, 0)
  const lo = format.newLeafLo | ((index & loMask) << loShift)
  return classify(format, 0, format.newLeafHi | (((index >>> hiPlace) & hiMask) << hiShift), lo) === ENTRY_LEAF
}

/** Runs the suite over these configurations. */
export function runPtSuite(configurations: readonly SuiteConfiguration[]): void {
  for (const config of configurations) describe(config.name, () => suite(config))
}

function suite(config: SuiteConfiguration): void {
  const page = 2 ** config.format.granuleLog2
  const options = { runs: config.runs ?? false }
  const inputPages = 2 ** config.inputBits / page
  /** A few places around which maps happen, so that operations meet. */
  const places = [0, inputPages / 2, inputPages - 600].map((place) => Math.max(0, Math.floor(place / 512) * 512))
  const operation = fc.record({
    kind: fc.constantFrom('map', 'map', 'unmap'),
    place: fc.constantFrom(...places),
    offset: fc.nat(Math.min(520, inputPages - 1)),
    pages: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.constant(512)),
    output: fc.integer({ min: 0, max: 2 ** 40 - 1 }),
    rights: fc.constantFrom(0b001001, 0b011011, 0b010010, 0b001000, 0b011111, 0b111111),
  })

  it('walks back what random maps and unmaps left, and enumerates exactly that', () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 12 }), (operations) => {
        const { memory, space, table } = build(config)
        const expected = new Map<number, { pa: number; rights: number }>()
        for (const { kind, place, offset, pages, output, rights } of operations) {
          const first = Math.min(place + offset, inputPages - pages)
          if (first < 0) continue
          const range = Array.from({ length: pages }, (_, index) => first + index)
          if (kind === 'map') {
            // An output aligned like the input lets large leaves be used.
            const pa = ((output % (config.outputLimit / page / 512)) * 512 + (first % 512)) * page
            if (pa + pages * page > config.outputLimit) continue
            if (rightsIndex(config.format, rights) < 0) {
              expect(() => table.map(first * page, pa, pages * page, rights)).toThrow(MapError)
            } else if (range.some((at) => expected.has(at))) {
              expect(() => table.map(first * page, pa, pages * page, rights)).toThrow('is mapped already')
            } else {
              table.map(first * page, pa, pages * page, rights, options)
              range.forEach((at, index) => {
                expected.set(at, { pa: pa + index * page, rights: grantedRights(config.format, rights) })
              })
            }
          } else {
            const mapped = range.filter((at) => expected.delete(at)).length
            const { bytes, freed } = table.unmap(first * page, pages * page)
            expect(bytes).toBe(mapped * page)
            for (const gone of freed) memory.free(gone.pa, gone.bytes)
          }
        }
        const walker = new Walker(memory)
        for (const [at, { pa, rights }] of expected) {
          const input = at * page
          const status = walker.walk(space, doubleHi(input), doubleLo(input) | 0x123, 0, false)
          // One expectation for all three: expectations are slow, and there are thousands of pages.
          if (status !== WALK_OK || toDouble(walker.outHi, walker.outLo) !== pa + 0x123 || walker.rights !== rights)
            expect({ input, status, out: toDouble(walker.outHi, walker.outLo), rights: walker.rights }).toEqual({
              input,
              status: WALK_OK,
              out: pa + 0x123,
              rights,
            })
        }
        const seen = new Map<number, { pa: number; rights: number }>()
        const result = enumerate(memory, space, {
          leaf({ input, output, log2, rights }) {
            for (let done = 0; done < 2 ** log2; done += page) seen.set((input + done) / page, { pa: output + done, rights })
          },
        })
        expect(result.complete).toBe(true)
        const text = (map: typeof seen) =>
          JSON.stringify([...map].sort(([a], [b]) => a - b).map(([at, { pa, rights }]) => [at, pa, rights]))
        expect(text(seen)).toBe(text(expected))
        expect(table.destroy()).toBe(expected.size > 0)
        expect(table.tables).toBe(0)
      }),
      { numRuns: 25 },
    )
  })

  it('permits exactly what a leaf allows, by privilege', () => {
    for (const rights of new Set(config.format.leafRights.rights.map((given) => config.format.settle[given]!))) {
      const { memory, space, table } = build(config)
      if (rights === 0 && !saysNothing(config.format)) {
        expect(() => table.map(0, 0, page, rights)).toThrow('no way to say rights 0')
        continue
      }
      table.map(0, 0, page, rights)
      const walker = new Walker(memory)
      for (let bit = 1; bit <= 32; bit <<= 1) {
        const granted = (grantedRights(config.format, rights) & bit) !== 0
        // A format may have no way to be present without rights.
        const refused = rights === 0 ? [WALK_PERMISSION, WALK_NOT_PRESENT] : [WALK_PERMISSION]
        const status = walker.walk(space, 0, 0, bit, false)
        if (granted) expect(status).toBe(WALK_OK)
        else expect(refused).toContain(status)
      }
    }
  })

  it('uses a leaf at every depth that allows one, and maps its first and last byte', () => {
    for (let depth = 0; depth <= config.topDepth; depth++) {
      if (((config.format.leafDepths >>> depth) & 1) === 0) continue
      const log2 = coverLog2(config.format, depth)
      const size = 2 ** log2
      if (size > 2 ** config.inputBits || size * 2 > config.outputLimit) continue
      const { memory, space, table } = build(config)
      const input = 2 ** config.inputBits - size
      table.map(input, size, size, 0b011011)
      expect(table.tables).toBe(config.topDepth - depth)
      const walker = new Walker(memory)
      for (const offset of [0, size - 1]) {
        // Halves are added one by one: the sum may need more bits than a double has.
        const hi = doubleHi(input) + doubleHi(offset)
        const lo = doubleLo(input) + doubleLo(offset)
        expect(walker.walk(space, hi, lo, 1, false)).toBe(WALK_OK)
        expect([walker.outHi, walker.outLo]).toEqual([doubleHi(size) + doubleHi(offset), doubleLo(size) + doubleLo(offset)])
        expect(walker.sizeLog2).toBe(log2)
      }
    }
  })

  it.runIf(config.runs)('uses every size that takes several entries, and makes single ones of it where only a part goes', () => {
    for (let depth = 0; depth <= config.topDepth; depth++) {
      for (const log2 of runsAt(config.format, depth)) {
        const size = 2 ** log2
        if (size * 2 > 2 ** config.inputBits || size * 2 > config.outputLimit) continue
        const { memory, space, table } = build(config)
        const single = 2 ** coverLog2(config.format, depth)
        const input = 2 ** config.inputBits - size
        table.map(input, size, size, 0b011011, { runs: true })
        expect(table.tables).toBe(config.topDepth - depth)
        const walker = new Walker(memory)
        const at = (offset: number) => {
          const hi = doubleHi(input) + doubleHi(offset)
          return walker.walk(space, hi, doubleLo(input) + doubleLo(offset), 1, false)
        }
        const hinted = config.format.contiguousHi !== 0
        for (const offset of [0, single - 1, size - single, size - 1]) {
          expect(at(offset)).toBe(WALK_OK)
          expect([walker.outHi, walker.outLo]).toEqual([doubleHi(size) + doubleHi(offset), doubleLo(size) + doubleLo(offset)])
          expect([walker.sizeLog2, walker.contiguous]).toEqual(hinted ? [coverLog2(config.format, depth), true] : [log2, false])
        }
        const other = build(config)
        other.table.map(input, size, size, 0b011011, { runs: true })
        expect(other.table.unmap(input, size).bytes).toBe(size)
        expect(other.table.tables).toBe(0)
        // What hardware recorded in one entry was done somewhere in the run.
        const recorded = config.format.dirtyManagedHi === 0 ? config.format.dirty : 0
        const last = table.leaf(input + size - single)!
        table.replaceLeaf(last.pa, last.hi, last.lo | recorded)
        expect(table.unmap(input + single, single).bytes).toBe(single)
        expect(at(single)).toBe(WALK_NOT_PRESENT)
        for (const offset of size > 2 * single ? [0, 2 * single, size - single] : [0]) {
          expect(at(offset)).toBe(WALK_OK)
          expect([walker.outHi, walker.outLo]).toEqual([doubleHi(size) + doubleHi(offset), doubleLo(size) + doubleLo(offset)])
          expect([2 ** walker.sizeLog2, walker.contiguous, walker.lo & recorded]).toEqual([single, false, recorded])
        }
      }
    }
  })

  const { accessed, dirty, dirtyManagedHi, accessedInTables } = config.format
  it.skipIf(accessed === 0 || dirtyManagedHi !== 0)('records accesses and writes, in tables too where the format does', () => {
    const walker = (given: Partial<PtSpace>) => {
      const { memory, space, table } = build(config, given)
      table.map(0, page, page, 0b011011, { clearLo: accessed | dirty })
      const entries: number[] = []
      const read = (need: number, update = true) => {
        const one = new Walker(memory)
        entries.length = 0
        one.observer = { entry: (_stage, _space, _depth, pa) => void entries.push(Number(memory.read64(pa) & 0xfffn)) }
        return one.walk(space, 0, 0, need, update)
      }
      // Tables as the mapper makes them may have their bit set: cleared, they are of no use yet.
      let at = space.root
      for (let depth = space.topDepth; depth > 0 && accessedInTables; depth--) {
        const entry = memory.read64(at)
        memory.write64(at, entry & ~BigInt(accessed))
        at = outputOf(config.format, Number(entry >> 32n), Number(entry & 0xffffffffn) | 0)
      }
      const words = () => {
        const { hi, lo } = table.leaf(0)!
        read(0, false)
        return { leaf: lo & (accessed | dirty), rest: hi, tables: entries.slice(0, -1).map((low) => low & accessed) }
      }
      return { read, words }
    }
    const all = (bits: number) => Array.from({ length: config.topDepth }, () => (accessedInTables ? bits : 0))
    const ignores = walker({})
    expect(ignores.read(2)).toBe(WALK_OK)
    expect(ignores.words()).toMatchObject({ leaf: 0, tables: all(0) })
    const sets = walker({ accessed: AD_SET, dirty: AD_SET })
    expect([sets.read(1, false), sets.words().leaf]).toEqual([WALK_OK, 0])
    expect(sets.read(1)).toBe(WALK_OK)
    expect(sets.words()).toMatchObject({ leaf: accessed, tables: all(accessed) })
    expect(sets.read(2)).toBe(WALK_OK)
    expect(sets.words()).toMatchObject({ leaf: accessed | dirty, tables: all(accessed) })
    const onlyAccess = walker({ accessed: AD_SET })
    expect([onlyAccess.read(2), onlyAccess.words().leaf]).toEqual([WALK_OK, accessed])
    const faults = walker({ accessed: AD_FAULT, dirty: AD_FAULT })
    expect([faults.read(1), faults.words().leaf]).toEqual([WALK_ACCESS_FLAG, 0])
    const faultsLater = walker({ accessed: AD_IGNORE, dirty: AD_FAULT })
    expect([faultsLater.read(1), faultsLater.read(2)]).toEqual([WALK_OK, WALK_DIRTY])
  })

  it('never crashes or hangs on random table bytes', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(511), fc.bigInt({ min: 0n, max: (1n << 64n) - 1n })), { maxLength: 40 }),
        fc.nat(),
        (entries, seed) => {
          const { memory, space } = build(config)
          for (const [slot, value] of entries) {
            // Half of the pointers lead back into the root, so that tables are shared and cyclic.
            const word = seed & 1 ? (value & 0xfff0_0000_0000_0fffn) | BigInt(space.root) : value
            memory.write64(space.root + slot * 8, word)
          }
          const walker = new Walker(memory)
          for (const [slot, value] of entries) walker.walk(space, Number(value >> 40n) | 0, slot << 20, 1 << (seed % 6), true)
          const result = enumerate(memory, space, { leaf() {} }, 2000)
          expect(result.tables).toBeLessThanOrEqual(2000)
        },
      ),
      { numRuns: 60 },
    )
  })
}
