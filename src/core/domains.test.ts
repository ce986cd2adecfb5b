import { describe, expect, it } from 'vitest'
import { run } from '../base/op.ts'
import { CAPABLE, refused, request, Small } from './small.suite.ts'

describe('domains and groups', () => {
  it('a device is blocked until it is attached, and again when it is detached', () => {
    const m = new Small()
    const a = m.device('a')
    expect([a.domain, m.driver.stream.get(a)]).toEqual([null, undefined])
    expect(refused('NoDomain', m.iommu.detach(a))).toContain('it is in no domain')
    const domain = m.domain('A', [a])
    expect([a.domain, m.driver.stream.get(a)]).toEqual([domain, domain])
    run(m.iommu.attach(domain, a))
    expect(m.driver.count('attachDevice')).toBe(1)
    run(m.iommu.detach(a))
    expect([a.domain, domain.devices.size, m.driver.stream.size]).toEqual([null, 0, 0])
  })

  it('alias group with a PASID-less member: attached together, bound through the one that has PASIDs', () => {
    const m = new Small()
    const [device, alias] = [m.device('device'), m.device('alias', { pasidBits: 0, pri: false })]
    const group = m.iommu.addGroup('behind the bridge', [device, alias])
    const domain = m.domain('A', [device])
    expect([alias.domain, m.driver.stream.get(alias), group.domain]).toEqual([domain, domain, domain])
    const x = m.process('X')
    const bond = run(m.iommu.bind(device, x))
    refused('NoPasid', m.iommu.bind(alias, x))
    // The alias's number appears in faults: they belong to the same domain.
    let heard = ''
    domain.onFault = (_, who) => {
      heard = who.name
      return true
    }
    const record = { device: alias.id, pasid: null, address: 0n, code: 0x10, name: 'F_TRANSLATION', record: [], text: '' }
    m.iommu.sink.fault(record)
    expect(heard).toBe('alias')
    expect(refused('Busy', m.iommu.detach(alias))).toBe('cannot detach alias: device is bound to address spaces; unbind first')
    run(bond.unbind())
    run(m.iommu.detach(alias))
    expect([device.domain, m.driver.stream.size]).toEqual([null, 0])
    m.expectAtRest()
  })

  it('groups are made of devices of this IOMMU, before they are attached, once', () => {
    const m = new Small()
    const [a, b, c] = [m.device('a'), m.device('b'), m.device('c')]
    m.domain('C', [c])
    m.iommu.addGroup('g', [a, b])
    expect(() => m.iommu.addGroup('h', [a])).toThrow('it is in group g')
    expect(() => m.iommu.addGroup('h', [c])).toThrow('it is attached; make groups first')
    expect(() => m.iommu.addGroup('h', [new Small().device('z')])).toThrow('is not a device of this IOMMU')
  })

  it('rollback on the second device: exactly what was done is undone', () => {
    const m = new Small()
    const devices = ['a', 'b', 'c'].map((name) => m.device(name))
    m.iommu.addGroup('g', devices)
    const domain = m.domain('A')
    m.driver.failOn('attachDevice A b')
    const before = m.driver.calls.length
    expect(() => run(m.iommu.attach(domain, devices[0]!))).toThrow('attachDevice A b failed')
    expect(m.driver.calls.slice(before)).toEqual(['attachDevice A a', 'attachDevice A b', 'detachDevice A a'])
    expect([domain.devices.size, devices[0]!.domain, m.driver.stream.size]).toEqual([0, null, 0])
    expect(m.of('rolled-back')).toMatchObject([{ device: devices[0], to: null, why: 'attachDevice A b failed' }])
    run(m.iommu.attach(domain, devices[2]!))
    expect(domain.devices.size).toBe(3)
    m.expectAtRest()
  })

  it('replace keeps the old domain on failure, for every device of the group', () => {
    const m = new Small()
    const devices = ['a', 'b', 'c'].map((name) => m.device(name))
    m.iommu.addGroup('g', devices)
    const [old, next] = [m.domain('A', [devices[0]!]), m.domain('B')]
    for (const [failing, done] of [
      ['a', []],
      ['b', ['a']],
      ['c', ['b', 'a']],
    ] as const) {
      m.driver.failOn(`attachDevice B ${failing}`)
      const before = m.driver.calls.length
      expect(() => run(m.iommu.attach(next, devices[0]!))).toThrow(`attachDevice B ${failing} failed`)
      const calls = m.driver.calls.slice(before)
      expect(calls.filter((call) => call.startsWith('attachDevice A'))).toEqual(done.map((name) => `attachDevice A ${name}`))
      expect(calls.filter((call) => call.startsWith('detachDevice'))).toEqual([])
      expect(devices.map((device) => [device.domain, m.driver.stream.get(device)])).toEqual(devices.map(() => [old, old]))
      expect([old.devices.size, next.devices.size]).toEqual([3, 0])
    }
    run(m.iommu.attach(next, devices[1]!))
    expect([old.devices.size, next.devices.size]).toEqual([0, 3])
    expect(devices.map((device) => m.driver.stream.get(device))).toEqual(devices.map(() => next))
    m.expectAtRest()
  })

  it('domain change with bonds: refused, also through another device of the group, and possible after the unbind', () => {
    const m = new Small()
    const [a, b] = [m.device('a'), m.device('b')]
    m.iommu.addGroup('g', [a, b])
    const domain = m.domain('A', [a])
    const other = m.domain('B')
    const bond = run(m.iommu.bind(a, m.process('X')))
    const calls = m.driver.calls.length
    expect(refused('Busy', m.iommu.attach(other, b))).toBe(
      'cannot attach b to domain B: a is bound to address spaces; unbind first',
    )
    refused('Busy', m.iommu.detach(a))
    expect([m.driver.calls.length, a.domain]).toEqual([calls, domain])
    run(bond.unbind())
    run(m.iommu.attach(other, b))
    expect([a.domain, b.domain]).toEqual([other, other])
    m.expectAtRest()
  })

  it('a detach that fails leaves the group where it was', () => {
    const m = new Small()
    const [a, b] = [m.device('a'), m.device('b')]
    m.iommu.addGroup('g', [a, b])
    const domain = m.domain('A', [a])
    m.driver.failOn('detachDevice A b')
    expect(() => run(m.iommu.detach(a))).toThrow('detachDevice A b failed')
    expect([a.domain, m.driver.stream.get(a), m.driver.stream.get(b), domain.devices.size]).toEqual([domain, domain, domain, 2])
    run(m.iommu.detach(a))
    m.expectAtRest()
  })

  it('a domain with devices is not freed; a freed one is good for nothing', () => {
    const m = new Small()
    const a = m.device('a')
    const domain = m.domain('A', [a])
    expect(refused('Busy', m.iommu.freeDomain(domain))).toBe('cannot free domain A: a is in it; detach first')
    run(m.iommu.detach(a))
    run(m.iommu.freeDomain(domain))
    expect(m.iommu.domains.size).toBe(0)
    refused('Foreign', m.iommu.freeDomain(domain))
    refused('Foreign', m.iommu.attach(domain, a))
    refused('Foreign', domain.map(0n, 0n, 0x1000n, 1))
    m.expectAtRest()
  })

  it('a device number is used once', () => {
    const m = new Small()
    const a = m.device('a')
    expect(refused('Exists', m.iommu.addDevice({ id: a.id, name: 'twin', capabilities: CAPABLE }))).toBe(
      'device number 0x1 of twin is taken by a',
    )
    expect(m.driver.count('addDevice')).toBe(1)
  })

  it('kinds: identity sees physical addresses, blocked nothing, and neither maps', () => {
    const m = new Small()
    const [identity, blocked, nested] = [m.domain('I', [], 'identity'), m.domain('K', [], 'blocked'), m.domain('N', [], 'nested')]
    expect([identity.iovaToPhys(0x1234n), blocked.iovaToPhys(0x1234n)]).toEqual([0x1234n, null])
    expect(refused('Unsupported', identity.map(0n, 0n, 0x1000n, 1))).toContain('only dma and nested domains have a page table')
    refused('Unsupported', blocked.unmap(0n, 0x1000n))
    run(nested.map(0x1000n, 0x8000n, 0x1000n, 1))
    expect(nested.iovaToPhys(0x1000n)).toBe(0x8000n)
    expect(run(nested.unmap(0x1000n, 0x1000n))).toBe(0x1000n)
    expect([m.of('mapped').length, m.of('unmapped').map((event) => event.bytes)]).toEqual([1, [0x1000n]])
  })

  it('firmware regions are mapped 1:1 before the device is attached, and go when the attach fails', () => {
    const m = new Small()
    const firmware = [{ start: 0x8000_0000n, end: 0x8001_0000n, rights: 3, why: 'RMR: display' }]
    const a = run(m.iommu.addDevice({ id: 9, name: 'display', capabilities: CAPABLE, firmware }))
    const domain = m.domain('A')
    let mapped: bigint | null = null
    m.driver.onStep = (call) => {
      if (call.startsWith('attachDevice')) mapped = domain.iovaToPhys(0x8000_1234n)
    }
    m.driver.failOn('attachDevice')
    expect(() => run(m.iommu.attach(domain, a))).toThrow('attachDevice failed')
    expect([mapped, domain.iovaToPhys(0x8000_1234n)]).toEqual([0x8000_1234n, null])
    run(m.iommu.attach(domain, a))
    expect(mapped).toBe(0x8000_1234n)
    // Once for the domain, however often devices come and go.
    run(m.iommu.detach(a))
    run(m.iommu.attach(domain, a))
    expect(m.of('mapped').length).toBe(2)
    // Other kinds need none.
    run(m.iommu.attach(m.domain('I', [], 'identity'), a))
    expect(m.of('mapped').length).toBe(2)
  })

  it('partial page request groups of a device that changes its domain are dropped', () => {
    const m = new Small()
    const a = m.device('a')
    m.domain('A', [a])
    m.driver.queue.push(request(a, { last: false, pasid: null }))
    run(m.iommu.serviceInterrupts())
    run(m.iommu.attach(m.domain('B'), a))
    expect(m.of('partials-dropped')).toMatchObject([{ requests: 1, why: 'the device changed its domain' }])
  })
})
