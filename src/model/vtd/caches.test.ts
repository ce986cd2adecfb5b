/** What is remembered, under which tags, and what each invalidation makes it forget. Intel VT-d, sections 6.1, 6.2 and 6.5, tables 23, 24. */
import { describe, expect, it } from 'vitest'
import * as dsc from '../../format/vtd/descriptors.ts'
import { GS_RTP, GS_TE, REG } from '../../format/vtd/registers.ts'
import { DEVICE, Rig, type RigOptions, RW } from './rig.suite.ts'

const PAGE = 0x10_0000
const OUT = 0x5000_0000

/**
 * Device 0x30 with PASIDs 1 (first stage, domain 1), 2 (second stage, domain 2), 3 (nested, domain 3), 5 (first stage, domain 1), each with
 * pages at PAGE and PAGE + 0x1000, all of which have been used; then the page tables lose them.
 */
function used(options: RigOptions = {}) {
  const rig = new Rig(options)
  const directory = rig.smContext(DEVICE)
  const first = rig.first()
  const second = rig.second()
  const nested = rig.nested()
  const tables = [first.table, second.table, nested.inner.table]
  for (const table of tables) table.map(PAGE, OUT, 0x2000, RW)
  const entries = {
    1: rig.pasid(directory, 1, { ...first.pasid, DID: 1 }),
    2: rig.pasid(directory, 2, { ...second.pasid, DID: 2 }),
    3: rig.pasid(directory, 3, { ...nested.pasid, DID: 3 }),
    5: rig.pasid(directory, 5, { ...first.pasid, DID: 1 }),
  }
  const ask = (pasid: number, page = 0) => rig.dma(PAGE + page * 4096, { pasid }).ok
  for (const pasid of [1, 2, 3, 5]) for (const page of [0, 1]) expect(ask(pasid, page)).toBe(true)
  for (const table of tables) table.unmap(PAGE, 0x2000)
  /** `pasid.page` of the translations that are still there. */
  const alive = () => [1, 2, 3, 5].flatMap((pasid) => [0, 1].filter((page) => ask(pasid, page)).map((page) => `${pasid}.${page}`))
  return { rig, directory, entries, alive, ask }
}
const ALL = ['1.0', '1.1', '2.0', '2.1', '3.0', '3.1', '5.0', '5.1']
const but = (...gone: string[]) => ALL.filter((name) => !gone.some((each) => name.startsWith(each)))

describe('the IOTLB', () => {
  it('answers until it is told to forget', () => {
    const { rig, alive } = used()
    expect(alive()).toEqual(ALL)
    rig.send(dsc.IOTLB_INV_DSC, { G: dsc.G_GLOBAL })
    expect(alive()).toEqual([])
  })

  it('forgets those of a domain', () => {
    const { rig, alive } = used()
    rig.send(dsc.IOTLB_INV_DSC, { G: dsc.G_DOMAIN, DID: 1 })
    expect(alive()).toEqual(but('1', '5'))
  })

  it('forgets pages of a domain, and all that a first stage has part in', () => {
    const { rig, alive } = used()
    rig.send(dsc.IOTLB_INV_DSC, { G: dsc.G_PAGE, DID: 2, ADDR: BigInt(PAGE) })
    expect(alive()).toEqual(but('2.0'))
    rig.send(dsc.IOTLB_INV_DSC, { G: dsc.G_PAGE, DID: 2, ADDR: BigInt(PAGE), AM: 1 })
    expect(alive()).toEqual(but('2'))
    rig.send(dsc.IOTLB_INV_DSC, { G: dsc.G_PAGE, DID: 3, ADDR: 0n })
    expect(alive()).toEqual(but('2', '3'))
  })

  it('forgets those of a PASID, second stages too', () => {
    const { rig, alive } = used()
    rig.send(dsc.P_IOTLB_INV_DSC, { G: dsc.G_PASID, DID: 1, PASID: 1 })
    expect(alive()).toEqual(but('1'))
    rig.send(dsc.P_IOTLB_INV_DSC, { G: dsc.G_PASID, DID: 1, PASID: 2 })
    expect(alive()).toEqual(but('1'))
    rig.send(dsc.P_IOTLB_INV_DSC, { G: dsc.G_PASID, DID: 2, PASID: 2 })
    expect(alive()).toEqual(but('1', '2'))
  })

  it('forgets pages of a PASID, of first stages and nested ones only', () => {
    const { rig, alive } = used()
    const page = { G: dsc.G_PASID_PAGE, ADDR: BigInt(PAGE + 0x1000) }
    rig.send(dsc.P_IOTLB_INV_DSC, { ...page, DID: 1, PASID: 5 })
    rig.send(dsc.P_IOTLB_INV_DSC, { ...page, DID: 2, PASID: 2 })
    rig.send(dsc.P_IOTLB_INV_DSC, { ...page, DID: 3, PASID: 3, AM: 4 })
    expect(alive()).toEqual(but('5.1', '3'))
  })

  it('tells PASIDs apart that differ in their upper bits only', () => {
    const rig = new Rig()
    rig.smContext(DEVICE, { PDTS: 7, PASIDDIRPTR: 0x5800_0000n })
    const spaces = [0x00007, 0x10007, 0x80007, 0xf0007].map((pasid, index) => {
      const { table, pasid: values } = rig.first()
      table.map(PAGE, OUT + index * 4096, 0x1000, RW)
      rig.pasid(0x5800_0000, pasid, values)
      return pasid
    })
    for (const round of [0, 1])
      for (const [index, pasid] of spaces.entries())
        expect(rig.dma(PAGE, { pasid })).toMatchObject({ pa: BigInt(OUT + index * 4096), cached: round === 1 })
    rig.send(dsc.P_IOTLB_INV_DSC, { G: dsc.G_PASID, DID: 1, PASID: 0x10007 })
    expect(spaces.map((pasid) => (rig.dma(PAGE, { pasid }) as { cached: boolean }).cached)).toEqual([true, false, true, true])
  })

  it('keeps requests with and without PASID, and devices, apart', () => {
    const rig = new Rig()
    const { table, pasid } = rig.first()
    table.map(PAGE, OUT, 0x1000, RW)
    rig.plain(DEVICE, pasid)
    rig.plain(DEVICE + 1, pasid)
    expect(rig.dma(PAGE)).toMatchObject({ cached: false })
    expect(rig.dma(PAGE)).toMatchObject({ cached: true })
    expect(rig.dma(PAGE, { device: DEVICE + 1 })).toMatchObject({ cached: false })
    // By the PASID that RID_PASID gave them
    rig.send(dsc.P_IOTLB_INV_DSC, { G: dsc.G_PASID, DID: 1, PASID: 0 })
    expect(rig.dma(PAGE)).toMatchObject({ cached: false })
  })

  it('does not take entries of requests without PASID for those of a PASID, when RID_PASID was changed', () => {
    const rig = new Rig()
    const { table, pasid } = rig.first()
    table.map(PAGE, OUT, 0x1000, RW)
    const { directory } = rig.plain(DEVICE, pasid)
    rig.dma(PAGE)
    rig.smContext(DEVICE, { PASIDDIRPTR: BigInt(directory), RID_PASID: 9 })
    rig.send(dsc.CC_INV_DSC, { G: dsc.G_GLOBAL })
    expect(rig.dma(PAGE, { pasid: 0 })).toMatchObject({ ok: true, cached: false })
  })

  it('forgets a large page by any address in it, and the small page that two stages make of it by the first stage leaf', () => {
    const rig = new Rig()
    const nested = rig.nested()
    nested.inner.table.map(0x4000_0000, 0x4000_0000, 0x4000_0000, RW)
    rig.plain(DEVICE, { ...nested.pasid, DID: 4 })
    expect(rig.dma(0x4000_0000)).toMatchObject({ sizeLog2: 21 })
    expect(rig.dma(0x4000_0000)).toMatchObject({ cached: true })
    rig.send(dsc.P_IOTLB_INV_DSC, { G: dsc.G_PASID_PAGE, DID: 4, PASID: 0, ADDR: 0x7fff_f000n })
    expect(rig.dma(0x4000_0000)).toMatchObject({ cached: false })
  })

  it('refuses by the rights that it remembers', () => {
    const rig = new Rig()
    const { table, pasid } = rig.first()
    table.map(PAGE, OUT, 0x1000, RW & ~0b010010)
    rig.plain(DEVICE, pasid)
    rig.dma(PAGE)
    table.unmap(PAGE, 0x1000)
    table.map(PAGE, OUT, 0x1000, RW)
    expect(rig.reach(PAGE, { access: 'write' })).toBe('85h SGN.6')
    rig.send(dsc.P_IOTLB_INV_DSC, { G: dsc.G_PASID, DID: 1, PASID: 0 })
    expect(rig.reach(PAGE, { access: 'write' })).toBe(BigInt(OUT))
  })

  it('is emptied when translation is switched off, and by a new root table', () => {
    for (const act of [
      (rig: Rig) => {
        rig.uncommand(GS_TE)
        rig.command(GS_TE)
      },
      (rig: Rig) => rig.command(GS_RTP),
    ]) {
      const { rig, alive } = used()
      act(rig)
      expect(alive()).toEqual([])
    }
    const { rig, alive } = used({ cap: { ESRTPS: 0 } })
    rig.command(GS_RTP)
    expect(alive()).toEqual(ALL)
  })

  it('can be left out', () => {
    const rig = new Rig({ caches: { translations: 0, contexts: 0, pasids: 0, interrupts: 0 } })
    const { table, pasid } = rig.first()
    table.map(PAGE, OUT, 0x1000, RW)
    const { entry } = rig.plain(DEVICE, pasid)
    expect(rig.dma(PAGE)).toMatchObject({ cached: false })
    expect(rig.dma(PAGE)).toMatchObject({ cached: false })
    rig.memory.write64(entry, 0n)
    expect(rig.reach(PAGE)).toBe('59h SPT.2')
    expect(() => new Rig({ caches: { contexts: 3 } })).toThrow('power of two')
  })
})

describe('the PASID cache', () => {
  const gone = (act: (rig: Rig) => void) => {
    const { rig, entries, ask } = used()
    for (const at of Object.values(entries)) rig.memory.write64(at, 0n)
    act(rig)
    rig.send(dsc.IOTLB_INV_DSC, { G: dsc.G_GLOBAL })
    // What is still there faults in the page tables, what is gone in the PASID table.
    return [1, 2, 3, 5].filter((pasid) => {
      ask(pasid)
      return rig.reach(PAGE, { pasid }) === '59h SPT.2'
    })
  }

  it('forgets all, those of a domain, one PASID of a domain', () => {
    expect(gone(() => {})).toEqual([])
    expect(gone((rig) => rig.send(dsc.PC_INV_DSC, { G: dsc.PC_G_GLOBAL }))).toEqual([1, 2, 3, 5])
    expect(gone((rig) => rig.send(dsc.PC_INV_DSC, { G: dsc.PC_G_DOMAIN, DID: 1 }))).toEqual([1, 5])
    expect(gone((rig) => rig.send(dsc.PC_INV_DSC, { G: dsc.PC_G_PASID, DID: 1, PASID: 5 }))).toEqual([5])
    expect(gone((rig) => rig.send(dsc.PC_INV_DSC, { G: dsc.PC_G_PASID, DID: 2, PASID: 5 }))).toEqual([])
  })

  it('does not remember entries that are not good, without caching mode', () => {
    const rig = new Rig()
    const { table, pasid } = rig.first()
    table.map(PAGE, OUT, 0x1000, RW)
    const directory = rig.smContext(DEVICE)
    rig.pasid(directory, 1, { ...pasid, P: 0 })
    expect(rig.reach(PAGE, { pasid: 1 })).toBe('59h SPT.2')
    rig.pasid(directory, 1, pasid)
    expect(rig.reach(PAGE, { pasid: 1 })).toBe(BigInt(OUT))
  })
})

describe('the context cache', () => {
  it('forgets all, or one device; in scalable mode those of a domain are all', () => {
    for (const [values, is] of [
      [{ G: dsc.G_GLOBAL }, true],
      [{ G: dsc.G_DOMAIN, DID: 77 }, true],
      [{ G: dsc.G_DEVICE, SID: DEVICE, DID: 77 }, true],
      [{ G: dsc.G_DEVICE, SID: DEVICE + 3, FM: 2 }, false],
      [{ G: dsc.G_DEVICE, SID: DEVICE + 3, FM: 3 }, true],
    ] as const) {
      const { rig, ask } = used()
      rig.smContext(DEVICE, { P: 0 })
      rig.send(dsc.CC_INV_DSC, values)
      expect([values, !ask(1)]).toEqual([values, is])
    }
  })
})

describe('caching mode', () => {
  it('remembers context entries that are not present, for domain 0', () => {
    const rig = new Rig({ mode: 'legacy', cap: { CM: 1 } })
    const { table, legacy } = rig.second()
    table.map(PAGE, OUT, 0x1000, RW)
    rig.context(DEVICE, { P: 0 })
    expect(rig.reach(PAGE)).toBe('2h LCT.2')
    rig.context(DEVICE, legacy)
    expect(rig.reach(PAGE)).toBe('2h LCT.2')
    rig.send(dsc.CC_INV_DSC, { G: dsc.G_DEVICE, SID: DEVICE, DID: 1 })
    expect(rig.reach(PAGE)).toBe('2h LCT.2')
    rig.send(dsc.CC_INV_DSC, { G: dsc.G_DEVICE, SID: DEVICE, DID: 0 })
    expect(rig.reach(PAGE)).toBe(BigInt(OUT))
  })

  it('remembers PASID table entries that are not present, for domain 0', () => {
    const rig = new Rig({ cap: { CM: 1 } })
    const { table, pasid } = rig.first()
    table.map(PAGE, OUT, 0x1000, RW)
    const directory = rig.smContext(DEVICE)
    rig.pasid(directory, 1, { ...pasid, P: 0 })
    rig.reach(PAGE, { pasid: 1 })
    rig.pasid(directory, 1, pasid)
    expect(rig.reach(PAGE, { pasid: 1 })).toBe('59h SPT.2')
    rig.send(dsc.PC_INV_DSC, { G: dsc.PC_G_PASID, DID: 0, PASID: 1 })
    expect(rig.reach(PAGE, { pasid: 1 })).toBe(BigInt(OUT))
  })

  it('remembers absent second-stage pages, and never absent first-stage pages', () => {
    const rig = new Rig({ cap: { CM: 1 } })
    const directory = rig.smContext(DEVICE)
    const first = rig.first()
    const second = rig.second()
    rig.pasid(directory, 1, { ...first.pasid, DID: 1 })
    rig.pasid(directory, 2, { ...second.pasid, DID: 2 })
    expect(rig.reach(PAGE, { pasid: 1 })).toBe('71h SFS.2')
    expect(rig.reach(PAGE, { pasid: 2 })).toBe('79h SSS.2')
    for (const { table } of [first, second]) table.map(PAGE, OUT, 0x1000, RW)
    expect(rig.reach(PAGE, { pasid: 1 })).toBe(BigInt(OUT))
    expect(rig.reach(PAGE, { pasid: 2 })).toBe('79h SSS.2')
    rig.send(dsc.IOTLB_INV_DSC, { G: dsc.G_PAGE, DID: 2, ADDR: BigInt(PAGE) })
    expect(rig.reach(PAGE, { pasid: 2 })).toBe(BigInt(OUT))
  })

  it('is what it takes: without it, a page that is new is there at once', () => {
    const rig = new Rig()
    const { table, pasid } = rig.second()
    rig.plain(DEVICE, pasid)
    expect(rig.reach(PAGE)).toBe('79h SSS.2')
    table.map(PAGE, OUT, 0x1000, RW)
    expect(rig.reach(PAGE)).toBe(BigInt(OUT))
  })

  it('tells of an absent page of legacy mode what the access needs', () => {
    const rig = new Rig({ mode: 'legacy', cap: { CM: 1 } })
    const { legacy } = rig.second()
    rig.context(DEVICE, legacy)
    expect(rig.reach(PAGE)).toBe('6h LGN.3')
    expect(rig.reach(PAGE, { access: 'write' })).toBe('5h LGN.2')
  })
})

it('has domain ids as wide as CAP.ND says', () => {
  const rig = new Rig({ mode: 'legacy', cap: { ND: 0 } })
  const { table, legacy } = rig.second()
  table.map(PAGE, OUT, 0x1000, RW)
  rig.context(DEVICE, { ...legacy, DID: 15 })
  rig.dma(PAGE)
  rig.send(dsc.IOTLB_INV_DSC, { G: dsc.G_DOMAIN, DID: 0xff0f })
  expect(rig.dma(PAGE)).toMatchObject({ cached: false })
  expect(rig.get(REG.FSTS)).toBe(0)
})
