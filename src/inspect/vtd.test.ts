import { existsSync } from 'node:fs'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encode, wordsToU64 } from '../base/layout.ts'
import { ALL_RIGHTS, PR, PW, UR, UW, UX } from '../base/types.ts'
import { IRTE_POSTED, IRTE_REMAPPED } from '../format/vtd/irte.ts'
import { PASID_ENTRY } from '../format/vtd/pasid.ts'
import { PAGE_REQUEST } from '../format/vtd/records.ts'
import { FSTS, FULL_ECAP, GS_IRTP, GS_QIE, GS_TE, IQERCD, IRTA, PQA, PRS, RTADDR } from '../format/vtd/registers.ts'
import { openCapture } from '../node/capture.ts'
import { INSPECTORS } from './registry.ts'
import { RAM, TestVtd } from './vtd.suite.ts'
import { inspectVtd } from './vtd.ts'

const RW = UR | UW | PR | PW

/** One device in scalable mode whose requests without PASID go through a first stage that maps two pages. */
function oneDevice() {
  const machine = new TestVtd()
  const pasids = machine.pasids()
  const own = machine.first(4, 7)
  own.table.map(0x10000, 0x8000_0000, 0x2000, RW)
  pasids.put(0, own.values)
  machine.smContext(0x30, pasids.context)
  return { machine, pasids, own }
}

describe('an Intel machine as a graph', () => {
  it('is registered under the name that captures use', () => {
    expect(INSPECTORS.get('vtd')).toBe(inspectVtd)
  })

  it('leads from the device over its PASID table to ranges', () => {
    const { machine, pasids, own } = oneDevice()
    own.table.map(0x20_0000, 0x4000_0000, 0x20_0000, RW)
    const graph = inspectVtd(machine.source())
    expect(graph.words).toMatchObject({ pasidTable: 'PASID table', pasid: 'PASID' })
    expect(graph.deviceTable).toEqual({ address: BigInt(machine.root), layout: 'scalable mode', entries: 65536 })
    expect(graph.devices).toMatchObject([
      { id: 0x30, state: 'tables', pasidTable: graph.pasidTables[0]!.id, entry: { structure: 'scalable-mode context entry' } },
    ])
    expect(graph.pasidTables).toMatchObject([
      { address: BigInt(pasids.address), layout: 'directory of 128 entries', capacity: 8192, withoutPasid: 'entry 0' },
    ])
    expect(graph.pasidTables[0]!.entries).toMatchObject([
      { pasid: 0, state: 'valid', space: graph.spaces[0]!.id, entry: { structure: 'PASID table entry' } },
    ])
    const space = graph.spaces[0]!
    expect(space).toMatchObject({ root: BigInt(own.root), role: 'io_pgtable', stage: 1, inputBits: 48, levels: 4 })
    expect(space).toMatchObject({ label: 'DMA domain of 0x30', tags: ['DID 7'], format: 'VT-d first stage' })
    expect(space.ranges.map(({ start, end, output, leaves }) => [start, end, output, [...leaves]])).toEqual([
      [0x10000n, 0x12000n, 0x8000_0000n, [[12, 2]]],
      [0x20_0000n, 0x40_0000n, 0x4000_0000n, [[21, 1]]],
    ])
    expect(graph.findings).toEqual([])
    expect(graph.rest).toEqual([])
  })

  it('leads from a legacy context entry straight to its second stage, or past it', () => {
    const machine = new TestVtd({ scalable: false })
    const second = machine.second(3, 5)
    second.table.map(0x1000, 0x8000_0000, 0x1000, RW)
    machine.context(0x10, second.context)
    machine.context(0x1ff, { ...second.context, TT: 1 })
    machine.context(0x18, { TT: 2, DID: 9 })
    const graph = inspectVtd(machine.source())
    expect(graph.deviceTable!.layout).toBe('legacy mode')
    expect(graph.devices.map(({ id, state, space, note }) => [id, state, space, note])).toEqual([
      [0x10, 'tables', 'space0', null],
      [0x18, 'bypass', null, 'pass-through (TT)'],
      [0x1ff, 'tables', 'space0', null],
    ])
    expect(graph.spaces).toMatchObject([
      { stage: 2, role: 'io_pgtable', inputBits: 39, levels: 3, tags: ['DID 5'], label: 'DMA domain of 0x10 and 0x1ff' },
    ])
    expect(graph.pasidTables).toEqual([])
  })

  it('finds every device and every PASID, wherever in the tables they are', () => {
    const forms = fc.record({
      PDTS: fc.constantFrom(0, 2, 7),
      sources: fc.uniqueArray(fc.nat(0xffff), { minLength: 1, maxLength: 6 }),
      pasids: fc.uniqueArray(fc.nat(0xfffff), { minLength: 1, maxLength: 8 }),
    })
    fc.assert(
      fc.property(forms, ({ PDTS, sources, pasids }) => {
        const machine = new TestVtd()
        const directory = machine.pasids(PDTS)
        const { values } = machine.first()
        const capacity = 2 ** Math.min(20, PDTS + 13)
        const used = [...new Set(pasids.map((pasid) => pasid % capacity))].sort((a, b) => a - b)
        for (const pasid of used) directory.put(pasid, { ...values, DID: pasid & 0xffff })
        for (const source of sources) machine.smContext(source, directory.context)
        const graph = inspectVtd(machine.source())
        expect(graph.devices.map(({ id }) => id)).toEqual([...sources].sort((a, b) => a - b))
        expect(graph.pasidTables.length).toBe(1)
        expect(graph.pasidTables[0]!.capacity).toBe(capacity)
        expect(graph.pasidTables[0]!.entries.map(({ pasid }) => pasid)).toEqual(used)
        expect(graph.findings).toEqual([])
      }),
      { numRuns: 30 },
    )
  })

  it('gives the rights that requests can use: nothing privileged without SRE, nothing executable without ERE', () => {
    const { machine, pasids, own } = oneDevice()
    for (const [pasid, SRE, ERE] of [
      [1, 0, 1],
      [2, 1, 0],
      [3, 1, 1],
    ] as const)
      pasids.put(pasid, { ...machine.first().values, FSPTPTR: BigInt(own.root), SRE, ERE })
    const graph = inspectVtd(machine.source())
    const rights = graph.pasidTables[0]!.entries.map(
      ({ space }) => graph.spaces.find(({ id }) => id === space)!.ranges[0]!.rights,
    )
    expect(rights).toEqual([UR | UW, UR | UW | UX, RW, ALL_RIGHTS])
  })

  it('says which entry serves requests without PASID, and that it is the domain', () => {
    const { machine, pasids, own } = oneDevice()
    const other = machine.first(5, 8)
    pasids.put(70, other.values)
    machine.smContext(0x30, { ...pasids.context, RID_PASID: 70 })
    const graph = inspectVtd(machine.source())
    expect(graph.pasidTables[0]!.withoutPasid).toBe('entry 70')
    expect(graph.spaces.map(({ root, role, label, levels }) => [root, role, label, levels])).toEqual([
      [BigInt(own.root), 'unknown', 'PASID 0 of 0x30', 4],
      [BigInt(other.root), 'io_pgtable', 'DMA domain of 0x30', 5],
    ])
  })

  it('tells a process by the kernel in its upper half, whose absence is no error', () => {
    const { machine, pasids } = oneDevice()
    const process = machine.first()
    process.table.map(0x40_0000, 0x8000_0000, 0x1000, RW)
    machine.memory.write64(process.root + 511 * 8, 0x9000_0063n)
    pasids.put(1, process.values)
    const graph = inspectVtd(machine.source())
    expect(graph.spaces[1]).toMatchObject({ role: 'io_mm', label: 'PASID 1 of 0x30', complete: true })
    expect(graph.spaces[1]!.ranges.length).toBe(1)
    expect(graph.findings).toMatchObject([{ severity: 'note', text: "the kernel's half is not there (tables missing: 1)" }])
    // The same where it is no process: it is missing.
    pasids.put(0, process.values)
    pasids.put(1, machine.first().values)
    machine.memory.write64(process.root + 511 * 8, 0n)
    machine.memory.write64(process.root + 8, 0x9000_0067n)
    expect(inspectVtd(machine.source()).findings).toMatchObject([
      { severity: 'error', text: expect.stringContaining('0x90000000') },
    ])
  })

  it('tells valid from quiet from bad entries, and says which rule is broken', () => {
    const { machine, pasids } = oneDevice()
    machine.write(pasids.at(1), encode(PASID_ENTRY, { FPD: 1 }))
    pasids.put(2, { PGTT: 5 })
    pasids.put(3, { PGTT: 4, AW: 2 })
    pasids.put(4, machine.second(5, 3).values)
    const graph = inspectVtd(machine.source())
    expect(graph.pasidTables[0]!.entries.map(({ pasid, state, space, note }) => [pasid, state, space, note])).toEqual([
      [0, 'valid', 'space0', null],
      [1, 'quiet', null, 'not present, and its faults are not recorded (FPD)'],
      [
        2,
        'bad',
        null,
        expect.stringMatching(/^PASID table entry is invalid: .* \(SPT\.4, fault reason 0x5b\): PGTT is reserved$/),
      ],
      [3, 'valid', null, 'pass-through: addresses pass as they are'],
      [4, 'valid', 'space1', null],
    ])
    expect(graph.spaces[1]).toMatchObject({ stage: 2, levels: 5, inputBits: 57 })
    expect(graph.findings).toMatchObject([{ severity: 'error', place: expect.stringContaining('PASID table entry 2 of 0x30') }])
  })

  it('reads page tables of a guest through the second stage', () => {
    const { machine, pasids } = oneDevice()
    const second = machine.second(4, 6)
    second.table.map(0, RAM, 0x400_0000, ALL_RIGHTS)
    const first = machine.first()
    first.table.map(0x5000, 0x12_3000, 0x1000, RW)
    // Every pointer that the guest wrote is an address of the guest.
    for (let table = first.root, level = 0; level < 3; level++) {
      const entry = machine.memory.read64(table)
      const next = Number(entry & 0xf_ffff_ffff_f000n)
      machine.memory.write64(table, entry - BigInt(RAM))
      table = next
    }
    pasids.put(9, { ...second.values, PGTT: 3, FSPTPTR: BigInt(first.root - RAM) })
    const graph = inspectVtd(machine.source())
    expect(graph.findings).toEqual([])
    const [, stage2, stage1] = graph.spaces
    expect(stage2).toMatchObject({ stage: 2, label: 'second stage of 0x30', over: null })
    expect(stage1).toMatchObject({ stage: 1, label: "guest's PASID 9 of 0x30", over: stage2!.id, role: 'unknown' })
    expect(stage1!.ranges).toMatchObject([{ start: 0x5000n, end: 0x6000n, output: 0x12_3000n }])
  })

  it('takes names of devices, domains and spaces where they are given', () => {
    const { machine, pasids } = oneDevice()
    const process = machine.first()
    pasids.put(1, process.values)
    const graph = inspectVtd(
      machine.source({
        devices: new Map([
          [0x30, { name: '0000:00:06.0', detail: 'a GPU', domain: 'B' }],
          [0x31, { name: '0000:00:06.1' }],
          [0x131, { name: '0000:01:06.1' }],
        ]),
        spaces: new Map([[BigInt(process.root), { label: 'mm X', role: 'io_mm' }]]),
      }),
    )
    expect(graph.devices).toMatchObject([
      { name: '0000:00:06.0', detail: 'a GPU', domain: 'B', state: 'tables' },
      { name: '0000:00:06.1', state: 'none', note: expect.stringMatching(/^the context entry at 0x\w+: .* \(SCT\.2, fault/) },
      { name: '0000:01:06.1', state: 'none', note: expect.stringMatching(/^the root entry at 0x\w+: .* \(SRT\.2, fault/) },
    ])
    expect(graph.spaces.map(({ label, role }) => [label, role])).toEqual([
      ['domain B', 'io_pgtable'],
      ['mm X', 'io_mm'],
    ])
  })

  it('shows a page table once that two devices lead to, with the tags of both', () => {
    const { machine, own } = oneDevice()
    const pasids = machine.pasids()
    pasids.put(0, { ...own.values, DID: 8 })
    machine.smContext(0x38, pasids.context)
    const graph = inspectVtd(machine.source())
    expect(graph.spaces).toMatchObject([{ label: 'DMA domain of 0x30 and 0x38', tags: ['DID 7', 'DID 8'] }])
    expect(graph.pasidTables.length).toBe(2)
  })

  it('says that translation is off, and what that means', () => {
    const { machine } = oneDevice()
    const names = { devices: new Map([[0x30, { name: 'nic' }]]) }
    const look = () => inspectVtd(machine.source(names))
    machine.set('GSTS', 0n)
    expect(look()).toMatchObject({
      enabled: false,
      deviceTable: null,
      devices: [{ state: 'bypass', note: 'translation is off' }],
    })
    expect(look().findings).toMatchObject([{ severity: 'warning', place: 'GSTS.TES' }])
    machine.set('GSTS', BigInt(GS_TE >>> 0))
    machine.set('RTADDR', wordsToU64(encode(RTADDR, { TTM: 3 }))[0]!)
    expect(look()).toMatchObject({ enabled: false, devices: [{ state: 'abort' }] })
    expect(look().findings).toMatchObject([{ severity: 'warning', text: 'abort-DMA: all traffic is refused' }])
    machine.set('RTADDR', wordsToU64(encode(RTADDR, { TTM: 2 }))[0]!)
    expect(look().findings).toMatchObject([{ severity: 'error', text: expect.stringMatching(/^2 is not supported/) }])
    machine.set('ECAP', FULL_ECAP & ~(1n << 43n))
    machine.set('RTADDR', wordsToU64(encode(RTADDR, { TTM: 1 }))[0]!)
    expect(look().findings).toMatchObject([
      { severity: 'error', text: expect.stringMatching(/^scalable mode, and ECAP.SMTS is 0/) },
    ])
  })
})

describe('what is wrong in a machine', () => {
  it('names tables that cannot be read, with the ids that they cover', () => {
    const { machine, pasids } = oneDevice()
    const gone = 0x9000_0001n
    machine.memory.write64(pasids.address + 8, gone)
    machine.memory.write64(machine.root + 16 + 8, gone)
    machine.memory.write64(machine.root + 32, 3n)
    machine.memory.write64(pasids.address + 16, 5n)
    const texts = inspectVtd(machine.source()).findings.map(({ text }) => text)
    expect(texts).toEqual([
      'source-ids 0x180–0x1ff cannot be read: context entry cannot be read (SCT.1, fault reason 0x40)',
      'source-ids 0x200–0x27f: reserved bits are set in a present half of a root entry (SRT.3, fault reason 0x3a)',
      'PASIDs 64–127 cannot be read: PASID table entry cannot be read (SPT.1, fault reason 0x58)',
      'PASIDs 128–191: reserved bits are set in a present PASID directory entry (SPD.3, fault reason 0x52)',
    ])
    machine.set('RTADDR', wordsToU64(encode(RTADDR, { TTM: 1, RTA: 0x9000_0000n }))[0]!)
    expect(inspectVtd(machine.source()).findings).toMatchObject([
      { severity: 'error', text: expect.stringMatching(/^source-ids 0x0–0xffff cannot be read/) },
    ])
  })

  it('lists a bad context entry with its rule', () => {
    const machine = new TestVtd({ scalable: false })
    machine.context(0x10, { TT: 3 })
    const graph = inspectVtd(machine.source())
    expect(graph.devices).toMatchObject([{ id: 0x10, state: 'bad', note: expect.stringContaining('TT is reserved') }])
    expect(graph.findings).toMatchObject([{ severity: 'error', place: expect.stringContaining('context entry of 0x10 at') }])
  })

  it('reports errors of queues with their cause, and registers that nobody knows', () => {
    const { machine } = oneDevice()
    machine.set('FSTS', BigInt(encode(FSTS, { IQE: 1, PFO: 1, ITE: 1 })[0]!))
    machine.set('IQERCD', wordsToU64(encode(IQERCD, { IQEI: 3, ITESID: 0x30 }))[0]!)
    machine.set('PRS', BigInt(encode(PRS, { PRO: 1 })[0]!))
    machine.set('IQT', 0x40n)
    machine.set('GSTS', BigInt((GS_TE | GS_QIE) >>> 0))
    const texts = inspectVtd(machine.source()).findings.map(({ place, text }) => `${place}: ${text}`)
    expect(texts).toEqual([
      'fault recording registers: FSTS.PFO is 1: fault recording registers overflowed',
      'invalidation queue: FSTS.IQE is 1: invalidation queue error: invalid descriptor type (IQERCD.IQEI)',
      'invalidation queue: FSTS.ITE is 1: invalidation time-out, of 0x30 (IQERCD.ITESID)',
      'page request queue: PRS.PRO is 1: page request queue overflowed',
      'invalidation queue: descriptors wait to be consumed',
    ])
    const unknown = inspectVtd({ ...machine.source(), register: () => null })
    expect(unknown.findings.filter(({ severity }) => severity === 'error').map(({ place }) => place)).toEqual([
      'CAP',
      'ECAP',
      'GSTS',
      'RTADDR',
    ])
  })
})

describe('recorded faults', () => {
  it('are told with what they say, cleared or not', () => {
    const { machine } = oneDevice()
    machine.fault(0, { FI: 0x77_0000_0000n, SID: 0x30, FR: 0x71 })
    machine.fault(1, { FI: 0x5000n, SID: 0x30, FR: 0x81, T1: 1, PP: 1, PV: 9, EXE: 1, PRIV: 1, F: 1 })
    machine.fault(3, { FI: 0x21_0000_0000_0000n, SID: 0x38, FR: 0x22, F: 1 })
    machine.fault(4, { FI: 0x1000n, SID: 0x38, FR: 0x60, T2: 1, F: 1 })
    const { events, findings } = inspectVtd(machine.source({ devices: new Map([[0x30, { name: 'nic' }]]) }))
    expect(events!.map(({ name, text, pending, pasid }) => [name, text, pending, pasid])).toEqual([
      ['SFS.2 (0x71)', 'nic write 0x7700000000: first-stage entry is not present', false, null],
      ['SGN.2 (0x81)', 'nic PASID 9 privileged execute 0x5000: unprivileged request to a supervisor page', true, 9],
      ['22h (0x22)', '0x38 interrupt 0x21: interrupt remapping table entry is not present', true, null],
      ['fault reason 0x60', '0x38 page request 0x1000: not defined by the manual', true, null],
    ])
    expect(findings).toMatchObject([
      { severity: 'warning', place: 'fault recording registers', text: expect.stringMatching(/^hold 4 .*, 3 not cleared yet$/) },
    ])
  })
})

describe('the queues', () => {
  it('tell page requests that wait', () => {
    const { machine } = oneDevice()
    const queue = machine.page()
    machine.write(queue + 127 * 32, encode(PAGE_REQUEST, { TYPE: 1, RID: 0x30, PRGI: 4, ADDR: 0x5000n, RD: 1, LPIG: 1 }))
    machine.set('PQA', wordsToU64(encode(PQA, { PQA: BigInt(queue) }))[0]!)
    machine.set('PQH', BigInt(127 * 32))
    machine.set('PQT', 32n)
    expect(inspectVtd(machine.source()).findings).toMatchObject([
      { severity: 'warning', text: '2 page requests wait for software; the first: 0x30 for 0x5000, group 4' },
    ])
  })
})

describe('the interrupt remapping table', () => {
  it('is told as a note, and its bad entries as errors', () => {
    const { machine } = oneDevice()
    const table = machine.memory.allocate(0x2000)
    const put = (index: number, words: Uint32Array) => machine.write(table + index * 16, words)
    put(1, encode(IRTE_REMAPPED, { P: 1, V: 0x31, DST: 0x300, SID: 0x30, SVT: 1 }))
    put(300, encode(IRTE_POSTED, { P: 1, IM: 1, V: 0x41, PDAL: 0x8000_0040n, PDAH: 0x1_0000_0000n, SID: 0x102, SVT: 2 }))
    put(301, encode(IRTE_REMAPPED, { P: 1, DLM: 3 }))
    machine.set('GSTS', BigInt((GS_TE | GS_IRTP) >>> 0))
    machine.set('IRTA', wordsToU64(encode(IRTA, { S: 8, IRTA: BigInt(table) }))[0]!)
    const { findings } = inspectVtd(machine.source({ devices: new Map([[0x30, { name: 'nic' }]]) }))
    expect(findings.filter(({ place }) => !place.startsWith('page'))).toMatchObject([
      {
        severity: 'error',
        place: expect.stringMatching(/^IRTE 0x12d at/),
        text: expect.stringMatching(/^DLM is reserved: .*0x24/),
      },
      {
        severity: 'note',
        text:
          '3 of 512 entries are present, 1 of them posted (interrupt remapping is off): 0x1 → vector 0x31 of APIC 3, from nic; ' +
          '0x12c → virtual vector 0x41, posted to 0x180000040, from buses 0x1–0x2; and 1 more',
      },
    ])
  })
})

describe('hostile tables', () => {
  const small = () => ({ tables: 3000, ranges: 2000, entries: 20_000, listed: 1000 })

  it('are listed in few words when there are very many devices and entries alike', () => {
    const machine = new TestVtd()
    const pasids = machine.pasids(2)
    const { values } = machine.first()
    for (let pasid = 0; pasid < 64; pasid++) pasids.put(pasid, values)
    machine.fill(pasids.address, machine.memory.read64(pasids.address))
    for (let source = 0; source < 128; source++) machine.smContext(source, pasids.context)
    machine.fill(machine.root, machine.memory.read64(machine.root))
    const graph = inspectVtd(machine.source())
    expect(graph.devices.length).toBe(8)
    expect(graph.rest).toEqual(['65528 entries: with the same context entry as 0x0 (source-ids 0x0–0xffff)'])
    expect(graph.pasidTables[0]!.entries.length).toBe(16)
    expect(graph.findings.length).toBeLessThan(10)
  })

  it('never throw and never take long, whatever bytes there are', () => {
    const word = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n })
    const images = fc.record({
      scalable: fc.boolean(),
      words: fc.array(fc.tuple(fc.nat(4095), word), { maxLength: 60 }),
      pointers: fc.array(fc.tuple(fc.nat(4095), fc.nat(7), fc.nat(0xfff)), { maxLength: 80 }),
      registers: fc.array(word, { minLength: 12, maxLength: 12 }),
      tame: fc.boolean(),
    })
    fc.assert(
      fc.property(images, ({ scalable, words, pointers, registers, tame }) => {
        const machine = new TestVtd({ scalable, bytes: 0x8000 })
        const { memory } = machine
        for (const [slot, value] of words) memory.write64(RAM + slot * 8, value)
        for (const [slot, page, bits] of pointers) memory.write64(RAM + slot * 8, BigInt(RAM + page * 4096 + (bits | 1)))
        const names = ['FSTS', 'IRTA', 'PQA', 'PQH', 'PQT', 'IQERCD', 'PRS', 'ICS'] as const
        for (const [at, name] of names.entries())
          machine.set(name, registers[at]! & (/^(FSTS|PRS|ICS)$/.test(name) ? 0xffffffffn : -1n))
        if (!tame) {
          for (const [at, name] of (['CAP', 'ECAP', 'RTADDR'] as const).entries()) machine.set(name, registers[8 + at]!)
          machine.set('GSTS', registers[11]! & 0xffffffffn)
        }
        machine.fault(0, { FI: 0n, FR: Number(registers[0]! & 0xffn), PV: Number(registers[1]! & 0xfffffn), F: 1 })
        const graph = inspectVtd(machine.source(undefined, small()))
        expect(graph.devices.length).toBeLessThan(5000)
      }),
      { numRuns: 150 },
    )
  })
})

describe('real machines', () => {
  it('have the devices, PASIDs and leaves that an independent program found', async ({ skip }) => {
    const folder = join(import.meta.dirname, '../../../shared/captures')
    if (!existsSync(folder)) skip('../shared/captures is not here')
    for (const capture of ['amd64-vtd-legacy', 'amd64-vtd-scalable-ss', 'amd64-vtd-pasid-sva']) {
      const { title, memory, register, names, side } = await openCapture(join(folder, capture))
      const graph = inspectVtd({ title, memory, register, names })
      const told = Object.entries(side.tables)
      expect(told.length).toBeGreaterThan(10)
      expect(graph.devices.map(({ name }) => name).sort()).toEqual(told.map(([name]) => name).sort())
      for (const [name, { spaces }] of told) {
        const device = graph.devices.find((one) => one.name === name)!
        const table = graph.pasidTables.find(({ id }) => id === device.pasidTable)
        for (const [pasid, { leaf_histogram }] of Object.entries(spaces!)) {
          const entry = table?.entries.find((one) => one.pasid === (pasid === 'none' ? 0 : Number(pasid)))
          const id = table === undefined ? device.space : entry?.space
          const leaves = Object.values(leaf_histogram!).reduce((sum, of) => sum + of, 0)
          expect([name, pasid, graph.spaces.find((one) => one.id === id)?.leafCount]).toEqual([name, pasid, leaves])
        }
      }
      expect(graph.findings.filter(({ severity }) => severity === 'error')).toEqual([])
    }
  })
})
