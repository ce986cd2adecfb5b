import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { runCommand as runSub } from './commands.suite.ts'
import { EXIT_FINDINGS, EXIT_INPUT, EXIT_OK, EXIT_UNSUPPORTED } from './common.ts'
import { runCommand } from './run.ts'
import { walkCommand } from './walk.ts'

const examples = join(import.meta.dirname, '../../examples')
const example = (name: string) => join(examples, name)
const folder = mkdtempSync(join(tmpdir(), 'iomm-run-'))
afterAll(() => rmSync(folder, { recursive: true }))

const run = (...args: string[]) => runSub(runCommand(), args)
/** A scenario file of this text. */
function file(text: string, name = 'scenario.yaml'): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

const WRONG = `
devices: { a: { id: 1, pasidBits: 4, ats: true, pri: true } }
processes: { P: [{ address: 0x10000, size: 4K }] }
domains: { D: [a] }
steps:
  - bind: { device: a, process: P }
    expect: { pasid: 7 }
  - dma: { device: a, process: P, read: 0x10000 }
    expect: ok
`

describe('iomm run', () => {
  it('tells what happened, draws the machine, says what to try next and how many expectations held', async () => {
    const { stdout, stderr, exitCode } = await run(example('two-domains.yaml'))
    expect(exitCode).toBe(EXIT_OK)
    expect(stderr).toBe('')
    expect(stdout).toContain('PASID table of domain B: entry 2 → process Y')
    expect(stdout).toMatch(/CMD_CFGI_CD sid 0x0 ssid 1 · CMD_SYNC/)
    expect(stdout).toContain('io_mm → private')
    expect(stdout).toContain('What to try next')
    expect(stdout.trimEnd().split('\n').at(-1)).toMatch(/^(\d+) of \1 expectations held$/)
    expect(stdout).not.toContain('✗')
  })

  it('proposes commands that work', async () => {
    for (const name of readdirSync(examples).filter((one) => one.endsWith('.yaml'))) {
      const { stdout } = await run(example(name))
      const walk = / {2}iomm walk (\S+) (\S+) (0x[0-9a-f]+) --write/.exec(stdout)
      expect(walk, name).not.toBeNull()
      const { exitCode, stdout: steps } = await runSub(walkCommand(), [example(name), walk![2]!, walk![3]!, '--write'])
      expect([EXIT_OK, EXIT_FINDINGS], name).toContain(exitCode)
      expect(steps, name).toContain('STE')
    }
  })

  it('ends with 1 when an expectation did not hold, and says where and what', async () => {
    const path = file(WRONG)
    const full = await run(path)
    expect(full.exitCode).toBe(EXIT_FINDINGS)
    expect(full.stdout).toContain('✗ expected PASID 7; it is PASID 1')
    const quiet = await run(path, '--quiet')
    expect(quiet.exitCode).toBe(EXIT_FINDINGS)
    expect(quiet.stdout).toBe(
      `${path}:6:5: bind device a to process P: expected PASID 7; it is PASID 1\n1 of 2 expectations held, 1 did not\n`,
    )
  })

  it('is quiet about what is as expected', async () => {
    const { stdout, exitCode } = await run(example('private-pasid.yaml'), '--quiet')
    expect(exitCode).toBe(EXIT_OK)
    expect(stdout).toMatch(/^\d+ of \d+ expectations held\n$/)
  })

  it('gives the report and the graph as JSON', async () => {
    const { stdout, exitCode } = await run(file(WRONG), '--json')
    expect(exitCode).toBe(EXIT_FINDINGS)
    const report = JSON.parse(stdout)
    expect(report).toMatchObject({ passed: 1, failed: 1, steps: [{ action: 'bind', result: 'ok' }, { action: 'dma' }] })
    expect(report.graph.devices).toHaveLength(1)
  })

  it('takes another seed for every interleaving', async () => {
    const path = example('interleaved-exit-unbind.yaml')
    expect((await run(path, '--quiet', '--seed', '77')).exitCode).toBe(EXIT_OK)
    const { stdout } = await run(path, '--seed', '0x10')
    expect(stdout).toContain('at the same time (seed 16)')
    await expect(run(path, '--seed', 'x')).rejects.toThrow(/is not a seed/)
  })

  it('names line and column of a mistake, and ends with 3', async () => {
    const path = file('devices: { a: { id: 1, pasid_bits: x } }\nstep: []\n')
    const { stderr, exitCode } = await run(path)
    expect(exitCode).toBe(EXIT_INPUT)
    expect(stderr).toContain(`${path}:1:24: device has no key 'pasid_bits'; did you mean 'pasidBits'?`)
    expect(stderr).toContain(`${path}:2:1: the scenario has no key 'step'; did you mean 'steps'?`)
    expect((await run(join(folder, 'nowhere.yaml'))).exitCode).toBe(EXIT_INPUT)
    expect((await run(folder)).exitCode).toBe(EXIT_INPUT)
  })

  it('says why a file cannot be read, and reads no further than a scenario can be long', async () => {
    expect((await run(join(folder, 'nowhere.yaml'))).stderr).toContain('nowhere.yaml: no such file')
    expect((await run(folder)).stderr).toContain('is a folder; a scenario is a YAML file')
    for (const path of [file('#'.repeat((1 << 20) + 1), 'long.yaml'), ...(existsSync('/dev/zero') ? ['/dev/zero'] : [])]) {
      const { stderr, exitCode } = await run(path)
      expect(stderr).toMatch(/longer than 1048576 bytes/)
      expect(exitCode).toBe(EXIT_INPUT)
    }
  })

  it('lets no text of a scenario steer the terminal', async () => {
    const steer = '"a\\e[31mred\\e]0;title\\a"'
    const path = file(`title: ${steer}
about: ${steer}
devices: { a: { id: 1 } }
steps:
  - say: ${steer}
  - dma: { device: a, write: 0, value: ${steer} }
    why: ${steer}
    expect: { result: ok, reads: ${steer} }
`)
    for (const args of [[path], [path, '--quiet'], [path, '--on', 'smmuv3'], [path, '--on', 'smmuv3', '--quiet']]) {
      const { stdout } = await run(...args)
      expect(stdout).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/)
    }
  })

  it('ends with 4 when the hardware cannot be what the scenario wants', async () => {
    const path = file('iommu: smmuv3\nmemory: 16K\ndevices:\n  a: { id: 70000 }\n')
    const { stderr, exitCode } = await run(path)
    expect(exitCode).toBe(EXIT_UNSUPPORTED)
    expect(stderr).toMatch(/this machine cannot be built: .*memory/)
    expect((await run(file('memory: 64M\ndevices:\n  a: { id: 0xffffff }\n'))).exitCode).toBe(EXIT_OK)
  })
})
