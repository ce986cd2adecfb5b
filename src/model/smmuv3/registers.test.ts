import { describe, expect, it } from 'vitest'
import { SYNC } from '../../format/smmuv3/commands.ts'
import { REGISTERS } from '../../format/smmuv3/registers.ts'
import { CONFIG_ABORT, CONFIG_BYPASS } from '../../format/smmuv3/ste.ts'
import { idrValues } from './idr.ts'
import { CMDQEN, EVENTQEN, Rig, SMMUEN } from './rig.suite.ts'

describe('SMMUv3 registers', () => {
  it('acknowledge CR0 and IRQ_CTRL', () => {
    const rig = new Rig({ start: false })
    rig.set('CR0', SMMUEN | CMDQEN)
    expect([rig.get('CR0'), rig.get('CR0ACK')]).toEqual([9n, 9n])
    rig.set('IRQ_CTRL', 5)
    expect([rig.get('IRQ_CTRL'), rig.get('IRQ_CTRLACK')]).toEqual([5n, 5n])
    rig.set('CR0ACK', 0)
    expect(rig.get('CR0ACK')).toBe(9n)
  })

  it('take writes to base registers only while what uses them is off', () => {
    const rig = new Rig()
    const kept = [
      'STRTAB_BASE',
      'STRTAB_BASE_CFG',
      'CMDQ_BASE',
      'CMDQ_CONS',
      'EVENTQ_BASE',
      'EVENTQ_PROD',
      'PRIQ_BASE',
      'PRIQ_PROD',
      'CR2',
    ]
    const before = kept.map((name) => rig.get(name))
    for (const name of kept) rig.set(name, 0x1000)
    expect(kept.map((name) => rig.get(name))).toEqual(before)
    rig.set('CR0', EVENTQEN | CMDQEN)
    for (const name of ['STRTAB_BASE', 'PRIQ_BASE', 'EVENTQ_BASE', 'CMDQ_BASE']) rig.set(name, 0x7777_0000)
    expect(rig.get('STRTAB_BASE')).toBe(0x7777_0000n)
    expect(rig.get('PRIQ_BASE')).toBe(0x7777_0000n)
    expect(rig.get('EVENTQ_BASE')).not.toBe(0x7777_0000n)
    expect(rig.get('CMDQ_BASE')).not.toBe(0x7777_0000n)
    rig.set('CR0', 0)
    for (const name of ['CMDQ_CONS', 'EVENTQ_PROD', 'PRIQ_PROD']) {
      rig.set(name, 3)
      expect(rig.get(name)).toBe(3n)
    }
  })

  it('keep the attributes of tables and of queues apart in CR1', () => {
    const rig = new Rig({ cr0: SMMUEN })
    rig.set('CR1', 0xfff)
    expect(rig.get('CR1')).toBe(0x3fn)
    rig.set('CR0', EVENTQEN)
    rig.set('CR1', 0xfc0)
    expect(rig.get('CR1')).toBe(0xfffn)
  })

  it('guard MSI registers by their interrupt enable', () => {
    const rig = new Rig()
    rig.set('EVENTQ_IRQ_CFG0', 0x4000_0000)
    expect(rig.get('EVENTQ_IRQ_CFG0')).toBe(0n)
    rig.set('IRQ_CTRL', 3)
    rig.set('EVENTQ_IRQ_CFG0', 0x4000_0003)
    expect(rig.get('EVENTQ_IRQ_CFG0')).toBe(0x4000_0000n)
    rig.set('GERROR_IRQ_CFG1', 7)
    expect(rig.get('GERROR_IRQ_CFG1')).toBe(0n)
  })

  it('take GBPA only with Update, which reads as done', () => {
    const rig = new Rig({ start: false })
    rig.set('GBPA', 0x0010_0000)
    expect(rig.get('GBPA')).toBe(0n)
    rig.set('GBPA', 0x8010_1000n)
    expect(rig.get('GBPA')).toBe(0x0010_1000n)
  })

  it('have no bits for what is not there', () => {
    const rig = new Rig({ idr: { ATS: 0, PRI: 0, MSI: 0, VMW: 0, Hyp: 0, ATSRECERR: 0, OAS: 2 }, start: false })
    rig.set('CR0', 0xfff)
    expect(rig.get('CR0')).toBe(BigInt(SMMUEN | EVENTQEN | CMDQEN))
    rig.set('CR0', 0)
    rig.set('CR2', 0xf)
    expect(rig.get('CR2')).toBe(2n)
    rig.set('IRQ_CTRL', 0)
    for (const name of ['PRIQ_BASE', 'PRIQ_CONS', 'EVENTQ_IRQ_CFG0', 'GERROR_IRQ_CFG1']) {
      rig.set(name, 0xffff_ffff)
      expect(rig.get(name), name).toBe(0n)
    }
    rig.set('STRTAB_BASE', 0xffff_ffff_ffff_ffffn)
    expect(rig.get('STRTAB_BASE')).toBe(0x4000_00ff_ffff_ffc0n)
  })

  it('ignore writes to read-only and unknown offsets, and read zero there', () => {
    const rig = new Rig()
    const before = rig.get('IDR0')
    rig.set('IDR0', 0)
    expect(rig.get('IDR0')).toBe(before)
    for (const offset of [0xff8, 0x2000, 0x1_0000, 0x5_0000, 0x82, -4]) {
      rig.smmu.write(offset, 4, 0xffff_ffffn)
      expect(rig.smmu.read(offset, 4), `${offset}`).toBe(0n)
    }
    expect(rig.smmu.read(0x80, 8)).toBe(BigInt(rig.strtab))
    expect(rig.smmu.read(0x84, 4)).toBe(0n)
  })

  it('come from options by the manual’s field names, and say what cannot be', () => {
    expect(idrValues({ SSIDSIZE: 0 }).get('IDR1')! & 0x7c0).toBe(0)
    expect(() => idrValues({ SIDSIZE: 64 })).toThrow(/SIDSIZE.*6 bits/)
    expect(() => idrValues({ BTM: 1 })).toThrow(/BTM.*does not have/)
    expect(() => idrValues({ TTF: 3 })).toThrow(/TTF = 3/)
    expect(() => idrValues({ HTTU: 3 })).toThrow(/HTTU = 3/)
    expect(() => idrValues({ XYZ: 1 } as never)).toThrow(/no IDR field XYZ/)
  })

  it('are taken over from a capture: enabled, and nothing set off', () => {
    const source = new Rig()
    source.ste(1, { Config: CONFIG_BYPASS })
    const saved = Object.fromEntries(REGISTERS.map(({ name }) => [`SMMU_${name}`, source.get(name)]))
    const rig = new Rig({ start: false, idr: { SSIDSIZE: 0 } })
    rig.memory.write(source.strtab, source.memory.read(source.strtab, 4096))
    // One command waits in the queue, and would be illegal.
    rig.smmu.loadRegisters({ ...saved, SMMU_CMDQ_PROD: 1n, EVENTQ_CONS: 5, 'PIDR/CIDR_fd0': 4 })
    expect(rig.reach(1, 0x42)).toBe(0x42n)
    expect(rig.smmu.features.ssidBits).toBe(20)
    expect([rig.get('CMDQ_CONS'), rig.get('GERROR'), rig.get('EVENTQ_CONS')]).toEqual([0n, 0n, 5n])
    expect(rig.interrupts).toEqual([])
  })

  it('switch translation off without stopping the command queue', () => {
    const rig = new Rig()
    rig.ste(1, { Config: CONFIG_ABORT })
    expect(rig.reach(1, 0x42)).toBe('abort')
    rig.set('CR0', CMDQEN)
    rig.send(SYNC)
    expect(rig.get('CMDQ_CONS')).toBe(1n)
    expect(rig.reach(1, 0x42)).toBe(0x42n)
  })
})
