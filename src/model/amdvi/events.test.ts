import { describe, expect, it } from 'vitest'
import { POISONED, type WordMemory } from '../../base/memory.ts'
import { ALL_RIGHTS, type Transaction } from '../../base/types.ts'
import { DTE_RULES } from '../../format/amdvi/check.ts'
import { EVENTS, REQUEST_TYPES } from '../../format/amdvi/events.ts'
import { REG } from '../../format/amdvi/registers.ts'
import { AmdIommu } from './iommu.ts'
import { NOT_RAISED } from './not-raised.ts'
import { DEVICE, DOMAIN, decodeEvent, efr, type Logged, NOWHERE, PASID, Rig } from './rig.suite.ts'

const HT = 0xfd_0000_0000n

/** One way to raise each event: what it must hold besides its name. */
interface Case {
  readonly what: string
  readonly event: string
  readonly holds: Logged
  raise(): Rig
}

function withDte(fields: Parameters<Rig['dte']>[0], given: Partial<Transaction> = {}, options = {}): () => Rig {
  return () => {
    const rig = new Rig(options)
    rig.dte({ Mode: 4, HostPageTableRootPtr: BigInt(rig.page()), ...fields })
    rig.translate(given)
    return rig
  }
}

function withLeaf(change: (entry: bigint) => bigint, depth = 0): () => Rig {
  return () => {
    const rig = new Rig()
    rig.withHost()
    const steps = rig.iommu.explain({ device: DEVICE, iova: 0x4000_0000n, access: 'read' }).steps
    const at = Number(steps.at(-1 - depth)!.address)
    rig.memory.write64(at, change(rig.memory.read64(at)))
    rig.translate({ access: 'write' })
    return rig
  }
}

function request(fields: Parameters<Rig['dte']>[0], iova: bigint, given: Partial<Transaction> = {}): () => Rig {
  return () => {
    const rig = new Rig()
    rig.withHost(fields)
    rig.translate({ iova, ...given })
    return rig
  }
}

/** A register write that only a machine taken over can have. */
const loaded = (values: Record<string, bigint>, after: (rig: Rig) => void) => () => {
  const rig = new Rig()
  rig.iommu.loadRegisters(values)
  after(rig)
  return rig
}

const LOW = { Address: 0x4000_0000 }
const rules: Record<number, () => Rig> = {
  1: withDte({}, {}),
  2: withDte({ Mode: 7 }),
  3: withDte({ Mode: 6 }, {}, { efr: efr({ HATS: 0 }) }),
  4: withDte({ HAD: 2 }),
  5: withDte({ PPR: 1 }, {}, { efr: efr({ PPRSup: 0 }) }),
  6: withDte({ GIOV: 1 }, {}, { efr: efr({ GIOSup: 0 }) }),
  7: withDte({ GV: 1 }, {}, { efr: efr({ GTSup: 0 }) }),
  8: withDte({ GV: 1, GLX: 3 }),
  9: withDte({ GV: 1, GuestPagingMode: 3 }),
  10: withDte({ IoCtl: 3 }),
}
// Reserved bits have no field: bit 2 of the entry.
rules[1] = () => {
  const rig = new Rig()
  const at = rig.dte()
  rig.memory.write64(at, rig.memory.read64(at) | 4n)
  rig.translate()
  return rig
}
const interruptRules: Record<number, () => Rig> = {
  11: () => {
    const rig = new Rig()
    const at = rig.dte({ IV: 1, IntCtl: 2 })
    rig.memory.write64(at + 16, rig.memory.read64(at + 16) | (1n << 52n))
    rig.iommu.interrupt({ device: DEVICE, address: 0xfee0_0000n, data: 0 })
    return rig
  },
  12: () => {
    const rig = new Rig()
    rig.dte({ IV: 1, IntCtl: 2, IntTabLen: 12 })
    rig.iommu.interrupt({ device: DEVICE, address: 0xfee0_0000n, data: 0 })
    return rig
  },
  13: () => {
    const rig = new Rig()
    rig.dte({ IV: 1, IntCtl: 3 })
    rig.iommu.interrupt({ device: DEVICE, address: 0xfee0_0000n, data: 0 })
    return rig
  },
}

const CASES: readonly Case[] = [
  ...Object.entries({ ...rules, ...interruptRules }).map(([rule, raise]) => ({
    what: DTE_RULES[Number(rule)]!.text,
    event: 'ILLEGAL_DEV_TABLE_ENTRY',
    holds: {
      DeviceID: DEVICE,
      ...(DTE_RULES[Number(rule)]!.reserved ? { RZ: 1 } : {}),
      ...(Number(rule) > 10 ? { I: 1, Address: 0xfee0_0000n } : { Address: 0x4000_0000n }),
    },
    raise,
  })),
  {
    what: 'TV is 0',
    event: 'IO_PAGE_FAULT',
    holds: { DeviceID: DEVICE, 'DomainID/PASID[15:0]': DOMAIN, ...LOW },
    raise: withDte({ TV: 0 }),
  },
  {
    what: 'the DeviceID is outside the table',
    event: 'IO_PAGE_FAULT',
    holds: { DeviceID: 0x200, ...LOW },
    raise: () => {
      const rig = new Rig()
      rig.translate({ device: 0x200 })
      return rig
    },
  },
  {
    what: 'an entry is not present',
    event: 'IO_PAGE_FAULT',
    holds: { DeviceID: DEVICE, 'DomainID/PASID[15:0]': DOMAIN, RW: 1, ...LOW },
    raise: withLeaf(() => 0n),
  },
  {
    what: 'an entry does not allow it',
    event: 'IO_PAGE_FAULT',
    holds: { DeviceID: DEVICE, 'DomainID/PASID[15:0]': DOMAIN, PR: 1, PE: 1, RW: 1, ...LOW },
    raise: withLeaf((entry) => entry & ~(1n << 62n)),
  },
  {
    what: 'reserved bits of an entry',
    event: 'IO_PAGE_FAULT',
    holds: { DeviceID: DEVICE, 'DomainID/PASID[15:0]': DOMAIN, PR: 1, RZ: 1, RW: 1, ...LOW },
    raise: withLeaf((entry) => entry | (1n << 52n)),
  },
  {
    what: 'a next level that is not lower',
    event: 'IO_PAGE_FAULT',
    holds: { DeviceID: DEVICE, 'DomainID/PASID[15:0]': DOMAIN, PR: 1, RW: 1, ...LOW },
    raise: withLeaf((entry) => (entry & ~(7n << 9n)) | (4n << 9n), 1),
  },
  {
    what: 'a level that is skipped where the address has bits',
    event: 'IO_PAGE_FAULT',
    holds: { DeviceID: DEVICE, 'DomainID/PASID[15:0]': DOMAIN, PR: 1, RW: 1, ...LOW },
    raise: withLeaf((entry) => (entry & ~(7n << 9n)) | (1n << 9n), 3),
  },
  {
    what: 'the device table cannot be read',
    event: 'DEV_TAB_HARDWARE_ERROR',
    holds: { DeviceID: DEVICE, Type: 1, RW: 1, Address: BigInt(NOWHERE) + 0x600n },
    raise: loaded({ DEV_TAB_BASE: BigInt(NOWHERE) + 0x1ffn }, (rig) => rig.translate({ access: 'write' })),
  },
  {
    what: 'a page table cannot be read',
    event: 'PAGE_TAB_HARDWARE_ERROR',
    holds: { DeviceID: DEVICE, 'DomainID/PASID[15:0]': DOMAIN, Type: 1, Address: BigInt(NOWHERE) },
    raise: withDte({ HostPageTableRootPtr: BigInt(NOWHERE) }),
  },
  {
    what: 'a GCR3 table cannot be read',
    event: 'PAGE_TAB_HARDWARE_ERROR',
    holds: { DeviceID: DEVICE, 'DomainID/PASID[15:0]': PASID, GN: 1, Type: 1, Address: BigInt(NOWHERE) + 32n },
    raise: withDte({ Mode: 0, HostPageTableRootPtr: 0n, GV: 1, gcr3: NOWHERE }, { pasid: PASID }),
  },
  {
    what: 'an interrupt remapping entry cannot be read',
    event: 'PAGE_TAB_HARDWARE_ERROR',
    holds: { DeviceID: DEVICE, 'DomainID/PASID[15:0]': DOMAIN, I: 1, Type: 1, Address: BigInt(NOWHERE) },
    raise: () => {
      const rig = new Rig()
      rig.dte({ IV: 1, IntCtl: 2, IntTabLen: 4, InterruptTableRootPtr: BigInt(NOWHERE) })
      rig.iommu.interrupt({ device: DEVICE, address: 0xfee0_0000n, data: 1 })
      return rig
    },
  },
  {
    what: 'an unknown command',
    event: 'ILLEGAL_COMMAND_ERROR',
    holds: {},
    raise: () => {
      const rig = new Rig()
      rig.raw([0xf000_0000_0000_0000n, 0n])
      return rig
    },
  },
  {
    what: 'a command buffer where nothing answers',
    event: 'COMMAND_HARDWARE_ERROR',
    holds: { Type: 1, Address: BigInt(NOWHERE) },
    raise: loaded({ CMD_BUF_BASE: BigInt(NOWHERE) | (8n << 56n) }, (rig) => rig.set(REG.CMD_TAIL, 16)),
  },
  {
    what: 'a device that does not answer',
    event: 'IOTLB_INV_TIMEOUT',
    holds: { DeviceID: DEVICE },
    raise: () => {
      const rig = new Rig()
      rig.command('INVALIDATE_IOTLB_PAGES', { DeviceID: DEVICE })
      rig.iommu.invalidationTimeout(0)
      return rig
    },
  },
  ...(
    [
      [0, {}, 0xfee0_0000n, {}],
      [0, {}, HT, {}],
      [1, {}, 0x4000_0000n, { kind: 'translated' }],
      [2, {}, HT + 0xfc00_0000n, {}],
      [3, {}, HT + 0xf910_0000n, { access: 'write' }],
      [3, { SysMgt: 2 }, HT + 0xf910_0000n, { access: 'write' }],
      [4, { SysMgt: 1 }, HT + 0xf910_0000n, {}],
      [6, {}, HT, { access: 'write' }],
      [6, {}, HT + 0x1_0000_0000n, { access: 'write' }],
      [7, { TV: 0, SysMgt: 3 }, HT + 0xf910_0000n, { access: 'write' }],
    ] as const
  ).map(([type, fields, iova, given]) => ({
    what: `${REQUEST_TYPES[0][type]} (${iova.toString(16)})`,
    event: 'INVALID_DEVICE_REQUEST',
    holds: { DeviceID: DEVICE, ...(type === 0 ? {} : { Type: type }), Address: Number(iova) },
    raise: request(fields, iova, given),
  })),
  {
    what: REQUEST_TYPES[0][5]!,
    event: 'INVALID_DEVICE_REQUEST',
    holds: { DeviceID: DEVICE, Type: 5, Address: 0xfee0_0000 },
    raise: () => {
      const rig = new Rig()
      rig.dte({ IV: 1, IntCtl: 0 })
      rig.iommu.interrupt({ device: DEVICE, address: 0xfee0_0000n, data: 0x41 })
      return rig
    },
  },
  {
    what: REQUEST_TYPES[1][0]!,
    event: 'INVALID_DEVICE_REQUEST',
    holds: { DeviceID: DEVICE, TR: 1, ...LOW },
    raise: request({}, 0x4000_0000n, { kind: 'ats-request' }),
  },
  {
    what: REQUEST_TYPES[1][1]!,
    event: 'INVALID_DEVICE_REQUEST',
    holds: { DeviceID: DEVICE, TR: 1, Type: 1, Address: 0xfee0_0000 },
    raise: request({ I: 1 }, 0xfee0_0000n, { kind: 'ats-request' }),
  },
  {
    what: 'a page request of a device without ATS',
    event: 'INVALID_PPR_REQUEST',
    holds: { DeviceID: DEVICE, 'PASID[15:0]': PASID, PPRTag: 0x203, GN: 1, US: 1, RW: 1, ...{ Address: 0x4000_0000n } },
    raise: () => {
      const rig = new Rig()
      rig.dte()
      const access = { read: true, write: true, execute: false, privileged: false }
      rig.iommu.pageRequest({ device: DEVICE, pasid: PASID, address: 0x4000_0000n, group: 3, last: true, ...access })
      return rig
    },
  },
]

describe('AMD-Vi events', () => {
  it.each(CASES.map((one) => [one.event, one.what, one] as const))('%s: %s', (_event, _what, one) => {
    const rig = one.raise()
    const log = rig.logged()
    expect(log).toHaveLength(1)
    const { event, ...fields } = log[0]!
    expect(event).toBe(one.event)
    if (Object.keys(one.holds).length > 0)
      expect({ Address: one.holds.Address, ...fields }).toEqual({ Address: fields.Address, ...one.holds })
    expect(rig.interrupts).toEqual(['EventLogInt'])
  })

  it('has a case for every event that is not said to be never raised, and for every rule and type', () => {
    const raised = new Set(CASES.map((one) => one.event))
    const never = new Set(NOT_RAISED.map(({ code }) => code))
    for (const [code, { name }] of EVENTS)
      expect([name, raised.has(name), never.has(code)]).toEqual([name, !never.has(code), never.has(code)])
    for (let rule = 1; rule < DTE_RULES.length; rule++)
      expect(CASES.some(({ what, event }) => event === 'ILLEGAL_DEV_TABLE_ENTRY' && what === DTE_RULES[rule]!.text)).toBe(true)
    for (const [tr, types] of REQUEST_TYPES.entries())
      for (const type of Object.keys(types)) {
        const has = CASES.some(
          ({ event, holds }) =>
            event === 'INVALID_DEVICE_REQUEST' && (holds.TR ?? 0) === tr && (holds.Type ?? 0) === Number(type),
        )
        expect([tr, type, has]).toEqual([tr, type, true])
      }
  })

  it('returns the record that it logs', () => {
    const rig = new Rig()
    rig.withHost()
    const fault = rig.fault({ iova: 0x5000_0000n, access: 'write' })
    expect(decodeEvent(fault.record!)).toEqual(rig.logged()[0])
  })

  it('leaves out the low address bits that an event has no place for', () => {
    const rig = new Rig()
    rig.dte({ Mode: 7 })
    expect(rig.fault({ iova: 0x4000_0003n }).record![1]).toBe(0x4000_0000n)
    rig.dte({ Mode: 4, HostPageTableRootPtr: BigInt(NOWHERE) }, 1)
    expect(rig.fault({ device: 1, iova: 0x80_0000_0000n }).record![1]).toBe(BigInt(NOWHERE))
    rig.withHost()
    rig.command('INVALIDATE_DEVTAB_ENTRY', { DeviceID: DEVICE })
    expect(rig.fault({ iova: 0x5000_0003n }).record![1]).toBe(0x5000_0003n)
  })

  it('tells corrupt data from what does not answer', () => {
    const rig = new Rig()
    rig.withPasid()
    rig.dte({ Mode: 4, HostPageTableRootPtr: BigInt(NOWHERE) }, 1)
    const { memory } = rig
    let poisoned = rig.devices
    const faulty: WordMemory = {
      get words() {
        return memory.words
      },
      index: (pa) => (pa - (pa % 4096) === poisoned ? POISONED : memory.index(pa)),
      indexAt: (hi, lo) => (hi === poisoned / 2 ** 32 && (lo & ~4095) === 0 ? POISONED : memory.indexAt(hi, lo)),
      indexForWrite: (pa) => memory.indexForWrite(pa),
    }
    const other = new AmdIommu(faulty)
    other.loadRegisters({ DEV_TAB_BASE: BigInt(rig.devices + 3), CONTROL: rig.iommu.read(REG.CONTROL, 8) })
    const type = (device: number) => {
      const outcome = other.translate({ device, iova: 0n, access: 'read' })
      return outcome.ok ? null : { name: outcome.name, type: decodeEvent(outcome.record!).Type }
    }
    expect(type(1)).toEqual({ name: 'DEV_TAB_HARDWARE_ERROR', type: 3 })
    poisoned = NOWHERE
    expect(type(1)).toEqual({ name: 'PAGE_TAB_HARDWARE_ERROR', type: 3 })
  })

  it('logs nothing of a device with SA, and only the first page fault of one with SE', () => {
    const rig = new Rig()
    rig.withHost({ SA: 1 })
    expect(rig.fault({ iova: 0x5000_0000n }).record).toBeNull()
    expect(rig.logged()).toEqual([])
    rig.withHost({ SE: 1 })
    rig.command('INVALIDATE_DEVTAB_ENTRY', { DeviceID: DEVICE })
    rig.fault({ iova: 0x5000_0000n })
    expect(rig.fault({ iova: 0x6000_0000n }).record).toBeNull()
    expect(rig.logged()).toMatchObject([{ Address: 0x5000_0000 }])
    rig.command('INVALIDATE_DEVTAB_ENTRY', { DeviceID: DEVICE })
    rig.fault({ iova: 0x7000_0000n })
    expect(rig.logged()).toMatchObject([{ Address: 0x7000_0000 }])
  })

  it('stops at an overflow, until software clears it', () => {
    const rig = new Rig()
    rig.withHost()
    for (let each = 0; each < 255; each++) rig.fault({ iova: BigInt(0x5000_0000 + each * 0x1000) })
    expect(rig.get(REG.STATUS) & 0xb).toBe(0xa)
    rig.set(REG.STATUS, 2)
    rig.fault({ iova: 0x6000_0000n })
    expect(rig.get(REG.STATUS) & 0xb).toBe(3)
    const { length } = rig.logged()
    expect(length).toBe(255)
    rig.fault({ iova: 0x6000_0000n })
    expect(rig.logged()).toEqual([])
    rig.set(REG.STATUS, 3)
    rig.fault({ iova: 0x7000_0000n })
    expect(rig.logged()).toMatchObject([{ Address: 0x7000_0000 }])
  })

  it('logs nothing while the log is off', () => {
    const rig = new Rig({}, { EventLogEn: 0 })
    rig.withHost()
    expect(rig.fault({ iova: 0x5000_0000n }).record).not.toBeNull()
    expect(rig.logged()).toEqual([])
    expect(rig.interrupts).toEqual([])
  })

  it('keeps the first hardware error in its registers, and says that another came', () => {
    const rig = new Rig()
    rig.dte({ Mode: 4, HostPageTableRootPtr: BigInt(NOWHERE) })
    rig.translate()
    expect([rig.get(REG.HW_EVT_STATUS), rig.get(REG.HW_EVT_LO)]).toEqual([1, NOWHERE])
    expect(rig.iommu.read(REG.HW_EVT_HI, 8) >> 60n).toBe(4n)
    rig.translate()
    expect(rig.get(REG.HW_EVT_STATUS)).toBe(3)
    rig.set(REG.HW_EVT_STATUS, 3)
    expect(rig.get(REG.HW_EVT_STATUS)).toBe(0)
  })

  it('aborts without an event what is no event', () => {
    const rig = new Rig()
    rig.withHost({ I: 1 }, ALL_RIGHTS)
    expect(rig.fault({ kind: 'ats-request', iova: 0x5000_0000n })).toMatchObject({ code: 2, record: null, response: 'no-access' })
    expect(rig.logged()).toEqual([])
  })
})
