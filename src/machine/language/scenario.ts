/** A scenario: a computer with an IOMMU, and what happens in it. The declaration of the whole file. */
import { isMap, isScalar } from 'yaml'
import { type Keys, needed, object, optional, type Read } from './object.ts'
import { BAD, byKind, bytesUpTo, dictionary, flag, integer, list, nameOf, oneOf, type Reader, type Shape, text } from './shape.ts'
import { type Area, area, steps } from './steps.ts'
import type { Vocabulary } from './words.ts'
import { MOST_WORK, workOf } from './work.ts'

/** How an architecture is described in `iommu:`. */
export interface IommuChoice {
  readonly kind: string
  readonly options: Readonly<Record<string, unknown>>
  /** Options of the file that another kind than the file's does not have, or not with that value. */
  readonly dropped?: readonly string[]
}

const cpuKeys = {
  pageSize: optional(oneOf(['4K', '16K', '64K']), 'Page size of processes; by default 4K.'),
  addressBits: optional(integer(32, 57), 'Width of process addresses; by default what the architecture usually has.'),
  asidBits: optional(integer(4, 16), 'Width of address space tags; by default 16.'),
  cpus: optional(integer(1, 4096), 'Number of CPUs; by default 4.'),
  asidsTaken: optional(integer(0, 65535), 'Tags that other processes took before; by default 15, or none of fewer than 8 bits.'),
  kpti: optional(flag, 'Kernel and user have tags of their own.'),
  hardwareUpdates: optional(
    oneOf(['none', 'access', 'dirty'], { access: 'hardware sets access flags', dirty: 'and dirty state' }),
    'What the CPUs update in page tables by themselves; by default none.',
  ),
}
export type CpuChoice = Partial<Read<typeof cpuKeys>>

/** RAM is sparse: only what is written takes room here. */
const ram = bytesUpTo(1n << 36n)

const memoryKeys = {
  size: needed(ram, 'Bytes of RAM, a multiple of 4K; 64G at most.'),
  start: optional(integer(0, 2 ** 44), 'Its first address; by default 0x80000000.'),
}
export type MemoryChoice = Partial<Read<typeof memoryKeys>>

const deviceKeys = {
  id: needed(integer(0, 0xffffff), 'Number on the bus: StreamID, source-id, device_id.'),
  pasidBits: optional(integer(0, 20), 'Width of the PASIDs that it can send; by default 0: none.'),
  ats: optional(flag, 'It asks for translations and caches them (ATC).'),
  pri: optional(flag, 'It asks for pages that are missing (PRI); needs ats.'),
  stall: optional(flag, 'Its faulting transactions wait for the OS side; not together with ats or pri.'),
  plain: optional(flag, 'It has transactions without PASID; by default true.'),
  responseNeedsPasid: optional(flag, 'Page responses must carry the PASID; by default true.'),
  atcEntries: optional(integer(1, 1 << 20), 'Translations that its ATC holds; by default 64.'),
  detail: optional(text, 'What it is, for pictures.'),
}
export type DeviceChoice = Read<typeof deviceKeys>

const device: Shape<DeviceChoice> = object('device', deviceKeys, {
  synonyms: { pasid: 'pasidBits', ssidBits: 'pasidBits', sid: 'id', streamId: 'id' },
  check(value, reader, placeOf) {
    if (value.pri && !value.ats)
      reader.problem(placeOf('pri'), 'pri needs ats: a page request asks for what a translation request missed')
    if (value.stall && (value.pri || value.ats))
      reader.problem(
        placeOf('stall'),
        'stall and ats exclude each other: a device either waits inside a transaction or asks beforehand',
      )
  },
})

export const DOMAIN_KINDS = ['dma', 'identity', 'blocked', 'nested'] as const
const domainKeys = {
  kind: optional(
    oneOf(DOMAIN_KINDS, {
      dma: 'translated by map and unmap',
      identity: 'not translated without PASID',
      blocked: 'nothing without PASID',
      nested: "a guest's stage 1 over a stage 2 of ours",
    }),
    'What transactions without PASID see; by default dma.',
  ),
  devices: optional(list(nameOf('device'), 0), 'Devices that are in it from the beginning.'),
}
export type DomainChoice = Read<typeof domainKeys>

const guestKeys = {
  domain: needed(nameOf('domain'), 'Its domain, of kind nested. Its devices are in it from the beginning.'),
  memory: needed(bytesUpTo(1n << 30n), 'Its memory: a power of two, 1G at most.'),
  address: optional(integer(0, 2 ** 44), 'Where its memory begins, in its own (intermediate) addresses; by default 0x40000000.'),
}
const guest = object('guest', guestKeys, {
  synonyms: { size: 'memory', at: 'address' },
  check({ memory, address = 0 }, reader, placeOf) {
    if ((memory & (memory - 1n)) !== 0n || memory < 65536n)
      reader.problem(placeOf('memory'), 'the memory of a guest is a power of two, 64K or more')
    else if (BigInt(address) % memory !== 0n)
      reader.problem(placeOf('address'), 'the address of its memory is a multiple of its size')
  },
})

/** A list of areas alone is short for `areas:`. */
const processAreas: Shape<{ areas: readonly Area[] }> = (() => {
  const areas = list(area, 0, 1000)
  const full = object('process', { areas: optional(areas, 'Its memory.') })
  const shape = byKind({ scalar: full, map: full, list: areas })
  return {
    ...shape,
    read(given, reader) {
      const value = shape.read(given, reader)
      if (value === BAD) return BAD
      return { areas: Array.isArray(value) ? value : ((value as { areas?: Area[] }).areas ?? []) }
    },
  }
})()

/** A list of devices alone is short for `devices:`. */
const domain: Shape<DomainChoice> = (() => {
  const devices = list(nameOf('device'), 0)
  const full = object('domain', domainKeys)
  const short: Shape<DomainChoice> = {
    takes: devices.takes,
    schema: devices.schema,
    read(given, reader) {
      const value = devices.read(given, reader)
      return value === BAD ? BAD : { devices: value, place: reader.place(given) }
    },
  }
  return byKind({ scalar: full, map: full, list: short })
})()

/** What the language must know of the architectures. */
export interface Architectures {
  /** The kind of a scenario that says nothing of its IOMMU. */
  readonly standard: string
  /** `iommu:` in full, by kind. */
  readonly options: ReadonlyMap<string, { readonly keys: Keys; readonly doc: string }>
  readonly vocabulary: Vocabulary
  /** Read the file as if it said this kind. */
  readonly instead?: string
}

/** The options of a mapping that another kind has too, read as that kind reads them. */
function optionsFor(keys: Keys, given: unknown, reader: Reader): Pick<IommuChoice, 'options' | 'dropped'> {
  const options: Record<string, unknown> = {}
  const dropped: string[] = []
  const node = reader.open(given)
  if (!isMap(node)) return { options, dropped }
  for (const { key, value } of node.items) {
    const name = isScalar(key) ? String(key.value) : ''
    if (name === 'kind') continue
    let bad = false
    const probe: Reader = {
      place: (at) => reader.place(at),
      open: (at) => reader.open(at),
      names: (what) => reader.names(what),
      problem() {
        bad = true
      },
    }
    const read = Object.hasOwn(keys, name) ? keys[name]!.shape.read(value, probe) : BAD
    if (read === BAD || bad) dropped.push(name)
    else options[name] = read
  }
  return { options, dropped }
}

/** One word, or a mapping with `kind` and the options of that kind. */
function iommu(known: Architectures): Shape<IommuChoice> {
  const kinds = [...known.options.keys()]
  const word = oneOf(kinds)
  const full = new Map(
    kinds.map((kind) => [
      kind,
      object(`iommu ${kind}`, { kind: needed(oneOf([kind]), known.options.get(kind)!.doc), ...known.options.get(kind)!.keys }),
    ]),
  )
  const kindOnly = (given: unknown, reader: Reader): string | typeof BAD => {
    const node = reader.open(given) as { get?(key: string, keep: true): unknown } | null
    const at = node?.get?.('kind', true)
    if (at !== undefined) return word.read(at, reader)
    reader.problem(reader.place(given), "iommu needs 'kind'", `kinds: ${kinds.join(', ')}`)
    return BAD
  }
  const { instead } = known
  const mapping: Shape<IommuChoice> = {
    takes: `a mapping with kind (${kinds.join(', ')}) and its options`,
    schema: (defs) => ({ anyOf: [...full.values()].map((shape) => shape.schema(defs)) }),
    read(given, reader) {
      const kind = kindOnly(given, reader)
      if (kind === BAD) return BAD
      if (instead !== undefined && instead !== kind)
        return { kind: instead, ...optionsFor(known.options.get(instead)!.keys, given, reader) }
      const value = full.get(kind)!.read(given, reader)
      return value === BAD ? BAD : { kind, options: value }
    },
  }
  const short: Shape<IommuChoice> = {
    takes: word.takes,
    schema: word.schema,
    read(given, reader) {
      const kind = word.read(given, reader)
      return kind === BAD ? BAD : { kind: instead ?? kind, options: {} }
    },
  }
  return byKind({ scalar: short, map: mapping })
}

function scenarioKeys(known: Architectures) {
  const memory = object('memory', memoryKeys)
  const size: Shape<MemoryChoice> = {
    ...ram,
    read(given, reader) {
      const value = ram.read(given, reader)
      return value === BAD ? BAD : { size: value }
    },
  }
  return {
    title: optional(text, 'What the scenario shows, in a line.'),
    about: optional(text, 'What it shows, at length.'),
    iommu: optional(iommu(known), `The IOMMU; by default ${known.standard}.`),
    cpu: optional(object('cpu', cpuKeys), 'The CPUs, as far as address spaces go.'),
    memory: optional(byKind<MemoryChoice, MemoryChoice>({ scalar: size, map: memory }), 'RAM; by default 256M.'),
    pasids: optional(
      oneOf(['lowest', 'cyclic'], { lowest: 'the lowest free number', cyclic: 'the next one, so that reuse comes late' }),
      'How PASIDs are given out; by default lowest.',
    ),
    buffers: optional(dictionary('buffer', bytesUpTo(1n << 30n), 1000), 'Physical memory with a name, to map for DMA.'),
    processes: optional(dictionary('process', processAreas), 'Processes and their memory.'),
    devices: optional(dictionary('device', device), 'Devices behind the IOMMU.'),
    groups: optional(
      dictionary('group', list(nameOf('device'), 2)),
      'Devices that cannot be told apart: they are attached together.',
    ),
    domains: optional(dictionary('domain', domain), 'Domains: devices that see the same address spaces.'),
    guests: optional(dictionary('guest', guest, 16), 'Guests: they own the stage 1 of the devices in a nested domain.'),
    steps: optional(steps(known.vocabulary), 'What happens, in order.'),
  }
}

type ScenarioValues = Read<ReturnType<typeof scenarioKeys>>

/** A scenario that was read. */
export interface Scenario extends ScenarioValues {
  readonly file: string
}

/** The shape of a whole file. */
export function scenarioShape(known: Architectures): Shape<ScenarioValues> {
  return object('the scenario', scenarioKeys(known), {
    synonyms: { name: 'title', description: 'about', process: 'processes', device: 'devices', domain: 'domains' },
    check: checkWhole,
  })
}

/** What one entry alone cannot say. */
function checkWhole(
  value: ScenarioValues,
  reader: Reader,
  placeOf: (key: 'devices' | 'domains' | 'groups' | 'memory') => { line: number; column: number },
): void {
  const byId = new Map<number, string>()
  for (const [name, { id, place }] of value.devices ?? []) {
    const other = byId.get(id)
    if (other !== undefined) reader.problem(place, `devices ${other} and ${name} have the same id ${id}`)
    byId.set(id, name)
  }
  const groupOf = new Map<string, string>()
  for (const [name, members] of value.groups ?? []) {
    for (const member of members) {
      const other = groupOf.get(member)
      if (other !== undefined) reader.problem(placeOf('groups'), `device ${member} is in groups ${other} and ${name}`)
      groupOf.set(member, name)
    }
  }
  const domainOf = new Map<string, string>()
  for (const [name, { devices = [], place }] of value.domains ?? []) {
    for (const member of devices) {
      const other = domainOf.get(member)
      if (other !== undefined) reader.problem(place, `device ${member} is in domains ${other} and ${name}`)
      domainOf.set(member, name)
    }
  }
  for (const [group, members] of value.groups ?? []) {
    const domains = new Set(members.map((member) => domainOf.get(member)))
    if (domains.size > 1)
      reader.problem(
        placeOf('groups'),
        `group ${group}: its devices must all be in the same domain`,
        `they are in ${[...domains].map((name) => name ?? 'none').join(', ')}`,
      )
  }
  for (const { domain, place } of value.guests?.values() ?? []) {
    if (value.domains?.get(domain)?.kind !== 'nested') reader.problem(place, `domain ${domain} of a guest must be of kind nested`)
  }
  const work = workOf(value)
  if (work > MOST_WORK)
    reader.problem(
      { line: 1, column: 1 },
      `this scenario touches up to ${work} pages; at most ${MOST_WORK} are allowed`,
      'use smaller areas, lengths or fewer steps',
    )
  const size = value.memory?.size
  if (size !== undefined && size % 4096n !== 0n) reader.problem(placeOf('memory'), 'memory must be a multiple of 4K')
}
