/** Random lives of a few processes, against a plain model of what they must read; and the same interleaved. */
import { describe, expect, it } from 'vitest'
import { type Op, random, run, Scheduler } from '../base/op.ts'
import { UR, UW } from '../base/types.ts'
import type { Mm } from './mm.ts'
import { Cache, CPUS, small } from './small.suite.ts'
import type { MmSystem } from './system.ts'
import { MmError } from './vma.ts'

const AT = 0x1000_0000

/** Bytes that were allocated and not freed, counted from now on. */
function balance(system: MmSystem): () => number {
  const { memory } = system
  const { allocate, free } = memory
  let bytes = 0
  memory.allocate = (size) => {
    bytes += size
    return allocate.call(memory, size)
  }
  memory.free = (pa, size) => {
    bytes -= size
    free.call(memory, pa, size)
  }
  return () => bytes
}

/** One area of the model: protection, and contents by page, which shared areas share. */
interface ModelArea {
  prot: number
  contents: { [page: number]: number }
  shared: boolean
}

describe.each(CPUS)('random lives, %s', (_, cpu) => {
  const page = 2 ** cpu.format.granuleLog2
  const PAGES = 24
  const NO_RIGHTS = 0

  it('every process reads what it wrote, no device holds a stale translation, nothing is lost', () => {
    for (let seed = 0; seed < 25; seed++) {
      const pick = random(seed)
      const system = small(cpu)
      const bytes = balance(system)
      const first = system.create('p0')
      /** Page → its area and its index there. */
      const models = new Map<Mm, Map<number, { area: ModelArea; index: number }>>([[first, new Map()]])
      const caches = new Map<Mm, Cache>([[first, new Cache(first)]])
      for (let turn = 0; turn < 150; turn++) {
        const mms = [...models.keys()]
        const mm = mms[pick(mms.length)]!
        const model = models.get(mm)!
        const cache = caches.get(mm)!
        const at = pick(PAGES)
        const count = 1 + pick(Math.min(6, PAGES - at))
        const address = BigInt(AT + at * page)
        const length = BigInt(count * page)
        const range = Array.from({ length: count }, (_, index) => at + index)
        const place = model.get(at)
        switch (pick(11)) {
          case 0:
          case 1: {
            const area = { prot: [UR | UW, UR | UW, UR, NO_RIGHTS][pick(4)]!, contents: {}, shared: pick(3) === 0 }
            if (range.some((one) => model.has(one))) {
              expect(() => run(mm.mmap(address, length, area.prot))).toThrow(MmError)
              break
            }
            run(mm.mmap(address, length, area.prot, area.shared ? { shared: true } : {}))
            range.forEach((one, index) => {
              model.set(one, { area: { ...area, contents: area.shared ? area.contents : {} }, index })
            })
            break
          }
          case 2:
            run(mm.munmap(address, length))
            for (const one of range) model.delete(one)
            break
          case 3: {
            const prot = [UR | UW, UR, NO_RIGHTS][pick(3)]!
            if (range.some((one) => !model.has(one))) {
              expect(() => run(mm.mprotect(address, length, prot))).toThrow('has no memory area')
              break
            }
            run(mm.mprotect(address, length, prot))
            for (const one of range) model.get(one)!.area.prot = prot
            break
          }
          case 4:
          case 5: {
            const value = pick(256)
            const may = place !== undefined && (place.area.prot & UW) !== 0
            expect(run(mm.store(address + 7n, Uint8Array.of(value)))).toBe(may ? 'ok' : 'segv')
            if (may) place.area.contents[place.index] = value
            break
          }
          case 6: {
            const may = place !== undefined && (place.area.prot & UR) !== 0
            expect(run(mm.load(address + 7n, 1))).toEqual(may ? Uint8Array.of(place.area.contents[place.index] ?? 0) : 'segv')
            break
          }
          case 7:
            run(mm.swapOut(address))
            break
          case 8:
            run(mm.migrate(address))
            break
          case 9: {
            if (mms.length >= 4) break
            const child = run(mm.fork(`p${turn}`))
            const copy = [...model].map(([one, { area, index }]) => {
              const contents = area.shared ? area.contents : { ...area.contents }
              return [one, { area: { ...area, contents }, index }] as const
            })
            models.set(child, new Map(copy))
            caches.set(child, new Cache(child))
            break
          }
          default:
            if (pick(8) > 0 || mms.length === 1) break
            run(mm.exit())
            models.delete(mm)
            caches.delete(mm)
        }
        if (models.has(mm) && pick(2) === 0) cache.use(Number(address), pick(2) === 0 ? UR : UW)
        for (const [owner, { held }] of caches) {
          for (const [known, { pa, rights }] of held) {
            const now = owner.page(BigInt(known))
            expect([turn, known, Number(owner.translate(BigInt(known)))]).toEqual([turn, known, pa])
            if ((rights & UW) !== 0) expect(now.writable).toBe(true)
          }
        }
      }
      for (const mm of models.keys()) run(mm.exit())
      expect([seed, bytes(), system.framesInUse, system.swap.inUse]).toEqual([seed, 0, 0, 0])
    }
  })

  it('interleaved: a device never reaches a frame that was given away, and nothing is lost', () => {
    for (let seed = 0; seed < 40; seed++) {
      const pick = random(seed + 77)
      const system = small(cpu)
      const bytes = balance(system)
      const mm = system.create('p')
      run(mm.mmap(BigInt(AT), BigInt(8 * page), UR | UW))
      run(mm.mmap(BigInt(AT + 8 * page), BigInt(8 * page), UR | UW, { shared: true }))
      const child = run(mm.fork('c'))
      const mms = [mm, child]
      const caches = mms.map((one) => new Cache(one))
      const scheduler = new Scheduler(seed)
      const check = () => {
        for (const { held } of caches)
          for (const [known, { pa }] of held) if (system.frames.references(pa) === 0) expect({ seed, known, pa }).toBe('in use')
      }
      function* life(one: Mm): Op<void> {
        for (let turn = 0; turn < 6; turn++) {
          const address = BigInt(AT + pick(16) * page)
          try {
            const what = pick(7)
            if (what === 0) yield* one.swapOut(address)
            else if (what === 1) yield* one.migrate(address)
            else if (what === 2) yield* (yield* one.fork('g')).exit()
            else if (what === 3) yield* one.munmap(address, BigInt(page))
            else if (what === 4) yield* one.mprotect(address, BigInt(page), UR)
            else yield* one.access(address, 'write')
          } catch (error) {
            if (!(error instanceof MmError)) throw error
          }
        }
        if (pick(3) === 0) yield* one.exit()
      }
      function* device(cache: Cache): Op<void> {
        for (let turn = 0; turn < 30; turn++) {
          const at = AT + pick(16) * page
          if (cache.mm.alive && !cache.use(at, UW)) yield* cache.mm.handleFault(BigInt(at), 'write', false)
          check()
          yield { kind: 'step', what: 'DMA' }
        }
      }
      for (const one of mms) for (const name of ['1', '2']) scheduler.spawn(`${one.name}${name}`, life(one))
      const tasks = caches.map((cache) => scheduler.spawn('device', device(cache)))
      scheduler.run()
      for (const task of tasks) task.result()
      for (const one of mms) run(one.exit())
      expect([seed, bytes(), system.framesInUse, system.swap.inUse]).toEqual([seed, 0, 0, 0])
    }
  })
})
