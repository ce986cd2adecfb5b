/** A capture: a folder with the memory (`tables.elf.gz`) and the facts (`side.json.gz`) of one machine. */
import { stat } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import type { DeviceName, Names } from '../inspect/graph.ts'
import { PhysicalMemory } from '../memory/physical.ts'
import { fileSource, systemReason } from './bytes.ts'
import type { Dump } from './dump/contract.ts'
import { type ElfCore, elfExtent, openElfCore } from './elf.ts'
import { InputError } from './errors.ts'
import { parseIomem } from './iomem.ts'
import { registerReader } from './registers.ts'
import { type CaptureSide, parseSide } from './side.ts'
import { openBytes, readUnpacked } from './unpack.ts'

export interface Capture {
  /** Where it is: the folder, or the dump. */
  readonly folder: string
  /** The folder's name. */
  readonly title: string
  /** Kind of IOMMU: `smmuv3`, `vtd`, `amdvi`, `riscv`. */
  readonly iommu: string
  /** Pages that the dump holds; nothing answers anywhere else. */
  readonly memory: PhysicalMemory
  readonly core: Dump
  /** The value of the register at this offset; null when the capture does not have it. */
  register(offset: number, bytes: 4 | 8): bigint | null
  /** PCI devices by requester id. */
  readonly names: Names
  /** Id of a device by its PCI address, or by the number that a device without one is called by (`0x30`); null when the text is neither. */
  deviceId(name: string): number | null
  readonly side: CaptureSide
  /** The file that the facts came from, for messages. */
  readonly sideFile: string
}

/** A capture that is a folder. */
export interface FolderCapture extends Capture {
  readonly core: ElfCore
}

/** Captures of machines with thousands of mappings have less than a MiB of facts. */
const SIDE_LIMIT = 64 << 20

/** Whether a folder looks like a capture. */
export async function isCapture(folder: string): Promise<boolean> {
  return (await firstExisting(folder, ['side.json.gz', 'side.json'])) !== null
}

/**
 * Opens a capture.
 * @throws InputError when a file is missing, damaged, or not what it should be.
 */
export async function openCapture(folder: string): Promise<FolderCapture> {
  await checkFolder(folder)
  const sideFile = await firstExisting(folder, ['side.json.gz', 'side.json'])
  if (sideFile === null) throw new InputError(folder, null, 'holds no side.json.gz (registers and devices): it is no capture')
  const side = parseSide(sideFile, new TextDecoder().decode(await readUnpacked(sideFile, SIDE_LIMIT)))
  const core = await openCore(folder)
  return { ...captureOf(core, side, sideFile), core, folder, title: basename(resolve(folder)) }
}

/** A capture out of any dump and the facts that belong to it. @param sideFile where the facts came from, for messages. */
export function captureOf(core: Dump, side: CaptureSide, sideFile: string): Capture {
  const told = toldIds(side)
  return {
    folder: core.name,
    title: basename(core.name),
    iommu: side.iommu,
    memory: new PhysicalMemory([], core),
    core,
    register: registerReader(side.registers),
    names: namesOf(side),
    deviceId: (name) => told.get(name) ?? requesterId(name) ?? numberedId(name),
    side,
    sideFile,
  }
}

async function checkFolder(folder: string): Promise<void> {
  let isFolder: boolean
  try {
    isFolder = (await stat(folder)).isDirectory()
  } catch (error) {
    throw new InputError(folder, null, systemReason(error))
  }
  if (!isFolder) throw new InputError(folder, null, 'is a file; a capture is a folder with tables.elf.gz and side.json.gz')
}

async function openCore(folder: string): Promise<ElfCore> {
  const packed = await firstExisting(folder, ['tables.elf.gz'])
  if (packed !== null) return openElfCore(await openBytes(packed, { look: elfExtent }))
  const plain = await firstExisting(folder, ['tables.elf'])
  if (plain === null) throw new InputError(folder, null, 'holds no tables.elf.gz (the memory)')
  return openElfCore(fileSource(plain))
}

async function firstExisting(folder: string, names: readonly string[]): Promise<string | null> {
  for (const name of names) {
    const path = join(folder, name)
    try {
      if ((await stat(path)).isFile()) return path
    } catch {
      // Not there: the next name is tried.
    }
  }
  return null
}

/** Requester id of a PCI address: bus 15:8, device 7:3, function 2:0; the segment above, where there are several. */
export function requesterId(bdf: string): number | null {
  const match = /^(?:([0-9a-f]{4,8}):)?([0-9a-f]{1,2}):([0-9a-f]{1,2})\.([0-7])$/i.exec(bdf)
  if (match === null) return null
  const [segment, bus, device, fn] = match.slice(1).map((part) => Number.parseInt(part ?? '0', 16))
  if (device! > 31 || segment! > 0xffff) return null
  return segment! * 65536 + (bus! << 8) + (device! << 3) + fn!
}

/** `0x30`: what a device is called of which only the id is known. */
function numberedId(name: string): number | null {
  return /^0x[0-9a-f]{1,8}$/i.test(name) ? Number(name) : null
}

/** Ids that the lists tell. Firmware may give a device another one than its PCI address says. */
function toldIds(side: CaptureSide): ReadonlyMap<string, number> {
  const told = new Map<string, number>()
  for (const { bdf, devid } of side.pci) if (devid !== undefined) told.set(bdf, devid)
  for (const list of [side.expected, side.guest_dma, side.kernel_mappings, side.faults_provoked, side.sva_pages]) {
    for (const { device, devid } of list) if (device !== undefined && devid !== undefined) told.set(device, devid)
  }
  return told
}

/** What side.json names: devices by id, and ranges of memory. */
export function namesOf(side: CaptureSide): Names {
  const memory = parseIomem(side.iomem)
  return { devices: deviceNames(side, toldIds(side)), ...(memory.length === 0 ? {} : { memory }) }
}

function deviceNames(side: CaptureSide, told: ReadonlyMap<string, number>): Map<number, DeviceName> {
  const names = new Map<number, DeviceName>()
  for (const { bdf, vendor, device, driver, iommu_group: group } of side.pci) {
    const id = told.get(bdf) ?? requesterId(bdf)
    if (id === null) continue
    const four = (value: number) => value.toString(16).padStart(4, '0')
    const parts = [
      driver ?? null,
      vendor === undefined || device === undefined ? null : `${four(vendor)}:${four(device)}`,
      typeof group === 'number' ? `group ${group}` : null,
    ].filter((part) => part !== null)
    const pci = {
      ...(vendor === undefined ? {} : { vendor }),
      ...(device === undefined ? {} : { device }),
      ...(driver === undefined ? {} : { driver }),
      ...(group === undefined ? {} : { iommu_group: group }),
    }
    names.set(id, { name: bdf, pci, ...(parts.length === 0 ? {} : { detail: parts.join(', ') }) })
  }
  return names
}
