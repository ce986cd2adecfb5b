import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { INSPECTORS } from '../inspect/registry.ts'
import { namesOf } from './impossible.ts'
import { ARCHITECTURE_KINDS, runScenario, type Scenario, type StepReport, scenarioSchema } from './index.ts'
import { type Expectation, expectationOn } from './language/expect.ts'
import type { PlainStep, Step } from './language/steps.ts'
import { failuresOf, reportOf, scenarioOf } from './scenario.suite.ts'

const EXAMPLES = resolve(import.meta.dirname, '../../examples')
const files = readdirSync(EXAMPLES).filter((name) => name.endsWith('.yaml'))
const load = (name: string, kind?: string) => scenarioOf(readFileSync(join(EXAMPLES, name), 'utf8'), name, kind)

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
function turned(scenario: Scenario, key: keyof Expectation, names: readonly string[]): { scenario: Scenario; lines: number[] } {
  const lines: number[] = []
  const turn = <S extends Step>(step: S): S => {
    const inner = step.action === 'interleave' ? { given: { ...step.given, steps: step.given.steps.map(turn<PlainStep>) } } : {}
    const value = step.expect === null ? undefined : { ...expectationOn(names, step.expect), on: undefined }[key]
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

/** Lines of steps that the architecture cannot do. */
function skippedLines(steps: readonly StepReport[]): Set<number> {
  const skipped = steps.filter(({ result }) => result === 'skipped').map(line)
  return new Set([...skipped, ...steps.flatMap(({ inner }) => [...skippedLines(inner)])])
}

/** Where examples run: every architecture, and those modes of one that differ as much. */
const LEGACY = 'vtd:mode=legacy'
const HOST_TABLES = 'amdvi:tables=v1'
const TARGETS = [...ARCHITECTURE_KINDS, LEGACY, HOST_TABLES]

/** What architectures cannot do: examples whose machine cannot be built, and why; and those of which some steps are left out. */
const REFUSED: Readonly<Record<string, RegExp>> = {
  'riscv: stall-instead-of-pri.yaml': /cannot hold a faulting transaction \(stall\)/,
  'vtd: stall-instead-of-pri.yaml': /cannot hold a faulting transaction \(stall\)/,
  [`${LEGACY}: stall-instead-of-pri.yaml`]: /cannot hold a faulting transaction \(stall\)/,
  'amdvi: stall-instead-of-pri.yaml': /cannot hold a faulting transaction \(stall\)/,
  [`${HOST_TABLES}: stall-instead-of-pri.yaml`]: /cannot hold a faulting transaction \(stall\)/,
  [`${LEGACY}: nested-stage2.yaml`]: /legacy mode has one stage only/,
}
const STALLING = /stalls on faults, and an? (RISC-V|VT-d|AMD) IOMMU cannot hold a transaction/
/** Examples with devices that stall. */
const STALLS = [
  'asid-collision.yaml',
  'exit-before-unbind.yaml',
  'forgotten-invalidation.yaml',
  'identity-and-blocked.yaml',
  'interleaved-exit-unbind.yaml',
]
const WITHOUT_STALLS = ['riscv', 'vtd', 'amdvi']
/** Where there are no PASIDs, and why; this much is left there: classic DMA. */
const CLASSIC: Readonly<Record<string, RegExp>> = {
  [LEGACY]: /legacy mode has no PASIDs/,
  [HOST_TABLES]: /no guest tables for PASIDs/,
}
const CLASSIC_HAS = ['atc-invalidation.yaml', 'identity-and-blocked.yaml', 'pasid-less-device.yaml', 'two-domains.yaml']

/** Why some steps of this example cannot be done there; null: all can. */
function partly(target: string, name: string): RegExp | null {
  if (CLASSIC[target] !== undefined) return CLASSIC[target]
  return WITHOUT_STALLS.includes(target) && STALLS.includes(name) ? STALLING : null
}
const everywhere = files.flatMap((name) => TARGETS.map((target) => [target, name] as const))

describe.each(files)('%s', (name) => {
  const scenario = load(name)

  it('says what every DMA and every process should see, and why the interesting ones are there', () => {
    for (const step of scenario.steps ?? []) {
      if (step.action === 'dma') expect(step.expect, `line ${step.place.line}`).not.toBeNull()
    }
    expect(scenario.about ?? '').not.toBe('')
    expect((scenario.steps ?? []).filter(({ why }) => why !== null).length).toBeGreaterThan(1)
  })
})

describe.each(everywhere.filter(([target, name]) => REFUSED[`${target}: ${name}`] === undefined))('on %s: %s', (target, name) => {
  const scenario = load(name, target)
  const first = reportOf(scenario)

  it('does what it says', () => {
    expect(failuresOf(first)).toEqual([])
    expect(first.machine.architecture.kind).toBe(target.split(':')[0])
    const why = partly(target, name)
    if (why === null) expect(first.skipped).toBe(0)
    else {
      expect(first.skipped).toBeGreaterThan(0)
      for (const step of first.steps) if (step.result === 'skipped') expect(step.text).toMatch(why)
    }
    const classic = CLASSIC[target] === undefined || CLASSIC_HAS.includes(name)
    expect(first.passed).toBeGreaterThanOrEqual(classic ? 6 : 0)
    if (CLASSIC[target] === undefined) expect(first.passed).toBeGreaterThan(10)
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
      const { scenario: wrong, lines } = turned(scenario, key, namesOf(first.machine))
      if (lines.length === 0) continue
      const { steps } = reportOf(wrong)
      const failed = failedLines(steps)
      const skipped = skippedLines(steps)
      expect(
        lines.filter((one) => !failed.has(one) && !skipped.has(one)),
        `${key} turned round`,
      ).toEqual([])
    }
  })
})

describe.each(Object.entries(REFUSED))('%s', (example, why) => {
  it('cannot be run at all, and that is said', () => {
    const [target, name] = example.split(': ')
    const report = runScenario(load(name!, target))
    expect('problem' in report ? report.problem : null).toMatch(why)
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

/** The names of tables differ; what leads where does not. A device in no domain: its silent entry is like that of nobody's devices. */
describe.each(ARCHITECTURE_KINDS)('two-domains.yaml on %s', (kind) => {
  it('ends with the tables of the picture', () => {
    const capacity = { smmuv3: 4, riscv: 256, vtd: 8192, amdvi: 512 }[kind]
    const { machine } = reportOf(load('two-domains.yaml', kind))
    const graph = INSPECTORS.get(kind)!({
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
        capacity,
        entries: { 0: 'io_pgtable: domain A', 1: 'io_mm: mm X', 2: 'io_mm: mm Y' },
      },
      {
        label: 'domain B',
        capacity,
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
      // A VT-d context entry that lets nothing through is one that is not present.
      [1, null, kind === 'vtd' ? 'none' : 'abort', null],
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
