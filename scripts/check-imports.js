// Keeps the imports of src/ running one way (docs/architecture.md). Exits 1 and names each import that does not.
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'

/** For each folder of src/: the folders that it may import from, besides itself. */
const may = {
  base: [],
  memory: ['base'],
  format: ['base'],
  model: ['base', 'memory', 'format'],
  mm: ['base', 'memory', 'format'],
  core: ['base', 'memory', 'mm'],
  driver: ['base', 'memory', 'format', 'core'],
  machine: ['base', 'memory', 'format', 'model', 'mm', 'core', 'driver'],
  inspect: ['base', 'memory', 'format'],
  explain: ['base', 'format'],
  render: ['base', 'inspect'],
  node: ['base', 'memory', 'format', 'model', 'inspect'],
  cli: ['base', 'memory', 'format', 'model', 'mm', 'core', 'driver', 'machine', 'inspect', 'explain', 'render', 'node'],
}
/** Only these may use node:* modules and global Node things; all else also runs in a browser. */
const nodeAllowed = new Set(['node', 'cli'])

const root = resolve(import.meta.dirname, '..', 'src')
const wrong = []
for (const entry of readdirSync(root, { recursive: true, withFileTypes: true })) {
  if (!entry.isFile() || !entry.name.endsWith('.ts')) continue
  const file = join(entry.parentPath, entry.name)
  const name = relative(root, file)
  const folder = name.includes('/') ? name.split('/')[0] : null
  const isTest = /\.(test|suite)\.ts$/.test(name)
  if (folder !== null && !(folder in may)) wrong.push(`${name}: folder ${folder} is not in the list of scripts/check-imports.js`)
  const text = readFileSync(file, 'utf8')
  for (const [, from] of text.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)) {
    if (from.startsWith('node:')) {
      if (!isTest && !nodeAllowed.has(folder)) wrong.push(`${name}: imports ${from}; only src/node and src/cli may`)
      continue
    }
    if (!from.startsWith('.') || folder === null || isTest) continue
    const target = relative(root, resolve(dirname(file), from))
    const to = target.split('/')[0]
    if (to !== folder && !may[folder]?.includes(to)) wrong.push(`${name}: ${folder} must not import ${to} (${from})`)
  }
}
if (wrong.length > 0) {
  console.error(wrong.join('\n'))
  process.exit(1)
}
console.error('imports: one way, as docs/architecture.md says')
