import { describe, expect, it } from 'vitest'
import { PRI_RESP } from '../../format/smmuv3/commands.ts'
import { CONFIG_BYPASS } from '../../format/smmuv3/ste.ts'
import type { PageRequestMessage } from '../iommu.ts'
import { CMDQEN, EVENTQEN, HOLE, PRIQEN, Rig, type RigOptions, SMMUEN } from './rig.suite.ts'

const request = (given: Partial<PageRequestMessage> = {}): PageRequestMessage => ({
  device: 1,
  pasid: 5,
  address: 0x1234_5678n,
  group: 3,
  last: true,
  read: true,
  write: false,
  execute: false,
  privileged: false,
  ...given,
})

const response = (pasid: number | null, code: string, group = 3) => ({ kind: 'page-response', device: 1, pasid, group, code })

/** A queue of two entries that is full, and one more request that did not fit. */
function overflowing(options: RigOptions = {}, ppar = 1): Rig {
  const rig = new Rig({ priqLog2: 1, ...options })
  rig.ste(1, { Config: CONFIG_BYPASS, PPAR: ppar })
  rig.smmu.pageRequest(request())
  rig.smmu.pageRequest(request())
  expect(rig.messages).toEqual([])
  return rig
}

describe('SMMUv3 page requests', () => {
  it('go into the queue as they came', () => {
    const rig = new Rig()
    rig.smmu.pageRequest(request({ last: false, write: true, execute: true, privileged: true, group: 0x1ff }))
    rig.smmu.pageRequest(request({ pasid: null, execute: true, privileged: true }))
    const [first, second] = rig.pageRequests()
    expect(first).toMatchObject({ StreamID: 1, SSV: 1, SubstreamID: 5, Address: 0x1234_5000n, PRGIndex: 0x1ff })
    expect(first).toMatchObject({ R: 1, W: 1, X: 1, Priv: 1, Last: 0 })
    // Without PASID there is neither X nor Priv.
    expect(second).toMatchObject({ SSV: 0, SubstreamID: 0, X: 0, Priv: 0, Last: 1 })
    expect(rig.interrupts).toEqual(['priq'])
  })

  it('interrupt at the end of each group where PRIQ_IRQ_CFG2.LO says so', () => {
    const rig = new Rig()
    rig.set('IRQ_CTRL', 0)
    rig.set('PRIQ_IRQ_CFG2', 0x8000_0000n)
    rig.set('IRQ_CTRL', 2)
    rig.smmu.pageRequest(request({ last: false }))
    expect(rig.interrupts).toEqual([])
    rig.smmu.pageRequest(request())
    rig.smmu.pageRequest(request())
    expect(rig.interrupts).toEqual(['priq', 'priq'])
  })

  it('get the response that CMD_PRI_RESP gives', () => {
    const rig = new Rig()
    rig.send(PRI_RESP, { StreamID: 1, SSV: 1, SubstreamID: 5, PRGIndex: 3, Resp: 2 })
    rig.send(PRI_RESP, { StreamID: 1, PRGIndex: 3, Resp: 1 })
    rig.send(PRI_RESP, { StreamID: 1, PRGIndex: 3, Resp: 0 })
    expect(rig.messages).toEqual([response(5, 'success'), response(null, 'invalid'), response(null, 'failure')])
  })

  it('fail at once, without PASID, while the queue or the SMMU is off; stop markers get nothing', () => {
    for (const cr0 of [CMDQEN | EVENTQEN | PRIQEN, SMMUEN | CMDQEN]) {
      const rig = new Rig({ cr0 })
      rig.smmu.pageRequest(request({ last: false }))
      rig.smmu.pageRequest(request({ read: false }))
      // Without PASID the same bits are a request.
      rig.smmu.pageRequest(request({ read: false, pasid: null }))
      expect(rig.messages).toEqual([response(null, 'failure'), response(null, 'failure')])
      expect(rig.get('PRIQ_PROD')).toBe(0n)
    }
  })

  it('fail when the queue cannot be written, until that is acknowledged', () => {
    const rig = new Rig({ start: false })
    rig.set('PRIQ_BASE', BigInt(HOLE) | 4n)
    rig.set('CR0', SMMUEN | PRIQEN)
    rig.smmu.pageRequest(request())
    rig.smmu.pageRequest(request())
    expect([rig.messages, rig.get('GERROR'), rig.interrupts]).toEqual([
      [response(null, 'failure'), response(null, 'failure')],
      8n,
      ['gerror'],
    ])
  })

  it('on overflow: the last of a group succeeds at once, the others are lost', () => {
    const rig = overflowing()
    rig.smmu.pageRequest(request({ last: false }))
    expect([rig.messages, rig.get('PRIQ_PROD')]).toEqual([[], 0x8000_0002n])
    rig.smmu.pageRequest(request({ group: 4 }))
    rig.smmu.pageRequest(request({ pasid: null, group: 5 }))
    rig.smmu.pageRequest(request({ read: false }))
    expect(rig.messages).toEqual([response(5, 'success', 4), response(null, 'success', 5)])
  })

  it('stay shut out until the overflow is acknowledged, even when there is room', () => {
    const rig = overflowing()
    rig.smmu.pageRequest(request())
    rig.set('PRIQ_CONS', 2)
    rig.smmu.pageRequest(request())
    expect(rig.messages).toHaveLength(2)
    rig.set('PRIQ_CONS', 0x8000_0002n)
    rig.smmu.pageRequest(request({ group: 9 }))
    expect([rig.messages.length, rig.pageRequests().map((entry) => entry.PRGIndex)]).toEqual([2, [9]])
  })

  it('on overflow: STE.PPAR and IDR3.PPS say whether the response carries the PASID', () => {
    for (const [ppar, PPS, pasid] of [
      [0, 0, null],
      [1, 0, 5],
      [0, 1, 5],
    ] as const) {
      const rig = overflowing({ idr: { PPS } }, ppar)
      rig.smmu.pageRequest(request())
      expect(rig.messages).toEqual([response(pasid, 'success')])
    }
  })

  it('on overflow without a readable STE: failure, and an event where CR2.REC_CFG_ATS asks for one', () => {
    for (const cr2 of [2, 10]) {
      const rig = new Rig({ priqLog2: 0, cr2 })
      rig.smmu.pageRequest(request())
      rig.smmu.pageRequest(request())
      expect(rig.messages).toEqual([response(null, 'failure')])
      expect(rig.eventNames()).toEqual(cr2 === 10 ? ['C_BAD_STE'] : [])
    }
  })

  it('on overflow with LO: interrupt for the end of a group all the same', () => {
    const rig = overflowing()
    rig.set('IRQ_CTRL', 0)
    rig.set('PRIQ_IRQ_CFG2', 0x8000_0000n)
    rig.set('IRQ_CTRL', 2)
    rig.interrupts.length = 0
    rig.smmu.pageRequest(request({ last: false }))
    expect(rig.interrupts).toEqual([])
    rig.smmu.pageRequest(request())
    expect(rig.interrupts).toEqual(['priq'])
  })

  it('have no PASID on an SMMU without substreams', () => {
    const rig = new Rig({ idr: { SSIDSIZE: 0 } })
    rig.smmu.pageRequest(request())
    expect(rig.pageRequests()[0]).toMatchObject({ SSV: 0, SubstreamID: 0 })
  })
})
