/** Page requests, their queue, and the hardware's own answers. Intel VT-d, sections 6.5.3.1, 7.4 and 7.5. */
import { describe, expect, it } from 'vitest'
import { GS_RTP, REG } from '../../format/vtd/registers.ts'
import type { PageRequestMessage } from '../iommu.ts'
import { DEVICE, HOLE, Rig, RW } from './rig.suite.ts'

const PAGE = 0x10_0000
const OUT = 0x5000_0000
const PPR = 1
const PRO = 2

function request(values: Partial<PageRequestMessage> = {}): PageRequestMessage {
  return {
    device: DEVICE,
    pasid: 1,
    address: BigInt(PAGE),
    group: 3,
    last: true,
    read: true,
    write: false,
    execute: false,
    privileged: false,
    ...values,
  }
}

/** A device whose PASID 1 and requests without PASID have a first stage with nothing in it. */
function rigWith(options = {}) {
  const rig = new Rig(options)
  const directory = rig.smContext(DEVICE)
  const { table, pasid } = rig.first()
  rig.pasid(directory, 0, pasid)
  rig.pasid(directory, 1, pasid)
  return { rig, table, directory }
}

describe('page requests', () => {
  it('are written to the queue as they came', () => {
    const { rig } = rigWith()
    rig.iommu.pageRequest(
      request({ address: 0x1234_5678_9000n, group: 0x1ff, write: true, execute: true, privileged: true, last: false }),
    )
    rig.iommu.pageRequest(request({ pasid: null, privileged: true }))
    const [first, second] = rig.pageRequests()
    expect(first).toMatchObject({
      TYPE: 1,
      PP: 1,
      PASID: 1,
      RID: DEVICE,
      ADDR: 0x1234_5678_9000n,
      PRGI: 0x1ff,
      RD: 1,
      WR: 1,
      EXE: 1,
      PRIV: 1,
      LPIG: 0,
    })
    expect(second).toMatchObject({ PP: 0, PASID: 0, PRIV: 0, LPIG: 1, ADDR: BigInt(PAGE) })
    expect([rig.get(REG.PRS), rig.interrupts, rig.messages]).toEqual([PPR, ['page-request-event'], []])
  })

  it('raise the event again when software has cleared PPR, and hold it while it is masked', () => {
    const { rig } = rigWith()
    rig.iommu.pageRequest(request())
    rig.set(REG.PRS, PPR)
    rig.set(REG.PECTL, 0x8000_0000)
    rig.iommu.pageRequest(request())
    expect([rig.get(REG.PECTL) >>> 0, rig.interrupts.length]).toEqual([0xc000_0000, 1])
    rig.set(REG.PECTL, 0)
    expect(rig.interrupts.length).toBe(2)
    rig.set(REG.PECTL, 0x8000_0000)
    rig.set(REG.PRS, PPR)
    rig.iommu.pageRequest(request())
    rig.set(REG.PRS, PPR)
    rig.set(REG.PECTL, 0)
    expect(rig.interrupts.length).toBe(2)
  })

  it('overflow a queue that is full: PRO, Success to the last of a group, nothing to the others, until software clears it', () => {
    const { rig } = rigWith()
    for (let count = 0; count < 127; count++) rig.iommu.pageRequest(request({ last: false }))
    expect(rig.get(REG.PRS)).toBe(PPR)
    rig.iommu.pageRequest(request({ last: false }))
    expect([rig.get(REG.PRS), rig.messages]).toEqual([PPR | PRO, []])
    rig.iommu.pageRequest(request({ group: 8 }))
    expect(rig.messages).toEqual([{ kind: 'page-response', device: DEVICE, pasid: 1, group: 8, code: 'success' }])
    expect(rig.pageRequests().length).toBe(127)
    rig.iommu.pageRequest(request({ group: 9 }))
    expect(rig.messages.length).toBe(2)
    rig.set(REG.PRS, PPR | PRO)
    rig.iommu.pageRequest(request({ group: 10 }))
    expect(rig.pageRequests()).toMatchObject([{ PRGI: 10 }])
  })

  it('overflow a queue where no memory is', () => {
    const { rig } = rigWith()
    rig.set8(REG.PQA, BigInt(HOLE))
    rig.iommu.pageRequest(request())
    expect([rig.get(REG.PRS), rig.messages.length]).toEqual([PRO, 1])
  })

  it('are answered Invalid Request, and recorded, when the tables do not lead to an entry', () => {
    const { rig } = rigWith()
    rig.iommu.pageRequest(request({ pasid: 2 }))
    expect(rig.messages).toEqual([{ kind: 'page-response', device: DEVICE, pasid: 2, group: 3, code: 'invalid' }])
    expect(rig.fault()).toMatchObject({ F: 1, FR: 0x59, T1: 0, T2: 1, PP: 1, PV: 2, FI: BigInt(PAGE) })
    rig.iommu.pageRequest(request({ pasid: 2, last: false }))
    // A stop marker
    rig.iommu.pageRequest(request({ pasid: 2, read: false }))
    expect(rig.messages.length).toBe(1)
    expect(rig.get(REG.PRS)).toBe(0)
  })

  it('are refused in other modes than scalable mode', () => {
    for (const [mode, reason] of [
      [0xc00n, 0x33],
      [0x800n, 0x30],
    ] as const) {
      const { rig } = rigWith()
      rig.set8(REG.RTADDR, BigInt(rig.root) | mode)
      rig.command(GS_RTP)
      rig.iommu.pageRequest(request())
      expect([rig.faults(), rig.messages.length]).toEqual([[reason], 1])
    }
  })

  it('get Response Failure where the unit takes none', () => {
    const { rig } = rigWith({ ecap: { PRS: 0 } })
    rig.iommu.pageRequest(request())
    expect([rig.faults(), rig.messages]).toEqual([[], [expect.objectContaining({ code: 'failure' })]])
  })

  it('make the IOTLB forget the page, so that a retry sees the new rights', () => {
    const { rig, table } = rigWith()
    table.map(PAGE, OUT, 0x2000, RW & ~0b010010)
    const write = { pasid: 1, access: 'write' } as const
    rig.dma(PAGE, { pasid: 1 })
    rig.dma(PAGE + 0x1000, { pasid: 1 })
    table.unmap(PAGE, 0x2000)
    table.map(PAGE, OUT, 0x2000, RW)
    expect(rig.reach(PAGE, write)).toBe('85h SGN.6')
    rig.iommu.pageRequest(request({ write: true }))
    expect(rig.reach(PAGE, write)).toBe(BigInt(OUT))
    expect(rig.reach(PAGE + 0x1000, write)).toBe('85h SGN.6')
  })

  it('make it forget pages of a second stage, and the whole domain of a nested one', () => {
    const rig = new Rig()
    const directory = rig.smContext(DEVICE)
    const second = rig.second()
    const nested = rig.nested()
    second.table.map(PAGE, OUT, 0x2000, RW)
    nested.inner.table.map(PAGE, OUT, 0x2000, RW)
    rig.pasid(directory, 2, { ...second.pasid, DID: 2 })
    rig.pasid(directory, 3, { ...nested.pasid, DID: 3 })
    const cached = () =>
      [2, 3].flatMap((pasid) =>
        [0, 1]
          .filter((page) => (rig.dma(PAGE + page * 4096, { pasid }) as { cached: boolean }).cached)
          .map((page) => `${pasid}.${page}`),
      )
    cached()
    expect(cached()).toEqual(['2.0', '2.1', '3.0', '3.1'])
    rig.iommu.pageRequest(request({ pasid: 2 }))
    rig.iommu.pageRequest(request({ pasid: 3 }))
    expect(cached()).toEqual(['2.1'])
  })
})
