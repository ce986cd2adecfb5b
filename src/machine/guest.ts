/**
 * A guest: software that sees intermediate addresses as physical ones, and owns the stage 1 of its devices. Its memory is a block of ours,
 * mapped in the stage 2 of its domain; its tables lie in there.
 */
import type { PageAllocator, WordMemory } from '../base/memory.ts'
import type { Op } from '../base/op.ts'
import type { Domain } from '../core/domain.ts'
import { FrameAllocator } from '../memory/allocator.ts'
import type { MachineMemory } from './memory.ts'

/** Memory as a guest sees it: addresses from `start`, a block of ours behind. */
export class GuestMemory implements WordMemory, PageAllocator {
  readonly start: number
  readonly bytes: number
  /** Where the block lies. */
  readonly pa: number
  readonly #memory: MachineMemory
  readonly #allocator: FrameAllocator

  /** @param bytes a power of two. */
  constructor(memory: MachineMemory, start: number, bytes: number) {
    this.#memory = memory
    this.start = start
    this.bytes = bytes
    this.pa = memory.allocate(bytes)
    this.#allocator = new FrameAllocator([{ start, end: start + bytes }])
  }

  get words(): Int32Array {
    return this.#memory.words
  }

  index(address: number): number {
    const offset = address - this.start
    return offset < 0 || offset >= this.bytes ? -1 : this.#memory.index(this.pa + offset)
  }

  indexAt(hi: number, lo: number): number {
    return this.index((hi >>> 0) * 4294967296 + (lo >>> 0))
  }

  indexForWrite(address: number): number {
    const offset = address - this.start
    return offset < 0 || offset >= this.bytes ? -1 : this.#memory.indexForWrite(this.pa + offset)
  }

  allocate(bytes: number): number {
    const address = this.#allocator.allocate(bytes)
    for (let at = address; at < address + bytes; at += 4096) this.#memory.clear(this.pa + at - this.start)
    return address
  }

  free(address: number, bytes: number): void {
    this.#allocator.free(address, bytes)
  }
}

/** What a guest does with its devices' stage 1. Addresses that it maps to are intermediate. */
export interface Guest {
  /** Maps in the address space of this PASID; 0: of transactions without one. */
  map(pasid: number, address: bigint, ipa: bigint, size: bigint, rights: number): Op<void>
  /** @returns bytes that were mapped. */
  unmap(pasid: number, address: bigint, size: bigint): Op<bigint>
}

/** What an architecture needs to start a guest. */
export interface GuestWanted {
  readonly domain: Domain
  readonly memory: GuestMemory
  /** Width of the PASIDs of its devices. */
  readonly pasidBits: number
}
