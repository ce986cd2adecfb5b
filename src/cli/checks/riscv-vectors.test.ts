import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { afterAll, describe, expect, it } from 'vitest'
import { runCommand } from '../commands.suite.ts'
import { EXIT_FINDINGS, EXIT_INPUT, EXIT_OK } from '../common.ts'
import { verifyCommand } from '../verify.ts'

const fixture = join(import.meta.dirname, '../../../test/fixtures/riscv-vectors.jsonl.gz')
const folder = mkdtempSync(join(tmpdir(), 'iomm-vectors-'))
afterAll(() => rmSync(folder, { recursive: true }))

const verify = (...args: string[]) => runCommand(verifyCommand(), args)
const cases = gunzipSync(readFileSync(fixture)).toString().trimEnd().split('\n')

/** The fixture's cases with something changed, as plain JSON lines. */
function changed(change: (lines: string[]) => void): string {
  const lines = [...cases]
  change(lines)
  const path = join(folder, `${Math.abs(lines.join().length)}-${lines.length}.jsonl`)
  writeFileSync(path, lines.join('\n'))
  return path
}

/** A case that expects a translated address, and which operation does. */
const at = cases.findIndex((line) => /"pa":"0x[0-9a-f]+"/.test(line))

describe('iomm verify, vectors of the RISC-V reference model', () => {
  it('runs every case and counts by group', async () => {
    const { stdout, exitCode } = await verify(fixture)
    expect(exitCode).toBe(EXIT_OK)
    expect(stdout).toContain(`${cases.length} passed, 0 failed`)
    expect(stdout).toMatch(/^ {2}pdt2 +\d+ passed +0 failed$/m)
  })

  it('counts what differs by kind, and explains the first with expectation, answer and walk', async () => {
    const wrong = changed((lines) => {
      lines[at] = lines[at]!.replace(/"pa":"0x[0-9a-f]+"/, '"pa":"0x123"')
    })
    const { stdout, exitCode } = await verify(wrong, '--first')
    expect(exitCode).toBe(EXIT_FINDINGS)
    expect(stdout).toMatch(/1 failed {3}1 address/)
    expect(stdout).toMatch(/expected: pa "?0x123/)
    expect(stdout).toMatch(/operation: \{"op":"tr"/)
    expect(stdout).toMatch(/1 {2}(ddtp|DDTE|DC)/)
    expect(stdout.trimEnd().endsWith('1 failed')).toBe(true)
  })

  it('names the line that is no case', async () => {
    const path = changed((lines) => lines.splice(3, 0, '{"id":"x"}'))
    const { stderr, exitCode } = await verify(path)
    expect(exitCode).toBe(EXIT_INPUT)
    expect(stderr).toContain(`${path} at line 4: is not a case of RISC-V vectors: it has no 'grp'`)
  })

  it('names the case whose fields are not what they should be', async () => {
    const path = changed((lines) => {
      lines[1] = JSON.stringify({ ...JSON.parse(lines[1]!), cap: 'much' })
    })
    const { stderr, exitCode } = await verify(path)
    expect(exitCode).toBe(EXIT_INPUT)
    expect(stderr).toMatch(/case \S+: cannot be run: /)
    const other = changed((lines) => {
      lines[1] = JSON.stringify({ ...JSON.parse(lines[1]!), ops: 7 })
    })
    expect((await verify(other)).stderr).toContain("line 2: is not a case of RISC-V vectors: 'ops' is not a list")
  })
})
