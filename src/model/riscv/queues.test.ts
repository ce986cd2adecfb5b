import { describe, expect, it } from 'vitest'
import { encode, wordsToU64 } from '../../base/layout.ts'
import { UR } from '../../base/types.ts'
import { ATS_PRGR_PAYLOAD } from '../../format/riscv/commands.ts'
import {
  CQCSR_FENCE,
  CQCSR_ILLEGAL,
  CQCSR_TIMEOUT,
  CSR_ENABLE,
  CSR_MEMORY_FAULT,
  CSR_ON,
  CSR_OVERFLOW,
  REG,
} from '../../format/riscv/registers.ts'
import type { DeviceMessage } from '../iommu.ts'
import { capabilities, Machine, MODE } from './setup.suite.ts'

const ON = CSR_ON | CSR_ENABLE

describe('command queue', () => {
  it('runs commands in order, one a step, and stops at the tail', () => {
    const machine = new Machine().start()
    machine.iodir({})
    machine.iotinval({})
    expect([machine.reg(REG.cqh), machine.reg(REG.cqt)]).toEqual([2, 2])
    expect(machine.iommu.step()).toBe(false)
  })

  it.each([
    ['an opcode that is reserved', [5n, 0n]],
    ['a function that is reserved', [0x82n, 0n]],
    ['a reserved bit', [3n, 1n]],
    ['IOTINVAL.GVMA with PSCV', [0x1_0000_0081n, 0n]],
    ['IODIR.INVAL_DDT with a PID', [0x1003n, 0n]],
    ['IODIR.INVAL_PDT without a DID', [0x83n, 0n]],
    ['IOFENCE.C with WSI where interrupts are messages', [0x802n, 0n]],
  ])('stops at %s, until software clears cmd_ill', (_, words) => {
    const machine = new Machine().start()
    machine.command(words, [3n, 0n])
    expect([machine.reg(REG.cqh), machine.reg(REG.cqcsr)]).toEqual([0, ON | CQCSR_ILLEGAL])
    machine.memory.write64(Number((machine.iommu.read(REG.cqb, 8) >> 10n) << 12n), 3n)
    machine.memory.write64(Number((machine.iommu.read(REG.cqb, 8) >> 10n) << 12n) + 8, 0n)
    machine.set(REG.cqcsr, CSR_ENABLE | CQCSR_ILLEGAL)
    machine.run()
    expect([machine.reg(REG.cqh), machine.reg(REG.cqcsr)]).toEqual([2, ON])
  })

  it.each([
    ['NL', { NL: 1 }, { NL: 0 }],
    ['S', { S: 1, AV: 1 }, { S: 0 }],
  ] as const)('takes IOTINVAL with %s only where capabilities have it', (_, operand, without) => {
    const has = new Machine().start()
    has.iotinval(operand)
    expect(has.reg(REG.cqcsr)).toBe(ON)
    const not = new Machine({ capabilities: capabilities(without) }).start()
    not.iotinval(operand)
    expect(not.reg(REG.cqcsr)).toBe(ON | CQCSR_ILLEGAL)
  })

  it('reports commands that cannot be read, and fences whose data cannot be written', () => {
    const machine = new Machine().start()
    machine.fence({ AV: 1, ADDR: 0x1000n, DATA: 7 })
    expect([machine.reg(REG.cqh), machine.reg(REG.cqcsr)]).toEqual([0, ON | CSR_MEMORY_FAULT])
    const away = new Machine()
    away.iommu.write(REG.cqb, 8, 0x1000n << 10n)
    away.set(REG.cqcsr, 1)
    away.set(REG.cqt, 1)
    away.run()
    expect(away.reg(REG.cqcsr)).toBe(ON | CSR_MEMORY_FAULT)
  })

  it('IOFENCE.C writes its data, orders DMA and raises a wire', () => {
    const machine = new Machine({ fctl: 2 }).start(1)
    const at = machine.page()
    machine.fence({ AV: 1, ADDR: BigInt(at + 4), DATA: 0xdeadbeef, PR: 1, WSI: 1 })
    expect(machine.memory.read64(at)).toBe(0xdeadbeef_00000000n)
    expect(machine.orders).toEqual([[true, false]])
    expect(machine.reg(REG.cqcsr)).toBe(ON | 2 | CQCSR_FENCE)
    expect(machine.interrupts).toEqual(['cip'])
  })

  it('ATS.INVAL goes out with the lowest free tag; the fence waits until all are answered', () => {
    const machine = new Machine().start()
    const seen: DeviceMessage[] = []
    machine.iommu.onMessage = (message) => seen.push(message)
    machine.ats({ RID: 0x30, PV: 1, PID: 5, PAYLOAD: 0x7000n })
    machine.ats({ RID: 0x31, DSV: 1, DSEG: 2, PAYLOAD: 0x3fffn << 12n })
    expect(seen).toEqual([
      { kind: 'invalidate', device: 0x30, pasid: 5, address: 0x7000n, bytes: 4096n, tag: 0 },
      { kind: 'invalidate', device: 0x2_0031, pasid: null, address: 0x3fff000n, bytes: 4096n, tag: 1 },
    ])
    machine.fence({ PR: 1 })
    machine.iodir({})
    expect(machine.reg(REG.cqh)).toBe(2)
    machine.iommu.invalidationComplete(0)
    machine.run()
    expect(machine.reg(REG.cqh)).toBe(2)
    expect(machine.iommu.invalidationCompletion({ rid: 0x31, segment: 3 }, 2, 1)).toBe(false)
    expect(machine.iommu.invalidationCompletion({ rid: 0x31, segment: 2 }, 2, 1)).toBe(true)
    machine.run()
    expect([machine.reg(REG.cqh), machine.orders]).toEqual([4, [[true, false]]])
  })

  it('ATS.INVAL waits for a tag, and sends when one is free', () => {
    const machine = new Machine({ invalidationTags: 1 }).start()
    for (const RID of [1, 2]) machine.ats({ RID, PAYLOAD: 0x1000n })
    expect([machine.messages.length, machine.reg(REG.cqh)]).toEqual([1, 2])
    machine.iommu.invalidationComplete(0)
    machine.run()
    expect(machine.messages.map(({ rid, tag }) => [rid, tag])).toEqual([
      [1, 0],
      [2, 0],
    ])
  })

  it('counts the completions that a device announces', () => {
    const machine = new Machine().start()
    machine.ats({ RID: 1, PAYLOAD: 0x1000n })
    machine.fence()
    for (let time = 1; time <= 3; time++) {
      expect(machine.reg(REG.cqh)).toBe(1)
      machine.iommu.invalidationCompletion({ rid: 1, segment: null }, 1, 3)
      machine.run()
    }
    expect(machine.reg(REG.cqh)).toBe(2)
  })

  it('the fence tells that an invalidation timed out, once', () => {
    const machine = new Machine().start()
    machine.ats({ RID: 1, PAYLOAD: 0x1000n })
    machine.fence()
    machine.iommu.invalidationTimeout(1)
    machine.run()
    expect([machine.reg(REG.cqh), machine.reg(REG.cqcsr)]).toEqual([1, ON | CQCSR_TIMEOUT])
    machine.set(REG.cqcsr, CSR_ENABLE | CQCSR_TIMEOUT)
    machine.run()
    expect([machine.reg(REG.cqh), machine.reg(REG.cqcsr)]).toEqual([2, ON])
  })

  it('tells devices the range of an invalidation, and groups their answers', () => {
    const machine = new Machine().start()
    const seen: DeviceMessage[] = []
    machine.iommu.onMessage = (message) => seen.push(message)
    // S: the lowest clear bit of the page number gives the size.
    machine.ats({ RID: 1, PAYLOAD: 0x1234_7000n | 0x800n })
    machine.ats({ RID: 1, PAYLOAD: 0x7fff_ffff_ffff_f800n })
    expect(seen.map((message) => message.kind === 'invalidate' && [message.address, message.bytes])).toEqual([
      [0x1234_0000n, 0x10000n],
      [0n, null],
    ])
    const payload = wordsToU64(encode(ATS_PRGR_PAYLOAD, { PRGI: 0x123, ResponseCode: 1 }))[0]!
    machine.ats({ func3: 1, RID: 9, PV: 1, PID: 3, PAYLOAD: payload })
    expect(seen.at(-1)).toEqual({ kind: 'page-response', device: 9, pasid: 3, group: 0x123, code: 'invalid' })
  })
})

describe('fault queue', () => {
  it('drops records when it is full, until software clears the overflow', () => {
    const machine = new Machine()
    machine.queue(REG.fqb, REG.fqcsr, 0, 1)
    machine.dma(1, 0n)
    machine.dma(2, 0n)
    expect([machine.reg(REG.fqt), machine.reg(REG.fqcsr)]).toEqual([1, ON | 2 | CSR_OVERFLOW])
    expect(machine.interrupts).toEqual(['fip'])
    machine.set(REG.fqh, 1)
    machine.dma(3, 0n)
    expect(machine.reg(REG.fqt)).toBe(1)
    machine.set(REG.fqcsr, CSR_ENABLE | CSR_OVERFLOW)
    machine.dma(4, 0n)
    expect(machine.reg(REG.fqt)).toBe(0)
  })

  it('stops when its memory does not answer', () => {
    const machine = new Machine()
    machine.iommu.write(REG.fqb, 8, 0x1000n << 10n)
    machine.set(REG.fqcsr, 1)
    machine.dma(1, 0n)
    expect([machine.reg(REG.fqt), machine.reg(REG.fqcsr)]).toEqual([0, ON | CSR_MEMORY_FAULT])
  })

  it('writes nothing while it is off', () => {
    const machine = new Machine()
    machine.dma(1, 0n)
    expect([machine.reg(REG.fqt), machine.reg(REG.fqcsr)]).toEqual([0, 0])
  })
})

describe('page requests', () => {
  const request = {
    device: 1,
    pasid: 5,
    address: 0x7000n,
    group: 3,
    last: true,
    read: true,
    write: false,
    execute: true,
    privileged: false,
  }

  function device(tc: object = { 'tc.EN_PRI': 1, 'tc.PRPR': 1 }) {
    const machine = new Machine({ fctl: 2 }).start()
    const at = machine.queue(REG.pqb, REG.pqcsr, 0, 1)
    machine.dc(1, { 'tc.EN_ATS': 1, ...tc })
    return { machine, at }
  }

  it('are queued with PASID and payload, and raise an interrupt', () => {
    const { machine, at } = device()
    machine.iommu.pageRequest(request)
    // DID 1, EXEC, PV, PID 5; R, L, group 3 and the page.
    expect([machine.memory.read64(at), machine.memory.read64(at + 8)]).toEqual([0x0000010500005000n, 0x701dn])
    expect([machine.reg(REG.pqt), machine.interrupts, machine.messages]).toEqual([1, ['pip'], []])
  })

  it('are answered by the IOMMU: success when the queue is full', () => {
    const { machine } = device()
    machine.iommu.pageRequest(request)
    machine.iommu.pageRequest(request)
    machine.iommu.pageRequest({ ...request, last: false })
    expect(machine.messages).toEqual([{ code: 5, tag: 0, rid: 1, segment: null, process: 5, payload: 0x0001_0003_0000_0000n }])
    expect(machine.reg(REG.pqcsr) & CSR_OVERFLOW).toBe(CSR_OVERFLOW)
    expect(machine.faults()).toEqual([])
  })

  it('are answered by the IOMMU: invalid where EN_PRI is 0, with a PASID only as PRPR says, and with a fault record', () => {
    const { machine } = device({})
    machine.iommu.pageRequest(request)
    expect(machine.messages).toEqual([{ code: 5, tag: 0, rid: 1, segment: null, process: -1, payload: 0x0001_1003_0000_0000n }])
    expect(machine.faults()[0]!.slice(0, 3)).toEqual([(1n << 40n) | (9n << 34n) | (1n << 32n) | 0x5104n, 0n, 4n])
  })

  it('are answered by the IOMMU: failure, with the PASID, where no context is or the queue is off', () => {
    const { machine } = device()
    machine.set(REG.pqcsr, 0)
    machine.iommu.pageRequest(request)
    machine.iommu.pageRequest({ ...request, device: 9 })
    machine.iommu.write(REG.ddtp, 8, 0n)
    machine.iommu.pageRequest(request)
    expect(machine.messages.map(({ process, payload }) => [process, (payload >> 44n) & 15n])).toEqual([
      [5, 15n],
      [5, 15n],
      [5, 15n],
    ])
    expect(machine.faults().map(([word]) => word! & 0xfffn)).toEqual([258n, 256n])
  })

  it('are dropped without an answer when they are stop markers', () => {
    const { machine } = device({})
    machine.iommu.pageRequest({ ...request, read: false })
    expect(machine.messages).toEqual([])
  })
})

describe('interrupts', () => {
  function machine() {
    const built = new Machine()
    const at = built.page()
    // fiv = 2; its message goes to at + 4.
    built.set(REG.icvec, 0x20)
    built.iommu.write(REG.msi_cfg_tbl + 32, 8, BigInt(at + 4))
    built.set(REG.msi_cfg_tbl + 40, 0x55)
    built.queue(REG.fqb, REG.fqcsr, 3, 1)
    return { built, at }
  }

  it('are messages, once until software clears the pending bit', () => {
    const { built, at } = machine()
    built.dma(1, 0n)
    expect([built.memory.read64(at), built.reg(REG.ipsr)]).toEqual([0x55_0000_0000n, 2])
    built.memory.write64(at, 0n)
    built.dma(1, 0n)
    expect(built.memory.read64(at)).toBe(0n)
    built.set(REG.ipsr, 2)
    expect(built.reg(REG.ipsr)).toBe(0)
    built.dma(1, 0n)
    expect([built.memory.read64(at), built.interrupts]).toEqual([0x55_0000_0000n, ['fip', 'fip']])
  })

  it('wait while their vector is masked', () => {
    const { built, at } = machine()
    built.set(REG.msi_cfg_tbl + 44, 1)
    built.dma(1, 0n)
    expect([built.memory.read64(at), built.reg(REG.ipsr), built.interrupts]).toEqual([0n, 2, []])
    built.set(REG.msi_cfg_tbl + 44, 0)
    expect([built.memory.read64(at), built.interrupts]).toEqual([0x55_0000_0000n, ['fip']])
  })

  it('come again when software clears the bit and the reason is still there', () => {
    const { built } = machine()
    built.iommu.write(REG.fqcsr, 4, 0n)
    built.iommu.write(REG.fqb, 8, 0x1000n << 10n)
    built.set(REG.fqcsr, 3)
    built.dma(1, 0n)
    built.set(REG.ipsr, 2)
    expect([built.reg(REG.ipsr), built.interrupts]).toEqual([2, ['fip', 'fip']])
    built.set(REG.fqcsr, CSR_ENABLE | 2 | CSR_MEMORY_FAULT)
    built.set(REG.ipsr, 2)
    expect(built.reg(REG.ipsr)).toBe(0)
  })

  it('report a message that cannot be written: cause 273 with its address', () => {
    const { built } = machine()
    built.iommu.write(REG.msi_cfg_tbl + 32, 8, 0x1234_5678n)
    built.dma(1, 0n)
    expect(built.faults().map(([first, , iotval]) => [first! & 0xfffn, iotval])).toEqual([
      [256n, 0n],
      [273n, 0x1234_5678n],
    ])
  })

  it('are wires where fctl.WSI is 1', () => {
    const built = new Machine({ fctl: 2 })
    built.queue(REG.fqb, REG.fqcsr, 3, 1)
    built.dma(1, 0n)
    expect([built.reg(REG.ipsr), built.interrupts]).toEqual([2, ['fip']])
  })
})

describe('performance monitor', () => {
  const event = (counter: number) => REG.iohpmevt1 + counter * 8 - 8
  const count = (machine: Machine, counter: number) => machine.iommu.read(REG.iohpmctr1 + counter * 8 - 8, 8)

  it('counts requests, misses and reads of each kind of table', () => {
    const machine = new Machine().start()
    for (let counter = 1; counter <= 7; counter++)
      machine.iommu.write(event(counter), 8, BigInt([1, 4, 5, 6, 7, 8, 2][counter - 1]!))
    const second = machine.identity()
    const table = machine.table('Sv39')
    table.map(0x1000, 0x8010_0000, 0x1000, UR)
    const pdt = machine.pdt({ 4: { 'fsc.MODE': MODE.Sv39, 'fsc.PPN': BigInt(table.space.root) } })
    const dc = { 'tc.PDTV': 1, 'iohgatp.MODE': MODE.Sv39x4, 'iohgatp.PPN': BigInt(second.space.root) }
    machine.dc(1, { ...dc, 'fsc.MODE': 1, 'fsc.PPN': BigInt(pdt) })
    const all = () => [1, 2, 3, 4, 5, 6, 7].map((counter) => Number(count(machine, counter)))
    machine.dma(1, 0x1000n, { pasid: 4 })
    // 2 reads of the second stage for the PDT entry, for each of 3 first-stage entries, and for the page.
    expect(all()).toEqual([1, 1, 1, 1, 3, 10, 0])
    machine.dma(1, 0x1000n, { pasid: 4 })
    expect(all()).toEqual([2, 1, 1, 1, 3, 10, 0])
  })

  it('filters by device, by process, partially, and by the tags of the tables', () => {
    const machine = new Machine().start()
    machine.iommu.write(REG.ddtp, 8, 1n)
    const select = (counter: number, given: bigint) => machine.iommu.write(event(counter), 8, 1n | given)
    select(1, (0x30n << 36n) | (1n << 61n))
    select(2, (7n << 16n) | (1n << 60n))
    select(3, (0x3fn << 36n) | (1n << 61n) | (1n << 15n))
    select(4, 1n << 62n)
    machine.dma(0x30, 0n)
    machine.dma(0x31, 0n, { pasid: 7 })
    machine.dma(0x70, 0n)
    // DMASK: bits up to the lowest 0 are masked. IDT = 1 is not supported for requests: not counted.
    expect([1, 2, 3, 4].map((counter) => count(machine, counter))).toEqual([1n, 1n, 3n, 0n])
  })

  it('tells an overflow once, in OF, iocountovf and an interrupt', () => {
    const machine = new Machine({ counterBits: 40 }).start()
    machine.iommu.write(REG.ddtp, 8, 1n)
    machine.iommu.write(event(1), 8, 1n)
    machine.iommu.write(REG.iohpmctr1, 8, (1n << 40n) - 1n)
    machine.dma(1, 0n)
    expect([count(machine, 1), machine.reg(REG.iocountovf), machine.reg(REG.ipsr), machine.interrupts]).toEqual([
      0n,
      2,
      4,
      ['pmip'],
    ])
    machine.set(REG.ipsr, 4)
    machine.iommu.write(REG.iohpmctr1, 8, (1n << 40n) - 1n)
    machine.dma(1, 0n)
    expect([count(machine, 1), machine.reg(REG.ipsr)]).toEqual([0n, 0])
    machine.set(REG.iocountinh, 2)
    machine.dma(1, 0n)
    expect(count(machine, 1)).toBe(0n)
  })
})
