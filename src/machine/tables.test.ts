/** SYSTEM.md section 9, "Tables" and "Identity", through the whole machine. */
import { describe, expect, it } from 'vitest'
import { holds } from './scenario.suite.ts'

const PROCESSES = `
processes:
  P: [{ address: 0x10000, size: 64K }]
  Q: [{ address: 0x10000, size: 64K }]
buffers: { ring: 64K }
`

describe('S1DSS × PASID', () => {
  const devices = `${PROCESSES}
devices:
  s: { id: 1, pasidBits: 4, stall: true }
  a: { id: 2, pasidBits: 4, ats: true, pri: true }
`
  const pasids = (device: string) => `
  - dma: { device: ${device}, pasid: 0, read: 0x10000 }
    expect: refused
  - dma: { device: ${device}, pasid: 1, read: 0x10000 }
    expect: ok
  - dma: { device: ${device}, pasid: 2, read: 0x10000 }
    expect: no-pasid
  - dma: { device: ${device}, pasid: 16, read: 0x10000 }
    expect: no-pasid
  - dma: { device: ${device}, pasid: 0xfffff, read: 0x10000 }
    expect: no-pasid
`
  it('dma: without PASID entry 0; 0 is refused; n; too large', () => {
    holds(`${devices}
domains: { S: [s], A: [a] }
steps:
  - map: { domain: S, address: 0x10000, buffer: ring }
  - map: { domain: A, address: 0x10000, buffer: ring }
  - bind: { device: s, process: P }
  - bind: { device: a, process: P }
  - dma: { device: s, read: 0x10000 }
    expect: { result: ok, buffer: ring }
  - dma: { device: a, read: 0x10000 }
    expect: { result: ok, buffer: ring }
${pasids('s')}${pasids('a')}
`)
  })

  it('identity with PASIDs: without PASID passed through; 0 has no entry; n; too large', () => {
    holds(`${devices}
domains: { S: { kind: identity, devices: [s] }, A: { kind: identity, devices: [a] } }
steps:
  - bind: { device: s, process: P }
  - bind: { device: a, process: P }
  - dma: { device: s, read: 0x80000000 }
    expect: ok
  - dma: { device: a, read: 0x80000000 }
    expect: ok
${pasids('s')}${pasids('a')}
`)
  })

  it('blocked with PASIDs: without PASID refused and recorded; 0 has no entry; n; too large', () => {
    holds(`${devices}
domains: { S: { kind: blocked, devices: [s] }, A: { kind: blocked, devices: [a] } }
steps:
  - dma: { device: s, read: 0x80000000 }
    expect: { result: silent, events: none }
  - bind: { device: s, process: P }
  - bind: { device: a, process: P }
  - dma: { device: s, read: 0x80000000 }
    expect: { result: blocked, events: blocked }
  - dma: { device: a, read: 0x80000000 }
    expect: refused
${pasids('s')}${pasids('a')}
  - unbind: { device: s, process: P }
  - dma: { device: s, pasid: 1, read: 0x10000 }
    expect: refused
`)
  })
})

describe('PASID tables', () => {
  it.each(['two-level-4K', 'two-level-64K'])('%s: a missing leaf refuses, and comes with the first PASID in it', (form) => {
    holds(`iommu: { kind: smmuv3, pasidTable: ${form}, streamTable: two-level }
${PROCESSES}
devices: { s: { id: 0x1234, pasidBits: 16, stall: true } }
domains: { S: [s] }
steps:
  - dma: { device: s, pasid: 3000, read: 0x10000 }
    expect: no-pasid
  - bind: { device: s, process: P }
    expect: { pasid: 1 }
  - dma: { device: s, process: P, write: 0x10000, value: 1 }
    expect: { result: ok, sharedWith: P }
  - dma: { device: s, pasid: 3000, read: 0x10000 }
    expect: no-pasid
`)
  })

  it('negative caching: what was refused before the first bind is not refused after it', () => {
    holds(`${PROCESSES}
devices: { s: { id: 1, pasidBits: 4, stall: true }, a: { id: 2, pasidBits: 4, ats: true, pri: true } }
domains: { S: [s], A: [a] }
steps:
  - dma: { device: s, pasid: 1, read: 0x10000 }
    expect: no-pasid
  - dma: { device: a, pasid: 1, read: 0x10000 }
    expect: no-pasid
  - bind: { device: s, process: P }
    expect: { pasid: 1 }
  - bind: { device: a, process: P }
    expect: { pasid: 1 }
  - dma: { device: s, process: P, read: 0x10000 }
    expect: ok
  - dma: { device: a, process: P, read: 0x10000 }
    expect: ok
`)
  })

  it('negative caching shows when the invalidation of a bind is forgotten', () => {
    holds(`${PROCESSES}
devices: { s: { id: 1, pasidBits: 4, stall: true } }
domains: { S: [s] }
steps:
  - dma: { device: s, pasid: 1, read: 0x10000 }
    expect: no-pasid
  - bind: { device: s, process: P }
    forget: [config]
  - dma: { device: s, process: P, read: 0x10000 }
    expect: { result: no-pasid, stale: config }
`)
  })

  it('an entry cleared too early: C_BAD_CD, until the descriptor is quiet instead', () => {
    holds(`${PROCESSES}
devices: { s: { id: 1, pasidBits: 4, stall: true } }
domains: { S: [s] }
steps:
  - bind: { device: s, process: P }
  - unbind: { device: s, process: P }
  - dma: { device: s, pasid: 1, read: 0x10000 }
    expect: { result: C_BAD_CD, events: C_BAD_CD }
  - bind: { device: s, process: Q }
  - exit: { process: Q }
  - dma: { device: s, pasid: 1, read: 0x10000 }
    expect: { result: silent, events: none }
`)
  })
})

describe('ASIDs', () => {
  const two = `${PROCESSES}
devices: { s: { id: 1, pasidBits: 8, stall: true } }
domains: { S: [s] }
steps:
`
  it('collision: a domain that has the CPU’s number moves to another, and goes on', () => {
    const { steps } = holds(`cpu: { asidsTaken: 0 }
${two}
  - map: { domain: S, address: 0x10000, buffer: ring }
  - dma: { device: s, write: 0x10000, value: 'ring' }
    expect: { result: ok, buffer: ring }
  - bind: { device: s, process: P }
    expect: { pasid: 1, invalidations: [config, iotlb, config] }
  - dma: { device: s, read: 0x10000, length: 4 }
    expect: { result: ok, reads: 'ring', stale: none }
  - dma: { device: s, process: P, read: 0x10000 }
    expect: { result: ok, reads: 0, sharedWith: P, stale: none }
  - unmap: { domain: S, address: 0x10000, size: 64K }
  - dma: { device: s, read: 0x10000 }
    expect: { result: not-mapped, stale: none }
  - dma: { device: s, process: P, read: 0x10000 }
    expect: ok
`)
    expect(steps[2]!.narration.map(({ text }) => text).join('\n')).toMatch(/CMD_TLBI_NH_ASID asid 1/)
  })

  it('exhaustion: as many as can be pinned, then the bind fails and changes nothing', () => {
    // 16 tags, 4 CPUs: 16 - 4 - 2 = 10 can be pinned.
    const names = Array.from({ length: 11 }, (_, index) => `R${index}`)
    const binds = names.slice(0, 10).map((name) => `  - bind: { device: s, process: ${name} }\n    expect: ok`)
    holds(`cpu: { asidBits: 4, cpus: 4 }
processes: { ${names.map((name) => `${name}: [{ address: 0x10000, size: 4K }]`).join(', ')} }
devices: { s: { id: 1, pasidBits: 8, stall: true } }
domains: { S: [s] }
steps:
${binds.join('\n')}
  - bind: { device: s, process: R10 }
    expect: AsidExhausted
  - check: { process: R10 }
    expect: { pasid: none, bonds: 0 }
  - unbind: { device: s, process: R0 }
  - bind: { device: s, process: R10 }
    expect: { pasid: 1 }
  - dma: { device: s, process: R10, write: 0x10000, value: 1 }
    expect: { result: ok, sharedWith: R10, stale: none }
`)
  })

  it('rollover: a pinned number stays, whoever runs on the CPUs', () => {
    const { machine } = holds(`cpu: { asidBits: 4, cpus: 2, asidsTaken: 0 }
${two}
  - bind: { device: s, process: P }
  - dma: { device: s, process: P, write: 0x10000, value: 1 }
    expect: { result: ok, sharedWith: P }
`)
    const { mm } = machine.processes.get('P')!
    const before = mm.runOn(0)
    const { generation } = machine.mms.asids
    for (let index = 0; index < 40; index++) {
      const tag = machine.mms.create(`other ${index}`).runOn(index % 2)
      expect(tag).not.toBe(before)
    }
    expect(machine.mms.asids.generation).toBeGreaterThan(generation)
    expect(mm.runOn(1)).toBe(before)
  })
})

describe('addresses', () => {
  it('tagged and non-canonical addresses are refused, the last one of the space is not', () => {
    holds(`
processes: { P: [{ address: 0xfffffffff000, size: 4K }, { address: 0x10000, size: 4K }] }
devices: { s: { id: 1, pasidBits: 8, stall: true }, a: { id: 2, pasidBits: 8, ats: true, pri: true } }
domains: { S: [s], A: [a] }
steps:
  - bind: { device: s, process: P }
  - bind: { device: a, process: P }
  - dma: { device: s, process: P, write: 0xfffffffffff8, value: 1 }
    expect: { result: ok, sharedWith: P }
  - dma: { device: s, process: P, read: 0x1000000000000 }
    expect: refused
  - dma: { device: s, process: P, read: 0x0100000000010000 }
    why: A tag in the top byte is not ignored (TBI0 = 0), since ATC invalidations could not match it.
    expect: refused
  - dma: { device: s, process: P, read: 0xffff000000010000 }
    expect: refused
  - dma: { device: a, process: P, read: 0x0100000000010000 }
    expect: { result: refused, response: invalid }
`)
  })

  it.each(['4K', '16K', '64K'])('%s pages: share, fault, swap, fork', (pageSize) => {
    holds(`cpu: { pageSize: ${pageSize} }
processes: { P: [{ address: 0x1000000, size: 256K }] }
devices: { s: { id: 1, pasidBits: 8, stall: true }, a: { id: 2, pasidBits: 8, ats: true, pri: true } }
domains: { S: [s], A: [a] }
steps:
  - bind: { device: s, process: P }
  - bind: { device: a, process: P }
  - dma: { device: a, process: P, write: 0x1000000, length: 192K, value: 'over pages' }
    expect: { result: ok, sharedWith: P }
  - dma: { device: s, process: P, read: 0x1000000, length: 10 }
    expect: { result: ok, reads: 'over pages', stalls: 0 }
  - swapOut: { process: P, address: 0x1000000, size: 64K }
  - dma: { device: s, process: P, read: 0x1000000, length: 10 }
    expect: { result: ok, reads: 'over pages', stalls: 1 }
  - fork: { process: P, child: C }
  - dma: { device: a, process: P, write: 0x1000000, value: 'parent' }
    expect: { result: ok, notSharedWith: C, sharedWith: P }
  - cpu: { process: C, read: 0x1000000, length: 10 }
    expect: { reads: 'over pages' }
`)
  })
})

describe('hardware updates of access and dirty state', () => {
  const text = (cpu: string, smmu: string) => `
cpu: { hardwareUpdates: ${cpu} }
iommu: { kind: smmuv3, hardwareUpdates: ${smmu} }
processes: { P: [{ address: 0x10000, size: 64K }] }
devices: { s: { id: 1, pasidBits: 8, stall: true } }
domains: { S: [s] }
steps:
  - bind: { device: s, process: P }
  - cpu: { process: P, read: 0x10000 }
  - dma: { device: s, process: P, write: 0x10000, value: 1 }
    expect: { result: ok, sharedWith: P, stalls: `
  it.each([
    ['dirty', 'dirty', 0],
    ['dirty', 'access', 1],
    ['access', 'dirty', 1],
    ['none', 'none', 1],
  ])('CPU %s, SMMU %s: a first write stalls %i times', (cpu, smmu, stalls) => {
    const { machine } = holds(`${text(cpu, smmu)}${stalls} }\n`)
    expect(machine.processes.get('P')!.mm.page(0x10000n)).toMatchObject({ dirty: true, accessed: true, writable: true })
  })
})
