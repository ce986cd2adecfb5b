/** INPUT of the commands: a capture folder, a scenario, a dump with registers, or a running guest, found by content and opened as one kind of thing. */
import { stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { parseNumber } from '../base/hex.ts'
import type { Transaction } from '../base/types.ts'
import { LIKE_KERNEL_LOG } from '../explain/index.ts'
import type { Finding, MachineGraph, Names } from '../inspect/graph.ts'
import { worstFirst } from '../inspect/source.ts'
import { MOST_BYTES } from '../machine/language/load.ts'
import { PhysicalMemory } from '../memory/physical.ts'
import type { IommuModel } from '../model/iommu.ts'
import {
  type ByteSource,
  type Capture,
  cachedSource,
  type Dump,
  type DumpOptions,
  InputError,
  isCapture,
  isText,
  isTranslationText,
  kindOfDump,
  lookForDump,
  openBytes,
  openCapture,
  openDumpBytes,
  type RegisterSource,
  requesterId,
} from '../node/index.ts'
import { memoryOf } from './architectures/contract.ts'
import { type Architecture, architectureOf, REGISTER_TABLES } from './architectures.ts'
import { CliError, EXIT_INPUT, EXIT_UNSUPPORTED, EXIT_USAGE } from './common.ts'
import { openLive } from './live.ts'
import { MACHINE_NAMES, withArticle } from './register-tables.ts'
import { type RegisterOptions, registersFrom } from './registers.ts'
import { completeRun, graphOf, scenarioOf } from './run.ts'
import { askKernel, scanDump } from './scan.ts'
import { openedTableText } from './translation-text.ts'

export interface OpenedMachine {
  readonly title: string
  readonly memory: PhysicalMemory
  readonly architecture: Architecture
  /** The hardware, in the state of the machine: for `explain`. */
  readonly model: IommuModel
  /** Devices that have a name. */
  readonly devices: NonNullable<Names['devices']>
  /** Value of the IOMMU's register at this offset; null when it is not known. */
  register(offset: number, bytes: 4 | 8): bigint | null
  /** All that is known beside the tables. */
  readonly names: Names
  /** What a reader should know of how the machine was found; the graph has it as findings. */
  readonly remarks: readonly Finding[]
  graph(): MachineGraph
}

/** `raw:BASE:FILE`: a raw image with its address. */
const RAW = /^raw:([^:]+):(.+)$/s

/**
 * Opens INPUT.
 * @throws CliError with the exit code for what is wrong with it.
 */
export async function openInput(path: string, options: RegisterOptions = {}): Promise<OpenedMachine> {
  return withInputErrors(async () => {
    const raw = RAW.exec(path)
    if (raw !== null) return openInput(raw[2]!, { ...options, base: rawBase(path, raw[1]!) })
    const kind = await kindOfPath(path)
    if (kind === 'socket') return openLive(path, options)
    if (kind === 'folder') {
      if (!(await isCapture(path)))
        throw new CliError(EXIT_INPUT, `${path}: this folder is no capture: it holds no side.json.gz. A scenario is a file.`)
      return openedCapture(await openCapture(path))
    }
    const { base } = options
    // Nothing but dumps is large: what is neither a dump nor text is not unpacked.
    const source = await openBytes(
      path,
      base === undefined ? { look: (head) => (isText(headOf(head)) ? null : lookForDump(head)) } : {},
    )
    const name = path === '-' ? source.name : path
    const head = headOf(source)
    if (base === undefined && isText(head))
      return isTranslationText(new TextDecoder().decode(head))
        ? openedTableText(textOf(source, name, MOST_TABLE_TEXT), name, options)
        : openedScenario(textOf(source, name, MOST_BYTES), name)
    if (base === undefined) kindOfDump(source)
    const registers = await registersFrom(options)
    const how = base === undefined ? {} : { base: Number(base) }
    return openedDump(await openDumpBytes(source, how), registers ?? (await searched(source, how, options)))
  })
}

/** A search reads everything, in order: in large pieces. */
const SEARCH_BLOCK = 1 << 20

/** Registers that are found in the dump itself. */
async function searched(source: ByteSource, how: DumpOptions, { scan, unit }: RegisterOptions): Promise<RegisterSource> {
  const dump = await openDumpBytes(cachedSource(source, SEARCH_BLOCK, 4), how)
  // Who asks for one of those that a search finds does not ask the kernel.
  const told = scan === undefined ? askKernel(dump, unit ?? null) : null
  return told ?? scanDump(dump, scan ?? null)
}

async function kindOfPath(path: string): Promise<'folder' | 'socket' | 'file'> {
  if (path === '-') return 'file'
  try {
    const found = await stat(path)
    return found.isDirectory() ? 'folder' : found.isSocket() ? 'socket' : 'file'
  } catch {
    throw new CliError(
      EXIT_INPUT,
      `${path}: no such file or folder. INPUT is a scenario (a YAML file), a capture (a folder), a dump of memory, or QEMU's QMP socket.`,
    )
  }
}

function rawBase(path: string, text: string): bigint {
  const base = parseNumber(text)
  if (base !== null && base < 1n << 52n && base % 4096n === 0n) return base
  throw new CliError(
    EXIT_USAGE,
    `${path}: '${text}' is no address below 2^52 that is a multiple of 0x1000; expected raw:0x40000000:FILE.`,
  )
}

function headOf(source: ByteSource): Uint8Array {
  const head = new Uint8Array(Math.min(source.size, 4096))
  source.read(0, head)
  return head
}

/** Texts that are no scenarios, by what they hold. */
const OTHER_TEXTS: readonly { like: RegExp; what: string }[] = [
  {
    like: /^\s*\{(?=[\s\S]*"iommu"\s*:)(?=[\s\S]*"(registers|tables|machine)"\s*:)/,
    what: "this is a capture's side.json: give the folder that it is in; or a dump as INPUT, and this as --registers.",
  },
  { like: /^\s*\{[^\n]*"ops"\s*:/, what: "these are vectors of a reference model: 'iomm verify' runs them." },
  { like: LIKE_KERNEL_LOG, what: "this is a kernel log: 'iomm explain' reads it." },
]

/** Text of debug files has a line for each page that devices reach: this is half a million of them. */
const MOST_TABLE_TEXT = 64 << 20

function textOf(source: ByteSource, path: string, most: number): string {
  if (source.size > most) throw new CliError(EXIT_INPUT, `${path}: text of ${source.size} bytes; at most ${most} are read.`)
  const bytes = new Uint8Array(source.size)
  source.read(0, bytes)
  source.close()
  return new TextDecoder().decode(bytes)
}

/** A scenario as a machine: as it is after its last step. Whether its expectations held is `iomm run`'s to say. */
function openedScenario(text: string, path: string): OpenedMachine {
  const other = OTHER_TEXTS.find(({ like }) => like.test(text.slice(0, 65536)))
  if (other !== undefined) throw new CliError(EXIT_INPUT, `${path}: ${other.what}`)
  const { machine } = completeRun(scenarioOf(text, path))
  const { memory, model } = machine
  const names = machine.names()
  const title = basename(path)
  return {
    title,
    memory,
    architecture: architectureOf(machine.architecture.kind, path),
    model,
    devices: names.devices ?? new Map(),
    register: (offset, bytes) => machine.register(offset, bytes),
    names,
    remarks: [],
    graph: () => graphOf(machine, title),
  }
}

/**
 * A dump and registers as a machine.
 * @throws CliError for an IOMMU that nothing here reads.
 */
export function openedDump(dump: Dump, registers: RegisterSource): OpenedMachine {
  const architecture = architectureOf(registers.kind, registers.how)
  const { register, names = {} } = registers
  const ranges = dump.leavesOutZeros ? (architecture.zeros?.(register) ?? []) : []
  const memory = new PhysicalMemory(ranges, dump)
  const remarks = dumpFindings(dump, registers)
  return openedMemory({ title: basename(dump.name), memory, architecture, names, register, remarks })
}

/** What is to be said of a dump and of registers that were found apart from it. */
function dumpFindings(dump: Dump, { kind, how, sure, notes = [] }: RegisterSource): Finding[] {
  const table = REGISTER_TABLES.find((one) => one.kind === kind)
  const findings: Finding[] = []
  if (dump.machine !== null && table !== undefined && !table.machines.includes(dump.machine)) {
    const machine = MACHINE_NAMES[dump.machine] ?? `a machine of another architecture (e_machine ${dump.machine})`
    findings.push({
      severity: 'error',
      place: basename(dump.name),
      text: `this is the dump of ${machine}; ${withArticle(table)} belongs to ${table.machineName}: registers and dump are not of one machine`,
    })
  }
  for (const text of dump.remarks) findings.push({ severity: 'note', place: basename(dump.name), text })
  if (sure !== 'certain')
    findings.push({
      severity: 'warning',
      place: 'registers',
      text: `found by ${how}: ${sure === 'likely' ? 'likely' : 'a guess'}`,
    })
  for (const text of notes) findings.push({ severity: 'note', place: 'registers', text })
  return findings
}

/** Errors of input files as errors of the command. */
export async function withInputErrors<T>(body: () => Promise<T>): Promise<T> {
  try {
    return await body()
  } catch (error) {
    if (error instanceof InputError)
      throw new CliError(error.kind === 'unsupported' ? EXIT_UNSUPPORTED : EXIT_INPUT, error.message)
    throw error
  }
}

/** A capture as a machine. @throws CliError for an IOMMU that nothing here reads. */
export function openedCapture(capture: Capture): OpenedMachine {
  const architecture = architectureOf(capture.iommu, capture.sideFile)
  const { register, names, title } = capture
  const memory = memoryOf(capture, architecture)
  return openedMemory({ title, memory, architecture, names, register, remarks: [] })
}

/** A machine of which only memory and registers are there. Its graph says the remarks, too. */
function openedMemory(read: Omit<OpenedMachine, 'model' | 'devices' | 'graph'>): OpenedMachine {
  const { title, memory, architecture, names, register, remarks } = read
  return {
    ...read,
    model: architecture.restore(memory, register),
    devices: names.devices ?? new Map(),
    graph() {
      const graph = architecture.inspect({ title, memory, register, names })
      return remarks.length === 0 ? graph : { ...graph, findings: worstFirst([...remarks, ...graph.findings]) }
    },
  }
}

/** The hardware's answer and the way to it. @throws CliError for a device or PASID that this kind of IOMMU cannot have. */
export function explainedBy(model: IommuModel, transaction: Transaction, exitCode: number): ReturnType<IommuModel['explain']> {
  try {
    return model.explain(transaction)
  } catch (error) {
    if (error instanceof RangeError) throw new CliError(exitCode, `${error.message}.`)
    throw error
  }
}

/** DEVICE or DEVICE:PASID, as people write it. */
export interface DeviceArgument {
  readonly id: number
  readonly name: string
  readonly pasid: number | null
}

/**
 * Reads `0000:00:06.0`, `00:06.0`, `0x30`, `48` or a device's name, with `:PASID` behind it or not.
 * @throws CliError that lists the devices when there is no such one.
 */
export function parseDevice(text: string, devices: OpenedMachine['devices']): DeviceArgument {
  const whole = deviceNamed(text, devices)
  if (whole !== null) return { ...whole, pasid: null }
  const colon = text.lastIndexOf(':')
  const device = colon > 0 ? deviceNamed(text.slice(0, colon), devices) : null
  if (device === null) throw new CliError(EXIT_USAGE, `'${text}' is no device of this machine. ${devicesText(devices)}`)
  const pasid = parseNumber(text.slice(colon + 1))
  if (pasid === null || pasid >= 1n << 20n)
    throw new CliError(
      EXIT_USAGE,
      `'${text.slice(colon + 1)}' is no PASID: a number from 0 to 0xfffff is expected after the device.`,
    )
  return { ...device, pasid: Number(pasid) }
}

function deviceNamed(text: string, devices: OpenedMachine['devices']): { id: number; name: string } | null {
  const full = /^[0-9a-f]{1,2}:[0-9a-f]{1,2}\.[0-7]$/i.test(text) ? `0000:${text.padStart(7, '0')}` : text
  for (const [id, { name }] of devices) {
    if (name === text || name.toLowerCase() === full.toLowerCase()) return { id, name }
  }
  const id = requesterId(text) ?? numberBelow32(text)
  return id === null ? null : { id, name: devices.get(id)?.name ?? text }
}

function numberBelow32(text: string): number | null {
  const value = parseNumber(text)
  return value === null || value >= 1n << 32n ? null : Number(value)
}

function devicesText(devices: OpenedMachine['devices']): string {
  if (devices.size === 0) return 'It names none: give a number like 0x30.'
  const names = [...devices].slice(0, 16).map(([id, { name }]) => `${name} (0x${id.toString(16)})`)
  const more = devices.size > 16 ? ` and ${devices.size - 16} more` : ''
  return `It has ${names.join(', ')}${more}. A number like 0x30 works too.`
}
