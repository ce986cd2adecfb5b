import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { UR, UW } from '../../base/types.ts'
import { EntryCache } from '../common/entry-cache.ts'
import { IS_GLOBAL, STAGE1_SIZE_SHIFT, STAGE2_SIZE_SHIFT, TranslationCache, tagHigh, tagSpace } from './iotlb.ts'
import { Machine, MODE } from './setup.suite.ts'

describe('directory cache', () => {
  it.each([0, 1, 2, 8, 64])('of %i contexts never gives a context that was forgotten or is another one’s', (size) => {
    const step = fc.tuple(fc.constantFrom('insert', 'insert', 'invalidate', 'device', 'clear'), fc.nat(5), fc.nat(3))
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const cache = new EntryCache(size, 2, new Int32Array(1))
        const model = new Map<string, number>()
        steps.forEach(([kind, device, process], number) => {
          if (kind === 'clear') {
            cache.clear()
            model.clear()
          } else if (kind === 'invalidate') {
            cache.invalidate(device, process)
            model.delete(`${device}/${process}`)
          } else if (kind === 'device') {
            cache.invalidate(device, null)
            for (const key of [...model.keys()]) if (key.startsWith(`${device}/`)) model.delete(key)
          } else if (cache.find(device, process) < 0) {
            const at = cache.insert(device, process, Int32Array.of(number, ~number))
            expect([cache.words[at], cache.words[at + 1]]).toEqual([number, ~number])
            model.set(`${device}/${process}`, number)
          }
          let held = 0
          for (let d = 0; d <= 5; d++)
            for (let p = 0; p <= 3; p++) {
              const at = cache.find(d, p)
              if (at < 0) continue
              held++
              expect(cache.words[at]).toBe(model.get(`${d}/${p}`))
            }
          expect(held).toBeLessThanOrEqual(size)
        })
      }),
      { numRuns: 30 },
    )
  })
})

describe('IOATC', () => {
  interface Entry {
    page: number
    gscid: number
    pscid: number
    global: boolean
    log2: number
  }
  const find = (cache: TranslationCache, page: number, gscid: number, pscid: number) =>
    cache.find(page, tagHigh(0, gscid), tagSpace(gscid, pscid))
  const put = (cache: TranslationCache, { page, gscid, pscid, global, log2 }: Entry, value: number) => {
    const sizes = ((pscid < 0 ? 0 : log2) << STAGE1_SIZE_SHIFT) | ((gscid < 0 ? 0 : log2) << STAGE2_SIZE_SHIFT)
    cache.insert(page, tagHigh(0, gscid), tagSpace(gscid, pscid), value, 12 | (global ? IS_GLOBAL : 0), UR | UW | sizes)
  }

  it('keeps apart pages, PSCIDs and GSCIDs, whatever their bits', () => {
    const cache = new TranslationCache(64)
    const tags = [-1, 0, 1, 0xfff, 0x1000, 0xffff]
    let value = 0
    for (const gscid of tags)
      for (const pscid of [...tags, 0xfffff]) {
        cache.clear()
        put(cache, { page: 7, gscid, pscid, global: false, log2: 12 }, ++value)
        for (const g of tags)
          for (const p of [...tags, 0xfffff]) {
            const found = find(cache, 7, g, p)
            expect(found >= 0 && cache.words[found] === value).toBe(g === gscid && p === pscid)
          }
        expect(find(cache, 8, gscid, pscid)).toBe(-1)
        expect(cache.find(7, tagHigh(-1, gscid), tagSpace(gscid, pscid))).toBe(-1)
      }
  })

  it.each([1, 2, 4, 64])('of %i entries invalidates at least what the commands name, and never gives what is gone', (size) => {
    const tag = fc.constantFrom(-1, 1, 2)
    const entry = fc.record({ page: fc.nat(20), gscid: tag, pscid: tag, global: fc.boolean(), log2: fc.constantFrom(12, 14, 16) })
    const range = fc.option(fc.record({ page: fc.nat(20), log2: fc.nat(3) }))
    const step = fc.oneof(
      { weight: 3, arbitrary: fc.record({ kind: fc.constant('insert' as const), entry }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('first' as const), gscid: tag, pscid: tag, range }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('second' as const), gscid: tag, range }) },
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const cache = new TranslationCache(size)
        const valid = new Map<string, { entry: Entry; value: number }>()
        const meets = (given: { page: number; log2: number } | null, { page, log2 }: Entry) => {
          if (given === null) return true
          const bits = Math.max(given.log2, log2 - 12)
          return page >> bits === given.page >> bits
        }
        steps.forEach((given, value) => {
          if (given.kind === 'insert') {
            const { page, gscid, pscid } = given.entry
            if (gscid < 0 && pscid < 0) return
            put(cache, given.entry, value)
            valid.set(`${page}/${gscid}/${pscid}`, { entry: given.entry, value })
            expect(find(cache, page, gscid, pscid)).toBeGreaterThanOrEqual(0)
          } else {
            const operand = given.range === null ? null : { hi: 0, lo: given.range.page, log2: given.range.log2 }
            if (given.kind === 'first') cache.invalidateFirst(given.gscid, given.pscid, operand)
            else cache.invalidateSecond(given.gscid, operand)
            for (const [key, { entry }] of [...valid]) {
              const gone =
                given.kind === 'first'
                  ? entry.gscid === given.gscid &&
                    (given.pscid < 0 || (entry.pscid === given.pscid && !entry.global)) &&
                    meets(given.range, entry.pscid < 0 ? { ...entry, log2: 12 } : entry)
                  : entry.gscid >= 0 &&
                    (given.gscid < 0 || (entry.gscid === given.gscid && (entry.pscid >= 0 || meets(given.range, entry))))
              if (gone) valid.delete(key)
            }
          }
          for (let page = 0; page <= 20; page++)
            for (const gscid of [-1, 1, 2])
              for (const pscid of [-1, 1, 2]) {
                const at = find(cache, page, gscid, pscid)
                if (at >= 0) expect(cache.words[at]).toBe(valid.get(`${page}/${gscid}/${pscid}`)?.value)
              }
        })
      }),
      { numRuns: 25 },
    )
  })
})

describe('stale translations', () => {
  function device(caches = 64) {
    const machine = new Machine({ caches: { devices: caches, processes: caches, translations: caches } }).start()
    const table = machine.table('Sv39')
    table.map(0x1000, 0x8010_0000, 0x1000, UR)
    const dc = { 'fsc.MODE': MODE.Sv39, 'fsc.PPN': BigInt(table.space.root), 'ta.PSCID': 5 }
    machine.dc(1, dc)
    expect(machine.dma(1, 0x1000n)).toBe(0x8010_0000n)
    return { machine, table, dc }
  }

  it('stay until IOTINVAL.VMA names them: address space, address, host or guest', () => {
    const { machine, table } = device()
    table.unmap(0x1000, 0x1000)
    const stale = () => machine.dma(1, 0x1000n)
    expect(stale()).toBe(0x8010_0000n)
    machine.iotinval({ PSCV: 1, PSCID: 6 })
    machine.iotinval({ PSCV: 1, PSCID: 5, AV: 1, ADDR: 0x2000n })
    machine.iotinval({ GV: 1, GSCID: 0 })
    machine.iotinval({ func3: 1 })
    machine.iodir({})
    expect(stale()).toBe(0x8010_0000n)
    machine.iotinval({ PSCV: 1, PSCID: 5, AV: 1, ADDR: 0x1000n })
    expect(stale()).toBe(13)
  })

  it('go with a range that S names', () => {
    const { machine, table } = device()
    table.unmap(0x1000, 0x1000)
    // Pages 0 to 15: page number 0111.
    machine.iotinval({ AV: 1, S: 1, ADDR: 0x7000n })
    expect(machine.dma(1, 0x1000n)).toBe(13)
  })

  it('of a larger page go with any address inside it', () => {
    const { machine, table } = device()
    table.map(0x20_0000, 0x8020_0000, 0x20_0000, UR)
    expect(machine.dma(1, 0x20_1000n)).toBe(0x8020_1000n)
    table.unmap(0x20_0000, 0x20_0000)
    machine.iotinval({ AV: 1, PSCV: 1, PSCID: 5, ADDR: 0x3f_f000n })
    expect(machine.dma(1, 0x20_1000n)).toBe(13)
  })

  it('that do not allow an access are looked up again', () => {
    const { machine, table } = device()
    expect(machine.dma(1, 0x1000n, { access: 'write' })).toBe(15)
    table.unmap(0x1000, 0x1000)
    table.map(0x1000, 0x8030_0000, 0x1000, UR | UW)
    expect(machine.dma(1, 0x1000n)).toBe(0x8010_0000n)
    expect(machine.dma(1, 0x1000n, { access: 'write' })).toBe(0x8030_0000n)
    expect(machine.dma(1, 0x1000n)).toBe(0x8030_0000n)
  })

  it('do not exist without caches', () => {
    const { machine, table, dc } = device(0)
    table.unmap(0x1000, 0x1000)
    expect(machine.dma(1, 0x1000n)).toBe(13)
    machine.dc(1, { ...dc, 'tc.V': 0 })
    expect(machine.dma(1, 0x1000n)).toBe(258)
  })

  it('contexts stay until IODIR names them, IOTINVAL leaves them alone', () => {
    const { machine, dc } = device()
    const pdt = machine.pdt({ 3: { 'fsc.MODE': MODE.Sv39, 'fsc.PPN': dc['fsc.PPN'], 'ta.PSCID': 5 } })
    machine.dc(2, { 'tc.PDTV': 1, 'fsc.MODE': 1, 'fsc.PPN': BigInt(pdt) })
    expect(machine.dma(2, 0x1000n, { pasid: 3 })).toBe(0x8010_0000n)
    machine.dc(1, { 'tc.V': 0 })
    machine.dc(2, { 'tc.V': 0 })
    machine.memory.write64(pdt + 48, 0n)
    machine.iotinval({})
    machine.iotinval({ func3: 1 })
    machine.iodir({ DV: 1, DID: 7 })
    machine.iodir({ func3: 1, DV: 1, DID: 2, PID: 4 })
    expect([machine.dma(1, 0x1000n), machine.dma(2, 0x1000n, { pasid: 3 })]).toEqual([0x8010_0000n, 0x8010_0000n])
    machine.iodir({ func3: 1, DV: 1, DID: 2, PID: 3 })
    expect(machine.dma(2, 0x1000n, { pasid: 3 })).toBe(266)
    machine.iodir({ DV: 1, DID: 2 })
    expect([machine.dma(1, 0x1000n), machine.dma(2, 0x1000n, { pasid: 3 })]).toEqual([0x8010_0000n, 258])
    machine.iodir({})
    expect(machine.dma(1, 0x1000n)).toBe(258)
  })

  it('an entry that was not valid is never remembered', () => {
    const { machine, table } = device()
    expect(machine.dma(1, 0x3000n)).toBe(13)
    table.map(0x3000, 0x8030_0000, 0x1000, UR)
    expect(machine.dma(1, 0x3000n)).toBe(0x8030_0000n)
    expect(machine.dma(3, 0n)).toBe(258)
    machine.dc(3, {})
    expect(machine.dma(3, 0x77n)).toBe(0x77n)
  })
})
