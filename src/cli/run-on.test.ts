import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { ARCHITECTURE_KINDS } from '../machine/index.ts'
import { runCommand as runSub } from './commands.suite.ts'
import { EXIT_OK, EXIT_UNSUPPORTED } from './common.ts'
import { runCommand } from './run.ts'

const example = (name: string) => join(import.meta.dirname, '../../examples', name)
const run = (...args: string[]) => runSub(runCommand(), args)

describe('iomm run --on', () => {
  it('all: every architecture', async () => {
    const { stdout, exitCode } = await run(example('two-domains.yaml'), '--on', 'all', '--quiet')
    expect(exitCode).toBe(EXIT_OK)
    expect(
      stdout
        .trim()
        .split('\n')
        .map((line) => line.split(':')[0]),
    ).toEqual([...ARCHITECTURE_KINDS])
  })
  it('takes options of each, and tells the runs apart', async () => {
    const { stdout, exitCode } = await run(example('two-domains.yaml'), '--on', 'vtd,vtd:mode=legacy', '--json')
    expect(exitCode).toBe(EXIT_UNSUPPORTED)
    const { architectures } = JSON.parse(stdout) as { architectures: { kind: string; skipped: number }[] }
    expect(architectures.map(({ kind, skipped }) => [kind, skipped > 0])).toEqual([
      ['vtd', false],
      ['vtd:mode=legacy', true],
    ])
  })
  it('says which kinds and options there are', async () => {
    const of = (kinds: string) => run(example('two-domains.yaml'), '--on', kinds)
    await expect(of('vt-d')).rejects.toThrow("no IOMMU is called 'vt-d'; there are smmuv3, riscv")
    await expect(of('vtd:colour=red')).rejects.toThrow("vtd has no option 'colour'; it has mode")
  })
})
