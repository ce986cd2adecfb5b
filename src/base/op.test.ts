import { describe, expect, it } from 'vitest'
import { Lock, type Op, run, Scheduler, step, waitFor } from './op.ts'

describe('operations', () => {
  function* count(log: string[], name: string): Op<number> {
    for (let turn = 0; turn < 3; turn++) {
      log.push(`${name}${turn}`)
      yield* step('turn')
    }
    return 3
  }
  it('runs one to its end', () => {
    expect(run(count([], 'a'))).toBe(3)
  })
  it('says what a stuck operation waits for', () => {
    expect(() => run(waitFor('CMD_SYNC', () => false))).toThrow('stuck: waits for CMD_SYNC')
  })
  it('interleaves deterministically from a seed', () => {
    const order = (seed: number | null) => {
      const log: string[] = []
      const scheduler = new Scheduler(seed)
      scheduler.spawn('a', count(log, 'a'))
      scheduler.spawn('b', count(log, 'b'))
      scheduler.run()
      return log.join(' ')
    }
    expect(order(null)).toBe('a0 b0 a1 b1 a2 b2')
    expect(order(7)).toBe(order(7))
    expect(new Set([1, 2, 3, 4, 5].map(order)).size).toBeGreaterThan(1)
  })
  it('lets one at a time hold a lock, and releases it when the body throws', () => {
    const lock = new Lock('l')
    let inside = 0
    function* body(fail: boolean): Op<void> {
      expect(++inside).toBe(1)
      yield* step('inside')
      inside--
      if (fail) throw new Error('boom')
    }
    for (let seed = 0; seed < 50; seed++) {
      const scheduler = new Scheduler(seed)
      const tasks = [false, true, false].map((fail, index) =>
        scheduler.spawn(
          `t${index}`,
          lock.hold(() => body(fail)),
        ),
      )
      scheduler.run()
      expect(() => tasks[1]!.result()).toThrow('boom')
      expect(lock.held).toBe(false)
    }
  })
  it('names the tasks of a deadlock', () => {
    const scheduler = new Scheduler()
    scheduler.spawn(
      'irq',
      waitFor('interrupt', () => false),
      { service: true },
    )
    scheduler.spawn(
      'bind',
      waitFor('lock l', () => false),
    )
    expect(() => scheduler.run()).toThrow('nothing moves; waiting: bind (lock l)')
  })
})
