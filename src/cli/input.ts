/** INPUT of `show` and `walk`: a capture folder or a scenario file, opened as one kind of thing. */
import { stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { parseNumber } from '../base/hex.ts'
import type { MachineGraph, Names } from '../inspect/graph.ts'
import type { PhysicalMemory } from '../memory/physical.ts'
import type { IommuModel } from '../model/iommu.ts'
import { type Capture, InputError, isCapture, openCapture, requesterId } from '../node/index.ts'
import { type Architecture, architectureOf, memoryOf } from './architectures.ts'
import { CliError, EXIT_INPUT, EXIT_UNSUPPORTED, EXIT_USAGE } from './common.ts'
import { completeRun, graphOf, readScenario } from './run.ts'

export interface OpenedMachine {
  readonly title: string
  readonly memory: PhysicalMemory
  readonly architecture: Architecture
  /** The hardware, in the state of the machine: for `explain`. */
  readonly model: IommuModel
  /** Devices that have a name. */
  readonly devices: NonNullable<Names['devices']>
  /** All that is known beside the tables. */
  readonly names: Names
  graph(): MachineGraph
}

/**
 * Opens INPUT.
 * @throws CliError with the exit code for what is wrong with it.
 */
export async function openInput(path: string): Promise<OpenedMachine> {
  return withInputErrors(async () => {
    let isFolder: boolean
    try {
      isFolder = (await stat(path)).isDirectory()
    } catch {
      throw new CliError(
        EXIT_INPUT,
        `${path}: no such file or folder. INPUT is a scenario (a YAML file) or a capture (a folder).`,
      )
    }
    if (isFolder) {
      if (!(await isCapture(path)))
        throw new CliError(EXIT_INPUT, `${path}: this folder is no capture: it holds no side.json.gz. A scenario is a file.`)
      return openedCapture(await openCapture(path))
    }
    if (/\.ya?ml$/i.test(path)) return openedScenario(path)
    throw new CliError(EXIT_INPUT, `${path}: neither a folder (a capture) nor a YAML file (a scenario).`)
  })
}

/** A scenario as a machine: as it is after its last step. Whether its expectations held is `iomm run`'s to say. */
async function openedScenario(path: string): Promise<OpenedMachine> {
  const { machine } = completeRun(await readScenario(path))
  const { memory, model } = machine
  const names = machine.names()
  const title = basename(path)
  return {
    title,
    memory,
    architecture: architectureOf(machine.architecture.kind, path),
    model,
    devices: names.devices ?? new Map(),
    names,
    graph: () => graphOf(machine, title),
  }
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
  return {
    title,
    memory,
    architecture,
    model: architecture.restore(memory, register),
    devices: names.devices ?? new Map(),
    names,
    graph: () => architecture.inspect({ title, memory, register, names }),
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
