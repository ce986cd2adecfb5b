import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import { afterAll, describe, expect, it } from 'vitest'
import { openCapture } from '../node/index.ts'
import { memoryOf } from './architectures/contract.ts'
import { VTD } from './architectures/vtd.ts'
import { runCommand } from './commands.suite.ts'
import { EXIT_FINDINGS, EXIT_OK } from './common.ts'
import { showCommand } from './show.ts'
import { verifyCommand } from './verify.ts'
import { walkCommand } from './walk.ts'

const fixtures = join(import.meta.dirname, '../../test/fixtures')
const legacy = join(fixtures, 'amd64-vtd-legacy')
const processes = join(fixtures, 'amd64-vtd-pasid-sva')
const captures = join(import.meta.dirname, '../../../shared/captures')
const folder = mkdtempSync(join(tmpdir(), 'iomm-vtd-'))
afterAll(() => rmSync(folder, { recursive: true }))

const verify = (...args: string[]) => runCommand(verifyCommand(), args)
const lastLine = (text: string) => text.trimEnd().split('\n').at(-1)

/** What the fixtures tell, as their tests change it. */
interface Side {
  sva_pages: { pa: string }[]
  tables: Record<string, { ce: string[]; spaces: Record<string, { pe: string[]; did: number; levels: number }> }>
}

describe('iomm verify, Intel IOMMUs', () => {
  it('passes every item of the fixtures: legacy tables, and PASIDs of processes', async () => {
    const { stdout, exitCode } = await verify(legacy, processes)
    expect(exitCode).toBe(EXIT_OK)
    // 120 + 437 + 556 + 20 + 24 + 20, and 80 + 278 + 250 + 300 + 300 + 52.
    expect(lastLine(stdout)).toBe('2437 passed, 0 failed')
    for (const list of ['sva_pages', 'ats_translations']) expect(stdout).toMatch(new RegExp(`${list} +300 passed +0 failed`))
  })

  it('passes every capture, all in one go', async ({ skip }) => {
    const found = existsSync(captures) ? readdirSync(captures).filter((name) => name.startsWith('amd64-vtd')) : []
    if (found.length === 0) skip('../shared/captures is not here')
    expect(found.length).toBe(5)
    const { stdout, exitCode } = await verify(...found.map((name) => join(captures, name)))
    expect(lastLine(stdout)).toBe('9216 passed, 0 failed')
    expect(exitCode).toBe(EXIT_OK)
    expect(stdout).toContain("20 of 20 have reasons of legacy mode, which QEMU's second stage reports in scalable mode too")
  })

  it('checks the fault reason that QEMU reported', async () => {
    const copy = mkdtempSync(join(folder, 'capture-'))
    cpSync(legacy, copy, { recursive: true })
    const side = JSON.parse(gunzipSync(readFileSync(join(legacy, 'side.json.gz'))).toString())
    side.faults_traced[0].reason = 6
    writeFileSync(join(copy, 'side.json.gz'), gzipSync(JSON.stringify(side)))
    const { stdout } = await verify(copy)
    expect(stdout).toContain('faults_traced[0] (device 0x30, write 0x7700000000): another fault reason')
    expect(stdout).toMatch(/expected: LGN\.3 \(0x6\)\n +actual: +LGN\.2 \(0x5\)/)
  })

  it.each<[string, (side: Side) => void, string]>([
    ["a process's page", (side) => (side.sva_pages[7]!.pa = '0x1000'), 'sva_pages[7]'],
    ['a context entry', (side) => (side.tables['0000:00:06.0']!.ce[0] = '0'), 'tables (0000:00:06.0)'],
    ['a PASID table entry', (side) => (side.tables['0000:00:06.0']!.spaces['64']!.pe[2] = '0'), 'PASID 64'],
    ['a domain id', (side) => (side.tables['0000:01:00.0']!.spaces.none!.did = 99), 'no PASID'],
    ['the number of levels', (side) => (side.tables['0000:01:00.0']!.spaces['5']!.levels = 5), 'PASID 5'],
  ])('fails when %s is told wrongly', async (_, change, item) => {
    const copy = mkdtempSync(join(folder, 'capture-'))
    cpSync(processes, copy, { recursive: true })
    const side: Side = JSON.parse(gunzipSync(readFileSync(join(processes, 'side.json.gz'))).toString())
    change(side)
    writeFileSync(join(copy, 'side.json.gz'), gzipSync(JSON.stringify(side)))
    const { stdout, exitCode } = await verify(copy)
    expect(exitCode).toBe(EXIT_FINDINGS)
    expect(stdout).toContain(item)
    expect(lastLine(stdout)).toMatch(/, 1 failed$/)
  })
})

describe('iomm show, Intel IOMMUs', () => {
  const show = async (input: string) => JSON.parse((await runCommand(showCommand(), [input, '--json'])).stdout)

  it('names devices and domains of a legacy machine, and the last fault that it recorded', async () => {
    const { devices, spaces, events, findings } = await show(legacy)
    expect(devices).toHaveLength(12)
    expect(spaces).toHaveLength(10)
    expect(spaces.map(({ role }: { role: string }) => role)).toEqual(Array(10).fill('io_pgtable'))
    expect(events).toMatchObject([
      { structure: 'LGN.1 (0x4)', text: expect.stringContaining('0000:01:00.0 write 0x1000000001000') },
    ])
    expect(findings.filter(({ severity }: { severity: string }) => severity !== 'note')).toEqual([])
  })

  it('names every PASID of a machine with processes, and which of them is one', async () => {
    const { pasidTables, spaces } = await show(processes)
    const entries = pasidTables.map((table: { entries: { pasid: number }[] }) => table.entries.map(({ pasid }) => pasid))
    const many = [0, 1, 2, 5, 64, 65, 1000, 17185, 1048575]
    expect(entries.filter(({ length }: number[]) => length > 1)).toEqual([many, many, many])
    const processSpaces = spaces.filter(({ role }: { role: string }) => role === 'io_mm')
    expect(processSpaces.map(({ label }: { label: string }) => label)).toEqual(['PASID 1 of 0000:00:06.0 and 2 more'])
  })
})

describe('iomm walk, Intel IOMMUs', () => {
  const walk = (...args: string[]) => runCommand(walkCommand(), args)

  it('shows each entry on the way to a page of a process', async () => {
    const { stdout, exitCode } = await walk(processes, '00:06.0:1', '0x400123')
    expect(exitCode).toBe(EXIT_OK)
    for (const entry of ['root entry', 'context entry', 'PASID directory entry', 'PASID table entry', 'first stage level 1'])
      expect(stdout).toContain(entry)
    expect(lastLine(stdout)).toMatch(/^goes to 0x13d4ea123, in a page of 4 KiB/)
  })

  it('shows a fault with its record, field by field', async () => {
    const { stdout, exitCode } = await walk(legacy, '00:06.0', '0x7700000000', '--write')
    expect(exitCode).toBe(EXIT_FINDINGS)
    expect(stdout).toContain('SID=0x30')
    expect(stdout).toContain('FR=5')
  })
})

describe('what a dump leaves out', () => {
  it('are pages of the interrupt table and of queues that are all zero: they read so', async () => {
    const capture = await openCapture(legacy)
    const table = Number(capture.register(0xb8, 8)! & ~0xfffn)
    expect(capture.memory.answers(table)).toBe(true)
    expect(capture.memory.answers(table + 0x1000)).toBe(false)
    const memory = memoryOf(capture, VTD)
    expect(memory.read64(table)).toBe(capture.memory.read64(table))
    expect(memory.read64(table + 0xff000)).toBe(0n)
    expect(memory.answers(table + 0x10_0000)).toBe(false)
  })
})

describe('rights of a translation by an Intel IOMMU', () => {
  it('are those that the picture shows: without SRE and ERE nobody makes privileged requests or executes', async () => {
    const walked = await runCommand(walkCommand(), [processes, '00:06.0:1', '0x400000'])
    expect(lastLine(walked.stdout)).toMatch(/permissions r--\/---$/)
    const { spaces } = JSON.parse((await runCommand(showCommand(), [processes, '--json'])).stdout) as {
      spaces: { role: string; ranges: { rights: string }[] }[]
    }
    const rights = new Set(
      spaces.filter(({ role }) => role === 'io_mm').flatMap(({ ranges }) => ranges.map((range) => range.rights)),
    )
    expect(rights).toContain('r--/---')
    for (const each of rights) expect(each).toMatch(/^[r-][w-]-\/---$/)
  })
})
