import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { openCapture } from '../node/index.ts'
import { runCommand } from './commands.suite.ts'
import { EXIT_FINDINGS, EXIT_OK, EXIT_USAGE } from './common.ts'
import { findCommand } from './find.ts'

const root = join(import.meta.dirname, '../..')
const fixture = join(root, 'test/fixtures/arm64-smmuv3-s1')

const find = (...args: string[]) => runCommand(findCommand(), args)

describe('iomm find', () => {
  it('finds each page that the guest kernel mapped, at the address that it mapped it at', async () => {
    const { kernel_mappings: mappings } = (await openCapture(fixture)).side
    for (const { device, iova, pa } of mappings.filter((_, index) => index % 50 === 0)) {
      const { stdout, exitCode } = await find(fixture, `0x${pa.toString(16)}`, '--json')
      expect(exitCode).toBe(EXIT_OK)
      const { reaches } = JSON.parse(stdout) as { reaches: { device: string; mappings: { start: string; end: string }[] }[] }
      const starts = reaches.filter((reach) => reach.device === device).flatMap((reach) => reach.mappings)
      expect(starts.some(({ start, end }) => BigInt(start) <= iova && iova < BigInt(end))).toBe(true)
    }
  })

  it('finds something where its help says so', async () => {
    const text: string[] = []
    const command = findCommand().configureOutput({ writeOut: (line) => text.push(line) })
    command.outputHelp()
    const [, scenario, address] = /iomm find (examples\/\S+) (\S+)/.exec(text.join(''))!
    expect((await find(join(root, scenario!), address!)).exitCode).toBe(EXIT_OK)
  })

  it('says in words who reaches it, or that nobody does', async () => {
    const { kernel_mappings: mappings } = (await openCapture(fixture)).side
    const { stdout } = await find(fixture, `0x${mappings[0]!.pa.toString(16)}`)
    expect(stdout).toMatch(/0000:00:06\.0 \(.*\), no PASID: io_pgtable/)
    expect(stdout).toMatch(/0xfffff000 to 0xffffffff → 0x\w+, rwx\/rw-, 4 KiB pages; entry 0x\w+ at 0x\w+/)
    const nobody = await find(fixture, '0xffff_ffff_0000')
    expect(nobody).toMatchObject({ exitCode: EXIT_FINDINGS, stdout: expect.stringMatching(/^No device reaches 0xffffffff0000 /) })
  })

  it.each(['nowhere', '0x1000-0x1000', '0x2000-0x1000', '1+x', '0x10000000000000', '0x1000+4503599627370496'])(
    'refuses %s with what to write',
    async (text) => {
      const { exitCode, stderr } = await find(fixture, text)
      expect(exitCode).toBe(EXIT_USAGE)
      expect(stderr).toContain('Write an address like')
    },
  )
})
