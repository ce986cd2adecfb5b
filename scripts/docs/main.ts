/** `npm run docs`: makes the generated parts of docs/ anew. */
import { readFileSync, writeFileSync } from 'node:fs'
import { fill } from './blocks.ts'
import { PAGES } from './pages.ts'

for (const [page, blocks] of Object.entries(PAGES)) {
  const old = readFileSync(page, 'utf8')
  const filled = fill(old, blocks, page)
  if (filled !== old) writeFileSync(page, filled)
  console.error(`${page}: ${filled === old ? 'up to date' : 'written'}`)
}
