import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import { afterAll, describe, expect, it } from 'vitest'
import { openCapture } from '../node/index.ts'
import { runCommand } from './commands.suite.ts'
import { EXIT_FINDINGS, EXIT_INPUT, EXIT_OK } from './common.ts'
import { openedCapture } from './input.ts'
import { verifyCommand } from './verify.ts'

const fixture = join(import.meta.dirname, '../../test/fixtures/arm64-smmuv3-s1')
const captures = join(import.meta.dirname, '../../../shared/captures')
const folder = mkdtempSync(join(tmpdir(), 'iomm-verify-'))
afterAll(() => rmSync(folder, { recursive: true }))

const verify = (...args: string[]) => runCommand(verifyCommand(), args)
const lastLine = (text: string) => text.trimEnd().split('\n').at(-1)

/** The parts of side.json that the tests change. */
type Item = Record<string, unknown>
interface Side extends Record<'expected' | 'guest_dma' | 'kernel_mappings' | 'faults_provoked' | 'registers', Item[]> {
  tables: Record<string, Item & { ste: string[]; spaces: Record<string, Item & { leaf_histogram?: Record<string, number> }> }>
  ste_without_tables: Record<string, number>
}
/** The tables of the device that most tests are about. */
const lab = (side: Side) => side.tables['0000:00:06.0']!

/** The fixture with something changed in what it tells, or in its memory. @param few with the first few items only. */
function changed(change: (side: Side, elf: DataView) => void, few = true): string {
  const copy = mkdtempSync(join(folder, 'capture-'))
  cpSync(fixture, copy, { recursive: true })
  const side: Side = JSON.parse(gunzipSync(readFileSync(join(fixture, 'side.json.gz'))).toString())
  if (few) for (const list of ['expected', 'guest_dma', 'kernel_mappings'] as const) side[list].length = 20
  const elf = new Uint8Array(gunzipSync(readFileSync(join(fixture, 'tables.elf.gz'))))
  change(side, new DataView(elf.buffer, elf.byteOffset))
  writeFileSync(join(copy, 'side.json.gz'), gzipSync(JSON.stringify(side)))
  writeFileSync(join(copy, 'tables.elf.gz'), gzipSync(elf))
  return copy
}

/** Where a physical address lies in the file. */
function fileOffset(elf: DataView, pa: number): number {
  const table = Number(elf.getBigUint64(32, true))
  for (let index = 0; index < elf.getUint16(56, true); index++) {
    const at = table + index * 56
    const start = Number(elf.getBigUint64(at + 24, true))
    if (elf.getUint32(at, true) === 1 && pa >= start && pa < start + Number(elf.getBigUint64(at + 32, true)))
      return Number(elf.getBigUint64(at + 8, true)) + pa - start
  }
  throw new Error('not in the file')
}

describe('iomm verify', () => {
  it('passes every item of the fixture, and ends with the counts', async () => {
    const { stdout, exitCode } = await verify(fixture)
    expect(exitCode).toBe(EXIT_OK)
    // 784 + 437 + 556 + 20, a line for each of 13 devices and 9 address spaces, and one for the other STEs.
    expect(lastLine(stdout)).toBe('1820 passed, 0 failed')
    expect(stdout).toMatch(/faults_provoked\[10\].*fault-read-from-wo: the tables permit this access/)
  })

  it('passes every SMMUv3 capture', async ({ skip }) => {
    const found = existsSync(captures) ? readdirSync(captures).filter((name) => name.startsWith('arm64-smmuv3')) : []
    if (found.length === 0) skip('../shared/captures is not here')
    const { stdout, exitCode } = await verify(...found.map((name) => join(captures, name)))
    expect(lastLine(stdout)).toMatch(/^\d+ passed, 0 failed$/)
    expect(exitCode).toBe(EXIT_OK)
  })

  it.each<[string, (side: Side) => void, string]>([
    ['an expected address', (side) => (side.expected[3]!.pa = '0x1000'), 'expected[3]'],
    ['an expected permission', (side) => (side.expected[3]!.perm = 'r'), 'expected[3]'],
    ['a page size', (side) => (side.guest_dma[4]!.page_size = 65536), 'guest_dma[4]'],
    ['the last byte of a mapping', (side) => (side.kernel_mappings[5]!.size = '0x20000000'), 'kernel_mappings[5]'],
    ['a permission of a mapping', (side) => (side.kernel_mappings[1]!.pte_perm = 'rw'), 'kernel_mappings[1]'],
    ['an access that should fault', (side) => (side.faults_provoked[0]!.iova = side.guest_dma[0]!.iova), 'faults_provoked[0]'],
    ['the device of an item', (side) => (side.guest_dma[4]!.devid = 64), 'guest_dma[4]'],
    ['a word of an STE', (side) => (lab(side).ste[1] = '00000000000000d7'), 'tables (0000:00:06.0)'],
    ['a field of an STE', (side) => (lab(side).s1dss = 1), 'tables (0000:00:06.0)'],
    ['an ASID', (side) => (lab(side).spaces.none!.asid = 9), 'tables (0000:00:06.0, no PASID)'],
    ['a granule', (side) => (lab(side).spaces.none!.granule = 16384), 'tables (0000:00:06.0, no PASID)'],
    ['a format', (side) => (lab(side).spaces.none!.fmt = 'vmsav8-64-s2'), 'tables (0000:00:06.0, no PASID)'],
    ['a leaf count', (side) => lab(side).spaces.none!.leaf_histogram!['4096']!--, 'tables (0000:00:06.0, no PASID)'],
    ['a PASID', (side) => (lab(side).spaces['3'] = {}), 'tables (0000:00:06.0, PASID 3)'],
    ['the number of other STEs', (side) => side.ste_without_tables.config0!++, 'ste_without_tables.config0'],
  ])('fails when %s is another one, and names the item', async (_, change, item) => {
    const { stdout, exitCode } = await verify(changed(change))
    expect(exitCode).toBe(EXIT_FINDINGS)
    expect(lastLine(stdout)).toMatch(/^\d+ passed, 1 failed$/)
    expect(stdout).toContain(`\n  ${item}`)
    expect(stdout).toMatch(/expected: .*\n {4}actual: /)
  })

  it('explains a failure with the walk that led to it', async () => {
    const broken = changed((_, elf) => {
      // The level 0 table of 0000:00:06.0 loses its entries.
      for (let at = 0; at < 4096; at += 8) elf.setBigUint64(fileOffset(elf, 0x44914000) + at, 0n, true)
    }, false)
    const { stdout, exitCode } = await verify(broken)
    expect(exitCode).toBe(EXIT_FINDINGS)
    expect(stdout).toMatch(/179 faults with F_TRANSLATION/)
    expect(stdout).toMatch(/VMSAv8-64 stage 1, 4 KiB level 0 at 0x44914000/)
  })

  it('stops at the first failure with --first', async () => {
    const broken = changed((side) => {
      for (const item of side.expected) item.pa = '0x1000'
    })
    const { stdout } = await verify(broken, fixture, '--first')
    expect(lastLine(stdout)).toBe('0 passed, 1 failed')
  })

  it('gives the same as JSON', async () => {
    const broken = changed((side) => (side.expected[3]!.pa = '0x1000'))
    const { stdout } = await verify(broken, '--json')
    const json = JSON.parse(stdout)
    expect(json).toMatchObject({ passed: 102, failed: 1 })
    const list = json.files[0].lists[0]
    expect(list).toMatchObject({ name: 'expected', passed: 19, failed: 1, kinds: { 'wrong address': 1 } })
    expect(list.first[0].explain).toContain('STE')
  })

  it('says what facts it does not compare', async () => {
    const { stdout } = await verify(changed((side) => (lab(side).spaces.none!.colour = 3)))
    expect(stdout).toContain("tables: 'colour' is not compared (1 times)")
  })

  it('refuses what it cannot read', async () => {
    expect(await verify(join(folder, 'nowhere'))).toMatchObject({
      exitCode: EXIT_INPUT,
      stderr: expect.stringContaining('no such file'),
    })
    expect(await verify(folder)).toMatchObject({ exitCode: EXIT_INPUT, stderr: expect.stringContaining('nothing to verify') })
    const torn = changed((side) => (side.registers[2]!.size = 5))
    expect(await verify(torn)).toMatchObject({ exitCode: EXIT_INPUT, stderr: expect.stringContaining('$.registers[2].size') })
  })
})

describe('fault records', () => {
  it('are, bit for bit, those that the machine recorded for the same accesses', async () => {
    const capture = await openCapture(fixture)
    const machine = openedCapture(capture)
    const recorded = new Set(machine.graph().events!.map(({ words }) => words.join()))
    const faults = capture.side.faults_provoked
      .map(({ devid, iova, access }) => {
        const transaction = { device: devid!, iova, access: access === 'w' ? ('write' as const) : ('read' as const) }
        return machine.model.explain(transaction).outcome
      })
      .filter((outcome) => !outcome.ok)
    expect(faults.length).toBe(19)
    for (const fault of faults) expect(recorded).toContain(fault.ok ? '' : fault.record!.join())
  })
})

describe('iomm verify, several inputs', () => {
  it('goes on after an input that cannot be read, still ends with the count, and exits with the worst code', async () => {
    const { stdout, stderr, exitCode } = await verify(join(folder, 'nothing'), fixture)
    expect(exitCode).toBe(EXIT_INPUT)
    expect(stderr).toContain('no such file or folder')
    expect(lastLine(stdout)).toMatch(/^[1-9]\d* passed, 0 failed$/)
  })

  it('lets no text of a capture steer the terminal', async () => {
    const path = changed((side) => {
      const [item] = side.faults_provoked
      Object.assign(item!, { what: '\u001b[31mW', iova: '0xfffff000', walk: null })
    })
    const { stdout, exitCode } = await verify(path)
    expect(exitCode).toBe(EXIT_FINDINGS)
    expect(stdout).not.toContain('\u001b')
    expect(stdout).toContain('?[31mW')
  })

  it('does not call it fine when nothing was checked', async () => {
    const path = changed((side) => {
      for (const list of ['expected', 'guest_dma', 'kernel_mappings', 'faults_provoked'] as const) side[list].length = 0
      side.tables = {}
      side.ste_without_tables = {}
    })
    const { stdout, stderr, exitCode } = await verify(path)
    expect([exitCode, lastLine(stdout)]).toEqual([EXIT_INPUT, '0 passed, 0 failed'])
    expect(stderr).toContain('nothing was checked')
  })
})
