import { describe, expect, it } from 'vitest'
import { PR, PW, UR, UW, UX } from '../../base/types.ts'
import { REG } from '../../format/riscv/registers.ts'
import { RiscvIommu } from './iommu.ts'
import { DEFAULT_OPTIONS } from './options.ts'
import { REQUEST_WRITE, RESPONSE_SUCCESS } from './request.ts'
import { capabilities, Machine, MODE } from './setup.suite.ts'

/** Device 1 has a first stage (Sv39) with a page at 0x1000 → 0x80100000, rw, user. */
function simple(options = {}) {
  const machine = new Machine(options).start()
  const table = machine.table('Sv39')
  table.map(0x1000, 0x8010_0000, 0x1000, UR | UW | PR | PW)
  machine.dc(1, { 'fsc.MODE': MODE.Sv39, 'fsc.PPN': BigInt(table.space.root), 'ta.PSCID': 5 })
  return { machine, table }
}

describe('RISC-V IOMMU: translation', () => {
  it('translates, and tells size and rights', () => {
    const { machine } = simple()
    expect(machine.iommu.translate({ device: 1, iova: 0x1abcn, access: 'read' })).toEqual({
      ok: true,
      pa: 0x8010_0abcn,
      sizeLog2: 12,
      // SUM is 0: supervisors stay out of user pages.
      rights: UR | UW,
      cached: false,
    })
    expect(machine.iommu.translate({ device: 1, iova: 0x1abcn, access: 'write' })).toMatchObject({ ok: true, cached: true })
  })

  it('reports cause, stage, level, entry and the record of a fault', () => {
    const { machine } = simple()
    const fault = machine.iommu.translate({ device: 1, iova: 0x2000n, access: 'write' })
    expect(fault).toMatchObject({
      ok: false,
      code: 15,
      name: 'Write/AMO page fault',
      stage: 1,
      level: 0,
      entry: 0n,
      response: 'abort',
    })
    expect(fault).toMatchObject({ why: 'first stage: entry not present', ipa: null })
    expect(machine.faults()).toEqual([!fault.ok && fault.record])
    expect(machine.faults()[0]).toEqual([0x0000010c0000000fn, 0n, 0x2000n, 0n])
  })

  it('is Off after reset, and lets all pass in Bare mode', () => {
    const machine = new Machine()
    expect(machine.dma(1, 0x1000n)).toBe(256)
    machine.iommu.write(REG.ddtp, 8, 1n)
    expect(machine.dma(1, 0xfedc_ba98_7654_3210n)).toBe(0xfedc_ba98_7654_3210n)
    expect(machine.iommu.translate({ device: 1, iova: 0n, access: 'read', kind: 'ats-request' })).toMatchObject({ code: 260 })
  })

  it('tells why a type of transaction is not allowed', () => {
    const { machine } = simple()
    const why = (given: Parameters<RiscvIommu['translate']>[0]) => {
      const outcome = machine.iommu.translate(given)
      return outcome.ok ? 'ok' : `${outcome.code}: ${outcome.why}`
    }
    expect(why({ device: 1, iova: 0n, access: 'read', kind: 'translated' })).toMatch(/^260: .*EN_ATS is 0 \(step 7\)/)
    expect(why({ device: 1, iova: 0n, access: 'read', pasid: 1 })).toMatch(/^260: .*PDTV is 0/)
    expect(why({ device: 64, iova: 0n, access: 'read' })).toMatch(/^260: .*device_id is wider/)
    machine.dc(2, { 'tc.PDTV': 1, 'fsc.MODE': 1, 'fsc.PPN': BigInt(machine.pdt({ 3: {} })) })
    expect(why({ device: 2, iova: 0n, access: 'read', pasid: 256 })).toMatch(/^260: .*process_id is wider/)
    expect(why({ device: 2, iova: 0n, access: 'read', pasid: 3, privileged: true })).toMatch(/^260: .*ENS is 0/)
    machine.dc(3, { 'tc.T2GPA': 1 })
    expect(why({ device: 3, iova: 0n, access: 'read' })).toBe(
      '259: EN_ATS is 0 and T2GPA is 1 ("Device-context configuration checks")',
    )
  })

  it('picks the process by PASID; without one the first stage is Bare, or process 0 where DPE is 1', () => {
    const machine = new Machine().start()
    const tables = [0x8020_0000, 0x8030_0000].map((pa) => {
      const table = machine.table('Sv48')
      table.map(0x4000, pa, 0x1000, UR | PR)
      return { 'fsc.MODE': MODE.Sv48, 'fsc.PPN': BigInt(table.space.root) }
    })
    const pdt = machine.pdt({ 0: tables[0]!, 7: { ...tables[1]!, 'ta.PSCID': 1 } })
    const dc = { 'tc.PDTV': 1, 'fsc.MODE': 1, 'fsc.PPN': BigInt(pdt) }
    machine.dc(2, dc)
    expect(machine.dma(2, 0x4008n, { pasid: 7 })).toBe(0x8030_0008n)
    expect(machine.dma(2, 0x4008n, { pasid: 0 })).toBe(0x8020_0008n)
    expect(machine.dma(2, 0x4008n)).toBe(0x4008n)
    expect(machine.dma(2, 0x4008n, { pasid: 8 })).toBe(266)
    machine.dc(3, { ...dc, 'tc.DPE': 1 })
    expect(machine.dma(3, 0x4008n)).toBe(0x8020_0008n)
    // Privilege counts only with a PASID, also where DPE gives one.
    expect(machine.dma(3, 0x4008n, { privileged: true })).toBe(0x8020_0008n)
  })

  it('lets supervisors into user pages by SUM', () => {
    const machine = new Machine().start()
    const table = machine.table('Sv39')
    table.map(0x1000, 0x8010_0000, 0x1000, UR | UX | PR)
    const context = { 'fsc.MODE': MODE.Sv39, 'fsc.PPN': BigInt(table.space.root), 'ta.ENS': 1 }
    const pdt = machine.pdt({ 1: { ...context, 'ta.PSCID': 1 }, 2: { ...context, 'ta.SUM': 1, 'ta.PSCID': 2 } })
    machine.dc(1, { 'tc.PDTV': 1, 'fsc.MODE': 1, 'fsc.PPN': BigInt(pdt) })
    const privileged = true
    for (let time = 0; time < 2; time++) {
      expect(machine.dma(1, 0x1000n, { pasid: 1 })).toBe(0x8010_0000n)
      expect(machine.dma(1, 0x1000n, { pasid: 1, privileged })).toBe(13)
      expect(machine.dma(1, 0x1000n, { pasid: 2, privileged })).toBe(0x8010_0000n)
      expect(machine.dma(1, 0x1000n, { pasid: 2, privileged, access: 'execute' })).toBe(12)
      expect(machine.dma(1, 0x1000n, { pasid: 2, access: 'execute' })).toBe(0x8010_0000n)
    }
  })

  it('goes through both stages; a refusal of the second tells the guest physical address', () => {
    const machine = new Machine().start()
    const second = machine.identity()
    const table = machine.table('Sv39')
    table.map(0x1000, 0x8010_0000, 0x1000, UR | PR)
    table.map(0x2000, 0x4000_0000, 0x1000, UR | PR)
    const dc = { 'iohgatp.MODE': MODE.Sv39x4, 'iohgatp.PPN': BigInt(second.space.root), 'iohgatp.GSCID': 3 }
    machine.dc(1, { ...dc, 'fsc.MODE': MODE.Sv39, 'fsc.PPN': BigInt(table.space.root) })
    expect(machine.dma(1, 0x1010n)).toBe(0x8010_0010n)
    expect(machine.iommu.translate({ device: 1, iova: 0x2018n, access: 'read' })).toMatchObject({
      code: 21,
      stage: 2,
      ipa: 0x4000_0018n,
      why: 'second stage: entry not present',
    })
    expect(machine.faults()[0]![3]).toBe(0x4000_0018n)
    machine.dc(2, { ...dc, 'ta.PSCID': 9, 'fsc.MODE': MODE.Sv39, 'fsc.PPN': 0x4000_0000n })
    expect(machine.dma(2, 0x1010n)).toBe(21)
    // Bit 0: an implicit access, for an entry of the first stage.
    expect(machine.faults()[1]![3]).toBe(0x4000_0001n)
  })

  it('sets A and D where it may, and faults where not', () => {
    const { machine, table } = simple()
    const leaf = table.leaf(0x1000)!
    const flags = () => Number(machine.memory.read64(leaf.pa) & 0xc0n)
    table.replaceLeaf(leaf.pa, leaf.hi, leaf.lo & ~0xc0)
    expect(machine.dma(1, 0x1000n)).toBe(13)
    machine.dc(1, { 'tc.SADE': 1, 'fsc.MODE': MODE.Sv39, 'fsc.PPN': BigInt(table.space.root) })
    machine.iodir({ DV: 1, DID: 1 })
    expect(machine.dma(1, 0x1000n)).toBe(0x8010_0000n)
    expect(flags()).toBe(0x40)
    expect(machine.dma(1, 0x1000n, { access: 'write' })).toBe(0x8010_0000n)
    expect(flags()).toBe(0xc0)
  })

  it('reports nothing to software where DTF is 1, but for what has nothing to do with the context', () => {
    const { machine } = simple()
    machine.dc(1, { 'tc.DTF': 1, 'fsc.MODE': MODE.Sv39, 'fsc.PPN': 0x8000_0000n })
    const outcome = machine.iommu.translate({ device: 1, iova: 0x1000n, access: 'read' })
    expect(outcome).toMatchObject({ code: 13, record: null })
    machine.dma(5, 0n)
    expect(machine.faults().map(([word]) => word! & 0xfffn)).toEqual([258n])
  })

  it('answers a numeric request without a bigint', () => {
    const { machine } = simple()
    expect(machine.iommu.translateFast(1, -1, 0, 0x1ff0, REQUEST_WRITE)).toBe(RESPONSE_SUCCESS)
    expect([machine.iommu.result.hi, machine.iommu.result.lo >>> 0]).toEqual([0, 0x8010_0ff0])
  })

  it('refuses what is no device_id, no process_id and no cache size', () => {
    const { machine } = simple()
    expect(() => machine.dma(1 << 24, 0n)).toThrow('device_id 16777216: an integer from 0 to 0xffffff')
    expect(() => machine.dma(1, 0n, { pasid: 1 << 20 })).toThrow('process_id 1048576: an integer from 0 to 0xfffff;')
    const caches = { devices: 3, processes: 0, translations: 0 }
    expect(() => new RiscvIommu(machine.memory, { caches })).toThrow('directory cache: 3 entries; use 0 or a power of two')
    expect(() => new RiscvIommu(machine.memory, { caches: { ...caches, devices: 0, translations: 6 } })).toThrow(
      'IOATC: 6 entries',
    )
  })
})

describe('RISC-V IOMMU: interrupt files of guests', () => {
  function guest(entry: readonly bigint[]) {
    const machine = new Machine().start()
    const second = machine.identity()
    const msi = machine.page()
    // Interrupt files: pages 0x20000 to 0x20003; number 2 is at MSI PTE 2.
    entry.forEach((word, index) => {
      machine.memory.write64(msi + 2 * 16 + index * 8, word)
    })
    machine.dc(1, {
      'tc.EN_ATS': 1,
      'iohgatp.MODE': MODE.Sv39x4,
      'iohgatp.PPN': BigInt(second.space.root),
      'msiptp.MODE': 1,
      'msiptp.PPN': BigInt(msi),
      'msi_addr_mask.mask': 3,
      'msi_addr_pattern.pattern': 0x20000,
    })
    return machine
  }

  it('are translated by the MSI page table, read and written, never executed', () => {
    const machine = guest([(0x81234n << 10n) | 7n, 0xffffn])
    expect(machine.dma(1, 0x2000_2008n, { access: 'write' })).toBe(0x8123_4008n)
    expect(machine.dma(1, 0x2000_2008n)).toBe(0x8123_4008n)
    expect(machine.iommu.result.cached).toBe(true)
    expect(machine.dma(1, 0x2000_2008n, { access: 'execute' })).toBe(1)
    expect(machine.dma(1, 0x2000_1008n, { access: 'write' })).toBe(262)
    // A GPA with the same low bits above MGPAW - 12 is no interrupt file.
    expect(machine.dma(1, 0x2000_2008n | (1n << 60n), { access: 'write' })).toBe(23)
  })

  it('in memory are told apart, and never remembered', () => {
    const machine = guest([(0x8000_0200n >> 2n) | 3n, (0x85678n << 10n) | 0x155n])
    expect(machine.dma(1, 0x2000_2000n, { access: 'write' })).toBe(0x8567_8000n)
    expect(machine.iommu.result.mrif).toBe(true)
    machine.dma(1, 0x2000_2000n, { access: 'write' })
    expect(machine.iommu.result.cached).toBe(false)
    expect(machine.iommu.translate({ device: 1, iova: 0x2000_2000n, access: 'read', kind: 'ats-request' })).toMatchObject({
      ok: true,
    })
  })

  it('report an entry that is reserved, custom or of a mode that is not there', () => {
    for (const word of [1n, 5n, 7n | 8n, 7n | (1n << 63n), 3n]) {
      const machine = guest([word, word === 3n ? 1n << 63n : 0n])
      expect(machine.dma(1, 0x2000_2000n, { access: 'write' })).toBe(263)
    }
  })
})

describe('RISC-V IOMMU: ATS', () => {
  function device(tc: object, rights = UR | UW | PR | PW) {
    const machine = new Machine().start()
    const table = machine.table('Sv39')
    table.map(0x1000, 0x8010_0000, 0x1000, rights)
    const second = machine.identity()
    const stage2 = { 'iohgatp.MODE': MODE.Sv39x4, 'iohgatp.PPN': BigInt(second.space.root) }
    machine.dc(1, { 'tc.EN_ATS': 1, ...stage2, ...tc, 'fsc.MODE': MODE.Sv39, 'fsc.PPN': BigInt(table.space.root) })
    const request = (iova: bigint, access: 'read' | 'write' | 'execute' = 'read') =>
      machine.iommu.translate({ device: 1, iova, access, kind: 'ats-request' })
    return { machine, table, request }
  }

  it('grants what the tables allow, and execute only where it was asked for', () => {
    const { request } = device({}, UR | UX | PR)
    expect(request(0x1000n)).toMatchObject({ ok: true, pa: 0x8010_0000n, rights: UR })
    expect(request(0x1000n, 'write')).toMatchObject({ ok: true, rights: UR })
    expect(request(0x1000n, 'execute')).toMatchObject({ ok: true, rights: UR | UX })
  })

  it('answers a page that is not there with no access, and without a record', () => {
    const { machine, request } = device({})
    expect(request(0x5000n)).toMatchObject({ ok: false, code: 13, response: 'no-access', record: null })
    expect(machine.faults()).toEqual([])
  })

  it('aborts what is misconfigured, and refuses what is disallowed, with a record', () => {
    const { machine, request } = device({ 'tc.EN_ATS': 0 })
    expect(request(0x1000n)).toMatchObject({ code: 260, response: 'unsupported-request' })
    machine.dc(1, { 'tc.EN_ATS': 1, 'fsc.MODE': MODE.Sv39, 'fsc.PPN': 0x7000_0000n })
    machine.iodir({ DV: 1, DID: 1 })
    expect(request(0x1000n)).toMatchObject({ code: 5, response: 'completer-abort' })
    expect(machine.faults().map(([word]) => word! & 0xfffn)).toEqual([260n, 5n])
  })

  it('sets D for a request that asks to write, and tells the stale entry no lie about it', () => {
    const { machine, table, request } = device({ 'tc.SADE': 1, 'tc.GADE': 1 })
    const leaf = table.leaf(0x1000)!
    table.replaceLeaf(leaf.pa, leaf.hi, leaf.lo & ~0x80)
    expect(request(0x1000n)).toMatchObject({ rights: UR })
    expect(machine.memory.read64(leaf.pa) & 0x80n).toBe(0n)
    expect(request(0x1000n, 'write')).toMatchObject({ rights: UR | UW })
    expect(machine.memory.read64(leaf.pa) & 0x80n).toBe(0x80n)
  })

  it('gives guest physical addresses where T2GPA is 1, and takes them back', () => {
    const { machine, request } = device({ 'tc.T2GPA': 1 })
    machine.dma(1, 0x1000n)
    for (let time = 0; time < 2; time++) {
      expect(request(0x1008n)).toMatchObject({ ok: true, pa: 0x8010_0008n, cached: false })
      const translated = { device: 1, iova: 0x8010_0008n, access: 'read', kind: 'translated' } as const
      expect(machine.iommu.translate(translated)).toMatchObject({ ok: true, pa: 0x8010_0008n })
      expect(machine.iommu.translate({ ...translated, iova: 0x4000_0000n })).toMatchObject({ code: 21 })
    }
  })

  it('lets translated requests pass where T2GPA is 0', () => {
    const { machine } = device({})
    expect(machine.iommu.translate({ device: 1, iova: 0x1234_5678n, access: 'write', kind: 'translated' })).toMatchObject({
      pa: 0x1234_5678n,
    })
  })

  it('answers out of the IOATC, stale as it may be, until software invalidates it', () => {
    const { machine, table, request } = device({})
    expect(request(0x1000n)).toMatchObject({ ok: true, cached: false })
    table.unmap(0x1000, 0x1000)
    expect(request(0x1000n)).toMatchObject({ ok: true, cached: true })
    machine.iotinval({ func3: 1, GV: 1, GSCID: 0 })
    expect(request(0x1000n)).toMatchObject({ ok: false, response: 'no-access' })
  })
})

describe('RISC-V IOMMU: explanations', () => {
  it('tell each entry that is read, and change nothing', () => {
    const machine = new Machine().start()
    const second = machine.identity()
    const table = machine.table('Sv39')
    table.map(0x1000, 0x8010_0000, 0x1000, UR | PR)
    const leaf = table.leaf(0x1000)!
    table.replaceLeaf(leaf.pa, leaf.hi, leaf.lo & ~0x40)
    const pdt = machine.pdt({ 4: { 'fsc.MODE': MODE.Sv39, 'fsc.PPN': BigInt(table.space.root) } })
    const dc = { 'tc.PDTV': 1, 'tc.SADE': 1, 'iohgatp.MODE': MODE.Sv39x4, 'iohgatp.PPN': BigInt(second.space.root) }
    machine.dc(1, { ...dc, 'fsc.MODE': 1, 'fsc.PPN': BigInt(pdt) })
    const transaction = { device: 1, pasid: 4, iova: 0x1000n, access: 'read' } as const
    const before = machine.memory.read64(leaf.pa)
    const { outcome, steps } = machine.iommu.explain(transaction)
    expect(outcome).toMatchObject({ ok: true, pa: 0x8010_0000n, cached: false })
    const text = steps.map(
      ({ structure, stage, level, decided }) => `${structure} ${stage} ${level}: ${decided.replace(/0x\w+/, '…')}`,
    )
    const gpa = ['RISC-V Sv39x4 2 2: table at …', 'RISC-V Sv39x4 2 1: page of 2 MiB at …, rwx']
    expect(text).toEqual([
      'ddtp 0 null: directory of 1 level',
      'DC 0 null: valid',
      ...gpa,
      'PC 0 null: valid',
      ...gpa,
      'RISC-V Sv39 1 2: table at guest physical …',
      ...gpa,
      'RISC-V Sv39 1 1: table at guest physical …',
      ...gpa,
      // Once more: setting A is a write.
      ...gpa,
      'RISC-V Sv39 1 0: page of 4 KiB at guest physical …, r--/---',
      ...gpa,
      'outcome 0 null: translated to …',
    ])
    expect(steps.find(({ structure }) => structure === 'DC')!.fields.find(({ name }) => name === 'tc.PDTV')).toMatchObject({
      value: 1,
    })
    expect(machine.memory.read64(leaf.pa)).toBe(before)
    expect(machine.iommu.translate(transaction)).toMatchObject({ cached: false })
    // What is remembered does not hide what the tables say.
    const again = machine.iommu.explain(transaction)
    expect(again.outcome).toMatchObject({ ok: true, cached: false })
    expect(again.steps.map(({ structure }) => structure)).toEqual(expect.arrayContaining(['DC', 'PC', 'RISC-V Sv39']))
  })

  it('of a fault leave no record behind, but show it', () => {
    const { machine } = simple()
    const { outcome, steps } = machine.iommu.explain({ device: 1, iova: 0x9000n, access: 'read' })
    expect(outcome).toMatchObject({ code: 13, record: [0x0000010800_00000dn, 0n, 0x9000n, 0n] })
    expect(steps.at(-1)!.decided).toBe('Read page fault (cause 13)')
    expect(machine.faults()).toEqual([])
  })
})

describe('RISC-V IOMMU: byte order', () => {
  it('is big for directories, queues and the second stage with fctl.BE, for the first stage with tc.SBE', () => {
    const machine = new Machine({ fctl: 1 })
    const swap = (pa: number, count: number) => {
      for (let word = 0; word < count; word++) {
        const value = machine.memory.read64(pa + word * 8)
        const bytes = BigInt.asUintN(64, value).toString(16).padStart(16, '0').match(/../g)!
        machine.memory.write64(pa + word * 8, BigInt(`0x${bytes.reverse().join('')}`))
      }
    }
    machine.start()
    const table = machine.table('Sv39')
    table.map(0x1000, 0x8010_0000, 0x1000, UR | PR)
    swap(machine.dc(1, { 'fsc.MODE': MODE.Sv39, 'fsc.PPN': BigInt(table.space.root) }), 8)
    expect(machine.dma(1, 0x1000n)).toBe(0x8010_0000n)
    machine.dma(1, 0x2000n)
    const at = Number((machine.iommu.read(REG.fqb, 8) >> 10n) << 12n)
    swap(at, 4)
    expect(machine.faults()[0]![0]).toBe(0x0000010800_00000dn)
    swap(machine.dc(2, { 'tc.SBE': 1, 'ta.PSCID': 9, 'fsc.MODE': MODE.Sv39, 'fsc.PPN': BigInt(table.space.root) }), 8)
    expect(machine.dma(2, 0x1000n)).toBe(13)
  })
})

describe('RISC-V IOMMU: options', () => {
  it('have defaults that are a whole IOMMU', () => {
    expect(DEFAULT_OPTIONS.capabilities & 0xffn).toBe(0x10n)
    expect(capabilities({ ATS: 0 })).toBe(DEFAULT_OPTIONS.capabilities & ~(1n << 25n))
  })
})
