import { existsSync } from 'node:fs'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encode } from '../base/layout.ts'
import { ALL_RIGHTS, PR, PW, UR, UW, UX } from '../base/types.ts'
import { EVENT_C_BAD_STREAMID, EVENT_F_PERMISSION, F_PERMISSION } from '../format/smmuv3/events.ts'
import { EVENTQ_BASE } from '../format/smmuv3/registers.ts'
import { PhysicalMemory } from '../memory/physical.ts'
import { openCapture } from '../node/capture.ts'
import { INSPECTORS } from './registry.ts'
import { PLAIN_CD, RAM, TestMachine } from './smmuv3.suite.ts'
import { inspectSmmuV3 } from './smmuv3.ts'
import { defaultBudget } from './space.ts'

const RW = UR | UW | PR | PW

/** One device whose only CD maps two pages. */
function oneDevice(log2 = 0) {
  const machine = new TestMachine()
  machine.streamTable(4)
  const cds = machine.cdTable(log2)
  const s1 = machine.stage1({ ...PLAIN_CD, ASID: 7 })
  s1.table.map(0x10000, 0x8000_0000, 0x2000, RW)
  cds.cd(0, s1.values)
  machine.ste(2, cds.ste)
  return { machine, cds, s1 }
}

describe('an SMMUv3 machine as a graph', () => {
  it('is registered under the name that captures use', () => {
    expect(INSPECTORS.get('smmuv3')).toBe(inspectSmmuV3)
  })

  it('leads from the device over its CD table to coalesced ranges', () => {
    const { machine, cds, s1 } = oneDevice()
    s1.table.map(0x12000, 0x8000_2000, 0x1000, UR | PR)
    s1.table.map(0x20_0000, 0x4000_0000, 0x20_0000, RW)
    s1.table.map(0x40_0000, 0x4020_0000, 0x1000, RW)
    const graph = inspectSmmuV3(machine.source())
    expect(graph.enabled).toBe(true)
    expect(graph.deviceTable).toMatchObject({ layout: 'linear', entries: 16 })
    expect(graph.devices).toMatchObject([
      { id: 2, name: '0x2', state: 'tables', pasidTable: graph.pasidTables[0]!.id, space: null },
    ])
    expect(graph.pasidTables).toMatchObject([
      { address: BigInt(cds.address), layout: 'linear', capacity: 1, withoutPasid: 'entry 0' },
    ])
    expect(graph.pasidTables[0]!.entries).toMatchObject([{ pasid: 0, state: 'valid', space: graph.spaces[0]!.id }])
    const space = graph.spaces[0]!
    expect(space).toMatchObject({
      root: BigInt(s1.root),
      role: 'io_pgtable',
      stage: 1,
      inputBits: 48,
      levels: 4,
      tags: ['ASID 7'],
    })
    expect(space.ranges).toEqual([
      { start: 0x10000n, end: 0x12000n, output: 0x8000_0000n, rights: expect.any(Number), leaves: new Map([[12, 2]]) },
      { start: 0x12000n, end: 0x13000n, output: 0x8000_2000n, rights: expect.any(Number), leaves: new Map([[12, 1]]) },
      // A block and the page after it map on in a row.
      {
        start: 0x20_0000n,
        end: 0x40_1000n,
        output: 0x4000_0000n,
        rights: expect.any(Number),
        leaves: new Map([
          [21, 1],
          [12, 1],
        ]),
      },
    ])
    expect(space.ranges.map(({ rights }) => rights & (UR | UW))).toEqual([UR | UW, UR, UR | UW])
    expect(space).toMatchObject({ leafCount: 5, mappedBytes: 0x20_4000n, complete: true })
    expect(graph.findings).toEqual([])
    expect(graph.rest).toEqual([])
  })

  it('finds every device and CD, in every form of the tables', () => {
    const forms = fc.record({
      twoLevel: fc.boolean(),
      split: fc.constantFrom(6, 8, 10),
      form: fc.constantFrom<'linear' | '4K' | '64K'>('linear', '4K', '64K'),
      log2: fc.integer({ min: 1, max: 12 }),
      sids: fc.uniqueArray(fc.nat(2 ** 12 - 1), { minLength: 1, maxLength: 5 }),
      pasids: fc.uniqueArray(fc.nat(2 ** 12 - 1), { minLength: 1, maxLength: 8 }),
    })
    fc.assert(
      fc.property(forms, ({ twoLevel, split, form, log2, sids, pasids }) => {
        const machine = new TestMachine()
        machine.streamTable(12, twoLevel, split)
        const cds = machine.cdTable(log2, form)
        const s1 = machine.stage1()
        const used = pasids.filter((pasid) => pasid < 2 ** log2)
        for (const pasid of used) cds.cd(pasid, { ...s1.values, ASID: pasid })
        for (const sid of sids) machine.ste(sid, cds.ste)
        const graph = inspectSmmuV3(machine.source())
        expect(graph.devices.map(({ id }) => id)).toEqual([...sids].sort((a, b) => a - b))
        expect(graph.devices.map(({ state }) => state)).toEqual(sids.map(() => 'tables'))
        expect(graph.pasidTables.length).toBe(1)
        expect(graph.pasidTables[0]!.capacity).toBe(2 ** log2)
        expect(graph.pasidTables[0]!.entries.map(({ pasid }) => pasid)).toEqual([...used].sort((a, b) => a - b))
        expect(graph.spaces.length).toBe(used.length === 0 ? 0 : 1)
        expect(graph.findings).toEqual([])
      }),
      { numRuns: 40 },
    )
  })

  it('shows a page table once that two CD tables lead to, with the tags of both', () => {
    const { machine, s1 } = oneDevice(2)
    const shared = machine.stage1({ ...PLAIN_CD, ASET: 0 })
    const other = machine.cdTable(2)
    other.cd(0, machine.stage1().values)
    other.cd(3, { ...shared.values, ASID: 9 })
    machine.ste(5, other.ste)
    const again = machine.cdTable(2)
    again.cd(0, s1.values)
    again.cd(1, { ...shared.values, ASID: 8 })
    machine.ste(6, again.ste)
    const graph = inspectSmmuV3(machine.source())
    const [first, second, third] = graph.pasidTables
    expect(second!.entries[1]!.space).toBe(third!.entries[1]!.space)
    expect(first!.entries[0]!.space).toBe(third!.entries[0]!.space)
    expect(graph.spaces.length).toBe(3)
    expect(graph.spaces.find(({ id }) => id === second!.entries[1]!.space)).toMatchObject({
      role: 'io_mm',
      tags: ['ASID 8', 'ASID 9'],
      label: 'SubstreamID 3 of 0x5 and 0x6',
    })
  })

  it('takes names of devices, domains and spaces where they are given', () => {
    const { machine } = oneDevice(2)
    const cds = machine.cdTable(2)
    cds.cd(0, machine.stage1().values)
    const process = machine.stage1()
    cds.cd(1, process.values)
    const own = machine.stage1()
    cds.cd(2, own.values)
    machine.ste(3, cds.ste)
    const graph = inspectSmmuV3(
      machine.source({
        devices: new Map([
          [3, { name: 'gpu', detail: 'a GPU', domain: 'B' }],
          [4, { name: 'nic' }],
          [99, { name: 'far' }],
        ]),
        spaces: new Map([
          [BigInt(process.root), { label: 'mm X', role: 'io_mm' }],
          [BigInt(own.root), { label: 'scratch', role: 'private' }],
        ]),
      }),
    )
    expect(graph.devices).toMatchObject([
      { id: 2, name: '0x2', domain: null },
      { id: 3, name: 'gpu', detail: 'a GPU', domain: 'B', state: 'tables' },
      { id: 4, name: 'nic', state: 'none', note: 'the STE is not valid (V = 0)' },
      { id: 99, name: 'far', state: 'none', entry: null, note: expect.stringContaining('beyond STRTAB_BASE_CFG.LOG2SIZE') },
    ])
    expect(graph.pasidTables[1]!.label).toBe('domain B')
    expect(graph.spaces.slice(1).map(({ label, role }) => [label, role])).toEqual([
      ['domain B', 'io_pgtable'],
      ['mm X', 'io_mm'],
      ['scratch', 'private'],
    ])
  })

  it('tells valid from quiet from bad CDs, and says which rule is broken', () => {
    const { machine, cds } = oneDevice(3)
    cds.cd(1, { ...PLAIN_CD, EPD0: 1 })
    cds.cd(2, { ...PLAIN_CD, T0SZ: 63 })
    const graph = inspectSmmuV3(machine.source())
    expect(graph.pasidTables[0]!.entries).toMatchObject([
      { pasid: 0, state: 'valid' },
      { pasid: 1, state: 'quiet', space: null, note: expect.stringContaining('EPD0') },
      { pasid: 2, state: 'bad', space: null, note: expect.stringMatching(/^C_BAD_CD: .*T0SZ.*\(5\.4/) },
    ])
    expect(graph.findings).toMatchObject([{ severity: 'error', place: expect.stringContaining('CD 2 of 0x2 at 0x') }])
  })

  it('gives both halves where TTB1 is walked too', () => {
    const { machine, cds, s1 } = oneDevice(1)
    const upper = machine.stage1({ ...PLAIN_CD, EPD1: 0, T1SZ: 25, TG1: 2 }, 1)
    upper.table.map(0x1000, 0x9000_0000, 0x1000, RW)
    cds.cd(1, { ...s1.values, EPD1: 0, T1SZ: 25, TG1: 2, TTB1: BigInt(upper.root) })
    const graph = inspectSmmuV3(machine.source())
    const entry = graph.pasidTables[0]!.entries[1]!
    const space = graph.spaces.find(({ id }) => id === entry.upper)!
    expect(entry.space).not.toBe(entry.upper)
    expect(space).toMatchObject({ inputBits: 39, root: BigInt(upper.root) })
    expect(space.ranges).toMatchObject([{ start: 0xffff_ff80_0000_1000n, end: 0xffff_ff80_0000_2000n, output: 0x9000_0000n }])
  })

  it('reads a stage 2 without CD table', () => {
    const machine = new TestMachine()
    machine.streamTable(4)
    const s2 = machine.stage2()
    s2.table.map(0x8000_0000, 0x4000_0000, 0x20_0000, ALL_RIGHTS & ~UX)
    machine.ste(1, { V: 1, Config: 0b110, ...s2.ste, S2VMID: 5 })
    const graph = inspectSmmuV3(machine.source())
    expect(graph.pasidTables).toEqual([])
    expect(graph.devices).toMatchObject([{ id: 1, state: 'tables', pasidTable: null, space: graph.spaces[0]!.id }])
    expect(graph.spaces).toMatchObject([
      { stage: 2, role: 'io_pgtable', label: 'stage 2 of 0x1', tags: ['VMID 5'], over: null, inputBits: 40, levels: 3 },
    ])
    expect(graph.spaces[0]!.ranges).toMatchObject([{ start: 0x8000_0000n, end: 0x8020_0000n, output: 0x4000_0000n }])
  })

  it('reads CD tables and page tables of a guest through the stage 2 below', () => {
    const machine = new TestMachine()
    machine.streamTable(4)
    // The guest's memory starts at intermediate address 0 and lies at RAM.
    const s2 = machine.stage2()
    s2.table.map(0, RAM, 0x400_0000, ALL_RIGHTS)
    const cds = machine.cdTable(8, '4K')
    const s1 = machine.stage1()
    s1.table.map(0x5000, 0x123000, 0x1000, RW)
    const guest = (pa: number) => pa - RAM
    // Every pointer that the guest wrote is intermediate.
    for (const [at, mask] of [
      [cds.cd(70, { ...s1.values, TTB0: BigInt(guest(s1.root)) }), 0n],
      [cds.address + 8, 1n],
    ] as const) {
      if (mask === 1n) machine.memory.write64(at, BigInt(guest(Number(machine.memory.read64(at) & ~0xfffn))) | 1n)
    }
    for (let table = s1.root, level = 0; level < 3; level++) {
      const entry = machine.memory.read64(table)
      machine.memory.write64(table, BigInt(guest(Number(entry & ~0xfffn))) | 3n)
      table = Number(entry & 0xffff_ffff_f000n)
    }
    machine.ste(1, { ...cds.ste, ...s2.ste, Config: 0b111, S1ContextPtr: BigInt(guest(cds.address)) })
    const graph = inspectSmmuV3(machine.source())
    expect(graph.findings).toEqual([])
    const [stage2, stage1] = graph.spaces
    expect(stage2).toMatchObject({ stage: 2, over: null })
    expect(stage1).toMatchObject({ role: 'unknown', label: "guest's SubstreamID 70 of 0x1" })
    expect(stage1).toMatchObject({ stage: 1, over: stage2!.id, root: BigInt(guest(s1.root)) })
    expect(stage1!.ranges).toMatchObject([{ start: 0x5000n, end: 0x6000n, output: 0x123000n }])
    expect(graph.pasidTables[0]!.entries.map(({ pasid }) => pasid)).toEqual([70])
  })

  it('says what S1DSS does to traffic without SubstreamID', () => {
    const { machine } = oneDevice()
    const say = (S1DSS: number) => {
      const cds = machine.cdTable(3)
      machine.ste(2, { ...cds.ste, S1DSS })
      return inspectSmmuV3(machine.source()).pasidTables[0]!.withoutPasid
    }
    expect([0, 1, 2].map(say)).toEqual(['abort', 'bypass', 'entry 0'])
  })

  it('lists bypassing and bad devices when they are few, and counts what is many', () => {
    const machine = new TestMachine()
    machine.streamTable(8)
    for (let sid = 0; sid < 200; sid++) machine.ste(sid, { V: 1, Config: 0 })
    machine.ste(7, { V: 1, Config: 0b100, SHCFG: 1 })
    machine.ste(9, { V: 1, Config: 0b101, S1CDMax: 25, S1DSS: 2 })
    const few = inspectSmmuV3(machine.source())
    expect(few.devices).toMatchObject([
      { id: 7, state: 'bypass' },
      { id: 9, state: 'bad', note: expect.stringMatching(/^C_BAD_STE: .*S1CDMax/) },
    ])
    expect(few.rest).toEqual(['198 entries: abort (StreamIDs 0x0–0xc7)'])
    for (let sid = 0; sid < 200; sid++) machine.ste(sid, { V: 1, Config: 0b100, SHCFG: 1 })
    const many = inspectSmmuV3(machine.source({ devices: new Map([[3, { name: 'nic' }]]) }))
    expect(many.devices).toMatchObject([{ id: 3, name: 'nic', state: 'bypass' }])
    expect(many.rest[0]).toBe('199 entries: bypass (StreamIDs 0x0–0xc7)')
  })

  it('says that translation is off, and what that means', () => {
    const { machine } = oneDevice()
    machine.set('CR0', 0n)
    const graph = inspectSmmuV3(machine.source({ devices: new Map([[2, { name: 'nic' }]]) }))
    expect(graph).toMatchObject({ enabled: false, deviceTable: null, spaces: [] })
    expect(graph.devices).toMatchObject([{ id: 2, state: 'bypass', note: 'translation is off' }])
    expect(graph.findings).toMatchObject([{ severity: 'warning', text: 'translation is off: all traffic passes (GBPA)' }])
  })
})

describe('what is wrong in a machine', () => {
  it('names tables that a dump does not hold', () => {
    const { machine, s1 } = oneDevice()
    const missing = RAM + 0x800_0000
    s1.table.map(0x8000_0000, 0x8000_0000, 0x1000, RW)
    machine.memory.write64(s1.root + 8, BigInt(missing) | 3n)
    const graph = inspectSmmuV3(machine.source())
    expect(graph.findings).toMatchObject([
      {
        severity: 'error',
        text: `nothing answers at the level 1 table at 0x${missing.toString(16)}, for addresses from 0x8000000000`,
      },
    ])
    expect(graph.spaces[0]!.ranges.length).toBe(2)
  })

  it('names missing pages of the stream table and of CD tables, once each', () => {
    const machine = new TestMachine()
    machine.streamTable(16)
    const cds = machine.cdTable(12, '4K')
    machine.write(cds.address, Uint32Array.of(0x9000_0001, 0))
    machine.ste(0, cds.ste)
    // As a dump that holds the first page of the stream table only.
    const graph = inspectSmmuV3({ ...machine.source(), memory: new PhysicalMemory([{ start: RAM, end: RAM + 0x1000 }]) })
    expect(graph.findings.map(({ place }) => place)).toEqual([expect.stringMatching(/^stream table at 0x/), 'stream table'])
    expect(graph.findings[1]!.text).toBe('1022 more of its pages cannot be read')
    const other = inspectSmmuV3(machine.source())
    expect(other.findings.map(({ text }) => text)).toContainEqual(
      expect.stringMatching(/^SubstreamIDs 0–63 cannot be read: .*7\.3\.10/),
    )
  })

  it('describes broken page table entries', () => {
    const { machine, s1, cds } = oneDevice()
    cds.cd(0, { ...s1.values, IPS: 0 })
    // A table beyond the 32 bits that CD.IPS allows.
    machine.memory.write64(s1.root + 16, 0x0000_ffff_ffff_f003n)
    const graph = inspectSmmuV3(machine.source())
    expect(graph.findings).toMatchObject([{ severity: 'error', text: expect.stringMatching(/for 0x10000000000 is 0xffff.*: /) }])
  })

  it('reports active global errors, a stopped command queue, and overflow', () => {
    const { machine } = oneDevice()
    machine.set('GERROR', 1n)
    machine.set('CMDQ_CONS', (1n << 24n) | 5n)
    machine.set('EVENTQ_PROD', 1n << 31n)
    const texts = inspectSmmuV3(machine.source()).findings.map(({ place, text }) => `${place}: ${text}`)
    expect(texts).toEqual([
      'SMMU_GERROR.CMDQ_ERR: active: command error: see CMDQ_CONS.ERR',
      'command queue: stopped at index 5 with CERROR_ILL',
      expect.stringMatching(/^event queue: overflowed/),
      'command queue: commands wait to be consumed',
    ])
  })
})

describe('the event queue', () => {
  function withEvents(prod: bigint, cons: bigint, records: number) {
    const { machine } = oneDevice()
    const queue = machine.memory.allocate(4096)
    for (let index = 0; index < records; index++) {
      const fault = { StreamID: 2, SSV: 1, SubstreamID: index, RnW: 0, CLASS: 2, InputAddr: 0x1000n * BigInt(index + 1) }
      machine.write(queue + index * 32, encode(EVENT_F_PERMISSION, { type: F_PERMISSION, ...fault }))
    }
    machine.set('EVENTQ_BASE', BigInt(queue) | BigInt(encode(EVENTQ_BASE, { LOG2SIZE: 2 })[0]!))
    machine.set('EVENTQ_PROD', prod)
    machine.set('EVENTQ_CONS', cons)
    return machine
  }

  it('gives the records newest first, read ones too, and says which were not read', () => {
    const graph = inspectSmmuV3(withEvents(3n, 2n, 3).source({ devices: new Map([[2, { name: 'nic' }]]) }))
    expect(graph.events!.map(({ pasid, pending }) => [pasid, pending])).toEqual([
      [2, true],
      [1, false],
      [0, false],
    ])
    expect(graph.events![0]).toMatchObject({
      name: 'F_PERMISSION',
      device: 2,
      text: 'nic SubstreamID 2 write 0x3000: the tables do not allow this access',
    })
    expect(graph.events![0]!.words.length).toBe(4)
    expect(graph.findings).toMatchObject([
      { severity: 'warning', place: 'event queue', text: 'holds 3 F_PERMISSION (1 not read yet, 2 read before)' },
    ])
  })

  it('goes on over the wrap: the oldest record follows the newest', () => {
    // Index 1 in the second turn: entry 0 was written last, entry 1 is the oldest.
    const graph = inspectSmmuV3(withEvents(5n, 5n, 4).source())
    expect(graph.events!.map(({ pasid }) => pasid)).toEqual([0, 3, 2, 1])
    expect(graph.findings).toMatchObject([{ severity: 'note', text: 'holds 4 F_PERMISSION (all read by software)' }])
  })

  it('is empty where nothing was ever written, or the dump has no queue', () => {
    expect(inspectSmmuV3(withEvents(0n, 0n, 0).source()).events).toEqual([])
    expect(inspectSmmuV3(oneDevice().machine.source()).events).toEqual([])
  })

  it('describes records without SubstreamID, and numbers that the manual does not define', () => {
    const machine = withEvents(2n, 0n, 0)
    const queue = Number(machine.source().register(0xa0, 8)! & ~31n)
    machine.write(queue, encode(EVENT_C_BAD_STREAMID, { type: 2, StreamID: 77 }))
    machine.write(queue + 32, Uint32Array.of(0xe3, 0, 0, 0, 0, 0, 0, 0))
    const graph = inspectSmmuV3(machine.source())
    expect(graph.events!.map(({ name, device, pasid, text }) => [name, device, pasid, text])).toEqual([
      ['IMPDEF_EVENT3', null, null, 'not defined by the manual'],
      ['C_BAD_STREAMID', 77, null, '0x4d: the StreamID is outside the stream table'],
    ])
  })
})

describe('hostile tables', () => {
  const small = () => ({ tables: 3000, ranges: 2000, entries: 20_000, listed: 1000 })

  it('ends when page tables point to themselves, and says that it did', () => {
    const { machine, s1 } = oneDevice()
    machine.fill(s1.root, BigInt(s1.root) | 3n)
    const graph = inspectSmmuV3(machine.source(undefined, small()))
    expect(graph.spaces[0]).toMatchObject({ complete: false })
    expect(graph.spaces[0]!.tableCount).toBeLessThanOrEqual(1500)
    expect(graph.findings).toContainEqual(
      expect.objectContaining({ severity: 'warning', text: expect.stringContaining('left out') }),
    )
  })

  it('lists few of very many devices with the same STE, and of very many alike CDs', () => {
    const machine = new TestMachine()
    machine.streamTable(12, true, 6)
    const cds = machine.cdTable(9)
    const s1 = machine.stage1()
    for (let pasid = 0; pasid < 512; pasid++) cds.cd(pasid, { ...s1.values, T0SZ: pasid % 2 ? 16 : 63 })
    for (let sid = 0; sid < 64; sid++) machine.ste(sid, cds.ste)
    // All first-level descriptors lead to the same second-level table.
    const first = Number(machine.source().register(0x80, 8)! & 0xffff_ffff_ffc0n)
    machine.fill(first, machine.memory.read64(first))
    const graph = inspectSmmuV3(machine.source())
    expect(graph.devices.length).toBe(8)
    expect(graph.rest).toEqual(['4088 entries: with the same STE as 0x0 (StreamIDs 0x0–0xfff)'])
    expect(graph.pasidTables[0]!.entries.length).toBe(32)
    expect(graph.findings).toContainEqual(
      expect.objectContaining({ text: '480 more CDs that say the same as others are not listed' }),
    )
    expect(graph.findings.length).toBeLessThan(20)
  })

  it('stops at the budget in the stream table and in CD tables', () => {
    const machine = new TestMachine()
    machine.streamTable(15)
    const cds = machine.cdTable(15)
    machine.ste(0, cds.ste)
    const graph = inspectSmmuV3(machine.source(undefined, { ...defaultBudget(), entries: 9000 }))
    expect(graph.findings.map(({ text }) => text)).toEqual([
      'is larger than what is read of one machine: StreamIDs are left out',
      'entries from SubstreamID 1125 on were not read: too many',
    ])
  })

  it('never throws and never takes long, whatever bytes there are', () => {
    const images = fc.record({
      words: fc.array(fc.tuple(fc.nat(4095), fc.bigInt({ min: 0n, max: (1n << 64n) - 1n })), { maxLength: 60 }),
      pointers: fc.array(fc.tuple(fc.nat(4095), fc.nat(7), fc.nat(0xfff)), { maxLength: 60 }),
      registers: fc.array(fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }), { minLength: 12, maxLength: 12 }),
      tame: fc.boolean(),
    })
    fc.assert(
      fc.property(images, ({ words, pointers, registers, tame }) => {
        const machine = new TestMachine(0x8000)
        for (const [slot, value] of words) machine.memory.write64(RAM + slot * 8, value)
        for (const [slot, page, bits] of pointers) machine.memory.write64(RAM + slot * 8, BigInt(RAM + page * 4096 + bits))
        const names = ['STRTAB_BASE_CFG', 'CR2', 'EVENTQ_PROD', 'EVENTQ_CONS', 'PRIQ_PROD', 'PRIQ_CONS', 'GERROR', 'CMDQ_CONS']
        names.forEach((name, index) => {
          machine.set(name, registers[index]! & 0xffffffffn)
        })
        machine.set('EVENTQ_BASE', (registers[8]! % 8n) * 4096n + BigInt(RAM) + (registers[8]! % 32n))
        machine.set('PRIQ_BASE', (registers[9]! % 8n) * 4096n + BigInt(RAM) + (registers[9]! % 32n))
        machine.set('STRTAB_BASE', tame ? BigInt(RAM) : registers[10]!)
        if (tame) machine.set('STRTAB_BASE_CFG', (registers[11]! % 12n) | 0x10180n)
        const graph = inspectSmmuV3(machine.source(undefined, small()))
        expect(graph.devices.length).toBeLessThan(600)
      }),
      { numRuns: 150 },
    )
  })
})

describe('real machines', () => {
  it('counts the leaves that an independent program counted', async ({ skip }) => {
    const folder = join(import.meta.dirname, '../../../shared/captures/arm64-smmuv3-pasid-2lvl')
    if (!existsSync(folder)) skip('../shared/captures is not here')
    const { title, memory, register, names, side } = await openCapture(folder)
    const graph = inspectSmmuV3({ title, memory, register, names })
    const lab = graph.devices.find(({ name }) => name === '0000:00:06.0')!
    const table = graph.pasidTables.find(({ id }) => id === lab.pasidTable)!
    const told = Object.keys(side.tables['0000:00:06.0']!.spaces!).map((key) => (key === 'none' ? 0 : Number(key)))
    expect(table.entries.map(({ pasid }) => pasid)).toEqual(told.sort((a, b) => a - b))
    expect(table.layout).toBe('2 levels, 64 KiB leaves')
    expect(graph.findings).toEqual([])
  })

  it('draws the machine of the fixture: nine devices, and the faults that its driver read', async () => {
    const { title, memory, register, names } = await openCapture(join(import.meta.dirname, '../../test/fixtures/arm64-smmuv3-s1'))
    const graph = inspectSmmuV3({ title, memory, register, names })
    expect(graph.devices.map(({ name, state }) => `${name} ${state}`)).toEqual([
      '0000:00:00.0 tables',
      '0000:00:02.0 tables',
      '0000:00:03.0 tables',
      '0000:00:04.0 tables',
      '0000:00:05.0 tables',
      '0000:00:06.0 tables',
      '0000:00:07.0 tables',
      '0000:00:08.0 tables',
      '0000:01:00.0 tables',
    ])
    expect(graph.rest).toEqual(['503 entries: abort (StreamIDs 0x1–0x1ff)'])
    expect(graph.events!.length).toBe(19)
    expect(graph.findings).toMatchObject([{ text: 'holds 16 F_TRANSLATION, 3 F_PERMISSION (all read by software)' }])
  })
})
