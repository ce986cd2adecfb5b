import { describe, expect, it } from 'vitest'
import { PR, PW, UR, UW } from '../base/types.ts'
import { audit, RULES, SEVERITIES } from './audit.ts'
import type { MemoryRegion, Names } from './graph.ts'
import { PLAIN_CD, TestMachine } from './smmuv3.suite.ts'
import { inspectSmmuV3 } from './smmuv3.ts'

const RW = UR | UW | PR | PW
const RO = UR | PR
const FREE = 0x9000_0000

/** A machine with two devices, each with a CD table of its own, that maps nothing yet. */
function twoDevices() {
  const machine = new TestMachine()
  machine.streamTable(4)
  const make = (device: number, ASID: number) => {
    const own = machine.stage1({ ...PLAIN_CD, ASID })
    const cds = machine.cdTable(4)
    cds.cd(0, own.values)
    machine.ste(device, cds.ste)
    return { own, cds }
  }
  return { machine, first: make(1, 1), second: make(2, 2) }
}

function said(machine: TestMachine, names: Names = {}) {
  const graph = inspectSmmuV3({ ...machine.source(), names: { ...machine.source().names, ...names } })
  return audit(graph, machine.memory, names)
}

const rulesOf = (machine: TestMachine, names: Names = {}) =>
  said(machine, names).map(({ rule, severity }) => `${rule} ${severity}`)

const region = (start: number, bytes: number, name: string): MemoryRegion => ({
  start: BigInt(start),
  end: BigInt(start + bytes),
  name,
})
const MEMORY: Names = {
  memory: [
    region(FREE, 0x1000_0000, 'System RAM'),
    region(FREE + 0x100_0000, 0x10_0000, 'Kernel code'),
    region(FREE + 0x200_0000, 0x10_0000, 'Kernel rodata'),
    region(FREE + 0x300_0000, 0x10_0000, 'Kernel data'),
  ],
}

/** Maps without execute rights, as a careful driver does. */
const map = ({ own }: ReturnType<typeof twoDevices>['first'], iova: number, pa: number, bytes: number, rights = RW) =>
  own.table.map(iova, pa, bytes, rights)

describe('an audit', () => {
  it('has nothing to say of devices that map what is theirs', () => {
    const { machine, first, second } = twoDevices()
    map(first, 0x1_0000, FREE, 0x4000)
    map(second, 0x1_0000, FREE + 0x4000, 0x4000)
    expect(said(machine, MEMORY).filter(({ rule }) => rule !== 'executable')).toEqual([])
  })

  it('says that translation is off', () => {
    const { machine } = twoDevices()
    machine.set('CR0', 0n)
    expect(rulesOf(machine)).toContain('off high')
  })

  it('names devices that are not translated, past stage 1 alone or past all', () => {
    const { machine, first } = twoDevices()
    machine.ste(2, { ...first.cds.ste, S1DSS: 1 })
    machine.ste(3, { V: 1, Config: 0b100 })
    const remark = said(machine).find(({ rule }) => rule === 'untranslated')
    expect(remark).toMatchObject({ severity: 'high', place: '0x2 and 0x3' })
    // Through a stage 2 it is translated.
    const stage2 = machine.stage2()
    machine.ste(2, { ...first.cds.ste, ...stage2.ste, Config: 0b111, S1DSS: 1 })
    expect(said(machine).find(({ rule }) => rule === 'untranslated')).toMatchObject({ place: '0x3' })
  })

  it('finds the IOMMU’s own tables behind a writable mapping, and not behind a read-only one', () => {
    const { machine, first, second } = twoDevices()
    map(first, 0x1_0000, second.own.root, 0x1000, RO)
    expect(rulesOf(machine)).not.toContain('own-tables high')
    map(first, 0x2_0000, second.own.root, 0x1000)
    map(second, 0x2_0000, machine.steAddress(0) & ~0xfff, 0x1000)
    const found = said(machine).filter(({ rule }) => rule === 'own-tables')
    expect(found.map(({ place }) => place)).toEqual(['0x1', '0x2'])
    expect(found[0]!.text).toContain(`0x${second.own.root.toString(16)}, at 0x20000 of 0x1`)
    expect(found[0]!.text).toMatch(/page table/)
    expect(found[1]!.text).toMatch(/Stream table/)
  })

  it('finds a two-level PASID table by its first level alone, which leads to all others', () => {
    const machine = new TestMachine()
    machine.streamTable(4)
    const own = machine.stage1()
    const cds = machine.cdTable(10, '4K')
    cds.cd(0, own.values)
    machine.ste(1, cds.ste)
    own.table.map(0x1_0000, cds.address, 0x1000, RW)
    const found = said(machine).filter(({ rule }) => rule === 'own-tables')
    expect(found.map(({ text }) => text)).toEqual([
      `writes to a CD table of the IOMMU: 4 KiB in use, for example 0x${cds.address.toString(16)}, at 0x10000 of 0x1 (rw-)`,
    ])
  })

  it('tells a guest’s own tables from those of the host', () => {
    const machine = new TestMachine()
    machine.streamTable(4)
    const stage2 = machine.stage2()
    const own = machine.stage1()
    const cds = machine.cdTable(4)
    cds.cd(0, own.values)
    for (const page of [own.root, cds.address]) stage2.table.map(page, page, 0x1000, RW)
    machine.ste(1, { ...cds.ste, ...stage2.ste, Config: 0b111 })
    expect(rulesOf(machine)).not.toContain('own-tables high')
  })

  it('finds the kernel, by how bad that is', () => {
    const { machine, first, second } = twoDevices()
    map(first, 0x100_0000, FREE + 0x100_0000, 0x1000)
    map(first, 0x200_0000, FREE + 0x200_0000, 0x1000)
    map(second, 0x300_0000, FREE + 0x300_0000, 0x2000)
    const found = said(machine, MEMORY).filter(({ rule }) => rule === 'kernel')
    expect(found.map(({ severity, place, text }) => [severity, place, text.split(',')[0]])).toEqual([
      ['high', '0x1', "writes to the kernel's code: 4 KiB"],
      ['high', '0x1', "writes to the kernel's read-only data: 4 KiB"],
      ['medium', '0x2', "writes to the kernel's own data: 8 KiB"],
    ])
    expect(rulesOf(machine)).not.toContain('kernel high')
  })

  it('finds memory that two domains share, and says less where it cannot know that it is memory', () => {
    const { machine, first, second } = twoDevices()
    map(first, 0x1_0000, FREE, 0x3000)
    map(second, 0x5_0000, FREE + 0x2000, 0x3000, RO)
    const remark = said(machine, MEMORY).find(({ rule }) => rule === 'overlap')
    expect(remark).toMatchObject({ severity: 'medium', place: '0x1 | 0x2' })
    expect(remark!.text).toBe(
      `4 KiB of the same memory, writable from one side at least, first 0x${(FREE + 0x2000).toString(16)}`,
    )
    expect(rulesOf(machine)).toContain('overlap low')
  })

  it('counts doorbell registers as no memory', () => {
    const { machine, first, second } = twoDevices()
    map(first, 0x800_0000, 0x802_0000, 0x1000)
    map(second, 0x800_0000, 0x802_0000, 0x1000)
    expect(rulesOf(machine, MEMORY).filter((text) => text.startsWith('overlap'))).toEqual([])
  })

  it('finds large parts of memory, and memory that is mapped to itself', () => {
    const { machine, first, second } = twoDevices()
    map(first, FREE, FREE, 0x1000_0000)
    expect(rulesOf(machine, MEMORY)).toContain('wide medium')
    map(second, 0xc000_0000, 0xc000_0000, 0x4000_0000)
    expect(said(machine).find(({ rule }) => rule === 'one-to-one')).toMatchObject({ severity: 'medium', place: '0x2' })
  })

  it('names devices whose translated requests are believed', () => {
    const { machine, first } = twoDevices()
    machine.ste(1, { ...first.cds.ste, EATS: 1 })
    expect(said(machine).find(({ rule }) => rule === 'ats')).toMatchObject({ severity: 'low', place: '0x1' })
  })

  it('finds PASID entries that are left over: quiet, or without mappings', () => {
    const { machine, first } = twoDevices()
    map(first, 0x1_0000, FREE, 0x1000)
    first.cds.cd(3, machine.stage1({ ...PLAIN_CD, ASID: 3 }).values)
    first.cds.cd(4, { ...first.own.values, EPD0: 1, ASID: 4 })
    const found = said(machine)
    expect(found.find(({ rule }) => rule === 'stale')).toMatchObject({
      severity: 'low',
      text: expect.stringContaining('PASID 3:'),
    })
    expect(found.find(({ rule }) => rule === 'quiet')).toMatchObject({
      severity: 'low',
      text: expect.stringContaining('PASID 4:'),
    })
  })

  it('passes on what is wrong in the tables, the worst first', () => {
    const { machine, first } = twoDevices()
    machine.ste(2, { ...first.cds.ste, Config: 0b111 })
    machine.ste(3, { V: 1, Config: 0b100 })
    const severities = said(machine).map(({ severity }) => SEVERITIES.indexOf(severity))
    expect(severities).toEqual([...severities].sort((a, b) => a - b))
    expect(rulesOf(machine)).toContain('tables medium')
  })

  it('describes each rule once, with what to do', () => {
    expect(new Set(RULES.map(({ name }) => name)).size).toBe(RULES.length)
    for (const { about, advice } of RULES) expect(Math.min(about.length, advice.length)).toBeGreaterThan(20)
  })
})
