/** Pages of docs/ that have generated parts. `npm run docs` writes them; `test/docs-tables.test.ts` sees that they are up to date. */
import { AUDIT_BLOCKS } from './audit.ts'
import type { Blocks } from './blocks.ts'
import { commandTable } from './commands.ts'
import { FAULT_BLOCKS } from './faults.ts'
import { lacks } from './lacks.ts'
import { LIMIT_BLOCKS } from './limits.ts'
import { pageTables } from './page-tables.ts'

export const PAGES: Readonly<Record<string, Blocks>> = {
  'docs/architectures.md': { ...LIMIT_BLOCKS, 'page-tables': pageTables, commands: commandTable, lacks },
  'docs/faults.md': FAULT_BLOCKS,
  'docs/audit.md': AUDIT_BLOCKS,
}
