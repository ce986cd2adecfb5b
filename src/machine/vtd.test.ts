/** What scenarios can say of an Intel VT-d IOMMU alone. */
import { describe, expect, it } from 'vitest'
import { FAULT_REASONS } from '../format/vtd/faults.ts'
import { runScenario } from './index.ts'
import { failuresOf, holds, reportOf, scenarioOf } from './scenario.suite.ts'
import { vtd } from './vtd.ts'

const BASE = `
buffers: { ring: 16K }
processes: { P: [{ address: 0x10000, size: 64K }] }
devices: { nic: { id: 0x100, pasidBits: 8, ats: true, pri: true }, disk: { id: 0x200 } }
domains: { D: [nic, disk] }
steps:
`

describe('legacy mode', () => {
  it('binds nothing, and names why', () => {
    holds(`iommu: { kind: vtd, mode: legacy }${BASE}
  - bind: { device: nic, process: P }
    expect: NoPasid
  - bindPrivate: { device: nic, space: own }
    expect: NoPasid
  - map: { domain: D, address: 0x1000, buffer: ring }
  - dma: { device: nic, write: 0x1000, value: 1 }
    expect: { result: ok, buffer: ring }
  - dma: { device: disk, read: 0x1000 }
    expect: { result: ok, reads: 1 }
  - unmap: { domain: D, address: 0x1000, size: 16K }
    expect: { bytes: 16384, invalidations: [iotlb, atc] }
  - dma: { device: disk, read: 0x1000 }
    expect: { result: not-mapped, events: LGN.3, stale: none }
`)
  })
  it('lets the CPU go on, as long as nothing was left out on which it depends', () => {
    const report = reportOf(
      scenarioOf(`iommu: { kind: vtd, mode: legacy }${BASE}
  - cpu: { process: P, write: 0x10000, value: 7 }
  - cpu: { process: P, read: 0x10000 }
    expect: { reads: 7 }
  - dma: { device: nic, process: P, write: 0x10000, value: 8 }
    expect: { result: ok }
  - cpu: { process: P, read: 0x10000 }
    expect: { reads: 8 }
  - interleave:
      steps:
        - { dma: { device: disk, read: 0x1000 }, expect: refused }
        - { dma: { device: nic, process: P, read: 0x10000 }, expect: ok }
`),
    )
    expect(failuresOf(report)).toEqual([])
    expect(report.steps.map(({ result }) => result)).toEqual(['ok', 'ok', 'skipped', 'skipped', 'ok'])
    expect(report.steps[4]!.inner.map(({ result }) => result)).toEqual(['fault', 'skipped'])
    expect(report.skipped).toBe(3)
  })
  it('cannot have a guest with a first stage', () => {
    const report = runScenario(
      scenarioOf(`iommu: { kind: vtd, mode: legacy }
devices: { g: { id: 1 } }
domains: { N: { kind: nested, devices: [g] } }
guests: { G: { domain: N, memory: 1M } }
`),
    )
    expect(report).toMatchObject({ problem: expect.stringMatching(/legacy mode has one stage only/) })
  })
})

describe('what the IOMMU has not', () => {
  it.each([
    ['pasidBits: 0', /ECAP.PASID|has no PASIDs/],
    ['pri: false', /ECAP.PRS/],
    ['ats: false', /ECAP.DT/],
    ['addressWidth: 46', /host address width/],
  ])('is named when a process is bound: %s', (option, why) => {
    const report = reportOf(scenarioOf(`iommu: { kind: vtd, ${option} }${BASE}  - bind: { device: nic, process: P }\n`))
    expect(failuresOf(report)[0]).toMatch(why)
  })
  it.each([
    ['iommu: { kind: vtd, descriptors: 128 }', /256 bits/],
    ['iommu: { kind: vtd, stall: yes }', /cannot hold a faulting transaction/],
    ['iommu: { kind: vtd, mode: legacy, stage: 1 }', /second stage only/],
    ['iommu: vtd\ncpu: { pageSize: 64K }', /pages of 4K/],
    ['iommu: vtd\ncpu: { hardwareUpdates: none }', /always set accessed and dirty/],
  ])('is named when the machine is built: %s', (head, why) => {
    expect(runScenario(scenarioOf(`${head}${BASE}  - say: x\n`))).toMatchObject({ problem: expect.stringMatching(why) })
  })
})

describe('interrupt messages', () => {
  it('have their window in every address space: nothing can be mapped there, and a process has nothing there that devices reach', () => {
    holds(`iommu: vtd
memory: 64M
buffers: { ring: 16K }
processes: { P: [{ address: 0xfee00000, size: 64K }, { address: 0x10000, size: 4K }] }
devices: { nic: { id: 0x100, pasidBits: 8, ats: true, pri: true } }
domains: { D: [nic] }
steps:
  - map: { domain: D, address: 0xfee01000, buffer: ring }
    expect: Reserved
  - bind: { device: nic, process: P }
    expect: { pasid: 1 }
  - dma: { device: nic, process: P, read: 0xfee00000 }
    expect: { result: refused }
  - dma: { device: nic, process: P, write: 0x10000, value: 1 }
    expect: { result: ok, sharedWith: P }
`)
  })
})

describe('tables of 5 levels', () => {
  it('are shared with CPUs that have them', () => {
    holds(`iommu: { kind: vtd, firstLevels: 5, levels: 5, stage: 2 }
cpu: { addressBits: 57 }
buffers: { ring: 4K }
processes: { P: [{ address: 0x80000000000000, size: 64K }] }
devices: { nic: { id: 0x100, pasidBits: 8, ats: true, pri: true } }
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

describe('our words for faults', () => {
  it('are there for every reason of address translation', () => {
    const without = FAULT_REASONS.filter(({ code, name }) => vtd.faultKinds({ code, name, pasid: 1 }).length === 0)
    expect(without.every(({ group }) => group === 'interrupt')).toBe(true)
  })
})
