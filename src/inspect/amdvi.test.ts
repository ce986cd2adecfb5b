import { existsSync } from 'node:fs'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encode, wordsFromU64 } from '../base/layout.ts'
import { PR, PW, UR, UW } from '../base/types.ts'
import {
  EVENT_ILLEGAL_COMMAND_ERROR,
  EVENT_INVALID_DEVICE_REQUEST,
  EVENT_IO_PAGE_FAULT,
  setEventPasid,
} from '../format/amdvi/events.ts'
import { IRTE32, IRTE128, IRTE128_GUEST } from '../format/amdvi/irte.ts'
import { PPR_ENTRY, setPprPasid } from '../format/amdvi/ppr.ts'
import { PhysicalMemory } from '../memory/physical.ts'
import { openCapture } from '../node/capture.ts'
import { RAM, TestAmd } from './amdvi.suite.ts'
import { inspectAmdvi } from './amdvi.ts'
import { INSPECTORS } from './registry.ts'
import { defaultBudget } from './space.ts'

const RW = UR | UW | PR | PW
const texts = (graph: { findings: readonly { severity: string; place: string; text: string }[] }) =>
  graph.findings.map(({ severity, place, text }) => `${severity} ${place}: ${text}`)
const NAMES = {
  devices: new Map([
    [2, { name: '0000:00:00.2' }],
    [3, { name: '0000:00:00.3', domain: 'A' }],
  ]),
}

describe('an AMD machine as a graph', () => {
  it('is registered under the name that captures use', () => {
    expect(INSPECTORS.get('amdvi')).toBe(inspectAmdvi)
  })

  it('leads from the device to its host tables, with coalesced ranges and the DomainID', () => {
    const machine = new TestAmd()
    const { root, table, dte } = machine.host(3)
    table.map(0x1_0000, 0x8000_0000, 0x3000, RW)
    table.map(0x20_0000, 0x4000_0000, 0x20_0000, UR | PR)
    machine.dte(2, dte)
    const graph = inspectAmdvi(machine.source(NAMES))
    expect(graph.words).toMatchObject({ deviceTable: 'Device table', deviceEntry: 'DTE', pasidEntry: 'GCR3 entry' })
    expect(graph.deviceTable).toMatchObject({ address: BigInt(machine.table), layout: 'linear', entries: 128 })
    expect(graph.devices[0]).toMatchObject({
      id: 2,
      name: '0000:00:00.2',
      state: 'tables',
      pasidTable: null,
      entry: { structure: 'DTE' },
    })
    const space = graph.spaces[0]!
    expect(graph.devices[0]!.space).toBe(space.id)
    expect(space).toMatchObject({ root: BigInt(root), format: 'AMD v1', levels: 3, inputBits: 39, stage: 2, role: 'io_pgtable' })
    expect(space).toMatchObject({ tags: ['DomainID 258'], label: 'DMA domain of 0000:00:00.2', complete: true })
    expect(space.ranges.map(({ start, end, output, rights }) => [start, end, output, rights & (UR | UW)])).toEqual([
      [0x1_0000n, 0x1_3000n, 0x8000_0000n, UR | UW],
      [0x20_0000n, 0x40_0000n, 0x4000_0000n, UR],
    ])
    expect(graph.findings).toEqual([])
  })

  it('takes away from a space what IR and IW of the DTE do not let through', () => {
    const machine = new TestAmd()
    const { table, dte } = machine.host()
    table.map(0x1000, 0x8000_0000, 0x1000, RW)
    machine.dte(2, { ...dte, IW: 0 })
    const { table: gcr3, root } = { ...machine.guest() }
    gcr3.map(0x1000, 0x8000_0000, 0x1000, RW)
    const pasids = machine.gcr3(0)
    pasids.set(0, root)
    machine.dte(3, { ...pasids.dte, IR: 0 }, pasids.address)
    const rights = inspectAmdvi(machine.source()).spaces.map(({ ranges }) => ranges[0]!.rights & (UR | UW))
    expect(rights).toEqual([UR, UW])
  })

  it('finds every GCR3 entry, with tables of one to three levels', () => {
    const forms = fc.record({
      glx: fc.constantFrom<0 | 1 | 2>(0, 1, 2),
      pasids: fc.uniqueArray(fc.nat(2 ** 20 - 1), { minLength: 1, maxLength: 8 }),
    })
    fc.assert(
      fc.property(forms, ({ glx, pasids }) => {
        const machine = new TestAmd()
        const { root, table } = machine.guest()
        table.map(0x1000, 0x8000_0000, 0x1000, RW)
        const tables = machine.gcr3(glx)
        const bits = [9, 18, 20][glx]!
        const used = [...new Set(pasids.map((pasid) => pasid % 2 ** bits))].sort((a, b) => a - b)
        for (const pasid of used) tables.set(pasid, root)
        machine.dte(5, tables.dte, tables.address)
        const graph = inspectAmdvi(machine.source())
        expect(graph.pasidTables).toMatchObject([
          { address: BigInt(tables.address), capacity: 2 ** bits, withoutPasid: 'entry 0' },
        ])
        expect(graph.pasidTables[0]!.layout).toBe(glx === 0 ? '1 level' : `${glx + 1} levels`)
        expect(graph.pasidTables[0]!.entries.map(({ pasid }) => pasid)).toEqual(used)
        expect(graph.pasidTables[0]!.entries.every(({ space }) => space === graph.spaces[0]!.id)).toBe(true)
        expect(graph.spaces.length).toBe(1)
        expect(graph.findings).toEqual([])
      }),
      { numRuns: 30 },
    )
  })

  it('a page table that two GCR3 tables lead to is one space, with the DomainIDs of both; each entry has its own', () => {
    const machine = new TestAmd()
    const shared = machine.guest()
    for (const device of [2, 3]) {
      const tables = machine.gcr3(1)
      tables.set(0, machine.guest().root)
      tables.set(7, shared.root)
      machine.dte(device, tables.dte, tables.address)
    }
    const graph = inspectAmdvi(machine.source(NAMES))
    const space = graph.spaces.find(({ root }) => root === BigInt(shared.root))!
    expect(space).toMatchObject({ format: 'AMD v2', stage: 1, tags: ['DomainID 258', 'DomainID 259'], role: 'unknown' })
    expect(space.label).toBe('PASID 7 of 0000:00:00.2')
    const entries = graph.pasidTables.map(({ entries }) => entries.map(({ pasid, space, tags }) => [pasid, space, tags]))
    expect(entries.map((list) => list[1])).toEqual([
      [7, space.id, ['DomainID 258']],
      [7, space.id, ['DomainID 259']],
    ])
    expect(graph.spaces.filter(({ role }) => role === 'io_pgtable').map(({ label }) => label)).toEqual([
      'DMA domain of 0000:00:00.2',
      'domain A',
    ])
  })

  describe('requests without PASID', () => {
    const guestTables = (control = {}) => {
      const machine = new TestAmd(control)
      const tables = machine.gcr3(0)
      tables.set(1, machine.guest().root)
      return { machine, tables }
    }

    it('pass where GIOV is 0 and Mode is 0', () => {
      const { machine, tables } = guestTables()
      machine.dte(2, { ...tables.dte, GIOV: 0 }, tables.address)
      const graph = inspectAmdvi(machine.source())
      expect(graph.pasidTables[0]!.withoutPasid).toBe('bypass')
      expect(graph.devices[0]).toMatchObject({ state: 'tables', space: null })
    })

    it('use the host tables where GIOV is 0 and there are some: the device leads to both', () => {
      const { machine, tables } = guestTables()
      const host = machine.host()
      host.table.map(0, RAM, 0x400_0000, RW)
      machine.dte(2, { ...tables.dte, ...host.dte, GIOV: 0 }, tables.address)
      const graph = inspectAmdvi(machine.source())
      const under = graph.spaces.find(({ root }) => root === BigInt(host.root))!
      expect(graph.pasidTables[0]!.withoutPasid).toBe('host tables')
      expect(graph.devices[0]).toMatchObject({ space: under.id, pasidTable: graph.pasidTables[0]!.id })
    })

    it('GV counts as 0 while CONTROL.GTEn is 0', () => {
      const { machine, tables } = guestTables({ GTEn: 0 })
      machine.dte(2, tables.dte, tables.address)
      const graph = inspectAmdvi(machine.source())
      expect(graph.pasidTables).toEqual([])
      expect(graph.devices[0]).toMatchObject({ state: 'bypass' })
    })
  })

  it('reads nested tables through the host tables: GCR3 entries and guest tables lie at guest addresses', () => {
    const machine = new TestAmd()
    const host = machine.host()
    // Guest address 0 is RAM + 0x200000.
    const offset = 0x20_0000
    host.table.map(0, RAM + offset, 0x20_0000, RW)
    const at = (guest: number) => RAM + offset + guest
    // Guest pages 1 to 4: a page table; page 5 is mapped at 0x7000.
    for (let level = 0; level < 3; level++)
      machine.memory.write64(at(0x1000 + level * 0x1000), BigInt(0x2000 + level * 0x1000) | 7n)
    machine.memory.write64(at(0x4000 + 7 * 8), 0x5007n)
    const tables = machine.gcr3(0)
    tables.set(3, 0x1000)
    machine.dte(2, { ...tables.dte, ...host.dte }, tables.address)
    const graph = inspectAmdvi(machine.source(NAMES))
    const under = graph.spaces.find(({ stage }) => stage === 2)!
    const space = graph.spaces.find(({ stage }) => stage === 1)!
    expect(space).toMatchObject({ over: under.id, root: 0x1000n, label: "guest's PASID 3 of 0000:00:00.2" })
    expect(space.ranges).toMatchObject([{ start: 0x7000n, end: 0x8000n, output: 0x5000n }])
    expect(texts(graph)).toEqual([])
  })

  it('reads a device table in segments', () => {
    const machine = new TestAmd({ DevTblSegEn: 1 })
    const segment = machine.page()
    machine.set('DEV_TAB_SEG1', BigInt(segment))
    const { root, dte } = machine.host()
    machine.dte(1, dte)
    const words = machine.memory.read(machine.dte(4, { ...dte, DomainID: 77 }), 32)
    machine.memory.write(segment + 5 * 32, words)
    const graph = inspectAmdvi(machine.source())
    expect(graph.deviceTable).toMatchObject({ layout: '2 segments', entries: 0x8000 + 128 })
    expect(graph.devices.map(({ id }) => id)).toEqual([1, 4, 0x8005])
    expect(graph.spaces).toMatchObject([{ root: BigInt(root), tags: ['DomainID 257', 'DomainID 77'] }])
  })
})

describe('devices without tables', () => {
  it.each([
    [{ V: 0 }, 'bypass', 'V is 0'],
    [{ TV: 0 }, 'abort', 'TV is 0'],
    [{}, 'bypass', null],
    [{ IW: 0 }, 'bypass', 'reads only (IW is 0)'],
    [{ IR: 0 }, 'bypass', 'writes only (IR is 0)'],
    [{ IR: 0, IW: 0 }, 'abort', 'Mode is 0, IR and IW are 0'],
  ])('%j: %s', (dte, state, note) => {
    const machine = new TestAmd()
    machine.dte(2, dte)
    expect(inspectAmdvi(machine.source(NAMES)).devices[0]).toMatchObject({ state, note })
  })

  it('are told by number where they have no name', () => {
    const machine = new TestAmd()
    for (let device = 0; device < 100; device++) machine.dte(device, { IR: 0, IW: 0 })
    expect(inspectAmdvi(machine.source()).rest).toEqual([
      '100 entries: abort, Mode is 0, IR and IW are 0 (DeviceIDs 0x0–0x63)',
      '28 entries: bypass, V is 0 (DeviceIDs 0x64–0x7f)',
    ])
  })

  it('all pass while the IOMMU is off', () => {
    const graph = inspectAmdvi(new TestAmd({ IommuEn: 0 }).source(NAMES))
    expect(graph).toMatchObject({ enabled: false, deviceTable: null })
    expect(graph.devices.map(({ state, note }) => [state, note])).toEqual(
      [1, 2].map(() => ['bypass', 'the IOMMU is off (CONTROL.IommuEn)']),
    )
    expect(texts(graph)).toContain('warning CONTROL.IommuEn: 0: all traffic passes as it is')
  })
})

describe('what is wrong', () => {
  it('in a DTE: the rule, and its section', () => {
    const machine = new TestAmd()
    const at = machine.dte(2, { Mode: 7 })
    const graph = inspectAmdvi(machine.source(NAMES))
    const note = 'ILLEGAL_DEV_TABLE_ENTRY: Mode is 7, which is reserved (2.2.2.1)'
    expect(graph.devices[0]).toMatchObject({ state: 'bad', note })
    expect(texts(graph)).toContain(`error DTE of 0000:00:00.2 at 0x${at.toString(16)}: ${note}`)
  })

  it('in its interrupt fields', () => {
    const machine = new TestAmd()
    machine.dte(2, { IV: 1, IntCtl: 3 })
    expect(texts(inspectAmdvi(machine.source(NAMES)))[0]).toMatch(/^error DTE of .*IntCtl is 3.*its interrupts are refused$/)
  })

  it('pages of tables that cannot be read', () => {
    const machine = new TestAmd({}, 2)
    const tables = machine.gcr3(1)
    tables.set(5, machine.guest().root)
    machine.memory.write64(tables.address + 8, 0x9000_0001n)
    machine.dte(2, tables.dte, tables.address)
    // A dump that lacks the second page of the device table.
    const dump = new PhysicalMemory([], {
      load(frame, words, at) {
        const pa = frame * 4096
        if (pa < RAM || pa >= RAM + 0x400_0000 || pa === machine.table + 4096) return false
        words.set(wordsOf(machine.memory, pa), at)
        return true
      },
    })
    const graph = inspectAmdvi({ ...machine.source({ devices: new Map([[200, { name: 'x' }]]) }), memory: dump })
    expect(texts(graph)).toContain(
      `error device table at 0x${(machine.table + 4096).toString(16)}: DeviceIDs 0x80–0xff cannot be read: nothing answers there`,
    )
    expect(texts(graph)).toContain('error GCR3 table of 0x2 at 0x90000000: PASIDs 512–1023 cannot be read: nothing answers there')
    expect(graph.devices.at(-1)).toMatchObject({ state: 'none', note: 'its DTE cannot be read: nothing answers there' })
  })

  it('GCR3 entries whose address the host tables refuse', () => {
    const machine = new TestAmd({ GCR3TRPMode: 1 })
    const host = machine.host()
    host.table.map(0, RAM, 0x1000, RW)
    machine.dte(2, { ...host.dte, GV: 1, GLX: 0 }, 0x5000)
    const graph = inspectAmdvi(machine.source())
    expect(texts(graph)).toContain(
      'error GCR3 table of 0x2 at 0x5000: PASIDs 0–511 cannot be read: the host tables refuse its address',
    )
  })

  it('registers: overflow, stopped rings, hardware events, unknown ones', () => {
    const machine = new TestAmd({ CmdBufEn: 1, EventLogEn: 1 })
    machine.set('STATUS', 0b100001n)
    machine.set('HW_EVT_STATUS', 3n)
    machine.set('HW_EVT_HI', 0x6000_0000_0000_0000n)
    machine.set('CMD_TAIL', 0x20n)
    machine.registers.delete(0x30)
    expect(texts(inspectAmdvi(machine.source()))).toEqual([
      'error EXT_FEATURE: its value is not known: what follows from it is read as zero',
      'error event log: overflow (STATUS.EventOverflow): entries were lost',
      'error PPR log: overflow (STATUS.PPROverflow): page requests were lost',
      'error hardware event registers: hold a COMMAND_HARDWARE_ERROR; at least one more was lost',
      'warning command buffer: enabled, and does not run (STATUS.CmdBufRun is 0)',
      'warning event log: enabled, and does not run (STATUS.EventLogRun is 0)',
      'note command buffer: commands wait to be consumed',
    ])
  })
})

function wordsOf(memory: PhysicalMemory, pa: number): Int32Array {
  const at = memory.index(pa)
  return memory.words.slice(at, at + 1024)
}

describe('special ranges', () => {
  it('mapped where no device reaches: the interrupt range, the HyperTransport range unless it is ignored', () => {
    const machine = new TestAmd()
    const { table, dte } = machine.host(4)
    table.map(0xfee0_0000, 0x8000_0000, 0x2000, RW)
    table.map(0xff_ffff_f000, 0x8000_0000, 0x2000, RW)
    machine.dte(2, dte)
    expect(texts(inspectAmdvi(machine.source(NAMES)))).toEqual([
      'warning address space DMA domain of 0000:00:00.2: 8 KiB are mapped in the interrupt range (0xfee00000–0xfeefffff): no device reaches them',
      'warning address space DMA domain of 0000:00:00.2: 4 KiB are mapped in the HyperTransport range (0xfd00000000–0xffffffffff): no device reaches them',
    ])
    machine.set('EXT_FEATURE2', 1n << 11n)
    expect(inspectAmdvi(machine.source(NAMES)).findings.length).toBe(1)
  })

  it('the exclusion range passes', () => {
    const machine = new TestAmd()
    machine.set('EXCL_BASE', 0x1_0001n)
    machine.set('EXCL_LIMIT', 0x1_2000n)
    expect(texts(inspectAmdvi(machine.source()))).toEqual([
      'warning exclusion range: 0x10000–0x12fff passes untranslated for devices whose DTE.EX is 1',
    ])
    machine.set('EXCL_BASE', 0x1_0003n)
    expect(texts(inspectAmdvi(machine.source()))[0]).toMatch(/for all devices$/)
  })
})

describe('interrupt remapping tables', () => {
  const note = (machine: TestAmd) => texts(inspectAmdvi(machine.source(NAMES)))

  it('are told once, whoever shares them, in both forms of entries', () => {
    for (const GAEn of [0, 1]) {
      const machine = new TestAmd({ GAEn })
      const root = machine.page()
      for (const device of [2, 3]) machine.dte(device, { IV: 1, IntCtl: 2, IntTabLen: 4, InterruptTableRootPtr: BigInt(root) })
      const bytes = GAEn === 0 ? 4 : 16
      const put = (index: number, words: Uint32Array) => machine.write(root + index * bytes, words)
      const short = encode(IRTE32, { RemapEn: 1, Vector: 0x31, Destination: 5 })
      const long = encode(IRTE128, { RemapEn: 1, Vector: 0x31, 'Destination[23:0]': 0x105 })
      put(3, GAEn === 0 ? short : long)
      if (GAEn === 1) put(4, encode(IRTE128_GUEST, { RemapEn: 1, GuestMode: 1, Vector: 0x41, GATag: 0x77 }))
      const more = GAEn === 0 ? '1 of 16 entries remap: ' : '2 of 16 entries remap: '
      const guest = GAEn === 0 ? '' : ', 4 → virtual vector 0x41, tag 0x77'
      const place = `interrupt remapping table at 0x${root.toString(16)} (0000:00:00.2 and 0000:00:00.3)`
      expect(note(machine)).toEqual([`note ${place}: ${more}3 → vector 0x31 of APIC 5${guest}`])
    }
  })

  it('with x2APIC destinations have 32 bits; pages that are missing count as empty', () => {
    const machine = new TestAmd({ GAEn: 1, XTEn: 1 })
    const root = RAM + 0x400_0000 - 0x1000
    machine.write(root, encode(IRTE128, { RemapEn: 1, Vector: 0x31, 'Destination[23:0]': 0x105 }))
    machine.dte(2, { IV: 1, IntCtl: 2, IntTabLen: 9, InterruptTableRootPtr: BigInt(root) })
    expect(note(machine)[0]).toMatch(
      /: 1 of 512 entries remap \(256 are not in memory here, and count as empty\): 0 → vector 0x31 of APIC 261$/,
    )
  })

  it('are no affair of devices whose interrupts pass or are aborted', () => {
    const machine = new TestAmd()
    machine.dte(2, { IV: 0, IntCtl: 2 })
    machine.dte(3, { IV: 1, IntCtl: 1 })
    expect(note(machine)).toEqual([])
  })
})

describe('logs', () => {
  function withLog() {
    const machine = new TestAmd({ EventLogEn: 1, PPRLogEn: 1 })
    machine.set('STATUS', 0x88n)
    const events = machine.page()
    const pages = machine.page()
    machine.set('EVT_LOG_BASE', BigInt(events) | (8n << 56n))
    machine.set('PPR_LOG_BASE', BigInt(pages) | (8n << 56n))
    return { machine, events, pages }
  }

  it('events, newest first: who, with which PASID, what and why', () => {
    const { machine, events } = withLog()
    const nested = encode(EVENT_IO_PAGE_FAULT, { EventCode: 2, DeviceID: 2, GN: 1, US: 1, PR: 1, RW: 1, PE: 1, Address: 0x1234n })
    setEventPasid(nested, 0x12345)
    const list = [
      nested,
      encode(EVENT_IO_PAGE_FAULT, { EventCode: 2, DeviceID: 3, 'DomainID/PASID[15:0]': 7, Address: 0x77_0000_0000n }),
      encode(EVENT_IO_PAGE_FAULT, { EventCode: 2, DeviceID: 3, PR: 1, RZ: 1, TR: 1, Address: 0x1000n }),
      encode(EVENT_INVALID_DEVICE_REQUEST, { EventCode: 8, DeviceID: 2, Type: 1, Address: 0x1000n }),
      encode(EVENT_ILLEGAL_COMMAND_ERROR, { EventCode: 5, Address: 0x8000n }),
    ]
    list.forEach((words, at) => {
      machine.write(events + at * 16, words)
    })
    machine.set('EVT_TAIL', BigInt(list.length * 16))
    machine.set('EVT_HEAD', 16n)
    const graph = inspectAmdvi(machine.source(NAMES))
    expect(graph.events!.map(({ name, text, pending }) => [name, text, pending])).toEqual([
      ['ILLEGAL_COMMAND_ERROR', '0x8000: a command is illegal; the command buffer has stopped', true],
      ['INVALID_DEVICE_REQUEST', '0000:00:00.2 0x1000: a translated request, and DTE.I or DTE.V is 0', true],
      ['IO_PAGE_FAULT', '0000:00:00.3 translation request 0x1000: reserved bits are set in an entry', true],
      ['IO_PAGE_FAULT', '0000:00:00.3 access to 0x7700000000: no entry for the address', true],
      ['IO_PAGE_FAULT', '0000:00:00.2 PASID 74565 write 0x1234: the tables do not allow this', false],
    ])
    expect(graph.events!.map(({ device, pasid }) => [device, pasid])).toEqual([
      [null, null],
      [2, null],
      [3, null],
      [3, null],
      [2, 0x12345],
    ])
    expect(texts(graph)).toEqual([
      'warning event log: holds 1 ILLEGAL_COMMAND_ERROR, 1 INVALID_DEVICE_REQUEST, 3 IO_PAGE_FAULT (4 not read yet, 1 read before)',
    ])
  })

  it("QEMU's page faults: the direction is read as QEMU writes it, and the bus is not known", () => {
    const { machine, events } = withLog()
    for (const [at, word] of [0x200a_0000_0000_0000n, 0x2009_0000_0000_0003n].entries())
      machine.write(events + at * 16, wordsFromU64([word, 0n]))
    machine.set('EVT_TAIL', 32n)
    machine.set('EVT_HEAD', 32n)
    const devices = new Map([
      [0, { name: '0000:00:00.0' }],
      [3, { name: '0000:00:00.3' }],
      [0x100, { name: '0000:01:00.0' }],
    ])
    const graph = inspectAmdvi(machine.source({ devices }))
    expect(graph.events!.map(({ text, device, pasid }) => [text, device, pasid])).toEqual([
      ['0000:00:00.3 read, the address is not recorded', 3, null],
      ['0000:00:00.0 or 0000:01:00.0 write, the address is not recorded', null, null],
    ])
    expect(texts(graph).at(-1)).toMatch(/^note event log: page faults with I = 1, .* are QEMU's/)
  })

  it('a real interrupt that is not remapped is no such fault', () => {
    const { machine, events } = withLog()
    machine.write(events, encode(EVENT_IO_PAGE_FAULT, { EventCode: 2, DeviceID: 3, I: 1, Address: 0xfd_f820_0000n }))
    machine.set('EVT_TAIL', 16n)
    const graph = inspectAmdvi(machine.source(NAMES))
    expect(graph.events![0]!.text).toBe('0000:00:00.3 interrupt 0xfdf8200000: it is not remapped')
    expect(texts(graph).length).toBe(1)
  })

  it('page requests that wait', () => {
    const { machine, pages } = withLog()
    const request = encode(PPR_ENTRY, { PPRCode: 1, DeviceID: 2, GN: 1, RD: 1, PPRTag: 0x203, Address: 0x7000n })
    setPprPasid(request, 0x54321)
    machine.write(pages + 16, request)
    machine.set('PPR_HEAD', 16n)
    machine.set('PPR_TAIL', 48n)
    expect(texts(inspectAmdvi(machine.source(NAMES)))).toEqual([
      'warning PPR log: 2 page requests wait for software; the first: 0000:00:00.2, PASID 344865 for 0x7000, tag 515',
    ])
  })
})

describe('hostile tables', () => {
  it('cost no more than the budget, and say so', () => {
    const machine = new TestAmd()
    const table = machine.page()
    // A GCR3 table of three levels whose entries all lead back to it.
    machine.fill(table, BigInt(table) | 1n)
    machine.dte(2, { GV: 1, GLX: 2 }, table)
    const budget = { ...defaultBudget(), entries: 5000, tables: 100, ranges: 100 }
    const graph = inspectAmdvi(machine.source(NAMES, budget))
    expect(texts(graph).some((text) => /were not read: too many/.test(text))).toBe(true)
    expect(graph.pasidTables[0]!.entries.length).toBeLessThanOrEqual(16)
  })

  it('never throw', () => {
    const words = fc.array(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), { minLength: 4, maxLength: 16 })
    fc.assert(
      fc.property(
        words,
        fc.array(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), { minLength: 3, maxLength: 3 }),
        (table, registers) => {
          const machine = new TestAmd()
          for (const [at, word] of table.entries()) machine.memory.write64(machine.table + at * 8, word)
          machine.set('CONTROL', registers[0]! | 1n)
          machine.set('EXT_FEATURE', registers[1]!)
          machine.set('EVT_LOG_BASE', registers[2]!)
          inspectAmdvi(machine.source(NAMES, { ...defaultBudget(), entries: 3000 }))
        },
      ),
      { numRuns: 50 },
    )
  })
})

const CAPTURES = ['test/fixtures/amd64-amdvi-v1', 'test/fixtures/amd64-amdvi-pasid'].map((path) =>
  join(import.meta.dirname, '../..', path),
)

describe('captures of real machines', () => {
  it.each(CAPTURES.filter((path) => existsSync(path)))(
    '%s: every device is named, none is bad, all tables are read',
    async (path) => {
      const { title, memory, register, names } = await openCapture(path)
      const graph = inspectAmdvi({ title, memory, register, names })
      expect(graph.devices.length).toBeGreaterThan(12)
      expect(graph.devices.filter(({ name }) => !/^0000:/.test(name))).toEqual([])
      expect(graph.devices.filter(({ state }) => state === 'bad' || state === 'none')).toEqual([])
      expect(graph.spaces.every(({ complete }) => complete)).toBe(true)
      expect(graph.spaces.map(({ format }) => format).filter((format) => !/^AMD v[12]$/.test(format))).toEqual([])
    },
  )
})
