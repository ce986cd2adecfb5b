/** `iomm decode`: a descriptor, command, event record or register from its hex words, with every field named. */
import { Command } from 'commander'
import { hexPad } from '../base/hex.ts'
import { type DescribedField, describe, type Layout, uncovered, wordsFromU64, wordsToU64 } from '../base/layout.ts'
import { STRUCTURE_SETS, structuresNamed } from '../format/registry.ts'
import { type Found, reservedBitsSet, type Structure, type Surroundings, type Verdict } from '../format/structure.ts'
import { suggest } from '../machine/language/problem.ts'
import { CliError, colourFor, EXIT_FINDINGS, EXIT_OK, EXIT_USAGE, note, numberArgument, print, toJson } from './common.ts'
import { layoutText, listText, resultText } from './decode-text.ts'
import { COLOURS, PLAIN } from './paint.ts'

interface Options {
  readonly list?: true
  readonly u32?: true
  readonly json?: true
  /** What surrounds the structure, by the name of a register (a number) or of a structure (its words). */
  readonly [around: string]: bigint | string | true | undefined
}

/** The option of a register or structure: its name, in lower case. Commander gives values by names in camel case. */
const optionOf = (name: string) => name.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-')
const keyOf = (name: string) => optionOf(name).replaceAll(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())

/** One decoded structure. */
export interface Decoded {
  readonly found: Found
  readonly words: readonly bigint[]
  readonly fields: readonly DescribedField[]
  /** [msb, lsb] of bits that are set and belong to no field. */
  readonly reserved: readonly (readonly [number, number])[]
  readonly verdicts: readonly Verdict[]
}

export function decodeCommand(): Command {
  const command = new Command('decode')
    .summary('a descriptor, command, event or register from hex, with every field named')
    .description(
      'Decodes the words of one structure (or of several in a row): every field with its bits, its value and what that means, reserved ' +
        'bits that are set, and combinations that the hardware refuses, with the section of the manual. CMD and EVENT stand for any ' +
        'command and any event record. Without words, shows the layout of the structure.',
    )
    .argument('[structure]', 'STE, CD, CMD, EVENT, IDR0, DC, PC, COMMAND …: see --list')
    .argument('[words...]', '64-bit words in hex, lowest first, joined or separated by spaces, commas or colons')
    .option('--u32', 'the words have 32 bits each')
    .option('--list', 'the structures that can be decoded')
    .option('--json', 'as JSON')
  for (const { name: architecture, surroundings } of STRUCTURE_SETS) {
    for (const { name, what } of surroundings.structures) command.option(`--${optionOf(name)} <words>`, what)
    for (const name of surroundings.registers)
      command.option(
        `--${optionOf(name)} <value>`,
        `${name}, ${architecture} (else: ${surroundings.registersUnless})`,
        numberArgument,
      )
  }
  return command
    .addHelpText(
      'after',
      `
Examples:
  iomm decode STE 0x000000004491500b 0x00000000000000d6
  iomm decode EVENT 0x0000003000000010:0x0000020000000000:0x0000007700000000:0
  iomm decode CMD --u32 46,0,0,0
  iomm decode IDR0 0x0d44101b
  iomm decode CD
  iomm decode DC 1,0,0x1000,0xa0000000000a0302

Exit code: 0 fine, 1 something is illegal or reserved bits are set, 2 usage.`,
    )
    .action((name: string | undefined, words: string[], options: Options) => {
      process.exitCode = run(name, words, options)
    })
}

function run(name: string | undefined, args: readonly string[], options: Options): number {
  const paint = colourFor(process.stdout) ? COLOURS : PLAIN
  if (options.list) {
    print(options.json ? toJson(listJson()) : listText(STRUCTURE_SETS, paint))
    return EXIT_OK
  }
  if (name === undefined)
    throw new CliError(EXIT_USAGE, 'which structure? `iomm decode STE 0x…` decodes one, `iomm decode --list` lists them.')
  const found = structureNamed(name)
  if (args.length === 0) {
    print(options.json ? toJson(layoutJson(found)) : layoutText(found, paint))
    return EXIT_OK
  }
  const values = parseWords(args, options.u32 ? 32 : 64, found.structure.layout)
  const results = decodeAll(found, values, surroundings(options, found))
  print(
    options.json
      ? toJson({ structures: results.map(resultJson) })
      : results.map((result) => resultText(result, paint)).join('\n'),
  )
  const clean = results.every(({ reserved, verdicts }) => reserved.length === 0 && verdicts.every(({ kind }) => kind === 'note'))
  return clean ? EXIT_OK : EXIT_FINDINGS
}

/** @throws CliError when there is no such structure, or several architectures have one. */
export function structureNamed(name: string): Found {
  const found = structuresNamed(name)
  if (found.length === 1) return found[0]!
  if (found.length > 1) {
    const names = found.map(({ set, structure }) => `${set.key}:${structure.name}`).join(', ')
    throw new CliError(EXIT_USAGE, `'${name}' is a structure of several architectures: say ${names}.`)
  }
  const known = STRUCTURE_SETS.flatMap((set) => set.structures.map((structure) => structure.name))
  const prefixes = STRUCTURE_SETS.map(({ registerPrefix }) => registerPrefix).filter((prefix) => prefix !== '')
  const plain = name.slice(name.indexOf(':') + 1).replace(new RegExp(`^(${prefixes.join('|')})`, 'i'), '')
  throw new CliError(
    EXIT_USAGE,
    `no structure '${name}'; ${suggest(plain, known, 'there are')} \`iomm decode --list\` lists all.`,
  )
}

/**
 * The words of one or more structures, 32 bits each, out of hex in any of the forms that logs and dumps use.
 * @throws CliError when a word is no hex number, is too long, or the number of words does not fit the structure.
 */
export function parseWords(args: readonly string[], unit: 32 | 64, layout: Layout): Uint32Array {
  const digits = unit / 4
  const values: bigint[] = []
  for (const token of args
    .join(' ')
    .replaceAll(/0x/gi, ' 0x')
    .split(/[\s,:;]+/)) {
    if (token === '') continue
    const hex = token.replace(/^0x/i, '').replaceAll('_', '')
    if (!/^[0-9a-f]+$/i.test(hex))
      throw new CliError(EXIT_USAGE, `'${token}' is not a hex word: write 0x${'0'.repeat(digits - 1)}1.`)
    if (hex.length > digits && hex.length % digits !== 0)
      throw new CliError(
        EXIT_USAGE,
        `'${token}' has ${hex.length} digits: a ${unit}-bit word has at most ${digits}, and joined words need ${digits} each.`,
      )
    for (let at = 0; at < hex.length; at += digits) values.push(BigInt(`0x${hex.slice(at, at + digits)}`))
  }
  if (values.length === 0) throw new CliError(EXIT_USAGE, 'no words: write them in hex, 0x….')
  const size = layout.bits / 32
  if (unit === 64 && size === 1) {
    const long = values.find((value) => value >> 32n !== 0n)
    if (long !== undefined) throw new CliError(EXIT_USAGE, `${layout.name} has 32 bits, but 0x${long.toString(16)} has more.`)
    return Uint32Array.from(values, Number)
  }
  const words = unit === 32 ? Uint32Array.from(values, Number) : wordsFromU64(values)
  if (words.length > size && words.length % size !== 0) {
    const needed = (size * 32) / unit
    throw new CliError(
      EXIT_USAGE,
      `${values.length} words do not fit: ${layout.name} has ${needed} ${needed === 1 ? 'word' : 'words'} of ${unit} bits, so give up to ` +
        `${needed}, or a multiple of ${needed} for several in a row.`,
    )
  }
  // Words that are not given are 0: the rest of an STE or command usually is.
  if (words.length < size)
    note(`${values.length} of ${(size * 32) / unit} words of ${layout.name} are given: the others are taken as 0.`)
  const padded = new Uint32Array(Math.max(size, words.length))
  padded.set(words)
  return padded
}

function decodeAll(found: Found, words: Uint32Array, around: Surroundings): Decoded[] {
  const size = found.structure.layout.bits / 32
  return Array.from({ length: words.length / size }, (_, index) =>
    decodeOne(found, words.subarray(index * size, (index + 1) * size), around),
  )
}

/** Decodes one structure; of a family, the member that the words are. */
export function decodeOne(found: Found, words: Uint32Array, around: Surroundings): Decoded {
  const picked = found.structure.pick === undefined ? found.structure : found.structure.pick(words, 0)
  const structure = picked ?? found.structure
  const { layout } = structure
  const fields = describe(layout, words)
  const raw = wordsToU64(words)
  if (picked === null) {
    const text = `${fields[0]!.name} 0x${words[0]!.toString(16)} is reserved: no such ${structure.kind}`
    const verdict: Verdict = { kind: 'illegal', text, section: structure.section }
    return { found, words: raw, fields, reserved: [], verdicts: [verdict] }
  }
  return {
    found: { set: found.set, structure },
    words: raw,
    fields,
    reserved: reservedBitsSet(uncovered(layout), words),
    verdicts: structure.check?.(words, 0, around) ?? [],
  }
}

function surroundings(options: Options, { set }: Found): Surroundings {
  const registers = new Map<string, bigint>()
  const structures = new Map<string, Uint32Array>()
  const layoutOf = (name: string) => set.structures.find((structure) => structure.name === name)!.layout
  for (const name of set.surroundings.registers) {
    const value = options[keyOf(name)]
    if (typeof value !== 'bigint') continue
    const { bits } = layoutOf(name)
    if (value >> BigInt(bits) !== 0n)
      throw new CliError(EXIT_USAGE, `--${optionOf(name)}: the register has ${bits} bits, but 0x${value.toString(16)} has more.`)
    registers.set(name, value)
  }
  for (const { name } of set.surroundings.structures) {
    const words = options[keyOf(name)]
    if (typeof words === 'string') structures.set(name, parseWords([words], options.u32 ? 32 : 64, layoutOf(name)))
  }
  return {
    register: (name) => registers.get(name) ?? null,
    structure: (name) => structures.get(name) ?? null,
  }
}

function resultJson({ found, words, fields, reserved, verdicts }: Decoded): unknown {
  const { set, structure } = found
  return {
    architecture: set.key,
    structure: structure.name,
    what: structure.what,
    manual: set.manual,
    section: structure.section,
    words: words.map((word) => hexPad(word, structure.layout.bits === 32 ? 8 : 16)),
    fields,
    reservedBitsSet: reserved.map(([msb, lsb]) => ({ msb, lsb })),
    illegal: verdicts.filter(({ kind }) => kind === 'illegal').map(({ text, section }) => ({ rule: text, section })),
    notes: verdicts.filter(({ kind }) => kind === 'note').map(({ text, section }) => ({ text, section })),
  }
}

function layoutJson({ set, structure }: Found): unknown {
  const { name, what, section, layout } = structure
  return { architecture: set.key, structure: name, what, manual: set.manual, section, bits: layout.bits, fields: layout.fields }
}

function listJson(): unknown {
  const row = ({ name, kind, what, section, layout }: Structure) => ({ name, kind, what, section, bits: layout.bits })
  return STRUCTURE_SETS.map((set) => ({
    architecture: set.key,
    name: set.name,
    manual: set.manual,
    structures: set.structures.map(row),
  }))
}
