/** What the drivers of several architectures are tested for, over their hardware models. */
import fc from 'fast-check'
import { expect } from 'vitest'
import type { IommuModel, PageRequestMessage } from '../../model/iommu.ts'
import type { TableDriver } from './driver.ts'
import { PLAIN, RW, type TestDevice, type TestDomain, type TestSystem } from './system.suite.ts'

type AnySystem = TestSystem<IommuModel, TableDriver>

const page = fc.integer({ min: 0, max: 1100 })

/** First page, number of pages, whether they are unmapped, and a further page to look at. */
export const mapChanges = fc.array(fc.tuple(page, fc.integer({ min: 1, max: 600 }), fc.boolean(), page), {
  minLength: 1,
  maxLength: 12,
})

/** Maps and unmaps so; after each change, devices with and without an ATC reach exactly what is left. */
export function expectExactlyWhatIsMapped(system: AnySystem, changes: readonly (readonly [number, number, boolean, number])[]) {
  const devices = [system.device(1, PLAIN), system.device(2)]
  const domain = system.domain('A', 'dma', ...devices)
  const model = new Map<number, bigint>()
  for (const [at, pages, unmaps, probe] of changes) {
    const free = Array.from({ length: pages }, (_, index) => at + index).every((one) => !model.has(one))
    if (unmaps) {
      system.unmap(domain, BigInt(at) << 12n, BigInt(pages) << 12n)
      for (let index = 0; index < pages; index++) model.delete(at + index)
    } else if (free) {
      const pa = 0x5000_0000n + (BigInt(at) << 12n)
      system.map(domain, BigInt(at) << 12n, pa, BigInt(pages) << 12n)
      for (let index = 0; index < pages; index++) model.set(at + index, pa + (BigInt(index) << 12n))
    }
    for (const page of [probe, at, at + pages - 1, at + pages])
      for (const device of devices) {
        const got = device.dma(BigInt(page) << 12n)
        expect(typeof got === 'bigint' ? got : undefined).toBe(model.get(page))
      }
  }
}

/** A device with more PASIDs joins a domain whose table of PASIDs is too small for it; nobody is disturbed. @returns that device. */
export function joinsWithMorePasids(system: AnySystem): TestDevice {
  const narrow = system.device(1, { pasidBits: 8, ats: false, pri: false })
  const domain = system.domain('A', 'dma', narrow)
  system.map(domain, 0x1000n, 0x5000_0000n)
  const own = system.bind(domain, 7, null)
  system.run(system.driver.ioMmPgtable(own).map(0x1000n, 0x6000_0000n, 0x1000n, RW))
  const wide = system.device(2, { pasidBits: 20, ats: false, pri: false })
  domain.devices.add(wide)
  system.watch(system.driver.attachDevice(domain, wide), () => {
    expect([narrow.dma(0x1000n), narrow.dma(0x1000n, 7)]).toEqual([0x5000_0000n, 0x6000_0000n])
  })
  return wide
}

/** Unmapped memory is still reached when the IOTLB is not told. */
export function showsForgottenIotlb(system: AnySystem): { device: TestDevice; domain: TestDomain } {
  const { device, domain } = system.mapped(PLAIN)
  expect(device.dma(0x1000n)).toBe(0x5000_0000n)
  system.driver.commands.forget.add('iotlb')
  system.unmap(domain, 0x1000n)
  expect(device.dma(0x1000n)).toBe(0x5000_0000n)
  system.driver.commands.forget.clear()
  return { device, domain }
}

/** A page request of PASID 3 to read. */
export function pageRequest(device: TestDevice, group: number, more: Partial<PageRequestMessage> = {}): PageRequestMessage {
  const kind = { last: true, read: true, write: false, execute: false, privileged: false }
  return { device: device.id, pasid: 3, address: 0x7000n, group, ...kind, ...more }
}

/** Devices get invalidations and never answer: when nothing else is left to do, the time is over. To be run in the background. */
export function withoutAnswers(model: IommuModel, timeout: (tag: number) => void): () => boolean {
  const tags: number[] = []
  model.onMessage = (message) => {
    if (message.kind === 'invalidate') tags.push(message.tag)
  }
  return () => {
    if (!model.step() && tags.length > 0) timeout(tags.pop()!)
    return true
  }
}
