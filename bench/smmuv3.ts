/** A whole SMMUv3 between a device and the tables: IOTLB hits, translations with a PASID, and the bigint API. */
import { encode, type Layout } from '../src/base/layout.ts'
import { vmsav8 } from '../src/format/pt/vmsav8.ts'
import { CD } from '../src/format/smmuv3/cd.ts'
import { registerNamed } from '../src/format/smmuv3/registers.ts'
import { STE } from '../src/format/smmuv3/ste.ts'
import type { PhysicalMemory } from '../src/memory/physical.ts'
import { READ, WRITE } from '../src/model/smmuv3/config.ts'
import { SmmuV3 } from '../src/model/smmuv3/smmu.ts'
import { imageOf, ROUNDS, row } from './row.ts'
import { newMemory, scattered, sequence } from './tables.ts'

const COUNT = 1 << 20
const DEVICE = 5
const PASID = 3
const SID_BITS = 8
const S1CDMAX = 4

/** An SMMUv3 whose device 5 reaches the page table at `root` with PASID 3. */
function smmu(memory: PhysicalMemory, root: number, tlb: number): SmmuV3 {
  const model = new SmmuV3(memory, { caches: { config: 64, tlb } })
  const put = (pa: number, layout: Layout, values: Record<string, number | bigint>) => {
    for (const [index, word] of encode(layout, values).entries()) memory.write32(pa + index * 4, word)
  }
  const streams = memory.allocate(64 << SID_BITS)
  const contexts = memory.allocate(4096)
  put(contexts + PASID * 64, CD, { V: 1, AA64: 1, R: 1, A: 1, ASET: 1, ASID: 7, T0SZ: 16, EPD1: 1, IPS: 5, TTB0: BigInt(root) })
  put(streams + DEVICE * 64, STE, { V: 1, Config: 5, S1ContextPtr: BigInt(contexts), S1CDMax: S1CDMAX, S1DSS: 2 })
  const set = (name: string, value: bigint) => {
    const { offset, bytes } = registerNamed(name)
    model.write(offset, bytes, value)
  }
  set('STRTAB_BASE', BigInt(streams))
  set('STRTAB_BASE_CFG', BigInt(SID_BITS))
  set('CR0', 1n)
  return model
}

/** The work of a row: a translation for each page of the sequence, reads and writes in turn. */
function numbers(model: SmmuV3, order: Uint32Array): () => number {
  return () => {
    let sum = 0
    for (let index = 0; index < order.length; index++) {
      const page = order[index]!
      model.translateFast(DEVICE, PASID, page >>> 20, (page << 12) | 0x123, index & 1 ? WRITE : READ)
      sum += (model.paLo >>> 0) + model.paHi
    }
    return sum
  }
}

function bigints(model: SmmuV3, order: Uint32Array): () => number {
  const iovas = Array.from(order, (page) => (BigInt(page) << 12n) | 0x123n)
  return () => {
    let sum = 0
    for (let index = 0; index < iovas.length; index++) {
      const outcome = model.translate({ device: DEVICE, pasid: PASID, iova: iovas[index]!, access: index & 1 ? 'write' : 'read' })
      if (outcome.ok) sum += Number(outcome.pa & 0xffffffffn) + Number(outcome.pa >> 32n)
    }
    return sum
  }
}

export function smmuRows(): void {
  const memory = newMemory()
  const pages = 1 << 23
  const { root } = scattered(memory, vmsav8(12, 'el1'), 3, 48, pages)
  const cached = smmu(memory, root, 4096)
  const uncached = smmu(memory, root, 0)
  const image = imageOf(memory)
  const hot = sequence(COUNT, 64)
  const many = sequence(COUNT, 1 << 10)
  const cold = sequence(COUNT, pages)
  const operations = COUNT
  const hits = (order: Uint32Array) => image && { image, sequence: order, command: 'hit', args: [root, 0, ROUNDS] }
  const walks = (order: Uint32Array) => image && { image, sequence: order, command: 'walk', args: [root, 0, ROUNDS] }
  row({
    name: 'IOTLB hit, PASID, 64 pages (4,096 entries)',
    operations,
    ours: numbers(cached, hot),
    theirs: hits(hot),
    aim: '≤ 4',
  })
  row({ name: 'IOTLB hit, PASID, 1,024 pages', operations, ours: numbers(cached, many), theirs: hits(many), aim: '≤ 4' })
  row({
    name: 'SMMUv3, PASID, IOTLB off, 64 pages / bare C walk',
    operations,
    ours: numbers(uncached, hot),
    theirs: walks(hot),
    aim: '',
  })
  row({
    name: 'SMMUv3, PASID, IOTLB off, cold / bare C walk',
    operations,
    ours: numbers(uncached, cold),
    theirs: walks(cold),
    aim: '',
  })
  row({ name: 'bigint API, IOTLB hit, 64 pages / C hit', operations, ours: bigints(cached, hot), theirs: hits(hot), aim: '' })
  row({
    name: 'bigint API, IOTLB off, cold / bare C walk',
    operations,
    ours: bigints(uncached, cold),
    theirs: walks(cold),
    aim: '≤ 6',
  })
}
