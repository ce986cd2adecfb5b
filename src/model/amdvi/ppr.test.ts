import { describe, expect, it } from 'vitest'
import { REG } from '../../format/amdvi/registers.ts'
import type { PageRequestMessage } from '../iommu.ts'
import { DEVICE, PASID, Rig } from './rig.suite.ts'

function ask(rig: Rig, given: Partial<PageRequestMessage> = {}): void {
  const access = { read: true, write: false, execute: false, privileged: false }
  rig.iommu.pageRequest({ device: DEVICE, pasid: PASID, address: 0x4000_0000n, group: 3, last: true, ...access, ...given })
}

function ready(control = {}, fields = {}): Rig {
  const rig = new Rig({}, control)
  rig.withPasid({ PPR: 1, ...fields })
  return rig
}

describe('AMD-Vi page requests', () => {
  it('logs them bit by bit, with an interrupt', () => {
    const rig = ready()
    ask(rig)
    ask(rig, {
      pasid: 0xabcde,
      group: 0x1ff,
      last: false,
      write: true,
      execute: true,
      privileged: true,
      address: 0xffff_8000_0000_0000n,
    })
    ask(rig, { pasid: null })
    expect(rig.requests()).toEqual([
      [0x1144_0203_0005_0030n, 0x4000_0000n],
      [0x1126_29ff_bcde_0030n, 0xffff_8000_0000_0000n],
      [0x1044_0203_0000_0030n, 0x4000_0000n],
    ])
    expect(rig.interrupts).toEqual(['PPRInt'])
    expect(rig.messages).toEqual([])
  })

  it('loses what does not fit, until software clears the overflow', () => {
    const rig = ready()
    for (let each = 0; each < 255; each++) ask(rig)
    expect(rig.get(REG.STATUS) & 0xe0).toBe(0xc0)
    ask(rig)
    expect(rig.get(REG.STATUS) & 0xe0).toBe(0x60)
    expect(rig.requests()).toHaveLength(255)
    ask(rig)
    expect(rig.requests()).toHaveLength(0)
    rig.set(REG.STATUS, 0x60)
    ask(rig)
    expect(rig.requests()).toHaveLength(1)
    expect(rig.messages).toEqual([])
  })

  it('answers itself what does not fit, where PprAutoRspEn says so', () => {
    const rig = ready({ PprAutoRspEn: 1, PPRLogEn: 0 }, { GPRP: 1 })
    rig.set(REG.PPR_LOG_AUTO_RSP, 1)
    ask(rig, { last: false })
    ask(rig)
    rig.set(REG.PPR_LOG_AUTO_RSP, 0x10)
    ask(rig)
    expect(rig.messages).toEqual([
      { kind: 'page-response', device: DEVICE, pasid: PASID, group: 3, code: 'invalid' },
      { kind: 'page-response', device: DEVICE, pasid: null, group: 3, code: 'success' },
    ])
  })

  it('answers all of them itself with PprAutoRspAon', () => {
    const rig = ready({ PprAutoRspAon: 1 })
    rig.set(REG.PPR_LOG_AUTO_RSP, 15)
    ask(rig)
    expect(rig.messages).toMatchObject([{ code: 'failure', pasid: null }])
    expect(rig.requests()).toEqual([])
  })

  it('does not answer stop markers, and keeps them from the log where told so', () => {
    const marker = { read: false, write: false, last: true }
    const rig = ready()
    ask(rig, marker)
    expect(rig.requests()).toHaveLength(1)
    rig.control({ BlkStopMrkEn: 1 })
    ask(rig, marker)
    expect(rig.requests()).toHaveLength(0)
    rig.control({ PPREn: 0 })
    ask(rig, marker)
    expect(rig.messages).toEqual([])
  })

  it('answers with a failure while page requests are off', () => {
    const rig = ready({ PPREn: 0 })
    ask(rig)
    expect(rig.messages).toMatchObject([{ code: 'failure' }])
    expect(rig.logged()).toEqual([])
  })

  it.each([
    ['without ATS', { I: 0 }, {}, 'failure'],
    ['without PPR, with enhanced handling', { PPR: 0 }, { EPHEn: 1 }, 'failure'],
    ['with a PASID, and without guest tables', { GV: 0 }, {}, 'invalid'],
  ])('refuses those of devices %s', (_what, fields, control, code) => {
    const rig = ready(control, fields)
    ask(rig, { last: false })
    ask(rig)
    expect(rig.messages).toMatchObject([{ code }])
    expect(rig.logged()).toMatchObject([{ event: 'INVALID_PPR_REQUEST', PPRTag: 3 }, { PPRTag: 0x203 }])
    expect(rig.requests()).toEqual([])
  })

  it('refuses those of devices without a legal entry as other requests', () => {
    const rig = ready()
    ask(rig, { device: 0x300 })
    expect(rig.messages).toMatchObject([{ code: 'failure', device: 0x300 }])
    expect(rig.logged()).toMatchObject([{ event: 'IO_PAGE_FAULT', DeviceID: 0x300 }])
  })
})
