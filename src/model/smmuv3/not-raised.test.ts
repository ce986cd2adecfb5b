/** Each event that the specification defines is raised by a case here, or named among those that never are. */
import { describe, expect, it } from 'vitest'
import { PR, UR } from '../../base/types.ts'
import * as ev from '../../format/smmuv3/events.ts'
import { CONFIG_S1, CONFIG_S2 } from '../../format/smmuv3/ste.ts'
import { NOT_RAISED } from './not-raised.ts'
import { HOLE, Rig } from './rig.suite.ts'

/** A stream 1 with a page at 0x1000 that may be read, and its leaf changed. */
function page(rig: Rig, change: (leaf: bigint) => bigint = (leaf) => leaf): void {
  const space = rig.space(1)
  space.table.map(0x1000, 0x5000_0000, 0x1000, UR | PR)
  const { pa } = space.table.leaf(0x1000)!
  rig.memory.write64(pa, change(rig.memory.read64(pa)))
  rig.stage1(1, space)
}

const CASES: Readonly<Record<number, (rig: Rig) => void>> = {
  [ev.C_BAD_STREAMID]: (rig) => void rig.dma(0x100, 0),
  [ev.F_STE_FETCH]: (rig) => {
    rig.set('CR0', 0)
    rig.set('STRTAB_BASE', HOLE)
    rig.set('CR0', 0xd)
    rig.dma(1, 0)
  },
  [ev.C_BAD_STE]: (rig) => void rig.dma(1, 0),
  [ev.F_BAD_ATS_TREQ]: (rig) => {
    page(rig)
    rig.dma(1, 0x1000, { kind: 'ats-request' })
  },
  [ev.F_STREAM_DISABLED]: (rig) => {
    rig.ste(1, { Config: CONFIG_S1, S1ContextPtr: BigInt(rig.cdTable(4)), S1CDMax: 4, S1DSS: 0 })
    rig.dma(1, 0)
  },
  [ev.F_TRANSL_FORBIDDEN]: (rig) => {
    page(rig)
    rig.set('CR0', 0x1f)
    rig.dma(1, 0x1000, { kind: 'translated' })
  },
  [ev.C_BAD_SUBSTREAMID]: (rig) => {
    page(rig)
    rig.dma(1, 0x1000, { pasid: 1 })
  },
  [ev.F_CD_FETCH]: (rig) => {
    rig.ste(1, { Config: CONFIG_S1, S1ContextPtr: BigInt(HOLE) })
    rig.dma(1, 0)
  },
  [ev.C_BAD_CD]: (rig) => {
    rig.stage1(1, rig.space(1), { V: 0 })
    rig.dma(1, 0)
  },
  [ev.F_WALK_EABT]: (rig) => {
    rig.ste(1, { Config: CONFIG_S2, S2VMID: 1, ...rig.space(2).ste, S2TTB: BigInt(HOLE) })
    rig.dma(1, 0)
  },
  [ev.F_TRANSLATION]: (rig) => {
    page(rig)
    rig.dma(1, 0x2000)
  },
  [ev.F_ADDR_SIZE]: (rig) => {
    const space = rig.space(1)
    space.table.map(0x1000, 2 ** 40, 0x1000, UR | PR)
    rig.stage1(1, space, { IPS: 2 })
    rig.dma(1, 0x1000)
  },
  [ev.F_ACCESS]: (rig) => {
    page(rig, (leaf) => leaf & ~0x400n)
    rig.dma(1, 0x1000)
  },
  [ev.F_PERMISSION]: (rig) => {
    page(rig)
    rig.dma(1, 0x1000, { access: 'write' })
  },
  [ev.E_PAGE_REQUEST]: (rig) => rig.smmu.pageHint({ device: 1, pasid: null, address: 0x1000n, pages: 1, rights: UR }),
}

describe('SMMUv3 events', () => {
  const never = new Map(NOT_RAISED.map(({ code, why }) => [code, why]))
  for (const [number, { name }] of ev.EVENTS) {
    const raise = CASES[number]
    it(`${name} ${raise === undefined ? 'is named among those that the model never records, with why' : 'is recorded'}`, () => {
      expect((raise === undefined) === never.has(number)).toBe(true)
      if (raise === undefined) return expect(never.get(number)!.length).toBeGreaterThan(20)
      const rig = new Rig()
      raise(rig)
      expect(rig.eventNames()).toEqual([name])
    })
  }

  it('has no case and no reason for an event that the specification does not define', () => {
    for (const number of [...Object.keys(CASES).map(Number), ...never.keys()]) expect(ev.EVENTS.has(number)).toBe(true)
  })
})
