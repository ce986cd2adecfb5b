import { describe, expect, it } from 'vitest'
import { PR, PW, PX, UR, UW, UX } from '../../base/types.ts'
import { PhysicalMemory } from '../../memory/physical.ts'
import { ptSpace } from './format.ts'
import { runPtSuite, type SuiteConfiguration } from './pt.suite.ts'
import { SS_PS, SS_R, SS_SNP, SS_TM_HI, SS_W, SS_X, type VtdSecondOptions, vtdSecond } from './vtd-second.ts'
import { WALK_INPUT_RANGE, WALK_NOT_PRESENT, WALK_OK, WALK_RESERVED, Walker } from './walker.ts'

const configurations: SuiteConfiguration[] = []
const CHOICES: readonly VtdSecondOptions[] = [{}, { physicalBits: 39, largePages: 1 }, { largePages: 0, execute: true }]
for (const levels of [3, 4, 5] as const) {
  for (const options of CHOICES) {
    const { format, topDepth, inputBits } = vtdSecond(levels, options)
    const name = `${levels} levels, ${JSON.stringify(options)}`
    configurations.push({ name, format, topDepth, inputBits, outputLimit: 2 ** (options.physicalBits ?? 52) })
  }
}
runPtSuite(configurations)

const TABLES = 0x1000
const RW = BigInt(SS_R | SS_W)

/** Walks input 0 through tables of 4 levels to the entry `leaf` at `depth`; `above` is the entry one depth up. */
function walk(leaf: bigint, options: VtdSecondOptions = {}, depth = 0, above = RW) {
  const memory = new PhysicalMemory([{ start: 0, end: 0x10000 }])
  const scheme = vtdSecond(5, options)
  for (let at = scheme.topDepth; at > depth; at--)
    memory.write64(TABLES * (at + 1), BigInt(TABLES * at) | (at === depth + 1 ? above : RW | BigInt(SS_X)))
  memory.write64(TABLES * (depth + 1), leaf)
  const walker = new Walker(memory)
  const status = walker.walk(ptSpace({ ...scheme, root: TABLES * (scheme.topDepth + 1) }), 0, 0x123, 0, false)
  return { status, walker }
}

describe('second-stage entries of VT-d', () => {
  it('are present when they permit anything', () => {
    expect(walk(0x4000_0000n).status).toBe(WALK_NOT_PRESENT)
    expect(walk(0x4000_0000n | BigInt(SS_X)).status).toBe(WALK_NOT_PRESENT)
    expect(walk(0x4000_0000n | BigInt(SS_X), { execute: true }, 0, RW | BigInt(SS_X)).status).toBe(WALK_OK)
    for (const bits of [SS_R, SS_W]) expect(walk(0x4000_0000n | BigInt(bits)).status).toBe(WALK_OK)
  })

  it('permit what all levels permit; what can be read can be executed unless X counts', () => {
    const rights = (leaf: number, above: number, execute = false) => {
      const { status, walker } = walk(0x4000_0000n | BigInt(leaf), { execute }, 0, BigInt(above))
      expect(status).toBe(WALK_OK)
      return walker.rights
    }
    expect(rights(SS_R | SS_W, SS_R | SS_W)).toBe(UR | UW | UX | PR | PW | PX)
    expect(rights(SS_R | SS_W, SS_W)).toBe(UW | PW)
    expect(rights(SS_R, SS_R | SS_W)).toBe(UR | UX | PR | PX)
    expect(rights(SS_R | SS_W, SS_R | SS_X, true)).toBe(UR | PR)
    expect(rights(SS_R | SS_X, SS_R | SS_X, true)).toBe(UR | UX | PR | PX)
  })

  it('reserve address bits above the host width', () => {
    for (const physicalBits of [39, 46, 52]) {
      for (let bit = 38; bit < 52; bit++) {
        const expected = bit < physicalBits ? WALK_OK : WALK_RESERVED
        expect(walk(RW | (1n << BigInt(bit)), { physicalBits }).status).toBe(expected)
      }
    }
    expect(walk(RW, { physicalBits: 46 }, 0, RW | (1n << 47n)).status).toBe(WALK_RESERVED)
  })

  it('reserve SNP and TM in tables, and in leaves where the hardware has none', () => {
    const snoop = RW | BigInt(SS_SNP)
    const transient = RW | (BigInt(SS_TM_HI) << 32n)
    expect([walk(snoop).status, walk(snoop, { snoopControl: false }).status]).toEqual([WALK_OK, WALK_RESERVED])
    expect([walk(transient).status, walk(transient, { deviceTlb: true }).status]).toEqual([WALK_RESERVED, WALK_OK])
    expect(walk(RW, {}, 0, snoop | BigInt(TABLES)).status).toBe(WALK_RESERVED)
    expect(walk(RW, { deviceTlb: true }, 0, transient).status).toBe(WALK_RESERVED)
    for (const bit of [10, 52, 58, 61, 63]) expect(walk(RW | (1n << BigInt(bit))).status).toBe(WALK_OK)
  })

  it('reserve PS where leaves of that size are not supported, and the bits below the size', () => {
    const large = RW | BigInt(SS_PS)
    for (const [depth, largePages, expected] of [
      [1, 0, WALK_RESERVED],
      [1, 1, WALK_OK],
      [2, 1, WALK_RESERVED],
      [2, 3, WALK_OK],
      [3, 3, WALK_RESERVED],
      [4, 3, WALK_RESERVED],
    ] as const)
      expect([depth, walk(large, { largePages }, depth).status]).toEqual([depth, expected])
    for (const bit of [12, 20]) expect(walk(large | (1n << BigInt(bit)), {}, 1).status).toBe(WALK_RESERVED)
    for (const bit of [12, 29]) expect(walk(large | (1n << BigInt(bit)), {}, 2).status).toBe(WALK_RESERVED)
    expect(walk(RW | BigInt(SS_PS)).status).toBe(WALK_OK)
  })

  it('translate as many bits as there are levels', () => {
    for (const [levels, bits] of [
      [3, 39],
      [4, 48],
      [5, 57],
    ] as const) {
      const memory = new PhysicalMemory([{ start: 0, end: 0x1000 }])
      const walker = new Walker(memory)
      const space = ptSpace({ ...vtdSecond(levels), root: 0 })
      expect(walker.walk(space, 2 ** (bits - 32), 0, 0, false)).toBe(WALK_INPUT_RANGE)
      expect(walker.walk(space, 2 ** (bits - 32) - 1, -1, 0, false)).toBe(WALK_NOT_PRESENT)
      expect(walker.walk(space, -1, -1, 0, false)).toBe(WALK_INPUT_RANGE)
    }
  })
})
