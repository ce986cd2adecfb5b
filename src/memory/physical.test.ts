import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PhysicalMemory } from './physical.ts'

const RAM = { start: 0x4000_0000, end: 0x4100_0000 }

describe('physical memory', () => {
  it('reads back what random writes left, at any alignment and length, and zero elsewhere', () => {
    const write = fc.record({ at: fc.nat(40_000), data: fc.uint8Array({ maxLength: 9_000 }) })
    fc.assert(
      fc.property(fc.array(write, { maxLength: 8 }), fc.constantFrom(RAM.start, 2 ** 38 - 0x5000, 2 ** 45), (writes, base) => {
        const memory = new PhysicalMemory([{ start: base, end: base + 0x10_0000 }])
        const expected = new Uint8Array(0x10_000)
        for (const { at, data } of writes) {
          memory.write(base + at, data)
          expected.set(data, at)
        }
        expect(Buffer.from(memory.read(base, expected.length)).equals(Buffer.from(expected))).toBe(true)
      }),
      { numRuns: 50 },
    )
  })

  it('gives untouched RAM no storage, however much of it is read', () => {
    const memory = new PhysicalMemory([{ start: 0, end: 2 ** 36 }])
    memory.read64(0)
    const before = memory.storageBytes
    for (let pa = 0; pa < 0x100_0000; pa += 4096) expect(memory.read64(pa)).toBe(0n)
    expect(memory.storageBytes).toBe(before)
    memory.write64(0x8000, 1n)
    expect(memory.storageBytes).toBe(before + 4096)
  })

  it('does not let a write to one page show in others that were never written', () => {
    const memory = new PhysicalMemory([RAM])
    expect(memory.read64(RAM.start + 0x1000)).toBe(0n)
    memory.write64(RAM.start, 0xffff_ffff_ffff_ffffn)
    expect(memory.read64(RAM.start + 0x1000)).toBe(0n)
    expect(memory.read64(RAM.start)).toBe(0xffff_ffff_ffff_ffffn)
  })

  it('answers only inside RAM, and says where it does not', () => {
    const memory = new PhysicalMemory([RAM])
    for (const pa of [0, RAM.start - 8, RAM.end, 2 ** 40, 2 ** 52 - 8]) {
      expect(memory.index(pa)).toBe(-1)
      expect(memory.answers(pa)).toBe(false)
      expect(() => memory.read64(pa)).toThrow(`no memory answers at 0x${pa.toString(16)}`)
    }
    expect(memory.indexAt(-1, -8)).toBe(-1)
  })

  it('does not grow when hostile pointers lead to addresses where nothing is', () => {
    const memory = new PhysicalMemory([RAM], { load: () => false })
    const before = memory.storageBytes
    for (let far = 0; far < 2000; far++) expect(memory.index(2 ** 40 + far * 2 ** 30)).toBe(-1)
    expect(memory.storageBytes).toBe(before)
  })

  it('loads the frames of a source once, on first use', () => {
    const loaded: number[] = []
    const memory = new PhysicalMemory([], {
      load(frame, words, at) {
        if (frame !== 5 && frame !== 2 ** 30) return false
        loaded.push(frame)
        words[at] = frame
        return true
      },
    })
    expect(memory.read32(5 * 4096)).toBe(5)
    expect(memory.read32(5 * 4096)).toBe(5)
    expect(memory.read32(2 ** 42)).toBe(2 ** 30)
    expect(memory.index(6 * 4096)).toBe(-1)
    expect(loaded).toEqual([5, 2 ** 30])
    const frames: number[] = []
    memory.forEachFrame((pa) => frames.push(pa))
    expect(frames).toEqual([5 * 4096, 2 ** 42])
  })
})

describe('the frame allocator', () => {
  it('never gives overlapping or unaligned blocks, and reuses what was freed', () => {
    const operation = fc.record({ size: fc.constantFrom(4096, 8192, 16384, 65536), free: fc.boolean() })
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
        const memory = new PhysicalMemory([RAM])
        memory.reserve(RAM.start + 0x3000, RAM.start + 0x9000)
        const live: [number, number][] = [[RAM.start + 0x3000, 0x6000]]
        for (const { size, free } of operations) {
          if (free && live.length > 1) {
            const [pa, bytes] = live.pop()!
            memory.free(pa, bytes)
            continue
          }
          const pa = memory.allocate(size)
          expect(pa % size).toBe(0)
          expect(pa >= RAM.start && pa + size <= RAM.end).toBe(true)
          for (const [other, bytes] of live) expect(pa + size <= other || other + bytes <= pa).toBe(true)
          live.push([pa, size])
        }
      }),
    )
  })

  it('gives zeroed memory, also where it was used before', () => {
    const memory = new PhysicalMemory([RAM])
    const pa = memory.allocate(8192)
    memory.write64(pa + 4096, 7n)
    memory.free(pa, 8192)
    expect(memory.allocate(8192)).toBe(pa)
    expect(memory.read64(pa + 4096)).toBe(0n)
  })

  it('says what to do when memory is exhausted', () => {
    const memory = new PhysicalMemory([{ start: 0, end: 0x3000 }])
    for (let page = 0; page < 3; page++) memory.allocate(4096)
    expect(() => memory.allocate(4096)).toThrow(
      'physical memory is exhausted: no free block of 4096 bytes; give the machine more memory',
    )
  })
})
