/** A whole SMMUv3 between a device and the tables: IOTLB hits, translations with a PASID, and the bigint API. */
import { encode, type Layout } from '../src/base/layout.ts'
import { vmsav8 } from '../src/format/pt/vmsav8.ts'
import { CD } from '../src/format/smmuv3/cd.ts'
import { registerNamed } from '../src/format/smmuv3/registers.ts'
import { STE } from '../src/format/smmuv3/ste.ts'
import type { PhysicalMemory } from '../src/memory/physical.ts'
import { READ, WRITE } from '../src/model/common/request.ts'
import { SmmuV3 } from '../src/model/smmuv3/smmu.ts'
import { imageOf, ROUNDS, row } from './row.ts'
import { newMemory, scattered, sequence } from './tables.ts'
import type { TwinImage } from './twin.ts'

const operations = 1 << 20
const PAGES = 1 << 23
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
    const { result } = model
    let sum = 0
    for (let index = 0; index < order.length; index++) {
      const page = order[index]!
      model.translateFast(DEVICE, PASID, page >>> 20, (page << 12) | 0x123, index & 1 ? WRITE : READ)
      sum += (result.paLo >>> 0) + result.paHi
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

interface Bench {
  readonly root: number
  readonly memory: PhysicalMemory
  readonly image: TwinImage | null
}

function bench(): Bench {
  const memory = newMemory()
  const { root } = scattered(memory, vmsav8(12, 'el1'), 3, 48, PAGES)
  return { memory, root, image: imageOf(memory) }
}

const theirs = ({ image, root }: Bench, command: 'hit' | 'walk', order: Uint32Array) =>
  image && { image, sequence: order, command, args: [root, 0, ROUNDS] }

export function hitRows(): void {
  const it = bench()
  const cached = smmu(it.memory, it.root, 4096)
  for (const pages of [64, 1024]) {
    const order = sequence(operations, pages)
    const name = `IOTLB hit, PASID, ${pages} pages (of ${cached.tlb.capacity} entries)`
    row({ name, operations, ours: numbers(cached, order), theirs: theirs(it, 'hit', order), aim: '≤ 4' })
  }
}

export function translationRows(): void {
  const it = bench()
  const uncached = smmu(it.memory, it.root, 0)
  for (const [words, pages] of [
    ['64 pages', 64],
    ['cold', PAGES],
  ] as const) {
    const order = sequence(operations, pages)
    const name = `SMMUv3, PASID, IOTLB off, ${words} / bare C walk`
    row({ name, operations, ours: numbers(uncached, order), theirs: theirs(it, 'walk', order), aim: '' })
  }
}

export function bigintRows(): void {
  const it = bench()
  const cold = sequence(operations, PAGES)
  const uncached = bigints(smmu(it.memory, it.root, 0), cold)
  row({
    name: 'bigint API, IOTLB off, cold / bare C walk',
    operations,
    ours: uncached,
    theirs: theirs(it, 'walk', cold),
    aim: '≤ 6',
  })
  const hot = sequence(operations, 64)
  const cached = bigints(smmu(it.memory, it.root, 4096), hot)
  row({ name: 'bigint API, IOTLB hit, 64 pages / C hit', operations, ours: cached, theirs: theirs(it, 'hit', hot), aim: '' })
}
