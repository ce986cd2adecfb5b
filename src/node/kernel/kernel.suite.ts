/** A kernel of a few pages for tests: page tables, VMCOREINFO, symbols, BTF, and the list of an Intel driver. */
import type { Pages } from '../dump/writers.suite.ts'

const KERNEL_MAP = 0xffff_ffff_8000_0000n
/** Of the kernel's mapping, and what lies there: physical addresses are higher by PHYS_BASE. */
const START = 0x100_0000
export const PHYS_BASE = 0x40_0000
const PAGES = 16

export interface KernelForm {
  readonly levels?: 4 | 5
  /** Offsets of symbols: all relative to a base (new), or negative ones. */
  readonly offsets?: 'relative' | 'negative'
  readonly scalable?: boolean
  /** Scalable mode can be had, whether it is chosen or not. */
  readonly capable?: boolean
  /** Members lie in an unnamed union. */
  readonly nested?: boolean
  readonly units?: number
  /** GCMD of each unit. */
  readonly command?: number
}

export interface BuiltKernel {
  readonly pages: Pages
  readonly vmcoreinfo: string
  /** Physical address of the n-th root table. */
  root(unit: number): number
  /** Physical address of the page with the list of units, and of the last table of the kernel's own. */
  readonly listAt: number
}

/** Struct members, by bytes. */
export const DRHD = { list: 0, reg_base_addr: 24, iommu: 64 }
export const IOMMU = { cap: 24, ecap: 32, gcmd: 48, name: 60, root_entry: 88, ir_table: 96 }

export const virtual = (offset: number) => KERNEL_MAP + BigInt(START + offset)
const physical = (offset: number) => START + PHYS_BASE + offset

/** Pieces of the image, each a page or more. */
const AT = { pgd: 0, names: 0x1000, tokens: 0x2000, index: 0x4000, offsets: 0x5000, numbers: 0x6000, btf: 0x7000, list: 0x8000 }
const ROOTS = 0xa000

export function buildKernel(form: KernelForm = {}): BuiltKernel {
  const {
    levels = 4,
    offsets = 'relative',
    scalable = false,
    capable = scalable,
    nested = false,
    units = 1,
    command = 0xc600_0000,
  } = form
  const image = new Uint8Array(PAGES * 4096)
  const view = new DataView(image.buffer)
  const u64 = (at: number, value: bigint) => view.setBigUint64(at, value, true)

  const btf = writeBtf(nested)
  const symbols: [string, bigint][] = [
    // Its length takes two bytes.
    [`t${'very_long_'.repeat(20)}`, virtual(0x20)],
    ['Tsome_function', virtual(0x10)],
    ['Dinit_uts_ns', virtual(0x8f00)],
    ['Ddmar_drhd_units', virtual(AT.list)],
    ['bintel_iommu_sm', virtual(AT.list + 0xff0)],
    ['beim_mode', virtual(AT.list + 0xff4)],
    ['R__start_BTF', virtual(AT.btf)],
    ['R__stop_BTF', virtual(AT.btf + btf.length)],
    ['dlast', virtual(0x30)],
  ]
  let at = AT.names
  for (const [index, [name, address]] of symbols.entries()) {
    const letters = [...new TextEncoder().encode(name)]
    const length = letters.length < 128 ? [letters.length] : [(letters.length & 127) | 128, letters.length >> 7]
    image.set([...length, ...letters], at)
    at += length.length + letters.length
    const base = virtual(0)
    view.setUint32(
      AT.offsets + index * 4,
      Number(BigInt.asUintN(32, offsets === 'relative' ? address - base : base - 1n - address)),
      true,
    )
  }
  // Each token is one letter.
  for (let token = 0; token < 256; token++) {
    view.setUint16(AT.index + token * 2, token * 2, true)
    image[AT.tokens + token * 2] = token
  }
  view.setUint32(AT.numbers, symbols.length, true)
  u64(AT.numbers + 8, virtual(0))
  image.set(btf, AT.btf)

  // The list: its head, then the units.
  const unitAt = (unit: number) => AT.list + 0x100 + unit * 0x200
  u64(AT.list, units === 0 ? virtual(AT.list) : virtual(unitAt(0)))
  view.setUint32(AT.list + 0xff0, scalable ? 1 : 0, true)
  for (let unit = 0; unit < units; unit++) {
    const drhd = unitAt(unit)
    const iommu = drhd + 0x80
    u64(drhd + DRHD.list, unit + 1 < units ? virtual(unitAt(unit + 1)) : virtual(AT.list))
    u64(drhd + DRHD.iommu, virtual(iommu))
    u64(iommu + IOMMU.cap, 0xd2008c22260206n)
    u64(iommu + IOMMU.ecap, capable ? 0x480080f00f4an : 0xf00f4an)
    view.setUint32(iommu + IOMMU.gcmd, command, true)
    image.set(new TextEncoder().encode(`dmar${unit}`), iommu + IOMMU.name)
    u64(iommu + IOMMU.root_entry, virtual(ROOTS + unit * 4096))
    u64(iommu + IOMMU.ir_table, virtual(iommu + 0x70))
    u64(iommu + 0x70, virtual(0x9000))
  }

  const pages = new Map<number, Uint8Array>()
  for (let page = 0; page < PAGES; page++) pages.set(physical(page * 4096), image.subarray(page * 4096, page * 4096 + 4096))
  // The image's first page is the top table; the others stand apart.
  const entry = (table: number, index: number, value: number) => {
    const page = pages.get(table) ?? new Uint8Array(4096)
    pages.set(table, page)
    new DataView(page.buffer, page.byteOffset).setBigUint64(index * 8, BigInt(value) | 0x63n, true)
  }
  const index = (level: number) => Number((virtual(0) >> BigInt(12 + 9 * (level - 1))) & 511n)
  let table = physical(AT.pgd)
  for (let level: number = levels; level > 1; level--) {
    const next = 0x10_0000 + level * 4096
    entry(table, index(level), next)
    table = next
  }
  for (let page = 0; page < PAGES; page++) entry(table, index(1) + page, physical(page * 4096))

  const vmcoreinfo = [
    'OSRELEASE=6.1.0-test',
    'PAGESIZE=4096',
    ...Object.entries({ init_uts_ns: 0x8f00, swapper_pg_dir: AT.pgd }).map(
      ([name, offset]) => `SYMBOL(${name})=${virtual(offset).toString(16)}`,
    ),
    ...Object.entries({ names: AT.names, num_syms: AT.numbers, token_table: AT.tokens, token_index: AT.index }).map(
      ([name, offset]) => `SYMBOL(kallsyms_${name})=${virtual(offset).toString(16)}`,
    ),
    `SYMBOL(kallsyms_offsets)=${virtual(AT.offsets).toString(16)}`,
    `SYMBOL(kallsyms_relative_base)=${virtual(AT.numbers + 8).toString(16)}`,
    `NUMBER(phys_base)=${PHYS_BASE}`,
    `NUMBER(pgtable_l5_enabled)=${levels - 4}`,
    '',
  ].join('\n')
  return { pages, vmcoreinfo, root: (unit) => physical(ROOTS + unit * 4096), listAt: physical(AT.list) }
}

/** Structures with the members above, each a `u64`. */
export function writeBtf(nested: boolean): Uint8Array {
  const strings = ['']
  const place = (text: string) => {
    const offset = strings.reduce((sum, one) => sum + one.length + 1, 0)
    strings.push(text)
    return text === '' ? 0 : offset
  }
  const words: number[] = []
  let types = 0
  const type = (name: string, kind: number, count: number, size: number, rest: number[], flag = 0) => {
    words.push(place(name), ((flag << 31) | (kind << 24) | count) >>> 0, size, ...rest)
    return ++types
  }
  const u64 = type('u64', 1, 0, 8, [64])
  const array = type('', 3, 0, 0, [u64, u64, 13])
  const members = (all: Record<string, number>) =>
    Object.entries(all).flatMap(([name, offset]) => [place(name), name === 'name' ? array : u64, offset * 8])
  type('dmar_drhd_unit', 4, 3, 80, members(DRHD))
  // One of the same name without these members, as modules have them.
  type('intel_iommu', 4, 1, 8, members({ other: 0 }))
  if (nested) {
    const inner = type('', 5, 6, 104, members(IOMMU))
    // With a bitfield beside it: sizes stand in the upper 8 bits then.
    type('intel_iommu', 4, 2, 112, [place('bit'), u64, (3 << 24) | 5, 0, inner, 0], 1)
  } else type('intel_iommu', 4, 6, 112, members(IOMMU))
  type('ir_table', 4, 1, 8, members({ base: 0 }))
  const text = new TextEncoder().encode(`${strings.join('\0')}\0`)
  const bytes = new Uint8Array(24 + words.length * 4 + text.length)
  const view = new DataView(bytes.buffer)
  view.setUint16(0, 0xeb9f, true)
  bytes[2] = 1
  for (const [index, value] of [24, 0, words.length * 4, words.length * 4, text.length].entries())
    view.setUint32(4 + index * 4, value, true)
  for (const [index, value] of words.entries()) view.setUint32(24 + index * 4, value, true)
  bytes.set(text, 24 + words.length * 4)
  return bytes
}
