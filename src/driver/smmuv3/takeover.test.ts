import { describe, expect, it } from 'vitest'
import { run } from '../../base/op.ts'
import { PLAIN } from './driver.suite.ts'
import { SmmuV3Driver } from './driver.ts'
import { System } from './system.suite.ts'

describe('an SMMU that somebody else has used', () => {
  it('is taken over: nothing of the former configuration is reached, from tables, caches or queues', () => {
    const system = new System()
    const { model, memory } = system
    const [device, other] = [system.device(1, PLAIN), system.device(2, PLAIN)]
    const domain = system.domain('A', 'dma', device, other)
    system.map(domain, 0x1000n, 0x5000_0000n)
    expect([device.dma(0x1000n), other.dma(0x1000n)]).toEqual([0x5000_0000n, 0x5000_0000n])
    // An event that nobody reads.
    device.dma(0x9000n)

    const successor = new SmmuV3Driver(model, memory)
    const seen = new Set<unknown>()
    const background = () => {
      const moved = model.step()
      seen.add(device.dma(0x1000n))
      return moved
    }
    run(successor.init(), background)
    // Translation goes on until the SMMU is switched off; from then on nothing passes.
    expect([...seen].filter((got) => got !== 0x5000_0000n)).not.toContainEqual(expect.any(BigInt))
    expect([device.dma(0x1000n), other.dma(0x1000n)]).toEqual(['C_BAD_STREAMID', 'C_BAD_STREAMID'])

    const faults: string[] = []
    const sink = {
      fault: ({ name }: { name: string }) => faults.push(name),
      pageRequest() {},
      pageRequestOverflow() {},
    }
    run(successor.handleQueues(sink), () => model.step())
    expect(new Set(faults)).toEqual(new Set(['C_BAD_STREAMID']))

    run(successor.addDevice(device), () => model.step())
    const next = { name: 'B', kind: 'dma' as const, devices: new Set([device]) }
    run(successor.domainAlloc(next), () => model.step())
    run(successor.attachDevice(next, device), () => model.step())
    run(successor.pgtable(next)!.map(0x1000n, 0x6000_0000n, 0x1000n, 0b011011), () => model.step())
    expect([device.dma(0x1000n), other.dma(0x1000n)]).toEqual([0x6000_0000n, 'C_BAD_STE'])
    run(successor.pgtable(next)!.unmap(0x1000n, 0x1000n), () => model.step())
    expect(device.dma(0x1000n)).toBe('F_TRANSLATION')
  })
})
