/** Memory areas of a process: ranges of its address space with permissions, kept sorted. Addresses are doubles, multiples of the page size. */
import { PR, PW, PX, UR, UW, UX } from '../base/types.ts'
import type { SharedMemory } from './shared.ts'

/** A caller's mistake. */
export class MmError extends Error {
  readonly code: 'unaligned' | 'out-of-range' | 'overlap' | 'not-mapped' | 'dead' | 'bad-protection' | 'memory'
  constructor(code: MmError['code'], message: string) {
    super(message)
    this.name = 'MmError'
    this.code = code
  }
}

/** One memory area, [start, end). */
export interface Vma {
  start: number
  end: number
  /** What the process may do: a mask of UR, UW and UX. */
  prot: number
  /** Only privileged code may use it. */
  readonly kernel: boolean
  /** A stack: a fault below it extends it downwards. */
  readonly growsDown: boolean
  /** Brings in large leaves where they fit. */
  readonly huge: boolean
  /** Pages that several processes share; null: private, copied on write. */
  readonly shared: SharedMemory | null
  /** Byte offset of `start` in the shared memory. */
  offset: number
}

export interface MmapOptions {
  /** Only privileged code may use it. */
  readonly kernel?: boolean
  readonly growsDown?: boolean
  /** Bring in large leaves (one depth above pages) where the area covers them. */
  readonly huge?: boolean
  /** `true`: new shared memory, which children of fork share. */
  readonly shared?: SharedMemory | true
  /** Byte offset in the shared memory. */
  readonly offset?: bigint
  /** Bring all pages in now. */
  readonly populate?: boolean
}

/** `'rw'`, `'r-x'`, `'---'` as a mask of UR, UW and UX. @throws MmError for other letters. */
export function prot(text: string): number {
  let mask = 0
  for (const letter of text) {
    const bit = letter === 'r' ? UR : letter === 'w' ? UW : letter === 'x' ? UX : letter === '-' ? 0 : -1
    if (bit < 0) throw new MmError('bad-protection', `protection '${text}': write r, w, x and - only, as in 'rw-'`)
    mask |= bit
  }
  return mask
}

/** Rights of a leaf for this protection: a user's page may be read and written by privileged code too, a kernel's page only by it. */
export function leafRightsOf(protection: number, kernel: boolean): number {
  const privileged = ((protection & UR) !== 0 ? PR : 0) | ((protection & UW) !== 0 ? PW : 0)
  return kernel ? privileged | ((protection & UX) !== 0 ? PX : 0) : protection | privileged
}

/** All areas of a process, ascending, without overlaps. */
export class Areas {
  readonly list: Vma[] = []

  /** The area that holds this address. */
  find(address: number): Vma | null {
    const vma = this.list[this.after(address)]
    return vma !== undefined && vma.start <= address ? vma : null
  }

  /** Index of the first area that ends after this address. */
  after(address: number): number {
    let low = 0
    let high = this.list.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.list[middle]!.end > address) high = middle
      else low = middle + 1
    }
    return low
  }

  /** Areas that overlap [start, end). */
  overlapping(start: number, end: number): Vma[] {
    const found: Vma[] = []
    for (let index = this.after(start); index < this.list.length && this.list[index]!.start < end; index++)
      found.push(this.list[index]!)
    return found
  }

  /** @throws MmError when it overlaps another. */
  insert(vma: Vma): void {
    const index = this.after(vma.start)
    const next = this.list[index]
    if (next !== undefined && next.start < vma.end)
      throw new MmError(
        'overlap',
        `${range(vma.start, vma.end)} overlaps the area ${range(next.start, next.end)}: unmap that first`,
      )
    this.list.splice(index, 0, vma)
  }

  /** Splits areas at the ends of [start, end). @returns those that lie inside now. */
  isolate(start: number, end: number): Vma[] {
    this.#split(start)
    this.#split(end)
    return this.overlapping(start, end)
  }

  /** Takes [start, end) out. @returns the areas, or parts of areas, that were there. */
  remove(start: number, end: number): Vma[] {
    const inside = this.isolate(start, end)
    if (inside.length > 0) this.list.splice(this.list.indexOf(inside[0]!), inside.length)
    return inside
  }

  #split(at: number): void {
    const index = this.after(at)
    const vma = this.list[index]
    if (vma === undefined || vma.start >= at) return
    this.list.splice(index + 1, 0, { ...vma, start: at, offset: vma.offset + (at - vma.start) })
    vma.end = at
  }
}

function range(start: number, end: number): string {
  return `0x${start.toString(16)}..0x${end.toString(16)}`
}
