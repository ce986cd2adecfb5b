import { describe, expect, it } from 'vitest'
import { PR, PW, UR, UX } from '../../base/types.ts'
import { CMDQEN, EVENTQEN, HOLE, Rig, SMMUEN } from './rig.suite.ts'

/** Leaves an event: C_BAD_STE of this stream. */
const provoke = (rig: Rig, sid = 1) => rig.reach(sid, 0)

describe('SMMUv3 event queue', () => {
  it('interrupts when it is no longer empty, and only then', () => {
    const rig = new Rig()
    provoke(rig)
    provoke(rig)
    expect(rig.interrupts.splice(0)).toEqual(['eventq'])
    rig.events()
    provoke(rig)
    expect(rig.interrupts).toEqual(['eventq'])
  })

  it('shows the entry before it interrupts, and lets the handler read it out', () => {
    const rig = new Rig()
    const seen: string[][] = []
    rig.smmu.onInterrupt = () => seen.push(rig.eventNames())
    provoke(rig)
    provoke(rig)
    expect(seen).toEqual([['C_BAD_STE'], ['C_BAD_STE']])
  })

  it('does not interrupt while it is not enabled in IRQ_CTRL', () => {
    const rig = new Rig()
    rig.set('IRQ_CTRL', 0)
    provoke(rig)
    rig.set('IRQ_CTRL', 7)
    expect([rig.interrupts, rig.eventNames()]).toEqual([[], ['C_BAD_STE']])
  })

  it('sends an MSI where one is configured', () => {
    const rig = new Rig()
    rig.set('IRQ_CTRL', 0)
    rig.set('EVENTQ_IRQ_CFG0', 0x4400_0000)
    rig.set('EVENTQ_IRQ_CFG1', 0x1234)
    rig.set('IRQ_CTRL', 4)
    provoke(rig)
    expect([rig.memory.read32(0x4400_0000), rig.interrupts]).toEqual([0x1234, ['eventq']])
  })

  it('reports MSIs that abort, but not one about the GERROR interrupt itself', () => {
    const rig = new Rig()
    rig.set('IRQ_CTRL', 0)
    rig.set('EVENTQ_IRQ_CFG0', HOLE)
    rig.set('GERROR_IRQ_CFG0', HOLE)
    rig.set('IRQ_CTRL', 7)
    provoke(rig)
    expect(rig.get('GERROR')).toBe((1n << 5n) | (1n << 7n))
    expect(rig.interrupts).toEqual(['eventq', 'gerror'])
  })

  it('loses events when it is full, and says so once until that is acknowledged', () => {
    const rig = new Rig({ eventqLog2: 1 })
    for (let count = 0; count < 4; count++) provoke(rig)
    expect(rig.get('EVENTQ_PROD')).toBe(0x8000_0002n)
    // Room again, but the overflow is not acknowledged: events come in all the same (7.4).
    rig.set('EVENTQ_CONS', 1)
    provoke(rig)
    expect(rig.get('EVENTQ_PROD')).toBe(0x8000_0003n)
    provoke(rig)
    expect(rig.get('EVENTQ_PROD')).toBe(0x8000_0003n)
    expect(rig.eventNames()).toEqual(['C_BAD_STE', 'C_BAD_STE'])
    for (let count = 0; count < 3; count++) provoke(rig)
    // The flag toggles with the next overflow.
    expect(rig.get('EVENTQ_PROD')).toBe(0x0000_0001n)
  })

  it('drops events while it is off, without an overflow', () => {
    const rig = new Rig({ cr0: SMMUEN | CMDQEN })
    provoke(rig)
    expect(rig.get('EVENTQ_PROD')).toBe(0n)
    rig.set('CR0', SMMUEN | EVENTQEN)
    expect(rig.eventNames()).toEqual([])
  })

  it('stops at an abort until it is acknowledged, with PROD where it was', () => {
    const rig = new Rig({ start: false })
    rig.set('EVENTQ_BASE', BigInt(HOLE) | 4n)
    rig.set('CR0', SMMUEN | EVENTQEN)
    provoke(rig)
    expect([rig.get('GERROR'), rig.get('EVENTQ_PROD'), rig.interrupts]).toEqual([4n, 0n, ['gerror']])
    provoke(rig)
    expect(rig.get('GERROR')).toBe(4n)
    rig.acknowledge()
    provoke(rig)
    expect(rig.get('GERROR')).toBe(0n)
    expect(rig.interrupts).toEqual(['gerror', 'gerror'])
  })

  it('is no larger than IDR1 says, whatever LOG2SIZE', () => {
    const rig = new Rig({ idr: { EVENTQS: 2 }, eventqLog2: 7 })
    for (let count = 0; count < 5; count++) provoke(rig)
    expect(rig.get('EVENTQ_PROD')).toBe(0x8000_0004n)
  })

  it('holds no hints while SMMUEN is 0', () => {
    const rig = new Rig({ cr0: EVENTQEN })
    const hint = { device: 3, pasid: 9, address: 0x1000n, pages: 1, rights: UR }
    rig.smmu.pageHint(hint)
    expect(rig.eventNames()).toEqual([])
    rig.set('CR0', SMMUEN | EVENTQEN)
    rig.smmu.pageHint(hint)
    expect(rig.eventNames()).toEqual(['E_PAGE_REQUEST'])
  })

  it('holds hints of pages that a device will use', () => {
    const rig = new Rig()
    rig.smmu.pageHint({ device: 3, pasid: 9, address: 0x1234_5678n, pages: 2, rights: UR | UX | PR | PW })
    const [event] = rig.events()
    expect(event!.record.name).toBe('E_PAGE_REQUEST')
    expect(event!.fields).toMatchObject({ StreamID: 3, SSV: 1, SubstreamID: 9, Span: 2, InputAddr: 0x1234_5000n })
    expect(event!.fields).toMatchObject({ uR: 1, uW: 0, uX: 1, pR: 1, pW: 1, pX: 0 })
  })
})
