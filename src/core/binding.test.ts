import { describe, expect, it } from 'vitest'
import { run, Scheduler } from '../base/op.ts'
import type { CpuSpace } from '../mm/contract.ts'
import { prot } from '../mm/vma.ts'
import { AT, refused, request, Small } from './small.suite.ts'

describe('binding', () => {
  it('same device twice: one PASID, one bond, counted; two unbinds are needed', () => {
    const m = new Small()
    const a = m.device('a')
    m.domain('A', [a])
    const x = m.process('X')
    const bond = run(m.iommu.bind(a, x))
    expect(run(m.iommu.bind(a, x))).toBe(bond)
    expect([bond.pasid, bond.users, bond.phase]).toEqual([1, 2, 'bound'])
    expect([m.driver.count('ioMmAlloc'), m.driver.count('ioMmAttach')]).toEqual([1, 1])
    run(bond.unbind())
    expect(bond.state).toBe('bound')
    expect(m.driver.reach(a, 1)).toBe(bond.ioMm)
    run(bond.unbind())
    expect([bond.state, m.driver.reach(a, 1)]).toEqual(['unbound', null])
    expect(refused('NotBound', bond.unbind())).toContain('a is not bound to X any more')
    m.expectAtRest()
  })

  it('two devices of one domain: the entry is written once; unbind one of two leaves it, the last unbind clears it', () => {
    const m = new Small()
    const [a, b] = [m.device('a'), m.device('b')]
    m.domain('A', [a, b])
    const x = m.process('X')
    const bonds = [run(m.iommu.bind(a, x)), run(m.iommu.bind(b, x))] as const
    expect(bonds[0].pasid).toBe(bonds[1].pasid)
    expect(m.driver.count('ioMmAttach')).toBe(1)
    run(bonds[0].unbind())
    expect(m.driver.count('ioMmDetach')).toBe(0)
    expect(m.driver.reach(b, 1)).toBe(bonds[1].ioMm)
    run(bonds[1].unbind())
    expect(m.driver.count('ioMmDetach')).toBe(1)
    m.expectAtRest()
  })

  it('two domains: two entries, the same PASID; the last unbind of one leaves the other alone', () => {
    const m = new Small()
    const [a, b] = [m.device('a'), m.device('b')]
    m.domain('A', [a])
    m.domain('B', [b])
    const x = m.process('X')
    const [first, second] = [run(m.iommu.bind(a, x)), run(m.iommu.bind(b, x))]
    expect(first.pasid).toBe(second.pasid)
    expect(first.ioMm).toBe(second.ioMm)
    expect([m.driver.count('ioMmAlloc'), m.driver.count('ioMmAttach')]).toEqual([1, 2])
    run(first.unbind())
    expect([m.driver.reach(a, 1), m.driver.reach(b, 1)]).toEqual([null, second.ioMm])
    expect(m.iommu.find(1)).toBe(second.ioMm)
    run(second.unbind())
    expect(m.iommu.find(1)).toBeNull()
    m.expectAtRest()
  })

  it('the worked example: two processes, three devices in two domains', () => {
    const m = new Small()
    const [d0, d1, d2] = [m.device('00:00.0'), m.device('00:01.0'), m.device('00:01.1')]
    const a = m.domain('A', [d0])
    const b = m.domain('B', [d1, d2])
    const [x, y] = [m.process('X'), m.process('Y')]
    const pasids = (
      [
        [d0, x],
        [d0, y],
        [d1, y],
        [d2, y],
      ] as const
    ).map(([device, mm]) => run(m.iommu.bind(device, mm)).pasid)
    expect(pasids).toEqual([1, 2, 2, 2])
    const table = (domain: typeof a) => [...m.driver.entries.get(domain)!].map(([pasid, { ioMm }]) => [pasid, ioMm.mm!.name])
    expect(table(a)).toEqual([
      [1, 'X'],
      [2, 'Y'],
    ])
    expect(table(b)).toEqual([[2, 'Y']])
    // The fourth bind wrote nothing.
    expect(m.driver.count('ioMmAttach')).toBe(3)
    expect(m.iommu.bonds.size).toBe(4)
    for (const bond of [...m.iommu.bonds]) run(bond.unbind())
    m.expectAtRest()
  })

  it('unbind never bound: an error, and the count of the others stays (2017: it was decremented)', () => {
    const m = new Small()
    const [a, b] = [m.device('a'), m.device('b')]
    m.domain('A', [a, b])
    const [x, y] = [m.process('X'), m.process('Y')]
    const bond = run(m.iommu.bind(a, x))
    // b is in the same domain, and reaches X through the domain's table; it has no bond all the same.
    expect(refused('NotBound', m.iommu.unbind(b, x))).toBe('b is not bound to X')
    expect(refused('NotBound', m.iommu.unbind(a, y))).toBe('a is not bound to Y')
    expect([bond.users, m.driver.count('ioMmDetach')]).toEqual([1, 0])
    run(m.iommu.unbind(a, x))
    m.expectAtRest()
  })

  it('a re-bind leaks no reference (2017: it did)', () => {
    const m = new Small()
    const a = m.device('a')
    m.domain('A', [a])
    const x = m.process('X')
    for (let turn = 0; turn < 20; turn++) {
      for (let bind = 0; bind <= turn % 3; bind++) run(m.iommu.bind(a, x))
      for (let bind = 0; bind <= turn % 3; bind++) run(m.iommu.unbind(a, x))
      expect([m.iommu.bonds.size, m.iommu.find(1)]).toEqual([0, null])
    }
    m.expectAtRest()
  })

  it('detach of one device leaves address spaces that it never bound (2017: it dropped them)', () => {
    const m = new Small()
    const [a, b] = [m.device('a'), m.device('b')]
    m.domain('A', [a, b])
    const bond = run(m.iommu.bind(a, m.process('X')))
    run(m.iommu.detach(b))
    expect([bond.state, m.driver.reach(a, 1), m.driver.reach(b, 1)]).toEqual(['bound', bond.ioMm, null])
    expect(m.driver.count('ioMmDetach')).toBe(0)
    run(bond.unbind())
    m.expectAtRest()
  })

  it('order of a bind: the page table is complete and the entry written before the caller learns the PASID', () => {
    const m = new Small()
    const a = m.device('a')
    const domain = m.domain('A', [a])
    const x = m.process('X')
    let atAttach: unknown
    m.driver.onStep = (call) => {
      if (call.startsWith('ioMmAttach')) atAttach = [x.space.root > 0, a.bonds.size, m.iommu.bonds.size, domain.attachments.size]
    }
    const before = m.driver.calls.length
    const bond = run(m.iommu.bind(a, x))
    // No bond anywhere while the entry is written; the domain is told of invalidations already.
    expect(atAttach).toEqual([true, 0, 0, 1])
    expect(m.driver.calls.slice(before)).toEqual(['ioMmAlloc X#1', 'ioMmAttach A X#1'])
    run(bond.unbind())
    m.expectAtRest()
  })

  it('order of an unbind: device stops, requests answered, entry cleared, only then the PASID is free', () => {
    const m = new Small()
    const a = m.device('a')
    m.domain('A', [a])
    const x = m.process('X')
    const bond = run(m.iommu.bind(a, x))
    a.hooks = {
      *stopPasid(pasid) {
        m.driver.calls.push(`stopPasid ${pasid}`)
        // The last requests arrive while the device stops.
        m.driver.queue.push(request(a, { pasid, write: true, group: 7 }))
        yield { kind: 'step', what: 'device stops' }
      },
    }
    m.driver.onStep = (call) => {
      if (call.startsWith('ioMmDetach')) expect(m.iommu.find(1)).not.toBeNull()
    }
    const before = m.driver.calls.length
    run(bond.unbind())
    expect(m.driver.calls.slice(before)).toEqual([
      'stopPasid 1',
      'pageResponse a group 7 pasid 1 success',
      'ioMmDetach A X#1',
      'ioMmFree X#1',
    ])
    expect(m.events.slice(-3).map((event) => event.kind)).toEqual(['entry-cleared', 'unbound', 'pasid-freed'])
    m.expectAtRest()
  })

  it('a device that does not stop stays bound, and its PASID taken', () => {
    const m = new Small()
    const a = m.device('a')
    m.domain('A', [a])
    const bond = run(m.iommu.bind(a, m.process('X')))
    a.hooks = {
      // biome-ignore lint/correctness/useYield: it fails at once
      *stopPasid() {
        throw new Error('the device hangs')
      },
    }
    expect(() => run(bond.unbind())).toThrow('the device hangs')
    expect([bond.state, bond.users, m.iommu.find(1)]).toEqual(['bound', 1, bond.ioMm])
    expect(m.of('hook-failed')).toMatchObject([{ hook: 'stopPasid' }])
    a.hooks = {}
    run(bond.unbind())
    m.expectAtRest()
  })

  it('exit with k bonds: each device is told once, each entry is made quiet once, the PASID stays until the last unbind', () => {
    const m = new Small()
    const devices = ['a', 'b', 'c', 'd'].map((name) => m.device(name))
    m.domain('A', devices.slice(0, 2))
    m.domain('B', devices.slice(2))
    const x = m.process('X')
    const told: string[] = []
    const bonds = devices.map((device) => {
      device.hooks = {
        *mmExit(pasid) {
          told.push(`${device.name} ${pasid}`)
          yield { kind: 'step', what: 'device stops' }
        },
      }
      return run(m.iommu.bind(device, x))
    })
    run(x.exit())
    run(x.exit())
    expect(told).toEqual(['a 1', 'b 1', 'c 1', 'd 1'])
    expect(m.driver.calls.filter((call) => call.startsWith('ioMmExit'))).toEqual(['ioMmExit A X#1', 'ioMmExit B X#1'])
    expect(bonds.map((bond) => [bond.state, bond.phase])).toEqual(devices.map(() => ['exited', 'exited']))
    expect(devices.map((device) => m.driver.reach(device, 1))).toEqual(devices.map(() => 'quiet'))
    const y = m.process('Y')
    expect(run(m.iommu.bind(devices[0]!, y)).pasid).toBe(2)
    for (const bond of bonds) {
      expect(m.iommu.find(1)).not.toBeNull()
      run(bond.unbind())
    }
    expect(m.iommu.find(1)).toBeNull()
    run(m.iommu.unbind(devices[0]!, y))
    m.expectAtRest()
  })

  it('exit: an exit hook that fails is told, and the exit goes on', () => {
    const m = new Small()
    const a = m.device('a')
    m.domain('A', [a])
    const x = m.process('X')
    const bond = run(m.iommu.bind(a, x))
    a.hooks = {
      // biome-ignore lint/correctness/useYield: it fails at once
      *mmExit() {
        throw new Error('no')
      },
    }
    run(x.exit())
    expect(m.of('hook-failed')).toMatchObject([{ hook: 'mmExit' }])
    expect([bond.state, m.driver.reach(a, 1)]).toEqual(['exited', 'quiet'])
    run(bond.unbind())
    m.expectAtRest()
  })

  it('exit: the CPU tables are there until every entry is quiet', () => {
    const m = new Small()
    const a = m.device('a')
    m.domain('A', [a])
    const x = m.process('X')
    run(x.access(AT, 'write'))
    const bond = run(m.iommu.bind(a, x))
    const seen: unknown[] = []
    m.driver.onStep = (call) => {
      if (call.startsWith('ioMmExit')) seen.push(x.alive, x.translate(AT) !== null)
    }
    run(x.exit())
    expect(seen).toEqual([false, true])
    expect(x.translate(AT)).toBeNull()
    run(bond.unbind())
    m.expectAtRest()
  })

  it('bind after exit is refused', () => {
    const m = new Small()
    const [a, b] = [m.device('a'), m.device('b')]
    m.domain('A', [a, b])
    const x = m.process('X')
    const bond = run(m.iommu.bind(a, x))
    run(x.exit())
    expect(refused('MmDead', m.iommu.bind(a, x))).toBe('cannot bind a to X: the process has exited')
    refused('MmDead', m.iommu.bind(b, x))
    run(bond.unbind())
    m.expectAtRest()
  })

  it('fork: the child has no PASID and no bond', () => {
    const m = new Small()
    const a = m.device('a')
    m.domain('A', [a])
    const x = m.process('X')
    const bond = run(m.iommu.bind(a, x))
    const child = run(x.fork('C'))
    expect(m.iommu.bonds.size).toBe(1)
    expect(refused('NotBound', m.iommu.unbind(a, child))).toBe('a is not bound to C')
    const own = run(m.iommu.bind(a, child))
    expect([bond.pasid, own.pasid]).toEqual([1, 2])
    run(child.exit())
    expect([bond.state, own.state]).toEqual(['bound', 'exited'])
    for (const one of [bond, own]) run(one.unbind())
    m.expectAtRest()
  })

  it('exec: the old bonds are gone with the old address space', () => {
    const m = new Small()
    const a = m.device('a')
    m.domain('A', [a])
    const x = m.process('X')
    const bond = run(m.iommu.bind(a, x))
    const next = run(x.exec('Y'))
    expect([bond.state, m.driver.reach(a, 1)]).toEqual(['exited', 'quiet'])
    expect(run(m.iommu.bind(a, next)).pasid).toBe(2)
    run(m.iommu.unbind(a, next))
    run(bond.unbind())
    m.expectAtRest()
  })

  it('exhaustion with one PASID: the second process is refused, and gets it after the first unbind', () => {
    const m = new Small()
    const a = m.device('a', { pasidBits: 1 })
    m.domain('A', [a])
    const [x, y] = [m.process('X'), m.process('Y')]
    const bond = run(m.iommu.bind(a, x))
    expect(refused('PasidExhausted', m.iommu.bind(a, y))).toContain('no PASID is free for a, which can send 1 to 1')
    expect(m.driver.count('ioMmAlloc')).toBe(1)
    // Also while the process is dead: a device could still send it.
    run(x.exit())
    refused('PasidExhausted', m.iommu.bind(a, y))
    run(bond.unbind())
    expect(run(m.iommu.bind(a, y)).pasid).toBe(1)
    run(m.iommu.unbind(a, y))
    m.expectAtRest()
  })

  it('20-bit and 8-bit devices sharing an Mm: too narrow is refused, and nothing changes', () => {
    const m = new Small()
    const [wide, narrow] = [m.device('wide'), m.device('narrow', { pasidBits: 8 })]
    m.domain('A', [wide, narrow])
    const spaces = Array.from({ length: 255 }, () => run(m.iommu.bindPrivate(wide)))
    const x = m.process('X')
    const bond = run(m.iommu.bind(wide, x))
    expect(bond.pasid).toBe(256)
    const calls = m.driver.calls.length
    expect(refused('PasidOutOfRange', m.iommu.bind(narrow, x))).toBe(
      'cannot bind narrow to X: it has PASID 256 already, and the device can send 1 to 255; bind the narrower device first',
    )
    expect([m.driver.calls.length, narrow.bonds.size, bond.users, bond.state]).toEqual([calls, 0, 1, 'bound'])
    run(spaces[254]!.unbind())
    run(bond.unbind())
    // PASID 255 is free now: the narrow one first, and both share it.
    expect([run(m.iommu.bind(narrow, x)).pasid, run(m.iommu.bind(wide, x)).pasid]).toEqual([255, 255])
    for (const one of [...m.iommu.bonds]) run(one.unbind())
    m.expectAtRest()
  })

  it('PASID limits: the IOMMU may be narrower than the device', () => {
    const m = new Small()
    m.driver.pasidBits = 2
    const a = m.device('a')
    m.domain('A', [a])
    const bonds = [1, 2, 3].map(() => run(m.iommu.bindPrivate(a)))
    expect(bonds.map((bond) => bond.pasid)).toEqual([1, 2, 3])
    refused('PasidExhausted', m.iommu.bindPrivate(a))
    for (const bond of bonds) run(bond.unbind())
    m.expectAtRest()
  })

  it('lowest free by default, cyclic on request', () => {
    for (const [policy, again] of [
      ['lowest', 1],
      ['cyclic', 3],
    ] as const) {
      const m = new Small({ pasidAllocation: policy })
      const a = m.device('a')
      m.domain('A', [a])
      const bonds = [run(m.iommu.bindPrivate(a)), run(m.iommu.bindPrivate(a))] as const
      run(bonds[0].unbind())
      expect(run(m.iommu.bindPrivate(a)).pasid).toBe(again)
    }
  })

  it('device without PASID: bind is refused, entry 0 works', () => {
    const m = new Small()
    const a = m.device('a', { pasidBits: 0 })
    const domain = m.domain('A', [a])
    expect(refused('NoPasid', m.iommu.bind(a, m.process('X')))).toContain('the device has no PASIDs')
    refused('NoPasid', m.iommu.bindPrivate(a))
    run(domain.map(0x1000n, 0x8000n, 0x1000n, 3))
    expect(domain.iovaToPhys(0x1234n)).toBe(0x8234n)
    m.driver.pasidBits = 0
    expect(refused('NoPasid', m.iommu.bind(m.device('b'), m.process('Y')))).toContain('fake has no PASIDs')
    m.expectAtRest()
  })

  it('what is missing is named: no domain, nested domain, a condition of the hardware', () => {
    const m = new Small()
    const a = m.device('a')
    const x = m.process('X')
    expect(refused('NoDomain', m.iommu.bind(a, x))).toContain('it is in no domain; attach it to one first')
    const nested = m.domain('N', [a], 'nested')
    expect(refused('Unsupported', m.iommu.bind(a, x))).toContain(
      "domain N is nested, its first stage and PASID table are the guest's",
    )
    run(m.iommu.attach(m.domain('A'), a))
    run(m.iommu.freeDomain(nested))
    m.driver.obstacle = 'the IOMMU reads tables without looking into the caches (COHACC = 0)'
    expect(refused('Unsupported', m.iommu.bind(a, x))).toContain('cannot bind a to X: the IOMMU reads tables')
    refused('Foreign', new Small().iommu.bind(a, x))
    m.expectAtRest()
  })

  it('a failure in the driver undoes exactly what was done', () => {
    for (const call of ['ioMmAlloc', 'ioMmAttach']) {
      const m = new Small()
      const [a, b] = [m.device('a'), m.device('b')]
      const domain = m.domain('A', [a])
      m.domain('B', [b])
      const x = m.process('X')
      m.driver.failOn(call)
      expect(() => run(m.iommu.bind(a, x))).toThrow(`${call} failed`)
      expect([m.iommu.find(1), domain.attachments.size, m.driver.spaces.size]).toEqual([null, 0, 0])
      const bond = run(m.iommu.bind(a, x))
      expect(bond.pasid).toBe(1)
      // A second domain that fails leaves the first alone.
      m.driver.failOn('ioMmAttach B')
      expect(() => run(m.iommu.bind(b, x))).toThrow('ioMmAttach B failed')
      expect([m.driver.reach(a, 1), bond.ioMm.attachments.size, b.bonds.size]).toEqual([bond.ioMm, 1, 0])
      run(bond.unbind())
      m.expectAtRest()
    }
  })

  it('an unbind that fails in the driver leaves the bond; it can be tried again', () => {
    const m = new Small()
    const a = m.device('a')
    m.domain('A', [a])
    const bond = run(m.iommu.bind(a, m.process('X')))
    m.driver.failOn('ioMmDetach')
    expect(() => run(bond.unbind())).toThrow('ioMmDetach failed')
    expect([bond.state, bond.users, bond.ioMm.attachments.size]).toEqual(['bound', 1, 1])
    run(bond.unbind())
    m.expectAtRest()
  })

  it('identity and blocked domains take PASIDs too', () => {
    const m = new Small()
    const [a, b] = [m.device('a'), m.device('b')]
    m.domain('I', [a], 'identity')
    m.domain('N', [b], 'blocked')
    const x = m.process('X')
    expect([run(m.iommu.bind(a, x)).pasid, run(m.iommu.bind(b, x)).pasid]).toEqual([1, 1])
    for (const bond of [...m.iommu.bonds]) run(bond.unbind())
    m.expectAtRest()
  })

  it('reserved windows: a bind names the areas that devices cannot reach', () => {
    const m = new Small()
    m.driver.reserved = [{ start: 0xfee0_0000n, end: 0xfef0_0000n, why: 'interrupt messages' }]
    const a = m.device('a')
    m.domain('A', [a])
    const x = m.process('X')
    run(x.mmap(0xfed0_0000n, 0x20_0000n, prot('rw')))
    const bond = run(m.iommu.bind(a, x))
    expect(bond.unreachable).toEqual([{ start: 0xfee0_0000n, end: 0xfef0_0000n, why: 'interrupt messages' }])
    expect(m.of('unreachable')).toMatchObject([{ start: 0xfee0_0000n, end: 0xfef0_0000n }])
    run(bond.unbind())
    m.expectAtRest()
  })

  it('invalidations go to the driver with the domains that have an entry, end exclusive', () => {
    const m = new Small()
    const [a, b] = [m.device('a'), m.device('b')]
    m.domain('A', [a])
    m.domain('B', [b])
    m.domain('C', [m.device('c')])
    const x = m.process('X')
    run(x.access(AT, 'write'))
    const bonds = [run(m.iommu.bind(a, x)), run(m.iommu.bind(b, x))] as const
    run(x.munmap(AT, 0x1000n))
    expect(m.driver.calls.at(-1)).toBe('ioMmInvalidate X#1 0x10000000..0x10001000 A,B')
    run(bonds[0].unbind())
    run(x.access(AT + 0x1000n, 'write'))
    run(x.swapOut(AT + 0x1000n))
    expect(m.driver.calls.at(-1)).toBe('ioMmInvalidate X#1 0x10001000..0x10002000 B')
    run(bonds[1].unbind())
    const calls = m.driver.calls.length
    run(x.munmap(AT, 0x1_0000n))
    expect(m.driver.calls.length).toBe(calls)
    m.expectAtRest()
  })

  it('invalidation ranges: empty is nothing, everything is everything, any alignment passes through', () => {
    const m = new Small()
    const a = m.device('a')
    m.domain('A', [a])
    const bond = run(m.iommu.bind(a, m.process('X')))
    const { notifier } = bond.ioMm
    const calls = m.driver.calls.length
    run(notifier!.invalidate(0x1000n, 0x1000n))
    run(notifier!.invalidate(0x2000n, 0x1000n))
    expect(m.driver.calls.length).toBe(calls)
    run(notifier!.invalidate(null, null))
    run(notifier!.invalidate(0x1001n, 0x1003n))
    expect(m.driver.calls.slice(calls)).toEqual(['ioMmInvalidate X#1 all A', 'ioMmInvalidate X#1 0x1001..0x1003 A'])
    run(bond.unbind())
    m.expectAtRest()
  })

  it('a process that is told to exit twice by its notifier is handled once', () => {
    for (let seed = 0; seed < 40; seed++) {
      const m = new Small()
      const a = m.device('a')
      m.domain('A', [a])
      let hooks = 0
      a.hooks = {
        *mmExit() {
          hooks++
          yield { kind: 'step', what: 'device stops' }
        },
      }
      const bond = run(m.iommu.bind(a, m.process('X')))
      const scheduler = new Scheduler(seed)
      for (const name of ['first', 'second', 'third']) scheduler.spawn(name, bond.ioMm.notifier!.release())
      scheduler.run()
      expect([hooks, m.driver.count('ioMmExit'), bond.state]).toEqual([1, 1, 'exited'])
      run(bond.unbind())
      m.expectAtRest()
    }
  })

  it('a space that cannot be bound tells nobody: the notifier is gone again', () => {
    const m = new Small()
    const a = m.device('a')
    m.domain('A', [a])
    const notifiers = new Set<unknown>()
    const x = m.process('X')
    const space: CpuSpace = {
      name: 'S',
      id: 1,
      alive: true,
      space: x.space,
      pinAsid: () => 1,
      unpinAsid: () => {},
      addNotifier: (notifier) => notifiers.add(notifier),
      removeNotifier: (notifier) => notifiers.delete(notifier),
      areasIn: () => [],
      // biome-ignore lint/correctness/useYield: it answers at once
      handleFault: function* () {
        return 'invalid'
      },
    }
    m.driver.failOn('ioMmAlloc')
    expect(() => run(m.iommu.bind(a, space))).toThrow('ioMmAlloc failed')
    expect(notifiers.size).toBe(0)
    const bond = run(m.iommu.bind(a, space))
    expect(notifiers.size).toBe(1)
    run(bond.unbind())
    expect(notifiers.size).toBe(0)
  })
})

describe('private address spaces', () => {
  it('map/unmap: its own table, in the same number space as processes', () => {
    const m = new Small()
    const [a, b] = [m.device('a'), m.device('b')]
    const domain = m.domain('A', [a, b])
    const x = m.process('X')
    const shared = run(m.iommu.bind(a, x))
    const own = run(m.iommu.bindPrivate(a, 'P'))
    expect([shared.pasid, own.pasid, own.ioMm.mm, own.ioMm.name]).toEqual([1, 2, null, 'P'])
    run(own.ioMm.map(0x1000n, 0x8000n, 0x2000n, 3))
    expect([own.ioMm.iovaToPhys(0x2fffn), own.ioMm.iovaToPhys(0x3000n), domain.iovaToPhys(0x2fffn)]).toEqual([
      0x9fffn,
      null,
      null,
    ])
    expect(run(own.ioMm.unmap(0x1000n, 0x2000n))).toBe(0x2000n)
    // Another device of the domain joins: no table is written for it.
    const joined = run(m.iommu.bindPrivate(b, own.ioMm))
    expect([joined.ioMm, m.driver.count('ioMmAttach')]).toEqual([own.ioMm, 2])
    run(own.unbind())
    expect(m.driver.reach(b, 2)).toBe(joined.ioMm)
    run(joined.unbind())
    expect(refused('NotBound', m.iommu.bindPrivate(a, own.ioMm))).toContain('P was freed with its last unbind')
    run(shared.unbind())
    m.expectAtRest()
  })

  it('private and shared in one table: each keeps its PASID', () => {
    const m = new Small()
    const a = m.device('a')
    const domain = m.domain('A', [a])
    const bonds = [run(m.iommu.bindPrivate(a)), run(m.iommu.bind(a, m.process('X'))), run(m.iommu.bindPrivate(a))]
    expect([...m.driver.entries.get(domain)!].map(([pasid, { ioMm }]) => [pasid, ioMm.mm?.name ?? null])).toEqual([
      [1, null],
      [2, 'X'],
      [3, null],
    ])
    for (const bond of bonds) run(bond.unbind())
    m.expectAtRest()
  })

  it('free with mappings left: the table goes with the space; map afterwards is an error', () => {
    const m = new Small()
    const a = m.device('a')
    m.domain('A', [a])
    const bond = run(m.iommu.bindPrivate(a))
    run(bond.ioMm.map(0x1000n, 0x8000n, 0x1000n, 3))
    run(bond.unbind())
    expect(refused('NotBound', bond.ioMm.map(0x1000n, 0x8000n, 0x1000n, 3))).toContain('bind a new private space')
    expect(() => bond.ioMm.iovaToPhys(0x1000n)).toThrow('was freed')
    m.expectAtRest()
  })

  it('attach PASID 0: refused, it is the domain itself', () => {
    const m = new Small()
    const a = m.device('a')
    m.domain('A', [a])
    expect(refused('BadArgument', m.iommu.bindPrivate(a, { pasid: 0 }))).toContain('never given out')
    expect(refused('PasidOutOfRange', m.iommu.bindPrivate(a, { pasid: 1 << 20 }))).toContain('a can send 1 to 1048575')
    refused('PasidOutOfRange', m.iommu.bindPrivate(a, { pasid: 1.5 }))
    m.expectAtRest()
  })

  it('PASID busy: refused, whoever has it', () => {
    const m = new Small()
    const [a, b] = [m.device('a'), m.device('b')]
    m.domain('A', [a])
    m.domain('B', [b])
    const bond = run(m.iommu.bindPrivate(a, { pasid: 5, name: 'P' }))
    expect(bond.pasid).toBe(5)
    expect(refused('Busy', m.iommu.bindPrivate(b, { pasid: 5 }))).toBe('PASID 5 is taken by P')
    run(bond.unbind())
    run(run(m.iommu.bindPrivate(b, { pasid: 5 })).unbind())
    m.expectAtRest()
  })

  it('a process maps its own memory, and is no private space', () => {
    const m = new Small()
    const a = m.device('a')
    m.domain('A', [a])
    const bond = run(m.iommu.bind(a, m.process('X')))
    expect(refused('Unsupported', bond.ioMm.map(0x1000n, 0x1000n, 0x1000n, 3))).toContain('with mmap and munmap')
    expect(refused('BadArgument', m.iommu.bindPrivate(a, bond.ioMm))).toContain('X is a process')
    run(bond.unbind())
    m.expectAtRest()
  })

  it('reserved windows: nothing is mapped into them', () => {
    const m = new Small()
    m.driver.reserved = [{ start: 0xfee0_0000n, end: 0xfef0_0000n, why: 'interrupt messages' }]
    const a = m.device('a')
    const domain = m.domain('A', [a])
    const bond = run(m.iommu.bindPrivate(a))
    for (const space of [domain, bond.ioMm]) {
      expect(refused('Reserved', space.map(0xfedf_f000n, 0x1000n, 0x2000n, 3))).toContain('interrupt messages')
      refused('Reserved', space.map(0xfeef_f000n, 0x1000n, 0x1000n, 3))
      run(space.map(0xfedf_f000n, 0x1000n, 0x1000n, 3))
      run(space.map(0xfef0_0000n, 0x1000n, 0x1000n, 3))
    }
    run(bond.unbind())
    m.expectAtRest()
  })
})
