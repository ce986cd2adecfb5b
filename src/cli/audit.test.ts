import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { auditCommand } from './audit.ts'
import { runCommand } from './commands.suite.ts'
import { EXIT_FINDINGS, EXIT_OK } from './common.ts'

const root = join(import.meta.dirname, '../..')
const fixture = join(root, 'test/fixtures/arm64-smmuv3-s1')
const run = (...args: string[]) => runCommand(auditCommand(), args)

describe('iomm audit', () => {
  it('lists what is dangerous, the worst first, with place and rule', async () => {
    const { stdout, exitCode } = await run(fixture)
    expect(exitCode).toBe(EXIT_FINDINGS)
    expect(stdout).toMatch(/^high \(\d+\)\n/)
    expect(stdout.indexOf('\nmedium (')).toBeGreaterThan(0)
    // Each bracketed word is a rule that --rules explains.
    const { stdout: rules } = await run('--rules')
    const named = [...stdout.matchAll(/\[([a-z-]+)\]$/gm)].map((match) => match[1])
    expect(named.length).toBeGreaterThan(3)
    for (const name of named) expect(rules.split('\n')).toContain(name)
  })

  it('tells the rules as JSON too', async () => {
    const { rules } = JSON.parse((await run('--rules', '--json')).stdout) as { rules: Record<string, unknown>[] }
    expect(rules.map(({ rule }) => rule)).toContain('own-tables')
    for (const rule of rules) expect(Object.keys(rule)).toEqual(['rule', 'severities', 'about', 'advice'])
  })

  it('leaves out what is below --least', async () => {
    const { remarks } = JSON.parse((await run(fixture, '--json', '--least', 'medium')).stdout) as {
      remarks: { severity: string }[]
    }
    expect(new Set(remarks.map(({ severity }) => severity))).toEqual(new Set(['high', 'medium']))
  })

  it('ends well where there is nothing above a note, and says what it could not know', async () => {
    const nothing = await run(join(root, 'examples/stall-instead-of-pri.yaml'))
    expect(nothing.exitCode).toBe(EXIT_OK)
    expect(nothing.stderr).toContain('It is not known what lies where in memory')
    const open = await run(join(root, 'examples/identity-and-blocked.yaml'))
    expect(open.exitCode).toBe(EXIT_FINDINGS)
    expect(open.stdout).toMatch(/not\s+translated: reads and writes all of physical memory \[untranslated\]/)
  })
})
