/**
 * A guest's side of nested translation, the same for every architecture with PASID tables: table and page tables in the guest's memory, a
 * device table entry that we check and complete with our stage 2, invalidation commands that we pass on.
 */
import type { Op } from '../base/op.ts'
import type { DriverDevice } from '../core/driver.ts'
import type { TableDriver } from '../driver/common/driver.ts'
import { DriverPgtable, type Shape } from '../driver/common/pgtable.ts'
import type { PasidTable } from '../driver/common/state.ts'
import { storeWords } from '../driver/common/words.ts'
import type { PtSpace } from '../format/pt/format.ts'
import type { Guest, GuestWanted } from './guest.ts'

/** What a guest of an architecture writes. */
export interface GuestFormats {
  readonly table: PasidTable
  readonly shape: Shape
  deviceEntry(device: DriverDevice): Uint32Array
  pasidEntry(space: PtSpace, tag: number): Uint32Array
  /** What forgets all translations with this tag, those of this PASID. */
  forgetSpace(tag: number, pasid: number): Uint32Array
  /** What forgets all that a device caches, of one PASID or (null) of all. */
  forgetAtc(device: number, pasid: number | null): Uint32Array
  /** What forgets a PASID table entry that was not valid; null where that is not cached. */
  forgetPasid(device: number, pasid: number): Uint32Array | null
}

/** Starts the guest: its PASID table is there, and the entries of its devices lead to it. */
export function* startTableGuest(driver: TableDriver, { domain, memory }: GuestWanted, formats: GuestFormats): Op<Guest> {
  const { table, shape } = formats
  for (const device of domain.devices) yield* driver.setGuestEntry(device, formats.deviceEntry(device))
  const spaces = new Map<number, DriverPgtable>()

  function* send(commands: Uint32Array[]): Op<void> {
    if (commands.length > 0) yield* driver.guestInvalidate(domain, commands)
  }

  function* space(pasid: number): Op<DriverPgtable> {
    const known = spaces.get(pasid)
    if (known !== undefined) return known
    // The guest counts tags for itself: the tag of its stage 2 keeps them apart from ours.
    const tag = pasid + 1
    const made = new DriverPgtable(`the guest, PASID ${pasid}`, memory, memory, shape, {
      tlb: () => send([formats.forgetSpace(tag, pasid)]),
      *atc() {
        const caching = [...domain.devices].filter(({ capabilities }) => capabilities.ats)
        yield* send(caching.map(({ id }) => formats.forgetAtc(id, pasid === 0 ? null : pasid)))
      },
    })
    spaces.set(pasid, made)
    storeWords(memory, table.make(pasid).entry, formats.pasidEntry(made.space, tag))
    yield* send([...domain.devices].map(({ id }) => formats.forgetPasid(id, pasid)).filter((command) => command !== null))
    return made
  }

  return {
    *map(pasid, address, ipa, size, rights) {
      const target = yield* space(pasid)
      yield* target.map(address, ipa, size, rights)
    },
    *unmap(pasid, address, size) {
      const target = yield* space(pasid)
      return yield* target.unmap(address, size)
    },
  }
}
