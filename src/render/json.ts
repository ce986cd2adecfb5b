/**
 * A machine as JSON, for other programs. The shape is stable: within one `version` fields are only added. 64-bit values, addresses and
 * sizes in bytes are `0x…` strings; ids, PASIDs, counts and bit positions are numbers; text is cleaned of control characters.
 */
import { hex } from '../base/hex.ts'
import type { DescribedField } from '../base/layout.ts'
import { rightsText } from '../base/types.ts'
import type { EntryView, MachineGraph, RangeView } from '../inspect/graph.ts'
import { clean } from './clean.ts'

/** A bit field of an entry or register. */
export interface FieldJson {
  readonly name: string
  readonly msb: number
  readonly lsb: number
  /** Number, or `0x…` for addresses and fields of more than 32 bits. */
  readonly value: number | string
  /** The value's name in the manual. */
  readonly means: string | null
}

/** A table entry as read. */
export interface EntryJson {
  readonly structure: string
  readonly address: string
  readonly words: readonly string[]
  readonly fields: readonly FieldJson[]
}

/** Pages in a row that map alike. */
export interface RangeJson {
  readonly start: string
  /** The first address behind it: up to 0x10000000000000000. */
  readonly end: string
  readonly output: string
  /** `rw-`, or `rw-/r--` (unprivileged/privileged) where they differ. */
  readonly rights: string
  readonly pages: readonly { readonly size: string; readonly count: number }[]
}

/** What `renderJson` writes. */
export interface MachineJson {
  readonly format: 'iomm-machine'
  readonly version: 1
  readonly title: string
  readonly iommu: string
  readonly enabled: boolean
  /** The manual's names of the tables. */
  readonly words: MachineGraph['words']
  readonly deviceTable: { readonly address: string; readonly layout: string; readonly entries: number } | null
  readonly registers: readonly {
    readonly name: string
    readonly offset: number
    readonly value: string
    readonly fields: readonly FieldJson[]
  }[]
  readonly devices: readonly {
    readonly id: number
    readonly name: string
    readonly detail: string | null
    readonly domain: string | null
    readonly state: 'tables' | 'bypass' | 'abort' | 'bad' | 'none'
    /** Id in `pasidTables`. */
    readonly pasidTable: string | null
    /** Id in `spaces`, where no PASID table is between. */
    readonly space: string | null
    readonly note: string | null
    readonly entry: EntryJson | null
  }[]
  readonly pasidTables: readonly {
    readonly id: string
    readonly address: string
    readonly layout: string
    readonly capacity: number
    readonly withoutPasid: string
    readonly label: string | null
    readonly entries: readonly {
      readonly pasid: number
      readonly state: 'valid' | 'quiet' | 'bad'
      /** Id in `spaces`. */
      readonly space: string | null
      /** The space of the upper half of the addresses, where there is one for each half. */
      readonly upper: string | null
      readonly note: string | null
      readonly entry: EntryJson
    }[]
  }[]
  readonly spaces: readonly {
    readonly id: string
    readonly root: string | null
    readonly format: string
    readonly inputBits: number
    readonly levels: number
    readonly stage: 1 | 2
    readonly role: 'io_pgtable' | 'io_mm' | 'private' | 'unknown'
    readonly label: string
    readonly tags: readonly string[]
    readonly leaves: number
    readonly tables: number
    readonly mappedBytes: string
    /** False when not all tables were read. */
    readonly complete: boolean
    /** Id of the stage 2 that it runs over. */
    readonly over: string | null
    readonly ranges: readonly RangeJson[]
    /** Ranges of this space that the document leaves out, because it has a million already. */
    readonly rangesLeftOut: number
  }[]
  readonly findings: readonly { readonly severity: 'error' | 'warning' | 'note'; readonly place: string; readonly text: string }[]
  /** Recorded faults and page requests, the newest first. */
  readonly events: readonly (EntryJson & {
    readonly device: number | null
    readonly pasid: number | null
    readonly pending: boolean
    readonly text: string
  })[]
  /** Device table entries that are not listed one by one. */
  readonly rest: readonly string[]
}

const MAX_RANGES = 1_000_000

/**
 * A machine as a JSON document of the shape `MachineJson`.
 * @example JSON.parse(renderJson(graph)).spaces.map((space) => space.label)
 */
export function renderJson(graph: MachineGraph): string {
  return JSON.stringify(machineJson(graph), null, 2)
}

function text(value: string): string {
  return clean(value, 1000)
}

function textOrNull(value: string | null): string | null {
  return value === null ? null : text(value)
}

/** A machine as plain data, ready for JSON. With more ranges than `maxRanges` in all, the rest is counted only. */
export function machineJson(graph: MachineGraph, maxRanges = MAX_RANGES): MachineJson {
  const { words, deviceTable } = graph
  let rangesLeft = maxRanges
  return {
    format: 'iomm-machine',
    version: 1,
    title: text(graph.title),
    iommu: text(graph.iommu),
    enabled: graph.enabled,
    words: {
      deviceTable: text(words.deviceTable),
      deviceEntry: text(words.deviceEntry),
      pasidTable: text(words.pasidTable),
      pasidEntry: text(words.pasidEntry),
      pasid: text(words.pasid),
    },
    deviceTable:
      deviceTable === null
        ? null
        : { address: hex(deviceTable.address), layout: text(deviceTable.layout), entries: deviceTable.entries },
    registers: graph.registers.map(({ name, offset, value, fields }) => ({
      name: text(name),
      offset,
      value: hex(value),
      fields: fields.map(fieldJson),
    })),
    devices: graph.devices.map((device) => ({
      id: device.id,
      name: text(device.name),
      detail: textOrNull(device.detail),
      domain: textOrNull(device.domain),
      state: device.state,
      pasidTable: device.pasidTable,
      space: device.space,
      note: textOrNull(device.note),
      entry: device.entry === null ? null : entryJson(device.entry),
    })),
    pasidTables: graph.pasidTables.map((table) => ({
      id: table.id,
      address: hex(table.address),
      layout: text(table.layout),
      capacity: table.capacity,
      withoutPasid: text(table.withoutPasid),
      label: textOrNull(table.label),
      entries: table.entries.map((entry) => ({
        pasid: entry.pasid,
        state: entry.state,
        space: entry.space,
        upper: entry.upper ?? null,
        note: textOrNull(entry.note),
        entry: entryJson(entry.entry),
      })),
    })),
    spaces: graph.spaces.map((space) => {
      const ranges = space.ranges.slice(0, rangesLeft)
      rangesLeft -= ranges.length
      return {
        id: space.id,
        root: space.root === null ? null : hex(space.root),
        format: text(space.format),
        inputBits: space.inputBits,
        levels: space.levels,
        stage: space.stage,
        role: space.role,
        label: text(space.label),
        tags: space.tags.map(text),
        leaves: space.leafCount,
        tables: space.tableCount,
        mappedBytes: hex(space.mappedBytes),
        complete: space.complete,
        over: space.over,
        ranges: ranges.map(rangeJson),
        rangesLeftOut: space.ranges.length - ranges.length,
      }
    }),
    findings: graph.findings.map(({ severity, place, text: what }) => ({ severity, place: text(place), text: text(what) })),
    events: (graph.events ?? []).map((event) => ({
      ...entryJson({ structure: event.name, address: event.address, words: event.words, fields: event.fields }),
      device: event.device,
      pasid: event.pasid,
      pending: event.pending,
      text: text(event.text),
    })),
    rest: graph.rest.map(text),
  }
}

function fieldJson({ name, msb, lsb, value, means }: DescribedField): FieldJson {
  return { name: text(name), msb, lsb, value: typeof value === 'bigint' ? hex(value) : value, means: textOrNull(means) }
}

function entryJson(entry: EntryView): EntryJson {
  return {
    structure: text(entry.structure),
    address: hex(entry.address),
    words: entry.words.map((word) => hex(word)),
    fields: entry.fields.map(fieldJson),
  }
}

function rangeJson(range: RangeView): RangeJson {
  const pages = [...range.leaves].sort(([a], [b]) => a - b)
  return {
    start: hex(range.start),
    end: hex(range.end),
    output: hex(range.output),
    rights: rightsText(range.rights),
    pages: pages.map(([log2, number]) => ({ size: hex(1n << BigInt(log2)), count: number })),
  }
}
