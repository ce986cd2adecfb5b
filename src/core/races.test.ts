/** Operations interleaved at every pause, from many seeds. What must hold does not depend on who comes first. */
import { describe, expect, it } from 'vitest'
import { type Op, random, run, Scheduler, step, type Task } from '../base/op.ts'
import type { Mm } from '../mm/mm.ts'
import type { Bond } from './bond.ts'
import type { Device } from './device.ts'
import { IommError } from './error.ts'
import { AT, request, Small } from './small.suite.ts'

const SEEDS = 200

/** Runs `body` for each seed; a failure names the seed. */
function seeds(body: (seed: number) => void, count = SEEDS): void {
  for (let seed = 0; seed < count; seed++) {
    try {
      body(seed)
    } catch (error) {
      throw new Error(`seed ${seed}: ${error instanceof Error ? error.message : error}`, { cause: error })
    }
  }
}

/** The task's result, or the code of the IommError that it ended with. */
function outcome<T>(task: Task<T>): T | string {
  try {
    return task.result()
  } catch (error) {
    if (error instanceof IommError) return error.code
    throw error
  }
}

/** A device driver that takes some steps to stop its device. */
function slowHooks(device: Device, log: string[]): void {
  const busy = new Set<number>()
  const stops = (what: string) =>
    function* (pasid: number): Op<void> {
      log.push(`${what} ${device.name} ${pasid}`)
      // One hook of a device at a time, as far as one PASID goes.
      expect(busy.has(pasid)).toBe(false)
      busy.add(pasid)
      yield* step('device stops')
      yield* step('device has stopped')
      busy.delete(pasid)
    }
  device.hooks = { stopPasid: stops('stop'), mmExit: stops('exit') }
}

function setup(hooks = true) {
  const m = new Small()
  const devices = ['a', 'b', 'c'].map((name) => m.device(name))
  const [a, b, c] = devices as [Device, Device, Device]
  m.domain('A', [a, b])
  m.domain('B', [c])
  const log: string[] = []
  if (hooks) for (const device of devices) slowHooks(device, log)
  return { m, a, b, c, log, x: m.process('X') }
}

function unbindAll(m: Small): void {
  for (const bond of [...m.iommu.bonds]) while (bond.users > 0) run(bond.unbind())
  m.expectAtRest()
}

describe('races', () => {
  it('two racing binds of one Mm make one PASID (2017: two)', () => {
    seeds((seed) => {
      const { m, a, c, x } = setup()
      const scheduler = new Scheduler(seed)
      const tasks = [a, c].map((device) => scheduler.spawn(device.name, m.iommu.bind(device, x)))
      scheduler.run()
      const [first, second] = tasks.map((task) => task.result()) as [Bond, Bond]
      expect([first.pasid, second.pasid, first.ioMm === second.ioMm]).toEqual([1, 1, true])
      expect([m.driver.count('ioMmAlloc'), m.driver.count('ioMmAttach')]).toEqual([1, 2])
      unbindAll(m)
    })
  })

  it('two racing binds of one domain make one first attach (2017: two)', () => {
    seeds((seed) => {
      const { m, a, b, x } = setup()
      const scheduler = new Scheduler(seed)
      const tasks = [a, b, a].map((device, index) => scheduler.spawn(`bind ${index}`, m.iommu.bind(device, x)))
      scheduler.run()
      const bonds = tasks.map((task) => task.result())
      expect([bonds[0] === bonds[2], bonds[0]!.users, bonds[1]!.users]).toEqual([true, 2, 1])
      expect([m.driver.count('ioMmAlloc'), m.driver.count('ioMmAttach')]).toEqual([1, 1])
      unbindAll(m)
    })
  })

  it('exit racing unbind: either order, the device is told, the entry is cleared once, nothing is left', () => {
    const kinds = new Set<string>()
    seeds((seed) => {
      const { m, a, x, log } = setup()
      const bond = run(m.iommu.bind(a, x))
      const scheduler = new Scheduler(seed)
      scheduler.spawn('exit', x.exit())
      scheduler.spawn('unbind', bond.unbind())
      scheduler.run()
      expect([bond.state, x.alive]).toEqual(['unbound', false])
      expect([m.driver.count('ioMmDetach'), m.driver.count('ioMmFree')]).toEqual([1, 1])
      expect(m.driver.count('ioMmExit')).toBeLessThanOrEqual(1)
      expect(log.filter((line) => line.startsWith('stop'))).toEqual(['stop a 1'])
      expect(log.filter((line) => line.startsWith('exit')).length).toBeLessThanOrEqual(1)
      kinds.add(log.join(', '))
      m.expectAtRest()
    })
    // Both orders were seen.
    expect([...kinds].sort()).toEqual(['exit a 1, stop a 1', 'stop a 1'])
  })

  it('exit racing bind: refused, or bound and then told of the exit; never a live entry over freed tables', () => {
    const outcomes = new Set<string>()
    seeds((seed) => {
      const { m, a, c, x } = setup()
      const scheduler = new Scheduler(seed)
      const exit = scheduler.spawn('exit', x.exit())
      const tasks = [a, c].map((device) => scheduler.spawn(`bind ${device.name}`, m.iommu.bind(device, x)))
      scheduler.runUntil(() => exit.done && tasks.every((task) => task.done))
      for (const [index, device] of [a, c].entries()) {
        const result = outcome(tasks[index]!)
        outcomes.add(typeof result === 'string' ? result : result.state)
        expect(m.driver.reach(device, 1)).toBe(typeof result === 'string' ? null : 'quiet')
      }
      unbindAll(m)
    })
    expect([...outcomes].sort()).toEqual(['MmDead', 'exited'])
  })

  it('exit racing fault: each group gets one response, success before and invalid after', () => {
    const codes = new Set<string>()
    seeds((seed) => {
      const { m, a, x } = setup()
      const bond = run(m.iommu.bind(a, x))
      for (let group = 0; group < 4; group++)
        m.driver.queue.push(request(a, { group, write: true, address: AT + BigInt(group) * 0x1000n }))
      const scheduler = new Scheduler(seed)
      scheduler.spawn('interrupts', m.iommu.serviceInterrupts())
      scheduler.spawn('exit', x.exit())
      scheduler.run()
      const answered = m.driver.responses.map(({ group }) => group)
      expect(answered).toEqual([0, 1, 2, 3])
      const order = m.driver.responses.map(({ code }) => code)
      expect(order.lastIndexOf('success')).toBeLessThan(order.includes('invalid') ? order.indexOf('invalid') : 4)
      for (const code of order) codes.add(code)
      expect(m.of('page-handled').every((event) => !event.logged)).toBe(true)
      expect(m.system.framesInUse).toBe(0)
      run(bond.unbind())
      m.expectAtRest()
    })
    expect([...codes].sort()).toEqual(['invalid', 'success'])
  })

  it('exit racing another exit: once per bond', () => {
    seeds((seed) => {
      const { m, a, b, c, x, log } = setup()
      const bonds = [a, b, c].map((device) => run(m.iommu.bind(device, x)))
      const scheduler = new Scheduler(seed)
      scheduler.spawn('exit', x.exit())
      scheduler.spawn('exit again', x.exit())
      scheduler.run()
      expect(log).toEqual(['exit a 1', 'exit b 1', 'exit c 1'])
      expect(m.driver.count('ioMmExit')).toBe(2)
      expect(bonds.map((bond) => bond.state)).toEqual(['exited', 'exited', 'exited'])
      unbindAll(m)
    })
  })

  it('two unbinds race for one bond: one undoes it, the other is told that nothing is left', () => {
    seeds((seed) => {
      const { m, a, x } = setup()
      const bond = run(m.iommu.bind(a, x))
      const scheduler = new Scheduler(seed)
      const tasks = [1, 2].map((number) => scheduler.spawn(`unbind ${number}`, bond.unbind()))
      scheduler.run()
      expect(tasks.map(outcome).sort()).toEqual(['NotBound', undefined].sort())
      expect(m.driver.count('ioMmDetach')).toBe(1)
      m.expectAtRest()
    })
  })

  it('unbind of one device races unbind of another in its domain: the entry is cleared once, by the last', () => {
    seeds((seed) => {
      const { m, a, b, c, x } = setup()
      const bonds = [a, b, c].map((device) => run(m.iommu.bind(device, x)))
      m.driver.queue.push(request(b, { group: 3, write: true }))
      const scheduler = new Scheduler(seed)
      for (const bond of bonds) scheduler.spawn(`unbind ${bond.device.name}`, bond.unbind())
      scheduler.run()
      expect([m.driver.count('ioMmDetach A'), m.driver.count('ioMmDetach B'), m.driver.count('ioMmFree')]).toEqual([1, 1, 1])
      expect(m.driver.responses.map(({ code }) => code)).toEqual(['success'])
      m.expectAtRest()
    })
  })

  it('bind races the unbind of the same device: one bond at a time, the second whole', () => {
    const states = new Set<string>()
    seeds((seed) => {
      const { m, a, x } = setup()
      const old = run(m.iommu.bind(a, x))
      const scheduler = new Scheduler(seed)
      scheduler.spawn('unbind', old.unbind())
      const task = scheduler.spawn('bind', m.iommu.bind(a, x))
      scheduler.run()
      const bond = task.result()
      states.add(bond === old ? 'the old one, counted' : 'a new one')
      expect([bond.state, bond.users, m.driver.reach(a, bond.pasid)]).toEqual(['bound', 1, bond.ioMm])
      expect(m.iommu.bonds.size).toBe(1)
      unbindAll(m)
    })
    expect([...states].sort()).toEqual(['a new one', 'the old one, counted'])
  })

  it('bind races a domain change: busy, or bound in the new domain', () => {
    const seen = new Set<string>()
    seeds((seed) => {
      const { m, a, x } = setup()
      const target = m.domain('C')
      const scheduler = new Scheduler(seed)
      const attach = scheduler.spawn('attach', m.iommu.attach(target, a))
      const bind = scheduler.spawn('bind', m.iommu.bind(a, x))
      scheduler.run()
      const result = outcome(attach)
      seen.add(String(result))
      const bond = bind.result()
      expect(bond.domain).toBe(a.domain)
      expect(a.domain === target).toBe(result === undefined)
      expect(m.driver.reach(a, 1)).toBe(bond.ioMm)
      unbindAll(m)
    })
    expect([...seen].sort()).toEqual(['Busy', 'undefined'])
  })

  it('an invalidation reaches a domain whose entry is just being written', () => {
    seeds((seed) => {
      const { m, a, c, x } = setup()
      run(x.access(AT, 'write'))
      run(m.iommu.bind(a, x))
      // From the moment at which the entry may be valid, every change must name the domain.
      let valid = false
      m.driver.onStep = (call) => {
        if (call.startsWith('ioMmAttach B')) valid = true
        if (call.startsWith('ioMmInvalidate') && valid) expect(call.endsWith('A,B')).toBe(true)
      }
      const scheduler = new Scheduler(seed)
      scheduler.spawn('bind', m.iommu.bind(c, x))
      scheduler.spawn('munmap', x.munmap(AT, 0x1000n))
      scheduler.run()
      expect(m.driver.count('ioMmInvalidate')).toBe(1)
      unbindAll(m)
    })
  })

  it('the io_mm is not freed while an invalidation of it is under way', () => {
    seeds((seed) => {
      const { m, a, x } = setup(false)
      for (let page = 0n; page < 4n; page++) run(x.access(AT + page * 0x1000n, 'write'))
      const bond = run(m.iommu.bind(a, x))
      const scheduler = new Scheduler(seed)
      scheduler.spawn('unbind', bond.unbind())
      scheduler.spawn('swap', x.swapOut(AT))
      scheduler.spawn('munmap', x.munmap(AT + 0x2000n, 0x2000n))
      scheduler.run()
      m.expectAtRest()
    })
  })

  it('a late answer races the unbind: one response', () => {
    const codes = new Set<string>()
    seeds((seed) => {
      const { m, a } = setup()
      const bond = run(m.iommu.bindPrivate(a, 'P'))
      a.domain!.onPageRequest = () => 'later'
      m.driver.queue.push(request(a, { pasid: bond.pasid, group: 1 }))
      run(m.iommu.serviceInterrupts())
      const scheduler = new Scheduler(seed)
      scheduler.spawn('unbind', bond.unbind())
      const respond = scheduler.spawn('respond', m.iommu.respond(a, { group: 1 }, 'success'))
      scheduler.run()
      const result = outcome(respond)
      expect(m.driver.responses.map(({ code }) => code)).toEqual([result === undefined ? 'success' : 'invalid'])
      codes.add(String(result))
      m.expectAtRest()
    })
    expect([...codes].sort()).toEqual(['UnknownGroup', 'undefined'])
  })

  it('the last unbind of a domain waits for requests of its other devices that are just being handled', () => {
    seeds((seed) => {
      const { m, a, b, x } = setup(false)
      const bonds = [a, b].map((device) => run(m.iommu.bind(device, x)))
      run(bonds[1]!.unbind())
      for (let group = 0; group < 3; group++)
        m.driver.queue.push(request(b, { group, write: true, address: AT + BigInt(group) * 0x1000n }))
      const scheduler = new Scheduler(seed)
      scheduler.spawn('interrupts', m.iommu.serviceInterrupts())
      scheduler.spawn('unbind', bonds[0]!.unbind())
      scheduler.run()
      expect(m.driver.responses.length).toBe(3)
      m.expectAtRest()
    })
  })

  it('a failing attach races other binds: one PASID per Mm, one attach per domain, nothing leaked', () => {
    seeds((seed) => {
      const { m, a, b, c, x } = setup()
      m.driver.failOn('ioMmAttach A', seed % 2)
      m.driver.failOn('ioMmAlloc', seed % 3)
      const scheduler = new Scheduler(seed)
      const tasks = [a, b, c, a].map((device, index) => scheduler.spawn(`bind ${index}`, m.iommu.bind(device, x)))
      scheduler.run()
      const bonds = new Set<Bond>()
      for (const task of tasks) {
        try {
          bonds.add(task.result())
        } catch (error) {
          expect(String(error)).toContain('failed')
        }
      }
      expect(m.iommu.bonds).toEqual(bonds)
      unbindAll(m)
    })
  })

  it('everything at once: binds, unbinds, exits, faults, forks and swaps of several processes', () => {
    seeds((seed) => everything(seed), SEEDS)
  })
})

/** Many tasks of random kind; at every pause what must hold is checked. */
function everything(seed: number): void {
  const { m, a, b, c } = setup()
  const pick = random(seed + 1)
  const devices = [a, b, c]
  const mms: Mm[] = [m.process('X'), m.process('Y'), m.process('Z')]
  const scheduler = new Scheduler(seed)
  /** What every instant must satisfy. */
  const check = () => {
    const byMm = new Map<unknown, number>()
    for (const ioMm of m.iommu.ioMms.values()) {
      expect(byMm.has(ioMm.mm)).toBe(false)
      byMm.set(ioMm.mm, ioMm.pasid)
    }
    for (const bond of m.iommu.bonds) {
      // A bond's PASID is never another's, and the device finds its own address space (or silence) behind it.
      expect(m.iommu.find(bond.pasid)).toBe(bond.ioMm)
      const reached = m.driver.reach(bond.device, bond.pasid)
      if (bond.state === 'bound') expect(reached).toBe(bond.ioMm)
      if (bond.state === 'exited') expect(reached).toBe('quiet')
    }
    expect(m.driver.violations).toEqual([])
  }
  function* client(): Op<void> {
    const device = devices[pick(3)]!
    const mm = mms[pick(3)]!
    try {
      const bond = yield* m.iommu.bind(device, mm)
      for (let turn = pick(3); turn > 0; turn--) {
        m.driver.queue.push(
          request(device, {
            pasid: bond.pasid,
            group: pick(512),
            write: pick(2) === 0,
            address: AT + BigInt(pick(16)) * 0x1000n,
          }),
        )
        yield* step('a DMA faulted')
      }
      yield* bond.unbind()
    } catch (error) {
      if (!(error instanceof IommError) || error.code !== 'MmDead') throw error
    }
  }
  function* life(mm: Mm): Op<void> {
    for (let turn = 0; turn < 3 && mm.alive; turn++) {
      const at = AT + BigInt(pick(16)) * 0x1000n
      const what = pick(5)
      try {
        if (what === 0) yield* mm.access(at, 'write')
        else if (what === 1) yield* mm.swapOut(at)
        else if (what === 2) yield* mm.migrate(at)
        else if (what === 3) yield* (yield* mm.fork('child')).exit()
        else yield* mm.munmap(at, 0x1000n)
      } catch (error) {
        if (!String(error).includes('has exited')) throw error
      }
    }
    if (pick(2) === 0) yield* mm.exit()
  }
  const tasks: Task[] = []
  for (let count = 0; count < 6; count++) tasks.push(scheduler.spawn(`client ${count}`, client()))
  for (const mm of mms) tasks.push(scheduler.spawn(`life of ${mm.name}`, life(mm)))
  tasks.push(scheduler.spawn('interrupts', m.iommu.serviceInterrupts()))
  let turns = 0
  m.driver.onStep = () => {
    if (turns++ % 8 === 0) check()
  }
  scheduler.run()
  for (const task of tasks) task.result()
  check()
  expect(m.iommu.bonds.size).toBe(0)
  run(m.iommu.serviceInterrupts())
  m.expectAtRest()
}
