import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import Ajv from 'ajv/dist/2020.js'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { loadScenario, scenarioSchema } from './index.ts'

const EXAMPLES = resolve(import.meta.dirname, '../../examples')
const FILE = join(EXAMPLES, 'scenario.schema.json')
const schema = scenarioSchema()

// To write it anew: UPDATE_SCHEMA=1 npx vitest run src/machine/schema.test.ts && npx biome format --write examples
if (process.env.UPDATE_SCHEMA === '1') writeFileSync(FILE, JSON.stringify(schema, null, 2))

const validate = new Ajv.default({ allowUnionTypes: true, strict: true, strictRequired: false, strictTypes: false }).compile(
  schema,
)

const examples = readdirSync(EXAMPLES).filter((name) => name.endsWith('.yaml'))

describe('the schema of scenarios', () => {
  it('is the one that ships', () => {
    expect(JSON.parse(readFileSync(FILE, 'utf8'))).toEqual(JSON.parse(JSON.stringify(schema)))
  })

  it.each(examples)('takes %s, which names it', (name) => {
    const text = readFileSync(join(EXAMPLES, name), 'utf8')
    expect(text.startsWith('# yaml-language-server: $schema=./scenario.schema.json\n')).toBe(true)
    validate(parse(text))
    expect(validate.errors).toBeNull()
  })

  /** What both the schema and the reader must refuse. */
  const wrong: [string, string][] = [
    ['an unknown key', 'titel: x'],
    ['an unknown key of a device', 'devices: { a: { id: 1, pasids: 4 } }'],
    ['a missing key', 'devices: { a: { ats: true } }'],
    ['a value out of range', 'devices: { a: { id: 1, pasidBits: -1 } }'],
    ['a text for a flag', 'devices: { a: { id: 1, ats: 1 } }'],
    ['a list for a mapping', 'devices: [1]'],
    ['a word that is none', 'pasids: highest'],
    ['two actions in a step', 'steps: [{ say: x, interrupts: off }]'],
    ['no action in a step', 'steps: [{ why: x }]'],
    ['an unknown action', 'steps: [{ leap: x }]'],
    ['an action without what it needs', 'steps: [{ bind: { device: a } }]'],
    ['two accesses', 'devices: { a: { id: 1 } }\nsteps: [{ dma: { device: a, read: 0, write: 0 } }]'],
    ['an unknown result', 'steps: [{ say: x, expect: splendid }]'],
    ['an unknown expectation', 'steps: [{ say: x, expect: { colour: red } }]'],
    ['an unknown cache', 'steps: [{ say: x, forget: [l1] }]'],
    ['interleavings inside interleavings', 'steps: [{ interleave: { steps: [{ interleave: { steps: [{ say: x }] } }] } }]'],
    ['an option of no IOMMU', 'iommu: { kind: smmuv3, colour: red }'],
    ['a size that is none', 'memory: much'],
    ['rights that are none', 'processes: { X: [{ address: 0, size: 4K, rights: wr }] }'],
  ]
  it.each(wrong)('refuses %s, as reading does', (_, text) => {
    expect(validate(parse(text))).toBe(false)
    expect(loadScenario(text, 'x').ok).toBe(false)
  })

  it('explains every key', () => {
    const bare: string[] = []
    const visit = (at: string, node: unknown) => {
      if (typeof node !== 'object' || node === null) return
      for (const [key, value] of Object.entries(node)) {
        if (key === 'properties') {
          for (const [name, property] of Object.entries(value as Record<string, { description?: string }>))
            if ((property.description ?? '').length < 4) bare.push(`${at}.${name}`)
        }
        visit(`${at}.${key}`, value)
      }
    }
    visit('', schema)
    expect(bare).toEqual([])
  })
})
