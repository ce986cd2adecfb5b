import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decode, uncovered } from '../../base/layout.ts'
import { COMMANDS, IODIR, IOTINVAL } from '../../format/riscv/commands.ts'
import { REG } from '../../format/riscv/registers.ts'
import { commandName } from '../../format/riscv/structures.ts'
import { PhysicalMemory } from '../../memory/physical.ts'
import type { DeviceMessage } from '../../model/iommu.ts'
import { RiscvIommu } from '../../model/riscv/iommu.ts'
import { EVERYTHING } from '../common/power-of-two.ts'
import {
  atsInvalidate,
  forGuest,
  HOST,
  iodirDdt,
  iodirPdt,
  iofence,
  iotinvalGvma,
  iotinvalVma,
  pageResponse,
} from './commands.ts'

/** What an IOMMU makes of commands: its messages, and whether it takes them all. */
function executed(...commands: Uint32Array[]): { messages: DeviceMessage[]; legal: boolean } {
  const memory = new PhysicalMemory([{ start: 0x4000_0000, end: 0x4100_0000 }])
  const base = memory.allocate(4096)
  const iommu = new RiscvIommu(memory)
  const messages: DeviceMessage[] = []
  iommu.onMessage = (message) => {
    messages.push(message)
    if (message.kind === 'invalidate') iommu.invalidationComplete(message.tag)
  }
  iommu.write(REG.cqb, 8, (BigInt(base) >> 2n) | 7n)
  iommu.write(REG.cqcsr, 4, 1n)
  commands.forEach((command, index) => {
    command.forEach((word, at) => {
      memory.write32(base + index * 16 + at * 4, word)
    })
  })
  iommu.write(REG.cqt, 4, BigInt(commands.length))
  while (iommu.step());
  return { messages, legal: iommu.read(REG.cqh, 4) === BigInt(commands.length) }
}

const range = fc
  .record({ size: fc.integer({ min: 0, max: EVERYTHING - 1 }), at: fc.bigInt({ min: 0n, max: (1n << 52n) - 1n }) })
  .map(({ size, at }) => ({ address: (at >> BigInt(size)) << BigInt(size + 12), size }))

describe('commands', () => {
  it('are legal, every one', () => {
    const subject = { gscid: 5, pscid: 7, range: { address: 0x8000n, size: 3 }, nonLeaf: true }
    const all = [
      iotinvalVma(HOST),
      iotinvalVma(subject),
      iotinvalGvma(subject),
      iotinvalGvma(HOST),
      iodirDdt(null),
      iodirDdt(0xffffff),
      iodirPdt(0xffffff, 0xfffff),
      atsInvalidate(0x1234, 5, null),
      pageResponse(0x1234, 5, 511, 'failure'),
      forGuest(iotinvalVma({ ...HOST, pscid: 3 }), 9),
      iofence(),
    ]
    for (const command of all) {
      const layout = COMMANDS[command[0]! & 0x7f]!
      expect(uncovered(layout).every((zero, word) => (zero & command[word]!) === 0)).toBe(true)
    }
    expect(executed(...all).legal).toBe(true)
    expect(all.map((command) => commandName(command))).toEqual([
      'IOTINVAL.VMA',
      'IOTINVAL.VMA',
      'IOTINVAL.GVMA',
      'IOTINVAL.GVMA',
      'IODIR.INVAL_DDT',
      'IODIR.INVAL_DDT',
      'IODIR.INVAL_PDT',
      'ATS.INVAL',
      'ATS.PRGR',
      'IOTINVAL.VMA',
      'IOFENCE.C',
    ])
  })
  it('say what they are about', () => {
    expect(
      decode(IOTINVAL, iotinvalVma({ gscid: null, pscid: 7, range: { address: 0x5000n, size: 0 }, nonLeaf: false })),
    ).toEqual({
      opcode: 1,
      func3: 0,
      AV: 1,
      PSCID: 7,
      PSCV: 1,
      GV: 0,
      NL: 0,
      GSCID: 0,
      S: 0,
      ADDR: 0x5000n,
    })
    // Second-stage entries have no PSCID.
    expect(decode(IOTINVAL, iotinvalGvma({ gscid: 3, pscid: 7, range: null, nonLeaf: false }))).toMatchObject({
      PSCV: 0,
      GSCID: 3,
    })
    expect(decode(IODIR, iodirPdt(0x123456, 0x54321))).toMatchObject({ DV: 1, DID: 0x123456, PID: 0x54321 })
  })
  it('tell devices the very range, whatever its size', () => {
    fc.assert(
      fc.property(range, fc.nat(0xffffff), fc.option(fc.nat(0xfffff)), (given, device, pasid) => {
        const { messages } = executed(atsInvalidate(device, pasid, given), iofence())
        const { address, size } = given
        expect(messages).toEqual([
          { kind: 'invalidate', device, pasid, address, bytes: 4096n << BigInt(size), tag: expect.any(Number) },
        ])
      }),
      { numRuns: 60 },
    )
    expect(executed(atsInvalidate(9, null, null)).messages).toMatchObject([{ address: 0n, bytes: null, pasid: null }])
  })
  it('answer page requests', () => {
    for (const code of ['success', 'invalid', 'failure'] as const)
      expect(executed(pageResponse(0x1_0203, 5, 300, code)).messages).toEqual([
        { kind: 'page-response', device: 0x1_0203, pasid: 5, group: 300, code },
      ])
    expect(executed(pageResponse(1, null, 0, 'success')).messages).toMatchObject([{ pasid: null }])
  })
})
