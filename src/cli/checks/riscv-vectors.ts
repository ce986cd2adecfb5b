/**
 * Vectors of the RISC-V reference model: machine states, operations, and what the C model answers to each. One list for each group of
 * cases; a case holds when every field of every answer agrees.
 */
import { basename } from 'node:path'
import type { Transaction } from '../../base/types.ts'
import type { RiscvCaches } from '../../model/riscv/options.ts'
import { InputError } from '../../node/index.ts'
import { type Mismatch, machineBefore, runCase, type VectorCase, type VectorOp } from '../../node/riscv-vector-case.ts'
import { isVectorFile, readVectors } from '../../node/riscv-vectors.ts'
import { VectorMemory } from '../../node/vector-memory.ts'
import type { Readable } from '../architectures/contract.ts'
import { PLAIN } from '../paint.ts'
import { explainedText } from '../walk-text.ts'
import type { CheckList, Failure, FileVerifier, Verification } from './contract.ts'

/** The expectations hold whatever the caches are; with caches, they show forgotten invalidations too. */
const CACHES: RiscvCaches = { devices: 64, processes: 64, translations: 64 }

/** What each field of an expectation is. */
const FIELDS: Readonly<Record<string, string>> = {
  rg0: 'registers after set-up',
  st: 'response',
  c: 'cause',
  iv2: 'iotval2',
  pa: 'address',
  sz: 'size',
  pbmt: 'memory type',
  msi: 'MSI',
  mrif: 'MRIF',
  ats: 'ATS completion',
  fq: 'fault queue',
  pq: 'page request queue',
  msg: 'message to the device',
  go: 'global observability',
  w: 'memory',
  r: 'registers',
  val: 'value read',
  ret: 'return value',
}

type Describe = Readable['describeRecord']

/** @param describeRecord what is known of a fault record of this IOMMU. */
export function vectorFiles(describeRecord: Describe): FileVerifier {
  return {
    what: 'vectors of the RISC-V reference model (JSON lines, packed or not)',
    accepts: isVectorFile,
    open: (path) => vectorLists(path, describeRecord),
  }
}

/** What the cases of a file share. */
interface Run {
  readonly path: string
  readonly memory: VectorMemory
  readonly describeRecord: Describe
  readonly tally: Tally
}

/** What was counted on the way. */
interface Tally {
  cases: number
  requests: number
  alternatives: number
}

async function vectorLists(path: string, describeRecord: Describe): Promise<Verification> {
  const groups = new Map<string, VectorCase[]>()
  for await (const vector of readVectors(path)) {
    const group = groups.get(vector.grp)
    if (group === undefined) groups.set(vector.grp, [vector])
    else group.push(vector)
  }
  const tally: Tally = { cases: 0, requests: 0, alternatives: 0 }
  const run: Run = { path, memory: new VectorMemory(), describeRecord, tally }
  return {
    title: basename(path),
    lists: [...groups].map(([name, cases]) => groupList(run, name, cases)),
    remarks() {
      const { cases, requests, alternatives } = tally
      const others = alternatives === 0 ? '' : `; ${alternatives} answers are the other one that the specification allows ('alt')`
      return [`${cases} cases with ${requests} translation requests${others}`]
    },
  }
}

function groupList(run: Run, name: string, cases: readonly VectorCase[]): CheckList {
  const { path, memory, tally } = run
  return {
    name,
    count: cases.length,
    check(index) {
      const vector = cases[index]!
      try {
        const { mismatches, requests, alternatives } = runCase(vector, memory, CACHES)
        tally.cases++
        tally.requests += requests
        tally.alternatives += alternatives
        return mismatches.length === 0 ? null : failureOf(run, vector, mismatches)
      } catch (error) {
        // Fields that are not what they should be.
        if (error instanceof SyntaxError || error instanceof TypeError || error instanceof RangeError)
          throw new InputError(path, `case ${String(vector.id)}`, `cannot be run: ${error.message}`)
        throw error
      }
    },
  }
}

function failureOf(run: Run, vector: VectorCase, mismatches: readonly Mismatch[]): Failure {
  const { op, field, expected, actual } = mismatches[0]!
  return {
    kind: FIELDS[field] ?? field,
    item: op < 0 ? vector.id : `${vector.id} ops[${op}]`,
    expected: `${field} ${expected}`,
    actual: `${field} ${actual}`,
    explain: () => explanation(run, vector, mismatches, op),
  }
}

/** The operation, its other differences, and for a translation the walk as the model does it. */
function explanation(run: Run, vector: VectorCase, mismatches: readonly Mismatch[], at: number): string {
  const lines: string[] = []
  const op = vector.ops[at]
  if (op !== undefined) {
    const { exp: _, ...given } = op
    lines.push(`operation: ${JSON.stringify(given)}`)
  }
  for (const { op: where, field, expected, actual } of mismatches.slice(1))
    if (where === at)
      lines.push(`${FIELDS[field] ?? field} differs too: expected ${field} ${expected}, actual ${field} ${actual}`)
  const later = new Set(mismatches.filter(({ op: where }) => where !== at).map(({ op: where }) => where)).size
  if (later > 0) lines.push(`${later} later ${later === 1 ? 'operation differs' : 'operations differ'} too`)
  if (op?.op === 'tr') {
    const transaction = transactionOf(op)
    const { outcome, steps } = machineBefore(vector, run.memory, CACHES, at).explain(transaction)
    const deviceName = `0x${transaction.device.toString(16)}`
    lines.push('', explainedText({ transaction, deviceName, outcome, steps }, run, PLAIN))
  }
  return lines.join('\n')
}

/** An ATS request that does not say no-write asks for a page to write. */
function transactionOf({ did, pid, iova, rw, at, x, p, nw }: VectorOp): Transaction {
  const access = rw === 'R' && x === 1 ? 'execute' : rw === 'W' || (at === 'A' && nw !== 1) ? 'write' : 'read'
  return {
    device: did!,
    iova: BigInt(iova!),
    access,
    privileged: p === 1,
    kind: at === 'A' ? 'ats-request' : at === 'T' ? 'translated' : 'untranslated',
    ...(pid === undefined ? {} : { pasid: pid }),
  }
}
