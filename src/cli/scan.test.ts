import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { hex } from '../base/hex.ts'
import type { MachineGraph } from '../inspect/graph.ts'
import { PhysicalMemory } from '../memory/physical.ts'
import { type Pages, writeElf, writeKdump, writeLime } from '../node/dump/writers.suite.ts'
import { type Dump, openCapture } from '../node/index.ts'
import { buildKernel } from '../node/kernel/kernel.suite.ts'
import { architectureOf } from './architectures.ts'
import { runCommand } from './commands.suite.ts'
import { CliError } from './common.ts'
import { openInput } from './input.ts'
import { completeRun, graphOf, scenarioOf } from './run.ts'
import { scanDump } from './scan.ts'
import { showCommand } from './show.ts'

const fixtures = join(import.meta.dirname, '../../test/fixtures')
const captures = join(import.meta.dirname, '../../../shared/captures')
const folder = mkdtempSync(join(tmpdir(), 'iomm-scan-'))
afterAll(() => rmSync(folder, { recursive: true }))

function file(name: string, bytes: Uint8Array): string {
  const path = join(folder, name)
  writeFileSync(path, bytes)
  return path
}

async function pagesOf(capture: string): Promise<Pages> {
  const { core } = await openCapture(capture)
  const memory = new PhysicalMemory([], core)
  const pages = new Map<number, Uint8Array>()
  for (const { start, end } of core.ranges()) for (let pa = start; pa < end; pa += 4096) pages.set(pa, memory.read(pa, 4096))
  return pages
}

const NAMES = [
  ...['amd64-amdvi-pasid', 'amd64-amdvi-v1', 'amd64-vtd-legacy', 'amd64-vtd-pasid-sva', 'arm64-smmuv3-s1'],
  ...['amd64-vtd-pasid-fs', 'amd64-vtd-scalable-fs', 'amd64-vtd-scalable-ss', 'arm64-smmuv3-pasid-2lvl'],
  ...['arm64-smmuv3-s1-16k', 'arm64-smmuv3-s2', 'riscv64-pci', 'riscv64-sys'],
]
const where = (name: string) => [fixtures, captures].map((place) => join(place, name)).find((path) => existsSync(path))
const there = NAMES.flatMap((name) => {
  const path = where(name)
  if (path === undefined) console.warn(`${name}: not there, its memory is not searched`)
  return path === undefined ? [] : [{ name, path }]
})

describe('tables in memory of which nothing is known', () => {
  it.each(there)('are found in $name where its registers say', async ({ path }) => {
    const found = await openInput(join(path, 'tables.elf.gz'))
    const real = await openInput(path)
    expect(found.architecture.kind).toBe(real.architecture.kind)
    const graph = found.graph()
    const expected = real.graph()
    expect(graph.deviceTable).toMatchObject({ address: expected.deviceTable!.address, layout: expected.deviceTable!.layout })
    // The capture knows names besides; the devices with tables, and all that is mapped, are the same.
    const mapped = (one: typeof graph) =>
      one.devices.filter(({ state }) => state === 'tables').map(({ id, entry }) => [hex(id), entry?.words])
    expect(mapped(graph)).toEqual(mapped(expected))
    const roots = (one: typeof graph) => one.spaces.map(({ root, mappedBytes }) => [root, mappedBytes])
    expect(roots(graph)).toEqual(roots(expected))
    expect(graph.findings.filter(({ severity }) => severity === 'error')).toEqual([])
    const [first] = graph.findings
    expect(first).toMatchObject({ severity: 'warning', place: 'registers' })
    expect(first!.text).toMatch(
      /^found by a scan for .* at 0x[0-9a-f]+: \d+ devices with \d+ address spaces, nothing contradicts\): (likely|a guess)$/,
    )
    // Contexts of 64 bytes without MSI tables are pairs of one of 32 bytes and zeros.
    const ambiguous = real.architecture.kind === 'riscv'
    expect(first!.text.endsWith(ambiguous ? ': a guess' : ': likely')).toBe(true)
    expect(graph.findings.some(({ text }) => /^it could also be a .*contexts of 32 bytes/.test(text))).toBe(ambiguous)
    expect(graph.findings.some(({ text }) => /is not given: assumed/.test(text))).toBe(true)
  })

  const smmu = where('arm64-smmuv3-s1')!
  const intel = where('amd64-vtd-legacy')!

  it('are found in a dump that does not tell the architecture', async () => {
    for (const [path, kind] of [
      [smmu, 'smmuv3'],
      [intel, 'vtd'],
    ] as const)
      expect((await openInput(file(`${kind}.lime`, writeLime(await pagesOf(path))))).architecture.kind).toBe(kind)
  })

  it('are listed when there are several, each with the options that choose it', async () => {
    const pages = new Map(await pagesOf(intel))
    // A second root table, with a part of the first one's buses.
    const root = pages.get(0x101547000)!.slice()
    root.fill(0, 16)
    pages.set(0x200000000, root)
    const path = file('two.elf', writeElf(pages, { machine: 62 }))
    const graph = (await openInput(path)).graph()
    expect(graph.deviceTable!.address).toBe(0x101547000n)
    expect(graph.findings[0]!.text).toMatch(/: a guess$/)
    const list = graph.findings.find(({ text }) => text.startsWith('found: '))!.text
    expect(list).toMatch(
      /1\. an Intel IOMMU \(VT-d\), .*\(--vtd rtaddr=0x101547000\); 2\. .*\(--vtd rtaddr=0x200000000\)\. Choose with --scan N/,
    )
    const chosen = (await openInput(path, { scan: 2 })).graph()
    expect(chosen.deviceTable!.address).toBe(0x200000000n)
    expect(chosen.findings[0]!.text).toMatch(/: likely$/)
    await expect(openInput(path, { scan: 3 })).rejects.toThrow(/--scan 3: 2 found in two\.elf: 1\. /)
    const shown = await runCommand(showCommand(), [path, '--scan', '2'])
    expect(shown).toMatchObject({ exitCode: 0, stdout: expect.stringContaining('0x200000000') })
    expect((await runCommand(showCommand(), [path, '--scan', '0'])).stderr).toMatch(/expected the number of one that was found/)
  })

  it('are of the mode that fits, where both have legal entries', async () => {
    const pages = new Map(await pagesOf(intel))
    for (const table of [0x101551000, 0x10157d000]) {
      // Devices at odd places, which are illegal in scalable mode, go away.
      const page = pages.get(table)!.slice()
      for (let at = 16; at < 4096; at += 32) page.fill(0, at, at + 16)
      pages.set(table, page)
    }
    const graph = (await openInput(file('even.elf', writeElf(pages, { machine: 62 })))).graph()
    expect(graph.deviceTable).toMatchObject({ address: 0x101547000n, layout: 'legacy mode' })
    expect(graph.devices.filter(({ state }) => state === 'tables').length).toBeGreaterThan(3)
  })

  it('of another architecture than the machine are not looked for', async () => {
    await expect(openInput(file('foreign.elf', writeElf(await pagesOf(intel), { machine: 183 })))).rejects.toThrow(
      /looked through for stream tables that hold together: there are none/,
    )
  })

  it('are not looked for where registers are given', async () => {
    const path = file('given.elf', writeElf(await pagesOf(smmu)))
    const graph = (await openInput(path, { smmu: ['strtab-base=0x1000'] })).graph()
    expect(graph.deviceTable!.address).toBe(0x1000n)
  })

  it('are no longer found when they are damaged', async () => {
    const pages = new Map(await pagesOf(intel))
    const root = pages.get(0x101547000)!.slice()
    root[1] = 0x0e
    pages.set(0x101547000, root)
    await expect(openInput(file('damaged.elf', writeElf(pages, { machine: 62 })))).rejects.toThrow(CliError)
  })

  it('are found past damaged pages of a dump', async () => {
    const pages = new Map(await pagesOf(smmu))
    pages.set(0x4000_0000, new Uint8Array(4096).fill(7))
    const bytes = writeKdump(pages, { packing: 'zlib', machine: 'aarch64' })
    const packed = Buffer.from(bytes).indexOf(Buffer.from([0x78, 0x9c]))
    bytes.fill(0xff, packed, packed + 8)
    const graph = (await openInput(file('damaged.kdump', bytes))).graph()
    expect(graph.deviceTable!.address).toBe(0x44b72000n)
    expect(graph.findings.some(({ text }) => text === 'damaged pages of the dump were passed over: 1')).toBe(true)
  })
})

/** Other forms of tables than captures have. In legacy mode there are no PASIDs, so what they do does not happen. */
const FORMS = [
  ...['smmuv3', 'smmuv3:streamTable=linear', 'smmuv3:pasidTable=two-level-64K', 'smmuv3:granule=64K', 'smmuv3:stage=2'],
  ...[
    'riscv',
    'riscv:directory=2LVL',
    'riscv:directory=3LVL',
    'riscv:contexts=base',
    'riscv:contexts=base:directory=3LVL',
    'riscv:stage=2',
  ],
  ...['vtd', 'vtd:mode=legacy', 'vtd:identity=mapped', 'vtd:stage=2:levels=3', 'vtd:firstLevels=5'],
  ...['amdvi', 'amdvi:tables=v1', 'amdvi:tables=v1:levels=6', 'amdvi:gcr3Levels=3'],
]

describe('tables in the memory of machines of ours', () => {
  const scenario = 'two-domains.yaml'
  const text = readFileSync(join(import.meta.dirname, '../../examples', scenario), 'utf8')

  it.each(FORMS)('are found: %s', (target) => {
    const { machine } = completeRun(scenarioOf(text, scenario, target))
    const { memory } = machine
    const dump: Dump = {
      ...dumpOf([], false),
      ranges: () => memory.ram,
      load(frame, words, at) {
        const index = memory.index(frame * 4096)
        if (index >= 0) words.set(memory.words.subarray(index, index + 1024), at)
        return index >= 0
      },
    }
    const source = scanDump(dump, null)
    expect(source.kind).toBe(machine.architecture.kind)
    const real = graphOf(machine, 'real')
    const { inspect } = architectureOf(source.kind, 'test')
    const found = inspect({ title: 'found', memory: new PhysicalMemory([], dump), register: source.register })
    const mapped = (graph: MachineGraph) =>
      graph.devices.filter(({ state }) => state === 'tables').map(({ entry }) => entry?.address)
    expect(mapped(real).length).toBeGreaterThan(1)
    expect(mapped(found)).toEqual(mapped(real))
    expect(found.spaces.map(({ root, mappedBytes }) => [root, mappedBytes])).toEqual(
      real.spaces.map(({ root, mappedBytes }) => [root, mappedBytes]),
    )
  })
})

describe('a kernel in the dump', () => {
  const built = (form: Parameters<typeof buildKernel>[0]) => {
    const { pages, vmcoreinfo, root } = buildKernel(form)
    return { path: file('vmcore', writeElf(pages, { machine: 62, vmcoreinfo })), root }
  }

  it('tells the registers, and they are certain', async () => {
    const { path, root } = built({ scalable: true })
    const { deviceTable, findings } = (await openInput(path)).graph()
    expect(deviceTable).toMatchObject({ address: BigInt(root(0)), layout: 'scalable mode' })
    expect(findings.map(({ text }) => text).join('\n')).toMatch(
      /^dmar0 of Linux 6\.1\.0-test, out of the kernel's structures in the dump: .*RTADDR 0x140a400$/m,
    )
    expect(findings.some(({ text }) => /is not given|likely|guess/.test(text))).toBe(false)
  })

  it('of several IOMMUs: the first is taken, or the one that is named', async () => {
    const { path, root } = built({ units: 2 })
    const first = (await openInput(path)).graph()
    expect(first.deviceTable!.address).toBe(BigInt(root(0)))
    expect(first.findings.some(({ text }) => text === 'the kernel has 2 IOMMUs, dmar0, dmar1: choose with --unit NAME')).toBe(
      true,
    )
    expect((await openInput(path, { unit: 'dmar1' })).graph().deviceTable!.address).toBe(BigInt(root(1)))
    await expect(openInput(path, { unit: 'dmar2' })).rejects.toThrow(/has no IOMMU 'dmar2': it has dmar0, dmar1/)
  })

  it('is not asked by those who choose one that was searched for', async () => {
    await expect(openInput(built({}).path, { scan: 1 })).rejects.toThrow(/there are none/)
  })
})

if (!existsSync(captures)) console.warn(`skipped: ${captures} is missing`)
describe.skipIf(!existsSync(captures))('nothing is found', () => {
  it.each(['aarch64', 'riscv64', 'x86_64'])('in the dump of a small %s guest without an IOMMU', async (name) => {
    await expect(openInput(join(captures, 'dump-samples', `${name}-8M.elf.gz`))).rejects.toThrow(/there are none/)
  })
})

/** A dump of these pages from BASE on. */
const BASE = 0x8000_0000
function dumpOf(pages: readonly Int32Array[], leavesOutZeros: boolean): Dump {
  return {
    ...{ name: 'test', format: 'test', machine: null, vmcoreinfo: null, notes: [], remarks: [], leavesOutZeros, close() {} },
    ranges: () => [{ start: BASE, end: BASE + pages.length * 4096 }],
    load(frame, words, at) {
      const page = pages[frame - BASE / 4096]
      if (page !== undefined) words.set(page, at)
      return page !== undefined
    },
  }
}

describe('no devices are found', () => {
  /** Pages full of pointers to each other. */
  const pointers = (bits: number, high: number, every: number) =>
    Array.from({ length: 16 }, (_, page) =>
      Int32Array.from({ length: 1024 }, (_unused, word) => {
        if (word % every !== 0) return word % every === 1 ? high : 0
        return (BASE + ((page * 5 + word / every) % 16) * 4096) | bits
      }),
    )
  it('in pages that lead to each other, whatever their low bits', () => {
    const bits = fc.oneof(fc.constantFrom(0, 1, 3, 7, 9, 0x603, 0x67), fc.nat(0xfff))
    fc.assert(
      fc.property(
        bits,
        fc.constantFrom(0, 0x6000_0000, 1),
        fc.constantFrom(2, 4, 8, 16),
        fc.boolean(),
        (low, high, every, zeros) => {
          expect(() => scanDump(dumpOf(pointers(low, high, every), zeros), null)).toThrow(/there are none/)
        },
      ),
      { numRuns: 60 },
    )
  })
})
