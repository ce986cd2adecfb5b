import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { PhysicalMemory } from '../memory/physical.ts'
import { bufferSource, fileSource } from './bytes.ts'
import { openElfCore } from './elf.ts'
import { InputError } from './errors.ts'

interface Segment {
  pa: number
  data: Uint8Array
  type?: number
  memsz?: number
}

/** A core as some tool might write it: program headers at `phoff`, each segment's data right after the one before. */
function core(segments: readonly Segment[], { phoff = 64, gap = 0, xnum = false, machine = 183 } = {}): Uint8Array {
  const tableEnd = phoff + segments.length * 56
  const sections = xnum ? tableEnd : 0
  let offset = tableEnd + (xnum ? 64 : 0) + gap
  const bytes = new Uint8Array(offset + segments.reduce((sum, { data }) => sum + data.length, 0))
  const view = new DataView(bytes.buffer)
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1])
  view.setUint16(16, 4, true)
  view.setUint16(18, machine, true)
  view.setBigUint64(32, BigInt(phoff), true)
  view.setBigUint64(40, BigInt(sections), true)
  view.setUint16(54, 56, true)
  view.setUint16(56, xnum ? 0xffff : segments.length, true)
  if (xnum) view.setUint32(sections + 44, segments.length, true)
  segments.forEach(({ pa, data, type = 1, memsz = data.length }, index) => {
    const at = phoff + index * 56
    view.setUint32(at, type, true)
    view.setBigUint64(at + 8, BigInt(offset), true)
    view.setBigUint64(at + 24, BigInt(pa), true)
    view.setBigUint64(at + 32, BigInt(data.length), true)
    view.setBigUint64(at + 40, BigInt(memsz), true)
    bytes.set(data, offset)
    offset += data.length
  })
  return bytes
}

const filled = (length: number, from: number) => Uint8Array.from({ length }, (_, index) => (index * 7 + from) & 255)
const memoryOf = (bytes: Uint8Array) => new PhysicalMemory([], openElfCore(bufferSource('test.elf', bytes)))
const folder = mkdtempSync(join(tmpdir(), 'iomm-elf-'))
afterAll(() => rmSync(folder, { recursive: true }))

describe('ELF cores', () => {
  it('gives back what the segments hold, whatever their place in the file', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ gap: fc.nat(3), pages: fc.integer({ min: 1, max: 3 }), seed: fc.nat(255) }), { maxLength: 6 }),
        fc.record({ phoff: fc.integer({ min: 64, max: 700 }), gap: fc.nat(100), xnum: fc.boolean() }),
        (shapes, form) => {
          let pa = 0x4000_0000
          const segments = shapes.map(({ gap, pages, seed }) => {
            const segment = { pa: pa + gap * 4096, data: filled(pages * 4096, seed) }
            pa = segment.pa + segment.data.length
            return segment
          })
          const memory = memoryOf(core(segments, form))
          for (const { pa: start, data } of segments) expect(Buffer.compare(memory.read(start, data.length), data)).toBe(0)
          expect(memory.answers(pa)).toBe(false)
        },
      ),
      { numRuns: 60 },
    )
  })

  it('puts a frame together from segments that do not start or end at a page', () => {
    const memory = memoryOf(
      core([
        { pa: 0x1800, data: filled(0x900, 1) },
        { pa: 0x1100, data: filled(0x100, 9) },
      ]),
    )
    expect(memory.read(0x1100, 0x100)).toEqual(filled(0x100, 9))
    expect(memory.read(0x1800, 0x900)).toEqual(filled(0x900, 1))
    expect(memory.read(0x1000, 0x100)).toEqual(new Uint8Array(0x100))
    expect(memory.answers(0x3000)).toBe(false)
  })

  it('takes the first of overlapping segments, and the rest of the second', () => {
    const memory = memoryOf(
      core([
        { pa: 0x1000, data: filled(0x2000, 1) },
        { pa: 0x2000, data: filled(0x2000, 2) },
        { pa: 0x1000, data: filled(0x1000, 3) },
      ]),
    )
    expect(memory.read(0x2000, 0x1000)).toEqual(filled(0x2000, 1).subarray(0x1000))
    expect(memory.read(0x3000, 0x1000)).toEqual(filled(0x2000, 2).subarray(0x1000))
  })

  it('treats pages that the dump leaves out (p_memsz beyond p_filesz) as absent', () => {
    const memory = memoryOf(core([{ pa: 0x1000, data: filled(0x1000, 1), memsz: 0x3000 }]))
    expect(memory.answers(0x1000)).toBe(true)
    expect(memory.answers(0x2000)).toBe(false)
  })

  it('passes over segments that are not loaded', () => {
    const opened = openElfCore(bufferSource('test.elf', core([{ pa: 0, data: filled(20, 1), type: 4 }], { machine: 243 })))
    expect(opened.segments).toEqual([])
    expect(opened.machine).toBe(243)
  })

  it('reads pages of a file on demand: a hole of 16 GiB costs nothing', () => {
    const path = join(folder, 'huge.elf')
    const bytes = core([{ pa: 0x8000_0000, data: new Uint8Array(0) }])
    const view = new DataView(bytes.buffer)
    const length = 16 * 2 ** 30
    view.setBigUint64(64 + 8, 120n, true)
    view.setBigUint64(64 + 32, BigInt(length), true)
    const descriptor = openSync(path, 'w')
    writeSync(descriptor, bytes)
    writeSync(descriptor, filled(4096, 5), 0, 4096, 120 + length - 4096)
    closeSync(descriptor)
    const source = fileSource(path)
    const memory = new PhysicalMemory([], openElfCore(source))
    expect(memory.read(0x8000_0000 + length - 4096, 4096)).toEqual(filled(4096, 5))
    expect(memory.storageBytes).toBeLessThan(1 << 20)
    source.close()
  })
})

describe('damaged ELF files', () => {
  const good = () => core([{ pa: 0x1000, data: filled(4096, 1) }])
  const changed = (change: (view: DataView) => void) => {
    const bytes = good()
    change(new DataView(bytes.buffer))
    return () => openElfCore(bufferSource('dump.elf', bytes))
  }

  it.each<[string, (view: DataView) => void, RegExp]>([
    ['another magic', (view) => view.setUint8(0, 0x7e), /dump\.elf at offset 0x0: this is not an ELF file/],
    ['a class of ELF that does not exist', (view) => view.setUint8(4, 3), /at offset 0x4: EI_CLASS is 3/],
    ['a big-endian file', (view) => view.setUint8(5, 2), /at offset 0x5: this is a big-endian/],
    ['an executable', (view) => view.setUint16(16, 2, true), /at offset 0x10: e_type is 2; a core file has 4/],
    [
      'headers beyond the end',
      (view) => view.setBigUint64(32, 0x10000n, true),
      /at offset 0x20: 1 program headers at 0x10000 reach/,
    ],
    ['headers beyond 2^52', (view) => view.setBigUint64(32, 1n << 63n, true), /at offset 0x20: e_phoff is 0x8000000000000000/],
    ['short header entries', (view) => view.setUint16(54, 32, true), /at offset 0x36: e_phentsize is 32/],
    [
      'a segment beyond the end',
      (view) => view.setBigUint64(72, 0x9000n, true),
      /at offset 0x48: segment 0 \(memory from 0x1000\)/,
    ],
    ['a segment beyond 2^52', (view) => view.setBigUint64(88, (1n << 52n) - 8n, true), /at offset 0x58: segment 0: 0x1000 bytes/],
  ])('names the place of %s', (_, change, message) => {
    expect(changed(change)).toThrow(message)
    expect(changed(change)).toThrow(InputError)
  })

  it('tells big-endian files apart from broken ones', () => {
    const kindOf = (open: () => unknown) => {
      try {
        open()
      } catch (error) {
        return (error as InputError).kind
      }
    }
    expect(kindOf(changed((view) => view.setUint8(5, 2)))).toBe('unsupported')
    expect(kindOf(changed((view) => view.setUint8(0, 1)))).toBe('unreadable')
  })

  it('says that a file is cut off, wherever it is cut', () => {
    const bytes = good()
    for (const length of [0, 3, 63, 64, 100, bytes.length - 1])
      expect(() => openElfCore(bufferSource('cut.elf', bytes.subarray(0, length)))).toThrow(/cut\.elf at offset 0x\w+: .*cut off/)
  })

  it('never fails in another way, whatever bytes it is given', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(200), fc.nat(255)), { maxLength: 12 }), (changes) => {
        const bytes = good()
        for (const [at, value] of changes) bytes[at] = value
        try {
          const memory = new PhysicalMemory([], openElfCore(bufferSource('fuzz.elf', bytes)))
          memory.answers(0x1000)
        } catch (error) {
          expect(error).toBeInstanceOf(InputError)
        }
      }),
      { numRuns: 500 },
    )
  })

  it('names a file that cannot be opened', () => {
    expect(() => fileSource(join(folder, 'nowhere.elf'))).toThrow(/nowhere\.elf: no such file/)
    writeFileSync(join(folder, 'empty.elf'), '')
    expect(() => openElfCore(fileSource(join(folder, 'empty.elf')))).toThrow(
      /empty\.elf at offset 0x0: an ELF header needs 20 bytes/,
    )
  })
})
