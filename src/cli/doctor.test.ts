import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { runCommand } from './commands.suite.ts'
import { EXIT_FINDINGS, EXIT_INPUT, EXIT_OK, EXIT_USAGE } from './common.ts'
import { doctorCommand } from './doctor.ts'

const fixture = join(import.meta.dirname, '../../test/fixtures/arm64-smmuv3-s1')
const doctor = (...args: string[]) => runCommand(doctorCommand(), args)
let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'iomm-doctor-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

function file(name: string, text: string): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

describe('iomm doctor', () => {
  it('reads the registers of a capture: this one takes no SubstreamIDs', async () => {
    const { stdout, exitCode } = await doctor(fixture)
    expect(exitCode).toBe(EXIT_FINDINGS)
    expect(stdout).toMatch(/FAIL {4}it takes SubstreamIDs\n {10}IDR1\.SSIDSIZE = 0\n {10}→ /)
    expect(stdout).not.toContain('pass    ')
    expect((await doctor(fixture, '--all')).stdout).toMatch(/pass {4}it has stage 1/)
  })

  it('takes texts in any order and says what it took each for', async () => {
    const log = file('log', '[ 0.1] AMD-Vi: Extended features (0x5000f0000a9d7, 0x0): PreF PPR\n')
    const line = file('cmdline', 'root=/dev/sda quiet\n')
    const { stderr, stdout, exitCode } = await doctor(line, log, '--json')
    expect(exitCode).toBe(EXIT_OK)
    expect(stderr).toMatch(/cmdline: command line\n.*log: log/)
    expect((JSON.parse(stdout) as { conditions: { where: string }[] }).conditions.some(({ where }) => where === 'AMD-Vi')).toBe(
      true,
    )
  })

  it('refuses what is no text, what is not there, and what is no device', async () => {
    const binary = file('binary', 'ab\0cd')
    expect(await doctor(binary)).toMatchObject({ exitCode: EXIT_INPUT, stderr: expect.stringContaining('offset 0x2') })
    expect(await doctor(join(folder, 'missing'))).toMatchObject({ exitCode: EXIT_INPUT })
    expect(await doctor(fixture, '--device', 'x')).toMatchObject({ exitCode: EXIT_USAGE })
  })
})
