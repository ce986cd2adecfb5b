/** Registers for a dump that came without: the kernel in it tells them, or its memory is looked through for tables of IOMMUs. */
import { basename } from 'node:path'
import { hex } from '../base/hex.ts'
import type { WordMemory } from '../base/memory.ts'
import { scannersFor } from '../inspect/registry.ts'
import type { Proposal } from '../inspect/scan/contract.ts'
import { type Found, type ScanResult, scan } from '../inspect/scan/scan.ts'
import { scoreBudget } from '../inspect/scan/score.ts'
import { chosenUnit, type Dump, InputError, kernelFindings, type RegisterSource } from '../node/index.ts'
import { architectureOf, REGISTER_TABLES } from './architectures.ts'
import { CliError, EXIT_INPUT, EXIT_USAGE } from './common.ts'
import { progress } from './progress.ts'
import { type RegisterTable, withArticle } from './register-tables.ts'
import { askForRegisters, sourceOf } from './registers.ts'

/** No search takes longer than this; what was found until then counts. */
const MOST_SECONDS = 120
/** So many others are told of. */
const OTHERS = 8
/** Devices that agree by chance do so once. */
const ENOUGH_DEVICES = 2

const tableOf = (kind: string): RegisterTable => REGISTER_TABLES.find((table) => table.kind === kind)!

/**
 * Registers that the kernel in a dump knows; null when there is none that tells them.
 * @param unit name of the IOMMU (`--unit`), null for the first one.
 * @throws InputError when there is none of that name.
 */
export function askKernel(dump: Dump, unit: string | null): RegisterSource | null {
  const { show, load, end } = reader(dump)
  const found = kernelFindings({ ...dump, load, ranges: () => dump.ranges(), remarks: [] }, (bytes) => {
    show(`looking for a kernel: ${size(bytes)} of ${basename(dump.name)} …`)
    return Date.now() < end
  })
  show(null)
  if (found === null) return null
  const { release, kind, units } = found
  const { name, registers } = unit === null ? units[0]! : chosenUnit(dump.name, units, unit)
  const table = tableOf(kind)
  const known = registers.map((value) => ({
    ...value,
    name: table.registers.find(({ offset }) => offset === value.offset)!.name,
  }))
  const values = known.map((one) => `${one.name} ${hex(one.value)}`)
  const notes = [`${name} of Linux ${release}, out of the kernel's structures in the dump: ${values.join(', ')}`]
  if (units.length > 1)
    notes.push(`the kernel has ${units.length} IOMMUs, ${units.map((one) => one.name).join(', ')}: choose with --unit NAME`)
  return sourceOf(table, known, { how: 'kernel symbols and BTF in the dump', sure: 'certain', notes })
}

/** Reads a dump past its damaged pages, for a limited time. */
function reader(dump: Dump) {
  const state = { damaged: 0 }
  const load = (frame: number, words: Int32Array, at: number): boolean => {
    try {
      return dump.load(frame, words, at)
    } catch (error) {
      // A damaged page says nothing of tables elsewhere.
      if (!(error instanceof InputError)) throw error
      state.damaged++
      return false
    }
  }
  return { show: progress(), load, end: Date.now() + MOST_SECONDS * 1000, state }
}

/**
 * Registers out of the memory alone.
 * @param wanted number of the one to take (`--scan N`), null for the best.
 * @throws CliError when nothing was found, or not so many.
 */
export function scanDump(dump: Dump, wanted: number | null): RegisterSource {
  const { result, damaged } = search(dump)
  const { found, bytes, complete } = result
  const looked = complete ? '' : `; the search ended after ${MOST_SECONDS} s and ${size(bytes)} of memory`
  if (found.length === 0) {
    const what = scannersFor(dump.machine).map((scanner) => scanner.what)
    const last = what.pop()
    throw new CliError(
      EXIT_USAGE,
      `${dump.name} (${dump.format}): ${askForRegisters(dump.machine)}. Its memory was looked through for ` +
        `${[what.join(', '), last].filter((part) => part !== '').join(' or ')} that hold together: there are none${looked}.`,
    )
  }
  if (wanted !== null && wanted > found.length)
    throw new CliError(
      EXIT_INPUT,
      `--scan ${wanted}: ${found.length} found in ${basename(dump.name)}: ${listOf(found).join('; ')}.`,
    )
  const chosen = found[(wanted ?? 1) - 1]!
  const notes = [...chosen.assumed]
  if (!complete) notes.push(`the search${looked.replace('; the search', '')}: there may be others`)
  if (damaged > 0) notes.push(`damaged pages of the dump were passed over: ${damaged}`)
  if (found.length > 1) notes.push(`found: ${listOf(found).join('; ')}. Choose with --scan N, or give the registers.`)
  return sourceOf(tableOf(chosen.kind), chosen.registers, {
    how: `a scan for ${scannersFor(null).find(({ kind }) => kind === chosen.kind)!.what} (${evidence(chosen)})`,
    sure: sureness(found, chosen, wanted, complete),
    notes,
  })
}

function search(dump: Dump): { result: ScanResult; damaged: number } {
  const { show, load, end, state } = reader(dump)
  const result = scan({
    frames: { ranges: () => dump.ranges(), load },
    scanners: scannersFor(dump.machine),
    absentIsZero: dump.leavesOutZeros,
    look: (proposal, memory) => inspected(proposal, memory),
    proceed(bytes) {
      show(`looking for tables of IOMMUs: ${size(bytes)} of ${basename(dump.name)} …`)
      return Date.now() < end
    },
  })
  show(null)
  return { result, damaged: state.damaged }
}

function inspected({ kind, registers }: Proposal, memory: WordMemory) {
  const { register } = sourceOf(tableOf(kind), registers, { how: 'a scan' })
  return architectureOf(kind, 'a scan').inspect({ title: '', memory, register, budget: scoreBudget() })
}

/** One of several is a guess, whatever speaks for it. */
function sureness(found: readonly Found[], chosen: Found, wanted: number | null, complete: boolean): RegisterSource['sure'] {
  const { devices, contradictions } = chosen.score
  const alone = found.length === 1 || wanted !== null
  return alone && complete && !chosen.unsure && devices >= ENOUGH_DEVICES && contradictions === 0 ? 'likely' : 'guess'
}

function evidence({ what, address, score }: Found): string {
  const { devices, spaces, contradictions } = score
  const wrong = contradictions === 0 ? 'nothing contradicts' : `${contradictions} contradict`
  return `${what} at ${hex(address)}: ${count(devices, 'device')} with ${count(spaces, 'address space')}, ${wrong}`
}

/** Each with the options that choose it. */
function listOf(found: readonly Found[]): string[] {
  const texts = found
    .slice(0, OTHERS)
    .map((one, index) => `${index + 1}. ${withArticle(tableOf(one.kind))}, ${evidence(one)} (${line(one)})`)
  return found.length > OTHERS ? [...texts, `${found.length - OTHERS} more`] : texts
}

/** `--vtd rtaddr=0x1547000`. */
function line({ kind, registers }: Found): string {
  const values = registers.map(({ name, value }) => `${name.toLowerCase().replaceAll('_', '-')}=${hex(value)}`)
  return `--${tableOf(kind).flag} ${values.join(',')}`
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`
}

function size(bytes: number): string {
  return bytes < 2 ** 30 ? `${Math.ceil(bytes / 2 ** 20)} MiB` : `${(bytes / 2 ** 30).toFixed(1)} GiB`
}
