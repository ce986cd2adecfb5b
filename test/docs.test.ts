/** What the documentation shows is compiled and run: its TypeScript, and its command lines. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import ts from 'typescript'
import { describe, expect, it } from 'vitest'

const root = resolve(import.meta.dirname, '..')
const pages = ['README.md', ...readdirSync(join(root, 'docs')).map((name) => `docs/${name}`)].filter((name) =>
  name.endsWith('.md'),
)
const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts') && !/\.(test|suite)\.ts$/.test(name))
  .map((name) => `src/${name}`)

interface Example {
  readonly place: string
  readonly text: string
}

/** Fenced blocks of a language, with the file and line where each begins. */
function blocks(file: string, language: string): Example[] {
  const lines = readFileSync(join(root, file), 'utf8').split('\n')
  const found: Example[] = []
  const fence = new RegExp(`^\\s*(?:\\* )?\`\`\`${language}$`)
  for (let at = 0; at < lines.length; at++) {
    if (!fence.test(lines[at]!)) continue
    const end = lines.findIndex((line, index) => index > at && /^\s*(?:\* )?```$/.test(line))
    if (end < 0) throw new Error(`${file}:${at + 1}: the block does not end`)
    // In a comment each line begins with an asterisk and a blank; what is indented further stays so.
    const commented = /^\s*\*/.test(lines[at]!)
    const text = lines
      .slice(at + 1, end)
      .map((line) => (commented ? line.replace(/^\s*\* ?/, '') : line))
      .join('\n')
    found.push({ place: `${file}:${at + 1}`, text })
    at = end
  }
  return found
}

const folder = join(root, 'out', 'docs')
rmSync(folder, { recursive: true, force: true })
mkdirSync(folder, { recursive: true })
const examples = [...pages, ...sources].flatMap((file) => blocks(file, 'ts'))
const files = examples.map(({ text }, index) => {
  const file = join(folder, `example-${index}.ts`)
  writeFileSync(file, `${text}\nexport {}\n`)
  return file
})

describe('TypeScript in the documentation', () => {
  it('compiles', () => {
    const { config } = ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile)
    const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, root)
    const program = ts.createProgram(files, {
      ...options,
      module: ts.ModuleKind.ESNext,
      moduleResolution: ts.ModuleResolutionKind.Bundler,
      typeRoots: [join(root, 'node_modules/@types')],
      paths: { iomm: [join(root, 'src/index.ts')], 'iomm/node': [join(root, 'src/node/index.ts')] },
    })
    const wrong = ts.getPreEmitDiagnostics(program).map((diagnostic) => {
      const index = files.indexOf(diagnostic.file?.fileName ?? '')
      const place = index < 0 ? (diagnostic.file?.fileName ?? '') : examples[index]!.place
      return `${place}: ${ts.flattenDiagnosticMessageText(diagnostic.messageText, ' ')}`
    })
    expect(wrong).toEqual([])
  })
  for (const [index, { place }] of examples.entries()) {
    it(`runs: ${place}`, async () => {
      await import(files[index]!)
    })
  }
})

describe('command lines in the documentation', () => {
  const main = join(root, 'dist/cli/main.js')
  for (const { place, text } of pages.flatMap((file) => blocks(file, 'sh'))) {
    for (const line of text.split('\n')) {
      const match = /^(?:npx )?iomm (.*?)\s*(?:#(?:.*?exits with (\d))?.*)?$/.exec(line)
      if (match === null) continue
      const words = match[1]!.split(/\s+/)
      const needs = words.filter((word) => word.startsWith('../shared/')).map((word) => word.replace(/\/[^/]*\*.*$/, ''))
      const missing = needs.find((path) => !existsSync(join(root, path)))
      if (missing !== undefined) console.warn(`skipped, because ${missing} is not here: ${line}`)
      it.skipIf(missing !== undefined)(`${place}: ${line}`, () => {
        const done = spawnSync('sh', ['-c', `exec node ${main} ${match[1]}`], { cwd: root, encoding: 'utf8', input: '' })
        expect(`${done.stderr}`.includes('    at '), done.stderr).toBe(false)
        expect(done.status, done.stderr).toBe(Number(match[2] ?? 0))
      })
    }
  }
})

describe('the picture of README', () => {
  it('is what the program draws', () => {
    const picture = blocks('README.md', 'text')[0]!.text
    const shown = spawnSync('node', [join(root, 'dist/cli/main.js'), 'show', 'examples/two-domains.yaml'], {
      cwd: root,
      encoding: 'utf8',
    })
    expect(shown.stdout).toContain(picture.trimEnd())
  })
})
