import { runPtSuite, type SuiteConfiguration } from './pt.suite.ts'
import { type Granule, vmsav8 } from './vmsav8.ts'

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
runPtSuite(configurations)
