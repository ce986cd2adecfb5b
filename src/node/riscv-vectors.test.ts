import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { NO_ANSWER, POISONED } from '../base/memory.ts'
import { InputError } from './errors.ts'
import { runCase, type VectorCase } from './riscv-vector-case.ts'
import { readVectors, runVectors, type VectorResults } from './riscv-vectors.ts'
import { FAULT_POISON, FAULT_READ, FAULT_WRITE, VectorMemory } from './vector-memory.ts'

const fixture = join(import.meta.dirname, '../../test/fixtures/riscv-vectors.jsonl.gz')
const all = join(import.meta.dirname, '../../../shared/vectors/riscv/riscv-iommu-public.jsonl.gz')
const folder = mkdtempSync(join(tmpdir(), 'iomm-vectors-'))
afterAll(() => rmSync(folder, { recursive: true }))

const caches = (size: number) => ({ devices: size, processes: size, translations: size })
const totals = ({ groups, failures }: VectorResults) => ({
  cases: [...groups.values()].reduce((sum, { cases }) => sum + cases, 0),
  requests: [...groups.values()].reduce((sum, { requests }) => sum + requests, 0),
  failures: failures.slice(0, 3),
})

describe('RISC-V vectors', () => {
  it.for([0, 1, 2, 64])('agree in every field with caches of %i entries: a sample of each group', async (size) => {
    const results = await runVectors(fixture, caches(size))
    expect(totals(results)).toEqual({ cases: 120, requests: 1039, failures: [] })
    expect(results.groups.size).toBe(20)
  })

  it.for([0, 2, 64])(
    'agree in every field with caches of %i entries: all of them',
    { timeout: 240_000 },
    async (size, { skip }) => {
      if (!existsSync(all)) skip('../shared/vectors is not here')
      expect(totals(await runVectors(all, caches(size)))).toEqual({ cases: 6130, requests: 66545, failures: [] })
    },
  )

  it('find a field that differs, and name the operation', async () => {
    const memory = new VectorMemory()
    for await (const vector of readVectors(fixture)) {
      const at = vector.ops.findIndex(({ op, exp }) => op === 'tr' && exp?.pa !== undefined)
      if (at < 0) continue
      const { ops } = vector
      const wrong = { ...ops[at]!, exp: { ...ops[at]!.exp, pa: '0x1' } }
      const { mismatches } = runCase({ ...vector, ops: ops.with(at, wrong) }, memory, caches(0))
      expect(mismatches).toEqual([{ op: at, field: 'pa', expected: '"0x1"', actual: JSON.stringify(ops[at]!.exp!.pa) }])
    }
  })

  it('find an effect that was not expected, and one that did not happen', async () => {
    const memory = new VectorMemory()
    let seen = 0
    for await (const vector of readVectors(fixture)) {
      const at = vector.ops.findIndex(({ exp }) => exp?.w !== undefined && exp.r !== undefined)
      if (at < 0) continue
      seen++
      const { w, r, ...rest } = vector.ops[at]!.exp!
      const changed: VectorCase = { ...vector, ops: vector.ops.with(at, { ...vector.ops[at]!, exp: { ...rest, go: [[9, 9]] } }) }
      const fields = runCase(changed, memory, caches(0), true).mismatches.map(({ field }) => field)
      expect(new Set(fields)).toEqual(new Set(['w', 'r', 'go']))
    }
    expect(seen).toBeGreaterThan(50)
  })

  it('are refused by line when they are no vectors', async () => {
    const read = async (text: string) => {
      const path = join(folder, 'bad.jsonl')
      writeFileSync(path, text)
      await runVectors(path, caches(0))
    }
    await expect(read('{"id":\n')).rejects.toThrow(/bad\.jsonl at line 1: is not JSON/)
    await expect(read('\n7\n')).rejects.toThrow(/line 2: is not a case: expected an object/)
    await expect(read('{"id":"x"}\n')).rejects.toThrow("it has no 'grp'")
    const shape = { id: 'x', grp: 's1', cap: '0x10', impl: {}, mem: [], flt: [], regs: [], rg0: [], ops: [{ op: 'tr' }] }
    await expect(read(JSON.stringify(shape))).rejects.toThrow(/case x: cannot be run/)
    await expect(read(JSON.stringify({ ...shape, mem: 7 }))).rejects.toThrow(InputError)
  })
})

describe('memory of a case', () => {
  it('refuses reads, writes or gives poison, by every byte that an access touches', () => {
    const memory = new VectorMemory()
    memory.addRange(0x1008n, 8, FAULT_READ)
    memory.addRange(0x2004n, 4, FAULT_WRITE)
    memory.addRange(0x3008n, 8, FAULT_POISON)
    expect(memory.index(0x1000, 8)).toBeGreaterThanOrEqual(0)
    expect(memory.index(0x1000, 16)).toBe(NO_ANSWER)
    expect(memory.indexForWrite(0x1000, 16)).toBeGreaterThanOrEqual(0)
    expect(memory.indexForWrite(0x2000, 4)).toBeGreaterThanOrEqual(0)
    expect(memory.indexForWrite(0x2000, 8)).toBe(NO_ANSWER)
    expect(memory.index(0x3000, 16)).toBe(POISONED)
    expect(memory.index(0x3000, 8)).toBeGreaterThanOrEqual(0)
  })

  it('tells which words changed, with an address of any size', () => {
    const memory = new VectorMemory()
    const high = 2 ** 56 - 16
    memory.store(high, 1, 2)
    const index = memory.indexForWrite(high, 8)
    memory.words[index] = 3
    memory.indexForWrite(0x5000, 4)
    expect(memory.changes()).toEqual([{ pa: high, hi: 1, lo: 3 }])
    expect(memory.changes()).toEqual([])
    memory.reset()
    expect([...memory.peek(high, 2)]).toEqual([0, 0])
  })
})
