/**
 * How much a scenario asks for, before it runs: pages that are touched, commands that are sent. A file of a few lines could otherwise keep
 * a computer busy for a day.
 */
import type { Scenario } from './scenario.ts'
import type { Area, PlainStep } from './steps.ts'

/** Most pages (and what costs about as much) that a scenario may touch. */
export const MOST_WORK = 1_000_000

const PAGE = 4096n
const pages = (size: bigint) => Number((size + PAGE - 1n) / PAGE)
const populated = (area: Area) => (area.populate ? pages(area.size) : 0)

type Given = Pick<Scenario, 'processes' | 'domains' | 'buffers' | 'guests' | 'steps'>

/** Estimates from above what the scenario costs, in pages. */
export function workOf(scenario: Given): number {
  /** Pages that each process may have by now. */
  const held = new Map<string, number>()
  const devices = new Map<string, number>()
  for (const { devices: members = [] } of scenario.domains?.values() ?? [])
    for (const member of members) devices.set(member, members.length)
  let work = 0
  const touch = (process: string, count: number) => {
    held.set(process, (held.get(process) ?? 0) + count)
    work += count
  }
  for (const bytes of scenario.buffers?.values() ?? []) work += pages(bytes) / 64
  for (const { memory } of scenario.guests?.values() ?? []) work += pages(memory) / 16
  for (const [name, { areas }] of scenario.processes ?? []) for (const area of areas) touch(name, populated(area))

  const step = (one: PlainStep): void => {
    work++
    switch (one.action) {
      case 'dma':
      case 'cpu': {
        const count = pages(BigInt(one.given.length ?? 8)) + 1
        // Whose page it is, a PASID alone does not say.
        for (const name of one.given.process === undefined ? held.keys() : [one.given.process])
          held.set(name, (held.get(name) ?? 0) + count)
        work += count
        break
      }
      case 'request':
        work += one.given.pages?.length ?? 1
        break
      case 'map':
      case 'unmap':
        // Large leaves are few; who maps page by page pays for each.
        work += pages(one.given.size ?? 0n) / 4
        break
      case 'mmap':
        touch(one.given.process, populated(one.given))
        break
      case 'exec':
        held.set(one.given.process, 0)
        for (const area of one.given.areas ?? []) touch(one.given.process, populated(area))
        break
      case 'fork': {
        const count = held.get(one.given.process) ?? 0
        held.set(one.given.child, count)
        work += count
        break
      }
      case 'swapOut':
      case 'migrate':
        work += pages(one.given.size ?? PAGE)
        break
      case 'munmap':
      case 'mprotect':
        work += Math.min(pages(one.given.size), held.get(one.given.process) ?? 0)
        break
      // Each device of the domain hears of a changed entry.
      case 'bind':
      case 'unbind':
      case 'bindPrivate':
      case 'attach':
        work += (devices.get(one.given.device) ?? 1) * 2
        break
    }
  }
  for (const one of scenario.steps ?? []) {
    if (one.action === 'interleave') for (const inner of one.given.steps) step(inner)
    else step(one)
  }
  return Math.ceil(work)
}
