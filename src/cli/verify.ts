/** `iomm verify`: whether the tables translate as the machines that wrote them did. */
import { stat } from 'node:fs/promises'
import { Command } from 'commander'
import { type ListResult, runList, type Verification } from './checks/contract.ts'
import { VERIFIERS } from './checks/registry.ts'
import { CliError, EXIT_FINDINGS, EXIT_INPUT, EXIT_OK, harmless, note, print, toJson } from './common.ts'
import { withInputErrors } from './input.ts'
import { progress } from './progress.ts'
import { baseArgument, type RegisterOptions } from './registers.ts'

interface Options extends Pick<RegisterOptions, 'registers' | 'base'> {
  readonly first?: true
  readonly json?: true
}

interface FileResult {
  readonly title: string
  readonly lists: readonly ListResult[]
  readonly remarks: readonly string[]
}

export function verifyCommand(): Command {
  return new Command('verify')
    .summary('check what captures of real machines and vectors of reference models expect')
    .description(
      'Checks every expectation of each FILE or FOLDER: translations that the machine made, DMA that devices did, mappings that the ' +
        'kernel vouches for (first and last byte, permissions), accesses that had to fault, and what an independent program found in ' +
        'the tables; or every case of a file of vectors. The first failures are explained with the walk.',
    )
    .argument(
      '<inputs...>',
      'captures (folders with side.json.gz and tables.elf.gz), dumps of memory with --registers, or vectors of the RISC-V reference ' +
        'model (.jsonl, .jsonl.gz)',
    )
    .option('--registers <file>', "what dumps are checked against: registers and expectations of a capture's side.json")
    .option('--base <address>', 'dumps are raw images of memory from this address on', baseArgument)
    .option('--first', 'stop at the first failure')
    .option('--json', 'results as JSON')
    .addHelpText(
      'after',
      `
Examples:
  iomm verify test/fixtures/arm64-smmuv3-s1
  iomm verify ../shared/captures/arm64-smmuv3-* --first
  iomm verify test/fixtures/arm64-smmuv3-s1 --json | jq .failed
  iomm verify guest.kdump --registers test/fixtures/arm64-smmuv3-s1/side.json.gz

The last line is 'N passed, M failed'. Exit code: 0 all passed, 1 some failed, 2 usage, 3 unreadable input, 4 not supported.`,
    )
    .action(async (inputs: string[], options: Options) => {
      process.exitCode = await verify(inputs, options)
    })
}

async function verify(inputs: readonly string[], options: Options): Promise<number> {
  const files: FileResult[] = []
  const show = progress()
  let unread = 0
  for (const path of inputs) {
    let file: FileResult
    try {
      file = await withInputErrors(async () => runFile(await open(path, options), options.first ?? false, show))
    } catch (error) {
      // The others are checked all the same; the exit code is the worst.
      if (!(error instanceof CliError)) throw error
      show(null)
      note(`iomm: ${error.message}`)
      unread = Math.max(unread, error.exitCode)
      continue
    }
    files.push(file)
    show(null)
    if (!options.json) print(harmless(fileText(file)))
    if (options.first && file.lists.some(({ failed }) => failed > 0)) break
  }
  const all = files.flatMap(({ lists }) => lists)
  const passed = all.reduce((sum, list) => sum + list.passed, 0)
  const failed = all.reduce((sum, list) => sum + list.failed, 0)
  if (options.json) print(toJson({ passed, failed, files: files.map(fileJson) }))
  else print(`${passed} passed, ${failed} failed`)
  if (unread > 0) return unread
  if (passed + failed > 0) return failed === 0 ? EXIT_OK : EXIT_FINDINGS
  note('iomm: nothing was checked: the inputs hold no expectations')
  return EXIT_INPUT
}

async function open(path: string, options: Options): Promise<Verification> {
  try {
    await stat(path)
  } catch {
    throw new CliError(EXIT_INPUT, `${path}: no such file or folder`)
  }
  for (const verifier of VERIFIERS) if (await verifier.accepts(path, options)) return verifier.open(path, options)
  throw new CliError(EXIT_INPUT, `${path}: nothing to verify: expected ${VERIFIERS.map(({ what }) => what).join(' or ')}`)
}

function runFile({ title, lists, remarks }: Verification, first: boolean, show: (text: string | null) => void): FileResult {
  const results: ListResult[] = []
  for (const list of lists) {
    const result = runList(list, first, (done) => show(`${title}: ${list.name} ${done} of ${list.count}`))
    results.push(result)
    if (first && result.failed > 0) break
  }
  return { title, lists: results, remarks: remarks() }
}

/** A table by list, then the first failures, then remarks. */
function fileText({ title, lists, remarks }: FileResult): string {
  const width = Math.max(4, ...lists.map(({ name }) => name.length))
  const lines = [title]
  for (const { name, passed, failed, kinds } of lists) {
    const why = [...kinds].map(([kind, count]) => `${count} ${kind}`).join(', ')
    lines.push(
      `  ${name.padEnd(width)} ${String(passed).padStart(6)} passed ${String(failed).padStart(6)} failed${why === '' ? '' : `   ${why}`}`,
    )
  }
  for (const { first } of lists) {
    for (const failure of first) {
      lines.push('', `  ${failure.item}: ${failure.kind}`, `    expected: ${failure.expected}`, `    actual:   ${failure.actual}`)
      const walk = failure.explain()
      if (walk !== '')
        lines.push(
          ...walk
            .trimEnd()
            .split('\n')
            .map((line) => (line === '' ? '' : `    ${line}`)),
        )
    }
  }
  for (const remark of remarks) lines.push(`  ${remark}`)
  return `${lines.join('\n')}\n`
}

function fileJson({ title, lists, remarks }: FileResult): object {
  return {
    title,
    lists: lists.map(({ first, ...list }) => ({
      ...list,
      first: first.map((failure) => ({ ...failure, explain: failure.explain() })),
    })),
    remarks,
  }
}
