import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { runCommand } from './commands.suite.ts'
import { EXIT_FINDINGS, EXIT_INPUT, EXIT_OK } from './common.ts'
import { explainCommand } from './explain.ts'
import { verifyCommand } from './verify.ts'

const root = join(import.meta.dirname, '../..')
const fixture = join(root, 'test/fixtures/arm64-smmuv3-s1')
const corpus = join(root, '../shared/logs/public.jsonl')

let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'iomm-explain-'))
})
afterAll(() => rm(folder, { recursive: true }))

async function file(name: string, contents: string | Uint8Array): Promise<string> {
  const path = join(folder, name)
  await writeFile(path, contents)
  return path
}
const explain = (...args: string[]) => runCommand(explainCommand(), args)

const FAULT =
  'DMAR: [DMA Read NO_PASID] Request device [00:16.7] fault addr 0xdceff000 [fault reason 0x06] PTE Read access is not set\n'
const SMMU = `arm-smmu-v3 9050000.smmuv3: event: F_PERMISSION client: 0000:00:06.0 sid: 0x30 ssid: 0x0 iova: 0xff1f7020 ipa: 0x0
arm-smmu-v3 9050000.smmuv3: unpriv data write s1 "Input address caused fault" stag: 0x0
`

describe('iomm explain', () => {
  it('says who, which address, why and what to look at; and that there were findings', async () => {
    const { stdout, exitCode } = await explain(await file('one.txt', FAULT))
    expect(exitCode).toBe(EXIT_FINDINGS)
    expect(stdout).toMatch(/^DMA read of 0xdceff000 by 0000:00:16\.7 refused: PTE Read access is not set\n/)
    expect(stdout).toMatch(/PASID: +none/)
    expect(stdout).toMatch(/meaning: fault reason 0x06 \(LGN\.3\): read/)
    expect(stdout).toContain('Likely causes:')
    expect(stdout).toMatch(/\n1 report\.\n$/)
  })

  it('counts alike reports once, with their addresses', async () => {
    const lines = ['ffff0000', 'fffe0000', 'fffd0000'].map((at) => FAULT.replace('dceff000', at)).join('')
    const { stdout } = await explain(await file('three.txt', lines))
    expect(stdout).toMatch(/^3 times: DMA read of 0xffff0000 and others by 0000:00:16\.7 refused/)
    expect(stdout).toContain('  Intel VT-d, lines 1, 2, 3\n')
    expect(stdout).toContain('address: 0xffff0000, 0xfffe0000, 0xfffd0000')
    expect(stdout).toContain('3 reports of 1 kind.')
  })

  it('puts what kind of address it is below the address, and wraps values below values', async () => {
    const lines = (await explain(await file('wrap.txt', FAULT))).stdout.split('\n')
    const at = lines.findIndex((line) => line.startsWith('  address: 0xdceff000'))
    expect(lines[at + 1]).toMatch(/^ {11}perhaps neither near 4 GiB/)
    expect(lines[at + 2]).toMatch(/^ {11}\S/)
  })

  it('writes numbers as kernels do: in hex', async () => {
    const index =
      'DMAR: [INTR-REMAP] Request device [00:11.0] fault index 3b [fault reason 38] Blocked an interrupt request due to source-id verification failure\n'
    expect((await explain(await file('index.txt', index))).stdout).toMatch(/fields: +fault index 0x3b/)
    const domain = 'AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x001a address=0xfffc8000 flags=0x0050]\n'
    expect((await explain(await file('domain.txt', domain))).stdout).toMatch(/fields: +domain 0x1a,/)
  })

  it('leaves abbreviations as they are', async () => {
    const fault = (cause: number) => `riscv,iommu 10010000.iommu: Fault ${cause} devid: 0x10 iotval: 82d00000 iotval2: 0\n`
    expect((await explain(await file('mrif.txt', fault(264)))).stdout).toMatch(/meaning: cause 264 .*: MRIF access fault/)
    expect((await explain(await file('page.txt', fault(15)))).stdout).toMatch(/: write\/AMO page fault/)
  })

  it('says so where nothing is reported', async () => {
    const { stdout, exitCode } = await explain(await file('none.txt', 'DMAR: IOMMU enabled\nhello\n'))
    expect(exitCode).toBe(EXIT_OK)
    expect(stdout).toContain('Nothing in 2 lines is a report')
  })

  it('gives the reports and explanations as JSON', async () => {
    const { stdout } = await explain(await file('json.txt', FAULT), '--json')
    const { reports } = JSON.parse(stdout)
    expect(reports).toHaveLength(1)
    expect(reports[0].report).toEqual({
      kind: 'dma-fault',
      device: '0000:00:16.7',
      pasid: null,
      address: '0xdceff000',
      access: 'read',
      code: 6,
      name: 'PTE Read access is not set',
      fields: { failed_at: 'page-table' },
    })
    expect(reports[0].explanation.address.kinds[0].kind).toBe('below-4g')
  })

  it('reads packed logs, and UTF-16 as Windows writes it', async () => {
    expect((await explain(await file('log.gz', gzipSync(FAULT)))).stdout).toContain('\n1 report.\n')
    const wide = Buffer.concat([Buffer.from([0xff, 0xfe]), Buffer.from(FAULT, 'utf16le')])
    expect((await explain(await file('wide.txt', wide))).stdout).toContain('\n1 report.\n')
  })

  it('refuses what is no text, and names the place', async () => {
    const { stderr, exitCode } = await explain(await file('binary', new Uint8Array([0x7f, 0x45, 0x4c, 0x46, 0, 1])))
    expect(exitCode).toBe(EXIT_INPUT)
    expect(stderr).toContain('at offset 0x4: is no text')
    expect((await explain(join(folder, 'absent'))).exitCode).toBe(EXIT_INPUT)
  })

  it('names devices where the log has their ids and a list has the names', async () => {
    const ids = await file('pci.ids', '1b4b  Some Maker\n\t9125  Some Controller\n')
    const log = `pci 0000:03:00.0: [1b4b:9125] type 00 class 0x010601\n${FAULT.replace('00:16.7', '03:00.0')}`
    expect((await explain(await file('named.txt', log), '--pci-ids', ids)).stdout).toContain(
      '0000:03:00.0 (Some Maker Some Controller)',
    )
    const { exitCode, stderr } = await explain(await file('one.txt', FAULT), '--pci-ids', join(folder, 'absent'))
    expect(exitCode).toBe(EXIT_INPUT)
    expect(stderr).toContain('no such file')
  })

  it('walks the address through the tables of a machine, and shows the entry that decided', async () => {
    const { stdout } = await explain(await file('smmu.txt', SMMU), '--machine', fixture)
    expect(stdout).toContain('These tables refuse it too.')
    expect(stdout).toMatch(/level 3 at 0x45089fb8/)
    expect(stdout).toContain('faults: F_PERMISSION (0x13), stage 1, level 3')
  })

  it('says so where the tables of the machine do not agree with the log', async () => {
    const mapped = SMMU.replace('iova: 0xff1f7020', 'iova: 0xfffff000')
    expect((await explain(await file('mapped.txt', mapped), '--machine', fixture)).stdout).toContain('These tables translate it:')
    const other = SMMU.replace('iova: 0xff1f7020', 'iova: 0x1000')
    expect((await explain(await file('other.txt', other), '--machine', fixture)).stdout).toContain(
      'with another code (F_TRANSLATION)',
    )
  })

  it('lets no log steer the terminal', async () => {
    const { stdout } = await explain(
      await file('escape.txt', `DMAR: \u001b]0;title\u0007 error \u202eevil\u001b[2J failed\n${FAULT}`),
    )
    expect(stdout).not.toMatch(/[\u001b\u0007\u202e]/)
  })
})

if (!existsSync(corpus)) console.warn(`skipped: ${corpus} is missing`)
describe.skipIf(!existsSync(corpus))('the corpus of real logs', () => {
  it('is reported as expected, every field of every report', async () => {
    const { stdout, exitCode } = await runCommand(verifyCommand(), [corpus])
    expect(stdout).toContain('\n40 passed, 0 failed\n')
    expect(exitCode).toBe(EXIT_OK)
  })
})

describe('iomm verify, logs', () => {
  const entry = (report: object) => JSON.stringify({ id: 'one', arch: 'intel-vtd', log: FAULT, reports: [report] })
  const right = { kind: 'dma-fault', device: '0000:00:16.7', pasid: null, address: '0xdceff000', access: 'read', code: 6 }
  const whole = { ...right, name: 'PTE Read access is not set', fields: { failed_at: 'page-table', color: 'red' } }

  it('compares the eight fields, and further ones that both sides have', async () => {
    const { stdout } = await runCommand(verifyCommand(), [await file('right.jsonl', entry(whole))])
    expect(stdout).toContain('1 passed, 0 failed')
    expect(stdout).toContain('further fields that are expected and not given: color (1)')
  })

  it.each([
    ['another kind', { ...whole, kind: 'other' }, 'different kind'],
    ['another address', { ...whole, address: '0xdceff001' }, 'different address'],
    ['another further field', { ...whole, fields: { failed_at: 'root-entry' } }, 'different fields.failed_at'],
  ])('fails on %s', async (_, report, kind) => {
    const { stdout, exitCode } = await runCommand(verifyCommand(), [await file('wrong.jsonl', entry(report))])
    expect(exitCode).toBe(EXIT_FINDINGS)
    expect(stdout).toContain(`1 ${kind}`)
  })

  it('fails on reports that are missing, and on those that are too many', async () => {
    const line = (reports: object[]) => JSON.stringify({ id: 'one', log: FAULT, reports })
    expect((await runCommand(verifyCommand(), [await file('few.jsonl', line([whole, whole]))])).stdout).toContain(
      'missing report',
    )
    expect((await runCommand(verifyCommand(), [await file('many.jsonl', line([]))])).stdout).toContain('report too many')
  })
})
