/** What scenarios can say of an AMD IOMMU alone. */
import { describe, expect, it } from 'vitest'
import { EVENTS } from '../format/amdvi/events.ts'
import { amdvi } from './amdvi.ts'
import { runScenario } from './index.ts'
import { failuresOf, holds, reportOf, scenarioOf } from './scenario.suite.ts'

const BASE = `
buffers: { ring: 16K }
processes: { P: [{ address: 0x10000, size: 64K }] }
devices: { nic: { id: 0x100, pasidBits: 8, ats: true, pri: true }, disk: { id: 0x200 } }
domains: { D: [nic, disk] }
steps:
`

describe('host tables (v1)', () => {
  it('translate what has no PASID, and share nothing, which a bind names', () => {
    holds(`iommu: { kind: amdvi, tables: v1, levels: 3 }${BASE}
  - bind: { device: nic, process: P }
    expect: Unsupported
  - map: { domain: D, address: 0x1000, buffer: ring }
  - dma: { device: nic, write: 0x1000, value: 1 }
    expect: { result: ok, buffer: ring }
  - dma: { device: disk, read: 0x1000 }
    expect: { result: ok, reads: 1 }
  - unmap: { domain: D, address: 0x1000, size: 16K }
    expect: { bytes: 16384, invalidations: [iotlb, atc] }
  - dma: { device: disk, read: 0x1000 }
    expect: { result: not-mapped, events: IO_PAGE_FAULT, stale: none }
`)
    const report = reportOf(
      scenarioOf(`iommu: { kind: amdvi, tables: v1 }${BASE}  - bind: { device: nic, process: P }\n    expect: Unsupported\n`),
    )
    expect(report.steps[0]!.text).toMatch(/domain D has host tables \(v1\)/)
  })
  it('leave out what needs a PASID', () => {
    const report = reportOf(
      scenarioOf(`iommu: { kind: amdvi, tables: v1 }${BASE}
  - bind: { device: nic, process: P }
  - dma: { device: nic, process: P, write: 0x10000, value: 8 }
    expect: { result: ok }
  - dma: { device: disk, read: 0x1000 }
    expect: refused
`),
    )
    expect(failuresOf(report)).toEqual([])
    expect(report.steps.map(({ result }) => result)).toEqual(['skipped', 'skipped', 'fault'])
  })
})

describe('what the IOMMU has not', () => {
  it('is named when a process is bound', () => {
    const report = reportOf(scenarioOf(`iommu: { kind: amdvi, pri: false }${BASE}  - bind: { device: nic, process: P }\n`))
    expect(failuresOf(report)[0]).toMatch(/EXT_FEATURE.PPRSup/)
  })
  it('leaves its steps out: PASIDs', () => {
    const report = reportOf(
      scenarioOf(`iommu: { kind: amdvi, pasidBits: 0 }${BASE}  - bind: { device: nic, process: P }\n    expect: { pasid: 1 }\n`),
    )
    expect(report.steps[0]).toMatchObject({ result: 'skipped', text: expect.stringMatching(/no PASIDs/) })
  })
  it.each([
    ['iommu: { kind: amdvi, stall: yes }', /cannot hold a faulting transaction/],
    ['iommu: { kind: amdvi, pasidBits: 0, tables: v2 }', /GTSup/],
    ['iommu: amdvi\ncpu: { pageSize: 64K }', /pages of 4K/],
    ['iommu: amdvi\ncpu: { hardwareUpdates: none }', /always set accessed and dirty/],
  ])('is named when the machine is built: %s', (head, why) => {
    expect(runScenario(scenarioOf(`${head}${BASE}  - say: x\n`))).toMatchObject({ problem: expect.stringMatching(why) })
  })
})

describe('special addresses', () => {
  it('have their windows in every address space: nothing can be mapped there, and a process has nothing there that devices reach', () => {
    holds(`iommu: amdvi
memory: 64M
buffers: { ring: 16K }
processes: { P: [{ address: 0xfee00000, size: 64K }, { address: 0xfdf9100000, size: 64K }, { address: 0x10000, size: 4K }] }
devices: { nic: { id: 0x100, pasidBits: 8, ats: true, pri: true } }
domains: { D: [nic] }
steps:
  - map: { domain: D, address: 0xfee01000, buffer: ring }
    expect: Reserved
  - map: { domain: D, address: 0xfd00000000, buffer: ring }
    expect: Reserved
  - map: { domain: D, address: 0xffffffc000, buffer: ring }
    expect: Reserved
  - map: { domain: D, address: 0x10000000000, buffer: ring }
  - bind: { device: nic, process: P }
    expect: { pasid: 1 }
  - dma: { device: nic, process: P, read: 0xfee00000 }
    expect: { result: out-of-range, events: INVALID_DEVICE_REQUEST }
  - dma: { device: nic, process: P, read: 0xfdf9100000 }
    expect: { result: out-of-range }
  - dma: { device: nic, process: P, write: 0x10000, value: 1 }
    expect: { result: ok, sharedWith: P }
`)
  })
})

describe('tables of 5 levels', () => {
  it('are shared with CPUs that have them; then all guest tables have as many', () => {
    holds(`iommu: amdvi
cpu: { addressBits: 57 }
buffers: { ring: 4K }
processes: { P: [{ address: 0x80000000000000, size: 64K }] }
devices: { nic: { id: 0x100, pasidBits: 20, ats: true, pri: true } }
domains: { D: [nic] }
steps:
  - bind: { device: nic, process: P }
  - dma: { device: nic, process: P, write: 0x80000000000000, value: 1 }
    expect: { result: ok, pageRequests: 1, sharedWith: P }
  - map: { domain: D, address: 0x80000000000000, buffer: ring }
  - dma: { device: nic, write: 0x80000000000000, value: 1 }
    expect: { result: ok, buffer: ring }
`)
  })
})

describe('page requests that find the log full', () => {
  it('are answered by the IOMMU, and the device asks again', () => {
    const pages = Array.from({ length: 300 }, (_, index) => `0x${(0x10_0000 + index * 0x1000).toString(16)}`).join(', ')
    holds(`iommu: amdvi
processes: { P: [{ address: 0x100000, size: 2M }] }
devices: { nic: { id: 1, pasidBits: 8, ats: true, pri: true } }
domains: { D: [nic] }
steps:
  - bind: { device: nic, process: P }
  - interrupts: off
  - request: { device: nic, process: P, pages: [${pages}] }
  - interrupts: on
  - dma: { device: nic, process: P, write: 0x100000, value: 1 }
    expect: { result: ok, sharedWith: P }
`)
  })
})

describe('our words for events', () => {
  it('are there for every event of address translation, by what it records', () => {
    const ofOthers = /COMMAND|TIMEOUT|COUNTER|GUEST|VIOMMU|RMP/
    const without = [...EVENTS.values()].filter(({ code, name }) => amdvi.faultKinds({ code, name, pasid: 1 }).length === 0)
    expect(without.map(({ name }) => name).filter((name) => !ofOthers.test(name))).toEqual([])
    const fault = (flags: bigint, pasid: number | null = null) =>
      amdvi.faultKinds({ code: 2, name: 'IO_PAGE_FAULT', pasid, record: [(2n << 60n) | flags, 0n] })
    // PR and PE, PR and RZ, nothing.
    expect(fault((1n << 52n) | (1n << 54n))).toEqual(['no-permission', 'blocked'])
    expect(fault((1n << 52n) | (1n << 55n))).toEqual(['bad-table'])
    expect(fault(0n, 3)).toContain('no-pasid')
    expect(fault(0n)).toContain('blocked')
  })
})

describe('commands', () => {
  it('are told by domain, PASID and addresses', () => {
    const { steps } = holds(`iommu: amdvi${BASE}
  - bind: { device: nic, process: P }
  - cpu: { process: P, write: 0x10000, value: 7 }
  - dma: { device: nic, process: P, read: 0x10000 }
    expect: { reads: 7 }
  - unbind: { device: nic, process: P }
`)
    expect(steps[3]!.narration.map(({ text }) => text).join('\n')).toContain(
      'INVALIDATE_IOMMU_PAGES domain 1 pasid 1 at any address with entries above the leaves · COMPLETION_WAIT · ' +
        'INVALIDATE_IOTLB_PAGES device 0x100 pasid 1 at any address · COMPLETION_WAIT',
    )
  })
})
