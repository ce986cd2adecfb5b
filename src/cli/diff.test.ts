import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { runCommand } from './commands.suite.ts'
import { EXIT_FINDINGS, EXIT_OK } from './common.ts'
import { diffCommand } from './diff.ts'

const root = join(import.meta.dirname, '../..')
const diff = (...args: string[]) => runCommand(diffCommand(), args)
const example = (name: string) => join(root, 'examples', name)

describe('iomm diff', () => {
  it('says that nothing differs between a machine and itself', async () => {
    const fixture = join(root, 'test/fixtures/arm64-smmuv3-s1')
    expect(await diff(fixture, fixture)).toMatchObject({ exitCode: EXIT_OK, stdout: 'Nothing differs.\n' })
  })

  it('tells in words and as JSON what differs between two scenarios', async () => {
    const { stdout, exitCode } = await diff(example('two-domains.yaml'), example('private-pasid.yaml'))
    expect(exitCode).toBe(EXIT_FINDINGS)
    expect(stdout).toContain('PASID entries')
    expect(stdout).toMatch(/^ {2}[-+] 0x[0-9a-f]+ to 0x[0-9a-f]+ \(.*\) → 0x/m)
    // A space that is new, and empty, has no mappings that could be the same.
    expect(stdout).toMatch(/^Address space of gpu:0, copy:0 \(new\)\n {2}nothing is mapped$/m)
    const json = JSON.parse((await diff(example('two-domains.yaml'), example('private-pasid.yaml'), '--json')).stdout)
    expect(json).toMatchObject({ same: false, before: 'two-domains.yaml', after: 'private-pasid.yaml' })
    expect(json.spaces.length).toBeGreaterThan(0)
  })
})
