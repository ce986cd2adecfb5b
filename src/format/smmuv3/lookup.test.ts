import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encode, wordsFromU64 } from '../../base/layout.ts'
import { PhysicalMemory } from '../../memory/physical.ts'
import { ptSpace } from '../pt/format.ts'
import { PageTable } from '../pt/mapper.ts'
import { vmsav8 } from '../pt/vmsav8.ts'
import { Walker } from '../pt/walker.ts'
import { C_BAD_STREAMID, C_BAD_SUBSTREAMID, F_CD_FETCH, F_STE_FETCH, F_STREAM_DISABLED } from './events.ts'
import { featuresFromIdr, GENEROUS_IDR, type SmmuFeatures } from './features.ts'
import { L1CD, L1STD } from './l1.ts'
import { CD_BYPASS, cdTableBase, Found, findCd, findSte, LOOKUP_OK, LOOKUP_STAGE2, selectCd, streamTable } from './lookup.ts'
import { STRTAB_BASE, STRTAB_BASE_CFG } from './registers.ts'
import { STE } from './ste.ts'

const features = featuresFromIdr((name) => GENEROUS_IDR[name as 'IDR0'] ?? 0)
const RAM = 0x4000_0000
const memoryOf = (size = 0x100_0000) => new PhysicalMemory([{ start: RAM, end: RAM + size }])
const cfg = (LOG2SIZE: number, FMT = 0, SPLIT = 8) => encode(STRTAB_BASE_CFG, { LOG2SIZE, FMT, SPLIT })[0]!
const base = (address: number) => encode(STRTAB_BASE, { ADDR: BigInt(address), RA: 1 })

describe('stream table', () => {
  it('finds each STE of a linear table at its place, and nothing beyond', () => {
    const memory = memoryOf()
    const out = new Found()
    const table = streamTable(base(RAM), cfg(6), features)
    fc.assert(
      fc.property(fc.nat(0xffff_ffff), (sid) => {
        const status = findSte(memory, table, features, sid, out)
        if (sid >= 64) expect([status, out.index]).toEqual([C_BAD_STREAMID, -1])
        else expect([status, out.address, out.index]).toEqual([LOOKUP_OK, RAM + sid * 64, memory.index(RAM + sid * 64)])
      }),
    )
    for (const sid of [0, 63]) expect(findSte(memory, table, features, sid, out)).toBe(LOOKUP_OK)
    expect(findSte(memory, table, features, 64, out)).toBe(C_BAD_STREAMID)
  })

  it('aligns the base to the size of the table, as the SMMU does', () => {
    expect(streamTable(base(RAM + 0x3c0), cfg(4), features).base).toBe(RAM)
    expect(streamTable(base(RAM + 0x7c0), cfg(4), features).base).toBe(RAM + 0x400)
    // 2^(16 − 8) descriptors of 8 bytes.
    expect(streamTable(base(RAM + 0xfc0), cfg(16, 1), features).base).toBe(RAM + 0x800)
    expect(streamTable(base(RAM + 0xfc0), cfg(3, 1), features).base).toBe(RAM + 0xfc0)
  })

  it('takes reserved values of STRTAB_BASE_CFG as the manual says', () => {
    expect(streamTable(base(RAM), cfg(16, 1, 7), features).split).toBe(6)
    expect(streamTable(base(RAM), cfg(16, 2), features).twoLevel).toBe(false)
    expect(streamTable(base(RAM), cfg(16, 1), { ...features, stream2l: false }).twoLevel).toBe(false)
    expect(streamTable(base(RAM), cfg(40), { ...features, sidBits: 16 }).log2size).toBe(16)
  })

  it('finds what a plain model of a random two-level table says', () => {
    const log2size = 12
    fc.assert(
      fc.property(
        fc.constantFrom(6, 8, 10),
        fc.array(fc.record({ Span: fc.nat(31), page: fc.nat(15) }), { minLength: 64, maxLength: 64 }),
        fc.array(fc.nat(2 ** (log2size + 1)), { minLength: 30, maxLength: 30 }),
        (split, descriptors, sids) => {
          const memory = memoryOf()
          const table = streamTable(base(RAM), cfg(log2size, 1, split), features)
          descriptors.forEach(({ Span, page }, index) => {
            const words = encode(L1STD, { Span, L2Ptr: BigInt(RAM + 0x10_0000 + page * 0x1_0000 + 0x40) })
            memory.write32(RAM + index * 8, words[0]!)
            memory.write32(RAM + index * 8 + 4, words[1]!)
          })
          const out = new Found()
          for (const sid of sids) {
            const status = findSte(memory, table, features, sid, out)
            const descriptor = descriptors[Math.floor(sid / 2 ** split)]
            const low = sid % 2 ** split
            if (sid >= 2 ** log2size || descriptor === undefined) {
              expect([status, out.at[1]]).toEqual([C_BAD_STREAMID, -1])
              continue
            }
            expect(out.at[1]).toBe(RAM + Math.floor(sid / 2 ** split) * 8)
            const { Span, page } = descriptor
            if (Span === 0 || Span > 11 || Span > split + 1 || low >= 2 ** (Span - 1)) expect(status).toBe(C_BAD_STREAMID)
            else {
              // The pointer's low bits are cut to the size of the second level: 0x40 only counts for a single STE.
              const start = RAM + 0x10_0000 + page * 0x1_0000 + (Span === 1 ? 0x40 : 0)
              expect([status, out.address]).toEqual([LOOKUP_OK, start + low * 64])
            }
          }
        },
      ),
      { numRuns: 20 },
    )
  })

  it('reports F_STE_FETCH where nothing answers, and where the address is beyond the output size', () => {
    const memory = memoryOf(0x1000)
    const out = new Found()
    expect(findSte(memory, streamTable(base(0x1000), cfg(4), features), features, 1, out)).toBe(F_STE_FETCH)
    expect(out.address).toBe(0x1040)
    const small = { ...features, oas: 32 }
    expect(findSte(memory, streamTable(base(2 ** 40), cfg(4), small), small, 0, out)).toBe(F_STE_FETCH)
    expect(out.why).toContain('output address size')
    expect(findSte(memory, streamTable(base(0x1000), cfg(16, 1), features), features, 0x300, out)).toBe(F_STE_FETCH)
    expect(out.address).toBe(0x1018)
  })
})

const ste = (values: Parameters<typeof encode<(typeof STE)['fields']>>[1]) => encode(STE, { V: 1, Config: 5, ...values })

describe('which CD a transaction uses', () => {
  const n = 5
  const tooLarge = 8
  // 5.2 S1DSS and S1CDMax, with 8 CDs: by SubstreamID none, 0, n, too large.
  const expected: Record<number, readonly number[]> = {
    0: [-F_STREAM_DISABLED, 0, n, -C_BAD_SUBSTREAMID],
    1: [CD_BYPASS, 0, n, -C_BAD_SUBSTREAMID],
    2: [0, -F_STREAM_DISABLED, n, -C_BAD_SUBSTREAMID],
    3: [-F_STREAM_DISABLED, 0, n, -C_BAD_SUBSTREAMID],
  }
  it.each([0, 1, 2, 3])('with S1DSS %i', (S1DSS) => {
    const words = ste({ S1CDMax: 3, S1DSS })
    expect([-1, 0, n, tooLarge].map((ssid) => selectCd(words, 0, features, ssid))).toEqual(expected[S1DSS])
  })
  it('has one CD and no substreams when S1CDMax is 0, whatever S1DSS says', () => {
    for (const S1DSS of [0, 1, 2]) {
      expect([-1, 0, n].map((ssid) => selectCd(ste({ S1DSS }), 0, features, ssid))).toEqual([
        0,
        -C_BAD_SUBSTREAMID,
        -C_BAD_SUBSTREAMID,
      ])
    }
  })
  it('ignores S1CDMax on an SMMU without substreams', () => {
    const none: SmmuFeatures = { ...features, ssidBits: 0 }
    expect([-1, 1].map((ssid) => selectCd(ste({ S1CDMax: 3 }), 0, none, ssid))).toEqual([0, -C_BAD_SUBSTREAMID])
  })
  it.each([4, 6])('bypasses stage 1 with Config %i, and refuses every SubstreamID', (Config) => {
    expect([-1, 0, 5].map((ssid) => selectCd(ste({ Config, S1CDMax: 3, S1DSS: 2 }), 0, features, ssid))).toEqual([
      CD_BYPASS,
      -C_BAD_SUBSTREAMID,
      -C_BAD_SUBSTREAMID,
    ])
  })
})

describe('CD table', () => {
  it('finds each CD of a linear table', () => {
    const memory = memoryOf()
    const words = ste({ S1ContextPtr: BigInt(RAM), S1CDMax: 6 })
    const out = new Found()
    fc.assert(
      fc.property(fc.nat(63), (index) => {
        expect(findCd(memory, words, 0, features, index, null, out)).toBe(LOOKUP_OK)
        expect([out.address, out.at[1]]).toEqual([RAM + index * 64, -1])
      }),
    )
  })

  it('takes a single CD wherever it lies, and aligns a table to its size', () => {
    expect(cdTableBase(ste({ S1ContextPtr: BigInt(RAM + 0xfc0) }), 0, features)).toBe(RAM + 0xfc0)
    expect(cdTableBase(ste({ S1ContextPtr: BigInt(RAM + 0xfc0), S1CDMax: 4 }), 0, features)).toBe(RAM + 0xc00)
    expect(cdTableBase(ste({ S1ContextPtr: BigInt(RAM + 0xfc0), S1CDMax: 12, S1Fmt: 1 }), 0, features)).toBe(RAM + 0xe00)
    expect(cdTableBase(ste({ S1ContextPtr: BigInt(RAM + 0xfc0), S1CDMax: 12, S1Fmt: 2 }), 0, features)).toBe(RAM + 0xfc0)
    // S1Fmt 3 behaves as 0.
    expect(cdTableBase(ste({ S1ContextPtr: BigInt(RAM + 0xfc0), S1CDMax: 4, S1Fmt: 3 }), 0, features)).toBe(RAM + 0xc00)
  })

  it.each([
    [1, 6],
    [2, 10],
  ])('finds what a plain model of a random two-level table says, S1Fmt %i', (S1Fmt, split) => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ V: fc.nat(1), page: fc.nat(7) }), { minLength: 4, maxLength: 4 }),
        fc.array(fc.nat(4 * 2 ** split - 1), { minLength: 20, maxLength: 20 }),
        (leaves, indexes) => {
          const memory = memoryOf()
          const words = ste({ S1ContextPtr: BigInt(RAM), S1CDMax: split + 2, S1Fmt })
          leaves.forEach(({ V, page }, index) => {
            // Bits 15:12 count for 4 KiB leaves only.
            const l1 = encode(L1CD, { V, L2Ptr: BigInt(RAM + 0x10_0000 + page * 0x1_0000 + 0x3000) })
            memory.write32(RAM + index * 8, l1[0]!)
            memory.write32(RAM + index * 8 + 4, l1[1]!)
          })
          const out = new Found()
          for (const index of indexes) {
            const status = findCd(memory, words, 0, features, index, null, out)
            const { V, page } = leaves[Math.floor(index / 2 ** split)]!
            expect(out.at[1]).toBe(RAM + Math.floor(index / 2 ** split) * 8)
            if (V === 0) expect(status).toBe(C_BAD_SUBSTREAMID)
            else {
              const start = RAM + 0x10_0000 + page * 0x1_0000 + (split === 6 ? 0x3000 : 0)
              expect([status, out.address]).toEqual([LOOKUP_OK, start + (index % 2 ** split) * 64])
            }
          }
        },
      ),
      { numRuns: 20 },
    )
  })

  it('uses only the first level 1 descriptor when the table has no more CDs than a leaf', () => {
    const memory = memoryOf()
    memory.write64(RAM, BigInt(RAM + 0x1000) | 1n)
    const out = new Found()
    expect(findCd(memory, ste({ S1ContextPtr: BigInt(RAM), S1CDMax: 3, S1Fmt: 1 }), 0, features, 7, null, out)).toBe(LOOKUP_OK)
    expect([out.at[1], out.address]).toEqual([RAM, RAM + 0x1000 + 7 * 64])
  })

  it('reports F_CD_FETCH where nothing answers, and C_BAD_SUBSTREAMID for a level 1 pointer out of range', () => {
    const memory = memoryOf(0x1000)
    const out = new Found()
    expect(findCd(memory, ste({ S1ContextPtr: 0x1000n }), 0, features, 0, null, out)).toBe(F_CD_FETCH)
    expect(out.address).toBe(0x1000)
    const small = { ...features, oas: 40 }
    memory.write64(RAM, (1n << 44n) | 1n)
    expect(findCd(memory, ste({ S1ContextPtr: BigInt(RAM), S1CDMax: 8, S1Fmt: 1 }), 0, small, 3, null, out)).toBe(
      C_BAD_SUBSTREAMID,
    )
    memory.write64(RAM, 0x1_0000_0001n)
    expect(findCd(memory, ste({ S1ContextPtr: BigInt(RAM), S1CDMax: 8, S1Fmt: 1 }), 0, small, 3, null, out)).toBe(F_CD_FETCH)
    expect([out.address, out.at[1]]).toEqual([0x1_0000_00c0, RAM])
  })

  it('fetches through stage 2 when the stream is nested', () => {
    const memory = memoryOf()
    const root = memory.allocate(4096)
    const space = ptSpace({ format: vmsav8(12, 'stage2'), root, topDepth: 2, inputBits: 39 })
    const table = new PageTable(memory, memory, space)
    const l1 = memory.allocate(4096)
    const leaf = memory.allocate(4096)
    // Intermediate 0x8000 holds the level 1 table, 0x1_2345_6000 the leaf.
    table.map(0x8000, l1, 4096, 63)
    table.map(0x1_2345_6000, leaf, 4096, 63)
    memory.write64(l1 + 8, 0x1_2345_6001n)
    memory.write64(l1 + 16, 0x1_0000_0001n)
    const stage2 = { space, walker: new Walker(memory, 2), update: false }
    const words = ste({ Config: 7, S1ContextPtr: 0x8000n, S1CDMax: 8, S1Fmt: 1 })
    const out = new Found()
    expect(findCd(memory, words, 0, features, 64 + 3, stage2, out)).toBe(LOOKUP_OK)
    expect([...out.at]).toEqual([leaf + 3 * 64, l1 + 8, 0x1_2345_6000 + 3 * 64])
    // The leaf's page is not mapped: the fault is stage 2's, at the intermediate address of the CD.
    expect(findCd(memory, words, 0, features, 128, stage2, out)).toBe(LOOKUP_STAGE2)
    expect([out.at[0], out.at[2]]).toEqual([-1, 0x1_0000_0000])
    expect(stage2.walker.status).not.toBe(0)
  })

  it('survives any STE and any level 1 table', () => {
    const memory = memoryOf(0x10_0000)
    const out = new Found()
    fc.assert(
      fc.property(
        fc.array(fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }), { minLength: 8, maxLength: 8 }),
        fc.nat(2 ** 20 - 1),
        (dwords, index) => {
          const status = findCd(memory, wordsFromU64(dwords), 0, features, index, null, out)
          expect([LOOKUP_OK, F_CD_FETCH, C_BAD_SUBSTREAMID]).toContain(status)
          expect(out.index >= 0).toBe(status === LOOKUP_OK)
        },
      ),
    )
  })
})
