import { describe, expect, it } from 'vitest'
import { decode, encode, type Layout, uncovered, wordsFromU64, wordsToU64 } from '../../base/layout.ts'
import { testLayouts } from '../layouts.suite.ts'
import { reservedBitsSet } from '../structure.ts'
import { CD } from './cd.ts'
import { COMMANDS, commandOf } from './commands.ts'
import { EVENTS, eventName, eventOf } from './events.ts'
import { L1CD, L1STD } from './l1.ts'
import { PRI } from './pri.ts'
import { REGISTERS, registerNamed } from './registers.ts'
import { STE } from './ste.ts'

const layouts: Layout[] = [
  STE,
  CD,
  L1STD,
  L1CD,
  PRI,
  ...[...COMMANDS.values()].map((entry) => entry.layout),
  ...[...EVENTS.values()].map((entry) => entry.layout),
  ...REGISTERS.map((entry) => entry.layout),
]

describe('layouts of SMMUv3', () => {
  testLayouts(layouts)

  // Written by Linux 6.x on a SMMUv3 that has substreams: a CD table of 2 levels, CD 0 for traffic without SubstreamID.
  it('reads an STE and a CD that Linux wrote', () => {
    const ste = decode(STE, wordsFromU64([0x000000004491500bn, 0x00000000000000d6n, 0n, 0n, 0n, 0n, 0n, 0n]))
    expect(ste).toMatchObject({
      V: 1,
      Config: 5,
      S1Fmt: 0,
      S1CDMax: 0,
      S1ContextPtr: 0x44915000n,
      S1DSS: 2,
      S1CIR: 1,
      S1COR: 1,
      S1CSH: 3,
    })
    expect(ste).toMatchObject({ EATS: 0, STRW: 0, S2VMID: 0 })
    const cd = decode(CD, wordsFromU64([0x0006e204c0003510n, 0x0000000044914000n, 0n, 0xfffffffff404ff44n, 0n, 0n, 0n, 0n]))
    expect(cd).toMatchObject({
      V: 1,
      T0SZ: 16,
      TG0: 0,
      IR0: 1,
      OR0: 1,
      SH0: 3,
      EPD0: 0,
      EPD1: 1,
      IPS: 4,
      AA64: 1,
      R: 1,
      A: 1,
      S: 0,
    })
    expect(cd).toMatchObject({
      ASET: 1,
      ASID: 6,
      HA: 0,
      HD: 0,
      TTB0: 0x44914000n,
      TTB1: 0n,
      MAIR0: 0xf404ff44,
      MAIR1: 0xffffffff,
    })
  })

  // Linux driver, arm_smmu_cmdq_build_cmd: the words of these commands.
  it('builds commands as a driver does', () => {
    const words = (opcode: number, values: Record<string, number | bigint>) =>
      wordsToU64(encode(COMMANDS.get(opcode)!.layout, { opcode, ...values }))
    expect(words(0x03, { StreamID: 0x30, Leaf: 1 })).toEqual([0x0000003000000003n, 1n])
    expect(words(0x04, { Range: 31 })).toEqual([0x4n, 0x1fn])
    expect(words(0x05, { StreamID: 0x30, SubstreamID: 2, Leaf: 1 })).toEqual([0x0000003000002005n, 1n])
    expect(words(0x11, { ASID: 6 })).toEqual([0x0006000000000011n, 0n])
    expect(words(0x12, { ASID: 6, NUM: 3, SCALE: 1, Leaf: 1, TTL: 3, TG: 1, Address: 0xfffff000n })).toEqual([
      0x0006000000103012n,
      0xfffff701n,
    ])
    expect(words(0x40, { StreamID: 0x30, SSV: 1, SubstreamID: 5, Size: 52 })).toEqual([0x0000003000005840n, 0x34n])
    expect(words(0x41, { StreamID: 0x30, SSV: 1, SubstreamID: 1, PRGIndex: 7, Resp: 2 })).toEqual([0x0000003000001841n, 0x2007n])
    expect(words(0x44, { StreamID: 0x30, Ab: 1, STAG: 9 })).toEqual([0x0000003000002044n, 9n])
    expect(words(0x46, { CS: 1, MSH: 3, MSIAttr: 0xf, MSIAddress: 0x1000n })).toEqual([0x000000000fc01046n, 0x1000n])
  })

  // From a kernel log: `arm-smmu-v3 9050000.smmuv3: event 0x10 received:` and these words.
  it('reads an event record that hardware wrote', () => {
    const words = wordsFromU64([0x0000003000000010n, 0x0000020000000000n, 0x0000007700000000n, 0n])
    const event = eventOf(words)!
    expect(event.name).toBe('F_TRANSLATION')
    expect(decode(event.layout, words)).toMatchObject({
      StreamID: 0x30,
      SSV: 0,
      CLASS: 2,
      RnW: 0,
      S2: 0,
      Stall: 0,
      InputAddr: 0x7700000000n,
    })
  })

  // The bits that 5.1 to 5.4, 6.3 and 8 print as reserved, RES0.
  it.each([
    ['STE', STE, '58:56 107:105 252:248 255 301:296 383:376 387 444:440 447'],
    ['CD', CD, '121:120 185:184 383:376 447:432 511:496'],
    ['L1STD', L1STD, '5 63:56'],
    ['L1CD', L1CD, '11:1 63:56'],
    ['PRI', PRI, '57:52 75:73'],
    ['IDR0', registerNamed('IDR0').layout, '29 31'],
    ['IDR1', registerNamed('IDR1').layout, ''],
    ['IDR3', registerNamed('IDR3').layout, '1:0 6 31:24'],
    ['IDR5', registerNamed('IDR5').layout, '3 9 15:12'],
    ['CR0', registerNamed('CR0').layout, '5 9 31:11'],
    ['GBPA', registerNamed('GBPA').layout, '7:5 15:14 30:21'],
    ['GERROR', registerNamed('GERROR').layout, '1 31:11'],
    ['STRTAB_BASE', registerNamed('STRTAB_BASE').layout, '5:0 61:56 63'],
    ['STRTAB_BASE_CFG', registerNamed('STRTAB_BASE_CFG').layout, '15:11 31:18'],
    ['CMDQ_BASE', registerNamed('CMDQ_BASE').layout, '61:56 63'],
    ['CMDQ_CONS', registerNamed('CMDQ_CONS').layout, '23:20 31'],
    ['EVENTQ_PROD', registerNamed('EVENTQ_PROD').layout, '30:20'],
    ['PRIQ_IRQ_CFG2', registerNamed('PRIQ_IRQ_CFG2').layout, '30:6'],
  ] as [string, Layout, string][])(
    '%s has no field where the manual has reserved bits, and one everywhere else',
    (_, layout, reserved) => {
      const ones = new Uint32Array(layout.bits / 32).fill(0xffff_ffff)
      const ranges = reservedBitsSet(uncovered(layout), ones).map(([msb, lsb]) => (msb === lsb ? `${lsb}` : `${msb}:${lsb}`))
      expect(ranges.join(' ')).toBe(reserved)
    },
  )

  it('finds commands and events by number, and says which are not defined', () => {
    expect(commandOf(Uint32Array.of(0x46, 0, 0, 0))?.name).toBe('CMD_SYNC')
    expect(commandOf(Uint32Array.of(0x47, 0, 0, 0))).toBeNull()
    expect(eventOf(new Uint32Array(8))).toBeNull()
    expect([eventName(0x13), eventName(0xe2), eventName(0x77)]).toEqual(['F_PERMISSION', 'IMPDEF_EVENT2', 'event 0x77'])
  })

  it('has no two registers that overlap', () => {
    for (let index = 1; index < REGISTERS.length; index++) {
      const before = REGISTERS[index - 1]!
      expect(before.offset + before.bytes, before.name).toBeLessThanOrEqual(REGISTERS[index]!.offset)
    }
    expect(registerNamed('PRIQ_CONS').offset).toBe(0x100cc)
    expect(() => registerNamed('CR9')).toThrow('no SMMUv3 register CR9')
  })
})
