/**
 * Device table entries and PASID table entries of live devices: written hitlessly where the hardware lets it, with what it caches of
 * them forgotten between the steps.
 */
import type { WordMemory } from '../../base/memory.ts'
import { type Op, step } from '../../base/op.ts'
import type { CommandRing } from './command-ring.ts'
import { type EntryKind, planUpdate } from './hitless.ts'
import type { DeviceState, DomainState, PasidTable } from './state.ts'
import { loadWords, storeAtom, storeWords } from './words.ts'

/** An architecture's device table entries and PASID table entries. */
export interface EntryFormats {
  readonly device: EntryKind
  /** 32-bit words of an entry. */
  readonly deviceWords: number
  readonly pasid: EntryKind
  readonly pasidWords: number
  /** The entry that a device has in a domain. @throws IommError when a guest's entry is not one that it may have. */
  deviceEntry(state: DeviceState, domain: DomainState, guest: Uint32Array | null): Uint32Array
  /** The entry of a device in no domain: nothing passes. */
  readonly blocked: Uint32Array
  /** A PASID table for so many bits; null where the hardware has none, or needs none for that. */
  newTable(bits: number): PasidTable | null
  /** What forgets a device's entry after a change of it. `before`: the entry as the hardware may have cached it. */
  forgetDevice(state: DeviceState, before: Uint32Array): Uint32Array[]
  /**
   * Entry 0 of a domain's table, where it is more than the domain's own address space; null: it is left alone. Absent: only domains with such a
   * space have one.
   */
  entry0?(domain: DomainState): Uint32Array | null
  /** What forgets a PASID's entry in the table of these devices; `before` null: a part of the table was added. */
  forgetPasid(devices: readonly number[], pasid: number, before: Uint32Array | null): Uint32Array[]
}

export class Configuration {
  readonly #memory: WordMemory
  readonly #commands: CommandRing
  readonly #formats: EntryFormats

  constructor(memory: WordMemory, commands: CommandRing, formats: EntryFormats) {
    this.#memory = memory
    this.#commands = commands
    this.#formats = formats
  }

  /** Makes a device's entry the one that it has in this domain; null: nothing passes. */
  writeDevice(state: DeviceState, domain: DomainState | null, guest = state.guest): Op<void> {
    const { device, deviceWords, blocked } = this.#formats
    const target = domain === null ? blocked : this.#formats.deviceEntry(state, domain, guest)
    return this.#write(state.entry, deviceWords, target, device, (before) => this.#formats.forgetDevice(state, before))
  }

  /** The entry that a device would have. @throws IommError when a guest's entry is not one that it may have. */
  check(state: DeviceState, domain: DomainState, guest: Uint32Array | null): void {
    this.#formats.deviceEntry(state, domain, guest)
  }

  /** Makes this the domain's PASID table entry; null clears it. The table exists. */
  *writePasid(domain: DomainState, pasid: number, target: Uint32Array | null): Op<void> {
    const { pasid: kind, pasidWords } = this.#formats
    const { entry, grew } = domain.table!.make(pasid)
    const forget = (before: Uint32Array | null) =>
      this.#formats.forgetPasid(
        [...domain.devices].map(({ device }) => device.id),
        pasid,
        before,
      )
    // What was not valid may be cached as such.
    if (grew) yield* this.#forget('PASID table has grown', forget(null))
    yield* this.#write(entry, pasidWords, target ?? new Uint32Array(pasidWords), kind, forget)
  }

  /** Makes this the entry of a PASID in a table of ours that only this device uses: a copy of its guest's. */
  writeCopy(entry: number, pasid: number, device: number, target: Uint32Array): Op<void> {
    const { pasid: kind, pasidWords } = this.#formats
    return this.#write(entry, pasidWords, target, kind, (before) => this.#formats.forgetPasid([device], pasid, before))
  }

  /** Writes entry 0 of the domain's PASID table, if it has one: what transactions without PASID see. */
  *writeEntry0(domain: DomainState): Op<void> {
    if (domain.table === null) return
    const target = this.#formats.entry0 === undefined ? (domain.own?.entry(domain) ?? null) : this.#formats.entry0(domain)
    if (target !== null) yield* this.writePasid(domain, 0, target)
  }

  /** Makes sure that the domain has a PASID table for PASIDs of so many bits. A table that is too small is replaced, hitlessly. */
  *ensureTable(domain: DomainState, bits: number): Op<void> {
    const old = domain.table
    if (old !== null && old.bits >= bits) return
    const table = this.#formats.newTable(bits)
    if (table === null) return
    if (old !== null) {
      for (const pasid of [0, ...domain.entries.keys()]) {
        const from = old.find(pasid)
        if (from !== null)
          storeWords(this.#memory, table.make(pasid).entry, loadWords(this.#memory, from, this.#formats.pasidWords))
      }
      yield* step('PASID table copied')
    }
    domain.table = table
    if (old === null) return
    // Pointer, form and size are in one 64-bit word of the device's entry, in every architecture here.
    for (const state of domain.devices) yield* this.writeDevice(state, domain)
    old.free()
  }

  *#write(
    pa: number,
    count: number,
    target: Uint32Array,
    kind: EntryKind,
    forget: (before: Uint32Array) => Uint32Array[],
  ): Op<void> {
    let before = loadWords(this.#memory, pa, count)
    for (const stores of planUpdate(before, target, kind).steps) {
      for (const store of stores) {
        storeAtom(this.#memory, pa, store)
        yield* step('descriptor word written')
      }
      yield* this.#forget('descriptor written', forget(before))
      before = loadWords(this.#memory, pa, count)
    }
  }

  *#forget(what: string, commands: Uint32Array[]): Op<void> {
    // No device whose entry leads here, or nothing that can be cached.
    if (commands.length === 0) yield* step(what)
    else yield* this.#commands.issueAndSync(commands)
  }
}
