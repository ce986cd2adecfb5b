/**
 * `npm run bench`: each row in ns per operation, as a ratio to the C twin of the bare work (twin.c) in the same run.
 * A row's checksum must equal the twin's: both did the same work. Rounds of both alternate, the best of each counts. Each group of rows
 * has a process of its own, so that what one made the compiler learn does not slow the next.
 */
import { spawnSync } from 'node:child_process'
import { DRAW, draw, dumps } from './dumps.ts'
import { RISCV_ROWS, riscvHead, riscvRow } from './riscv.ts'
import { scale } from './scale.ts'
import { bigintRows, hitRows, translationRows } from './smmuv3.ts'
import { enumerationRow, nestedRow, walkRows } from './walk.ts'
import { X86_GROUPS } from './x86.ts'

const GROUPS: Record<string, () => void> = {
  walk: walkRows,
  nested: nestedRow,
  enumeration: enumerationRow,
  hit: hitRows,
  translation: translationRows,
  bigint: bigintRows,
  ...X86_GROUPS,
  scale,
  dumps,
  'riscv-head': riscvHead,
}
for (let index = 0; index < RISCV_ROWS; index++) GROUPS[`riscv-${index}`] = () => riscvRow(index)

const group = process.argv[2]
if (group === DRAW) await draw()
else if (group !== undefined) GROUPS[group]!()
else {
  console.log(`${'row'.padEnd(60)}${'ns'.padStart(8)}  ${'C ns'.padStart(8)}  ${'ratio'.padStart(6)}  aim`)
  for (const name of Object.keys(GROUPS)) {
    const done = spawnSync(process.execPath, [process.argv[1]!, name], { stdio: 'inherit' })
    if (done.status !== 0) process.exitCode = 1
  }
}
