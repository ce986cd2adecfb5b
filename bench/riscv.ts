/**
 * A whole RISC-V IOMMU, with the work of rows that were measured on the C reference model (riscv-non-isa/riscv-iommu, one core of a
 * machine like ours, gcc -O2 and, in brackets, -O3 -march=native -flto; it has caches of two entries). Each row with large caches
 * and with caches of two entries; the same number of distinct pages as the reference had.
 */
import { random } from '../src/base/op.ts'
import { ALL_RIGHTS, UR, UW } from '../src/base/types.ts'
import { ptSpace } from '../src/format/pt/format.ts'
import { newRoot, PageTable } from '../src/format/pt/mapper.ts'
import { riscvScheme } from '../src/format/pt/riscv.ts'
import { PhysicalMemory } from '../src/memory/physical.ts'
import { RiscvIommu } from '../src/model/riscv/iommu.ts'

const RAM = 0x8000_0000
const PAGES_AT = 0x1000_0000
const OUTPUT = 0x2_0000_0000
const COUNT = 1 << 16
const DDTP = 16
const MODES = { Sv48: 9n, Sv57: 10n } as const
/** GSCID 1, Sv48x4. */
const SV48X4 = (1n << 44n) | (9n << 60n)

interface Work {
  readonly name: string
  /** ns of the reference: -O2, and -O3 -march=native -flto. */
  readonly reference: readonly [number, number]
  readonly mode: keyof typeof MODES
  /** Levels of the device directory. */
  readonly levels: number
  readonly devices: number
  /** Process directories of three levels with so many process_ids; 0: none. */
  readonly pasids: number
  /** Pages of each address space. */
  readonly pages: number
  readonly twoStage: boolean
}

const one = { mode: 'Sv48', levels: 1, devices: 1, pasids: 64, pages: 64, twoStage: false } as const
const ROWS: readonly Work[] = [
  { ...one, name: 'hit, Sv48 + PD20, two pages', reference: [38, 28], pasids: 1, pages: 2 },
  { ...one, name: 'Sv48, 4,096 pages', reference: [129, 98], pasids: 0, pages: 4096 },
  { ...one, name: 'Sv48 + PD20, 64 PASIDs × 64 pages', reference: [183, 145] },
  {
    ...one,
    name: 'three-level DDT, 64 devices × 16 PASIDs × 64 pages',
    reference: [344, 301],
    levels: 3,
    devices: 64,
    pasids: 16,
  },
  { ...one, name: 'Sv57 + PD20, 64 × 64', reference: [198, 163], mode: 'Sv57' },
  { ...one, name: 'two-stage Sv48/Sv48x4, 4,096 pages', reference: [265, 226], pasids: 0, pages: 4096, twoStage: true },
  { ...one, name: 'two-stage + PD20, 64 × 64', reference: [426, 395], twoStage: true },
]
const CACHES = [
  { devices: 256, processes: 4096, translations: 1 << 17 },
  { devices: 2, processes: 2, translations: 2 },
] as const

/** Follows a directory down, with new tables where there are none. @param shifts of the indexes above the last level, from the top. */
function follow(memory: PhysicalMemory, root: number, id: number, shifts: readonly number[]): number {
  let table = root
  for (const shift of shifts) {
    const entry = table + ((id >>> shift) & 511) * 8
    if (memory.read64(entry) === 0n) memory.write64(entry, (BigInt(memory.allocate(4096)) >> 2n) | 1n)
    table = Number((memory.read64(entry) >> 10n) << 12n)
  }
  return table
}

class Tables {
  readonly memory = new PhysicalMemory([{ start: RAM, end: RAM + 2 ** 31 }])
  readonly ddt = this.memory.allocate(4096)
  readonly devices: number[] = []
  readonly work: Work
  #output = OUTPUT

  constructor(work: Work) {
    this.work = work
    const second = work.twoStage ? (BigInt(this.#identity()) >> 12n) | SV48X4 : 0n
    for (let index = 0; index < work.devices; index++) {
      const device = (index * 37 + 1) * (work.levels === 3 ? 257 : 1)
      this.devices.push(device)
      const shifts = [15, 6].slice(3 - work.levels)
      const context = follow(this.memory, this.ddt, device, shifts) + (device & 63) * 64
      this.memory.write64(context + 8, second)
      if (work.pasids === 0) {
        this.memory.write64(context + 16, BigInt(index + 1) << 12n)
        this.memory.write64(context + 24, this.#space())
        this.memory.write64(context, 1n)
        continue
      }
      const processes = this.memory.allocate(4096)
      for (let pasid = 1; pasid <= work.pasids; pasid++) {
        const process = follow(this.memory, processes, pasid, [17, 8]) + (pasid & 255) * 16
        this.memory.write64(process, 1n | (BigInt(index * work.pasids + pasid) << 12n))
        this.memory.write64(process + 8, this.#space())
      }
      // fsc: PD20; tc: V, PDTV.
      this.memory.write64(context + 24, (BigInt(processes) >> 12n) | (3n << 60n))
      this.memory.write64(context, 1n | (1n << 5n))
    }
  }

  /** A first stage of the row's pages, as fsc or iosatp. */
  #space(): bigint {
    const scheme = riscvScheme(this.work.mode, { svpbmt: true, svrsw60t59b: false })
    const root = newRoot(this.memory, scheme)
    const table = new PageTable(this.memory, this.memory, ptSpace({ ...scheme, root, outputLimit: 2 ** 56 }))
    table.map(PAGES_AT, this.#output, this.work.pages * 4096, UR | UW, { maxLeafDepth: 0 })
    this.#output += this.work.pages * 4096
    return (BigInt(root) >> 12n) | (MODES[this.work.mode] << 60n)
  }

  /** A second stage of 4 KiB pages that maps the tables and the outputs to themselves. */
  #identity(): number {
    const scheme = riscvScheme('Sv48x4', { svpbmt: true, svrsw60t59b: false })
    const root = newRoot(this.memory, scheme)
    const table = new PageTable(this.memory, this.memory, ptSpace({ ...scheme, root, outputLimit: 2 ** 56 }))
    table.map(RAM, RAM, 2 ** 26, ALL_RIGHTS, { maxLeafDepth: 0 })
    table.map(OUTPUT, OUTPUT, 2 ** 26, ALL_RIGHTS, { maxLeafDepth: 0 })
    return root
  }
}

/** ns per translation, best of some rounds. */
function measure(tables: Tables, caches: (typeof CACHES)[number]): number {
  const { work, memory, ddt } = tables
  const iommu = new RiscvIommu(memory, { caches })
  iommu.write(DDTP, 8, (BigInt(ddt) >> 2n) | BigInt(work.levels + 1))
  const next = random(1)
  const devices = Int32Array.from({ length: COUNT }, () => tables.devices[next(work.devices)]!)
  const pasids = Int32Array.from({ length: COUNT }, () => (work.pasids === 0 ? -1 : 1 + next(work.pasids)))
  // Two pages alternate; more come at random.
  const addresses = Int32Array.from(
    { length: COUNT },
    (_, index) => PAGES_AT + (work.pages === 2 ? index & 1 : next(work.pages)) * 4096,
  )
  let best = Number.POSITIVE_INFINITY
  for (let round = 0; round < 40; round++) {
    const start = process.hrtime.bigint()
    let refused = 0
    for (let index = 0; index < COUNT; index++)
      if (iommu.translateFast(devices[index]!, pasids[index]!, 0, addresses[index]!, index & 1) !== 0) refused++
    best = Math.min(best, Number(process.hrtime.bigint() - start) / COUNT)
    if (refused > 0) throw new Error(`${work.name}: ${refused} translations were refused`)
  }
  return best
}

/** One row. */
export function riscvRow(index: number): void {
  const work = ROWS[index]!
  const tables = new Tables(work)
  const [large, two] = CACHES.map((caches) => measure(tables, caches))
  const [o2, o3] = work.reference
  const cells = [large!.toFixed(0), (o2 / large!).toFixed(1), (o3 / large!).toFixed(1), two!.toFixed(0), (o2 / two!).toFixed(1)]
  console.log(`${work.name.padEnd(52)}${`${o2} (${o3})`.padStart(10)}${cells.map((cell) => cell.padStart(9)).join('')}`)
}

export const RISCV_ROWS = ROWS.length

export function riscvHead(): void {
  const [large, two] = CACHES.map(
    ({ devices, processes, translations }) => `DC ${devices}, PC ${processes}, IOATC ${translations}`,
  )
  console.log(`
RISC-V IOMMU, ns per translation. Reference: figures of the C model measured before, -O2 (-O3). Times faster than each.
large caches: ${large}; two entries: ${two}`)
  console.log(
    `${'row'.padEnd(52)}${'reference'.padStart(10)}${['large', '×O2', '×O3', 'two', '×O2'].map((cell) => cell.padStart(9)).join('')}`,
  )
}
