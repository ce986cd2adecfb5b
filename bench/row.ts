/** One row of the benchmark: our work and the C twin's, in turns. */
import type { PhysicalMemory } from '../src/memory/physical.ts'
import { RAM_START, tablesEnd } from './tables.ts'
import { Twin, type TwinImage, type TwinResult } from './twin.ts'

/** Compiled once for each group of rows. */
export const twin = process.argv[2] === undefined || /^(scale|riscv|dumps|draw)/.test(process.argv[2]) ? null : Twin.compile()
process.on('exit', () => twin?.remove())

/** All of the memory's tables, for the twin; null without one. */
export function imageOf(memory: PhysicalMemory): TwinImage | null {
  return twin?.image(memory, RAM_START, tablesEnd(memory)) ?? null
}

/** Turns of ours and the twin's, and rounds within a turn. */
const TURNS = 5
export const ROUNDS = 4

export interface Row {
  readonly name: string
  readonly operations: number
  /** The work, once. Returns the checksum. */
  readonly ours: () => number
  /** The twin's command and arguments; null for a row without a twin. */
  readonly theirs: { image: TwinImage; sequence: Uint32Array; command: string; args: readonly number[] } | null
  readonly aim: string
}

/** Runs and prints a row. @returns ns per operation of both. */
export function row({ name, operations, ours, theirs, aim }: Row): { ns: number; twin: number } {
  let ns = Number.POSITIVE_INFINITY
  let sum = 0
  let c: TwinResult = { ns: Number.POSITIVE_INFINITY, sum: 0n }
  for (let turn = 0; turn < TURNS; turn++) {
    for (let round = 0; round < ROUNDS; round++) {
      const start = process.hrtime.bigint()
      sum = ours()
      ns = Math.min(ns, Number(process.hrtime.bigint() - start) / operations)
    }
    if (twin === null || theirs === null) continue
    const result = twin.run(theirs.image, theirs.sequence, theirs.command, theirs.args)
    if (result.sum !== BigInt(sum)) throw new Error(`${name}: checksum ${sum} is not the twin's ${result.sum}: not the same work`)
    if (result.ns < c.ns) c = result
  }
  const ratio = Number.isFinite(c.ns) ? `${c.ns.toFixed(1).padStart(8)}  ${(ns / c.ns).toFixed(2).padStart(6)}` : ''.padStart(16)
  console.log(`${name.padEnd(60)}${ns.toFixed(1).padStart(8)}  ${ratio}  ${aim}`)
  return { ns, twin: c.ns }
}
