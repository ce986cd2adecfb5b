/**
 * `npm run bench`: each row in ns per operation, as a ratio to the C twin of the bare work (twin.c) in the same run.
 * A row's checksum must equal the twin's: both did the same work. Rounds of both alternate, the best of each counts.
 */
import { scale } from './scale.ts'
import { smmuRows } from './smmuv3.ts'
import { walkRows } from './walk.ts'

console.log(`${'row'.padEnd(60)}${'ns'.padStart(8)}  ${'C ns'.padStart(8)}  ${'ratio'.padStart(6)}  aim`)
walkRows()
smmuRows()
scale()
