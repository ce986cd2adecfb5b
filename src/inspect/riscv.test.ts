import { existsSync } from 'node:fs'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encode, wordsToU64 } from '../base/layout.ts'
import { ALL_RIGHTS, PR, PW, UR, UW } from '../base/types.ts'
import { PDTE } from '../format/riscv/contexts.ts'
import { MSI_PTE_FLAT, MSI_PTE_MRIF } from '../format/riscv/msi.ts'
import { FAULT_RECORD, PAGE_REQUEST } from '../format/riscv/records.ts'
import { CQCSR, FQB, FQCSR, PQB } from '../format/riscv/registers.ts'
import { openCapture } from '../node/capture.ts'
import { INSPECTORS } from './registry.ts'
import { RAM, TestRiscv } from './riscv.suite.ts'
import { inspectRiscv } from './riscv.ts'
import { defaultBudget } from './space.ts'

const RW = UR | UW | PR | PW

/** One device whose process directory has an entry 0 that maps two pages. */
function oneDevice(form: 'PD8' | 'PD17' | 'PD20' = 'PD8', extended = true) {
  const machine = new TestRiscv({ extended })
  machine.directory(1)
  const processes = machine.processDirectory(form)
  const own = machine.stage1('Sv48', 7)
  own.table.map(0x10000, 0x8000_0000, 0x2000, RW)
  processes.pc(0, own.values)
  machine.dc(2, processes.dc)
  return { machine, processes, own }
}

describe('a RISC-V machine as a graph', () => {
  it('is registered under the name that captures use', () => {
    expect(INSPECTORS.get('riscv')).toBe(inspectRiscv)
  })

  it('leads from the device over its process directory to coalesced ranges', () => {
    const { machine, processes, own } = oneDevice()
    own.table.map(0x12000, 0x8000_2000, 0x1000, UR | PR)
    own.table.map(0x20_0000, 0x4000_0000, 0x20_0000, RW)
    own.table.map(0x40_0000, 0x4020_0000, 0x1000, RW)
    const graph = inspectRiscv(machine.source())
    expect(graph.words).toMatchObject({ deviceEntry: 'DC', pasidEntry: 'PC', pasid: 'process_id' })
    expect(graph.enabled).toBe(true)
    expect(graph.deviceTable).toMatchObject({ layout: '1 level, extended contexts', entries: 64 })
    expect(graph.devices).toMatchObject([
      { id: 2, name: '0x2', state: 'tables', pasidTable: graph.pasidTables[0]!.id, space: null, entry: { structure: 'DC' } },
    ])
    expect(graph.pasidTables).toMatchObject([
      { address: BigInt(processes.address), layout: 'PD8, 1 level', capacity: 256, withoutPasid: 'entry 0' },
    ])
    expect(graph.pasidTables[0]!.entries).toMatchObject([{ pasid: 0, state: 'valid', space: graph.spaces[0]!.id }])
    const space = graph.spaces[0]!
    expect(space).toMatchObject({ root: BigInt(own.root), role: 'io_pgtable', stage: 1, inputBits: 48, levels: 4 })
    expect(space.tags).toEqual(['PSCID 7'])
    expect(space.ranges.map(({ start, end, output, leaves }) => [start, end, output, [...leaves]])).toEqual([
      [0x10000n, 0x12000n, 0x8000_0000n, [[12, 2]]],
      [0x12000n, 0x13000n, 0x8000_2000n, [[12, 1]]],
      // A large page and the page after it map on in a row.
      [
        0x20_0000n,
        0x40_1000n,
        0x4000_0000n,
        [
          [21, 1],
          [12, 1],
        ],
      ],
    ])
    expect(space.ranges.map(({ rights }) => rights & (UR | UW))).toEqual([UR | UW, UR, UR | UW])
    expect(space).toMatchObject({ leafCount: 5, mappedBytes: 0x20_4000n, complete: true })
    expect(graph.findings).toEqual([])
    expect(graph.rest).toEqual([])
  })

  it('finds every device and process context, in every form of the directories', () => {
    const forms = fc.record({
      extended: fc.boolean(),
      levels: fc.constantFrom<1 | 2 | 3>(1, 2, 3),
      form: fc.constantFrom<'PD8' | 'PD17' | 'PD20'>('PD8', 'PD17', 'PD20'),
      devices: fc.uniqueArray(fc.nat(2 ** 24 - 1), { minLength: 1, maxLength: 5 }),
      processes: fc.uniqueArray(fc.nat(2 ** 20 - 1), { minLength: 1, maxLength: 8 }),
    })
    fc.assert(
      fc.property(forms, ({ extended, levels, form, devices, processes }) => {
        const machine = new TestRiscv({ extended })
        machine.directory(levels)
        const directory = machine.processDirectory(form)
        const { values, table } = machine.stage1()
        table.map(0x1000, 0x8000_0000, 0x1000, RW)
        const bits = { PD8: 8, PD17: 17, PD20: 20 }[form]
        const entries = 2 ** Math.min(24, (extended ? 6 : 7) + 9 * (levels - 1))
        const present = [...new Set(devices.map((device) => device % entries))].sort((a, b) => a - b)
        const used = [...new Set(processes.map((process) => process % 2 ** bits))].sort((a, b) => a - b)
        for (const process of used) directory.pc(process, { ...values, 'ta.PSCID': process })
        for (const device of present) machine.dc(device, directory.dc)
        const graph = inspectRiscv(machine.source())
        expect(graph.deviceTable!.entries).toBe(entries)
        expect(graph.devices.map(({ id }) => id)).toEqual(present)
        expect(graph.devices.map(({ state }) => state)).toEqual(present.map(() => 'tables'))
        expect(graph.pasidTables.length).toBe(1)
        expect(graph.pasidTables[0]!.capacity).toBe(2 ** bits)
        expect(graph.pasidTables[0]!.entries.map(({ pasid }) => pasid)).toEqual(used)
        expect(graph.spaces.length).toBe(1)
        expect(graph.findings).toEqual([])
      }),
      { numRuns: 40 },
    )
  })

  it('shows a page table once that two process directories lead to, with the tags of both', () => {
    const { machine } = oneDevice()
    const shared = machine.stage1()
    for (const [device, process, pscid] of [
      [5, 3, 9],
      [6, 1, 8],
    ] as const) {
      const directory = machine.processDirectory('PD17')
      shared.table.map(0x1000 * device, 0x8000_0000, 0x1000, RW)
      directory.pc(process, { ...shared.values, 'ta.PSCID': pscid })
      machine.dc(device, directory.dc)
    }
    const graph = inspectRiscv(machine.source())
    expect(graph.spaces.length).toBe(2)
    const [own, both] = graph.spaces.map(({ id }) => id)
    expect(graph.pasidTables.map(({ entries }) => entries.at(-1)!.space)).toEqual([own, both, both])
    // What a PC holds does not tell a process from a private table.
    expect(graph.spaces[1]).toMatchObject({ role: 'unknown', tags: ['PSCID 8', 'PSCID 9'], label: 'process_id 3 of 0x5 and 0x6' })
  })

  it('takes names of devices, domains and spaces where they are given', () => {
    const { machine } = oneDevice()
    const directory = machine.processDirectory('PD8')
    directory.pc(0, machine.stage1().values)
    const [process, own] = [machine.stage1(), machine.stage1()]
    directory.pc(1, process.values)
    directory.pc(2, own.values)
    machine.dc(3, directory.dc)
    const graph = inspectRiscv(
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
      { id: 4, name: 'nic', state: 'none', note: expect.stringMatching(/^its DC at 0x\w+: DDT entry not valid \(cause 258\)$/) },
      { id: 99, name: 'far', state: 'none', entry: null, note: 'its device_id is wider than the device directory' },
    ])
    expect(graph.pasidTables[1]!.label).toBe('domain B')
    // A named space is somebody's, even while nothing is mapped.
    expect(graph.pasidTables[1]!.entries.map(({ state }) => state)).toEqual(['valid', 'valid', 'valid'])
    expect(graph.spaces.slice(1).map(({ label, role }) => [label, role])).toEqual([
      ['domain B', 'io_pgtable'],
      ['mm X', 'io_mm'],
      ['scratch', 'private'],
    ])
  })

  it('tells valid from quiet from bad PCs, and says which rule is broken', () => {
    const { machine, processes } = oneDevice()
    processes.pc(1, machine.stage1().values)
    processes.pc(2, { 'fsc.MODE': 3 })
    processes.pc(3, { 'ta.PSCID': 5 })
    const graph = inspectRiscv(machine.source())
    expect(graph.pasidTables[0]!.entries).toMatchObject([
      { pasid: 0, state: 'valid' },
      { pasid: 1, state: 'quiet', space: null, note: expect.stringContaining('is empty: no address leads anywhere') },
      {
        pasid: 2,
        state: 'bad',
        space: null,
        note: expect.stringMatching(/^PDT entry misconfigured \(cause 267\): the MODE of the first stage/),
      },
      { pasid: 3, state: 'valid', space: null, note: 'the first stage is Bare: addresses pass as they are' },
    ])
    expect(graph.findings).toMatchObject([{ severity: 'error', place: expect.stringContaining('PC 2 of 0x2 at 0x') }])
  })

  it('tells what a device context does by itself: first stage, second stage, bypass, quiet, bad', () => {
    const machine = new TestRiscv()
    machine.directory(1)
    const [own, guest, empty] = [machine.stage1('Sv39', 4), machine.stage2('Sv39x4', 5), machine.stage1('Sv57')]
    own.table.map(0x3000, 0x8000_0000, 0x1000, RW)
    guest.table.map(0x8000_0000, 0x4000_0000, 0x20_0000, ALL_RIGHTS)
    machine.dc(1, own.values)
    machine.dc(2, guest.values)
    machine.dc(3, {})
    machine.dc(4, { ...empty.values, 'tc.DTF': 1 })
    // An empty table alone is not silent: somebody may map pages.
    machine.dc(5, empty.values)
    machine.dc(6, { 'fsc.MODE': 2 })
    machine.dc(7, { 'tc.PDTV': 1 })
    machine.dc(8, { ...guest.values, 'tc.PDTV': 1 })
    machine.dc(9, { ...own.values, 'tc.DTF': 1 })
    const graph = inspectRiscv(machine.source({ devices: new Map([[4, { name: 'mouse' }]]) }))
    expect(graph.devices.map(({ id, state, pasidTable, note }) => [id, state, pasidTable, note])).toEqual([
      [1, 'tables', null, null],
      [2, 'tables', null, null],
      [3, 'bypass', null, null],
      [4, 'abort', null, 'its table is empty, and faults are not reported (tc.DTF)'],
      [5, 'tables', null, null],
      [6, 'bad', null, expect.stringMatching(/^DDT entry misconfigured \(cause 259\): the MODE of the first stage/)],
      [7, 'bypass', null, null],
      [8, 'tables', null, 'the process directory is Bare'],
      [9, 'tables', null, null],
    ])
    const [first, second] = graph.spaces
    expect(first).toMatchObject({ stage: 1, inputBits: 39, levels: 3, tags: ['PSCID 4'] })
    expect(second).toMatchObject({
      stage: 2,
      inputBits: 41,
      role: 'io_pgtable',
      tags: ['GSCID 5'],
      label: 'second stage of 0x2 and 0x8',
    })
    expect(second!.ranges).toMatchObject([{ start: 0x8000_0000n, end: 0x8020_0000n, output: 0x4000_0000n }])
    const spaceOf = (id: number) => graph.devices.find((device) => device.id === id)!.space
    expect([spaceOf(1), spaceOf(9)]).toEqual([first!.id, first!.id])
    expect([spaceOf(2), spaceOf(8)]).toEqual([second!.id, second!.id])
    expect(graph.findings).toMatchObject([{ severity: 'error', place: expect.stringContaining('DC of 0x6 at 0x') }])
  })

  it('reads process directories and page tables of a guest through the second stage', () => {
    const machine = new TestRiscv()
    machine.directory(1)
    // The guest's memory starts at guest address 0 and lies at RAM.
    const s2 = machine.stage2()
    s2.table.map(0, RAM, 0x400_0000, ALL_RIGHTS)
    const guest = (pa: number) => BigInt(pa - RAM)
    const directory = machine.processDirectory('PD17')
    const s1 = machine.stage1()
    s1.table.map(0x5000, 0x123000, 0x1000, RW)
    directory.pc(300, { ...s1.values, 'fsc.PPN': guest(s1.root) })
    // Every pointer that the guest wrote is a guest address.
    const moved = machine.memory.read64(directory.address + 8)
    machine.write(directory.address + 8, encode(PDTE, { V: 1, PPN: guest(Number((moved >> 10n) << 12n)) }))
    for (let table = s1.root, level = 0; level < 3; level++) {
      const entry = machine.memory.read64(table)
      const next = Number((entry >> 10n) << 12n)
      machine.memory.write64(table, ((guest(next) >> 12n) << 10n) | (entry & 0x3ffn))
      table = next
    }
    machine.dc(1, { ...directory.dc, ...s2.values, 'fsc.PPN': guest(directory.address) })
    const graph = inspectRiscv(machine.source())
    expect(graph.findings).toEqual([])
    const [stage2, stage1] = graph.spaces
    expect(stage2).toMatchObject({ stage: 2, over: null })
    expect(stage1).toMatchObject({ role: 'unknown', label: "guest's process_id 300 of 0x1", stage: 1, over: stage2!.id })
    expect(stage1!.root).toBe(guest(s1.root))
    expect(stage1!.ranges).toMatchObject([{ start: 0x5000n, end: 0x6000n, output: 0x123000n }])
    expect(graph.pasidTables[0]!.entries.map(({ pasid }) => pasid)).toEqual([300])
  })

  it('says what tc.DPE means for traffic without process_id', () => {
    const { machine, processes } = oneDevice()
    const say = (DPE: number) => {
      machine.dc(2, { ...processes.dc, 'tc.DPE': DPE })
      return inspectRiscv(machine.source()).pasidTables[0]!.withoutPasid
    }
    expect([0, 1].map(say)).toEqual(['bypass', 'entry 0'])
  })

  it('tells MSI page tables as notes', () => {
    const { machine, processes } = oneDevice()
    const table = machine.page()
    machine.write(table + 16, encode(MSI_PTE_FLAT, { V: 1, M: 3, PPN: 0x2800_0000n }))
    machine.write(table + 48, encode(MSI_PTE_MRIF, { V: 1, M: 1, MRIF_Address: 0x8000_0200n, NPPN: 0x2800_1000n }))
    const msi = { 'msiptp.MODE': 1, 'msiptp.PPN': BigInt(table), 'msi_addr_mask.mask': 3n, 'msi_addr_pattern.pattern': 0x28000n }
    machine.dc(2, { ...processes.dc, ...machine.stage2().values, ...msi })
    const note = inspectRiscv(machine.source()).findings.find(({ place }) => place.startsWith('MSI page table of 0x2 at'))
    expect(note).toMatchObject({
      severity: 'note',
      text:
        '2 of 4 entries are valid, for guest pages like 0x28000000: interrupt file 1 → 0x28000000, ' +
        '3 → memory-resident file at 0x80000200, notices to 0x28001000',
    })
  })

  it('lists bypassing and bad devices when they are few, and counts what is many', () => {
    const machine = new TestRiscv()
    machine.directory(2)
    const silent = { ...machine.stage1().values, 'tc.DTF': 1 }
    for (let device = 0; device < 200; device++) machine.dc(device, silent)
    machine.dc(7, {})
    machine.dc(9, { 'fsc.MODE': 2 })
    const few = inspectRiscv(machine.source())
    expect(few.devices.map(({ id, state }) => [id, state])).toEqual([
      [7, 'bypass'],
      [9, 'bad'],
    ])
    expect(few.rest).toEqual(['198 entries: abort (device_ids 0x0–0xc7)'])
    for (let device = 0; device < 200; device++) machine.dc(device, {})
    const many = inspectRiscv(machine.source({ devices: new Map([[3, { name: 'nic' }]]) }))
    expect(many.devices).toMatchObject([{ id: 3, name: 'nic', state: 'bypass' }])
    expect(many.rest[0]).toBe('199 entries: bypass (device_ids 0x0–0xc7)')
  })

  it('says that translation is off, and what that means', () => {
    const { machine } = oneDevice()
    const names = { devices: new Map([[2, { name: 'nic' }]]) }
    for (const [mode, state, text] of [
      [0n, 'abort', 'Off: all traffic is refused'],
      [1n, 'bypass', 'Bare: all traffic passes as it is'],
    ] as const) {
      machine.set('ddtp', mode)
      const graph = inspectRiscv(machine.source(names))
      expect(graph).toMatchObject({ enabled: false, deviceTable: null, spaces: [] })
      expect(graph.devices).toMatchObject([{ id: 2, state, note: 'translation is off' }])
      expect(graph.findings).toMatchObject([{ severity: 'warning', place: 'ddtp.iommu_mode', text }])
    }
  })
})

describe('what is wrong in a machine', () => {
  it('names tables that a dump does not hold', () => {
    const { machine, own } = oneDevice()
    const missing = RAM + 0x800_0000
    machine.memory.write64(own.root + 8, (BigInt(missing) >> 2n) | 1n)
    const graph = inspectRiscv(machine.source())
    expect(graph.findings).toMatchObject([
      {
        severity: 'error',
        text: `nothing answers at the level 2 table at 0x${missing.toString(16)}, for addresses from 0x8000000000`,
      },
    ])
    expect(graph.spaces[0]!.ranges.length).toBe(1)
  })

  it('names parts of the directories that cannot be read, with the ids that they cover', () => {
    const { machine, processes } = oneDevice('PD17')
    const gone = 0x9000_0000n
    machine.write(processes.address + 8, encode(PDTE, { V: 1, PPN: gone }))
    const root = machine.directory(2)
    machine.dc(2, processes.dc)
    const [first] = inspectRiscv(machine.source()).findings
    expect(first).toMatchObject({
      severity: 'error',
      text: expect.stringMatching(/^process_ids 256–511 cannot be read: PDT entry load/),
    })
    machine.memory.write64(root + 8, (gone >> 2n) | 1n)
    const graph = inspectRiscv(machine.source())
    expect(graph.findings.map(({ text }) => text)).toContainEqual(
      expect.stringMatching(/^device_ids 0x40–0x7f cannot be read: DDT entry load access fault/),
    )
  })

  it('says which entry of a directory has bits that are reserved', () => {
    const { machine } = oneDevice()
    const root = machine.directory(2)
    machine.memory.write64(root + 24, 3n)
    expect(inspectRiscv(machine.source()).findings).toMatchObject([
      { severity: 'error', text: expect.stringMatching(/^device_ids 0xc0–0xff: DDT entry misconfigured/) },
    ])
  })

  it('reports stopped queues, overflow, and registers that nobody knows', () => {
    const { machine } = oneDevice()
    machine.set('cqcsr', BigInt(encode(CQCSR, { cmd_ill: 1 })[0]!))
    machine.set('fqcsr', BigInt(encode(FQCSR, { fqof: 1 })[0]!))
    machine.set('cqt', 2n)
    const texts = inspectRiscv(machine.source()).findings.map(({ place, text }) => `${place}: ${text}`)
    expect(texts).toEqual([
      expect.stringMatching(/^command queue: stopped: cqcsr.cmd_ill/),
      expect.stringMatching(/^fault queue: stopped: fqcsr.fqof/),
      'command queue: commands wait to be consumed',
    ])
    const unknown = inspectRiscv({ ...machine.source(), register: () => null })
    expect(unknown.findings.filter(({ severity }) => severity === 'error').map(({ place }) => place)).toEqual([
      'capabilities',
      'fctl',
      'ddtp',
    ])
  })
})

describe('the queues', () => {
  function withFaults(tail: bigint, head: bigint, records: number) {
    const { machine } = oneDevice()
    const queue = machine.page()
    for (let index = 0; index < records; index++) {
      const fault = { CAUSE: 13, TTYP: 2, DID: 2, PV: 1, PID: index, iotval: 0x1000n * BigInt(index + 1) }
      machine.write(queue + index * 32, encode(FAULT_RECORD, fault))
    }
    machine.set('fqb', wordsToU64(encode(FQB, { PPN: BigInt(queue), 'LOG2SZ-1': 1 }))[0]!)
    machine.set('fqt', tail)
    machine.set('fqh', head)
    return { machine, queue }
  }

  it('give the faults newest first, read ones too, and say which were not read', () => {
    const graph = inspectRiscv(withFaults(3n, 2n, 3).machine.source({ devices: new Map([[2, { name: 'nic' }]]) }))
    expect(graph.events!.map(({ pasid, pending }) => [pasid, pending])).toEqual([
      [2, true],
      [1, false],
      [0, false],
    ])
    expect(graph.events![0]).toMatchObject({
      name: 'Read page fault',
      device: 2,
      text: expect.stringMatching(/^nic process_id 2 untranslated read 0x3000, cause 13$/),
    })
    expect(graph.events![0]!.words.length).toBe(4)
    expect(graph.findings).toMatchObject([
      { severity: 'warning', place: 'fault queue', text: 'holds 3 Read page fault (1 not read yet, 2 read before)' },
    ])
  })

  it('go on over the wrap: the oldest record follows the newest', () => {
    const graph = inspectRiscv(withFaults(1n, 1n, 4).machine.source())
    expect(graph.events!.map(({ pasid }) => pasid)).toEqual([0, 3, 2, 1])
    expect(graph.events!.some(({ pending }) => pending)).toBe(false)
  })

  it('are empty where nothing was ever written, or the dump has no queue', () => {
    expect(inspectRiscv(withFaults(0n, 0n, 0).machine.source()).events).toEqual([])
    expect(inspectRiscv(oneDevice().machine.source()).events).toEqual([])
  })

  it('describe records without address or device, and causes that the specification does not define', () => {
    const { machine, queue } = withFaults(3n, 0n, 0)
    machine.write(queue, encode(FAULT_RECORD, { CAUSE: 273 }))
    machine.write(queue + 32, encode(FAULT_RECORD, { CAUSE: 21, TTYP: 2, DID: 9, iotval: 0x7000n, iotval2: 0x9000n }))
    machine.write(queue + 64, encode(FAULT_RECORD, { CAUSE: 2048, TTYP: 9, DID: 9, iotval: 1n }))
    const { events } = inspectRiscv(machine.source())
    expect(events!.map(({ name, device, pasid }) => [name, device, pasid])).toEqual([
      ['cause 2048', 9, null],
      ['Read guest-page fault', 9, null],
      ['IOMMU MSI write access fault', null, null],
    ])
    expect(events![1]!.text).toMatch(/0x7000, cause 21, guest address 0x9000$/)
  })

  it('tell page requests that wait', () => {
    const { machine } = oneDevice()
    const queue = machine.page()
    machine.write(queue, encode(PAGE_REQUEST, { DID: 2, PV: 1, PID: 3, R: 1, L: 1, PRGI: 4, PageAddress: 0x5000n }))
    machine.set('pqb', wordsToU64(encode(PQB, { PPN: BigInt(queue), 'LOG2SZ-1': 1 }))[0]!)
    machine.set('pqt', 1n)
    expect(inspectRiscv(machine.source()).findings).toMatchObject([
      { place: 'page-request queue', text: expect.stringContaining('0x2 for 0x5000, group 4') },
    ])
  })
})

describe('hostile tables', () => {
  const small = () => ({ tables: 3000, ranges: 2000, entries: 20_000, listed: 1000 })

  it('end when page tables point to themselves, and it is said that they did', () => {
    const { machine, own } = oneDevice()
    machine.fill(own.root, (BigInt(own.root) >> 2n) | 1n)
    const graph = inspectRiscv(machine.source(undefined, small()))
    expect(graph.spaces[0]).toMatchObject({ complete: false })
    expect(graph.spaces[0]!.tableCount).toBeLessThanOrEqual(1500)
    expect(graph.findings).toContainEqual(
      expect.objectContaining({ severity: 'warning', text: expect.stringContaining('left out') }),
    )
  })

  it('list few of very many devices with the same DC, and of very many alike PCs', () => {
    const machine = new TestRiscv()
    const root = machine.directory(2)
    const processes = machine.processDirectory('PD17')
    const { values } = machine.stage1()
    for (let process = 0; process < 512; process++) processes.pc(process, process % 2 ? values : { 'fsc.MODE': 3 })
    for (let device = 0; device < 64; device++) machine.dc(device, processes.dc)
    // All entries of the root lead to the same leaf table.
    machine.fill(root, machine.memory.read64(root))
    const graph = inspectRiscv(machine.source())
    expect(graph.devices.length).toBe(8)
    expect(graph.rest).toEqual(['32760 entries: with the same DC as 0x0 (device_ids 0x0–0x7fff)'])
    expect(graph.pasidTables[0]!.entries.length).toBe(32)
    expect(graph.findings).toContainEqual(
      expect.objectContaining({ text: '480 more PCs that say the same as others are not listed' }),
    )
    expect(graph.findings.length).toBeLessThan(20)
  })

  it('stop at the budget in the device directory and in process directories', () => {
    const machine = new TestRiscv()
    const root = machine.directory(2)
    const processes = machine.processDirectory('PD17')
    processes.pc(0, machine.stage1().values)
    machine.fill(processes.address, machine.memory.read64(processes.address))
    machine.dc(0, processes.dc)
    machine.fill(root, machine.memory.read64(root))
    const graph = inspectRiscv(machine.source(undefined, { ...defaultBudget(), entries: 9000 }))
    const texts = graph.findings.map(({ text }) => text)
    expect(texts).toContain('is larger than what is read of one machine: device_ids are left out')
    expect(texts).toContainEqual(expect.stringMatching(/^entries from process_id \d+ on were not read: too many$/))
  })

  it('never throw and never take long, whatever bytes there are', () => {
    const word = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n })
    const images = fc.record({
      extended: fc.boolean(),
      words: fc.array(fc.tuple(fc.nat(4095), word), { maxLength: 60 }),
      // What looks like contexts and directory entries that lead to other pages.
      pointers: fc.array(fc.tuple(fc.nat(4095), fc.nat(7), fc.nat(0x3ff)), { maxLength: 60 }),
      contexts: fc.array(
        fc.record({ slot: fc.nat(511), tc: fc.nat(0x7ff), mode: fc.nat(15), stage2: fc.nat(15), page: fc.nat(7) }),
        {
          maxLength: 20,
        },
      ),
      registers: fc.array(word, { minLength: 10, maxLength: 10 }),
      tame: fc.boolean(),
      mode: fc.integer({ min: 2, max: 4 }),
    })
    fc.assert(
      fc.property(images, ({ extended, words, pointers, contexts, registers, tame, mode }) => {
        const machine = new TestRiscv({ extended, bytes: 0x8000 })
        const { memory } = machine
        for (const [slot, value] of words) memory.write64(RAM + slot * 8, value)
        for (const [slot, page, bits] of pointers)
          memory.write64(RAM + slot * 8, (BigInt(RAM + page * 4096) >> 2n) | BigInt(bits))
        for (const { slot, tc, mode: first, stage2, page } of contexts) {
          const at = RAM + slot * 64
          const root = BigInt(RAM + page * 4096) >> 12n
          memory.write64(at, BigInt(tc) | 1n)
          memory.write64(at + 8, (BigInt(stage2) << 60n) | root)
          memory.write64(at + 24, (BigInt(first) << 60n) | root)
        }
        const names = ['fctl', 'cqcsr', 'fqcsr', 'pqcsr', 'fqh', 'fqt', 'pqh', 'pqt'] as const
        names.forEach((name, index) => {
          machine.set(name, registers[index]! & 0xffffffffn)
        })
        const base = BigInt(RAM) >> 2n
        machine.set('fqb', tame ? base | (registers[8]! & 31n) : registers[8]!)
        machine.set('pqb', tame ? base | (registers[9]! & 31n) : registers[9]!)
        machine.set('ddtp', tame ? base | BigInt(mode) : registers[0]!)
        if (tame) machine.set('fctl', 0n)
        else machine.set('capabilities', registers[1]!)
        const graph = inspectRiscv(machine.source(undefined, small()))
        expect(graph.devices.length).toBeLessThan(600)
      }),
      { numRuns: 200 },
    )
  })
})

describe('real machines', () => {
  it('counts the leaves that an independent program counted', async ({ skip }) => {
    const folder = join(import.meta.dirname, '../../../shared/captures')
    if (!existsSync(folder)) skip('../shared/captures is not here')
    for (const capture of ['riscv64-pci', 'riscv64-sys']) {
      const { title, memory, register, names, side } = await openCapture(join(folder, capture))
      const graph = inspectRiscv({ title, memory, register, names })
      const told = Object.entries(side.tables)
      expect(told.length).toBeGreaterThan(0)
      for (const [name, { spaces }] of told) {
        const device = graph.devices.find((one) => one.name === name)!
        // Its Linux uses no process_ids.
        const { fmt, leaf_histogram } = spaces!.none!
        const leaves = Object.values(leaf_histogram!).reduce((sum, of) => sum + of, 0)
        const found = graph.spaces.find(({ id }) => id === device.space)?.leafCount ?? device.state
        expect([capture, name, found]).toEqual([capture, name, fmt === 'bare' ? 'bypass' : leaves])
      }
    }
  })
})
