import { describe, expect, it } from 'vitest'
import { Scheduler } from '../../base/op.ts'
import { CERROR_ABT } from '../../format/smmuv3/commands.ts'
import { atcInvalidate, tlbiAsid } from './commands.ts'
import { Bench } from './driver.suite.ts'

describe('the command queue', () => {
  it('takes more commands than it has room for, again and again around its end', () => {
    for (const commandQueueLog2 of [0, 1, 3]) {
      const bench = new Bench({}, { commandQueueLog2 })
      for (let turn = 0; turn < 5; turn++) {
        const commands = Array.from({ length: 21 }, (_, index) => tlbiAsid(turn * 100 + index + 1))
        expect(bench.smmu.sent(bench.driver.commands.issueAndSync(commands))).toEqual([
          ...commands.map((_, index) => `TLBI_NH_ASID ASID=${turn * 100 + index + 1}`),
          'SYNC',
        ])
      }
    }
  })
  it('waits for its own commands however others come between', () => {
    for (let seed = 0; seed < 30; seed++) {
      const bench = new Bench({}, { commandQueueLog2: 2 })
      const { smmu, driver } = bench
      const scheduler = new Scheduler(seed)
      const before = smmu.log.length
      const waiting = [1, 2, 3].map((asid) =>
        scheduler.spawn(
          `op ${asid}`,
          (function* () {
            yield* driver.commands.issueAndSync([tlbiAsid(asid), tlbiAsid(asid), atcInvalidate(asid, null, null)])
            const done = smmu.log.slice(before)
            // When the operation goes on, all of its commands are consumed, and a sync after them.
            const last = done.lastIndexOf(`ATC_INV StreamID=${asid} Size=52`)
            return (
              done.filter((command) => command === `TLBI_NH_ASID ASID=${asid}`).length === 2 && done.indexOf('SYNC', last) > last
            )
          })(),
        ),
      )
      scheduler.spawn(
        'hardware',
        (function* () {
          for (;;) yield { kind: smmu.step() ? ('step' as const) : ('wait' as const), what: 'commands' }
        })(),
        { service: true },
      )
      scheduler.run()
      expect(waiting.map((task) => task.result())).toEqual([true, true, true])
      expect(smmu.log.slice(before)).toHaveLength(12)
    }
  })
  it('says so when the SMMU cannot read it', () => {
    const bench = new Bench()
    bench.smmu.fail = () => CERROR_ABT
    expect(bench.failure(() => bench.driver.commands.issueAndSync([tlbiAsid(1)]))).toMatchObject({
      code: 'Hardware',
      message: expect.stringContaining('cannot read its command queue'),
    })
  })
  it('shows each command that is sent to whoever looks', () => {
    const bench = new Bench()
    const seen: number[] = []
    bench.driver.commands.onCommand = (words) => seen.push(words[0]! & 0xff)
    bench.smmu.sent(bench.driver.commands.issueAndSync([tlbiAsid(1)]))
    expect(seen).toEqual([0x11, 0x46])
  })
})
