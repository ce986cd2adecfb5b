/**
 * Bringing pages in and out, the process's lock held. Where a present entry changes, the table is changed first, then the notifiers are
 * told, and only then is a frame given away: a device may use what it has cached until the invalidation is complete.
 */
import { type Op, step } from '../base/op.ts'
import { type Access, neededRight, UR, UW, UX } from '../base/types.ts'
import { doubleHi, doubleLo } from '../base/u64.ts'
import { WALK_OK } from '../format/pt/walker.ts'
import type { Mm } from './mm.ts'
import type { PageEntry, PageInMemory, Pages } from './pages.ts'
import type { MmSystem } from './system.ts'
import { type Areas, leafRightsOf, MmError, type Vma } from './vma.ts'

export class Paging {
  readonly #mm: Mm
  readonly #system: MmSystem
  readonly #areas: Areas
  readonly #pages: Pages
  readonly #notify: (start: number, end: number) => Op<void>

  constructor(mm: Mm, system: MmSystem, areas: Areas, pages: Pages, notify: (start: number, end: number) => Op<void>) {
    this.#mm = mm
    this.#system = system
    this.#areas = areas
    this.#pages = pages
    this.#notify = notify
  }

  /** A fault: `success` means that the access, tried again, gets through. */
  *fault(address: number, access: Access, privileged: boolean): Op<'success' | 'invalid' | 'failure'> {
    const vma = this.#areas.find(address) ?? this.#growStack(address)
    if (vma === null) return this.#refuse(address, access, 'no memory area is there')
    const need = access === 'read' ? UR : access === 'write' ? UW : UX
    if ((vma.prot & need) === 0) return this.#refuse(address, access, `the area does not permit to ${access}`)
    if (vma.kernel && !privileged) return this.#refuse(address, access, 'the area is for privileged code only')
    try {
      yield* this.#bringIn(vma, address, access === 'write')
    } catch (error) {
      if (error instanceof MmError && error.code === 'memory') return 'failure'
      throw error
    }
    if (this.#granted(address, access, privileged)) return 'success'
    return this.#refuse(address, access, `privileged code may not ${access} a page of the process`)
  }

  /** Brings in every page of [start, end) that can be read, written or executed. */
  *populate(vma: Vma): Op<void> {
    if (vma.prot === 0) return
    for (let at = vma.start; at < vma.end; ) {
      yield* this.#bringIn(vma, at, (vma.prot & UW) !== 0)
      const found = this.#pages.find(at)!
      at = found.at + found.entry.bytes
    }
  }

  /** Writes a private page, or a large leaf's worth of them, to swap. */
  *swapOut(at: number, entry: PageInMemory): Op<void> {
    const { frames, swap, memory } = this.#system
    if (entry.kind === 'present') {
      this.#pages.unmap(at)
      yield* this.#notify(at, at + entry.bytes)
    }
    const bytes = this.#pages.pageBytes
    for (let done = 0; done < entry.bytes; done += bytes) {
      const slot = swap.write(memory.read(entry.frame + done, bytes))
      this.#pages.set(at + done, { kind: 'swapped', slot, bytes })
    }
    frames.put(entry.frame, entry.bytes / bytes)
    this.#system.log({ kind: 'swapped-out', mm: this.#mm, address: BigInt(at) })
  }

  /** Moves a private page to another frame. */
  *migrate(vma: Vma, at: number, entry: PageInMemory): Op<void> {
    const { frames } = this.#system
    const count = entry.bytes / this.#pages.pageBytes
    const to = frames.allocate(count)
    if (entry.kind === 'present') {
      const { writable, accessed, dirty } = this.#pages.unmap(at)
      yield* this.#notify(at, at + entry.bytes)
      frames.copy(entry.frame, to, count)
      this.#pages.install(at, to, entry.bytes, this.#rights(vma, writable), vma.kernel, { accessed, dirty })
    } else {
      frames.copy(entry.frame, to, count)
      this.#pages.set(at, { kind: 'parked', frame: to, bytes: entry.bytes })
    }
    frames.put(entry.frame, count)
    this.#system.log({ kind: 'migrated', mm: this.#mm, address: BigInt(at), from: BigInt(entry.frame), to: BigInt(to) })
  }

  /** Makes pages of a large leaf that reaches across this address. */
  *splitAt(address: number): Op<void> {
    const found = this.#pages.find(address)
    if (found === null || found.at === address || found.entry.kind === 'swapped') return
    const { at, entry } = found
    const bytes = this.#pages.pageBytes
    if (entry.kind === 'parked') {
      for (let done = 0; done < entry.bytes; done += bytes)
        this.#pages.set(at + done, { kind: 'parked', frame: entry.frame + done, bytes })
      return
    }
    const vma = this.#areas.find(at)!
    const { writable, accessed, dirty } = this.#pages.unmap(at)
    yield* this.#notify(at, at + entry.bytes)
    const rights = this.#rights(vma, writable)
    const install = (done: number, size: number) =>
      this.#pages.install(at + done, entry.frame + done, size, rights, vma.kernel, { accessed, dirty })
    try {
      for (let done = 0; done < entry.bytes; done += bytes) install(done, bytes)
    } catch (error) {
      install(0, entry.bytes) // the first page needed a table, and there was no memory for it
      throw error
    }
  }

  /** Gives an area's pages the rights that its protection says now. @returns whether a present entry changed. */
  protect(vma: Vma): boolean {
    const { frames } = this.#system
    let changed = false
    for (const { at, entry } of this.#pages.inRange(vma.start, vma.end)) {
      if (entry.kind !== 'present') continue
      const count = entry.bytes / this.#pages.pageBytes
      const { writable, accessed, dirty } = this.#pages.state(at)
      const stays = writable && (vma.prot & UW) !== 0
      if (dirty && !stays) frames.markDirty(entry.frame, count)
      if (vma.prot === 0) {
        this.#pages.unmap(at)
        this.#pages.set(at, { kind: 'parked', frame: entry.frame, bytes: entry.bytes })
        changed = true
      } else {
        const state = { accessed, dirty: dirty && stays }
        if (this.#pages.change(at, entry.frame, this.#rights(vma, stays), vma.kernel, state)) changed = true
      }
    }
    return changed
  }

  /** Takes writing away from a present page, for copying on write. @returns whether the entry changed. */
  writeProtect(vma: Vma, at: number, entry: PageInMemory): boolean {
    const { accessed, dirty } = this.#pages.state(at)
    if (dirty) this.#system.frames.markDirty(entry.frame, entry.bytes / this.#pages.pageBytes)
    return this.#pages.change(at, entry.frame, this.#rights(vma, false), vma.kernel, { accessed, dirty: false })
  }

  /** Maps a frame of the parent, read-only. The caller counted the reference. */
  adopt(vma: Vma, at: number, entry: PageInMemory): void {
    this.#pages.install(at, entry.frame, entry.bytes, this.#rights(vma, false), vma.kernel, { accessed: true, dirty: false })
  }

  /** Takes a page of shared memory out of the table. @returns its frame, whose reference is the caller's to give back. */
  unmapShared(at: number): number | null {
    const found = this.#pages.find(at)
    if (found === null || found.entry.kind === 'swapped') return null
    const { frame, kind } = found.entry
    if (kind === 'present') this.#pages.unmap(at)
    else this.#pages.forget(at)
    return frame
  }

  /** Gives back what an entry held. Only when no cache of the hardware can lead to it. */
  release(entry: PageEntry): void {
    const { frames, swap } = this.#system
    if (entry.kind === 'swapped') swap.put(entry.slot)
    else frames.put(entry.frame, entry.bytes / this.#pages.pageBytes)
  }

  *#bringIn(vma: Vma, address: number, write: boolean): Op<void> {
    const found = this.#pages.find(address)
    if (found === null) {
      yield* this.#firstTouch(vma, address - (address % this.#pages.pageBytes), write)
      return
    }
    const { at, entry } = found
    if (entry.kind === 'swapped') yield* this.#swapIn(vma, at, entry, write)
    else if (entry.kind === 'parked') yield* this.#unpark(vma, at, entry, write)
    else yield* this.#touch(vma, at, entry, write)
  }

  *#firstTouch(vma: Vma, at: number, write: boolean): Op<void> {
    const { frames, memory, swap } = this.#system
    const { shared } = vma
    if (shared === null && (yield* this.#large(vma, at, write))) return
    let frame: number
    if (shared === null) frame = frames.allocate()
    else {
      const index = (vma.offset + at - vma.start) / this.#pages.pageBytes
      frame = shared.frame(index, frames, swap, (pa, data) => memory.write(pa, data))
      frames.get(frame)
    }
    yield* this.#install(vma, at, frame, this.#pages.pageBytes, write, shared === null ? 'zeroed' : 'shared')
  }

  /** Brings in a large leaf where the area asks for one and covers it, and nothing is there yet. */
  *#large(vma: Vma, at: number, write: boolean): Op<boolean> {
    const { largeBytes, pageBytes } = this.#pages
    if (!vma.huge || largeBytes === 0) return false
    const base = at - (at % largeBytes)
    if (base < vma.start || base + largeBytes > vma.end || this.#pages.inRange(base, base + largeBytes).length > 0) return false
    let frame: number
    try {
      frame = this.#system.frames.allocate(largeBytes / pageBytes)
    } catch {
      return false // no block that large is free: a page will do
    }
    yield* this.#install(vma, base, frame, largeBytes, write, 'zeroed')
    return true
  }

  *#swapIn(vma: Vma, at: number, entry: PageEntry & { kind: 'swapped' }, write: boolean): Op<void> {
    const { frames, memory, swap } = this.#system
    const frame = frames.allocate()
    memory.write(frame, swap.read(entry.slot))
    yield* this.#install(vma, at, frame, entry.bytes, write, 'from swap')
    swap.put(entry.slot)
  }

  *#unpark(vma: Vma, at: number, entry: PageInMemory, write: boolean): Op<void> {
    const exclusive = vma.shared !== null || this.#system.frames.exclusive(entry.frame, entry.bytes / this.#pages.pageBytes)
    const state = { accessed: true, dirty: write && exclusive }
    this.#pages.install(at, entry.frame, entry.bytes, this.#rights(vma, exclusive), vma.kernel, state)
    this.#pagedIn(at, entry.frame, entry.bytes, 'unparked')
    if (write && !exclusive) yield* this.#touch(vma, at, { ...entry, kind: 'present' }, true)
  }

  /** A page that is there: a write may need a copy; else only access and dirty state are due. */
  *#touch(vma: Vma, at: number, entry: PageInMemory, write: boolean): Op<void> {
    const { frames } = this.#system
    const state = this.#pages.state(at)
    if (!write || state.writable) {
      // Also without a change the caller may have seen an older entry: it tries again.
      if (this.#pages.mark(at, { accessed: true, dirty: write || state.dirty })) yield* this.#notify(at, at + entry.bytes)
      return
    }
    const count = entry.bytes / this.#pages.pageBytes
    const rights = this.#rights(vma, true)
    const done = { accessed: true, dirty: true }
    const from = entry.frame
    let to = from
    if (vma.shared !== null || frames.exclusive(from, count)) {
      this.#pages.change(at, from, rights, vma.kernel, done)
      // More rights need an invalidation too: an IOMMU that holds the old entry would fault on it for ever.
      yield* this.#notify(at, at + entry.bytes)
    } else {
      to = frames.allocate(count)
      this.#pages.unmap(at)
      yield* this.#notify(at, at + entry.bytes)
      frames.copy(from, to, count)
      this.#pages.install(at, to, entry.bytes, rights, vma.kernel, done)
      frames.put(from, count)
    }
    this.#system.log({ kind: 'copied', mm: this.#mm, address: BigInt(at), from: BigInt(from), to: BigInt(to) })
  }

  /** Maps a frame that has one reference for us. */
  *#install(
    vma: Vma,
    at: number,
    frame: number,
    bytes: number,
    write: boolean,
    how: 'zeroed' | 'from swap' | 'shared',
  ): Op<void> {
    // The old entry (of a swapped page) stays until the new one is there.
    try {
      this.#pages.install(at, frame, bytes, this.#rights(vma, true), vma.kernel, { accessed: true, dirty: write })
    } catch (error) {
      this.#system.frames.put(frame, bytes / this.#pages.pageBytes)
      throw error
    }
    this.#pagedIn(at, frame, bytes, how)
    yield* step(`page table entry of ${this.#mm.name} written`)
  }

  #pagedIn(at: number, frame: number, bytes: number, how: 'zeroed' | 'from swap' | 'shared' | 'unparked'): void {
    this.#system.log({
      kind: 'paged-in',
      mm: this.#mm,
      address: BigInt(at),
      size: BigInt(bytes),
      pa: BigInt(frame),
      how,
    })
  }

  #rights(vma: Vma, writable: boolean): number {
    return leafRightsOf(writable ? vma.prot : vma.prot & ~UW, vma.kernel)
  }

  /** Whether the CPU's own walk grants the access now. */
  #granted(address: number, access: Access, privileged: boolean): boolean {
    const { walker } = this.#system
    const need = neededRight(access, privileged)
    return walker.walk(this.#pages.table.space, doubleHi(address), doubleLo(address), need, false) === WALK_OK
  }

  /** The stack just above this address, extended down to it, if it may. */
  #growStack(address: number): Vma | null {
    const { list } = this.#areas
    const index = this.#areas.after(address)
    const vma = list[index]
    if (vma === undefined || !vma.growsDown) return null
    const start = address - (address % this.#pages.pageBytes)
    const below = index === 0 ? 0 : list[index - 1]!.end + this.#system.stackGuard
    if (vma.end - start > this.#system.stackLimit || start < below) return null
    vma.start = start
    this.#system.log({ kind: 'stack-grown', mm: this.#mm, start: BigInt(start) })
    return vma
  }

  #refuse(address: number, access: Access, why: string): 'invalid' {
    this.#system.log({ kind: 'refused', mm: this.#mm, address: BigInt(address), access, why })
    return 'invalid'
  }
}
