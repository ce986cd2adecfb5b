/**
 * Guests. Intel VT-d 4.1, section 3.8 "Nested translation": the IOMMU walks a guest's first stage through our second one, but reads context and
 * PASID tables from our memory only. So a guest's PASID tables are copied: its context entry and its pc_inv_dsc say when.
 */
import { decode, encode, getAddress, getNumber } from '../../base/layout.ts'
import type { PageAllocator, WordMemory } from '../../base/memory.ts'
import { type Op, step } from '../../base/op.ts'
import { IommError } from '../../core/error.ts'
import { CONTEXT_P, pasidLimit, SM_CONTEXT_ENTRY } from '../../format/vtd/contexts.ts'
import {
  CC_INV_DSC,
  DEV_TLB_INV_DSC,
  descriptorType,
  G_DEVICE,
  G_PASID,
  P_DEV_TLB_INV_DSC,
  P_IOTLB_INV_DSC,
  PC_G_PASID,
  PC_INV_DSC,
  TYPE_CONTEXT_CACHE,
  TYPE_DEVICE_TLB,
  TYPE_IOTLB,
  TYPE_PASID_CACHE,
  TYPE_PASID_DEVICE_TLB,
  TYPE_PASID_IOTLB,
} from '../../format/vtd/descriptors.ts'
import type { VtdFeatures } from '../../format/vtd/features.ts'
import { PASID_DIR_ENTRY_BYTES, PASID_ENTRY_BYTES, PASID_P, PASID_WORDS } from '../../format/vtd/pasid.ts'
import type { Configuration } from '../common/configuration.ts'
import type { GuestCopies } from '../common/driver.ts'
import type { DeviceState, DomainState } from '../common/state.ts'
import { loadWords, storeWords } from '../common/words.ts'
import { descriptorName } from './command-queue.ts'
import { contextCacheDevice, iotlbDomain, pasidCache, pasidCacheDomain, pasidIotlb, pasidIotlbPages } from './commands.ts'
import { guestPasid } from './entries.ts'
import { drainingOf } from './invalidation.ts'
import { capField } from './registers.ts'
import { PasidDirectory } from './tables.ts'

/** PASIDs in a table. */
const TABLE = 64

/** A guest's PASID directory, and what we made of it. */
interface Copy {
  readonly guest: Uint32Array
  readonly directory: PasidDirectory
}

export class PasidCopies implements GuestCopies {
  readonly #memory: WordMemory & PageAllocator
  readonly #features: VtdFeatures
  readonly #configuration: () => Configuration
  readonly #copies = new Map<number, Copy>()

  /** @param configuration writes entries that the hardware may use. */
  constructor(memory: WordMemory & PageAllocator, features: VtdFeatures, configuration: () => Configuration) {
    this.#memory = memory
    this.#features = features
    this.#configuration = configuration
  }

  of(device: number): PasidDirectory | null {
    return this.#copies.get(device)?.directory ?? null
  }

  *enter({ device }: DeviceState, domain: DomainState, guest: Uint32Array | null): Op<() => void> {
    const old = this.#copies.get(device.id)
    if (guest === null || (guest[0]! & CONTEXT_P) === 0) this.#copies.delete(device.id)
    else {
      const bits = Math.log2(pasidLimit(getNumber(guest, SM_CONTEXT_ENTRY.fields.PDTS)))
      const copy = { guest: guest.slice(), directory: new PasidDirectory(this.#memory, this.#memory, bits) }
      // Nothing leads to it yet.
      for (const pasid of this.#pasids(copy, domain)) {
        const entry = this.#entryOf(copy, domain, pasid)
        if (entry.some((word) => word !== 0)) storeWords(this.#memory, copy.directory.make(pasid).entry, entry)
        if (pasid % TABLE === 0) yield* step("a guest's PASID table read")
      }
      this.#copies.set(device.id, copy)
    }
    return () => old?.directory.free()
  }

  *follow(domain: DomainState, command: Uint32Array): Op<void> {
    if (descriptorType(command[0]!) !== TYPE_PASID_CACHE) return
    const one = getNumber(command, PC_INV_DSC.fields.G) === PC_G_PASID
    for (const { device } of domain.devices) {
      const copy = this.#copies.get(device.id)
      if (copy === undefined) continue
      const pasids = one ? [getNumber(command, PC_INV_DSC.fields.PASID)] : this.#everyPasid(copy, domain)
      for (const pasid of pasids) {
        if (pasid >= 2 ** copy.directory.bits) continue
        const entry = this.#entryOf(copy, domain, pasid)
        const known = copy.directory.find(pasid)
        if (known === null && entry.every((word) => word === 0)) continue
        yield* this.#configuration().writeCopy(copy.directory.make(pasid).entry, pasid, device.id, entry)
      }
    }
  }

  leave({ device }: DeviceState): void {
    this.#copies.get(device.id)?.directory.free()
    this.#copies.delete(device.id)
  }

  /** PASIDs that the guest has a table for. */
  *#pasids(copy: Copy, domain: DomainState): Generator<number> {
    for (let first = 0; first < 2 ** copy.directory.bits; first += TABLE)
      if (this.#tableOf(copy, domain, first) !== null) for (let at = 0; at < TABLE; at++) yield first + at
  }

  /** PASIDs that the guest or we have a table for. */
  *#everyPasid(copy: Copy, domain: DomainState): Generator<number> {
    for (let first = 0; first < 2 ** copy.directory.bits; first += TABLE)
      if (copy.directory.find(first) !== null || this.#tableOf(copy, domain, first) !== null)
        for (let at = 0; at < TABLE; at++) yield first + at
  }

  /** Where the guest's PASID table for this PASID lies, in its addresses; null: there is none. */
  #tableOf({ guest }: Copy, domain: DomainState, pasid: number): number | null {
    const at = getAddress(guest, SM_CONTEXT_ENTRY.fields.PASIDDIRPTR) + Math.floor(pasid / TABLE) * PASID_DIR_ENTRY_BYTES
    const words = this.#guestWords(domain, at, PASID_DIR_ENTRY_BYTES / 4)
    if (words === null || (words[0]! & PASID_P) === 0) return null
    return words[1]! * 4294967296 + (words[0]! - (words[0]! % 4096))
  }

  /** Our entry for a PASID of the guest. */
  #entryOf(copy: Copy, domain: DomainState, pasid: number): Uint32Array {
    const table = this.#tableOf(copy, domain, pasid)
    const words = table === null ? null : this.#guestWords(domain, table + (pasid % TABLE) * PASID_ENTRY_BYTES, PASID_WORDS)
    const { pgtable, tag } = domain.stage2!
    return words === null ? new Uint32Array(PASID_WORDS) : guestPasid(words, pgtable.space, this.#features, tag)
  }

  /** Words of the guest's memory, which do not cross a page; null where it has none. */
  #guestWords(domain: DomainState, address: number, count: number): Uint32Array | null {
    const pa = domain.stage2!.pgtable.iovaToPhys(BigInt(address))
    if (pa === null || this.#memory.index(Number(pa)) < 0) return null
    return loadWords(this.#memory, Number(pa), count)
  }
}

/**
 * The descriptor that does for this guest what it asked for.
 * @param did the domain id of everything that the guest's devices go through.
 * @param owns whether a source-id is one of the guest's.
 * @throws IommError BadArgument: the guest's queue should report IQE.
 */
export function guestCommand(
  command: Uint32Array,
  did: number,
  features: VtdFeatures,
  owns: (source: number) => boolean,
): Uint32Array {
  const draining = drainingOf(features)
  const own = (source: number) => {
    if (!owns(source)) throw new IommError('BadArgument', `source-id 0x${source.toString(16)} is not one of the guest's`)
    return { SID: source, PFSID_LOW: source & 15, PFSID_HIGH: (source >>> 4) & 0xfff, MIP: 0 }
  }
  switch (descriptorType(command[0]!)) {
    case TYPE_CONTEXT_CACHE: {
      if (getNumber(command, CC_INV_DSC.fields.G) !== G_DEVICE)
        throw new IommError('BadArgument', 'a guest may not send cc_inv_dsc for all devices: it names one')
      return contextCacheDevice(own(getNumber(command, CC_INV_DSC.fields.SID)).SID, 0)
    }
    case TYPE_PASID_CACHE: {
      const { G, PASID } = decode(PC_INV_DSC, command)
      return Number(G) === PC_G_PASID ? pasidCache(did, Number(PASID)) : pasidCacheDomain(did)
    }
    // All that it has, by whatever it asked: its domain ids are not ours.
    case TYPE_IOTLB:
      return iotlbDomain(did, draining)
    case TYPE_PASID_IOTLB: {
      const { G, PASID, AM, IH, ADDR } = decode(P_IOTLB_INV_DSC, command)
      const size = Number(AM)
      if (Number(G) === G_PASID || size > capField(features, 'MAMV')) return pasidIotlb(did, Number(PASID))
      const address = (ADDR >> BigInt(12 + size)) << BigInt(12 + size)
      return pasidIotlbPages(did, Number(PASID), { address, size }, IH === 1)
    }
    case TYPE_DEVICE_TLB: {
      const values = decode(DEV_TLB_INV_DSC, command)
      return encode(DEV_TLB_INV_DSC, { ...values, TYPE_HIGH: 0, ...own(Number(values.SID)) })
    }
    case TYPE_PASID_DEVICE_TLB: {
      const values = decode(P_DEV_TLB_INV_DSC, command)
      return encode(P_DEV_TLB_INV_DSC, { ...values, TYPE_HIGH: 0, ...own(Number(values.SID)) })
    }
    default:
      throw new IommError('BadArgument', `a guest may not send ${descriptorName(command)}`)
  }
}
