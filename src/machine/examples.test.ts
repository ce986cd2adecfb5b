import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { inspectSmmuV3 } from '../inspect/smmuv3.ts'
import { type Scenario, type StepReport, scenarioSchema } from './index.ts'
import type { Expectation } from './language/expect.ts'
import type { PlainStep, Step } from './language/steps.ts'
import { failuresOf, reportOf, scenarioOf } from './scenario.suite.ts'

const EXAMPLES = resolve(import.meta.dirname, '../../examples')
const files = readdirSync(EXAMPLES).filter((name) => name.endsWith('.yaml'))
const load = (name: string) => scenarioOf(readFileSync(join(EXAMPLES, name), 'utf8'), name)

/** An expectation that does not hold where the given one does; null where this key cannot be turned round. */
const WRONG: { [K in keyof Expectation]?: (expected: NonNullable<Expectation[K]> | null) => Partial<Expectation> } = {
  result: (result) => ({ result: result === 'ok' ? 'refused' : 'ok' }),
  pasid: (pasid) => ({ pasid: pasid === null ? 1 : pasid + 1 }),
  reads: () => ({ reads: { kind: 'text', text: 'something else' } }),
  sharedWith: (name) => ({ notSharedWith: name as string }),
  notSharedWith: (name) => ({ sharedWith: name as string }),
  events: (events) => ({ events: (events as string[]).length === 0 ? ['not-mapped'] : [] }),
  pageRequests: (count) => ({ pageRequests: (count as number) + 1 }),
  stalls: (count) => ({ stalls: (count as number) + 1 }),
  response: (response) => ({ response: response === 'success' ? 'invalid' : 'success' }),
  stale: (cache) => ({ stale: cache === 'none' ? 'atc' : 'none' }),
  invalidations: (caches) => ({ invalidations: (caches as string[]).length === 0 ? ['atc'] : [] }),
  bytes: (bytes) => ({ bytes: (bytes as number) + 4096 }),
  bonds: (bonds) => ({ bonds: (bonds as number) + 1 }),
  domain: (domain) => ({ domain: domain === null ? 'D' : null }),
  alive: (alive) => ({ alive: !alive }),
}

const line = ({ place }: Pick<Step, 'place'>) => place.line

/** The scenario with every expectation of one key turned round and all others left out; and the lines of those steps. */
function turned(scenario: Scenario, key: keyof Expectation): { scenario: Scenario; lines: number[] } {
  const lines: number[] = []
  const turn = <S extends Step>(step: S): S => {
    const inner = step.action === 'interleave' ? { given: { ...step.given, steps: step.given.steps.map(turn<PlainStep>) } } : {}
    const value = step.expect?.[key]
    if (value === undefined) return { ...step, ...inner, expect: null }
    lines.push(line(step))
    const wrong = WRONG[key] as (value: unknown) => Partial<Expectation>
    return { ...step, ...inner, expect: { ...wrong(value), place: step.place } }
  }
  return { scenario: { ...scenario, steps: (scenario.steps ?? []).map(turn<Step>) }, lines }
}

/** Lines of steps of which something did not hold. */
function failedLines(steps: readonly StepReport[]): Set<number> {
  const failed = steps.filter(({ verdicts }) => verdicts.some(({ held }) => !held)).map(line)
  return new Set([...failed, ...steps.flatMap(({ inner }) => [...failedLines(inner)])])
}

describe.each(files)('%s', (name) => {
  const scenario = load(name)

  it('does what it says', () => {
    const report = reportOf(scenario)
    expect(failuresOf(report)).toEqual([])
    expect(report.passed).toBeGreaterThan(10)
  })

  it('says what every DMA and every process should see, and why the interesting ones are there', () => {
    for (const step of scenario.steps ?? []) {
      if (step.action === 'dma') expect(step.expect, `line ${step.place.line}`).not.toBeNull()
    }
    expect(scenario.about ?? '').not.toBe('')
    expect((scenario.steps ?? []).filter(({ why }) => why !== null).length).toBeGreaterThan(1)
  })

  it('runs the same every time', () => {
    const json = (report: object) => JSON.stringify(report, (_, value) => (typeof value === 'bigint' ? `${value}` : value))
    const run = () => {
      const { steps, setup } = reportOf(scenario)
      return json({ steps, setup })
    }
    expect(run()).toBe(run())
  })

  it('fails at every step that expects something else', () => {
    for (const key of Object.keys(WRONG) as (keyof Expectation)[]) {
      const { scenario: wrong, lines } = turned(scenario, key)
      if (lines.length === 0) continue
      const failed = failedLines(reportOf(wrong).steps)
      expect(
        lines.filter((one) => !failed.has(one)),
        `${key} turned round`,
      ).toEqual([])
    }
  })
})

describe('README.md of the examples', () => {
  const readme = readFileSync(join(EXAMPLES, 'README.md'), 'utf8')
  it('names every example, and every step that there is', () => {
    const listed = [...readme.matchAll(/^\| \[([^\]]+)\]\(([^)]+)\)/gm)].map(([, name, target]) => [name, target])
    expect(listed.map(([name]) => name).sort()).toEqual([...files].sort())
    for (const [name, target] of listed) expect(target).toBe(name)
    const steps = Object.keys((scenarioSchema().$defs as Record<string, { properties: object }>).step!.properties)
    for (const step of steps) if (!['why', 'expect', 'forget'].includes(step)) expect(readme).toContain(`\`${step}\``)
  })

  it('shows a scenario that does what it says', () => {
    const [, text] = /```yaml\n([\s\S]*?)```/.exec(readme)!
    expect(failuresOf(reportOf(scenarioOf(text!.replace(' …', '')))).length).toBe(0)
  })
})

describe('two-domains.yaml', () => {
  it('ends with the tables of the picture', () => {
    const { machine } = reportOf(load('two-domains.yaml'))
    const graph = inspectSmmuV3({
      title: 'two-domains.yaml',
      memory: machine.memory,
      register: (offset, bytes) => machine.register(offset, bytes),
      names: machine.names(),
    })
    const labels = new Map(graph.spaces.map(({ id, label, role }) => [id, `${role}: ${label}`]))
    const tables = graph.pasidTables.map(({ label, capacity, entries }) => ({
      label,
      capacity,
      entries: Object.fromEntries(entries.map(({ pasid, space }) => [pasid, labels.get(space ?? '')])),
    }))
    expect(tables).toEqual([
      {
        label: 'domain A',
        capacity: 4,
        entries: { 0: 'io_pgtable: domain A', 1: 'io_mm: mm X', 2: 'io_mm: mm Y' },
      },
      {
        label: 'domain B',
        capacity: 4,
        entries: { 0: 'io_pgtable: domain B', 2: 'io_mm: mm Y', 3: 'private: own' },
      },
    ])
    const devices = graph.devices.map(({ id, domain, state, pasidTable }) => [
      id,
      domain,
      state,
      graph.pasidTables.find((table) => table.id === pasidTable)?.label ?? null,
    ])
    expect(devices).toEqual([
      [0, 'A', 'tables', 'domain A'],
      [1, null, 'abort', null],
      [2, 'B', 'tables', 'domain B'],
      [3, 'B', 'tables', 'domain B'],
      [4, 'B', 'tables', 'domain B'],
    ])
    // Process Y's tables are drawn once: both entries lead to the same space.
    const spacesOf2 = graph.pasidTables.map(({ entries }) => entries.find(({ pasid }) => pasid === 2)?.space)
    expect(new Set(spacesOf2).size).toBe(1)
    expect(graph.findings.filter(({ severity }) => severity === 'error')).toEqual([])
  })
})
