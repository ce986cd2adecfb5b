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
