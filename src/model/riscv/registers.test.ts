import { describe, expect, it } from 'vitest'
import { UR } from '../../base/types.ts'
import { CSR_ENABLE, CSR_ON, REG, REGISTERS } from '../../format/riscv/registers.ts'
import { capabilities, Machine, MODE } from './setup.suite.ts'

const ones = (1n << 64n) - 1n

describe('registers', () => {
  it('keep only what can be written, of all ones', () => {
    const machine = new Machine({ vectorBits: 2, qosMask: 0x00030007, counters: 3, counterBits: 40, maxEvent: 8 })
    const kept = (offset: number, bytes: 4 | 8 = 8, value = ones) => {
      machine.iommu.write(offset, bytes, bytes === 4 ? value & 0xffffffffn : value)
      return machine.iommu.read(offset, bytes)
    }
    expect(kept(REG.capabilities)).toBe(machine.options().capabilities)
    expect(kept(REG.cqb)).toBe(0x003ffffffffffc1fn)
    expect(kept(REG.cqt, 4)).toBe(0xffffffffn)
    expect(kept(REG.cqh, 4)).toBe(0n)
    expect(kept(REG.fqt, 4)).toBe(0n)
    expect(kept(REG.tr_req_iova)).toBe(0xfffffffffffff000n)
    expect(kept(REG.iommu_qosid, 4)).toBe(0x00030007n)
    expect(kept(REG.icvec)).toBe(0x3333n)
    expect(kept(REG.msi_cfg_tbl)).toBe(0x00fffffffffffffcn)
    expect(kept(REG.msi_cfg_tbl + 8, 4)).toBe(0xffffffffn)
    expect(kept(REG.msi_cfg_tbl + 12, 4)).toBe(1n)
    expect(kept(REG.msi_cfg_tbl + 4 * 16)).toBe(0n)
    expect(kept(REG.iocountinh, 4)).toBe(7n)
    expect(kept(REG.iohpmcycles)).toBe((1n << 63n) | ((1n << 40n) - 1n))
    expect(kept(REG.iohpmctr1)).toBe((1n << 40n) - 1n)
    expect(kept(REG.iohpmctr1 + 16)).toBe(0n)
    // An event that is too large keeps the one before.
    expect(kept(REG.iohpmevt1, 8, 5n)).toBe(5n)
    expect(kept(REG.iohpmevt1)).toBe(ones & ~0x7ffan)
    expect(kept(1024, 4)).toBe(0n)
  })

  it('that are not there read 0 and ignore writes', () => {
    const machine = new Machine({ capabilities: capabilities({ ATS: 0, HPM: 0, DBG: 0, QOSID: 0, IGS: 1 }) })
    const optional = [
      'pqb',
      'pqh',
      'pqcsr',
      'iocountinh',
      'iohpmcycles',
      'iohpmctr1',
      'iohpmevt1',
      'tr_req_iova',
      'tr_req_ctl',
      'iommu_qosid',
    ]
    for (const { name, offset, layout } of REGISTERS) {
      if (!optional.includes(name) && !name.startsWith('msi_')) continue
      const bytes = layout.bits === 64 ? 8 : 4
      machine.iommu.write(offset, bytes, ones >> (bytes === 4 ? 32n : 0n))
      expect([name, machine.iommu.read(offset, bytes)]).toEqual([name, 0n])
    }
    machine.set(REG.icvec, 0xffff)
    expect(machine.reg(REG.icvec)).toBe(0x00ff)
  })

  it('take halves of 8-byte registers, and no access that is not aligned or spans two', () => {
    const machine = new Machine()
    machine.set(REG.fqb + 4, 0x12)
    machine.set(REG.fqb, 0x345678c3)
    expect(machine.iommu.read(REG.fqb, 8)).toBe(0x12_34567803n)
    expect(machine.reg(REG.fqb + 4)).toBe(0x12)
    expect(machine.iommu.read(REG.cqh, 8)).toBe(0n)
    machine.iommu.write(REG.cqh, 8, ones)
    expect(machine.reg(REG.cqt)).toBe(0)
    expect(machine.iommu.read(REG.fqb + 2, 4)).toBe(0n)
    expect(machine.iommu.read(REG.fqb + 4, 8)).toBe(0n)
    expect(machine.iommu.read(-8, 8)).toBe(0n)
  })

  it('ddtp keeps its value when the mode is not legal, or changes between levels without Off or Bare', () => {
    const machine = new Machine({ maxMode: 3 })
    const put = (value: bigint) => {
      machine.iommu.write(REG.ddtp, 8, value)
      return machine.iommu.read(REG.ddtp, 8)
    }
    expect(put((0x123n << 10n) | 4n)).toBe(0n)
    expect(put((0x123n << 10n) | 2n)).toBe((0x123n << 10n) | 2n)
    expect(put((0x456n << 10n) | 3n)).toBe((0x123n << 10n) | 2n)
    expect(put((0x456n << 10n) | 15n)).toBe((0x123n << 10n) | 2n)
    expect(put(1n)).toBe(1n)
    expect(put((0x456n << 10n) | 3n)).toBe((0x456n << 10n) | 3n)
  })

  it('fctl is written while the IOMMU is Off and the queues are off, where capabilities allow it', () => {
    const machine = new Machine({ gxlWritable: true })
    machine.set(REG.fctl, 0xffffffff)
    expect(machine.reg(REG.fctl)).toBe(7)
    machine.set(REG.cqcsr, 1)
    machine.set(REG.fctl, 0)
    expect(machine.reg(REG.fctl)).toBe(7)
    const fixed = new Machine({ capabilities: capabilities({ END: 0, IGS: 0 }), fctl: 1 })
    fixed.set(REG.fctl, 6)
    expect(fixed.reg(REG.fctl)).toBe(1)
  })

  it('a queue keeps its base while it is on; switching it on clears its hardware index and errors', () => {
    const machine = new Machine()
    machine.queue(REG.fqb, REG.fqcsr, 0)
    machine.dma(1, 0n)
    machine.dma(1, 0n)
    const base = machine.iommu.read(REG.fqb, 8)
    machine.iommu.write(REG.fqb, 8, 0x5000n)
    expect(machine.iommu.read(REG.fqb, 8)).toBe(base)
    machine.set(REG.fqcsr, 0)
    expect(machine.reg(REG.fqcsr)).toBe(1 << 9)
    machine.set(REG.fqcsr, CSR_ENABLE)
    expect([machine.reg(REG.fqcsr), machine.reg(REG.fqt)]).toEqual([CSR_ENABLE | CSR_ON, 0])
    machine.set(REG.fqh, 5)
    expect(machine.reg(REG.fqh)).toBe(1)
  })
})

describe('translation requests for debugging', () => {
  function machine() {
    const built = new Machine().start()
    const table = built.table('Sv39')
    table.map(0x20_0000, 0x8020_0000, 0x20_0000, UR)
    table.map(0x1000, 0x8010_0000, 0x1000, UR)
    built.dc(1, { 'fsc.MODE': MODE.Sv39, 'fsc.PPN': BigInt(table.space.root) })
    const ask = (iova: bigint, control: bigint) => {
      built.iommu.write(REG.tr_req_iova, 8, iova)
      built.iommu.write(REG.tr_req_ctl, 8, (1n << 40n) | control)
      return built.iommu.read(REG.tr_response, 8)
    }
    return { built, ask }
  }

  it('answer with the page, and with a larger range coded in the page number', () => {
    const { built, ask } = machine()
    expect(ask(0x1000n, 0b1001n)).toBe((0x80100n << 10n) | 0n)
    expect(ask(0x20_3000n, 0b1001n)).toBe((0x802ffn << 10n) | (1n << 9n))
    expect(built.iommu.read(REG.tr_req_ctl, 8)).toBe((1n << 40n) | 0b1000n)
  })

  it('answer a fault, which is recorded as an untranslated request', () => {
    const { built, ask } = machine()
    expect(ask(0x1000n, 0b0001n)).toBe(1n)
    expect(built.faults()[0]!.slice(0, 3)).toEqual([(1n << 40n) | (3n << 34n) | 15n, 0n, 0x1000n])
  })

  it('do nothing without Go', () => {
    const { built, ask } = machine()
    expect(ask(0x1000n, 0b1000n)).toBe(0n)
    expect(built.faults()).toEqual([])
  })
})
