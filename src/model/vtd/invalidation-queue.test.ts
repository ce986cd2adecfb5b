/** The invalidation queue: descriptors, waits, errors, device-TLBs. Intel VT-d, section 6.5.2. */
import { describe, expect, it } from 'vitest'
import { encode, type Layout } from '../../base/layout.ts'
import * as dsc from '../../format/vtd/descriptors.ts'
import { GS_QIE, GS_RTP, REG } from '../../format/vtd/registers.ts'
import { DEVICE, HOLE, Rig } from './rig.suite.ts'

const FSTS_IQE = 1 << 4
const FSTS_ICE = 1 << 5
const FSTS_ITE = 1 << 6
const fsts = (rig: Rig) => rig.get(REG.FSTS)
const head = (rig: Rig) => rig.get(REG.IQH)

describe('the queue', () => {
  for (const mode of ['legacy', 'scalable'] as const)
    it(`goes round, with descriptors of ${mode === 'legacy' ? 128 : 256} bits`, () => {
      const rig = new Rig({ mode })
      const status = rig.memory.allocate(4096)
      const entries = 256
      for (let index = 0; index < entries + 3; index++)
        rig.send(dsc.INV_WAIT_DSC, { SW: 1, STDATA: index, STADDR: BigInt(status) })
      expect(rig.memory.read32(status)).toBe(entries + 2)
      expect(head(rig)).toBe(3 * (mode === 'legacy' ? 16 : 32))
      expect(head(rig)).toBe(rig.get(REG.IQT))
    })

  it('does nothing while it is off, and starts at 0 when it is switched on', () => {
    const rig = new Rig({ queue: false })
    const status = rig.memory.allocate(4096)
    rig.send(dsc.INV_WAIT_DSC, { SW: 1, STDATA: 7, STADDR: BigInt(status) })
    expect([head(rig), rig.memory.read32(status)]).toEqual([0, 0])
    rig.command(GS_QIE)
    expect([head(rig), rig.memory.read32(status)]).toEqual([32, 7])
    rig.uncommand(GS_QIE)
    expect(head(rig)).toBe(0)
  })

  it('does one descriptor for each step, where commands are deferred', () => {
    const rig = new Rig({ deferred: true })
    rig.send(dsc.INV_WAIT_DSC)
    rig.send(dsc.INV_WAIT_DSC)
    expect(head(rig)).toBe(0)
    expect([rig.iommu.step(), head(rig)]).toEqual([true, 32])
    expect([rig.iommu.step(), rig.iommu.step(), head(rig)]).toEqual([true, false, 64])
  })
})

describe('a wait descriptor', () => {
  it('raises the completion event once, until software has cleared it', () => {
    const rig = new Rig()
    rig.send(dsc.INV_WAIT_DSC, { IF: 1 })
    rig.send(dsc.INV_WAIT_DSC, { IF: 1 })
    expect([rig.get(REG.ICS), rig.interrupts]).toEqual([1, ['invalidation-event']])
    rig.set(REG.ICS, 1)
    rig.set(REG.IECTL, 0x8000_0000)
    rig.send(dsc.INV_WAIT_DSC, { IF: 1, FN: 1 })
    expect([rig.get(REG.IECTL) >>> 0, rig.interrupts.length]).toEqual([0xc000_0000, 1])
    rig.set(REG.ICS, 1)
    expect(rig.get(REG.IECTL) >>> 0).toBe(0x8000_0000)
    rig.send(dsc.INV_WAIT_DSC, { IF: 1 })
    rig.set(REG.IECTL, 0)
    expect(rig.interrupts.length).toBe(2)
  })

  it('writes nothing where no memory answers, and goes on', () => {
    const rig = new Rig()
    rig.send(dsc.INV_WAIT_DSC, { SW: 1, STADDR: BigInt(HOLE) })
    expect([fsts(rig), head(rig)]).toEqual([0, 32])
  })

  it('waits for the device-TLB invalidations before it, and holds those behind it', () => {
    const rig = new Rig()
    const status = rig.memory.allocate(4096)
    rig.send(dsc.DEV_TLB_INV_DSC, { SID: 5 })
    rig.send(dsc.P_DEV_TLB_INV_DSC, { SID: 6, PASID: 9 })
    rig.send(dsc.INV_WAIT_DSC, { SW: 1, STDATA: 1, STADDR: BigInt(status) })
    rig.send(dsc.INV_WAIT_DSC, { SW: 1, STDATA: 2, STADDR: BigInt(status) })
    expect([rig.messages.length, head(rig), rig.memory.read32(status)]).toEqual([2, 64, 0])
    rig.iommu.invalidationComplete(0)
    expect(rig.memory.read32(status)).toBe(0)
    rig.iommu.invalidationComplete(1)
    expect([rig.memory.read32(status), head(rig)]).toEqual([2, 128])
  })
})

describe('device-TLB invalidations', () => {
  it('tell devices which addresses, with PASID or without, all PASIDs or one', () => {
    const rig = new Rig()
    rig.send(dsc.DEV_TLB_INV_DSC, { SID: 0x123, ADDR: 0x5000n })
    rig.send(dsc.DEV_TLB_INV_DSC, { SID: 0x123, ADDR: 0x7fff_ffff_ffff_f000n, S: 1 })
    rig.send(dsc.P_DEV_TLB_INV_DSC, { SID: 0x123, PASID: 7, ADDR: 0x1f000n, S: 1 })
    rig.send(dsc.P_DEV_TLB_INV_DSC, { SID: 0x123, PASID: 7, G: 1, ADDR: 0x2000n, S: 1 })
    expect(rig.messages).toEqual([
      { kind: 'invalidate', device: 0x123, pasid: null, address: 0x5000n, bytes: 0x1000n, tag: 0 },
      { kind: 'invalidate', device: 0x123, pasid: null, address: 0n, bytes: null, tag: 1 },
      { kind: 'invalidate', device: 0x123, pasid: 7, address: 0n, bytes: 0x40000n, tag: 2 },
      { kind: 'invalidate', device: 0x123, pasid: null, address: 0x2000n, bytes: 0x2000n, tag: 3 },
    ])
  })

  it('wait for a free ITag', () => {
    const rig = new Rig({ invalidationTags: 2 })
    for (let count = 0; count < 3; count++) rig.send(dsc.DEV_TLB_INV_DSC, { SID: 5 })
    expect([rig.messages.length, head(rig)]).toEqual([2, 64])
    rig.iommu.invalidationComplete(1)
    expect([rig.messages.length, head(rig)]).toEqual([3, 96])
    expect(rig.messages[2]).toMatchObject({ tag: 1 })
  })

  it('are done at once where no device is there to answer', () => {
    const rig = new Rig()
    rig.iommu.onMessage = null
    rig.send(dsc.DEV_TLB_INV_DSC, { SID: 5 })
    rig.send(dsc.INV_WAIT_DSC, { IF: 1 })
    expect([head(rig), rig.get(REG.ICS)]).toEqual([64, 1])
  })

  it('report a completion that nobody expects (ICE), and go on', () => {
    const rig = new Rig()
    rig.iommu.invalidationComplete(4)
    expect([fsts(rig), rig.interrupts]).toEqual([FSTS_ICE, ['fault-event']])
    rig.send(dsc.INV_WAIT_DSC)
    expect(head(rig)).toBe(32)
    rig.set(REG.FSTS, FSTS_ICE)
    expect(fsts(rig)).toBe(0)
  })

  it('stop the queue when one times out (ITE), until software clears that', () => {
    const rig = new Rig()
    const status = rig.memory.allocate(4096)
    rig.send(dsc.DEV_TLB_INV_DSC, { SID: 0x321 })
    rig.send(dsc.INV_WAIT_DSC, { SW: 1, STDATA: 1, STADDR: BigInt(status) })
    rig.iommu.invalidationTimeout(0)
    expect([fsts(rig), rig.get(REG.IQERCD + 4), head(rig), rig.memory.read32(status)]).toEqual([FSTS_ITE, 0x321, 32, 0])
    rig.iommu.invalidationTimeout(0)
    rig.set(REG.FSTS, FSTS_ITE)
    expect([fsts(rig), head(rig)]).toEqual([0, 64])
  })
})

describe('errors of the queue', () => {
  /** Sends words, expects the error, corrects it by a harmless descriptor, and expects the queue to go on. */
  const refuses = (rig: Rig, info: number) => {
    expect([fsts(rig) & FSTS_IQE, rig.queueError, head(rig)]).toEqual([FSTS_IQE, info, 0])
    expect(rig.interrupts).toEqual(['fault-event'])
    rig.set(REG.IQT, rig.get(REG.IQT))
    expect(head(rig)).toBe(0)
  }
  const sent = (layout: Layout, values: object, options = {}) => {
    const rig = new Rig(options)
    rig.send(layout, values as never)
    return rig
  }

  it('stop it at the descriptor that is wrong, until software has corrected and cleared that', () => {
    const rig = new Rig()
    rig.sendWords(Uint32Array.of(0xe))
    refuses(rig, 3)
    rig.memory.write32(rig.queue, dsc.TYPE_WAIT)
    rig.set(REG.FSTS, FSTS_IQE)
    expect([fsts(rig), head(rig)]).toEqual([0, 32])
  })

  it('1: the tail lies outside the queue', () => {
    const rig = new Rig({ mode: 'legacy' })
    rig.set(REG.IQT, 0x2000)
    refuses(rig, 1)
  })

  it('2: the descriptor cannot be fetched', () => {
    const rig = new Rig({ queue: false })
    rig.set8(REG.IQA, BigInt(HOLE) | 0x800n)
    rig.command(GS_QIE)
    rig.set(REG.IQT, 32)
    refuses(rig, 2)
  })

  it('3: there is no such descriptor, in this mode or with these capabilities', () => {
    refuses(sent(dsc.PC_INV_DSC, { G: 3 }, { mode: 'legacy' }), 3)
    refuses(sent(dsc.P_IOTLB_INV_DSC, { G: 2 }, { mode: 'legacy' }), 3)
    refuses(sent(dsc.PAGE_GRP_RESP_DSC, {}, { mode: 'legacy' }), 3)
    refuses(sent(dsc.PAGE_GRP_RESP_DSC, {}, { ecap: { PRS: 0 } }), 3)
    refuses(sent(dsc.DEV_TLB_INV_DSC, {}, { ecap: { DT: 0, PRS: 0 } }), 3)
    refuses(sent(dsc.P_DEV_TLB_INV_DSC, {}, { ecap: { DT: 0, PRS: 0 } }), 3)
    refuses(sent(dsc.IEC_INV_DSC, {}, { ecap: { IR: 0 } }), 3)
    // The type has seven bits in two places
    refuses(sent(dsc.INV_WAIT_DSC, { TYPE_HIGH: 1 }), 3)
  })

  it('4: reserved bits, also those above a descriptor of 128 bits, and those of capabilities that it lacks', () => {
    for (const layout of Object.values(dsc.DESCRIPTORS)) {
      const type = Number(Object.entries(dsc.DESCRIPTORS).find(([, each]) => each === layout)![0])
      const words = new Uint32Array(8)
      words.set(encode(layout, { TYPE: type } as never))
      words[7] = 1
      const rig = new Rig()
      rig.sendWords(words)
      refuses(rig, 4)
    }
    refuses(sent(dsc.INV_WAIT_DSC, { PD: 1 }, { ecap: { PDS: 0 } }), 4)
    refuses(sent(dsc.DEV_TLB_INV_DSC, { PFSID_LOW: 1 }, { ecap: { DIT: 0 } }), 4)
    refuses(sent(dsc.P_DEV_TLB_INV_DSC, { PFSID_HIGH: 1 }, { ecap: { DIT: 0 } }), 4)
  })

  it('4: granularities that are reserved, masks that are too large', () => {
    refuses(sent(dsc.CC_INV_DSC, { G: 0 }), 4)
    refuses(sent(dsc.PC_INV_DSC, { G: 2 }), 4)
    refuses(sent(dsc.IOTLB_INV_DSC, { G: 0 }), 4)
    refuses(sent(dsc.IOTLB_INV_DSC, { G: 3 }, { cap: { PSI: 0 } }), 4)
    refuses(sent(dsc.IOTLB_INV_DSC, { G: 3, AM: 19 }), 4)
    refuses(sent(dsc.P_IOTLB_INV_DSC, { G: 1 }), 4)
    refuses(sent(dsc.P_IOTLB_INV_DSC, { G: 3, AM: 19 }), 4)
    refuses(sent(dsc.IEC_INV_DSC, { G: 1, IM: 5 }, { ecap: { MHMV: 4 } }), 4)
  })

  it('5: descriptors of a width that the mode does not have', () => {
    const narrow = new Rig({ queue: false })
    narrow.set8(REG.IQA, BigInt(narrow.queue))
    narrow.command(GS_QIE)
    narrow.set(REG.IQT, 16)
    refuses(narrow, 5)
    const wide = new Rig({ mode: 'legacy', queue: false, ecap: { SMTS: 0, ADMS: 0 } })
    wide.set8(REG.IQA, BigInt(wide.queue) | 0x800n)
    wide.command(GS_QIE)
    wide.set(REG.IQT, 32)
    refuses(wide, 5)
  })

  it('6: the tail is not aligned to descriptors', () => {
    const rig = new Rig()
    rig.set(REG.IQT, 16)
    refuses(rig, 6)
  })

  it('7: RTADDR has a mode that there is not', () => {
    const rig = new Rig()
    rig.set8(REG.RTADDR, BigInt(rig.root) | 0x800n)
    rig.command(GS_RTP)
    rig.send(dsc.INV_WAIT_DSC)
    refuses(rig, 7)
  })
})

it('sends page group responses, with PASID or without', () => {
  const rig = new Rig()
  rig.send(dsc.PAGE_GRP_RESP_DSC, { RID: DEVICE, PRGI: 0x1ff, RC: 0 })
  rig.send(dsc.PAGE_GRP_RESP_DSC, { RID: DEVICE, PRGI: 2, RC: 1, PP: 1, PASID: 0xfffff, LPIG: 1 })
  rig.send(dsc.PAGE_GRP_RESP_DSC, { RID: DEVICE, PRGI: 3, RC: 15, PASID: 5 })
  expect(rig.messages).toEqual([
    { kind: 'page-response', device: DEVICE, pasid: null, group: 0x1ff, code: 'success' },
    { kind: 'page-response', device: DEVICE, pasid: 0xfffff, group: 2, code: 'invalid' },
    { kind: 'page-response', device: DEVICE, pasid: null, group: 3, code: 'failure' },
  ])
})
