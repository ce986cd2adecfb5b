/** Rules about what address spaces lead to: the IOMMU's own tables, the kernel, the memory of other domains. */
import { about, hex } from '../../base/hex.ts'
import { PR, PW, PX, rightsText, UR, UW, UX } from '../../base/types.ts'
import { enumerate } from '../../format/pt/enumerate.ts'
import type { MemoryRegion, RangeView, SpaceNode } from '../graph.ts'
import { type Audited, listText, type Rule, type Use, usesText } from './contract.ts'

const READ = UR | PR
const WRITE = UW | PW
const EXECUTE = UX | PX
const PAGE = 4096

/** Bytes of physical memory that are looked for, in order and apart. */
interface Region {
  readonly start: number
  readonly end: number
  readonly name: string
}

/** What of a region a space reaches. */
interface Reached {
  readonly region: Region
  readonly range: RangeView
  /** First address of the device that leads there. */
  readonly iova: bigint
  readonly pa: number
  readonly bytes: number
}

function* reached(space: SpaceNode, regions: readonly Region[], rights: number): Generator<Reached> {
  for (const range of space.ranges) {
    if ((range.rights & rights) === 0) continue
    const start = Number(range.output)
    const end = start + Number(range.end - range.start)
    for (let index = firstEndingAfter(regions, start); index < regions.length && regions[index]!.start < end; index++) {
      const region = regions[index]!
      const pa = Math.max(start, region.start)
      yield { region, range, iova: range.start + BigInt(pa - start), pa, bytes: Math.min(end, region.end) - pa }
    }
  }
}

function firstEndingAfter(regions: readonly Region[], address: number): number {
  let low = 0
  let high = regions.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (regions[middle]!.end <= address) low = middle + 1
    else high = middle
  }
  return low
}

/** In order; what overlaps the one before is cut away. */
function apart(regions: readonly Region[]): Region[] {
  const out: Region[] = []
  let covered = 0
  for (const { start, end, name } of [...regions].sort((a, b) => a.start - b.start)) {
    const from = Math.max(start, covered)
    if (from < end) out.push({ start: from, end, name })
    covered = Math.max(covered, end)
  }
  return out
}

/** A finding for each kind of region that spaces reach: how much of it, and an example. Spaces that reach as much of it are told together. */
function* byName<S extends 'high' | 'medium'>(
  { uses, physical }: Audited,
  regions: readonly Region[],
  rights: number,
  say: (name: string) => { severity: S; text: string; amount?: string },
) {
  const told = new Map<string, { name: string; bytes: number; first: Reached; users: Use[] }>()
  for (const space of regions.length === 0 ? [] : physical) {
    const found = new Map<string, { first: Reached; bytes: number }>()
    for (const one of reached(space, regions, rights)) {
      const known = found.get(one.region.name)
      if (known === undefined) found.set(one.region.name, { first: one, bytes: one.bytes })
      else known.bytes += one.bytes
    }
    for (const [name, { first, bytes }] of found) {
      const key = `${name} ${bytes} ${first.pa}`
      const known = told.get(key)
      if (known === undefined) told.set(key, { name, bytes, first, users: [...(uses.get(space.id) ?? [])] })
      else known.users.push(...(uses.get(space.id) ?? []))
    }
  }
  for (const { name, bytes, first, users } of told.values()) {
    const { severity, text, amount = '' } = say(name)
    const where = `${hex(first.pa)}, at ${hex(first.iova)} of ${usesText(users.slice(0, 1))} (${rightsText(first.range.rights)})`
    yield { severity, place: usesText(users), text: `${text}: ${about(BigInt(bytes))}${amount}, for example ${where}` }
  }
}

/** A space may have so many page-table pages before the rest is left out. */
const TABLE_PAGES = 1 << 18

/** Pages of tables of the IOMMU: those that hold entries in use, and where each table begins. What is empty in a large table is left out. */
function structures({ graph, memory }: Audited): Region[] {
  const pages = new Map<number, string>()
  const add = (address: number, name: string) => {
    const page = Math.floor(address / PAGE) * PAGE
    if (!pages.has(page)) pages.set(page, name)
  }
  for (const { entry } of graph.devices) if (entry !== null) add(Number(entry.address), `the ${graph.words.deviceTable}`)
  if (graph.deviceTable !== null) add(Number(graph.deviceTable.address), `the ${graph.words.deviceTable}`)
  // A guest's own tables lie in the guest's memory, and that is as it should be.
  for (const table of graph.pasidTables)
    if (!table.over)
      for (const address of [table.address, ...table.entries.map(({ entry }) => entry.address)])
        add(Number(address), `a ${graph.words.pasidTable}`)
  for (const { tables, over } of graph.spaces)
    if (tables !== undefined && over === null)
      enumerate(memory, tables, { leaf: () => {}, table: (pa) => add(pa, 'a page table') }, TABLE_PAGES)
  return apart([...pages].map(([start, name]) => ({ start, end: start + PAGE, name })))
}

export const ownTables: Rule<'high'> = {
  name: 'own-tables',
  severities: ['high'],
  about: 'A device that can write to the tables that decide what it reaches can reach everything.',
  advice: 'Find out with iomm find who mapped these pages; a page that was freed and used again as a table is the usual way.',
  *look(machine) {
    yield* byName(machine, structures(machine), WRITE, (name) => ({
      severity: 'high',
      text: `writes to ${name} of the IOMMU`,
      amount: ' in use',
    }))
  },
}

/** Regions of `/proc/iomem` that no device has to do with. */
const KERNEL: readonly { readonly name: RegExp; readonly severity: 'high' | 'medium'; readonly says: string }[] = [
  { name: /^kernel (code|text|image)$/i, severity: 'high', says: "the kernel's code" },
  { name: /^kernel rodata$/i, severity: 'high', says: "the kernel's read-only data" },
  { name: /^kernel (data|bss)$/i, severity: 'medium', says: "the kernel's own data" },
]

function kernelRegions(memory: readonly MemoryRegion[]): Region[] {
  // The image has the others inside it: the smaller one says more.
  const found = memory.flatMap(({ start, end, name }) => {
    const kind = KERNEL.find((one) => one.name.test(name))
    return kind === undefined ? [] : [{ start: Number(start), end: Number(end), name: kind.says, whole: /image/i.test(name) }]
  })
  const inner = found.filter(({ whole }) => !whole)
  return apart(inner.length > 0 ? inner : found)
}

export const kernel: Rule<'high' | 'medium'> = {
  name: 'kernel',
  severities: ['high', 'medium'],
  about: 'A device that can write to the code or the data of the kernel.',
  advice:
    'A mapping of a large block over it, or a buffer on the stack or in a module, is the usual reason: iomm find tells the entry.',
  *look(machine) {
    yield* byName(machine, kernelRegions(machine.names.memory ?? []), WRITE, (says) => ({
      severity: KERNEL.find((one) => one.says === says)!.severity,
      text: `writes to ${says}`,
    }))
  },
}

/** Above so much memory a block that is mapped to itself is no accident. */
const WHOLE = 2 ** 30

export const oneToOne: Rule<'medium'> = {
  name: 'one-to-one',
  severities: ['medium'],
  about: 'Memory mapped to its own address in blocks so large that the tables hold nothing back.',
  advice: 'An identity domain that is written as a page table; a DMA domain maps what is in use.',
  *look({ physical, uses }) {
    for (const space of physical) {
      if (space.role === 'io_mm') continue
      let bytes = 0n
      for (const { start, end, output, rights } of space.ranges)
        if (start === output && (rights & WRITE) !== 0) bytes += end - start
      if (bytes >= WHOLE)
        yield {
          severity: 'medium',
          place: usesText(uses.get(space.id) ?? []),
          text: `${about(bytes)} mapped to themselves and writable`,
        }
    }
  },
}

/** RAM, as far as it is known. */
function ramOf(memory: readonly MemoryRegion[]): Region[] | null {
  const ram = memory.filter(({ name }) => /^system ram/i.test(name))
  return ram.length === 0 ? null : apart(ram.map(({ start, end, name }) => ({ start: Number(start), end: Number(end), name })))
}

/** Where it is not known how much memory there is, so much is a large part. */
const MUCH = 2 ** 30

/** How much memory a space maps, each byte counted once, and how much there is. */
function mappedOf(space: SpaceNode, ram: readonly Region[] | null): { mapped: number; all: number | null } {
  const mapped = bytesOf(apart(ranges([space], ram).map(({ start, end }) => ({ start, end, name: '' }))))
  return { mapped, all: ram === null ? null : bytesOf(ram) }
}

function bytesOf(regions: readonly Region[]): number {
  return regions.reduce((sum, { start, end }) => sum + end - start, 0)
}

function isWide(space: SpaceNode, ram: readonly Region[] | null): boolean {
  const { mapped, all } = mappedOf(space, ram)
  return all === null ? mapped >= MUCH : mapped >= all / 4
}

export const wide: Rule<'medium' | 'low'> = {
  name: 'wide',
  severities: ['medium', 'low'],
  about:
    'A page table of a domain that maps a quarter of all memory or more (1 GiB where it is not known how much there is): it holds little back, and overlaps with what belongs to others.',
  advice: 'Usual for a GPU or a guest of a hypervisor. Else map buffers when they are used, and unmap them.',
  *look({ physical, uses, names }) {
    const ram = ramOf(names.memory ?? [])
    const found = physical.filter((space) => space.role !== 'io_mm' && isWide(space, ram))
    if (found.length === 0) return
    const most = Math.max(...found.map((space) => mappedOf(space, ram).mapped))
    const { all } = mappedOf(found[0]!, ram)
    const of = all === null ? ' of memory' : ` of the machine's ${about(BigInt(all))} of memory`
    const writes = found.some(({ ranges: list }) => list.some(({ rights }) => (rights & WRITE) !== 0))
    yield {
      severity: writes ? 'medium' : 'low',
      place: usesText(found.flatMap(({ id }) => uses.get(id) ?? [])),
      text: `${found.length === 1 ? 'an address space maps' : `each of ${found.length} address spaces maps up to`} ${about(BigInt(most))}${of}`,
    }
  },
}

interface Piece {
  readonly start: number
  readonly end: number
  readonly space: SpaceNode
  readonly rights: number
}

interface Overlap {
  bytes: number
  readonly at: number
  writable: boolean
}

/** So many comparisons of mappings are made: two spaces that map all of each other's memory page by page. */
const COMPARISONS = 4_000_000

export const overlap: Rule<'medium' | 'low' | 'note'> = {
  name: 'overlap',
  severities: ['medium', 'low', 'note'],
  about: 'The same memory in address spaces of different domains: what one device writes, the other one gets.',
  advice:
    'Meant between a process and the driver that serves it, and between devices that work together. Else one of the two mappings is left over.',
  *look({ physical, uses, names }) {
    const ram = ramOf(names.memory ?? [])
    // What maps a large part of memory overlaps with all others: said by `wide`.
    const pieces = ranges(
      physical.filter((space) => space.role === 'io_mm' || !isWide(space, ram)),
      ram,
    )
    const pairs = new Map<string, { a: SpaceNode; b: SpaceNode; found: Overlap }>()
    let active: Piece[] = []
    let left = COMPARISONS
    for (const piece of pieces) {
      active = active.filter(({ end }) => end > piece.start)
      left -= active.length
      if (left < 0) break
      for (const other of active) if (other.space !== piece.space) note(pairs, other, piece)
      active.push(piece)
    }
    for (const { a, b, found } of pairs.values()) {
      const meant = a.role === 'io_mm' || b.role === 'io_mm' || same(uses.get(a.id) ?? [], uses.get(b.id) ?? [])
      const what = ram === null ? 'addresses (memory, or a doorbell register)' : 'memory'
      const how = found.writable ? 'writable from one side at least' : 'readable from both sides'
      yield {
        severity: meant ? ('note' as const) : ram === null || !found.writable ? ('low' as const) : ('medium' as const),
        place: `${usesText(uses.get(a.id) ?? [])} | ${usesText(uses.get(b.id) ?? [])}`,
        text: `${about(BigInt(found.bytes))} of the same ${what}, ${how}, first ${hex(found.at)}`,
      }
    }
    if (left < 0)
      yield { severity: 'note', place: 'all address spaces', text: 'overlaps were not searched to the end: there are too many' }
  },
}

/** Mapped pieces of RAM (of everything, where it is not known what is RAM), in order. */
function ranges(spaces: readonly SpaceNode[], ram: readonly Region[] | null): Piece[] {
  const pieces: Piece[] = []
  for (const space of spaces) {
    const add = (start: number, end: number, rights: number) => pieces.push({ start, end, space, rights })
    if (ram === null)
      for (const { start, end, output, rights } of space.ranges) add(Number(output), Number(output) + Number(end - start), rights)
    else for (const { pa, bytes, range } of reached(space, ram, READ | WRITE)) add(pa, pa + bytes, range.rights)
  }
  return pieces.sort((a, b) => a.start - b.start)
}

function note(pairs: Map<string, { a: SpaceNode; b: SpaceNode; found: Overlap }>, one: Piece, other: Piece): void {
  const [a, b] = one.space.id < other.space.id ? [one.space, other.space] : [other.space, one.space]
  const key = `${a.id} ${b.id}`
  const bytes = Math.min(one.end, other.end) - other.start
  const writable = ((one.rights | other.rights) & WRITE) !== 0
  const known = pairs.get(key)
  if (known === undefined) pairs.set(key, { a, b, found: { bytes, at: other.start, writable } })
  else {
    known.found.bytes += bytes
    known.found.writable ||= writable
  }
}

/** The same devices on both sides: address spaces of one device for several PASIDs. */
function same(a: readonly Use[], b: readonly Use[]): boolean {
  const devices = new Set(a.map(({ device }) => device))
  return b.every(({ device }) => devices.has(device))
}

/** Whether entries of this format can refuse execution at all; where they cannot, nothing was forgotten. */
function canRefuse({ tables }: SpaceNode): boolean {
  const { rights } = tables?.format.leafRights ?? { rights: new Uint8Array(0) }
  return rights.some((allowed) => (allowed & READ) !== 0 && (allowed & EXECUTE) === 0)
}

export const executable: Rule<'low'> = {
  name: 'executable',
  severities: ['low'],
  about:
    'Mappings from which devices may fetch instructions. Few devices do, and data that can be executed is a step in many attacks.',
  advice: 'Linux maps so unless the driver asks for IOMMU_NOEXEC; Arm and x86 first stages have a bit for it.',
  *look({ physical, uses }) {
    const spaces = physical.filter(
      (space) => space.role !== 'io_mm' && canRefuse(space) && space.ranges.some(({ rights }) => (rights & EXECUTE) !== 0),
    )
    if (spaces.length === 0) return
    const both = spaces.filter(({ ranges: list }) =>
      list.some(({ rights }) => (rights & EXECUTE) !== 0 && (rights & WRITE) !== 0),
    )
    const place = listText([...new Set(spaces.flatMap(({ id }) => (uses.get(id) ?? []).map(({ device }) => device.name)))])
    const also =
      both.length === 0
        ? ''
        : `, ${both.length === spaces.length ? (spaces.length === 1 ? 'in one' : 'all') : both.length} of them writable at the same time`
    yield {
      severity: 'low',
      place,
      text: `executable mappings in ${spaces.length === 1 ? 'one address space' : `${spaces.length} address spaces`}${also}`,
    }
  },
}

export const kernelHalf: Rule<'high' | 'medium'> = {
  name: 'kernel-half',
  severities: ['high', 'medium'],
  about:
    "A process's page table holds the kernel's half too. Where a device may make privileged requests with it, it reaches the kernel.",
  advice: 'The PASID entry should not allow supervisor requests (VT-d SRE, SMMUv3 privileged accesses overridden in the STE).',
  *look({ physical, uses }) {
    for (const space of physical) {
      if (space.role !== 'io_mm') continue
      const half = space.ranges.filter(({ start, rights }) => start >= 1n << 63n && (rights & (READ | WRITE)) !== 0)
      if (half.length > 0)
        yield {
          severity: half.some(({ rights }) => (rights & WRITE) !== 0) ? 'high' : 'medium',
          place: usesText(uses.get(space.id) ?? []),
          text: `${half.length === 1 ? 'a range' : `${half.length} ranges`} of the kernel's half can be reached, first ${hex(half[0]!.start)} (${rightsText(half[0]!.rights)})`,
        }
    }
  },
}

export const MEMORY_RULES: readonly Rule[] = [ownTables, kernel, oneToOne, wide, overlap, kernelHalf, executable]
