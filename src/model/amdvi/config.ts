/**
 * From a DeviceID to what its device table entry says, from a PASID to the address space behind it, from an interrupt to its remapping
 * entry, and the caches of all three. AMD IOMMU specification (48882), 2.2.2, 2.2.5, 2.2.6. Entries stay as they were fetched until the
 * command that covers them (or until they are evicted): a device table entry whatever it says, the others when they are valid, with
 * NpCache also when they are not.
 */
import type { WordMemory } from '../../base/memory.ts'
import { neededRight } from '../../base/types.ts'
import { DTE_RULES } from '../../format/amdvi/check.ts'
import {
  DTE_RIGHTS,
  dteRights,
  guestSpace,
  guestTranslation,
  hostSpace,
  WAY_ABORT,
  WAY_BYPASS,
  WAY_GCR3,
  wayWithoutPasid,
} from '../../format/amdvi/context.ts'
import { DTE3_EX, DTE3_I, DTE3_SA, DTE3_SE, dteDomain, dteMode } from '../../format/amdvi/dte.ts'
import {
  DEV_TAB_HARDWARE_ERROR,
  ILLEGAL_DEV_TABLE_ENTRY,
  IO_PAGE_FAULT,
  PAGE_TAB_HARDWARE_ERROR,
} from '../../format/amdvi/events.ts'
import { type AmdFeatures, featuresOf } from '../../format/amdvi/features.ts'
import {
  BEYOND_TABLE,
  CORRUPT,
  type DeviceTable,
  deviceTable,
  FOUND,
  findDte,
  findGcr3,
  HOST_REFUSED,
  ILLEGAL,
  NOT_VALID,
  TableWalk,
  UNREADABLE,
} from '../../format/amdvi/lookup.ts'
import { CONTROL_GA_EN, CONTROL_GT_EN, REG } from '../../format/amdvi/registers.ts'
import type { PtSpace } from '../../format/pt/format.ts'
import type { Walker } from '../../format/pt/walker.ts'
import { ConfigCache } from '../common/config-cache.ts'
import { ACCESS_MASK, EXECUTE, PRIVILEGED, WRITE } from '../common/request.ts'
import type { AmdOptions } from './options.ts'
import type { RegisterFile } from './registers.ts'
import { KIND_GUEST, KIND_HOST, PASID_HIGH_SHIFT } from './tlb.ts'

/** What contexts of requests without PASID are kept under, beside PASIDs. */
export const NO_PASID = 1 << 20

/** What was found for a DeviceID. `code` is 0, or the event that says why nothing was. */
export interface Device {
  readonly id: number
  readonly code: number
  /** How the look-up ended: FOUND … of lookup.ts. */
  readonly status: number
  /** Which rule an illegal entry breaks (DTE_RULES). */
  readonly rule: number
  readonly why: string
  /** Where the entry lies; -1: outside the table. */
  readonly address: number
  readonly words: Int32Array
  /** What requests without PASID meet (WAY_…); whether those with one are translated; whether ATS is allowed. */
  readonly way: number
  readonly guest: boolean
  readonly ats: boolean
  readonly suppressAll: boolean
  readonly suppressMore: boolean
  /** DTE.EX. */
  readonly excluded: boolean
  readonly domain: number
  readonly mode: number
  /** What IR and IW let through: a mask of UR … PX. */
  readonly allowed: number
  readonly host: PtSpace | null
}

/** What was found for a device and a PASID (or none). `code` is 0, or the event that says why nothing was. */
export interface Context {
  readonly device: Device
  /** -1: without. */
  readonly pasid: number
  readonly code: number
  readonly status: number
  readonly why: string
  /** Where the GCR3 entry that decided lies; -1: none was read. Its words. */
  readonly address: number
  readonly entry: bigint | null
  /** Guest physical address that the host tables refused (HOST_REFUSED). */
  readonly guestAddress: number
  /** Tables; null: addresses pass as they are. */
  readonly space: PtSpace | null
  /** Whether events have the PASID (GN), not the domain. */
  readonly guest: boolean
  /** Tags of the IOTLB. */
  readonly kind: number
  readonly tag: number
  readonly allowed: number
  /** The right that each kind of access (bits 2:0 of the flags) needs. */
  readonly need: Uint8Array
}

/** Sees what is looked up. Null on the fast way. */
export interface ConfigObserver {
  device(device: Device): void
  gcr3(level: number, pa: number, status: number, walk: TableWalk): void
}

/** The right that each kind of access needs; without a PASID there is neither execution nor privilege. */
function needs(withPasid: boolean): Uint8Array {
  return Uint8Array.from({ length: 8 }, (_, flags) => {
    const access = flags & ACCESS_MASK
    const name = access === WRITE ? 'write' : access === EXECUTE && withPasid ? 'execute' : 'read'
    return neededRight(name, withPasid && (flags & PRIVILEGED) !== 0)
  })
}
const NEED_PLAIN = needs(false)
const NEED_PASID = needs(true)

export class Configuration {
  features: AmdFeatures
  readonly devices: ConfigCache<Device>
  readonly contexts: ConfigCache<Context>
  readonly #memory: WordMemory
  readonly #registers: RegisterFile
  readonly #negative: boolean
  readonly #walk = new TableWalk()
  #table: DeviceTable | null = null
  /** What the features were read from. */
  #said: readonly number[] = []

  constructor(memory: WordMemory, registers: RegisterFile, options: AmdOptions) {
    this.#memory = memory
    this.#registers = registers
    this.#negative = options.npCache
    this.devices = new ConfigCache(options.caches.devices)
    this.contexts = new ConfigCache(options.caches.contexts)
    this.features = this.#readFeatures()
  }

  #readFeatures(): AmdFeatures {
    const registers = this.#registers
    const { control, controlHi } = registers
    return featuresOf(registers.get(REG.EXT_FEATURE + 4), registers.get(REG.EXT_FEATURE), controlHi, control)
  }

  /**
   * Registers that may say what this IOMMU is and does, or where its device table lies, changed. What was made of entries with other
   * features is forgotten.
   */
  registersChanged(): void {
    const registers = this.#registers
    this.#table = null
    const said = [REG.CONTROL, REG.CONTROL + 4, REG.EXT_FEATURE, REG.EXT_FEATURE + 4].map((offset) => registers.get(offset))
    // The IOMMU itself, its logs and its command buffer are no features.
    said[0]! &= CONTROL_GT_EN | CONTROL_GA_EN
    if (said.every((word, index) => word === this.#said[index])) return
    this.#said = said
    this.features = this.#readFeatures()
    this.clear()
  }

  get table(): DeviceTable {
    this.#table ??= deviceTable(this.features, (offset) => this.#registers.read(offset, 8))
    return this.#table
  }

  /** The device's entry: cached, else fetched (and cached). */
  device(id: number): Device {
    const cached = this.devices.find(id, 0)
    if (cached !== null) return cached
    const device = this.fetchDevice(id)
    if (device.status === FOUND || device.status === ILLEGAL) this.devices.insert(id, 0, device)
    return device
  }

  /** As `device`, past the cache. */
  fetchDevice(id: number, observer: ConfigObserver | null = null): Device {
    const walk = this.#walk
    const status = findDte(this.#memory, this.features, this.table, id, walk)
    const device = this.#decode(id, status, walk.address[0]!, walk.rule, walk.dte)
    observer?.device(device)
    return device
  }

  #decode(id: number, status: number, address: number, rule: number, dte: Int32Array): Device {
    const { features } = this
    const words = status === FOUND || status === ILLEGAL ? dte.slice() : new Int32Array(dte.length)
    const found = status === FOUND
    const way = found ? wayWithoutPasid(features, words) : WAY_BYPASS
    const translates = found && way !== WAY_BYPASS && way !== WAY_ABORT
    return {
      id,
      code: codeOf(status),
      status,
      rule,
      why: whyNoDevice(status, rule),
      address,
      words,
      way,
      guest: found && guestTranslation(features, words),
      ats: found && way !== WAY_BYPASS && (words[3]! & DTE3_I) !== 0,
      suppressAll: found && way !== WAY_BYPASS && (words[3]! & DTE3_SA) !== 0,
      suppressMore: found && way !== WAY_BYPASS && (words[3]! & DTE3_SE) !== 0,
      excluded: found && way !== WAY_BYPASS && (words[3]! & DTE3_EX) !== 0,
      domain: dteDomain(words),
      mode: dteMode(words),
      allowed: DTE_RIGHTS[dteRights(words)]![63]!,
      host: translates ? hostSpace(features, words, 0) : null,
    }
  }

  /** A device's address space: cached, else looked up. @param walker walks the host tables for GCR3 entries. */
  context(device: Device, pasid: number, walker: Walker): Context {
    const key = pasid < 0 ? NO_PASID : pasid
    const cached = this.contexts.find(device.id, key)
    if (cached !== null && cached.device === device) return cached
    const context = this.fetchContext(device, pasid, walker, true)
    if (context.code === 0 || (this.#negative && context.status === NOT_VALID)) this.contexts.insert(device.id, key, context)
    return context
  }

  /**
   * As `context`, past the cache.
   * @param device one whose way is neither bypass nor abort.
   * @param update whether hardware may set A in host entries.
   */
  fetchContext(device: Device, pasid: number, walker: Walker, update: boolean, observer: ConfigObserver | null = null): Context {
    const { features } = this
    if (pasid < 0 && device.way !== WAY_GCR3) {
      const space = device.host
      return { ...contextOf(device, -1), space, kind: KIND_HOST, tag: device.domain << 16, guest: false, need: NEED_PLAIN }
    }
    const context = contextOf(device, pasid)
    if (!device.guest)
      return { ...context, code: IO_PAGE_FAULT, why: 'a request with PASID, and DTE.GV or CONTROL.GTEn is 0 (2.2.6)' }
    const walk = this.#walk
    walk.observer = observer === null ? null : { gcr3: (level, pa, status) => observer.gcr3(level, pa, status, walk) }
    const status = findGcr3(this.#memory, features, device.words, 0, device.host, walker, Math.max(pasid, 0), update, walk)
    walk.observer = null
    const address = walk.address[0]!
    if (status === FOUND) {
      // GuestPagingMode was checked with the device table entry.
      const space = guestSpace(features, device.words, 0, walk.entry[1]!, walk.entry[0]!, device.host)!
      return { ...context, space, address, entry: entryOf(walk) }
    }
    return {
      ...context,
      code: status === CORRUPT || status === UNREADABLE ? PAGE_TAB_HARDWARE_ERROR : IO_PAGE_FAULT,
      status,
      why: whyNoContext(status, walk.level),
      address,
      entry: status === NOT_VALID ? entryOf(walk) : null,
      guestAddress: status === HOST_REFUSED ? walk.guest[0]! : -1,
    }
  }

  /** INVALIDATE_DEVTAB_ENTRY: a device's entry, and what was made of it. */
  invalidateDevice(id: number): void {
    this.devices.invalidate(id, id, 0)
    this.contexts.invalidate(id, id)
  }

  /** GCR3 entries of a domain. @param pasid -1: all that were reached through host tables. */
  invalidateContexts(domain: number, pasid: number): void {
    const other = (context: Context) =>
      context.device.domain !== domain || !context.guest || (pasid < 0 && context.device.host === null)
    this.contexts.invalidate(0, 0xffff, pasid, other)
    // Requests without PASID that use entry 0 are kept apart.
    if (pasid === 0) this.contexts.invalidate(0, 0xffff, NO_PASID, other)
  }

  clear(): void {
    this.devices.invalidate(0, 0xffff)
    this.contexts.invalidate(0, 0xffff)
  }
}

function contextOf(device: Device, pasid: number): Context {
  const number = Math.max(pasid, 0)
  return {
    device,
    pasid,
    code: 0,
    status: FOUND,
    why: '',
    address: -1,
    entry: null,
    guestAddress: -1,
    space: null,
    guest: true,
    kind: KIND_GUEST | ((number >>> 16) << PASID_HIGH_SHIFT),
    tag: (device.domain << 16) | (number & 0xffff),
    allowed: device.allowed,
    need: pasid < 0 ? NEED_PLAIN : NEED_PASID,
  }
}

function entryOf(walk: TableWalk): bigint {
  return (BigInt(walk.entry[1]! >>> 0) << 32n) | BigInt(walk.entry[0]! >>> 0)
}

function codeOf(status: number): number {
  if (status === FOUND) return 0
  if (status === BEYOND_TABLE) return IO_PAGE_FAULT
  return status === ILLEGAL ? ILLEGAL_DEV_TABLE_ENTRY : DEV_TAB_HARDWARE_ERROR
}

function whyNoDevice(status: number, rule: number): string {
  if (status === FOUND) return ''
  if (status === BEYOND_TABLE) return 'the DeviceID is outside the device table (2.2.2)'
  if (status === ILLEGAL) return `${DTE_RULES[rule]!.text} (${DTE_RULES[rule]!.section})`
  return status === CORRUPT
    ? 'corrupt data at the device table entry (2.5.4)'
    : 'nothing answers at the device table entry (2.5.4)'
}

function whyNoContext(status: number, level: number): string {
  if (status === BEYOND_TABLE) return 'the PASID is wider than DTE.GLX or EXT_FEATURE.PASmax takes (2.2.6.3)'
  if (status === NOT_VALID) return `V of the level ${level} GCR3 entry is 0 (2.2.6.3)`
  if (status === HOST_REFUSED) return 'the host tables refuse the address of the GCR3 entry (2.2.6.3)'
  return status === CORRUPT ? 'corrupt data at the GCR3 entry (2.5.5)' : 'nothing answers at the GCR3 entry (2.5.5)'
}
