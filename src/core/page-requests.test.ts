import { describe, expect, it } from 'vitest'
import { run, Scheduler } from '../base/op.ts'
import { prot } from '../mm/vma.ts'
import type { Device } from './device.ts'
import type { FaultReport, PageRequest } from './driver.ts'
import { GROUP_LIMIT } from './page-requests.ts'
import { AT, refused, request, Small } from './small.suite.ts'

/** Device a and b in domain A, both bound to process X with PASID 1. */
function setup() {
  const m = new Small()
  const [a, b] = [m.device('a'), m.device('b')]
  const domain = m.domain('A', [a, b])
  const x = m.process('X')
  const bonds = [run(m.iommu.bind(a, x)), run(m.iommu.bind(b, x))] as const
  const ask = (device: Device | number, ...requests: Partial<PageRequest>[]) => {
    for (const one of requests) m.driver.queue.push(request(device, one))
  }
  /** Responses so far, as `device group code`. */
  const answers = () =>
    m.driver.responses.map(
      ({ device, group, stallTag, code }) => `${device.name} ${stallTag === null ? group : `stall ${stallTag}`} ${code}`,
    )
  const serve = () => run(m.iommu.serviceInterrupts())
  const end = () => {
    for (const bond of [...m.iommu.bonds]) while (bond.users > 0) run(bond.unbind())
    m.expectAtRest()
  }
  return { m, a, b, domain, x, bonds, ask, answers, serve, end }
}

function report(device: number | null, pasid: number | null, address: bigint | null = AT): FaultReport {
  return { device, pasid, address, code: 0x10, name: 'F_TRANSLATION', record: [0x10n, 0n, 0n, 0n], text: 'translation fault' }
}

describe('page requests', () => {
  it('groups of one and of three: one response each, all pages brought in', () => {
    const { a, x, ask, answers, serve, end } = setup()
    ask(a, { group: 4 })
    ask(
      a,
      { group: 5, last: false },
      { group: 5, last: false, address: AT + 0x1000n },
      { group: 5, address: AT + 0x2000n, write: true },
    )
    serve()
    expect(answers()).toEqual(['a 4 success', 'a 5 success'])
    expect([x.page(AT).kind, x.page(AT + 0x1000n).kind, x.page(AT + 0x2000n).dirty]).toEqual(['present', 'present', true])
    end()
  })

  it('handled in arrival order', () => {
    const { m, a, b, ask, serve, end } = setup()
    ask(a, { group: 1, last: false, address: AT + 0x3000n })
    ask(b, { group: 1, address: AT })
    ask(a, { group: 1, last: false, address: AT + 0x1000n }, { group: 1, address: AT + 0x2000n })
    serve()
    expect(m.of('page-handled').map((event) => event.request.address - AT)).toEqual([0n, 0x3000n, 0x1000n, 0x2000n])
    end()
  })

  it('two devices with the same group index: two groups', () => {
    const { m, a, b, ask, answers, serve, end } = setup()
    ask(a, { group: 9, last: false })
    ask(b, { group: 9, last: false, address: 0x10n })
    ask(b, { group: 9 })
    serve()
    expect(answers()).toEqual(['b 9 invalid'])
    ask(a, { group: 9 })
    serve()
    expect(answers()).toEqual(['b 9 invalid', 'a 9 success'])
    expect(m.of('page-response').map((event) => event.requests)).toEqual([2, 2])
    end()
  })

  it('last first: a group of its own; what follows waits for the next last', () => {
    const { a, ask, answers, serve, end } = setup()
    ask(a, { group: 2, last: true }, { group: 2, last: false, address: AT + 0x1000n })
    serve()
    expect(answers()).toEqual(['a 2 success'])
    ask(a, { group: 2 })
    serve()
    expect(answers()).toEqual(['a 2 success', 'a 2 success'])
    end()
  })

  it('last missing: no response, and nothing is left after the unbind', () => {
    const { m, a, x, ask, answers, serve, end } = setup()
    ask(a, { group: 2, last: false })
    serve()
    expect([answers(), x.page(AT).kind]).toEqual([[], 'absent'])
    end()
    expect(m.of('partials-dropped')).toMatchObject([{ requests: 1, why: 'the device was unbound' }])
    // A later group with the same index is not mixed with it.
    const next = run(m.iommu.bind(a, m.process('Y')))
    ask(a, { group: 2 })
    serve()
    expect(m.of('page-response').at(-1)).toMatchObject({ code: 'success', requests: 1 })
    run(next.unbind())
  })

  it('overflow: partial groups are dropped, the device asks again', () => {
    const { m, a, b, x, ask, answers, serve, end } = setup()
    ask(a, { group: 1, last: false, address: 0x10n })
    ask(b, { group: 2, last: false, address: 0x10n })
    m.driver.queue.push({ overflow: true })
    serve()
    expect(m.of('partials-dropped').map((event) => event.requests)).toEqual([1, 1])
    ask(a, { group: 1 })
    ask(b, { group: 2 })
    serve()
    expect([answers(), x.page(AT).kind]).toEqual([['a 1 success', 'b 2 success'], 'present'])
    end()
  })

  it('sticky invalid: the first failure decides, what follows is not brought in', () => {
    const { m, a, x, ask, answers, serve, end } = setup()
    ask(a, { last: false, address: AT }, { last: false, address: 0x10n }, { last: true, address: AT + 0x1000n })
    serve()
    expect(answers()).toEqual(['a 0 invalid'])
    expect([x.page(AT).kind, x.page(AT + 0x1000n).kind]).toEqual(['present', 'absent'])
    expect(m.of('page-handled').map((event) => event.code)).toEqual(['success', 'invalid'])
    end()
  })

  it('stop marker: no response', () => {
    const { m, a, ask, answers, serve, end } = setup()
    ask(a, { group: 0, read: false, write: false })
    serve()
    expect([answers(), m.of('stop-marker').length]).toEqual([[], 1])
    end()
  })

  it('read, write, execute, privileged: every access asked for must be permitted', () => {
    const { a, x, ask, answers, serve, end } = setup()
    run(x.mmap(AT + 0x10_0000n, 0x1000n, prot('r-x')))
    run(x.mmap(AT + 0x20_0000n, 0x1000n, prot('-w-')))
    run(x.mmap(AT + 0x30_0000n, 0x1000n, prot('rw-'), { kernel: true }))
    run(x.mmap(AT + 0x40_0000n, 0x1000n, prot('--x')))
    const cases: [Partial<PageRequest>, string][] = [
      [{ address: AT + 0x10_0000n }, 'success'],
      [{ address: AT + 0x10_0000n, write: true }, 'invalid'],
      [{ address: AT + 0x10_0000n, execute: true }, 'success'],
      [{ address: AT + 0x10_0000n, execute: true, privileged: true }, 'invalid'],
      [{ address: AT, execute: true }, 'invalid'],
      [{ address: AT, write: true, privileged: true }, 'success'],
      [{ address: AT + 0x20_0000n }, 'invalid'],
      [{ address: AT + 0x20_0000n, read: false, write: true }, 'success'],
      [{ address: AT + 0x30_0000n }, 'invalid'],
      [{ address: AT + 0x30_0000n, privileged: true }, 'success'],
      [{ address: AT + 0x40_0000n, execute: true }, 'invalid'],
      [{ address: AT, read: false, last: false }, 'invalid'],
    ]
    for (const [given, code] of cases) {
      ask(a, given)
      if (given.last === false) ask(a, {})
      serve()
      expect([given, answers().at(-1)]).toEqual([given, `a 0 ${code}`])
    }
    // Page requests cannot ask to execute without reading; a stalled instruction fetch does.
    ask(a, { address: AT + 0x40_0000n, execute: true, read: false, stallTag: 9 })
    serve()
    expect(answers().at(-1)).toBe('a stall 9 success')
    end()
  })

  it('stack growth, copy on write, huge page, swapped page: brought in as the CPU would', () => {
    const { m, a, x, ask, answers, serve, end } = setup()
    run(x.mmap(AT + 0x100_0000n, 0x1000n, prot('rw'), { growsDown: true }))
    run(x.mmap(0x4000_0000n, 0x20_0000n, prot('rw'), { huge: true }))
    run(x.store(AT, Uint8Array.of(5)))
    const child = run(x.fork('C'))
    run(x.store(AT + 0x1000n, Uint8Array.of(6)))
    run(x.swapOut(AT + 0x1000n))
    const shared = x.translate(AT)
    ask(a, { group: 1, address: AT + 0x100_0000n - 0x3000n, write: true })
    ask(a, { group: 2, address: AT, write: true })
    ask(a, { group: 3, address: 0x4000_5000n })
    ask(a, { group: 4, address: AT + 0x1000n })
    serve()
    expect(answers()).toEqual(['a 1 success', 'a 2 success', 'a 3 success', 'a 4 success'])
    expect(x.translate(AT)).not.toBe(shared)
    expect(child.translate(AT)).toBe(shared)
    expect(x.page(0x4000_0000n).bytes).toBe(0x20_0000)
    expect(run(x.load(AT + 0x1000n, 1))).toEqual(Uint8Array.of(6))
    expect(m.driver.count('ioMmInvalidate')).toBeGreaterThan(0)
    end()
  })

  it('after exit: invalid, and nothing is logged', () => {
    const { m, a, x, ask, answers, serve, end } = setup()
    run(x.exit())
    ask(a, {})
    serve()
    expect(answers()).toEqual(['a 0 invalid'])
    expect(m.of('page-handled')).toMatchObject([{ code: 'invalid', logged: false, why: 'X has exited' }])
    end()
  })

  it('between the death of the process and the quiet entry: exited already', () => {
    const { m, a, x, ask, serve, end } = setup()
    const exit = x.exit()
    exit.next()
    ask(a, {})
    m.iommu.sink.fault(report(a.id, 1))
    serve()
    expect(m.driver.reach(a, 1)).not.toBe('quiet')
    expect(m.of('page-handled').map((event) => event.why)).toEqual(['X has exited'])
    expect(m.of('fault').map((event) => [event.phase, event.logged])).toEqual([['exited', false]])
    run(exit)
    end()
  })

  it('unbound PASID: invalid, and logged as a mistake of the device driver', () => {
    const { m, a, b, bonds, ask, answers, serve, end } = setup()
    ask(a, { pasid: 77 })
    serve()
    // b's unbind leaves the entry to a: the hardware lets b through, and so do we.
    run(bonds[1].unbind())
    ask(b, { pasid: 1 })
    serve()
    run(bonds[0].unbind())
    ask(a, { pasid: 1 })
    serve()
    expect(answers()).toEqual(['a 0 invalid', 'b 0 success', 'a 0 invalid'])
    expect(m.of('page-handled').map((event) => [event.logged, event.why])).toEqual([
      [true, 'PASID 77 is not bound to domain A: the device was not stopped'],
      [false, null],
      [true, 'PASID 1 is not bound to domain A: the device was not stopped'],
    ])
    end()
  })

  it('the response carries the PASID of the request', () => {
    const { m, a, ask, serve, end } = setup()
    ask(a, { pasid: 1, group: 3 }, { pasid: null, group: 4 })
    serve()
    expect(m.driver.responses.map(({ pasid, group, stallTag }) => [pasid, group, stallTag])).toEqual([
      [1, 3, null],
      [null, 4, null],
    ])
    end()
  })

  it('stalls are groups of one, answered by tag', () => {
    const { a, ask, answers, serve, end } = setup()
    ask(a, { stallTag: 7, last: true }, { stallTag: 8, address: 0x10n }, { stallTag: 9, last: false, address: AT + 0x1000n })
    serve()
    expect(answers()).toEqual(['a stall 7 success', 'a stall 8 invalid', 'a stall 9 success'])
    end()
  })

  it('unhandled: a request without PASID that nobody wants fails', () => {
    const { m, a, ask, answers, serve, end } = setup()
    ask(a, { pasid: null })
    serve()
    expect(answers()).toEqual(['a 0 failure'])
    expect(m.of('page-handled')).toMatchObject([{ logged: true, why: 'domain A has no handler for requests without PASID' }])
    end()
  })

  it('a handler of the domain answers for entry 0 and for private spaces, now or later', () => {
    const { m, a, domain, ask, answers, serve, end } = setup()
    const bond = run(m.iommu.bindPrivate(a, 'P'))
    ask(a, { pasid: bond.pasid })
    serve()
    expect(answers()).toEqual(['a 0 invalid'])
    const seen: bigint[] = []
    domain.onPageRequest = (one) => {
      seen.push(one.address)
      return one.pasid === null ? 'success' : 'later'
    }
    ask(a, { pasid: null, group: 1 }, { pasid: bond.pasid, group: 2, address: AT + 1n }, { pasid: bond.pasid, stallTag: 3 })
    serve()
    expect([answers().slice(1), seen]).toEqual([['a 1 success'], [AT, AT + 1n, AT]])
    run(m.iommu.respond(a, { group: 2 }, 'success'))
    run(m.iommu.respond(a, { stallTag: 3 }, 'failure'))
    expect(answers().slice(2)).toEqual(['a 2 success', 'a stall 3 failure'])
    end()
  })

  it('response twice, unknown group: errors', () => {
    const { m, a, b, domain, ask, answers, serve, end } = setup()
    domain.onPageRequest = () => 'later'
    ask(a, { pasid: null, group: 2 })
    serve()
    expect(refused('UnknownGroup', m.iommu.respond(a, { group: 3 }, 'success'))).toContain('a waits for no response to group 3')
    refused('UnknownGroup', m.iommu.respond(a, { stallTag: 2 }, 'success'))
    refused('UnknownGroup', m.iommu.respond(b, { group: 2 }, 'success'))
    run(m.iommu.respond(a, { group: 2 }, 'success'))
    refused('UnknownGroup', m.iommu.respond(a, { group: 2 }, 'success'))
    expect(answers()).toEqual(['a 2 success'])
    end()
  })

  it('what a handler kept for later is answered invalid when its PASID is unbound', () => {
    const { m, a, domain, ask, answers, serve, end } = setup()
    const bond = run(m.iommu.bindPrivate(a, 'P'))
    domain.onPageRequest = () => 'later'
    ask(a, { pasid: bond.pasid, group: 6 })
    serve()
    expect(answers()).toEqual([])
    run(bond.unbind())
    expect(answers()).toEqual(['a 6 invalid'])
    refused('UnknownGroup', m.iommu.respond(a, { group: 6 }, 'success'))
    end()
  })

  it("drain with another PASID's request in the queue: both are answered, ours before the entry is cleared", () => {
    const { m, a, x, bonds, ask, answers, end } = setup()
    const y = m.process('Y')
    run(m.iommu.bind(a, y))
    run(bonds[1].unbind())
    ask(
      a,
      { pasid: 2, group: 1, last: false },
      { pasid: 1, group: 2 },
      { pasid: 2, group: 1, address: AT + 0x1000n },
      { pasid: 2, group: 3, last: false },
    )
    const calls = m.driver.calls.length
    run(bonds[0].unbind())
    expect(answers()).toEqual(['a 2 success', 'a 1 success'])
    const order = m.driver.calls.slice(calls).filter((call) => !call.startsWith('ioMmInvalidate'))
    expect(order).toEqual([
      'pageResponse a group 2 pasid 1 success',
      'pageResponse a group 1 pasid 2 success',
      'ioMmDetach A X#1',
      'ioMmFree X#1',
    ])
    expect([x.page(AT).kind, y.page(AT).kind]).toEqual(['present', 'present'])
    // The other PASID's partial group is still there.
    ask(a, { pasid: 2, group: 3 })
    run(m.iommu.serviceInterrupts())
    expect(m.of('page-response').at(-1)).toMatchObject({ group: 3, requests: 2 })
    end()
  })

  it('the last unbind of a domain drains the requests of its other devices too', () => {
    const { a, b, bonds, ask, answers, end } = setup()
    run(bonds[1].unbind())
    ask(b, { group: 1 })
    ask(a, { group: 2 })
    run(bonds[0].unbind())
    expect(answers()).toEqual(['b 1 success', 'a 2 success'])
    end()
  })

  it('drain waits for a request that the interrupt thread is just handling', () => {
    for (let seed = 0; seed < 100; seed++) {
      const { m, a, bonds, ask, answers, end } = setup()
      run(bonds[1].unbind())
      ask(a, { group: 1, write: true }, { group: 2, last: false, address: AT + 0x1000n }, { group: 2, address: AT + 0x2000n })
      m.driver.onStep = (call) => {
        if (call.startsWith('ioMmDetach')) expect(answers().sort()).toEqual(['a 1 success', 'a 2 success'])
      }
      const scheduler = new Scheduler(seed)
      scheduler.spawn('interrupts', m.iommu.serviceInterrupts())
      scheduler.spawn('unbind', bonds[0].unbind())
      scheduler.run()
      expect(answers().length).toBe(2)
      end()
    }
  })

  it('a device that nobody added gets a failure, so that it does not wait for ever', () => {
    const { m, ask, answers, serve, end } = setup()
    ask(0x99, { group: 1, last: false }, { group: 1 }, { stallTag: 5 })
    serve()
    expect(answers()).toEqual(['unknown device 0x99 1 failure', 'unknown device 0x99 stall 5 failure'])
    expect(m.driver.responses[0]!.device.id).toBe(0x99)
    end()
  })

  it('a device in no domain gets invalid', () => {
    const { m, ask, answers, serve, end } = setup()
    const c = m.device('c')
    ask(c, {})
    serve()
    expect(answers()).toEqual(['c 0 invalid'])
    end()
  })

  it('a group without end does not fill memory: it fails', () => {
    const { m, a, ask, answers, serve, end } = setup()
    for (let count = 0; count < GROUP_LIMIT + 10; count++) ask(a, { last: false })
    ask(a, {})
    serve()
    expect(answers()).toEqual(['a 0 failure'])
    expect(m.of('page-handled')).toEqual([])
    end()
  })

  it('exhausted memory: failure', () => {
    const { m, a, x, ask, answers, serve, end } = setup()
    run(x.mmap(1n << 40n, 1n << 33n, prot('rw')))
    run(x.access(1n << 40n, 'write'))
    // Whatever is free is taken, the largest blocks first.
    const taken: [number, number][] = []
    for (let bytes = 2 ** 29; bytes >= 4096; bytes /= 2) {
      try {
        for (;;) taken.push([m.system.memory.allocate(bytes), bytes])
      } catch {}
    }
    ask(a, { address: (1n << 40n) + 0x1000n })
    serve()
    expect(answers()).toEqual(['a 0 failure'])
    for (const [pa, bytes] of taken) m.system.memory.free(pa, bytes)
    end()
  })

  it('reserved windows: a page request there is invalid, and says why', () => {
    const { m, a, x, ask, answers, serve, end } = setup()
    m.driver.reserved = [{ start: 0xfee0_0000n, end: 0xfef0_0000n, why: 'interrupt messages' }]
    run(x.mmap(0xfee0_0000n, 0x1000n, prot('rw')))
    ask(a, { address: 0xfee0_0000n })
    serve()
    expect([answers(), x.page(0xfee0_0000n).kind]).toEqual([['a 0 invalid'], 'absent'])
    expect(m.of('page-handled')[0]!.why).toContain('interrupt messages')
    end()
  })
})

describe('unrecoverable faults', () => {
  it('go to the handler of the domain, and to the log when nobody deals with them', () => {
    const { m, a, domain, end } = setup()
    m.iommu.sink.fault(report(a.id, null))
    const heard: FaultReport[] = []
    domain.onFault = (one, device) => {
      expect(device).toBe(a)
      heard.push(one)
      return true
    }
    const second = report(a.id, null)
    m.driver.queue.push({ fault: second })
    run(m.iommu.serviceInterrupts())
    expect(heard).toEqual([second])
    expect(m.of('fault').map((event) => [event.phase, event.handled, event.logged, event.domain === domain])).toEqual([
      [null, false, true, true],
      [null, true, false, true],
    ])
    end()
  })

  it('three phases: bound is not logged, exited is silent, unbound is a bug of the device driver', () => {
    const { m, a, domain, x, bonds, end } = setup()
    let heard = 0
    domain.onFault = () => {
      heard++
      return false
    }
    const last = () => {
      m.iommu.sink.fault(report(a.id, 1))
      const { phase, logged, note } = m.of('fault').at(-1)!
      return [phase, logged, note, heard]
    }
    expect(last()).toEqual(['bound', false, null, 1])
    run(x.exit())
    expect(last()).toEqual(['exited', false, null, 1])
    for (const bond of bonds) run(bond.unbind())
    expect(last()).toEqual([
      'unbound',
      true,
      'PASID 1 is not bound: the driver of a did not stop the device before it unbound, or never bound',
      2,
    ])
    end()
  })

  it('of a private space are logged: no process causes them', () => {
    const { m, a, end } = setup()
    const bond = run(m.iommu.bindPrivate(a))
    m.iommu.sink.fault(report(a.id, bond.pasid))
    expect(m.of('fault').at(-1)).toMatchObject({ phase: 'bound', logged: true })
    end()
  })

  it('of unknown devices, in reserved windows, without a device: said so', () => {
    const { m, a, end } = setup()
    m.driver.reserved = [{ start: 0xfee0_0000n, end: 0xfef0_0000n, why: 'interrupt messages' }]
    for (const one of [report(0x99, null), report(null, null, null), report(a.id, 1, 0xfee0_1000n)]) m.iommu.sink.fault(one)
    expect(m.of('fault').map((event) => [event.logged, event.note])).toEqual([
      [true, 'no device has the number 0x99'],
      [true, null],
      [false, 'the address lies in a window that devices cannot use for memory: interrupt messages'],
    ])
    end()
  })
})
