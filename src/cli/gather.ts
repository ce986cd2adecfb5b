/** `iomm gather`: a capture of a dump or a running guest: tables and registers, no payload pages. */
import { mkdir, mkdtemp, rename, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { gzipSync } from 'node:zlib'
import { Command } from 'commander'
import { hex, hexPad, size } from '../base/hex.ts'
import type { DeviceNode, EntryView, MachineGraph, RangeView, SpaceNode } from '../inspect/graph.ts'
import { waysOf } from '../inspect/ways.ts'
import { PhysicalMemory } from '../memory/physical.ts'
import { elfCore } from '../node/elf-writer.ts'
import type { FactNames } from './checks/tables.ts'
import { CliError, EXIT_USAGE, note, print } from './common.ts'
import { type OpenedMachine, openInput } from './input.ts'
import { DUMP_HELP, type RegisterOptions, withRegisterOptions } from './registers.ts'

interface Options extends RegisterOptions {
  readonly output: string
}

export function gatherCommand(): Command {
  return withRegisterOptions(new Command('gather'))
    .summary('write a capture of a dump or a running guest, to attach to a bug report')
    .description(
      "Writes a folder with what the IOMMU's tables say and nothing else: tables.elf.gz holds the pages of device tables, PASID tables, page " +
        'tables and queues, side.json.gz the registers, the names of the devices and what was found. No page that a device or a process uses ' +
        'for data is in it; the addresses of such pages are. All commands take such a folder as INPUT.',
    )
    .argument('<input>', "a dump of memory, QEMU's QMP socket, a capture (folder), or a scenario")
    .requiredOption('-o, --output <folder>', 'the folder to write; it must not exist')
    .addHelpText(
      'after',
      `
Examples:
  iomm gather --qmp /run/guest.qmp -o report
  iomm gather vmcore --smmu strtab-base=0x44b72000,strtab-base-cfg=0x10210 -o report
  iomm show report; iomm verify report
${DUMP_HELP}

Exit code: 0 written, 2 usage, 3 unreadable input, 4 not supported.`,
    )
    .action(gather)
}

async function gather(input: string, options: Options): Promise<void> {
  const folder = resolve(options.output)
  if (await exists(folder)) throw new CliError(EXIT_USAGE, `${options.output}: exists already; give a folder that does not.`)
  const machine = await openInput(input, options)
  const seen = look(machine)
  const { tables, side } = captureFiles(machine, seen)
  // All or nothing: a folder beside it, renamed when it is whole.
  let temporary: string | null = null
  try {
    await mkdir(dirname(folder), { recursive: true })
    temporary = await mkdtemp(`${folder}.`)
    await writeFile(join(temporary, 'tables.elf.gz'), tables)
    await writeFile(join(temporary, 'side.json.gz'), side)
    await rename(temporary, folder)
  } catch (error) {
    if (temporary !== null) await rm(temporary, { recursive: true, force: true })
    throw new CliError(EXIT_USAGE, `cannot write ${options.output}: ${(error as Error).message}`)
  }
  note(
    `${seen.frames.size} pages of tables and queues (${size(tables.length)} packed), ${seen.registers.size} registers, ${seen.graph.devices.length} devices`,
  )
  print(options.output)
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}

interface Seen {
  readonly graph: MachineGraph
  /** Pages that were read. */
  readonly frames: ReadonlyMap<number, Int32Array>
  readonly registers: ReadonlyMap<number, { readonly bytes: 4 | 8; readonly value: bigint }>
}

/** Looks at the machine once more, and remembers all that is read. */
function look({ architecture, memory, register, names, title }: OpenedMachine): Seen {
  const frames = new Map<number, Int32Array>()
  const registers = new Map<number, { bytes: 4 | 8; value: bigint }>()
  const recording = new PhysicalMemory([], {
    load(frame, words, at) {
      const from = memory.index(frame * 4096)
      if (from < 0) return false
      const page = memory.words.slice(from, from + 1024)
      words.set(page, at)
      frames.set(frame, page)
      return true
    },
  })
  const read = (offset: number, bytes: 4 | 8) => {
    const value = register(offset, bytes)
    if (value !== null) registers.set(offset, { bytes, value })
    return value
  }
  const graph = architecture.inspect({ title, memory: recording, register: read, names })
  // The model reads registers that the picture does not show.
  architecture.restore(recording, read)
  return { graph, frames, registers }
}

const packed = (bytes: Uint8Array | string) => gzipSync(bytes, { level: 9 })

function captureFiles({ architecture, title, names }: OpenedMachine, { graph, frames, registers }: Seen) {
  const { kind, registers: table, facts } = architecture
  const side = {
    name: title,
    note: 'gathered by iomm: tables, registers and names; what stands in `tables` and `expected` is what iomm found in these very pages',
    iommu: kind,
    registers: [...registers]
      .sort(([a], [b]) => a - b)
      .map(([offset, { bytes, value }]) => ({
        name: registerName(graph, offset),
        offset: hex(offset),
        size: bytes,
        value: hex(value),
      })),
    pci: [...(names.devices ?? [])].flatMap(([id, { name, pci }]) =>
      PCI_NAME.test(name) ? [{ bdf: name, devid: id, ...pci }] : [],
    ),
    iomem: (names.memory ?? []).map(
      ({ start, end, name }) => `${hexPad(start, 8).slice(2)}-${hexPad(end - 1n, 8).slice(2)} : ${name}`,
    ),
    tables: tableFacts(graph, facts.names),
    expected: sampleTranslations(graph),
  }
  return { tables: packed(elfCore(table.machines[0] ?? 0, frames)), side: packed(JSON.stringify(side, null, 1)) }
}

const PCI_NAME = /^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$/i

function registerName(graph: MachineGraph, offset: number): string {
  return graph.registers.find((register) => register.offset === offset)?.name ?? `at ${hex(offset)}`
}

/** Names that say nothing outside of their scenario are left out: such a device is called by its id. */
const nameOf = ({ name, id }: DeviceNode) => (PCI_NAME.test(name) ? name : hex(id))

const words = (entry: EntryView) => entry.words.map((word) => hexPad(word, 16).slice(2))

/** Per device the raw entry, and per PASID the raw entry and the leaves by size. */
function tableFacts(graph: MachineGraph, names: FactNames): Record<string, unknown> {
  const out: Record<string, unknown> = {}
  const spaces = new Map(graph.spaces.map((space) => [space.id, space]))
  for (const device of graph.devices) {
    if (device.entry === null) continue
    const found: Record<string, unknown> = {}
    const add = (pasid: number, id: string | null, entry: EntryView | null) => {
      const space = id === null ? undefined : spaces.get(id)
      if (space?.complete)
        found[pasid === 0 ? 'none' : pasid] = {
          ...(entry === null ? {} : { [names.pasidWords]: words(entry) }),
          ...spaceFacts(space),
        }
    }
    add(0, device.space, null)
    const table = graph.pasidTables.find(({ id }) => id === device.pasidTable)
    for (const { pasid, state, space, entry } of table?.entries ?? []) if (state === 'valid') add(pasid, space, entry)
    out[nameOf(device)] = { [names.deviceWords]: words(device.entry), spaces: found }
  }
  return out
}

function spaceFacts({ root, levels, ranges }: SpaceNode) {
  const leaves: Record<string, number> = {}
  for (const range of ranges) for (const [log2, count] of range.leaves) leaves[2 ** log2] = (leaves[2 ** log2] ?? 0) + count
  return { ...(root === null ? {} : { root: hex(root) }), levels, leaf_histogram: leaves }
}

/** So many mappings of each address space become expectations. */
const SAMPLES = 8

/** Translations to check: the first mappings of each space that leads to physical addresses. */
function sampleTranslations(graph: MachineGraph) {
  const spaces = new Map(graph.spaces.map((space) => [space.id, space]))
  return [...waysOf(graph)].flatMap(({ device, pasid, space: id }) => {
    const space = id === null ? undefined : spaces.get(id)
    const ranges = space === undefined || space.over !== null ? [] : space.ranges.filter(readable).slice(0, SAMPLES)
    return ranges.map(({ start, output }) => ({
      device: nameOf(device),
      devid: device.id,
      pasid,
      iova: hex(start),
      access: 'r',
      pa: hex(output),
    }))
  })
}

/** Unprivileged reads are allowed. */
const readable = ({ rights }: RangeView) => (rights & 1) !== 0
