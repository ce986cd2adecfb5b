/** Operations, DMA and the hardware's own work in any order, for every architecture. */
import { expect } from 'vitest'
import { type Op, Scheduler, step } from '../../base/op.ts'
import type { IommuModel } from '../../model/iommu.ts'
import type { TableDriver } from './driver.ts'
import { RW, type TestSystem } from './system.suite.ts'

const PAGES = 6

/**
 * Operations of several CPUs, DMA of two devices and the hardware's own work, interleaved. Memory counts as freed when the operation that
 * unmapped it has returned: no DMA may reach it from then on, whatever else went on meanwhile.
 */
export function everythingAtOnce(seed: number, system: TestSystem<IommuModel, TableDriver>): number {
  const { driver } = system
  const [a, b] = [system.device(1), system.device(2, { ats: false, pri: false })]
  const [first, second] = [system.domain('A', 'dma', a), system.domain('B', 'dma', b)]
  // ASIDs 1 and 2 are the domains'; processes take them over later.
  const x = system.process('X', 50)
  x.table.map(0, 0x5000_0000, PAGES * 4096, RW)
  system.map(first, 0n, 0x6000_0000n, BigInt(PAGES) * 4096n)
  system.map(second, 0n, 0x7000_0000n, 0x20_0000n)
  const ioMm = system.bind(first, 1, x)

  const freed = new Set<bigint>()
  let reached = 0
  const probe = (page: bigint, access: 'read' | 'write') => {
    for (const device of [a, b])
      for (const pasid of [null, 1]) {
        const got = device.dma(page, pasid, access)
        if (typeof got !== 'bigint') continue
        reached++
        if (freed.has(got))
          throw new Error(`seed ${seed}: device ${device.id}, PASID ${pasid} reached 0x${got.toString(16)}, freed`)
      }
  }
  function* dma(): Op<void> {
    for (let turn = 0; turn < 120; turn++) {
      probe(BigInt(turn % PAGES) << 12n, turn % 2 === 0 ? 'read' : 'write')
      yield* step('dma')
    }
  }
  /** The CPU takes pages away from the process, one by one, and tells the IOMMU. */
  function* shrink(): Op<void> {
    for (let page = 0; page < PAGES; page++) {
      x.table.unmap(page * 4096, 4096)
      yield* step('page table changed')
      yield* driver.ioMmInvalidate(ioMm, [first, second], BigInt(page) << 12n, BigInt(page + 1) << 12n)
      freed.add(0x5000_0000n + (BigInt(page) << 12n))
    }
  }
  function* unmap(domain: typeof first, base: bigint): Op<void> {
    for (let page = 0n; page < BigInt(PAGES); page++) {
      yield* driver.pgtable(domain)!.unmap(page << 12n, 0x1000n)
      freed.add(base + (page << 12n))
    }
  }
  /** The second domain binds and unbinds the process again and again. */
  function* rebind(): Op<void> {
    for (let turn = 0; turn < 3; turn++) {
      yield* driver.ioMmAttach(second, ioMm)
      yield* step('bound')
      yield* driver.ioMmDetach(second, ioMm)
    }
  }
  /** Processes whose ASIDs are those of the domains. */
  function* collide(): Op<void> {
    for (const asid of [1, 2]) {
      const mm = system.process(`Y${asid}`, asid)
      mm.table.map(0, 0x7800_0000, PAGES * 4096, RW)
      const other = { pasid: 1 + asid, mm }
      yield* driver.ioMmAlloc(other)
      yield* driver.ioMmAttach(first, other)
    }
  }
  /** A third device comes and goes, in both domains. */
  const c = system.device(3, { ats: false, pri: false, pasidBits: 16 })
  function* move(): Op<void> {
    for (const domain of [first, second, first]) {
      domain.devices.add(c)
      yield* driver.attachDevice(domain, c)
      yield* step('attached')
    }
    yield* driver.detachDevice(first, c)
  }
  const scheduler = new Scheduler(seed)
  const tasks = [
    scheduler.spawn('dma', dma()),
    scheduler.spawn('shrink', shrink()),
    scheduler.spawn('unmap A', unmap(first, 0x6000_0000n)),
    scheduler.spawn('unmap B', unmap(second, 0x7000_0000n)),
    scheduler.spawn('rebind', rebind()),
    scheduler.spawn('collide', collide()),
    scheduler.spawn('move', move()),
  ]
  scheduler.spawn(
    'hardware',
    (function* () {
      for (;;) yield { kind: system.model.step() ? ('step' as const) : ('wait' as const), what: 'commands' }
    })(),
    { service: true },
  )
  scheduler.run()
  for (const task of tasks) task.result()
  // In the end nothing is left of what was freed, and all of the rest.
  for (let page = 0; page < PAGES; page++) probe(BigInt(page) << 12n, 'read')
  expect([b.dma(0x6000n), a.dma(0n, 2), a.dma(0n, 3)]).toEqual([0x7000_6000n, 0x7800_0000n, 0x7800_0000n])
  return reached
}
