/**
 * Everything at the same time: binds, unbinds, exits, forks, memory that changes, and DMA, in thousands of orders. Whatever the order,
 * no device reaches memory that was given away, nothing hangs, and in the end nothing is left.
 */
import { describe, expect, it } from 'vitest'
import { type Op, random, step } from '../base/op.ts'
import { UR, UW } from '../base/types.ts'
import { Machine, type MachineDevice, type MachineEvent, type Process } from './machine.ts'

const PAGE = 4096n
const BASE = 0x10000n
const PAGES = 8

interface World {
  readonly machine: Machine
  readonly processes: Process[]
  readonly devices: MachineDevice[]
  readonly stale: string[]
  readonly pasids: Map<Process, number>
}

function world(log?: (event: MachineEvent) => void): World {
  const stale: string[] = []
  const machine = new Machine({
    memory: 16 * 2 ** 20,
    log: (event) => {
      log?.(event)
      if (event.source === 'stale')
        stale.push(`${event.hit.cache} of ${event.hit.device.name} at 0x${event.hit.iova.toString(16)}`)
    },
  })
  const processes = ['P', 'Q', 'R'].map((name) => {
    const process = machine.addProcess(name)
    machine.run(process.mm.mmap(BASE, BigInt(PAGES) * PAGE, UR | UW))
    return process
  })
  const pri = { pasidBits: 4, ats: true, pri: true, stall: false, plain: true, responseNeedsPasid: true }
  const stall = { ...pri, ats: false, pri: false, stall: true }
  const devices = [
    machine.addDevice({ id: 1, name: 'nic', capabilities: pri, atcEntries: 8 }),
    machine.addDevice({ id: 2, name: 'gpu', capabilities: pri, atcEntries: 8 }),
    machine.addDevice({ id: 3, name: 'dsp', capabilities: stall }),
  ]
  const D = machine.createDomain('D')
  const S = machine.createDomain('S')
  machine.run(machine.iommu.attach(D, devices[0]!.core))
  machine.run(machine.iommu.attach(D, devices[1]!.core))
  machine.run(machine.iommu.attach(S, devices[2]!.core))
  return { machine, processes, devices, stale, pasids: new Map() }
}

type Wish = (world: World, pick: (below: number) => number) => Op<unknown>

const processOf = ({ processes }: World, pick: (below: number) => number) => processes[pick(processes.length)]!
const deviceOf = ({ devices }: World, pick: (below: number) => number) => devices[pick(devices.length)]!
const rangeOf = (pick: (below: number) => number): [bigint, bigint] => {
  const first = pick(PAGES)
  return [BASE + BigInt(first) * PAGE, BigInt(1 + pick(PAGES - first)) * PAGE]
}

const WISHES: Record<string, Wish> = {
  *bind(all, pick) {
    const process = processOf(all, pick)
    const bond = yield* all.machine.iommu.bind(deviceOf(all, pick).core, process.mm)
    all.pasids.set(process, bond.pasid)
  },
  *unbind(all, pick) {
    yield* all.machine.iommu.unbind(deviceOf(all, pick).core, processOf(all, pick).mm)
  },
  *dma(all, pick) {
    const pasid = all.pasids.get(processOf(all, pick)) ?? 1
    const [address, size] = rangeOf(pick)
    const access = pick(2) === 0 ? 'read' : 'write'
    yield* deviceOf(all, pick).requester.dma({ pasid, address, access, length: Number(size), data: new Uint8Array([pick(256)]) })
  },
  *exit(all, pick) {
    yield* processOf(all, pick).mm.exit()
  },
  *exec(all, pick) {
    const process = processOf(all, pick)
    const next = yield* process.mm.exec(process.name)
    process.mm = next
    yield* next.mmap(BASE, BigInt(PAGES) * PAGE, UR | UW)
  },
  *fork(all, pick) {
    const child = yield* processOf(all, pick).mm.fork('child')
    yield* child.store(BASE, new Uint8Array(64))
    yield* child.exit()
  },
  *store(all, pick) {
    const [address] = rangeOf(pick)
    yield* processOf(all, pick).mm.store(address, new Uint8Array(8).fill(pick(256)))
  },
  *munmap(all, pick) {
    const { mm } = processOf(all, pick)
    const [address, size] = rangeOf(pick)
    yield* mm.munmap(address, size)
    yield* mm.mmap(address, size, UR | UW)
  },
  *mprotect(all, pick) {
    const { mm } = processOf(all, pick)
    const [address, size] = rangeOf(pick)
    yield* mm.mprotect(address, size, pick(2) === 0 ? UR : UR | UW)
  },
  *swapOut(all, pick) {
    yield* processOf(all, pick).mm.swapOut(rangeOf(pick)[0])
  },
  *migrate(all, pick) {
    yield* processOf(all, pick).mm.migrate(rangeOf(pick)[0])
  },
}

/** What may be refused when two want different things: coded errors, never anything else. */
function refusal(thrown: unknown): string {
  const code = (thrown as { code?: unknown }).code
  if (typeof code !== 'string') throw thrown
  return code
}

/** One run: `rounds` times `width` wishes at once, of these kinds. */
function race(seed: number, kinds: readonly string[], width: number, rounds: number): World & { refused: Set<string> } {
  const all = world()
  const pick = random(seed)
  const refused = new Set<string>()
  for (let round = 0; round < rounds; round++) {
    const ops = Array.from({ length: width }, () => {
      const name = kinds[pick(kinds.length)]!
      return { name, op: WISHES[name]!(all, pick) }
    })
    for (const result of all.machine.interleave(ops, seed * 1000 + round)) {
      if ('thrown' in result) refused.add(refusal(result.thrown))
    }
    all.machine.settle()
    probe(all)
  }
  finish(all)
  expect(all.stale, `seed ${seed}`).toEqual([])
  return { ...all, refused }
}

/** Nothing runs beside: each device reads each PASID. What caches answer must be what the tables say. */
function probe({ machine, devices }: World): void {
  for (const { requester } of devices)
    for (let pasid = 1; pasid < 5; pasid++)
      machine.run(requester.dma({ pasid, address: BASE, access: 'read', length: Number(PAGE) * PAGES }))
}

/** Every bond is undone, every process ends: all PASIDs, pins and pages are given back. */
function finish({ machine, processes }: World): void {
  for (const bond of [...machine.iommu.bonds]) while (bond.state !== 'unbound') machine.run(bond.unbind())
  for (const { mm } of processes) machine.run(mm.exit())
  machine.settle()
  expect(machine.iommu.bonds.size).toBe(0)
  expect(machine.iommu.ioMms.size).toBe(0)
  expect(machine.mms.asids.pinned).toBe(0)
  expect(machine.mms.framesInUse).toBe(0)
}

describe('races', () => {
  const cases: [string, string[]][] = [
    ['bind, bind and unbind', ['bind', 'bind', 'unbind']],
    ['exit, bind, unbind and exit', ['exit', 'bind', 'bind', 'bind', 'unbind', 'exec']],
    ['exit and fault', ['dma', 'dma', 'bind', 'exit', 'exec']],
    ['unbind and fault', ['dma', 'dma', 'bind', 'bind', 'unbind']],
    ['DMA and memory that changes', ['bind', 'dma', 'dma', 'dma', 'munmap', 'mprotect', 'swapOut', 'migrate', 'store']],
    ['DMA and fork', ['bind', 'dma', 'dma', 'fork', 'store', 'swapOut']],
    ['everything', Object.keys(WISHES)],
  ]
  it.each(cases)('%s: no memory of others, no leak, no hang', (_, kinds) => {
    const refused = new Set<string>()
    for (let seed = 1; seed <= 10; seed++) for (const code of race(seed, kinds, 5, 4).refused) refused.add(code)
    for (const code of refused)
      expect(['NotBound', 'MmDead', 'dead', 'overlap', 'not-mapped', 'PasidExhausted', 'Busy']).toContain(code)
  })

  it('two binds of one process make one PASID and one entry per domain, in every order', () => {
    for (let seed = 1; seed <= 60; seed++) {
      const { machine, processes, devices } = world()
      const ops = devices.map(({ name, core }) => ({ name, op: machine.iommu.bind(core, processes[0]!.mm) }))
      const results = machine.interleave(
        [...ops, { name: 'again', op: machine.iommu.bind(devices[0]!.core, processes[0]!.mm) }],
        seed,
      )
      expect(results.map((result) => ('value' in result ? result.value.pasid : result.thrown))).toEqual([1, 1, 1, 1])
      expect([...machine.iommu.bonds].map(({ users }) => users).sort()).toEqual([1, 1, 2])
      expect([...machine.iommu.domains].map(({ attachments }) => attachments.size)).toEqual([1, 1])
    }
  })

  it('a device that stops when it is told never uses a PASID that is gone, and its DMA is done', () => {
    for (let seed = 1; seed <= 60; seed++) {
      const faults: string[] = []
      const { machine, processes, devices } = world((event) => {
        if (event.source === 'core' && event.event.kind === 'fault') faults.push(event.event.report.name)
      })
      const [process] = processes as [Process]
      const bonds = devices.map(({ core }) => machine.run(machine.iommu.bind(core, process.mm)))
      const dma = devices.map(({ requester }) =>
        requester.dma({ pasid: bonds[0]!.pasid, address: BASE, access: 'write', length: 4 * 4096 }),
      )
      // Each has begun when the unbinds come.
      for (const op of dma) op.next()
      const results = machine.interleave<unknown>(
        [...dma.map((op) => ({ name: 'dma', op })), ...bonds.map((bond) => ({ name: 'unbind', op: bond.unbind() }))],
        seed,
      )
      machine.settle()
      expect(faults, `seed ${seed}`).toEqual([])
      for (const result of results.slice(0, 3)) expect(result, `seed ${seed}`).toMatchObject({ value: { ok: true } })
    }
  })

  it('an unbind that comes while the device is told about the exit waits for it', () => {
    for (let seed = 1; seed <= 60; seed++) {
      const { machine, processes, devices } = world()
      const [process] = processes as [Process]
      const { core } = devices[0]!
      let telling = false
      let told = 0
      core.hooks = {
        ...core.hooks,
        *mmExit() {
          telling = true
          for (let pause = 0; pause < 5; pause++) yield* step('the device is told')
          telling = false
          told++
        },
      }
      const bond = machine.run(machine.iommu.bind(core, process.mm))
      const unbind = function* (): Op<boolean> {
        yield* bond.unbind()
        return telling
      }
      const results = machine.interleave<unknown>(
        [
          { name: 'exit', op: process.mm.exit() },
          { name: 'unbind', op: unbind() },
        ],
        seed,
      )
      expect(results[1], `seed ${seed}`).toEqual({ value: false })
      expect(told).toBeLessThanOrEqual(1)
      expect(machine.iommu.ioMms.size).toBe(0)
    }
  })

  it('a forgotten ATC invalidation is noticed even while others run', () => {
    let caught = 0
    for (let seed = 1; seed <= 20; seed++) {
      const all = world()
      const { machine, processes, devices, stale } = all
      const [process] = processes as [Process]
      const { pasid } = machine.run(machine.iommu.bind(devices[0]!.core, process.mm))
      const write = () => devices[0]!.requester.dma({ pasid, address: BASE, access: 'write', length: 4096 })
      machine.run(write())
      machine.forget('atc', true)
      machine.run(process.mm.munmap(BASE, PAGE))
      machine.forget('atc', false)
      machine.interleave<unknown>(
        [
          { name: 'dma', op: write() },
          { name: 'store', op: processes[1]!.mm.store(BASE, new Uint8Array(8)) },
        ],
        seed,
      )
      if (stale.length > 0) caught++
    }
    expect(caught).toBe(20)
  })
})
