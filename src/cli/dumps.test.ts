import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import { afterAll, describe, expect, it } from 'vitest'
import { PhysicalMemory } from '../memory/physical.ts'
import { type Pages, packZstd, writeElf, writeFlattened, writeKdump, writeLime } from '../node/dump/writers.suite.ts'
import { openCapture, openDump } from '../node/index.ts'
import { renderJson } from '../render/index.ts'
import { architectureOf } from './architectures.ts'
import { runCommand } from './commands.suite.ts'
import { CliError } from './common.ts'
import { openInput } from './input.ts'
import type { RegisterOptions } from './registers.ts'
import { showCommand } from './show.ts'
import { verifyCommand } from './verify.ts'
import { walkCommand } from './walk.ts'

const fixture = join(import.meta.dirname, '../../test/fixtures/arm64-smmuv3-s1')
const captures = join(import.meta.dirname, '../../../shared/captures')
const others = ['riscv64-sys', 'amd64-vtd-pasid-fs', 'amd64-amdvi-v1', 'arm64-smmuv3-pasid-2lvl'].map((name) =>
  join(captures, name),
)
const folder = mkdtempSync(join(tmpdir(), 'iomm-dumps-'))
afterAll(() => rmSync(folder, { recursive: true }))

async function pagesOf(capture: string): Promise<Pages> {
  const dump = await openDump(join(capture, 'tables.elf.gz'))
  const memory = new PhysicalMemory([], dump)
  const pages = new Map<number, Uint8Array>()
  for (const { start, end } of dump.ranges()) for (let pa = start; pa < end; pa += 4096) pages.set(pa, memory.read(pa, 4096))
  return pages
}

function file(name: string, bytes: Uint8Array | string): string {
  const path = join(folder, name)
  writeFileSync(path, bytes)
  return path
}

/** Every form, with the machine that the capture is of. */
const FORMS: [string, (pages: Pages, machine: number, name: string) => Uint8Array][] = [
  ['elf', (pages, machine) => writeElf(pages, { machine, phoff: 192, gap: 0x2f4 })],
  ['elf.gz', (pages, machine) => gzipSync(writeElf(pages, { machine }))],
  ['elf.zst', (pages, machine) => packZstd(writeElf(pages, { machine, xnum: true }))],
  ...(['none', 'zlib', 'lzo', 'snappy', 'zstd'] as const).map((packing): (typeof FORMS)[number] => [
    `kdump-${packing}`,
    (pages, _, machine) => writeKdump(pages, { packing, machine }),
  ]),
  ['kdump-flat', (pages, _, machine) => writeFlattened(writeKdump(pages, { machine, packing: 'lzo' }), 16384)],
  [
    'kdump-flat-backwards',
    (pages, _, machine) => writeFlattened(writeKdump(pages, { machine }), 65536, (count) => [...Array(count).keys()].reverse()),
  ],
  ['kdump-v1', (pages, _, machine) => writeKdump(pages, { machine, version: 1 })],
  ['lime', (pages) => writeLime(pages)],
]
const MACHINES: Record<string, [number, string]> = { arm64: [183, 'aarch64'], riscv64: [243, 'riscv64'], amd64: [62, 'x86_64'] }

/** All forms for one capture; for the others those that differ most. */
const FEW = ['elf', 'kdump-lzo', 'kdump-flat-backwards', 'lime']

describe.each([fixture, ...others].filter((capture) => existsSync(capture)))('a dump of the memory of %s', (capture) => {
  const name = basename(capture)
  const [machine, machineName] = MACHINES[name.split('-')[0]!]!
  const forms = FORMS.filter(([form]) => capture === fixture || FEW.includes(form))

  it(`gives the same picture as the capture, in ${forms.length} forms`, async () => {
    const { iommu, register, names, core } = await openCapture(capture)
    const { inspect } = architectureOf(iommu, capture)
    // Pages that the capture's facts allow to be zeros are absent in a dump.
    const expected = renderJson(inspect({ title: 'dump', memory: new PhysicalMemory([], core), register, names }))
    const pages = await pagesOf(capture)
    for (const [form, write] of forms) {
      mkdirSync(join(folder, form), { recursive: true })
      const path = file(join(form, 'dump'), write(pages, machine, machineName))
      const opened = await openInput(path, { registers: join(capture, 'side.json.gz') })
      expect(renderJson(opened.graph()) === expected, form).toBe(true)
    }
  })
})

describe('dumps as INPUT', () => {
  const side = join(fixture, 'side.json.gz')
  const registers = '--smmu=strtab-base=0x4000000044b72000,strtab-base-cfg=0x10210'

  async function failure(path: string, options: RegisterOptions = {}): Promise<CliError> {
    try {
      await openInput(path, options)
    } catch (error) {
      if (error instanceof CliError) return error
      throw error
    }
    throw new Error('nothing was thrown')
  }

  it('show, walk and verify read them', async () => {
    const path = file('vmcore', writeKdump(await pagesOf(fixture), { packing: 'zstd' }))
    const shown = await runCommand(showCommand(), [path, registers])
    expect(shown).toMatchObject({ exitCode: 0, stdout: expect.stringContaining('Stream table at 0x44b72000, 2 levels') })
    expect(shown.stdout).toMatch(/note +registers: IDR0 is not given: assumed 0x\w+ \(hardware that can do everything\)/)
    const walked = await runCommand(walkCommand(), [path, '0x30', '0xfffff000', '--registers', side, '--json'])
    const captured = await runCommand(walkCommand(), [fixture, '0x30', '0xfffff000', '--json'])
    expect(walked.exitCode).toBe(0)
    expect(JSON.parse(walked.stdout).outcome).toEqual(JSON.parse(captured.stdout).outcome)
    const assumed = await runCommand(walkCommand(), [path, '0x30', '0xfffff000', registers])
    expect(assumed).toMatchObject({ exitCode: 0, stderr: expect.stringContaining('note: registers: CR0 is not given') })
    const verified = await runCommand(verifyCommand(), [path, '--registers', side])
    const direct = await runCommand(verifyCommand(), [fixture])
    expect(verified.exitCode).toBe(0)
    expect(verified.stdout.split('\n').at(-2)).toBe(direct.stdout.split('\n').at(-2))
  })

  it('raw images need an address, in either way', async () => {
    // Sparse: 891 MiB, of which half a MiB takes room.
    const base = 0x44000000
    const path = join(folder, 'guest.ram')
    const descriptor = openSync(path, 'w')
    for (const [pa, page] of await pagesOf(fixture)) writeSync(descriptor, page, 0, 4096, pa - base)
    closeSync(descriptor)
    const expected = (await openInput(fixture)).graph().devices.map(({ id, state }) => [id, state])
    for (const opened of [
      await openInput(path, { base: BigInt(base), registers: side }),
      await openInput(`raw:0x${base.toString(16)}:${path}`, { registers: side }),
    ])
      expect(opened.graph().devices.map(({ id, state }) => [id, state])).toEqual(expected)
    expect((await failure(path, { registers: side })).message).toMatch(/guest\.ram at offset 0x0: .*--base 0x40000000/)
    expect(await failure(`raw:here:${path}`)).toMatchObject({
      exitCode: 2,
      message: expect.stringMatching(/'here' is no address/),
    })
  })

  it('without registers, and without tables that could be found, ask for those that fit the machine', async () => {
    const pages: Pages = new Map([[0x1000, new Uint8Array(4096).fill(0x5a)]])
    expect(await failure(file('a.elf', writeElf(pages)))).toMatchObject({
      exitCode: 2,
      message: expect.stringMatching(/--smmu strtab-base=.*stream tables that hold together: there are none/),
    })
    const x86 = (await failure(file('x.elf', writeElf(pages, { machine: 62 })))).message
    expect(x86).toMatch(/--vtd rtaddr=.*--amdvi dev-tab-base=/)
    expect(x86).not.toMatch(/--smmu|--riscv/)
  })

  it('of another machine than the registers are a finding', async () => {
    const path = file('wrong.elf', writeElf(await pagesOf(fixture), { machine: 62 }))
    const { findings } = (await openInput(path, { registers: side })).graph()
    expect(findings[0]).toEqual({
      severity: 'error',
      place: 'wrong.elf',
      text: expect.stringMatching(/dump of an x86-64 machine; an Arm SMMUv3 belongs to Arm/),
    })
  })

  it('take registers by any name that people write, and those of options before those of a file', async () => {
    const path = file('names.elf', writeElf(await pagesOf(fixture)))
    const list = [
      { name: 'SMMU_STRTAB_BASE', offset: '0x80', size: 8, value: '0x123000' },
      { name: 'strtab_base_cfg', value: 66064 },
    ]
    for (const content of [
      list,
      { registers: list },
      { iommu: 'smmuv3', registers: list.map((one) => ({ offset: 0x88, size: 4, ...one })) },
    ]) {
      const options = { registers: file('list.json', JSON.stringify(content)) }
      const { graph } = await openInput(path, { ...options, smmu: ['Strtab-Base=0x44b72000'] })
      expect(graph().deviceTable).toMatchObject({ address: 0x44b72000n, layout: '2 levels, 256 STEs per leaf' })
      expect((await openInput(path, options)).graph().deviceTable?.address).toBe(0x123000n)
    }
    const packed = { registers: file('side.gz', gzipSync(gunzipSync(readFileSync(side)))) }
    expect((await openInput(path, packed)).graph().devices[0]?.name).toBe('0000:00:00.0')
  })

  it.each<[RegisterOptions, number, RegExp]>([
    [{ smmu: ['strtab=1'] }, 2, /an Arm SMMUv3 has no register 'strtab'; it has idr0, .*strtab-base, /],
    [{ smmu: ['cr0'] }, 2, /expected NAME=VALUE, as in --smmu strtab-base=/],
    [{ smmu: ['cr0=on'] }, 2, /the value is no number/],
    [{ smmu: ['cr0=0x100000000'] }, 2, /CR0 has 32 bits; the value has more/],
    [{ smmu: ['cr0=1'] }, 2, /STRTAB_BASE is missing: it says where the tables are/],
    [{ riscv: ['capabilities=0'] }, 2, /ddtp is missing/],
    [{ smmu: ['base=0'], vtd: ['rtaddr=0'] }, 2, /--smmu and --vtd: one kind of IOMMU at a time/],
    [{ registers: '[{"name":"CR0","value":true}]' }, 3, /list\.json at \$\[0\]\.value/],
    [{ registers: '[{"name":"ECAP","value":1}]' }, 2, /RTADDR is missing/],
    [{ registers: '[{"name":"X","value":1}]' }, 3, /the names do not tell which IOMMU/],
    [{ registers: '{"iommu":"ummv9","registers":[]}' }, 4, /the IOMMU is 'ummv9'/],
    [{ registers: '{"iommu":"vtd","registers":[]}', smmu: ['base=0'] }, 2, /has the registers of another IOMMU \('vtd'\)/],
    [{ registers: 'registers' }, 3, /is no JSON/],
  ])('say what is wrong with registers: %j', async (options, exitCode, message) => {
    const path = file('some.elf', writeElf(new Map([[0x1000, new Uint8Array(4096)]])))
    const given = options.registers === undefined ? options : { ...options, registers: file('list.json', options.registers) }
    expect(await failure(path, given)).toMatchObject({ exitCode, message: expect.stringMatching(message) })
  })

  it('that are none are named for what they are', async () => {
    const text = { log: '[    1.234567] DMAR: fault', json: gunzipSync(readFileSync(side)), scenario: 'devices: 7' }
    expect((await failure(file('dmesg', text.log))).message).toMatch(/a kernel log: 'iomm explain'/)
    expect((await failure(file('facts', text.json))).message).toMatch(/a capture's side\.json: give the folder/)
    expect((await failure(file('anything', text.scenario))).message).toMatch(/mistake.* in the scenario/)
    expect((await failure(file('disk', Uint8Array.from(Buffer.from('QFI\xfb0000', 'latin1'))))).message).toMatch(
      /a qcow2 disk image/,
    )
    expect(await failure(join(folder, 'nowhere'))).toMatchObject({
      exitCode: 3,
      message: expect.stringMatching(/no such file or folder/),
    })
  })

  it('scenarios are found by content, packed or not', async () => {
    const text = readFileSync(join(import.meta.dirname, '../../examples/two-domains.yaml'))
    expect((await openInput(file('scenario.txt', gzipSync(text)))).graph().devices.length).toBeGreaterThan(0)
  })
})
