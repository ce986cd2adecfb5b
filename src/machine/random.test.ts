/** Any scenario that can be read can be run: whatever its steps are, it ends, with a report. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { runScenario } from './index.ts'
import { failuresOf, scenarioOf } from './scenario.suite.ts'

const BASE = `
processes:
  P: [{ address: 0x10000, size: 64K }, { address: 0x200000, size: 2M, huge: true }, { address: 0x7f0000, size: 16K, growsDown: true }]
  Q: [{ address: 0x10000, size: 64K, shared: both }, { address: 0x40000, size: 16K, rights: r }]
devices:
  a: { id: 1, pasidBits: 3, ats: true, pri: true, atcEntries: 4 }
  b: { id: 2, pasidBits: 8, ats: true }
  s: { id: 3, pasidBits: 8, stall: true }
  o: { id: 4 }
  g: { id: 5, pasidBits: 2, ats: true }
groups: { both: [a, o] }
domains: { D: [a, o], E: { kind: identity, devices: [s] }, B: { kind: blocked, devices: [b] }, N: { kind: nested, devices: [g] }, F: [] }
guests: { G: { domain: N, memory: 1M } }
buffers: { ring: 16K }
`

const of = (...names: string[]) => fc.constantFrom(...names)
const device = of('a', 'b', 's', 'o', 'g')
const process = of('P', 'Q')
const address = of(
  '0',
  '0x1000',
  '0x10000',
  '0x1f000',
  '0x200000',
  '0x7ef000',
  '0x40000000',
  '0xffffffffffffffff',
  '0x10800',
  '0xfffffffff000',
)
const size = of('4K', '16K', '64K', '2M', '1', '4095')
const rights = of('r', 'rw', 'rx', 'rwx', 'w', "'-'")
const target = fc.oneof(
  process.map((name) => `process: ${name}`),
  fc.nat(9).map((pasid) => `pasid: ${pasid}`),
  fc.constant('pasid: 0xfffff'),
  fc.constant('privileged: true'),
)
const where = of('domain: D', 'domain: E', 'domain: N', 'domain: F', 'guest: G', 'guest: G, pasid: 1')
const text = (strings: TemplateStringsArray, ...parts: fc.Arbitrary<string>[]): fc.Arbitrary<string> =>
  fc.tuple(...parts).map((values) => String.raw({ raw: strings }, ...values))
const access = of('read', 'write', 'execute')

const plain = fc.oneof(
  { arbitrary: text`bind: { device: ${device}, process: ${process} }`, weight: 4 },
  text`unbind: { device: ${device}, process: ${process} }`,
  text`attach: { device: ${device}, domain: ${of('D', 'E', 'B', 'N', 'F')} }`,
  text`detach: { device: ${device} }`,
  text`bindPrivate: { device: ${device}, space: ${of('x', 'y')} }`,
  text`map: { ${where}, address: ${address}, physical: ${address}, size: ${size}, rights: ${rights} }`,
  text`map: { domain: D, address: ${address}, buffer: ring }`,
  text`unmap: { ${where}, address: ${address}, size: ${size} }`,
  { arbitrary: text`dma: { device: ${device}, ${target}, ${access}: ${address}, length: ${of('1', '8', '9K')} }`, weight: 6 },
  text`request: { device: ${device}, process: ${process}, pages: [${address}, ${address}], group: ${of('0', '1', '511')}, last: ${of('true', 'false')} }`,
  text`request: { device: ${device}, pasid: 1, stopMarker: true }`,
  text`cpu: { process: ${process}, ${access}: ${address} }`,
  text`mmap: { process: ${process}, address: ${address}, size: ${size}, rights: ${rights} }`,
  text`munmap: { process: ${process}, address: ${address}, size: ${size} }`,
  text`mprotect: { process: ${process}, address: ${address}, size: ${size}, rights: ${rights} }`,
  text`swapOut: { process: ${process}, address: ${address}, size: ${size} }`,
  text`migrate: { process: ${process}, address: ${address} }`,
  text`exec: { process: ${process}, areas: [{ address: 0x10000, size: 64K }] }`,
  text`exit: { process: ${process} }`,
  text`interrupts: ${of('on', 'off')}`,
  text`check: { device: ${device} }`,
)
const step = fc.oneof(
  { arbitrary: plain.map((one) => `  - ${one}\n`), weight: 8 },
  fc.tuple(plain, of('atc', 'iotlb', 'config')).map(([one, cache]) => `  - ${one}\n    forget: [${cache}]\n`),
  fc
    .tuple(fc.nat(1000), fc.array(plain, { minLength: 2, maxLength: 4 }))
    .map(
      ([seed, inner]) =>
        `  - interleave:\n      seed: ${seed}\n      steps:\n${inner.map((one) => `        - ${one}\n`).join('')}`,
    ),
)
const options = of(
  'iommu: smmuv3',
  'iommu: { kind: smmuv3, caches: { iotlb: 4, config: 4 }, pageRequestQueue: 1, eventQueue: 1 }',
  'iommu: { kind: smmuv3, pasidTable: two-level-4K, hardwareUpdates: access }\ncpu: { hardwareUpdates: dirty, asidBits: 4 }',
  'pasids: cyclic\ncpu: { pageSize: 16K, asidsTaken: 0 }',
  'iommu: { kind: riscv, caches: { iotlb: 4, config: 4 }, pageRequestQueue: 1, eventQueue: 1 }',
  'iommu: vtd',
  'iommu: { kind: vtd, stage: 2, caches: { iotlb: 4, config: 4 }, eventQueue: 1, identity: mapped }',
  'iommu: { kind: vtd, levels: 5, firstLevels: 5 }\ncpu: { addressBits: 57 }',
  'iommu: amdvi',
  'iommu: { kind: amdvi, gcr3Levels: 3, caches: { iotlb: 4, config: 4 } }',
  'iommu: { kind: amdvi, levels: 6, pasidBits: 5, caches: { config: 0 } }\ncpu: { addressBits: 57 }',
)
/** Without PASIDs, and so without guests and what they map. */
const LEGACY = [
  'iommu: { kind: vtd, mode: legacy }',
  'iommu: { kind: vtd, mode: legacy, levels: 3, descriptors: 256, identity: mapped, caches: { iotlb: 4, config: 4 }, eventQueue: 1 }',
  'iommu: { kind: amdvi, tables: v1 }',
  'iommu: { kind: amdvi, tables: v1, pri: false, levels: 3, caches: { iotlb: 4, config: 4 } }',
]

const RUNS = Number(globalThis.process.env.IOMM_RUNS ?? 60)

/** Runs it, and looks at what must hold whatever the steps are. */
function check(given: string, base: string, steps: readonly string[]): void {
  const report = runScenario(scenarioOf(`${given}\n${base}steps:\n${steps.join('')}`))
  if ('problem' in report) throw new Error(report.problem)
  expect(report.steps).toHaveLength(steps.length)
  for (const { result, action, text } of report.steps) {
    expect(['ok', 'fault', 'silent', 'segv', 'error', 'skipped'], `${action}: ${text}`).toContain(result)
    // A step that can never end is a defect of the system, unless nobody answers interrupts.
    if (!steps.some((one) => one.includes('interrupts: off') || one.includes('forget'))) expect(text).not.toMatch(/stuck/)
  }
  if (steps.some((one) => one.includes('forget'))) return
  const stale = failuresOf(report).filter((failure) => failure.includes('stale answer'))
  expect(stale).toEqual([])
}

describe('random scenarios', () => {
  it('end with a report, and no cache answers what the tables no longer say', { timeout: RUNS * 2000 }, () => {
    fc.assert(
      fc.property(options, fc.array(step, { minLength: 1, maxLength: 25 }), (given, steps) => check(given, BASE, steps)),
      { numRuns: RUNS },
    )
  })
  it('do so without PASIDs too', { timeout: RUNS * 2000 }, () => {
    const base = BASE.replace(/^guests:.*\n/m, '')
    expect(base).not.toBe(BASE)
    fc.assert(
      fc.property(of(...LEGACY), fc.array(step, { minLength: 1, maxLength: 25 }), (given, steps) =>
        check(given, base, ['  - say: classic DMA\n', ...steps.filter((one) => !one.includes('guest: G'))]),
      ),
      { numRuns: RUNS },
    )
  })
})
