/** SYSTEM.md section 9, "Invalidation", through the whole machine: what devices and the IOTLB still hold afterwards. */
import { describe, expect, it } from 'vitest'
import { random } from '../base/op.ts'
import { PR, PW, UR, UW } from '../base/types.ts'
import { Machine } from './machine.ts'
import { holds } from './scenario.suite.ts'

const CAPABILITIES = { pasidBits: 8, ats: true, pri: true, stall: false, plain: true, responseNeedsPasid: true }
const PAGE = 4096n
const BASE = 0x100000n

/** A process of 256 pages, and a device that holds the translations of all of them. */
function warm() {
  const stale: string[] = []
  const commands: string[] = []
  const machine = new Machine({
    log: (event) => {
      if (event.source === 'stale') stale.push(event.hit.iova.toString(16))
      if (event.source === 'command' && event.command.cache === 'atc') commands.push(event.command.text)
    },
  })
  const process = machine.addProcess('P')
  machine.run(process.mm.mmap(BASE, 256n * PAGE, UR | UW, { populate: true }))
  const device = machine.addDevice({ id: 1, name: 'nic', capabilities: CAPABILITIES, atcEntries: 1024 })
  machine.run(machine.iommu.attach(machine.createDomain('D'), device.core))
  const { pasid } = machine.run(machine.iommu.bind(device.core, process.mm))
  const dma = (page: number) =>
    machine.run(device.requester.dma({ pasid, address: BASE + BigInt(page) * PAGE, access: 'read', length: 8 }))
  for (let page = 0; page < 256; page++) expect(dma(page).ok).toBe(true)
  expect(device.requester.atc.size).toBe(256)
  commands.length = 0
  /** Pages of which the device still holds the translation. */
  const held = () => new Set([...device.requester.atc.entries].map(({ iova }) => Number((iova - BASE) / PAGE)))
  return { machine, process, device, pasid, dma, held, stale, commands }
}

describe('ranges', () => {
  it.each([
    ['one page', 7, 8],
    ['end exclusive', 16, 32],
    ['unaligned to any power of two', 3, 11],
    ['everything', 0, 256],
    ['above the threshold', 1, 255],
  ])('%s: what was unmapped is gone from the device, and what was not stays usable', (_, first, end) => {
    const { machine, process, dma, held, stale, commands } = warm()
    machine.run(process.mm.munmap(BASE + BigInt(first) * PAGE, BigInt(end - first) * PAGE))
    for (let page = first; page < end; page++) expect(held().has(page)).toBe(false)
    // With the fewest commands of powers of two, nothing else went.
    if (commands.length > 1) expect(held().size).toBe(256 - (end - first))
    for (let page = 0; page < 256; page++) expect(dma(page).ok, `page ${page}`).toBe(page < first || page >= end)
    expect(stale).toEqual([])
  })

  it('an empty range invalidates nothing', () => {
    const { machine, process, held, commands } = warm()
    machine.run(process.mm.munmap(BASE + 1024n * PAGE, PAGE))
    expect(commands).toEqual([])
    expect(held().size).toBe(256)
  })

  it('ATC without PASID takes all PASIDs of the range, and of no other', () => {
    const { machine, device, held, commands } = warm()
    const { pa } = machine.addBuffer('ring', 4096)
    const domain = machine.domains.get('D')!
    machine.run(domain.map(BASE + 5n * PAGE, BigInt(pa), PAGE, UR | UW | PR | PW))
    expect(machine.run(device.requester.dma({ pasid: null, address: BASE + 5n * PAGE, access: 'write', length: 8 })).ok).toBe(
      true,
    )
    expect(machine.run(domain.unmap(BASE + 5n * PAGE, PAGE))).toBe(PAGE)
    expect(commands).toHaveLength(1)
    expect(held().has(5)).toBe(false)
    expect(held().size).toBe(255)
  })

  it('random unmaps leave nothing stale, in processes and in domains', () => {
    for (let seed = 1; seed <= 12; seed++) {
      const { machine, process, dma, stale } = warm()
      const pick = random(seed)
      const gone = new Set<number>()
      for (let round = 0; round < 6; round++) {
        const first = pick(250)
        const count = 1 + pick(round % 2 === 0 ? 5 : 100)
        machine.run(process.mm.munmap(BASE + BigInt(first) * PAGE, BigInt(count) * PAGE))
        for (let page = first; page < first + count; page++) gone.add(page)
        for (let probe = 0; probe < 20; probe++) {
          const page = pick(256)
          expect(dma(page).ok, `seed ${seed}, page ${page}`).toBe(!gone.has(page))
        }
      }
      expect(stale).toEqual([])
    }
  })
})

describe('order and completion', () => {
  it('IOTLB before ATC, each completed, before the memory is free', () => {
    const order: string[] = []
    const machine: Machine = new Machine({
      log: (event) => {
        if (event.source === 'command') order.push(event.command.name)
        if (event.source === 'device' && event.text.includes('empties')) order.push('device done')
      },
    })
    const process = machine.addProcess('P')
    machine.run(process.mm.mmap(BASE, PAGE, UR | UW))
    const device = machine.addDevice({ id: 1, name: 'nic', capabilities: CAPABILITIES })
    machine.run(machine.iommu.attach(machine.createDomain('D'), device.core))
    const { pasid } = machine.run(machine.iommu.bind(device.core, process.mm))
    machine.run(device.requester.dma({ pasid, address: BASE, access: 'write', length: 8 }))
    const pa = Number(process.mm.translate(BASE)!)
    const free = machine.memory.free.bind(machine.memory)
    machine.memory.free = (at, bytes) => {
      if (at === pa) order.push('page freed')
      free(at, bytes)
    }
    order.length = 0
    machine.run(process.mm.munmap(BASE, PAGE))
    expect(order).toEqual(['CMD_TLBI_NH_VA', 'CMD_SYNC', 'CMD_ATC_INV', 'CMD_SYNC', 'device done', 'page freed'])
  })

  it('the tables of a domain are freed after the IOTLB forgot them', () => {
    holds(`
devices: { a: { id: 1, ats: true }, d: { id: 2 } }
domains: { D: [a, d] }
buffers: { ring: 4K, other: 4K }
steps:
  - map: { domain: D, address: 0x40000000, buffer: ring }
  - dma: { device: a, read: 0x40000000 }
    expect: { result: ok, buffer: ring }
  - dma: { device: d, read: 0x40000000 }
    expect: { result: ok, buffer: ring }
  - unmap: { domain: D, address: 0x40000000, size: 4K }
    expect: { bytes: 4096, invalidations: [iotlb, atc] }
  - map: { domain: D, address: 0x40000000, buffer: other }
  - dma: { device: a, write: 0x40000000, value: 1 }
    expect: { result: ok, buffer: other, stale: none }
  - dma: { device: d, read: 0x40000000 }
    expect: { result: ok, buffer: other, reads: 1, stale: none }
`)
  })

  it('caches switched off change nothing but what is forgotten', () => {
    const text = (caches: string, stale: string, result: string) => `
iommu: { kind: smmuv3, caches: ${caches} }
devices: { d: { id: 2 } }
domains: { D: [d] }
buffers: { ring: 4K }
steps:
  - map: { domain: D, address: 0x1000, buffer: ring }
  - dma: { device: d, read: 0x1000 }
    expect: { result: ok, buffer: ring }
  - unmap: { domain: D, address: 0x1000, size: 4K }
    forget: [iotlb]
  - dma: { device: d, read: 0x1000 }
    expect: { result: ${result}, stale: ${stale} }
`
    holds(text('{ iotlb: 64, config: 16 }', 'iotlb', 'ok'))
    holds(text('{ iotlb: 0, config: 0 }', 'none', 'not-mapped'))
  })
})
