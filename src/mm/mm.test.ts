import { describe, expect, it } from 'vitest'
import { type Op, run, Scheduler } from '../base/op.ts'
import { UR, UW } from '../base/types.ts'
import type { MmEvent } from './events.ts'
import type { Mm } from './mm.ts'
import { Cache, CPUS, small } from './small.suite.ts'
import { prot } from './vma.ts'

const AT = 0x1000_0000n

describe.each(CPUS)('a process, %s', (_, cpu) => {
  const page = BigInt(2 ** cpu.format.granuleLog2)

  it('brings a page in on first use, zeroed, and reads back what was stored', () => {
    const system = small(cpu)
    const mm = system.create('X')
    run(mm.mmap(AT, 4n * page, prot('rw')))
    expect(system.framesInUse).toBe(0)
    expect(mm.translate(AT)).toBeNull()
    expect(run(mm.load(AT + page - 4n, 8))).toEqual(new Uint8Array(8))
    expect(system.framesInUse).toBe(2)
    expect(run(mm.store(AT + page - 2n, Uint8Array.of(1, 2, 3, 4)))).toBe('ok')
    expect(run(mm.load(AT + page - 3n, 6))).toEqual(Uint8Array.of(0, 1, 2, 3, 4, 0))
    run(mm.exit())
    expect(system.framesInUse).toBe(0)
  })

  it('read, write, execute, privileged against VMA flags', () => {
    const system = small(cpu)
    const mm = system.create('X')
    const outcome = (flags: string, access: 'read' | 'write' | 'execute', privileged: boolean, kernel = false) => {
      run(mm.mmap(AT, page, prot(flags), { kernel }))
      const cpuSays = run(mm.access(AT, access, privileged))
      run(mm.munmap(AT, page))
      run(mm.mmap(AT, page, prot(flags), { kernel }))
      const deviceGets = run(mm.handleFault(AT, access, privileged))
      run(mm.munmap(AT, page))
      expect(deviceGets).toBe(cpuSays === 'ok' ? 'success' : 'invalid')
      return cpuSays
    }
    for (const access of ['read', 'write', 'execute'] as const) {
      for (const flags of ['---', 'r--', 'rw-', 'r-x', '-w-', '--x', 'rwx']) {
        const has = flags.includes(access[0] === 'e' ? 'x' : access[0]!)
        expect([flags, access, outcome(flags, access, false)]).toEqual([flags, access, has ? 'ok' : 'segv'])
        // Privileged code reads and writes the process's pages, and never executes them.
        expect([flags, access, outcome(flags, access, true)]).toEqual([
          flags,
          access,
          has && access !== 'execute' ? 'ok' : 'segv',
        ])
        expect([flags, access, outcome(flags, access, false, true)]).toEqual([flags, access, 'segv'])
      }
    }
    expect(outcome('rw-', 'write', true, true)).toBe('ok')
    expect(outcome('r-x', 'execute', true, true)).toBe('ok')
    expect(run(mm.handleFault(AT + 0x100_0000n, 'read', false))).toBe('invalid')
  })

  it('stack growth: down to its limit, and not into what lies below', () => {
    const events: MmEvent[] = []
    const system = small(cpu, {
      stackLimit: Number(16n * page),
      stackGuard: Number(2n * page),
      log: (event) => events.push(event),
    })
    const mm = system.create('X')
    const top = AT + 64n * page
    run(mm.mmap(top - page, page, prot('rw'), { growsDown: true }))
    expect(run(mm.handleFault(top - 5n * page + 8n, 'write', false))).toBe('success')
    expect(mm.vmas[0]!.start).toBe(Number(top - 5n * page))
    expect(mm.page(top - 3n * page).kind).toBe('absent')
    expect(run(mm.access(top - 16n * page, 'write'))).toBe('ok')
    expect(run(mm.access(top - 17n * page, 'write'))).toBe('segv')
    expect(run(mm.handleFault(top - 17n * page, 'read', false))).toBe('invalid')
    expect(events.filter((event) => event.kind === 'stack-grown').length).toBe(2)
    // Another stack, with a neighbour two pages and more below.
    const other = AT + 256n * page
    run(mm.mmap(other, page, prot('rw'), { growsDown: true }))
    run(mm.mmap(other - 6n * page, page, prot('r')))
    expect(run(mm.access(other - 3n * page, 'write'))).toBe('ok')
    expect(run(mm.access(other - 4n * page, 'write'))).toBe('segv')
  })

  it('copy on write: parent and child see their own writes, whoever writes first', () => {
    for (const first of ['parent', 'child'] as const) {
      const system = small(cpu)
      const parent = system.create('P')
      run(parent.mmap(AT, 2n * page, prot('rw')))
      run(parent.store(AT, Uint8Array.of(7)))
      const cache = new Cache(parent)
      expect(cache.use(Number(AT), UW)).toBe(true)
      const child = run(parent.fork('C'))
      expect(cache.told).toEqual([[AT, AT + 2n * page]])
      expect(cache.use(Number(AT), UW)).toBe(false)
      expect(system.framesInUse).toBe(1)
      expect(parent.page(AT)).toMatchObject({ references: 2, writable: false, dirty: true })
      const [writer, other] = first === 'parent' ? [parent, child] : [child, parent]
      const before = writer.translate(AT)
      expect(run(writer.handleFault(AT, 'write', false))).toBe('success')
      expect(writer.translate(AT)).not.toBe(before)
      run(writer.store(AT, Uint8Array.of(9)))
      expect(run(other.load(AT, 1))).toEqual(Uint8Array.of(7))
      // The other is alone with the old page now, and writes it without a copy.
      const own = other.translate(AT)
      run(other.store(AT, Uint8Array.of(8)))
      expect(other.translate(AT)).toBe(own)
      expect(run(writer.load(AT, 1))).toEqual(Uint8Array.of(9))
      expect(system.framesInUse).toBe(2)
      run(child.exit())
      run(parent.exit())
      expect(system.framesInUse).toBe(0)
    }
  })

  it('copy on write: the old page is given away only after the devices were told', () => {
    const system = small(cpu)
    const parent = system.create('P')
    run(parent.mmap(AT, page, prot('rw')))
    run(parent.store(AT, Uint8Array.of(7)))
    const child = run(parent.fork('C'))
    const cache = new Cache(child)
    expect(cache.use(Number(AT), UR)).toBe(true)
    const old = child.page(AT).pa!
    run(parent.exit())
    const grandchild = run(child.fork('G'))
    let seen: [number, bigint | null] | null = null
    cache.onInvalidate = () => {
      seen = [system.frames.references(Number(old)), child.translate(AT)]
    }
    run(child.handleFault(AT, 'write', false))
    // Still referred to by both, and already out of the table.
    expect(seen).toEqual([2, null])
    expect(cache.held.size).toBe(0)
    expect(grandchild.page(AT).references).toBe(1)
  })

  it('more rights are told too: a device may hold the read-only entry', () => {
    const system = small(cpu)
    const mm = system.create('X')
    run(mm.mmap(AT, page, prot('r')))
    run(mm.access(AT, 'read'))
    const cache = new Cache(mm)
    cache.use(Number(AT), UR)
    run(mm.mprotect(AT, page, prot('rw')))
    cache.use(Number(AT), UR)
    expect(cache.use(Number(AT), UW)).toBe(false)
    expect(run(mm.handleFault(AT, 'write', false))).toBe('success')
    expect(cache.held.size).toBe(0)
    expect(cache.use(Number(AT), UW)).toBe(true)
  })

  it('swapped page: comes back with its contents', () => {
    const system = small(cpu)
    const mm = system.create('X')
    run(mm.mmap(AT, 2n * page, prot('rw')))
    run(mm.store(AT + 5n, Uint8Array.of(1, 2, 3)))
    const cache = new Cache(mm)
    cache.use(Number(AT), UR)
    let inUse = 0
    cache.onInvalidate = () => {
      inUse = system.framesInUse
    }
    expect(run(mm.swapOut(AT))).toBe(true)
    expect(inUse).toBe(1)
    expect(cache.told).toEqual([[AT, AT + page]])
    expect(mm.page(AT).kind).toBe('swapped')
    expect([system.framesInUse, system.swap.inUse]).toEqual([0, 1])
    expect(run(mm.swapOut(AT))).toBe(false)
    expect(run(mm.swapOut(AT + page))).toBe(false)
    expect(run(mm.handleFault(AT, 'read', false))).toBe('success')
    expect(run(mm.load(AT + 4n, 5))).toEqual(Uint8Array.of(0, 1, 2, 3, 0))
    expect([system.framesInUse, system.swap.inUse]).toEqual([1, 0])
    run(mm.exit())
    expect(system.framesInUse).toBe(0)
  })

  it('swapped page of a parent: both get it, each its own', () => {
    const system = small(cpu)
    const parent = system.create('P')
    run(parent.mmap(AT, page, prot('rw')))
    run(parent.store(AT, Uint8Array.of(3)))
    run(parent.swapOut(AT))
    const child = run(parent.fork('C'))
    run(child.store(AT + 1n, Uint8Array.of(4)))
    expect(run(parent.load(AT, 2))).toEqual(Uint8Array.of(3, 0))
    expect(run(child.load(AT, 2))).toEqual(Uint8Array.of(3, 4))
    run(parent.swapOut(AT))
    run(parent.exit())
    run(child.exit())
    expect([system.framesInUse, system.swap.inUse]).toEqual([0, 0])
  })

  it('migration: another frame, the same contents and rights, devices told before the old one is free', () => {
    const system = small(cpu)
    const mm = system.create('X')
    run(mm.mmap(AT, page, prot('rw')))
    run(mm.store(AT, Uint8Array.of(5)))
    const cache = new Cache(mm)
    cache.use(Number(AT), UW)
    const before = mm.page(AT)
    expect(run(mm.migrate(AT))).toBe(true)
    expect(mm.page(AT)).toEqual({ ...before, pa: mm.page(AT).pa })
    expect(mm.page(AT).pa).not.toBe(before.pa)
    expect(cache.held.size).toBe(0)
    expect(run(mm.load(AT, 1))).toEqual(Uint8Array.of(5))
    expect(system.framesInUse).toBe(1)
  })

  it('shared memory: all see one page, through fork, swap and migration', () => {
    const system = small(cpu)
    const mm = system.create('X')
    run(mm.mmap(AT, 4n * page, prot('rw'), { shared: true }))
    run(mm.store(AT + page, Uint8Array.of(1)))
    const child = run(mm.fork('C'))
    expect(run(child.load(AT + page, 1))).toEqual(Uint8Array.of(1))
    run(child.store(AT + page, Uint8Array.of(2)))
    expect(run(mm.load(AT + page, 1))).toEqual(Uint8Array.of(2))
    expect(child.translate(AT + page)).toBe(mm.translate(AT + page))
    const caches = [new Cache(mm), new Cache(child)]
    const fill = () => {
      for (const cache of caches) expect(cache.use(Number(AT + page), UW)).toBe(true)
    }
    fill()
    expect(run(child.swapOut(AT + page))).toBe(true)
    expect(caches.map((cache) => cache.held.size)).toEqual([0, 0])
    expect(mm.translate(AT + page)).toBeNull()
    expect([system.framesInUse, system.swap.inUse]).toEqual([0, 1])
    expect(run(mm.load(AT + page, 1))).toEqual(Uint8Array.of(2))
    expect(run(child.access(AT + page, 'write'))).toBe('ok')
    run(mm.access(AT + page, 'write'))
    fill()
    const from = mm.page(AT + page).pa
    expect(run(mm.migrate(AT + page))).toBe(true)
    expect(caches.map((cache) => cache.held.size)).toEqual([0, 0])
    expect(run(child.load(AT + page, 1))).toEqual(Uint8Array.of(2))
    expect(child.page(AT + page).pa).not.toBe(from)
    run(mm.exit())
    expect(run(child.load(AT + page, 1))).toEqual(Uint8Array.of(2))
    run(child.exit())
    expect([system.framesInUse, system.swap.inUse]).toEqual([0, 0])
  })

  it('two processes that move pages of the same memory do not block each other', () => {
    for (let seed = 0; seed < 30; seed++) {
      const system = small(cpu)
      const mm = system.create('X')
      run(mm.mmap(AT, 2n * page, prot('rw'), { shared: true, populate: true }))
      const child = run(mm.fork('C'))
      run(child.access(AT, 'write'))
      const scheduler = new Scheduler(seed)
      const tasks = [
        scheduler.spawn('swap', mm.swapOut(AT)),
        scheduler.spawn('migrate', child.migrate(AT)),
        scheduler.spawn('fork', child.fork('D')),
        scheduler.spawn('fault', mm.handleFault(AT, 'write', false)),
      ] as const
      scheduler.run()
      expect(tasks[3].result()).toBe('success')
      expect(run(mm.load(AT, 1))).toEqual(run(child.load(AT, 1)))
      expect(mm.translate(AT)).toBe(child.translate(AT))
      for (const one of [mm, child, tasks[2].result()]) run(one.exit())
      expect([system.framesInUse, system.swap.inUse]).toEqual([0, 0])
    }
  })

  it('a child that joins while a shared page is moved sees the page that all see', () => {
    for (let seed = 0; seed < 60; seed++) {
      const system = small(cpu)
      const mm = system.create('X')
      run(mm.mmap(AT, page, prot('rw'), { shared: true }))
      run(mm.store(AT, Uint8Array.of(1)))
      const scheduler = new Scheduler(seed)
      const child = scheduler.spawn(
        'fork',
        (function* (): Op<Mm> {
          const forked = yield* mm.fork('C')
          yield* forked.access(AT, 'write')
          return forked
        })(),
      )
      scheduler.spawn('move', seed % 2 === 0 ? mm.swapOut(AT) : mm.migrate(AT))
      scheduler.run()
      run(child.result().store(AT, Uint8Array.of(2)))
      expect([seed, run(mm.load(AT, 1))]).toEqual([seed, Uint8Array.of(2)])
      for (const one of [mm, child.result()]) run(one.exit())
      expect([system.framesInUse, system.swap.inUse]).toEqual([0, 0])
    }
  })

  it('mprotect: takes rights away at once, splits areas, keeps contents while nothing is permitted', () => {
    const system = small(cpu)
    const mm = system.create('X')
    run(mm.mmap(AT, 4n * page, prot('rw'), { populate: true }))
    run(mm.store(AT + page, Uint8Array.of(6)))
    const cache = new Cache(mm)
    cache.use(Number(AT + page), UW)
    run(mm.mprotect(AT + page, 2n * page, prot('---')))
    expect(cache.told).toEqual([[AT + page, AT + 3n * page]])
    expect(cache.use(Number(AT + page), UR)).toBe(false)
    expect(mm.vmas.map(({ start, end, prot: protection }) => [BigInt(start), BigInt(end), protection])).toEqual([
      [AT, AT + page, UR | UW],
      [AT + page, AT + 3n * page, 0],
      [AT + 3n * page, AT + 4n * page, UR | UW],
    ])
    expect(run(mm.access(AT + page, 'read'))).toBe('segv')
    expect(mm.page(AT + page).kind).toBe('parked')
    run(mm.mprotect(AT + page, page, prot('r')))
    expect(run(mm.load(AT + page, 1))).toEqual(Uint8Array.of(6))
    expect(run(mm.access(AT + page, 'write'))).toBe('segv')
    expect(mm.page(AT + page).dirty).toBe(true)
    expect(() => run(mm.mprotect(AT + 3n * page, 2n * page, prot('r')))).toThrow('has no memory area at')
    expect(run(mm.access(AT + 3n * page, 'write'))).toBe('ok')
    run(mm.exit())
    expect(system.framesInUse).toBe(0)
  })

  it('munmap: exactly the range, and frames only after the devices were told', () => {
    const system = small(cpu)
    const mm = system.create('X')
    run(mm.mmap(AT, 4n * page, prot('rw'), { populate: true }))
    const cache = new Cache(mm)
    for (let index = 0n; index < 4n; index++) cache.use(Number(AT + index * page), UW)
    let inUse = 0
    cache.onInvalidate = () => {
      inUse = system.framesInUse
    }
    run(mm.munmap(AT + page, 2n * page))
    expect(inUse).toBe(4)
    expect(cache.told).toEqual([[AT + page, AT + 3n * page]])
    expect([...cache.held.keys()]).toEqual([Number(AT), Number(AT + 3n * page)])
    expect(system.framesInUse).toBe(2)
    expect(run(mm.access(AT + page, 'read'))).toBe('segv')
    // What was never there is no reason to tell anybody.
    run(mm.munmap(AT + page, 2n * page))
    expect(cache.told.length).toBe(1)
  })

  it('access and dirty state: set by use, cleared on request, devices told', () => {
    const system = small(cpu)
    const mm = system.create('X')
    run(mm.mmap(AT, page, prot('rw')))
    run(mm.access(AT, 'read'))
    expect(mm.page(AT)).toMatchObject({ accessed: true, dirty: false, writable: true })
    const cache = new Cache(mm)
    cache.use(Number(AT), UR)
    expect(run(mm.testAndClearAccessed(AT))).toBe(true)
    expect(cache.held.size).toBe(0)
    expect(mm.page(AT).accessed).toBe(false)
    expect(run(mm.testAndClearAccessed(AT))).toBe(false)
    run(mm.access(AT, 'write'))
    expect(mm.page(AT)).toMatchObject({ accessed: true, dirty: true })
    cache.use(Number(AT), UW)
    expect(run(mm.clean(AT))).toBe(true)
    expect(cache.held.size).toBe(0)
    expect(mm.page(AT)).toMatchObject({ dirty: false, writable: true })
    expect(run(mm.clean(AT))).toBe(false)
    // A device's write is seen like the CPU's, be it by hardware or through a fault, also when it read before.
    cache.use(Number(AT), UR)
    if (!cache.use(Number(AT), UW)) expect(run(mm.handleFault(AT, 'write', false))).toBe('success')
    expect(cache.use(Number(AT), UW)).toBe(true)
    expect(mm.page(AT).dirty).toBe(true)
  })

  it('huge page: one leaf, copied and swapped as a whole, split when only part of it changes', () => {
    const system = small(cpu, { bytes: 2 ** 32 })
    const large = page * (page / 8n)
    const base = large * 4n
    const mm = system.create('X')
    run(mm.mmap(base - page, large * 2n, prot('rw'), { huge: true }))
    run(mm.store(base + large - page, Uint8Array.of(1)))
    expect(mm.page(base)).toMatchObject({ kind: 'present', bytes: Number(large), writable: true })
    // The area does not cover the whole of the next one, nor of the one before.
    run(mm.access(base - page, 'write'))
    run(mm.access(base + large, 'write'))
    expect([mm.page(base - page).bytes, mm.page(base + large).bytes]).toEqual([Number(page), Number(page)])
    const child = run(mm.fork('C'))
    run(child.store(base, Uint8Array.of(2)))
    expect(child.page(base)).toMatchObject({ bytes: Number(large), references: 1 })
    expect(run(mm.load(base, 1))).toEqual(Uint8Array.of(0))
    expect(run(child.load(base + large - page, 1))).toEqual(Uint8Array.of(1))
    run(child.exit())
    const cache = new Cache(mm)
    cache.use(Number(base), UW)
    run(mm.munmap(base + page, page))
    expect(cache.told).toEqual([
      [base, base + large],
      [base + page, base + 2n * page],
    ])
    expect(mm.page(base + 2n * page)).toMatchObject({ kind: 'present', bytes: Number(page) })
    expect(run(mm.load(base + large - page, 1))).toEqual(Uint8Array.of(1))
    run(mm.exit())
    expect(system.framesInUse).toBe(0)
  })

  it('huge page: swapped out as pages, and comes back page by page', () => {
    const system = small(cpu, { bytes: 2 ** 32 })
    const large = page * (page / 8n)
    const mm = system.create('X')
    run(mm.mmap(large, large, prot('rw'), { huge: true }))
    run(mm.store(large + 3n * page, Uint8Array.of(1)))
    expect(run(mm.swapOut(large + page))).toBe(true)
    expect(run(mm.load(large + 3n * page, 1))).toEqual(Uint8Array.of(1))
    expect(mm.page(large + 3n * page).bytes).toBe(Number(page))
    run(mm.munmap(large, large))
    expect([system.framesInUse, system.swap.inUse]).toEqual([0, 0])
    // Where an empty table is left over, a large leaf takes its place.
    run(mm.mmap(large, large, prot('rw'), { huge: true }))
    run(mm.access(large, 'write'))
    expect(mm.page(large).bytes).toBe(Number(large))
    run(mm.exit())
    expect(system.framesInUse).toBe(0)
  })

  it('tagged and non-canonical addresses are not the process', () => {
    const mm = small(cpu).create('X')
    run(mm.mmap(AT, page, prot('rw')))
    for (const top of [1n << 56n, 0xffn << 56n, 1n << BigInt(cpu.inputBits), 1n << 63n])
      expect(run(mm.handleFault(AT | top, 'read', false))).toBe('invalid')
    expect(run(mm.handleFault(-AT, 'read', false))).toBe('invalid')
    expect(run(mm.access(AT | (1n << 56n), 'read'))).toBe('segv')
    expect(mm.translate(AT | (1n << 63n))).toBeNull()
  })

  it('exhausted memory is a failure, and costs nothing', () => {
    const system = small(cpu, { bytes: Number(page) * 5 })
    const mm = system.create('X')
    run(mm.mmap(AT, 64n * page, prot('rw')))
    let result = 'success'
    let brought = 0
    while (result === 'success') {
      result = run(mm.handleFault(AT + BigInt(brought) * page, 'write', false))
      if (result === 'success') brought++
    }
    expect(result).toBe('failure')
    expect(system.framesInUse).toBe(brought)
    expect(() => run(mm.access(AT + BigInt(brought) * page, 'write'))).toThrow('no memory for')
    run(mm.exit())
    expect(system.framesInUse).toBe(0)
    // Everything is free again, tables too.
    const next = system.create('Y')
    run(next.mmap(AT, page * BigInt(Math.max(1, brought)), prot('rw'), { populate: brought > 0 }))
    expect(system.framesInUse).toBe(brought)
  })
})

describe('the life of a process', () => {
  const page = 0x1000n

  it('fork: the child has no notifiers; exec: a new, empty space, the old one gone', () => {
    const system = small()
    const mm = system.create('X')
    run(mm.mmap(AT, page, prot('rw'), { populate: true }))
    const cache = new Cache(mm)
    const child = run(mm.fork('C'))
    run(child.exit())
    expect(cache.releases).toBe(0)
    const next = run(mm.exec('Y'))
    expect(cache.releases).toBe(1)
    expect([mm.alive, next.alive, next.id !== mm.id, next.vmas.length]).toEqual([false, true, true, 0])
    expect(system.framesInUse).toBe(0)
    expect([...system.mms]).toEqual([next])
  })

  it('exit: notifiers are released once, before the tables are freed, and faults are invalid from then on', () => {
    for (let seed = 0; seed < 60; seed++) {
      const system = small()
      const mm = system.create('X')
      run(mm.mmap(AT, 8n * page, prot('rw')))
      run(mm.access(AT, 'write'))
      const cache = new Cache(mm)
      cache.onRelease = function* () {
        expect(mm.alive).toBe(false)
        expect(mm.translate(AT)).not.toBeNull()
        expect(yield* mm.handleFault(AT + page, 'read', false)).toBe('invalid')
      }
      const scheduler = new Scheduler(seed)
      const fault = scheduler.spawn('fault', mm.handleFault(AT + 2n * page, 'write', false))
      scheduler.spawn('exit', mm.exit())
      scheduler.spawn('exit again', mm.exit())
      const late = scheduler.spawn('mmap', mm.mmap(AT + 16n * page, page, prot('r')))
      scheduler.run()
      expect(['success', 'invalid']).toContain(fault.result())
      try {
        late.result()
      } catch (error) {
        expect(String(error)).toContain('X has exited')
      }
      expect(cache.releases).toBe(1)
      expect(system.framesInUse).toBe(0)
      expect(() => mm.addNotifier(cache)).toThrow('has exited')
    }
  })

  it('says what is wrong with a range', () => {
    const mm = small().create('X')
    expect(() => mm.mmap(1n, page, prot('r'))).toThrow('needs multiples of the page size 0x1000')
    expect(() => mm.mmap(AT, 0n, prot('r'))).toThrow('needs multiples')
    expect(() => mm.mmap(1n << 48n, page, prot('r'))).toThrow('where processes end')
    run(mm.mmap(AT, 4n * page, prot('r')))
    expect(() => run(mm.mmap(AT + 3n * page, page, prot('r')))).toThrow('overlaps the area 0x10000000..0x10004000')
    expect(() => prot('rq')).toThrow('write r, w, x and - only')
    expect(() => mm.mmap(AT, page, 8)).toThrow('a mask of UR, UW and UX')
    expect(() => mm.mmap(AT, page, 1, { offset: 5n })).toThrow('not a multiple of the page size')
  })

  it('names the parts of a range that it has areas in', () => {
    const mm = small().create('X')
    run(mm.mmap(AT, 4n * page, prot('r')))
    run(mm.mmap(AT + 8n * page, 4n * page, prot('r')))
    expect(mm.areasIn(AT + 2n * page, AT + 9n * page)).toEqual([
      { start: AT + 2n * page, end: AT + 4n * page },
      { start: AT + 8n * page, end: AT + 9n * page },
    ])
    expect(mm.areasIn(AT + 4n * page, AT + 8n * page)).toEqual([])
  })

  it('keeps its pinned ASID while other processes come and go', () => {
    const system = small({ ...CPUS[0]![1], asidBits: 8 })
    const mm = system.create('X')
    const asid = mm.pinAsid()
    for (let count = 0; count < 600; count++) {
      const other = system.create(`p${count}`)
      expect(other.runOn(count % 4)).not.toBe(asid)
    }
    expect(mm.runOn(0)).toBe(asid)
    mm.unpinAsid()
  })
})
