import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { packLeaf, REGIME_EL1, REGIME_EL2, REGIME_EL2_E2H, REGIME_STAGE2, Tlb, type TlbScope } from './tlb.ts'

const ALL: TlbScope = { regimes: 15, vmid: -1, asid: -1, globals: true, page: 0, pages: 0, granule: 0, level: 0 }
const LEAF = { rights: 27, clean: false, global: false, leafLog2: 12, level: 3, granuleLog2: 12 }

function insert(tlb: Tlb, given: Partial<typeof LEAF & Key & { pa: number; sizeLog2: number }>): void {
  const leaf = { ...LEAF, ...given }
  const { regime = REGIME_EL1, tag = 0, aset = 0, hi = 0, lo = 0, pa = 0x9000, sizeLog2 = 12 } = given
  const packed = packLeaf(leaf.rights, leaf.clean, leaf.global, leaf.leafLog2, leaf.level, leaf.granuleLog2)
  tlb.insert(regime, tag, aset, hi, lo, 0, pa, sizeLog2, packed)
}

interface Key {
  regime: number
  tag: number
  aset: number
  hi: number
  lo: number
}

const at = (tlb: Tlb, given: Partial<Key> = {}) =>
  tlb.find(given.regime ?? REGIME_EL1, given.tag ?? 0, given.aset ?? 0, given.hi ?? 0, given.lo ?? 0)
const find = (tlb: Tlb, given: Partial<Key> = {}) => at(tlb, given) >= 0
/** Where an input leads; null: a miss. */
const output = (tlb: Tlb, given: Partial<Key> = {}) => {
  const found = at(tlb, given)
  return found < 0 ? null : read(tlb, found, given)
}
const read = (tlb: Tlb, found: number, given: Partial<Key> = {}) => {
  const result = { paHi: 0, paLo: 0, rights: 0, sizeLog2: 0 }
  tlb.read(found, given.hi ?? 0, given.lo ?? 0, result)
  return { ...result, paLo: result.paLo >>> 0 }
}

describe('IOTLB', () => {
  it('gives back what was put in, and the offset in the page', () => {
    const tlb = new Tlb(16)
    insert(tlb, { hi: 0x1234, lo: 0x5678_9000 | 0, pa: 0x7000_0000, clean: true })
    const found = at(tlb, { hi: 0x1234, lo: 0x5678_9abc })
    expect(output(tlb, { hi: 0x1234, lo: 0x5678_9abc })).toEqual({ paHi: 0, paLo: 0x7000_0abc, rights: 27, sizeLog2: 12 })
    expect([tlb.rights(found), tlb.clean(found)]).toEqual([27, true])
    expect(find(tlb, { hi: 0x1234, lo: 0x5678_8fff })).toBe(false)
    expect(find(tlb, { hi: 0x1235, lo: 0x5678_9abc })).toBe(false)
  })

  it('keeps sizes above 4 GiB apart from smaller ones', () => {
    const tlb = new Tlb(16)
    insert(tlb, { hi: 0x80, lo: 0, sizeLog2: 39, leafLog2: 39, level: 0, pa: 0 })
    insert(tlb, { hi: 0x10, lo: 0x4000_0000, sizeLog2: 30, leafLog2: 30, level: 1, pa: 0x4000_0000 })
    expect(output(tlb, { hi: 0xff, lo: -1 })).toMatchObject({ paHi: 0x7f, paLo: 0xffff_ffff, sizeLog2: 39 })
    expect(output(tlb, { hi: 0x10, lo: 0x7fff_ffff })).toMatchObject({ paHi: 0, paLo: 0x7fff_ffff, sizeLog2: 30 })
    expect(find(tlb, { hi: 0x10, lo: 0x8000_0000 | 0 })).toBe(false)
  })

  it('tells regimes, VMIDs and ASIDs apart', () => {
    const tlb = new Tlb(64)
    const keys = [
      { regime: REGIME_EL1, tag: (1 << 16) | 2 },
      { regime: REGIME_EL1, tag: (2 << 16) | 1 },
      { regime: REGIME_EL2_E2H, tag: 2 },
      { regime: REGIME_STAGE2, tag: 1 << 16 },
    ]
    keys.forEach((key, index) => {
      insert(tlb, { ...key, pa: 0x1000 * (index + 1) })
    })
    keys.forEach((key, index) => {
      expect(output(tlb, key)).toMatchObject({ paLo: 0x1000 * (index + 1) })
    })
    expect(find(tlb, { regime: REGIME_EL2, tag: 2 })).toBe(false)
    expect(find(tlb, { regime: REGIME_EL1, tag: (1 << 16) | 1 })).toBe(false)
  })

  it('lets global entries serve all ASIDs of their VMID and their set, and no other', () => {
    const tlb = new Tlb(16)
    insert(tlb, { tag: (3 << 16) | 7, aset: 1, global: true })
    expect(find(tlb, { tag: (3 << 16) | 9, aset: 1 })).toBe(true)
    expect(find(tlb, { tag: (3 << 16) | 9, aset: 0 })).toBe(false)
    expect(find(tlb, { tag: (4 << 16) | 7, aset: 1 })).toBe(false)
    // Where entries belong to an ASID, the set does not matter.
    insert(tlb, { tag: 5, aset: 1, lo: 0x1000 })
    expect(find(tlb, { tag: 5, aset: 0, lo: 0x1000 })).toBe(true)
  })

  it('replaces an entry that is put in again, and evicts when a set is full', () => {
    const tlb = new Tlb(4)
    for (let page = 0; page < 4; page++) insert(tlb, { lo: page << 12 })
    insert(tlb, { lo: 0, pa: 0x5000 })
    expect([tlb.used, output(tlb)!.paLo]).toEqual([4, 0x5000])
    insert(tlb, { lo: 0x9000 })
    expect([tlb.used, find(tlb, { lo: 0x9000 })]).toEqual([4, true])
  })

  it('holds nothing when its size is 0', () => {
    const tlb = new Tlb(0)
    insert(tlb, {})
    expect([tlb.capacity, tlb.used, find(tlb)]).toEqual([0, 0, false])
  })

  it('invalidates a block by any address in it, and all pieces that stage 2 cut it into', () => {
    const tlb = new Tlb(64)
    for (let piece = 0; piece < 4; piece++) insert(tlb, { lo: 0x20_0000 + (piece << 12), leafLog2: 21, level: 2 })
    insert(tlb, { lo: 0x40_0000 })
    expect(tlb.invalidate({ ...ALL, page: 0x3ff, pages: 1 })).toBe(4)
    expect(tlb.used).toBe(1)
  })

  it('spares what the granule or level of a command does not name', () => {
    const tlb = new Tlb(16)
    insert(tlb, { granuleLog2: 14, leafLog2: 14, sizeLog2: 14, level: 3 })
    for (const scope of [{ granule: 1 }, { granule: 3 }, { granule: 2, level: 2 }])
      expect(tlb.invalidate({ ...ALL, pages: 4, ...scope })).toBe(0)
    expect(tlb.invalidate({ ...ALL, pages: 4, granule: 2, level: 3 })).toBe(1)
  })

  it('ignores low VMID bits as the wildcard says', () => {
    const tlb = new Tlb(16)
    for (const vmid of [0x20, 0x21, 0x22]) insert(tlb, { tag: vmid << 16 })
    expect(tlb.invalidate({ ...ALL, vmid: 0x20, vmidIgnored: 1 })).toBe(2)
    expect(tlb.list().map((entry) => entry.vmid)).toEqual([0x22])
  })

  it('answers like a list of entries, whatever is put in, looked up and invalidated', () => {
    const key = fc.record({
      regime: fc.constantFrom(REGIME_EL1, REGIME_EL2_E2H, REGIME_STAGE2),
      vmid: fc.nat(1),
      asid: fc.nat(2),
      aset: fc.nat(1),
      page: fc.constantFrom(0, 1, 2, 511, 512, 0xf_ffff_ffff, 0xf_ffff_ffff_f000),
    })
    const entry = fc.record({
      key,
      size: fc.constantFrom(12, 21),
      global: fc.boolean(),
      pa: fc.integer({ min: 1, max: 0xfffff }),
    })
    const scope = fc.record({
      regimes: fc.nat(15),
      vmid: fc.integer({ min: -1, max: 1 }),
      asid: fc.integer({ min: -1, max: 2 }),
      globals: fc.boolean(),
      page: fc.constantFrom(0, 1, 511, 0xf_ffff_ffff),
      pages: fc.constantFrom(0, 1, 512),
    })
    type Entry = {
      key: { regime: number; vmid: number; asid: number; aset: number; page: number }
      size: number
      global: boolean
      pa: number
    }
    const cover = (size: number) => 2 ** (size - 12)
    const first = ({ key, size }: Entry) => Math.floor(key.page / cover(size)) * cover(size)
    const same = (a: Entry, b: Entry) =>
      a.size === b.size &&
      a.global === b.global &&
      a.key.regime === b.key.regime &&
      a.key.vmid === b.key.vmid &&
      first(a) === first(b) &&
      (a.global ? a.key.aset === b.key.aset : a.key.asid === b.key.asid)
    fc.assert(
      fc.property(fc.array(fc.oneof(entry, scope, key), { maxLength: 40 }), (steps) => {
        // Large enough that nothing is evicted.
        const tlb = new Tlb(4096)
        let list: Entry[] = []
        for (const step of steps) {
          if ('key' in step) {
            list = [...list.filter((each) => !same(each, step)), step]
            const { regime, vmid, asid, aset, page } = step.key
            insert(tlb, {
              regime,
              tag: (vmid << 16) | asid,
              aset,
              global: step.global,
              hi: Math.floor(page / 2 ** 20),
              lo: page << 12,
              pa: step.pa << 12,
              sizeLog2: step.size,
              leafLog2: step.size,
              level: step.size === 12 ? 3 : 2,
            })
          } else if ('regimes' in step) {
            const gone = (each: Entry) =>
              ((step.regimes >> each.key.regime) & 1) === 1 &&
              (step.vmid < 0 || step.vmid === each.key.vmid) &&
              (each.global ? step.globals : step.asid < 0 || step.asid === each.key.asid) &&
              (step.pages === 0 || (first(each) < step.page + step.pages && step.page < first(each) + cover(each.size)))
            const count = list.filter(gone).length
            expect(tlb.invalidate({ ...ALL, ...step })).toBe(count)
            list = list.filter((each) => !gone(each))
          } else {
            const { regime, vmid, asid, aset, page } = step
            const fits = list.filter(
              (each) =>
                each.key.regime === regime &&
                each.key.vmid === vmid &&
                (each.global ? each.key.aset === aset : each.key.asid === asid) &&
                first(each) <= page &&
                page < first(each) + cover(each.size),
            )
            const found = tlb.find(regime, (vmid << 16) | asid, aset, Math.floor(page / 2 ** 20), page << 12)
            expect(found >= 0).toBe(fits.length > 0)
            if (found < 0) return
            const outputs = fits.map((each) => ((each.pa << 12) & ~(2 ** each.size - 1)) >>> 12)
            const result = read(tlb, found, { hi: Math.floor(page / 2 ** 20), lo: page << 12 })
            expect(outputs).toContain((result.paLo >>> 12) - (page % cover(result.sizeLog2)))
          }
          expect(tlb.used).toBe(list.length)
        }
      }),
      { numRuns: 300 },
    )
  })
})
