import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encode, wordsToU64 } from '../../base/layout.ts'
import { NO_ANSWER, POISONED, type WordMemory } from '../../base/memory.ts'
import { PR, PW, PX, UR, UW, UX } from '../../base/types.ts'
import { PhysicalMemory } from '../../memory/physical.ts'
import { AMD_IR_HI, AMD_IW_HI, AMD_PR } from '../pt/amd-v1.ts'
import { AD_IGNORE, AD_SET, type PtSpace, TOP_SIGN, TOP_ZERO } from '../pt/format.ts'
import { WALK_OK, Walker } from '../pt/walker.ts'
import {
  DTE_RIGHTS,
  guestSpace,
  guestTranslation,
  hostSpace,
  WAY_ABORT,
  WAY_BYPASS,
  WAY_GCR3,
  WAY_HOST,
  WAY_PASS_THROUGH,
  wayWithoutPasid,
} from './context.ts'
import { DTE, setGcr3Root } from './dte.ts'
import { anyFeatures } from './features.suite.ts'
import { GCR3_ENTRY } from './gcr3.ts'
import {
  BEYOND_TABLE,
  CORRUPT,
  deviceTable,
  deviceTableEntries,
  dteAddress,
  FOUND,
  findDte,
  findGcr3,
  findIrte,
  HOST_REFUSED,
  ILLEGAL,
  NOT_VALID,
  pasidBits,
  TableWalk,
  UNREADABLE,
} from './lookup.ts'
import { REG } from './registers.ts'

type Dte = Parameters<typeof encode<typeof DTE.fields>>[1]
const dteOf = (dte: Dte, gcr3 = 0) => {
  const words = Int32Array.from(encode(DTE, { V: 1, TV: 1, IR: 1, IW: 1, ...dte }))
  setGcr3Root(words, gcr3)
  return words
}

/** Memory in which an address may refuse. */
class Tables implements WordMemory {
  readonly memory = new PhysicalMemory([{ start: 0x10_0000, end: 0x80_0000 }])
  readonly refused = new Map<number, number>()

  get words(): Int32Array {
    return this.memory.words
  }
  index(pa: number): number {
    return this.refused.get(pa) ?? this.memory.index(pa)
  }
  indexAt(hi: number, lo: number): number {
    return this.memory.indexAt(hi, lo)
  }
  indexForWrite(pa: number): number {
    return this.memory.indexForWrite(pa)
  }
  put(pa: number, words: Int32Array | Uint32Array): void {
    for (const [at, word] of words.entries()) this.memory.write32(pa + at * 4, word)
  }
  gcr3(pa: number, leads: number): void {
    this.put(pa, encode(GCR3_ENTRY, { V: 1, GCR3: BigInt(leads) }))
  }
}

const tableAt = (registers: Record<number, bigint>, features = anyFeatures()) =>
  deviceTable(features, (offset) => registers[offset] ?? 0n)

describe('the device table', () => {
  it('holds as many entries as its size says, and no more', () => {
    const table = tableAt({ [REG.DEV_TAB_BASE]: 0x10_0001n })
    expect(deviceTableEntries(table)).toBe(256)
    expect(dteAddress(table, 0)).toBe(0x10_0000)
    expect(dteAddress(table, 255)).toBe(0x10_1fe0)
    expect(dteAddress(table, 256)).toBe(-1)
    expect(dteAddress(tableAt({ [REG.DEV_TAB_BASE]: 0x10_01ffn }), 0xffff)).toBe(0x10_0000 + 0xffff * 32)
    expect(dteAddress(tableAt({ [REG.DEV_TAB_BASE]: 0x10_01ffn }), 0x10000)).toBe(-1)
  })

  it('has segments by the highest bits of the DeviceID, each with a size of its own', () => {
    const features = anyFeatures({}, { DevTblSegEn: 2 })
    const segments = { [REG.DEV_TAB_BASE]: 0x10_0000n, [REG.DEV_TAB_SEG1]: 0x20_0001n, [REG.DEV_TAB_SEG1 + 16]: 0x40_003fn }
    const table = tableAt(segments, features)
    expect(table.indexBits).toBe(14)
    expect(dteAddress(table, 127)).toBe(0x10_0fe0)
    expect(dteAddress(table, 128)).toBe(-1)
    expect(dteAddress(table, 0x4000 + 255)).toBe(0x20_1fe0)
    expect(dteAddress(table, 0x4000 + 256)).toBe(-1)
    expect(dteAddress(table, 0xc000)).toBe(0x40_0000)
    expect(dteAddress(table, 0x8000)).toBe(0)
    expect(deviceTableEntries(table)).toBe(0xc000 + 8192)
    expect(tableAt({}, anyFeatures({}, { DevTblSegEn: 3 })).base.length).toBe(8)
  })

  it('gives entries that are there, and says what is wrong with the others', () => {
    const tables = new Tables()
    const table = tableAt({ [REG.DEV_TAB_BASE]: 0x10_0000n })
    const walk = new TableWalk()
    const find = (device: number) => findDte(tables, anyFeatures(), table, device, walk)
    tables.put(0x10_0020, dteOf({ Mode: 3, DomainID: 7 }))
    expect(find(1)).toBe(FOUND)
    expect(walk.dte).toEqual(dteOf({ Mode: 3, DomainID: 7 }))
    expect(walk.address[0]).toBe(0x10_0020)
    tables.put(0x10_0040, dteOf({ Mode: 7 }))
    expect([find(2), walk.rule]).toEqual([ILLEGAL, 2])
    expect([find(0), walk.rule]).toEqual([FOUND, 0])
    expect(find(128)).toBe(BEYOND_TABLE)
    tables.refused.set(0x10_0020, POISONED)
    expect(find(1)).toBe(CORRUPT)
    tables.refused.set(0x10_0020, NO_ANSWER)
    expect(find(1)).toBe(UNREADABLE)
  })
})

describe('GCR3 tables', () => {
  const ROOT = 0x20_0000
  const find = (tables: Tables, dte: Int32Array, pasid: number, walk = new TableWalk(), features = anyFeatures()) =>
    findGcr3(tables, features, dte, 0, null, new Walker(tables, 2), pasid, false, walk)

  it.each([
    [0, 9, [511]],
    [1, 18, [511, 511]],
    [2, 20, [3, 511, 511]],
  ])('of GLX %i take %i bits, nine for each level', (GLX, bits, indexes) => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** bits - 1 }), (pasid) => {
        const tables = new Tables()
        const dte = dteOf({ GV: 1, GLX }, ROOT)
        for (let level = GLX, pa = ROOT; level >= 0; level--, pa += 0x1000) {
          const index = Math.floor(pasid / 2 ** (9 * level)) % 512
          tables.gcr3(pa + index * 8, level === 0 ? 0xab_c000 : pa + 0x1000)
        }
        const walk = new TableWalk()
        expect(find(tables, dte, pasid, walk)).toBe(FOUND)
        expect([walk.entry[0], walk.entry[1], walk.reads, walk.level]).toEqual([0xab_c001, 0, GLX + 1, 1])
      }),
      { numRuns: 30 },
    )
    const tables = new Tables()
    const dte = dteOf({ GV: 1, GLX }, ROOT)
    expect(find(tables, dte, 2 ** bits)).toBe(BEYOND_TABLE)
    // The last PASID's entry is the one at the last indexes.
    indexes.forEach((index, at) => {
      tables.gcr3(ROOT + at * 0x1000 + index * 8, ROOT + (at + 1) * 0x1000)
    })
    expect(find(tables, dte, 2 ** bits - 1)).toBe(FOUND)
  })

  it('take no more bits than EXT_FEATURE.PASmax has', () => {
    const features = anyFeatures({ PASmax: 7 })
    expect(pasidBits(features, dteOf({ GV: 1, GLX: 2 }))).toBe(8)
    expect(find(new Tables(), dteOf({ GV: 1, GLX: 2 }, ROOT), 256, new TableWalk(), features)).toBe(BEYOND_TABLE)
  })

  it('say at which level an entry is not valid, or cannot be read', () => {
    const tables = new Tables()
    const dte = dteOf({ GV: 1, GLX: 1 }, ROOT)
    const walk = new TableWalk()
    expect([find(tables, dte, 5, walk), walk.level, walk.address[0]]).toEqual([NOT_VALID, 2, ROOT])
    tables.gcr3(ROOT, 0x21_0000)
    expect([find(tables, dte, 5, walk), walk.level, walk.address[0]]).toEqual([NOT_VALID, 1, 0x21_0028])
    tables.refused.set(0x21_0028, POISONED)
    expect([find(tables, dte, 5, walk), walk.reads]).toEqual([CORRUPT, 1])
    tables.gcr3(ROOT, 0x900_0000)
    expect([find(tables, dte, 5, walk), walk.address[0]]).toEqual([UNREADABLE, 0x900_0028])
  })

  it('show each entry to an observer', () => {
    const tables = new Tables()
    const walk = new TableWalk()
    const seen: unknown[] = []
    walk.observer = { gcr3: (level, pa, status) => seen.push([level, pa, status, walk.entry[0]]) }
    tables.gcr3(ROOT, 0x21_0000)
    find(tables, dteOf({ GV: 1, GLX: 1 }, ROOT), 5, walk)
    expect(seen).toEqual([
      [2, ROOT, FOUND, 0x21_0001],
      [1, 0x21_0028, NOT_VALID, 0],
    ])
  })

  describe('over host tables', () => {
    /** A host table of one level: guest page n lies at 0x300000 + n × 0x1000. */
    function nested(gcr3Mode: number) {
      const tables = new Tables()
      const features = anyFeatures({}, { GCR3TRPMode: gcr3Mode })
      for (let page = 0; page < 16; page++)
        tables.put(0x11_0000 + page * 8, Int32Array.of((0x30_0000 + page * 0x1000) | AMD_PR, AMD_IR_HI | AMD_IW_HI))
      const dte = dteOf({ Mode: 1, HostPageTableRootPtr: 0x11_0000n, GV: 1, GLX: 1 }, gcr3Mode === 1 ? 0x2000 : 0x40_0000)
      const host = hostSpace(features, dte)!
      const walk = new TableWalk()
      const walker = new Walker(tables, 2)
      return { tables, walk, find: (pasid: number) => findGcr3(tables, features, dte, 0, host, walker, pasid, false, walk) }
    }

    it('entries hold guest physical addresses; the table itself lies at a system physical one', () => {
      const { tables, walk, find } = nested(0)
      tables.gcr3(0x40_0000, 0x3000)
      tables.gcr3(0x30_3000 + 7 * 8, 0x5000)
      expect(find(7)).toBe(FOUND)
      expect([walk.entry[0], walk.address[0]]).toEqual([0x5001, 0x30_3038])
      tables.gcr3(0x40_0000, 0x1_0000)
      expect([find(7), walk.guest[0], walk.level]).toEqual([HOST_REFUSED, 0x1_0038, 1])
    })

    it('with CONTROL.GCR3TRPMode the table itself lies at a guest physical address too', () => {
      const { tables, walk, find } = nested(1)
      tables.gcr3(0x30_2000, 0x3000)
      tables.gcr3(0x30_3000 + 7 * 8, 0x5000)
      expect([find(7), walk.entry[0]]).toEqual([FOUND, 0x5001])
    })
  })
})

describe('interrupt remapping tables', () => {
  it('have 4-byte entries, or 16-byte ones with the guest virtual APIC; a number beyond the table has none', () => {
    const tables = new Tables()
    const walk = new TableWalk()
    const dte = dteOf({ IV: 1, IntTabLen: 3, IntCtl: 2, InterruptTableRootPtr: 0x22_0040n })
    tables.put(0x22_0040, Int32Array.of(11, 12, 13, 14, 15, 16, 17, 18))
    const find = (index: number, GAEn: number) => findIrte(tables, anyFeatures({}, { GAEn }), dte, 0, index, walk)
    expect([find(5, 0), ...walk.irte]).toEqual([FOUND, 16, 0, 0, 0])
    expect([find(1, 1), ...walk.irte]).toEqual([FOUND, 15, 16, 17, 18])
    expect(find(8, 0)).toBe(BEYOND_TABLE)
    tables.refused.set(0x22_0044, NO_ANSWER)
    expect(find(1, 0)).toBe(UNREADABLE)
  })
})

describe('address spaces', () => {
  it('requests without PASID go where V, TV, GV, GIOV and Mode say', () => {
    const way = (dte: Dte, features = anyFeatures()) => wayWithoutPasid(features, dteOf(dte))
    expect(way({ V: 0, Mode: 3 })).toBe(WAY_BYPASS)
    expect(way({ TV: 0, Mode: 3 })).toBe(WAY_ABORT)
    expect(way({})).toBe(WAY_PASS_THROUGH)
    expect(way({ Mode: 3 })).toBe(WAY_HOST)
    expect(way({ GV: 1, GIOV: 1 })).toBe(WAY_GCR3)
    expect(way({ GV: 1, GIOV: 1, Mode: 3 })).toBe(WAY_GCR3)
    expect(way({ GV: 1, GIOV: 0 })).toBe(WAY_PASS_THROUGH)
    expect(way({ GV: 1, GIOV: 0, Mode: 3 })).toBe(WAY_HOST)
    expect(way({ GV: 0, GIOV: 1, Mode: 3 })).toBe(WAY_HOST)
    expect(way({ GV: 1, GIOV: 1 }, anyFeatures({}, { GTEn: 0 }))).toBe(WAY_PASS_THROUGH)
  })

  it('requests with PASID are translated where V, TV, GV and GTEn are 1', () => {
    const guest = (dte: Dte, control = {}) => guestTranslation(anyFeatures({}, control), dteOf(dte))
    expect(guest({ GV: 1 })).toBe(true)
    for (const dte of [{}, { GV: 1, V: 0 }, { GV: 1, TV: 0 }]) expect(guest(dte)).toBe(false)
    expect(guest({ GV: 1 }, { GTEn: 0 })).toBe(false)
  })

  it('host tables have the levels of Mode, and A and D where HAD and HADUpdate agree', () => {
    const host = (dte: Dte, control = {}) => hostSpace(anyFeatures({}, control), dteOf(dte))
    const space = host({ Mode: 5, HostPageTableRootPtr: 0xf_ffff_ffff_f000n })!
    expect(space).toMatchObject({ topDepth: 4, inputBits: 57, top: TOP_ZERO, root: 0xf_ffff_ffff_f000, stage2: null })
    expect(host({})).toBeNull()
    const updates = (HAD: number, HADUpdate: number) => {
      const { accessed, dirty } = host({ Mode: 1, HAD }, { HADUpdate })!
      return [accessed === AD_SET, dirty === AD_SET]
    }
    expect(updates(0, 3)).toEqual([false, false])
    expect(updates(1, 3)).toEqual([true, false])
    expect(updates(3, 3)).toEqual([true, true])
    expect(updates(3, 1)).toEqual([true, false])
    expect(updates(3, 0)).toEqual([false, false])
  })

  it('guest tables have 4 or 5 levels and sign-extended addresses; A and D are set unless CONTROL says otherwise', () => {
    const guest = (dte: Dte, control = {}) =>
      guestSpace(anyFeatures({}, control), dteOf({ GV: 1, ...dte }), 0, 0x12, 0x3456_7001, null)!
    expect(guest({})).toMatchObject({
      topDepth: 3,
      inputBits: 48,
      top: TOP_SIGN,
      root: 0x12_3456_7000,
      accessed: AD_SET,
      dirty: AD_SET,
    })
    expect(guest({ GuestPagingMode: 1 })).toMatchObject({ topDepth: 4, inputBits: 57 })
    expect(guest({}, { GAUpdateDis: 1, GDUpdateDis: 1 })).toMatchObject({ accessed: AD_IGNORE, dirty: AD_IGNORE })
    expect(guestSpace(anyFeatures(), dteOf({ GV: 1, GuestPagingMode: 2 }), 0, 0, 0, null)).toBeNull()
  })

  it('IR and IW limit both: in the host tables where there are some, else in the guest ones', () => {
    const READ = UR | PR | UX | PX
    expect(DTE_RIGHTS.map((rights) => rights[63])).toEqual([0, READ, UW | PW, 63])
    const fix = ({ fix }: PtSpace) => fix[63]
    const dte = dteOf({ Mode: 3, GV: 1, IW: 0 })
    const host = hostSpace(anyFeatures(), dte)!
    expect(fix(host)).toBe(READ)
    expect(fix(guestSpace(anyFeatures(), dte, 0, 0, 1, host)!)).toBe(63)
    expect(fix(guestSpace(anyFeatures(), dteOf({ GV: 1, IW: 0 }), 0, 0, 1, null)!)).toBe(READ)
  })

  it('a nested walk goes through both', () => {
    const tables = new Tables()
    const features = anyFeatures()
    // Host: one level, guest page n at 0x300000 + n × 0x1000. Guest: tables in guest pages 1 to 4, a page of 4 KiB at guest page 5.
    for (let page = 0; page < 16; page++)
      tables.put(
        0x11_0000 + page * 8,
        Int32Array.of((0x30_0000 + page * 0x1000) | AMD_PR, AMD_IR_HI | (page === 5 ? 0 : AMD_IW_HI)),
      )
    for (let page = 1; page <= 4; page++) tables.put(0x30_0000 + page * 0x1000, Int32Array.of(((page + 1) * 0x1000) | 0x67, 0))
    const dte = dteOf({ Mode: 1, HostPageTableRootPtr: 0x11_0000n, GV: 1 })
    const host = hostSpace(features, dte)!
    const space = guestSpace(features, dte, 0, 0, 0x1001, host)!
    const walker = new Walker(tables)
    expect(walker.walk(space, 0, 0x123, UR, false)).toBe(WALK_OK)
    expect([walker.outLo, walker.rights & (UR | UW)]).toEqual([0x30_5123, UR])
    expect(wordsToU64(Uint32Array.of(walker.lo))).toEqual([0x5067n])
  })
})
