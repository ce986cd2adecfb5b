/** SYSTEM.md section 9, "Binding", through the whole machine: core, driver, tables in memory, hardware, devices. */
import { describe, expect, it } from 'vitest'
import { failuresOf, holds, reportOf, scenarioOf } from './scenario.suite.ts'

const BASE = `
processes:
  P: [{ address: 0x10000, size: 64K }]
  Q: [{ address: 0x10000, size: 64K }]
devices:
  a: { id: 1, pasidBits: 8, ats: true, pri: true }
  b: { id: 2, pasidBits: 8, ats: true, pri: true }
  s: { id: 3, pasidBits: 8, stall: true }
domains:
  D: [a, b]
  S: [s]
buffers: { ring: 16K }
steps:
`

describe('binding', () => {
  it('same device twice: one PASID, two unbinds', () => {
    holds(`${BASE}
  - bind: { device: a, process: P }
    expect: { pasid: 1 }
  - bind: { device: a, process: P }
    expect: { pasid: 1, invalidations: none }
  - check: { process: P }
    expect: { bonds: 1 }
  - unbind: { device: a, process: P }
    expect: { result: ok, invalidations: none }
  - dma: { device: a, process: P, write: 0x10000, value: 1 }
    expect: { result: ok, sharedWith: P }
  - unbind: { device: a, process: P }
    expect: { result: ok, invalidations: [config, iotlb, atc] }
  - dma: { device: a, process: P, read: 0x10000 }
    expect: no-pasid
  - unbind: { device: a, process: P }
    expect: NotBound
`)
  })

  it('two devices of one domain: one table entry', () => {
    holds(`${BASE}
  - bind: { device: a, process: P }
    expect: { pasid: 1, invalidations: config }
  - bind: { device: b, process: P }
    expect: { pasid: 1, invalidations: none }
  - dma: { device: b, process: P, write: 0x10000, value: 1 }
    expect: { result: ok, sharedWith: P }
`)
  })

  it('two domains: an entry in each, one PASID', () => {
    holds(`${BASE}
  - bind: { device: a, process: P }
    expect: { pasid: 1, invalidations: config }
  - bind: { device: s, process: P }
    expect: { pasid: 1, invalidations: config }
  - dma: { device: s, process: P, write: 0x10000, value: 'one' }
    expect: { result: ok, sharedWith: P }
  - dma: { device: a, process: P, read: 0x10000, length: 3 }
    expect: { result: ok, reads: 'one' }
`)
  })

  it('unbind one of two: the entry stays; last unbind: it goes from this domain only', () => {
    holds(`${BASE}
  - bind: { device: a, process: P }
  - bind: { device: b, process: P }
  - bind: { device: s, process: P }
  - unbind: { device: a, process: P }
    expect: { result: ok, invalidations: none }
  - dma: { device: b, process: P, write: 0x10000, value: 1 }
    expect: { result: ok, sharedWith: P }
  - unbind: { device: b, process: P }
    expect: { result: ok, invalidations: [config, iotlb, atc] }
  - dma: { device: b, process: P, read: 0x10000 }
    expect: { result: no-pasid, stale: none }
  - dma: { device: s, process: P, read: 0x10000 }
    expect: { result: ok, reads: 1 }
  - check: { process: P }
    expect: { pasid: 1, bonds: 1 }
`)
  })

  it('unbind never bound: an error, whatever the domain’s other devices did', () => {
    holds(`${BASE}
  - unbind: { device: a, process: P }
    expect: NotBound
  - bind: { device: b, process: P }
  - unbind: { device: a, process: P }
    expect: NotBound
  - dma: { device: b, process: P, read: 0x10000 }
    expect: ok
  - check: { process: P }
    expect: { bonds: 1 }
`)
  })

  it('exit with k bonds: each is quiet, each must be unbound', () => {
    holds(`${BASE}
  - bind: { device: a, process: P }
  - bind: { device: a, process: P }
  - bind: { device: b, process: P }
  - bind: { device: s, process: P }
  - exit: { process: P }
  - exit: { process: P }
    expect: { result: ok, invalidations: none }
  - dma: { device: a, process: P, read: 0x10000 }
    expect: { result: silent, events: none, response: invalid }
  - dma: { device: s, process: P, read: 0x10000 }
    expect: { result: silent, events: none, stalls: 0 }
  - check: { process: P }
    expect: { alive: false, pasid: 1, bonds: 3 }
  - unbind: { device: a, process: P }
  - unbind: { device: b, process: P }
  - unbind: { device: s, process: P }
  - check: { process: P }
    expect: { pasid: 1, bonds: 1 }
  - unbind: { device: a, process: P }
    expect: ok
  - check: { process: P }
    expect: { pasid: none, bonds: 0 }
`)
  })

  it('exec: the old address space and its bonds are gone, the new one has none', () => {
    holds(`${BASE}
  - bind: { device: a, process: P }
  - dma: { device: a, process: P, write: 0x10000, value: 'old' }
    expect: ok
  - exec: { process: P, areas: [{ address: 0x10000, size: 16K }] }
    expect: ok
  - check: { process: P }
    expect: { alive: true, pasid: none, bonds: 0 }
  - dma: { device: a, process: P, read: 0x10000, length: 3 }
    expect: { result: silent, events: none, stale: none }
  - bind: { device: a, process: P }
    expect: { pasid: 2 }
  - dma: { device: a, process: P, read: 0x10000, length: 3 }
    expect: { result: ok, reads: 0, sharedWith: P }
`)
  })

  it('20-bit and 8-bit devices sharing an Mm', () => {
    const many = Array.from({ length: 255 }, (_, index) => `  - bindPrivate: { device: wide, space: s${index} }`).join('\n')
    holds(`
processes: { P: [{ address: 0x10000, size: 4K }], Q: [{ address: 0x10000, size: 4K }] }
devices:
  wide: { id: 1, pasidBits: 20, ats: true, pri: true }
  narrow: { id: 2, pasidBits: 8, ats: true, pri: true }
domains: { W: [wide], N: [narrow] }
steps:
  - bind: { device: narrow, process: Q }
    expect: { pasid: 1 }
${many}
  - bind: { device: wide, process: P }
    expect: { pasid: 257 }
  - bind: { device: narrow, process: P }
    expect: PasidOutOfRange
  - check: { process: P }
    expect: { pasid: 257, bonds: 1 }
  - dma: { device: wide, process: P, write: 0x10000, value: 1 }
    expect: { result: ok, sharedWith: P }
  - bind: { device: wide, process: Q }
    expect: { pasid: 1 }
`)
  })

  it('PASID reuse with a stale ATC entry is caught', () => {
    const text = (forget: string) => `${BASE}
  - bind: { device: a, process: P }
  - dma: { device: a, process: P, write: 0x10000, value: 'of P' }
  - unbind: { device: a, process: P }
    ${forget}
  - bind: { device: a, process: Q }
    expect: { pasid: 1 }
  - dma: { device: a, pasid: 1, write: 0x10000, value: 'of Q' }
    expect: { result: ok, sharedWith: Q }
`
    holds(text('expect: ok'))
    expect(failuresOf(reportOf(scenarioOf(text('forget: [atc]')))).join('\n')).toMatch(/no stale answer of any cache/)
  })

  it('a group cannot be bound through its PASID-less member, and moves as one', () => {
    holds(`
processes: { P: [{ address: 0x10000, size: 4K }] }
devices:
  gpu: { id: 1, pasidBits: 8, ats: true, pri: true }
  alias: { id: 2 }
groups: { G: [gpu, alias] }
domains: { D: [gpu, alias], E: [] }
steps:
  - bind: { device: alias, process: P }
    expect: NoPasid
  - bind: { device: gpu, process: P }
    expect: { pasid: 1 }
  - detach: { device: alias }
    expect: Busy
  - unbind: { device: gpu, process: P }
  - attach: { device: alias, domain: E }
  - check: { device: gpu }
    expect: { domain: E }
`)
  })

  it('rollback on the second device of a group', () => {
    // One CD serves all devices of a domain, and says for all whether they stall: the second member does not fit into S.
    holds(`
processes: { P: [{ address: 0x10000, size: 4K }] }
devices:
  x: { id: 1, pasidBits: 8, stall: true }
  y: { id: 2, pasidBits: 8, ats: true, pri: true }
  z: { id: 3, pasidBits: 8, stall: true }
groups: { G: [x, y] }
domains: { S: [z] }
buffers: { ring: 4K }
steps:
  - map: { domain: S, address: 0x1000, buffer: ring }
  - attach: { device: x, domain: S }
    expect: Unsupported
  - check: { device: x }
    expect: { domain: none }
  - check: { device: y }
    expect: { domain: none }
  - dma: { device: x, read: 0x1000 }
    expect: refused
  - dma: { device: z, read: 0x1000 }
    expect: { result: ok, buffer: ring }
`)
  })

  it('domain change with bonds is refused, and nothing changes', () => {
    holds(`${BASE}
  - bind: { device: a, process: P }
  - attach: { device: a, domain: S }
    expect: Busy
  - detach: { device: a }
    expect: Busy
  - check: { device: a }
    expect: { domain: D, bonds: 1 }
  - dma: { device: a, process: P, read: 0x10000 }
    expect: ok
`)
  })

  it('stage-2-only domain: DMA yes, PASIDs no', () => {
    holds(`iommu: { kind: smmuv3, stage: 2 }
${BASE}
  - map: { domain: D, address: 0x1000, buffer: ring }
  - dma: { device: a, write: 0x1000, value: 1 }
    expect: { result: ok, buffer: ring }
  - dma: { device: s, read: 0x1000 }
    expect: not-mapped
  - bind: { device: a, process: P }
    expect: Unsupported
  - bindPrivate: { device: a, space: own }
    expect: Unsupported
  - dma: { device: s, pasid: 1, read: 0x1000 }
    expect: no-pasid
`)
  })

  it('cyclic PASIDs come back late', () => {
    holds(`pasids: cyclic
${BASE}
  - bind: { device: a, process: P }
    expect: { pasid: 1 }
  - unbind: { device: a, process: P }
  - bind: { device: a, process: Q }
    expect: { pasid: 2 }
`)
  })
})

describe('private spaces', () => {
  it('private and shared in one table, freed with mappings left, and used again', () => {
    holds(`${BASE}
  - bindPrivate: { device: a, space: own }
    expect: { pasid: 1 }
  - bind: { device: a, process: P }
    expect: { pasid: 2 }
  - map: { space: own, address: 0x10000, buffer: ring }
  - dma: { device: a, space: own, write: 0x10000, value: 1 }
    expect: { result: ok, buffer: ring }
  - dma: { device: b, space: own, read: 0x13ff8 }
    expect: { result: ok, buffer: ring }
  - unbind: { device: a, space: own }
    expect: { result: ok, invalidations: [config, iotlb, atc, iotlb] }
  - dma: { device: a, pasid: 1, read: 0x10000 }
    expect: { result: no-pasid, stale: none }
  - bind: { device: b, process: Q }
    expect: { pasid: 1 }
  - dma: { device: b, process: Q, read: 0x10000 }
    expect: { result: ok, reads: 0, sharedWith: Q, stale: none }
`)
  })
})
