import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ALL_RIGHTS, type Outcome, type Transaction, UR } from '../../base/types.ts'
import { REG } from '../../format/amdvi/registers.ts'
import { DEVICE, NOWHERE, PASID, Rig } from './rig.suite.ts'

const told = (rig: Rig, given: Partial<Transaction> = {}) =>
  rig.iommu.explain({ device: DEVICE, iova: 0x4000_0000n, access: 'read', ...given })

describe('AMD-Vi, explained', () => {
  it('names every entry on the way through host tables', () => {
    const rig = new Rig()
    const { pa, table } = rig.withHost()
    const { steps, outcome } = told(rig)
    expect(steps.map(({ structure, stage, level }) => [structure, stage, level])).toEqual([
      ['DTE', 0, null],
      ['AMD v1', 2, 4],
      ['AMD v1', 2, 3],
      ['AMD v1', 2, 2],
      ['AMD v1', 2, 1],
    ])
    expect(steps[0]).toMatchObject({ address: BigInt(rig.devices + DEVICE * 32) })
    expect(steps[0]!.decided).toBe(`valid, domain 7, rwx, host tables of 4 levels at 0x${table.space.root.toString(16)}`)
    expect(steps.at(-1)!.decided).toContain(`at 0x${pa.toString(16)}, rwx`)
    expect(outcome).toMatchObject({ ok: true, pa: BigInt(pa), cached: false })
  })

  it('names every entry on the way through GCR3 and guest tables', () => {
    const rig = new Rig()
    const { gcr3, table } = rig.withPasid()
    const { steps } = told(rig, { pasid: PASID })
    expect(steps.map(({ structure, stage, level }) => [structure, stage, level])).toEqual([
      ['DTE', 0, null],
      ['GCR3 entry', 0, null],
      ['AMD v2', 1, 4],
      ['AMD v2', 1, 3],
      ['AMD v2', 1, 2],
      ['AMD v2', 1, 1],
    ])
    expect(steps[1]).toMatchObject({
      address: BigInt(gcr3 + PASID * 8),
      decided: `valid, guest tables at 0x${table.space.root.toString(16)}`,
    })
  })

  it('shows host entries within a nested walk', () => {
    const rig = new Rig()
    rig.withPasid(rig.identity().fields)
    const { steps } = told(rig, { pasid: PASID })
    expect(steps.filter(({ stage }) => stage === 2).length).toBeGreaterThan(10)
    expect(steps.filter(({ stage }) => stage === 1)).toHaveLength(4)
  })

  it.each([
    ['CONTROL', 'IommuEn is 0', () => new Rig({}, { IommuEn: 0 }), {}],
    ['DTE', 'V is 0', () => new Rig(), {}],
    ['DTE', 'outside the device table', () => new Rig(), { device: 0x300 }],
    ['DTE', 'TV is 0', () => made((rig) => rig.dte({ TV: 0 })), {}],
    ['DTE', 'illegal: Mode is 7', () => made((rig) => rig.dte({ Mode: 7 })), {}],
    ['GCR3 entry', 'V is 0', () => made((rig) => rig.withPasid()), { pasid: 6 }],
    ['GCR3 entry', 'cannot be read', () => made((rig) => rig.dte({ GV: 1, gcr3: NOWHERE })), { pasid: PASID }],
    ['AMD v1', 'not present', () => made((rig) => rig.withHost()), { iova: 0x5000_0000n }],
    ['AMD v1', 'allow r-x', () => made((rig) => rig.withHost({}, UR | 8)), { access: 'write' }],
  ] as const)('tells why at the %s: %s', (structure, text, make, given) => {
    const { steps } = told(make(), given)
    expect(steps.at(-1)).toMatchObject({ structure })
    expect(steps.at(-1)!.decided).toContain(text)
  })

  it('leaves no trace: nothing logged, cached or marked', () => {
    const rig = new Rig({}, { HADUpdate: 3 })
    const { table } = rig.withPasid()
    const leaf = Number(told(rig, { pasid: PASID }).steps.at(-1)!.address)
    rig.memory.write64(leaf, rig.memory.read64(leaf) & ~0x60n)
    const before = rig.memory.read64(leaf)
    told(rig, { pasid: PASID, access: 'write' })
    told(rig, { pasid: PASID, kind: 'ats-request', access: 'write' })
    told(rig, { pasid: PASID, iova: 0x5000_0000n })
    expect(rig.memory.read64(leaf)).toBe(before)
    expect([
      rig.logged(),
      rig.interrupts,
      rig.iommu.tlb.used,
      rig.iommu.config.devices.used,
      rig.iommu.config.contexts.used,
    ]).toEqual([[], [], 0, 0, 0])
    expect(table.space.root).toBeGreaterThan(0)
  })

  it('asks the tables, not the caches', () => {
    const rig = new Rig()
    const { table } = rig.withHost()
    rig.dma()
    table.unmap(0x4000_0000, 0x1000)
    expect(rig.translate().ok).toBe(true)
    expect(told(rig).outcome.ok).toBe(false)
  })

  it('agrees with translate, whatever the tables hold', () => {
    const word = fc.oneof(fc.bigInt(0n, 2n ** 64n - 1n), fc.constantFrom(0n, 0x6000_0000_0001_0601n, 0x6000_0000_0001_1001n))
    const arbitrary = fc.record({
      dte: fc.record({
        V: fc.constant(1),
        TV: fc.nat(1),
        Mode: fc.nat(7),
        GV: fc.nat(1),
        GIOV: fc.nat(1),
        GLX: fc.nat(3),
        HAD: fc.nat(3),
        IR: fc.nat(1),
        IW: fc.nat(1),
        I: fc.nat(1),
        SysMgt: fc.nat(3),
        IoCtl: fc.nat(3),
        GuestPagingMode: fc.nat(2),
      }),
      words: fc.array(word, { minLength: 1, maxLength: 16 }),
      pasid: fc.option(fc.constantFrom(0, 1, PASID, 0x12345), { nil: undefined }),
      iova: fc.oneof(
        fc.bigInt(0n, 2n ** 64n - 1n),
        fc.bigInt(0n, 0xffffn),
        fc.constantFrom(0xfee0_0000n, 0xfd_f910_0000n, 0xfd_fc00_0000n),
      ),
      access: fc.constantFrom('read', 'write', 'execute'),
      privileged: fc.boolean(),
      kind: fc.constantFrom('untranslated', 'ats-request', 'translated'),
      control: fc.record({ GTEn: fc.nat(1), GCR3TRPMode: fc.nat(1), HADUpdate: fc.constantFrom(0, 1, 3) }),
    })
    fc.assert(
      fc.property(arbitrary, ({ dte, words, control, pasid, ...rest }) => {
        const rig = new Rig({ caches: { translations: 16, devices: 4, contexts: 4 } }, control)
        const table = 0x1_0000
        // One page that is every table: its entries lead to it again and again.
        for (let each = 0; each < 512; each++) {
          const value = words[each % words.length]!
          rig.memory.write64(table + each * 8, each % 3 === 0 ? (value & ~0xf_ffff_ffff_f000n) | BigInt(table) : value)
        }
        rig.dte({ HostPageTableRootPtr: BigInt(table), gcr3: table, ...dte })
        const transaction = { device: DEVICE, ...rest, ...(pasid === undefined ? {} : { pasid }) } as Transaction
        const { outcome } = rig.iommu.explain(transaction)
        const real = rig.iommu.translate(transaction)
        if (real.ok) expect({ ...outcome, cached: false }).toEqual({ ...real, cached: false })
        else expect(unmarked(outcome)).toEqual(unmarked(real))
        const again = rig.iommu.translate(transaction)
        if (real.ok && rest.kind === 'untranslated') expect({ ...again, cached: false }).toEqual({ ...real, cached: false })
      }),
      { numRuns: 400 },
    )
  })

  it('takes any registers without harm', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.constantFrom(...Object.values(REG)), fc.bigInt(0n, 2n ** 64n - 1n)), { maxLength: 20 }),
        (writes) => {
          const rig = new Rig({}, { IommuEn: 0 })
          for (const [offset, value] of writes) rig.set(offset, value)
          rig.control({ IommuEn: 1 })
          rig.translate()
          rig.iommu.interrupt({ device: DEVICE, address: 0xfee0_0000n, data: 1 })
          expect(told(rig).steps.length).toBeGreaterThan(0)
        },
      ),
      { numRuns: 100 },
    )
  })

  it('makes pages that everybody may use out of nothing but their rights', () => {
    const rig = new Rig()
    rig.withHost({}, ALL_RIGHTS)
    expect(told(rig).outcome).toMatchObject({ rights: ALL_RIGHTS })
  })
})

/** Without A and D of the entry that decided: a page that is several tables may have been marked on the way to it. */
function unmarked(outcome: Outcome): object {
  return { ...outcome, entry: outcome.ok || outcome.entry === null ? null : outcome.entry & ~0x60n }
}

function made(prepare: (rig: Rig) => unknown): Rig {
  const rig = new Rig()
  prepare(rig)
  return rig
}
