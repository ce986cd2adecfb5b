/** A process address space: areas, page table, demand paging, copy on write, swap, migration, notifiers, a life. */
import { Lock, type Op, step, waitFor } from '../base/op.ts'
import { type Access, neededRight, UR, UW, UX } from '../base/types.ts'
import { doubleHi, doubleLo, toDouble } from '../base/u64.ts'
import type { PtSpace } from '../format/pt/format.ts'
import { WALK_OK } from '../format/pt/walker.ts'
import type { AsidContext } from './asid.ts'
import type { CpuSpace, MmNotifier } from './contract.ts'
import { Pages } from './pages.ts'
import { Paging } from './paging.ts'
import { SharedMemory } from './shared.ts'
import type { MmSystem } from './system.ts'
import { Areas, type MmapOptions, MmError, type Vma } from './vma.ts'

/** What a page is just now, for tests and pictures. */
export interface PageState {
  /** `absent`: not brought in; `parked`: kept, but no access is permitted just now. */
  readonly kind: 'absent' | 'present' | 'swapped' | 'parked'
  /** Physical address of its first byte; null when not in memory. */
  readonly pa: bigint | null
  /** Bytes of the leaf. */
  readonly bytes: number
  readonly writable: boolean
  readonly accessed: boolean
  readonly dirty: boolean
  /** Page tables (and shared memories) that refer to the frame. */
  readonly references: number
}

export class Mm implements CpuSpace {
  readonly name: string
  readonly id: number
  readonly system: MmSystem
  readonly #areas = new Areas()
  readonly #pages: Pages
  readonly #paging: Paging
  readonly #lock: Lock
  readonly #notifiers = new Set<MmNotifier>()
  readonly #asid: AsidContext
  #life: 'alive' | 'exiting' | 'ended' = 'alive'

  /** Made by `MmSystem.create`. */
  constructor(system: MmSystem, name: string, id: number) {
    this.system = system
    this.name = name
    this.id = id
    this.#lock = new Lock(`mm ${name}`)
    this.#pages = new Pages(system.memory, (root) => system.spaceAt(root))
    this.#paging = new Paging(this, system, this.#areas, this.#pages, (start, end) => this.#notify(start, end))
    this.#asid = system.asids.newContext()
  }

  get alive(): boolean {
    return this.#life === 'alive'
  }
  get space(): PtSpace {
    return this.#pages.table.space
  }
  /** Areas, ascending. */
  get vmas(): readonly Readonly<Vma>[] {
    return this.#areas.list
  }
  /** Page tables, the top one included. */
  get tables(): number {
    return this.#pages.table.tables + 1
  }

  /** Adds an area. `protection`: a mask of UR, UW, UX (see `prot`). @throws MmError when it overlaps another or is not page-aligned. */
  mmap(start: bigint, length: bigint, protection: number, options: MmapOptions = {}): Op<void> {
    const [from, to] = this.#range(start, length)
    const offset = Number(options.offset ?? 0n)
    if (offset % this.#pages.pageBytes !== 0)
      throw new MmError('unaligned', `offset 0x${offset.toString(16)} is not a multiple of the page size`)
    if ((protection & ~(UR | UW | UX)) !== 0)
      throw new MmError('bad-protection', `protection ${protection}: a mask of UR, UW and UX; prot('rw-') makes one`)
    return this.#locked(function* (this: Mm): Op<void> {
      const shared = options.shared === true ? new SharedMemory(`shared memory of ${this.name}`) : (options.shared ?? null)
      const { kernel = false, growsDown = false, huge = false } = options
      const vma: Vma = { start: from, end: to, prot: protection, kernel, growsDown, huge, shared, offset }
      this.#areas.insert(vma)
      shared?.users.add(this)
      if (options.populate === true) yield* this.#paging.populate(vma)
    })
  }

  /** Takes [start, start + length) out of the address space. What is not there is no mistake. */
  munmap(start: bigint, length: bigint): Op<void> {
    const [from, to] = this.#range(start, length)
    return this.#locked(function* (this: Mm): Op<void> {
      yield* this.#paging.splitAt(from)
      yield* this.#paging.splitAt(to)
      const gone = this.#areas.remove(from, to)
      const entries = this.#pages.inRange(from, to)
      const { bytes, freed } = this.#pages.unmapRange(from, to)
      for (const { at } of entries) this.#pages.forget(at)
      if (bytes > 0 || freed.length > 0) yield* this.#notify(from, to)
      this.#pages.freeTables(freed)
      for (const { entry } of entries) this.#paging.release(entry)
      for (const { shared } of gone) this.#leave(shared)
    })
  }

  /** Changes what the process may do there. @throws MmError when part of the range is in no area; then nothing was changed. */
  mprotect(start: bigint, length: bigint, protection: number): Op<void> {
    const [from, to] = this.#range(start, length)
    return this.#locked(function* (this: Mm): Op<void> {
      let covered = from
      for (const vma of this.#areas.overlapping(from, to)) if (vma.start <= covered) covered = vma.end
      if (covered < to) throw new MmError('not-mapped', `${this.name} has no memory area at 0x${covered.toString(16)}`)
      yield* this.#paging.splitAt(from)
      yield* this.#paging.splitAt(to)
      let changed = false
      for (const vma of this.#areas.isolate(from, to)) {
        vma.prot = protection
        if (this.#paging.protect(vma)) changed = true
      }
      if (changed) yield* this.#notify(from, to)
    })
  }

  /** A CPU's access: walks the table, faults pages in. @throws MmError when memory is exhausted. */
  *access(address: bigint, access: Access, privileged = false): Op<'ok' | 'segv'> {
    if (!this.alive || address < 0n || address >= BigInt(this.system.addressLimit)) return 'segv'
    const at = Number(address)
    const need = neededRight(access, privileged)
    while (this.system.walker.walk(this.space, doubleHi(at), doubleLo(at), need, true) !== WALK_OK) {
      const result = yield* this.handleFault(address, access, privileged)
      if (result === 'failure') throw new MmError('memory', `no memory for 0x${address.toString(16)} of ${this.name}`)
      if (result === 'invalid') return 'segv'
    }
    return 'ok'
  }

  /** Reads bytes as the CPU would. */
  *load(address: bigint, bytes: number): Op<Uint8Array | 'segv'> {
    const out = new Uint8Array(bytes)
    for (const [at, from, length] of this.#pieces(address, bytes)) {
      if ((yield* this.access(at, 'read')) === 'segv') return 'segv'
      out.set(this.system.memory.read(Number(this.translate(at)), length), from)
    }
    return out
  }

  /** Writes bytes as the CPU would. */
  *store(address: bigint, data: Uint8Array): Op<'ok' | 'segv'> {
    for (const [at, from, length] of this.#pieces(address, data.length)) {
      if ((yield* this.access(at, 'write')) === 'segv') return 'segv'
      this.system.memory.write(Number(this.translate(at)), data.subarray(from, from + length))
    }
    return 'ok'
  }

  /** A copy: private pages are copied on write, shared ones shared; no PASID, no notifiers. */
  fork(name: string): Op<Mm> {
    return this.#locked(function* (this: Mm): Op<Mm> {
      const child = this.system.create(name)
      try {
        for (const vma of this.#areas.list) {
          child.#areas.insert({ ...vma })
          vma.shared?.users.add(child)
          if (vma.shared === null && this.#share(child, vma)) yield* this.#notify(vma.start, vma.end)
          yield* step(`fork of ${this.name}: an area is copied`)
        }
      } catch (error) {
        // Some pages may be write-protected already.
        yield* this.#notify(0, this.system.addressLimit)
        yield* child.exit()
        throw error
      }
      this.system.log({ kind: 'forked', mm: this, child })
      return child
    })
  }

  /** A new, empty address space takes the place of this one, which exits. */
  *exec(name: string): Op<Mm> {
    if (!this.alive) throw this.#dead()
    const next = this.system.create(name)
    yield* this.exit()
    return next
  }

  /** Ends the process: notifiers' `release`, then pages and tables are freed. Once; later calls wait for the first. */
  *exit(): Op<void> {
    if (this.#life !== 'alive') {
      yield* waitFor(`exit of ${this.name}`, () => this.#life === 'ended')
      return
    }
    this.#life = 'exiting'
    yield* step(`${this.name} exits: notifiers are not told yet`)
    // Without the lock: those who are told may wait for faults in flight, which need it.
    for (const notifier of [...this.#notifiers]) if (this.#notifiers.has(notifier)) yield* notifier.release()
    this.#notifiers.clear()
    yield* this.#lock.hold(
      function* (this: Mm): Op<void> {
        for (const entry of this.#pages.destroy()) this.#paging.release(entry)
        const shared = this.#areas.list.splice(0).map((vma) => vma.shared)
        for (const one of shared) this.#leave(one)
        this.#life = 'ended'
      }.bind(this),
    )
    this.system.ended(this)
  }

  /** Writes the page to swap and unmaps it, wherever it is shared. @returns false when it is not in memory. */
  swapOut(address: bigint): Op<boolean> {
    return this.#relocate(address, 'swap')
  }

  /** Moves the page to another frame, for all that share it. @returns false when it is not in memory. */
  migrate(address: bigint): Op<boolean> {
    return this.#relocate(address, 'frame')
  }

  /** Whether the page was used since the last call, and clears its access flag. */
  testAndClearAccessed(address: bigint): Op<boolean> {
    return this.#locked(function* (this: Mm): Op<boolean> {
      const found = this.#pages.find(Number(address))
      if (found?.entry.kind !== 'present') return false
      const { accessed, dirty } = this.#pages.state(found.at)
      if (this.#pages.mark(found.at, { accessed: false, dirty })) yield* this.#notify(found.at, found.at + found.entry.bytes)
      return accessed
    })
  }

  /** Makes the page clean, as after writing it back. @returns whether it was dirty. */
  clean(address: bigint): Op<boolean> {
    return this.#locked(function* (this: Mm): Op<boolean> {
      const found = this.#pages.find(Number(address))
      if (found === null || found.entry.kind === 'swapped') return false
      const { at, entry } = found
      let dirty = this.system.frames.isDirty(entry.frame)
      this.system.frames.markClean(entry.frame, entry.bytes / this.#pages.pageBytes)
      if (entry.kind === 'present') {
        const state = this.#pages.state(at)
        dirty ||= state.dirty
        if (this.#pages.mark(at, { accessed: state.accessed, dirty: false })) yield* this.#notify(at, at + entry.bytes)
      }
      return dirty
    })
  }

  page(address: bigint): PageState {
    const found = this.#pages.find(Number(address))
    const none = { pa: null, bytes: this.#pages.pageBytes, writable: false, accessed: false, dirty: false, references: 0 }
    if (found === null) return { kind: 'absent', ...none }
    const { at, entry } = found
    if (entry.kind === 'swapped') return { kind: 'swapped', ...none, dirty: true }
    const { frames } = this.system
    const state = entry.kind === 'present' ? this.#pages.state(at) : { writable: false, accessed: false, dirty: false }
    return {
      kind: entry.kind,
      pa: BigInt(entry.frame),
      bytes: entry.bytes,
      writable: state.writable,
      accessed: state.accessed,
      dirty: state.dirty || frames.isDirty(entry.frame),
      references: frames.references(entry.frame),
    }
  }

  /** Physical address that the page table gives, whatever the rights; null when none. */
  translate(address: bigint): bigint | null {
    if (this.#life === 'ended' || address < 0n || address >= BigInt(this.system.addressLimit)) return null
    const at = Number(address)
    const { walker } = this.system
    if (walker.walk(this.space, doubleHi(at), doubleLo(at), 0, false) !== WALK_OK) return null
    return BigInt(toDouble(walker.outHi, walker.outLo))
  }

  /** A CPU switches to this address space. @returns its ASID. */
  runOn(cpu: number): number {
    return this.system.asids.switchTo(cpu, this.#asid)
  }
  pinAsid(): number | null {
    return this.system.asids.pin(this.#asid)
  }
  unpinAsid(): void {
    this.system.asids.unpin(this.#asid)
  }

  addNotifier(notifier: MmNotifier): void {
    if (!this.alive) throw this.#dead()
    this.#notifiers.add(notifier)
  }
  removeNotifier(notifier: MmNotifier): void {
    this.#notifiers.delete(notifier)
  }

  areasIn(start: bigint, end: bigint): readonly { start: bigint; end: bigint }[] {
    return this.#areas.overlapping(Number(start), Number(end)).map((vma) => ({
      start: BigInt(vma.start) > start ? BigInt(vma.start) : start,
      end: BigInt(vma.end) < end ? BigInt(vma.end) : end,
    }))
  }

  *handleFault(address: bigint, access: Access, privileged: boolean): Op<'success' | 'invalid' | 'failure'> {
    // Tagged and non-canonical addresses are nobody's: a process has the plain lower half.
    if (!this.alive || address < 0n || address >= BigInt(this.system.addressLimit)) return 'invalid'
    return yield* this.#lock.hold(
      function* (this: Mm): Op<'success' | 'invalid' | 'failure'> {
        if (!this.alive) return 'invalid'
        return yield* this.#paging.fault(Number(address), access, privileged)
      }.bind(this),
    )
  }

  /** Tables were changed in [start, end): whoever caches them must hear of it. */
  *#notify(start: number, end: number): Op<void> {
    yield* step(`page table of ${this.name} changed, nobody told yet`)
    for (const notifier of [...this.#notifiers]) yield* notifier.invalidate(BigInt(start), BigInt(end))
  }

  /** Write-protects an area's private pages, and gives the child the same ones. @returns whether one of ours changed. */
  #share(child: Mm, vma: Vma): boolean {
    const { frames, swap } = this.system
    let changed = false
    for (const { at, entry } of this.#pages.inRange(vma.start, vma.end)) {
      if (entry.kind === 'swapped') {
        child.#pages.set(at, entry)
        swap.get(entry.slot)
        continue
      }
      const count = entry.bytes / this.#pages.pageBytes
      if (entry.kind === 'parked') child.#pages.set(at, entry)
      else if (this.#paging.writeProtect(vma, at, entry)) changed = true
      frames.get(entry.frame, count)
      try {
        if (entry.kind === 'present') child.#paging.adopt(vma, at, entry)
      } catch (error) {
        frames.put(entry.frame, count)
        throw error
      }
    }
    return changed
  }

  /** Swaps a page out, or moves it. A shared one leaves the tables of all processes first, all their locks held. */
  *#relocate(address: bigint, to: 'swap' | 'frame'): Op<boolean> {
    const shared = this.#areas.find(Number(address))?.shared ?? null
    if (shared !== null) return yield* this.#relocateShared(address, shared, to)
    return yield* this.#locked(function* (this: Mm): Op<boolean> {
      const vma = this.#areas.find(Number(address))
      const found = this.#pages.find(Number(address))
      if (vma === null || vma.shared !== null || found === null || found.entry.kind === 'swapped') return false
      if (to === 'swap') yield* this.#paging.swapOut(found.at, found.entry)
      else yield* this.#paging.migrate(vma, found.at, found.entry)
      return true
    })
  }

  *#relocateShared(address: bigint, shared: SharedMemory, to: 'swap' | 'frame'): Op<boolean> {
    for (;;) {
      const held = [...shared.users].sort((a, b) => a.id - b.id)
      const done = yield* this.#withLocks(held, () => this.#moveShared(address, shared, to, held))
      if (done !== 'again') return done
    }
  }

  /** Takes the locks in order of the processes' ids, so that two who do so cannot block each other. */
  #withLocks<T>(held: readonly Mm[], body: () => Op<T>): Op<T> {
    return held.reduceRight<() => Op<T>>((inner, mm) => () => mm.#lock.hold(inner), body)()
  }

  *#moveShared(address: bigint, shared: SharedMemory, to: 'swap' | 'frame', held: readonly Mm[]): Op<boolean | 'again'> {
    const { frames, swap, memory } = this.system
    const { pageBytes } = this.#pages
    const vma = this.#areas.find(Number(address))
    if (vma?.shared !== shared) return false
    // A process may have joined while we waited for the locks: then once more, with its lock too.
    if ([...shared.users].some((mm) => !held.includes(mm))) return 'again'
    const index = Math.floor((vma.offset + Number(address) - vma.start) / pageBytes)
    const frame = shared.present(index)
    if (frame === null) return false
    for (const mm of held) yield* mm.#unmapShared(shared, index)
    if (to === 'swap') {
      shared.move(index, { slot: swap.write(memory.read(frame, pageBytes)) })
      this.system.log({ kind: 'swapped-out', mm: this, address })
    } else {
      const moved = frames.allocate()
      frames.copy(frame, moved)
      shared.move(index, { frame: moved })
      this.system.log({ kind: 'migrated', mm: this, address, from: BigInt(frame), to: BigInt(moved) })
    }
    frames.put(frame)
    return true
  }

  /** Takes every mapping of a shared page out of this process. */
  *#unmapShared(shared: SharedMemory, index: number): Op<void> {
    const { pageBytes } = this.#pages
    for (const vma of this.#areas.list) {
      const at = vma.start + index * pageBytes - vma.offset
      if (vma.shared !== shared || at < vma.start || at >= vma.end) continue
      const frame = this.#paging.unmapShared(at)
      if (frame === null) continue
      yield* this.#notify(at, at + pageBytes)
      this.system.frames.put(frame)
    }
  }

  #leave(shared: SharedMemory | null): void {
    if (shared === null || this.#areas.list.some((vma) => vma.shared === shared)) return
    shared.leave(this, this.system.frames, this.system.swap)
  }

  /** Runs the body with the lock held, the process alive. */
  #locked<T>(body: (this: Mm) => Op<T>): Op<T> {
    return this.#lock.hold(
      function* (this: Mm): Op<T> {
        if (!this.alive) throw this.#dead()
        return yield* body.call(this)
      }.bind(this),
    )
  }

  #dead(): MmError {
    return new MmError('dead', `${this.name} has exited: its address space is gone`)
  }

  #range(start: bigint, length: bigint): [number, number] {
    const page = BigInt(this.#pages.pageBytes)
    const limit = this.system.addressLimit
    if (start % page !== 0n || length % page !== 0n || length <= 0n)
      throw new MmError(
        'unaligned',
        `0x${start.toString(16)} + 0x${length.toString(16)}: needs multiples of the page size 0x${page.toString(16)}`,
      )
    if (start < 0n || start + length > BigInt(limit))
      throw new MmError(
        'out-of-range',
        `0x${start.toString(16)} + 0x${length.toString(16)}: beyond 0x${limit.toString(16)}, where processes end`,
      )
    return [Number(start), Number(start + length)]
  }

  /** [address, offset, length] of the parts of a range in each page. */
  *#pieces(address: bigint, bytes: number): Generator<[bigint, number, number], void, void> {
    const page = this.#pages.pageBytes
    for (let done = 0; done < bytes; ) {
      const at = address + BigInt(done)
      const length = Math.min(bytes - done, page - Number(at % BigInt(page)))
      yield [at, done, length]
      done += length
    }
  }
}
