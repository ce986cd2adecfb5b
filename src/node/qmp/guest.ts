/**
 * A running guest of QEMU: its IOMMU's registers through the monitor, its memory through the file that backs it, or else through the
 * monitor too. Nothing is written, and the guest goes on running unless asked otherwise.
 *
 * What reads machines (`inspect/`) is synchronous, and the monitor is not. So `settle` lets it read what is known, fetches what it
 * missed, and lets it read again, until it missed nothing: about as many rounds as tables are deep.
 */
import { basename } from 'node:path'
import * as v from 'valibot'
import type { DeviceName, Names } from '../../inspect/graph.ts'
import { PhysicalMemory } from '../../memory/physical.ts'
import { type ByteSource, fileSource } from '../bytes.ts'
import { InputError } from '../errors.ts'
import { type Qmp, QmpRefusal } from './client.ts'
import { devicesOfQtree, type QtreeDevice, type RamPiece, ramOfFlatView, valuesOfXp } from './monitor-text.ts'

/** QEMU's devices that are an IOMMU with tables in memory, and the kind as captures call it. */
const IOMMUS: ReadonlyMap<string, string> = new Map([
  ['intel-iommu', 'vtd'],
  ['amd-iommu', 'amdvi'],
  ['arm-smmuv3', 'smmuv3'],
  ['riscv-iommu-sys', 'riscv'],
  ['riscv-iommu-pci', 'riscv'],
])

const PciRegion = v.looseObject({ bar: v.number(), address: v.number(), type: v.string() })
interface PciDevice {
  bus: number
  slot: number
  function: number
  id?: { vendor: number; device: number } | undefined
  class_info?: { class: number; desc?: string | undefined } | undefined
  regions?: v.InferOutput<typeof PciRegion>[] | undefined
  pci_bridge?: { devices?: PciDevice[] | undefined } | undefined
}
const PciDevice: v.GenericSchema<PciDevice> = v.looseObject({
  bus: v.number(),
  slot: v.number(),
  function: v.number(),
  id: v.optional(v.looseObject({ vendor: v.number(), device: v.number() })),
  class_info: v.optional(v.looseObject({ class: v.number(), desc: v.optional(v.string()) })),
  regions: v.optional(v.array(PciRegion)),
  pci_bridge: v.optional(v.looseObject({ devices: v.optional(v.array(v.lazy(() => PciDevice))) })),
})
const Buses = v.array(v.looseObject({ devices: v.array(PciDevice) }))

/** A guest as `settle` shows it. */
export interface GuestView {
  readonly memory: PhysicalMemory
  /** Value of the IOMMU's register at this offset; null when it cannot be read. */
  register(offset: number, bytes: 4 | 8): bigint | null
}

/** Rounds before a guest that never holds still is taken as it is. */
const ROUNDS = 64
/** Pages fetched through the monitor at most: each costs about a millisecond. */
const MONITOR_PAGES = 1 << 16

export interface GuestOptions {
  /** Stop the guest while it is read. */
  readonly stop?: boolean
  /** Told how many pages were fetched, now and then. */
  readonly progress?: (pages: number) => void
}

export class LiveGuest {
  readonly title: string
  /** `vtd`, `smmuv3` …. */
  readonly kind: string
  readonly names: Names
  /** Where the memory comes from, in words. */
  readonly memoryFrom: string
  /** Whether the last look ended before everything was read: the guest never held still, or has more tables than the monitor is asked for. */
  cutOff = false
  readonly #qmp: Qmp
  readonly #base: number
  readonly #ram: readonly RamPiece[]
  readonly #files: ReadonlyMap<string, ByteSource>
  readonly #options: GuestOptions
  readonly #frames = new Map<number, Int32Array | null>()
  readonly #registers = new Map<string, bigint | null>()
  #closed = false

  private constructor(
    qmp: Qmp,
    found: { kind: string; base: number; names: Names; ram: readonly RamPiece[]; files: ReadonlyMap<string, ByteSource> },
    options: GuestOptions,
  ) {
    this.#qmp = qmp
    this.title = `${basename(qmp.path)} (QEMU ${qmp.version})`
    this.kind = found.kind
    this.names = found.names
    this.#base = found.base
    this.#ram = found.ram
    this.#files = found.files
    this.#options = options
    const paths = [...found.files.values()].map(({ name }) => name)
    this.memoryFrom = paths.length > 0 ? `the guest's memory file ${paths.join(', ')}` : 'the monitor, page by page'
  }

  /**
   * Looks at the guest: which IOMMU it has, where its registers and its memory are.
   * @throws InputError when it has none that has tables in memory.
   */
  static async open(qmp: Qmp, options: GuestOptions = {}): Promise<LiveGuest> {
    const qtree = devicesOfQtree(await qmp.monitor('info qtree'))
    const pci = await pciDevices(qmp)
    const found = qtree.filter(({ type }) => IOMMUS.has(type))
    const device = found[0]
    if (device === undefined) {
      const virtio = qtree.some(({ type }) => type.startsWith('virtio-iommu'))
      const why = virtio ? 'its IOMMU is a virtio-iommu, which has no tables in memory' : 'it has no IOMMU'
      throw new InputError(qmp.path, null, `${why}. Known are QEMU's ${[...IOMMUS.keys()].join(', ')}`, 'unsupported')
    }
    const base = registerBase(device, pci)
    if (base === null)
      throw new InputError(qmp.path, null, `the registers of its ${device.type} are not mapped yet: the guest has not set it up`)
    const ram = ramOfFlatView(await qmp.monitor('info mtree -f'))
    if (ram.length === 0) throw new InputError(qmp.path, null, 'the monitor lists no RAM (info mtree -f)')
    const files = await memoryFiles(qmp, ram)
    return new LiveGuest(qmp, { kind: IOMMUS.get(device.type)!, base, names: namesOf(pci), ram, files }, options)
  }

  /** Reads until nothing is missing. @param read is called several times; only what its last call returns counts. */
  async settle<T>(read: (guest: GuestView) => T): Promise<T> {
    const stopped = this.#options.stop === true && (await this.#stop())
    try {
      this.#registers.clear()
      this.#frames.clear()
      for (let round = 0; ; round++) {
        const missing = { frames: new Set<number>(), registers: new Map<string, { offset: number; bytes: 4 | 8 }>() }
        const memory = new PhysicalMemory([], { load: (frame, words, at) => this.#load(frame, words, at, missing.frames) })
        const register = (offset: number, bytes: 4 | 8) => {
          const key = `${offset}/${bytes}`
          const known = this.#registers.get(key)
          if (known === undefined) missing.registers.set(key, { offset, bytes })
          return known ?? null
        }
        const result = read({ memory, register })
        const whole = missing.frames.size === 0 && missing.registers.size === 0
        this.cutOff = !whole
        if (whole || round >= ROUNDS) return result
        for (const [key, { offset, bytes }] of missing.registers)
          this.#registers.set(key, await this.#readRegister(offset, bytes))
        for (const frame of missing.frames) {
          if (this.#frames.size >= MONITOR_PAGES) return result
          this.#frames.set(frame, await this.#readFrame(frame))
          if (this.#frames.size % 256 === 0) this.#options.progress?.(this.#frames.size)
        }
      }
    } finally {
      if (stopped) await this.#qmp.execute('cont')
    }
  }

  /** Ends the connection. What was read stays; pages that were not read yet answer as absent. */
  close(): void {
    this.#closed = true
    for (const file of this.#files.values()) file.close()
    this.#qmp.close()
  }

  /** @returns whether it ran, and has to be let go on. */
  async #stop(): Promise<boolean> {
    const status = v.parse(v.looseObject({ running: v.boolean() }), await this.#qmp.execute('query-status'))
    if (status.running) await this.#qmp.execute('stop')
    return status.running
  }

  #piece(frame: number): RamPiece | null {
    const start = frame * 4096
    return this.#ram.find((piece) => piece.start <= start && start + 4096 <= piece.end) ?? null
  }

  #load(frame: number, words: Int32Array, at: number, missing: Set<number>): boolean {
    const piece = this.#piece(frame)
    if (piece === null || this.#closed) return false
    const file = this.#files.get(piece.region)
    if (file !== undefined) {
      const offset = piece.offset + (frame * 4096 - piece.start)
      if (offset + 4096 > file.size) return false
      file.read(offset, new Uint8Array(words.buffer, words.byteOffset + at * 4, 4096))
      return true
    }
    const known = this.#frames.get(frame)
    if (known === undefined) missing.add(frame)
    if (known === undefined || known === null) return false
    words.set(known, at)
    return true
  }

  async #readRegister(offset: number, bytes: 4 | 8): Promise<bigint | null> {
    const values = valuesOfXp(await this.#qmp.monitor(`xp /1${bytes === 4 ? 'w' : 'g'}x 0x${(this.#base + offset).toString(16)}`))
    return values?.[0] ?? null
  }

  async #readFrame(frame: number): Promise<Int32Array | null> {
    const values = valuesOfXp(await this.#qmp.monitor(`xp /512gx 0x${(frame * 4096).toString(16)}`))
    return values?.length === 512 ? new Int32Array(BigUint64Array.from(values).buffer) : null
  }
}

/** Files that hold RAM and that we can read: by the name of the memory region, which is the backend's. */
async function memoryFiles(qmp: Qmp, ram: readonly RamPiece[]): Promise<Map<string, ByteSource>> {
  const files = new Map<string, ByteSource>()
  for (const region of new Set(ram.map((piece) => piece.region))) {
    const path = `/objects/${region}`
    try {
      if ((await qmp.execute('qom-get', { path, property: 'type' })) !== 'memory-backend-file') continue
      // A private mapping does not reach the file.
      if ((await qmp.execute('qom-get', { path, property: 'share' })) !== true) continue
      const file = await qmp.execute('qom-get', { path, property: 'mem-path' })
      if (typeof file === 'string') files.set(region, fileSource(file))
    } catch (error) {
      // No such backend, or the file is not ours to read: the monitor tells.
      if (!(error instanceof QmpRefusal) && !(error instanceof InputError)) throw error
    }
  }
  return files
}

async function pciDevices(qmp: Qmp): Promise<PciDevice[]> {
  try {
    const parsed = v.safeParse(Buses, await qmp.execute('query-pci'))
    const all = (devices: readonly PciDevice[]): PciDevice[] =>
      devices.flatMap((device) => [device, ...all(device.pci_bridge?.devices ?? [])])
    return parsed.success ? parsed.output.flatMap(({ devices }) => all(devices)) : []
  } catch (error) {
    // A machine without PCI.
    if (error instanceof QmpRefusal) return []
    throw error
  }
}

const two = (value: number) => value.toString(16).padStart(2, '0')
const four = (value: number) => value.toString(16).padStart(4, '0')
const addressOf = ({ bus, slot, function: fn }: PciDevice) => `${two(bus)}:${two(slot)}.${fn}`

function namesOf(pci: readonly PciDevice[]): Names {
  const devices = new Map<number, DeviceName>()
  for (const device of pci) {
    const { id, class_info: kind } = device
    const detail = [kind?.desc ?? '', id === undefined ? '' : `${four(id.vendor)}:${four(id.device)}`].filter(
      (part) => part !== '',
    )
    devices.set((device.bus << 8) | (device.slot << 3) | device.function, {
      name: `0000:${addressOf(device)}`,
      detail: detail.join(', '),
      ...(id === undefined ? {} : { pci: { vendor: id.vendor, device: id.device } }),
    })
  }
  return { devices }
}

/** Where the registers lie: as a system device, or in the first memory region of a PCI device. */
function registerBase(device: QtreeDevice, pci: readonly PciDevice[]): number | null {
  const [mmio] = device.mmio
  if (mmio !== undefined) return mmio.base
  const function_ = pci.find((one) => addressOf(one) === device.address)
  const region = function_?.regions?.find(({ bar, type }) => bar === 0 && type === 'memory')
  return region === undefined || region.address <= 0 ? null : region.address
}
