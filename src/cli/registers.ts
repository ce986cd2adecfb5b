/**
 * Registers that the user gives: `--registers FILE`, and `--smmu name=value,…` for each kind of IOMMU. Values of options go before those of
 * the file; what neither says and the tables cannot be read without is assumed, and said to be.
 */
import type { Command } from 'commander'
import { hex, parseNumber } from '../base/hex.ts'
import { InputError, namesOf, type RegisterSource, type RegisterValue, readRegisterFile, registerReader } from '../node/index.ts'
import { REGISTER_TABLES, type RegisterFlag } from './architectures.ts'
import { CliError, EXIT_INPUT, EXIT_UNSUPPORTED, EXIT_USAGE } from './common.ts'
import { type RegisterPlace, type RegisterTable, withArticle } from './register-tables.ts'

/** Options of a command that reads dumps; `--smmu name=value,…` and the others may come several times. */
export interface RegisterOptions extends Readonly<Partial<Record<RegisterFlag, readonly string[]>>> {
  /** `--registers FILE`. */
  readonly registers?: string
  /** `--base ADDRESS`. */
  readonly base?: bigint
  /** `--stop`: a running guest stands still while it is read. */
  readonly stop?: true
  /** `--unit NAME`: which IOMMU of a text that is of several. */
  readonly unit?: string
  /** `--scan N`: which of several tables that were found. */
  readonly scan?: number
}

const collect = (text: string, before: readonly string[] = []) => [...before, text]

/** Adds the options to a command. */
export function withRegisterOptions(command: Command): Command {
  command
    .option('--base <address>', 'the input is a raw image of memory from this address on', baseArgument)
    .option('--stop', 'a running guest (--qmp) stands still while it is read')
    .option('--scan <number>', 'which of the tables to take that were found in a dump without registers', scanArgument)
    .option(
      '--registers <file>',
      "registers of the IOMMU: a capture's side.json, a JSON list of {name, value}, or the text of Linux' debug file iommu_regset",
    )
    .option('--unit <name>', 'which IOMMU, where a text of debug files is of several: dmar1')
  for (const table of REGISTER_TABLES)
    command.option(
      `--${table.flag} <name=value,...>`,
      `registers of ${withArticle(table)}, at least ${table.needed.toLowerCase().replaceAll('_', '-')}`,
      collect,
    )
  return command
}

/** Help about dumps, for the commands that read them. */
export const DUMP_HELP = `
Dumps: ELF cores (QEMU's dump-guest-memory, /proc/vmcore), kdump-compressed (makedumpfile, virsh dump; flattened too), LiME, raw
images; packed with gzip or zstd or not; '-' is standard input. A dump holds memory, not the IOMMU's registers: give these.
${REGISTER_TABLES.map(({ title, example }) => `  ${title.padEnd(18)} ${example}`).join('\n')}
Registers that are not given are assumed where that is safe, and the findings say so. Without any, the kernel in the dump is asked (x86-64 with an
Intel IOMMU, Linux 6.0 or later with BTF), else memory is looked through for tables that hold together; the findings say which, what was found,
and what speaks for it.

Text of debug files (/sys/kernel/debug/iommu): intel/iommu_regset and lines of amd/iommu*/mmio are --registers; intel/dmar_translation_struct,
with domain_translation_struct behind it or not, and collected output of amd/devtbl are INPUT by themselves: tables as far as they list them.

Running guests: INPUT is the socket of QEMU's -qmp unix:SOCKET,server=on,wait=off, or is left out and --qmp SOCKET given. Memory comes from
the guest's shared memory file (memory-backend-file,share=on) where there is one, else page by page through the monitor.`

/** Where a raw image begins. */
export function baseArgument(text: string): bigint {
  const value = parseNumber(text)
  if (value === null || value >= 1n << 52n || value % 4096n !== 0n)
    throw new CliError(EXIT_USAGE, `--base '${text}': expected an address below 2^52, a multiple of 0x1000, like 0x40000000.`)
  return value
}

function scanArgument(text: string): number {
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text)
  throw new CliError(EXIT_USAGE, `--scan '${text}': expected the number of one that was found, from 1 on.`)
}

/** Registers of a file, of options, or both; null when there are none. @throws CliError that says what is wrong with them. */
export async function registersFrom(options: RegisterOptions): Promise<RegisterSource | null> {
  const given = REGISTER_TABLES.filter(({ flag }) => textsOf(options, flag).length > 0)
  if (given.length > 1)
    throw new CliError(EXIT_USAGE, `${given.map(({ flag }) => `--${flag}`).join(' and ')}: one kind of IOMMU at a time.`)
  const file = options.registers === undefined ? null : await readRegisterFile(options.registers, options.unit ?? null)
  if (file === null && given.length === 0) return null
  const table = given[0] ?? tableOf(file!, options.registers!)
  if (file !== null && file.kind !== null && file.kind !== table.kind)
    throw new CliError(EXIT_USAGE, `--${table.flag}: ${options.registers} has the registers of another IOMMU ('${file.kind}').`)
  const known: RegisterValue[] = []
  for (const { name, offset, size, value } of file?.registers ?? []) {
    const place = offset === undefined ? registerNamed(table, name) : null
    if (place === null && offset === undefined)
      throw new CliError(
        EXIT_INPUT,
        `${options.registers}: ${unknownName(table, name)} Give its offset and size, if it is another.`,
      )
    known.push({ offset: offset ?? place!.offset, size: size ?? place?.bytes ?? placeAt(table, offset!)?.bytes ?? 4, value })
  }
  for (const text of textsOf(options, table.flag)) known.push(...parseValues(table, text))
  return sourceOf(table, known, {
    how: [options.registers, given.length > 0 ? `--${table.flag}` : undefined].filter((way) => way !== undefined).join(' and '),
    ...(file?.side == null ? {} : { names: namesOf(file.side) }),
  })
}

/** A source of these values; what must be known besides is assumed. @throws CliError when the tables cannot be found. */
export function sourceOf(
  table: RegisterTable,
  known: readonly RegisterValue[],
  { notes = [], ...rest }: Pick<RegisterSource, 'how' | 'names' | 'notes'> & { readonly sure?: RegisterSource['sure'] },
): RegisterSource {
  const told = registerReader(known)
  const needed = registerNamed(table, table.needed)!
  if (told(needed.offset, needed.bytes) === null)
    throw new CliError(EXIT_USAGE, `${rest.how}: ${needed.name} is missing: it says where the tables are, as in ${table.example}`)
  const assumed = table.assumed.flatMap(({ name, value, what }) => {
    const { offset, bytes } = registerNamed(table, name)!
    return told(offset, bytes) === null ? [{ name, offset, size: bytes, value, what }] : []
  })
  return {
    kind: table.kind,
    register: registerReader([...known, ...assumed]),
    sure: 'certain',
    notes: [...notes, ...assumed.map(({ name, value, what }) => `${name} is not given: assumed ${hex(value)} (${what})`)],
    ...rest,
  }
}

/** `strtab-base=0x1000,cfg=0x10210`. */
function parseValues(table: RegisterTable, text: string): RegisterValue[] {
  return text.split(',').map((pair) => {
    const at = pair.indexOf('=')
    const fail = (why: string): never => {
      throw new CliError(EXIT_USAGE, `--${table.flag} '${pair}': ${why}`)
    }
    if (at < 0) return fail(`expected NAME=VALUE, as in ${table.example}`)
    const name = pair.slice(0, at).trim()
    const place = registerNamed(table, name) ?? fail(unknownName(table, name))
    const value = parseNumber(pair.slice(at + 1)) ?? fail('the value is no number: write 0x1f000 or 4096.')
    if (value >> BigInt(place.bytes * 8) !== 0n) fail(`${place.name} has ${place.bytes * 8} bits; the value has more.`)
    return { offset: place.offset, size: place.bytes, value }
  })
}

/** A register by its name as people write it: any case, `-` for `_`, with the manual's prefix or not. */
function registerNamed(table: RegisterTable, text: string): RegisterPlace | null {
  const upper = text.trim().toUpperCase().replaceAll('-', '_')
  const plain = upper.replace(table.around, '')
  for (const wanted of [upper, plain, table.aliases[upper]?.toUpperCase(), table.aliases[plain]?.toUpperCase()]) {
    const found = table.registers.find(({ name }) => name.toUpperCase() === wanted)
    if (found !== undefined) return found
  }
  return null
}

function placeAt(table: RegisterTable, offset: number): RegisterPlace | null {
  return table.registers.find((register) => register.offset === offset) ?? null
}

function unknownName(table: RegisterTable, name: string): string {
  const names = table.registers.map((register) => register.name.toLowerCase().replaceAll('_', '-'))
  return `${withArticle(table)} has no register '${name}'; it has ${names.join(', ')}.`
}

/** The kind of IOMMU that a list of registers is of: the one that has the most of these names at these places. */
function tableOf({ kind, registers }: Awaited<ReturnType<typeof readRegisterFile>>, path: string): RegisterTable {
  if (kind !== null) {
    const table = REGISTER_TABLES.find((one) => one.kind === kind)
    if (table !== undefined) return table
    const known = REGISTER_TABLES.map((one) => one.kind).join(', ')
    throw new CliError(EXIT_UNSUPPORTED, `${path}: the IOMMU is '${kind}'; so far ${known} can be read.`)
  }
  const counts = REGISTER_TABLES.map((table) => {
    const fits = registers.filter(({ name, offset }) => {
      const place = registerNamed(table, name)
      return place !== null && (offset === undefined || offset === place.offset)
    })
    return { table, count: fits.length }
  }).sort((a, b) => b.count - a.count)
  const [best, second] = counts
  if (best!.count > second!.count) return best!.table
  const kinds = REGISTER_TABLES.map((one) => `'${one.kind}'`).join(', ')
  throw new InputError(
    path,
    '$',
    `the names do not tell which IOMMU they are of: write { "iommu": KIND, "registers": […] } with one of ${kinds}`,
  )
}

function textsOf(options: RegisterOptions, flag: RegisterFlag): readonly string[] {
  return options[flag] ?? []
}

/** What to give when a dump comes without registers. */
export function askForRegisters(machine: number | null): string {
  const fitting = REGISTER_TABLES.filter(({ machines }) => machine === null || machines.includes(machine))
  const tables = fitting.length === 0 ? REGISTER_TABLES : fitting
  return `a dump holds memory, not the registers of the IOMMU. Give them: --registers FILE, or ${tables.map(({ example }) => `'${example}'`).join(' or ')}`
}
