import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { runCommand } from './commands.suite.ts'
import { EXIT_OK, EXIT_USAGE } from './common.ts'
import { showCommand } from './show.ts'

const root = join(import.meta.dirname, '../..')
const fixture = join(root, 'test/fixtures/arm64-smmuv3-s1')
const captures = join(root, '../shared/captures')
const scenario = join(root, 'examples/two-domains.yaml')
const folder = mkdtempSync(join(tmpdir(), 'iomm-show-'))
afterAll(() => rmSync(folder, { recursive: true }))

const show = (...args: string[]) => runCommand(showCommand(), args)

describe('iomm show', () => {
  it('draws a captured machine, and names its PCI devices and what is mapped', async () => {
    const { stdout, exitCode } = await show(fixture)
    expect(exitCode).toBe(EXIT_OK)
    for (const name of ['0000:00:02.0', 'nvme, 1b36:0010', 'e1000e, 8086:10d3', '0000:01:00.0']) expect(stdout).toContain(name)
    expect(stdout).toContain('503 entries: abort')
    expect(stdout).toMatch(/0x00000000fffe0000 {2}0x00000000fffedfff {2}56 KiB .* 0x0000000044c72000/)
    expect(stdout).not.toContain('\u001b[')
  })

  it('draws every SMMUv3 capture', async ({ skip }) => {
    const found = existsSync(captures) ? readdirSync(captures).filter((name) => name.startsWith('arm64-smmuv3')) : []
    if (found.length === 0) skip('../shared/captures is not here')
    for (const name of found) {
      const { stdout } = await show(join(captures, name), '--json')
      const { devices, spaces, findings } = JSON.parse(stdout)
      expect(devices.length, name).toBeGreaterThan(8)
      expect(spaces.length, name).toBeGreaterThanOrEqual(devices.length)
      expect(
        findings.filter(({ severity }: { severity: string }) => severity === 'error'),
        name,
      ).toEqual([])
    }
  })

  it('draws a scenario as it is after its last step', async () => {
    const { stdout } = await show(scenario)
    expect(stdout).toContain('io_mm → mm Y')
    expect(stdout).toContain('io_mm → private')
  })

  it('says more with -v, and everything with -vv', async () => {
    const lengths: number[] = []
    for (const level of [[], ['-v'], ['-vv']]) lengths.push((await show(scenario, ...level)).stdout.length)
    expect(lengths[1]).toBeGreaterThan(2 * lengths[0]!)
    expect(lengths[2]).toBeGreaterThan(lengths[1]!)
    expect((await show(scenario, '-v')).stdout).toContain('S1ContextPtr')
  })

  it('keeps to ASCII when asked', async () => {
    const { stdout } = await show(fixture, '--ascii', '-v')
    expect(stdout).toMatch(/^[\x00-\x7f]*$/)
  })

  it('writes files whole, by the ending of their names', async () => {
    const path = (name: string) => join(folder, name)
    const { stdout, stderr } = await show(scenario, '-o', path('machine.svg'))
    expect(stdout).toBe('')
    expect(stderr).toBe(`wrote ${path('machine.svg')}\n`)
    expect(readFileSync(path('machine.svg'), 'utf8')).toMatch(/^(<\?xml[^>]*>\s*)?<svg[\s\S]*<\/svg>\n$/)
    await show(scenario, '-o', path('machine.json'))
    expect(JSON.parse(readFileSync(path('machine.json'), 'utf8')).iommu).toBe('Arm SMMUv3')
    await show(scenario, '-o', path('machine.txt'))
    expect(readFileSync(path('machine.txt'), 'utf8')).toContain('mm Y')
    expect(readdirSync(folder).sort()).toEqual(['machine.json', 'machine.svg', 'machine.txt'])
  })

  it('leaves the old file when it cannot write a new one, and says why', async () => {
    const { exitCode, stderr } = await show(scenario, '-o', join(folder, 'nowhere', 'machine.svg'))
    expect([exitCode, stderr]).toEqual([EXIT_USAGE, expect.stringMatching(/^iomm: cannot write .*nowhere/)])
  })

  it('refuses names that do not say what to write, and contradictions', async () => {
    expect(await show(scenario, '-o', 'machine.png')).toMatchObject({
      exitCode: EXIT_USAGE,
      stderr: expect.stringContaining('.svg, .json or .txt'),
    })
    expect(await show(scenario, '--json', '-o', 'machine.svg')).toMatchObject({ exitCode: EXIT_USAGE })
  })

  it('names the place of a mistake in a scenario', async () => {
    const file = join(folder, 'wrong.yaml')
    writeFileSync(file, 'devices:\n  nic: { id: 1, pasidbits: 8 }\n')
    const { exitCode, stderr } = await show(file)
    rmSync(file)
    expect(exitCode).toBe(3)
    expect(stderr).toMatch(/wrong\.yaml:2:17: /)
  })
})
