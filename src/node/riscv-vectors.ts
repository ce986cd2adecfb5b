/** Files of RISC-V IOMMU vectors: JSON lines, one case each, packed with gzip or not. */
import { stat } from 'node:fs/promises'
import type { RiscvCaches } from '../model/riscv/options.ts'
import { InputError } from './errors.ts'
import { type CaseResult, runCase, type VectorCase } from './riscv-vector-case.ts'
import { readUnpacked } from './unpack.ts'
import { VectorMemory } from './vector-memory.ts'

export interface GroupResult {
  readonly group: string
  cases: number
  requests: number
  failed: number
  alternatives: number
  /** Field that differed first in a case → how many cases. */
  readonly kinds: Map<string, number>
}

export interface VectorResults {
  readonly groups: ReadonlyMap<string, GroupResult>
  /** Cases that differ, in the file's order. */
  readonly failures: readonly CaseResult[]
}

const LISTS = ['mem', 'flt', 'regs', 'rg0', 'ops'] as const
const FIELDS = ['id', 'grp', 'cap', 'impl', ...LISTS] as const

/** Whether this looks like a file of vectors: a file whose first line is a case. */
export async function isVectorFile(path: string): Promise<boolean> {
  if (!(await stat(path)).isFile()) return false
  try {
    for await (const _ of readVectors(path)) return true
    return false
  } catch (error) {
    if (error instanceof InputError) return false
    throw error
  }
}

/** The cases of a file. @throws InputError when it cannot be read, or a line is not a case. */
export async function* readVectors(path: string): AsyncGenerator<VectorCase> {
  const text = new TextDecoder().decode(await readUnpacked(path))
  let line = 0
  for (let start = 0; start < text.length; ) {
    const end = text.indexOf('\n', start)
    const piece = text.slice(start, end < 0 ? text.length : end)
    start = end < 0 ? text.length : end + 1
    line++
    if (piece.trim() !== '') yield parseCase(path, line, piece)
  }
}

function parseCase(path: string, line: number, text: string): VectorCase {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new InputError(path, `line ${line}`, `is not JSON: ${(error as Error).message}`)
  }
  if (value === null || typeof value !== 'object') throw new InputError(path, `line ${line}`, 'is not a case: expected an object')
  for (const field of FIELDS)
    if (!(field in value)) throw new InputError(path, `line ${line}`, `is not a case of RISC-V vectors: it has no '${field}'`)
  const vector = value as VectorCase
  for (const field of LISTS)
    if (!Array.isArray(vector[field]))
      throw new InputError(path, `line ${line}`, `is not a case of RISC-V vectors: '${field}' is not a list`)
  return vector
}

/**
 * Runs every case of a file.
 * @param caches sizes of the model's caches; the expectations hold whatever they are.
 * @param stopAtFirst ends with the first case that differs.
 */
export async function runVectors(path: string, caches: RiscvCaches, stopAtFirst = false): Promise<VectorResults> {
  const groups = new Map<string, GroupResult>()
  const failures: CaseResult[] = []
  const memory = new VectorMemory()
  for await (const vector of readVectors(path)) {
    const result = checked(path, vector, () => runCase(vector, memory, caches))
    let group = groups.get(result.group)
    if (group === undefined) {
      group = { group: result.group, cases: 0, requests: 0, failed: 0, alternatives: 0, kinds: new Map() }
      groups.set(result.group, group)
    }
    group.cases++
    group.requests += result.requests
    group.alternatives += result.alternatives
    if (result.mismatches.length === 0) continue
    group.failed++
    const { field } = result.mismatches[0]!
    group.kinds.set(field, (group.kinds.get(field) ?? 0) + 1)
    failures.push(result)
    if (stopAtFirst) break
  }
  return { groups, failures }
}

/** A case whose fields are not what they should be ends the file with its name, not with a stack. */
function checked(path: string, { id }: VectorCase, run: () => CaseResult): CaseResult {
  try {
    return run()
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof TypeError || error instanceof RangeError)
      throw new InputError(path, `case ${String(id)}`, `cannot be run: ${error.message}`)
    throw error
  }
}
