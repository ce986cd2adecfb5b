/** The table of docs/audit.md: the rules of `iomm audit`. */
import { RULES } from '../../src/inspect/audit.ts'
import { type Blocks, table } from './blocks.ts'

export const AUDIT_BLOCKS: Blocks = {
  rules: () =>
    table(
      ['rule', 'severity', 'what it looks for, and why that matters', 'what to do'],
      RULES.map(({ name, severities, about, advice }) => [`\`${name}\``, severities.join(', '), about, advice]),
    ),
}
