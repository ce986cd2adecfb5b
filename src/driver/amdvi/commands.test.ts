import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decode } from '../../base/layout.ts'
import { illegalCommand } from '../../format/amdvi/command-rules.ts'
import { INVALIDATE_IOMMU_PAGES, INVALIDATE_IOTLB_PAGES } from '../../format/amdvi/commands.ts'
import type { DeviceMessage } from '../../model/iommu.ts'
import { EVERYTHING } from '../common/power-of-two.ts'
import { commandName, kindOf } from './command-buffer.ts'
import { completePpr, completionWait, invalidateAll, invalidateAtc, invalidateDevice, invalidatePages } from './commands.ts'
import { System } from './system.suite.ts'

/** What an IOMMU tells devices because of commands. */
function executed(...commands: Uint32Array[]): DeviceMessage[] {
  const system = new System()
  const messages: DeviceMessage[] = []
  system.model.onMessage = (message) => {
    messages.push(message)
    if (message.kind === 'invalidate') system.model.invalidationComplete(message.tag)
  }
  system.run(system.driver.commands.issueAndSync(commands))
  expect(system.events()).toEqual([])
  return messages
}

const range = fc
  .record({ size: fc.integer({ min: 0, max: EVERYTHING - 2 }), at: fc.bigInt({ min: 0n, max: (1n << 52n) - 1n }) })
  .map(({ size, at }) => ({ address: (at >> BigInt(size)) << BigInt(size + 12), size }))

describe('commands', () => {
  it('are legal, every one', () => {
    const all = [
      completionWait(0x4000_0008, 5),
      invalidateDevice(0xffff),
      invalidatePages(0xffff, 0xfffff, { address: 0x8000n, size: 3 }, true),
      invalidatePages(1, null, null, false),
      invalidateAtc(0xffff, 0xfffff, null),
      completePpr(0xffff, 0xfffff, 511, 'failure'),
      invalidateAll(),
    ]
    const { features } = new System().driver
    expect(all.map((command) => illegalCommand(command, 0, features))).toEqual(all.map(() => null))
    expect(all.map((command) => [commandName(command), kindOf(command)])).toEqual([
      ['COMPLETION_WAIT', 'sync'],
      ['INVALIDATE_DEVTAB_ENTRY', 'config'],
      ['INVALIDATE_IOMMU_PAGES', 'iotlb'],
      ['INVALIDATE_IOMMU_PAGES', 'iotlb'],
      ['INVALIDATE_IOTLB_PAGES', 'atc'],
      ['COMPLETE_PPR_REQUEST', null],
      ['INVALIDATE_IOMMU_ALL', 'config'],
    ])
  })
  it('say what they are about', () => {
    expect(decode(INVALIDATE_IOMMU_PAGES, invalidatePages(7, 0x12345, { address: 0x5000n, size: 0 }, false))).toEqual({
      ...{ PASID: 0x12345, DomainID: 7, S: 0, PDE: 0, GN: 1, Address: 0x5000n, OpCode: 3 },
    })
    // All of host tables: the lowest clear bit of the address is bit 63.
    expect(decode(INVALIDATE_IOMMU_PAGES, invalidatePages(7, null, null, true))).toEqual({
      ...{ PASID: 0, DomainID: 7, S: 1, PDE: 1, GN: 0, Address: 0x7fff_ffff_ffff_f000n, OpCode: 3 },
    })
    expect(decode(INVALIDATE_IOTLB_PAGES, invalidateAtc(0x12, 0x34567, null))).toMatchObject({
      ...{ DeviceID: 0x12, GN: 1, 'PASID[19:16]': 3, 'PASID[15:8]': 0x45, 'PASID[7:0]': 0x67, QueueID: 0x12 },
    })
  })
  it('tell devices the very range, whatever its size', () => {
    fc.assert(
      fc.property(range, fc.nat(0xffff), fc.option(fc.nat(0xfffff)), (given, device, pasid) => {
        const { address, size } = given
        expect(executed(invalidateAtc(device, pasid, given))).toEqual([
          { kind: 'invalidate', device, pasid, address, bytes: 4096n << BigInt(size), tag: expect.any(Number) },
        ])
      }),
      { numRuns: 40 },
    )
    expect(executed(invalidateAtc(9, null, null))).toMatchObject([{ address: 0n, bytes: null, pasid: null }])
  })
  it('answer page requests', () => {
    for (const code of ['success', 'invalid', 'failure'] as const)
      expect(executed(completePpr(0x203, 0x54321, 300, code))).toEqual([
        { kind: 'page-response', device: 0x203, pasid: 0x54321, group: 300, code },
      ])
    expect(executed(completePpr(1, null, 0, 'success'))).toMatchObject([{ pasid: null }])
  })
})
