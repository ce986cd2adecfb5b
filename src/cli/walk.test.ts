import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { openCapture } from '../node/index.ts'
import { runCommand } from './commands.suite.ts'
import { EXIT_FINDINGS, EXIT_OK, EXIT_USAGE } from './common.ts'
import { walkCommand } from './walk.ts'

const root = join(import.meta.dirname, '../..')
const fixture = join(root, 'test/fixtures/arm64-smmuv3-s1')
const scenario = join(root, 'examples/two-domains.yaml')

const walk = (...args: string[]) => runCommand(walkCommand(), args)
const json = async (...args: string[]) => JSON.parse((await walk(...args, '--json')).stdout)

describe('iomm walk', () => {
  it('shows each entry: where it lies, its words, its fields, what it decides; and the address', async () => {
    const { stdout, exitCode } = await walk(fixture, '00:06.0', '0xfffff010', '--write')
    expect(exitCode).toBe(EXIT_OK)
    expect(stdout).toMatch(/^0000:00:06\.0 \(0x30\), no PASID, write 0xfffff010\n/)
    expect(stdout).toMatch(
      / 2 {2}STE at 0x7bc20c00\n {4}0x000000004491500b 0x00000000000000d6 0 …\n {4}V=1, Config=5 \(stage 1\)/,
    )
    expect(stdout).toMatch(/→ valid, stage 1, CD at 0x44915000/)
    expect(stdout).toMatch(/level 3 at 0x\w+\n {4}0x\w{16}\n {4}Valid=1, Type=1 \(page\)/)
    // The guest's kernel says so too: the first of kernel_mappings.
    const { iova, pa } = (await openCapture(fixture)).side.kernel_mappings[0]!
    expect(iova).toBe(0xfffff000n)
    expect(stdout.trimEnd().split('\n').at(-1)).toBe(
      `goes to 0x${(pa + 0x10n).toString(16)}, in a page of 4 KiB, permissions rwx/rw-`,
    )
  })

  it('speaks of no page where nothing translates', async () => {
    const { stdout, exitCode } = await walk(join(root, 'examples/identity-and-blocked.yaml'), 'trusted', '0x1000')
    expect(exitCode).toBe(EXIT_OK)
    expect(stdout.trimEnd().split('\n').at(-1)).toBe('goes to 0x1000, the same address: no page table is walked')
  })

  it('shows a fault with its record, word by word and field by field', async () => {
    const { stdout, exitCode } = await walk(fixture, '0x30', '0xff1f7020', '--write')
    expect(exitCode).toBe(EXIT_FINDINGS)
    expect(stdout).toContain('faults: F_PERMISSION (0x13), stage 1, level 3')
    expect(stdout).toContain('      0x0000003000000013\n      0x0000020000000000\n      0x00000000ff1f7020\n')
    expect(stdout).toContain('StreamID=0x30, CLASS=2 (input address), InputAddr=0xff1f7020')
  })

  it('tells read, write, execution and privilege apart', async () => {
    const record = async (...flags: string[]) => (await json(fixture, '0x30', '0x1000', ...flags)).record.fields
    const named = (fields: { name: string; value: number }[]) =>
      Object.fromEntries(
        fields.filter(({ name }) => ['RnW', 'InD', 'PnU'].includes(name)).map(({ name, value }) => [name, value]),
      )
    expect(named(await record())).toEqual({ RnW: 1, InD: 0, PnU: 0 })
    expect(named(await record('--write'))).toEqual({ RnW: 0, InD: 0, PnU: 0 })
    // PRIVCFG and INSTCFG are "as incoming", and this SMMU takes what comes in.
    expect(named(await record('--exec', '--priv'))).toEqual({ RnW: 1, InD: 1, PnU: 1 })
  })

  it('walks with the PASID, and without', async () => {
    const withPasid = await json(scenario, '0:2', '0x10000')
    expect(withPasid.transaction.pasid).toBe(2)
    expect(withPasid.outcome.ok).toBe(true)
    const without = await json(scenario, '0', '0x10000')
    expect(without.transaction.pasid).toBeUndefined()
    expect(without.outcome.ok).toBe(false)
  })

  it('says so when the device is not known to the tables', async () => {
    const { stdout, exitCode } = await walk(fixture, '7f:00.0', '0x1000')
    expect(exitCode).toBe(EXIT_FINDINGS)
    expect(stdout).toContain('faults: C_BAD_STREAMID')
  })

  it('refuses what it cannot understand', async () => {
    expect(await walk(fixture, 'gpu', '0x1000')).toMatchObject({
      exitCode: EXIT_USAGE,
      stderr: expect.stringContaining("'gpu' is no device"),
    })
    expect(await walk(fixture, '0x30', '0x1000', '--write', '--exec')).toMatchObject({ exitCode: EXIT_USAGE })
    expect(await walk(fixture, '0x30', '0x10000000000000000')).toMatchObject({ exitCode: EXIT_USAGE })
  })
})
