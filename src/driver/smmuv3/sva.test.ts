import { describe, expect, it } from 'vitest'
import { vmsav8 } from '../../format/pt/vmsav8.ts'
import { Bench, type IdrChanges, PCIE, PLAIN, process, STALLS } from './driver.suite.ts'

/** What stands in the way of this device and process on this SMMU. */
function obstacle(
  changes: IdrChanges,
  capabilities = PCIE,
  mm: ReturnType<typeof process> | null = process('X', 7),
): string | null {
  const bench = new Bench(changes)
  return bench.driver.svaObstacle(bench.device(1, capabilities), mm)
}

describe('sharing a process with a device', () => {
  it('is possible with page requests, and with stalls', () => {
    expect(obstacle({})).toBeNull()
    expect(obstacle({}, STALLS)).toBeNull()
    expect(obstacle({ IDR0: { STALL_MODEL: 2 } }, STALLS)).toBeNull()
  })
  const conditions: [string, IdrChanges, typeof PCIE, Parameters<typeof process>[2]][] = [
    ['cannot send PASIDs', {}, PLAIN, {}],
    ['SMMU_IDR1.SSIDSIZE', { IDR1: { SSIDSIZE: 0 } }, PCIE, {}],
    ['SMMU_IDR0.S1P', { IDR0: { S1P: 0 } }, PCIE, {}],
    ['SMMU_IDR0.TTF', { IDR0: { TTF: 1 } }, PCIE, {}],
    ['SMMU_IDR0.COHACC', { IDR0: { COHACC: 0 } }, PCIE, {}],
    ['no 4 KiB granule', { IDR5: { GRAN4K: 0 } }, PCIE, {}],
    ['no 16 KiB granule', { IDR5: { GRAN16K: 0 } }, PCIE, { format: vmsav8(14, 'el1'), topDepth: 3 }],
    ['SMMU_IDR5.VAX', { IDR5: { VAX: 0 } }, PCIE, { format: vmsav8(16, 'el1', true), topDepth: 2, inputBits: 52 }],
    ['SMMU_IDR5.DS', { IDR5: { DS: 0 } }, PCIE, { format: vmsav8(12, 'el1', true), topDepth: 3 }],
    ['SMMU_IDR5.OAS', { IDR5: { OAS: 3 } }, PCIE, {}],
    ['SMMU_IDR0.ASID16', { IDR0: { ASID16: 0 } }, PCIE, {}],
    ['does not walk at stage 1', {}, PCIE, { format: vmsav8(12, 'stage2') }],
    ['SMMU_IDR0.STALL_MODEL', { IDR0: { STALL_MODEL: 1 } }, STALLS, {}],
    ['SMMU_IDR0.ATS and PRI', { IDR0: { PRI: 0 } }, PCIE, {}],
    ['neither ATS with PRI, nor stall', {}, { ...PCIE, pri: false }, {}],
    ['neither ATS with PRI, nor stall', {}, { ...PCIE, ats: false }, {}],
  ]
  for (const [named, changes, capabilities, space] of conditions)
    it(`fails when a condition does not hold, and names it: ${named}`, () => {
      expect(obstacle(changes, capabilities, process('X', 7, space))).toContain(named)
    })
  it('asks no more of a private address space than PASIDs and stage 1', () => {
    const nothing = { IDR0: { COHACC: 0, PRI: 0, ASID16: 0, STALL_MODEL: 1 } }
    expect(obstacle(nothing, { ...PCIE, ats: false, pri: false }, null)).toBeNull()
    expect(obstacle(nothing, PLAIN, null)).toContain('cannot send PASIDs')
    expect(obstacle({ IDR1: { SSIDSIZE: 0 } }, PCIE, null)).toContain('SSIDSIZE')
  })
  it('is refused in domains that stage 2 translates, nested ones included', () => {
    const bench = new Bench()
    const device = bench.device(1)
    bench.domain('guest', 'nested', device)
    expect(bench.driver.svaObstacle(device, process('X', 7))).toContain('domain guest is translated by stage 2')
  })
  it('knows how wide PASIDs are', () => {
    expect(new Bench().driver.pasidBits).toBe(20)
    expect(new Bench({ IDR1: { SSIDSIZE: 8 } }).driver.pasidBits).toBe(8)
    expect(new Bench({ IDR0: { S1P: 0 } }).driver.pasidBits).toBe(0)
  })
})
