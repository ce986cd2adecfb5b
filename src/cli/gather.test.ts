import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { renderPicture } from '../render/index.ts'
import { runCommand } from './commands.suite.ts'
import { EXIT_OK, EXIT_USAGE } from './common.ts'
import { gatherCommand } from './gather.ts'
import { openInput } from './input.ts'
import { verifyCommand } from './verify.ts'

const root = join(import.meta.dirname, '../..')
const FIXTURES = readdirSync(join(root, 'test/fixtures'), { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name)

let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'iomm-gather-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

const gather = (...args: string[]) => runCommand(gatherCommand(), args)

describe('iomm gather', () => {
  it.each(FIXTURES)('writes a capture of %s that looks the same and that verify accepts', async (name) => {
    const from = join(root, 'test/fixtures', name)
    const to = join(folder, name)
    expect(await gather(from, '-o', to)).toMatchObject({ exitCode: EXIT_OK, stdout: `${to}\n` })
    expect(readdirSync(to).sort()).toEqual(['side.json.gz', 'tables.elf.gz'])
    const [before, after] = [(await openInput(from)).graph(), (await openInput(to)).graph()]
    expect(renderPicture({ ...after, title: '' })).toBe(renderPicture({ ...before, title: '' }))
    expect(after.spaces.map(({ ranges }) => ranges)).toEqual(before.spaces.map(({ ranges }) => ranges))
    const verified = await runCommand(verifyCommand(), [to])
    expect(verified.stdout).toMatch(/tables +\d+ passed +0 failed/)
    expect(verified.exitCode).toBe(EXIT_OK)
  })

  it('writes no page that processes or devices use for data', async () => {
    const to = join(folder, 'scenario')
    await gather(join(root, 'examples/two-domains.yaml'), '-o', to)
    // The scenario's devices write these words into buffers and processes.
    const image = gunzipSync(readFileSync(join(to, 'tables.elf.gz')))
    const scenario = readFileSync(join(root, 'examples/two-domains.yaml'), 'utf8')
    const values = [...scenario.matchAll(/value: "([^"]+)"/g)].map((match) => match[1]!)
    expect(values.length).toBeGreaterThan(2)
    for (const value of values) expect(image.includes(value)).toBe(false)
    const before = (await openInput(join(root, 'examples/two-domains.yaml'))).graph()
    expect((await openInput(to)).graph().pasidTables.length).toBe(before.pasidTables.length)
  })

  it.each(['two-domains', 'identity-and-blocked'])(
    'verify accepts what it writes of the scenario %s, whose devices have no PCI address',
    async (name) => {
      const to = join(folder, `${name}-verified`)
      await gather(join(root, `examples/${name}.yaml`), '-o', to)
      const verified = await runCommand(verifyCommand(), [to])
      expect(verified.stdout).toMatch(/tables +[1-9]\d* passed +0 failed/)
      expect(verified.exitCode).toBe(EXIT_OK)
    },
  )

  it('verify accepts what it writes of a dump that names no devices, an unused one among them', async () => {
    const to = join(folder, 'nameless')
    const core = join(folder, 'nameless.elf')
    writeFileSync(core, gunzipSync(readFileSync(join(root, 'test/fixtures/arm64-smmuv3-s1/tables.elf.gz'))))
    await gather(core, '--smmu', 'strtab-base=0x44b72000,strtab-base-cfg=0x10210', '-o', to)
    const verified = await runCommand(verifyCommand(), [to])
    expect(verified.stdout).toMatch(/tables +[1-9]\d* passed +0 failed/)
    expect(verified.exitCode).toBe(EXIT_OK)
  })

  it('leaves a folder alone that exists, and nothing behind when it fails', async () => {
    const before = readdirSync(folder)
    expect(await gather(join(root, 'examples/two-domains.yaml'), '-o', folder)).toMatchObject({
      exitCode: EXIT_USAGE,
      stderr: expect.stringContaining('exists already'),
    })
    expect(readdirSync(folder)).toEqual(before)
  })
})
