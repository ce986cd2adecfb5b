/**
 * Keeps the names of architectures out of the folders that serve all of them (docs/architecture.md): there only registries, and files whose
 * path carries an architecture's name, may import from one or name one in code. Comments, texts for people and tests may say what they
 * like. Exits 1 and names each place.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import ts from 'typescript'

/** Folders of src/ that know no architecture. */
const FOLDERS = ['core', 'inspect', 'render', 'cli']

/** Where the architectures are listed: what a further one has to be added to. */
export const REGISTRIES = ['inspect/registry.ts', 'cli/architectures.ts']

/** In paths. */
const IN_PATH = /(^|[/-])(smmuv3|vtd|amdvi|riscv)(?=[/.-]|$)/
/** As a part of an identifier (`inspectAmdvi`, `SMMU_CR0`), or as a whole word of a string, template or pattern. */
const IN_IDENTIFIER = /(^#?|_)(smmu|vtd|amdvi|amd(?![a-z])|riscv)|Smmu|SMMU|Vtd|VTD|Amd(vi|(?![a-z]))|AMD|Riscv|RiscV|RISCV/
const IN_TEXT = /\b(smmu(v[23])?|arm-smmu[\w-]*|vt-?d|dmar|amd-?vi|riscv)\b/i
/** Texts for people have blanks; names, keys and options have none. */
const FOR_PEOPLE = /\s/

/**
 * Places of a file that name an architecture: `line: what`.
 * @param {string} name for messages
 * @param {string} text
 */
export function namesIn(name, text) {
  const found = []
  const file = ts.createSourceFile(name, text, ts.ScriptTarget.Latest, true)
  const say = (node, what) => found.push(`${name}:${file.getLineAndCharacterOfPosition(node.getStart()).line + 1}: ${what}`)
  const visit = (node) => {
    if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) {
      const from = node.moduleSpecifier?.text
      if (from !== undefined && IN_PATH.test(from)) return say(node, `imports ${from}`)
    }
    const inImport = ts.isImportDeclaration(node.parent ?? node)
    if ((ts.isIdentifier(node) || ts.isPrivateIdentifier(node)) && IN_IDENTIFIER.test(node.text)) say(node, node.text)
    else if (ts.isRegularExpressionLiteral(node) && IN_TEXT.test(node.text)) say(node, node.text)
    else if (ts.isStringLiteral(node) || ts.isNoSubstitutionTemplateLiteral(node)) {
      if (!inImport && !FOR_PEOPLE.test(node.text) && IN_TEXT.test(node.text)) say(node, `'${node.text}'`)
    }
    ts.forEachChild(node, visit)
  }
  visit(file)
  return found
}

/** What breaks the rule under `root`, the folder src/. */
export function check(root) {
  const wrong = []
  const seen = new Set()
  for (const folder of FOLDERS)
    for (const entry of readdirSync(join(root, folder), { recursive: true, withFileTypes: true })) {
      const file = join(entry.parentPath, entry.name)
      const name = relative(root, file)
      if (!entry.isFile() || !name.endsWith('.ts') || /\.(test|suite)\.ts$/.test(name)) continue
      seen.add(name)
      if (REGISTRIES.includes(name) || IN_PATH.test(name.replace(/\.ts$/, ''))) continue
      wrong.push(...namesIn(name, readFileSync(file, 'utf8')))
    }
  for (const name of REGISTRIES) if (!seen.has(name)) wrong.push(`${name}: listed in scripts/check-names.js, and not there`)
  return wrong
}

if (process.argv[1] === import.meta.filename) {
  const wrong = check(resolve(import.meta.dirname, '..', 'src'))
  if (wrong.length > 0) {
    console.error(wrong.join('\n'))
    console.error('Only registries and the files of an architecture may name one (scripts/check-names.js).')
    process.exit(1)
  }
  console.error('names: architectures are named in their own files and in registries only')
}
