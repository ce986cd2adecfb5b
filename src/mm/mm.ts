/** A process address space: areas, page table, demand paging, copy on write, swap, migration, notifiers, a life. */
import type { Op } from '../base/op.ts'
import type { Access } from '../base/types.ts'
import type { PtSpace } from '../format/pt/format.ts'
import type { CpuSpace, MmNotifier } from './contract.ts'
import type { MmapOptions, Vma } from './vma.ts'

/** What a page is just now, for tests and pictures. */
export interface PageState {
  /** `absent`: not brought in; `parked`: kept, but no access is permitted just now. */
  readonly kind: 'absent' | 'present' | 'swapped' | 'parked'
  /** Physical address; null when not in memory. */
  readonly pa: bigint | null
  readonly sizeLog2: number
  readonly writable: boolean
  readonly accessed: boolean
  readonly dirty: boolean
  /** Page tables (and shared memories) that refer to the frame. */
  readonly references: number
}

const later = (): never => {
  throw new Error('the address space cannot do this yet')
}

export class Mm implements CpuSpace {
  readonly name: string = later()
  readonly id: number = later()
  readonly space: PtSpace = later()
  get alive(): boolean {
    return later()
  }
  /** Areas, ascending. */
  get vmas(): readonly Readonly<Vma>[] {
    return later()
  }
  /** Adds an area. `protection`: a mask of UR, UW, UX (see `prot`). @throws MmError when it overlaps another or is not page-aligned. */
  mmap(_start: bigint, _length: bigint, _protection: number, _options: MmapOptions = {}): Op<void> {
    return later()
  }
  munmap(_start: bigint, _length: bigint): Op<void> {
    return later()
  }
  mprotect(_start: bigint, _length: bigint, _protection: number): Op<void> {
    return later()
  }
  /** A CPU's access: walks the table, faults pages in. */
  access(_address: bigint, _access: Access, _privileged = false): Op<'ok' | 'segv'> {
    return later()
  }
  /** Reads bytes as the CPU would. */
  load(_address: bigint, _bytes: number): Op<Uint8Array | 'segv'> {
    return later()
  }
  /** Writes bytes as the CPU would. */
  store(_address: bigint, _data: Uint8Array): Op<'ok' | 'segv'> {
    return later()
  }
  /** A copy: private pages copied on write, no PASID, no notifiers. */
  fork(_name: string): Op<Mm> {
    return later()
  }
  /** A new, empty address space; this one exits. */
  exec(_name: string): Op<Mm> {
    return later()
  }
  /** Ends the process: notifiers' release, then pages and tables are freed. Idempotent. */
  exit(): Op<void> {
    return later()
  }
  /** Writes the page to swap and unmaps it. @returns false when it is not in memory. */
  swapOut(_address: bigint): Op<boolean> {
    return later()
  }
  /** Moves the page to another frame. @returns false when it is not in memory. */
  migrate(_address: bigint): Op<boolean> {
    return later()
  }
  /** Whether the page was accessed since the last call (access flag), and clears it. */
  testAndClearAccessed(_address: bigint): Op<boolean> {
    return later()
  }
  /** Makes the page clean. @returns whether it was dirty. */
  clean(_address: bigint): Op<boolean> {
    return later()
  }
  page(_address: bigint): PageState {
    return later()
  }
  /** Physical address that the page table gives, whatever the rights; null when not present. */
  translate(_address: bigint): bigint | null {
    return later()
  }
  /** A CPU switches to this address space. @returns its ASID. */
  runOn(_cpu: number): number {
    return later()
  }
  pinAsid(): number | null {
    return later()
  }
  unpinAsid(): void {
    return later()
  }
  addNotifier(_notifier: MmNotifier): void {
    return later()
  }
  removeNotifier(_notifier: MmNotifier): void {
    return later()
  }
  areasIn(_start: bigint, _end: bigint): readonly { start: bigint; end: bigint }[] {
    return later()
  }
  handleFault(_address: bigint, _access: Access, _privileged: boolean): Op<'success' | 'invalid' | 'failure'> {
    return later()
  }
}
