import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { loadWith, MOST_BYTES } from './load.ts'
import { optional } from './object.ts'
import { nearest, problemText } from './problem.ts'
import type { Architectures, Scenario } from './scenario.ts'
import { integer } from './shape.ts'
import { FAULT_KINDS, RESULTS } from './words.ts'

/** Two made-up architectures: the language knows none by itself. */
const known: Architectures = {
  standard: 'one',
  options: new Map([
    ['one', { keys: { pasidBits: optional(integer(0, 20), 'width') }, doc: 'the first' }],
    ['two', { keys: {}, doc: 'the second' }],
  ]),
  vocabulary: {
    results: RESULTS,
    faultKinds: FAULT_KINDS,
    errors: ['Busy', 'NotBound'],
    faultNames: ['F_TRANSLATION'],
    architectures: ['smmuv3'],
  },
}

function load(text: string): Scenario {
  const loaded = loadWith(known, text, 'x.yaml')
  if (!loaded.ok) throw new Error(loaded.problems.map(problemText).join('\n'))
  return loaded.scenario
}

function problems(text: string): string[] {
  const loaded = loadWith(known, text, 'x.yaml')
  return loaded.ok ? [] : loaded.problems.map((problem) => problemText(problem).split('\n')[0]!)
}

const BASE = `processes:
  X:
    - { address: 0x10000, size: 64K }
devices:
  nic: { id: 1, pasidBits: 8, ats: true, pri: true }
  disk: { id: 2 }
domains:
  A: [nic]
`

describe('a scenario that is right', () => {
  it('gives numbers in every form, names, defaults and places', () => {
    const scenario = load(`${BASE}memory: 64M
steps:
  - bind: { device: nic, process: X }
    expect: { pasid: 1 }
  - dma: { device: nic, process: X, write: 0x1_0000, value: 'hello' }
    expect: ok
`)
    expect(scenario.memory?.size).toBe(64n * 1024n * 1024n)
    expect(scenario.processes?.get('X')?.areas[0]?.size).toBe(65536n)
    expect(scenario.steps?.[0]).toMatchObject({ action: 'bind', expect: { pasid: 1 }, place: { line: 11, column: 5 } })
    expect(scenario.steps?.[1]).toMatchObject({ given: { write: 0x10000n, value: { kind: 'text', text: 'hello' } } })
  })

  it('keeps all bits of a 64-bit address', () => {
    const { steps } = load(`${BASE}steps:\n  - dma: { device: nic, read: 0xfedcba9876543210 }\n`)
    expect(steps?.[0]?.given).toMatchObject({ read: 0xfedcba9876543210n })
  })

  it('takes names that look like numbers', () => {
    const { steps } = load('devices: { 0: { id: 0 } }\nsteps:\n  - dma: { device: 0, read: 16 }\n')
    expect(steps?.[0]?.given).toMatchObject({ device: '0' })
  })

  it('knows a child of fork and a private space from the step that makes them on', () => {
    load(`${BASE}steps:
  - fork: { process: X, child: Y }
  - exit: { process: Y }
  - bindPrivate: { device: nic, space: own }
  - dma: { device: nic, space: own, read: 0 }
`)
    expect(problems(`${BASE}steps:\n  - exit: { process: Y }\n  - fork: { process: X, child: Y }\n`)).toEqual([
      "x.yaml:10:22: no process is called 'Y'; declared: X",
    ])
  })

  it('follows aliases', () => {
    const { devices } = load(
      'devices:\n  a: &kind { id: 1 }\n  b: { id: 2 }\nprocesses:\n  X: &areas [{ address: 0, size: 4K }]\n  Y: *areas\n',
    )
    expect(devices?.size).toBe(2)
  })

  it('takes the options of the kind of IOMMU that it names', () => {
    expect(load('iommu: { kind: one, pasidBits: 4 }').iommu).toMatchObject({ kind: 'one', options: { pasidBits: 4 } })
    expect(load('iommu: two').iommu).toEqual({ kind: 'two', options: {} })
  })
})

describe('a scenario that is wrong', () => {
  const cases: [string, string, string][] = [
    ['a misspelt key', `${BASE}stps: []`, "9:1: the scenario has no key 'stps'; did you mean 'steps'?"],
    ['a key that others call so', `${BASE}description: x`, "9:1: the scenario has no key 'description'; write 'about'"],
    [
      'a misspelt action',
      `${BASE}steps:\n  - bnd: { device: nic, process: X }`,
      "10:5: step has no key 'bnd'; did you mean 'bind'?",
    ],
    [
      'a misspelt name',
      `${BASE}steps:\n  - bind: { device: nik, process: X }`,
      "10:21: no device is called 'nik'; did you mean 'nic'?",
    ],
    ['a missing key', `${BASE}steps:\n  - bind: { device: nic }`, "10:11: bind needs 'process' (Process.)"],
    [
      'two actions in a step',
      `${BASE}steps:\n  - exit: { process: X }\n    detach: { device: nic }`,
      "11:5: step has 'exit' and 'detach': one is allowed",
    ],
    [
      'two kinds of access',
      `${BASE}steps:\n  - dma: { device: nic, read: 0, write: 0 }`,
      "10:34: dma has 'read' and 'write': one is allowed",
    ],
    ['a value out of range', 'devices: { a: { id: 1, pasidBits: 21 } }', '1:35: expected a number from 0 to 20, 21 is too large'],
    ['a word for a number', 'devices: { a: { id: one } }', "1:21: expected a number from 0 to 16777215, found 'one'"],
    ['a word out of several', `${BASE}pasids: lowst`, "9:9: 'lowst' is not one of lowest, cyclic; did you mean 'lowest'?"],
    [
      'an unknown result',
      `${BASE}steps:\n  - exit: { process: X }\n    expect: bussy`,
      "11:13: 'bussy' is not a result, a kind of fault, an error or an event; did you mean 'Busy'?",
    ],
    [
      'an expectation that makes no sense there',
      `${BASE}steps:\n  - exit: { process: X }\n    expect: { reads: 1 }`,
      "11:13: 'reads' cannot be expected of exit; it makes sense for dma, cpu",
    ],
    [
      'an expectation of one step that is of the whole machine',
      `steps:\n  - interleave:\n      steps:\n        - { say: x, expect: { events: none } }`,
      "4:29: 'events' cannot be expected of a step that runs beside others; expect it of the interleave",
    ],
    [
      'a forgotten invalidation of one step of several',
      `steps:\n  - interleave:\n      steps:\n        - { say: x, forget: [atc] }`,
      "4:11: 'forget' cannot be said of a step that runs beside others; say it of the interleave",
    ],
    ['an unknown IOMMU', 'iommu: three', "1:8: 'three' is not one of one, two"],
    ['an option of another IOMMU', 'iommu: { kind: two, pasidBits: 4 }', "1:21: iommu two has no key 'pasidBits'; allowed: kind"],
    [
      'page requests without ATS',
      'devices: { a: { id: 1, pri: true } }',
      '1:29: pri needs ats: a page request asks for what a translation request missed',
    ],
    ['two devices with one id', 'devices: { a: { id: 1 }, b: { id: 1 } }', '1:29: devices a and b have the same id 1'],
    [
      'a name twice',
      'devices: { a: { id: 1 }, a: { id: 2 } }',
      "1:26: there is a device called 'a' already; choose another name",
    ],
    ['a key twice', `${BASE}title: x\ntitle: y`, "10:1: the scenario has 'title' twice"],
    ['a device in two domains', `${BASE}  B: [nic]`, '9:6: device nic is in domains A and B'],
    [
      'text that is not YAML',
      'a: [',
      '1:5: not YAML: Flow sequence in block collection must be sufficiently indented and end with a ]',
    ],
    ['a list where a mapping should be', 'devices: [a]', '1:10: expected a mapping (name: …), found a list'],
    ['an empty file', '# nothing', '1:1: the file is empty'],
  ]
  it.each(cases)('names the place of %s', (_, text, message) => {
    expect(problems(text)[0]).toBe(`x.yaml:${message}`)
  })

  it('reports several problems at once, each with its line and a caret', () => {
    const loaded = loadWith(known, 'devices:\n  a: { id: x }\n  b: { idd: 1 }\n', 'x.yaml')
    expect(loaded.ok ? [] : loaded.problems.map(({ line }) => line)).toEqual([2, 3, 3])
    if (!loaded.ok) expect(problemText(loaded.problems[0]!)).toContain('\n    a: { id: x }\n             ^')
  })
})

describe('a hostile file', () => {
  it('ends an alias bomb', () => {
    const lines = ['a: &a0 [x, x, x, x, x, x, x, x, x, x]']
    for (let level = 1; level < 12; level++)
      lines.push(
        `k${level}: &a${level} [${Array(10)
          .fill(`*a${level - 1}`)
          .join(', ')}]`,
      )
    const bomb = `processes:\n  X: *bomb\n`
    expect(problems(`${lines.join('\n')}\n${bomb}`).length).toBeGreaterThan(0)
    const areas = ['about: x', 'processes:', '  P0: &a0 [{ address: 0, size: 4K }]']
    for (let level = 1; level < 3000; level++) areas.push(`  P${level}: *a0`)
    expect(loadWith(known, areas.join('\n'), 'x').ok).toBe(true)
    const steps = Array(9000).fill('  - *s').join('\n')
    const wide = `${BASE}steps:\n  - &s { request: { device: nic, pages: [${Array(200).fill('0x1000').join(', ')}] } }\n${steps}\n`
    expect(problems(wide)[0]).toMatch(/more than 500000 values; aliases/)
  })

  it('ends an alias inside its own anchor', () => {
    expect(problems('processes: &x { a: *x }')).toEqual([
      'x.yaml:1:20: *x stands for nothing; an alias needs an anchor (&name) before it, not around it',
    ])
  })

  it('refuses what is nested too deeply, and what is too long', () => {
    expect(problems('['.repeat(200_000))[0]).toMatch(/nested too deeply|not YAML/)
    expect(problems(`${'{a: '.repeat(5000)}1${'}'.repeat(5000)}`)[0]).toMatch(/nested too deeply/)
    expect(problems(' '.repeat(MOST_BYTES + 1))[0]).toMatch(/1048576 at most/)
  })

  it('does not take keys of objects for keys of the scenario', () => {
    expect(problems('__proto__: 1')[0]).toMatch(/has no key '__proto__'/)
    expect(problems('devices: { constructor: { id: 1, toString: 2 } }')[0]).toMatch(/has no key 'toString'/)
  })

  it('refuses what would keep a computer busy for a day', () => {
    const huge: [string, string][] = [
      ['pages brought in', 'processes: { P: [{ address: 0, size: 1T, populate: true }] }'],
      ['DMA', `${BASE}steps:\n${'  - dma: { device: nic, read: 0, length: 1M }\n'.repeat(5000)}`],
      ['mappings', `${BASE}steps:\n  - map: { domain: A, address: 0, physical: 4K, size: 128T }\n`],
      ['pages moved', `${BASE}steps:\n  - migrate: { process: X, address: 0, size: 128T }\n`],
      [
        'children of children',
        `processes: { P: [{ address: 0, size: 1G, populate: true }] }\nsteps:\n${Array.from({ length: 50 }, (_, index) => `  - fork: { process: P, child: C${index} }\n`).join('')}`,
      ],
    ]
    for (const [what, text] of huge) expect(problems(text)[0], what).toMatch(/touches up to \d+ pages; at most 1000000/)
    expect(problems('memory: 128G')[0]).toMatch(/137438953472 is too large/)
  })

  it('says that there are too many steps', () => {
    expect(problems(`steps:\n${'  - say: x\n'.repeat(10_001)}`)[0]).toMatch(/a list of 10001 items; from 0 to 10000/)
  })

  it('never throws, whatever it reads, and always names a place inside the file', () => {
    const word = fc.constantFrom(
      'devices',
      'steps',
      'dma',
      'device',
      'nic',
      '*a',
      '&a',
      '{',
      '}',
      '[',
      ']',
      ': ',
      '\n  ',
      '- ',
      '0x1',
      ',',
      "'",
      '|',
      '>',
      '!!',
      '? ',
      '<<',
      '~',
    )
    fc.assert(
      fc.property(fc.array(fc.oneof(word, fc.string()), { maxLength: 40 }), (words) => {
        const text = words.join('')
        const loaded = loadWith(known, text, 'x')
        if (loaded.ok) return
        const lines = text.split('\n').length
        expect(loaded.problems.length).toBeGreaterThan(0)
        for (const { line, column } of loaded.problems) {
          expect(line).toBeGreaterThanOrEqual(1)
          expect(line).toBeLessThanOrEqual(lines + 1)
          expect(column).toBeGreaterThanOrEqual(1)
        }
      }),
      { numRuns: 500 },
    )
  })
})

describe('suggestions', () => {
  it('finds the word that was meant, if there is one', () => {
    const words = ['device', 'process', 'privileged', 'bindPrivate']
    expect(nearest('devcie', words)).toBe('device')
    expect(nearest('bind-private', words)).toBe('bindPrivate')
    expect(nearest('priv', words)).toBe('privileged')
    expect(nearest('zebra', words)).toBeNull()
  })
})
