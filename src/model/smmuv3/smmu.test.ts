import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { random } from '../../base/op.ts'
import type { Outcome } from '../../base/types.ts'
import { CFGI_STE_RANGE, TLBI_NSNH_ALL } from '../../format/smmuv3/commands.ts'
import { registerNamed } from '../../format/smmuv3/registers.ts'
import { CONFIG_S1 } from '../../format/smmuv3/ste.ts'
import { PhysicalMemory } from '../../memory/physical.ts'
import { HOLE, Rig, RW } from './rig.suite.ts'
import { SmmuV3 } from './smmu.ts'

const PA = 0x5000_0000

describe('SMMUv3 as a whole', () => {
  it('answers alike with large caches, small ones and none, as long as software invalidates', () => {
    const step = fc.record({
      kind: fc.constantFrom('map', 'unmap', 'dma', 'dma', 'dma'),
      sid: fc.nat(3),
      pasid: fc.constantFrom(undefined, 1, 2, 3),
      page: fc.nat(7),
      access: fc.constantFrom('read' as const, 'write' as const),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const sizes = [{ config: 0, tlb: 0 }, { config: 4, tlb: 4 }, {}]
        const answers = sizes.map((caches) => {
          const rig = new Rig({ caches })
          const table = rig.cdTable(2)
          const spaces = [0, 1, 2, 3].map((index) => {
            const space = rig.space(1)
            rig.cd(table + index * 64, { ASID: index, ...space.cd })
            return space
          })
          for (let sid = 0; sid < 4; sid++) rig.ste(sid, { Config: CONFIG_S1, S1ContextPtr: BigInt(table), S1CDMax: 2, S1DSS: 2 })
          return steps.map(({ kind, sid, pasid, page, access }) => {
            const { table: tables } = spaces[pasid ?? 0]!
            const iova = page * 0x1000
            const given = pasid === undefined ? {} : { pasid }
            if (kind === 'dma') return rig.reach(sid, iova, { access, ...given })
            const mapped = tables.leaf(iova) !== null
            if (kind === 'map' && !mapped) tables.map(iova, PA + (sid * 8 + page) * 0x1000, 0x1000, access === 'write' ? RW : 9)
            if (kind === 'unmap' && mapped) tables.unmap(iova, 0x1000)
            rig.send(TLBI_NSNH_ALL)
            return null
          })
        })
        expect(answers[1]).toEqual(answers[0])
        expect(answers[2]).toEqual(answers[0])
      }),
      { numRuns: 60 },
    )
  })

  it('survives whatever lies in memory and whatever registers are written', () => {
    const word = random(20240611)
    const anything = () => (BigInt(word(2 ** 32)) << 32n) | BigInt(word(2 ** 32))
    const names = [
      'STRTAB_BASE',
      'STRTAB_BASE_CFG',
      'CMDQ_BASE',
      'CMDQ_PROD',
      'EVENTQ_BASE',
      'PRIQ_BASE',
      'CR2',
      'GBPA',
      'IRQ_CTRL',
    ]
    for (let round = 0; round < 30; round++) {
      const memory = new PhysicalMemory([{ start: 0, end: 0x10_0000 }])
      for (let at = 0; at < 0x1_0000; at += 8) {
        // Pointers that stay in memory, so that walks go deep; and words that do not.
        const value = anything()
        memory.write64(at, word(3) === 0 ? value : (value & 0xf_fff8n) | 3n)
      }
      // Without caches and hardware updates, what is explained is what happens.
      const plain = round % 2 === 0
      const smmu = new SmmuV3(memory, plain ? { caches: { config: 0, tlb: 0 }, idr: { HTTU: 0 } } : { negativeCaching: true })
      smmu.onMessage = () => {}
      for (const name of names) {
        const { offset, bytes } = registerNamed(name)
        const value = anything() & (name.endsWith('_BASE') ? 0xf_ffffn : 0xffff_ffffn)
        smmu.write(offset, bytes, value)
      }
      smmu.write(registerNamed('CR0').offset, 4, 0x1fn)
      for (let time = 0; time < 200; time++) {
        const kind = (['untranslated', 'untranslated', 'ats-request', 'translated'] as const)[word(4)]!
        const access = (['read', 'write', 'execute'] as const)[word(3)]!
        const transaction = { device: word(64), iova: anything() >> BigInt(word(64)), access, kind, privileged: word(2) === 0 }
        const given = word(2) === 0 ? transaction : { ...transaction, pasid: word(1024) }
        const explained = smmu.explain(given).outcome
        const outcome = smmu.translate(given)
        // The record of a stall differs by its tag.
        const known = (each: Outcome) => (each.ok ? each : { ...each, record: null, stallTag: 0 })
        if (plain) expect(known(outcome)).toEqual(known(explained))
        smmu.write(registerNamed('GERRORN').offset, 4, smmu.read(registerNamed('GERROR').offset, 4))
      }
    }
  })

  it('gives the result of its own transaction even when a handler translates too', () => {
    const rig = new Rig()
    const space = rig.space(1)
    space.table.map(0x1000, PA, 0x1000, RW)
    rig.stage1(1, space)
    rig.smmu.onInterrupt = () => rig.dma(1, 0x1000)
    expect(rig.dma(1, 0x2000)).toMatchObject({ name: 'F_TRANSLATION', iova: 0x2000n })
    expect(rig.smmu.translateFast(1, -1, 0, 0x3000, 0)).not.toBe(0)
    expect(rig.smmu.result.fault).toMatchObject({ iova: 0x3000n })
  })

  it('reads its stream table where the registers say after it was off', () => {
    const rig = new Rig()
    expect(rig.reach(1, 0)).toBe('C_BAD_STE')
    rig.set('CR0', 0xc)
    rig.set('STRTAB_BASE', HOLE)
    rig.set('CR0', 0xd)
    rig.send(CFGI_STE_RANGE, { Range: 31 })
    expect(rig.reach(1, 0)).toBe('F_STE_FETCH')
  })
})
