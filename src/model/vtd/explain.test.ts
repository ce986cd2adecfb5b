/** Explanations: the same answer as translation, step by step, and nothing changes. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Outcome, Transaction } from '../../base/types.ts'
import { REG } from '../../format/vtd/registers.ts'
import { DEVICE, RAM, Rig, RW } from './rig.suite.ts'

const PAGE = 0x10_0000
const OUT = 0x5000_0000

const names = (rig: Rig, transaction: Partial<Transaction>) =>
  rig.iommu
    .explain({ device: DEVICE, iova: BigInt(PAGE), access: 'read', ...transaction })
    .steps.map(({ structure, stage, level }) => (stage === 0 ? structure : `${stage}.${level}`))

describe('an explanation', () => {
  it('tells every entry of a legacy translation', () => {
    const rig = new Rig({ mode: 'legacy' })
    const { table, legacy } = rig.second(3)
    table.map(PAGE, OUT, 0x1000, RW)
    rig.context(DEVICE, legacy)
    const { outcome, steps } = rig.iommu.explain({ device: DEVICE, iova: BigInt(PAGE + 8), access: 'write' })
    expect(outcome).toMatchObject({ ok: true, pa: BigInt(OUT + 8) })
    expect(names(rig, {})).toEqual(['RTADDR', 'root entry', 'context entry', '2.3', '2.2', '2.1', 'outcome'])
    expect(steps[2]!.decided).toBe(`present, domain 1, second stage at 0x${legacy.SSPTPTR!.toString(16)}`)
    expect(steps[5]!.decided).toBe('page of 4 KiB at 0x50000000, rwx')
    expect(steps.at(-1)!.decided).toBe('translated to 0x50000008')
  })

  it('tells every entry of a nested one, with the second stage of each first-stage entry', () => {
    const rig = new Rig()
    const nested = rig.nested()
    nested.inner.table.map(PAGE, OUT, 0x1000, RW)
    rig.plain(DEVICE, nested.pasid)
    const steps = names(rig, {})
    expect(steps.slice(0, 5)).toEqual([
      'RTADDR',
      'scalable-mode root entry',
      'scalable-mode context entry',
      'PASID directory entry',
      'PASID table entry',
    ])
    const outer = ['2.4', '2.3', '2.2']
    expect(steps.slice(5, -1)).toEqual([...outer, '1.4', ...outer, '1.3', ...outer, '1.2', ...outer, '1.1', ...outer])
  })

  it('says which rule an entry breaks, and where it lies', () => {
    const rig = new Rig()
    const { entry } = rig.plain(DEVICE, { PGTT: 7 })
    const { outcome, steps } = rig.iommu.explain({ device: DEVICE, iova: 0n, access: 'read' })
    expect(outcome).toMatchObject({ code: 0x5b, entryAddress: BigInt(entry), why: expect.stringContaining('PGTT is reserved') })
    expect(steps.at(-2)).toMatchObject({ address: BigInt(entry), decided: expect.stringContaining('PGTT is reserved') })
  })

  it('says when nothing is translated at all', () => {
    const rig = new Rig({ start: false })
    expect(rig.iommu.explain({ device: 1, iova: 5n, access: 'read' }).steps.map(({ decided }) => decided)).toEqual([
      'TES is 0: addresses pass as they are',
      'translated to 0x5',
    ])
  })
})

/** All that an explanation could change. */
function state(rig: Rig): string {
  const frames: string[] = []
  rig.memory.forEachFrame((pa, words, at) => frames.push(`${pa}:${words.subarray(at, at + 1024).join()}`))
  const registers = Array.from({ length: 0x400 }, (_, word) => rig.get(word * 4))
  return `${frames.join('\n')}\n${registers.join()}\n${rig.messages.length}\n${rig.interrupts.length}`
}

/** A machine with something of everything, and holes. */
function machine(mode: 'legacy' | 'scalable', seed: number): Rig {
  const rig = new Rig({ mode, caches: { translations: 64, contexts: 4, pasids: 4 } })
  const rights = [RW, RW & ~0b010010, 8 | 16]
  if (mode === 'legacy') {
    const { table, legacy } = rig.second()
    for (let page = 0; page < 4; page++)
      if ((seed >>> page) & 1) table.map(PAGE + page * 4096, OUT + page * 4096, 0x1000, page === 2 ? 9 : RW)
    rig.context(0, { ...legacy, TT: 1 })
    rig.context(1, { TT: 2 })
    rig.context(2, { ...legacy, TT: 1, FPD: 1 })
    return rig
  }
  for (const device of [0, 1, 2]) {
    const directory = rig.smContext(device, device === 2 ? { DTE: 0, PRE: 0, RID_PRIV: 1 } : {})
    const nested = rig.nested()
    const spaces = [rig.first(), rig.second(), { table: nested.inner.table, pasid: nested.pasid }]
    for (const [index, { table, pasid }] of spaces.entries()) {
      for (let page = 0; page < 4; page++)
        if ((seed >>> (page + index)) & 1)
          table.map(PAGE + page * 4096, OUT + page * 4096, 0x1000, index === 1 ? RW : rights[page % 3]!)
      rig.pasid(directory, index, {
        ...pasid,
        DID: device * 4 + index + 1,
        SRE: device & 1,
        SSADE: index === 0 ? 0 : (seed >>> 9) & 1,
      })
    }
    rig.pasid(directory, 3, { PGTT: 4, AW: 2, DID: 40 })
  }
  return rig
}

const transactions = fc.array(
  fc.record({
    device: fc.integer({ min: 0, max: 3 }),
    pasid: fc.option(fc.integer({ min: 0, max: 4 }), { nil: undefined }),
    iova: fc.oneof(
      fc.integer({ min: -1, max: 4 }).map((page) => BigInt(PAGE + page * 4096 + 8)),
      fc.constantFrom(0xfee0_0000n, 1n << 47n, 0xffff_ffff_ffff_0000n, 1n << 52n, BigInt(RAM.start)),
    ),
    access: fc.constantFrom('read', 'write', 'execute'),
    privileged: fc.boolean(),
    kind: fc.constantFrom('untranslated', 'ats-request', 'translated'),
  }),
  { minLength: 1, maxLength: 12 },
)

/** What both must agree on: all but whether a cache answered, and which entry decided where it did. */
const answer = (outcome: Outcome) =>
  outcome.ok
    ? { pa: outcome.pa, rights: outcome.rights, sizeLog2: outcome.sizeLog2 }
    : { code: outcome.code, record: outcome.record, response: outcome.response }

describe('explain and translate', () => {
  for (const mode of ['legacy', 'scalable'] as const)
    it(`agree, and explain changes nothing (${mode} mode)`, () => {
      fc.assert(
        fc.property(fc.integer({ min: 0, max: 1023 }), transactions, (seed, list) => {
          const rig = machine(mode, seed)
          for (const given of list) {
            const { pasid, ...rest } = given
            const transaction: Transaction = pasid === undefined ? rest : { ...rest, pasid }
            const before = state(rig)
            const explained = rig.iommu.explain(transaction)
            expect(state(rig)).toBe(before)
            expect(answer(rig.iommu.translate(transaction))).toEqual(answer(explained.outcome))
            expect(explained.steps.at(-1)!.structure).toBe('outcome')
          }
        }),
        { numRuns: 40 },
      )
    })

  it('does not fill the fault registers by explaining', () => {
    const rig = new Rig()
    rig.iommu.explain({ device: DEVICE, iova: 0n, access: 'read' })
    expect([rig.get(REG.FSTS), rig.faults()]).toEqual([0, []])
  })
})

describe('hostile tables', () => {
  it('never crash it, whatever is in them, and registers and queues likewise', () => {
    const word = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n })
    // Pointers that stay within a few pages of memory, with any flags: loops and self-references among them
    const near = fc
      .tuple(fc.integer({ min: 0, max: 7 }), fc.integer({ min: 0, max: 0xfff }))
      .map(([page, low]) => BigInt(RAM.start + page * 4096 + low))
    fc.assert(
      fc.property(
        fc.array(fc.oneof(near, near, word), { minLength: 16, maxLength: 64 }),
        fc.boolean(),
        transactions,
        fc.integer({ min: 0, max: 3 }),
        (words, wide, list, ttm) => {
          const rig = new Rig({ start: false, queue: false })
          for (let at = 0; at < 8 * 4096; at += 8) rig.memory.write64(RAM.start + at, words[(at / 8) % words.length]!)
          rig.set8(REG.RTADDR, BigInt(RAM.start) | BigInt(ttm << 10))
          rig.set8(REG.IQA, BigInt(RAM.start) | (wide ? 0x800n : 0n))
          rig.set8(REG.PQA, BigInt(RAM.start))
          rig.set8(REG.IRTA, BigInt(RAM.start) | 3n)
          rig.set(REG.GCMD, 0xc700_0000)
          rig.set(REG.IQT, 0x400)
          for (const given of list) {
            const { pasid, ...rest } = given
            const transaction: Transaction = pasid === undefined ? rest : { ...rest, pasid }
            rig.iommu.explain(transaction)
            rig.iommu.translate(transaction)
            const { device, iova: address } = transaction
            rig.iommu.interrupt({ device, address: BigInt.asUintN(32, address) | 0xfee0_0000n, data: 3 })
            const flags = { last: true, read: true, write: false, execute: false, privileged: false }
            rig.iommu.pageRequest({ device, pasid: pasid ?? null, address: BigInt.asUintN(64, address), group: 1, ...flags })
          }
        },
      ),
      { numRuns: 60 },
    )
  })
})
