/** SYSTEM.md section 9, "Faults", through the whole machine: devices, queues in memory, the OS side, processes. */
import { describe, expect, it } from 'vitest'
import { run } from '../base/op.ts'
import { PR, UR } from '../base/types.ts'
import { holds } from './scenario.suite.ts'

const BASE = `
processes:
  P:
    - { address: 0x10000, size: 128K, rights: rw }
    - { address: 0x40000, size: 16K, rights: r }
    - { address: 0x50000, size: 16K, rights: rx }
    - { address: 0x60000, size: 16K, rights: rw, kernel: true }
    - { address: 0x200000, size: 4M, rights: rw, huge: true }
    - { address: 0x7f0000, size: 16K, rights: rw, growsDown: true }
  Q: [{ address: 0x10000, size: 64K, rights: rw }]
devices:
  a: { id: 1, pasidBits: 8, ats: true, pri: true }
  b: { id: 2, pasidBits: 8, ats: true, pri: true }
  s: { id: 3, pasidBits: 8, stall: true }
domains:
  D: [a, b]
  S: [s]
buffers: { ring: 4K }
steps:
  - bind: { device: a, process: P }
    expect: { pasid: 1 }
  - bind: { device: b, process: P }
  - bind: { device: s, process: P }
`

describe('page requests', () => {
  it('groups of one and of three get one answer each; last missing: none, until it comes', () => {
    const { machine } = holds(`${BASE}
  - request: { device: a, process: P, pages: [0x10000] }
    expect: { pageRequests: 1, response: success }
  - request: { device: a, process: P, pages: [0x11000, 0x12000, 0x13000] }
    expect: { pageRequests: 3, response: success }
  - request: { device: a, process: P, pages: [0x14000, 0x15000], last: false, group: 40 }
  - cpu: { process: P, read: 0x14000 }
    expect: ok
  - request: { device: a, process: P, pages: [0x16000], group: 40 }
    expect: { response: success }
`)
    const { mm } = machine.processes.get('P')!
    expect([0x10000n, 0x11000n, 0x12000n, 0x13000n, 0x15000n, 0x16000n].map((at) => mm.page(at).kind)).toEqual(
      Array(6).fill('present'),
    )
  })

  it('two devices with the same group index are answered each by itself', () => {
    holds(`${BASE}
  - request: { device: a, process: P, pages: [0x10000], group: 5, last: false }
  - request: { device: b, process: P, pages: [0x900000], group: 5 }
    expect: { response: invalid }
  - request: { device: a, process: P, pages: [0x11000], group: 5 }
    expect: { response: success }
`)
  })

  it('sticky invalid: the first failure decides the group', () => {
    holds(`${BASE}
  - request: { device: a, process: P, pages: [0x10000, 0x900000, 0x11000] }
    expect: { response: invalid }
`)
  })

  it('overflow: the hardware answers by its own rules, the device asks again', () => {
    holds(`iommu: { kind: smmuv3, pageRequestQueue: 1 }
${BASE}
  - interrupts: off
  - request: { device: a, process: P, pages: [0x10000, 0x11000, 0x12000, 0x13000] }
  - interrupts: on
  - dma: { device: a, process: P, write: 0x10000, length: 16K, value: 1 }
    expect: { result: ok, sharedWith: P }
  - dma: { device: b, process: P, read: 0x14000, length: 8K }
    expect: ok
`)
  })

  it('a stop marker gets no answer; unbind sends one and drains what is queued', () => {
    holds(`${BASE}
  - request: { device: a, process: P, stopMarker: true }
    expect: { result: ok, events: none, pageRequests: 0 }
  - bind: { device: a, process: Q }
    expect: { pasid: 2 }
  - interrupts: off
  - request: { device: a, process: P, pages: [0x10000] }
  - request: { device: a, process: Q, pages: [0x10000] }
  - unbind: { device: a, process: P }
    why: Drained with another PASID's request in the queue.
    expect: { result: ok, response: success }
  - interrupts: on
  - dma: { device: a, process: Q, write: 0x10000, value: 1 }
    expect: { result: ok, sharedWith: Q }
  - dma: { device: b, pasid: 1, read: 0x11000 }
    why: The entry is the domain's, and another device of it is still bound.
    expect: ok
`)
  })
})

describe('rights of areas', () => {
  it('read, write, execute, privileged against VMA flags', () => {
    holds(`${BASE}
  - dma: { device: a, process: P, write: 0x10000, value: 1 }
    expect: ok
  - dma: { device: a, process: P, execute: 0x10000 }
    expect: { result: refused, response: invalid }
  - dma: { device: a, process: P, read: 0x40000 }
    expect: ok
  - dma: { device: a, process: P, write: 0x40000 }
    expect: { result: refused, response: invalid }
  - dma: { device: a, process: P, execute: 0x50000 }
    expect: ok
  - dma: { device: a, process: P, write: 0x50000 }
    expect: { result: refused, response: invalid }
  - dma: { device: a, process: P, read: 0x60000 }
    expect: { result: refused, response: invalid }
  - dma: { device: a, process: P, read: 0x60000, privileged: true }
    expect: ok
  - dma: { device: s, process: P, read: 0x61000 }
    expect: { result: refused, stalls: 1 }
  - dma: { device: s, process: P, write: 0x61000, privileged: true }
    expect: { result: ok, stalls: 1 }
`)
  })

  it('stack growth, huge page, swapped page, copy on write', () => {
    holds(`${BASE}
  - dma: { device: s, process: P, write: 0x7ef000, value: 1 }
    expect: { result: ok, stalls: 1 }
  - dma: { device: a, process: P, write: 0x200000, value: 'first' }
    expect: { result: ok, pageRequests: 1 }
  - dma: { device: a, process: P, write: 0x3ffff8, value: 2 }
    why: One request brought in all of the large page.
    expect: { result: ok, pageRequests: 0, sharedWith: P }
  - cpu: { process: P, write: 0x10000, value: 'kept' }
  - swapOut: { process: P, address: 0x10000 }
  - dma: { device: s, process: P, read: 0x10000, length: 4 }
    expect: { result: ok, reads: 'kept', stalls: 1 }
  - fork: { process: P, child: C }
  - dma: { device: s, process: P, write: 0x200000, value: 'other' }
    expect: { result: ok, stalls: 1, notSharedWith: C, sharedWith: P }
  - cpu: { process: C, read: 0x200000, length: 5 }
    expect: { result: ok, reads: 'first' }
`)
  })
})

describe('without a process', () => {
  it('after exit: silent; unbound PASID: logged', () => {
    const { steps } = holds(`${BASE}
  - exit: { process: P }
  - dma: { device: s, process: P, read: 0x10000 }
    expect: { result: silent, events: none, stalls: 0 }
  - dma: { device: s, pasid: 7, read: 0x10000 }
    expect: { result: no-pasid, events: no-pasid }
  - unbind: { device: s, process: P }
  - dma: { device: s, pasid: 1, read: 0x10000 }
    expect: { result: no-pasid, events: no-pasid }
`)
    expect(
      steps
        .at(-1)!
        .narration.map(({ text }) => text)
        .join('\n'),
    ).toMatch(/logged/)
  })

  it('unhandled: a request without PASID, or for a private space, is answered and not granted', () => {
    holds(`${BASE}
  - bindPrivate: { device: a, space: own }
  - request: { device: a, space: own, pages: [0x10000] }
    expect: { response: invalid }
  - request: { device: b, pages: [0x10000] }
    expect: { response: failure }
  - dma: { device: b, process: P, read: 0x18000 }
    why: A failure response makes the device stop asking.
    expect: { result: silent, pageRequests: 0 }
`)
  })

  it('a domain’s handler decides: later, and by its own code', () => {
    const { machine } = holds(`${BASE}
  - map: { domain: S, address: 0x1000, buffer: ring }
  - dma: { device: s, read: 0x1000 }
    expect: ok
`)
    const domain = machine.domains.get('S')!
    const { requester, core } = machine.devices.get('s')!
    const { pa } = machine.buffers.get('ring')!
    const asked: number[] = []
    domain.onPageRequest = ({ stallTag }) => {
      if (stallTag !== null) asked.push(stallTag)
      return 'later'
    }
    const dma = requester.dma({ pasid: null, address: 0x9000n, access: 'read', length: 8 })
    while (machine.counts.stalls === 0) dma.next()
    machine.settle()
    expect(dma.next().done).toBe(false)
    expect(asked.length).toBe(1)
    machine.run(domain.map(0x9000n, BigInt(pa), 4096n, UR | PR))
    const answer = () => machine.run(machine.iommu.respond(core, { stallTag: asked[0]! }, 'success'))
    answer()
    machine.settle()
    expect(run(dma, () => true)).toMatchObject({ ok: true, reached: [{ pa: BigInt(pa) }] })
    expect(answer).toThrow(expect.objectContaining({ code: 'UnknownGroup' }))
  })
})
