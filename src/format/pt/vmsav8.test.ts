import { describe, expect, it } from 'vitest'
import { PR, PW, PX, UR, UW, UX } from '../../base/types.ts'
import { PhysicalMemory } from '../../memory/physical.ts'
import { enumerate } from './enumerate.ts'
import { ptSpace } from './format.ts'
import { runPtSuite, type SuiteConfiguration } from './pt.suite.ts'
import { type Granule, vmsav8 } from './vmsav8.ts'
import { WALK_OK, Walker } from './walker.ts'

/** [granule, input bits, top depth]: start levels of both stages, concatenated top tables of stage 2 included (40 bits from level 1: 2 tables). */
const shapes: [Granule, number, number][] = [
  [12, 48, 3],
  [12, 39, 2],
  [12, 36, 2],
  [12, 25, 1],
  [14, 48, 3],
  [14, 47, 2],
  [14, 36, 1],
  [16, 48, 2],
  [16, 42, 1],
]
const configurations: SuiteConfiguration[] = []
for (const [granule, inputBits, topDepth] of shapes) {
  for (const regime of ['el1', 'el2', 'stage2', 'stage2-xnx'] as const) {
    const format = vmsav8(granule, regime)
    configurations.push({ name: `${format.name} ${regime} ${inputBits} bits`, format, topDepth, inputBits, outputLimit: 2 ** 48 })
  }
}
for (const [granule, inputBits, topDepth] of [
  [12, 40, 2],
  [12, 43, 2],
  [14, 40, 1],
  [16, 46, 1],
] as const) {
  const format = vmsav8(granule, 'stage2')
  configurations.push({
    name: `${format.name} concatenated ${inputBits} bits`,
    format,
    topDepth,
    inputBits,
    outputLimit: 2 ** 44,
  })
}
for (const [granule, inputBits, topDepth] of [
  [12, 52, 4],
  [12, 48, 3],
  [14, 52, 3],
  [16, 52, 2],
] as const) {
  const format = vmsav8(granule, 'el1', true)
  configurations.push({ name: `${format.name} ${inputBits} bits`, format, topDepth, inputBits, outputLimit: 2 ** 52 })
}
for (const [granule, inputBits, topDepth] of [
  [12, 48, 3],
  [14, 47, 2],
  [16, 48, 2],
] as const) {
  const format = vmsav8(granule, 'el1')
  const name = `${format.name} contiguous ${inputBits} bits`
  configurations.push({ name, format, topDepth, inputBits, outputLimit: 2 ** 48, runs: true })
}
runPtSuite(configurations)

describe('what EL0 can write', () => {
  /** What a page of 1:1 tables at 0 allows: AP and PXN of the leaf, APTable of the entry two levels above. */
  function rights(ap: number, pxn: number, apTable: number, regime: 'el1' | 'el2' = 'el1') {
    const memory = new PhysicalMemory([{ start: 0, end: 0x10000 }])
    memory.write64(0, 0x1003n | (BigInt(apTable) << 61n))
    memory.write64(0x1000, 0x2003n)
    memory.write64(0x2000, 0x5403n | (BigInt(ap) << 6n) | (BigInt(pxn) << 53n))
    const space = ptSpace({ format: vmsav8(12, regime), root: 0, topDepth: 2, inputBits: 39, outputLimit: 2 ** 48 })
    const walker = new Walker(memory)
    expect(walker.walk(space, 0, 0, 0, false)).toBe(WALK_OK)
    enumerate(memory, space, { leaf: (leaf) => expect(leaf.rights).toBe(walker.rights) })
    return walker.rights
  }

  it('EL1 never executes', () => {
    expect(rights(1, 0, 0)).toBe(UR | UW | UX | PR | PW)
    expect(rights(3, 0, 0)).toBe(UR | UX | PR | PX)
  })

  it('is what APTable leaves, not what the leaf says alone', () => {
    // No access from EL0: the page is EL1's, which executes it.
    expect(rights(1, 0, 1)).toBe(UX | PR | PW | PX)
    expect(rights(1, 1, 1)).toBe(UX | PR | PW)
    // Read-only for both.
    expect(rights(1, 0, 2)).toBe(UR | UX | PR | PX)
    expect(rights(1, 0, 3)).toBe(UX | PR | PX)
  })

  it('is no matter of regimes with one privilege', () => {
    expect(rights(1, 0, 0, 'el2')).toBe(UR | UW | UX | PR | PW | PX)
  })
})
