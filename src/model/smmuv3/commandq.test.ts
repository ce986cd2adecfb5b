import { describe, expect, it } from 'vitest'
import { encode } from '../../base/layout.ts'
import {
  ATC_INV,
  CERROR_ABT,
  CERROR_ATC_INV_SYNC,
  CERROR_ILL,
  CFGI_STE,
  CMD_SYNC,
  SYNC,
  SYNC_IRQ,
  SYNC_SEV,
  TLBI_NSNH_ALL,
} from '../../format/smmuv3/commands.ts'
import { CONFIG_BYPASS } from '../../format/smmuv3/ste.ts'
import { CMDQEN, HOLE, Rig } from './rig.suite.ts'

const cons = (rig: Rig) => Number(rig.get('CMDQ_CONS') & 0xfffffn)

describe('SMMUv3 command queue', () => {
  it('consumes in order, across the end of the queue and its wrap bit', () => {
    const rig = new Rig({ cmdqLog2: 2 })
    for (let count = 1; count <= 19; count++) {
      rig.send(TLBI_NSNH_ALL)
      expect(cons(rig)).toBe(count % 8)
    }
  })

  it('works with a queue of one entry', () => {
    const rig = new Rig({ cmdqLog2: 0 })
    for (let count = 1; count <= 3; count++) {
      rig.sync()
      expect(cons(rig)).toBe(count % 2)
    }
  })

  it('consumes nothing while off, and everything when switched on', () => {
    const rig = new Rig({ cr0: 0 })
    rig.send(TLBI_NSNH_ALL)
    rig.sync()
    expect(cons(rig)).toBe(0)
    rig.set('CR0', CMDQEN)
    expect(cons(rig)).toBe(2)
  })

  it('consumes nothing while the indexes are inconsistent', () => {
    const rig = new Rig({ cmdqLog2: 2 })
    rig.set('CMDQ_PROD', 6)
    expect([cons(rig), rig.cmdqError]).toEqual([0, 0])
  })

  it('consumes by step only when deferred', () => {
    const rig = new Rig({ deferred: true })
    rig.send(TLBI_NSNH_ALL)
    rig.sync()
    expect(cons(rig)).toBe(0)
    expect([rig.smmu.step(), cons(rig)]).toEqual([true, 1])
    expect([rig.smmu.step(), cons(rig)]).toEqual([true, 2])
    expect([rig.smmu.step(), cons(rig)]).toEqual([false, 2])
  })

  it('stops at an illegal command until software acknowledges, and then fetches it again', () => {
    const rig = new Rig()
    rig.send(TLBI_NSNH_ALL)
    rig.sendRaw(Uint32Array.of(0xff, 0, 0, 0))
    rig.sync()
    expect([cons(rig), rig.cmdqError]).toEqual([1, CERROR_ILL])
    expect(rig.field({ name: 'GERROR', bits: 32, fields: { E: { kind: 'flag', msb: 0, lsb: 0, doc: '' } } }, 'E')).toBe(1)
    expect(rig.interrupts).toEqual(['gerror'])
    // What software replaced the command with is what counts.
    rig.writeWords(rig.cmdq + 16, encode(SYNC, { opcode: CMD_SYNC }))
    rig.acknowledge()
    expect([cons(rig), rig.cmdqError]).toEqual([3, 0])
    // The flag toggles back with the next error.
    rig.sendRaw(Uint32Array.of(0xff, 0, 0, 0))
    expect([rig.get('GERROR') & 1n, rig.cmdqError]).toEqual([0n, CERROR_ILL])
  })

  it('reports CERROR_ABT when nothing answers at the queue', () => {
    const rig = new Rig({ start: false })
    rig.set('CMDQ_BASE', BigInt(HOLE) | 8n)
    rig.set('CR0', CMDQEN)
    rig.set('CMDQ_PROD', 1)
    expect([cons(rig), rig.cmdqError]).toEqual([0, CERROR_ABT])
  })

  it('signals a CMD_SYNC by MSI, by wire and by event, each as asked', () => {
    const rig = new Rig()
    rig.send(SYNC, { CS: SYNC_IRQ, MSIAddress: 0x4400_0004n, MSIData: 0xdead_beef })
    expect(rig.memory.read32(0x4400_0004)).toBe(0xdead_beef)
    expect(rig.interrupts.splice(0)).toEqual(['cmd-sync'])
    rig.send(SYNC, { CS: SYNC_SEV })
    expect(rig.interrupts.splice(0)).toEqual(['sev'])
    rig.send(SYNC, { MSIAddress: 0x4400_0008n, MSIData: 1 })
    expect([rig.interrupts, rig.memory.read32(0x4400_0008)]).toEqual([[], 0])
    rig.send(SYNC, { CS: 3 })
    expect(rig.cmdqError).toBe(CERROR_ILL)
  })

  it('reports an MSI that nothing takes, and offers it to the interrupt controller first', () => {
    const taken: [bigint, number][] = []
    const rig = new Rig({ msi: (address, data) => address === 0x80a0_0040n && taken.push([address, data]) > 0 })
    rig.send(SYNC, { CS: SYNC_IRQ, MSIAddress: 0x80a0_0040n, MSIData: 7 })
    expect([taken, rig.get('GERROR')]).toEqual([[[0x80a0_0040n, 7]], 0n])
    rig.send(SYNC, { CS: SYNC_IRQ, MSIAddress: BigInt(HOLE), MSIData: 7 })
    expect(rig.get('GERROR')).toBe(1n << 4n)
    expect(rig.interrupts).toEqual(['cmd-sync', 'gerror', 'cmd-sync'])
    expect(cons(rig)).toBe(2)
  })

  it('has no SEV where IDR0 has none', () => {
    const rig = new Rig({ idr: { SEV: 0 } })
    rig.send(SYNC, { CS: SYNC_SEV })
    expect([rig.interrupts, cons(rig)]).toEqual([[], 1])
  })

  it('wakes who waits for space when a full queue has room again', () => {
    const rig = new Rig({ cmdqLog2: 1, cr0: 0 })
    rig.sync()
    rig.sync()
    rig.set('CR0', CMDQEN)
    expect([rig.interrupts, cons(rig)]).toEqual([['sev'], 2])
  })

  it('holds a CMD_SYNC until devices have completed their invalidations', () => {
    const rig = new Rig()
    rig.ste(1, { Config: CONFIG_BYPASS })
    rig.send(ATC_INV, { StreamID: 1, Size: 52 })
    rig.send(ATC_INV, { StreamID: 1, Size: 0 })
    rig.sync()
    rig.send(CFGI_STE, { StreamID: 1 })
    expect(cons(rig)).toBe(2)
    const tags = rig.messages.map((message) => (message.kind === 'invalidate' ? message.tag : -1))
    rig.smmu.invalidationComplete(tags[1]!)
    rig.smmu.invalidationComplete(99)
    expect(cons(rig)).toBe(2)
    rig.smmu.invalidationComplete(tags[0]!)
    expect(cons(rig)).toBe(4)
  })

  it('fails a CMD_SYNC whose invalidation timed out, and goes on when it is sent again', () => {
    const rig = new Rig()
    rig.send(ATC_INV, { StreamID: 1 })
    rig.send(SYNC, { CS: SYNC_IRQ })
    const [message] = rig.messages
    rig.smmu.invalidationTimeout(message!.kind === 'invalidate' ? message!.tag : -1)
    expect([cons(rig), rig.cmdqError, rig.interrupts]).toEqual([1, CERROR_ATC_INV_SYNC, ['gerror']])
    rig.acknowledge()
    expect([cons(rig), rig.cmdqError]).toEqual([2, 0])
    expect(rig.interrupts).toEqual(['gerror', 'cmd-sync'])
  })

  it('lets a handler submit commands from inside a command', () => {
    const rig = new Rig()
    rig.smmu.onMessage = (message) => {
      if (message.kind !== 'invalidate') return
      rig.send(TLBI_NSNH_ALL)
      rig.smmu.invalidationComplete(message.tag)
    }
    rig.send(ATC_INV, { StreamID: 1 })
    rig.sync()
    expect([cons(rig), rig.cmdqError]).toEqual([3, 0])
  })
})
