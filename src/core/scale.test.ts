import { expect, it } from 'vitest'
import { run } from '../base/op.ts'
import type { Mm } from '../mm/mm.ts'
import { small as smallMm } from '../mm/small.suite.ts'
import { prot } from '../mm/vma.ts'
import type { Device } from './device.ts'
import { FakeDriver } from './fake-driver.suite.ts'
import { Iommu } from './iommu.ts'
import { AT, CAPABLE } from './small.suite.ts'

/** Milliseconds of CPU time that it takes to bind, fault, invalidate, exit and unbind this many. */
function workload(processes: number, devices: number): number {
  const start = process.cpuUsage()
  const driver = new FakeDriver()
  const iommu = new Iommu(driver)
  const system = smallMm()
  const all: Device[] = []
  for (let id = 1; id <= devices; id++) {
    const device = run(iommu.addDevice({ id, name: `d${id}`, capabilities: CAPABLE }))
    run(iommu.attach(run(iommu.createDomain(`D${id}`, 'dma')), device))
    all.push(device)
  }
  const mms: Mm[] = []
  for (let index = 0; index < processes; index++) {
    const mm = system.create(`p${index}`)
    run(mm.mmap(AT, 0x4000n, prot('rw')))
    for (let turn = 0; turn < 3; turn++) run(iommu.bind(all[(index * 7 + turn * 31) % devices]!, mm))
    if (index % 10 === 0) run(mm.access(AT, 'write'))
    mms.push(mm)
  }
  expect([iommu.ioMms.size, iommu.bonds.size]).toEqual([processes, processes * 3])
  for (const mm of mms) run(mm.munmap(AT, 0x1000n))
  for (const mm of mms.slice(0, processes / 2)) run(mm.exit())
  for (const bond of [...iommu.bonds]) run(bond.unbind())
  for (const mm of mms) run(mm.exit())
  expect([iommu.ioMms.size, iommu.bonds.size, system.framesInUse]).toEqual([0, 0, 0])
  const { user, system: kernel } = process.cpuUsage(start)
  return (user + kernel) / 1000
}

it('10,000 processes bound to 1,000 devices take seconds; the time grows with the number, not with its square', () => {
  workload(500, 100)
  const quarter = workload(2_500, 1_000)
  const whole = workload(10_000, 1_000)
  expect(whole).toBeLessThan(15_000)
  // Something that looks through all processes or bonds for each bind would show: its part grows sixteen times.
  expect(whole / quarter).toBeLessThan(4.5)
})
