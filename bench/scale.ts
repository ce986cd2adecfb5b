/** Many processes, many devices: how long it takes and how much memory. */
import { UR, UW } from '../src/base/types.ts'
import { Machine } from '../src/machine/machine.ts'

const PROCESSES = 10_000
const DEVICES = 1_000
const DOMAINS = 100
const START = 0x1_0000n

/** Each process is bound to ten devices of a domain, and one of them writes a page that was not there before. */
export function scale(): void {
  const start = process.hrtime.bigint()
  const before = process.memoryUsage()
  const machine = new Machine({ memory: 2 ** 33, largestDevice: 2047, checkStale: false })
  const capabilities = { pasidBits: 16, ats: true, pri: true, stall: false, plain: true, responseNeedsPasid: true }
  const domains = Array.from({ length: DOMAINS }, (_, index) => machine.createDomain(`d${index}`))
  const devices = Array.from({ length: DEVICES }, (_, id) => machine.addDevice({ id, name: `dev${id}`, capabilities }))
  for (const [index, { core }] of devices.entries()) machine.run(machine.iommu.attach(domains[index % DOMAINS]!, core))
  let bonds = 0
  for (let index = 0; index < PROCESSES; index++) {
    const { mm } = machine.addProcess(`p${index}`)
    machine.run(mm.mmap(START, 0x1_0000n, UR | UW))
    for (let device = index % DOMAINS; device < DEVICES; device += DOMAINS) {
      const bond = machine.run(machine.iommu.bind(devices[device]!.core, mm))
      bonds++
      if (device >= DOMAINS) continue
      const data = Uint8Array.of(1, 2, 3, 4)
      const dma = { pasid: bond.pasid, address: START, access: 'write', length: 4, data } as const
      const result = machine.run(devices[device]!.requester.dma(dma))
      if (!result.ok) throw new Error(`p${index}: ${result.why}`)
    }
  }
  const seconds = Number(process.hrtime.bigint() - start) / 1e9
  const { rss, heapUsed } = process.memoryUsage()
  const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(0)} MiB`
  console.log(`
${PROCESSES.toLocaleString('en')} processes, ${DEVICES.toLocaleString('en')} devices in ${DOMAINS} domains, ${bonds.toLocaleString('en')} bonds, ${machine.counts.pageRequests.toLocaleString('en')} page requests: ${seconds.toFixed(1)} s
memory: ${mib(rss - before.rss)} in all, of that ${mib(machine.memory.storageBytes)} physical memory of the machine, ${mib(heapUsed - before.heapUsed)} JavaScript objects`)
}
