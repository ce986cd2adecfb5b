/** Whole VT-d and AMD units between a device and the tables: IOTLB hits, and translations without it. */
import { encode, type Layout } from '../src/base/layout.ts'
import { DTE, setGcr3Root } from '../src/format/amdvi/dte.ts'
import { REG as AMD_REG, CONTROL_GT_EN, CONTROL_IOMMU_EN } from '../src/format/amdvi/registers.ts'
import { amdV1 } from '../src/format/pt/amd-v1.ts'
import type { PtFormat } from '../src/format/pt/format.ts'
import { vtdSecond } from '../src/format/pt/vtd-second.ts'
import { amdV2, vtdFirst } from '../src/format/pt/x86.ts'
import { CONTEXT_ENTRY, SM_CONTEXT_ENTRY } from '../src/format/vtd/contexts.ts'
import { PASID_DIR_ENTRY, PASID_ENTRY } from '../src/format/vtd/pasid.ts'
import { GS_RTP, GS_TE, REG as VTD_REG } from '../src/format/vtd/registers.ts'
import { ROOT_ENTRY, SM_ROOT_ENTRY } from '../src/format/vtd/root.ts'
import type { PhysicalMemory } from '../src/memory/physical.ts'
import { AmdIommu } from '../src/model/amdvi/iommu.ts'
import { VtdIommu } from '../src/model/vtd/iommu.ts'
import { imageOf, ROUNDS, row } from './row.ts'
import { newMemory, scattered, sequence } from './tables.ts'

const OPERATIONS = 1 << 20
const PAGES = 1 << 23
const DEVICE = 5
const PASID = 3
/** Frames lie above 64 GiB: none is in the interrupt address range, which no translation may lead to. */
const OUTPUT_HI = 0x10

/** The work of a row: a translation for each page, reads and writes in turn. */
type Work = (order: Uint32Array) => () => number

interface Unit {
  readonly name: string
  readonly scheme: { readonly format: PtFormat; readonly topDepth: number; readonly inputBits: number }
  /** The twin's walk. */
  readonly twin: string
  /** A unit whose device 5 reaches the tables at `root`, with PASID 3 or without. @param tlb entries of the IOTLB. */
  work(memory: PhysicalMemory, root: number, tlb: number): Work
}

function put(memory: PhysicalMemory, pa: number, layout: Layout, values: Record<string, number | bigint>): void {
  for (const [index, word] of encode(layout, values).entries()) memory.write32(pa + index * 4, word)
}

/** A translation for each page of the order, reads and writes in turn. Each group has a process of its own: one class of models is seen. */
function translations(model: VtdIommu | AmdIommu, pasid: number): Work {
  return (order) => () => {
    const { result } = model
    let sum = 0
    for (let index = 0; index < order.length; index++) {
      const page = order[index]!
      model.translateFast(DEVICE, pasid, page >>> 20, (page << 12) | 0x123, index & 1)
      sum += (result.paLo >>> 0) + result.paHi
    }
    return sum
  }
}

/** @param pasid -1: none. */
function vtdWork(model: VtdIommu, root: number, mode: bigint, pasid: number): Work {
  model.write(VTD_REG.RTADDR, 8, BigInt(root) | mode)
  model.write(VTD_REG.GCMD, 4, BigInt(GS_RTP >>> 0))
  model.write(VTD_REG.GCMD, 4, BigInt(GS_TE >>> 0))
  return translations(model, pasid)
}

function amdWork(memory: PhysicalMemory, entry: Uint32Array, tlb: number, pasid: number): Work {
  const model = new AmdIommu(memory, { caches: { translations: tlb } })
  const devices = memory.allocate(4096)
  for (const [index, word] of entry.entries()) memory.write32(devices + DEVICE * 32 + index * 4, word)
  model.write(AMD_REG.DEV_TAB_BASE, 8, BigInt(devices))
  model.write(AMD_REG.CONTROL, 8, BigInt(CONTROL_IOMMU_EN | CONTROL_GT_EN))
  return translations(model, pasid)
}

const UNITS: Readonly<Record<string, Unit>> = {
  'vtd-legacy': {
    name: 'VT-d, legacy, second stage',
    scheme: vtdSecond(4),
    twin: 'vtd',
    work(memory, tables, tlb) {
      const model = new VtdIommu(memory, { caches: { translations: tlb } })
      const root = memory.allocate(4096)
      const context = memory.allocate(4096)
      put(memory, root, ROOT_ENTRY, { P: 1, CTP: BigInt(context) })
      put(memory, context + DEVICE * 16, CONTEXT_ENTRY, { P: 1, AW: 2, DID: 7, SSPTPTR: BigInt(tables) })
      return vtdWork(model, root, 0n, -1)
    },
  },
  'vtd-scalable': {
    name: 'VT-d, scalable, first stage, PASID',
    scheme: vtdFirst(4),
    twin: 'x86',
    work(memory, tables, tlb) {
      const model = new VtdIommu(memory, { caches: { translations: tlb } })
      const root = memory.allocate(4096)
      const context = memory.allocate(4096)
      const directory = memory.allocate(4096)
      const pasids = memory.allocate(4096)
      put(memory, root, SM_ROOT_ENTRY, { LP: 1, LCTP: BigInt(context) })
      put(memory, context + DEVICE * 32, SM_CONTEXT_ENTRY, { P: 1, PASIDE: 1, PASIDDIRPTR: BigInt(directory) })
      put(memory, directory, PASID_DIR_ENTRY, { P: 1, SMPTBLPTR: BigInt(pasids) })
      put(memory, pasids + PASID * 64, PASID_ENTRY, { P: 1, DID: 7, PGTT: 1, PWSNP: 1, FSPTPTR: BigInt(tables) })
      return vtdWork(model, root, 1n << 10n, PASID)
    },
  },
  'amd-v1': {
    name: 'AMD, v1',
    scheme: amdV1(4),
    twin: 'amd',
    work(memory, tables, tlb) {
      const entry = encode(DTE, { V: 1, TV: 1, IR: 1, IW: 1, DomainID: 7, Mode: 4, HostPageTableRootPtr: BigInt(tables) })
      return amdWork(memory, entry, tlb, -1)
    },
  },
  'amd-v2': {
    name: 'AMD, v2, PASID',
    scheme: amdV2(4),
    twin: 'x86',
    work(memory, tables, tlb) {
      const gcr3 = memory.allocate(4096)
      memory.write64(gcr3 + PASID * 8, BigInt(tables) | 1n)
      const entry = encode(DTE, { V: 1, TV: 1, IR: 1, IW: 1, DomainID: 7, GV: 1 })
      setGcr3Root(entry, gcr3)
      return amdWork(memory, entry, tlb, PASID)
    },
  },
}

/** Page numbers outside the interrupt address range, where requests without PASID are interrupts. */
function ordinary(pages: Uint32Array): Uint32Array {
  return pages.map((page) => (page >>> 8 === 0xfee ? page ^ 0x1000 : page))
}

function rows({ name, scheme, twin, work }: Unit): void {
  const memory = newMemory()
  const { root } = scattered(memory, scheme.format, scheme.topDepth, scheme.inputBits, PAGES, OUTPUT_HI)
  const image = imageOf(memory)
  const hits = ordinary(sequence(OPERATIONS, 64))
  const cold = ordinary(sequence(OPERATIONS, PAGES))
  const theirs = (command: string, order: Uint32Array) =>
    image && { image, sequence: order, command: `${command}-${twin}`, args: [root, 0, ROUNDS] }
  const common = { operations: OPERATIONS, aim: '≤ 1.5 × SMMUv3' }
  row({ ...common, name: `${name}: IOTLB hit, 64 pages`, ours: work(memory, root, 4096)(hits), theirs: theirs('hit', hits) })
  row({ ...common, name: `${name}: IOTLB off, cold`, ours: work(memory, root, 0)(cold), theirs: theirs('walk', cold) })
}

/** Each unit's rows, by name. */
export const X86_GROUPS: Readonly<Record<string, () => void>> = Object.fromEntries(
  Object.entries(UNITS).map(([key, unit]) => [key, () => rows(unit)]),
)
