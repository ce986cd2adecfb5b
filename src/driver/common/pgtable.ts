/**
 * A page table that a driver writes itself: `io_pgtable` of a domain, or of a private io_mm. Tables are given back once no walk can be in
 * them.
 */
import type { PageAllocator, WordMemory } from '../../base/memory.ts'
import { Lock, type Op, step } from '../../base/op.ts'
import { doubleHi, doubleLo, u64 } from '../../base/u64.ts'
import type { IoPgtable } from '../../core/driver.ts'
import { outputOf } from '../../format/pt/entry.ts'
import { coverLog2, type PtSpace, ptSpace, TOP_SIGN, tableLog2 } from '../../format/pt/format.ts'
import { MapError, newRoot, PageTable } from '../../format/pt/mapper.ts'
import { WALK_OK, Walker } from '../../format/pt/walker.ts'
import { blockSize } from './words.ts'

/** A space without its root, and the rules for writing its tables. */
export interface Shape extends Pick<PtSpace, 'format' | 'topDepth' | 'inputBits' | 'outputLimit' | 'attributesLo'> {
  readonly top?: number
  /**
   * Whether an entry may turn from a block into a table of smaller leaves, that say the same, at once (RISC-V), or must be invalid and
   * forgotten in between (Arm: DDI 0487, D8.16 "break-before-make").
   */
  readonly splitsAtOnce: boolean
  /** Use leaves that take several entries (AMD's next level 7, NAPOT): only where the format `splitsAtOnce`. Default false. */
  readonly runs?: boolean
  /** The rights that the format can give of those that are wanted; by default all. */
  rightsOf?(wanted: number): number
}

/** How a page table's owner makes the hardware forget [start, end). */
export interface Forgetting {
  /** IOTLB, awaited. `leaf`: only leaves changed, no table was taken out. */
  tlb(start: bigint, end: bigint, leaf: boolean): Op<void>
  /** ATCs of the devices, awaited. After `tlb`: an ATC would be filled again from what is stale. */
  atc(start: bigint, end: bigint): Op<void>
}

export class DriverPgtable implements IoPgtable {
  readonly space: PtSpace
  readonly #shape: Shape
  readonly #table: PageTable
  readonly #pages: PageAllocator
  readonly #memory: WordMemory
  readonly #forgetting: Forgetting
  readonly #lock: Lock

  constructor(name: string, memory: WordMemory, pages: PageAllocator, shape: Shape, forgetting: Forgetting) {
    const { format, topDepth, inputBits, outputLimit, attributesLo, top } = shape
    const space = { format, topDepth, inputBits, outputLimit, attributesLo, ...(top === undefined ? {} : { top }) }
    this.space = ptSpace({ ...space, root: newRoot(pages, shape) })
    this.#shape = shape
    this.#memory = memory
    this.#pages = pages
    this.#forgetting = forgetting
    this.#table = new PageTable(memory, pages, this.space)
    this.#lock = new Lock(`page table of ${name}`)
  }

  /** @throws MapError when the range cannot be mapped; then nothing was changed. */
  map(iova: bigint, pa: bigint, size: bigint, rights: number): Op<void> {
    return this.#lock.hold(() => this.#map(iova, pa, size, rights))
  }

  /** @throws MapError when the range is not aligned to pages, or outside the space. */
  unmap(iova: bigint, size: bigint): Op<bigint> {
    return this.#lock.hold(() => this.#unmap(iova, size))
  }

  iovaToPhys(iova: bigint): bigint | null {
    if (iova < 0n || iova >> BigInt(this.space.inputBits) !== 0n) return null
    const walker = new Walker(this.#memory)
    const page = Number(iova >> 12n) * 4096
    if (walker.walk(this.space, doubleHi(page), doubleLo(page), 0, false) !== WALK_OK) return null
    return u64(walker.outHi, walker.outLo) | (iova & 4095n)
  }

  /** Gives all tables back. Only when the hardware cannot reach them any more. */
  free(): void {
    this.#table.destroy()
    this.#pages.free(this.space.root, blockSize(2 ** tableLog2(this.space, this.space.topDepth)))
  }

  // What was not mapped was not cached: entries that fault are not, in any architecture here. So there is nothing to invalidate.
  *#map(iova: bigint, pa: bigint, size: bigint, rights: number): Op<void> {
    // Addresses with the top bit set stand for those at the upper end of the 64-bit space.
    const { top, inputBits } = this.space
    if (top === TOP_SIGN && iova + size > 1n << BigInt(inputBits - 1))
      throw new MapError(
        'out-of-range',
        `0x${iova.toString(16)} + 0x${size.toString(16)}: outside the lower half of the ${inputBits}-bit space`,
      )
    this.#table.map(Number(iova), Number(pa), Number(size), this.#shape.rightsOf?.(rights) ?? rights, {
      runs: this.#shape.runs ?? false,
    })
    yield* step('mapped')
  }

  *#unmap(iova: bigint, size: bigint): Op<bigint> {
    const start = Number(iova)
    const end = start + Number(size)
    const page = 1n << BigInt(this.space.format.granuleLog2)
    if (!this.#shape.splitsAtOnce && iova % page === 0n && size % page === 0n) {
      yield* this.#split(start)
      yield* this.#split(end)
    }
    const { bytes, freed } = this.#table.unmap(start, end - start)
    yield* step('unmapped')
    if (bytes > 0 || freed.length > 0) {
      yield* this.#forgetting.tlb(iova, iova + size, freed.length === 0)
      for (const { pa, bytes: tableBytes } of freed) this.#pages.free(pa, tableBytes)
      yield* this.#forgetting.atc(iova, iova + size)
    }
    return BigInt(bytes)
  }

  /** Makes an edge of a range the edge of a leaf: blocks that it cuts become tables of smaller ones. */
  *#split(edge: number): Op<void> {
    const { format, inputBits } = this.space
    if (edge <= 0 || edge >= 2 ** inputBits) return
    for (;;) {
      const leaf = this.#table.leaf(edge)
      if (leaf === null) return
      const size = 2 ** coverLog2(format, leaf.depth)
      const base = Math.floor(edge / size) * size
      if (base === edge || leaf.depth === 0) return
      const output = outputOf(format, leaf.hi, leaf.lo)
      // Break: the hardware must not hold the block and its parts at once.
      this.#table.replaceLeaf(leaf.pa, 0, 0)
      yield* step('block made invalid')
      yield* this.#forgetting.tlb(BigInt(base), BigInt(base) + BigInt(size), true)
      // Make: the same mapping in leaves one level below.
      this.#table.map(base, output, size, this.#table.leafRights(leaf.hi, leaf.lo), { maxLeafDepth: leaf.depth - 1 })
      yield* step('block split')
    }
  }
}
