import { describe, expect, it } from 'vitest'
import { encode, wordsToU64 } from '../../base/layout.ts'
import { NO_ANSWER, POISONED, type WordMemory } from '../../base/memory.ts'
import { PhysicalMemory } from '../../memory/physical.ts'
import { AD_FAULT, AD_SET, NEED_DIRTY_ALONG, NEED_IF_ALLOWED, NEED_USER, TOP_SIGN, TOP_ZERO } from '../pt/format.ts'
import { Walker } from '../pt/walker.ts'
import { stage1Space, stage2Space } from './context.ts'
import { DC, DC_BASE, DDTE, PC, PDTE, TC_SADE, TC_SBE, TC_SXL } from './contexts.ts'
import { featuresOf, type RiscvFeatures } from './features.ts'
import { DirectoryWalk, deviceTooWide, findDc, findPc, GUEST_PAGE_FAULT } from './lookup.ts'
import { CAPABILITIES, FCTL_BE } from './registers.ts'

const RAM = { start: 0x8000_0000, end: 0x8010_0000 }
const ROOT = 0x8000_0000
const PDT = 0x8004_0000

function features(extended = true, fctl = 0, PAS = 56): RiscvFeatures {
  const caps = {
    Sv32: 1,
    Sv39: 1,
    Sv48: 1,
    Sv57: 1,
    Sv39x4: 1,
    Sv48x4: 1,
    Sv57x4: 1,
    AMO_HWAD: 1,
    END: 1,
    PD8: 1,
    PD17: 1,
    PD20: 1,
  }
  const words = encode(CAPABILITIES, { ...caps, MSI_FLAT: extended ? 1 : 0, PAS })
  return featuresOf(words[1]! | 0, words[0]! | 0, fctl)
}

function reversed(value: bigint): bigint {
  let out = 0n
  for (let byte = 0n; byte < 8n; byte++) out = (out << 8n) | ((value >> (byte * 8n)) & 255n)
  return out
}

/** Memory in which doublewords are stored in an order, and in which an address may refuse. */
class Tables {
  readonly memory = new PhysicalMemory([RAM])
  readonly refused = new Map<number, number>()
  bigEndian = false

  put(pa: number, words: readonly bigint[]): void {
    words.forEach((word, at) => {
      this.memory.write64(pa + at * 8, this.bigEndian ? reversed(word) : word)
    })
  }

  get words(): WordMemory {
    const { memory, refused } = this
    return {
      get words() {
        return memory.words
      },
      index: (pa) => refused.get(pa) ?? memory.index(pa),
      indexAt: (hi, lo) => memory.indexAt(hi, lo),
      indexForWrite: (pa) => memory.indexForWrite(pa),
    }
  }
}

const dc = (values: Parameters<typeof encode<typeof DC.fields>>[1]) => wordsToU64(encode(DC, { 'tc.V': 1, ...values }))
const pc = (values: Parameters<typeof encode<typeof PC.fields>>[1]) => wordsToU64(encode(PC, { 'ta.V': 1, ...values }))
const next = (pa: number) => wordsToU64(encode(DDTE, { V: 1, PPN: BigInt(pa) }))

describe('process to locate the device context', () => {
  // device_id 0xd94c96 in base format: DDI 22, 153, 217. In extended format: 22, 306, 434.
  const device = 0xd94c96

  function three(extended: boolean, bigEndian = false) {
    const tables = new Tables()
    tables.bigEndian = bigEndian
    const [top, middle] = extended ? [434, 306] : [217, 153]
    tables.put(ROOT + top! * 8, next(0x8001_0000))
    tables.put(0x8001_0000 + middle! * 8, next(0x8002_0000))
    const words = dc({ 'ta.PSCID': 7, 'tc.PDTV': 1, 'fsc.MODE': 1, 'fsc.PPN': BigInt(PDT) })
    tables.put(0x8002_0000 + 22 * (extended ? 64 : 32), extended ? words : words.slice(0, 4))
    return tables
  }

  it.each([true, false])('goes through three levels, contexts of 64 bytes: %s', (extended) => {
    const walk = new DirectoryWalk()
    const tables = three(extended)
    expect(findDc(tables.words, features(extended), ROOT, 3, device, walk)).toBe(0)
    expect(walk.reads).toBe(3)
    const [top, middle, size] = extended ? [434, 306, 64] : [217, 153, 32]
    expect([...walk.address]).toEqual([ROOT + top! * 8, 0x8001_0000 + middle! * 8, 0x8002_0000 + 22 * size!])
    expect(wordsToU64(walk.words).slice(2, 4)).toEqual([0x7000n, (1n << 60n) | BigInt(PDT >>> 12)])
  })

  it('reads big-endian directories where fctl.BE is 1', () => {
    const walk = new DirectoryWalk()
    const tables = three(true, true)
    expect(findDc(tables.words, features(true, FCTL_BE), ROOT, 3, device, walk)).toBe(0)
    expect(wordsToU64(walk.words)[2]).toBe(0x7000n)
    expect(findDc(tables.words, features(true), ROOT, 3, device, walk)).toBe(258)
  })

  it('reports what is wrong with an entry, by cause', () => {
    const walk = new DirectoryWalk()
    const find = (tables: Tables, given = features()) => findDc(tables.words, given, ROOT, 3, device, walk)
    for (const pa of [ROOT + 434 * 8, 0x8001_0000 + 306 * 8, 0x8002_0000 + 22 * 64]) {
      const refuses = three(true)
      refuses.refused.set(pa, NO_ANSWER)
      expect(find(refuses)).toBe(257)
      refuses.refused.set(pa, POISONED)
      expect(find(refuses)).toBe(268)
      const invalid = three(true)
      invalid.put(pa, [invalid.memory.read64(pa) & ~1n])
      expect(find(invalid)).toBe(258)
      expect(walk.address[walk.reads - 1]).toBe(pa)
      const reserved = three(true)
      reserved.put(pa, [reserved.memory.read64(pa) | (1n << 62n)])
      expect(find(reserved)).toBe(259)
    }
    expect(walk.rule).toBe(1)
    const beyond = three(true)
    beyond.put(ROOT + 434 * 8, next(0x1_0000_0000))
    expect(find(beyond, features(true, 0, 32))).toBe(257)
  })

  it('clears what a base-format context does not have', () => {
    const walk = new DirectoryWalk()
    walk.words.fill(-1)
    const tables = new Tables()
    tables.put(ROOT + 5 * 32, wordsToU64(encode(DC_BASE, { 'tc.V': 1 })))
    expect(findDc(tables.words, features(false), ROOT, 1, 5, walk)).toBe(0)
    expect([...walk.words.subarray(8)]).toEqual([0, 0, 0, 0, 0, 0, 0, 0])
  })

  it.each([
    [true, 1, 64],
    [true, 2, 1 << 15],
    [false, 1, 128],
    [false, 2, 1 << 16],
    [true, 3, 1 << 24],
    [false, 3, 1 << 24],
  ] as const)('a device_id is too wide (64 bytes: %s, %i levels) from %i on', (extended, levels, first) => {
    expect(deviceTooWide(features(extended), levels, first - 1)).toBe(false)
    expect(deviceTooWide(features(extended), levels, first)).toBe(true)
  })
})

describe('process to locate the process context', () => {
  const process = (5 << 17) | (300 << 8) | 77

  function three(tables = new Tables()) {
    tables.put(PDT + 5 * 8, wordsToU64(encode(PDTE, { V: 1, PPN: 0x8005_0000n })))
    tables.put(0x8005_0000 + 300 * 8, wordsToU64(encode(PDTE, { V: 1, PPN: 0x8006_0000n })))
    tables.put(0x8006_0000 + 77 * 16, pc({ 'ta.PSCID': 9, 'fsc.MODE': 8, 'fsc.PPN': 0x8007_0000n }))
    return tables
  }
  const context = (tc = {}) =>
    Int32Array.from(encode(DC, { 'tc.V': 1, 'tc.PDTV': 1, 'fsc.MODE': 3, 'fsc.PPN': BigInt(PDT), ...tc }))
  const find = (tables: Tables, walk: DirectoryWalk, words = context(), given = features()) =>
    findPc(tables.words, given, words, 0, stage2Space(given, words), new Walker(tables.memory, 2), process, true, walk)

  it('goes through three levels', () => {
    const walk = new DirectoryWalk()
    expect(find(three(), walk)).toBe(0)
    expect([...walk.address]).toEqual([PDT + 40, 0x8005_0000 + 2400, 0x8006_0000 + 77 * 16])
    expect(wordsToU64(walk.words, 0, 4)).toEqual([0x9001n, 0x8000000000080070n])
  })

  it('reads big-endian directories where tc.SBE is 1', () => {
    const tables = new Tables()
    tables.bigEndian = true
    const walk = new DirectoryWalk()
    expect(find(three(tables), walk, context({ 'tc.SBE': 1 }))).toBe(0)
    expect(walk.words[0]).toBe(0x9001)
  })

  it('uses fewer bits with PD17 and PD8', () => {
    const walk = new DirectoryWalk()
    const tables = new Tables()
    tables.put(PDT + 300 * 8, wordsToU64(encode(PDTE, { V: 1, PPN: 0x8006_0000n })))
    tables.put(0x8006_0000 + 77 * 16, pc({}))
    expect(find(tables, walk, context({ 'fsc.MODE': 2 }))).toBe(0)
    tables.put(PDT + 77 * 16, pc({}))
    expect(find(tables, walk, context({ 'fsc.MODE': 1 }))).toBe(0)
    expect(walk.reads).toBe(1)
  })

  it('reports what is wrong with an entry, by cause', () => {
    const walk = new DirectoryWalk()
    for (const pa of [PDT + 40, 0x8005_0000 + 2400, 0x8006_0000 + 77 * 16]) {
      const refuses = three()
      refuses.refused.set(pa, NO_ANSWER)
      expect(find(refuses, walk)).toBe(265)
      refuses.refused.set(pa, POISONED)
      expect(find(refuses, walk)).toBe(269)
      const invalid = three()
      invalid.put(pa, [0n])
      expect(find(invalid, walk)).toBe(266)
      const reserved = three()
      reserved.put(pa, [reserved.memory.read64(pa) | (1n << 60n)])
      expect(find(reserved, walk)).toBe(267)
    }
    const mode = three()
    mode.put(0x8006_0000 + 77 * 16, pc({ 'fsc.MODE': 1 }))
    expect([find(mode, walk), walk.rule]).toEqual([267, 9])
  })

  it('takes guest physical addresses through the second stage, and says which one it refused', () => {
    // The second stage maps the gigabyte at 0x80000000 1:1: entry 2 of its root.
    const second = { 'iohgatp.MODE': 8, 'iohgatp.PPN': 0x8008_0000n }
    const tables = three()
    tables.put(0x8008_0000 + 16, [(0x8000_0000n >> 2n) | 0xdfn])
    const walk = new DirectoryWalk()
    expect(find(tables, walk, context(second))).toBe(0)
    expect([walk.reads, walk.stage2Reads]).toEqual([3, 3])
    tables.put(PDT + 40, wordsToU64(encode(PDTE, { V: 1, PPN: 0xc000_0000n })))
    expect(find(tables, walk, context(second))).toBe(GUEST_PAGE_FAULT)
    expect(walk.guest[0]).toBe(0xc000_0000 + 2400)
    // A second-stage table where nothing answers is an access fault of the directory.
    tables.put(0x8008_0000 + 24, [(0x10_0000_0000n >> 2n) | 1n])
    expect(find(tables, walk, context(second))).toBe(265)
  })

  it('lets the second stage refuse a page without A, or set it', () => {
    const second = { 'iohgatp.MODE': 8, 'iohgatp.PPN': 0x8008_0000n }
    const tables = three()
    tables.put(0x8008_0000 + 16, [(0x8000_0000n >> 2n) | 0x17n])
    const walk = new DirectoryWalk()
    expect(find(tables, walk, context(second))).toBe(GUEST_PAGE_FAULT)
    expect(find(tables, walk, context({ ...second, 'tc.GADE': 1 }))).toBe(0)
    // A directory is only read: D stays clear.
    expect(tables.memory.read64(0x8008_0000 + 16) & 0xffn).toBe(0x57n)
    expect(walk.stage2Reads).toBe(4)
  })
})

describe('address spaces', () => {
  const given = features()

  it('are none where the mode is Bare', () => {
    expect(stage1Space(given, 0, 0, 0x1234, true, null)).toBeNull()
    expect(stage2Space(given, new Int32Array(16))).toBeNull()
  })

  it('take root, widths and rules from the contexts', () => {
    const space = stage1Space(given, TC_SADE | TC_SBE, (9 << 28) | 0xabc, 0x12345678, true, null)!
    expect(space).toMatchObject({ root: 0xabc_1234_5678 * 4096, inputBits: 48, topDepth: 3, top: TOP_SIGN, bigEndian: true })
    expect([space.accessed, space.dirty, space.fetchNeed & (2 << NEED_IF_ALLOWED)]).toEqual([
      AD_SET,
      AD_SET,
      2 << NEED_IF_ALLOWED,
    ])
    const plain = stage1Space(given, 0, 8 << 28, 0, false, null)!
    expect([plain.accessed, plain.dirty, plain.bigEndian]).toEqual([AD_FAULT, AD_FAULT, false])
    expect(plain.fetchNeed).toBe(1 | NEED_USER | NEED_DIRTY_ALONG)
    const sv32 = stage1Space(given, TC_SXL, 8 << 28, 0, false, null)!
    expect([sv32.format.entryLog2, sv32.inputBits, sv32.top]).toEqual([2, 32, TOP_ZERO])
  })

  it('narrow the second stage to 34 bits where tc.SXL is 1', () => {
    const words = Int32Array.from(encode(DC, { 'tc.V': 1, 'tc.SXL': 1, 'iohgatp.MODE': 10, 'iohgatp.PPN': 0x8000_4000n }))
    const space = stage2Space(given, words)!
    expect([space.inputBits, space.topDepth, space.root]).toEqual([34, 4, 0x8000_4000])
    const walker = new Walker(new PhysicalMemory([RAM]), 2)
    walker.walk(space, 4, 0, 1, false)
    expect(walker.readAny).toBe(false)
  })
})
